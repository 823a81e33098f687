"""Runs of frames to raw bytes: the one decode stage, for every verb that reads a container.

Whole frames go to the workers, a run of them at a time. What cannot be decoded whole (a frame that
is too large, that does not say its size, or that is not as its index says) is decoded here, as a
stream, in a compute thread.
"""

from __future__ import annotations

import asyncio
import mmap
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from functools import cached_property
from typing import Final, Generic, NamedTuple, TypeVar

from aiocompress.errors import AiocompressError, CorruptError, FormatError, LimitError
from aiocompress.formats.base import Format, Piece, Reader, StreamDecoder
from aiocompress.model import KIB, MIB, Buffer
from aiocompress.storage.base import OpenedSource
from aiocompress.verbs import jobs
from aiocompress.verbs.base import Tally
from aiocompress.verbs.options import Reading
from aiocompress.workers.arena import Slot
from aiocompress.workers.inflight import Job
from aiocompress.workers.job import Result
from aiocompress.workers.lane import Lane
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import ended, settled

T = TypeVar("T")

DAMAGE: Final = (CorruptError, FormatError, LimitError)
"""What a frame that is not what it was can raise."""
_NOTHING: Final = memoryview(b"")
_LARGEST_READ: Final = 16 * MIB
_FIRST_READ: Final = 4 * KIB
_ROOM: Final = MIB
"""Raw bytes of a stream that travel together: a thread hop takes as long as decoding 100 KB."""
_ROOMS: Final = 4
"""How many of these are in memory at once; two of a source that waits."""


async def pieces(
    source: OpenedSource,
    reader: Reader,
    following: Callable[[], T | None],
    reading: Reading,
    tally: Tally,
    most: Callable[[], int] | None = None,
) -> AsyncGenerator[T]:
    """Read blocks, and have a container's reader find what is in them, until both end.

    :param following: returns the reader's next item, which is valid until the next is asked for.
    :param most: returns how many bytes may be read now, if not always ``reading.read_size``.
    """
    size, largest = -1, min(reading.read_size, _LARGEST_READ)
    # No larger room than for what may come: thousands of streams may be small, or slow.
    wanted = _FIRST_READ if source.size is None else source.size + 1
    while True:
        while (item := following()) is not None:
            yield item
        if not size:
            return
        room = min(wanted, largest if most is None else min(largest, most()))
        size = await source.readinto(reader.room(room))
        tally.read_bytes += size
        reading.check_input(tally.read_bytes)
        reader.fill(size)
        if not size:
            reader.end()
        elif size == wanted and source.size is None:
            wanted *= 2


class Decoding(NamedTuple):
    """A piece on its way, with a worker's job, or, without one, as part of a stream.

    ``piece`` has no data any more, which was valid only for a moment: see ``input``.
    """

    piece: Piece
    size: int
    job: Job | None
    part: bytes = b""
    place: int | None = None
    """The raw offset at which a worker writes it, if one does."""

    @property
    def input(self) -> Buffer:
        """The compressed bytes."""
        return self.part if self.job is None else self.job.input

    @property
    def frames(self) -> int:
        """How many frames end in it."""
        return self.piece.last if self.piece.frames is None else len(self.piece.frames)

    def release(self) -> None:
        """Say that nobody will look at it any more."""
        if self.job is not None:
            self.job.release()


class Decoder:
    """Starts a job for each run of frames, and waits for what comes out.

    Workers may write before all that comes first is decoded. Where the size of a frame is only
    bounded, it is taken to be full, as all frames of pzstd are but the last. Whether it was shows
    when its turn comes, and so do frames that stand elsewhere than they were written.

    :param target: what workers write to, each frame at its place (``jobs.DISCARD``: the data is
        only checked); None leaves the raw data in the slots.
    """

    def __init__(self, lane: Lane, form: Format, target: jobs.Target | None = None) -> None:
        self._lane, self._format, self._target = lane, form, target
        self._raw_offset: int | None = 0
        """Where the next piece stands, if all before it are as large as they may be."""
        self._is_exact = True
        self._starting = asyncio.Lock()

    async def start(self, piece: Piece) -> Decoding:
        """Start a job for a piece, unless it is part of a stream."""
        self._lane.pool.check()
        kept, size, frames = piece._replace(data=_NOTHING), len(piece.data), piece.frames
        if frames is None:
            self._raw_offset = None
            return Decoding(kept, size, None, bytes(piece.data))
        self._is_exact &= piece.exact
        slots, is_new = self._lane.pool.slots, self._lane.window.is_new
        while True:
            place = self._place(piece)
            # What is written at once leaves its room to the next frame.
            room = piece.room if place is None else max(raw for _, raw in frames)
            slot = await slots.take(size, room, new=is_new)
            async with self._starting:
                if place == self._place(piece):
                    return Decoding(kept, size, await self._run(piece, slot, place), place=place)
            slot.free()  # meanwhile it showed that sizes are not what they were taken to be

    async def _run(self, piece: Piece, slot: Slot, place: int | None) -> Job:
        if self._raw_offset is not None:
            self._raw_offset += piece.room
        slot.input[: len(piece.data)] = piece.data
        target = None if place is None or self._target is None else (self._target, place)
        about = self._format.name, piece.frames, target
        return await self._lane.run(
            slot, len(piece.data), jobs.decompress, *about, keep_input=not piece.exact
        )

    def _place(self, piece: Piece) -> int | None:
        if self._target == jobs.DISCARD:
            return 0
        # A run of frames could not be written again: only the last of them stays in the slot.
        # Nor does anything stay of what was written by others than our own workers.
        is_certain = self._is_exact or not (piece.exact or self._lane.pool.by_path)
        return self._raw_offset if self._target is not None and is_certain else None

    def is_misplaced(self, item: Decoding, raw_offset: int) -> bool:
        """Whether a worker may have written a piece elsewhere than where it stands."""
        if item.place in {None, raw_offset} or self._target == jobs.DISCARD:
            return False
        self._raw_offset = None
        return True

    async def stop_writing(self) -> None:
        """Start no more jobs that write, and wait for those under way."""
        async with self._starting:  # the first job may wait for processes
            self._raw_offset = None
        await self.over()

    async def over(self) -> None:
        """Wait until no worker writes to the target any more."""
        await self._lane.over()


