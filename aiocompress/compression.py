"""Out: chunks to frames to a container, with an index where the source is a tree."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from .archives.header import END
from .codecs import Codec
from .containers import CONTAINERS
from .model import Buffer
from .pipeline import Tally, in_order
from .sources import Source, TreeSource
from .storage import Spool
from .workers import worker
from .workers.pool import Job, WorkerPool


class Recipe(NamedTuple):
    """All that the bytes of a container depend on, but for the data."""

    codec: Codec
    level: int
    chunk_size: int


async def compressed(
    pool: WorkerPool, source: Source, recipe: Recipe, tally: Tally, *, detach: bool = False
) -> AsyncGenerator[tuple[Buffer, ...]]:
    """Yield the container's bytes, a frame at a time; valid until the next one is asked for.

    :param detach: the reader may be slow: no slot waits for it.
    """
    make_writer = CONTAINERS[recipe.codec.name].writer
    assert make_writer is not None
    writer = make_writer()
    if isinstance(source, TreeSource):
        tally.found = source.found
    chunks = _chunks(pool, source, recipe, detach=detach)
    async with aclosing(in_order(chunks, pool.window)) as jobs, Spool.opened(pool.files) as late:
        async for job in jobs:
            await job.result()
            parts = writer.add(memoryview(job.data), job.used)
            tally.add(job.used, sum(map(len, parts)), 1)
            yield parts
            if job.index is not None:
                block = writer.index(job.index)
                if writer.index_last:
                    await late.write(block)
                else:
                    tally.add(0, len(block), 0)
                    yield (block,)
        async for block in late.parts():
            tally.add(0, len(block), 0)
            yield (block,)
    end = writer.finish()
    tally.add(0, len(end), 0)
    yield (end,)


async def _chunks(
    pool: WorkerPool, source: Source, recipe: Recipe, *, detach: bool
) -> AsyncGenerator[Job]:
    """Read chunks into slots; an empty source has one chunk, which is empty."""
    size = recipe.chunk_size
    if source.size is not None:
        size = min(size, source.size + 1)
    pool.slots.check(size, recipe.codec.bound(size))
    gathered = memoryview(bytearray(size if source.waits else 0))
    first = more = True
    while more:
        used = await source.fill(gathered) if source.waits else -1
        slot = await pool.slots.take(size, recipe.codec.bound(size))
        try:
            if source.waits:
                slot.input[:used] = gathered[:used]
            else:
                used = await source.fill(slot.input[:size])
        except BaseException:
            slot.free()
            raise
        if not used and not first:
            slot.free()
            return
        more, index = used == size, None
        alone = first and (not more or source.size == size)
        if isinstance(source, TreeSource):
            more, index = source.more, source.take_index()
            alone = alone or used == len(END)
        arguments = (recipe.codec.name, recipe.level)
        job = await pool.run(slot, used, worker.compress, *arguments, alone=alone, detach=detach)
        job.index = index
        yield job
        # A file that turns out larger than it was goes on in whole chunks.
        first, size = False, recipe.chunk_size
