"""Parallel, bounded, async compression into standard, indexed files.

The floors, from the top; each imports only what stands below it:

    doors         cli, console, messages, listing, plan; sync
    composition   verbs, engine, recovering, folders, archive, member_file, arguments, files,
                  streams, progress
    motion        salvaging, mirroring, framing, extraction, seeking, compression,
                  decompression, pipeline; sources, storage, pipes; pool, processes, slots,
                  worker; waiting, threads
    files         packing, unpacking, members, saving, framed_files, twins, mirrors, selecting,
                  restoring, incoming, building, trees: plain blocking code, for workers and
                  threads
    bytes         archives, containers, codecs: no input, no output, no asyncio
    vocabulary    errors, model, limits
"""

from typing import TYPE_CHECKING, Any

from .engine import Engine
from .errors import (
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
from .model import EngineStatistics, Member, Progress, Report
from .streams import ByteStream
from .verbs import (
    compress,
    compress_file,
    compress_folder,
    compress_stream,
    decompress,
    decompress_file,
    decompress_folder,
    decompress_stream,
    open_archive,
    recover,
    test,
)
from .version import __version__

if TYPE_CHECKING:
    from .archive import Archive, Members
    from .member_file import MemberFile

__all__ = [
    # the engine
    "Engine",
    "EngineStatistics",
    # the verbs
    "compress",
    "compress_file",
    "compress_folder",
    "compress_stream",
    "decompress",
    "decompress_file",
    "decompress_folder",
    "decompress_stream",
    "open_archive",
    "recover",
    "test",
    # what they give
    "Archive",
    "ByteStream",
    "Member",
    "MemberFile",
    "Members",
    "Progress",
    "Report",
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
    """Import what only archives take when it is asked for: files start sooner."""
    if name in {"Archive", "Members", "MemberFile"}:
        from . import archive  # noqa: PLC0415

        return getattr(archive, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
