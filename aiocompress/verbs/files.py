"""Files: compressed and decompressed into files that are whole or not there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing

from aiocompress.model import ProgressOption, Report
from aiocompress.storage.base import Sink, Source
from aiocompress.storage.files import FileSink
from aiocompress.storage.sources import opened
from aiocompress.verbs import jobs
from aiocompress.verbs.archive.passing import passing
from aiocompress.verbs.base import Amount, Tally, into, verb
from aiocompress.verbs.compress import compressed
from aiocompress.verbs.decompress import decompressed
from aiocompress.verbs.options import Reading, Recipe, Writing
from aiocompress.workers.pool import WorkerPool


async def compress_file(
    pool: WorkerPool,
    source: Source,
    destination: Sink,
    recipe: Recipe,
    writing: Writing,
    tally: Tally | None = None,
    count: Callable[[], Awaitable[Amount]] | None = None,
) -> Report:
    """Compress a source into a container of its own.

    :param tally: what counts, if the source is a tree, which says what it has found.
    :param count: finds out how much there is in the tree.
    """
    async with (
        verb(pool, "compressing", writing, tally=tally) as run,
        opened(source, pool) as opened_source,
        passing(opened_source, pool.files) as data,
        into(run, data, destination) as sink,
    ):
        run.name, run.total = data.name, data.size
        if count is not None:
            run.expect(count)
        if sink is not None:
            frames = compressed(pool, data, recipe, run.tally, detach=sink.waits)
            async with aclosing(frames):
                async for parts in frames:
                    await sink.write(*parts)
    return run.report()


async def decompress_file(
    pool: WorkerPool,
    source: Source,
    destination: Sink,
    reading: Reading,
    writing: Writing,
) -> Report:
    """Decompress a container into a file; workers write in place what they decode."""
    async with (
        verb(pool, "decompressing", writing, back=True) as run,
        opened(source, pool) as data,
        into(run, data, destination) as sink,
    ):
        run.name, run.total = data.name, data.size
        if sink is not None:
            file = sink if isinstance(sink, FileSink) and pool.shares_files else None
            target = None if file is None else file.reach(by_path=pool.by_path)
            blocks = decompressed(pool, data, reading, run.tally, target=target, detach=sink.waits)
            async with aclosing(blocks):
                async for size, block, _ in blocks:
                    if block is not None:
                        await sink.write(block)
                    elif file is not None:
                        file.skip(size)
    return run.report()


async def test(
    pool: WorkerPool, source: Source, reading: Reading, progress: ProgressOption
) -> Report:
    """Decode all of a container, check everything, and drop it."""
    async with (
        verb(pool, "testing", Writing(progress=progress), back=True) as run,
        opened(source, pool) as data,
    ):
        run.name, run.total = data.name, data.size
        about = pool, data, reading, run.tally
        blocks = decompressed(*about, target=jobs.DISCARD, strict=True)
        async with aclosing(blocks):
            async for _ in blocks:
                pass
    return run.report()
