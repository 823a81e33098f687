"""What a scan found, as raw data in order: frames, and how much is missing between them.

Files may stand one behind the other, as ``cat`` joins them: each is a ``Part``, with a table, an
index and raw offsets of its own. Where its table survived, that puts the frames in order, and says
how many raw bytes are missing in each place, whatever became of the compressed ones.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")

_UNKNOWN: Final = (1 << 64) - 1
_CHAINED, _FIRST = 1, 2


class Frame(NamedTuple):
    """A frame that may be whole; sizes in bytes.

    ``raw`` is the raw size that it states, or None, ``room`` the most it can hold. ``checksum`` is
    the number that a table has for it, 0 where tables have none. ``chained``: the scan met it where
    another frame ends, not by searching. ``first``: it is marked as the first of a file.
    """

    offset: int
    size: int
    raw: int | None
    room: int
    checksum: int = 0
    chained: bool = True
    first: bool = False


class Entry(NamedTuple):
    """What a table says of a frame."""

    size: int
    raw: int
    checksum: int


class _Rows(Generic[T]):
    """A list of rows of numbers that takes the bytes of these numbers, and no more."""

    code: str
    width: int

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._numbers = array(self.code, numbers)

    def __len__(self) -> int:
        return len(self._numbers) // self.width

    def __getitem__(self, number: int) -> T:
        at = self.width * range(len(self))[number]
        return self._row(*self._numbers[at : at + self.width])

    def __iter__(self) -> Iterator[T]:
        return map(self.__getitem__, range(len(self)))

    def _row(self, *numbers: int) -> T:
        raise NotImplementedError


class Frames(_Rows[Frame]):
    """Frames, 48 bytes for each."""

    code, width = "Q", 6

    def add(self, frame: Frame) -> None:
        """Append a frame."""
        raw = _UNKNOWN if frame.raw is None else frame.raw
        flags = frame.chained * _CHAINED | frame.first * _FIRST
        self._numbers.extend((frame.offset, frame.size, raw, frame.room, frame.checksum, flags))

    def _row(self, *numbers: int) -> Frame:
        offset, size, raw, room, checksum, flags = numbers
        known = None if raw == _UNKNOWN else raw
        about = bool(flags & _CHAINED), bool(flags & _FIRST)
        return Frame(offset, size, known, room, checksum, *about)

    def cut(self, first: int, last: int) -> Frames:
        """Return the frames ``first`` up to ``last``."""
        if (first, last) == (0, len(self)):
            return self
        return Frames(self._numbers[self.width * first : self.width * last])

    def at(self, offset: int, first: int) -> int:
        """Return the number of the first frame, from ``first`` on, that begins there or behind."""
        numbers = range(len(self))
        return bisect_left(numbers, offset, first, key=lambda number: self[number].offset)


class Entries(_Rows[Entry]):
    """The entries of a table for frames with data, 12 bytes for each."""

    code, width = "I", 3

    @classmethod
    def of(cls, sizes: Iterable[int], raws: Iterable[int]) -> Entries:
        """Return entries without checksums."""
        sizes = array(cls.code, sizes)
        entries = cls()
        entries._numbers = array(cls.code, [0]) * (cls.width * len(sizes))
        entries._numbers[:: cls.width] = sizes
        entries._numbers[1 :: cls.width] = array(cls.code, raws)
        return entries

    def add(self, entry: Entry) -> None:
        """Append an entry."""
        self._numbers.extend(entry)

    def _row(self, *numbers: int) -> Entry:
        return Entry(*numbers)

    def starts(self, base: int) -> array[int]:
        """Return where each frame begins, the first at ``base``, and where the last ends."""
        return array("q", accumulate(self._numbers[:: self.width], initial=base))

    @property
    def raw_size(self) -> int:
        """How many raw bytes all frames hold."""
        return sum(self._numbers[1 :: self.width])


class Table(NamedTuple):
    """A container's own table.

    ``begin`` is the offset at which the first frame stands if nothing was lost between it and the
    table. ``blocks`` are the payload sizes, in bytes, of entries without data, index blocks among
    them.
    """

    entries: Entries
    begin: int
    blocks: frozenset[int] = frozenset()


class Step(NamedTuple):
    """The next part of the raw data: a frame, or, where ``frame`` is None, a gap.

    ``lost``: how many raw bytes are missing if there is no frame, or if it proves damaged; None:
    that is unknown.
    """

    frame: Frame | None
    lost: int | None


class Part:
    """One file of those that stand one behind the other; nearly always it is the only one.

    :param place: frames, the numbers of its first one and of the one behind its last, and the
        offset at which it begins.
    :param gaps: the numbers of its frames in front of which compressed bytes were lost.
    :param payloads: blocks of an archive's index, each with how many frames stand before it.
    :param cut: the container has to end with something that is not there.
    """

    def __init__(
        self,
        place: tuple[Frames, int, int, int],
        table: Table | None,
        gaps: Iterable[int],
        payloads: Iterable[tuple[int, bytes]],
        *,
        cut: bool,
    ) -> None:
        self._all, self._first, self._last, self._begin = place
        self._gaps, self._cut = frozenset(gaps), cut
        self._entries = Entries() if table is None else table.entries
        blocks = frozenset[int]() if table is None else table.blocks
        self.index = [
            payload
            for number, payload in payloads
            if table is None
            or len(payload) in blocks
            or (not blocks and number == self._last - self._first)
        ]
        """The blocks of the archive's index, without those of an archive inside of it.

        The table lists the sizes of the right ones (``.zst``), or they stand together behind all
        frames (``.gz``).
        """
        self.unplaced = 0
        """How many frames were left out because the table does not know them; ``steps`` sets it."""
        self.raw_size: int | None = None
        """Raw bytes of the whole file, if its table says so; ``steps`` sets it."""

    def steps(self) -> Iterator[Step]:
        """Return all frames, and the gaps between them, in the order of the raw data."""
        frames = self._all.cut(self._first, self._last)
        places = placed(frames, self._entries, self._begin)
        if not self._is_believed(frames, places):
            return self._as_they_stand(frames)
        self.raw_size = self._entries.raw_size
        self.unplaced = sum(place < 0 for place in places)
        return self._in_order(frames, places)

    def _is_believed(self, frames: Frames, places: array[int]) -> bool:
        """Whether the table is that of these frames: one with its checksum is enough.

        Without checksums it takes half of the frames that are chained; frames that were met by
        searching do not count, for they may be those of a file inside the file.
        """
        count = sum(place >= 0 for place in places)
        chained = sum(frame.chained for frame in frames)
        return count > 0 and (self._entries[0].checksum != 0 or 2 * count >= chained)

    def _as_they_stand(self, frames: Frames) -> Iterator[Step]:
        """Yield the frames as they stand in the file, with gaps of unknown size."""
        for number, frame in enumerate(frames):
            if number in self._gaps:
                yield Step(None, None)
            yield Step(frame, frame.raw)
        if self._cut or len(frames) in self._gaps:
            yield Step(None, None)

    def _in_order(self, frames: Frames, places: array[int]) -> Iterator[Step]:
        """Put frames where the table wants them; of two for one place, the first counts."""
        numbers: dict[int, int] = {}
        for number, place in enumerate(places):
            if place >= 0:
                numbers.setdefault(place, number)
        last = -1
        for place, entry in enumerate(self._entries):
            if place in numbers:
                last = numbers[place]
                frame = frames[last]
                agreed = key_of(frame) == key_of(entry) or frame.raw == entry.raw
                yield Step(frame, entry.raw if agreed else None)
            elif not self._stands_behind(frames, last, entry):
                yield Step(None, entry.raw)

    def _stands_behind(self, frames: Frames, number: int, entry: Entry) -> bool:
        """Whether a damaged entry stands for the bytes without data behind the frame ``number``."""
        if not 0 <= number < len(frames) - 1 or number + 1 in self._gaps:
            return False
        frame, following = frames[number], frames[number + 1]
        return following.offset - frame.offset - frame.size == entry.size


def key_of(frame: Frame | Entry) -> tuple[int, int]:
    """Return what a frame and its entry have in common."""
    return frame.size, frame.checksum


def placed(frames: Frames, entries: Entries, begin: int) -> array[int]:
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
    if not len(frames) or not len(entries):
        return places
    starts = entries.starts(begin)
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
    places: array[int], frames: Frames, entries: Entries, starts: array[int], numbers: range
) -> None:
    """Place the frames in the middle by what they look like."""
    seen = Counter(key_of(frames[number]) for number in numbers)
    free: dict[tuple[int, int], array[int]] = {}
    for place in range(numbers.start, len(entries) - len(frames) + numbers.stop):
        if (key := key_of(entries[place])) in seen:
            free.setdefault(key, array("Q")).append(place)
    expected = numbers.start
    for number in numbers:
        key = key_of(frames[number])
        same = free.get(key)
        if same and (key[1] or len(same) == seen[key] == 1):
            place = _choice(same, expected, starts, frames[number].offset)
            same.remove(place)
            places[number], expected = place, place + 1


def _choice(same: array[int], expected: int, starts: array[int], offset: int) -> int:
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
