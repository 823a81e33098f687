"""Damaged containers to raw data: every frame that is whole, decoded by workers, in order.

First a file thread scans the source; then frames are decoded in parallel, as ``decompression``
does. One that proves damaged becomes a gap. A frame too large for a slot is decoded twice as a
stream, first to see whether it is whole: nothing unverified is ever given out.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import islice
from typing import Final, NamedTuple

from .codecs import CODECS, STREAM
from .containers.gz_salvage import GzScan
from .containers.placing import Frame
from .containers.salvage import Scan, Step, View
from .containers.zst_salvage import ZstScan
from .errors import CorruptError, FormatError, LimitError
from .model import DEFAULT_MAX_WINDOW, MIB, Buffer
from .pipeline import in_order
from .storage import call, naming
from .waiting import settled
from .workers import worker
from .workers.pool import Job, WorkerPool

SCANS: Final[dict[str, type[Scan]]] = {"zstd": ZstScan, "gzip": GzScan}
_AT_ONCE: Final = 256
_RUN: Final = 4 * MIB
_PART: Final = MIB
_SMALL: Final = 2 * MIB
_DAMAGE: Final = (CorruptError, FormatError, LimitError)


class DamagedFile:
    """A regular file, read anywhere; plain blocking code.

    :raises OSError: it cannot be opened, or is no regular file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            with naming(path):
                self.status = _regular(self._descriptor)
        except OSError:
            self.close()
            raise
        self.size = self.status.st_size

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes; fewer at the end."""
        parts = []
        with naming(self._path):
            while size and (part := os.pread(self._descriptor, size, offset)):
                parts.append(part)
                offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


def _regular(descriptor: int) -> os.stat_result:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "only a regular file can be recovered")
    return status


class Raw(NamedTuple):
    """Raw bytes in order, or, without them, a gap of ``lost`` bytes; None: nobody knows.

    ``size`` and ``frames`` count the compressed bytes and frames that end here; ``bad`` tells
    where a frame stands that proved damaged.
    """

    data: Buffer | None
    lost: int | None = None
    size: int = 0
    frames: int = 0
    bad: Frame | None = None


async def scanned(pool: WorkerPool, file: DamagedFile, codec: str) -> Scan:
    """Look for the frames of a file."""
    scan = SCANS[codec](View(file.read, file.size), DEFAULT_MAX_WINDOW)
    steps = scan.run()
    while await call(pool.files, _advanced, steps):
        pass
    return scan


def _advanced(steps: Iterator[int]) -> bool:
    return sum(1 for _ in islice(steps, _AT_ONCE)) > 0


class _Piece(NamedTuple):
    """Frames that follow each other, with the job that decodes them; or a gap, or one frame."""

    steps: tuple[Step, ...]
    job: Job | None = None

    def release(self) -> None:
        if self.job is not None:
            self.job.release()


async def decoded(
    pool: WorkerPool, file: DamagedFile, codec: str, steps: Iterator[Step]
) -> AsyncGenerator[Raw]:
    """Yield what frames hold, and gaps; data is valid until the next item is asked for."""
    pieces = _pieces(pool, file, codec, steps)
    async with aclosing(in_order(pieces, pool.window)) as items:
        async for piece in items:
            if (raw := await _whole(piece)) is not None:
                yield raw
                continue
            for step in piece.steps:
                async with aclosing(_alone(pool, file, codec, step)) as parts:
                    async for raw in parts:
                        yield raw


async def _pieces(
    pool: WorkerPool, file: DamagedFile, codec: str, steps: Iterator[Step]
) -> AsyncGenerator[_Piece]:
    """Start a job for each run of frames."""
    small = file.size <= _SMALL
    for run in _runs(steps, pool.slots.largest):
        frames = [step.frame for step in run if step.frame is not None]
        room = sum(frame.room for frame in frames)
        size = sum(frame.size for frame in frames)
        if not frames or size + room > pool.slots.largest:
            yield _Piece(tuple(run))
            continue
        data = await call(pool.files, file.read, frames[0].offset, size)
        slot = await pool.slots.take(size, room)
        slot.input[: len(data)] = data
        about = tuple((frame.size, frame.room) for frame in frames)
        job = await pool.run(slot, size, worker.decompress, codec, about, None, alone=small)
        yield _Piece(tuple(run), job)


def _runs(steps: Iterator[Step], largest: int) -> Iterator[list[Step]]:
    """Gather frames that follow each other in the file, and say how large they are."""
    run: list[Step] = []
    total = end = 0
    for step in steps:
        frame = step.frame
        joins = frame is not None and frame.raw is not None and frame.offset == end
        size = 0 if frame is None else frame.size + frame.room
        if run and (not joins or total + size > min(_RUN, largest) or len(run) == _AT_ONCE):
            yield run
            run, total = [], 0
        run.append(step)
        total += size
        end = -1 if frame is None or frame.raw is None else frame.offset + frame.size
    if run:
        yield run


async def _whole(piece: _Piece) -> Raw | None:
    """Return what a run holds, if all of it is whole."""
    if piece.job is None:
        return None
    try:
        result = await piece.job.result()
    except _DAMAGE:
        return None
    frames = [step.frame for step in piece.steps if step.frame is not None]
    expected = [frame.raw for frame in frames if frame.raw is not None]
    if result.size == STREAM or (expected and result.size != sum(expected)):
        return None
    size = sum(frame.size for frame in frames)
    return Raw(piece.job.data, None, size, len(frames))


async def _alone(
    pool: WorkerPool, file: DamagedFile, codec: str, step: Step
) -> AsyncGenerator[Raw]:
    """Yield one frame, decoded twice; or the gap that it leaves."""
    frame = step.frame
    if frame is None:
        yield Raw(None, step.lost)
        return
    blocks = _blocks(file, codec, frame)
    while (block := await _in_thread(pool, _next, blocks)) is not None:
        if not block:
            yield Raw(None, step.lost, bad=frame)
            return
    blocks = _blocks(file, codec, frame)
    while (block := await _in_thread(pool, next, blocks, None)) is not None:
        yield Raw(block)
    yield Raw(b"", None, frame.size, 1)


async def _in_thread(pool: WorkerPool, *call: object) -> Buffer | None:
    pool.check()
    loop = asyncio.get_running_loop()
    return await settled(loop.run_in_executor(pool.threads, *call))  # type: ignore[arg-type]


def _next(blocks: Iterator[Buffer]) -> Buffer | None:
    """Return the next block; an empty one: the frame is damaged.

    The error ends here: a future that holds it would keep the decoder till garbage is collected.
    """
    try:
        return next(filter(len, blocks), None)
    except _DAMAGE:
        return b""


def _blocks(file: DamagedFile, codec: str, frame: Frame) -> Iterator[Buffer]:
    """Yield the raw data of a frame.

    :raises AiocompressError: it is damaged.
    """
    decoder = CODECS[codec].open_stream(DEFAULT_MAX_WINDOW)
    end = frame.offset + frame.size
    for at in range(frame.offset, end, _PART):
        yield from decoder.feed(file.read(at, min(_PART, end - at)))
    decoder.finish()


async def plain(pool: WorkerPool, file: DamagedFile) -> AsyncGenerator[Raw]:
    """Yield the bytes of a tar that is not compressed."""
    offset = 0
    while data := await call(pool.files, file.read, offset, _RUN):
        yield Raw(data, None, len(data))
        offset += len(data)
