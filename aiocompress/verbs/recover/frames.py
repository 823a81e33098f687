"""Damaged containers to raw data: every frame that is whole, decoded by workers, in order.

First a file thread scans the source; then the frames that were found go through the decode stage,
in runs. A frame that proves damaged becomes a gap. A frame too large for a slot is decoded twice as
a stream: its checksum stands at its end, so only the first pass tells whether it is whole, and only
the second may give out what it holds.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import islice
from typing import Final, NamedTuple

from aiocompress.formats.base import Format, Piece
from aiocompress.formats.parts import Frame, Step
from aiocompress.formats.scan import Scan, View
from aiocompress.model import MIB, Buffer
from aiocompress.storage.base import naming
from aiocompress.storage.files import read_at
from aiocompress.verbs.decode import DAMAGE, Decoder, Decoding, Rooms, outcome, stepped
from aiocompress.workers.lane import Lane
from aiocompress.workers.pipeline import Sent, in_order
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

_AT_ONCE: Final = 256
_RUN: Final = 4 * MIB
_PART: Final = MIB
_SMALL: Final = 2 * MIB


class DamagedFile:
    """A regular file, read at any offset; plain blocking code.

    :param max_window: the largest zstd window, in bytes.
    :raises OSError: it cannot be opened, or is not a regular file.
    """

    def __init__(self, path: str, max_window: int) -> None:
        self._path, self.max_window = path, max_window
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            with naming(path):
                self.status = _regular(self._descriptor)
        except OSError:
            self.close()
            raise
        self.size = self.status.st_size

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``; fewer only at the end."""
        with naming(self._path):
            return read_at(self._descriptor, offset, size)

    def close(self) -> None:
        os.close(self._descriptor)


def _regular(descriptor: int) -> os.stat_result:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "only a regular file can be recovered")
    return status


class Raw(NamedTuple):
    """Raw bytes in order; or, where ``data`` is None, a gap of ``lost`` bytes, None if unknown.

    ``size`` and ``frames`` count the compressed bytes and frames that end here; ``bad`` is the
    frame that proved damaged.
    """

    data: Buffer | None
    lost: int | None = None
    size: int = 0
    frames: int = 0
    bad: Frame | None = None


async def scanned(pool: WorkerPool, file: DamagedFile, form: Format) -> Scan:
    """Look for the frames of a file."""
    assert form.scan is not None
    scan = form.scan(View(file.read, file.size), file.max_window)
    steps = scan.run()
    while await call(pool.files, list, islice(steps, _AT_ONCE)):
        pass  # a few steps at a time, so that it can be cancelled in between
    return scan


async def decoded(
    pool: WorkerPool, file: DamagedFile, form: Format, steps: Iterator[Step]
) -> AsyncGenerator[Raw]:
    """Yield what the frames hold, and gaps; data is valid until the next item is requested."""
    decoder = Decoder(Lane(pool, small=file.size <= _SMALL), form)
    runs = _started(pool, file, decoder, steps)
    async with aclosing(in_order(runs, pool.window)) as items:
        async for item, run in items:
            if item is not None and await outcome(item, strict=False) is not None:
                assert item.job is not None
                yield Raw(item.job.data, None, item.size, item.frames)
                continue
            for step in run:
                async with aclosing(_alone(pool, file, form, step)) as parts:
                    async for raw in parts:
                        yield raw


async def _started(
    pool: WorkerPool, file: DamagedFile, decoder: Decoder, steps: Iterator[Step]
) -> AsyncGenerator[Sent[Decoding | None, list[Step]]]:
    """Start a job for each run of frames; a gap, and a frame that is too large, has none."""
    for run in _runs(steps, pool.slots.largest):
        frames = [step.frame for step in run if step.frame is not None]
        size = sum(frame.size for frame in frames)
        if not frames or size + sum(frame.room for frame in frames) > pool.slots.largest:
            yield Sent(None, run)
            continue
        data = memoryview(await call(pool.files, file.read, frames[0].offset, size))
        about = tuple((frame.size, frame.room) for frame in frames)
        exact = all(frame.raw is not None for frame in frames)
        piece = Piece(frames[0].offset, 0, data, about, exact)
        yield Sent(await decoder.start(piece), run)


def _runs(steps: Iterator[Step], largest: int) -> Iterator[list[Step]]:
    """Gather consecutive frames into runs for one job each."""
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


async def _alone(
    pool: WorkerPool, file: DamagedFile, form: Format, step: Step
) -> AsyncGenerator[Raw]:
    """Yield a frame, decoded twice, or the gap that it leaves."""
    frame = step.frame
    if frame is None:
        yield Raw(None, step.lost)
        return
    async with aclosing(stepped(pool, _until_damage(_blocks(file, form, frame)))) as blocks:
        async for block in blocks:
            if not block:
                yield Raw(None, step.lost, bad=frame)
                return
    async with aclosing(stepped(pool, _blocks(file, form, frame))) as blocks:
        async for block in blocks:
            yield Raw(block)
    yield Raw(b"", None, frame.size, 1)


def _until_damage(blocks: Iterator[Buffer]) -> Iterator[Buffer]:
    """Yield the blocks of a frame; an empty one at the end says that the frame is damaged.

    The error must not leave this generator: a future would hold it, and with its traceback the
    decoder and its window, until garbage is collected.
    """
    try:
        yield from filter(len, blocks)
    except DAMAGE:
        yield b""


def _blocks(file: DamagedFile, form: Format, frame: Frame) -> Iterator[Buffer]:
    """Yield the raw data of a frame.

    :raises AiocompressError: it is damaged.
    """
    decoder, end = form.codec.open_stream(file.max_window), frame.offset + frame.size
    offsets = range(frame.offset, end, _PART)
    parts = (file.read(at, min(_PART, end - at)) for at in offsets)
    yield from Rooms().blocks(decoder, parts)
    decoder.finish()


async def plain(pool: WorkerPool, file: DamagedFile) -> AsyncGenerator[Raw]:
    """Yield the bytes of a tar that is not compressed."""
    offset = 0
    while data := await call(pool.files, file.read, offset, _RUN):
        yield Raw(data, None, len(data))
        offset += len(data)
