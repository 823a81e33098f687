"""Threads: what they do is waited for to its end, cancelled or not, and nothing is done twice."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from aiocompress.workers.threads import FileThreads, Threads, call, ended, settled


class Gated:
    """A blocking function that waits until it is let through."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs, self.go, self._error = threading.Event(), threading.Event(), error
        self.calls = 0

    def __call__(self, value: int = 5) -> int:
        self.calls += 1
        self.runs.set()
        assert self.go.wait(60)
        if self._error is not None:
            raise self._error
        return value


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.fixture
def one() -> Iterator[Threads]:
    """One thread."""
    with Threads(1, "one") as threads:
        yield threads


async def cancelled(task: asyncio.Future[object], function: Gated, times: int = 1) -> None:
    """Cancel a task that waits for a function: it leaves only after that one is done."""
    await asyncio.to_thread(function.runs.wait, 60)
    for _ in range(times):
        task.cancel()
        await turns()
        assert not task.done()
    function.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task


# Calls.


async def test_call(one: Threads) -> None:
    """A call runs in a thread of the executor, and returns or raises what the function does."""
    assert await call(one, lambda: threading.current_thread().name) == "one_0"
    assert await call(one, divmod, 7, 2) == (3, 1)
    with pytest.raises(KeyError):
        await call(one, dict[int, int]().__getitem__, 1)


async def test_nothing_to_undo(one: Threads) -> None:
    """What was not cancelled is not undone."""
    undone: list[int] = []
    assert await call(one, int, "5", undo=undone.append) == 5
    assert undone == []


@pytest.mark.parametrize("times", [1, 3])
async def test_undone(one: Threads, times: int) -> None:
    """A call that is cancelled leaves when its function is done, and undoes what came of it."""
    function, undone = Gated(), list[int]()
    task = asyncio.ensure_future(call(one, function, 7, undo=undone.append))
    await cancelled(task, function, times)
    assert (undone, function.calls) == ([7], 1)


async def test_undone_though_it_had_not_begun(one: Threads) -> None:
    """A cancelled call that still stands behind another one is made, and undone, all the same."""
    first, second, undone = Gated(), Gated(), list[int]()
    second.go.set()
    before = one.submit(first)
    task = asyncio.ensure_future(call(one, second, undo=undone.append))
    await turns()
    await cancelled(task, first)
    before.result()
    assert (undone, second.calls) == ([5], 1)


async def test_failure_is_not_undone(one: Threads) -> None:
    """A cancelled call that fails has nothing to undo, and its error is not logged."""
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    function, undone = Gated(OSError("broken")), list[int]()
    task = asyncio.ensure_future(call(one, function, undo=undone.append))
    await cancelled(task, function)
    del task
    await turns()
    assert undone == told == []


# Waiting.


async def test_settled(one: Threads) -> None:
    """It returns what the work returns, and raises what it raises."""
    loop = asyncio.get_running_loop()
    assert await settled(loop.run_in_executor(one, int, "5")) == 5
    with pytest.raises(ValueError, match="invalid literal"):
        await settled(loop.run_in_executor(one, int, "x"))


@pytest.mark.parametrize("error", [None, OSError("broken")], ids=["good", "broken"])
@pytest.mark.parametrize("times", [1, 3])
async def test_settled_when_cancelled(one: Threads, times: int, error: Exception | None) -> None:
    """A cancellation is raised after the work has ended, well or not."""
    function = Gated(error)
    work = asyncio.get_running_loop().run_in_executor(one, function)
    await cancelled(asyncio.ensure_future(settled(work)), function, times)
    assert work.done()
    assert not work.cancelled()


async def test_ended(one: Threads) -> None:
    """It waits, and raises nothing of the work's own."""
    loop = asyncio.get_running_loop()
    for text in ("5", "x"):
        work = loop.run_in_executor(one, int, text)
        await ended(work)
        assert work.done()
        await ended(work)
    task = asyncio.ensure_future(asyncio.sleep(60))
    task.cancel()
    await ended(task)
    assert task.cancelled()


