"""A single frame or member, for readers that stop after the first one: made, and recognised.

Such are most decoders of ``Content-Encoding``. The frame is compressed as it is read, a piece at a
time, in a compute thread: the pieces of many streams take turns. It has no mark and no index.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Final, cast

from aiocompress import formats
from aiocompress.errors import FormatError, TruncatedError
from aiocompress.model import KIB, Buffer, Codec
from aiocompress.storage.base import OpenedSource
from aiocompress.storage.files import FilePositions
from aiocompress.verbs.base import Tally
from aiocompress.verbs.options import Recipe
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

_PIECE: Final = 256 * KIB


async def compressed_whole(
    pool: WorkerPool, source: OpenedSource, recipe: Recipe, tally: Tally
) -> AsyncGenerator[tuple[Buffer]]:
    """Yield the parts of one frame; what fits into one piece is compressed at once.

    A slow source that gives less than a piece wants that to arrive: it is flushed.
    """
    codec, room = recipe.format.codec, memoryview(bytearray(_PIECE))
    used, more = await _fill(source, room)
    if not more:
        pool.check()
        frame = await call(pool.threads, codec.compress, room[:used], recipe.level)
        tally.add(used, len(frame), 1)
        yield (frame,)
        return
    assert codec.open_encoder is not None
    encoder = codec.open_encoder(recipe.level)

    def encode(piece: memoryview, *, flush: bool, last: bool) -> bytes:
        part = encoder.feed(piece, flush=flush)
        return b"".join((part, encoder.finish())) if last else bytes(part)

    while True:
        pool.check()
        flush = more and source.waits and used < _PIECE
        run = partial(encode, room[:used], flush=flush, last=not more)
        part = await call(pool.threads, run)
        tally.add(used, len(part), not more)
        if part:
            yield (part,)
        if not more:
            return
        used, more = await _fill(source, room)


async def coding_of(pool: WorkerPool, path: str) -> Codec | None:
    """Return the codec of a file that is one frame or member, and nothing else."""
    file = await FilePositions.open(path, pool.files)
    try:
        return await call(pool.files, _coding_of, file.read_now, await file.size())
    finally:
        await file.aclose()


def _coding_of(read: Callable[[int, int], bytes], size: int) -> Codec | None:
    """Look at the file, in a thread: a large frame has thousands of blocks."""
    try:
        form = formats.detect(read(0, formats.HEAD_SIZE))
    except (FormatError, TruncatedError):
        return None
    return cast("Codec", form.name) if form.container.is_sole(read, size) else None


async def _fill(source: OpenedSource, room: memoryview) -> tuple[int, bool]:
    """Read a piece; returns its size, and whether more may follow."""
    used = await source.fill(room)
    more = source.goes_on(filled=used == len(room))
    source.take_index()  # a single frame has no place for it
    return used, more
