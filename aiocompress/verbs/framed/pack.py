"""Out: the regular files of a tree into the framed container, and nothing else of it.

Small files travel in batches; each is a chunk of its own all the same, so that the bytes depend on
nothing but the files. What is not a file is left out and named.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from functools import partial
from typing import Final, NamedTuple

from aiocompress.errors import FormatError
from aiocompress.formats.framed import container as framed
from aiocompress.formats.tar.header import to_bytes
from aiocompress.formats.zstd import codec as zstd
from aiocompress.model import KIB, Buffer, Report
from aiocompress.storage.base import Origin
from aiocompress.storage.walk import (
    FILE_FLAGS,
    OURS,
    Entry,
    Skip,
    is_folder,
    kind_of,
    walk,
    without_prefix,
)
from aiocompress.verbs.base import Destination, into, verb
from aiocompress.verbs.found import Found
from aiocompress.verbs.options import Packing, Recipe, Writing
from aiocompress.workers.job import Place, Result, deliver, views
from aiocompress.workers.lane import Lane
from aiocompress.workers.pipeline import in_order
from aiocompress.workers.pool import Job, WorkerPool
from aiocompress.workers.threads import call

_MARGIN: Final = 256 * KIB
"""Room for what stands around the frames of a batch: at least the longest path."""
_MOST_RUNS: Final = 256


async def compress_tree(
    pool: WorkerPool, packing: Packing, destination: Destination, recipe: Recipe, writing: Writing
) -> Report:
    """Write the regular files of folders into one file.

    :raises ValueError: the codec is not zstd.
    :raises FormatError: the name of a file cannot be written.
    :raises OSError: something cannot be read or written.
    """
    if recipe.format.name != "zstd":
        msg = f"a framed folder is compressed with zstd, not with {recipe.format.name}"
        raise ValueError(msg)
    found = Found()
    chunks = Chunks(packing, recipe.chunk_size, found)
    try:
        async with (
            verb(pool, "compressing", writing, found=found) as run,
            into(run, chunks, destination) as sink,
        ):
            if sink is not None:
                batches = _batches(Lane(pool, detach=sink.waits), chunks, recipe)
                async with aclosing(in_order(batches, pool.window)) as items:
                    async for job, frames in items:
                        await job.result()
                        await sink.write(job.data)
                        run.tally.add(job.used, len(job.data), frames)
        return run.report()
    finally:
        await call(pool.files, chunks.close)


class _Batch(NamedTuple):
    """Chunks on their way to the container."""

    job: Job
    frames: int

    def release(self) -> None:
        self.job.release()


async def _batches(lane: Lane, chunks: Chunks, recipe: Recipe) -> AsyncGenerator[_Batch]:
    """Read chunks into slots, many of small files into one."""
    slots, files = lane.pool.slots, lane.pool.files
    size, room = recipe.chunk_size + 1, _room_for(recipe.chunk_size)
    slots.check(size, room)
    frames = 0
    while chunks.more:
        slot = await slots.take(size, room)
        try:
            runs = await call(files, chunks.fill, slot.input[:size])
        except BaseException:
            slot.free()
            raise
        if not runs:
            slot.free()
            return
        used = sum(run.size for run in runs)
        function = partial(compress, is_first=not frames)
        job = await lane.run(slot, used, function, recipe.level, runs, follows=chunks.more)
        count = sum(run.size > 0 for run in runs)
        yield _Batch(job, count)
        frames += count


class Run(NamedTuple):
    """A chunk in a batch: what stands in front of it, and its raw bytes; 0: there is none."""

    head: bytes
    size: int


def _room_for(chunk_size: int) -> int:
    """Return the bytes that a batch takes at most, when it is compressed."""
    return zstd.CODEC.bound(chunk_size) + _MARGIN


def _most_bytes(run: Run) -> int:
    frame = framed.LARGEST_CHUNK_HEAD + zstd.CODEC.bound(run.size) if run.size else 0
    return len(run.head) + frame


def compress(place: Place, level: int, runs: tuple[Run, ...], *, is_first: bool) -> Result:
    """Compress a batch, in a worker, into bytes of the container.

    :param is_first: no chunk stands before it.
    """
    data, room = views(place)
    parts: list[Buffer] = []
    for head, size in runs:
        parts.append(head)
        if size:
            frame = memoryview(zstd.compress(data[:size], level))
            parts += framed.chunk_entry(frame, is_first=is_first)
            data, is_first = data[size:], False
    return deliver(b"".join(parts), room)


class Chunks(Origin):
    """Reads the files of a tree, a batch of chunks after another; ``close`` always.

    ``_lay_all`` is a generator that goes on where the last batch ended.
    """

    def __init__(self, packing: Packing, chunk_size: int, found: Found) -> None:
        self.more = True
        """Whether there may be another batch."""
        self._own: set[tuple[int, int]] = set()
        """Device and inode of files that are left out: those that the container goes to."""
        self.name = packing.roots[0][0] if len(packing.roots) == 1 else None
        self._packing, self._chunk_size, self._found = packing, chunk_size, found
        self._room = _room_for(chunk_size)
        self._paths = framed.Paths()
        self._root, self._cut = b"", 0
        self._folder: bytes | None = None
        """The folder in which nothing has been found yet."""
        self._view = memoryview(b"")
        self._at = self._most = 0
        self._runs: list[Run] = []
        self._steps = self._lay_all()

    def leave_out(self, status: os.stat_result) -> None:
        self._own.add((status.st_dev, status.st_ino))

    def fill(self, view: memoryview) -> tuple[Run, ...]:
        """Read the next batch; none at the end.

        :param view: room for the raw bytes, one more than a chunk.
        """
        self._view, self._at, self._most, self._runs = view, 0, 0, []
        next(self._steps, None)
        self._view = memoryview(b"")
        return tuple(self._runs)

    def close(self) -> None:
        """Close what is open."""
        self._steps.close()

    # What there is.

    def _lay_all(self) -> Generator[None]:
        for path, name in self._packing.roots:
            self._root, root = os.fsencode(path), os.fsencode(name)
            inside = to_bytes(self._packing.prefix) + root
            whole = is_folder(self._root)
            if whole and root:
                inside += b"/"
            self._cut = len(inside)
            self._folder = inside if whole else None
            entries = self._below(inside) if whole else self._alone(inside)
            with closing(entries):
                for entry in entries:
                    yield from self._lay(entry)
            self._end_folder()
        self.more = False

    def _below(self, inside: bytes) -> Generator[Entry | Skip]:
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield from walk(descriptor, inside, without_prefix(self._packing.excluded, self._cut))
        finally:
            os.close(descriptor)

    def _alone(self, name: bytes) -> Generator[Entry]:
        folder, base = os.path.split(self._root)
        parent = os.open(folder or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield Entry(name, base, parent)
        finally:
            os.close(parent)

    def _lay(self, entry: Entry | Skip) -> Generator[None]:
        if self._folder is not None and not entry.name.startswith(self._folder):
            self._end_folder()
        self._folder = None
        if isinstance(entry, Skip):
            self._skip(entry.name, entry.error)
        elif entry.is_folder:
            self._folder = entry.name + b"/"
        else:
            try:
                yield from self._lay_file(entry)
            except (OSError, FormatError) as error:
                self._skip(entry.name, error)

    def _end_folder(self) -> None:
        """Tell of a folder that nothing was found in."""
        if self._folder is not None:
            self._leave_out(self._folder, "an empty folder")
            self._folder = None

    # One file.

    def _lay_file(self, entry: Entry) -> Generator[None]:
        if not entry.is_file:
            status = os.stat(entry.base, dir_fd=entry.parent, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                self._tell_kind(entry.name, status.st_mode)
                return
        descriptor = self._open(entry)
        if descriptor is None:
            return
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                self._tell_kind(entry.name, status.st_mode)
            elif (status.st_dev, status.st_ino) in self._own:
                self._found.warn(f"{self._shown(entry.name)}: is the output, and not packed")
            else:
                yield from self._lay_content(entry.name, descriptor, status)
        finally:
            os.close(descriptor)

    def _open(self, entry: Entry) -> int | None:
        try:
            return os.open(entry.base, FILE_FLAGS, dir_fd=entry.parent)
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.ENXIO}:
                raise
        # It is a link, or a socket, by now.
        status = os.stat(entry.base, dir_fd=entry.parent, follow_symlinks=False)
        self._tell_kind(entry.name, status.st_mode)
        return None

    def _lay_content(self, name: bytes, descriptor: int, status: os.stat_result) -> Generator[None]:
        """Read what the file held when it was opened, chunk by chunk."""
        size, done = status.st_size, 0
        head = self._paths.entry(name, has_chunks=size > 0)
        while head or done < size:
            want = min(size - done, self._chunk_size)
            if not self._fits(Run(head, want)):
                yield
            try:
                # One more byte tells whether the file has grown.
                got = self._read(descriptor, want + (done + want == size))
            except OSError as error:
                if head:
                    raise
                self._tell_cut(name, error, done)
                return
            self._add(Run(head, min(got, want)))
            head, done = b"", done + got
            if got < want:
                break
        self._check_same(name, descriptor, status, done)

    def _fits(self, run: Run) -> bool:
        return (
            len(self._runs) < _MOST_RUNS
            and self._at + run.size < len(self._view)
            and self._most + _most_bytes(run) <= self._room
        )

    def _read(self, descriptor: int, size: int) -> int:
        view, done = self._view[self._at : self._at + size], 0
        while done < size and (more := os.readv(descriptor, [view[done:]])):
            done += more
        return done

    def _add(self, run: Run) -> None:
        self._runs.append(run)
        self._at += run.size
        self._most += _most_bytes(run)
        self._found.files += bool(run.head)

    def _check_same(self, name: bytes, descriptor: int, before: os.stat_result, done: int) -> None:
        size = before.st_size
        if done != size:
            what = "shrank" if done < size else "grew"
            kept = f"its first {min(done, size)} bytes are packed"
            self._found.change(f"{self._shown(name)}: {what} while it was read, {kept}")
        elif size > self._chunk_size and os.fstat(descriptor).st_mtime_ns != before.st_mtime_ns:
            self._found.change(f"{self._shown(name)}: changed while it was read")

    # What is left out.

    def _tell_kind(self, name: bytes, mode: int) -> None:
        self._leave_out(name, "a symbolic link" if stat.S_ISLNK(mode) else kind_of(mode))

    def _leave_out(self, name: bytes, what: str) -> None:
        self._found.skip(f"{self._shown(name)}: {what}, which a framed folder cannot hold")

    def _tell_cut(self, name: bytes, error: OSError, offset: int) -> None:
        """Tell of a read error behind chunks that are on their way."""
        if self._packing.on_error == "raise":
            raise error
        text = f"{self._shown(name)}: {error.strerror} at byte {offset}, the rest is missing"
        self._found.change(text)

    def _skip(self, name: bytes, error: OSError | FormatError) -> None:
        path = self._shown(name)
        ours = isinstance(error, OSError) and error.errno in OURS
        if self._packing.on_error == "skip" and not ours:
            reason = error.reason if isinstance(error, FormatError) else error.strerror
            self._found.skip(f"{path}: {reason}")
        elif isinstance(error, FormatError):
            error.file = path
            raise error
        else:
            raise OSError(error.errno, error.strerror, path) from None

    def _shown(self, name: bytes) -> str:
        """Return the path of a file as its user knows it."""
        rest = name[self._cut :]
        return os.fsdecode(os.path.join(self._root, rest) if rest else self._root)
