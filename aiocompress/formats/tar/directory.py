"""The index blocks that survived damage: which members stood where in the archive."""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from aiocompress.errors import AiocompressError
from aiocompress.formats.tar.header import to_bytes
from aiocompress.formats.tar.index import DEVICES, LETTERS, Record, Records, unpack
from aiocompress.model import Member


class _Block(NamedTuple):
    """An index block, still packed, and the raw offsets between which its members stand."""

    start: int
    end: int
    payload: bytes
    hashes: array[int]


class Directory:
    """Members by raw offset and by name, in a dozen bytes of memory for each.

    :param payloads: index blocks; those that are damaged, or overlap, are left out.
    """

    def __init__(self, payloads: Iterable[bytes] = ()) -> None:
        self.damaged = 0
        """How many blocks were left out."""
        blocks = []
        for payload in payloads:
            try:
                records = unpack(payload)
            except AiocompressError:
                self.damaged += 1
            else:
                hashes = array("I", sorted(map(zlib.crc32, records.names)))
                blocks.append(_Block(records.start, records.end, payload, hashes))
        self._blocks: list[_Block] = []
        for block in sorted(blocks, key=lambda block: (block.start, -block.end)):
            if block.start < self.end:
                self.damaged += block != self._blocks[-1]
            else:
                self._blocks.append(block)
        self._open: tuple[int, Records, list[int]] | None = None

    def __bool__(self) -> bool:
        return bool(self._blocks)

    @property
    def end(self) -> int:
        """The raw offset at which the last known member ends."""
        return self._blocks[-1].end if self._blocks else 0

    def covers(self, offset: int) -> bool:
        """Whether a block says which member the byte at a raw offset belongs to."""
        number = self._number(offset)
        return number >= 0 and offset < self._blocks[number].end

    def covers_all(self, start: int, end: int) -> bool:
        """Whether blocks name all members between two raw offsets."""
        while start < end and self.covers(start):
            start = self._blocks[self._number(start)].end
        return start >= end

    def member_at(self, offset: int) -> Record | None:
        """Return the member that the byte at a raw offset belongs to; None: it is unknown."""
        if not self.covers(offset):
            return None
        records, offsets = self._load(self._number(offset))
        at = bisect_right(offsets, offset) - 1
        return records.record(at, offsets[at])

    def between(self, start: int, end: int) -> Iterator[Record]:
        """Yield the members that begin between two raw offsets."""
        for number in range(max(0, self._number(start)), len(self._blocks)):
            if self._blocks[number].start >= end:
                return
            records, offsets = self._load(number)
            first, last = (bisect_left(offsets, edge, 0, len(records)) for edge in (start, end))
            for at in range(first, last):
                yield records.record(at, offsets[at])

    def find(self, member: Member) -> Record | None:
        """Return the record of a member that was met at an unknown offset; None: there is none."""
        name = to_bytes(member.name)
        wanted = zlib.crc32(name)
        for number, block in enumerate(self._blocks):
            at = bisect_left(block.hashes, wanted)
            if at < len(block.hashes) and block.hashes[at] == wanted:
                records, offsets = self._load(number)
                for position in (i for i, known in enumerate(records.names) if known == name):
                    record = records.record(position, offsets[position])
                    if is_of(record, member):
                        return record
        return None

    def _number(self, offset: int) -> int:
        """Return the number of the last block that begins there or before."""
        return bisect_right(self._blocks, offset, key=lambda block: block.start) - 1

    def _load(self, number: int) -> tuple[Records, list[int]]:
        if self._open is None or self._open[0] != number:
            records = unpack(self._blocks[number].payload)
            self._open = number, records, records.offsets()
        return self._open[1:]


def is_of(record: Record, member: Member) -> bool:
    """Whether a record and a header describe the same member."""
    link = to_bytes(member.link)
    if record.kind in DEVICES:
        link = b"%d,%d" % member.device
    elif member.extents is not None:
        link = b"%d" % member.size
    return (
        record.name == to_bytes(member.name)
        and record.kind == LETTERS[member.kind]
        and record.size == member.stored_size
        and record.link == link
        and record.data_offset - record.offset == member.data_offset - member.offset
    )
