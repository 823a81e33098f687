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
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from aiocompress.errors import AiocompressError
from aiocompress.model import KIB, MIB

_UNKNOWN: Final = (1 << 64) - 1
_WINDOW, _SEARCHED = 256 * KIB, 4 * MIB
_TRIED_FOR_EACH: Final = 4
"""Bytes that may be looked at in vain for each byte of the file: more is malice."""
LARGEST_INDEX: Final = 64 * MIB
"""Bytes of all index blocks that are kept: they hold some million members."""


class Frame(NamedTuple):
    """A frame that may be whole: ``raw`` bytes as it says, None if it does not say.

    ``room``: what it can hold at most; ``checksum`` as the table knows it (0: it does not).
    ``chained``: found where another one ends, not by searching.
    """

    offset: int
    size: int
    raw: int | None
    room: int
    checksum: int = 0
    chained: bool = True


class Entry(NamedTuple):
    """What a table says of a frame."""

    size: int
    raw: int
    checksum: int


class Frames:
    """Many frames, in little memory."""

    def __init__(self) -> None:
        self._columns = array("Q")

    def __len__(self) -> int:
        return len(self._columns) // 6

    def add(self, frame: Frame) -> None:
        """Append one."""
        raw = _UNKNOWN if frame.raw is None else frame.raw
        self._columns.extend((*frame[:2], raw, *frame[3:]))

    def __getitem__(self, number: int) -> Frame:
        number = range(len(self))[number]
        offset, size, raw, room, checksum, chained = self._columns[6 * number : 6 * number + 6]
        known = None if raw == _UNKNOWN else raw
        return Frame(offset, size, known, room, checksum, chained=bool(chained))

    def __iter__(self) -> Iterator[Frame]:
        return map(self.__getitem__, range(len(self)))


def key_of(frame: Frame | Entry) -> tuple[int, int]:
    """Return what a frame and its entry have in common."""
    return frame.size, frame.checksum


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


# Which frame belongs where.


def placed(frames: Frames, entries: list[Entry]) -> array[int]:
    """Return for each frame the number of its entry, -1 for those that have none.

    What agrees from the front, and from the end, is in its place. Between, any frame may have any
    entry that is free and looks like it. Sizes alone look alike where data does not compress: a
    table without checksums must agree on offsets, too, or there must be no other frame like it.
    """
    places = array("q", [-1]) * len(frames)
    if not frames or not entries:
        return places
    starts = _starts(entries)
    count, most = len(entries), min(len(frames), len(entries))
    moved = frames[-1].offset - starts[-2]
    front = back = 0
    while front < most and _agree(frames[front], entries[front], starts[front]):
        places[front] = front
        front += 1
    while back < most - front and _agree(
        frames[-1 - back], entries[-1 - back], starts[count - 1 - back] + moved
    ):
        places[-1 - back] = count - 1 - back
        back += 1
    _place_rest(places, frames, entries, range(front, len(frames) - back))
    _fill(places, frames, count)
    return places


def _agree(frame: Frame, entry: Entry, offset: int) -> bool:
    return key_of(frame) == key_of(entry) and (entry.checksum != 0 or frame.offset == offset)


def _place_rest(places: array[int], frames: Frames, entries: list[Entry], numbers: range) -> None:
    """Place frames in the middle."""
    free: dict[tuple[int, int], list[int]] = {}
    for place in range(numbers.start, len(entries) - len(frames) + numbers.stop):
        free.setdefault(key_of(entries[place]), []).append(place)
    seen = Counter(key_of(frames[number]) for number in numbers)
    starts, expected = _starts(entries), numbers.start
    for number in numbers:
        key = key_of(frames[number])
        same = free.get(key)
        if same and (key[1] or len(same) == seen[key] == 1):
            place = _choice(same, expected, starts, frames[number].offset)
            same.remove(place)
            places[number], expected = place, place + 1


def _starts(entries: list[Entry]) -> array[int]:
    starts = array("Q", [0])
    for entry in entries:
        starts.append(starts[-1] + entry.size)
    return starts


def _choice(same: list[int], expected: int, starts: array[int], offset: int) -> int:
    """Choose among entries that look the same: the next one, or the one that stands nearest."""
    at = bisect_left(same, expected)
    if at < len(same) and same[at] == expected:
        return expected
    return min(same[max(0, at - 1) : at + 2], key=lambda entry: abs(starts[entry] - offset))


def _fill(places: array[int], frames: Frames, count: int) -> None:
    """Place frames that the table does not know, where as many are missing as there are.

    So are those whose checksum, or whose entry in the table, is what was damaged.
    """
    taken = set(places)
    number = 0
    while number < len(places):
        first = number
        while number < len(places) and places[number] < 0:
            number += 1
        before = places[first - 1] if first else -1
        after = places[number] if number < len(places) else count
        wanted = range(before + 1, after)
        if (
            len(wanted) == number - first > 0
            and all(frames[lost].chained for lost in range(first, number))
            and taken.isdisjoint(wanted)
        ):
            places[first:number] = array("q", wanted)
        number += 1
