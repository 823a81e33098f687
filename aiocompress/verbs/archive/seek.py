"""Archives with an index: callers read the frames that they need, and no others.

The index and the table of frames are hints: this module verifies their bounds, counts and checksums
as it reads them, and a member counts only if the header in front of its content agrees.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from aiocompress.errors import AiocompressError, CorruptError, LimitError
from aiocompress.formats.base import Format, FrameTable
from aiocompress.formats.tar.header import END
from aiocompress.formats.tar.index import Records, unpack
from aiocompress.model import MIB, Buffer
from aiocompress.storage.base import Positional
from aiocompress.storage.restorer import Keeping
from aiocompress.verbs.archive.frame import DoubtfulFrameError, UnlikeIndexError, restore
from aiocompress.verbs.decode import DAMAGE
from aiocompress.workers.inflight import Job
from aiocompress.workers.job import Result
from aiocompress.workers.lane import Lane
from aiocompress.workers.pool import WorkerPool

_LARGEST_BLOCK: Final = 8 * MIB


class Indexed:
    """An archive with an index: its format, where its frames stand, and the blocks of its index."""

    def __init__(
        self,
        pool: WorkerPool,
        source: Positional,
        form: Format,
        table: FrameTable,
        name: str | None,
    ) -> None:
        self.format, self.table, self.name = form, table, name
        self._pool, self._source = pool, source
        self._kinds: dict[int, frozenset[int]] = {}
        """Types of the members in the blocks of the index that were read, by offset."""

    async def read_at(self, offset: int, size: int) -> Buffer:
        """Read compressed bytes.

        :raises CorruptError: they are not there any more.
        """
        data = await self._source.read_at(offset, size)
        if len(data) != size:
            raise CorruptError("the archive became shorter while it was read", offset=offset)
        return data

    async def blocks(
        self, kinds: bytes | None = None, *, backwards: bool = False
    ) -> AsyncGenerator[Records]:
        """Yield the index, block by block.

        :param kinds: blocks that are known to hold no record of these types are left out.
        :raises CorruptError: a block is damaged.
        """
        payload_of = self.format.container.index_payload
        for offset, size in reversed(self.table.blocks) if backwards else self.table.blocks:
            if kinds is not None and not self._kinds.get(offset, frozenset(kinds)) & set(kinds):
                continue
            if size > _LARGEST_BLOCK:
                raise CorruptError("a block of the index is too large", offset=offset)
            payload = payload_of(bytes(await self.read_at(offset, size)))
            if payload is None:
                raise CorruptError("a block of the index is damaged", offset=offset)
            try:
                records = unpack(payload)
            except AiocompressError as error:
                raise error.located(base=offset) from None
            self._kinds[offset] = records.kinds
            yield records

    async def checked_blocks(self) -> AsyncGenerator[Records]:
        """Yield the index, and make sure that it covers the archive from its start to its end."""
        end = 0
        async for records in self.blocks():
            if records.start != end:
                raise CorruptError("the blocks of the index do not follow each other")
            end = records.end
            yield records
        if end != self.table.raws[-1] - len(END):
            raise CorruptError("the index does not cover the archive")

    async def start(
        self, lane: Lane, number: int, *restoring: object, follows: bool | None = None
    ) -> Job:
        """Start a job that decodes a frame, and restores members from it.

        :param restoring: the last arguments of ``restore``.
        :raises CorruptError: the archive became shorter.
        :raises UnlikeIndexError: the frame is too large to decode whole.
        """
        self.check_room(number)
        table, raw_size = self.table, self.table.raw_size(number)
        data = await self.read_at(table.starts[number], table.sizes[number])
        about = self.format.name, (table.raws[number], raw_size)
        return await lane.start(data, raw_size, restore, *about, *restoring, follows=follows)

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

    async def frame(self, number: int) -> bytes:
        """Return the raw bytes of a frame, decoded in a thread.

        :raises CorruptError: it is damaged.
        :raises UnlikeIndexError: it is not where the index says, or too large to decode whole.
        """
        # Detached: the caller may keep the bytes for long, and must not keep the slot.
        lane = Lane(self._pool, small=True, detach=True)
        job = await self.start(lane, number, (), "", Keeping())
        try:
            await self.result(job, number)
            return bytes(job.data)
        finally:
            job.release()

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


async def open_indexed(
    pool: WorkerPool, source: Positional, form: Format, size: int, name: str | None
) -> Indexed | None:
    """Find the index of an archive; None: it has none, or none that passes the checks."""
    search = form.container.search
    if search is None:
        return None
    steps = search(size)
    try:
        request = next(steps)
        while True:
            request = steps.send(bytes(await source.read_at(*request)))
    except StopIteration as stop:
        table: FrameTable | None = stop.value
    if table is None or not table.blocks or not len(table.starts):
        return None
    return Indexed(pool, source, form, table, name)
