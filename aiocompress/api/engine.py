"""The engine: worker processes, memory and threads, shared by all streams of an application."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Self, overload

from aiocompress.api.stream import ByteStream
from aiocompress.formats import names
from aiocompress.model import (
    DEFAULT_MAX_METADATA,
    DEFAULT_MAX_WINDOW,
    Buffer,
    Codec,
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
from aiocompress.storage.base import Positional, Sink, Source, naming
from aiocompress.verbs import jobs, options
from aiocompress.verbs.base import Tally, name_of
from aiocompress.verbs.options import FolderSource
from aiocompress.workers import limits
from aiocompress.workers.pool import LONGEST_CHUNK, ExecutorOption, WorkerPool

if TYPE_CHECKING:
    from aiocompress.api.archive import Archive
    from aiocompress.api.file import AsyncFile
    from aiocompress.api.opening import AnyFile, BinaryMode, TextMode
    from aiocompress.api.writer import ArchiveWriter


def new_pool(
    num_workers: int | None,
    memory_limit: Size | None,
    executor: ExecutorOption,
    *,
    files_shared: bool = False,
) -> WorkerPool:
    """Check the arguments of an engine, and return its workers; none of them starts yet."""
    if not isinstance(executor, Executor) and executor not in {"process", "thread"}:
        raise ValueError(f"executor must be 'process', 'thread' or an Executor, not {executor!r}")
    if files_shared and isinstance(executor, str):
        raise ValueError(f"files_shared is about an Executor of yours, not {executor!r}")
    workers = limits.processors() if num_workers is None else num_workers
    if isinstance(workers, bool) or not isinstance(workers, int):
        raise TypeError(f"num_workers must be an int, not {type(workers).__name__}")
    if workers < 1:
        raise ValueError(f"num_workers must be at least 1, not {workers}")
    memory = None if memory_limit is None else parse_size(memory_limit, "memory_limit")
    preload = (jobs.__name__,)
    return WorkerPool(workers, memory, executor, preload, files_shared=files_shared)


def long_memory(num_workers: int | None) -> int:
    """Return the memory that an engine for one call with ``long_distance`` may use.

    It lets each worker have a chunk while another one is read, within a quarter of the memory of
    this machine or cgroup; or else has room for one chunk.
    """
    chunk = LONGEST_CHUNK
    workers = limits.processors() if num_workers is None else num_workers
    return max(min((workers + 1) * chunk, limits.memory() // 4), chunk)


class Engine:
    """Compresses and decompresses in parallel, within a memory limit, for many streams at once.

    Use it as an async context manager, or call ``aclose()``. One engine serves all tasks of one
    event loop: their chunks take turns.

    :param num_workers: how many chunks are worked on at once; default: the processors that this
        process may use.
    :param memory_limit: the most bytes that chunks in flight and their frames may take, an int or
        text such as "256MiB"; default: 64 MiB for each of ``num_workers + 2`` and at least 288
        MiB, but at most a quarter of the memory of this machine or cgroup. Only what is filled is
        touched: see "Memory" in the README.
    :param executor: "process": worker processes; "thread": threads of this process; or a
        ``concurrent.futures.Executor`` of yours, which gets each chunk as ``bytes`` and which you
        shut down yourself.
    :param files_shared: the workers of your executor, such as those of a Dask cluster, find files
        under the same paths as this process, and run as the same user. Then they read what they
        compress, and write what they decode.
    :raises ValueError: a number is below 1, a size cannot be read, ``executor`` is none of these,
        or ``files_shared`` is set without an executor of yours.
    :raises TypeError: ``num_workers`` is not an int, or ``memory_limit`` neither int nor text.
    """

    def __init__(
        self,
        num_workers: int | None = None,
        memory_limit: Size | None = None,
        *,
        executor: ExecutorOption = "process",
        files_shared: bool = False,
    ) -> None:
        self._pool = new_pool(num_workers, memory_limit, executor, files_shared=files_shared)

    def prefork(self) -> Self:
        """Fork the workers now, in a program that has neither threads nor a loop yet.

        A fork copies locks that other threads hold, so this is for the start of a program, such as
        the command line. Without it, a small server process forks the workers when a chunk comes.
        """
        self._pool.prefork()
        return self

    async def __aenter__(self) -> Self:
        self._pool.check()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the workers and threads, and free the memory; calls under way get ClosedError."""
        await self._pool.aclose()

    def close(self) -> None:
        """Do as ``aclose``, but without a loop: for the end of a program, or of a test."""
        self._pool.close()

    def __del__(self) -> None:
        pool: WorkerPool | None = getattr(self, "_pool", None)
        if pool is not None and (pool.is_used or pool.has_processes) and not pool.is_closed:
            warnings.warn("an Engine was not closed", ResourceWarning, stacklevel=2, source=self)
            pool.close()

    def statistics(self) -> EngineStatistics:
        """Return what is in flight now, and how much has gone through."""
        return self._pool.statistics()

    async def compress(
        self, data: Buffer, *, codec: Codec = "zstd", compression_level: int | None = None
    ) -> bytes:
        """Compress bytes into the bytes of a ``.zst`` or ``.gz`` file.

        :param data: bytes-like.
        :param codec: "zstd" or "gzip".
        :param compression_level: zstd -7 to 22 (default 3), gzip 0 to 12 (default 6).
        :raises ValueError: there is no such codec or level.
        :raises TypeError: ``data`` is not bytes-like.
        """
        from aiocompress.verbs import payload

        recipe = options.make_recipe(codec, compression_level, None)
        return await payload.compress(self._pool, options.as_bytes(data), recipe)

    async def decompress(self, data: Buffer, *, max_output: Size | None = None) -> bytes:
        """Decompress zstd, gzip or zlib bytes of any writer; the content says which.

        :param data: bytes-like.
        :param max_output: the most bytes to return, an int or text.
        :raises FormatError: the data is in none of these formats.
        :raises CorruptError: the data is damaged; ``TruncatedError``: its end is missing.
        :raises LimitError: the result is larger than ``max_output``, or a window than 128 MiB.
        :raises TypeError: ``data`` is not bytes-like.
        """
        from aiocompress.verbs import payload

        reading = options.make_reading(max_output, DEFAULT_MAX_WINDOW)
        return await payload.decompress(self._pool, options.as_bytes(data), reading)

    def compress_stream(
        self,
        source: Source | FolderSource,
        *,
        codec: Codec = "zstd",
        compression_level: int | None = None,
        chunk_size: Size | None = None,
        single: bool = False,
        flush_after: float | None = None,
        long_distance: bool = False,
        prefix: str = "",
        exclude: Iterable[str] = (),
        reproducible: bool = False,
        sparse: bool = True,
        on_error: OnError = "raise",
        progress: ProgressOption = False,
    ) -> ByteStream:
        """Compress a stream into the bytes that ``compress_file`` would write.

        ``async with`` opens the source; without it, the first read does.

        :param source: a path; a URL, with the extra ``remote``; bytes-like; an object with
            ``read(n)``, async or a binary file; an iterable of bytes-like, async or not. What is
            not async is called in a thread. A folder or a list of paths becomes an archive, as
            ``compress_folder`` makes it.
        :param codec: "zstd" or "gzip".
        :param compression_level: zstd -7 to 22 (default 3), gzip 0 to 12 (default 6).
        :param chunk_size: raw bytes of a frame; default: by codec and level, 5 MiB for zstd 3.
        :param single: write one zstd frame or gzip member, without an index, compressed by one
            thread as it is read: for ``Content-Encoding``, since many HTTP clients stop after the
            first one. Its zstd window is 8 MiB at most. From 256 KiB on, levels above 19 of zstd
            are 19, and those above 9 of gzip are 9.
        :param flush_after: seconds after which what a slow source has sent is given out, although
            more would compress better; default: the frame is filled first. The bytes then depend
            on the source's pace, too. It does nothing to files and folders.
        :param long_distance: as for ``compress_file``.
        :param prefix: as for ``compress_folder``; so are ``exclude``, ``reproducible``,
            ``sparse`` and ``on_error``. They are about a folder or a list of paths.
        :param progress: as for ``compress_file``.
        :returns: an async iterator of ``bytes``, about 256 KiB at a time.
        :raises ValueError: there is no such codec, level, size or time. When the stream is opened:
            ``OSError`` for a source that cannot be opened. When it is read: what the source raises,
            ``LimitError`` for a chunk above the memory limit, ``WorkerError``.
        """
        from aiocompress.verbs.stream import compressed_bytes

        recipe = options.make_recipe(
            codec, compression_level, chunk_size, single=single, long=long_distance
        )
        packing = options.make_packing(
            prefix,
            exclude,
            reproducible=reproducible,
            xattrs=False,
            on_error=on_error,
            sparse=sparse,
        )
        streaming = options.make_streaming(packing, flush_after, progress)
        tally = Tally(self._pool)
        return ByteStream(compressed_bytes(self._pool, source, recipe, streaming, tally), tally)

    def decompress_stream(
        self,
        source: Source,
        *,
        max_output: Size | None = None,
        max_window: Size = DEFAULT_MAX_WINDOW,
        max_input: Size | None = None,
    ) -> ByteStream:
        """Decompress a stream of zstd, gzip or zlib, of any writer.

        Workers decode several frames in parallel; a single frame is decoded as a stream. Memory is
        bounded either way. Bytes come as soon as their frame is checked, so that damage at the end
        of a stream raises only after the good bytes before it.

        :param source: as for ``compress_stream``, but not a folder or a list of paths.
        :param max_output: the most bytes to yield, an int or text.
        :param max_window: the largest zstd window in bytes, an int or text.
        :param max_input: the most bytes to read from the source, an int or text.
        :returns: an async iterator of ``bytes``, at most 256 KiB at a time.
        :raises ValueError: a size cannot be read. When the stream is read: as ``decompress``, and
            what the source raises.
        """
        from aiocompress.verbs.stream import decompressed_bytes

        reading = options.make_reading(max_output, max_window, max_input=max_input)
        tally = Tally(self._pool)
        return ByteStream(decompressed_bytes(self._pool, source, reading, tally), tally)

    async def compress_file(
        self,
        source: Source,
        destination: Sink,
        chunk_size: Size | None = None,
        *,
        codec: Codec | None = None,
        compression_level: int | None = None,
        long_distance: bool = False,
        on_exists: OnExists = "error",
        fsync: bool | None = None,
        progress: ProgressOption = False,
    ) -> Report:
        """Compress a file into a ``.zst`` (zstd's seekable format) or ``.gz`` file.

        The bytes depend on the data, ``codec``, ``compression_level`` and ``chunk_size`` alone.
        The file gets its name, and its source's mode, times and owner, when it is whole.

        **A destination** is a path, or any object with ``async write(data)``, such as a file of
        aiofiles. The engine hands the object ``bytes``, about a frame at a time, waits for each
        write, and leaves the object open. There is nothing to replace or to sync, so ``on_exists``
        and ``fsync`` have no effect; and what was written before an error stays written.

        :param source: a path, or any other source of ``compress_stream`` but a folder or a list.
        :param destination: a path, or ``s3://BUCKET/KEY`` with the extra ``remote``, whose suffix
            says the codec unless ``codec`` does; or an object with ``async write(data)``, which
            gets zstd unless ``codec`` says otherwise.
        :param chunk_size: raw bytes of a frame; default: by codec and level, 5 MiB for zstd 3.
        :param codec: "zstd" or "gzip".
        :param compression_level: zstd -7 to 22 (default 3), gzip 0 to 12 (default 6).
        :param long_distance: find repeats that are up to 128 MiB apart, as in several versions of a
            tree: a frame for each 128 MiB. zstd from level 1 on. A chunk in flight takes 288 MiB of
            the memory limit.
        :param on_exists: what to do if the destination exists: "error", "replace" or "skip".
        :param fsync: whether the file is on the disk before it gets its name; default: yes.
        :param progress: True draws a bar on a terminal; a callable gets a ``Progress`` on the
            loop's thread, at most 10 times a second and once at the end. It may be async: then
            it is awaited, beside the work.
        :raises OSError: a file cannot be read or written; ``FileExistsError``: it exists. What the
            object's ``write`` raises goes out as it is.
        :raises FormatError: the source is a folder.
        :raises ValueError: an argument has no such value; both sides are the same file.
        :raises TypeError: the destination is neither a path nor has an ``async write``.
        :raises LimitError: a chunk does not fit into the memory limit.
        :raises WorkerError: workers died twice on the same chunk.
        """
        from aiocompress.verbs import files

        codec = names.codec_for(name_of(destination)) if codec is None else codec
        recipe = options.make_recipe(codec, compression_level, chunk_size, long=long_distance)
        writing = options.make_writing(on_exists, fsync, progress)
        return await files.compress_file(self._pool, source, destination, recipe, writing)

    async def decompress_file(
        self,
        source: Source,
        destination: Sink,
        chunk_size: Size | None = None,
        *,
        max_output: Size | None = None,
        max_window: Size = DEFAULT_MAX_WINDOW,
        on_exists: OnExists = "error",
        fsync: bool | None = None,
        progress: ProgressOption = False,
    ) -> Report:
        """Decompress a zstd, gzip or zlib file of any writer; its content says which.

        :param source: a path, or any other source of ``compress_stream`` but a folder or a list.
        :param destination: as for ``compress_file``. A file or an object of S3 appears when
            everything is checked; an object with ``async write(data)`` gets each run of frames
            once that is checked, so that an error may come after good bytes.
        :param chunk_size: bytes read at once; default: 2 MiB.
        :param max_output: the most bytes to write, an int or text.
        :param max_window: the largest zstd window in bytes, an int or text.
        :param on_exists: as for ``compress_file``; so are ``fsync`` and ``progress``.
        :raises FormatError: the source is in none of these formats.
        :raises CorruptError: the source is damaged; ``TruncatedError``: its end is missing.
        :raises LimitError: the result is larger than ``max_output``, or a window than
            ``max_window``.
        :raises OSError: a file cannot be read or written; ``FileExistsError``: it exists. What the
            object's ``write`` raises goes out as it is.
        :raises ValueError: an argument has no such value; both sides are the same file.
        :raises TypeError: the destination is neither a path nor has an ``async write``.
        :raises WorkerError: workers died twice on the same chunk.
        """
        from aiocompress.verbs import files

        reading = options.make_reading(max_output, max_window, chunk_size)
        writing = options.make_writing(on_exists, fsync, progress)
        return await files.decompress_file(self._pool, source, destination, reading, writing)

    async def compress_folder(
        self,
        source: FolderSource,
        destination: Sink,
        chunk_size: Size | None = None,
        *,
        layout: Layout | None = None,
        codec: Codec | None = None,
        compression_level: int | None = None,
        long_distance: bool = False,
        prefix: str = "",
        exclude: Iterable[str] = (),
        reproducible: bool = False,
        xattrs: bool = False,
        sparse: bool = True,
        on_error: OnError = "raise",
        on_exists: OnExists = "error",
        fsync: bool | None = None,
        progress: ProgressOption = False,
    ) -> Report:
        """Compress a folder: into one indexed tar archive, or into a tree of compressed files.

        An archive (``.tar.zst``, ``.tar.gz``) is a POSIX pax tar that any tar reads, with an index
        that lets ``open_archive`` find members without reading the rest. Its bytes depend on the
        tree, ``codec``, ``compression_level`` and ``chunk_size`` alone.

        :param source: a folder, whose members are named relative to it; or a file; or a list of
            folders and files, each of which is stored under its own name.
        :param destination: a path; or, unless the layout is "mirror", ``s3://BUCKET/KEY`` or an
            object with ``async write(data)``, as for ``compress_file``: this gets a ``.tar.zst`` by
            default.
        :param chunk_size: as for ``compress_file``; at least 1,024 for an archive.
        :param layout: "archive"; "mirror": each file becomes FILE.zst or FILE.gz in a folder of
            the same structure; "framed": the plain container of the script that this project began
            with. Default: an archive if the destination has such a suffix, otherwise a mirror.
        :param codec: "zstd" or "gzip"; default: as the suffix says, or zstd.
        :param compression_level: as for ``compress_file``.
        :param long_distance: as for ``compress_file``; for archives.
        :param prefix: a folder to put around all members of the archive.
        :param exclude: patterns of files and folders to leave out, by the rules of gitignore.
        :param reproducible: no owners, plain modes, no time after SOURCE_DATE_EPOCH (or 0).
        :param xattrs: store extended attributes too.
        :param sparse: store files with at least 1 MiB of holes as sparse ones (GNU tar's format
            1.0), and not their zeros. ``reproducible`` stores zeros: holes are the file system's.
        :param on_error: what to do when a file cannot be read: "raise", or "skip" and report it.
        :param on_exists: as for ``compress_file``; so are ``fsync`` and ``progress``.
        :raises OSError: a file cannot be read or written; ``FileExistsError``: it exists. What the
            object's ``write`` raises goes out as it is.
        :raises FormatError: the name of a file does not fit into the framed layout.
        :raises ValueError: an argument has no such value, two sources have the same name, or the
            suffix is that of another format.
        :raises TypeError: the destination is neither a path nor has an ``async write``, or it is
            an object and the layout "mirror".
        :raises LimitError: a chunk does not fit into the memory limit.
        :raises WorkerError: workers died twice on the same chunk.
        """
        from aiocompress.verbs import folders

        name = name_of(destination)
        kind = names.layout_for(name, layout)
        if codec is None:
            codec = names.codec_for(name) if kind == "archive" else "zstd"
        recipe = options.make_recipe(codec, compression_level, chunk_size, long=long_distance)
        writing = options.make_writing(on_exists, fsync, progress)
        packing = options.make_packing(
            prefix,
            exclude,
            reproducible=reproducible,
            xattrs=xattrs,
            on_error=on_error,
            sparse=sparse,
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
        strip_components: int = 0,
        unwrap: bool = False,
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
        """Restore the folder that became an archive or a tree of compressed files.

        The content of ``source`` says what it is: a ``.tar.zst``, ``.tar.gz`` or ``.tar`` of any
        writer, a framed container, or a folder of compressed files. See ``Archive.extract`` for
        what is restored, and what never happens.

        :param source: a path; or the URL of an archive, with the extra ``remote``.
        :param destination: the path of a folder, which appears when it is whole.
        :param chunk_size: bytes read at once; default: 2 MiB.
        :param members: of an archive: names, folders or shell patterns; None: all.
        :param strip_components: of an archive: how many parts to leave out of each name; see there.
        :param unwrap: of an archive: make no folder in a folder of the same name; see there.
        :param on_error: what to do about members that are damaged or refused: "raise", or "skip"
            and report them.
        :param preserve: owners, set-user-ID bits, extended attributes, pipes and devices as well.
        :param max_output: the most raw bytes to decode, an int or text.
        :param max_members: the most members to restore.
        :param max_member_size: the most bytes of one member; a larger one is refused.
        :param max_metadata: the most bytes of names and attributes before one member of an archive.
        :param max_window: the largest zstd window in bytes, an int or text.
        :param on_exists: "error" if the folder exists and is not empty; "replace" and "skip" say
            what happens to files in it that exist.
        :param fsync: as for ``compress_folder``; so is ``progress``.
        :raises FormatError: the source is nothing of this kind.
        :raises CorruptError: the source is damaged; ``TruncatedError``: its end is missing.
        :raises UnsafeMemberError: a member would write or lead outside the folder.
        :raises MemberNotFoundError: no member has one of the given names.
        :raises LimitError: the source exceeds one of these limits.
        :raises OSError: a file cannot be read or written; ``FileExistsError``: it exists; or the
            disk has no room for everything that the index of the archive lists.
        """
        from aiocompress.verbs import folders

        restoring = options.make_restoring(
            members,
            on_error,
            max_members,
            max_member_size,
            strip_components=strip_components,
            unwrap=unwrap,
            preserve=preserve,
        )
        reading = options.make_reading(max_output, max_window, chunk_size, max_metadata)
        writing = options.make_writing(on_exists, fsync, progress)
        return await folders.decompress_folder(
            self._pool, source, destination, restoring, reading, writing
        )

    async def recover(
        self,
        source: PathLike,
        destination: PathLike,
        *,
        keep_damaged: bool = False,
        max_window: Size = DEFAULT_MAX_WINDOW,
        on_exists: OnExists = "error",
        fsync: bool | None = None,
        progress: ProgressOption = False,
    ) -> Report:
        """Save everything that is whole from a damaged archive or compressed file.

        Frames are found by their magic number and verified by their checksum; members are found by
        their headers and by what is left of the index. A member is saved only if all of it is
        there; ``Report.skipped`` names the damaged and the lost. A compressed file that is not an
        archive counts as one member. Where files were joined, those of all archives are saved; of
        several of one name, the last wins. The source is never changed.

        :param source: the path of a file of any writer.
        :param destination: the path of a folder, or of a new archive, by its suffix.
        :param keep_damaged: keep damaged members as ``NAME.damaged``, with zeros in the gaps.
        :param max_window: the largest zstd window in bytes, an int or text.
        :param on_exists: as for ``compress_folder``; so are ``fsync`` and ``progress``.
        :returns: a report; its ``skipped_count`` is 0 if nothing was damaged.
        :raises CorruptError: nothing could be saved.
        :raises LimitError: no frame was found, and the first one needs a larger window.
        :raises FormatError: the source holds no part of such a file.
        :raises ValueError: an argument has no such value; the destination is the source.
        :raises OSError: a file cannot be read or written; ``FileExistsError``: it exists.
        """
        from aiocompress.verbs.recover.recover import recover

        reading = options.make_reading(None, max_window)
        writing = options.make_writing(on_exists, fsync, progress)
        with naming(os.fspath(destination)):
            return await recover(
                self._pool,
                source,
                destination,
                keep_damaged=keep_damaged,
                max_window=reading.max_window,
                writing=writing,
            )

    def open_archive(
        self,
        source: Source | Positional,
        *,
        max_window: Size = DEFAULT_MAX_WINDOW,
        max_metadata: Size = DEFAULT_MAX_METADATA,
    ) -> Archive:
        """Open an archive: ``async with engine.open_archive(path) as archive``.

        :param source: a path; a URL, with the extra ``remote``; an object with ``async size()`` and
            ``async read_at(offset, n)``; or any source of ``decompress_stream``, which can be read
            only once.
        :param max_window: the largest zstd window in bytes, an int or text.
        :param max_metadata: the most bytes of names and attributes before one member.
        :raises ValueError: a size cannot be read. When opened: ``OSError``, ``FormatError`` if the
            source is not an archive, and ``AiocompressError`` for a URL without the extra. Of what
            is elsewhere, everything may raise an ``OSError`` with its URL, and ``CorruptError`` if
            it was replaced since.
        """
        from aiocompress.api.archive import Archive

        reading = options.make_reading(None, max_window, max_metadata=max_metadata)
        return Archive(self._pool, source, reading)

    async def content_encoding(self, path: PathLike) -> Codec | None:
        """Return the ``Content-Encoding`` under which a file can be sent as it is: zstd or gzip.

        Only what is one frame or member, and nothing else, is one that every HTTP client decodes to
        its end: what ``compress_stream(single=True)`` makes, a file of up to 64 KiB, and the files
        of ordinary tools. Where the member of a ``.gz`` does not state its size, it is decoded to
        see that, if it has up to 1 MiB.

        :returns: None, if there is none: the file is of several frames or members, needs a
            dictionary or a zstd window above 8 MiB, or is not compressed at all.
        :raises OSError: the file cannot be read.
        """
        from aiocompress.verbs.single import coding_of

        self._pool.check()
        return await coding_of(self._pool, os.fspath(path))

    def create_archive(
        self,
        destination: Sink,
        *,
        codec: Codec | None = None,
        compression_level: int | None = None,
        chunk_size: Size | None = None,
        on_exists: OnExists = "error",
        fsync: bool | None = None,
    ) -> ArchiveWriter:
        """Make an archive: ``async with engine.create_archive(path) as writer``.

        Members come from memory, downloads, databases, files and folders: ``await
        writer.add(name, source)``. It has the same index as what ``compress_folder`` packs, and the
        same bytes if it has the same members. They depend on nothing else but ``codec``,
        ``compression_level`` and ``chunk_size``.

        :param destination: as for ``compress_file``; an object gets a ``.tar.zst`` by default.
        :param codec: "zstd" or "gzip"; default: as the suffix says.
        :param compression_level: as for ``compress_file``.
        :param chunk_size: as for ``compress_folder``.
        :param on_exists: "error", or "replace": what was there stays until the archive is whole.
        :param fsync: as for ``compress_file``.
        :raises ValueError: an argument has no such value, or the suffix is unknown. When opened:
            ``OSError``, ``FileExistsError``, and ``TypeError`` if the destination is neither a path
            nor has an ``async write``.
        """
        from aiocompress.api.writer import created

        return created(
            self._pool,
            destination,
            codec=codec,
            compression_level=compression_level,
            chunk_size=chunk_size,
            on_exists=on_exists,
            fsync=fsync,
        )

    @overload
    def open(
        self,
        file: AnyFile,
        mode: BinaryMode = "rb",
        *,
        codec: Codec | None = None,
        compression_level: int | None = None,
        atomic: bool = False,
    ) -> AsyncFile[bytes]: ...

    @overload
    def open(
        self,
        file: AnyFile,
        mode: TextMode,
        *,
        codec: Codec | None = None,
        compression_level: int | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        atomic: bool = False,
    ) -> AsyncFile[str]: ...

    @overload
    def open(
        self,
        file: AnyFile,
        mode: str,
        *,
        codec: Codec | None = None,
        compression_level: int | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        atomic: bool = False,
    ) -> AsyncFile[Any]: ...

    def open(
        self,
        file: AnyFile,
        mode: str = "rb",
        *,
        codec: Codec | None = None,
        compression_level: int | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        atomic: bool = False,
    ) -> AsyncFile[Any]:
        """Open a compressed file as if it were not: ``async with engine.open(path) as file``.

        It is read and written in place, as by ``gzip.open``, in parallel, and a block ahead of
        whoever reads. ``await engine.open(path)`` opens it, too, and then it must be closed.

        To append puts a container of its own behind what is there, whose bytes are never touched:
        every reader takes the two for one. Where no table says that the file is whole, it is read
        to its end first. While a file is written, others can read it up to its last ``flush``; that
        it was cut off shows only once it was closed.

        With the extra ``remote``, a URL is read by ranges, and sought, and ``s3://BUCKET/KEY`` is
        written as ``atomic`` has it, but not appended to.

        :param file: a path or URL; a descriptor, which is closed with the file; to read, an object
            with ``async size()`` and ``async read_at(offset, n)``, or any source of
            ``decompress_stream``, which cannot be sought; to write, one with ``async write(data)``.
        :param mode: "r", "w" (replace), "x" (must not exist) or "a" (append), and "b" for bytes,
            which is the default, or "t" for text.
        :param codec: "zstd" or "gzip"; default: as the suffix says, and zstd for what has no path.
        :param compression_level: zstd -7 to 22 (default 3), gzip 0 to 12 (default 6).
        :param encoding: of text, as for ``io.TextIOWrapper``; so are ``errors`` and ``newline``.
        :param atomic: the file appears under its name when it is closed, and an error in the body
            of ``async with`` leaves what was there before.
        :raises ValueError: there is no such mode, codec or level; an argument that means nothing in
            this mode; the suffix is unknown.
        :raises LookupError: there is no such encoding. When opened: ``OSError``; and, to append,
            ``CorruptError`` and ``FormatError`` if nobody would find what is appended.
        """
        from aiocompress.api.opening import open_file

        return open_file(
            self._pool,
            file,
            mode,
            codec=codec,
            compression_level=compression_level,
            encoding=encoding,
            errors=errors,
            newline=newline,
            atomic=atomic,
        )

    async def test(
        self,
        source: Source,
        *,
        max_window: Size = DEFAULT_MAX_WINDOW,
        max_metadata: Size = DEFAULT_MAX_METADATA,
        progress: ProgressOption = False,
    ) -> Report:
        """Decode all of a file and check every frame and checksum; nothing is written.

        Of a tar, all members are checked, its end, and that the index agrees if it has one. What is
        compressed is taken for a tar if its name says so, or if it begins like one.

        :param source: a path, or any other source of ``decompress_stream``.
        :param max_window: the largest zstd window in bytes, an int or text.
        :param max_metadata: the most bytes of names and attributes before one member of an archive.
        :param progress: as for ``compress_file``.
        :raises FormatError: the source is not compressed.
        :raises CorruptError: the source, or the tar in it, is damaged; ``TruncatedError``: its end
            is missing.
        :raises LimitError: the source exceeds one of these limits.
        :raises OSError: the source cannot be read.
        """
        from aiocompress.verbs.archive import check

        reading = options.make_reading(None, max_window, max_metadata=max_metadata)
        return await check.test(self._pool, source, reading, progress)
