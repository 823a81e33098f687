"""What every verb has in common: it opens both sides, counts, tells, commits and reports.

A verb reads as ``async with verb(...) as run, opened(source, pool) as data, into(run, data,
destination) as sink``. Leaving the body commits what was written; an error or a cancellation leaves
nothing behind.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import Any, Final, TypeAlias

from aiocompress.errors import AiocompressError, Lines
from aiocompress.model import PathLike, Progress, ProgressOption, Report
from aiocompress.storage.atomic_folder import AtomicFolder
from aiocompress.storage.base import AsyncWriter, Origin, Sink, naming
from aiocompress.storage.files import FileSink
from aiocompress.storage.pipes import NamedPipeSink, WriterSink
from aiocompress.verbs.found import Found
from aiocompress.verbs.options import Writing
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

Destination: TypeAlias = PathLike | AsyncWriter | Sink

_INTERVAL: Final = 0.1


class Verb:
    """One call of a verb: what it counts, and how far it has come."""

    def __init__(self, pool: WorkerPool, writing: Writing, tally: Tally, *, back: bool) -> None:
        self.tally = tally
        self.total: int | None = None
        """Bytes of the source, if they are known."""
        self.also: list[Tally] = []
        """Tallies of work under way that the progress includes, and ``tally`` not yet."""
        self.kept: str | None = None
        """The path of the destination, if it exists and the caller wants it kept."""
        self.pool, self.writing = pool, writing
        self._back = back
        self._begun = time.perf_counter()

    def progress(self) -> Progress:
        """Say how far it has come."""
        raw = compressed = files = 0
        for tally in (self.tally, *self.also):
            raw += tally.raw_bytes
            compressed += tally.compressed_bytes
            files += tally.found.files
        return Progress(raw, compressed, compressed if self._back else raw, self.total, files)

    def report(self) -> Report:
        """Sum it up."""
        report = self.tally.report(time.perf_counter() - self._begun)
        if self.kept is None:
            return report
        return report._replace(files=0, skipped=(self.kept,), skipped_count=1)


@asynccontextmanager
async def verb(
    pool: WorkerPool,
    label: str,
    writing: Writing,
    *,
    found: Found | None = None,
    tally: Tally | None = None,
    back: bool = False,
    file: str | None = None,
) -> AsyncGenerator[Verb]:
    """Count what a verb does, show its progress, and name its source in its errors.

    :param label: what the bar says: "compressing", say.
    :param found: takes note of files and of what is left out; None: the verb is about one file.
    :param tally: what counts; None: a new one.
    :param back: whether the source is the compressed side.
    :param file: the source, unless ``opened`` opens it, which names it in errors, too.
    """
    pool.check()
    run = Verb(pool, writing, tally or Tally(pool, found), back=back)
    meter = Meter(writing.progress, run.progress, label)
    run.tally.observer = meter.update
    try:
        yield run
        if run.kept is None:
            meter.finish()
    except AiocompressError as error:
        if file is not None:
            error.located(file=file)
        raise
    finally:
        meter.close()


@asynccontextmanager
async def into(run: Verb, source: Origin, destination: Destination) -> AsyncGenerator[Sink | None]:
    """Open a destination, and commit it when the body is done; None: it exists and is kept.

    :raises FileExistsError: it exists, and the caller does not want it replaced.
    :raises OSError: it cannot be written.
    :raises TypeError: it is neither a path nor an object with ``async write``.
    :raises ValueError: it is the source.
    """
    sink = await _open_sink(run, source, destination)
    if sink is None:
        yield None
        return
    try:
        with nullcontext() if isinstance(sink, WriterSink) else naming(sink.name):
            if sink.status is not None:
                source.leave_out(sink.status)
            if isinstance(sink, FileSink):
                await call(run.pool.files, _leave_out, source, sink.name)
            yield sink
            like = source.status
            regular = like is not None and stat.S_ISREG(like.st_mode)
            await sink.commit(like if regular else None)
    finally:
        await sink.aclose()


async def _open_sink(run: Verb, source: Origin, destination: Destination) -> Sink | None:
    if isinstance(destination, Sink):
        return destination
    if isinstance(destination, str | os.PathLike):
        return await _open_path(run, source, os.fspath(destination))
    if isinstance(destination, AsyncWriter):
        return WriterSink(destination)
    msg = (
        "destination must be a path or an object with async write(data), not "
        f"{type(destination).__name__}"
    )
    raise TypeError(msg)


async def _open_path(run: Verb, source: Origin, path: str) -> Sink | None:
    """Open a new file; but write into an existing pipe or device as it is."""
    files, writing = run.pool.files, run.writing
    await call(files, _check_not_same, source, path)
    if writing.on_exists == "skip" and await call(files, os.path.lexists, path):
        run.kept = path
        return None
    if await call(files, _is_special, path):
        return await NamedPipeSink.open(path)
    return await FileSink.open(path, files, on_exists=writing.on_exists, fsync=writing.fsync)


def _is_special(path: str) -> bool:
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))


def _leave_out(source: Origin, path: str) -> None:
    """Keep an older archive, which this one replaces, out of it."""
    with suppress(OSError):
        source.leave_out(os.stat(path))


def _check_not_same(source: Origin, path: str) -> None:
    status = source.status
    if status is None or not stat.S_ISREG(status.st_mode) or not os.path.exists(path):
        return
    if os.path.samestat(status, os.stat(path)):
        msg = f"{source.name}: source and destination are the same file"
        raise ValueError(msg)


@asynccontextmanager
async def into_folder(run: Verb, path: str) -> AsyncGenerator[AtomicFolder]:
    """Build a folder, and give it its name when the body is done.

    :raises FileExistsError: it exists, and the caller does not want it changed.
    :raises OSError: it cannot be written.
    """
    files, writing = run.pool.files, run.writing
    build = await call(files, AtomicFolder, path, writing.on_exists, undo=AtomicFolder.close)
    try:
        with naming(path):
            yield build
            await call(files, partial(build.commit, fsync=writing.fsync))
        run.tally.found.kept = build.kept
    finally:
        await call(files, build.close)


# What a verb counts, and whom it tells.


class Tally:
    """What has gone through a stream; ``read_bytes`` counts bytes still on their way, too."""

    def __init__(self, pool: WorkerPool, found: Found | None = None) -> None:
        self._pool = pool
        self.raw_bytes = self.compressed_bytes = self.frames = self.read_bytes = 0
        self.warnings = Lines()
        self.found = Found(files=1) if found is None else found
        """Files, and what was left out."""
        self.observer: Callable[[], object] | None = None
        """Called whenever something has gone through."""

    def add(self, raw: int, compressed: int, frames: int) -> None:
        """Count bytes and frames, here and in the engine's statistics."""
        self.raw_bytes += raw
        self.compressed_bytes += compressed
        self.frames += frames
        self._pool.raw_bytes += raw
        self._pool.compressed_bytes += compressed
        if self.observer is not None:
            self.observer()

    def merge(self, other: Tally) -> None:
        """Add another tally, which the engine's statistics know already."""
        self.raw_bytes += other.raw_bytes
        self.compressed_bytes += other.compressed_bytes
        self.frames += other.frames

    def reset(self) -> None:
        """Start again from nothing."""
        self.raw_bytes = self.compressed_bytes = self.frames = self.read_bytes = 0
        self.found = Found()

    def report(self, seconds: float) -> Report:
        """Sum it up."""
        report = Report(
            raw_bytes=self.raw_bytes,
            compressed_bytes=self.compressed_bytes,
            seconds=seconds,
            frames=self.frames,
            warnings=tuple(self.warnings),
        )
        return self.found.report(report)


