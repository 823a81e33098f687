"""The verbs as plain functions: ``compress_file(source, destination)`` is the whole program.

Each call runs an event loop in a new thread, so that it also works where a loop is running already,
as in a notebook. ``loop`` has that thread, ``held`` lends one to an async object for as long as it
is used, and each kind of object has a module for what is special about it. Where async functions
take an object with ``async write(data)``, these also take a plain binary file.
"""

from collections.abc import Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Unpack

from aiocompress.api import Report, Size, Source
from aiocompress.api import functions as verbs
from aiocompress.api.functions import CompressOptions, DecompressOptions, PackOptions
from aiocompress.model import PathLike
from aiocompress.sync.file import (
    PlainSink,
    adapted,
    open,  # noqa: A004 - the name that ``gzip.open`` has
)
from aiocompress.sync.loop import plain
from aiocompress.sync.stream import plain_stream

if TYPE_CHECKING:
    from aiocompress.sync.archive import create_archive, open_archive

__all__ = [
    "compress",
    "compress_file",
    "compress_folder",
    "compress_stream",
    "create_archive",
    "decompress",
    "decompress_file",
    "decompress_folder",
    "decompress_stream",
    "open",
    "open_archive",
    "recover",
    "test",
]

compress = plain(verbs.compress)
decompress = plain(verbs.decompress)
decompress_folder = plain(verbs.decompress_folder)
recover = plain(verbs.recover)
test = plain(verbs.test)
compress_stream = plain_stream(verbs.compress_stream)
decompress_stream = plain_stream(verbs.decompress_stream)


@wraps(verbs.compress_file)
def compress_file(
    source: Source,
    destination: PlainSink,
    chunk_size: Size | None = None,
    num_workers: int | None = None,
    **options: Unpack[CompressOptions],
) -> Report:
    """See ``Engine.compress_file``; the destination may be a binary file, too."""
    to = adapted(destination, "wb")
    return plain(verbs.compress_file)(source, to, chunk_size, num_workers, **options)


@wraps(verbs.decompress_file)
def decompress_file(
    source: Source,
    destination: PlainSink,
    chunk_size: Size | None = None,
    num_workers: int | None = None,
    **options: Unpack[DecompressOptions],
) -> Report:
    """See ``Engine.decompress_file``; the destination may be a binary file, too."""
    to = adapted(destination, "wb")
    return plain(verbs.decompress_file)(source, to, chunk_size, num_workers, **options)


@wraps(verbs.compress_folder)
def compress_folder(
    source: PathLike | Sequence[PathLike],
    destination: PlainSink,
    chunk_size: Size | None = None,
    num_workers: int | None = None,
    **options: Unpack[PackOptions],
) -> Report:
    """See ``Engine.compress_folder``; the destination may be a binary file, too."""
    to = adapted(destination, "wb")
    return plain(verbs.compress_folder)(source, to, chunk_size, num_workers, **options)


if not TYPE_CHECKING:  # or a checker of types would take any name for one of ours

    def __getattr__(name: str) -> Any:
        """Import the archive classes on first use: programs without them start sooner."""
        if name in {"create_archive", "open_archive"}:
            from aiocompress.sync import archive

            return getattr(archive, name)
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
