"""Making an archive member by member, in the order of the calls; the mirror of ``opened``.

A task runs the same pipeline as for a file, and members are laid straight into the chunk that it
offers. A small member from memory costs no more than that: no task, no thread, and one copy.

Nothing can be taken back from a stream. So content that may fail is gathered before its first byte
is laid: content of unknown size, in a nameless file if it is large, and all small content. Only
large content of known size flows; if it breaks off, so does the archive.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Final

from aiocompress.errors import AiocompressError, ClosedError, FormatError
from aiocompress.formats.tar.header import owner, padding, to_text
from aiocompress.formats.tar.index import FILE
from aiocompress.model import Buffer, Member, PathLike, Report
from aiocompress.storage.base import OpenedSource, Sink, Source, naming
from aiocompress.storage.sources import MemorySource, opened
from aiocompress.storage.walk import is_folder
from aiocompress.verbs.archive import added
from aiocompress.verbs.archive.added import NewFile, now
from aiocompress.verbs.archive.pack import Packer
from aiocompress.verbs.archive.pushed import PushedSource
from aiocompress.verbs.archive.taken import Taken
from aiocompress.verbs.base import Tally, name_of
from aiocompress.verbs.files import compress_file
from aiocompress.verbs.found import Found
from aiocompress.verbs.options import Packing, Recipe, Writing
from aiocompress.verbs.tree import Tree
from aiocompress.workers.forks import Begun
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import begin, call, ended

_AT_ONCE: Final = 256
"""Members that are laid one after another before the loop gets its turn."""
_NOBODY: Final = owner(0, 0, "", "")
_turns: ContextVar[tuple[object, ...]] = ContextVar("_turns", default=())
"""The turns of all archives within which this code runs, as the source of a member."""


class CreatedArchive:
    """A tar archive in a container, while it is written.

    :param owns_pool: whether to close the pool together with the archive.
    """

    def __init__(
        self,
        pool: WorkerPool,
        destination: Sink,
        recipe: Recipe,
        writing: Writing,
        *,
        owns_pool: bool = False,
    ) -> None:
        self._pool, self._owns_pool = pool, owns_pool
        self._about = destination, recipe, writing
        self.name = name_of(destination) if isinstance(destination, str | os.PathLike) else None
        self._source = PushedSource()
        self._writer = self._source.writer
        self._found, self._taken = Found(), Taken()
        self._tally = Tally(pool, self._found)
        self._begun: Begun | None = None
        self._closed = False
        self._broken: tuple[str, BaseException] | None = None
        """The member that broke off, and why."""
        self._alone = asyncio.Lock()
        self._turn_of: object = None
        """Stands for the call whose turn it is."""
        self._under_way = self._in_a_row = 0
        """Calls that lay a member or wait to; members laid since the loop last had its turn."""

    # Open and close.

    async def open(self) -> None:
        """Open the destination.

        :raises OSError: it cannot be written; ``FileExistsError``: it exists.
        """
        if self._begun is not None:
            raise AiocompressError("the archive was opened before", hint="make another one")
        self._pool.check()
        self._begun, self._started = Begun("the archive"), time.perf_counter()
        self._loop = asyncio.get_running_loop()
        destination, recipe, writing = self._about
        pipeline = compress_file(
            self._pool, self._source, destination, recipe, writing, self._tally
        )
        self._pipeline = begin(pipeline, f"writes {self.name or 'an archive'}")
        self._pipeline.add_done_callback(self._ended)
        try:
            await self._source.chunk()
        except BaseException:
            await self.give_up()
            raise

    def _ended(self, pipeline: asyncio.Task[Report]) -> None:
        error = None if pipeline.cancelled() else pipeline.exception()
        if isinstance(error, AiocompressError):
            error.located(file=self.name)
        self._source.end(error if isinstance(error, Exception) else self._not_open())

    def _not_open(self) -> ClosedError:
        return ClosedError("the archive is not open", file=self.name)

    async def finish(self) -> None:
        """Write the end of the archive, after members that are being laid, and give it its name."""
        try:
            self.check()
            self._closed = True
            async with self._alone:
                self._check_whole()
                await self._source.chunk()
                await self._source.finish()
            await asyncio.shield(self._pipeline)
        finally:
            await self.give_up()

    async def give_up(self) -> None:
        """Stop, if it was not finished; an unfinished archive is not kept."""
        self._closed = True
        if not self.is_here:
            return
        self._pipeline.cancel()
        try:
            await ended(self._pipeline)
        finally:
            if self._owns_pool:
                await self._pool.aclose()

    def abandon(self) -> bool:
        """Cancel an archive that was never closed; returns whether it was still open."""
        if self._begun is None or not self._begun.is_here or self._pipeline.done():
            return False
        with suppress(RuntimeError):  # the loop has closed
            self._loop.call_soon_threadsafe(self._pipeline.cancel)
        return True

    @property
    def is_here(self) -> bool:
        """Whether it was opened in this process and in the running loop."""
        is_here = self._begun is not None and self._begun.is_here
        return is_here and self._loop is asyncio.get_running_loop()

    def check(self) -> None:
        """Check that members can be added.

        :raises ClosedError: it is not open, or the engine is closed.
        :raises AiocompressError: a member broke off; or it was opened elsewhere.
        """
        if self._begun is None or self._closed:
            raise self._not_open()
        self._begun.check()
        if self._loop is not asyncio.get_running_loop():
            raise AiocompressError(
                "the archive was opened in another event loop",
                hint="use it in the loop that opened it",
            )
        if self._pool.is_closed:
            raise ClosedError("the engine is closed")
        self._check_whole()

    def _check_whole(self) -> None:
        if self._broken is not None:
            name, error = self._broken
            raise AiocompressError(
                f"member {name!r} broke off, and the archive cannot go on",
                file=self.name,
                hint="without size, content is gathered before any of it is written",
            ) from error
        if self._source.ended is not None:
            raise self._source.ended

    @property
    def report(self) -> Report:
        """The totals so far."""
        seconds = time.perf_counter() - self._started if self._begun is not None else 0.0
        return self._tally.report(seconds)

    # Members.

    async def add(
        self, name: str, source: Source, size: int | None, mode: int, mtime_ns: int | None
    ) -> Member:
        """Add a file; see ``ArchiveWriter.add``."""
        self.check()
        place = added.place(name)
        added.check_numbers(size, mode, mtime_ns)
        if isinstance(source, Buffer):
            data = source if isinstance(source, bytes) else memoryview(source).cast("B")
            return await self._add_data(NewFile(place, len(data), mode, now(mtime_ns)), data, size)
        self._taken.admits(place)  # fails before the source is read
        async with opened(source, self._pool) as content:
            if mtime_ns is None and content.status is not None:
                mtime_ns = content.status.st_mtime_ns
            known = content.size if size is None else size
            if known is not None and known > added.GATHERED:
                file = NewFile(place, known, mode, now(mtime_ns))
                return await self._lay(file, content, exactly=size is not None)
            async with added.gathered(content, size, self._pool.files) as (data, spooled, came):
                file = NewFile(place, came, mode, now(mtime_ns))
                if spooled is None:
                    return await self._add_data(file, data, size)
                return await self._lay(file, spooled)

    async def _add_data(self, file: NewFile, data: Buffer, size: int | None) -> Member:
        """Add a file whose content is in memory.

        :param size: the size that the caller announced.
        """
        if size is not None and size != file.size:
            raise file._replace(size=size).wrong_size(file.size)
        return self._lay_at_once(file, data) or await self._lay(file, MemorySource(data))

    async def add_path(self, path: PathLike, name: str | None) -> Member:
        """Add a file, a link or a pipe; see ``ArchiveWriter.add_path``."""
        self.check()
        root = os.fspath(path)
        place = added.place(_last(root) if name is None else name)
        if await call(self._pool.files, is_folder, root):
            raise FormatError("is a folder", file=root, hint="add_folder adds all that is in it")
        async with self._turn(place):
            if not await self._pack(root, place):
                raise ValueError(f"{root} is the archive itself")
            return self._writer.latest

    async def add_folder(self, path: PathLike, name: str) -> int:
        """Add a folder and all that is in it; see ``ArchiveWriter.add_folder``."""
        self.check()
        root, place = os.fspath(path), added.place(name, is_folder=True)
        if not stat.S_ISDIR((await call(self._pool.files, os.stat, root)).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), root)
        async with self._turn(place):
            return await self._pack(root, place)

    async def _pack(self, root: str, place: bytes) -> int:
        """Add what is at a path, as packing does; returns the number of members."""
        packing = Packing(((root, ""),), to_text(place) + "/" * bool(place))
        tree = Tree(packing, self._found)
        for status in self._source.outputs:
            tree.leave_out(status)
        packer = Packer(tree, packing, self._writer, self._found, self._taken)
        steps = packer.lay(tree.entries())
        try:
            with naming(root):
                while await call(self._pool.files, _goes_on, steps):
                    await self._source.next_chunk()
        finally:
            await call(self._pool.files, steps.close)
        return packer.count

    # One member after another.

    @asynccontextmanager
    async def _turn(self, place: bytes) -> AsyncGenerator[None]:
        """Wait for this call's turn to lay members, in the order of the calls.

        :raises AiocompressError: the source of the member that is being laid makes this call: each
            would wait for the other.
        """
        outer = _turns.get()
        if self._turn_of in outer:
            raise AiocompressError(
                f"member {to_text(place)!r} is added by the source of another one",
                file=self.name,
                hint="add one after the other, or that one without its size: then it is gathered",
            )
        self._under_way += 1
        try:
            async with self._alone:
                if self._writer.ended:
                    raise self._not_open()
                self._check_whole()
                await asyncio.sleep(0)
                self._in_a_row = 0
                await self._source.chunk()
                self._turn_of = object()
                token = _turns.set((*outer, self._turn_of))
                try:
                    yield
                except BaseException as error:
                    if self._source.ended is None and not self._writer.is_whole:
                        self._broken = to_text(place), error
                        self._pipeline.cancel()
                    raise
                finally:
                    _turns.reset(token)
                    self._turn_of = None
        finally:
            self._under_way -= 1

    def _lay_at_once(self, file: NewFile, data: Buffer) -> Member | None:
        """Lay a file if it fits into the chunk and no call waits; None if it was not laid."""
        if self._under_way or self._in_a_row >= _AT_ONCE or not self._source.has_chunk:
            return None
        writer = self._writer
        head, offset = self._head(file), writer.offset
        if (room := writer.room(head)) is None:
            return None
        self._taken.take(file.place)
        room[: file.size] = data
        writer.place(head)
        self._in_a_row += 1
        return self._added(file, offset, len(head))

    async def _lay(self, file: NewFile, data: OpenedSource, *, exactly: bool = False) -> Member:
        """Lay a file in its turn.

        :param exactly: check that nothing follows the content.
        """
        async with self._turn(file.place):
            self._taken.admits(file.place)
            writer, head = self._writer, self._head(file)
            offset, room = writer.offset, writer.room(head)
            if room is None:
                room = await self._source.run(writer.begin(head))
            if room is not None:
                await added.pour(file, data, room[: file.size])
            else:
                await self._flow(file, data)
            if exactly and await data.readinto(memoryview(bytearray(1))):
                raise file.wrong_size(file.size + 1)
            if room is not None:
                writer.place(head)
            else:
                await self._source.run(writer.lay_zeros(padding(file.size)))
            self._taken.take(file.place)
            return self._added(file, offset, len(head))

    async def _flow(self, file: NewFile, data: OpenedSource) -> None:
        """Lay content through as many chunks as it needs."""
        left = file.size
        while left:
            room = await self._source.run(self._writer.rest(left))
            await added.pour(file, data, room)
            self._writer.advance(len(room))
            left -= len(room)

    def _head(self, file: NewFile) -> bytes:
        place, size, mode, mtime_ns = file
        return self._writer.head(place, FILE, mode, size, mtime_ns, _NOBODY)

    def _added(self, file: NewFile, offset: int, head: int) -> Member:
        self._found.files += 1
        self._found.latest = file.place
        return file.member(offset, offset + head)


def _last(path: str) -> str:
    """Return the last part of a path, also of one like ``..``."""
    return os.path.basename(os.path.abspath(path))


def _goes_on(steps: Generator[None]) -> bool:
    """Take a step; returns whether there are more."""
    return next(steps, steps) is None
