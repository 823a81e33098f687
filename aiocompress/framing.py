"""The framed container of the original script: a folder in, and back.

It holds paths and content of regular files, and nothing else: what is no file is left out and
named, modes and times are those of new files.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Final, NamedTuple

from .compression import Recipe
from .containers import framed
from .decompression import READ_SIZE, Reading
from .errors import AiocompressError, CorruptError
from .files import Writing, begun
from .model import MIB, OnError, PathLike, Progress, Report
from .pipeline import Tally, in_order
from .progress import Meter
from .sources import Source, TreeSource, opened
from .storage import call
from .trees import framed as framed_files
from .trees.building import Building
from .trees.found import Found
from .trees.framed import Chunks, Files, Part
from .trees.packing import Packing
from .trees.restoring import UNBOUNDED, Bounds
from .workers import worker
from .workers.pool import Job, WorkerPool

_LARGEST_READ: Final = 16 * MIB
_RUN_COMPRESSED, _RUN_RAW, _RUN_ITEMS = 2 * MIB, 4 * MIB, 512


# Out.


async def compress_tree(
    pool: WorkerPool, packing: Packing, destination: PathLike, recipe: Recipe, writing: Writing
) -> Report:
    """Write the regular files of folders into one file.

    :raises ValueError: the codec is not zstd.
    :raises FormatError: the name of a file cannot be written.
    :raises OSError: something cannot be read or written.
    """
    if recipe.codec.name != "zstd":
        msg = f"a framed folder is compressed with zstd, not with {recipe.codec.name}"
        raise ValueError(msg)
    tree = _Tree(packing, recipe.chunk_size)
    async with begun(pool, tree, destination, writing) as verb:
        if verb.sink is not None:
            verb.tally.found = tree.found
            batches = _batches(pool, tree.chunks, recipe, detach=verb.sink.waits)
            with verb.meter("compressing") as meter:
                async with aclosing(in_order(batches, pool.window)) as jobs:
                    async for batch in jobs:
                        await batch.job.result()
                        await verb.sink.write(batch.job.data)
                        verb.tally.add(batch.job.used, len(batch.job.data), batch.frames)
                        meter.update()
                await verb.commit()
    return verb.report()


class _Tree(TreeSource):
    """Folders and files as what is read of them here."""

    def __init__(self, packing: Packing, chunk_size: int) -> None:
        super().__init__(packing)
        self.chunks = Chunks(packing, chunk_size, self.found)

    def leave_out(self, status: os.stat_result) -> None:
        self.chunks.own.add((status.st_dev, status.st_ino))

    async def aclose(self) -> None:
        await call(self.executor, self.chunks.close)


class _Batch(NamedTuple):
    """Chunks on their way to the container."""

    job: Job
    frames: int

    def release(self) -> None:
        self.job.release()


async def _batches(
    pool: WorkerPool, chunks: Chunks, recipe: Recipe, *, detach: bool
) -> AsyncGenerator[_Batch]:
    """Read chunks into slots, many of small files into one."""
    size, room = recipe.chunk_size + 1, framed_files.room_for(recipe.chunk_size)
    pool.slots.check(size, room)
    is_first, frames = True, 0
    while chunks.more:
        slot = await pool.slots.take(size, room)
        try:
            runs = await call(pool.files, chunks.fill, slot.input[:size])
        except BaseException:
            slot.free()
            raise
        if not runs:
            slot.free()
            return
        function = partial(framed_files.compress, is_first=not frames)
        job = await pool.run(
            slot,
            sum(run.size for run in runs),
            function,
            recipe.level,
            runs,
            alone=is_first and not chunks.more,
            detach=detach,
        )
        count = sum(run.size > 0 for run in runs)
        yield _Batch(job, count)
        is_first, frames = False, frames + count


# Back.


async def decompress_tree(
    pool: WorkerPool,
    source: str,
    destination: str,
    reading: Reading,
    writing: Writing,
    *,
    on_error: OnError = "raise",
    bounds: Bounds = UNBOUNDED,
) -> Report:
    """Give back the files of a framed container, ours or the original script's.

    :param on_error: "skip" leaves out files that are refused or damaged, and reports them.
    :raises CorruptError: it is damaged, or chunks of a file are not in order.
    :raises UnsafeMemberError: a file would be outside of the folder.
    :raises LimitError: there is more than ``max_output``, or a frame or file above a limit.
    :raises OSError: a file cannot be read or written; ``FileExistsError``: the folder exists.
    """
    begun, tally = time.perf_counter(), Tally(pool, Found())
    async with opened(source, pool) as data:
        build = await call(
            pool.files, Building, destination, writing.on_exists, undo=Building.close
        )
        try:
            with _meter(writing, tally, data):
                files = Files(build.descriptor, on_error, tally.found, bounds)
                await _Restoration(pool, data, files, reading, tally).run()
            commit = partial(build.commit, fsync=writing.fsync is not False)
            await call(pool.files, commit)
        finally:
            await call(pool.files, build.close)
    tally.found.kept = build.kept
    return tally.report(time.perf_counter() - begun)


def _meter(writing: Writing, tally: Tally, source: Source) -> Meter:
    def measure() -> Progress:
        raw, compressed = tally.raw_bytes, tally.compressed_bytes
        return Progress(raw, compressed, compressed, source.size, tally.found.files)

    meter = Meter(writing.progress, measure, "extracting")
    tally.observer = meter.update
    return meter


class _Gathered:
    """Paths and chunks that travel together; ``data`` are the frames of the chunks."""

    def __init__(self) -> None:
        self.items: list[framed.Path | Part] = []
        self.frames: list[tuple[int, int]] = []
        self.data = bytearray()
        self.room = 0
        self.is_exact = True
        """Whether the size of the raw data is known; one frame that does not say it goes alone."""

    def fits(self, event: framed.Event, whole: int) -> bool:
        """Whether it can take an event, too."""
        if isinstance(event, framed.Path):
            return True
        size = len(self.data) + len(event.data) + self.room + event.room
        return not self.frames or (event.raw_size is not None and size <= whole)

    def add(self, event: framed.Event, whole: int) -> None:
        """Take an event.

        :param whole: the most bytes of a frame and its raw data.
        """
        if isinstance(event, framed.Path):
            self.items.append(event)
            return
        size, raw = len(event.data), event.raw_size
        room = min(event.room, whole - size)
        self.is_exact = raw is not None
        self.items.append(Part(event.offset, event.frame, size, raw))
        self.frames.append((size, room))
        self.data += event.data
        self.room += room

    @property
    def is_full(self) -> bool:
        """Whether it is worth a worker's task."""
        return (
            len(self.data) >= _RUN_COMPRESSED
            or self.room >= _RUN_RAW
            or len(self.items) >= _RUN_ITEMS
            or not self.is_exact
        )


