"""The index of an archive: what members it has, in blocks of columns, in the order they stand.

A block's records tile the raw archive: each begins where the one before it ends, so that nothing
can hide between two of them. A payload is our magic, version and length, then one zstd frame with
a checksum. In it, little endian: the raw offset of the first header (u64), the number of records
(u32), then nine columns, each a u32 length and its bytes: names and link targets (joined by NUL; a
name that begins with a slash stands in the folder of the one before it; a device has its numbers
as "major,minor" for a target), ustar type letters,
blocks of 512 bytes that the headers take (u16), sizes (u64, their lowest bytes first, then the
next ...), modes (u16), modification times in ns (i64), owners (u16), and the table of owners: uid,
gid, user, group, joined by NUL.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, Final, NamedTuple, Self

import zstandard

from aiocompress.errors import CorruptError
from aiocompress.formats.tar.header import BLOCK, TYPES, to_text
from aiocompress.model import KIB, MIB, Buffer, Kind, Member

MAGIC: Final = b"aiocmpix"
_VERSION: Final = 1
_PAYLOAD: Final = struct.Struct("<8sII")
_HEAD: Final = struct.Struct("<QI")
_LEVEL: Final = 7
_MOST_RECORDS, _MOST_NAMES = 8192, 512 * KIB
_LATEST: Final = (1 << 63) - 1
_LARGEST_BLOCK: Final = 4 * MIB
_PLAIN_BLOCKS: Final = 4
"""Blocks of a header that may hold no metadata: of the member, of pax, of global pax, padding."""
_SIZES: Final = 4
"""Which column."""
_LARGEST_OFFSET: Final = 1 << 62
_KINDS: Final[dict[int, Kind]] = {letter[0]: kind for kind, letter in TYPES.items()}  # type: ignore[misc]
_DEVICES: Final = b"34"
_LONGEST_DEVICE: Final = 30
FILE, HARDLINK, SYMLINK, DIRECTORY = b"0"[0], b"1"[0], b"2"[0], b"5"[0]
LETTERS: Final = {kind: letter[0] for kind, letter in TYPES.items()}


class Record(NamedTuple):
    """One member, as the index knows it; names are bytes as in the archive."""

    name: bytes
    link: bytes
    kind: int
    blocks: int
    size: int
    mode: int
    mtime_ns: int
    owner: tuple[int, int, bytes, bytes]
    offset: int

    @property
    def data_offset(self) -> int:
        """Where the content begins."""
        return self.offset + BLOCK * self.blocks

    def member(self) -> Member:
        """Return it as the public knows it."""
        uid, gid, user, group = self.owner
        link, device = self.link, (0, 0)
        if self.kind in _DEVICES:
            link, device = b"", _device(link)
        return Member(
            to_text(self.name),
            _KINDS[self.kind],
            self.size,
            self.mode,
            self.mtime_ns,
            uid,
            gid,
            to_text(user),
            to_text(group),
            to_text(link),
            device,
            self.offset,
            self.data_offset,
            self.size,
        )


def in_range(mtime_ns: int) -> int:
    """Return the time that the index says: from the year 1677 to 2262."""
    return max(-_LATEST, min(mtime_ns, _LATEST))


def _device(link: bytes) -> tuple[int, int]:
    """Return the numbers of a device, which stand in the place of a link's target."""
    major, _, minor = link.partition(b",")
    if major.isdigit() and minor.isdigit() and len(link) < _LONGEST_DEVICE:
        return int(major), int(minor)
    return 0, 0


