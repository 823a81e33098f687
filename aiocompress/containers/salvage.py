"""What is left of a damaged container: frames that may be whole, and what is known of the rest.

``Scan`` looks for frames by their magic, and trusts a frame's size where the next one, or the end
of the file, stands behind it; otherwise the frame must decode before the scan goes on behind it.
``steps`` then puts the frames in order by the container's own table, if it survived: it tells how
much of the raw data is missing where, whatever became of the compressed bytes.

Frames are only *candidates* here: whoever decodes them drops those whose checksum is wrong.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from ..errors import AiocompressError
from ..model import KIB, MIB
from .placing import Entry, Frame, Frames, key_of, placed

_WINDOW, _SEARCHED = 256 * KIB, 4 * MIB
_TRIED_FOR_EACH: Final = 4
"""Bytes that may be looked at in vain for each byte of the file: more is malice."""
LARGEST_INDEX: Final = 64 * MIB
"""Bytes of all index blocks that are kept: they hold some million members."""


class Step(NamedTuple):
    """What comes next in the raw data: a frame, or without one, what is missing.

    ``lost``: how many raw bytes are missing if there is no frame, or it proves damaged; None:
    nobody knows.
    """

    frame: Frame | None
    lost: int | None


class Table(NamedTuple):
    """The container's own table of frames that hold data, as it was found."""

    entries: list[Entry]
    blocks: frozenset[int] = frozenset()
    """Bytes of the payloads of what it knows to hold no data: index blocks are among them."""


class Index(NamedTuple):
    """A block of an archive's index."""

    payload: bytes


class Other(NamedTuple):
    """Bytes that hold no data, and are as they should be; ``ends``: they end the container."""

    ends: bool = False


Found = tuple[int, Frame | Table | Index | Other]
"""Where it ends, and what it is."""


class View:
    """The bytes of a file, read through a window that moves on."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read, self.size = read, size
        self._start, self._window = 0, memoryview(b"")

    def at(self, offset: int, size: int) -> memoryview:
        """Return bytes; fewer at the end."""
        end = min(offset + size, self.size)
        if not self._start <= offset or end > self._start + len(self._window):
            self._window = memoryview(self._read(offset, max(size, _WINDOW)))
            self._start = offset
        return self._window[offset - self._start :][: max(0, end - offset)]

    def find(self, pattern: re.Pattern[bytes], offset: int, width: int) -> int:
        """Return where a pattern of ``width`` bytes is met next; the file's size: nowhere."""
        while offset < self.size:
            part = self.at(offset, _SEARCHED)
            match = pattern.search(part)
            if match:
                return offset + match.start()
            offset += max(1, len(part) - width + 1)
        return self.size


