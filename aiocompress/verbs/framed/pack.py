"""Out: the regular files of a tree into the framed container, and nothing else of it.

Small files travel to the workers in batches. Each of them is still a chunk of its own, so that the
bytes depend on nothing but the files. The report names whatever is not a file.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from functools import partial
from typing import Final, NamedTuple

from aiocompress.errors import FormatError
from aiocompress.formats.framed import container as framed
from aiocompress.formats.zstd import codec as zstd
from aiocompress.model import KIB, Buffer, Report
from aiocompress.storage.base import Sink
from aiocompress.storage.walk import Entry, Skip, kind_of
from aiocompress.verbs.base import into, verb
from aiocompress.verbs.entries import open_file
from aiocompress.verbs.found import Found
from aiocompress.verbs.options import Packing, Recipe, Writing
from aiocompress.verbs.tree import Tree, amount
from aiocompress.workers.inflight import Job
from aiocompress.workers.job import Place, Result, deliver, views
from aiocompress.workers.lane import Lane
from aiocompress.workers.pipeline import Sent, in_order
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

_MARGIN: Final = 256 * KIB
"""Room for paths and lengths in a compressed batch: at least for the longest path."""
_MOST_RUNS: Final = 256


async def compress_tree(
    pool: WorkerPool, packing: Packing, destination: Sink, recipe: Recipe, writing: Writing
) -> Report:
    """Write the regular files of folders into one file.

    :raises ValueError: the codec is not zstd.
    :raises FormatError: the container cannot hold the name of a file.
    :raises OSError: something cannot be read or written.
    """
    if recipe.format.name != "zstd":
        msg = f"a framed folder is compressed with zstd, not with {recipe.format.name}"
        raise ValueError(msg)
    found = Found()
    tree = Tree(packing, found)
    chunks = _Chunks(tree, packing, recipe.chunk_size, found)
    try:
        async with (
            verb(pool, "compressing", writing, found=found) as run,
            into(run, tree, destination) as sink,
        ):
            run.name = tree.name
            run.expect(partial(amount, packing, pool.files, as_tar=False))
            if sink is not None:
                lane = Lane(pool, detach=sink.waits)
                async with aclosing(in_order(_batches(lane, chunks, recipe), lane.window)) as items:
                    async for job, frames in items:
                        await job.result()
                        await sink.write(job.data)
                        run.tally.add(job.used, len(job.data), frames)
        return run.report()
    finally:
        await call(pool.files, chunks.close)


async def _batches(lane: Lane, chunks: _Chunks, recipe: Recipe) -> AsyncGenerator[Sent[Job, int]]:
    """Read chunks into slots, many small files into one; tells how many of them have a frame."""
    slots, files = lane.pool.slots, lane.pool.files
    # One byte more than a chunk shows whether a file has grown.
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
        used, count = sum(run.size for run in runs), sum(run.size > 0 for run in runs)
        function = partial(_compress, is_first=not frames)
        job = await lane.run(slot, used, function, recipe.level, runs, follows=chunks.more)
        yield Sent(job, count)
        frames += count


class _Run(NamedTuple):
    """A chunk in a batch: what stands in front of it, and its raw bytes (0: no chunk at all)."""

    head: bytes
    size: int

    @property
    def room(self) -> int:
        """The most bytes that it takes in the container."""
        frame = framed.LARGEST_CHUNK_HEAD + zstd.CODEC.bound(self.size) if self.size else 0
        return len(self.head) + frame


def _room_for(chunk_size: int) -> int:
    """Return the most bytes that a compressed batch takes."""
    return zstd.CODEC.bound(chunk_size) + _MARGIN


def _compress(place: Place, level: int, runs: tuple[_Run, ...], *, is_first: bool) -> Result:
    """Compress a batch, in a worker, into bytes of the container.

    :param is_first: the container holds no chunk yet.
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


