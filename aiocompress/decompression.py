"""Back: a container to frames to chunks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final, NamedTuple

from .codecs import HEAD_SIZE, Codec, StreamDecoder, detect
from .containers import CONTAINERS, Piece
from .errors import AiocompressError, LimitError, TruncatedError
from .model import DEFAULT_MAX_METADATA, DEFAULT_MAX_WINDOW, MIB, Buffer
from .pipeline import Running, Tally, in_order
from .sources import Source
from .waiting import ended, settled
from .workers import worker
from .workers.pool import Job, WorkerPool

READ_SIZE: Final = 2 * MIB
_LARGEST_READ: Final = 16 * MIB
_RUN: Final = 4 * MIB
"""Raw bytes of frames that travel together; twice that where they need no room in a slot."""


class Block(NamedTuple):
    """Raw bytes in order; ``data`` is None where a worker has written them already."""

    size: int
    data: Buffer | None


class Reading(NamedTuple):
    """How a container is read.

    ``read_size`` is in bytes, as are the limits ``max_window``, ``max_output`` and, of what stands
    before a member of an archive, ``max_metadata``; ``target`` is a path that workers may write to
    (``worker.DISCARD``: the data is only checked); ``detach``: the reader may be slow; ``strict``:
    a damaged index is an error.
    """

    read_size: int = READ_SIZE
    max_window: int = DEFAULT_MAX_WINDOW
    max_output: int | None = None
    max_metadata: int = DEFAULT_MAX_METADATA
    target: str | None = None
    detach: bool = False
    strict: bool = False

    def check_output(self, raw_bytes: int) -> None:
        """Hold the limit on what really came out, whatever headers claim."""
        if self.max_output is not None and raw_bytes > self.max_output:
            raise LimitError(
                f"the data is larger than the {self.max_output} bytes allowed",
                hint="raise max_output (--max-output) if you trust it",
            )


class _Decoding(NamedTuple):
    """A piece on its way: decoded by a worker's job, or, without one, as part of a stream."""

    codec: Codec
    offset: int
    size: int
    first_frame: int
    frames: int
    last: bool
    job: Job | None
    part: bytes

    @property
    def input(self) -> Buffer:
        return self.part if self.job is None else self.job.input

    def release(self) -> None:
        if self.job is not None:
            self.job.release()


async def decompressed(
    pool: WorkerPool, source: Source, reading: Reading, tally: Tally
) -> AsyncGenerator[Block]:
    """Yield the raw bytes in order; a block's data is valid until the next one is asked for.

    Whole frames come from workers. Parts of streams are decoded in a thread here, and so is all
    that follows a frame that was not as its index said, until a frame ends where a piece does.
    """
    writing = Running()
    try:
        pieces = _pieces(pool, source, reading, tally, writing)
        async with aclosing(_blocks(pool, pieces, reading, tally)) as blocks:
            async for block in blocks:
                yield block
    finally:
        await writing.over()


async def _blocks(
    pool: WorkerPool, pieces: AsyncGenerator[_Decoding], reading: Reading, tally: Tally
) -> AsyncGenerator[Block]:
    stream = _Stream(pool, reading)
    async with aclosing(in_order(pieces, pool.window)) as items:
        async for item in items:
            size = item.size
            done = None if item.job is None else await _outcome(item, strict=not stream.is_open)
            if done is not None and done.size >= 0 and not stream.is_open:
                tally.add(done.size, size, item.frames)
                reading.check_output(tally.raw_bytes)
                assert item.job is not None
                yield Block(done.size, None if done.written else item.job.data)
                continue
            async with aclosing(stream.decode(item)) as blocks:
                async for data in blocks:
                    tally.add(len(data), 0, 0)
                    reading.check_output(tally.raw_bytes)
                    yield Block(len(data), data)
            tally.add(0, size, item.frames or item.last)
    stream.finish()
    # Padding and the index belong to no frame.
    tally.add(0, tally.read_bytes - tally.compressed_bytes, 0)


async def _outcome(item: _Decoding, *, strict: bool) -> worker.Result | None:
    """Wait for the worker; its errors do not count where the index has proved wrong."""
    assert item.job is not None
    try:
        return await item.job.result()
    except AiocompressError as error:
        if strict:
            raise error.located(base=item.offset, frame=item.first_frame) from None
        return None


