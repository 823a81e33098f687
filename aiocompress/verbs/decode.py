"""Runs of frames to raw bytes: the one decode stage, for every verb that reads a container.

Whole frames go to the workers, a run of them at a time. What cannot be decoded whole (a frame that
is too large, that does not say its size, or that is not as its index says) is decoded here, as a
stream, in a compute thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Final, NamedTuple, TypeVar

from aiocompress.errors import AiocompressError, CorruptError, FormatError, LimitError
from aiocompress.formats.base import Format, Piece, Reader, StreamDecoder
from aiocompress.model import KIB, MIB, Buffer
from aiocompress.storage.base import OpenedSource
from aiocompress.verbs import jobs
from aiocompress.verbs.base import Tally
from aiocompress.verbs.options import Reading
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


async def pieces(
    source: OpenedSource,
    reader: Reader,
    following: Callable[[], T | None],
    reading: Reading,
    tally: Tally,
) -> AsyncGenerator[T]:
    """Read blocks, and have a container's reader find what is in them, until both end.

    :param following: returns the reader's next item, which is valid until the next is asked for.
    """
    size, most = -1, min(reading.read_size, _LARGEST_READ)
    # No larger room than for what may come: thousands of streams may be small, or slow.
    room = min(most, _FIRST_READ if source.size is None else source.size + 1)
    while True:
        while (item := following()) is not None:
            yield item
        if not size:
            return
        size = await source.readinto(reader.room(room))
        tally.read_bytes += size
        reading.check_input(tally.read_bytes)
        reader.fill(size)
        if not size:
            reader.end()
        elif size == room and source.size is None:
            room = min(2 * room, most)


class Decoding(NamedTuple):
    """A piece on its way, with a worker's job, or, without one, as part of a stream.

    ``piece`` has no data any more, which was valid only for a moment: see ``input``.
    """

    piece: Piece
    size: int
    job: Job | None
    part: bytes = b""

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

    :param target: a path that workers write to, each frame at its place (``jobs.DISCARD``: the data
        is only checked); None leaves the raw data in the slots.
    """

    def __init__(self, lane: Lane, form: Format, target: str | None = None) -> None:
        self._lane, self._format, self._target = lane, form, target
        self._raw_offset: int | None = 0

    async def start(self, piece: Piece) -> Decoding:
        """Start a job for a piece, unless it is part of a stream."""
        self._lane.pool.check()
        kept, size, frames = piece._replace(data=_NOTHING), len(piece.data), piece.frames
        if frames is None:
            self._raw_offset = None
            return Decoding(kept, size, None, bytes(piece.data))
        target = self._place(piece)
        # What is written at once leaves its room to the next frame.
        room = piece.room if target is None else max(raw for _, raw in frames)
        job = await self._lane.start(
            piece.data,
            room,
            jobs.decompress,
            self._format.name,
            frames,
            target,
            keep_input=not piece.exact,
            new=self._lane.window.is_new,
        )
        return Decoding(kept, size, job)

    def _place(self, piece: Piece) -> tuple[str, int] | None:
        """Say where a worker may write: only where all sizes so far are certain."""
        offset = self._raw_offset
        self._raw_offset = offset + piece.room if piece.exact and offset is not None else None
        if self._target is None:
            return None
        if self._target == jobs.DISCARD:
            return jobs.DISCARD, 0
        return None if offset is None or not piece.exact else (self._target, offset)

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
    """Decodes pieces one after another as one stream, in a compute thread."""

    def __init__(self, pool: WorkerPool, form: Format, max_window: int) -> None:
        self._pool, self._format, self._max_window = pool, form, max_window
        self._decoder: StreamDecoder | None = None
        self._start = self._frame = 0

    @property
    def is_open(self) -> bool:
        """Whether a frame began in an earlier piece and has not ended."""
        return self._decoder is not None

    async def decode(self, item: Decoding) -> AsyncGenerator[Buffer]:
        """Yield the raw blocks of a piece."""
        if self._decoder is None:
            self._decoder = self._format.codec.open_stream(self._max_window)
            self._start, self._frame = item.piece.offset, item.piece.first_frame
        try:
            async with aclosing(stepped(self._pool, self._decoder.feed(item.input))) as blocks:
                async for block in blocks:
                    yield block
        except AiocompressError as error:
            raise self._located(error) from None
        if item.piece.last or (item.job is not None and self._decoder.boundary):
            self.finish()

    def finish(self) -> None:
        """Say that nothing follows."""
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            try:
                decoder.finish()
            except AiocompressError as error:
                raise self._located(error) from None

    def _located(self, error: AiocompressError) -> AiocompressError:
        return error.located(base=self._start, frame=self._frame)


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
