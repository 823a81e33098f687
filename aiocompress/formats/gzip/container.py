"""``.gz``: one gzip member a chunk, each with its own size in front: the ``IG`` subfield.

Members with such a size are read in parallel: ``IG`` (written here and by pgzip), ``MZ`` (mgzip)
and ``BC`` (BGZF: the SAM/BAM specification, 4.1); everything else is one stream. ``Writer`` puts a
comment into the first member and ends with an empty one: so a cut that falls exactly between two
members is an error. BGZF files end with an empty member too, and get the same check.

An archive's index stands behind all data, in empty members, as base85 in their comments: its
blocks, then the sizes of all members with data, then a member of fixed size that points to the
first. Comments of trailing empty members are the one place that every reader passes over: an index
in FEXTRA, or between members with data, makes pgzip stop there without an error; raw bytes at the
end make gzip and GNU tar report garbage; ISA-L refuses headers over 512 KiB.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Generator
from itertools import accumulate
from typing import Final

from aiocompress.formats import base
from aiocompress.formats.base import (
    AT_ONCE,
    LARGEST_TABLE,
    PART,
    FrameTable,
    Read,
    Search,
    Steps,
    little_endian,
)
from aiocompress.formats.gzip import codec as gzip
from aiocompress.model import MIB, Buffer

_HEADER: Final = struct.Struct("<4sIBBH2sHI")
"""Magic and flags, time, extra flags, system, FEXTRA length, subfield, its length, member size."""
_UNKNOWN_SYSTEM: Final = 255
_MARK: Final = b"aiocompress\0"
_NO_MARK: Final = b"written now\0"
"""In its place, while a file grows."""
_EMPTY: Final = b"\x03\0" + bytes(8)
_SMALLEST: Final = 20
_LARGEST_TRIED: Final = MIB
HIGHEST_RATIO: Final = 1032
"""Raw bytes that a byte of DEFLATE data can stand for at most."""


def _header(data_size: int, mark: bytes = b"") -> bytes:
    """Return the header of a member with ``data_size`` bytes of data, CRC and length after it."""
    flags = gzip.EXTRA | (gzip.COMMENT if mark else 0)
    size = _HEADER.size + len(mark) + data_size
    magic = gzip.MAGIC + bytes([flags])
    return _HEADER.pack(magic, 0, 0, _UNKNOWN_SYSTEM, 8, b"IG", 4, size) + mark


_END: Final = _header(len(_EMPTY)) + _EMPTY
BGZF_END: Final = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
ENDS: Final = (_END, BGZF_END)
"""The empty members that end a file: that of ``Writer``, and that of BGZF."""

_INDEX: Final = b"aiocompress index "
GOES_ON, ENDS_HERE, POINTS = b"+", b".", b"@"
"""Kinds of index members: part of a payload, the last part of one, the pointer to the first."""
_PIECE_SIZE: Final = 192_000
"""Bytes of the index in one comment: in base85, ISA-L still reads it."""
_TABLE: Final = struct.Struct("<8sII")
_TABLE_MAGIC: Final = b"aiocmpft"


def _index_member(kind: bytes, data: bytes) -> bytes:
    return _header(len(_EMPTY), _INDEX + kind + data + b"\0") + _EMPTY


def _index_members(payload: bytes) -> bytes:
    from base64 import b85encode  # few files have an index

    members = []
    for at in range(0, len(payload), _PIECE_SIZE):
        piece = payload[at : at + _PIECE_SIZE]
        kind = GOES_ON if at + _PIECE_SIZE < len(payload) else ENDS_HERE
        members.append(_index_member(kind, b85encode(piece)))
    return b"".join(members)


def _tail(first: int) -> bytes:
    """Return the end of an archive: a member that points to the index, and the empty one."""
    return _index_member(POINTS, b"%020d" % first) + _END


TAIL_SIZE: Final = len(_tail(0))
INDEX_HEAD: Final = _HEADER.size + len(_INDEX) + 1
"""Bytes of an index member up to its text."""


class Writer:
    """Plain gzip members to ``.gz``; see ``base.Writer``."""

    index_last = True
    _mark = _MARK

    def __init__(self) -> None:
        self._position = 0
        self._sizes = array("I")
        self._has_index = False

    def add(self, frame: memoryview, raw_size: int) -> tuple[Buffer, ...]:
        data = frame[gzip.PLAIN_HEADER :]
        header, self._mark = _header(len(data), self._mark), b""
        size = len(header) + len(data)
        self._position += size
        self._sizes.extend((size, raw_size))
        return header, data

    def index(self, block: bytes) -> bytes:
        self._has_index = True
        return _index_members(block)

    def finish(self) -> bytes:
        if not self._has_index:
            return _END
        return _index_members(_packed(self._sizes)) + _tail(self._position)


class Draft(Writer):
    """The same without the mark, for which there is room; see ``base.Draft``."""

    _mark = _NO_MARK

    def seal(self) -> tuple[int, bytes] | None:
        return (_HEADER.size, _MARK) if self._position else None


def _packed(sizes: array[int]) -> bytes:
    """Return the table of all members with data: (compressed, raw) sizes."""
    return _TABLE.pack(_TABLE_MAGIC, 1, len(sizes)) + little_endian(sizes).tobytes()


def table_sizes(payload: bytes) -> array[int] | None:
    """Return (compressed, raw) sizes by turns from a table; None: it is not a table."""
    if not payload.startswith(_TABLE_MAGIC):
        return None
    return little_endian(array("I", payload[_TABLE.size : len(payload) // 8 * 8]))


def search(size: int) -> Search:
    """Look for the index of an archive of that many bytes; see ``base.Search``."""
    tail = yield max(0, size - TAIL_SIZE), TAIL_SIZE
    end = size - TAIL_SIZE
    digits = tail[INDEX_HEAD : INDEX_HEAD + 20]
    first = int(digits) if digits.isdigit() else end
    if first >= end or tail != _tail(first):
        return None
    if size - first <= AT_ONCE:
        yield first, end - first  # so that no step below needs a request of its own
    blocks: list[tuple[int, int]] = []
    start = at = first
    while at < end:
        member_size, kind = index_member((yield at, INDEX_HEAD))
        if not kind or at + member_size > end:
            return None
        at += member_size
        if kind == ENDS_HERE:
            blocks.append((start, at - start))
            start = at
    if start != end or blocks[-1][1] > LARGEST_TABLE:
        return None
    return _table(index_payload((yield blocks.pop())) or b"", first, blocks)


def _table(payload: bytes, end: int, blocks: list[tuple[int, int]]) -> FrameTable | None:
    """Add up the sizes; they must cover all that stands before the index."""
    pairs = table_sizes(payload)
    if pairs is None or payload != _packed(pairs):
        return None
    starts, raws = (array("Q", accumulate(pairs[column::2], initial=0)) for column in (0, 1))
    return FrameTable(starts, pairs[::2], raws, blocks) if starts.pop() == end else None


def begins(head: bytes, compressed: int, _raw: int) -> bool:
    """Whether a member of that compressed size begins so; see ``Container``."""
    return indexed_size(head) == compressed


def is_frame(data: memoryview, raw_size: int) -> bool:
    """Whether bytes begin and end as a member of that raw size does; see ``Container``."""
    return indexed_size(data) == len(data) and int.from_bytes(data[-4:], "little") == raw_size


def index_payload(data: bytes) -> bytes | None:
    """Return what a run of index members stores; None: they are something else."""
    from base64 import b85decode

    payload, view, at = [], memoryview(data), 0
    while at < len(data):
        size, kind = index_member(view, at)
        if not kind:
            return None
        try:
            payload.append(b85decode(data[at + INDEX_HEAD : at + size - len(_EMPTY) - 1]))
        except ValueError:
            return None
        at += size
    return b"".join(payload)


def index_member(data: Buffer, start: int = 0) -> tuple[int, bytes]:
    """Return size and kind of the index member that begins there; no kind: it is another one."""
    size = indexed_size(data, start)
    head = bytes(data[start + _HEADER.size : start + INDEX_HEAD])
    return size, head[-1:] if size and head[:-1] == _INDEX else b""


def is_marked(data: Buffer, start: int = 0) -> bool:
    """Whether a member that ``Writer`` has marked as a file's first begins there."""
    at = start + _HEADER.size
    return bytes(data[at : at + len(_MARK)]) == _MARK


