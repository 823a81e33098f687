"""Archives, opened: their members listed, read, extracted, one of them or all.

An archive of ours is read only where it is asked for; any other tar, compressed or not, from
front to back.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, aclosing, suppress
from functools import partial
from typing import Final, Self, TypeAlias

from .archives import tar
from .archives.header import BLOCK, to_bytes, to_text
from .archives.index import Record, Records
from .arguments import check_on_error, make_bounds, make_reading, make_writing
from .decompression import Reading
from .errors import AiocompressError, ClosedError, CorruptError, FormatError
from .extraction import Restored, least_space, raw_blocks, restore_indexed, restore_stream
from .files import Writing
from .limits import free_space
from .member_file import IndexedAccess, MemberFile, RawAccess, StreamAccess
from .model import Member, OnError, OnExists, PathLike, Progress, ProgressOption, Report, Size
from .pipeline import Tally
from .progress import Meter
from .seeking import Indexed, UnlikeIndexError, open_indexed
from .sources import Positional, PositionalSource, StreamSource, opened
from .storage import FilePositions, call, naming
from .trees import building
from .trees.building import Building
from .trees.found import Found
from .trees.members import is_same
from .trees.restoring import Keeping
from .trees.selecting import Selection, not_found
from .trees.unpacking import Restoring
from .workers.pool import WorkerPool

ArchiveSource: TypeAlias = StreamSource | Positional

_MOST_NAMES: Final = 20_000
_NOT_USED: Final = "the index is not what the archive holds, and was not used"


class Members(AsyncIterator[Member]):
    """Members in the order of the archive: an async iterator, and an async context manager.

    Its end closes it; one that is left earlier is closed by ``async with`` or ``aclose()``.
    """

    def __init__(self, steps: AsyncGenerator[Member], check: Callable[[], None]) -> None:
        self._steps, self._check = steps, check

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Member:
        """Return the next member.

        :raises AiocompressError: the archive is damaged, or none.
        :raises ClosedError: it was closed.
        """
        self._check()
        return await anext(self._steps)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop, and give everything back."""
        await self._steps.aclose()


