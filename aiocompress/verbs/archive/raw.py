"""The raw bytes of an archive: from front to back, or from wherever they are asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol, Self

from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import BLOCK
from aiocompress.storage.base import Source
from aiocompress.verbs.archive.seek import Indexed
from aiocompress.verbs.base import Tally
from aiocompress.verbs.decompress import decompressed
from aiocompress.verbs.options import Reading
from aiocompress.workers.pool import WorkerPool


async def raw_blocks(
    pool: WorkerPool,
    source: Source,
    reading: Reading,
    tally: Tally,
    *,
    detach: bool = False,
    strict: bool = False,
) -> AsyncGenerator[memoryview]:
    """Yield the raw bytes of an archive, decompressed if it is compressed.

    :param detach: the reader may be slow: no slot waits for it.
    :param strict: a damaged index is an error.
    """
    peeked = await Peeked.look(source)
    if peeked.is_tar:
        room = memoryview(bytearray(reading.read_size))
        while size := await peeked.readinto(room):
            tally.add(size, size, 0)
            reading.check_output(tally.raw_bytes)
            yield room[:size]
        return
    blocks = decompressed(pool, peeked, reading, tally, detach=detach, strict=strict)
    async with aclosing(blocks):
        async for block in blocks:
            if block.data:
                yield memoryview(block.data)


class Peeked(Source):
    """A source whose first bytes have been looked at."""

    def __init__(self, source: Source, head: bytes) -> None:
        self.name, self.size, self.waits = source.name, source.size, source.waits
        self._source, self._head = source, memoryview(head)
        self.is_tar = tar.is_archive(head)
        """Whether it is a plain tar."""

    @classmethod
    async def look(cls, source: Source) -> Self:
        """Read the first block of a source."""
        room = bytearray(BLOCK)
        size = await source.fill(memoryview(room))
        return cls(source, bytes(room[:size]))

    async def readinto(self, view: memoryview) -> int:
        if not self._head:
            return await self._source.readinto(view)
        size = min(len(view), len(self._head))
        view[:size] = self._head[:size]
        self._head = self._head[size:]
        return size


# Anywhere.


class RawAccess(Protocol):
    """Raw bytes of an archive, wherever they are asked for."""

    async def read_at(self, offset: int, size: int) -> bytes:
        """Return at least one byte and at most ``size`` from there; none at the end."""
        ...

    async def aclose(self) -> None:
        """Give everything back."""
        ...


class IndexedAccess:
    """Decodes only the frames that hold what is asked for; the last one is kept."""

    def __init__(self, archive: Indexed) -> None:
        self._archive = archive
        self._number, self._frame = -1, b""

    async def read_at(self, offset: int, size: int) -> bytes:
        table = self._archive.table
        if offset >= table.raws[-1]:
            return b""
        number = table.find(offset)
        if number != self._number:
            self._number, self._frame = -1, b""
            self._frame = await self._archive.frame(number)
            self._number = number
        start = offset - table.raws[number]
        return self._frame[start : start + size]

    async def aclose(self) -> None:
        self._number, self._frame = -1, b""


class StreamAccess:
    """Reads from front to back; for what lies behind, once more from the front."""

    def __init__(self, restart: Callable[[], AsyncGenerator[memoryview]]) -> None:
        self._restart = restart
        self._blocks: AsyncGenerator[memoryview] | None = None
        self._start, self._block = 0, memoryview(b"")

    async def read_at(self, offset: int, size: int) -> bytes:
        if self._blocks is None or offset < self._start:
            await self.aclose()
            self._blocks = self._restart()
        while offset >= self._start + len(self._block):
            self._start += len(self._block)
            block = await anext(self._blocks, None)
            self._block = memoryview(b"") if block is None else block
            if block is None:
                return b""
        at = offset - self._start
        return bytes(self._block[at : at + size])

    async def aclose(self) -> None:
        self._start, self._block = 0, memoryview(b"")
        if self._blocks is not None:
            blocks, self._blocks = self._blocks, None
            await blocks.aclose()