def needs_end(data: Buffer, start: int = 0) -> bool:
    """Whether a file with the member that begins there has to end with one of ``ENDS``."""
    return is_marked(data, start) or bytes(data[start + 12 : start + 16]) == b"BC\2\0"


def indexed_size(data: Buffer, start: int = 0) -> int:
    """Return the size that a member states in its FEXTRA; 0: none, or FEXTRA is not all there."""
    head = bytes(data[start : start + 4])
    if len(data) < start + 12 or head[:3] != gzip.MAGIC or not head[3] & gzip.EXTRA:
        return 0
    at = start + 12
    end = at + int.from_bytes(data[start + 10 : at], "little")
    while at + 4 <= end <= len(data):
        name, length = data[at : at + 2], int.from_bytes(data[at + 2 : at + 4], "little")
        value = int.from_bytes(data[at + 4 : at + 4 + length], "little")
        if bytes(name) in {b"IG", b"MZ"} and length == 4:
            return value if value >= _SMALLEST else 0
        if bytes(name) == b"BC" and length == 2:
            return value + 1 if value >= _SMALLEST else 0
        at += 4 + length
    return 0


def whole(data: bytes, most: int, _max_window: int) -> bytes | None:
    """Return the content of a small file of one member; see ``Container``."""
    if is_marked(data):
        if not data.endswith(_END):
            return None
        data = data[: -len(_END)]
    elif needs_end(data) or len(data) < gzip.PLAIN_HEADER or data[3] & gzip.RESERVED_FLAGS:
        return None
    decoder = zlib.decompressobj(gzip.WBITS)
    try:
        raw = decoder.decompress(data, most + 1)
    except zlib.error:
        return None
    is_whole = decoder.eof and not decoder.unused_data and len(raw) <= most
    return raw if is_whole else None


