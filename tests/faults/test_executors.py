"""Executors of the caller's: those that refuse, and those whose workers are killed."""

# ruff: noqa: ASYNC110 - they wait for what has no event

from __future__ import annotations

import asyncio
import os
import signal
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from concurrent.futures import ThreadPoolExecutor as Threads
from multiprocessing import get_context
from typing import Any

import pytest

from aiocompress import AiocompressError, Engine, WorkerError, sync
from aiocompress.model import KIB

from ..help.data import noise, text
from ..help.engines import given_back
from ..help.tools import module
from .test_forks import packed

DATA = noise(256 * KIB)
SLOW = text(256 * KIB) * 16


class _Stop(BaseException):
    """As ``gevent.Timeout`` and ``trio.Cancelled`` are."""


class Refusing(Executor):
    """Has threads, and raises from ``submit`` whenever it is told to."""

    def __init__(self) -> None:
        self._threads = Threads(2)
        self.error: BaseException | None = None

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        if self.error is not None:
            raise self.error
        return self._threads.submit(function, *arguments, **options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        self._threads.shutdown(wait, cancel_futures=cancel_futures)


ERRORS = [
    RuntimeError("cannot schedule new futures after shutdown"),
    TypeError("cannot pickle that"),
    OSError(11, "no more threads"),
    BrokenExecutor("a child died"),
    MemoryError(),
    ValueError("no such queue"),
    TimeoutError(),
    StopIteration(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_a_submit_that_raises(error: Exception) -> None:
    """Each call gets an error that says why, none hangs, and the next one works."""
    with Refusing() as executor:
        async with Engine(2, executor=executor) as engine:
            executor.error = error
            for _ in range(6):
                with pytest.raises(WorkerError, match="the executor cannot run a chunk") as caught:
                    await asyncio.wait_for(packed(engine, DATA), 10)
                assert (str(error) or type(error).__name__) in str(caught.value)
                assert engine.statistics().slots_in_use == 0
                assert engine.statistics().memory_in_use == 0
            executor.error = None
            assert sync.decompress(await packed(engine, DATA)) == DATA


@pytest.mark.parametrize("error", [_Stop(), asyncio.CancelledError()], ids=["Stop", "Cancelled"])
async def test_a_submit_that_is_stopped(error: BaseException) -> None:
    """What is no error goes out as it is; the slot is free all the same."""
    with Refusing() as executor:
        async with Engine(2, executor=executor) as engine:
            for _ in range(6):
                executor.error = error
                with pytest.raises(type(error)):
                    await asyncio.wait_for(packed(engine, DATA), 10)
                assert engine.statistics().slots_in_use == 0
                executor.error = None
            assert sync.decompress(await packed(engine, DATA)) == DATA


class Failing(Refusing):
    """Runs what it is given, but loses the first ``losses`` of them in its own way."""

    def __init__(self, error: Exception, losses: int) -> None:
        super().__init__()
        self._loss, self._losses = error, losses

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        if self._losses > 0:
            self._losses -= 1
            lost: Future[Any] = Future()
            lost.set_exception(self._loss)
            return lost
        return super().submit(function, *arguments, **options)


LOSSES = [BrokenExecutor("a child died"), ConnectionError("lost"), RuntimeError("KilledWorker")]


@pytest.mark.parametrize("error", LOSSES, ids=lambda error: type(error).__name__)
async def test_a_chunk_that_an_executor_lost(error: Exception) -> None:
    """It is sent once more, whatever the executor calls the loss; then it is an error."""
    for losses in (1, 2):
        with Failing(error, losses) as executor:
            async with Engine(1, executor=executor) as engine:
                work = packed(engine, DATA[: 64 * KIB])
                if losses == 1:
                    assert sync.decompress(await work) == DATA[: 64 * KIB]
                    assert engine.statistics().chunks_redone == 1
                    continue
                engine._pool.window = 1  # one chunk is lost twice, not two of them once
                with pytest.raises(type(error) if isinstance(error, OSError) else WorkerError):
                    await asyncio.wait_for(work, 10)
                assert engine.statistics().slots_in_use == 0


# Workers that are killed.


async def _slow(engine: Engine) -> bytes:
    stream = engine.compress_stream(SLOW, chunk_size="256K", compression_level=19)
    async with stream:
        return b"".join([part async for part in stream])


async def _survives(executor: Executor, *, replaced: bool) -> None:
    """Have a worker killed in the middle: bytes or one error, and nothing is held by it."""
    pid = await asyncio.to_thread(lambda: executor.submit(os.getpid).result(30))
    async with Engine(2, executor=executor) as engine:
        assert sync.decompress(await packed(engine, DATA)) == DATA
        for turn in range(2):
            working = asyncio.ensure_future(_slow(engine))
            while not (engine.statistics().slots_in_use or working.done()):
                await asyncio.sleep(0.01)
            if not turn:
                os.kill(pid, signal.SIGKILL)
            if replaced:
                assert sync.decompress(await asyncio.wait_for(working, 60)) == SLOW
            else:
                with pytest.raises(WorkerError, match="the executor cannot run a chunk"):
                    await asyncio.wait_for(working, 60)
        await given_back(engine)  # it tells of one after another


async def test_a_killed_worker_of_a_process_pool() -> None:
    """A pool of the standard library's never comes back from that: one clear error."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        await _survives(executor, replaced=False)


@pytest.mark.faults
async def test_a_killed_worker_of_loky() -> None:
    """Its executor is broken then as well."""
    executor = module("loky").get_reusable_executor(max_workers=2)
    try:
        await _survives(executor, replaced=False)
    finally:
        executor.shutdown(kill_workers=True)


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore")
async def test_a_killed_worker_of_dask() -> None:
    """Another worker takes the chunk over, or the one that its nanny starts."""
    distributed = module("distributed")
    cluster = await asyncio.to_thread(
        distributed.LocalCluster, n_workers=2, threads_per_worker=1, dashboard_address=None
    )
    client = await asyncio.to_thread(distributed.Client, cluster)
    try:
        await _survives(client.get_executor(), replaced=True)
    finally:
        await asyncio.to_thread(client.close)
        await asyncio.to_thread(cluster.close)


async def test_an_executor_that_is_shut_down_meanwhile() -> None:
    """With its queue cancelled: an error, and no hang."""
    executor = Threads(1)
    async with Engine(1, executor=executor) as engine:
        working = asyncio.ensure_future(_slow(engine))
        while engine.statistics().slots_in_use < 2:
            await asyncio.sleep(0.001)
        executor.shutdown(wait=False, cancel_futures=True)
        with pytest.raises(AiocompressError, match="executor"):
            await asyncio.wait_for(working, 30)
        await given_back(engine)  # a thread ends its chunk
