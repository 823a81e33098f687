"""Archives with an index: callers read the frames that they need, and no others.

The index and the table of frames are hints: this module verifies their bounds, counts and checksums
as it reads them, and a member counts only if the header in front of its content agrees.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Final, Protocol, TypeVar

from aiocompress.errors import AiocompressError, CorruptError, LimitError
from aiocompress.formats import FORMATS
from aiocompress.formats.base import Format, FrameTable
from aiocompress.formats.tar.header import END
from aiocompress.formats.tar.index import MOST_ZEROS, Record, Records, unpack
from aiocompress.model import MIB, Buffer
from aiocompress.verbs.archive.ending import Ending
from aiocompress.verbs.archive.frame import DoubtfulFrameError, UnlikeIndexError, decoded
from aiocompress.verbs.archive.lookup import Summary, order
from aiocompress.verbs.decode import DAMAGE
from aiocompress.workers.inflight import Job
from aiocompress.workers.job import Result
from aiocompress.workers.kept import Shelf
from aiocompress.workers.lane import Lane
from aiocompress.workers.pipeline import BUFFERED
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call, ended

_LARGEST_BLOCK: Final = 8 * MIB
_STARTS: Final = (b"", b"./")
"""What may stand before a name in an archive; in that of others, before all of them."""


class OfFrame(Protocol):
    """Something that is wanted of a frame."""

    @property
    def frame(self) -> int: ...


F = TypeVar("F", bound=OfFrame)


class Indexed:
    """An archive with an index: its format, where its frames stand, and the blocks of its index.

    The blocks and frames that were used last are kept. They are decoded in threads, and one that
    several tasks ask for at once is decoded for all of them.
    """

    def __init__(
        self, pool: WorkerPool, ending: Ending, form: Format, table: FrameTable, name: str | None
    ) -> None:
        self.format, self.table, self.name = form, table, name
        self._pool, self._ending = pool, ending
        self._shelf = Shelf(pool.slots)
        self._loading = asyncio.Semaphore(pool.window)
        """A frame that was read, and waits for a slot, is memory that nobody counts."""
        self._loaded = 0
        """Raw bytes of the frames that were loaded so far."""
        self._kinds: dict[int, frozenset[int]] = {}
        """Types of the members in the blocks that were read, by number."""
        self._summaries: dict[int, Summary] = {}
        """What is remembered of the blocks that were searched, by number."""
        self._checked_end = -1
        """Where the last member ends, if that was looked at."""
        self._fresh: dict[int, Summary] = {}
        """The same of blocks that were just loaded for it."""

    def close(self) -> None:
        """Drop what is kept."""
        self._shelf.close()
        self._ending.forget()

    async def read_at(self, offset: int, size: int) -> memoryview:
        """Read compressed bytes.

        :raises SourceError: the source is not what it said.
        """
        data = await self._ending.source.read_at(offset, size)
        if len(data) != size:
            raise CorruptError("the index leads behind the end", offset=offset)
        return data

    # The blocks of the index.

    async def blocks(
        self, kinds: bytes | None = None, *, backwards: bool = False
    ) -> AsyncGenerator[Records]:
        """Yield the index, block by block.

        :param kinds: blocks that are known to hold no record of these types are left out.
        :raises CorruptError: a block is damaged.
        """
        numbers = range(len(self.table.blocks))
        for number in reversed(numbers) if backwards else numbers:
            if kinds is None or self._kinds.get(number, frozenset(kinds)) & set(kinds):
                yield await self._block(number)

    async def checked_blocks(self) -> AsyncGenerator[Records]:
        """Yield the index, and make sure that it covers the archive from its start to its end.

        :raises CorruptError: it does not, or a block is damaged.
        """
        end = 0
        async for records in self.blocks():
            if records.start != end:
                raise CorruptError("the blocks of the index do not follow each other")
            end = records.end
            yield records
        await self._check_end(end)

    async def _check_end(self, end: int) -> None:
        """Make sure that nothing but zeros stands behind the last member.

        Two blocks of them end a tar; there are more where it is one of others, which fills a tape.

        :raises CorruptError: the index does not cover the archive.
        """
        left = self.table.raws[-1] - end
        if end == self._checked_end or left == len(END):
            return
        is_end = len(END) < left <= MOST_ZEROS
        at = end
        while is_end and at < self.table.raws[-1]:
            number = self.table.find(at)
            data = memoryview(await self.frame(number))[at - self.table.raws[number] :]
            is_end = not any(data)
            at += len(data)
        if not is_end:
            raise CorruptError("the index does not cover the archive")
        self._checked_end = end

    async def blocks_with(self, prefix: bytes) -> AsyncGenerator[Records]:
        """Yield the blocks that may hold names with this prefix, in order.

        :raises CorruptError: as of ``checked_blocks``.
        """
        firsts = [order(start + prefix) for start in _STARTS]
        found = []
        for number in reversed(range(len(self.table.blocks))):
            summary = await self._summary(number)
            if any(map(summary.may_begin, firsts)):
                found.append(number)
        for number in reversed(found):
            yield await self._block(number)

    async def find(self, name: bytes) -> Record | None:
        """Return the last record of that name, without a look at the blocks before it.

        :raises CorruptError: a block that was looked at is damaged, or does not lead to the next.
        """
        for start in _STARTS:
            if (record := await self._find(start + name)) is not None:
                return record
        return None

    async def _find(self, name: bytes) -> Record | None:
        place = order(name)
        for number in reversed(range(len(self.table.blocks))):
            summary = await self._summary(number)
            if summary.may_hold(place):
                record = summary.find(await self._block(number), name)
                if record is not None:
                    return record
        return None

    async def _summary(self, number: int) -> Summary:
        """Return what is remembered of a block, after those behind it were asked for.

        :raises CorruptError: the next one does not follow it.
        """
        known = self._summaries.get(number)
        if known is None:
            known = await self._shelf.get(("summary", number), partial(self._summarize, number))
            following = self._summaries.get(number + 1)
            if following is None:
                await self._check_end(known.end)
            elif known.end != following.start:
                raise CorruptError("the blocks of the index do not follow each other")
            if number == 0 and known.start:
                raise CorruptError("the index does not begin where the archive does")
            self._summaries[number] = known
        return known

    async def _summarize(self, number: int) -> tuple[Summary, int]:
        records = await self._block(number, searched=True)
        summary = self._fresh.pop(number, None)
        if summary is None:
            summary = await call(self._pool.files, Summary.of, records)
        return summary, len(summary.low) + len(summary.high)

    async def _block(self, number: int, *, searched: bool = False) -> Records:
        load = partial(self._load_block, number, searched=searched)
        return await self._shelf.get(("block", number), load)

    async def _load_block(self, number: int, *, searched: bool) -> tuple[Records, int]:
        offset, size = self.table.blocks[number]
        if size > _LARGEST_BLOCK:
            raise CorruptError("a block of the index is too large", offset=offset)
        data = bytes(await self._ending.read_at(offset, size))
        records = await call(self._pool.files, self._decoded, data, number, searched)
        self._kinds[number] = records.kinds
        if len(self._kinds) == len(self.table.blocks):
            self._ending.forget()
        return records, records.memory

    def _decoded(self, data: bytes, number: int, searched: bool) -> Records:  # noqa: FBT001
        """Decode a block, in a thread: there are thousands of records in it."""
        offset, _ = self.table.blocks[number]
        payload = self.format.container.index_payload(data)
        if payload is None:
            raise CorruptError("a block of the index is damaged", offset=offset)
        try:
            records = unpack(payload)
        except AiocompressError as error:
            raise error.located(base=offset) from None
        if searched:
            self._fresh[number] = Summary.of(records)
        return records

    # The frames.

    async def read_all(self, wanted: AsyncGenerator[F]) -> AsyncGenerator[tuple[F, memoryview]]:
        """Read frames that are wanted, in order; several at once, if the source can.

        The slots lend the memory of those that are read ahead.

        :raises CorruptError: the archive became shorter.
        :raises UnlikeIndexError: a frame is too large to decode whole.
        """
        table, slots, most = self.table, self._pool.slots, self._ending.source.at_once
        reads: deque[tuple[F, asyncio.Future[memoryview], int]] = deque()
        try:
            async for one in wanted:
                self.check_room(one.frame)
                start, size = table.starts[one.frame], table.sizes[one.frame]
                while reads and (len(reads) >= most or not slots.lend(size)):
                    yield reads[0][0], await reads[0][1]
                    slots.return_lent(reads.popleft()[2])
                loan = size if reads else 0
                reads.append((one, asyncio.ensure_future(self.read_at(start, size)), loan))
            while reads:
                yield reads[0][0], await reads[0][1]
                slots.return_lent(reads.popleft()[2])
        finally:
            for _, reading, _ in reads:
                reading.cancel()
            for _, reading, loan in reads:
                await ended(reading)
                slots.return_lent(loan)

    async def start(
        self,
        lane: Lane,
        number: int,
        data: Buffer,
        function: Callable[..., Result],
        *arguments: object,
        follows: bool | None = None,
    ) -> Job:
        """Start a job that decodes a frame, and does something with the members in it.

        :param data: the frame.
        :param function: such as ``restore``, whose arguments behind those of the frame follow.
        """
        table, raw_size = self.table, self.table.raw_size(number)
        about = self.format.name, (table.raws[number], raw_size)
        return await lane.start(data, raw_size, function, *about, *arguments, follows=follows)

    async def result(self, job: Job, number: int, *, trusting: bool = False) -> Result:
        """Wait for a job that decodes a frame.

        :param trusting: a frame that cannot be decoded is damaged, wherever it stands.
        :raises CorruptError: the frame is damaged.
        :raises DoubtfulFrameError: it is damaged, or does not stand where the index says.
        """
        try:
            return await job.result()
        except DAMAGE as error:
            if not trusting and not self.is_frame(number, memoryview(job.input)):
                raise DoubtfulFrameError from None
            base = self.table.starts[number]
            raise error.located(file=self.name, base=base, frame=number) from None

    async def frame(self, number: int) -> Buffer:
        """Return the raw bytes of a frame, decoded in a thread.

        :raises CorruptError: it is damaged.
        :raises UnlikeIndexError: it is not where the index says, or too large to decode whole.
        """
        return await self._shelf.get(("frame", number), partial(self._load_frame, number))

    async def _load_frame(self, number: int) -> tuple[Buffer, int]:
        self.check_room(number)
        size = self.table.raw_size(number)
        async with self._loading:
            data = await self.read_at(self.table.starts[number], self.table.sizes[number])
            job = await Lane(self._pool, small=True).start(
                data, size, decoded, self.format.name, size, new=self._loaded < BUFFERED
            )
            self._loaded += size
            try:
                frame = (await self.result(job, number)).data
            finally:
                job.release()
        assert frame is not None
        return frame, size

    def check_room(self, number: int) -> None:
        """Make sure that a frame can be decoded whole, whatever the table claims.

        :raises UnlikeIndexError: it can only be decoded as a stream.
        """
        try:
            self._pool.slots.check(self.table.sizes[number], self.table.raw_size(number))
        except LimitError:
            raise UnlikeIndexError from None

    def is_frame(self, number: int, data: memoryview) -> bool:
        """Whether the bytes begin and end as that frame does: then a failure means damage."""
        return self.format.container.is_frame(data, self.table.raw_size(number))

    async def check_table(self) -> None:
        """Make sure that each frame stands where the table says.

        :raises CorruptError: one does not.
        """
        for number, offset in enumerate(self.table.starts):
            self.check_room(number)
            data = memoryview(await self.read_at(offset, self.table.sizes[number]))
            if not self.is_frame(number, data):
                raise CorruptError("no frame is where the index says", offset=offset, frame=number)


async def open_indexed(pool: WorkerPool, ending: Ending, name: str | None) -> Indexed | None:
    """Find the index of an archive; None: it has none, or none that passes the checks.

    The index says of which format the archive is: its beginning need not be read for that.
    """
    for form in FORMATS.values():
        if form.container.search is not None:
            table = await ending.searched(form.container.search(ending.size))
            if table is not None and table.blocks and len(table.starts) and not table.begin:
                return Indexed(pool, ending, form, table, name)
    return None
