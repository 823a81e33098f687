"""What is left of a damaged container: frames that may be whole, and how much is missing between.

``Scan`` looks for frames by their magic, and trusts a frame's size where the next one, or the end
of the file, stands behind it; otherwise the frame must decode before the scan goes on behind it.
``steps`` then puts the frames in order by the container's own table, if that survived: it says how
many raw bytes are missing in each place, whatever became of the compressed ones.

Frames are only *candidates* here: recover decodes them, and drops those with a wrong checksum.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Final, NamedTuple

from aiocompress.errors import AiocompressError
from aiocompress.model import KIB, MIB, Buffer

_UNKNOWN: Final = (1 << 64) - 1
_WINDOW, _SEARCHED = 256 * KIB, 4 * MIB
_TRIED_FOR_EACH: Final = 4
"""How often each byte may be looked at in vain, on average: beyond, the file is hostile."""
_FEW: Final = 4
_LARGEST_INDEX: Final = 64 * MIB
"""Bytes of index blocks that a scan keeps: enough for some million members."""


class Frame(NamedTuple):
    """A frame that may be whole; sizes in bytes.

    ``raw`` is the raw size that it states, or None, ``room`` the most it can hold. ``checksum`` is
    the number that a table has for it, 0 where tables have none. ``chained``: the scan met it where
    another frame ends, not by searching.
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
    """A list of frames that takes 48 bytes for each."""

    def __init__(self) -> None:
        self._columns = array("Q")

    def __len__(self) -> int:
        return len(self._columns) // 6

    def add(self, frame: Frame) -> None:
        """Append a frame."""
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


def is_nearly(data: Buffer, expected: bytes) -> bool:
    """Whether bytes differ from others, as many, in so few places that damage explains it."""
    return sum(one != other for one, other in zip(data, expected, strict=True)) <= _FEW


class Step(NamedTuple):
    """The next part of the raw data: a frame, or, where ``frame`` is None, a gap.

    ``lost``: how many raw bytes are missing if there is no frame, or if it proves damaged; None:
    that is unknown.
    """

    frame: Frame | None
    lost: int | None


class Table(NamedTuple):
    """The container's own table: its entries for frames with data."""

    entries: list[Entry]
    blocks: frozenset[int] = frozenset()
    """Payload sizes, in bytes, of its entries without data, index blocks among them."""


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


