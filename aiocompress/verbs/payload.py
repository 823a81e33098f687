"""Payloads: bytes that are all there, and the bytes that they become.

Services compress many small ones. A slot, a worker and a stream would each cost more than the work
itself, and behind large files they would wait for a slot. So a small payload takes none of these: a
tiny one is done at once on the loop's own thread, the others in threads that do nothing else.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from functools import partial
from typing import Final

from aiocompress import formats
from aiocompress.errors import FormatError, LimitError
from aiocompress.model import KIB, Buffer
from aiocompress.storage.sources import opened
from aiocompress.verbs.base import is_logged, log, verb
from aiocompress.verbs.compress import compressed
from aiocompress.verbs.decompress import decompressed
from aiocompress.verbs.options import Reading, Recipe, Writing
from aiocompress.workers.pool import WorkerPool

_SMALL: Final = 64 * KIB
"""Bytes that take less time to work on than to send to a worker, on either side."""
_TINY: Final = 4 * KIB
"""Bytes that take less time to work on than to hand to a thread."""


async def compress(pool: WorkerPool, data: Buffer, recipe: Recipe) -> bytes:
    """Compress a payload into the bytes of a file."""
    pool.check()
    begun, view = time.perf_counter(), memoryview(data).cast("B")
    if recipe.format.is_bare(len(view)):
        work = partial(recipe.format.codec.compress, view, recipe.level)
        tiny = len(view) <= _TINY and recipe.level <= recipe.format.codec.default_level
        made = await (pool.turns.run(work) if tiny else pool.in_small_thread(work))
        _count(pool, "compressing", len(view), len(made), begun)
        return bytes(made)
    async with (
        verb(pool, "compressing", Writing()) as run,
        opened(data, pool) as source,
        aclosing(compressed(pool, source, recipe, run.tally)) as frames,
    ):
        return b"".join([b"".join(frame) async for frame in frames])


async def decompress(pool: WorkerPool, data: Buffer, reading: Reading) -> bytes:
    """Decompress a payload.

    :raises FormatError: it is in no format known here; and so on, as ``decompressed``.
    """
    pool.check()
    begun, view = time.perf_counter(), memoryview(data).cast("B")
    if len(view) <= _SMALL and (made := await _whole(pool, bytes(view), reading)) is not None:
        reading.check_output(len(made))
        _count(pool, "decompressing", len(made), len(view), begun)
        return made
    async with (
        verb(pool, "decompressing", Writing(), back=True) as run,
        opened(data, pool) as source,
        aclosing(decompressed(pool, source, reading, run.tally)) as blocks,
    ):
        return b"".join([bytes(block.data or b"") async for block in blocks])


async def _whole(pool: WorkerPool, data: bytes, reading: Reading) -> bytes | None:
    """Decode a file of one small frame; None: it is anything else, larger, or damaged."""
    try:
        form = formats.detect(data[: formats.HEAD_SIZE])
    except FormatError:
        return None
    work = partial(form.container.whole, data, _SMALL, reading.max_window)
    try:
        return await (pool.turns.run(work) if len(data) <= _TINY else pool.in_small_thread(work))
    except LimitError:
        return None


def _count(pool: WorkerPool, stage: str, raw: int, compressed_size: int, begun: float) -> None:
    pool.raw_bytes += raw
    pool.compressed_bytes += compressed_size
    if is_logged():
        log(f"{stage} a payload", raw, compressed_size, time.perf_counter() - begun)
