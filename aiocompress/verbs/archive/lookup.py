"""Members by name: in which block of the index one may be, and where it is in the block.

An archive of ours holds each folder before all that is in it, and names in the order of their
bytes. So the names of a block are one range, and a name is in one block, found there by bisection.
Nothing relies on that: a tar of any order may have an index. Its ranges overlap, and then all the
blocks whose range holds the name are searched, from the last one on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import islice
from operator import le, methodcaller
from typing import Final, NamedTuple

from aiocompress.formats.tar.index import Record, Records

order: Final[Callable[[bytes], bytes]] = methodcaller("replace", b"/", b"\0")
"""Returns what names are compared by: a folder is followed by what is in it."""


class Summary(NamedTuple):
    """What is remembered of a block: where its members stand, and their range of names.

    ``low`` and ``high`` are the first and last names in ``order``; ``in_order``: so are all.
    """

    start: int
    end: int
    low: bytes
    high: bytes
    in_order: bool

    @classmethod
    def of(cls, records: Records) -> Summary:
        """Return that of a block."""
        places = _places(records.names)
        in_order = all(map(le, places, islice(places, 1, None)))
        if places and in_order:
            low, high = places[0], places[-1]
        else:
            low, high = min(places, default=b""), max(places, default=b"")
        return cls(records.start, records.end, low, high, in_order)

    def may_hold(self, place: bytes) -> bool:
        """Whether the name of this place in the order may be in the block."""
        return self.low <= place <= self.high

    def may_begin(self, first: bytes) -> bool:
        """Whether names that begin so, in the order, may be in the block."""
        return first <= self.high and (self.low <= first or self.low.startswith(first))

    def find(self, records: Records, name: bytes) -> Record | None:
        """Return the last record of that name in the block."""
        names, offsets = records.names, records.offsets()
        if self.in_order:
            at = bisect_right(names, order(name), key=order) - 1
        else:
            at = max((at for at, other in enumerate(names) if other == name), default=-1)
        if at < 0 or names[at] != name:
            return None
        return records.record(at, offsets[at])


def _places(names: list[bytes]) -> list[bytes]:
    """Return ``order`` of all names: of all at once, if no name holds a line end."""
    text = b"\n".join(names)
    if text.count(b"\n") < len(names):
        return order(text).split(b"\n")
    return list(map(order, names))