class _Stream:
    """Decodes in a thread what workers cannot: pieces one after another, with one decoder."""

    def __init__(self, pool: WorkerPool, reading: Reading) -> None:
        self._pool, self._max_window = pool, reading.max_window
        self._decoder: StreamDecoder | None = None
        self._start = self._frame = 0

    @property
    def is_open(self) -> bool:
        """Whether a frame began in an earlier piece and has not ended."""
        return self._decoder is not None

    async def decode(self, item: _Decoding) -> AsyncGenerator[Buffer]:
        """Yield the raw blocks of a piece, the next one being decoded meanwhile."""
        if self._decoder is None:
            self._decoder = item.codec.open_stream(self._max_window)
            self._start, self._frame = item.offset, item.first_frame
        blocks = self._decoder.feed(item.input)
        try:
            ahead = self._decode_next(blocks)
            try:
                while (block := await settled(ahead)) is not None:
                    ahead = self._decode_next(blocks)
                    yield block
            finally:
                await ended(ahead)
        except AiocompressError as error:
            raise self._located(error) from None
        if item.last or (item.job is not None and self._decoder.boundary):
            self.finish()

    def _decode_next(self, blocks: Iterator[Buffer]) -> asyncio.Future[Buffer | None]:
        self._pool.check()
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._pool.threads, next, blocks, None)

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


async def _pieces(
    pool: WorkerPool, source: Source, reading: Reading, tally: Tally, writing: Running
) -> AsyncGenerator[_Decoding]:
    """Read blocks, have the container's reader find frames, and start a job for each run."""
    head = memoryview(bytearray(HEAD_SIZE))
    size = await source.fill(head)
    if not size:
        raise TruncatedError("nothing to decompress: no bytes at all", offset=0)
    codec = detect(bytes(head[:size]))
    reader = CONTAINERS[codec.name].reader(
        whole=pool.slots.largest,
        run=_RUN if reading.target is None else 2 * _RUN,
        max_window=reading.max_window,
        strict=reading.strict,
    )
    tally.warnings = reader.warnings
    small = source.size is not None and source.size <= READ_SIZE
    start = _Start(pool, codec, reading, writing, small=small)
    reader.feed(head[:size])
    while size:
        tally.read_bytes += size
        while (piece := reader.next_piece()) is not None:
            yield await start(piece)
        size = await source.readinto(reader.room(min(reading.read_size, _LARGEST_READ)))
        reader.fill(size)
    reader.end()
    while (piece := reader.next_piece()) is not None:
        yield await start(piece)


class _Start:
    """Starts the job of a piece, and keeps count of where its raw bytes belong."""

    def __init__(
        self, pool: WorkerPool, codec: Codec, reading: Reading, writing: Running, *, small: bool
    ) -> None:
        self._pool, self._codec, self._reading = pool, codec, reading
        self._writing, self._small = writing, small
        self._first = True
        self._raw_offset: int | None = 0

    async def __call__(self, piece: Piece) -> _Decoding:
        frames = piece.frames
        about = (
            self._codec,
            piece.offset,
            len(piece.data),
            piece.first_frame,
            len(frames or ()),
            piece.last,
        )
        if frames is None:
            self._raw_offset = None
            part = bytes(piece.data)
            return _Decoding(*about, None, part)
        used = len(piece.data)
        target = self._target(piece)
        # What is written at once leaves its room to the next frame.
        room = piece.room if target is None else max(raw for _, raw in frames)
        slot = await self._pool.slots.take(used, room)
        slot.input[:used] = piece.data
        job = await self._pool.run(
            slot,
            used,
            worker.decompress,
            self._codec.name,
            frames,
            target,
            # A first frame may be the only one, and is not worth starting processes.
            alone=self._small or (self._first and not self._pool.has_processes),
            detach=self._reading.detach,
            keep_input=not piece.exact,
        )
        self._first = False
        self._writing.add(job)
        return _Decoding(*about, job, b"")

    def _target(self, piece: Piece) -> tuple[str, int] | None:
        """Where a worker may write: only where all sizes so far are certain."""
        offset = self._raw_offset
        self._raw_offset = offset + piece.room if piece.exact and offset is not None else None
        if self._reading.target is None:
            return None
        if self._reading.target == worker.DISCARD:
            return worker.DISCARD, 0
        return None if offset is None or not piece.exact else (self._reading.target, offset)
