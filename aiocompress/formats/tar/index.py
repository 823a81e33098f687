"""The index of an archive: its members in order, as columns, in one block or more.

A block's records tile the raw archive: each begins where the one before it ends, so that no member
can hide between two of them. A payload is a magic, version and length, then one zstd frame with a
checksum. Its content, little-endian: the raw offset of the first header (u64), the number of
records (u32), then nine columns, each a u32 length and its bytes: names and link targets (joined by
NUL; a name that begins with a slash stands in the folder of the one before it; in the place of a
target, a device has its numbers as "major,minor", a sparse file its size with all holes), ustar
type letters, blocks of 512 bytes that the headers take, and the map of a sparse file (u16), sizes
(u64, their lowest bytes first, then the next ...), modes (u16), modification times in ns (i64),
owners (u16), and the table of owners: uid, gid, user, group, joined by NUL.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, compress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeAlias

import zstandard

from aiocompress.errors import CorruptError
from aiocompress.formats.base import little_endian
from aiocompress.formats.tar.columns import (
    OwnerRow,
    interleaved,
    lengthened,
    ones,
    parse_owners,
    shortened,
)
from aiocompress.formats.tar.header import BLOCK, TYPES, to_text
from aiocompress.model import KIB, MIB, Buffer, Member

if TYPE_CHECKING:
    from aiocompress.formats.tar.plain import Stretch

MAGIC: Final = b"aiocmpix"
_VERSION: Final = 1
_PAYLOAD: Final = struct.Struct("<8sII")
_HEAD: Final = struct.Struct("<QI")
_LEVEL: Final = 7
_MOST_RECORDS, _MOST_NAMES = 8192, 512 * KIB
"""What is enough to close a block when a chunk ends."""
_MOST_OWNERS: Final = 1 << 16
_LATEST: Final = (1 << 63) - 1
_LARGEST_BLOCK: Final = 4 * MIB
_RECORD, _OWNER = 26, 44
"""What a record and an owner take in a block at most, beside their texts. A name without a folder
may be stored with a slash in front, a byte longer than it is."""
_RESERVE: Final = KIB
"""For the columns' own sizes, and another record and its owner."""
_PLAIN_BLOCKS: Final = 4
"""Blocks of a header that may hold no metadata: of the member, of pax, of global pax, padding."""
_LARGEST_OFFSET: Final = 1 << 62
_RECORD_MEMORY: Final = 136
"""Bytes of memory for each record, beside its texts."""
MOST_ZEROS: Final = MIB
"""Bytes behind the last member of an archive with an index: the end, and a tape's padding."""
DEVICES: Final = b"34"
_LONGEST_NUMBER: Final = 30
FILE, HARDLINK, SYMLINK, DIRECTORY = b"0125"
LETTERS: Final = {kind: letter[0] for kind, letter in TYPES.items()}
_KINDS: Final = {letter: kind for kind, letter in LETTERS.items()}
_NO_FILE: Final = bytes(kind != FILE for kind in range(256))
"""For ``bytes.translate``: 1 for each letter of a type that has no content."""
_IS_FOLDER: Final = bytes(kind == DIRECTORY for kind in range(256))
"""The same for the letter of folders."""

Row: TypeAlias = tuple[bytes, int, int, int, int, int, OwnerRow, bytes]
"""A member as ``Records.add`` takes it: name, kind, blocks, size, mode, mtime_ns, owner, link."""