def is_sole(read: Read, size: int) -> bool:
    """Whether a file is one member, and nothing else; see ``Container``.

    Where the member does not state its size, only decoding finds its end: so of large files it is
    not known.
    """
    head = read(0, INDEX_HEAD)
    if is_marked(head) or len(head) < gzip.PLAIN_HEADER or head[3] & gzip.RESERVED_FLAGS:
        return False
    if stated := indexed_size(head):
        return stated == size
    if size > _LARGEST_TRIED:
        return False
    decoder, left = zlib.decompressobj(gzip.WBITS), read(0, size)
    try:
        for _ in range(_LARGEST_TRIED * 64 // PART):
            decoder.decompress(left, PART)
            left = decoder.unconsumed_tail
            if decoder.eof or not left:
                break
    except zlib.error:
        return False
    return decoder.eof and not decoder.unused_data


class Reader(base.Reader):
    """``.gz`` of any writer to pieces; see ``base.Reader``.

    A size in a header is a hint: from the first member on whose size leads to no other member, all
    is given out as a stream; the pipeline does the same where a member has another size.
    """

    _without_end = "members: the empty one at its end is missing"

    def _parse(self) -> Steps:
        self._tail = b""
        self._sizes = array("I")
        self._payload = b""
        self._table_due = self._goes_on = False
        while (yield from self._need(1)):
            if self._buffer[0] == 0:
                # Padding, or the middle of a member whose size lied: the stream decoder can tell.
                yield from self._give_part(min(len(self._buffer), base.PART), last=False)
                continue
            member = yield from self._member()
            if is_marked(self._buffer):  # a new file begins, and its table counts from here
                self._check_end()
                self._sizes = array("I")
            if member is None:
                yield from self._rest()
                break
            yield from self._give_frames(self._run(member), exact=False)
        self._check_end()

    def _run(self, member: tuple[int, int]) -> list[tuple[int, int]]:
        """Measure the members that are here, after the first one."""
        members: list[tuple[int, int]] = []
        size = raw = 0
        found: tuple[int, int] | None = member
        while found is not None:
            self._note_end(size, found[0])
            if self._strict:
                self._note_index(size, *found)
            members.append(found)
            size, raw = size + found[0], raw + found[1]
            full = self._is_full(members, size) or is_marked(self._buffer, size)
            found = None if full else self._measure(size, raw)
        return members

    def _member(self) -> Generator[None, None, tuple[int, int] | None]:
        """Wait for a whole member; None: it states no credible size."""
        yield from self._need(_HEADER.size + len(_MARK))
        if len(self._buffer) > 12 and self._buffer[3] & gzip.EXTRA:
            yield from self._need(12 + int.from_bytes(self._buffer[10:12], "little"))
        size = indexed_size(self._buffer)
        if not size or size > self._whole or not (yield from self._need(size)):
            return None
        return self._measure(0, 0)

    def _measure(self, start: int, raw_before: int) -> tuple[int, int] | None:
        """Return (compressed, raw) of the member at ``start`` if all of it is here."""
        size = indexed_size(self._buffer, start)
        end = start + size
        if not size or end > len(self._buffer):
            return None
        raw = int.from_bytes(self._buffer[end - 4 : end], "little")
        if end + raw_before + raw > self._whole or raw > size * HIGHEST_RATIO:
            return None
        return size, raw

    def _check_end(self) -> None:
        super()._check_end()
        if self._table_due:
            self._index_is_damaged()

    def _note_end(self, start: int, size: int) -> None:
        if bytes(self._buffer[start : start + size]).endswith(ENDS):
            self._end_due = False
        elif needs_end(self._buffer, start):
            self._end_due = True

    def _note_index(self, start: int, size: int, raw_size: int) -> None:
        """Compare an archive's table of members with the members that were read."""
        _, kind = index_member(self._buffer, start)
        if not kind:
            if raw_size:
                self._sizes.extend((size, raw_size))
        elif kind == POINTS:
            if self._payload != _packed(self._sizes):
                self._index_is_damaged()
            self._table_due = False
        else:
            self._table_due = True
            piece = index_payload(bytes(self._buffer[start : start + size])) or b""
            self._payload = self._payload + piece if self._goes_on else piece
            self._goes_on = kind == GOES_ON

    def _rest(self) -> Steps:
        if bytes(self._buffer[:3]) == gzip.MAGIC:
            self._end_due |= needs_end(self._buffer)
        return super()._rest()

    def _give_part(self, size: int, *, last: bool) -> Steps:
        """Look for the end in a stream too, whose members are not walked."""
        if self._end_due:
            seen = self._tail + self._buffer[:size]
            self._end_due = not any(end in seen for end in ENDS)
            self._tail = seen[-len(_END) :]
        return super()._give_part(size, last=last)


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
