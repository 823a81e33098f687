"""The pool: who runs a job, when its slot is free, and what happens when a worker dies."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from aiocompress.errors import AiocompressError, ClosedError, CorruptError, WorkerError
from aiocompress.model import KIB
from aiocompress.workers.inflight import Job
from aiocompress.workers.job import Result
from aiocompress.workers.pool import ExecutorOption, WorkerPool

from ..help.tools import LIBRARY
from . import jobs

ROOM = 4 * KIB


@asynccontextmanager
async def pool_of(executor: ExecutorOption, workers: int = 2) -> AsyncIterator[WorkerPool]:
    """A pool, closed in the end."""
    pool = WorkerPool(workers, 256 * KIB, executor, (jobs.MODULE,))
    try:
        yield pool
    finally:
        await pool.aclose()


async def begin(
    pool: WorkerPool,
    data: bytes,
    function: Callable[..., Result],
    *arguments: Any,
    **options: bool,
) -> Job:
    """Start a job on these bytes, as every verb does."""
    pool.check()
    slot = await pool.slots.take(len(data), ROOM)
    slot.input[: len(data)] = data
    return await pool.run(slot, len(data), function, *arguments, **options)


async def place_of(pool: WorkerPool, **options: bool) -> tuple[int, str, str]:
    """Say who runs a job: its process, its thread, and how it was told its place."""
    job = await begin(pool, b"x", jobs.where, **options)
    await job.result()
    pid, thread, kind = bytes(job.data).decode().rsplit(" ", 2)[-3:]
    job.release()
    return int(pid), thread, kind


@pytest.fixture(params=["process", "thread", "own"])
async def pool(request: pytest.FixtureRequest) -> AsyncIterator[WorkerPool]:
    """A pool of each kind."""
    own = ThreadPoolExecutor(2, "own") if request.param == "own" else None
    async with pool_of(own or request.param) as made:
        yield made
    if own is not None:
        own.submit(int).result()  # it is the caller's, and still works
        own.shutdown()


# What a job gives, whoever runs it.


async def test_result(pool: WorkerPool) -> None:
    """A job has its outcome, its output and its input until it is released."""
    job = await begin(pool, b"once ", jobs.double)
    assert (await job.result()).size == 10
    assert bytes(job.data) == b"once once "
    assert bytes(job.input) == b"once "
    assert pool.slots.in_use == 1
    job.release()
    assert (pool.slots.in_use, pool.slots.memory_in_use) == (0, 0)
    job.release()
    assert pool.slots.in_use == 0


async def test_many(pool: WorkerPool) -> None:
    """More jobs than slots: each gets its own answer, and the slots bound what is in flight."""

    async def one(number: int) -> bytes:
        job = await begin(pool, b"%03d" % number, jobs.double)
        try:
            await job.result()
            return bytes(job.data)
        finally:
            job.release()

    found = await asyncio.gather(*map(one, range(40)))
    assert found == [b"%03d" % number * 2 for number in range(40)]
    assert pool.slots.in_use == 0
    assert pool.slots.peak <= pool.slots.total == pool.window == 4


async def test_errors(pool: WorkerPool) -> None:
    """Errors of ours and of the system come out as they are, all others as one of ours."""
    job = await begin(pool, b"x", jobs.damaged)
    with pytest.raises(CorruptError, match="it is damaged at byte 7"):
        await job.result()
    job.release()
    job = await begin(pool, b"x", jobs.fail, FileNotFoundError(errno.ENOENT, "gone", "name"))
    with pytest.raises(FileNotFoundError) as caught:
        await job.result()
    assert caught.value.filename == "name"
    job.release()
    job = await begin(pool, b"x", jobs.fail, KeyError("odd"))
    with pytest.raises(WorkerError, match="KeyError: 'odd'"):
        await job.result()
    job.release()
    assert pool.slots.in_use == 0
    assert (await place_of(pool))[0] > 0  # it goes on


async def test_unseen_error_is_quiet(pool: WorkerPool) -> None:
    """Nobody has to look at an outcome: it is not logged as an error of asyncio's."""
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    job = await begin(pool, b"x", jobs.damaged)
    await job.over
    job.release()
    del job
    await asyncio.sleep(0)
    assert not told
    assert pool.slots.in_use == 0