class Records:
    """Members in order, as columns."""

    def __init__(self, start: int = 0) -> None:
        self.start = self.end = start
        """Raw offsets of the first header, and behind the last content."""
        self._names_size = 0
        self.names: list[bytes] = []
        self._links: list[bytes] = []
        self._kinds = bytearray()
        self._blocks = array("H")
        self._sizes = array("Q")
        self._modes = array("H")
        self._times = array("q")
        self._owners = array("H")
        self._table: dict[tuple[int, int, bytes, bytes], int] = {}
        self._offsets: list[int] = []

    def __len__(self) -> int:
        return len(self.names)

    def add(
        self,
        name: bytes,
        kind: int,
        blocks: int,
        size: int,
        mode: int,
        mtime_ns: int,
        owner: tuple[int, int, bytes, bytes],
        link: bytes = b"",
    ) -> None:
        """Add the member that begins where the last one ends; ``size`` is what is stored of it."""
        self.names.append(name)
        self._links.append(link)
        self._kinds.append(kind)
        self._blocks.append(blocks)
        self._sizes.append(size)
        self._modes.append(mode & 0o7777)
        self._times.append(in_range(mtime_ns))
        self._owners.append(self._table.setdefault(owner, len(self._table)))
        self.end += (blocks + -(-size // BLOCK)) * BLOCK
        self._names_size += len(name) + len(link)

    @property
    def is_full(self) -> bool:
        """Whether it is time for a block of its own."""
        return (
            len(self.names) >= _MOST_RECORDS
            or self._names_size >= _MOST_NAMES
            or len(self._table) >= _MOST_RECORDS
        )

    def offsets(self) -> list[int]:
        """Return where each member begins, and where the last one ends."""
        if len(self._offsets) != len(self.names) + 1:
            lengths = [
                (blocks + (size + BLOCK - 1) // BLOCK) * BLOCK
                for blocks, size in zip(self._blocks, self._sizes, strict=True)
            ]
            self._offsets = list(accumulate(lengths, initial=self.start))
        return self._offsets

    def __iter__(self) -> Iterator[Record]:
        table = list(self._table)
        columns = zip(
            self.names,
            self._links,
            self._kinds,
            self._blocks,
            self._sizes,
            self._modes,
            self._times,
            self._owners,
            self.offsets()[:-1],
            strict=True,
        )
        for name, link, kind, blocks, size, mode, time, owner, offset in columns:
            yield Record(name, link, kind, blocks, size, mode, time, table[owner], offset)

    def listing(self) -> list[str]:
        """Return all names as text; that of a folder ends with a slash."""
        return [
            to_text(name) + "/" if kind == DIRECTORY else to_text(name)
            for name, kind in zip(self.names, self._kinds, strict=True)
        ]

    def record(self, number: int, offset: int) -> Record:
        """Return one record, which begins at ``offset``."""
        return Record(
            self.names[number],
            self._links[number],
            self._kinds[number],
            self._blocks[number],
            self._sizes[number],
            self._modes[number],
            self._times[number],
            self._owner_list[self._owners[number]],
            offset,
        )

    @cached_property
    def _owner_list(self) -> list[tuple[int, int, bytes, bytes]]:
        return list(self._table)

    @property
    def sizes(self) -> Sequence[int]:
        """What is stored of each member, in bytes."""
        return self._sizes

    @property
    def metadata(self) -> int:
        """At least how many bytes the longest header has beside its blocks and their padding."""
        return (max(self._blocks, default=0) - _PLAIN_BLOCKS) * BLOCK

    @property
    def kinds(self) -> frozenset[int]:
        """The types that there are records of."""
        return frozenset(self._kinds)

    def only(self, kinds: bytes) -> list[Record]:
        """Return the records of these types, in order."""
        offsets = self.offsets()
        numbers = [number for number, kind in enumerate(self._kinds) if kind in kinds]
        return [self.record(number, offsets[number]) for number in numbers]

    def cut(self, first: int, last: int, offset: int) -> Records:
        """Return the records ``first`` up to ``last``; the first one begins at ``offset``."""
        part = Records(offset)
        part.names, part._links = self.names[first:last], self._links[first:last]
        part._kinds, part._blocks = self._kinds[first:last], self._blocks[first:last]
        part._sizes, part._modes = self._sizes[first:last], self._modes[first:last]
        part._times, part._owners = self._times[first:last], self._owners[first:last]
        part._table = self._table
        return part

    def encode(self) -> bytes:
        """Return the columns as bytes."""
        owners = [b"%d\0%d\0%b\0%b" % owner for owner in self._table]
        columns = [
            b"\0".join(_shortened(self.names)),
            b"\0".join(self._links),
            bytes(self._kinds),
            *map(
                _little_endian,
                (self._blocks, self._sizes, self._modes, self._times, self._owners),
            ),
            b"\0".join(owners),
        ]
        columns[_SIZES] = b"".join(columns[_SIZES][byte::8] for byte in range(8))
        head = _HEAD.pack(self.start, len(self.names))
        return head + b"".join(len(part).to_bytes(4, "little") + part for part in columns)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Undo ``encode``; types and bounds are checked.

        :raises CorruptError: it is nothing that ``encode`` returns.
        """
        try:
            records = cls._decode(data)
        except (struct.error, ValueError, IndexError, OverflowError):
            raise CorruptError("a block of the index is damaged") from None
        return records

    @classmethod
    def _decode(cls, data: bytes) -> Self:
        start, count = _HEAD.unpack_from(data)
        columns, at = [], _HEAD.size
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "little")
            columns.append(data[at + 4 : at + 4 + size])
            at += 4 + size
        names, links, kinds, blocks, sizes, modes, times, owners, table = columns
        records = cls(start)
        records.names = _lengthened(names.split(b"\0")) if count else []
        records._links = links.split(b"\0") if count else []
        records._kinds = bytearray(kinds)
        for column, part in (
            (records._blocks, blocks),
            (records._sizes, _interleaved(sizes)),
            (records._modes, modes),
            (records._times, times),
            (records._owners, owners),
        ):
            _fill(column, part)
        records._table = _parse_owners(table)
        records._check(count, complete=at == len(data))
        records.end = records.offsets()[-1]
        return records

    def _check(self, count: int, *, complete: bool) -> None:
        columns = (
            *(self.names, self._links, self._kinds, self._blocks),
            *(self._sizes, self._modes, self._times, self._owners),
        )
        good = (
            complete
            and {len(column) for column in columns} == {count}
            and self.start % BLOCK == 0
            and self.start <= _LARGEST_OFFSET
            and all(self.names)
            and set(self._kinds) <= set(_KINDS)
            and all(self._blocks)
            and sum(self._sizes) <= _LARGEST_OFFSET
            and max(self._modes, default=0) <= 0o7777
            and max(self._owners, default=-1) < len(self._table)
            and not any(
                size for kind, size in zip(self._kinds, self._sizes, strict=True) if kind != FILE
            )
        )
        if not good:
            raise ValueError

    def pack(self) -> bytes:
        """Return a payload: what an index block of the container holds."""
        parameters = zstandard.ZstdCompressionParameters(
            compression_level=_LEVEL, write_checksum=True
        )
        frame = zstandard.ZstdCompressor(compression_params=parameters).compress(self.encode())
        return _PAYLOAD.pack(MAGIC, _VERSION, len(frame)) + frame


def unpack(payload: Buffer) -> Records:
    """Undo ``Records.pack``.

    :raises CorruptError: it is damaged, or of a version unknown here.
    """
    frame = memoryview(payload)[_PAYLOAD.size :]
    if len(payload) < _PAYLOAD.size:
        raise CorruptError("a block of the index is damaged")
    magic, version, length = _PAYLOAD.unpack_from(payload)
    if (magic, version, length) != (MAGIC, _VERSION, len(frame)):
        raise CorruptError("a block of the index is damaged")
    return Records.decode(_decompressed(frame))


def _decompressed(frame: memoryview) -> bytes:
    """Decode a frame that says its size, and that nothing follows."""
    try:
        size = zstandard.frame_content_size(frame)
        if not 0 <= size <= _LARGEST_BLOCK:
            raise CorruptError("a block of the index is damaged")
        raw: bytes = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError:
        raise CorruptError("a block of the index is damaged") from None
    return raw


def _shortened(names: list[bytes]) -> Iterator[bytes]:
    folder = None
    for name in names:
        parent, _, base = name.rpartition(b"/")
        yield b"/" + base if parent == folder else name
        folder = parent


def _lengthened(names: list[bytes]) -> list[bytes]:
    folder, whole = b"", []
    for name in names:
        if name[:1] == b"/":
            whole.append(folder + name[1:])
        else:
            whole.append(name)
            folder = name[: name.rfind(b"/") + 1]
    return whole


def _interleaved(data: bytes) -> bytes:
    """Undo the order of the sizes' bytes."""
    count, room = len(data) // 8, bytearray(len(data))
    for byte in range(8):
        room[byte::8] = data[byte * count : (byte + 1) * count]
    return bytes(room)


def _little_endian(column: array[Any]) -> bytes:
    if sys.byteorder == "big":
        column = array(column.typecode, column)
        column.byteswap()
    return column.tobytes()


def _fill(column: array[Any], data: bytes) -> None:
    column.frombytes(data)
    if sys.byteorder == "big":
        column.byteswap()


def _parse_owners(data: bytes) -> dict[tuple[int, int, bytes, bytes], int]:
    fields = data.split(b"\0") if data else []
    rows = zip(*(fields[first::4] for first in range(4)), strict=True)
    table = {(int(uid), int(gid), user, group): 0 for uid, gid, user, group in rows}
    return {owner: number for number, owner in enumerate(table)}