class Meter:
    """Tells a callback, or a tqdm bar on stderr if that is a terminal, how far a verb has come.

    :param measure: returns the progress now.
    """

    def __init__(
        self, option: ProgressOption, measure: Callable[[], Progress], label: str = ""
    ) -> None:
        self._measure = measure
        self._told = 0.0
        self._bar: Any = None
        self._tell: Callable[[Progress], object] | None = None
        if option is True:
            self._tell = self._draw
            self._label = label
        elif option is not False:
            self._tell = option

    def finish(self) -> None:
        """Tell the final progress."""
        if self._tell is not None:
            self._tell(self._measure())

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def update(self) -> None:
        """Tell the progress, unless that was done a moment ago."""
        if self._tell is not None and (now := time.monotonic()) - self._told >= _INTERVAL:
            self._told = now
            self._tell(self._measure())

    def _draw(self, progress: Progress) -> None:
        if self._bar is None:
            from tqdm import tqdm  # costs more than a small file

            self._bar = tqdm(
                desc=self._label,
                total=progress.total,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                dynamic_ncols=True,
                disable=None,
                leave=False,
            )
        told = [f"{progress.files:,} files"] if progress.files > 1 else []
        if progress.compressed_bytes:
            told.append(f"ratio {progress.raw_bytes / progress.compressed_bytes:.2f}")
        self._bar.set_postfix_str(", ".join(told), refresh=False)
        self._bar.update(progress.done - self._bar.n)
