"""The raw bytes of a compressed file, a block at a time, from any offset on.

Blocks are decoded ahead of the reader, within the engine's window. To go back, or far ahead, the
reader begins again at the nearest known frame: one in the file's table, or one met while reading. A
file of a single frame is read again from its beginning.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Final, NamedTuple, TypeAlias

from aiocompress import formats
from aiocompress.errors import AiocompressError, TruncatedError
from aiocompress.formats.base import Format
from aiocompress.model import MIB, is_url, public_url
from aiocompress.storage.anywhere import Anywhere, FileAnywhere, ObjectAnywhere
from aiocompress.storage.base import OpenedSource, Positional, Source
from aiocompress.storage.pipes import OpenedPipe
from aiocompress.storage.sources import opened
from aiocompress.verbs.base import Tally
from aiocompress.verbs.decompress import Block, decompressed
from aiocompress.verbs.file.places import Place, Places, Table
from aiocompress.verbs.iterating import Iterating
from aiocompress.verbs.options import Reading
from aiocompress.workers.arena import Slots
from aiocompress.workers.forks import Begun
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

Readable: TypeAlias = Source | Positional | int
"""What can be opened for reading; an int is a descriptor."""

_NEAR: Final = 4 * MIB
"""Raw bytes that are decoded and dropped rather than skipped: they are being decoded already."""


class _Kept(NamedTuple):
    """A block that is kept: its raw offset, its data, and the lender of the memory."""

    start: int
    data: bytes
    slots: Slots


class FileReader:
    """A compressed file that is open for reading."""

    def __init__(self, pool: WorkerPool, file: Readable, reading: Reading) -> None:
        self._pool, self._file, self._reading = pool, file, reading
        self.name = name_of(file)
        self._stack = AsyncExitStack()
        self._anywhere: Anywhere | None = None
        self._source: OpenedSource | None = None
        self._form: Format | None = None
        self._places = Places()
        self._table: Table | None = None
        self._table_of: int | None = None
        """Bytes of the file when its tables were looked for."""
        self._blocks: Iterating[Block] | None = None
        self._at = 0
        """Raw offset of the next block."""
        self._wanted = 0
        """Raw offset of the byte that the caller wants next."""
        self._begun = Place()
        self._process = Begun("the file")
        self._tally = Tally(pool)
        self._end: Place | None = None
        """The end when it was last met: raw bytes, and bytes of the file."""
        self._kept: _Kept | None = None
        self._failure: BaseException | None = None
        """The error of the last read."""

    # Open and close.

    async def open(self) -> None:
        """Open the file.

        :raises OSError: it cannot be opened; ``IsADirectoryError`` if it is a folder.
        :raises TypeError: bytes cannot be read from it.
        :raises AiocompressError: it is a URL, and the extra ``remote`` is not installed.
        """
        self._pool.check()
        if is_url(self._file):
            await self._open_url(self._file)
        elif isinstance(self._file, str | os.PathLike):
            await self._open_path(os.fspath(self._file))
        elif isinstance(self._file, int):
            await self._open_descriptor(self._file)
        elif isinstance(self._file, Positional):
            self._anywhere = ObjectAnywhere(self._file)
        else:
            self._source = await self._stack.enter_async_context(opened(self._file, self._pool))
        if self._anywhere is not None:
            self._stack.push_async_callback(self._anywhere.aclose)

    async def _open_url(self, url: str) -> None:
        from aiocompress.storage import remote

        async with AsyncExitStack() as stack:
            self._anywhere = ObjectAnywhere(await stack.enter_async_context(await remote.at(url)))
            await self._anywhere.size()  # what is missing is told now
            self._stack.push_async_exit(stack.pop_all())

    async def _open_path(self, path: str) -> None:
        mode = (await call(self._pool.files, os.stat, path)).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if stat.S_ISREG(mode):
            self._anywhere = await FileAnywhere.open(path, self._pool.files)
        else:
            self._source = await self._stack.enter_async_context(opened(path, self._pool))

    async def _open_descriptor(self, descriptor: int) -> None:
        name = f"descriptor {descriptor}"
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            base = os.lseek(descriptor, 0, os.SEEK_CUR)
            self._anywhere = FileAnywhere(descriptor, name, self._pool.files, base)
        else:
            pipe = OpenedPipe.adopt(descriptor, name)
            self._source = await self._stack.enter_async_context(opened(pipe, self._pool))
            self._stack.push_async_callback(pipe.aclose)

    async def aclose(self) -> None:
        """Close the file, unless the caller opened it; closing twice does no harm."""
        self._drop()
        self._failure = None  # its traceback refers to this reader, and to a block
        try:
            await self._stop()
        finally:
            await self._stack.aclose()

    # Read.

    @property
    def seekable(self) -> bool:
        """Whether reading can continue at any offset."""
        return self._anywhere is not None

    def move(self, offset: int) -> None:
        """Continue at that raw offset."""
        self._wanted = offset

    async def next(self) -> bytes:
        """Return the next bytes, at least one; none at the end.

        A growing file may have more after its end was met. After an error the position is what it
        was, and reading may be tried again; a source that is read once raises the same error.

        :raises CorruptError: the file is damaged; ``TruncatedError``: it ends within a frame.
        :raises FormatError: it is not compressed, or in an unknown format.
        :raises AiocompressError: the file was begun before this process was forked.
        """
        self._pool.check()
        if (kept := self._kept) is not None and 0 <= self._wanted - kept.start < len(kept.data):
            data, self._wanted = kept.data[self._wanted - kept.start :], kept.start + len(kept.data)
            return data
        while await self._find():
            assert self._blocks is not None
            try:
                block = await self._blocks.next()
            except StopAsyncIteration:
                self._blocks = None  # the file may have grown since its end was met
                continue
            except BaseException as error:
                await self._stop()
                if isinstance(error, TruncatedError) and await self._has_grown():
                    continue
                self._failure = error
                raise
            before, self._at = self._at, self._at + block.size
            if block.start is not None:
                self._places.add(Place(before, self._begun.start + block.start))
            if self._at > self._wanted:
                data, skipped = bytes(block.data or b""), self._wanted - before
                if skipped:
                    self._keep(before, data)
                self._wanted = self._at
                return data[skipped:]
        return b""

    async def size(self) -> int:
        """Return the raw size of the whole file, which may take reading it to its end.

        :raises CorruptError: and the other errors of ``next``.
        """
        assert self._anywhere is not None
        size = await self._anywhere.size()
        if self._end is None or self._end.start != size:
            if (stated := await self.stated_size()) is not None:
                return stated
            wanted, self._wanted = self._wanted, sys.maxsize
            try:
                await self.next()
            finally:
                self._wanted = wanted
        assert self._end is not None
        return self._end.raw

    async def stated_size(self) -> int | None:
        """Return the raw size of the whole file by its tables; None if it has none."""
        table = await self._tables()
        is_credible = table is not None and await table.before(table.size) is not None
        return table.size if table is not None and is_credible else None

    def _keep(self, start: int, data: bytes) -> None:
        """Keep a block that was sought, while memory can be spared: the next seek may want it."""
        self._drop()
        slots = self._pool.slots
        if slots.lend(len(data)):
            self._kept = _Kept(start, data, slots)

    def _drop(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.slots.return_lent(len(kept.data))

    async def _has_grown(self) -> bool:
        """Whether the file has more bytes than were read ahead."""
        met = self._begun.start + self._tally.read_bytes
        return self._anywhere is not None and await self._anywhere.size() > met

    async def _find(self) -> bool:
        """Make the next blocks lead to the wanted byte; False if that is past the end."""
        is_here = self._process.is_here
        if self._blocks is not None and is_here:
            ahead = self._wanted - self._at
            if 0 <= ahead <= _NEAR or self._anywhere is None:
                return True
        elif self._anywhere is None:
            if self._failure is not None:
                raise self._again(self._failure)
            if self._blocks is None and self._end is None:
                self._begin(Place())
            return self._end is None
        if (
            self._end is not None
            and self._end.raw <= self._wanted
            and await self._anywhere.size() <= self._end.start
        ):
            return False
        place = await self._nearest()
        if self._blocks is None or not is_here or not place.raw <= self._at <= self._wanted:
            await self._stop()
            self._begin(place)
        return True

    def _again(self, failure: BaseException) -> BaseException:
        """Return the error of the reads that follow one that failed."""
        if isinstance(failure, Exception):
            return failure
        return AiocompressError(
            "a read was cancelled, and the bytes that it waited for are lost", file=self.name
        )

    async def _nearest(self) -> Place:
        """Return the last known place at or before the wanted byte."""
        wanted, places = self._wanted, [self._places.before(self._wanted)]
        if self._end is not None and self._end.raw <= wanted:
            places.append(self._end)
        if wanted - max(places).raw > _NEAR and (table := await self._tables()) is not None:
            places += [place for place in [await table.before(wanted)] if place is not None]
        place = max(places)
        if place.start:
            await self.detect()
        return place

    async def _tables(self) -> Table | None:
        """Return the file's tables, read again if it has grown."""
        assert self._anywhere is not None
        size = await self._anywhere.size()
        if self._table_of != size:
            self._table = await Table.read(self._anywhere, await self.detect())
            self._table_of = size
        return self._table

    async def detect(self) -> Format:
        """Return the format of the file.

        :raises FormatError: the format is unknown.
        """
        if self._form is None:
            assert self._anywhere is not None
            head = await self._anywhere.read_at(0, formats.HEAD_SIZE)
            try:
                self._form = formats.detect(bytes(head))
            except AiocompressError as error:
                raise error.located(file=self.name) from None
        return self._form

    def _begin(self, place: Place) -> None:
        self._begun, self._at = place, place.raw
        self._process = Begun("the file")
        self._blocks = Iterating(self._decode(place), "the file")

    async def _decode(self, place: Place) -> AsyncGenerator[Block]:
        """Yield the blocks from a place to the present end."""
        source = self._source if self._anywhere is None else self._anywhere.source(place.start)
        assert source is not None
        form = self._form if place.start else None
        tally = self._tally = Tally(self._pool)
        try:
            blocks = decompressed(
                self._pool, source, self._reading, tally, form=form, detach=True, growing=True
            )
            async with aclosing(blocks):
                async for block in blocks:
                    yield block
        except AiocompressError as error:
            if place.start:
                error.located(base=place.start).frame = None
            raise error.located(file=self.name) from error.__cause__
        finally:
            if self._anywhere is not None:
                await source.aclose()
        self._end = Place(place.raw + tally.raw_bytes, place.start + tally.read_bytes)

    async def _stop(self) -> None:
        blocks, self._blocks = self._blocks, None
        if blocks is not None and blocks.is_left:
            await blocks.aclose()


def name_of(file: object) -> str | None:
    """Return the path, or the name that an object says it has."""
    if is_url(file):
        return public_url(file)
    if isinstance(file, str | os.PathLike):
        return os.fspath(file)
    if isinstance(file, int):
        return f"descriptor {file}"
    name = getattr(file, "name", None)
    return name if isinstance(name, str) else None
