"""Making an archive of members from memory, downloads, databases and folders."""

from __future__ import annotations

import warnings
from typing import Self

from aiocompress.formats import names
from aiocompress.model import Codec, Member, OnExists, PathLike, Report, Size
from aiocompress.storage.base import Sink, Source
from aiocompress.verbs.archive.created import CreatedArchive
from aiocompress.verbs.base import name_of
from aiocompress.verbs.options import make_recipe, make_writing
from aiocompress.workers.pool import WorkerPool

__all__ = ["ArchiveWriter", "created"]


class ArchiveWriter:
    """An archive that is being made; ``async with engine.create_archive(path) as writer``.

    Leaving the block writes the index and the end, and gives the file its name. An error or a
    cancellation in the block leaves no file, and an older one as it was. The writer belongs to one
    event loop. Several tasks may add members, which stand in the archive in the order of the calls,
    except that a member whose content is still being gathered does not hold up one that is ready.

    An error of ``add`` costs only its member, unless the first bytes of that are in the archive
    already. Then nothing more can be added, and the block ends with an error. That happens only to
    members larger than 256 KiB: if one from a path, or with a given ``size``, breaks off, or if
    the call is cancelled while the content goes into the archive.
    """

    def __init__(self, created: CreatedArchive) -> None:
        self._created = created

    async def __aenter__(self) -> Self:
        """Open the destination.

        :raises FileExistsError: it exists.
        :raises OSError: it cannot be written.
        :raises LimitError: a chunk does not fit into the memory limit.
        """
        await self._created.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish the archive, or abandon it after an error."""
        if kind is None:
            await self._created.finish()
        else:
            await self._created.give_up()

    def __del__(self) -> None:
        if hasattr(self, "_created") and self._created.abandon():
            text = "an ArchiveWriter was not closed"
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)

    @property
    def name(self) -> str | None:
        """The path of the archive, if it has one."""
        return self._created.name

    @property
    def report(self) -> Report:
        """Totals so far as a ``Report``, complete after the block.

        Its ``warnings`` tell which files changed while they were read.
        """
        return self._created.report

    async def add(
        self,
        name: str,
        source: Source,
        *,
        size: int | None = None,
        mode: int = 0o644,
        mtime_ns: int | None = None,
    ) -> Member:
        """Add a file with this content, owned by root.

        The call waits while the pipeline is full. Content of unknown size is gathered first: up to
        256 KiB in memory, more in a nameless file in the folder for temporary files.

        :param name: its name in the archive, such as ``"logs/today.txt"``.
        :param source: bytes-like; a path, whose content is read; an object with ``read(n)``, async
            or a binary file; an iterable of bytes-like, async or not. A thread calls what is not
            async. A string is a path: encode text that is meant as content.
        :param size: bytes of the content; None: it ends where the source does.
        :param mode: its permissions.
        :param mtime_ns: its time of modification in nanoseconds since 1970; None: that of the file
            at a path, or now.
        :returns: the member, as ``Archive.member`` will return it.
        :raises UnsafeMemberError: the name is absolute, empty, too long, or has a ``..`` in it.
        :raises ValueError: the archive has a member of that name already, or one that is not a
            folder where the name needs a folder; or a number is out of bounds.
        :raises TypeError: bytes cannot be read from such a source.
        :raises CorruptError: more bytes came than ``size``; ``TruncatedError``: fewer.
        :raises ClosedError: the archive, or the engine, is closed.
        :raises AiocompressError: an earlier member broke off; or the source of a large member,
            whose ``size`` was given, adds one itself.
        :raises OSError: a path cannot be read, or the destination cannot be written. Errors of the
            source are raised as they are.
        """
        return await self._created.add(name, source, size, mode, mtime_ns)

    async def add_path(self, path: PathLike, name: str | None = None) -> Member:
        """Add a file as it is on the disk: with its mode, time and owner; a link as a link.

        :param path: the path of a file, or of anything else but a folder.
        :param name: its name in the archive; default: the last part of the path.
        :returns: the member.
        :raises FormatError: it is a folder.
        :raises ValueError: the archive has a member of that name; or the file is the archive.
        :raises OSError: it cannot be read; and the other errors of ``add``.
        """
        return await self._created.add_path(path, name)

    async def add_folder(self, path: PathLike, name: str = "") -> int:
        """Add everything in a folder, as ``compress_folder`` packs it.

        A folder that is in the archive already is not added again, so that several can be merged.
        After an error, the members that were added before it stay in the archive.

        :param path: a path.
        :param name: the folder of the archive to put it in; default: its top.
        :returns: how many members were added.
        :raises ValueError: the archive has a member of that name already.
        :raises OSError: something cannot be read; and the other errors of ``add``.
        """
        return await self._created.add_folder(path, name)


def created(
    pool: WorkerPool,
    destination: Sink,
    *,
    codec: Codec | None = None,
    compression_level: int | None = None,
    chunk_size: Size | None = None,
    on_exists: OnExists = "error",
    fsync: bool | None = None,
    owns_pool: bool = False,
) -> ArchiveWriter:
    """Check the arguments of ``create_archive``, and return the writer."""
    codec = names.codec_for(name_of(destination)) if codec is None else codec
    recipe = make_recipe(codec, compression_level, chunk_size)
    if on_exists == "skip":
        raise ValueError("on_exists must be 'error' or 'replace': a writer has nothing to skip")
    writing = make_writing(on_exists, fsync, progress=False)
    archive = CreatedArchive(pool, destination, recipe, writing, owns_pool=owns_pool)
    return ArchiveWriter(archive)
