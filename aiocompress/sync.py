"""The verbs as plain functions: ``compress_file(source, destination)`` is the whole program.

Each call runs an event loop in a thread of its own, so that it also works where a loop is running
already, as in a notebook. The main thread only waits, and so remains free to take a signal.
"""

from __future__ import annotations

import asyncio
import functools
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ParamSpec, Self, TypeVar

from aiocompress.api import functions as verbs
from aiocompress.api.stream import ByteStream
from aiocompress.errors import AiocompressError

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
        if sys.is_finalizing():
            work.close()
            raise GeneratorExit
        if not self.is_here:
            work.close()
            raise AiocompressError(
                "the iterator was begun before this process was forked",
                hint="begin it in the process that goes on with it",
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
    @functools.wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with _LoopThread() as loop:
            return loop.run(verb(*args, **kwargs))

    return run


def _plain_stream(verb: Callable[P, ByteStream]) -> Callable[P, Iterator[bytes]]:
    @functools.wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> Iterator[bytes]:
        return _iterate(verb(*args, **kwargs))

    return run


def _iterate(stream: ByteStream) -> Iterator[bytes]:
    with _LoopThread() as loop:
        try:
            while (data := loop.run(_next(stream))) is not None:
                yield data
        finally:
            if loop.is_here:
                loop.run(stream.aclose())


async def _next(stream: ByteStream) -> bytes | None:
    return await anext(stream, None)


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
