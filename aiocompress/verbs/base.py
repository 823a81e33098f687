"""What every verb has in common: it opens both sides, counts, tells, commits and reports.

A verb reads as ``async with verb(...) as run, opened(source, pool) as data, into(run, data,
destination) as sink``. Leaving the body commits what was written; an error or a cancellation leaves
nothing behind.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from aiocompress.errors import AiocompressError, Lines
from aiocompress.model import OnExists, Progress, Report, is_url, printable, public_url
from aiocompress.storage.base import AsyncWriter, OpenedSink, Origin, Sink, naming
from aiocompress.storage.files import FileSink
from aiocompress.storage.pipes import NamedPipeSink, WriterSink
from aiocompress.verbs.found import Found
from aiocompress.verbs.meter import Meter
from aiocompress.verbs.options import Writing
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import begin, call, ended

if TYPE_CHECKING:
    from aiocompress.storage.atomic_folder import AtomicFolder

_log = logging.getLogger("aiocompress")
Amount: TypeAlias = tuple[int, int]
"""How much there is to do: bytes of the source, and files."""


def name_of(destination: Sink) -> str:
    """Return the name that says codec and layout; an object has none and gets a ``.tar.zst``."""
    if not isinstance(destination, str | os.PathLike):
        return ".tar.zst"
    name = os.fspath(destination)
    return public_url(name) if is_url(name) else name


class Verb:
    """One call of a verb: what it counts, and how far it has come."""

    def __init__(
        self, pool: WorkerPool, stage: str, writing: Writing, tally: Tally, *, back: bool
    ) -> None:
        self.tally = tally
        self.name: str | None = None
        """The source, for whoever is told the progress."""
        self.target: str | None = None
        """The destination, if it has a name."""
        self.total: int | None = None
        """Bytes of the source, if they are known."""
        self.total_files: int | None = 1 if tally.is_single else None
        """Files in it, if they are known."""
        self.also: list[Tally] = []
        """Tallies of work under way that the progress includes, and ``tally`` not yet."""
        self.kept: str | None = None
        """The path of the destination, if it exists and the caller wants it kept."""
        self.pool, self.writing = pool, writing
        self.back = back
        """Whether the source is the compressed side."""
        self._stage = stage
        self.before: str | None = None
        """What is being done before anything has gone through."""
        self._after: str | None = None
        self._begun = time.perf_counter()
        self._meter = Meter(writing.progress, self.progress)
        self._counting: asyncio.Future[None] | None = None
        self._is_done = False
        self.tally.observer = self._meter.update

    def expect(self, count: Callable[[], Awaitable[Amount]]) -> None:
        """Find out beside the work how much there is to do, if anybody is told.

        :param count: looks at the source once more; if it cannot, the totals stay unknown.
        """
        if self._meter.listens:
            self._counting = begin(self._count(count()), f"counts {self.name}")

    async def _count(self, counting: Awaitable[Amount]) -> None:
        with suppress(AiocompressError, OSError):  # which the work meets, too
            self.total, self.total_files = await counting

    def syncs(self) -> None:
        """Say that all has gone through, and has to come to the disk."""
        if self.writing.fsync:
            self._after = "syncing"
            self._meter.update(soon=True)

    def progress(self) -> Progress:
        """Say how far it has come."""
        tallies, name = (self.tally, *self.also), self.name
        raw = compressed = files = 0
        for tally in tallies:
            raw += tally.raw_bytes
            compressed += tally.compressed_bytes
            files += tally.found.files
            if tally.found.latest is not None:
                name = os.fsdecode(tally.found.latest)
        if self.tally.is_single:
            files = int(self._is_done)
        done, total, total_files = compressed if self.back else raw, self.total, self.total_files
        stage = self._after or (not raw and self.before) or self._stage
        # A file may have grown since it was counted, or be left out.
        if self._is_done:
            total, total_files, stage = done, files, self._stage
        elif total is not None:
            total = max(total, done)
        return Progress(raw, compressed, done, total, files, total_files, stage, name)

    async def finish(self) -> None:
        """Tell whoever wants to know that all is done."""
        if self.kept is None:
            self._is_done = True
            await self._meter.finish()

    async def aclose(self) -> None:
        """Stop counting and telling."""
        if self._counting is not None:
            self._counting.cancel()
            await ended(self._counting)
        await self._meter.aclose()

    def log(self, error: BaseException | None = None) -> None:
        """Log, in a line, what was done, or why not."""
        if not is_logged():
            return
        what = f"{self._stage} {self.name or 'a stream'}"
        if self.target is not None:
            what += f" to {self.target}"
        seconds = time.perf_counter() - self._begun
        if error is None:
            log(what, self.tally.raw_bytes, self.tally.compressed_bytes, seconds)
        else:
            why = f"{type(error).__name__} {error}".rstrip()
            _log.debug("%s: %s, after %.3f s", printable(what), printable(why), seconds)

    def report(self) -> Report:
        """Sum it up."""
        report = self.tally.report(time.perf_counter() - self._begun)
        if self.kept is None:
            return report
        return report._replace(files=0, skipped=(self.kept,), skipped_count=1)


def is_logged() -> bool:
    """Whether anybody listens to what ``log`` tells: most callers do not."""
    return _log.isEnabledFor(logging.DEBUG)


def log(what: str, raw: int, compressed: int, seconds: float) -> None:
    """Log what a verb has done.

    :param what: the verb, its source and its destination.
    :param raw: bytes on the raw side, as ``compressed`` on the other.
    """
    text = "%s: %d bytes raw, %d compressed, %.3f s"
    _log.debug(text, printable(what), raw, compressed, seconds)


@asynccontextmanager
async def verb(
    pool: WorkerPool,
    stage: str,
    writing: Writing,
    *,
    found: Found | None = None,
    tally: Tally | None = None,
    back: bool = False,
    file: str | None = None,
) -> AsyncGenerator[Verb]:
    """Count what a verb does, show its progress, log it, and name its source in its errors.

    :param stage: what is being done: "compressing", say.
    :param found: takes note of files and of what is left out; None: the verb is about one file.
    :param tally: what counts; None: a new one.
    :param back: whether the source is the compressed side.
    :param file: the source, unless ``opened`` opens it, which names it in errors, too.
    """
    pool.check()
    run = Verb(pool, stage, writing, tally or Tally(pool, found), back=back)
    run.name = file
    try:
        yield run
        await run.finish()
    except BaseException as error:
        if file is not None and isinstance(error, AiocompressError):
            error.located(file=file)
        run.log(error)
        raise
    else:
        run.log()
    finally:
        await run.aclose()


@asynccontextmanager
async def into(run: Verb, source: Origin, destination: Sink) -> AsyncGenerator[OpenedSink | None]:
    """Open a destination, and commit it when the body is done; None: it exists and is kept.

    :raises FileExistsError: it exists, and the caller does not want it replaced.
    :raises OSError: it cannot be written.
    :raises TypeError: it is neither a path nor an object with ``async write``.
    :raises ValueError: it is the source.
    """
    if isinstance(destination, str | os.PathLike):
        run.target = name_of(destination)
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
            if isinstance(sink, FileSink):
                run.syncs()
            like = source.status
            regular = like is not None and stat.S_ISREG(like.st_mode)
            await sink.commit(like if regular else None)
    finally:
        await sink.aclose()


async def _open_sink(run: Verb, source: Origin, destination: Sink) -> OpenedSink | None:
    if isinstance(destination, OpenedSink):
        return destination
    if is_url(destination):
        return await _open_url(run, destination)
    if isinstance(destination, str | os.PathLike):
        return await _open_path(run, source, os.fspath(destination))
    if isinstance(destination, AsyncWriter):
        return WriterSink(destination)
    msg = (
        "destination must be a path or an object with async write(data), not "
        f"{type(destination).__name__}"
    )
    raise TypeError(msg)


async def _open_url(run: Verb, url: str) -> OpenedSink | None:
    on_exists = run.writing.on_exists
    try:
        return await upload_to(run.pool, url, "error" if on_exists == "skip" else on_exists)
    except FileExistsError:
        if on_exists != "skip":
            raise
        run.kept = public_url(url)
        return None


async def upload_to(pool: WorkerPool, url: str, on_exists: OnExists) -> OpenedSink:
    """Begin an upload, whose parts are told among what waits for a slow reader.

    :raises FileExistsError: there is such an object, and ``on_exists`` is "error".
    :raises OSError: the store cannot be written to.
    :raises AiocompressError: the extra ``remote`` is not installed.
    :raises ValueError: nothing can be written there.
    """
    from aiocompress.storage import remote

    slots, upload = pool.slots, await remote.upload_to(url, on_exists)
    upload.counts = lambda size: slots.keep(size) if size > 0 else slots.drop(-size)
    await upload.__aenter__()
    return upload


async def _open_path(run: Verb, source: Origin, path: str) -> OpenedSink | None:
    """Open a new file; but write into an existing pipe or device as it is."""
    files, writing = run.pool.files, run.writing
    await call(files, _check_not_same, source, path)
    if writing.on_exists == "skip" and await call(files, os.path.lexists, path):
        run.kept = path
        return None
    if await call(files, is_special, path):
        return await NamedPipeSink.open(path)
    about = {"fsync": writing.fsync, "named": run.back and run.pool.by_path}
    return await FileSink.open(path, files, on_exists=writing.on_exists, **about)


def check_here(path: str) -> None:
    """Refuse a URL where only files and folders of this machine will do.

    :raises ValueError: it is one.
    """
    if is_url(path):
        raise ValueError(f"{public_url(path)}: this takes files and folders of this machine only")


def is_special(path: str) -> bool:
    """Whether a path is that of a pipe or a device, which is written as it is."""
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
    from aiocompress.storage.atomic_folder import AtomicFolder

    check_here(path)
    files, writing, run.target = run.pool.files, run.writing, path
    build = await call(files, AtomicFolder, path, writing.on_exists, undo=AtomicFolder.close)
    try:
        with naming(path):
            yield build
            run.syncs()
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
        self._one_file = Found(files=1)
        self.found = self._one_file if found is None else found
        """Files, and what was left out."""
        self.observer: Callable[[], object] | None = None
        """Called whenever something has gone through."""

    @property
    def is_single(self) -> bool:
        """Whether this is about one file, and not about a tree."""
        return self.found is self._one_file

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
