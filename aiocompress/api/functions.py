"""The verbs as functions: each makes an engine for one call. Beyond a script, make one Engine.

``Engine`` spells out the keywords of each verb. Here they are typed dictionaries, so that a
function passes them on as they are, and a type checker still knows each of them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

from aiocompress.api.engine import Engine, long_memory, new_pool
from aiocompress.api.stream import ByteStream
from aiocompress.model import (
    DEFAULT_MAX_METADATA,
    DEFAULT_MAX_WINDOW,
    Buffer,
    Codec,
    Layout,
    OnError,
    OnExists,
    PathLike,
    ProgressOption,
    Report,
    Size,
)
from aiocompress.storage.base import Positional, Sink, Source
from aiocompress.verbs.options import FolderSource, make_reading

if TYPE_CHECKING:
    from aiocompress.api.archive import Archive
    from aiocompress.api.file import AsyncFile
    from aiocompress.api.opening import AnyFile, BinaryMode, TextMode
    from aiocompress.api.writer import ArchiveWriter


class WriteOptions(TypedDict, total=False):
    """How a result is written; see ``Engine.compress_file``."""

    on_exists: OnExists
    fsync: bool | None
    progress: ProgressOption


class CompressOptions(WriteOptions, total=False):
    """See ``Engine.compress_file``."""

    codec: Codec | None
    compression_level: int | None
    long_distance: bool


class TreeOptions(TypedDict, total=False):
    """Of a folder, or a list of paths; see ``Engine.compress_folder``."""

    prefix: str
    exclude: Iterable[str]
    reproducible: bool
    sparse: bool
    on_error: OnError


class PackOptions(CompressOptions, TreeOptions, total=False):
    """See ``Engine.compress_folder``."""

    layout: Layout | None
    xattrs: bool


class CompressStreamOptions(TreeOptions, total=False):
    """See ``Engine.compress_stream``."""

    codec: Codec
    compression_level: int | None
    chunk_size: Size | None
    single: bool
    flush_after: float | None
    long_distance: bool
    progress: ProgressOption


class CreateOptions(TypedDict, total=False):
    """See ``Engine.create_archive``."""

    codec: Codec | None
    compression_level: int | None
    chunk_size: Size | None
    on_exists: OnExists
    fsync: bool | None


class FileOptions(TypedDict, total=False):
    """See ``Engine.open``."""

    codec: Codec | None
    compression_level: int | None
    atomic: bool


class TextFileOptions(FileOptions, total=False):
    """Of a file of text; see ``Engine.open``."""

    encoding: str | None
    errors: str | None
    newline: str | None


class ReadOptions(TypedDict, total=False):
    """See ``Engine.decompress_file``."""

    max_window: Size


class DecompressStreamOptions(ReadOptions, total=False):
    """See ``Engine.decompress_stream``."""

    max_output: Size | None
    max_input: Size | None


class OpenOptions(ReadOptions, total=False):
    """See ``Engine.open_archive``."""

    max_metadata: Size


class DecompressOptions(WriteOptions, ReadOptions, total=False):
    """See ``Engine.decompress_file``."""

    max_output: Size | None


class ExtractOptions(WriteOptions, total=False):
    """See ``Archive.extract``."""

    strip_components: int
    unwrap: bool
    on_error: OnError
    preserve: bool
    max_output: Size | None
    max_members: int | None
    max_member_size: Size | None


class UnpackOptions(ExtractOptions, OpenOptions, total=False):
    """See ``Engine.decompress_folder``."""

    members: Iterable[str] | None


class RecoverOptions(WriteOptions, ReadOptions, total=False):
    """See ``Engine.recover``."""

    keep_damaged: bool


class TestOptions(OpenOptions, total=False):
    """See ``Engine.test``."""

    progress: ProgressOption


def _engine(num_workers: int | None, options: CompressOptions | CompressStreamOptions) -> Engine:
    """Return an engine for one call, with the memory that it takes."""
    is_long = options.get("long_distance", False)
    return Engine(num_workers, long_memory(num_workers) if is_long else None)


async def compress(
    data: Buffer, *, codec: Codec = "zstd", compression_level: int | None = None
) -> bytes:
    """Compress bytes into a container; see ``Engine.compress``."""
    async with Engine() as engine:
        return await engine.compress(data, codec=codec, compression_level=compression_level)


async def decompress(data: Buffer, *, max_output: Size | None = None) -> bytes:
    """Decompress bytes of zstd, gzip or zlib; see ``Engine.decompress``."""
    async with Engine() as engine:
        return await engine.decompress(data, max_output=max_output)


def compress_stream(
    source: Source | FolderSource,
    *,
    num_workers: int | None = None,
    **options: Unpack[CompressStreamOptions],
) -> ByteStream:
    """Compress a stream; see ``Engine.compress_stream``."""
    engine = _engine(num_workers, options)
    stream = engine.compress_stream(source, **options)
    return ByteStream(_with_engine(engine, stream), stream.tally)


def decompress_stream(
    source: Source,
    *,
    num_workers: int | None = None,
    **options: Unpack[DecompressStreamOptions],
) -> ByteStream:
    """Decompress a stream of zstd, gzip or zlib; see ``Engine.decompress_stream``."""
    engine = Engine(num_workers)
    stream = engine.decompress_stream(source, **options)
    return ByteStream(_with_engine(engine, stream), stream.tally)


async def _with_engine(engine: Engine, stream: ByteStream) -> AsyncGenerator[bytes]:
    async with engine, stream:
        yield b""  # the source is open
        async for data in stream:
            yield data


async def compress_file(
    source: Source,
    destination: Sink,
    chunk_size: Size | None = None,
    num_workers: int | None = None,
    **options: Unpack[CompressOptions],
) -> Report:
    """Compress a file into a ``.zst`` or ``.gz`` file; see ``Engine.compress_file``."""
    async with _engine(num_workers, options) as engine:
        return await engine.compress_file(source, destination, chunk_size, **options)


async def decompress_file(
    source: Source,
    destination: Sink,
    chunk_size: Size | None = None,
    num_workers: int | None = None,
    **options: Unpack[DecompressOptions],
) -> Report:
    """Decompress a zstd, gzip or zlib file; see ``Engine.decompress_file``."""
    async with Engine(num_workers) as engine:
        return await engine.decompress_file(source, destination, chunk_size, **options)


async def compress_folder(
    source: FolderSource,
    destination: Sink,
    chunk_size: Size | None = None,
    num_workers: int | None = None,
    **options: Unpack[PackOptions],
) -> Report:
    """Compress a folder into an archive or a tree of files; see ``Engine.compress_folder``."""
    async with _engine(num_workers, options) as engine:
        return await engine.compress_folder(source, destination, chunk_size, **options)


async def decompress_folder(
    source: PathLike,
    destination: PathLike,
    chunk_size: Size | None = None,
    num_workers: int | None = None,
    **options: Unpack[UnpackOptions],
) -> Report:
    """Restore the folder that became an archive or a tree; see ``Engine.decompress_folder``."""
    async with Engine(num_workers) as engine:
        return await engine.decompress_folder(source, destination, chunk_size, **options)


async def recover(
    source: PathLike,
    destination: PathLike,
    num_workers: int | None = None,
    **options: Unpack[RecoverOptions],
) -> Report:
    """Save everything that is whole from a damaged archive; see ``Engine.recover``."""
    async with Engine(num_workers) as engine:
        return await engine.recover(source, destination, **options)


async def test(
    source: Source, *, num_workers: int | None = None, **options: Unpack[TestOptions]
) -> Report:
    """Check all of a compressed file, and write nothing; see ``Engine.test``."""
    async with Engine(num_workers) as engine:
        return await engine.test(source, **options)


def open_archive(
    source: Source | Positional,
    *,
    max_window: Size = DEFAULT_MAX_WINDOW,
    max_metadata: Size = DEFAULT_MAX_METADATA,
    engine: Engine | None = None,
) -> Archive:
    """Open an archive; see ``Engine.open_archive``. Without an engine it works in threads."""
    if engine is not None:
        return engine.open_archive(source, max_window=max_window, max_metadata=max_metadata)
    from aiocompress.api.archive import Archive  # calls about files start sooner without it

    reading = make_reading(None, max_window, max_metadata=max_metadata)
    return Archive(new_pool(None, None, "thread"), source, reading, owns_pool=True)


def create_archive(
    destination: Sink, *, engine: Engine | None = None, **options: Unpack[CreateOptions]
) -> ArchiveWriter:
    """Make an archive; see ``Engine.create_archive``. Without an engine it works in threads."""
    if engine is not None:
        return engine.create_archive(destination, **options)
    from aiocompress.api.writer import created

    return created(new_pool(None, None, "thread"), destination, owns_pool=True, **options)


@overload
def open(
    file: AnyFile,
    mode: BinaryMode = "rb",
    *,
    engine: Engine | None = None,
    **options: Unpack[FileOptions],
) -> AsyncFile[bytes]: ...


@overload
def open(
    file: AnyFile,
    mode: TextMode,
    *,
    engine: Engine | None = None,
    **options: Unpack[TextFileOptions],
) -> AsyncFile[str]: ...


@overload
def open(
    file: AnyFile,
    mode: str,
    *,
    engine: Engine | None = None,
    **options: Unpack[TextFileOptions],
) -> AsyncFile[Any]: ...


def open(
    file: AnyFile,
    mode: str = "rb",
    *,
    engine: Engine | None = None,
    **options: Unpack[TextFileOptions],
) -> AsyncFile[Any]:
    """Open a compressed file; see ``Engine.open``. Without an engine it works in threads."""
    if engine is not None:
        return engine.open(file, mode, **options)
    from aiocompress.api.opening import open_file

    return open_file(new_pool(None, None, "thread"), file, mode, owns_pool=True, **options)
