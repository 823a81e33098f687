"""What is left of a damaged container: ``Scan`` looks for frames that may be whole.

It finds them by their magic, and trusts a frame's size where the next one, or the end of the file,
stands behind it; otherwise the frame must decode before the scan goes on behind it. So it meets
files that were joined and, where the frame that holds it is damaged, a file inside the file. What
begins where another file ends is a ``Part`` of its own; what a table shows to begin later may be.

Frames are only *candidates* here: recover decodes them, and drops those with a wrong checksum.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from aiocompress.errors import AiocompressError
from aiocompress.formats.base import LARGEST_TABLE
from aiocompress.formats.parts import Frame, Frames, Part, Table, key_of
from aiocompress.model import KIB, MIB, Buffer

_WINDOW, _SEARCHED = 256 * KIB, 4 * MIB
_TRIED_FOR_EACH: Final = 4
"""How often each byte may be looked at in vain, on average: beyond, the file is hostile."""
_FEW: Final = 4
_LARGEST_INDEX: Final = 64 * MIB
"""Bytes of index blocks that a scan keeps: enough for some million members."""
_MOST_ENTRIES: Final = LARGEST_TABLE // 8
"""Entries of all tables together: as many as the largest one can have."""
_COST: Final = 64
"""What an empty block of an index, or an empty table, counts for: memory, not content."""
_MOST_PARTS, _MOST_GAPS = 100_000, 500_000


def is_nearly(data: Buffer, expected: bytes) -> bool:
    """Whether bytes differ from others, as many, in so few places that damage explains it."""
    return sum(one != other for one, other in zip(data, expected, strict=True)) <= _FEW


class Index(NamedTuple):
    """A block of an archive's index."""

    payload: bytes


class Other(NamedTuple):
    """Sound bytes of the container that hold no data; ``ends``: they end it."""

    ends: bool = False


Found = tuple[int, Frame | Table | Index | Other]
"""The offset at which something ends, and what it is."""


class View:
    """The bytes of a file, read through a window that moves on."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read, self.size = read, size
        self._start, self._window = 0, memoryview(b"")

    def at(self, offset: int, size: int) -> memoryview:
        """Return ``size`` bytes from an offset on; fewer at the end of the file."""
        end = min(offset + size, self.size)
        if not self._start <= offset or end > self._start + len(self._window):
            self._window = memoryview(self._read(offset, max(size, _WINDOW)))
            self._start = offset
        return self._window[offset - self._start :][: max(0, end - offset)]

    def find(self, pattern: re.Pattern[bytes], offset: int, width: int) -> int:
        """Return the offset of the next match of ``width`` bytes, or else the file's size."""
        while offset < self.size:
            part = self.at(offset, _SEARCHED)
            match = pattern.search(part)
            if match:
                return offset + match.start()
            offset += max(1, len(part) - width + 1)
        return self.size


class _Doubtful(NamedTuple):
    """A table that may be that of a file inside the file, met behind so many ``frames``.

    ``first`` is the number of the frame with which its file begins; None: that is unknown.
    ``gaps`` counts those in front of the table.
    """

    table: Table
    frames: int
    first: int | None
    gaps: int


