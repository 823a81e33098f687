"""A tar that is compressed as it is: its index is made while it passes.

That the index is right is known only when the archive has come to its end. So its blocks wait in a
spool until then, and are dropped where anything about the archive is odd.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from contextlib import asynccontextmanager

from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import BLOCK
from aiocompress.formats.tar.indexer import Indexer
from aiocompress.storage.base import OpenedSource
from aiocompress.storage.files import Spool
from aiocompress.storage.reach import Reach
from aiocompress.workers.threads import call


@asynccontextmanager
async def passing(source: OpenedSource, executor: Executor) -> AsyncGenerator[OpenedSource]:
    """Have the index made of a source that turns out to be a tar, unless it makes its own.

    :param executor: the file threads, which read the headers.
    """
    if source.makes_index:
        yield source
        return
    async with Spool.opened(executor) as spool:
        yield _Passing(source, spool, executor)


class _Passing(OpenedSource):
    def __init__(self, source: OpenedSource, spool: Spool, executor: Executor) -> None:
        self.name, self.status, self.size = source.name, source.status, source.size
        self.waits, self.least_chunk = source.waits, source.least_chunk
        self.at_offsets = source.at_offsets
        self._source, self._spool, self._executor = source, spool, executor
        self._indexer: Indexer | None = Indexer()
        self._begun = False
        self._turn = asyncio.Condition()
        """For chunks that are read at once, and may come in any order."""
        self._next = 0
        """The offset of the chunk whose turn it is."""

    async def readinto(self, view: memoryview) -> int:
        return await self.fill(view)

    async def fill(self, view: memoryview) -> int:
        size = await self._source.fill(view)
        await self._look(view[:size])
        return size

    async def read_at(self, offset: int, view: memoryview) -> int:
        is_read = False
        try:
            size = await self._source.read_at(offset, view)
            async with self._turn:
                await self._turn.wait_for(lambda: self._next == offset or self._indexer is None)
            await self._look(view[:size])
            is_read = True
        finally:
            if not is_read:
                self._indexer = None
            if self._next <= offset:
                self._next = offset + len(view)
            async with self._turn:
                self._turn.notify_all()
        return size

    async def reach(self) -> Reach | None:
        """Do as a file; but a tar has to be read here."""
        head = bytearray(BLOCK)
        size = await self._source.read_at(0, memoryview(head))
        if _is_tar(bytes(head[:size])):
            return None
        self._begun, self._indexer = True, None
        return await self._source.reach()

    async def _look(self, data: memoryview) -> None:
        """Look at the next bytes."""
        indexer = self._indexer
        if not self._begun:
            self._begun = True
            if not _is_tar(bytes(data[:BLOCK])):
                self._indexer = indexer = None
        if indexer is not None and data:
            await call(self._executor, indexer.feed, data)
            for block in indexer.take():
                await self._spool.write(block)
            if indexer.gave_up:
                self._indexer = None

    @property
    def is_over(self) -> bool | None:
        return self._source.is_over

    def goes_on(self, *, filled: bool) -> bool:
        return self._source.goes_on(filled=filled)

    def leave_out(self, status: os.stat_result) -> None:
        self._source.leave_out(status)

    def late_index(self) -> AsyncGenerator[bytes] | None:
        is_whole = self._indexer is not None and self._indexer.is_whole
        return self._spool.parts() if is_whole else None


def _is_tar(head: bytes) -> bool:
    """Whether an archive begins with this block, and not with its end."""
    return head != tar.ZEROS and tar.is_archive(head)
