"""The raw bytes of an archive: from front to back, or at any offset."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, TypeAlias

from aiocompress.formats import names
from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import BLOCK
from aiocompress.model import MIB
from aiocompress.storage.base import OpenedSource
from aiocompress.storage.positional import Checked
from aiocompress.verbs.archive.seek import Indexed
from aiocompress.verbs.base import Tally
from aiocompress.verbs.decompress import decompressed
from aiocompress.verbs.options import Reading
from aiocompress.workers.forks import Begun
from aiocompress.workers.pool import WorkerPool

Restart: TypeAlias = Callable[[], AsyncGenerator[memoryview]]
_MOST_STREAMS: Final = 4
"""Each may gather a frame as large as a slot. Those who read more members than this by turns, from
an archive without an index, make them start again and again."""
_AT_ONCE: Final = 4 * MIB


async def raw_blocks(
    pool: WorkerPool,
    source: OpenedSource,
    reading: Reading,
    tally: Tally,
    *,
    head: bytes = b"",
    detach: bool = False,
    strict: bool = False,
) -> AsyncGenerator[memoryview]:
    """Yield the raw bytes of an archive, decompressed if it is compressed.

    :param head: what ``first_block`` returned, if it was called already.
    :param detach: the reader may be slow: no slot is kept waiting for it.
    :param strict: a damaged index is an error.
    """
    head = head or await first_block(source)
    if is_plain(head, source.name):
        data, room = memoryview(head), memoryview(bytearray(reading.read_size))
        while data:
            tally.add(len(data), len(data), 0)
            reading.check_output(tally.raw_bytes)
            yield data
            data = room[: await source.readinto(room)]
        return
    blocks = decompressed(pool, source, reading, tally, head=head, detach=detach, strict=strict)
    async with aclosing(blocks):
        async for block in blocks:
            if block.data:
                yield memoryview(block.data)


async def first_block(source: OpenedSource) -> bytes:
    """Read the first 512 bytes, or fewer if there are no more."""
    block = bytearray(BLOCK)
    return bytes(block[: await source.fill(memoryview(block))])


def is_plain(head: bytes, name: str | None) -> bool:
    """Whether a file that begins with these 512 bytes is a tar that is not compressed.

    Zeros may be an empty one, but not where the name says that it is compressed: there they are
    what a crash has left.
    """
    if head == tar.ZEROS and name is not None and names.restored(os.path.basename(name)):
        return False
    return tar.is_archive(head)


class _Forward:
    """The raw bytes of an archive, read forward a block at a time.

    It starts again from the front for an offset that it has passed, and in a fork of its process.
    """

    def __init__(self, restart: Restart) -> None:
        self._restart = restart
        self._blocks: AsyncGenerator[memoryview] | None = None
        self._begun = Begun("the archive")
        self.start, self._block = 0, memoryview(b"")

    async def read_at(self, offset: int, size: int) -> bytes:
        """Return at least one byte and at most ``size`` from ``offset``; none at the end."""
        if self._blocks is None or offset < self.start or not self._begun.is_here:
            await self.aclose()
            self._blocks, self._begun = self._restart(), Begun("the archive")
        while offset >= self.start + len(self._block):
            self.start += len(self._block)
            self._block = await anext(self._blocks, memoryview(b""))
            if not self._block:
                break
        at = offset - self.start
        return bytes(self._block[at : at + size])

    async def aclose(self) -> None:
        self.start, self._block = 0, memoryview(b"")
        blocks, self._blocks = self._blocks, None
        if blocks is not None and self._begun.is_here:
            await blocks.aclose()


class RawBytes:
    """The raw bytes of an archive at any offset, for all of its open members; ``aclose`` it.

    By an index they come out of the frames, from a plain tar in a file as they stand there. From
    any other archive they are read forward, which takes memory for a stream: so there are only a
    few of them, and whoever reads goes on with the one that is nearest.

    :param restart: opens the archive as raw blocks from the front.
    :param positions: a tar that is not compressed, and can be read at any offset.
    """

    def __init__(self, restart: Restart, positions: Checked | None) -> None:
        self._restart, self._positions = restart, positions
        self._turns = asyncio.Semaphore(_MOST_STREAMS)
        self._idle: list[_Forward] = []
        self._streams = 0
        self._is_open = True

    async def read_at(self, offset: int, size: int, index: Indexed | None) -> bytes:
        """Return at least one byte and at most ``size`` from ``offset``; none at the end.

        :raises CorruptError: the frame that holds them is damaged.
        :raises UnlikeIndexError: there is no such frame where the index says.
        """
        if index is not None:
            return await _decoded(index, offset, size)
        if self._positions is not None:
            return bytes(await self._positions.read_at(offset, min(size, _AT_ONCE)))
        async with self._turns:
            stream = self._nearest(offset)
            try:
                data = await stream.read_at(offset, size)
            except BaseException:
                self._streams -= 1
                await stream.aclose()
                raise
            self._idle.append(stream)
            if not self._is_open:
                await self.aclose()
        return data

    def _nearest(self, offset: int) -> _Forward:
        """Take the idle stream that reaches the offset first, or else one that starts anew."""
        ahead = [stream for stream in self._idle if stream.start <= offset]
        if not ahead and self._streams < _MOST_STREAMS:
            self._streams += 1
            return _Forward(self._restart)
        stream = max(ahead, key=lambda stream: stream.start) if ahead else self._idle[0]
        self._idle.remove(stream)
        return stream

    async def aclose(self) -> None:
        """End the streams, those that are read right now when that is done."""
        self._is_open = False
        while self._idle:
            self._streams -= 1
            await self._idle.pop().aclose()


async def _decoded(index: Indexed, offset: int, size: int) -> bytes:
    table = index.table
    if offset >= table.raws[-1]:
        return b""
    number = table.find(offset)
    at = offset - table.raws[number]
    return bytes(memoryview(await index.frame(number))[at : at + size])