class _Chunks:
    """Reads the files of a tree, one batch of chunks after another; always ``close`` it.

    ``_lay_all`` is a generator that stops where a batch is full, perhaps within a file, and goes
    on there with the next one.
    """

    def __init__(self, tree: Tree, packing: Packing, chunk_size: int, found: Found) -> None:
        self.more = True
        """Whether there may be another batch."""
        self._tree, self._on_error, self._found = tree, packing.on_error, found
        self._chunk_size, self._room = chunk_size, _room_for(chunk_size)
        self._paths = framed.Paths()
        self._folder: tuple[bytes, str] | None = None
        """The folder in which nothing has been found yet: what names in it begin with, its path."""
        self._view = memoryview(b"")
        self._used = self._most = 0
        self._runs: list[_Run] = []
        self._steps = self._lay_all()

    def fill(self, view: memoryview) -> tuple[_Run, ...]:
        """Read the next batch; it is empty at the end.

        :param view: room for the raw bytes, one more than a chunk.
        """
        self._view, self._used, self._most, self._runs = view, 0, 0, []
        next(self._steps, None)
        self._view = memoryview(b"")
        return tuple(self._runs)

    def close(self) -> None:
        self._steps.close()

    # The tree.

    def _lay_all(self) -> Generator[None]:
        with closing(self._tree.entries()) as entries:
            for entry in entries:
                yield from self._lay(entry)
        self._end_folder()
        self.more = False

    def _lay(self, entry: Entry | Skip) -> Generator[None]:
        if self._folder is not None and not entry.name.startswith(self._folder[0]):
            self._end_folder()
        self._folder = None
        if isinstance(entry, Skip):
            self._tree.skip(entry.name, entry.error)
        elif entry.is_folder:
            inside = entry.name and entry.name + b"/"
            self._folder = inside, self._tree.shown(inside)
        else:
            try:
                yield from self._lay_file(entry)
            except (OSError, FormatError) as error:
                self._tree.skip(entry.name, error)

    def _end_folder(self) -> None:
        """Report a folder if nothing was found in it."""
        if self._folder is not None:
            self._leave_out(self._folder[1], "an empty folder")
            self._folder = None

    def _leave_out(self, path: str, what: str) -> None:
        self._found.skip(f"{path}: {what}, which a framed folder cannot hold")

    # One file.

    def _lay_file(self, entry: Entry) -> Generator[None]:
        descriptor, status = open_file(entry)
        if descriptor < 0:
            self._leave_out(self._tree.shown(entry.name), kind_of(status.st_mode))
            return
        self._found.latest = entry.name
        try:
            if not self._tree.is_output(entry.name, status):
                yield from self._lay_content(entry.name, descriptor, status)
        finally:
            os.close(descriptor)

    def _lay_content(self, name: bytes, descriptor: int, status: os.stat_result) -> Generator[None]:
        """Read what the file held when it was opened, chunk by chunk."""
        size, done = status.st_size, 0
        head = self._paths.entry(name, has_chunks=size > 0)
        while head or done < size:
            want = min(size - done, self._chunk_size)
            if not self._fits(_Run(head, want)):
                yield
            try:
                # One byte more shows whether the file has grown.
                got = self._read(descriptor, want + (done + want == size))
            except OSError as error:
                if head or self._on_error == "raise":
                    raise
                # The chunks before it are on their way already.
                path = self._tree.shown(name)
                self._found.change(f"{path}: {error.strerror} at byte {done}, the rest is missing")
                return
            self._add(_Run(head, min(got, want)))
            head, done = b"", done + got
            if got < want:
                break
        self._check_same(name, descriptor, status, done)

    def _fits(self, run: _Run) -> bool:
        return (
            len(self._runs) < _MOST_RUNS
            and self._used + run.size < len(self._view)
            and self._most + run.room <= self._room
        )

    def _read(self, descriptor: int, size: int) -> int:
        view, done = self._view[self._used : self._used + size], 0
        while done < size and (more := os.readv(descriptor, [view[done:]])):
            done += more
        return done

    def _add(self, run: _Run) -> None:
        self._runs.append(run)
        self._used += run.size
        self._most += run.room
        self._found.files += bool(run.head)

    def _check_same(self, name: bytes, descriptor: int, before: os.stat_result, done: int) -> None:
        size = before.st_size
        if done != size:
            kept = f"its first {min(done, size)} bytes are packed"
            what = f"{'shrank' if done < size else 'grew'} while it was read, {kept}"
        elif size > self._chunk_size and os.fstat(descriptor).st_mtime_ns != before.st_mtime_ns:
            what = "changed while it was read"
        else:
            return
        self._found.change(f"{self._tree.shown(name)}: {what}")