# When a slot is free.


async def test_cancelled_waiter(pool: WorkerPool, tmp_path: Path) -> None:
    """Who stops waiting does not stop the worker: the slot is free when that is done with it."""
    gate = jobs.make_gate(tmp_path)
    job = await begin(pool, b"x", jobs.at_gate, gate)
    waiter = asyncio.ensure_future(job.result())
    async with jobs.gate_reached(gate):
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        job.release()
        await asyncio.sleep(0)
        assert pool.slots.in_use == 1
        assert not job.over.done()
        assert bytes(job.slot.input[:1]) == b"x"  # the worker's still
    await job.over
    assert (pool.slots.in_use, pool.slots.memory_in_use) == (0, 0)


async def test_cancelled_waiter_of_a_detached_job(pool: WorkerPool, tmp_path: Path) -> None:
    """Nobody wants a copy any more: release frees the slot, before or after the worker."""
    for early in (True, False):
        gate = jobs.make_gate(tmp_path, f"gate {early}")
        job = await begin(pool, b"x", jobs.at_gate, gate, detach=True)
        waiter = asyncio.ensure_future(job.result())
        async with jobs.gate_reached(gate):
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
            if early:
                job.release()
            assert pool.slots.in_use == 1
        await job.over
        job.release()
        assert pool.slots.in_use == 0


async def test_released_early(pool: WorkerPool, tmp_path: Path) -> None:
    """A job that nobody waits for keeps its slot until its worker is done."""
    gate = jobs.make_gate(tmp_path)
    job = await begin(pool, b"x", jobs.at_gate, gate, detach=True)
    async with jobs.gate_reached(gate):
        job.release()
        job.release()
        assert pool.slots.in_use == 1
    await job.over
    assert pool.slots.in_use == 0


async def test_detached(pool: WorkerPool) -> None:
    """A detached job gives its slot back by itself, and keeps a copy of what came out."""
    job = await begin(pool, b"abc", jobs.double, detach=True)
    await job.over
    assert pool.slots.in_use == 0
    await job.result()
    assert job.data == b"abcabc"
    assert job.input == b""
    job.release()
    assert pool.slots.in_use == 0


async def test_detached_keeps_its_input(pool: WorkerPool) -> None:
    """It keeps a copy of what went in, too, where it is asked to."""
    job = await begin(pool, b"abc", jobs.double, detach=True, keep_input=True)
    await job.result()
    assert (job.input, job.data, pool.slots.in_use) == (b"abc", b"abcabc", 0)
    job.release()


@pytest.mark.parametrize(
    ("function", "arguments"), [(jobs.damaged, ()), (jobs.nothing, (-1, False))], ids=["error", "-"]
)
async def test_detached_keeps_what_it_could_not_decode(
    pool: WorkerPool, function: Callable[..., Result], arguments: tuple[Any, ...]
) -> None:
    """What was not decoded is kept unasked: somebody may want to look at it in another way."""
    job = await begin(pool, b"abc", function, *arguments, detach=True)
    await job.over
    assert (job.input, pool.slots.in_use) == (b"abc", 0)
    job.release()


async def test_detached_but_written(pool: WorkerPool) -> None:
    """What the worker wrote to a file is not copied."""
    job = await begin(pool, b"abc", jobs.nothing, *(1000, True), detach=True)
    assert (await job.result()).written
    assert (job.data, job.input, pool.slots.in_use) == (b"", b"", 0)
    job.release()


# Who runs it.


async def test_places() -> None:
    """Processes get offsets, threads get views, and a caller's executor gets bytes."""
    async with pool_of("process") as pool:
        assert not pool.has_processes
        pid, _, kind = await place_of(pool)
        assert (pid != os.getpid(), kind) == (True, "int")
        assert pool.has_processes
        pid, thread, kind = await place_of(pool, alone=True)
        assert (pid, kind) == (os.getpid(), "memoryview")
        assert thread.startswith("aiocompress-compute")
    async with pool_of("thread") as pool:
        pid, thread, kind = await place_of(pool)
        assert (pid, kind) == (os.getpid(), "memoryview")
        assert thread.startswith("aiocompress-compute")
        assert not pool.has_processes
    with ThreadPoolExecutor(1, "own") as own:
        async with pool_of(own) as pool:
            pid, thread, kind = await place_of(pool)
            assert (pid, thread, kind) == (os.getpid(), "own_0", "bytes")
            assert (await place_of(pool, alone=True))[1].startswith("aiocompress-compute")
            assert not pool.has_processes


