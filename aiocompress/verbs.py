"""The verbs as functions: each makes an engine for one call. Beyond a script, make one Engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING

from . import limits
from .arguments import make_reading, make_recipe
from .engine import Engine
from .model import (
    DEFAULT_MAX_METADATA,
    DEFAULT_MAX_WINDOW,
    Buffer,
    Layout,
    OnError,
    OnExists,
    PathLike,
    ProgressOption,
    Report,
    Size,
)
from .sources import AnySource, StreamSource
from .streams import ByteStream
from .workers.pool import WorkerPool

if TYPE_CHECKING:
    from .archive import Archive, ArchiveSource
    from .folders import FolderSource


async def compress(
    data: Buffer, *, codec: str = "zstd", compression_level: int | None = None
) -> bytes:
    """Compress bytes into a container; see ``Engine.compress``."""
    async with Engine() as engine:
        return await engine.compress(data, codec=codec, compression_level=compression_level)


async def decompress(data: Buffer, *, max_output: Size | None = None) -> bytes:
    """Decompress bytes of zstd, gzip or zlib; see ``Engine.decompress``."""
    async with Engine() as engine:
        return await engine.decompress(data, max_output=max_output)


def compress_stream(
    source: AnySource,
    *,
    codec: str = "zstd",
    compression_level: int | None = None,
    chunk_size: Size | None = None,
    num_workers: int | None = None,
) -> ByteStream:
    """Compress a stream; see ``Engine.compress_stream``."""
    make_recipe(codec, compression_level, chunk_size)  # bad arguments are told at once
    engine = Engine(num_workers)
    stream = engine.compress_stream(
        source, codec=codec, compression_level=compression_level, chunk_size=chunk_size
    )
    return ByteStream(_with_engine(engine, stream), stream.tally)


def decompress_stream(
    source: StreamSource,
    *,
    max_output: Size | None = None,
    max_window: Size = DEFAULT_MAX_WINDOW,
    num_workers: int | None = None,
) -> ByteStream:
    """Decompress a stream of zstd, gzip or zlib; see ``Engine.decompress_stream``."""
    make_reading(max_output, max_window)
    engine = Engine(num_workers)
    stream = engine.decompress_stream(source, max_output=max_output, max_window=max_window)
    return ByteStream(_with_engine(engine, stream), stream.tally)


async def _with_engine(engine: Engine, stream: ByteStream) -> AsyncGenerator[bytes]:
    async with engine, aclosing(stream):
        async for data in stream:
            yield data


async def compress_file(
    source: StreamSource,
    destination: PathLike,
    chunk_size: Size | None = None,
    num_workers: int | None = None,
    *,
    codec: str | None = None,
    compression_level: int | None = None,
    on_exists: OnExists = "error",
    fsync: bool | None = None,
    progress: ProgressOption = False,
) -> Report:
    """Compress a file into a ``.zst`` or ``.gz`` file; see ``Engine.compress_file``."""
    async with Engine(num_workers) as engine:
        return await engine.compress_file(
            source,
            destination,
            chunk_size,
            codec=codec,
            compression_level=compression_level,
            on_exists=on_exists,
            fsync=fsync,
            progress=progress,
        )


async def decompress_file(
    source: StreamSource,
    destination: PathLike,
    chunk_size: Size | None = None,
    num_workers: int | None = None,
    *,
    max_output: Size | None = None,
    max_window: Size = DEFAULT_MAX_WINDOW,
    on_exists: OnExists = "error",
    fsync: bool | None = None,
    progress: ProgressOption = False,
) -> Report:
    """Decompress a zstd, gzip or zlib file; see ``Engine.decompress_file``."""
    async with Engine(num_workers) as engine:
        return await engine.decompress_file(
            source,
            destination,
            chunk_size,
            max_output=max_output,
            max_window=max_window,
            on_exists=on_exists,
            fsync=fsync,
            progress=progress,
        )


async def compress_folder(
    source: FolderSource,
    destination: PathLike,
    chunk_size: Size | None = None,
    num_workers: int | None = None,
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
    """Compress a folder into an archive or a tree of files; see ``Engine.compress_folder``."""
    async with Engine(num_workers) as engine:
        return await engine.compress_folder(
            source,
            destination,
            chunk_size,
            layout=layout,
            codec=codec,
            compression_level=compression_level,
            prefix=prefix,
            exclude=exclude,
            reproducible=reproducible,
            xattrs=xattrs,
            on_error=on_error,
            on_exists=on_exists,
            fsync=fsync,
            progress=progress,
        )


async def decompress_folder(
    source: PathLike,
    destination: PathLike,
    chunk_size: Size | None = None,
    num_workers: int | None = None,
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
    """Give back what ``compress_folder`` has compressed; see ``Engine.decompress_folder``."""
    async with Engine(num_workers) as engine:
        return await engine.decompress_folder(
            source,
            destination,
            chunk_size,
            members=members,
            on_error=on_error,
            preserve=preserve,
            max_output=max_output,
            max_members=max_members,
            max_member_size=max_member_size,
            max_metadata=max_metadata,
            max_window=max_window,
            on_exists=on_exists,
            fsync=fsync,
            progress=progress,
        )


async def recover(
    source: PathLike,
    destination: PathLike,
    num_workers: int | None = None,
    *,
    keep_damaged: bool = False,
    on_exists: OnExists = "error",
    fsync: bool | None = None,
    progress: ProgressOption = False,
) -> Report:
    """Save all that is whole of a damaged archive; see ``Engine.recover``."""
    async with Engine(num_workers) as engine:
        return await engine.recover(
            source,
            destination,
            keep_damaged=keep_damaged,
            on_exists=on_exists,
            fsync=fsync,
            progress=progress,
        )


def open_archive(
    source: ArchiveSource,
    *,
    max_window: Size = DEFAULT_MAX_WINDOW,
    max_metadata: Size = DEFAULT_MAX_METADATA,
    engine: Engine | None = None,
) -> Archive:
    """Open an archive; see ``Engine.open_archive``. Without an engine it works in threads."""
    if engine is not None:
        return engine.open_archive(source, max_window=max_window, max_metadata=max_metadata)
    from .archive import Archive  # noqa: PLC0415 - files do without

    pool = WorkerPool(limits.processors(), None, "thread")
    reading = make_reading(None, max_window, max_metadata=max_metadata)
    return Archive(pool, source, reading, owns_pool=True)


async def test(
    source: StreamSource,
    *,
    max_window: Size = DEFAULT_MAX_WINDOW,
    max_metadata: Size = DEFAULT_MAX_METADATA,
    num_workers: int | None = None,
    progress: ProgressOption = False,
) -> Report:
    """Check all of a compressed file, and keep nothing; see ``Engine.test``."""
    async with Engine(num_workers) as engine:
        return await engine.test(
            source, max_window=max_window, max_metadata=max_metadata, progress=progress
        )
