"""Plain values that all floors share: reports, progress, statistics, sizes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

__version__: Final = "0.1.0"

Buffer: TypeAlias = bytes | bytearray | memoryview
PathLike: TypeAlias = str | os.PathLike[str]
Size: TypeAlias = int | str
"""A number of bytes: an int, or text such as ``"4MiB"``, ``"4M"`` or ``"512k"``."""
OnExists: TypeAlias = Literal["error", "replace", "skip"]
Layout: TypeAlias = Literal["archive", "mirror", "framed"]
OnError: TypeAlias = Literal["raise", "skip"]
Kind: TypeAlias = Literal[
    "file", "directory", "symlink", "hardlink", "fifo", "character device", "block device"
]

KIB, MIB = 1 << 10, 1 << 20
DEFAULT_MAX_WINDOW = 128 * MIB
DEFAULT_MAX_METADATA = MIB

_UNITS = {"": 1, "K": KIB, "M": MIB, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"\s*(\d{1,30})\s*([KMGT]?)(?:I?B)?\s*", re.IGNORECASE | re.ASCII)


def parse_size(size: Size, name: str = "size") -> int:
    """Return ``size`` in bytes; units are powers of 1024, whichever way they are spelled.

    :param size: a positive int, or text such as ``"4MiB"``.
    :param name: what the size is called in an error.
    :raises TypeError: not an int or text.
    :raises ValueError: not positive, or not a size.
    """
    if isinstance(size, str) and (match := _SIZE.fullmatch(size)):
        size = int(match[1]) * _UNITS[match[2].upper()]
    if isinstance(size, bool) or not isinstance(size, int | str):
        msg = f"{name} must be bytes (int) or text such as '4MiB', not {type(size).__name__}"
        raise TypeError(msg)
    if isinstance(size, str) or size < 1:
        msg = f"{name} must be a positive number of bytes such as '4MiB', not {size!r}"
        raise ValueError(msg)
    return size


class Progress(NamedTuple):
    """How far a verb has come.

    ``raw_bytes`` and ``compressed_bytes`` are done; ``done`` of ``total`` is the part of the
    *source* that was consumed, both in bytes, ``total`` None where the source does not say.
    ``files`` counts those of a folder or an archive.
    """

    raw_bytes: int
    compressed_bytes: int
    done: int
    total: int | None
    files: int = 0


class ProgressCallback(Protocol):
    """Called on the event loop's thread, at most 10 times a second and once at the end."""

    def __call__(self, progress: Progress, /) -> object: ...


ProgressOption: TypeAlias = bool | Callable[[Progress], object]


class Report(NamedTuple):
    """What a verb did: bytes on both sides, frames, files, and whatever it left out.

    ``skipped`` are the first 1,000 of ``skipped_count`` sources or members that were left out, a
    line each (of ``recover`` all, up to 8 MiB of names), ``damaged`` of which were refused as
    unsafe, or are not whole; ``changed`` counts files that changed while they were read, told in
    ``warnings``.
    """

    raw_bytes: int
    compressed_bytes: int
    seconds: float
    frames: int
    files: int = 1
    skipped: tuple[str, ...] = ()
    skipped_count: int = 0
    warnings: tuple[str, ...] = ()
    changed: int = 0
    damaged: int = 0

    @property
    def ratio(self) -> float:
        """Raw bytes for each compressed byte; 0.0 where nothing was compressed."""
        return self.raw_bytes / self.compressed_bytes if self.compressed_bytes else 0.0


class Member(NamedTuple):
    """One file, folder or link of an archive.

    ``name`` and ``link`` are text; bytes that are not UTF-8 stand as surrogate escapes (PEP 383).
    ``size`` is bytes of the file's content, ``stored_size`` what of it stands in the archive,
    which is less for a sparse one: ``extents`` then are the (offset, size) of what is stored, and
    the rest is zeros. ``offset`` and ``data_offset`` count bytes of the raw (decompressed)
    archive: where the member's first header begins, and where its content does.
    """

    name: str
    kind: Kind = "file"
    size: int = 0
    mode: int = 0o644
    mtime_ns: int = 0
    uid: int = 0
    gid: int = 0
    user: str = ""
    group: str = ""
    link: str = ""
    device: tuple[int, int] = (0, 0)
    offset: int = 0
    data_offset: int = 0
    stored_size: int = 0
    extents: tuple[tuple[int, int], ...] | None = None
    xattrs: tuple[tuple[str, bytes], ...] = ()

    @property
    def end(self) -> int:
        """Where the next member begins: content is padded to blocks of 512 bytes."""
        return self.data_offset + -(-self.stored_size // 512) * 512


class EngineStatistics(NamedTuple):
    """A look at an engine: slots (chunks in flight), their memory, and what went through.

    ``slots_in_use``, ``slots_peak`` and ``slots_total`` count chunks; ``memory_in_use``,
    ``memory_peak`` and ``memory_limit`` are bytes of the arena. ``raw_bytes`` and
    ``compressed_bytes`` count both ways; ``chunks_redone`` those whose worker had died.
    """

    num_workers: int
    slots_in_use: int
    slots_peak: int
    slots_total: int
    memory_in_use: int
    memory_peak: int
    memory_limit: int
    raw_bytes: int
    compressed_bytes: int
    chunks_redone: int