class Archive:
    """A tar archive, in a container or plain; use it as an async context manager.

    ``open_archive`` makes one. It is for one event loop; several tasks may read it.
    """

    def __init__(
        self, pool: WorkerPool, source: ArchiveSource, reading: Reading, *, owns_pool: bool = False
    ) -> None:
        self._pool, self._source, self._reading = pool, source, reading
        self._owns_pool = owns_pool
        self._stack = AsyncExitStack()
        self._indexed: Indexed | None = None
        self._doubted: Indexed | None = None
        self._open = self._read_once = False
        self._size: int | None = None
        self.is_plain = False
        """Whether it is a tar that is not compressed."""
        self.warnings: list[str] = []
        """What was odd about the archive, told once."""

    async def __aenter__(self) -> Self:
        """Open the archive, and look for its index.

        :raises OSError: it cannot be opened.
        :raises FormatError: it is a folder, or neither a tar nor compressed.
        """
        self._pool.check()
        async with AsyncExitStack() as stack:
            if self._owns_pool:
                stack.push_async_callback(self._pool.aclose)
            positional = await self._open_positional(stack)
            if positional is not None:
                self._indexed = await self._find_index(positional)
            self._stack = stack.pop_all()
        self._open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close what is open. Closing twice does no harm."""
        self._open = False
        await self._stack.aclose()

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            warnings.warn("an Archive was not closed", ResourceWarning, stacklevel=2, source=self)

    @property
    def name(self) -> str | None:
        """The path of the archive, if it has one."""
        if isinstance(self._source, str | os.PathLike):
            return os.fspath(self._source)
        name: str | None = getattr(self._source, "name", None)
        return name

    @property
    def is_indexed(self) -> bool:
        """Whether members are found by an index, without reading all of the archive."""
        return self._indexed is not None

    async def _open_positional(self, stack: AsyncExitStack) -> Positional | None:
        if isinstance(self._source, str | os.PathLike):
            path = os.fspath(self._source)
            mode = (await call(self._pool.files, os.stat, path)).st_mode
            if stat.S_ISDIR(mode):
                raise FormatError("is a folder, not an archive", file=path)
            if not stat.S_ISREG(mode):
                return None
            file = await FilePositions.open(path, self._pool.files)
            stack.push_async_callback(file.aclose)
            return file
        return self._source if isinstance(self._source, Positional) else None

    async def _find_index(self, positional: Positional) -> Indexed | None:
        self._size = await positional.size()
        self.is_plain = tar.is_archive(bytes(await positional.read_at(0, BLOCK)))
        if self.is_plain:
            return None
        try:
            return await open_indexed(self._pool, positional, self.name)
        except FormatError as error:
            raise FormatError(f"not an archive: {error.reason}", file=self.name, offset=0) from None

    # What there is.

    def members(self) -> Members:
        """Iterate over all members, in the order of the archive.

        :raises ClosedError: the archive is not open.
        """
        self.check()
        return Members(self._members(), self.check)

    async def names(self) -> AsyncGenerator[list[str]]:
        """Yield the names of all members, many at once; that of a folder ends with a slash."""
        self.check()
        told = 0
        if self._indexed is not None:
            try:
                async with aclosing(self._indexed.checked_blocks()) as blocks:
                    async for records in blocks:
                        yield records.listing()
                        told += len(records)
                return
            except CorruptError:
                self.distrust()
        async with aclosing(self._scan(Tally(self._pool))) as members:
            async for member in members:
                if told:
                    told -= 1
                else:
                    yield [member.name + "/" * (member.kind == "directory")]

    async def member(self, name: str) -> Member:
        """Return the member of that name; the last one, where there are several.

        :raises MemberNotFoundError: there is none; the closest names are in its hint.
        """
        self.check()
        names: list[bytes] = []
        found = None
        if self._indexed is not None:
            try:
                found = await self._find_record(_plain(to_bytes(name)), names)
            except CorruptError:
                self.distrust()
        if self._indexed is None:
            found = await self._find_member(_plain(to_bytes(name)), names)
        if found is None:
            raise not_found(name, map(to_text, names)).located(file=self.name)
        return found

    async def _find_record(self, wanted: bytes, names: list[bytes]) -> Member | None:
        """Look a name up in the index; ``names`` gets some that are there."""
        found = None
        assert self._indexed is not None
        async with aclosing(self._indexed.checked_blocks()) as blocks:
            async for records in blocks:
                found = _find(records, wanted) or found
                names += records.names[: _MOST_NAMES - len(names)]
        return None if found is None else found.member()

    async def _find_member(self, wanted: bytes, names: list[bytes]) -> Member | None:
        """Look a name up from front to back."""
        found = None
        async with self.members() as members:
            async for member in members:
                plain = _plain(to_bytes(member.name))
                found = member if plain == wanted else found
                if len(names) < _MOST_NAMES:
                    names.append(plain)
        return found

    async def read(self, name: str) -> bytes:
        """Return the content of a member.

        :raises MemberNotFoundError: there is no such member.
        :raises FormatError: it is no file.
        :raises CorruptError: what holds it is damaged.
        """
        async with self.open(name) as file:
            return await file.read()

    def open(self, name: str) -> MemberFile:
        """Open a member for reading: ``async with archive.open(name) as file``.

        :raises ClosedError: the archive is not open. When opened: as ``read``.
        """
        self.check()
        return MemberFile(self, name)

    # What to do with it.

    async def extract(
        self,
        destination: PathLike,
        members: Iterable[str] | None = None,
        *,
        on_exists: OnExists = "error",
        on_error: OnError = "raise",
        preserve: bool = False,
        max_output: Size | None = None,
        max_members: int | None = None,
        max_member_size: Size | None = None,
        fsync: bool | None = None,
        progress: ProgressOption = False,
    ) -> Report:
        """Restore members into a folder, which appears under its name when it is whole.

        Nothing outside of it is touched, whatever the archive says. Permissions and times come
        back; named pipes and devices do not, and are reported as skipped.

        :param destination: a path.
        :param members: names, folders (with all that is in them) or shell patterns; None: all.
        :param on_exists: "error" if there is a folder with something in it; "replace" and "skip"
            move what was restored into it, file by file.
        :param on_error: what to do about members that are damaged or refused: "raise", or "skip"
            and report them.
        :param preserve: owners, set-user-ID bits, extended attributes, pipes and devices as well.
        :param max_output: the most raw bytes of the archive that are decoded.
        :param max_members: the most members that are restored.
        :param max_member_size: the most bytes of one; what is larger is refused.
        :param fsync: whether all is on the disk before the folder gets its name; default: yes.
        :param progress: True draws a bar on a terminal; a callable gets a ``Progress``.
        :raises FileExistsError: the destination exists.
        :raises CorruptError: something is damaged; ``TruncatedError``: the end is missing.
        :raises UnsafeMemberError: a member would harm what is outside.
        :raises MemberNotFoundError: nothing has one of the names given.
        :raises LimitError: there is more than ``max_output``, ``max_members``,
            ``max_member_size``, or than ``max_metadata`` of ``open_archive``.
        :raises OSError: a member cannot be created; the disk has no room for all of them.
        """
        self.check()
        writing = make_writing(on_exists, fsync, progress)
        check_on_error(on_error)
        reading = self._reading._replace(max_output=make_reading(max_output, 1).max_output)
        bounds = make_bounds(max_members, max_member_size)
        restoring = Restoring(Selection(members), Keeping(preserve), on_error, bounds)
        begun, tally = time.perf_counter(), Tally(self._pool, Found())
        path = os.fspath(destination)
        build = await call(self._pool.files, Building, path, on_exists, undo=Building.close)
        try:
            with naming(path), self._meter(writing, tally, "extracting"):
                await self._restore(build, restoring, reading, tally)
                restoring.selection.check_found()
            commit = partial(build.commit, fsync=writing.fsync is not False)
            with naming(path):
                await call(self._pool.files, commit)
        except AiocompressError as error:
            raise error.located(file=self.name) from error.__cause__
        finally:
            await call(self._pool.files, build.close)
        tally.found.kept = build.kept
        return tally.report(time.perf_counter() - begun)

    async def _restore(
        self, build: Building, restoring: Restoring, reading: Reading, tally: Tally
    ) -> None:
        about = build, reading, restoring, tally
        indexed, outcome = self._indexed, None
        if indexed is not None:
            await self._check_space(indexed, build, restoring.selection)
            outcome = await restore_indexed(self._pool, indexed, *about)
            if outcome is Restored.ALL:
                return
            await self._begin_anew(build, tally)
        try:
            async with opened(self._again(), self._pool) as source:
                stream = restoring
                if outcome is Restored.DOUBTFUL:
                    stream = restoring._replace(on_error="raise")
                await restore_stream(self._pool, source, build, reading, stream, tally)
            if indexed is not None:
                self.distrust()
        except CorruptError:
            if indexed is None or outcome is not Restored.DOUBTFUL:
                raise
            # It was damage: the index still knows where the other frames are.
            await self._begin_anew(build, tally)
            if (
                await restore_indexed(self._pool, indexed, *about, trusting=True)
                is not Restored.ALL
            ):
                raise

    async def _check_space(self, indexed: Indexed, build: Building, selection: Selection) -> None:
        """Look at the disk before anything is restored.

        :raises OSError: it has less room than the files need.
        """
        free = await call(self._pool.files, free_space, build.descriptor)
        if free is None or indexed.table.raws[-1] <= free:
            return
        with suppress(CorruptError):  # that is told when the index is used
            needed = await least_space(indexed, selection)
            if needed > free:
                reason = f"No space left: the files need {needed:,} bytes, {free:,} are free"
                raise OSError(errno.ENOSPC, reason, build.path)

    async def _begin_anew(self, build: Building, tally: Tally) -> None:
        await call(self._pool.files, building.empty, build.descriptor)
        tally.reset()

    async def test(self, *, progress: ProgressOption = False) -> Report:
        """Read all of it, and check everything: frames, headers, the index; keep nothing.

        :param progress: as of ``extract``.
        :raises CorruptError: something is damaged; ``TruncatedError``: the end is missing.
        """
        self.check()
        begun, tally = time.perf_counter(), Tally(self._pool, Found())
        writing = make_writing("error", None, progress)
        found, expected = self._scan(tally, strict=True), self._indexed_members()
        with self._meter(writing, tally, "testing"):
            async with aclosing(found), aclosing(expected):
                async for member in found:
                    tally.found.files += member.kind != "directory"
                    if self._indexed is not None:
                        self._compare(member, await anext(expected, None))
                if await anext(expected, None) is not None:
                    self._compare(None, None)
            if self._indexed is not None:
                await self._check_table(self._indexed)
        return tally.report(time.perf_counter() - begun)

    async def _check_table(self, indexed: Indexed) -> None:
        try:
            await indexed.check_table()
        except UnlikeIndexError:
            self._compare(None, None)
        except CorruptError as error:
            raise error.located(file=self.name) from None

    def _compare(self, member: Member | None, expected: Member | None) -> None:
        if member is None or expected is None or not is_same(member, expected):
            which = "more members than there are" if member is None else repr(member.name)
            raise CorruptError(
                f"the index does not agree with the archive on {which}",
                file=self.name,
                hint="the members are whole: extract them, and pack them again",
            )

    def _meter(self, writing: Writing, tally: Tally, label: str) -> Meter:
        def measure() -> Progress:
            raw, compressed = tally.raw_bytes, tally.compressed_bytes
            return Progress(raw, compressed, compressed, self._size, tally.found.files)

        meter = Meter(writing.progress, measure, label)
        tally.observer = meter.update
        return meter

    # How members are found.

    async def _members(self) -> AsyncGenerator[Member]:
        told = 0
        if self._indexed is not None:
            try:
                async with aclosing(self._indexed_members()) as members:
                    async for member in members:
                        yield member
                        told += 1
                return
            except CorruptError:
                self.distrust()
        async with aclosing(self._scan(Tally(self._pool))) as members:
            async for member in members:
                if told:
                    told -= 1
                else:
                    yield member

    async def _indexed_members(self) -> AsyncGenerator[Member]:
        if self._indexed is not None:
            try:
                async with aclosing(self._indexed.checked_blocks()) as blocks:
                    async for records in blocks:
                        for record in records:
                            yield record.member()
            except CorruptError as error:
                raise error.located(file=self.name) from None

    async def _scan(self, tally: Tally, *, strict: bool = False) -> AsyncGenerator[Member]:
        """Read the archive from front to back."""
        reader = tar.Reader(max_metadata=self._reading.max_metadata)
        try:
            async with aclosing(self.raw_bytes(tally, strict=strict)) as blocks:
                async for data in blocks:
                    for item in reader.feed(data):
                        if isinstance(item, Member):
                            yield item
            reader.finish()
        except AiocompressError as error:
            raise error.located(file=self.name) from None
        self.warnings += reader.warnings

    async def raw_bytes(
        self, tally: Tally | None = None, *, strict: bool = False
    ) -> AsyncGenerator[memoryview]:
        """Yield the raw archive from front to back; a block is valid until the next one."""
        reading = self._reading._replace(detach=True, strict=strict)
        async with opened(self._again(), self._pool) as source:
            about = self._pool, source, reading, tally or Tally(self._pool)
            async with aclosing(raw_blocks(*about)) as blocks:
                async for data in blocks:
                    yield data

    def raw_access(self) -> RawAccess:
        """Return a way to read raw bytes anywhere."""
        return IndexedAccess(self._indexed) if self._indexed else StreamAccess(self.raw_bytes)

    def _again(self) -> StreamSource | PositionalSource:
        """Return the archive as a source of its bytes, from the first one."""
        self.check()
        if isinstance(self._source, str | os.PathLike):
            return self._source
        if isinstance(self._source, Positional):
            return PositionalSource(self._source)
        if self._read_once:
            raise AiocompressError("a stream can be read only once", file=self.name)
        self._read_once = True
        return self._source

    def distrust(self) -> None:
        """Go on without the index."""
        if self._indexed is not None:
            self._doubted, self._indexed = self._indexed, None
            self.warnings.append(_NOT_USED)

    def trust(self) -> None:
        """Go back to the index, if there was one: the archive is damaged, not unlike it."""
        if self._indexed is None and self._doubted is not None:
            self._indexed, self._doubted = self._doubted, None
            self.warnings.remove(_NOT_USED)

    def check(self) -> None:
        """Make sure that the archive is open.

        :raises ClosedError: it is not.
        """
        if not self._open:
            raise ClosedError("the archive is not open: use it with `async with`", file=self.name)


def _find(records: Records, wanted: bytes) -> Record | None:
    """Return the last record of that name."""
    if wanted not in records.names:
        return None
    last = len(records) - 1 - records.names[::-1].index(wanted)
    return records.record(last, records.offsets()[last])


def _plain(name: bytes) -> bytes:
    """Return a name as users type it."""
    return name.removeprefix(b"./").strip(b"/")
