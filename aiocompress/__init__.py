"""Parallel, bounded, async compression into standard, indexed files.

The floors, from the top; each imports only what stands below it:

    doors         cli, console, messages, plan; sync
    composition   verbs, engine, arguments, files, streams, progress
    motion        compression, decompression, pipeline; sources, storage, pipes;
                  pool, processes, slots, worker; waiting
    bytes         containers, codecs: no input, no output, no asyncio
    vocabulary    errors, model, limits
"""

from .engine import Engine
from .errors import (
    AiocompressError,
    ClosedError,
    CorruptError,
    FormatError,
    LimitError,
    TruncatedError,
    WorkerError,
)
from .model import EngineStatistics, Progress, Report
from .streams import ByteStream
from .verbs import (
    compress,
    compress_file,
    compress_stream,
    decompress,
    decompress_file,
    decompress_stream,
    test,
)
from .version import __version__

__all__ = [
    # the engine
    "Engine",
    "EngineStatistics",
    # the verbs
    "compress",
    "compress_file",
    "compress_stream",
    "decompress",
    "decompress_file",
    "decompress_stream",
    "test",
    # what they give
    "ByteStream",
    "Progress",
    "Report",
    # errors
    "AiocompressError",
    "ClosedError",
    "CorruptError",
    "FormatError",
    "LimitError",
    "TruncatedError",
    "WorkerError",
    "__version__",
]
