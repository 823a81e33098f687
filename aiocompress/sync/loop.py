"""An event loop in a thread; the caller's thread only waits, and so can take signals.

An interrupt of the caller cancels the work in the loop, and waits until that has ended.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial, wraps
from typing import Any, Final, ParamSpec, Self, TypeVar

from aiocompress.errors import AiocompressError

_NAME: Final = "aiocompress-loop"
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
P = ParamSpec("P")
T = TypeVar("T")


class LoopThread:
    """An event loop in a thread, which works for any number of other threads.

    :param what: the name of the work in errors.
    """

    def __init__(self, what: str = "the call") -> None:
        self._what = what
        self._last: list[asyncio.Task[None]] = []

    def __enter__(self) -> Self:
        # A daemon, so that the program can end although a stream was never read to its end.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=_NAME, daemon=True)
        try:
            self._start()
        except BaseException:  # an interrupt, right now
            self._stop()
            raise
        return self

    def _start(self) -> None:
        # The system may deliver a signal to any thread. If the loop's thread took it, the caller's
        # would not wake up. So it starts with signals blocked, as do all threads that it starts.
        # Nor can a signal then interrupt the start halfway.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _serve(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def __exit__(self, *_: object) -> None:
        if sys.is_finalizing() or not self.is_here:
            return  # the interpreter has stopped the thread of an iterator that was left over
        try:
            self.run(self._loop.shutdown_asyncgens())
        finally:
            self._stop()

    @property
    def is_here(self) -> bool:
        """Whether the thread runs; in a fork it does not."""
        return self._thread.is_alive()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        try:
            self._thread.join()
        except RuntimeError:  # an interrupt came before the thread was started
            self._loop.close()

    def leave(self, work: Coroutine[Any, Any, object], *, last: bool) -> None:
        """Run a coroutine without waiting for it.

        :param last: whether the loop ends after it.
        """

        async def run() -> None:
            try:
                with suppress(Exception):  # no caller is left to raise it to
                    await work
            finally:
                if last:
                    await self._loop.shutdown_asyncgens()
                    self._loop.stop()

        self._loop.call_soon_threadsafe(self._begin, run())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._last.append(self._loop.create_task(work))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, and return what it returns.

        :raises AiocompressError: the loop belongs to the parent of this fork.
        """
        if sys.is_finalizing():
            work.close()
            raise GeneratorExit
        if not self.is_here:
            work.close()
            raise AiocompressError(
                f"{self._what} was begun before this process was forked",
                hint="begin it in the process that goes on with it",
            )
        done: Future[T] = Future()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            tasks.append(self._loop.create_task(work))
            tasks[0].add_done_callback(partial(_tell, done))

        def cancel() -> None:
            tasks[0].cancel()

        self._loop.call_soon_threadsafe(start)
        try:
            return done.result()
        except BaseException:
            if not done.done():  # an interrupt, right here
                self._loop.call_soon_threadsafe(cancel)
                wait([done])
            raise


def _tell(done: Future[T], task: asyncio.Task[T]) -> None:
    """Pass the outcome of the work to the waiting thread."""
    if task.cancelled():
        done.set_exception(asyncio.CancelledError())
    elif (error := task.exception()) is not None:
        done.set_exception(error)
    else:
        done.set_result(task.result())


def plain(verb: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Return a verb as a plain function, which makes a loop for each call."""

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with LoopThread() as loop:
            return loop.run(verb(*args, **kwargs))

    return run
