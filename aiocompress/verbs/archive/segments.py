"""A tar without an index becomes a folder in parallel: one thread decodes, workers create files.

The raw archive is cut between two members into segments, each in a slot, and a worker creates what
stands in it. A member that is larger than a segment is written here, in order. As with an index,
members come in any order, so this way is only for archives that can be read again: where anything
is odd, damaged, or there twice, all is thrown away, and done again from front to back. One thing
stays different: hard links come last, so that one may stand before what it is linked to.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import islice
from typing import Final, NamedTuple

from aiocompress.errors import AiocompressError, LimitError
from aiocompress.formats.tar.header import BLOCK, padding
from aiocompress.formats.tar.index import DIRECTORY, Record
from aiocompress.formats.tar.indexer import described
from aiocompress.model import MIB
from aiocompress.storage.atomic_folder import AtomicFolder
from aiocompress.storage.base import OpenedSource
from aiocompress.storage.restorer import FATAL
from aiocompress.verbs.archive.extract import LAST, Maker
from aiocompress.verbs.archive.finish import Journal
from aiocompress.verbs.archive.frame import UnlikeIndexError
from aiocompress.verbs.archive.planner import Wanted
from aiocompress.verbs.archive.raw import raw_blocks
from aiocompress.verbs.archive.segment import cut, headers, restore_segment
from aiocompress.verbs.base import Tally
from aiocompress.verbs.options import Bounds, Reading, Restoring
from aiocompress.workers.arena import Slot
from aiocompress.workers.inflight import Job
from aiocompress.workers.lane import Lane
from aiocompress.workers.pipeline import Sent, in_order
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

_SEGMENT: Final = 4 * MIB
_AT_ONCE: Final = 4096
_TAIL: Final = Wanted(0, (), tail=True, head=None)


class _StrictMaker(Maker):
    """Makes all members, or none."""

    def refuse(self, name: bytes, error: AiocompressError | OSError) -> None:  # noqa: ARG002
        if isinstance(error, OSError) and error.errno in FATAL:
            raise error
        raise UnlikeIndexError from None


class _Stretch(NamedTuple):
    """A part of a member that is larger than a segment; see ``Maker.take``."""

    data: memoryview
    start: int
    wanted: Wanted


def suits(restoring: Restoring) -> bool:
    """Whether workers can restore what is wanted: everything, without limits and owners."""
    selection, keeping = restoring.selection, restoring.keeping
    is_all = selection.is_all and not selection.strip
    return is_all and not keeping.preserve and restoring.bounds == Bounds()


class SegmentRestorer:
    """Restores an archive that can be read again, if need be; for one ``run``."""

    def __init__(
        self,
        pool: WorkerPool,
        source: OpenedSource,
        building: AtomicFolder,
        reading: Reading,
        restoring: Restoring,
        tally: Tally,
    ) -> None:
        self._pool, self._source, self._building = pool, source, building
        self._reading, self._restoring, self._tally = reading, restoring, tally
        self._size = min(_SEGMENT, pool.slots.largest)
        self._maker = _StrictMaker(building.descriptor, restoring, tally.found)
        # Some segments hold many small files, and no other waits for them in its slot.
        self._lane = Lane(pool, opens_files=True, detach=True)
        self._later = Journal()
        self._slot: Slot | None = None
        self._filled = 0
        self._begun = self._ended = False
        """Whether members, and the end marker, were met."""
        self._left = 0
        """Bytes that are still to come of a member that is larger than a segment."""

    async def run(self) -> None:
        """Restore everything.

        :raises UnlikeIndexError: it has to be done from front to back.
        """
        try:
            async with aclosing(in_order(self._started(), 2 * self._pool.window)) as items:
                async for job, part in items:
                    if job is not None:
                        await self._finish(job)
                    elif part is not None:
                        await call(self._pool.files, self._maker.take, *part)
            await self._make_rest()
        finally:
            try:
                await self._lane.over()
            finally:
                await call(self._pool.files, self._close)

    def _close(self) -> None:
        self._maker.close()
        self._later.close()

    # Ahead: raw blocks to segments.

    async def _started(self) -> AsyncGenerator[Sent[Job | None, _Stretch | None]]:
        """Start a job for each segment, and yield the pieces of larger members, in order."""
        about = self._pool, self._source, self._reading, self._tally
        try:
            async with aclosing(raw_blocks(*about, detach=True)) as blocks:
                async for block in blocks:
                    async with aclosing(self._take(block)) as items:
                        async for item in items:
                            yield item
            async with aclosing(self._cut(last=True)) as items:
                async for item in items:
                    yield item
        except (LimitError, UnlikeIndexError):
            raise
        except AiocompressError:
            raise UnlikeIndexError from None  # front to back, what stands before it is restored
        finally:
            if self._slot is not None:
                self._slot.free()

    async def _take(self, view: memoryview) -> AsyncGenerator[Sent[Job | None, _Stretch | None]]:
        while view:
            if self._ended:
                if any(view):
                    raise UnlikeIndexError
                return
            if self._left:
                part, view = view[: self._left], view[self._left :]
                self._left -= len(part)
                yield Sent(None, _Stretch(memoryview(bytes(part)), 0, _TAIL))
                continue
            if self._slot is None:
                self._slot = await self._pool.slots.take(self._size, 0)
            room = self._slot.input[self._filled : self._size]
            part, view = view[: len(room)], view[len(room) :]
            room[: len(part)] = part
            self._filled += len(part)
            if self._filled == self._size:
                async with aclosing(self._cut()) as items:
                    async for item in items:
                        yield item

    async def _cut(
        self, *, last: bool = False
    ) -> AsyncGenerator[Sent[Job | None, _Stretch | None]]:
        """Give the whole members of a segment to a worker, and go on with the rest.

        :param last: nothing follows.
        """
        slot, self._slot = self._slot, None
        if slot is None:
            if last and not self._ended:
                raise UnlikeIndexError
            return
        try:
            view = slot.input[: self._filled]
            end, self._ended = cut(view, self._reading.max_metadata)
            rest = bytes(view[end:])
        except BaseException:
            slot.free()
            raise
        if end:
            about = self._building.reach(by_path=False), self._restoring.keeping
            yield Sent(await self._lane.run(slot, end, restore_segment, *about), None)
        else:
            slot.free()
        self._begun |= end > 0
        self._filled = 0
        if (last and not self._ended) or (self._ended and (any(rest) or not self._begun)):
            raise UnlikeIndexError
        if self._ended or not rest:
            return
        if (record := self._larger(rest, is_alone=not end)) is not None:
            size = BLOCK * record.blocks + record.size + padding(record.size)
            self._left, self._begun = size - len(rest), True
            yield Sent(None, _Stretch(memoryview(rest), 0, Wanted(0, (), tail=False, head=record)))
            return
        self._slot = await self._pool.slots.take(self._size, 0)
        self._slot.input[: len(rest)] = rest
        self._filled = len(rest)

    def _larger(self, rest: bytes, *, is_alone: bool) -> Record | None:
        """Return the member that begins here, if it is larger than a segment."""
        head = headers(memoryview(rest), self._reading.max_metadata)
        if head is None:
            if is_alone:
                raise UnlikeIndexError
            return None
        name, kind, blocks, size, mode, mtime_ns, owner, link = described(head)
        if BLOCK * blocks + size + padding(size) <= self._size:
            return None
        return Record(name, link, kind, blocks, size, mode, mtime_ns, owner, 0)

    # Behind: what the workers have made, and what is left to make.

    async def _finish(self, job: Job) -> None:
        result = await job.result()
        self._tally.found.files += result.files
        await call(self._pool.files, self._later.take, bytes(job.data))

    async def _make_rest(self) -> None:
        """Make what had to wait; see ``IndexedRestorer``."""
        for kinds in LAST:
            records = self._records(kinds)
            while await call(self._pool.files, self._make_some, records):
                pass
        self._building.mode = self._maker.root_mode
        # Members were not looked at one by one; where all of them stand shows at the top.
        top = await call(self._pool.files, os.listdir, self._building.descriptor)
        self._restoring.selection.mask([os.fsencode(name) for name in top])

    def _records(self, kinds: bytes) -> Iterator[Record]:
        records = reversed(self._later) if DIRECTORY in kinds else iter(self._later)
        return (record for record in records if record.kind in kinds)

    def _make_some(self, records: Iterator[Record]) -> bool:
        some = list(islice(records, _AT_ONCE))
        self._maker.make(some)
        return bool(some)
