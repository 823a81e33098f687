"""The verbs as plain functions: ``compress_file(source, destination)`` is the whole program.

Each call runs an event loop in a new thread, so that it also works where a loop is running already,
as in a notebook. ``loop`` has that thread, ``held`` lends one to an async object for as long as it
is used, and each kind of object has a module for what is special about it.
"""

from typing import TYPE_CHECKING, Any

from aiocompress.api import functions as verbs
from aiocompress.sync.file import open  # noqa: A004 - the name that ``gzip.open`` has
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
compress_file = plain(verbs.compress_file)
decompress_file = plain(verbs.decompress_file)
compress_folder = plain(verbs.compress_folder)
decompress_folder = plain(verbs.decompress_folder)
recover = plain(verbs.recover)
test = plain(verbs.test)
compress_stream = plain_stream(verbs.compress_stream)
decompress_stream = plain_stream(verbs.decompress_stream)


def __getattr__(name: str) -> Any:
    """Import the archive classes on first use, which lets programs without them start sooner."""
    if name in {"create_archive", "open_archive"}:
        from aiocompress.sync import archive

        return getattr(archive, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
