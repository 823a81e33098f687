"""The places in a compressed file where a reader can begin: frames with a known raw offset."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable
from typing import Final, NamedTuple

from aiocompress.formats.base import Format, FrameTable
from aiocompress.model import MIB
from aiocompress.storage.anywhere import Anywhere, FileAnywhere
from aiocompress.storage.positional import Checked
from aiocompress.verbs.archive.ending import Ending

_MOST: Final = 1 << 16
"""Places that are remembered; beyond that, every second one is dropped."""
_MOST_TABLES: Final = 1000
"""Containers whose tables are read: each ``open`` to append adds one."""
_HEAD: Final = 32


class Place(NamedTuple):
    """A frame: the offset of its first raw byte, and where it starts in the file."""

    raw: int = 0
    start: int = 0


class Places:
    """Places that were met while reading."""

    def __init__(self) -> None:
        self._raws, self._starts = array("Q", [0]), array("Q", [0])
        self._apart = 1

    def add(self, place: Place) -> None:
        """Remember a place that follows all others."""
        if place.raw < self._raws[-1] + self._apart:
            return
        self._raws.append(place.raw)
        self._starts.append(place.start)
        if len(self._raws) > _MOST:
            self._raws, self._starts = self._raws[::2], self._starts[::2]
            self._apart = max(MIB, 2 * self._apart)

    def before(self, raw: int) -> Place:
        """Return the last place at or before that raw offset."""
        number = bisect_right(self._raws, raw) - 1
        return Place(self._raws[number], self._starts[number])


class Table:
    """The places in a file's own tables, which are hints and get verified.

    A place counts only if a frame of the size in the table begins there. In a local file, the same
    must hold for every place before it, so that the raw offsets add up.
    """

    def __init__(self, file: Anywhere, form: Format, table: FrameTable) -> None:
        self._file, self._begins = file, form.container.begins
        self._table = table
        self._verified = 0
        """How many frames were found where the table says."""
        self._is_wrong = False

    @classmethod
    async def read(cls, file: Anywhere, form: Format) -> Table | None:
        """Read the tables of all containers in the file; None if one of them has none."""
        search = form.container.search
        if search is None:
            return None
        ending = await Ending.read(Checked(file))
        tables: list[FrameTable] = []
        end = ending.size
        while end and len(tables) < _MOST_TABLES:
            table = await ending.searched(search(end))
            if table is None:
                return None
            tables.append(table)
            end = table.begin
        return None if end else cls(file, form, _joined(tables[::-1]))

    @property
    def size(self) -> int:
        """The raw bytes of the whole file."""
        return self._table.raws[-1]

    async def before(self, raw: int) -> Place | None:
        """Return the last place at or before that raw offset; None if it is not credible.

        For the end of the file, that is the last frame.
        """
        number = min(self._table.find(raw), len(self._table.starts) - 1)
        if number < 0 or not await self._verify(number):
            return None
        return Place(self._table.raws[number], self._table.starts[number])

    async def _verify(self, number: int) -> bool:
        if isinstance(self._file, FileAnywhere):
            if number >= self._verified and not self._is_wrong:
                numbers = range(self._verified, number + 1)
                right = await self._file.apply(lambda read: self._stand(numbers, read))
                self._verified, self._is_wrong = number + 1, not right
        else:  # each read may be a request
            head = await self._file.read_at(self._table.starts[number], _HEAD)
            self._is_wrong |= not self._stands(number, bytes(head))
        return not self._is_wrong

    def _stand(self, numbers: range, read: Callable[[int, int], bytes]) -> bool:
        starts = self._table.starts
        return all(self._stands(number, read(starts[number], _HEAD)) for number in numbers)

    def _stands(self, number: int, head: bytes) -> bool:
        return self._begins(head, self._table.sizes[number], self._table.raw_size(number))


def _joined(tables: list[FrameTable]) -> FrameTable:
    """Join the tables of successive containers into one."""
    starts, sizes, raws = array("Q"), array("Q"), array("Q", [0])
    for table in tables:
        before = raws[-1]
        starts.extend(table.starts)
        sizes.extend(table.sizes)
        raws.extend(before + raw for raw in table.raws[1:])
    return FrameTable(starts, sizes, raws, [])
