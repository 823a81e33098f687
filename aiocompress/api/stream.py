"""Streams: bytes compressed and decompressed as they come."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from typing import Final, Self

from aiocompress.errors import AiocompressError, ClosedError
from aiocompress.model import KIB, Buffer, Report
from aiocompress.storage.pipes import PipeSink, PipeSource
from aiocompress.storage.sources import AnySource, opened
from aiocompress.verbs.archive.pack import TreeSource
from aiocompress.verbs.base import Tally
from aiocompress.verbs.compress import compressed
from aiocompress.verbs.decompress import decompressed
from aiocompress.verbs.options import Packing, Reading, Recipe
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

__all__ = ["ByteStream", "PipeSink", "PipeSource", "compressed_stream", "decompressed_stream"]


_PIECE: Final = 256 * KIB


class ByteStream(AsyncIterator[bytes]):
    """An async iterator of ``bytes``, as they become ready; also an async context manager.

    It closes itself at its end, on an error and when cancelled. Whoever leaves it earlier closes
    it, by ``async with`` or ``aclose()``. Only one task may read it at a time.
    """

    def __init__(self, chunks: AsyncGenerator[bytes], tally: Tally) -> None:
        self._chunks, self.tally = chunks, tally
        self._started: float | None = None
        self._process = 0
        self._reading = self._ended = self._closed = False

    async def __anext__(self) -> bytes:
        """Return the next bytes, never empty.

        :raises ClosedError: after ``aclose()``.
        :raises AiocompressError: another task is reading; or what the verb raises.
        """
        if self._closed:
            raise ClosedError("the stream is closed")
        if self._reading:
            raise AiocompressError("another task is reading this stream")
        if self._started is None:
            self._started, self._process = time.perf_counter(), os.getpid()
        self._check_process()
        self._reading = True
        try:
            return await anext(self._chunks)
        except BaseException:
            self._ended = True
            raise
        finally:
            self._reading = False

    @property
    def report(self) -> Report:
        """What has gone through so far, as a ``Report``."""
        started = self._started or time.perf_counter()
        return self.tally.report(time.perf_counter() - started)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop, and release workers, memory and source. Closing twice does no harm.

        :raises AiocompressError: another task is reading.
        """
        if self._reading:
            raise AiocompressError("another task is reading this stream")
        self._closed = True
        if self._started is not None:
            self._check_process()
        await self._chunks.aclose()

    def _check_process(self) -> None:
        """Refuse a stream that another process has begun to read: its chunks are in flight there.

        :raises AiocompressError: this is a fork of that process.
        """
        if self._process != os.getpid():
            raise AiocompressError(
                "the stream was begun before this process was forked",
                hint="open it in the process that reads it",
            )

    def __del__(self) -> None:
        is_open = self._started is not None and not (self._ended or self._closed)
        if is_open and self._process == os.getpid():
            warnings.warn("a ByteStream was not closed", ResourceWarning, stacklevel=2, source=self)


async def compressed_stream(
    pool: WorkerPool, source: AnySource, recipe: Recipe, tally: Tally
) -> AsyncGenerator[bytes]:
    """Yield the bytes of the container, a frame at a time; a folder is packed into a tar first."""
    pool.check()
    if isinstance(source, str | os.PathLike) and await call(pool.files, os.path.isdir, source):
        source = TreeSource(Packing(((os.fspath(source), ""),)), pool.files)
        tally.found = source.found
    async with opened(source, pool) as data:
        frames = compressed(pool, data, recipe, tally, detach=True)
        async with aclosing(frames):
            async for parts in frames:
                for piece in _pieces(parts):
                    yield piece


async def decompressed_stream(
    pool: WorkerPool, source: AnySource, reading: Reading, tally: Tally
) -> AsyncGenerator[bytes]:
    """Yield the raw bytes, a block at a time."""
    async with opened(source, pool) as data:
        blocks = decompressed(pool, data, reading, tally, detach=True)
        async with aclosing(blocks):
            async for block in blocks:
                for piece in _pieces((block.data or b"",)):
                    yield piece


def _pieces(parts: Iterable[Buffer]) -> Iterator[bytes]:
    """Cut buffers into pieces that a server sends one by one.

    Thousands of slow readers each hold a piece, and the small ones go back to the same heap.
    """
    left = b""
    for part in parts:
        if len(part) < _PIECE:
            left += part
            continue
        view = memoryview(part)
        for at in range(0, len(view), _PIECE):
            yield left + view[at : at + _PIECE] if left else bytes(view[at : at + _PIECE])
            left = b""
    if left:
        yield left
