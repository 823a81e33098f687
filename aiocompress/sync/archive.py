"""``open_archive`` and ``create_archive`` without async."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from typing import BinaryIO, Unpack

from aiocompress import api
from aiocompress.api import Positional, Source, functions
from aiocompress.api.functions import CreateOptions
from aiocompress.model import DEFAULT_MAX_METADATA, DEFAULT_MAX_WINDOW, Codec, Report, Size
from aiocompress.sync.file import PlainSink, Raw, adapted, reading
from aiocompress.sync.held import Held, iterator, method
from aiocompress.sync.stream import Stream


class Archive(Held[api.Archive]):
    """An ``Archive`` without async: ``with open_archive(path) as archive``.

    Any number of threads may read it at once.
    """

    what = "the archive"

    members = iterator(api.Archive.members)
    names = iterator(api.Archive.names)
    listdir = method(api.Archive.listdir)
    scandir = method(api.Archive.scandir)
    exists = method(api.Archive.exists)
    member = method(api.Archive.member)
    read = method(api.Archive.read)
    extract = method(api.Archive.extract)
    test = method(api.Archive.test)
    diff = iterator(api.Archive.diff)

    def open(self, name: str) -> BinaryIO:
        """Open a member for reading: an ``io.BufferedReader``, which must be closed.

        :raises MemberNotFoundError: there is no such member.
        :raises FormatError: it is not a file.
        """
        return reading(Raw(self.call(partial(self._held.open, name)), self))

    def compress_stream(
        self,
        members: Iterable[str] | None = None,
        *,
        codec: Codec = "zstd",
        compression_level: int | None = None,
        chunk_size: Size | None = None,
    ) -> Stream:
        """Make another archive of some members; see ``Archive.compress_stream``.

        :raises ValueError: there is no such codec, level or size.
        """
        begin = partial(
            self._held.compress_stream,
            members,
            codec=codec,
            compression_level=compression_level,
            chunk_size=chunk_size,
        )
        return Stream(self.call(begin), self)

    @property
    def name(self) -> str | None:
        """The path of the archive, if it has one."""
        return self._held.name

    @property
    def status(self) -> os.stat_result | None:
        """The status that its file had when it was opened; None: it is no file of this machine."""
        return self._held.status

    @property
    def is_indexed(self) -> bool:
        """Whether an index finds members without reading the whole archive."""
        return self._held.is_indexed

    @property
    def is_plain(self) -> bool:
        """Whether it is a tar that is not compressed."""
        return self._held.is_plain

    @property
    def warnings(self) -> list[str]:
        """What was odd about the archive, each thing once."""
        return self._held.warnings


class ArchiveWriter(Held[api.ArchiveWriter]):
    """An ``ArchiveWriter`` without async: ``with create_archive(path) as writer``.

    If it is closed or dropped other than by leaving a ``with`` block, there is no file.
    """

    what = "the archive"
    failed = GeneratorExit

    add = method(api.ArchiveWriter.add)
    add_path = method(api.ArchiveWriter.add_path)
    add_folder = method(api.ArchiveWriter.add_folder)

    @property
    def name(self) -> str | None:
        """The path of the archive, if it has one."""
        return self._held.name

    @property
    def report(self) -> Report:
        """Totals so far as a ``Report``, complete after the block."""
        return self._held.report


def open_archive(
    source: Source | Positional,
    *,
    max_window: Size = DEFAULT_MAX_WINDOW,
    max_metadata: Size = DEFAULT_MAX_METADATA,
) -> Archive:
    """Open an archive; see ``Engine.open_archive``. It works in threads.

    :param source: as for ``Engine.open_archive``; or a binary file, which stays open.
    """
    opened = functions.open_archive(
        adapted(source), max_window=max_window, max_metadata=max_metadata
    )
    return Archive(opened)


def create_archive(destination: PlainSink, **options: Unpack[CreateOptions]) -> ArchiveWriter:
    """Make an archive; see ``Engine.create_archive``. It works in threads.

    :param destination: as for ``Engine.create_archive``; or a binary file, which stays open.
    """
    return ArchiveWriter(functions.create_archive(adapted(destination, "wb"), **options))
