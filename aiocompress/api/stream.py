"""Streams: bytes compressed and decompressed as they come."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Self

from aiocompress.api.iterating import Iterating
from aiocompress.errors import AiocompressError, ClosedError
from aiocompress.model import Report
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


class ByteStream(AsyncIterator[bytes]):
    """An async iterator of ``bytes``, as they become ready; also an async context manager.

    It closes itself at its end, on an error and when cancelled. Whoever leaves it earlier closes
    it, by ``async with`` or ``aclose()``. Only one task may read it at a time.
    """

    def __init__(self, chunks: AsyncGenerator[bytes], tally: Tally) -> None:
        self._chunks, self.tally = Iterating(chunks, "the stream"), tally
        self._started: float | None = None
        self._reading = self._closed = False

    async def __anext__(self) -> bytes:
        """Return the next bytes, never empty.

        :raises ClosedError: after ``aclose()``.
        :raises AiocompressError: another task is reading, or the stream was begun in the process
            of which this is a fork; or what the verb raises.
        """
        if self._closed:
            raise ClosedError("the stream is closed")
        self._check()
        self._started = self._started or time.perf_counter()
        self._reading = True
        try:
            return await self._chunks.next()
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

        :raises AiocompressError: another task is reading, or the stream was begun in the process
            of which this is a fork.
        """
        self._check()
        self._closed = True
        await self._chunks.aclose()

    def _check(self) -> None:
        self._chunks.check()
        if self._reading:
            raise AiocompressError("another task is reading this stream")

    def __del__(self) -> None:
        if self._chunks.is_left:
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
                yield b"".join(parts)


async def decompressed_stream(
    pool: WorkerPool, source: AnySource, reading: Reading, tally: Tally
) -> AsyncGenerator[bytes]:
    """Yield the raw bytes, a block at a time."""
    async with opened(source, pool) as data:
        blocks = decompressed(pool, data, reading, tally, detach=True)
        async with aclosing(blocks):
            async for block in blocks:
                if block.data:
                    yield block.data if isinstance(block.data, bytes) else bytes(block.data)
