"""Frames that were found, and where a container's own table says that they belong."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

_UNKNOWN: Final = (1 << 64) - 1


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
