"""Streams and bytes in memory: compressed and decompressed as they come."""

from __future__ import annotations

import time
import warnings
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Self

from . import compression, decompression
from .compression import Recipe
from .decompression import Reading
from .errors import AiocompressError, ClosedError
from .model import Report
from .pipeline import Tally
from .sources import AnySource, StreamSource, opened
from .workers.pool import WorkerPool


class ByteStream(AsyncIterator[bytes]):
    """Bytes as they are ready: an async iterator, and an async context manager.

    Its end, an error and a cancellation close it; one that is left earlier is closed by
    ``async with`` or ``aclose()``. It is for one task at a time.
    """

    def __init__(self, chunks: AsyncGenerator[bytes], tally: Tally) -> None:
        self._chunks, self.tally = chunks, tally
        self._started: float | None = None
        self._reading = self._ended = self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next bytes, never empty.

        :raises ClosedError: after ``aclose()``.
        :raises AiocompressError: another task is reading; or as the verb says.
        """
        if self._closed:
            raise ClosedError("the stream is closed")
        if self._reading:
            raise AiocompressError("another task is reading this stream")
        self._reading = True
        self._started = self._started or time.perf_counter()
        try:
            return await anext(self._chunks)
        except BaseException:
            self._ended = True
            raise
        finally:
            self._reading = False

    @property
    def report(self) -> Report:
        """What has gone through so far."""
        started = self._started or time.perf_counter()
        return self.tally.report(time.perf_counter() - started)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop, and give everything back. Closing twice does no harm.

        :raises AiocompressError: another task is reading.
        """
        if self._reading:
            raise AiocompressError("another task is reading this stream")
        self._closed = True
        await self._chunks.aclose()

    def __del__(self) -> None:
        if self._started and not (self._ended or self._closed):
            warnings.warn("a ByteStream was not closed", ResourceWarning, stacklevel=2, source=self)


async def compressed(
    pool: WorkerPool, source: AnySource, recipe: Recipe, tally: Tally
) -> AsyncGenerator[bytes]:
    """Yield the container's bytes, a frame at a time."""
    async with opened(source, pool, folders=True) as data:
        frames = compression.compressed(pool, data, recipe, tally, detach=True)
        async with aclosing(frames):
            async for parts in frames:
                yield b"".join(parts)


async def decompressed(
    pool: WorkerPool, source: StreamSource, reading: Reading, tally: Tally
) -> AsyncGenerator[bytes]:
    """Yield the raw bytes, a block at a time."""
    async with opened(source, pool) as data:
        blocks = decompression.decompressed(pool, data, reading._replace(detach=True), tally)
        async with aclosing(blocks):
            async for block in blocks:
                if block.data:
                    yield block.data if isinstance(block.data, bytes) else bytes(block.data)
