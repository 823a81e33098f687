"""Streams: bytes compressed and decompressed as they come."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from typing import Final, Self, cast

from aiocompress.errors import AiocompressError, ClosedError
from aiocompress.model import KIB, Buffer, Report
from aiocompress.storage.pipes import PipeSink, PipeSource
from aiocompress.storage.sources import AnySource, in_time, is_paths, opened
from aiocompress.verbs.archive.pack import TreeSource
from aiocompress.verbs.base import Tally, verb
from aiocompress.verbs.compress import compressed
from aiocompress.verbs.decompress import decompressed
from aiocompress.verbs.iterating import Iterating
from aiocompress.verbs.options import Packing, Reading, Recipe, Streaming, Writing
from aiocompress.verbs.single import compressed_whole
from aiocompress.verbs.tree import FolderSource, roots_of
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

__all__ = ["ByteStream", "PipeSink", "PipeSource", "compressed_stream", "decompressed_stream"]


_PIECE: Final = 256 * KIB


class ByteStream(AsyncIterator[bytes]):
    """An async iterator of ``bytes``, as they become ready; also an async context manager.

    ``async with`` opens the source: what is missing is an error there, before a server has sent
    any header. The stream closes itself at its end, on an error and when cancelled. Whoever leaves
    it earlier closes it, by ``async with`` or ``aclose()``. Only one task may read it at a time.

    :param chunks: its first item is empty, and says that the source is open.
    """

    def __init__(self, chunks: AsyncGenerator[bytes], tally: Tally) -> None:
        self._chunks, self.tally = Iterating(chunks, "the stream"), tally
        self._started: float | None = None
        self._left = memoryview(b"")
        """What ``read`` has not taken yet of the bytes that came last."""
        self._reading = self._closed = False

    async def __anext__(self) -> bytes:
        """Return the next bytes, never empty.

        :raises ClosedError: after ``aclose()``.
        :raises AiocompressError: another task is reading, or the stream was begun in the process
            of which this is a fork; or what the verb raises.
        """
        if self._started is None:
            await self._advance()
        if self._left and not self._closed:
            data, self._left = bytes(self._left), memoryview(b"")
            return data
        return await self._advance()

    async def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` bytes, as soon as there are any; none at the end.

        :param size: negative: all that is left.
        :raises ClosedError: after ``aclose()``; and so on, as for the iterator.
        """
        if size < 0:
            return b"".join([data async for data in self])
        if size and not self._left:
            self._left = memoryview(await anext(self, b""))
        elif self._closed:
            raise ClosedError("the stream is closed")
        data, self._left = bytes(self._left[:size]), self._left[size:]
        return data

    async def _advance(self) -> bytes:
        """Go on to the next item, the first of which is empty."""
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
        """Open the source, and return the stream.

        :raises OSError: the source cannot be opened.
        :raises ClosedError: after ``aclose()``, or that of the engine.
        """
        if self._started is None:
            await self._advance()
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
        self._left = memoryview(b"")
        await self._chunks.aclose()

    def _check(self) -> None:
        self._chunks.check()
        if self._reading:
            raise AiocompressError("another task is reading this stream")

    def __del__(self) -> None:
        if self._chunks.is_left:
            warnings.warn("a ByteStream was not closed", ResourceWarning, stacklevel=2, source=self)


async def compressed_stream(
    pool: WorkerPool,
    source: AnySource | FolderSource,
    recipe: Recipe,
    streaming: Streaming,
    tally: Tally,
) -> AsyncGenerator[bytes]:
    """Yield nothing when the source is open, and then bytes, about a frame at a time."""
    pool.check()
    data = await _as_one(pool, source, streaming.packing)
    if isinstance(data, TreeSource):
        tally.found = data.found
    async with (
        verb(pool, "compressing", streaming.writing, tally=tally) as run,
        opened(data, pool) as opened_source,
        in_time(opened_source, streaming.flush_after) as timely,
    ):
        yield b""
        run.name, run.total = timely.name, timely.size
        if recipe.single:
            frames: AsyncGenerator[tuple[Buffer, ...]] = compressed_whole(
                pool, timely, recipe, tally
            )
        else:
            frames = compressed(pool, timely, recipe, tally, detach=True)
        async with aclosing(frames):
            async for parts in frames:
                for piece in _pieces(parts):
                    yield piece


async def _as_one(
    pool: WorkerPool, source: AnySource | FolderSource, packing: Packing
) -> AnySource:
    """Return the source, or, of a folder or a list of paths, the tar that it becomes."""
    is_tree = is_paths(source)
    if isinstance(source, str | os.PathLike):
        is_tree = await call(pool.files, os.path.isdir, source)
    if not is_tree:
        return cast("AnySource", source)
    roots = await call(pool.files, roots_of, cast("FolderSource", source))
    tree = TreeSource(packing._replace(roots=roots), pool.files)
    await tree.check()
    return tree


async def decompressed_stream(
    pool: WorkerPool, source: AnySource, reading: Reading, tally: Tally
) -> AsyncGenerator[bytes]:
    """Yield nothing when the source is open, and then raw bytes, a block at a time."""
    async with (
        verb(pool, "decompressing", Writing(), tally=tally, back=True) as run,
        opened(source, pool) as data,
    ):
        run.name = data.name
        yield b""
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
