"""The engine: worker processes, memory and threads, shared by all streams of an application."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Self

from aiocompress.api.stream import ByteStream, compressed_stream, decompressed_stream
from aiocompress.formats import names
from aiocompress.model import (
    DEFAULT_MAX_METADATA,
    DEFAULT_MAX_WINDOW,
    Buffer,
    EngineStatistics,
    Layout,
    OnError,
    OnExists,
    PathLike,
    ProgressOption,
    Report,
    Size,
    parse_size,
)
from aiocompress.storage.base import naming
from aiocompress.storage.sources import AnySource
from aiocompress.verbs import files, jobs
from aiocompress.verbs.base import Destination, Tally
from aiocompress.verbs.options import (
    as_bytes,
    make_packing,
    make_reading,
    make_recipe,
    make_unpacking,
    make_writing,
)
from aiocompress.workers import limits
from aiocompress.workers.pool import ExecutorOption, WorkerPool

if TYPE_CHECKING:
    from aiocompress.api.archive import Archive, ArchiveSource
    from aiocompress.verbs.folders import FolderSource


def new_pool(
    num_workers: int | None, memory_limit: Size | None, executor: ExecutorOption
) -> WorkerPool:
    """Check what an engine is asked for, and return the workers that it needs."""
    if not isinstance(executor, Executor) and executor not in {"process", "thread"}:
        msg = f"executor must be 'process', 'thread' or an Executor, not {executor!r}"
        raise ValueError(msg)
    workers = limits.processors() if num_workers is None else num_workers
    if isinstance(workers, bool) or not isinstance(workers, int):
        msg = f"num_workers must be an int, not {type(workers).__name__}"
        raise TypeError(msg)
    if workers < 1:
        msg = f"num_workers must be at least 1, not {workers}"
        raise ValueError(msg)
    memory = None if memory_limit is None else parse_size(memory_limit, "memory_limit")
    return WorkerPool(workers, memory, executor, preload=(jobs.__name__,))


class Engine:
    """Compresses and decompresses in parallel, within a memory limit, for many streams at once.

    Use it as an async context manager, or call ``aclose()``. It is for one event loop, and is
    shared by all tasks of it: chunks are served first come, first served.

    :param num_workers: chunks worked on at once; default: the processors this process may use.
    :param memory_limit: bytes of all chunks in flight and their frames, an int or text such as
        "256MiB"; default: 64 MiB for each of ``num_workers + 2``, at most a quarter of the memory
        of this machine or cgroup. What is touched is less: see the README's formula.
    :param executor: "process"; "thread"; or an executor of yours, which is sent bytes.
    :raises ValueError: a number below 1, or no executor.
    """

    def __init__(
        self,
        num_workers: int | None = None,
        memory_limit: Size | None = None,
        *,
        executor: ExecutorOption = "process",
    ) -> None:
        self._used = False
        self._pool = new_pool(num_workers, memory_limit, executor)

    def prefork(self) -> Self:
        """Fork the workers now: for programs that have neither threads nor a loop yet.

        The command line does; inside an application workers come from a small server process.
        """
        self._used = True
        self._pool.prefork()
        return self

    async def __aenter__(self) -> Self:
        self._pool.check()
        self._used = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End workers and threads, and free the memory. What still runs ends with ClosedError."""
        await self._pool.aclose()

    def __del__(self) -> None:
        pool: WorkerPool | None = getattr(self, "_pool", None)
        if pool is not None and (self._used or pool.is_used) and not pool.is_closed:
            warnings.warn("an Engine was not closed", ResourceWarning, stacklevel=2, source=self)
            pool.abandon()

    def statistics(self) -> EngineStatistics:
        """Return what is in flight now, and what has gone through."""
        return self._pool.statistics()

    async def compress(
        self, data: Buffer, *, codec: str = "zstd", compression_level: int | None = None
    ) -> bytes:
        """Compress bytes into a container.

        :param data: bytes-like.
        :param codec: "zstd" or "gzip".
        :param compression_level: zstd -7 to 22 (default 3), gzip 0 to 12 (default 6).
        :raises ValueError: no such codec or level.
        """
        stream = self.compress_stream(
            as_bytes(data), codec=codec, compression_level=compression_level
        )
        async with stream:
            return b"".join([part async for part in stream])

    async def decompress(self, data: Buffer, *, max_output: Size | None = None) -> bytes:
        """Decompress bytes: zstd, gzip or zlib, whoever wrote them.

        :param data: bytes-like.
        :param max_output: the most bytes to return.
        :raises FormatError: it is none of these.
        :raises CorruptError: it is damaged; ``TruncatedError``: it is not whole.
        :raises LimitError: there is more than ``max_output``.
        """
        stream = self.decompress_stream(as_bytes(data), max_output=max_output)
        async with stream:
            return b"".join([part async for part in stream])

    def compress_stream(
        self,
        source: AnySource,
        *,
        codec: str = "zstd",
        compression_level: int | None = None,
        chunk_size: Size | None = None,
    ) -> ByteStream:
        """Compress a stream; the bytes are those that ``compress_file`` writes.

        :param source: a path, bytes-like, an object with ``async read(n)``, or an async iterable
            of bytes-like; the path of a folder gives a ``.tar.zst``, as ``compress_folder`` does.
        :param codec: "zstd" or "gzip".
        :param compression_level: zstd -7 to 22 (default 3), gzip 0 to 12 (default 6).
        :param chunk_size: raw bytes of a frame; default: by codec and level, 5 MiB for zstd 3.
        :returns: the container's bytes, about a frame at a time.
        :raises ValueError: no such codec, level or size. When read: what reading the source
            raises, ``LimitError`` for a chunk above the memory limit, ``WorkerError``.
        """
        recipe = make_recipe(codec, compression_level, chunk_size)
        tally = Tally(self._pool)
        return ByteStream(compressed_stream(self._pool, source, recipe, tally), tally)

    def decompress_stream(
        self,
        source: AnySource,
        *,
        max_output: Size | None = None,
        max_window: Size = DEFAULT_MAX_WINDOW,
    ) -> ByteStream:
        """Decompress a stream of zstd, gzip or zlib, whoever wrote it.

        Several frames are decoded in parallel, a single one as a stream; memory is bounded
        either way. Bytes come as soon as they are checked: an error at the end of a stream
        comes after good bytes.

        :param source: as of ``compress_stream``.
        :param max_output: the most bytes to yield.
        :param max_window: the largest zstd window, in bytes or text.
        :raises ValueError: not a size. When read: as ``decompress``.
        """
        reading = make_reading(max_output, max_window)
        tally = Tally(self._pool)
        return ByteStream(decompressed_stream(self._pool, source, reading, tally), tally)

    async def compress_file(
        self,
        source: AnySource,
        destination: Destination,
        chunk_size: Size | None = None,
        *,
        codec: str | None = None,
        compression_level: int | None = None,
        on_exists: OnExists = "error",
        fsync: bool | None = None,
        progress: ProgressOption = False,
    ) -> Report:
        """Compress a file into a ``.zst`` (zstd's seekable format) or ``.gz`` file.

        The bytes depend on the data, ``codec``, ``compression_level`` and ``chunk_size`` alone.
        The file gets its name, and its source's mode, times and owner, when it is whole.

        :param source: a path; or any other source of ``compress_stream``.
        :param destination: a path, whose suffix says the codec unless ``codec`` does; or an object
            with ``async write(data)``, which is given bytes and stays open (default codec: zstd).
        :param chunk_size: raw bytes of a frame; default: by codec and level, 5 MiB for zstd 3.
        :param codec: "zstd" or "gzip".
        :param compression_level: zstd -7 to 22 (default 3), gzip 0 to 12 (default 6).
        :param on_exists: what to do if the destination exists: "error", "replace" or "skip".
        :param fsync: whether the file is on the disk before it gets its name; default: yes.
        :param progress: True draws a bar on a terminal; a callable gets a ``Progress``.
        :raises OSError: a file cannot be read or written; ``FileExistsError``: it exists.
        :raises FormatError: the source is a folder.
        :raises ValueError: bad arguments; source and destination are the same file.
        :raises LimitError: a chunk does not fit into the memory limit.
        :raises WorkerError: workers died twice on the same chunk.
        """
        codec = names.codec_for(_name_of(destination)) if codec is None else codec
        recipe = make_recipe(codec, compression_level, chunk_size)
        writing = make_writing(on_exists, fsync, progress)
        return await files.compress_file(self._pool, source, destination, recipe, writing)

    async def decompress_file(
        self,
        source: AnySource,
        destination: Destination,
        chunk_size: Size | None = None,
        *,
        max_output: Size | None = None,
        max_window: Size = DEFAULT_MAX_WINDOW,
        on_exists: OnExists = "error",
        fsync: bool | None = None,
        progress: ProgressOption = False,
    ) -> Report:
        """Decompress a zstd, gzip or zlib file, whoever wrote it; its content says which.

        :param source: a path; or any other source of ``compress_stream``.
        :param destination: a path, which appears when everything is checked; or an object with
            ``async write(data)``, which is given bytes as they are decoded, and stays open.
        :param chunk_size: bytes read at once; default: 2 MiB.
        :param max_output: the most bytes to write.
        :param max_window: the largest zstd window, in bytes or text.
        :param on_exists: as of ``compress_file``; so are ``fsync`` and ``progress``.
        :raises FormatError: it is none of these.
        :raises CorruptError: it is damaged; ``TruncatedError``: it is not whole.
        :raises LimitError: there is more than ``max_output``, or a window above ``max_window``.
        :raises OSError: a file cannot be read or written; ``FileExistsError``: it exists.
        :raises ValueError: bad arguments; source and destination are the same file.
        :raises WorkerError: workers died twice on the same chunk.
        """
        reading = make_reading(max_output, max_window, chunk_size)
        writing = make_writing(on_exists, fsync, progress)
        return await files.decompress_file(self._pool, source, destination, reading, writing)

    async def compress_folder(
        self,
        source: FolderSource,
        destination: Destination,
        chunk_size: Size | None = None,
        *,
        layout: Layout | None = None,
        codec: str | None = None,
        compression_level: int | None = None,
        prefix: str = "",
        exclude: Iterable[str] = (),
        reproducible: bool = False,
        xattrs: bool = False,
        on_error: OnError = "raise",
        on_exists: OnExists = "error",
        fsync: bool | None = None,
        progress: ProgressOption = False,
    ) -> Report:
        """Compress a folder: into one indexed tar archive, or into a tree of compressed files.

        An archive (``.tar.zst``, ``.tar.gz``) is a standard one, with an index that lets
        ``open_archive`` find members without reading the rest. Its bytes depend on the tree,
        ``codec``, ``compression_level`` and ``chunk_size`` alone.

        :param source: a folder, whose members are stored relative to it; or a file; or a list of
            both, which stand under their own names.
        :param destination: a path; or, but for a mirrored tree, an object with
            ``async write(data)``, which is given bytes and stays open.
        :param chunk_size: raw bytes of a frame; default: by codec and level, 5 MiB for zstd 3.
        :param layout: "archive"; "mirror": each file becomes FILE.zst or FILE.gz in a folder of
            the same structure; "framed": the plain container of the original script. Default:
            an archive if the destination's suffix is that of one, or a mirrored tree.
        :param codec: "zstd" or "gzip"; default: as the suffix says, or zstd.
        :param compression_level: zstd -7 to 22 (default 3), gzip 0 to 12 (default 6).
        :param prefix: a folder in the archive, in which all members stand.
        :param exclude: what is left out, by the rules of gitignore.
        :param reproducible: no owners, plain modes, no time after SOURCE_DATE_EPOCH (or 0).
        :param xattrs: store extended attributes too.
        :param on_error: what to do about what cannot be read: "raise", or "skip" and report it.
        :param on_exists: what to do if the destination exists: "error", "replace" or "skip".
        :param fsync: whether all is on the disk before it gets its name; default: yes.
        :param progress: True draws a bar on a terminal; a callable gets a ``Progress``.
        :raises OSError: a file cannot be read or written; ``FileExistsError``: it exists.
        :raises ValueError: bad arguments, two sources of one name, a suffix of another format.
        :raises LimitError: a chunk does not fit into the memory limit.
        :raises WorkerError: workers died twice on the same chunk.
        """
        from aiocompress.verbs import folders

        name = _name_of(destination)
        kind = names.layout_for(name, layout)
        if codec is None:
            codec = names.codec_for(name) if kind == "archive" else "zstd"
        recipe = make_recipe(codec, compression_level, chunk_size)
        writing = make_writing(on_exists, fsync, progress)
        packing = make_packing(
            prefix, exclude, reproducible=reproducible, xattrs=xattrs, on_error=on_error
        )
        return await folders.compress_folder(
            self._pool, source, destination, kind, packing, recipe, writing
        )

    async def decompress_folder(
        self,
        source: PathLike,
        destination: PathLike,
        chunk_size: Size | None = None,
        *,
        members: Iterable[str] | None = None,
        on_error: OnError = "raise",
        preserve: bool = False,
        max_output: Size | None = None,
        max_members: int | None = None,
        max_member_size: Size | None = None,
        max_metadata: Size = DEFAULT_MAX_METADATA,
        max_window: Size = DEFAULT_MAX_WINDOW,
        on_exists: OnExists = "error",
        fsync: bool | None = None,
        progress: ProgressOption = False,
    ) -> Report:
        """Give back the folder that an archive or a tree of compressed files was made of.

        The content of ``source`` says what it is: an archive of ours, any other ``.tar.zst``,
        ``.tar.gz`` or ``.tar``, a framed container, or a folder of compressed files. See
        ``Archive.extract`` for what is restored, and what never happens.

        :param source: a path.
        :param destination: a path of a folder; it appears when it is whole.
        :param chunk_size: bytes read at once; default: 2 MiB.
        :param members: of an archive: names, folders or shell patterns; None: all.
        :param on_error: what to do about what is damaged or refused: "raise", or "skip" and
            report it.
        :param preserve: owners, set-user-ID bits, extended attributes, pipes and devices as well.
        :param max_output: the most raw bytes that are decoded.
        :param max_members: the most members that are restored.
        :param max_member_size: the most bytes of one; what is larger is refused.
        :param max_metadata: the most bytes of names and attributes before one member of an archive.
        :param max_window: the largest zstd window, in bytes or text.
        :param on_exists: "error" if there is a folder with something in it; "replace" and "skip"
            say what happens to files that exist.
        :param fsync: as of ``compress_folder``; so is ``progress``.
        :raises FormatError: it is nothing of this kind.
        :raises CorruptError: it is damaged; ``TruncatedError``: it is not whole.
        :raises UnsafeMemberError: a member would harm what is outside of the folder.
        :raises MemberNotFoundError: nothing has one of the names given.
        :raises LimitError: there is more than one of these limits allows.
        :raises OSError: a file cannot be read or written; ``FileExistsError``: it exists; the disk
            has no room for all that an archive of ours holds.
        """
        from aiocompress.verbs import folders

        unpacking = make_unpacking(members, on_error, preserve, max_members, max_member_size)
        reading = make_reading(max_output, max_window, chunk_size, max_metadata)
        writing = make_writing(on_exists, fsync, progress)
        return await folders.decompress_folder(
            self._pool, source, destination, unpacking, reading, writing
        )

    async def recover(
        self,
        source: PathLike,
        destination: PathLike,
        *,
        keep_damaged: bool = False,
        on_exists: OnExists = "error",
        fsync: bool | None = None,
        progress: ProgressOption = False,
    ) -> Report:
        """Save all that is whole of a damaged archive or compressed file.

        Frames are found by their magic and verified by their checksum, members by their headers
        and by what is left of the index. A member is saved only if all of it is there; what is
        damaged or lost is named in ``Report.skipped``. A compressed file that is no archive counts
        as one member. The source is never changed.

        :param source: a path of a file of any writer.
        :param destination: a path of a folder; or of a new archive, by its suffix.
        :param keep_damaged: keep damaged members as ``NAME.damaged``, zeros for what is missing.
        :param on_exists: as of ``compress_folder``; so are ``fsync`` and ``progress``.
        :returns: ``skipped_count`` is 0 if nothing was damaged.
        :raises CorruptError: nothing could be saved.
        :raises FormatError: there is nothing of such a file in it.
        :raises ValueError: bad arguments; the destination is the source.
        :raises OSError: a file cannot be read or written; ``FileExistsError``: it exists.
        """
        from aiocompress.verbs.recover.recover import recover

        writing = make_writing(on_exists, fsync, progress)
        with naming(os.fspath(destination)):
            return await recover(
                self._pool, source, destination, keep_damaged=keep_damaged, writing=writing
            )

    def open_archive(
        self,
        source: ArchiveSource,
        *,
        max_window: Size = DEFAULT_MAX_WINDOW,
        max_metadata: Size = DEFAULT_MAX_METADATA,
    ) -> Archive:
        """Open an archive: ``async with engine.open_archive(path) as archive``.

        :param source: a path; or an object with ``async size()`` and ``async read_at(offset, n)``;
            or any source of ``decompress_stream``, which can be read only once.
        :param max_window: the largest zstd window, in bytes or text.
        :param max_metadata: the most bytes of names and attributes before one member.
        :raises ValueError: not a size. When opened: ``OSError``, and ``FormatError`` for what is
            no archive.
        """
        from aiocompress.api.archive import Archive

        reading = make_reading(None, max_window, max_metadata=max_metadata)
        return Archive(self._pool, source, reading)

    async def test(
        self,
        source: AnySource,
        *,
        max_window: Size = DEFAULT_MAX_WINDOW,
        max_metadata: Size = DEFAULT_MAX_METADATA,
        progress: ProgressOption = False,
    ) -> Report:
        """Decode all of a file, check every frame, checksum and the index, and keep nothing.

        Of a plain tar, and of an archive of ours, the members and their index are checked too.

        :param source: a path, or as of ``compress_stream``.
        :param max_window: the largest zstd window, in bytes or text.
        :param max_metadata: the most bytes of names and attributes before one member of an archive.
        :param progress: True draws a bar on a terminal; a callable gets a ``Progress``.
        :raises FormatError: it is not compressed.
        :raises CorruptError: it is damaged; ``TruncatedError``: it is not whole.
        :raises LimitError: there is more than one of these limits allows.
        :raises OSError: it cannot be read.
        """
        reading = make_reading(None, max_window, max_metadata=max_metadata)
        if isinstance(source, str | os.PathLike):
            from aiocompress.verbs import folders

            report = await folders.test_archive(self._pool, source, reading, progress)
            if report is not None:
                return report
        return await files.test(self._pool, source, reading, progress)


def _name_of(destination: Destination) -> str:
    """Return the name that says codec and layout; an object with ``write`` gets an archive."""
    return os.fspath(destination) if isinstance(destination, str | os.PathLike) else ".tar.zst"
