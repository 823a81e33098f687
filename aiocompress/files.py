"""Files: compressed and decompressed into files that are whole or not there."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, NamedTuple, TypeAlias

from . import compression, decompression
from .compression import Recipe
from .decompression import Reading
from .model import OnExists, PathLike, Progress, ProgressOption, Report
from .pipeline import Tally
from .pipes import NamedPipeSink, PipeSink
from .progress import Meter
from .sources import AnySource, Source, StreamSource, TreeSource, opened
from .storage import FileSink, call
from .workers import worker
from .workers.pool import WorkerPool

Sink: TypeAlias = FileSink | PipeSink
Destination: TypeAlias = PathLike | PipeSink


class Writing(NamedTuple):
    """How a file is written: over an older one or not, synced or not, and who is told."""

    on_exists: OnExists = "error"
    fsync: bool | None = None
    progress: ProgressOption = False


async def compress_file(
    pool: WorkerPool, source: AnySource, destination: Destination, recipe: Recipe, writing: Writing
) -> Report:
    """Compress a file into a container of its own."""
    async with begun(pool, source, destination, writing) as verb:
        if verb.sink is not None:
            frames = compression.compressed(
                pool, verb.source, recipe, verb.tally, detach=verb.sink.waits
            )
            with verb.meter("compressing") as meter:
                async with aclosing(frames):
                    async for parts in frames:
                        await verb.sink.write(*parts)
                        meter.update()
                await verb.commit()
    return verb.report()


async def decompress_file(
    pool: WorkerPool,
    source: StreamSource,
    destination: Destination,
    reading: Reading,
    writing: Writing,
) -> Report:
    """Decompress a container into a file; workers write in place what they decode."""
    async with begun(pool, source, destination, writing) as verb:
        if verb.sink is not None:
            reading = reading._replace(
                target=verb.sink.reach if pool.shares_files else None, detach=verb.sink.waits
            )
            blocks = decompression.decompressed(pool, verb.source, reading, verb.tally)
            with verb.meter("decompressing", back=True) as meter:
                async with aclosing(blocks):
                    async for size, data in blocks:
                        if data is None:
                            verb.sink.skip(size)
                        else:
                            await verb.sink.write(data)
                        meter.update()
                await verb.commit()
    return verb.report()


async def test(
    pool: WorkerPool, source: StreamSource, reading: Reading, progress: ProgressOption
) -> Report:
    """Decode all of a container, check everything, and drop it."""
    reading = reading._replace(target=worker.DISCARD, strict=True)
    async with opened(source, pool) as data:
        verb = _Verb(pool, data, Writing(progress=progress))
        blocks = decompression.decompressed(pool, data, reading, verb.tally)
        with verb.meter("testing", back=True) as meter:
            async with aclosing(blocks):
                async for _ in blocks:
                    meter.update()
    return verb.report()


class _Verb:
    """One call of a verb: what it reads, where it writes, and what it counts."""

    def __init__(self, pool: WorkerPool, source: Source, writing: Writing) -> None:
        self.source = source
        self.sink: Sink | None = None
        self.tally = Tally(pool)
        self.skipped: str | None = None
        self._writing = writing
        self._begun = time.perf_counter()

    def meter(self, label: str, *, back: bool = False) -> Meter:
        """Measure what of the source was consumed: raw bytes out, compressed bytes back."""
        tally, total = self.tally, self.source.size

        def measure() -> Progress:
            done = tally.compressed_bytes if back else tally.raw_bytes
            found = tally.found
            return Progress(tally.raw_bytes, tally.compressed_bytes, done, total, found.files)

        return Meter(self._writing.progress, measure, label)

    async def commit(self) -> None:
        """Give the file its name, and what it takes after: its source, if that is a file."""
        assert self.sink is not None
        status: os.stat_result | None = getattr(self.source, "status", None)
        regular = status is not None and stat.S_ISREG(status.st_mode)
        await self.sink.commit(status if regular else None)

    def report(self) -> Report:
        """Sum it up."""
        report = self.tally.report(time.perf_counter() - self._begun)
        if self.skipped is None:
            return report
        return report._replace(files=0, skipped=(self.skipped,), skipped_count=1)


@asynccontextmanager
async def begun(
    pool: WorkerPool, source: AnySource, destination: Destination, writing: Writing
) -> AsyncGenerator[_Verb]:
    """Open both sides; without a sink where the destination exists and is to be kept."""
    async with opened(source, pool) as data:
        verb = _Verb(pool, data, writing)
        if isinstance(destination, PipeSink):
            path, verb.sink = destination.name, destination
        else:
            path = os.fspath(destination)
            await call(pool.files, _check_not_same, data, path)
            if writing.on_exists == "skip" and await call(pool.files, os.path.lexists, path):
                verb.skipped = path
                yield verb
                return
            verb.sink = await _open_sink(pool, path, writing)
        reach = verb.sink.reach
        try:
            if isinstance(data, TreeSource):
                data.leave_out(verb.sink.status)
                if not isinstance(destination, PipeSink):
                    await call(pool.files, _leave_out, data, path)
            yield verb
        except OSError as error:
            if error.filename in {None, reach}:  # reach: as workers know it
                error.filename = path
            raise
        finally:
            await verb.sink.aclose()


async def _open_sink(pool: WorkerPool, path: str, writing: Writing) -> Sink:
    """Open a file that replaces the one there, or what is there and is no file."""
    if await call(pool.files, _is_special, path):
        return await NamedPipeSink.open(path)
    fsync = writing.fsync is not False
    return await FileSink.open(path, pool.files, on_exists=writing.on_exists, fsync=fsync)


def _is_special(path: str) -> bool:
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))


def _leave_out(tree: TreeSource, path: str) -> None:
    """Keep an older archive, which this one replaces, out of it."""
    with suppress(OSError):
        tree.leave_out(os.stat(path))


def _check_not_same(source: Any, path: str) -> None:
    status: os.stat_result | None = getattr(source, "status", None)
    if status is None or not stat.S_ISREG(status.st_mode) or not os.path.exists(path):
        return
    if os.path.samestat(status, os.stat(path)):
        msg = f"{source.name}: source and destination are the same file"
        raise ValueError(msg)
