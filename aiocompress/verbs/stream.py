"""Streams, out and back: bytes that come and go as their reader takes them."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from typing import Final, cast

from aiocompress.model import KIB, Buffer
from aiocompress.storage.base import Source
from aiocompress.storage.sources import in_time, is_paths, opened
from aiocompress.verbs.archive.passing import passing
from aiocompress.verbs.base import Tally, verb
from aiocompress.verbs.compress import compressed
from aiocompress.verbs.decompress import decompressed
from aiocompress.verbs.options import FolderSource, Packing, Reading, Recipe, Streaming, Writing
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

_PIECE: Final = 256 * KIB


async def compressed_bytes(
    pool: WorkerPool,
    source: Source | FolderSource,
    recipe: Recipe,
    streaming: Streaming,
    tally: Tally,
) -> AsyncGenerator[bytes]:
    """Yield nothing when the source is open, and then bytes, about a frame at a time."""
    pool.check()
    data = await _as_one(pool, source, streaming.packing, tally)
    async with (
        verb(pool, "compressing", streaming.writing, tally=tally) as run,
        opened(data, pool) as prompt,
        in_time(prompt, streaming.flush_after) as timely,
        passing(timely, pool.files) as indexed,
    ):
        yield b""
        run.name, run.total = timely.name, timely.size
        if recipe.single:
            from aiocompress.verbs.single import compressed_whole

            frames: AsyncGenerator[tuple[Buffer, ...]] = compressed_whole(
                pool, timely, recipe, tally
            )
        else:
            frames = compressed(pool, indexed, recipe, tally, detach=True)
        async with aclosing(frames):
            async for parts in frames:
                for piece in _pieces(parts):
                    yield piece


async def _as_one(
    pool: WorkerPool, source: Source | FolderSource, packing: Packing, tally: Tally
) -> Source:
    """Return the source, or, of a folder or a list of paths, the tar that it becomes."""
    is_tree = is_paths(source)
    if isinstance(source, str | os.PathLike):
        is_tree = await call(pool.files, os.path.isdir, source)
    if not is_tree:
        return cast("Source", source)
    from aiocompress.verbs.archive.source import TreeSource  # most streams are of no folder
    from aiocompress.verbs.tree import roots_of

    roots = await call(pool.files, roots_of, cast("FolderSource", source))
    tree = TreeSource(packing._replace(roots=roots), pool.files, by_path=pool.by_path)
    await tree.check()
    tally.found = tree.found
    return tree


async def decompressed_bytes(
    pool: WorkerPool, source: Source, reading: Reading, tally: Tally
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
