"""Out, the first half: a source's chunks on their way into slots, and the jobs that compress them.

Most sources are read here, one chunk after another. A large file is read at several offsets at
once, each into its own slot, by the workers that compress it: a disk is faster with a queue of
reads, and the main process is spared the copy. Of a tree, too, workers read most themselves: see
``storage.base.Unread``.
"""

from __future__ import annotations

import asyncio
import mmap
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, NamedTuple, TypeAlias

from aiocompress.formats.base import STREAM
from aiocompress.model import Buffer
from aiocompress.storage.base import OpenedSource, Unread, naming
from aiocompress.storage.reach import Reach
from aiocompress.verbs import jobs
from aiocompress.verbs.options import Recipe
from aiocompress.workers.arena import Slot
from aiocompress.workers.inflight import Job
from aiocompress.workers.job import Result
from aiocompress.workers.lane import LIGHT, Lane
from aiocompress.workers.threads import begin, call, ended

_READS: Final = 4
"""How many reads of a large file are under way at once, where workers cannot read it."""


Work: TypeAlias = tuple[Callable[..., Result], tuple[Any, ...]]


class Made(NamedTuple):
    """A chunk and its frame, and what else the job has found out."""

    chunk: Buffer
    frame: Buffer
    about: Any


class Chunk:
    """A chunk on its way: its job, once the task that reads it, if there is one, has begun that."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.reading: asyncio.Task[bool] | None = None
        """Says in the end whether the chunk was filled."""
        self.is_first = self.is_whole = False
        """Whether no other chunk comes before it; whether it is all that there is."""
        self.blocks: list[bytes] = []
        """The blocks of an archive's index that belong after it."""
        self.unread: Unread | None = None
        self.about: Any = None
        """What was read here of the ``unread``; None: the job reads it."""
        self.work: Work = jobs.compress, ()
        """What the job does: a function, and what it is called with."""
        self.made: Made | None = None
        """What was made here, as no worker could."""

    def release(self) -> None:
        """Give it up; the slot is free once its worker is done."""
        if self.job is not None:
            self.job.release()
        elif self.reading is not None:
            self.reading.cancel()


class Outcome(NamedTuple):
    """A chunk that was compressed; ``data`` is its frame."""

    used: int
    data: Buffer
    blocks: list[bytes]
    is_whole: bool = False
    """Whether it is all that there is."""
    is_last: bool = False
    """Whether what comes after it does not count."""


