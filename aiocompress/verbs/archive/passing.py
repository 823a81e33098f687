"""A tar that is compressed as it is: its index is made while it passes.

That the index is right is known only when the archive has come to its end. So its blocks wait in a
spool until then, and are dropped where anything about the archive is odd.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from contextlib import asynccontextmanager

from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import BLOCK
from aiocompress.formats.tar.indexer import Indexer
from aiocompress.storage.base import Source
from aiocompress.storage.files import Spool
from aiocompress.workers.threads import call


@asynccontextmanager
async def passing(source: Source, executor: Executor) -> AsyncGenerator[Source]:
    """Have the index made of a source that turns out to be a tar, unless it makes its own.

    :param executor: the file threads, which read the headers.
    """
    if source.makes_index:
        yield source
        return
    async with Spool.opened(executor) as spool:
        yield _Passing(source, spool, executor)


class _Passing(Source):
    def __init__(self, source: Source, spool: Spool, executor: Executor) -> None:
        self.name, self.status, self.size = source.name, source.status, source.size
        self.waits, self.least_chunk = source.waits, source.least_chunk
        self._source, self._spool, self._executor = source, spool, executor
        self._indexer: Indexer | None = None
        self._begun = False

    async def readinto(self, view: memoryview) -> int:
        return await self.fill(view)

    async def fill(self, view: memoryview) -> int:
        size = await self._source.fill(view)
        if not self._begun:
            head, self._begun = bytes(view[: min(size, BLOCK)]), True
            if head != tar.ZEROS and tar.is_archive(head):
                self._indexer = Indexer()
        if self._indexer is not None and size:
            await call(self._executor, self._indexer.feed, view[:size])
            await self._set_aside(self._indexer)
        return size

    async def _set_aside(self, indexer: Indexer) -> None:
        if indexer.gave_up:
            self._indexer = None
        for block in indexer.take():
            await self._spool.write(block)

    def goes_on(self, *, filled: bool) -> bool:
        return self._source.goes_on(filled=filled)

    def leave_out(self, status: os.stat_result) -> None:
        self._source.leave_out(status)

    def late_index(self) -> AsyncGenerator[bytes] | None:
        is_whole = self._indexer is not None and self._indexer.is_whole
        return self._spool.parts() if is_whole else None
