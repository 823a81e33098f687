"""Archives as callers hold them: list, read or extract their members, one of them or all."""

from __future__ import annotations

import os
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Self, TypeVar

from aiocompress.api.member import MemberFile
from aiocompress.api.stream import ByteStream
from aiocompress.model import (
    Aspect,
    Codec,
    Difference,
    Member,
    OnError,
    OnExists,
    PathLike,
    ProgressOption,
    Report,
    Size,
)
from aiocompress.storage.base import Positional, Source
from aiocompress.verbs.archive.opened import OpenedArchive
from aiocompress.verbs.base import Tally
from aiocompress.verbs.iterating import Iterating
from aiocompress.verbs.options import (
    Bounds,
    Packing,
    Reading,
    Recipe,
    Streaming,
    make_comparing,
    make_reading,
    make_recipe,
    make_restoring,
    make_writing,
)
from aiocompress.verbs.select import Selection
from aiocompress.workers.pool import WorkerPool

__all__ = ["Archive", "Differences", "MemberFile", "Members"]

T = TypeVar("T")


class _Found(AsyncIterator[T]):
    """What is found in an archive: an async iterator, and an async context manager."""

    def __init__(self, steps: AsyncGenerator[T], what: str, check: Callable[[], None]) -> None:
        self._steps, self._check = Iterating(steps, what), check

    async def __anext__(self) -> T:
        """Return the next one.

        :raises AiocompressError: the archive is damaged, or not an archive; or this was begun in
            the process of which this one is a fork.
        :raises ClosedError: the archive was closed.
        """
        self._check()
        return await self._steps.next()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop reading."""
        await self._steps.aclose()


class Members(_Found[Member]):
    """Members in the order of the archive: an async iterator, and an async context manager.

    It closes at its end; if you stop earlier, close it by ``async with`` or ``aclose()``.
    """


class Differences(_Found[Difference]):
    """In what a folder differs from an archive: as ``Members``, of ``Difference``."""


class Archive:
    """A tar archive, in a container or plain; use it as an async context manager.

    ``open_archive`` makes one. It belongs to one event loop; several tasks may read it.
    """

    def __init__(
        self,
        pool: WorkerPool,
        source: Source | Positional,
        reading: Reading,
        *,
        owns_pool: bool = False,
    ) -> None:
        self._pool = pool
        self._opened = OpenedArchive(pool, source, reading, owns_pool=owns_pool)

    async def __aenter__(self) -> Self:
        """Open the archive, and look for its index.

        :raises OSError: it cannot be opened.
        :raises FormatError: it is a folder, or neither a tar nor compressed.
        """
        await self._opened.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the archive; closing twice does no harm."""
        await self._opened.aclose()

    def __del__(self) -> None:
        if hasattr(self, "_opened") and self._opened.is_open:
            warnings.warn("an Archive was not closed", ResourceWarning, stacklevel=2, source=self)

    @property
    def name(self) -> str | None:
        """The path of the archive, if it has one."""
        return self._opened.name

    @property
    def status(self) -> os.stat_result | None:
        """The status that its file had when it was opened; None: it is no file of this machine."""
        return self._opened.status

    @property
    def is_indexed(self) -> bool:
        """Whether an index finds members without reading the whole archive."""
        return self._opened.index is not None

    @property
    def is_plain(self) -> bool:
        """Whether it is a tar that is not compressed."""
        return self._opened.is_plain

    @property
    def warnings(self) -> list[str]:
        """What was odd about the archive, each thing once."""
        return list(self._opened.warnings)

    # What there is.

    def members(self, prefix: str = "", *, matching: Iterable[str] | None = None) -> Members:
        """Iterate over the members, in the order of the archive.

        :param prefix: only those whose names begin so; ``"kernel/"`` gives all in that folder.
        :param matching: only these: names, folders or shell patterns, as of ``extract``.
        :raises ClosedError: the archive is not open. At the end of the members:
            ``MemberNotFoundError``, if none matches one of ``matching``.
        """
        self._opened.check()
        steps = self._opened.members(prefix, Selection(matching))
        return Members(steps, "the list of members", self._opened.check)

    def names(self, *, matching: Iterable[str] | None = None) -> AsyncGenerator[list[str]]:
        """Yield the names of members, many at once; that of a folder ends with a slash.

        :param matching: as of ``members``, and so are the errors.
        """
        self._opened.check()
        return self._opened.names(Selection(matching))

    async def listdir(self, folder: str = "") -> list[str]:
        """Return the names of all that is directly in a folder, sorted, as ``os.listdir`` does.

        :param folder: its name; by default the top of the archive.
        :raises MemberNotFoundError: there is no such folder.
        :raises FormatError: it is something else.
        """
        return await self._opened.listdir(folder)

    async def scandir(self, folder: str = "", *, max_members: int | None = None) -> list[Member]:
        """Return the members that are directly in a folder, sorted by name, as ``os.scandir`` does.

        A folder that the archive does not hold itself, but something in it, is a ``Member`` of kind
        "directory" all the same, with ``mtime_ns`` 0.

        :param folder: its name; by default the top of the archive.
        :param max_members: the most members to return.
        :raises LimitError: there are more.
        :raises MemberNotFoundError: there is no such folder.
        :raises FormatError: it is something else.
        """
        return await self._opened.scandir(folder, Bounds(max_members))

    async def exists(self, name: str) -> bool:
        """Return whether there is a member of that name."""
        return await self._opened.exists(name)

    async def member(self, name: str) -> Member:
        """Return the member of that name, the last one if there are several.

        :raises MemberNotFoundError: there is none; its hint has the closest names.
        """
        return await self._opened.member(name)

    async def read(self, name: str) -> bytes:
        """Return the content of a member.

        :raises MemberNotFoundError: there is no such member.
        :raises FormatError: it is not a file.
        :raises CorruptError: the frame that holds it is damaged.
        """
        async with self.open(name) as file:
            return await file.read()

    def open(self, name: str) -> MemberFile:
        """Open a member for reading: ``async with archive.open(name) as file``.

        :raises ClosedError: the archive is not open; entering the result raises as ``read``.
        """
        self._opened.check()
        return MemberFile(self._opened, name)

    # What to do with it.

    async def extract(
        self,
        destination: PathLike,
        members: Iterable[str] | None = None,
        *,
        strip_components: int = 0,
        unwrap: bool = False,
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

        Nothing outside of it is touched, whatever the archive says. Permissions and times are
        restored; named pipes and devices are not, and the report names them as skipped.

        :param destination: a path.
        :param members: names, folders (with all that is in them) or shell patterns; None: all.
        :param strip_components: how many of the first parts to leave out of each name, and of what
            hard links are linked to, as GNU tar does; members without any more are left out.
        :param unwrap: where all members stand below one folder that is named like ``destination``,
            that folder is it, and not a folder in it.
        :param on_exists: "error" if the folder exists and is not empty; "replace" and "skip" move
            the restored files into it, one by one, and say which of two files is kept.
        :param on_error: what to do about members that are damaged or refused: "raise", or "skip"
            and report them.
        :param preserve: restore owners, set-user-ID bits, extended attributes, pipes and devices.
        :param max_output: the most raw bytes of the archive to decode.
        :param max_members: the most members to restore.
        :param max_member_size: the most bytes of a member; larger ones are refused.
        :param fsync: whether everything is on the disk before the folder gets its name; default:
            yes.
        :param progress: True draws a bar on a terminal; a callable gets a ``Progress``.
        :raises FileExistsError: the destination exists.
        :raises CorruptError: something is damaged; ``TruncatedError``: the end is missing.
        :raises UnsafeMemberError: a member would be created, or linked to, outside of the folder.
        :raises MemberNotFoundError: no member matches one of ``members``.
        :raises LimitError: there is more than ``max_output``, ``max_members``,
            ``max_member_size``, or than ``max_metadata`` of ``open_archive``.
        :raises OSError: a member cannot be created; the disk has no room for all of them.
        """
        restoring = make_restoring(
            members,
            on_error,
            max_members,
            max_member_size,
            strip_components=strip_components,
            unwrap=unwrap,
            preserve=preserve,
        )
        writing = make_writing(on_exists, fsync, progress)
        limit = make_reading(max_output, 1).max_output
        return await self._opened.extract(destination, restoring, writing, limit)

    def compress_stream(
        self,
        members: Iterable[str] | None = None,
        *,
        codec: Codec = "zstd",
        compression_level: int | None = None,
        chunk_size: Size | None = None,
    ) -> ByteStream:
        """Make another archive of some members, as a stream: a ``.tar.zst`` or ``.tar.gz``.

        Members keep their names, their order and all that their headers say; a hard link to a file
        that was not chosen leads nowhere. The new archive has no index.

        :param members: as for ``extract``.
        :param codec: "zstd" or "gzip"; this and the other arguments are those of
            ``Engine.compress_stream``.
        :param compression_level: zstd -7 to 22 (default 3), gzip 0 to 12 (default 6).
        :param chunk_size: raw bytes of a frame; default: by codec and level.
        :returns: an async iterator of ``bytes``; ``async with`` finds the members.
        :raises ValueError: there is no such codec, level or size. When the stream is opened:
            ``MemberNotFoundError``. When it is read: ``CorruptError``.
        """
        self._opened.check()
        selection = Selection(members)
        recipe = make_recipe(codec, compression_level, chunk_size)
        tally = Tally(self._pool)
        return ByteStream(_chosen(self._pool, self._opened, selection, recipe, tally), tally)

    def diff(
        self,
        folder: PathLike,
        members: Iterable[str] | None = None,
        *,
        prefix: str = "",
        ignore: Iterable[Aspect] = (),
        preserve: bool = False,
        progress: ProgressOption = False,
    ) -> Differences:
        """Compare the archive with a folder, byte by byte; nothing is written.

        Kinds, sizes, contents, modes, times and the targets of links are compared: so that what
        ``extract`` has restored does not differ, nor what was packed. Where either time has no
        fraction of a second, it does not count. No link is followed. What differs comes in the
        order of the archive, then what is new in the folder.

        :param folder: a path.
        :param members: as for ``extract``: only these are compared; None: all.
        :param prefix: the folder of the archive that ``folder`` is compared with; "": its top.
        :param ignore: what need not be the same, by the names of ``Difference.what``.
        :param preserve: compare what ``extract`` restores with ``preserve``, too: owners,
            set-user-ID bits, and the extended attributes that the archive holds.
        :param progress: as of ``extract``.
        :returns: an async iterator of ``Difference``; empty if nothing differs.
        :raises ClosedError: the archive is not open.
        :raises ValueError: there is nothing of that name to ignore. When it is read:
            ``OSError``: the folder cannot be opened; ``CorruptError``: the archive is damaged;
            ``MemberNotFoundError``: one of ``members`` matches nothing.
        """
        self._opened.check()
        selection = Selection(members, inside=prefix)
        writing = make_writing("error", None, progress)
        comparing = make_comparing(ignore, preserve=preserve)
        steps = self._opened.diff(folder, selection, comparing, writing)
        return Differences(steps, "the list of differences", self._opened.check)

    async def test(self, *, progress: ProgressOption = False) -> Report:
        """Read the whole archive and check its frames, headers and index; write nothing.

        :param progress: as of ``extract``.
        :raises CorruptError: something is damaged; ``TruncatedError``: the end is missing.
        """
        return await self._opened.test(progress)


async def _chosen(
    pool: WorkerPool, archive: OpenedArchive, selection: Selection, recipe: Recipe, tally: Tally
) -> AsyncGenerator[bytes]:
    """Yield nothing when the members are found, and then the bytes of their archive."""
    from aiocompress.verbs.archive.choose import chosen, tar_of  # most archives are only read
    from aiocompress.verbs.stream import compressed_bytes

    members = await chosen(archive, selection)
    async with aclosing(tar_of(archive, selection, members)) as raw:
        stream = compressed_bytes(pool, raw, recipe, Streaming(Packing(())), tally)
        async with aclosing(stream):
            async for data in stream:
                yield data
