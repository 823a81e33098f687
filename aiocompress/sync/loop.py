"""An event loop in a thread; the caller's thread only waits, and so remains free to take a signal.

An interrupt there cancels the work here, and waits until it has ended.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from functools import partial, wraps
from typing import Any, Final, ParamSpec, Self, TypeVar

from aiocompress.errors import AiocompressError

P = ParamSpec("P")
T = TypeVar("T")


_A_MOMENT: Final = 1.0
"""Seconds in which a thread that was started begins to run."""


class LoopThread:
    """An event loop in a thread, for the work of any number of other threads."""

    def __enter__(self) -> Self:
        self._loop, self._serving = asyncio.new_event_loop(), threading.Event()
        # A daemon, so that the program can end although a stream was never read to its end.
        self._thread = threading.Thread(target=self._serve, name="aiocompress-loop", daemon=True)
        try:
            self._thread.start()
        except BaseException:  # an interrupt, right now; or there can be no thread
            if self._serving.wait(_A_MOMENT):
                self._stop()
            else:
                self._loop.close()
            raise
        return self

    def _serve(self) -> None:
        self._serving.set()
        # The system may deliver a signal to any thread. If this one took it, the caller's, which
        # waits, would not wake up: so this thread and those that it starts block signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGALRM))
        self._loop.run_forever()

    def __exit__(self, *_: object) -> None:
        if sys.is_finalizing() or not self.is_here:
            return  # the interpreter has stopped the thread of an iterator that was left over
        try:
            self.run(self._loop.shutdown_asyncgens())
        finally:
            self._stop()

    @property
    def is_here(self) -> bool:
        """Whether the thread runs: a fork of this process has not got it."""
        return self._thread.is_alive()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, and return what it returns.

        :raises AiocompressError: this is a fork of the process that began it.
        """
        if sys.is_finalizing():
            work.close()
            raise GeneratorExit
        if not self.is_here:
            work.close()
            raise AiocompressError(
                "it was begun before this process was forked",
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
    """Tell the thread that waits what has become of its work."""
    if task.cancelled():
        done.set_exception(asyncio.CancelledError())
    elif (error := task.exception()) is not None:
        done.set_exception(error)
    else:
        done.set_result(task.result())


def plain(verb: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Return a verb as a plain function, which has a loop for each call."""

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with LoopThread() as loop:
            return loop.run(verb(*args, **kwargs))

    return run
