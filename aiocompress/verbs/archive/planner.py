"""Which frames hold the members that are wanted, by the index, and what of each.

A member may lie wholly inside a frame (a ``Part``), or begin in one (``head``) and go on in others
(``tail``). The records of the index tile the raw archive, so a frame holds the rest of at most one
member, then whole ones, then the head of at most one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import NamedTuple

from aiocompress.errors import CorruptError
from aiocompress.formats.tar.header import BLOCK
from aiocompress.formats.tar.index import Record, Records
from aiocompress.storage.positional import SourceError
from aiocompress.verbs.archive.frame import Part, UnlikeIndexError
from aiocompress.verbs.archive.seek import Indexed


class Wanted(NamedTuple):
    """What is wanted of a frame: whole members, the rest of one, the beginning of another."""

    frame: int
    parts: tuple[Part, ...]
    tail: bool
    head: Record | None

    @property
    def spans(self) -> bool:
        """Whether a member in it goes on before or behind it."""
        return self.tail or self.head is not None


class Planner:
    """Sorts the records of an index by the frames that hold the members.

    :param choose: returns a byte for each of some records, 1 if it is wanted; None: all are.
    """

    def __init__(
        self, archive: Indexed, max_metadata: int, choose: Callable[[Records], bytes | None]
    ) -> None:
        self.latest: bytes | None = None
        """The name that was come to last."""
        self._archive, self._table = archive, archive.table
        self._max_metadata, self._choose = max_metadata, choose
        self._frame = -1
        self._parts: list[Part] = []
        self._tail = False

    async def plan(self) -> AsyncGenerator[Wanted]:
        """Yield the frames that hold something wanted, in order.

        :raises UnlikeIndexError: the index is damaged, or front to back there is an error.
        """
        try:
            async with aclosing(self._archive.checked_blocks()) as blocks:
                async for records in blocks:
                    if records.metadata > self._max_metadata:
                        raise UnlikeIndexError  # front to back, the reader raises the LimitError
                    for wanted in self._add(records):
                        yield wanted
        except SourceError:
            raise
        except CorruptError:
            raise UnlikeIndexError from None
        for wanted in self._flush():
            yield wanted

    def _add(self, records: Records) -> Iterator[Wanted]:
        """Take the next records; yields the frames that are complete."""
        offsets, mask = records.offsets(), self._choose(records)
        at, count = 0, len(records)
        while at < count:
            frame = self._table.find(offsets[at])
            if frame != self._frame:
                yield from self._flush()
                self._frame = frame
            frame_end = self._table.raws[frame + 1]
            end = bisect_right(offsets, frame_end) - 1
            if end > at:
                self._add_part(records.cut(at, end, offsets[at]), mask and mask[at:end])
            at = max(at, end)
            if at < count and offsets[at] < frame_end:
                if mask is None or mask[at]:
                    yield from self._span(records.record(at, offsets[at]), offsets[at + 1])
                at += 1

    def _add_part(self, records: Records, mask: bytes | None) -> None:
        if mask is None or any(mask):
            self.latest = records.names[-1]
            self._parts.append(Part(records.encode(), mask))

    def _span(self, record: Record, end: int) -> Iterator[Wanted]:
        """Yield the frames that a member spans, except the last, which may hold more."""
        last = self._table.find(end - 1)
        yield from self._flush(record)
        for frame in range(self._frame + 1, last):
            yield Wanted(frame, (), tail=True, head=None)
        self._frame, self._tail = last, True

    def _flush(self, head: Record | None = None) -> Iterator[Wanted]:
        """Yield the frame that is complete now."""
        if self._parts or self._tail or head is not None:
            yield Wanted(self._frame, tuple(self._parts), self._tail, head)
        self._parts, self._tail = [], False


class Spanning(ABC):
    """Takes the members that span frames: their headers first, which may span frames themselves."""

    def __init__(self) -> None:
        self.record: Record | None = None
        """The member, until it is whole or has failed."""
        self._header = b""

    def take(self, raw: memoryview, start: int, wanted: Wanted) -> None:
        """Take a frame whose first byte is at ``start`` in the raw archive.

        :raises UnlikeIndexError: a header is not as the index says, or a name is taken.
        """
        if wanted.tail:
            self._go_on(raw)
        if wanted.head is not None:
            self.record, self._header = wanted.head, b""
            self._go_on(raw[wanted.head.offset - start :])

    def _go_on(self, raw: memoryview) -> None:
        record = self.record
        if record is None:
            return
        missing = BLOCK * record.blocks - len(self._header)
        if missing:
            self._header += raw[:missing]
            if len(raw) < missing:
                return
            raw = raw[missing:]
            self.begin(record, memoryview(self._header))
        if not self.go_on(raw):
            self.record = None

    @abstractmethod
    def begin(self, record: Record, header: memoryview) -> None:
        """Begin a member, whose header is whole."""

    @abstractmethod
    def go_on(self, raw: memoryview) -> bool:
        """Take the next bytes of its content; returns whether more are wanted."""
