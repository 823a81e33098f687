"""A tar that is compressed as it is: its index is made while it passes.

That the index is right is known only when the archive has come to its end. So its blocks wait in a
spool until then, and are dropped where anything about the archive is odd.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiocompress.storage.base import OpenedSource
from aiocompress.storage.files import Spool
from aiocompress.storage.reach import Reach
from aiocompress.workers.threads import call

if TYPE_CHECKING:
    from aiocompress.formats.tar.indexer import Indexer

_BLOCK: Final = 512
"""What a tar is made of; ``header.BLOCK``, which little that is compressed needs to import."""
_CHECKSUM: Final = slice(148, 156)
"""Where every tar header has some octal digits, and hardly anything else has."""


@asynccontextmanager
async def passing(source: OpenedSource, executor: Executor) -> AsyncGenerator[OpenedSource]:
    """Have the index made of a source that turns out to be a tar, unless it makes its own.

    :param executor: the file threads, which read the headers.
    """
    if source.makes_index or (source.size or 0) % _BLOCK:
        yield source
        return
    async with Spool.opened(executor) as spool:
        yield _Passing(source, spool, executor)


class _Passing(OpenedSource):
    def __init__(self, source: OpenedSource, spool: Spool, executor: Executor) -> None:
        self.name, self.status, self.size = source.name, source.status, source.size
        self.waits, self.least_chunk = source.waits, source.least_chunk
        self.at_offsets, source.look = source.at_offsets, self._look
        self._source, self._spool, self._executor = source, spool, executor
        self._indexer: Indexer | None = None
        self._is_looking = True
        """Whether there may still be an index."""
        self._lock = threading.Lock()
        self._next = 0
        """The offset of what the indexer takes next."""
        self._early: dict[int, tuple[memoryview, int]] = {}
        """What was read behind that already."""
        self._turn = asyncio.Condition()

    async def readinto(self, view: memoryview) -> int:
        return await self.fill(view)

    async def fill(self, view: memoryview) -> int:
        size = await self._source.fill(view)
        if self._is_looking and size:
            await call(self._executor, self._look, self._next, view[:size], size)
        return size

    async def read_at(self, offset: int, view: memoryview) -> int:
        async with self._in_turn(offset):
            return await self._source.read_at(offset, view)

    async def see(self, offset: int, view: memoryview, size: int) -> None:
        if self._is_looking:
            async with self._in_turn(offset):
                await call(self._executor, self._look, offset, view, size)

    @asynccontextmanager
    async def _in_turn(self, offset: int) -> AsyncGenerator[None]:
        """Keep what is read in memory until all before it was looked at, too."""
        is_looked_at = False
        try:
            yield
            async with self._turn:
                self._turn.notify_all()
                await self._turn.wait_for(lambda: self._next > offset or not self._is_looking)
            is_looked_at = True
        finally:
            if not is_looked_at:
                self._is_looking = False
                async with self._turn:
                    self._turn.notify_all()

    async def reach(self, *, by_path: bool, watched: bool) -> Reach | None:
        """Do as a file; but a tar has to be read here, if it cannot be watched."""
        if not watched and await self._is_tar():
            return None
        return await self._source.reach(by_path=by_path, watched=watched)

    async def _is_tar(self) -> bool:
        head, self._source.look = memoryview(bytearray(_BLOCK)), None
        size = await self._source.read_at(0, head)
        self._is_looking = _indexer_of(head[:size]) is not None
        self._source.look = self._look if self._is_looking else None
        return self._is_looking

    def _look(self, offset: int, view: memoryview, size: int) -> None:
        """Have the indexer take what was read, and what has waited for it; in a file thread."""
        with self._lock:
            if self._is_looking:
                self._early[offset] = view, size
            while self._is_looking and self._next in self._early:
                view, size = self._early.pop(self._next)
                if not self._take(view[:size]):
                    self._is_looking, self._source.look = False, None
                self._next += len(view)

    def _take(self, data: memoryview) -> bool:
        """Have the indexer take the next bytes; returns whether there may still be an index."""
        if not self._next:
            self._indexer = _indexer_of(data)
        if (indexer := self._indexer) is None:
            return False
        indexer.feed(data)
        try:
            for block in indexer.take():
                self._spool.put(block)
        except OSError:  # a full disk for temporary files, say, is no reason to fail
            return False
        return not indexer.gave_up

    @property
    def is_over(self) -> bool | None:
        return self._source.is_over

    def goes_on(self, *, filled: bool) -> bool:
        return self._source.goes_on(filled=filled)

    def leave_out(self, status: os.stat_result) -> None:
        self._source.leave_out(status)

    def late_index(self) -> AsyncGenerator[bytes] | None:
        indexer = self._indexer if self._is_looking else None
        return self._spool.parts() if indexer is not None and indexer.is_whole else None


def _indexer_of(data: memoryview) -> Indexer | None:
    """Return an indexer for what begins so; None: it is no tar."""
    if not bytes(data[_CHECKSUM]).strip(b" \0").isdigit():
        return None
    from aiocompress.formats.tar import reader as tar  # little is a tar, and starts sooner without
    from aiocompress.formats.tar.indexer import Indexer

    head = bytes(data[:_BLOCK])
    return Indexer() if head != tar.ZEROS and tar.is_archive(head) else None
