"""A stream's lane: where each of its jobs runs, and how long to wait for them all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aiocompress.model import KIB
from aiocompress.workers.inflight import Job
from aiocompress.workers.lane import LIGHT, Lane
from aiocompress.workers.pool import ExecutorOption, WorkerPool

from . import jobs

HERE, PROCESS, OWN = "here", "process", "own"


@asynccontextmanager
async def pool_of(executor: ExecutorOption) -> AsyncIterator[WorkerPool]:
    """A pool, closed in the end."""
    pool = WorkerPool(2, 256 * KIB, executor, (jobs.MODULE,))
    pool.check()
    try:
        yield pool
    finally:
        await pool.aclose()


async def place(lane: Lane, **options: Any) -> str:
    """Say where the next job of a lane runs."""
    job = await lane.start(b"x", KIB, jobs.where, **options)
    return await said(job)


async def said(job: Job) -> str:
    await job.result()
    pid, thread, _ = bytes(job.data).decode().split()
    job.release()
    if int(pid) != os.getpid():
        return PROCESS
    return HERE if thread.startswith("aiocompress-compute") else OWN


async def light_place(lane: Lane) -> str:
    """Say where a job runs of which the lane knows that it is light."""
    slot = await lane.pool.slots.take(1, KIB)
    return await said(await lane.run(slot, 1, jobs.where, light=True, follows=True))


# The first job of a stream.


async def test_single_job_starts_no_process() -> None:
    """One that nothing follows, and a first one of which nobody knows, run here."""
    async with pool_of("process") as pool:
        assert await place(Lane(pool), follows=False) == HERE
        assert await place(Lane(pool), follows=None) == HERE
        assert not pool.has_processes


async def test_first_job_that_has_followers() -> None:
    """The first of several starts the processes; after that one of which nobody knows may go."""
    async with pool_of("process") as pool:
        assert await place(Lane(pool), follows=True) == PROCESS
        assert await place(Lane(pool), follows=None) == PROCESS
        assert await place(Lane(pool), follows=False) == HERE


async def test_next_jobs() -> None:
    """A second job means that the stream is long: it and the last one go to processes."""
    async with pool_of("process") as pool:
        lane = Lane(pool)
        assert await place(lane, follows=None) == HERE
        assert await place(lane, follows=None) == PROCESS
        assert await place(lane, follows=False) == PROCESS


# Small streams, light jobs.


async def test_small_stream() -> None:
    """All jobs of a small stream run here, whether processes run or not."""
    async with pool_of("process") as pool:
        small = Lane(pool, small=True)
        assert await place(small, follows=True) == HERE
        assert not pool.has_processes
        assert await place(Lane(pool), follows=True) == PROCESS
        assert [await place(small, follows=more) for more in (True, None, False)] == [HERE] * 3


async def test_light_job() -> None:
    """A light job runs here; the heavy ones of the same stream do not."""
    async with pool_of("process") as pool:
        lane = Lane(pool)
        assert await light_place(lane) == HERE
        assert not pool.has_processes
        assert await place(lane, follows=True) == PROCESS
        assert await light_place(lane) == HERE
    assert 0 < LIGHT <= 4 * KIB


# Jobs that open files.


async def test_files_and_processes() -> None:
    """Our own processes can open our files."""
    async with pool_of("process") as pool:
        assert await place(Lane(pool, opens_files=True), follows=True) == PROCESS


async def test_files_and_a_foreign_executor() -> None:
    """A caller's executor may be anywhere: jobs that open files run here, all others there."""
    with ThreadPoolExecutor(1, "own") as own:
        async with pool_of(own) as pool:
            files = Lane(pool, opens_files=True)
            assert [await place(files, follows=True) for _ in range(2)] == [HERE] * 2
            assert await place(Lane(pool), follows=True) == OWN
            assert await place(Lane(pool), follows=False) == HERE


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_files_after_privileges_were_dropped() -> None:
    """Processes that run as who we were cannot be told of our files."""
    async with pool_of("process") as pool:
        before = Lane(pool, opens_files=True)
        assert await place(before, follows=True) == PROCESS
        os.seteuid(65534)
        try:
            lane = Lane(pool, opens_files=True)
        finally:
            os.seteuid(0)
        assert await place(lane, follows=True) == HERE