async def outcome(item: Decoding, *, strict: bool = True) -> Result | None:
    """Wait for a worker; None: the piece has to be decoded as a stream, frame by frame.

    :param strict: damage is an error, with its place in the container; or else it is None, too.
    """
    if item.job is None:
        return None
    try:
        result = await item.job.result()
    except AiocompressError as error:
        if strict or not isinstance(error, DAMAGE):
            base, frame = item.piece.offset, item.piece.first_frame
            raise error.located(base=base, frame=frame) from None
        return None
    is_whole = result.size == item.piece.room if item.piece.exact else result.size >= 0
    return result if is_whole else None


class Stream:
    """Decodes pieces one after another as one stream, in a compute thread.

    :param prompt: the next piece is there as soon as it is asked for. Then it is asked for while
        the last blocks of the one before it are still being decoded, and the thread never waits.
    """

    def __init__(
        self,
        pool: WorkerPool,
        form: Format,
        max_window: int,
        *,
        prompt: bool = False,
    ) -> None:
        self._format, self._max_window, self._prompt = form, max_window, prompt
        self._decoder: StreamDecoder | None = None
        self._start = self._frame = 0
        self._begun: int | None = None
        self._inputs: deque[Buffer] = deque()
        self._steps: Iterator[slice] = iter(())
        rooms = _ROOMS if prompt else 2
        self._rooms = Rooms(rooms)
        self._ahead: Ahead[slice] = Ahead(pool, self._next_block, rooms)

    @property
    def is_open(self) -> bool:
        """Whether a frame began in an earlier piece and has not ended."""
        return self._decoder is not None

    async def decode(self, item: Decoding) -> AsyncGenerator[Buffer]:
        """Yield the raw blocks of a piece; of a prompt source, those of the one before it."""
        if self._decoder is None:
            self._decoder = self._format.codec.open_stream(self._max_window)
            self._start, self._frame = item.piece.offset, item.piece.first_frame
            self._begun = self._start
        goes_on = self._prompt and item.job is None and not item.piece.last
        self._inputs.append(item.input)
        self._ahead.start()
        async with aclosing(self.blocks(until_begun=goes_on)) as blocks:
            async for block in blocks:
                yield block
        if item.piece.last or (item.job is not None and self._decoder.boundary):
            self.finish()

    def start(self) -> int | None:
        """Return the offset of the frame that the last block begins; None: it is one within."""
        begun, self._begun = self._begun, None
        return begun

    async def blocks(self, *, until_begun: bool = False) -> AsyncGenerator[Buffer]:
        """Yield what is left of the pieces so far.

        :param until_begun: stop as soon as the last piece is being decoded.
        """
        try:
            while not (until_begun and not self._inputs):
                if (place := await self._ahead.next()) is None:
                    return
                end, count = place.stop, 1
                while (following := self._ahead.peek()) is not None and following.start == end:
                    end, count = following.stop, count + 1
                    await self._ahead.next()
                yield self._rooms.ring[place.start : end]
                self._ahead.give_back(count)
        except AiocompressError as error:
            raise self._located(error) from None

    def _next_block(self) -> slice | None:
        """Decode a block, in the thread; returns its place; None: more input is needed."""
        while (place := next(self._steps, None)) is None:
            if not self._inputs:
                return None
            assert self._decoder is not None
            self._steps = self._rooms.places(self._decoder, self._queued())
        return place

    def _queued(self) -> Iterator[Buffer]:
        while self._inputs:
            yield self._inputs.popleft()

    def finish(self) -> None:
        """Say that nothing follows."""
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            try:
                decoder.finish()
            except AiocompressError as error:
                raise self._located(error) from None

    async def aclose(self) -> None:
        """Stop; leaves when the thread has."""
        await self._ahead.aclose()

    def _located(self, error: AiocompressError) -> AiocompressError:
        return error.located(base=self._start, frame=self._frame)