async def test_alone_starts_no_processes() -> None:
    """A single chunk does not wait for processes to start."""
    async with pool_of("process") as pool:
        await place_of(pool, alone=True)
        assert not pool.has_processes


async def test_workers_work_at_the_same_time(tmp_path: Path) -> None:
    """Every worker has a job, and each of them is another process."""
    async with pool_of("process", 3) as pool:
        gates = [jobs.make_gate(tmp_path, str(number)) for number in range(3)]
        running = [await begin(pool, b"x", jobs.at_gate, gate) for gate in gates]
        async with AsyncExitStack() as all_reached:
            for gate in gates:
                await all_reached.enter_async_context(jobs.gate_reached(gate))
            assert not any(job.over.done() for job in running)
        for job in running:
            await job.result()
            job.release()


def test_forked_before_the_loop() -> None:
    """``prefork`` has the workers ready before there is a loop: without a server, and a guard."""
    code = f"""
import asyncio, os
from aiocompress.workers.pool import WorkerPool
from tests.workers import jobs
pool = WorkerPool(2, {256 * KIB}, "process")
pool.prefork()
assert pool.has_processes and not pool.is_used
async def main():
    pool.check()
    slot = await pool.slots.take(1, 1000)
    job = await pool.run(slot, 1, jobs.where)
    await job.result()
    print(bytes(job.data).split()[0] != b"%d" % os.getpid())
    job.release()
    await pool.aclose()
asyncio.run(main())
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=LIBRARY, capture_output=True, check=False, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_files_are_shared_with_the_same_user_only() -> None:
    """Workers that run as somebody else cannot open our files by their descriptors."""
    with ThreadPoolExecutor(1) as own:
        async with pool_of(own) as pool:
            assert not pool.shares_files
    async with pool_of("process") as pool:
        assert pool.shares_files
        await place_of(pool)
        assert pool.shares_files
        os.seteuid(65534)
        try:
            assert not pool.shares_files
        finally:
            os.seteuid(0)
        assert pool.shares_files


async def test_threads_where_no_process_can_start(caplog: pytest.LogCaptureFixture) -> None:
    """Without descriptors for its pipes no process starts: threads do, and one warning says so."""
    async with pool_of("process") as pool:
        slot = await pool.slots.take(1, ROOM)
        await place_of(pool, alone=True)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        descriptors = set(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        try:
            job = await pool.run(slot, 1, jobs.double)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        await job.result()
        job.release()
        assert not pool.has_processes
        assert (await place_of(pool))[0] == os.getpid()
        assert len(caplog.records) == 1
        assert "using threads" in caplog.text
        assert pool.slots.in_use == 0
        assert len(set(os.listdir("/proc/self/fd")) - descriptors) <= 1  # the listing itself


# Workers that die.


async def test_redone_once(tmp_path: Path) -> None:
    """A killed worker's job is done again by another one, from the same slot."""
    async with pool_of("process") as pool:
        first, _, _ = await place_of(pool)
        job = await begin(pool, b"abc", jobs.die_once, str(tmp_path / "died"), detach=True)
        await job.result()
        assert job.data == b"abcabc"
        assert pool.statistics().chunks_redone == 1
        job.release()
        second, _, _ = await place_of(pool)
        assert first != second
        assert pool.slots.in_use == 0
    assert not jobs.is_running(second)


async def test_redone_with_what_else_was_under_way(tmp_path: Path) -> None:
    """The jobs of the other workers are done again as well: they went down together."""
    gate = jobs.make_gate(tmp_path)
    async with pool_of("process") as pool:
        other = await begin(pool, b"ab", jobs.at_gate, gate)
        async with jobs.gate_reached(gate):
            job = await begin(pool, b"abc", jobs.die_once, str(tmp_path / "died"))
            await job.result()
            assert bytes(job.data) == b"abcabc"
            job.release()
        while not other.over.done():  # it was at the gate again while that stood open, or is now
            with suppress(OSError):
                os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
            await asyncio.sleep(0.001)
        await other.result()
        assert bytes(other.data) == b"abab"
        other.release()
        assert pool.statistics().chunks_redone == 2
        assert pool.slots.in_use == 0


