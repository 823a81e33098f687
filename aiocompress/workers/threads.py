"""Threads, and how to wait for what they do.

Cancelling an await does not stop the thread behind it, which goes on reading into its memory. So
whoever waits here leaves only when the thread is done: otherwise it could write into memory, or
use a descriptor, that has since become somebody else's.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from aiocompress.workers.forks import begins_anew

T = TypeVar("T")


class Threads(ThreadPoolExecutor):
    """A thread pool that makes do with the threads it has.

    ``ThreadPoolExecutor.submit`` queues the work first, and then fails if it cannot start another
    thread (a container's limit, RLIMIT_AS). A caller who takes that for a refusal and does the
    work in another way has it done twice at the same time.

    :raises OSError: from ``submit``: there is no thread, and none can be started.
    """

    def __init__(self, most: int, name: str = "") -> None:
        self._arguments = most, name
        super().__init__(most, name)
        begins_anew(self)

    def begin_anew(self) -> None:
        """In a process that was just forked, which has none of the threads."""
        super().__init__(*self._arguments)

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except (RuntimeError, MemoryError):
            if not self._threads:
                self._work_queue.get_nowait()  # the work that was queued just now
                raise OSError(errno.EAGAIN, "no thread can be started here") from None


class FileThreads(Executor):
    """The threads as one file uses them: one call at a time, and each is waited for."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._last: Future[Any] | None = None

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Start a call; if the engine is closed already, make it right here."""
        try:
            future = self._last = self._executor.submit(function, *args, **kwargs)
        except RuntimeError:  # the pool has shut down, but an open file must still be closed
            future = self._last = Future()
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - as an executor does
                future.set_exception(error)
        return future

    async def call(
        self,
        function: Callable[..., T],
        *arguments: Any,
        undo: Callable[[T], object] | None = None,
    ) -> T:
        """Run a blocking function; if cancelled, ``undo`` what it returned."""
        loop = asyncio.get_running_loop()
        return await self.whole(loop.run_in_executor(self, function, *arguments), undo)

    async def transfer(self, running: Awaitable[T]) -> T:
        """Wait for a read or a write; if cancelled, leave only after its thread is done."""
        try:
            return await running
        except asyncio.CancelledError:
            if self._last is not None:
                await ended(asyncio.wrap_future(self._last))
            raise

    async def whole(self, running: Awaitable[T], undo: Callable[[Any], object] | None = None) -> T:
        """Wait for a call that opens or closes; if cancelled, wait on, and then ``undo`` it."""
        work = asyncio.ensure_future(running)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            try:
                await ended(work)
            finally:
                if undo is not None and not work.cancelled() and work.exception() is None:
                    undo(work.result())
            raise


async def call(
    executor: Executor,
    function: Callable[..., T],
    *arguments: Any,
    undo: Callable[[T], object] | None = None,
) -> T:
    """Run a blocking function in a thread; if cancelled, ``undo`` what it returned."""
    return await FileThreads(executor).call(function, *arguments, undo=undo)


def begin(work: Coroutine[Any, Any, T], what: str) -> asyncio.Task[T]:
    """Begin a task.

    :param what: what it does, for whoever meets it in a debugger: "reads ahead", say.
    """
    return asyncio.create_task(work, name=f"aiocompress {what}")


async def settled(work: asyncio.Future[T]) -> T:
    """Return the result of ``work``; if cancelled, leave only after the work has ended."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await ended(work)
        raise


async def ended(work: asyncio.Future[Any]) -> None:
    """Wait until ``work`` has ended, in whatever way; only then raise a cancellation."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if not work.cancelled():
        work.exception()  # seen: asyncio would log one that nobody looked at
    if cancelled is not None:
        raise cancelled
