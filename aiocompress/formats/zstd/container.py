"""``.zst``: zstd frames, and the seek table of the zstd seekable format v0.1.0 at the end.

A writer marks the header of the first frame: its content size takes 8 bytes where fewer would
do, and its window has the mantissa 1; libzstd never writes this, and every decoder reads it. A
reader that meets the mark demands the seek table: so a file of ours that is cut off exactly
between two frames is an error. In files of others this cannot be seen.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Generator
from typing import Final

from aiocompress.errors import AiocompressError, CorruptError, TruncatedError
from aiocompress.formats import base
from aiocompress.formats.base import LARGEST_TABLE, PART, FrameTable, Search, Steps
from aiocompress.formats.zstd import codec as zstd
from aiocompress.formats.zstd.codec import FrameHeader, FrameWalk
from aiocompress.model import Buffer

_TABLE_MAGIC: Final = b"\x5e\x2a\x4d\x18"
_INDEX_MAGIC: Final = b"\x59\x2a\x4d\x18"
_FOOTER_MAGIC: Final = b"\xb1\xea\x92\x8f"
_CHECKSUM_FLAG: Final = 0x80
_EMPTY_CHECKSUM: Final = 0x51D8E999
_ENTRY_SIZE: Final = 12
_FOOTER: Final = struct.Struct("<IB4s")
_SKIPPABLE: Final = struct.Struct("<4sI")
_U32_MAX: Final = 0xFFFFFFFF
_MARKED: Final = struct.Struct("<4sBBQ")
"""A marked frame header: magic, descriptor, window, content size."""
_MARKED_DESCRIPTOR: Final = 3 << 6 | 4
_ONE_ENTRY: Final = struct.Struct("<4sIII4sIB4s")
"""A seek table of one entry, as ``SeekTable`` writes it."""
_TABLE_SIZE: Final = _ONE_ENTRY.size - _SKIPPABLE.size


class SeekTable:
    """Compressed size, raw size and checksum of every frame, skippable ones included."""

    def __init__(self) -> None:
        self._entries = array("I")

    def __len__(self) -> int:
        return len(self._entries) // 3

    def add(self, compressed: int, raw: int, checksum: Buffer) -> None:
        """Add a frame: its sizes in bytes, and the 4 bytes that end it."""
        self._entries.extend((compressed, raw, int.from_bytes(checksum, "little")))

    def add_skippable(self, compressed: int) -> None:
        """Add a frame that decodes to nothing."""
        self._entries.extend((compressed, 0, _EMPTY_CHECKSUM))

    @property
    def size(self) -> int:
        """Bytes of the skippable frame that the table is."""
        return _SKIPPABLE.size + len(self) * _ENTRY_SIZE + _FOOTER.size

    def __bytes__(self) -> bytes:
        """Return the skippable frame that ends the file."""
        entries = self._entries
        if sys.byteorder == "big":
            entries = array("I", entries)
            entries.byteswap()
        head = _SKIPPABLE.pack(_TABLE_MAGIC, self.size - _SKIPPABLE.size)
        footer = _FOOTER.pack(len(self), _CHECKSUM_FLAG, _FOOTER_MAGIC)
        return head + entries.tobytes() + footer


class Writer:
    """zstd frames, content size and checksum in each, to ``.zst``; see ``base.Writer``."""

    def __init__(self) -> None:
        self._table = SeekTable()

    def add(self, frame: memoryview, raw_size: int) -> tuple[Buffer, ...]:
        parts: tuple[Buffer, ...] = (frame,)
        if not len(self._table):
            header = zstd.parse_header(frame)
            assert header is not None
            parts = (zstd.mark_header(header), frame[header.size :])
        self._table.add(sum(map(len, parts)), raw_size, frame[-4:])
        return parts

    index_last = False

    def index(self, block: bytes) -> bytes:
        self._table.add_skippable(_SKIPPABLE.size + len(block))
        return _SKIPPABLE.pack(_INDEX_MAGIC, len(block)) + block

    def finish(self) -> bytes:
        return bytes(self._table)


def search(size: int) -> Search:
    """Look for the seek table of a file of that many bytes; see ``base.Search``."""
    footer = yield max(0, size - _FOOTER.size), _FOOTER.size
    if len(footer) < _FOOTER.size:
        return None
    count, flags, magic = _FOOTER.unpack(footer)
    start = size - (_SKIPPABLE.size + count * _ENTRY_SIZE + _FOOTER.size)
    if magic != _FOOTER_MAGIC or flags != _CHECKSUM_FLAG or start < 0:
        return None
    if size - start > LARGEST_TABLE:
        return None
    data = yield start, size - start
    head = _SKIPPABLE.pack(_TABLE_MAGIC, size - start - _SKIPPABLE.size)
    if len(data) != size - start or not data.startswith(head):
        return None
    entries = array("I", data[_SKIPPABLE.size : -_FOOTER.size])
    if sys.byteorder == "big":
        entries.byteswap()
    return _table(entries, start)


def _table(entries: array[int], end: int) -> FrameTable | None:
    """Add up the entries; they must cover all that stands before the table."""
    table = FrameTable(array("Q"), array("Q"), array("Q", [0]), [])
    at = raw = 0
    for compressed, decompressed, checksum in zip(*[iter(entries)] * 3, strict=True):
        if decompressed or checksum != _EMPTY_CHECKSUM:
            raw += decompressed
            table.starts.append(at)
            table.sizes.append(compressed)
            table.raws.append(raw)
        else:
            table.blocks.append((at, compressed))
        at += compressed
    return table if at == end else None


def is_frame(data: memoryview, raw_size: int) -> bool:
    """Whether bytes begin and end as a frame of that raw size does; see ``Container``."""
    if bytes(data[:4]) != zstd.MAGIC:
        return False
    try:
        header = zstd.parse_header(data)
        if header is None or header.content_size != raw_size:
            return False
        walk = FrameWalk(header)
        walk.advance(data, 0)
    except AiocompressError:
        return False
    return walk.ended and walk.size == len(data)


def index_payload(data: bytes) -> bytes | None:
    """Return the index block in one of ``FrameTable.blocks``; None: it is something else."""
    if len(data) < _SKIPPABLE.size or not data.startswith(_INDEX_MAGIC):
        return None
    return data[_SKIPPABLE.size :]


def whole(data: bytes, most: int, max_window: int) -> bytes | None:
    """Return what a small file of ours holds: one marked frame and the table of it; see ``Format``.

    Most small files are that, and walking them takes longer than decoding does. So nothing is
    walked here: the table, which says all sizes, must stand there byte for byte.
    """
    if len(data) < _MARKED.size + _ONE_ENTRY.size:
        return None
    magic, descriptor, window, raw = _MARKED.unpack_from(data)
    size = len(data) - _ONE_ENTRY.size
    if magic != zstd.MAGIC or descriptor != _MARKED_DESCRIPTOR or window & 7 != 1 or raw > most:
        return None
    entry = (_TABLE_SIZE, size, raw, data[size - 4 : size])
    table = _ONE_ENTRY.pack(_TABLE_MAGIC, *entry, 1, _CHECKSUM_FLAG, _FOOTER_MAGIC)
    if 9 << 7 + (window >> 3) > max_window or data[size:] != table:
        return None
    return zstd.decompress_all(memoryview(data)[:size])


class Reader(base.Reader):
    """``.zst`` of any writer to pieces; see ``base.Reader``."""

    def _parse(self) -> Steps:
        self._table: SeekTable | None = SeekTable()
        self._table_due = False
        while (yield from self._need(1)):
            long_enough = yield from self._need(4)
            if long_enough and bytes(self._buffer[:4]) == zstd.MAGIC:
                yield from self._frames()
            elif long_enough and zstd.is_skippable(self._buffer):
                yield from self._skippable()
            elif not long_enough and zstd.MAGIC.startswith(bytes(self._buffer)):
                raise self._cut_off()
            else:
                yield from self._padding()
        if self._table_due:
            raise self._without_table()

    def _frames(self) -> Steps:
        """One frame as soon as it is whole, with those behind it that are here; or a stream."""
        header = yield from self._header()
        walk = FrameWalk(header)
        exact = header.content_size is not None
        # pzstd writes no content size, and 4 windows into each frame.
        raw = 4 * header.window if header.content_size is None else header.content_size
        while True:
            walk.advance(self._buffer, 0)
            if raw + walk.size > self._whole:
                yield from self._stream(header, walk)
                return
            if walk.ended and walk.size <= len(self._buffer):
                break
            if not (yield from self._need(walk.size + (0 if walk.ended else 3))):
                raise self._cut_off()
        frames, size = [(walk.size, raw)], walk.size
        self._count(header, size, self._buffer[size - 4 : size])
        while exact and not self._is_full(frames, size) and (frame := self._follower(size, raw)):
            frames.append(frame)
            size += frame[0]
            raw += frame[1]
        yield from self._give_frames(frames, exact=exact)

    def _header(self) -> Generator[None, None, FrameHeader]:
        while (header := zstd.parse_header(self._buffer)) is None:
            if not (yield from self._need(len(self._buffer) + 1)):
                raise self._cut_off()
        zstd.check_header(header, self._max_window)
        self._begin_table(header)
        return header

    def _begin_table(self, header: FrameHeader) -> None:
        """Expect a seek table where a file of ours begins: it counts from here."""
        if zstd.is_marked_header(header):
            if self._table_due:
                raise self._without_table()
            self._table, self._table_due = SeekTable(), True

    def _without_table(self) -> TruncatedError:
        return TruncatedError(
            "the file is cut off between two frames: the seek table at its end is missing",
            offset=0,
        )

    def _follower(self, start: int, before: int) -> tuple[int, int] | None:
        """Measure the frame at ``start`` if all of it is here, and nothing is odd about it."""
        if bytes(self._buffer[start : start + 4]) != zstd.MAGIC:
            return None
        try:
            header = zstd.parse_header(self._buffer, start)
            if header is None or header.content_size is None:
                return None
            zstd.check_header(header, self._max_window)
            walk = FrameWalk(header)
            walk.advance(self._buffer, start)
        except AiocompressError:
            return None
        raw, end = header.content_size, start + walk.size
        if not walk.ended or end > len(self._buffer) or before + raw + end > self._whole:
            return None
        if zstd.is_marked_header(header):
            return None  # a file of ours begins
        self._count(header, walk.size, self._buffer[end - 4 : end])
        return walk.size, raw

    def _stream(self, header: FrameHeader, walk: FrameWalk) -> Steps:
        """Give out one frame in parts: it is too large, or may be.

        The bytes of a block header stay together: the walk has to see all of them.
        """
        zstd.check_window(header, self._max_window)
        start, tail = 0, b""
        while True:
            try:
                walk.advance(self._buffer, start)
            except CorruptError as error:
                error.offset = start + (error.offset or 0)
                raise
            end = start + walk.size
            size = min(len(self._buffer), PART, end)
            last = walk.ended and size == end
            tail = (tail + bytes(self._buffer[max(0, size - 4) : size]))[-4:]
            if last:
                self._count(header, walk.size, tail)
            if size:
                yield from self._give_part(size, last=last)
            if last:
                return
            start -= size
            if not (yield from self._need(len(self._buffer) + 1 if not size else 1)):
                raise self._cut_off()

    def _count(self, header: FrameHeader, size: int, checksum: Buffer) -> None:
        """Add a frame to the table that the one in the file is compared with."""
        raw = header.content_size
        too_large = size > _U32_MAX or (raw or 0) > _U32_MAX
        if self._table is None or raw is None or not header.has_checksum or too_large:
            self._table = None
        else:
            self._table.add(size, raw, checksum)

    def _skippable(self) -> Steps:
        """Skip a frame that decodes to nothing; a seek table must match what came before it."""
        if not (yield from self._need(_SKIPPABLE.size)):
            raise self._cut_off()
        magic, size = _SKIPPABLE.unpack_from(self._buffer)
        size = left = size + _SKIPPABLE.size
        while left > PART and not (self._table is not None and size == self._table.size):
            if not (yield from self._need(PART)):
                raise self._cut_off()
            self._drop(PART)
            left -= PART
        if not (yield from self._need(left)):
            raise self._cut_off()
        if magic == _TABLE_MAGIC and bytes(self._buffer[left - 4 : left]) == _FOOTER_MAGIC:
            if (
                self._table_due
                and self._table is not None
                and self._buffer[:left] != bytes(self._table)
            ):
                self._index_is_damaged()
            self._table, self._table_due = SeekTable(), False
        elif self._table is not None:
            self._table.add_skippable(size)
        self._drop(left)
