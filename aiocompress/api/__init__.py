"""What callers hold: the engine, the verbs as functions, streams, files, archives and members.

Thin: arguments are checked and docstrings are complete here, and ``verbs`` does the work. May
import everything below. All public names stand here; ``aiocompress`` itself hands them out.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from aiocompress.errors import (
    AiocompressError,
    ClosedError,
    CorruptError,
    FormatError,
    LimitError,
    MemberNotFoundError,
    TruncatedError,
    UnsafeMemberError,
    WorkerError,
)
from aiocompress.model import (
    Codec,
    Difference,
    EngineStatistics,
    Member,
    OnError,
    OnExists,
    Progress,
    Report,
    Size,
    __version__,
)
from aiocompress.storage.base import Positional, Sink, Source

if TYPE_CHECKING:
    from aiocompress.api.archive import Archive, Differences, Members
    from aiocompress.api.engine import Engine
    from aiocompress.api.file import AsyncFile
    from aiocompress.api.functions import (
        compress,
        compress_file,
        compress_folder,
        compress_stream,
        create_archive,
        decompress,
        decompress_file,
        decompress_folder,
        decompress_stream,
        open,  # noqa: A004 - the name that ``gzip.open`` has
        open_archive,
        recover,
        test,
    )
    from aiocompress.api.member import MemberFile
    from aiocompress.api.stream import ByteStream
    from aiocompress.api.writer import ArchiveWriter

__all__ = [
    # the engine
    "Engine",
    "EngineStatistics",
    # the verbs
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
    # what they give
    "Archive",
    "ArchiveWriter",
    "AsyncFile",
    "ByteStream",
    "Difference",
    "Differences",
    "Member",
    "MemberFile",
    "Members",
    "Progress",
    "Report",
    # what they take
    "Codec",
    "OnError",
    "OnExists",
    "Positional",
    "Sink",
    "Size",
    "Source",
    # errors
    "AiocompressError",
    "ClosedError",
    "CorruptError",
    "FormatError",
    "LimitError",
    "MemberNotFoundError",
    "TruncatedError",
    "UnsafeMemberError",
    "WorkerError",
    "__version__",
]


_HOMES: Final = {
    "Archive": "archive",
    "ArchiveWriter": "writer",
    "AsyncFile": "file",
    "ByteStream": "stream",
    "Differences": "archive",
    "Engine": "engine",
    "MemberFile": "member",
    "Members": "archive",
}
"""In which module the names stand that neither ``errors`` nor ``functions`` has."""


if not TYPE_CHECKING:  # or a checker of types would take any name for one of ours

    def __getattr__(name: str) -> Any:
        """Import what is asked for and nothing else: programs start sooner."""
        if name not in __all__:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'functions')}"), name)
