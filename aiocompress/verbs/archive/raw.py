"""The raw bytes of an archive: from front to back, or at any offset."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from aiocompress.formats import names
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


async def first_block(source: Source) -> bytes:
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


class RawBytes:
    """The raw bytes of an archive at any offset; a block is kept for the next read; ``aclose`` it.

    With an index it decodes only the frames that hold the bytes. Without one it reads forward, and
    starts again from the front for an offset that it has passed.

    :param restart: opens the archive as raw blocks from the front.
    """

    def __init__(
        self, index: Indexed | None, restart: Callable[[], AsyncGenerator[memoryview]]
    ) -> None:
        self._index, self._restart = index, restart
        self._blocks: AsyncGenerator[memoryview] | None = None
        self._start, self._block = 0, memoryview(b"")

    async def read_at(self, offset: int, size: int) -> bytes:
        """Return at least one byte and at most ``size`` from ``offset``; none at the end.

        :raises CorruptError: the frame that holds them is damaged.
        :raises UnlikeIndexError: there is no such frame where the index says.
        """
        if not self._start <= offset < self._start + len(self._block):
            if self._index is None:
                await self._pass_to(offset)
            else:
                await self._decode(self._index, offset)
        at = offset - self._start
        return bytes(self._block[at : at + size])

    async def _decode(self, index: Indexed, offset: int) -> None:
        self._start, self._block = 0, memoryview(b"")  # before there is another one
        if offset < index.table.raws[-1]:
            number = index.table.find(offset)
            self._block = memoryview(await index.frame(number))
            self._start = index.table.raws[number]

    async def _pass_to(self, offset: int) -> None:
        if self._blocks is None or offset < self._start:
            await self.aclose()
            self._blocks = self._restart()
        while offset >= self._start + len(self._block):
            self._start += len(self._block)
            self._block = await anext(self._blocks, memoryview(b""))
            if not self._block:
                return

    async def give_up_index(self) -> None:
        """Read from front to back from now on."""
        await self.aclose()
        self._index = None

    async def aclose(self) -> None:
        self._start, self._block = 0, memoryview(b"")
        blocks, self._blocks = self._blocks, None
        if blocks is not None:
            await blocks.aclose()