async def test_not_redone_twice() -> None:
    """A job on which workers die twice is an error with advice; the next job is done."""
    async with pool_of("process") as pool:
        job = await begin(pool, b"abc", jobs.die)
        with pytest.raises(WorkerError, match="died twice on the same chunk") as caught:
            await job.result()
        assert caught.value.hint is not None
        job.release()
        assert pool.statistics().chunks_redone == 1
        assert pool.slots.in_use == 0
        assert (await place_of(pool))[0] != os.getpid()


async def test_released_is_not_redone(tmp_path: Path) -> None:
    """A job that nobody wants any more is not done again."""
    async with pool_of("process") as pool:
        job = await begin(pool, b"abc", jobs.die_once, str(tmp_path / "died"))
        job.release()
        await job.over
        assert pool.slots.in_use == 0
        assert pool.statistics().chunks_redone == 0
        await place_of(pool)


async def test_executor_that_refuses() -> None:
    """A caller's executor that was shut down is an error, and the slot comes back."""
    own = ThreadPoolExecutor(1)
    async with pool_of(own) as pool:
        await place_of(pool)
        own.shutdown()
        job = await begin(pool, b"x", jobs.double)
        with pytest.raises(WorkerError, match="the executor cannot run a chunk"):
            await job.result()
        job.release()
        assert pool.slots.in_use == 0


# The end.


@pytest.mark.parametrize("detach", [False, True])
async def test_closed_while_processes_work(tmp_path: Path, detach: bool) -> None:  # noqa: FBT001
    """Closing ends workers that would work for ever, and whoever waits hears of it."""
    gate = jobs.make_gate(tmp_path)
    pool = WorkerPool(2, 256 * KIB, "process", (jobs.MODULE,))
    pid, _, _ = await place_of(pool)
    job = await begin(pool, b"x", jobs.at_gate, gate, detach=detach)
    waiting = [await begin(pool, b"x", jobs.at_gate, gate, detach=detach) for _ in range(3)]
    waiter = asyncio.ensure_future(job.result())
    async with jobs.gate_reached(gate):
        await pool.aclose()
        with pytest.raises(ClosedError):
            await waiter
    for one in (job, *waiting):
        assert one.over.done()
        with pytest.raises(ClosedError):
            await one.result()
        one.release()
    assert pool.slots.in_use == 0
    assert not jobs.is_running(pid)


async def test_closed_while_threads_work(tmp_path: Path) -> None:
    """A thread cannot be stopped: closing waits for it, and its job is done."""
    gate = jobs.make_gate(tmp_path)
    pool = WorkerPool(2, 256 * KIB, "thread")
    job = await begin(pool, b"x", jobs.at_gate, gate)
    async with jobs.gate_reached(gate):
        closing = asyncio.ensure_future(pool.aclose())
        await asyncio.sleep(0.01)
        assert not closing.done()
        assert pool.is_closed
    await closing
    await job.result()
    assert bytes(job.data) == b"xx"
    job.release()
    assert pool.slots.in_use == 0


