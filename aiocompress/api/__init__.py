"""What callers hold: the engine, the verbs as functions, streams, files, archives and members.

Thin: arguments are checked and docstrings are complete here, and ``verbs`` does the work. May
import everything below. All public names stand here; ``aiocompress`` itself hands them out.
"""

from typing import TYPE_CHECKING, Any

from aiocompress.api.engine import Engine
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
from aiocompress.api.stream import ByteStream
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
    EngineStatistics,
    Member,
    OnError,
    OnExists,
    Progress,
    Report,
    Size,
    __version__,
)
from aiocompress.storage.base import Positional

if TYPE_CHECKING:
    from aiocompress.api.archive import Archive, Members
    from aiocompress.api.file import AsyncFile
    from aiocompress.api.member import MemberFile
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
    "Member",
    "MemberFile",
    "Members",
    "Progress",
    "Report",
    # what they take
    "OnError",
    "OnExists",
    "Positional",
    "Size",
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


def __getattr__(name: str) -> Any:
    """Import the names of what stays open when they are asked for: verbs start sooner without."""
    if name in {"Archive", "Members", "MemberFile"}:
        from aiocompress.api import archive

        return getattr(archive, name)
    if name == "ArchiveWriter":
        from aiocompress.api import writer

        return writer.ArchiveWriter
    if name == "AsyncFile":
        from aiocompress.api.file import AsyncFile

        return AsyncFile
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