@pytest.mark.parametrize("times", [1, 3])
async def test_ended_when_cancelled(one: Threads, times: int) -> None:
    """However often the wait is cancelled, it goes on, and one cancellation is raised."""
    function = Gated(OSError("broken"))
    work = asyncio.get_running_loop().run_in_executor(one, function)
    await cancelled(asyncio.ensure_future(ended(work)), function, times)
    assert isinstance(work.exception(), OSError)


# Where no thread can be started.


@contextmanager
def no_more_threads() -> Iterator[None]:
    """Want stacks for which there is no room in the address space: no thread starts."""
    before = threading.stack_size((1 << 47) - (1 << 21))
    try:
        with pytest.raises(RuntimeError):
            threading.Thread(target=int).start()
        yield
    finally:
        threading.stack_size(before)


def test_no_thread_at_all() -> None:
    """Work that no thread can do is refused, and not done later beside its second attempt."""
    done: list[int] = []
    with Threads(2) as threads:
        with no_more_threads():
            for _ in range(2):
                with pytest.raises(OSError, match="no thread can be started") as caught:
                    threads.submit(done.append, 1)
                assert caught.value.errno == errno.EAGAIN
        threads.submit(done.append, 2).result()
    assert done == [2]


def test_no_second_thread() -> None:
    """Where one thread runs, it does all of the work, each piece once."""
    first = Gated()
    with Threads(4) as threads:
        done: list[int] = []
        running = threads.submit(first)
        assert first.runs.wait(60)
        with no_more_threads():
            waiting = [threads.submit(done.append, number) for number in range(3)]
        first.go.set()
        for future in (running, *waiting):
            future.result()
    assert done == [0, 1, 2]


async def test_call_without_a_thread() -> None:
    """An awaited call is refused with an error of the system's, too."""
    with Threads(1) as threads, no_more_threads():
        with pytest.raises(OSError, match="no thread can be started"):
            await call(threads, int)
        with pytest.raises(OSError, match="no thread can be started"):
            await FileThreads(threads).call(int)


# The threads of a file.


def test_file_after_shutdown() -> None:
    """After the engine has closed, a file's calls are made right here: it must be closed still."""
    pool = ThreadPoolExecutor(1)
    threads = FileThreads(pool)
    assert threads.submit(threading.get_ident).result() != threading.get_ident()
    pool.shutdown()
    future = threads.submit(threading.get_ident)
    assert future.done()
    assert future.result() == threading.get_ident()
    future = threads.submit(dict[int, int]().__getitem__, 1)
    assert future.done()
    with pytest.raises(KeyError):
        future.result()


async def test_file_call_after_shutdown() -> None:
    """An awaited call works then as well."""
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    threads = FileThreads(pool)
    assert await threads.call(threading.get_ident) == threading.get_ident()
    with pytest.raises(KeyError):
        await threads.call(dict[int, int]().__getitem__, 1)


Waiting = Callable[[FileThreads, Awaitable[int]], Awaitable[int]]


@pytest.mark.parametrize("wait", [FileThreads.transfer, FileThreads.whole])
async def test_transfer_and_whole(one: Threads, wait: Waiting) -> None:
    """They return and raise what the awaited does; cancelled, they leave after its thread."""
    threads, loop = FileThreads(one), asyncio.get_running_loop()
    assert await wait(threads, loop.run_in_executor(threads, int, "5")) == 5
    with pytest.raises(ValueError, match="invalid literal"):
        await wait(threads, loop.run_in_executor(threads, int, "x"))
    for times in (1, 3):
        function = Gated()

        async def waiting(function: Gated) -> int:
            return await wait(threads, loop.run_in_executor(threads, function))

        await cancelled(asyncio.ensure_future(waiting(function)), function, times)


async def test_whole_undoes(one: Threads) -> None:
    """What was opened for somebody who left is closed."""
    threads, loop = FileThreads(one), asyncio.get_running_loop()
    function, undone = Gated(), list[int]()

    async def waiting() -> int:
        return await threads.whole(loop.run_in_executor(threads, function), undone.append)

    await cancelled(asyncio.ensure_future(waiting()), function)
    assert undone == [5]
