"""Back: a container to frames to chunks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from functools import partial
from typing import Final, NamedTuple

from aiocompress import formats
from aiocompress.errors import AiocompressError
from aiocompress.formats.base import Format, Piece
from aiocompress.model import MIB, Buffer
from aiocompress.storage.base import OpenedSource
from aiocompress.verbs import jobs
from aiocompress.verbs.base import Tally
from aiocompress.verbs.decode import Decoder, Decoding, Stream, outcome, pieces
from aiocompress.verbs.options import READ_SIZE, Reading
from aiocompress.workers.lane import Lane
from aiocompress.workers.pipeline import Window, in_order
from aiocompress.workers.pool import WorkerPool

_SLOW_READ: Final = MIB // 2
"""Bytes read at once for a reader who may be slow; twice that for one who has taken many."""
_RUN: Final = MIB
"""Raw bytes of frames that travel together for a reader who may be slow; four times that for one
who is not, and twice that again where they need no room in a slot."""


class Block(NamedTuple):
    """Raw bytes in order; ``data`` is None where a worker has written them already.

    ``start`` is the offset of the frame that the first of them begin, None within a frame.
    """

    size: int
    data: Buffer | None
    start: int | None = None


async def decompressed(
    pool: WorkerPool,
    source: OpenedSource,
    reading: Reading,
    tally: Tally,
    *,
    head: bytes = b"",
    form: Format | None = None,
    target: jobs.Target | None = None,
    detach: bool = False,
    strict: bool = False,
    growing: bool = False,
) -> AsyncGenerator[Block]:
    """Yield the raw bytes in order; a block's data is valid until the next one is asked for.

    Whole frames come from workers. Parts of streams are decoded in a thread here, and so is all
    that follows a frame that was not as its index said, until a frame ends where a piece does.

    :param head: bytes that were read already, ``formats.HEAD_SIZE`` at least if there are so many.
    :param form: the format, if it is known; None: the head tells.
    :param tally: nothing is counted yet.
    :param target: what workers may write to; see ``Decoder``.
    :param detach: the reader may be slow: no slot waits for it.
    :param strict: a damaged index is an error.
    :param growing: of a last frame that is cut off, what is there comes before the error.
    """
    if not head and form is None:
        room = bytearray(formats.HEAD_SIZE)
        head = bytes(room[: await source.fill(memoryview(room))])
    form = form or formats.detect(head)
    small = source.size is not None and source.size <= READ_SIZE
    lane = Lane(pool, small=small or (detach and _makes_bytes(pool, form)), detach=detach)
    decoder = Decoder(lane, form, target)
    prompt = source.size is not None and not source.waits
    stream = Stream(pool, form, reading.max_window, prompt=prompt)
    reader = form.container.reader(
        whole=pool.slots.largest,
        run=(_RUN if detach else 4 * _RUN) if target is None else 8 * _RUN,
        max_window=reading.max_window,
        strict=strict,
    )
    reader.gives_cut = growing
    tally.warnings = reader.warnings
    lane.window.when_stuck = reader.let_go
    reader.feed(head)
    tally.read_bytes += len(head)

    most = partial(_slow_read, lane.window) if detach else None
    found = pieces(source, reader, reader.next_piece, reading, tally, most)
    turn = pool.newcomers.one() if detach and source.is_local else nullcontext()
    try:
        async with aclosing(in_order(_started(decoder, found, turn), lane.window)) as items:
            while True:
                try:
                    item = await anext(items, None)
                except AiocompressError:
                    # What stands before the damage.
                    async with aclosing(_counted(stream.blocks(), stream, tally)) as blocks:
                        async for block in blocks:
                            reading.check_output(tally.raw_bytes)
                            yield block
                    raise
                if item is None:
                    break
                async with aclosing(_blocks(item, decoder, stream, tally)) as blocks:
                    async for block in blocks:
                        reading.check_output(tally.raw_bytes)
                        yield block
        stream.finish()
        # Padding and the index belong to no frame.
        tally.add(0, tally.read_bytes - tally.compressed_bytes, 0)
    finally:
        reader.close()
        try:
            await stream.aclose()
        finally:
            await decoder.over()


async def _started(
    decoder: Decoder, items: AsyncGenerator[Piece], turn: AbstractAsyncContextManager[None]
) -> AsyncGenerator[Decoding]:
    """Start a job for each run of frames.

    :param turn: entered for the first one. Of hundreds of streams that begin at once, few may get
        to their first frame, or the loop would do nothing else than read for them.
    """
    async with aclosing(items):
        while True:
            async with turn:
                if (piece := await anext(items, None)) is None:
                    return
                sent = await decoder.start(piece)
                piece.data.release()  # the view keeps its memory, whoever still has it
            turn = nullcontext()
            yield sent


def _makes_bytes(pool: WorkerPool, form: Format) -> bool:
    """Whether threads make the bytes that readers keep; from a process the loop copies them."""
    return form.codec.decompress_to_bytes is not None and pool.has_own


def _slow_read(window: Window) -> int:
    return _SLOW_READ if window.is_new else 2 * _SLOW_READ


async def _blocks(
    item: Decoding, decoder: Decoder, stream: Stream, tally: Tally
) -> AsyncGenerator[Block]:
    """Yield what a piece holds; a worker's errors do not count where the index proved wrong."""
    result = await outcome(item, strict=not stream.is_open)
    is_misplaced = decoder.is_misplaced(item, tally.raw_bytes)
    is_there = result is not None and not (is_misplaced and item.frames > 1)
    if result is not None and is_there and not stream.is_open:
        assert item.job is not None
        tally.add(result.size, item.size, item.frames)
        data = None if result.written and not is_misplaced else item.job.data
        yield Block(result.size, data, item.piece.offset)
        return
    if item.job is not None:  # of a size that nobody knows: it may reach into what is being written
        await decoder.stop_writing()
    async with aclosing(_counted(stream.decode(item), stream, tally)) as blocks:
        async for block in blocks:
            yield block
    tally.add(0, item.size, item.frames)


async def _counted(
    blocks: AsyncGenerator[Buffer], stream: Stream, tally: Tally
) -> AsyncGenerator[Block]:
    async with aclosing(blocks):
        async for data in blocks:
            tally.add(len(data), 0, 0)
            yield Block(len(data), data, stream.start())