class _Arrival(NamedTuple):
    """Paths and chunks on their way back; or what ends it all."""

    gathered: _Gathered
    job: Job | None = None
    error: AiocompressError | None = None

    def release(self) -> None:
        if self.job is not None:
            self.job.release()


class _Restoration:
    """One container on its way back: read, decoded by workers, written in order."""

    def __init__(
        self, pool: WorkerPool, source: Source, files: Files, reading: Reading, tally: Tally
    ) -> None:
        self._pool, self._source, self._files = pool, source, files
        self._reading, self._tally = reading, tally
        self._whole = pool.slots.largest
        self._reader = framed.Reader(max_window=reading.max_window, whole=self._whole)
        self._small = source.size is not None and source.size <= READ_SIZE
        self._begun = False

    async def run(self) -> None:
        """Do it all."""
        files, tally = self._pool.files, self._tally
        try:
            async with aclosing(in_order(self._arrivals(), self._pool.window)) as arrivals:
                async for arrival in arrivals:
                    await self._take(arrival)
            finish = partial(self._files.finish, unordered=self._reader.may_be_unordered)
            await call(files, finish)
        finally:
            await call(files, self._files.close)
        # Paths and lengths belong to no frame.
        tally.add(0, tally.read_bytes - tally.compressed_bytes, 0)

    # Reading.

    async def _arrivals(self) -> AsyncGenerator[_Arrival]:
        """Read the container, and start a job for each run of chunks."""
        gathered = _Gathered()
        try:
            async with aclosing(self._events()) as events:
                async for event in events:
                    if gathered.is_full or not gathered.fits(event, self._whole):
                        yield await self._start(gathered)
                        gathered = _Gathered()
                    gathered.add(event, self._whole)
        except AiocompressError as error:
            yield await self._start(gathered)
            yield _Arrival(_Gathered(), error=error)
        else:
            yield await self._start(gathered)

    async def _events(self) -> AsyncGenerator[framed.Event]:
        """Yield what stands in the container; valid until the next one is asked for."""
        reader, more = self._reader, True
        while more:
            room = reader.room(min(self._reading.read_size, _LARGEST_READ))
            size = await self._source.readinto(room)
            self._tally.read_bytes += size
            if size:
                reader.fill(size)
            else:
                reader.end()
                more = False
            while (event := reader.next_event()) is not None:
                yield event

    async def _start(self, gathered: _Gathered) -> _Arrival:
        if not gathered.frames:
            return _Arrival(gathered)
        used = len(gathered.data)
        slot = await self._pool.slots.take(used, gathered.room)
        slot.input[:used] = gathered.data
        gathered.data = bytearray()
        job = await self._pool.run(
            slot,
            used,
            worker.decompress,
            "zstd",
            tuple(gathered.frames),
            None,
            # A first run may be the only one, and is not worth starting processes.
            alone=self._small or not (self._begun or self._pool.has_processes),
        )
        self._begun = True
        return _Arrival(gathered, job)

    # Writing.

    async def _take(self, arrival: _Arrival) -> None:
        gathered, job = arrival.gathered, arrival.job
        if arrival.error is not None:
            error = arrival.error.located(file=self._source.name)
            await call(self._pool.files, self._files.cut, error)
        elif job is None:
            await call(self._pool.files, self._files.take, gathered.items, memoryview(b""))
        elif await self._is_decoded(gathered, job):
            data = memoryview(job.data)
            self._tally.add(len(data), job.used, len(gathered.frames))
            self._reading.check_output(self._tally.raw_bytes)
            await call(self._pool.files, self._files.take, gathered.items, data)
        else:
            await self._stream(gathered, memoryview(job.input))

    async def _is_decoded(self, gathered: _Gathered, job: Job) -> bool:
        """Wait for the worker; what it cannot decode is looked at frame by frame."""
        try:
            size = (await job.result()).size
        except CorruptError:
            return False
        return size == gathered.room if gathered.is_exact else size >= 0

    async def _stream(self, gathered: _Gathered, data: memoryview) -> None:
        for item in gathered.items:
            if isinstance(item, framed.Path):
                await call(self._pool.files, self._files.begin, item)
                continue
            steps = self._files.stream(item, data[: item.size], self._reading.max_window)
            while (size := await call(self._pool.threads, next, steps, None)) is not None:
                self._tally.add(size, 0, 0)
                self._reading.check_output(self._tally.raw_bytes)
            self._tally.add(0, item.size, 1)
            data = data[item.size :]
