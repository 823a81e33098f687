"""``.zst``: zstd frames, and the seek table of the zstd seekable format v0.1.0 at the end.

zstd frames simply follow each other, and a seek table is optional. So a file that is cut off
exactly between two frames looks like a whole, shorter file. To tell the two apart, the writer marks
the header of the first frame (see ``frame.mark_header``), and a reader that meets the mark demands
the seek table. In files of other writers, which have no mark, such a cut cannot be seen.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Generator, Iterable
from typing import Final

import zstandard

from aiocompress.errors import CorruptError, LimitError
from aiocompress.formats import base
from aiocompress.formats.base import (
    LARGEST_TABLE,
    PART,
    FrameTable,
    Read,
    Search,
    Steps,
    little_endian,
)
from aiocompress.formats.zstd import codec as zstd
from aiocompress.formats.zstd.frame import (
    MAGIC,
    U32_MAX,
    FrameHeader,
    FrameWalk,
    check_header,
    is_skippable,
    mark_header,
    measured,
    parse_header,
)
from aiocompress.model import MIB, Buffer

TABLE_MAGIC: Final = b"\x5e\x2a\x4d\x18"
INDEX_MAGIC: Final = b"\x59\x2a\x4d\x18"
FOOTER_MAGIC: Final = b"\xb1\xea\x92\x8f"
_CHECKSUM_FLAG: Final = 0x80
EMPTY_CHECKSUM: Final = 0x51D8E999
"""The low 32 bits of the XXH64 of nothing."""
SKIPPABLE: Final = struct.Struct("<4sI")
ENTRY: Final = struct.Struct("<III")
FOOTER: Final = struct.Struct("<IB4s")
_NO_SIZE: Final = frozenset({0, zstandard.CONTENTSIZE_UNKNOWN})
_ONE_ENTRY: Final = struct.Struct("<4sIII4sIB4s")
"""A seek table of one entry, as ``SeekTable`` writes it."""
_LONGEST_HEADER: Final = 18
_LARGEST_HTTP_WINDOW: Final = 8 * MIB
_MOST_BLOCKS: Final = 1 << 16
"""Blocks that are walked over to find the end of a frame: 8 GiB, or tiny ones of an attacker."""
_TABLE_SIZE: Final = _ONE_ENTRY.size - SKIPPABLE.size


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
        self._entries.extend((compressed, 0, EMPTY_CHECKSUM))

    @property
    def size(self) -> int:
        """Bytes of the skippable frame that stores the table."""
        return SKIPPABLE.size + len(self) * ENTRY.size + FOOTER.size

    def __bytes__(self) -> bytes:
        """Return the skippable frame that stores the table, and ends the file."""
        head = SKIPPABLE.pack(TABLE_MAGIC, self.size - SKIPPABLE.size)
        footer = FOOTER.pack(len(self), _CHECKSUM_FLAG, FOOTER_MAGIC)
        return head + little_endian(self._entries).tobytes() + footer


class Writer:
    """zstd frames, content size and checksum in each, to ``.zst``; see ``base.Writer``."""

    index_last = False

    def __init__(self) -> None:
        self._table = SeekTable()

    def add(self, frame: memoryview, raw_size: int) -> tuple[Buffer, ...]:
        parts: tuple[Buffer, ...] = (frame,)
        if not len(self._table):
            header = parse_header(frame)
            assert header is not None
            parts = (self._first(header), frame[header.size :])
        self._table.add(sum(map(len, parts)), raw_size, frame[-4:])
        return parts

    def _first(self, header: FrameHeader) -> bytes:
        return mark_header(header)

    def index(self, block: bytes) -> bytes:
        self._table.add_skippable(SKIPPABLE.size + len(block))
        return SKIPPABLE.pack(INDEX_MAGIC, len(block)) + block

    def finish(self) -> bytes:
        return bytes(self._table)


class Draft(Writer):
    """The same without the mark, for which there is room; see ``base.Draft``."""

    _seal: tuple[int, bytes] | None = None

    def _first(self, header: FrameHeader) -> bytes:
        marked = mark_header(header)
        if marked == header.data:
            return marked
        at = len(MAGIC) + 1
        self._seal = at, marked[at : at + 1]
        return marked[:at] + bytes([marked[at] & ~7]) + marked[at + 1 :]

    def seal(self) -> tuple[int, bytes] | None:
        return self._seal


def search(size: int) -> Search:
    """Look for the seek table of a file of that many bytes; see ``base.Search``."""
    footer = yield max(0, size - FOOTER.size), FOOTER.size
    if len(footer) < FOOTER.size:
        return None
    count, flags, magic = FOOTER.unpack(footer)
    table_size = SKIPPABLE.size + count * ENTRY.size + FOOTER.size
    if magic != FOOTER_MAGIC or flags != _CHECKSUM_FLAG or table_size > min(size, LARGEST_TABLE):
        return None
    start = size - table_size
    data = yield start, table_size
    head = SKIPPABLE.pack(TABLE_MAGIC, table_size - SKIPPABLE.size)
    if len(data) != table_size or not data.startswith(head):
        return None
    entries = data[SKIPPABLE.size : -FOOTER.size]
    begin = start - sum(little_endian(array("I", entries))[:: ENTRY.size // 4])
    return _table(ENTRY.iter_unpack(entries), begin) if begin >= 0 else None


def _table(entries: Iterable[tuple[int, ...]], begin: int) -> FrameTable:
    """Add up the entries of a container that begins there."""
    table = FrameTable(array("Q"), array("Q"), array("Q", [0]), [], begin)
    at, raw = begin, 0
    for compressed, decompressed, checksum in entries:
        if decompressed or checksum != EMPTY_CHECKSUM:
            raw += decompressed
            table.starts.append(at)
            table.sizes.append(compressed)
            table.raws.append(raw)
        else:
            table.blocks.append((at, compressed))
        at += compressed
    return table


def begins(head: bytes, _compressed: int, raw: int) -> bool:
    """Whether a frame of that raw size may begin so; see ``Container``."""
    if not head.startswith(MAGIC):
        return False
    try:
        header = parse_header(head)
    except CorruptError:
        return False
    return header is not None and header.content_size == raw


def is_frame(data: memoryview, raw_size: int) -> bool:
    """Whether bytes begin and end as a frame of that raw size does; see ``Container``."""
    found = measured(data, 0, U32_MAX << 32)
    return found is not None and found[0].content_size == raw_size and found[1] == len(data)


def index_payload(data: bytes) -> bytes | None:
    """Return the index block in one of ``FrameTable.blocks``; None: it is something else."""
    if len(data) < SKIPPABLE.size or not data.startswith(INDEX_MAGIC):
        return None
    return data[SKIPPABLE.size :]


def whole(data: bytes, most: int, max_window: int) -> bytes | None:
    """Return the content of a small file of one frame; see ``Container``.

    Most small files are that, and a walk over their blocks takes longer than decoding them. So
    nothing is walked: libzstd finds the end of a frame that stands alone, and behind a marked one
    the table, which states all sizes, must stand byte for byte.

    :raises LimitError: the first frame states more.
    """
    if not data.startswith(MAGIC):
        return None
    try:
        stated = zstandard.get_frame_parameters(data)
    except zstandard.ZstdError:
        return None
    # Behind a frame without content, ``decompress_all`` would not look for another.
    if stated.content_size in _NO_SIZE or stated.window_size > max_window:
        return None
    if stated.content_size > most:
        raise LimitError("the content is larger")
    # A marked header states the size in 8 bytes, as few others do.
    header = parse_header(data) if data[4] >> 6 == 3 else None
    if header is None or not header.is_marked:
        return zstd.decompress_all(data)
    size = max(0, len(data) - _ONE_ENTRY.size)
    entry = (_TABLE_SIZE, size, stated.content_size, data[size - 4 : size])
    table = _ONE_ENTRY.pack(TABLE_MAGIC, *entry, 1, _CHECKSUM_FLAG, FOOTER_MAGIC)
    return zstd.decompress_all(memoryview(data)[:size]) if data[size:] == table else None


def is_sole(read: Read, size: int) -> bool:
    """Whether a file is one frame, and nothing else; see ``Container``.

    Browsers refuse windows above 8 MiB (RFC 9659).
    """
    head = read(0, _LONGEST_HEADER)
    if head[:4] != MAGIC:
        return False
    try:
        header = parse_header(head)
        if header is None or header.dictionary or header.window > _LARGEST_HTTP_WINDOW:
            return False
        walk = FrameWalk(header)
        for _ in range(_MOST_BLOCKS):
            if walk.ended or walk.size >= size:
                break
            walk.advance(read(walk.size, 3), -walk.size)
    except CorruptError:
        return False
    return walk.ended and walk.size == size


class Reader(base.Reader):
    """``.zst`` of any writer to pieces; see ``base.Reader``."""

    _without_end = "frames: the seek table at its end is missing"

    def _parse(self) -> Steps:
        self._table: SeekTable | None = SeekTable()
        while (yield from self._need(1)):
            long_enough = yield from self._need(4)
            if long_enough and bytes(self._buffer[:4]) == MAGIC:
                yield from self._frames()
            elif long_enough and is_skippable(self._buffer):
                yield from self._skippable()
            elif not long_enough and MAGIC.startswith(bytes(self._buffer)):
                raise self._cut_off()
            else:
                yield from self._padding()
        self._check_end()

    def _frames(self) -> Steps:
        """Give out a frame once it is whole, with those behind it that are here; or a stream."""
        header = yield from self._header()
        walk = FrameWalk(header)
        exact, raw = header.content_size is not None, header.room
        while True:
            walk.advance(self._buffer, 0)
            if raw + walk.size > self._whole:
                yield from self._stream(header, walk)
                return
            if walk.ended and walk.size <= len(self._buffer):
                break
            if not (yield from self._need(walk.size + (0 if walk.ended else 3))):
                if not self.gives_cut:
                    raise self._cut_off()
                yield from self._stream(header, walk)
                return
        frames, size = [(walk.size, raw)], walk.size
        self._count(header, size, self._buffer[size - 4 : size])
        while exact and not self._is_full(frames, size) and (frame := self._follower(size, raw)):
            frames.append(frame)
            size += frame[0]
            raw += frame[1]
        yield from self._give_frames(frames, exact=exact)

    def _header(self) -> Generator[None, None, FrameHeader]:
        while (header := parse_header(self._buffer)) is None:
            if not (yield from self._need(len(self._buffer) + 1)):
                raise self._cut_off()
        check_header(header, self._max_window)
        if header.is_marked:  # a new file begins, and its seek table counts from here
            self._check_end()
            self._table, self._end_due = SeekTable(), True
        return header

    def _follower(self, start: int, before: int) -> tuple[int, int] | None:
        """Measure the frame at ``start`` if it is here, plain, and begins no other file."""
        found = measured(self._buffer, start, self._max_window)
        if found is None:
            return None
        (header, size), raw = found, found[0].content_size
        if raw is None or header.is_marked or before + raw + start + size > self._whole:
            return None
        self._count(header, size, self._buffer[start + size - 4 : start + size])
        return size, raw

    def _stream(self, header: FrameHeader, walk: FrameWalk) -> Steps:
        """Give out one frame, which is or may be too large, in parts.

        The walk has to see each block header as a whole, so no part ends within one.
        """
        check_header(header, self._max_window, streamed=True)
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
        """Add a frame to the table that is compared with the one in the file."""
        raw = header.content_size
        too_large = size > U32_MAX or (raw or 0) > U32_MAX
        if self._table is None or raw is None or not header.has_checksum or too_large:
            self._table = None
        else:
            self._table.add(size, raw, checksum)

    def _skippable(self) -> Steps:
        """Skip a frame without content; a seek table must match the frames before it."""
        if not (yield from self._need(SKIPPABLE.size)):
            raise self._cut_off()
        magic, size = SKIPPABLE.unpack_from(self._buffer)
        size = left = size + SKIPPABLE.size
        while left > PART and not (self._table is not None and size == self._table.size):
            if not (yield from self._need(PART)):
                raise self._cut_off()
            self._drop(PART)
            left -= PART
        if not (yield from self._need(left)):
            raise self._cut_off()
        if magic == TABLE_MAGIC and bytes(self._buffer[left - 4 : left]) == FOOTER_MAGIC:
            due = self._table if self._end_due else None
            if due is not None and self._buffer[:left] != bytes(due):
                self._index_is_damaged()
            self._table, self._end_due = SeekTable(), False
        elif self._table is not None:
            self._table.add_skippable(size)
        self._drop(left)


CONTAINER: Final = base.Container(
    Reader,
    Writer,
    Draft,
    search,
    begins,
    index_payload,
    is_frame,
    has_bare_files=True,
    is_sole=is_sole,
    whole=whole,
)
