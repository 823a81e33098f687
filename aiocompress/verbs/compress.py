"""Out: chunks to frames to a container, with an index where the source is a tree."""

from __future__ import annotations

import mmap
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiocompress.formats.base import Writer
from aiocompress.model import Buffer
from aiocompress.storage.base import Source
from aiocompress.storage.files import Spool
from aiocompress.verbs import jobs
from aiocompress.verbs.base import Tally
from aiocompress.verbs.options import Recipe
from aiocompress.workers.inflight import Job
from aiocompress.workers.lane import LIGHT, Lane
from aiocompress.workers.pipeline import Sent, in_order
from aiocompress.workers.pool import WorkerPool


async def compressed(
    pool: WorkerPool,
    source: Source,
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
    chunks = _chunks(lane, source, recipe)
    async with aclosing(in_order(chunks, lane.window)) as items, Spool.opened(pool.files) as late:
        async for job, (blocks, is_whole) in items:
            await job.result()
            if bare and is_whole and recipe.format.is_bare(job.used):
                # A cut through its only frame shows, so it needs no mark, and no table.
                tally.add(job.used, len(job.data), 1)
                yield (job.data,)
                return
            parts = writer.add(memoryview(job.data), job.used)
            tally.add(job.used, sum(map(len, parts)), 1)
            yield parts
            for held in map(writer.index, blocks):
                if writer.index_last:
                    await late.write(held)
                else:
                    tally.add(0, len(held), 0)
                    yield (held,)
        async for held in late.parts():
            tally.add(0, len(held), 0)
            yield (held,)
        if (index := source.late_index()) is not None:
            async with aclosing(index):
                async for block in index:
                    held = writer.index(block)
                    tally.add(0, len(held), 0)
                    yield (held,)
    end = writer.finish()
    tally.add(0, len(end), 0)
    yield (end,)


async def _chunks(
    lane: Lane, source: Source, recipe: Recipe
) -> AsyncGenerator[Sent[Job, tuple[list[bytes], bool]]]:
    """Read chunks into slots; an empty source has one chunk, which is empty.

    With each go the blocks of an archive's index that belong behind it, and whether this chunk is
    all that there is.
    """
    slots, bound = lane.pool.slots, recipe.format.codec.bound
    arguments = (recipe.format.name, recipe.level)
    slow = recipe.level >= recipe.format.codec.slow_from
    size = recipe.chunk_size
    if source.size is not None:
        size = min(size, source.size + 1)
    slots.check(size, bound(size))
    rooms: list[memoryview] = []

    def free() -> int:
        rooms.clear()  # goes back to the system by itself
        return 0

    lane.window.when_stuck = free
    first = more = True
    while more:
        # What a slow source sends is gathered first: no slot waits for it.
        if source.waits and (not rooms or len(rooms[0]) < size):
            rooms[:] = [memoryview(mmap.mmap(-1, size))]  # takes only as much as is filled
        used = await source.fill(rooms[0][:size]) if source.waits else -1
        slot = await slots.take(size, bound(size), slow=slow)
        try:
            if source.waits:
                slot.input[:used] = rooms[0][:used]
            else:
                used = await source.fill(slot.input[:size])
        except BaseException:
            slot.free()
            raise
        if not used and not first:
            slot.free()
            return
        filled = used == size
        follows = filled and not (first and source.size == size)
        more, blocks = source.goes_on(filled=filled), source.take_index()
        light = not first and used <= LIGHT
        job = await lane.run(slot, used, jobs.compress, *arguments, follows=follows, light=light)
        is_all = first and not more and not blocks and source.late_index() is None
        yield Sent(job, (blocks, is_all))
        # A file that turns out larger than it was goes on in whole chunks.
        first, size = False, recipe.chunk_size