async def test_closing_goes_on_when_cancelled(tmp_path: Path) -> None:
    """Who is cancelled while it closes leaves only after all has ended."""
    gate = jobs.make_gate(tmp_path)
    pool = WorkerPool(2, 256 * KIB, "process", (jobs.MODULE,))
    pid, _, _ = await place_of(pool)
    job = await begin(pool, b"x", jobs.at_gate, gate)
    async with jobs.gate_reached(gate):
        closing = asyncio.ensure_future(pool.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert job.over.done()
        assert not jobs.is_running(pid)
    job.release()
    await pool.aclose()


async def test_closed(pool: WorkerPool) -> None:
    """Closing twice, also at once, is the same; nothing runs after it, and no slot is lost."""
    await place_of(pool)
    slot = await pool.slots.take(1, 1)
    await asyncio.gather(pool.aclose(), pool.aclose())
    await pool.aclose()
    assert pool.is_closed
    with pytest.raises(ClosedError):
        pool.check()
    with pytest.raises(ClosedError):
        await pool.run(slot, 1, jobs.double)
    assert pool.slots.in_use == 0


async def test_closed_before_it_is_used() -> None:
    """A pool that never worked has nothing to end."""
    pool = WorkerPool(2, None, "process")
    assert not pool.is_used
    before = threading.active_count()
    await pool.aclose()
    assert threading.active_count() == before


async def test_closing_leaves_nothing() -> None:
    """Processes, threads and descriptors are gone."""
    async with pool_of("process") as pool:  # what stays for ever is there now
        await place_of(pool)
    _join_file_threads()
    threads, descriptors = threading.active_count(), set(os.listdir("/proc/self/fd"))
    async with pool_of("process") as pool:
        pid, _, _ = await place_of(pool)
        await place_of(pool, alone=True)
    assert not jobs.is_running(pid)
    _join_file_threads()
    assert threading.active_count() == threads
    assert len(set(os.listdir("/proc/self/fd")) - descriptors) <= 1


def _join_file_threads() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("aiocompress-files"):
            thread.join()  # these are told to end, and not waited for


def test_closed_without_a_loop() -> None:
    """A pool whose loop is gone, and that nobody closed, can still end its processes."""

    async def use() -> int:
        return (await place_of(pool))[0]

    pool = WorkerPool(2, 256 * KIB, "process", (jobs.MODULE,))
    pid = asyncio.run(use())
    assert jobs.is_running(pid)
    pool.close()
    jobs.wait_until_ended(pid)
    assert pool.is_closed
    pool.close()
    pool.files.shutdown()
    pool.slots.arena.close()


def test_of_another_loop() -> None:
    """A pool works for one loop; another one gets an error and takes no slot."""

    async def use() -> None:
        await place_of(pool)

    async def misuse() -> None:
        slot = await pool.slots.take(1, 1)
        with pytest.raises(AiocompressError, match="belongs to another event loop"):
            await pool.run(slot, 1, jobs.double)
        with pytest.raises(AiocompressError, match="belongs to another event loop"):
            await pool.aclose()
        assert pool.slots.in_use == 0

    pool = WorkerPool(2, 256 * KIB, "thread")
    with asyncio.Runner() as runner:
        runner.run(use())
        asyncio.run(misuse())
        assert not pool.is_closed
        runner.run(pool.aclose())


# What it tells.


async def test_statistics(pool: WorkerPool, tmp_path: Path) -> None:
    """It tells what is in flight now, what was at most, and what the limits are."""
    empty = pool.statistics()
    assert (empty.num_workers, empty.slots_in_use, empty.slots_peak) == (2, 0, 0)
    assert (empty.slots_total, empty.memory_limit) == (4, 256 * KIB)
    gate = jobs.make_gate(tmp_path)
    job = await begin(pool, b"x", jobs.at_gate, gate)
    async with jobs.gate_reached(gate):
        busy = pool.statistics()
        assert (busy.slots_in_use, busy.slots_peak) == (1, 1)
        assert 0 < busy.memory_in_use == busy.memory_peak <= busy.memory_limit
    await job.result()
    job.release()
    assert pool.is_used
    after = pool.statistics()
    assert (after.slots_in_use, after.memory_in_use) == (0, 0)
    assert (after.slots_peak, after.memory_peak) == (1, busy.memory_peak)
    assert after.chunks_redone == 0


@pytest.mark.parametrize("executor", ["process", "thread", "own"])
async def test_looking_starts_nothing(executor: str) -> None:
    """Making a pool and looking at it starts neither a process nor a thread."""
    before = threading.active_count()
    own: Executor | None = ThreadPoolExecutor(1) if executor == "own" else None
    async with aclosing(WorkerPool(2, None, own or executor)) as pool:  # type: ignore[arg-type]
        assert pool.statistics().slots_in_use == 0
        assert (pool.is_used, pool.is_closed, pool.has_processes) == (False, False, False)
        assert threading.active_count() == before
