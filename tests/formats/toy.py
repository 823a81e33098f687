"""A codec that is not part of the library: stored frames with a magic, a length and a CRC.

All that a codec takes: a ``Codec``, a ``Container`` built on ``formats.base``, and one row.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from aiocompress.errors import CorruptError, TruncatedError
from aiocompress.formats import base
from aiocompress.formats.base import Codec, Container, Format, Reader, Steps
from aiocompress.model import Buffer

MAGIC, END = b"TOY1", b"TOY."
HEAD = struct.Struct("<4sII")
"""Magic, bytes of data, and their CRC-32; the data follows."""


def compress(data: memoryview, _level: int) -> bytes:
    """Store one chunk."""
    return HEAD.pack(MAGIC, len(data), zlib.crc32(data)) + data


def decompress(frame: memoryview, room: memoryview) -> int:
    """Check one whole frame, and copy its data."""
    magic, size, checksum = HEAD.unpack_from(frame)
    data = frame[HEAD.size :]
    if magic != MAGIC or size != len(data) or zlib.crc32(data) != checksum:
        raise CorruptError("the toy frame is damaged", offset=0)
    room[:size] = data
    return size


class StreamDecoder(base.StreamDecoder):
    """Decodes frames that are too large to be given out whole."""

    def __init__(self) -> None:
        self._head, self._left, self._checksum = b"", 0, 0
        self._fed = 0
        self.boundary = True

    def feed(self, data: Buffer) -> Iterator[Buffer]:
        rest = bytes(data)
        while rest:
            if not self._left:
                taken = HEAD.size - len(self._head)
                self._head, rest = self._head + rest[:taken], rest[taken:]
                self._begin()
            block, rest = rest[: self._left], rest[self._left :]
            self._left -= len(block)
            self._checksum = zlib.crc32(block, self._checksum)
            if block:
                yield block
            self._end()

    def _begin(self) -> None:
        self.boundary = self._head.startswith(END)
        if len(self._head) == HEAD.size:
            magic, self._left, _ = HEAD.unpack(self._head)
            self._checksum = 0
            if magic != MAGIC:
                raise CorruptError("not a toy frame", offset=0)

    def _end(self) -> None:
        if len(self._head) == HEAD.size and not self._left:
            if HEAD.unpack(self._head)[2] != self._checksum:
                raise CorruptError("the toy frame is damaged", offset=0)
            self._head = b""

    def finish(self) -> None:
        if not self.boundary:
            raise TruncatedError("the file is cut off", offset=0)


class ToyReader(Reader):
    """Finds the frames of a ``.toy`` file."""

    def _parse(self) -> Steps:
        while (yield from self._need(len(END))):
            if self._buffer[: len(END)] == END:
                self._drop(len(END))
                yield from self._padding()
                return
            if not (yield from self._need(HEAD.size)):
                break
            magic, size, _ = HEAD.unpack_from(self._buffer)
            if magic != MAGIC:
                raise CorruptError("not a toy frame", offset=0)
            if HEAD.size + 2 * size > self._whole:
                yield from self._rest()
                return
            if not (yield from self._need(HEAD.size + size)):
                break
            yield from self._give_frames([(HEAD.size + size, size)], exact=True)
        raise self._cut_off()


class Writer:
    """Frames one behind the other, and an end; an archive's index is left out."""

    index_last = False

    def add(self, frame: memoryview, _raw_size: int) -> tuple[Buffer, ...]:
        return (frame,)

    def index(self, _block: bytes) -> bytes:
        return b""

    def finish(self) -> bytes:
        return END


FORMAT = Format(
    name="toy",
    suffixes=(".toy",),
    tar_suffixes=(".ttoy",),
    is_magic=lambda head: head[:4] in {MAGIC, END},
    codec=Codec(
        open_stream=lambda _max_window: StreamDecoder(),
        decompress=decompress,
        levels=range(1),
        chunk_size=lambda _level: 1 << 20,
        bound=lambda size: size + HEAD.size,
        compress=compress,
    ),
    container=Container(ToyReader, Writer),
)
