"""An archive that is open: its members read and restored, by its index if it has one.

With an index, a caller reads only what it asks for; any other tar, compressed or not, is read from
front to back. An index that proves wrong is given up for good, and the archive read as if it had
none.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING, Self

from aiocompress import formats
from aiocompress.errors import (
    AiocompressError,
    CorruptError,
    FormatError,
    LimitError,
    TruncatedError,
)
from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import BLOCK, to_bytes
from aiocompress.model import (
    Difference,
    Member,
    PathLike,
    ProgressOption,
    Report,
    is_url,
    public_url,
)
from aiocompress.storage.base import Positional, Source
from aiocompress.storage.files import FilePositions
from aiocompress.storage.positional import Checked
from aiocompress.storage.sources import PositionalSource, opened
from aiocompress.verbs.archive.contents import Contents
from aiocompress.verbs.archive.ending import Ending
from aiocompress.verbs.archive.frame import DoubtfulFrameError, UnlikeIndexError, is_same
from aiocompress.verbs.archive.raw import RawBytes, is_plain, raw_blocks
from aiocompress.verbs.archive.seek import Indexed, open_indexed
from aiocompress.verbs.base import Tally, Verb, into_folder, verb
from aiocompress.verbs.found import Found
from aiocompress.verbs.options import READ_SIZE, Comparing, Reading, Restoring, Writing
from aiocompress.verbs.select import Selection
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

if TYPE_CHECKING:
    from aiocompress.storage.atomic_folder import AtomicFolder
    from aiocompress.verbs.archive.diff import Differ


class OpenedArchive(Contents):
    """A tar archive, in a container or plain; an async context manager.

    :param owns_pool: whether the pool is closed together with the archive.
    """

    def __init__(
        self,
        pool: WorkerPool,
        source: Source | Positional,
        reading: Reading,
        *,
        owns_pool: bool = False,
    ) -> None:
        self._source = os.fspath(source) if isinstance(source, os.PathLike) else source
        path = self._source if isinstance(self._source, str) else None
        shown = public_url(path) if is_url(path) else path
        super().__init__(pool, shown or getattr(source, "name", None))
        self._reading, self._owns_pool = reading, owns_pool
        self._stack = AsyncExitStack()
        self._read_once = False
        self._positions: Checked | None = None
        self._size: int | None = None
        self.status: os.stat_result | None = None
        """That of the file, when it was opened."""
        self.is_plain = False
        """Whether it is a tar that is not compressed."""

    @property
    def can_be_read_again(self) -> bool:
        return isinstance(self._source, str | Positional)

    # Open and close.

    async def __aenter__(self) -> Self:
        """Open the archive, and look for its index.

        :raises OSError: it cannot be opened.
        :raises FormatError: it is a folder, or neither a tar nor compressed.
        """
        self._pool.check()
        async with AsyncExitStack() as stack:
            if self._owns_pool:
                stack.push_async_callback(self._pool.aclose)
            positions = self._positions = await self._open_positions(stack)
            if positions is not None:
                stack.callback(positions.close)
                self.index = await self._find_index(positions)
                if self.index is not None:
                    stack.callback(self.index.close)
            self._raw = RawBytes(self._raw_bytes, positions if self.is_plain else None)
            stack.push_async_callback(self._raw.aclose)
            self._stack = stack.pop_all()
        self.is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Give everything back; closing twice does no harm."""
        self.is_open = False
        await self._stack.aclose()

    async def _open_positions(self, stack: AsyncExitStack) -> Checked | None:
        if is_url(path := self._source):
            from aiocompress.storage import remote

            return Checked(await stack.enter_async_context(await remote.at(path)))
        if isinstance(path, str):
            mode = (await call(self._pool.files, os.stat, path)).st_mode
            if stat.S_ISDIR(mode):
                raise FormatError("is a folder, not an archive", file=path)
            if not stat.S_ISREG(mode):
                return None
            file = await FilePositions.open(path, self._pool.files)
            stack.push_async_callback(file.aclose)
            self.status = file.status
            return Checked(file)
        return Checked(self._source) if isinstance(self._source, Positional) else None

    async def _find_index(self, positions: Checked) -> Indexed | None:
        ending = await Ending.read(positions)
        self._size = ending.size
        index = await open_indexed(self._pool, ending, self.name)
        if index is None:
            head = bytes(await ending.read_at(0, BLOCK))
            self.is_plain = is_plain(head, self.name)
            if not self.is_plain:
                self._check_format(head)
        return index

    def _check_format(self, head: bytes) -> None:
        try:
            formats.detect(head)
        except (FormatError, TruncatedError) as error:
            if head and error.hint is None:  # it is of no format that has a name
                error.reason = f"not an archive: {error.reason}"
            raise error.located(file=self.name) from None

    async def _scan(
        self, tally: Tally | None = None, *, strict: bool = False
    ) -> AsyncGenerator[list[Member]]:
        """Yield the members, read from front to back, those that one raw block completes at a time.

        :param strict: all is checked, and it is us who read: nobody keeps a slot waiting.
        """
        reader = tar.Reader(max_metadata=self._reading.max_metadata, content=False)
        found = Found() if tally is None else tally.found
        try:
            async with aclosing(self._raw_bytes(tally, strict=strict)) as blocks:
                async for data in blocks:
                    members, error = reader.members(data)
                    for member in members:
                        if member.unreadable:
                            found.leave_out(member)
                    if members:
                        yield members
                    if error is not None:
                        raise error
            reader.finish()
        except AiocompressError as error:
            raise error.located(file=self.name) from None
        found.extend(reader.warnings)
        self._warn_of(found)

    def _warn_of(self, found: Found) -> None:
        self.warnings += [text for text in found.told() if text not in self.warnings]

    # Raw bytes.

    async def _raw_bytes(
        self, tally: Tally | None = None, *, strict: bool = False
    ) -> AsyncGenerator[memoryview]:
        """Yield the raw archive from front to back; a block is valid until the next one."""
        async with opened(self._again(), self._pool) as source:
            about = self._pool, source, self._reading, tally or Tally(self._pool)
            async with aclosing(raw_blocks(*about, detach=not strict, strict=strict)) as blocks:
                async for data in blocks:
                    yield data

    async def raw_at(self, offset: int, size: int, *, by_index: bool = True) -> bytes:
        """Return at least one raw byte and at most ``size`` from ``offset``; none at the end.

        :param by_index: if there is an index, believe it.
        :raises CorruptError: the bytes are damaged.
        :raises UnlikeIndexError: the archive is not what its index says.
        """
        self.check()
        return await self._raw.read_at(offset, size, self.index if by_index else None)

    def _again(self) -> Source:
        """Return a source of the archive's bytes from the first one on."""
        self.check()
        if isinstance(self._source, Positional) or is_url(self._source):
            assert self._positions is not None
            return PositionalSource(self._positions)
        if self._read_once and not isinstance(self._source, str):
            raise AiocompressError("a stream can be read only once", file=self.name)
        self._read_once = True
        return self._source

    # Restored. What only this needs is imported here: an archive is mostly opened to be read.

    async def extract(
        self, destination: PathLike, restoring: Restoring, writing: Writing, max_output: int | None
    ) -> Report:
        """Restore members into a folder; see ``Archive.extract``."""
        self.check()
        reading, name = self._reading._replace(max_output=max_output), self.name
        selection = restoring.selection
        try:
            async with (
                verb(self._pool, "extracting", writing, found=Found(), back=True, file=name) as run,
                into_folder(run, os.fspath(destination)) as building,
            ):
                building.preserve = restoring.keeping.preserve
                selection.wrapper = building.base if restoring.unwrap else None
                self._expect(run, selection)
                await self._restore(building, restoring, reading, run.tally)
                if (missing := selection.missing) is not None:
                    raise await self.not_found(missing)
                if selection.wrapper:
                    await call(self._pool.files, building.unwrap, selection.wrapper)
        except (FileExistsError, NotADirectoryError):
            # Where this is no archive, what stands in the way may be the file that it becomes.
            await self._check_is_tar()
            raise
        return run.report()

    def _expect(self, run: Verb, selection: Selection) -> None:
        """Say how much there is to read."""
        from aiocompress.verbs.archive.extract import amount

        if self.index is None:
            run.total = self._size
        else:
            run.before = "reading the index"
            run.expect(partial(amount, self.index, selection))

    async def _check_is_tar(self) -> None:
        """Look at the first member, of an archive that can be read again.

        :raises FormatError: the file is compressed, but holds no tar.
        """
        if self.index is None and isinstance(self._source, str):
            with suppress(CorruptError, LimitError):
                async with aclosing(self._scan()) as runs:
                    await anext(runs, None)

    async def _restore(
        self, building: AtomicFolder, restoring: Restoring, reading: Reading, tally: Tally
    ) -> None:
        """Restore by the index, or else from front to back.

        A frame that cannot be decoded and does not look like one leaves two cases: the index is
        wrong, and front to back everything is whole; or the frame is damaged, and reading stops
        there. So the second way is tried without leaving anything out. If it fails, it was damage,
        and the index still knows where the other frames are.
        """
        from aiocompress.verbs.archive.extract import IndexedRestorer, restore_stream
        from aiocompress.verbs.archive.segments import SegmentRestorer, suits

        about, index, is_doubtful = (building, reading), self.index, False
        if index is not None:
            await self._check_space(index, building, restoring.selection)
            try:
                return await IndexedRestorer(self._pool, index, *about, restoring, tally).run()
            except UnlikeIndexError as error:
                is_doubtful = isinstance(error, DoubtfulFrameError)
            await self._begin_anew(building, tally)
        elif self._can_begin_anew and suits(restoring):
            try:
                async with opened(self._again(), self._pool) as source:
                    about_all = self._pool, source, *about, restoring, tally
                    return await SegmentRestorer(*about_all).run()
            except UnlikeIndexError:
                await self._begin_anew(building, tally)
        stream = restoring._replace(on_error="raise") if is_doubtful else restoring
        try:
            async with opened(self._again(), self._pool) as source:
                await restore_stream(self._pool, source, *about, stream, tally)
            self.distrust()
        except CorruptError as damage:
            if index is None or not is_doubtful:
                raise
            await self._begin_anew(building, tally)
            again = IndexedRestorer(self._pool, index, *about, restoring, tally, trusting=True)
            try:
                await again.run()
            except UnlikeIndexError:
                raise damage from None

    @property
    def _can_begin_anew(self) -> bool:
        """Whether it is a file of this machine, and large enough for several workers here.

        What is decoded here is not sent to others who would only write it.
        """
        is_here = isinstance(self._source, str) and not is_url(self._source)
        has_workers = self._pool.shares_files and not self._pool.by_path
        return is_here and has_workers and (self._size or 0) > READ_SIZE

    async def _check_space(
        self, index: Indexed, building: AtomicFolder, selection: Selection
    ) -> None:
        """Check, before anything is restored, that the disk has room for it.

        :raises OSError: it has less room than the files need.
        """
        from aiocompress.storage.atomic_folder import free_space
        from aiocompress.verbs.archive.extract import least_space

        free = await call(self._pool.files, free_space, building.descriptor)
        if free is None or index.table.raws[-1] <= free:
            return
        with suppress(CorruptError):  # raised again when the index is used
            needed = await least_space(index, selection)
            if needed > free:
                reason = f"No space left: the files need {needed:,} bytes, {free:,} are free"
                raise OSError(errno.ENOSPC, reason, building.path)

    async def _begin_anew(self, building: AtomicFolder, tally: Tally) -> None:
        from aiocompress.storage.atomic_folder import empty

        await call(self._pool.files, empty, building.descriptor)
        tally.reset()

    # Compared.

    async def diff(
        self,
        folder: PathLike,
        selection: Selection,
        comparing: Comparing,
        writing: Writing,
    ) -> AsyncGenerator[Difference]:
        """Yield in what a folder differs; see ``Archive.diff``."""
        from aiocompress.verbs.archive.diff import compared

        found, file = Found(), self.name
        async with (
            verb(self._pool, "comparing", writing, found=found, back=True, file=file) as run,
            compared(
                self._pool, os.fspath(folder), selection, comparing, self._reading, run.tally
            ) as differ,
        ):
            self._expect(run, selection)
            for steps in (self._differing(differ), differ.new(self.status)):
                async with aclosing(steps) as differences:
                    async for difference in differences:
                        yield difference
            if (missing := selection.missing) is not None:
                raise await self.not_found(missing)
            self._warn_of(found)

    async def _differing(self, differ: Differ) -> AsyncGenerator[Difference]:
        """Compare by the index, or else, from where that has come to, front to back."""
        index = self.index
        if index is not None:
            with suppress(UnlikeIndexError):
                async with aclosing(differ.by_index(index)) as found:
                    async for difference in found:
                        yield difference
                return
        async with aclosing(differ.through(self._again())) as found:
            async for difference in found:
                yield difference
        self.distrust()

    # Checked.

    async def test(self, progress: ProgressOption) -> Report:
        """Read the whole archive and check everything; see ``Archive.test``."""
        self.check()
        writing, name = Writing(progress=progress), self.name
        async with verb(self._pool, "testing", writing, found=Found(), back=True, file=name) as run:
            self._expect(run, Selection())
            found, expected = self._scan(run.tally, strict=True), self._indexed_members()
            async with aclosing(found), aclosing(expected):
                async for members in found:
                    for member in members:
                        check_member(member, run.tally.found)
                        if self.index is not None:
                            _compare(member, await anext(expected, None))
                    run.tally.found.latest = to_bytes(members[-1].name)
                if await anext(expected, None) is not None:
                    _compare(None, None)
            if self.index is not None:
                try:
                    await self.index.check_table()
                except UnlikeIndexError:
                    _compare(None, None)
        return run.report()

    async def _indexed_members(self) -> AsyncGenerator[Member]:
        if self.index is not None:
            async with aclosing(self.index.checked_blocks()) as blocks:
                async for records in blocks:
                    for record in records:
                        yield record.member()


def check_member(member: Member, found: Found) -> None:
    """Count a member of which all can be restored.

    :raises CorruptError: it cannot be restored.
    """
    found.files += member.kind != "directory"
    if not member.name:
        raise CorruptError("a member without a name", offset=member.offset)


def _compare(member: Member | None, expected: Member | None) -> None:
    if member is None or expected is None or not is_same(member, expected):
        which = "more members than there are" if member is None else repr(member.name)
        raise CorruptError(
            f"the index does not agree with the archive on {which}",
            hint="the members are whole: extract them, and pack them again",
        )