class Scan(ABC):
    """Looks through a container: ``run`` it to the end, then see what it has found."""

    magic: re.Pattern[bytes]
    """What frames begin with, 4 bytes or fewer."""

    def __init__(self, view: View, max_window: int) -> None:
        self._view, self._max_window = view, max_window
        self._tried = 0
        self._chained = True
        self.frames = Frames()
        self.entries: list[Entry] = []
        """What the tables say, one after another."""
        self._payloads: list[tuple[int, bytes]] = []
        self._blocks: frozenset[int] = frozenset()
        self._payload_bytes = 0
        self.gaps: list[tuple[int, int]] = []
        """Offset and size of compressed bytes that are nothing that is known."""
        self._gap_before = array("Q")
        self.end_due = False
        """Whether something belongs at the end that has not been met."""
        self.cut_off = False
        """Whether the last thing that was measured went on to the end of the file, and beyond."""
        self.gave_up = False
        self.unplaced = 0
        """Frames that no table knows, and that are left out for that."""
        self.unverified = 0
        """Frames without a checksum."""
        self.empty = False
        """Whether there is something of the container that holds no data."""
        self.raw_size: int | None = None
        """Raw bytes of it all, if a table says so; ``steps`` sets it."""

    def run(self) -> Iterator[int]:
        """Look; yields how far it has come, from time to time."""
        at = known = 0
        while at < self._view.size:
            found = self._find(at)
            if found is None:
                if self.cut_off and self._chained and not self.has_table():
                    break  # what is inside the last frame may look like frames
                self._chained = False
                at = self._next(at)
                continue
            if at > known and not self.held_nothing(known, at, found):
                self._lose(known, at - known)
            known = at = found[0]
            self._take(found[1])
            self._chained = True
            yield at
        if known < self._view.size:
            self._lose_end(known)

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
        """Whether a table seems to stand at the end: it tells frames from what looks like them."""

    @abstractmethod
    def measure(self, at: int) -> Found | None:
        """Return what begins there; None: nothing that can be believed.

        :raises AiocompressError: as well.
        """

    def held_nothing(self, start: int, end: int, following: Found) -> bool:  # noqa: ARG002
        """Whether damaged bytes in front of what was found surely held no data."""
        return False

    def _next(self, at: int) -> int:
        """Return where to look next: at the next magic, unless that was tried too often."""
        self.gave_up = self._tried > _TRIED_FOR_EACH * self._view.size + 16 * MIB
        return self._view.find(self.magic, at + 1, 4) if not self.gave_up else self._view.size

    def tried(self, size: int) -> None:
        """Count bytes that were looked at, and may have to be once more."""
        self._tried += size

    def is_end(self, at: int) -> bool:
        """Whether the file ends there, or something of the container begins."""
        return at == self._view.size or self.magic.match(self._view.at(at, 4)) is not None

    def _take(self, what: Frame | Table | Index | Other) -> None:
        if isinstance(what, Frame):
            self.frames.add(what._replace(chained=self._chained))
        elif isinstance(what, Table):
            self.entries += what.entries
            self._blocks |= what.blocks
            self.end_due = False
        elif isinstance(what, Index):
            self._payload_bytes += len(what.payload)
            if self._payload_bytes <= LARGEST_INDEX:
                self._payloads.append((len(self.frames), what.payload))
        else:
            self.empty = True
            self.end_due &= not what.ends

    def _lose(self, offset: int, size: int) -> None:
        self.gaps.append((offset, size))
        self._gap_before.append(len(self.frames))

    def _lose_end(self, known: int) -> None:
        """Tell padding, which is zeros, from what is lost."""
        at = known
        while at < self._view.size and not any(part := self._view.at(at, MIB)):
            at += len(part)
        if at < self._view.size or self.end_due:
            self._lose(known, self._view.size - known)

    def index(self) -> list[bytes]:
        """Return the blocks of the index; not those of an archive in the archive.

        A table knows the sizes of the blocks, or stands with them behind all frames.
        """
        return [
            payload
            for number, payload in self._payloads
            if not self.entries
            or len(payload) in self._blocks
            or (not self._blocks and number == len(self.frames))
        ]

    # What comes in which order.

    def steps(self) -> Iterator[Step]:
        """Yield all frames and what is missing between them, in the order of the raw data."""
        places = placed(self.frames, self.entries)
        if self._is_believed(places):
            self.raw_size = sum(entry.raw for entry in self.entries)
            return self._by_table(places)
        return self._as_they_stand(len(places), at_end=True)

    def _is_believed(self, places: array[int]) -> bool:
        """Whether enough frames are where the tables say; one is, if checksums agree.

        Frames that were met by searching may be those of a file in the file: they do not count.
        """
        placed = sum(place >= 0 for place in places)
        chained = sum(frame.chained for frame in self.frames)
        return placed > 0 and (self.entries[0].checksum != 0 or 2 * placed >= chained)

    def _as_they_stand(self, count: int, *, at_end: bool = False) -> Iterator[Step]:
        """Yield the first frames, and that something is missing where bytes mean nothing."""
        gaps = set(self._gap_before)
        for number in range(count):
            if number in gaps:
                yield Step(None, None)
            frame = self.frames[number]
            yield Step(frame, frame.raw)
        if at_end and (count in gaps or self.end_due):
            yield Step(None, None)

    def _by_table(self, places: array[int]) -> Iterator[Step]:
        """Put frames where the tables want them; of two for one place, the first."""
        numbers: dict[int, int] = {}
        for number, place in enumerate(places):
            if place >= 0:
                numbers.setdefault(place, number)
        first = numbers.get(0, 0)
        if all(place < 0 for place in places[:first]):  # of a file in front, without its table
            yield from self._as_they_stand(first)
        self.unplaced = sum(place < 0 for place in places[first:])
        last = -1
        for place, entry in enumerate(self.entries):
            if place in numbers:
                last = numbers[place]
                frame = self.frames[last]
                agreed = key_of(frame) == key_of(entry) or frame.raw == entry.raw
                yield Step(frame, entry.raw if agreed else None)
            elif not self._stands_behind(last, entry):
                yield Step(None, entry.raw)

    def _stands_behind(self, number: int, entry: Entry) -> bool:
        """Whether what a damaged entry speaks of is there: behind that frame, and holds no data."""
        if not 0 <= number < len(self.frames) - 1 or number + 1 in self._gap_before:
            return False
        frame, following = self.frames[number], self.frames[number + 1]
        return following.offset - frame.offset - frame.size == entry.size