class Scan(ABC):
    """Looks through a container: ``run`` it to the end, then see its attributes."""

    magic: re.Pattern[bytes]
    """The first bytes of frames, 4 or fewer."""

    def __init__(self, view: View, max_window: int) -> None:
        self._view, self._max_window = view, max_window
        self._tried = 0
        """Bytes that ``measure`` looked at in vain; it adds them, and ``_find`` takes them back."""
        self._chained = True
        self.frames = Frames()
        self.parts: list[Part] = []
        """The files that stand here one behind the other: in nearly all files, one."""
        self.gaps: list[tuple[int, int]] = []
        """Offset and size of compressed bytes that were not recognised."""
        self._gap_before = array("Q")
        self.elsewhere = 0
        """Bytes outside of all parts that were not recognised, and can have held data."""
        self.end_due = False
        """Whether the container has to end with a part that has not been met."""
        self.lacks_end = False
        """Whether the end that its writers put there, and its readers do not demand, is missing."""
        self.cut_off = False
        """Whether the last part that was measured reaches beyond the end of the file."""
        self.gave_up = False
        """Whether too much was looked at in vain: the rest of the file was not searched."""
        self.unverified = 0
        """How many frames have no checksum."""
        self.is_known = False
        """Whether anything of the container was met."""
        self._entry_count = self._payload_bytes = 0
        self._begin_part(0)

    def run(self) -> Iterator[int]:
        """Look through the file; yields the offset that has been reached, from time to time."""
        at = known = 0
        while at < self._view.size and not self.gave_up:
            found = self._find(at)
            if found is None:
                if self.cut_off and self._chained and not self.has_table():
                    break  # the content of the last frame may look like frames
                self._chained = False
                self.gave_up = self._tried > _TRIED_FOR_EACH * self._view.size + 16 * MIB
                at = self._view.find(self.magic, at + 1, 4)
                continue
            if at > known and not self.held_nothing(known, at, found):
                self._add_gap(known, at - known)
            self._take(at, *found)
            known = at = found[0]
            self._chained = True
            yield at
        at = known
        while at < self._view.size and not any(part := self._view.at(at, MIB)):
            at += len(part)
        if at < self._view.size or (self.end_due and known < self._view.size):
            self._add_gap(known, self._view.size - known)  # more than padding, which is zeros
        self._settle()

    def _find(self, at: int) -> Found | None:
        tried, self.cut_off = self._tried, False
        try:
            found = self.measure(at)
        except AiocompressError:
            return None
        if found is not None:
            self._tried = tried
        return found

    @abstractmethod
    def has_table(self) -> bool:
        """Whether a table seems to end the file: it tells frames from bytes that look like one."""

    @abstractmethod
    def measure(self, at: int) -> Found | None:
        """Return what begins at an offset, and where it ends; None: nothing credible.

        :raises AiocompressError: nothing credible, too.
        """

    def held_nothing(self, start: int, end: int, following: Found) -> bool:  # noqa: ARG002
        """Whether damaged bytes in front of what was found certainly held no data."""
        return False

    def is_end(self, at: int) -> bool:
        """Whether the file ends there, or something of the container begins."""
        return at == self._view.size or self.magic.match(self._view.at(at, 4)) is not None

    def _take(self, at: int, end: int, what: Frame | Table | Index | Other) -> None:
        self.is_known = True
        if isinstance(what, Frame):
            if what.first and self._is_sure and len(self.frames) > self._first:
                self._end_part(at)  # the end of what stands before is missing
            self.end_due |= what.first
            self.frames.add(what._replace(chained=self._chained))
        elif isinstance(what, Table):
            self._take_table(what, end)
        elif isinstance(what, Index):
            self._payload_bytes += len(what.payload) + _COST
            if self._payload_bytes <= _LARGEST_INDEX:
                self._payloads.append((at, len(self.frames), what.payload))
        elif what.ends:
            self.end_due = self.lacks_end = False
            if self._is_sure:
                self._end_part(end)
                self._behind = 0
        else:
            self._behind = max(0, self._behind - (end - at))

    def _add_gap(self, offset: int, size: int) -> None:
        self.gaps.append((offset, size))
        self._gap_before.append(len(self.frames))
        self.gave_up |= len(self.gaps) >= _MOST_GAPS

    @abstractmethod
    def size_behind(self, frames: int) -> int:
        """Return how many bytes without data end a container of so many frames, or nearly so.

        :param frames: 0: those that may stand behind the table.
        """

    # Files that stand one behind the other, and files inside them.

    def _begin_part(self, offset: int) -> None:
        self._begin, self._first, self._first_gap = offset, len(self.frames), len(self.gaps)
        self._behind = self.size_behind(0)
        """Bytes between the last part and this one that hold no data at most."""
        self._payloads: list[tuple[int, int, bytes]] = []
        """Offset, the number of frames in front, and content of blocks of an archive's index."""
        self._doubtful: list[_Doubtful] = []
        self.end_due = False

    @property
    def _is_sure(self) -> bool:
        """Whether nothing is lost of this part so far: then all is its own, not of a file in it."""
        return len(self.gaps) == self._first_gap

    def _end_part(self, offset: int, table: Table | None = None) -> None:
        """End a part; the next one begins at that offset."""
        begin = self._begin
        if table is not None and self._first < len(self.frames):
            begin = max(begin, min(table.begin, self.frames[self._first].offset))
        self._lose(self._first_gap, begin)
        if len(self.frames) > self._first or self._payloads or table is not None:
            self._add_part(self._first, len(self.frames), (begin, offset), table)
        self._begin_part(offset)
        self.gave_up |= len(self.parts) >= _MOST_PARTS

    def _add_part(
        self, first: int, last: int, between: tuple[int, int], table: Table | None
    ) -> None:
        """Add a part: its frames, and the offsets between which it stands."""
        begin, end = between
        gaps = zip(self.gaps[self._first_gap :], self._gap_before[self._first_gap :], strict=True)
        lost = [n - first for (at, _), n in gaps if begin <= at < end and first <= n <= last]
        payloads = [
            (number - first, data) for at, number, data in self._payloads if begin <= at < end
        ]
        cut = table is None and (self.end_due or last < len(self.frames))
        place = self.frames, first, last, begin
        self.parts.append(Part(place, table, lost, payloads, cut=cut))

    def _lose(self, first_gap: int, end: int, frames: int = 0) -> None:
        """Note what was lost between a part of so many frames, 0 with its table, and an offset."""
        gaps = ((offset, size) for offset, size in self.gaps[first_gap:] if offset < end)
        lost = sum(min(offset + size, end) - offset for offset, size in gaps)
        behind = self.size_behind(frames) if frames else self._behind
        self.elsewhere += lost if lost > behind else 0

    def _take_table(self, table: Table, end: int) -> None:
        """Decide whether a table is that of this part, or of a file that begins later."""
        self._entry_count += len(table.entries) + _COST
        if self._entry_count > _MOST_ENTRIES:
            return
        first = self._beginning(table)
        if first == self._first or self._is_sure:
            self._end_part(end, table)
        else:
            self._doubtful.append(_Doubtful(table, len(self.frames), first, len(self.gaps)))
            self.end_due = False

    def _beginning(self, table: Table) -> int | None:
        """Return the number of the frame with which the file of a table begins; None: unknown."""
        first, farther = self._first, self._beginning_farther(table)
        at_start = first < len(self.frames) and self.frames[first].offset == self._begin
        if table.begin == self._begin or (
            at_start
            and self._begins(first, table)
            and (farther is None or self._may_list(table, first))
        ):
            return first
        return farther

    def _beginning_farther(self, table: Table) -> int | None:
        """Return the same for a file that does not begin with this part, by its distance.

        Damage in place leaves the distances as they are; bytes that are gone, or too many, do not.
        """
        first, count = self._first, len(self.frames)
        number = self.frames.at(table.begin, first) if table.begin > self._begin else count
        if number == count:
            return None
        if self.frames[number].offset == table.begin:
            return number if self._begins(number, table) else None
        gap = bisect_right(self.gaps, table.begin, self._first_gap, key=lambda gap: gap[0]) - 1
        is_lost = gap >= self._first_gap and table.begin < sum(self.gaps[gap])
        return number if is_lost else None

    def _may_list(self, table: Table, first: int) -> bool:
        """Whether a table, whose first entry looks like a frame, may be that of all frames from it.

        Without checksums, a frame of another file may look like it by chance.
        """
        frames, entries = self.frames.cut(first, len(self.frames)), table.entries
        gap = next((number for number in self._gap_before[self._first_gap :] if number > first), 0)
        known = range(gap - first if gap else len(frames))
        return bool(entries[0].checksum) or (
            len(frames) <= len(entries)
            and all(frames[number].size == entries[number].size for number in known)
        )

    def _begins(self, number: int, table: Table) -> bool:
        """Whether a frame is the one that a table lists first."""
        if not len(table.entries):
            return False
        frame, entry = self.frames[number], table.entries[0]
        agrees = key_of(frame) == key_of(entry) and frame.raw in {None, entry.raw}
        return agrees and (frame.first or entry.checksum != 0)

    def _settle(self) -> None:
        """Settle, at the end of the file, what its tables have left open.

        A file that ends there, or where such a file begins, is not inside of another one.
        """
        last, end, tables = len(self.frames), self._view.size, self._doubtful
        found: list[tuple[int, int, int, Table]] = []
        at_end = bool(tables) and tables[-1].gaps == len(self.gaps)
        while at_end and tables and tables[-1].frames == last:
            table, _, first, _ = tables[-1]
            if first is None:
                break
            found.append((first, last, end, table))
            last, end = first, table.begin
            while tables and tables[-1].frames > last:
                tables.pop()
        own = tables[-1] if tables and tables[-1].first is None else None
        if own is not None:
            self._add_part(self._first, last, (self._begin, end), own.table)
            self._lose(own.gaps, end)
        elif last > self._first or self._payloads or not (found or self.parts):
            self._forget_blocks(tables, end)
            self._add_part(self._first, last, (self._begin, end), None)
            behind = bisect_right(self.gaps, end - 1, self._first_gap, key=lambda gap: gap[0]) - 1
            if behind >= self._first_gap and sum(self.gaps[behind]) >= end:
                self._lose(behind, end, last - self._first)
        else:
            self._lose(self._first_gap, end)
        for first, last, end, table in reversed(found):
            self._add_part(first, last, (table.begin, end), table)

    def _forget_blocks(self, tables: list[_Doubtful], end: int) -> None:
        """Forget the index from where a file inside begins, up to an offset: it may be of that."""
        if tables:
            inner = min(one.first for one in tables if one.first is not None)
            blocks = self._payloads
            self._payloads = [block for block in blocks if block[1] <= inner or block[0] >= end]
