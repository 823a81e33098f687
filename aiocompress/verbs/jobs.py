"""What a worker does to chunks and frames: the jobs of every verb that works on containers.

Plain functions, run in a worker process, a thread, or the caller's executor; see ``workers.job``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal, NamedTuple, TypeAlias

from aiocompress.errors import CorruptError
from aiocompress.formats import FORMATS
from aiocompress.formats.base import STREAM, Codec
from aiocompress.model import Buffer
from aiocompress.storage.reach import OURS, Reach, read_into
from aiocompress.workers.job import Place, Result, deliver, views

DISCARD: Final = ""
"""In the place of a file to write to: the raw data is only checked."""
Target: TypeAlias = Reach | Literal[""]

Run: TypeAlias = tuple[tuple[int, int], ...]
"""(compressed, raw) bytes of frames that follow each other; raw sizes may be bounds."""
Write: TypeAlias = Callable[[memoryview, int], None]


class Encoding(NamedTuple):
    """How a chunk is compressed into a frame."""

    codec: str
    level: int
    long: bool = False
    """Whether repeats are found that are far apart."""
    first: bool = False
    """Whether it is the first chunk of a file."""

    def apply(self, data: memoryview) -> Buffer:
        """Return the frame."""
        codec = FORMATS[self.codec].codec
        if not self.long:
            return codec.compress(data, self.level)
        assert codec.compress_long is not None
        return codec.compress_long(data, self.level, self.first)


def compress(place: Place, encoding: Encoding) -> Result:
    """Compress one chunk into one frame."""
    data, room = views(place)
    return deliver(encoding.apply(data), room)


def compress_part(place: Place, encoding: Encoding, source: Reach, offset: int) -> Result:
    """Read one chunk of a file, and compress it into one frame.

    :returns: ``about`` is the size of the chunk, smaller than its room only at the end of the file;
        ``size`` is ``STREAM`` where the file cannot be opened from here.
    :raises OSError: it cannot be read.
    """
    data, room = views(place)
    try:
        descriptor = source.open(os.O_RDONLY)
    except OSError as error:
        if error.errno in OURS:
            raise
        return Result(STREAM)
    try:
        size = read_into(descriptor, offset, data)
    finally:
        os.close(descriptor)
    return deliver(encoding.apply(data[:size]), room)._replace(about=size)


def decompress(place: Place, codec: str, run: Run, target: tuple[Target, int] | None) -> Result:
    """Decode a run of whole frames.

    :param target: a file and an offset to write the raw data to, ``DISCARD`` for a file to drop
        it: then there need only be room for the largest frame; None leaves it all in the slot. A
        frame that is shorter than its bound is not written: those behind it stand elsewhere.
    :returns: ``size`` is ``STREAM`` where a frame is not as its index says, and where the file
        cannot be opened from here.
    :raises CorruptError: with offset and frame counted from the first byte of the run.
    """
    data, room = views(place)
    if room is None and target is None and (made := _decoded(FORMATS[codec].codec, data, run)):
        return Result(len(made), made)
    returns = room is None
    if room is None:
        room = memoryview(bytearray(sum(raw for _, raw in run)))
    with _opened(target) as write:
        if write is None and target is not None:
            return Result(STREAM)
        size = decode(FORMATS[codec].codec, data, run, room, write)
    if size == STREAM or write is not None:
        return Result(size, written=size == sum(raw for _, raw in run))
    return Result(size, bytes(room[:size]) if returns else None)


def _decoded(codec: Codec, data: memoryview, run: Run) -> bytes | None:
    """Decode a run of whole frames without a copy; None: not all of them can be, or are good."""
    parts, at = [], 0
    if codec.decompress_to_bytes is None:
        return None
    for compressed, raw in run:
        part = codec.decompress_to_bytes(data[at : at + compressed], raw)
        if part is None:
            return None
        parts.append(part)
        at += compressed
    return parts[0] if len(parts) == 1 else b"".join(parts)


def decode(
    codec: Codec, data: memoryview, run: Run, room: memoryview, write: Write | None = None
) -> int:
    """Decode a run of whole frames into ``room``, one behind the other.

    :param write: takes the raw data of each frame that is as long as it may be, and its offset
        from that of the first one.
    :returns: raw bytes; ``STREAM``: a frame is not as its index says.
    :raises CorruptError: with offset and frame counted from the first byte of the run.
    """
    at = size = 0
    for number, (compressed, raw) in enumerate(run):
        # What is written at once leaves its room to the next frame, hot in the cache.
        start = size if write is None else 0
        try:
            done = codec.decompress(data[at : at + compressed], room[start : start + raw])
        except CorruptError as error:
            raise error.located(base=at, frame=number) from None
        if done == STREAM:
            return STREAM
        if write is not None and done == raw:
            write(room[:done], size)
        at += compressed
        size += done
    return size


@contextmanager
def _opened(target: tuple[Target, int] | None) -> Iterator[Write | None]:
    """Open the target for one job: it belongs to a stream, which may end without this worker."""
    if target is None:
        yield None
        return
    file, base = target
    if file == DISCARD:
        yield lambda _data, _offset: None
        return
    # A client of NFS that writes a part of a page may send all of it, with zeros for what another
    # machine has written there; but not while it writes synchronously.
    flags = os.O_WRONLY | (os.O_DSYNC if file.is_elsewhere else 0)
    try:
        descriptor = file.open(flags)
    except OSError:
        yield None
        return

    def write(data: memoryview, offset: int) -> None:
        while data:
            written = os.pwrite(descriptor, data, base + offset)
            data, offset = data[written:], offset + written

    try:
        yield write
    finally:
        os.close(descriptor)