class Scan(ABC):
    """Looks through a container: ``run`` it to the end, then see its attributes and ``steps``."""

    magic: re.Pattern[bytes]
    """The first bytes of frames, 4 or fewer."""

    def __init__(self, view: View, max_window: int) -> None:
        self._view, self._max_window = view, max_window
        self._tried = 0
        """Bytes that ``measure`` looked at in vain; it adds them, and ``_find`` takes them back."""
        self._chained = True
        self.frames = Frames()
        self.entries: list[Entry] = []
        """The entries of all tables, one table after another."""
        self._payloads: list[tuple[int, bytes]] = []
        self._blocks: frozenset[int] = frozenset()
        self._payload_bytes = 0
        self.gaps: list[tuple[int, int]] = []
        """Offset and size of compressed bytes that were not recognised."""
        self._gap_before = array("Q")
        self.end_due = False
        """Whether the container has to end with a part that has not been met."""
        self.cut_off = False
        """Whether the last part that was measured reaches beyond the end of the file."""
        self.gave_up = False
        """Whether too much was looked at in vain: the rest of the file was not searched."""
        self.unplaced = 0
        """How many frames were left out because no table knows them; ``steps`` sets it."""
        self.unverified = 0
        """How many frames have no checksum."""
        self.empty = False
        """Whether parts of the container that hold no data were met."""
        self.raw_size: int | None = None
        """Raw bytes of the whole container, if a table says so; ``steps`` sets it."""

    def run(self) -> Iterator[int]:
        """Look through the file; yields the offset that has been reached, from time to time."""
        at = known = 0
        while at < self._view.size:
            found = self._find(at)
            if found is None:
                if self.cut_off and self._chained and not self.has_table():
                    break  # the content of the last frame may look like frames
                self._chained = False
                self.gave_up = self._tried > _TRIED_FOR_EACH * self._view.size + 16 * MIB
                if self.gave_up:
                    break
                at = self._view.find(self.magic, at + 1, 4)
                continue
            if at > known and not self.held_nothing(known, at, found):
                self._lose(known, at - known)
            known = at = found[0]
            self._take(found[1])
            self._chained = True
            yield at
        at = known
        while at < self._view.size and not any(part := self._view.at(at, MIB)):
            at += len(part)
        if at < self._view.size or (self.end_due and known < self._view.size):
            self._lose(known, self._view.size - known)  # more than padding, which is zeros

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

    def _take(self, what: Frame | Table | Index | Other) -> None:
        if isinstance(what, Frame):
            self.frames.add(what._replace(chained=self._chained))
        elif isinstance(what, Table):
            self.entries += what.entries
            self._blocks |= what.blocks
            self.end_due = False
        elif isinstance(what, Index):
            self._payload_bytes += len(what.payload)
            if self._payload_bytes <= _LARGEST_INDEX:
                self._payloads.append((len(self.frames), what.payload))
        else:
            self.empty = True
            self.end_due &= not what.ends

    def _lose(self, offset: int, size: int) -> None:
        self.gaps.append((offset, size))
        self._gap_before.append(len(self.frames))

    def index(self) -> list[bytes]:
        """Return the blocks of the archive's index, without those of an archive inside of it.

        The table lists the sizes of the right ones (``.zst``), or they stand together behind all
        frames (``.gz``).
        """
        return [
            payload
            for number, payload in self._payloads
            if not self.entries
            or len(payload) in self._blocks
            or (not self._blocks and number == len(self.frames))
        ]

    def steps(self) -> Iterator[Step]:
        """Yield all frames, and the gaps between them, in the order of the raw data."""
        places = placed(self.frames, self.entries)
        if self._is_believed(places):
            self.raw_size = sum(entry.raw for entry in self.entries)
            return self._by_table(places)
        return self._as_they_stand(len(places), at_end=True)

    def _is_believed(self, places: array[int]) -> bool:
        """Whether the tables are those of these frames: one with its checksum is enough.

        Without checksums it takes half of the frames that are chained; frames that were met by
        searching do not count, for they may be those of a file inside the file.
        """
        placed = sum(place >= 0 for place in places)
        chained = sum(frame.chained for frame in self.frames)
        return placed > 0 and (self.entries[0].checksum != 0 or 2 * placed >= chained)

    def _as_they_stand(self, count: int, *, at_end: bool = False) -> Iterator[Step]:
        """Yield the first frames as they stand in the file, with gaps of unknown size."""
        gaps = set(self._gap_before)
        for number in range(count):
            if number in gaps:
                yield Step(None, None)
            frame = self.frames[number]
            yield Step(frame, frame.raw)
        if at_end and (count in gaps or self.end_due):
            yield Step(None, None)

    def _by_table(self, places: array[int]) -> Iterator[Step]:
        """Put frames where the tables want them; of two for one place, the first counts."""
        numbers: dict[int, int] = {}
        for number, place in enumerate(places):
            if place >= 0:
                numbers.setdefault(place, number)
        first = numbers.get(0, 0)
        if all(place < 0 for place in places[:first]):  # of a file in front that lost its table
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
        """Whether a damaged entry stands for the bytes without data behind the frame ``number``."""
        if not 0 <= number < len(self.frames) - 1 or number + 1 in self._gap_before:
            return False
        frame, following = self.frames[number], self.frames[number + 1]
        return following.offset - frame.offset - frame.size == entry.size


def placed(frames: Frames, entries: list[Entry]) -> array[int]:
    """Return for each frame the number of its entry in the table, or -1.

    Neither offsets nor the order tell where a frame belongs: lost bytes move all that follows, and
    a missing frame, or one of a file inside the file, shifts the rest. So size and checksum decide.
    What agrees one by one from the front, and from the end, is in its place: nearly always all but
    the damage. Between, a frame may take any free entry that looks like it. Incompressible chunks
    all have one size: a table without checksums must agree on the offset too, or the size must be
    unique. A frame in the wrong place would be wrong content under a right name; one without a
    place is only reported as missing.
    """
    places = array("q", [-1]) * len(frames)
    if not frames or not entries:
        return places
    starts = array("Q", accumulate((entry.size for entry in entries), initial=0))
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
    _place_rest(places, frames, entries, starts, range(front, len(frames) - back))
    _fill(places, frames, count)
    return places


def _agree(frame: Frame, entry: Entry, offset: int) -> bool:
    return key_of(frame) == key_of(entry) and (entry.checksum != 0 or frame.offset == offset)


def _place_rest(
    places: array[int], frames: Frames, entries: list[Entry], starts: array[int], numbers: range
) -> None:
    """Place the frames in the middle by what they look like."""
    free: dict[tuple[int, int], list[int]] = {}
    for place in range(numbers.start, len(entries) - len(frames) + numbers.stop):
        free.setdefault(key_of(entries[place]), []).append(place)
    seen = Counter(key_of(frames[number]) for number in numbers)
    expected = numbers.start
    for number in numbers:
        key = key_of(frames[number])
        same = free.get(key)
        if same and (key[1] or len(same) == seen[key] == 1):
            place = _choice(same, expected, starts, frames[number].offset)
            same.remove(place)
            places[number], expected = place, place + 1


def _choice(same: list[int], expected: int, starts: array[int], offset: int) -> int:
    """Choose among entries that look the same: the next one in order, or else the nearest."""
    at = bisect_left(same, expected)
    if at < len(same) and same[at] == expected:
        return expected
    return min(same[max(0, at - 1) : at + 2], key=lambda entry: abs(starts[entry] - offset))


def _fill(places: array[int], frames: Frames, count: int) -> None:
    """Place runs of frames without an entry where exactly as many entries have no frame."""
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