class Chunks:
    """The chunks of one source; an empty one has one chunk, which is empty."""

    def __init__(self, lane: Lane, source: OpenedSource, recipe: Recipe) -> None:
        self._lane, self._source, self._recipe = lane, source, recipe
        self._slots, self._codec = lane.pool.slots, recipe.format.codec
        self._slow = recipe.long or recipe.level >= self._codec.slow_from
        self._size = recipe.chunk_size
        self._reach = lane.pool.shares_files
        """Whether workers can open files."""
        self._file: Reach | None = None
        """The file that workers read chunks of, if they do."""

    async def outcome(self, chunk: Chunk) -> Outcome | None:
        """Wait for a chunk; None: there is none, since the file has ended before."""
        if chunk.reading is not None:
            await chunk.reading
        if chunk.job is None:
            return None
        _, data, about = await self._made(chunk, chunk.job)
        if chunk.unread is not None:
            used, blocks = await chunk.unread.settle(about if chunk.about is None else chunk.about)
            return Outcome(used, data, blocks)
        used = chunk.job.used if about is None else about
        if not used and not chunk.is_first:
            return None
        is_last = chunk.reading is not None and used < self._size
        is_whole = chunk.is_whole or (chunk.is_first and is_last)
        return Outcome(used, data, chunk.blocks, is_whole, is_last)

    async def _made(self, chunk: Chunk, job: Job) -> Made:
        """Wait for a job; what its worker could not do, which does not reach the files, is done."""
        result = await job.result()
        if result.size != STREAM:
            return Made(job.input, job.data, result.about)
        if chunk.made is None:
            self._reach, self._file = False, None
            data = memoryview(bytearray(job.input))
            room = memoryview(bytearray(self._codec.bound(len(data))))
            function, arguments = chunk.work
            result = await call(self._lane.pool.threads, function, (data, room), *arguments)
            chunk.made = Made(data, room[: result.size], result.about)
        return chunk.made

    def _how(self, chunk: Chunk) -> jobs.Encoding:
        recipe = self._recipe
        return jobs.Encoding(recipe.format.name, recipe.level, recipe.long, chunk.is_first)

    async def _take(self, size: int) -> Slot:
        return await self._slots.take(
            size, self._codec.bound(size), slow=self._slow, new=self._lane.window.is_new
        )

    def produce(self) -> AsyncGenerator[Chunk]:
        """Return a generator that reads chunks, or has them read, one slot at a time."""
        source, size = self._source, self._size
        if source.size is not None:
            size = min(size, source.size + 1)
        self._slots.check(size, self._codec.bound(size))
        is_large = source.size is not None and source.size > size
        return self._at_offsets() if source.at_offsets and is_large else self._in_order(size)

    # One chunk after another.

    async def _in_order(self, size: int) -> AsyncGenerator[Chunk]:
        source = self._source
        rooms: list[memoryview] = []

        def free() -> int:
            rooms.clear()  # goes back to the system by itself
            return 0

        self._lane.window.when_stuck = free
        first = more = True
        while more:
            # What a slow source sends is gathered first: no slot waits for it.
            if source.waits and (not rooms or len(rooms[0]) < size):
                rooms[:] = [memoryview(mmap.mmap(-1, size))]  # takes only as much as is filled
            used = await source.fill(rooms[0][:size]) if source.waits else -1
            slot, chunk = await self._take(size), Chunk()
            chunk.is_first = first
            try:
                if source.waits:
                    slot.input[:used] = rooms[0][:used]
                else:
                    used = await self._begin(chunk, slot.input[:size])
            except BaseException:
                slot.free()
                raise
            if not used and not first:
                slot.free()
                return
            filled = used == size
            follows: bool | None = filled and not (first and source.size == size)
            if chunk.unread is not None:
                follows = None  # the end marker does, and perhaps nothing else
            more, chunk.blocks = source.goes_on(filled=filled), source.take_index()
            chunk.is_whole = first and not more and not chunk.blocks
            chunk.job = await self._start(
                slot, used, chunk, follows=follows, light=not first and used <= LIGHT
            )
            yield chunk
            # A file that turns out larger than it was goes on in whole chunks.
            first, size = False, self._recipe.chunk_size

    async def _begin(self, chunk: Chunk, room: memoryview) -> int:
        """Fill a slot, but leave to a worker what it can read; returns the bytes of the chunk."""
        used, chunk.unread = await self._source.begin(room)
        if chunk.unread is not None and not self._reach:
            used, chunk.about = await call(self._lane.pool.files, chunk.unread.read, room)
        return used

    async def _start(
        self, slot: Slot, used: int, chunk: Chunk, *, follows: bool | None, light: bool = False
    ) -> Job:
        """Start the job of a chunk, which owns the slot."""
        how, unread = self._how(chunk), chunk.unread
        chunk.work = jobs.compress, (how,)
        extents = None
        if unread is not None and chunk.about is None:
            chunk.work, extents = unread.job(how), unread.laid()
            used = self._size  # what has grown needs all of the room
        function, arguments = chunk.work
        return await self._lane.run(
            slot, used, function, *arguments, follows=follows, light=light, extents=extents
        )

    # Several reads at once.

    async def _at_offsets(self) -> AsyncGenerator[Chunk]:
        at, size, total = 0, self._size, self._source.size or 0
        reads: deque[asyncio.Task[bool]] = deque()
        pool = self._lane.pool
        if self._reach:
            # What it reads for a detached job, or on another machine, is not seen here.
            watched = not (self._lane.detach or pool.by_path)
            self._file = await self._source.reach(by_path=pool.by_path, watched=watched)
        most = _READS if self._file is None else pool.window
        try:
            while True:
                # Behind the end, as it was in the beginning, each read says whether one follows.
                while len(reads) >= (most if at < total else 1):
                    await asyncio.wait([reads[0]])
                    last = reads.popleft()
                    if last.exception() is not None or not last.result():
                        return
                chunk = Chunk()
                work = self._read_at(at, await self._take(size), chunk)
                chunk.reading = begin(work, f"reads {self._source.name}")
                chunk.is_first = not at
                reads.append(chunk.reading)
                yield chunk
                at += size
        except BaseException:
            for reading in reads:
                reading.cancel()
            raise
        finally:
            for reading in reads:
                await ended(reading)

    async def _read_at(self, offset: int, slot: Slot, chunk: Chunk) -> bool:
        """Read a chunk, and start its job; returns whether it was filled."""
        if self._file is not None:
            return await self._read_by_worker(offset, slot, chunk, self._file)
        try:
            used = await self._source.read_at(offset, slot.input[: self._size])
        except BaseException:
            slot.free()
            raise
        filled = used == self._size
        if not used and offset:
            slot.free()
        else:
            chunk.job = await self._start(slot, used, chunk, follows=filled)
        return filled

    async def _read_by_worker(self, offset: int, slot: Slot, chunk: Chunk, file: Reach) -> bool:
        """Have the job of a chunk read it; returns whether it was filled."""
        function, arguments = jobs.compress_part, (self._how(chunk), file, offset)
        chunk.work = function, arguments
        job = chunk.job = await self._lane.run(
            slot, self._size, function, *arguments, follows=True, extents=()
        )
        with naming(self._source.name):
            made = await self._made(chunk, job)
        await self._source.see(offset, memoryview(made.chunk), made.about)
        return bool(made.about == self._size)
