"""A table of names, of which only hashes are kept.

An archive may have millions of members, in any order, and their names themselves would take
hundreds of megabytes. A hash takes 16 to 32 bytes: 62 of its bits, which are never the same by
chance, and two for what the name stands for. The table is cut into parts that grow one at a time,
because it may be used on the event loop's thread: to rebuild all of it at once would hold up the
others.
"""

from __future__ import annotations

from array import array
from typing import Final

_KIND: Final = 3
_HASH: Final = (1 << 64) - 1 - _KIND
_PARTS, _PART_SHIFT = 256, 56
_LEAST: Final = 16
"""Entries of a new part; always a power of two."""


class Hashed:
    """Names, each with a kind from 1 to 3.

    :param numbers: each has a number from 0 to 2**64 - 1, too, which takes as much memory again.
    """

    def __init__(self, *, numbers: bool = False) -> None:
        self._parts = [_zeros(_LEAST) for _ in range(_PARTS)]
        self._numbers = [_zeros(_LEAST) for _ in range(_PARTS)] if numbers else None
        self._used = [0] * _PARTS

    # A hash stands in the first entry that was free, from where it points to.

    def kind(self, name: bytes) -> int:
        """Return the kind of a name; 0: it is not in the table."""
        code = hash(name) & _HASH
        part = self._parts[code >> _PART_SHIFT]
        return part[_entry(part, code)] & _KIND

    def number(self, name: bytes) -> int:
        """Return the number of a name; 0: it is not in the table."""
        assert self._numbers is not None
        code = hash(name) & _HASH
        part = code >> _PART_SHIFT
        return self._numbers[part][_entry(self._parts[part], code)]

    def set(self, name: bytes, kind: int, number: int = 0) -> None:
        """Put a name into the table, or give it another kind and number."""
        code = hash(name) & _HASH
        at = code >> _PART_SHIFT
        part = self._parts[at]
        entry = _entry(part, code)
        self._used[at] += not part[entry]
        part[entry] = code | kind
        if self._numbers is not None:
            self._numbers[at][entry] = number
        if 2 * self._used[at] > len(part):
            self._grow(at)

    def _grow(self, at: int) -> None:
        part = self._parts[at]
        larger = self._parts[at] = _zeros(2 * len(part))
        numbers = None if self._numbers is None else self._numbers[at]
        moved = _zeros(2 * len(part)) if numbers is not None else larger
        for entry, code in enumerate(part):
            if code:
                free = _entry(larger, code & _HASH)
                if numbers is not None:
                    moved[free] = numbers[entry]
                larger[free] = code
        if self._numbers is not None:
            self._numbers[at] = moved


def _zeros(count: int) -> array[int]:
    return array("Q", bytes(8 * count))


def _entry(part: array[int], code: int) -> int:
    """Return where a hash stands in a part, or else the free entry where it would."""
    last = len(part) - 1
    at = (code >> 2) & last
    while (entry := part[at]) and entry & _HASH != code:
        at = (at + 1) & last
    return at
