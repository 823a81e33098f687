"""Out: chunks to frames to a container, with an index where the source is a tree."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

from aiocompress.formats.base import Writer
from aiocompress.model import Buffer
from aiocompress.storage.base import OpenedSource
from aiocompress.storage.files import Spool
from aiocompress.verbs.base import Tally
from aiocompress.verbs.chunks import Chunk, Chunks
from aiocompress.verbs.options import Recipe
from aiocompress.workers.lane import Lane
from aiocompress.workers.pipeline import in_order
from aiocompress.workers.pool import WorkerPool


async def compressed(
    pool: WorkerPool,
    source: OpenedSource,
    recipe: Recipe,
    tally: Tally,
    *,
    detach: bool = False,
    writer: Writer | None = None,
    bare: bool = True,
) -> AsyncGenerator[tuple[Buffer, ...]]:
    """Yield the container's bytes, a frame at a time; valid until the next one is asked for.

    :param detach: the reader may be slow: no slot waits for it.
    :param writer: puts the container together; None: a new one.
    :param bare: whether a small file may be one frame, and nothing else.
    :raises ValueError: the chunks are too small for this source.
    """
    if recipe.chunk_size < source.least_chunk:
        least, size = source.least_chunk, recipe.chunk_size
        raise ValueError(f"chunk_size of an archive must be at least {least} bytes, not {size}")
    if writer is None:
        make_writer = recipe.format.container.writer
        assert make_writer is not None
        writer = make_writer()
    lane = Lane(pool, detach=detach)
    chunks = Chunks(lane, source, recipe)
    async with _under_way(lane, chunks) as items, Spool.opened(pool.files) as late:
        async for chunk in items:
            done = await chunks.outcome(chunk)
            if done is None:
                break
            used, data, blocks, is_whole, is_last = done
            is_alone = is_whole and source.late_index() is None
            if bare and is_alone and recipe.format.is_bare(used):
                # A cut through its only frame shows, so it needs no mark, and no table.
                tally.add(used, len(data), 1)
                yield (data,)
                return
            parts = writer.add(memoryview(data), used)
            tally.add(used, sum(map(len, parts)), 1)
            yield parts
            for held in map(writer.index, blocks):
                if writer.index_last:
                    await late.write(held)
                else:
                    tally.add(0, len(held), 0)
                    yield (held,)
            if is_last:
                break
        async with aclosing(_behind_all(source, writer, late)) as rest:
            async for held in rest:
                tally.add(0, len(held), 0)
                yield (held,)
    end = writer.finish()
    tally.add(0, len(end), 0)
    yield (end,)


@asynccontextmanager
async def _under_way(lane: Lane, chunks: Chunks) -> AsyncGenerator[AsyncGenerator[Chunk]]:
    """Have chunks read ahead; at the end, wait for those that turned out to be behind it."""
    async with aclosing(in_order(chunks.produce(), lane.window)) as items:
        yield items
    await lane.over()


async def _behind_all(source: OpenedSource, writer: Writer, late: Spool) -> AsyncGenerator[bytes]:
    """Yield the parts of an archive's index that stand behind all frames."""
    async for held in late.parts():
        yield held
    if (index := source.late_index()) is not None:
        async with aclosing(index):
            async for block in index:
                yield writer.index(block)