async def test_stay_here() -> None:
    """A stream that turns out to be beyond the workers' reach goes on here."""
    async with pool_of("process") as pool:
        lane = Lane(pool, opens_files=True)
        assert await place(lane, follows=True) == PROCESS
        lane.stay_here()
        assert [await place(lane, follows=True) for _ in range(2)] == [HERE] * 2
        assert await place(Lane(pool), follows=True) == PROCESS


# Slots.


async def test_start_copies_into_a_slot() -> None:
    """``start`` lays the data into a slot with the room that it is told."""
    async with pool_of("thread") as pool:
        lane, data = Lane(pool), bytearray(b"abc")
        job = await lane.start(data, 5000, jobs.double)
        data[:] = b"xyz"
        assert len(job.slot.output) >= 5000
        await job.result()
        assert (bytes(job.input), bytes(job.data)) == (b"abc", b"abcabc")
        assert pool.slots.in_use == 1
        job.release()
        assert pool.slots.in_use == 0


async def test_detached_lane() -> None:
    """Jobs of a stream with a slow reader give their slots back by themselves."""
    async with pool_of("thread") as pool:
        lane = Lane(pool, detach=True)
        job = await lane.start(b"abc", KIB, jobs.double)
        kept = await lane.start(b"abc", KIB, jobs.double, keep_input=True)
        await lane.over()
        assert pool.slots.in_use == 0
        assert (job.input, job.data) == (b"", b"abcabc")
        assert (kept.input, kept.data) == (b"abc", b"abcabc")
        job.release()
        kept.release()


# The end.


@pytest.mark.parametrize("executor", ["process", "thread"])
async def test_over_waits_for_all(executor: Any, tmp_path: Path) -> None:
    """``over`` waits for jobs that nobody waits for any more: they may use what is closed next."""
    gates = [jobs.make_gate(tmp_path, str(number)) for number in range(2)]
    async with pool_of(executor) as pool:
        lane = Lane(pool)
        await lane.over()  # of nothing
        first, second = [
            await lane.start(b"x", KIB, jobs.at_gate, gate, follows=True) for gate in gates
        ]
        for job in (first, second):
            waiter = asyncio.ensure_future(job.result())
            await asyncio.sleep(0)
            waiter.cancel()
            job.release()
        over = asyncio.ensure_future(lane.over())
        async with jobs.gate_reached(gates[1]):
            async with jobs.gate_reached(gates[0]):
                assert not over.done()
            await first.over
            assert not over.done()
        await over
        assert pool.slots.in_use == 0
        await lane.over()


async def test_over_is_cancelled(tmp_path: Path) -> None:
    """A cancellation of the wait is raised when all jobs have ended, and not before."""
    gate = jobs.make_gate(tmp_path)
    async with pool_of("thread") as pool:
        lane = Lane(pool)
        job = await lane.start(b"x", KIB, jobs.at_gate, gate)
        over = asyncio.ensure_future(lane.over())
        await asyncio.sleep(0)  # it waits
        async with jobs.gate_reached(gate):
            for _ in range(3):
                over.cancel()
                await asyncio.sleep(0)
                assert not over.done()
        with pytest.raises(asyncio.CancelledError):
            await over
        assert job.over.done()
        assert not job.over.cancelled()
        job.release()
        assert pool.slots.in_use == 0


async def test_over_of_failed_jobs() -> None:
    """Jobs that failed are over, too: the wait raises none of their errors."""
    async with pool_of("thread") as pool:
        lane = Lane(pool)
        job = await lane.start(b"x", KIB, jobs.damaged)
        await lane.over()
        job.release()
        assert pool.slots.in_use == 0