class Ahead(Generic[T]):
    """Items that are made in a compute thread, ahead of whoever takes them.

    The thread goes from one item to the next at once, and never waits: where there is no work, or
    enough items that nobody has taken, it is free for others.

    :param make: makes the next item, in the thread; None: there is nothing to do.
    :param most: how many items there may be that were not given back.
    """

    def __init__(self, pool: WorkerPool, make: Callable[[], T | None], most: int) -> None:
        self._pool, self._make = pool, make
        self._leave = deque(range(most))
        """An entry for each item that may be made: the thread takes one, ``give_back`` adds one."""
        self._made: deque[T | BaseException] = deque()
        self._running: asyncio.Future[bool] | None = None
        """Whether the thread stopped because there was nothing to do."""
        self._has_more = False
        """Whether there is work that the thread may not have seen."""
        self._news = asyncio.Event()

    def start(self) -> None:
        """Say that there is work."""
        self._has_more = True
        self._revive()

    def give_back(self, count: int = 1) -> None:
        """Say that the items taken last are not needed any more."""
        self._leave.extend(range(count))
        self._revive()

    def _revive(self) -> None:
        """Have the thread go on, if it has stopped and can."""
        running = self._running
        if running is None or running.done():
            stopped_idle = running is None or running.result()
            if self._leave and (self._has_more or not stopped_idle):
                self._pool.check()
                self._has_more = False
                loop = asyncio.get_running_loop()
                self._running = loop.run_in_executor(self._pool.threads, self._run, loop)
                self._running.add_done_callback(lambda _: self._news.set())

    def _run(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Make items, in the thread; returns whether there is nothing to do."""
        try:
            while self._leave:
                self._leave.popleft()
                item = self._make()
                if item is None:
                    self._leave.append(0)
                    return True
                self._made.append(item)
                loop.call_soon_threadsafe(self._news.set)
        except BaseException as error:  # noqa: BLE001 - raised in its turn
            self._made.append(error)
            return True
        return False

    def peek(self) -> T | None:
        """Return the next item, but do not take it; None: it is not there yet, or is an error."""
        item = self._made[0] if self._made else None
        return None if isinstance(item, BaseException) else item

    async def next(self) -> T | None:
        """Return the next item; None: there is nothing to do."""
        while not self._made:
            self._revive()
            running = self._running
            self._news.clear()
            if running is not None and not running.done():
                if not self._made:
                    await self._news.wait()
            elif not self._made:
                return None
        item = self._made.popleft()
        if isinstance(item, BaseException):
            raise item
        return item

    async def aclose(self) -> None:
        """Stop after the item that is being made."""
        self._leave.clear()
        if self._running is not None:
            await ended(self._running)


class Rooms:
    """A ring of a few rooms of 1 MiB, one beside the other, for raw blocks.

    Memory that is used again stays in the cache: what a decoder allocates for each large block
    would come from the system page by page.
    """

    def __init__(self, most: int = 2) -> None:
        self._size = most * _ROOM
        self._at = 0

    @cached_property
    def ring(self) -> memoryview:
        """All rooms; only what is filled takes memory."""
        return memoryview(mmap.mmap(-1, self._size))

    def _room(self) -> memoryview:
        return self.ring[self._at : self._at + _ROOM]

    def places(self, decoder: StreamDecoder, parts: Iterable[Buffer]) -> Iterator[slice]:
        """Decode blocks into rooms by turns; yields where each block stands in the ring."""
        for block in decoder.feed_into(parts, self._room):
            start, self._at = self._at, (self._at + _ROOM) % self._size
            yield slice(start, start + len(block))

    def blocks(self, decoder: StreamDecoder, parts: Iterable[Buffer]) -> Iterator[memoryview]:
        """Do so, and yield the blocks; each is valid until the room's next turn."""
        return (self.ring[place] for place in self.places(decoder, parts))


async def stepped(pool: WorkerPool, steps: Iterator[T]) -> AsyncGenerator[T]:
    """Run a blocking iterator in a compute thread, one step ahead of whoever takes its items."""
    loop = asyncio.get_running_loop()

    def ahead() -> asyncio.Future[T | None]:
        pool.check()
        return loop.run_in_executor(pool.threads, next, steps, None)

    running = ahead()
    try:
        while (item := await settled(running)) is not None:
            running = ahead()
            yield item
    finally:
        await ended(running)
