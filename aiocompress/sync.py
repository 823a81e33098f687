"""The verbs as plain functions: ``compress_file(source, destination)`` is the whole program.

Each call runs an event loop in a thread of its own, so that it also works where a loop is running
already, as in a notebook. The main thread only waits, and so remains free to take a signal.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial, wraps
from typing import Any, ParamSpec, Self, TypeVar

from aiocompress.api import functions as verbs
from aiocompress.api.stream import ByteStream
from aiocompress.errors import AiocompressError, ClosedError
from aiocompress.model import Report

__all__ = [
    "compress",
    "compress_file",
    "compress_folder",
    "compress_stream",
    "decompress",
    "decompress_file",
    "decompress_folder",
    "decompress_stream",
    "recover",
    "test",
]

P = ParamSpec("P")
T = TypeVar("T")


class _LoopThread:
    """An event loop in a thread; a KeyboardInterrupt here cancels the work there, and waits."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        # A daemon, so that the program can end although a stream was never read to its end.
        self._thread = threading.Thread(target=self._serve, name="aiocompress-loop", daemon=True)
        try:
            self._thread.start()
        except BaseException:  # an interrupt, right now
            self._stop()
            raise
        return self

    def _serve(self) -> None:
        # The system may deliver a signal to any thread. If this one took it, the caller's, which
        # waits, would not wake up: so this thread and those that it starts block signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGALRM))
        self._loop.run_forever()

    def __exit__(self, *_: object) -> None:
        if sys.is_finalizing() or not self._thread.is_alive():
            return  # the interpreter has stopped the thread of an iterator that was left over
        try:
            self.run(self._loop.shutdown_asyncgens())
        finally:
            self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        if sys.is_finalizing():
            work.close()
            raise GeneratorExit
        if not self._thread.is_alive():
            work.close()
            raise AiocompressError(
                "the iterator was begun before this process was forked",
                hint="begin it in the process that reads it",
            )
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            asyncio.run_coroutine_threadsafe(_others_ended(), self._loop).result()
            raise


async def _others_ended() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)


def _plain(verb: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with _LoopThread() as loop:
            return loop.run(verb(*args, **kwargs))

    return run


class Stream(Iterator[bytes]):
    """A ``ByteStream`` without async: an iterator of ``bytes``, a context manager, a file to read.

    ``with`` opens the source. The stream closes itself at its end and on an error; whoever leaves
    it earlier closes it, by ``with`` or ``close()``.
    """

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._loop: _LoopThread | None = None
        self._lock = threading.Lock()
        self._ended = self._closed = False

    def __next__(self) -> bytes:
        """Return the next bytes, never empty."""
        with self._alone():
            data: bytes | None = self._step(partial(anext, self._stream, b""))
            if not data:
                self._end()
        if not data:
            raise StopIteration
        return data

    def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` bytes, as soon as there are any; none at the end.

        :param size: negative: all that is left.
        """
        with self._alone():
            data = self._step(partial(self._stream.read, size)) or b""
            if size < 0 or (size and not data):
                self._end()
            return data

    @property
    def report(self) -> Report:
        """What has gone through so far, as a ``Report``."""
        return self._stream.report

    def __enter__(self) -> Self:
        """Open the source, and return the stream.

        :raises OSError: the source cannot be opened.
        """
        with self._alone():
            self._step(self._stream.__aenter__)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop, and release everything. Closing twice does no harm.

        :raises AiocompressError: another thread is reading.
        """
        with self._alone():
            self._end()
            self._closed = True

    def __del__(self) -> None:
        if not sys.is_finalizing():
            with suppress(AiocompressError):  # in a fork, the loop is the parent's
                self._end()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise AiocompressError("another thread is reading this stream")
        try:
            yield
        finally:
            self._lock.release()

    def _step(self, step: Callable[[], Awaitable[T]]) -> T | None:
        """Take a step in the stream's own loop; None: it has ended."""
        if self._closed:
            raise ClosedError("the stream is closed")
        if self._ended:
            return None
        if self._loop is None:
            self._loop = _LoopThread().__enter__()
        try:
            return self._loop.run(_awaited(step))
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        self._ended = True
        loop, self._loop = self._loop, None
        if loop is not None:
            try:
                loop.run(self._stream.aclose())
            finally:
                loop.__exit__()


async def _awaited(step: Callable[[], Awaitable[T]]) -> T:
    return await step()


def _plain_stream(verb: Callable[P, ByteStream]) -> Callable[P, Stream]:
    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> Stream:
        return Stream(verb(*args, **kwargs))

    return run


compress = _plain(verbs.compress)
decompress = _plain(verbs.decompress)
compress_file = _plain(verbs.compress_file)
decompress_file = _plain(verbs.decompress_file)
compress_folder = _plain(verbs.compress_folder)
decompress_folder = _plain(verbs.decompress_folder)
recover = _plain(verbs.recover)
test = _plain(verbs.test)
compress_stream = _plain_stream(verbs.compress_stream)
decompress_stream = _plain_stream(verbs.decompress_stream)