class Record(NamedTuple):
    """One member, as the index knows it; names are bytes as in the archive."""

    name: bytes
    link: bytes
    kind: int
    blocks: int
    size: int
    mode: int
    mtime_ns: int
    owner: OwnerRow
    offset: int

    @property
    def data_offset(self) -> int:
        """The raw offset of the content."""
        return self.offset + BLOCK * self.blocks

    @property
    def is_sparse(self) -> bool:
        """Whether it is a file with holes, whose map only its headers have."""
        return self.kind == FILE and self.link.isdigit() and len(self.link) <= _LONGEST_NUMBER

    def member(self) -> Member:
        """Return the record as a public ``Member``; a sparse one does not have its extents yet."""
        uid, gid, user, group = self.owner
        link, device, size = self.link, (0, 0), self.size
        if self.kind in DEVICES:
            link, device = b"", _device(link)
        elif self.is_sparse:
            link, size = b"", int(link)
        return Member(
            to_text(self.name),
            _KINDS[self.kind],
            size,
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
    """Return the nearest time that the index can hold: from the year 1677 to 2262."""
    if -_LATEST <= mtime_ns <= _LATEST:
        return mtime_ns
    return _LATEST if mtime_ns > 0 else -_LATEST


def _device(link: bytes) -> tuple[int, int]:
    """Return the numbers of a device, which stand in the place of a link's target."""
    major, _, minor = link.partition(b",")
    if major.isdigit() and minor.isdigit() and len(link) < _LONGEST_NUMBER:
        return int(major), int(minor)
    return 0, 0


class Records:
    """Members in order, as columns.

    :param start: the raw offset of the first header.
    """

    def __init__(self, start: int = 0) -> None:
        self.start = self.end = start
        """Raw offsets of the first header, and of the end of the last content."""
        self._size = self._owners_size = 0
        """Bytes of all columns, if no name is shortened, and of the table of owners in it."""
        self.names: list[bytes] = []
        self._links: list[bytes] = []
        self._kinds = bytearray()
        self._blocks = array("H")
        self.sizes = array("Q")
        """The bytes stored of each member."""
        self._modes = array("H")
        self._times = array("q")
        self._owners = array("H")
        self._table: dict[OwnerRow, int] = {}
        self._offsets: list[int] = []

    def __len__(self) -> int:
        return len(self.names)

    @property
    def _columns(self) -> tuple[Any, ...]:
        texts = self.names, self._links, self._kinds
        return *texts, self._blocks, self.sizes, self._modes, self._times, self._owners

    def add(
        self,
        name: bytes,
        kind: int,
        blocks: int,
        size: int,
        mode: int,
        mtime_ns: int,
        owner: OwnerRow,
        link: bytes = b"",
    ) -> None:
        """Add the member that begins where the last one ends; ``size``: bytes stored of it."""
        self.names.append(name)
        self._links.append(link)
        self._kinds.append(kind)
        self._blocks.append(blocks)
        self.sizes.append(size)
        self._modes.append(mode & 0o7777)
        self._times.append(in_range(mtime_ns))
        number = self._table.get(owner)
        self._owners.append(self._number(owner) if number is None else number)
        self.end += (blocks + -(-size // BLOCK)) * BLOCK
        self._size += len(name) + len(link) + _RECORD

    def add_stretch(self, members: Stretch) -> None:
        """Add members whose headers were read together."""
        names, sizes, times, runs, length = members
        self.names += names
        self.sizes.fromlist(sizes)
        self._times.fromlist(times)
        self._blocks += ones(1) * len(names)
        self._size += sum(map(len, names)) + _RECORD * len(names)
        self.end += length
        ends = [*(first for first, _ in runs[1:]), len(names)]
        last: OwnerRow | None = None
        for (first, (kind, mode, owner, link, *_)), end in zip(runs, ends, strict=True):
            count = end - first
            if owner is not last:
                number, last = self._number(owner), owner
            self._links += [link] * count
            self._kinds += kind.to_bytes() * count
            self._modes += ones(mode) * count
            self._owners += ones(number) * count
            self._size += len(link) * count

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Self:
        """Return records of these members, column by column: quicker than to ``add`` each."""
        records = cls()
        if rows:
            names, kinds, blocks, sizes, modes, times, owners, links = zip(*rows, strict=True)
            numbers = (blocks, sizes, modes, map(in_range, times), map(records._number, owners))
            arrays = (array(code, column) for code, column in zip("HQHqH", numbers, strict=True))
            records._set((list(names), list(links), bytearray(kinds), *arrays))
            records.end = BLOCK * sum(blocks) + sum(size + -size % BLOCK for size in sizes)
            records._size += sum(map(len, names)) + sum(map(len, links)) + _RECORD * len(rows)
        return records

    def _number(self, owner: OwnerRow) -> int:
        """Return the number of an owner in the table."""
        if owner not in self._table:
            self._table[owner] = len(self._table)
            row = _OWNER + len(owner[2]) + len(owner[3])
            self._size, self._owners_size = self._size + row, self._owners_size + row
        return self._table[owner]

    def extend(self, other: Records) -> None:
        """Add members that follow those that are there; ``other`` counts its offsets from 0."""
        for column, more in zip(self._columns[:-1], other._columns[:-1], strict=True):
            column.extend(more)
        numbers = [self._number(owner) for owner in other._table]
        if numbers == list(range(len(numbers))):
            self._owners.extend(other._owners)
        else:
            self._owners.extend(numbers[number] for number in other._owners)
        self.end += other.end
        self._size += other._size - other._owners_size

    @property
    def is_full(self) -> bool:
        """Whether it is time to close the block."""
        most = max(len(self.names), len(self._table))
        names_size = self._size - self._owners_size - _RECORD * len(self.names)
        return most >= _MOST_RECORDS or names_size >= _MOST_NAMES

    @property
    def room(self) -> int:
        """Bytes of an archive whose records surely fit: no record is longer than its header."""
        return _LARGEST_BLOCK - self._size - _RESERVE

    def has_room(self, name: bytes, link: bytes) -> bool:
        """Whether another record fits into the block, even if no name in it is shortened."""
        size = self._size + len(name) + len(link) + _RESERVE
        return size <= _LARGEST_BLOCK and len(self._table) < _MOST_OWNERS

    def has_room_for(self, other: Records) -> bool:
        """Whether all of these fit into the block; False: perhaps they do."""
        size, owners = self._size + other._size, len(self._table) + len(other._table)
        return size + _RESERVE <= _LARGEST_BLOCK and owners < _MOST_OWNERS

    def rows(self) -> Iterator[Row]:
        """Return the members as ``add`` takes them."""
        table = self._owner_list
        for name, link, *about, owner in zip(*self._columns, strict=True):
            yield (name, *about, table[owner], link)

    def offsets(self) -> list[int]:
        """Return the raw offset of each member, and the end of the last one."""
        if len(self._offsets) != len(self.names) + 1:
            lengths = [
                (blocks + (size + BLOCK - 1) // BLOCK) * BLOCK
                for blocks, size in zip(self._blocks, self.sizes, strict=True)
            ]
            self._offsets = list(accumulate(lengths, initial=self.start))
        return self._offsets

    def __iter__(self) -> Iterator[Record]:
        return self._made(self._rows)

    def where(self, mask: Iterable[int]) -> Iterator[Record]:
        """Return the records for which ``mask`` says so, in order."""
        return self._made(compress(self._rows, mask))

    @property
    def _rows(self) -> Iterator[tuple[Any, ...]]:
        return zip(*self._columns, self.offsets()[:-1], strict=True)

    def _made(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[Record]:
        table = self._owner_list
        for *row, owner, offset in rows:
            yield Record._make((*row, table[owner], offset))

    @property
    def plain_names(self) -> list[bytes]:
        """All names as users type them: without the ``./`` that others write in front."""
        return [name.removeprefix(b"./") for name in self.names]

    def listing(self, mask: bytes | None = None) -> list[str]:
        """Return all names, or those whose byte is 1, as text; those of folders with a slash."""
        texts = to_text(b"\0".join(self.names)).split("\0") if self.names else []
        for number in compress(range(len(texts)), self._kinds.translate(_IS_FOLDER)):
            texts[number] += "/"
        return texts if mask is None else list(compress(texts, mask))

    def record(self, number: int, offset: int) -> Record:
        """Return one record, whose member begins at the raw offset ``offset``."""
        *row, owner = (column[number] for column in self._columns)
        return Record._make((*row, self._owner_list[owner], offset))

    @cached_property
    def _owner_list(self) -> list[OwnerRow]:
        return list(self._table)

    @property
    def metadata(self) -> int:
        """A lower bound for the metadata of the longest header, in bytes."""
        return (max(self._blocks, default=0) - _PLAIN_BLOCKS) * BLOCK

    @property
    def memory(self) -> int:
        """About how many bytes the records take here."""
        texts = sum(map(len, self.names)) + sum(map(len, self._links))
        return texts + _RECORD_MEMORY * len(self)

    @property
    def kinds(self) -> frozenset[int]:
        """The type letters that occur."""
        return frozenset(self._kinds)

    def files(self, mask: bytes | None = None) -> int:
        """Return how many of the records, or of those whose byte is 1, are not of folders."""
        kinds = self._kinds if mask is None else bytes(compress(self._kinds, mask))
        return len(kinds) - kinds.count(DIRECTORY)

    def whole_sizes(self) -> list[int]:
        """Return the size of each member, holes included."""
        return [record.member().size if record.link else record.size for record in self]

    def only(self, kinds: bytes) -> list[Record]:
        """Return the records of these types, in order."""
        offsets = self.offsets()
        numbers = [number for number, kind in enumerate(self._kinds) if kind in kinds]
        return [self.record(number, offsets[number]) for number in numbers]

    def cut(self, first: int, last: int, offset: int) -> Records:
        """Return the records ``first`` up to ``last``; the first one begins at ``offset``."""
        part = Records(offset)
        part._set(column[first:last] for column in self._columns)
        part._table = self._table
        return part

    def _set(self, columns: Iterable[Any]) -> None:
        self.names, self._links, self._kinds, self._blocks, *rest = columns
        self.sizes, self._modes, self._times, self._owners = rest

    def encode(self) -> bytes:
        """Return the columns as bytes; ``decode`` is the reverse."""
        numbers = (little_endian(column).tobytes() for column in self._columns[3:])
        blocks, sizes, *others = numbers
        columns = [
            b"\0".join(shortened(self.names)),
            b"\0".join(self._links),
            bytes(self._kinds),
            blocks,
            b"".join(sizes[byte::8] for byte in range(8)),
            *others,
            b"\0".join(b"%d\0%d\0%b\0%b" % owner for owner in self._table),
        ]
        head = _HEAD.pack(self.start, len(self.names))
        return head + b"".join(len(part).to_bytes(4, "little") + part for part in columns)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the records that ``encode`` made these bytes of; types and bounds are checked.

        :raises CorruptError: ``encode`` did not make them.
        """
        columns, at = [], _HEAD.size
        try:
            start, count = _HEAD.unpack_from(data)
            while at < len(data):
                size = int.from_bytes(data[at : at + 4], "little")
                columns.append(data[at + 4 : at + 4 + size])
                at += 4 + size
            names, links, kinds, blocks, sizes, modes, times, owners, table = columns
            numbers = zip("HQHqH", (blocks, interleaved(sizes), modes, times, owners), strict=True)
            records = cls(start)
            records._set(
                (
                    lengthened(names.split(b"\0")) if count else [],
                    links.split(b"\0") if count else [],
                    bytearray(kinds),
                    *(little_endian(array(code, part)) for code, part in numbers),
                )
            )
            records._table = parse_owners(table)
            records._check(count, complete=at == len(data))
            records.end = records.offsets()[-1]
        except (struct.error, ValueError, IndexError, OverflowError):
            raise CorruptError("a block of the index is damaged") from None
        return records

    def _check(self, count: int, *, complete: bool) -> None:
        good = (
            complete
            and {len(column) for column in self._columns} == {count}
            and self.start % BLOCK == 0
            and self.start <= _LARGEST_OFFSET
            and all(self.names)
            and set(self._kinds) <= set(_KINDS)
            and all(self._blocks)
            and sum(self.sizes) <= _LARGEST_OFFSET
            and max(self._modes, default=0) <= 0o7777
            and max(self._owners, default=-1) < len(self._table)
            and not any(compress(self.sizes, self._kinds.translate(_NO_FILE)))
        )
        if not good:
            raise ValueError

    def pack(self, level: int = _LEVEL) -> bytes:
        """Return the payload that an index block of the container stores."""
        frame = zstandard.ZstdCompressor(level, write_checksum=True).compress(self.encode())
        return _PAYLOAD.pack(MAGIC, _VERSION, len(frame)) + frame


def unpack(payload: Buffer) -> Records:
    """Return the records that ``Records.pack`` made a payload of.

    :raises CorruptError: it is damaged, or of another version.
    """
    frame = memoryview(payload)[_PAYLOAD.size :]
    head = _PAYLOAD.pack(MAGIC, _VERSION, len(frame))
    try:
        size = zstandard.frame_content_size(frame)
        if bytes(payload[: _PAYLOAD.size]) != head or not 0 <= size <= _LARGEST_BLOCK:
            raise CorruptError("a block of the index is damaged")
        raw: bytes = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError:
        raise CorruptError("a block of the index is damaged") from None
    return Records.decode(raw)
