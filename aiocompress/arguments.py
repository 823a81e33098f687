"""What callers pass, checked once, and turned into what the floors below take."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Final, get_args

from . import codecs
from .codecs import CODECS
from .compression import Recipe
from .decompression import READ_SIZE, Reading
from .files import Writing
from .model import (
    DEFAULT_MAX_METADATA,
    Buffer,
    Layout,
    OnError,
    OnExists,
    PathLike,
    ProgressOption,
    Size,
    parse_size,
)
from .trees.packing import Packing
from .trees.restoring import Bounds
from .trees.walk import Excluded

TARS: Final = {".tzst": "zstd", ".tgz": "gzip"}
_OTHERS: Final = (
    *(".zip", ".7z", ".rar", ".tar", ".xz", ".txz", ".bz2", ".tbz", ".tbz2", ".lz", ".lzma"),
    *(".lz4", ".br", ".cpio", ".jar", ".whl", ".iso", ".cab", ".deb", ".rpm", ".apk", ".ar"),
)
"""Suffixes of other archives and codecs: no folder is meant by such a name."""


def layout_for(destination: PathLike, layout: Layout | None) -> Layout:
    """Return the layout that is asked for, or that a destination's suffix says.

    :raises ValueError: there is no such layout, or the suffix is that of another format.
    """
    if layout is not None and layout not in get_args(Layout):
        msg = f"layout must be 'archive', 'mirror' or 'framed', not {layout!r}"
        raise ValueError(msg)
    name = os.fspath(destination)
    if layout is not None:
        return layout
    if name.lower().endswith(_OTHERS):
        msg = f"{name}: this format is not written here; name it .tar.zst or .tar.gz, or a folder"
        raise ValueError(msg)
    known = [suffix for codec in CODECS.values() if codec.levels for suffix in codec.suffixes]
    return "archive" if name.lower().endswith((*known, *TARS)) else "mirror"


def make_packing(
    prefix: str,
    exclude: Iterable[str],
    *,
    reproducible: bool,
    xattrs: bool,
    on_error: OnError,
) -> Packing:
    """Check how a tree is to be packed.

    :raises ValueError: SOURCE_DATE_EPOCH is no number, the prefix leads elsewhere.
    """
    check_on_error(on_error)
    parts = [part for part in prefix.split("/") if part not in {"", "."}]
    if ".." in parts:
        msg = f"prefix must not lead out of the archive, as {prefix!r} does"
        raise ValueError(msg)
    clamp = int(os.environ.get("SOURCE_DATE_EPOCH", "0")) if reproducible else None
    inside = "".join(part + "/" for part in parts)
    return Packing((), inside, make_excluded(exclude), on_error, xattrs, clamp)


def make_excluded(patterns: Iterable[str]) -> Excluded | None:
    """Return a function that says what is left out, by the rules of gitignore; None: nothing."""
    if isinstance(patterns, str):
        patterns = [patterns]
    if not (lines := list(patterns)):
        return None
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - most do without

    matches = GitIgnoreSpec.from_lines(lines).match_file

    def excluded(name: bytes, is_folder: bool) -> bool:  # noqa: FBT001
        # Patterns are lines, and "$" in them would match before a newline at the end of a name.
        return matches(os.fsdecode(name).replace("\n", "\ufffd") + "/" * is_folder)

    return excluded


def codec_for(destination: PathLike) -> str:
    """Return the name of the codec that the suffix of a path says.

    :raises ValueError: it says none.
    """
    name = os.fspath(destination)
    for suffix, codec_name in TARS.items():
        if name.lower().endswith(suffix):
            return codec_name
    for codec in CODECS.values():
        if codec.levels and name.lower().endswith(codec.suffixes):
            return codec.name
    msg = f"{name}: unknown suffix; name it .zst or .gz, or say the codec (--codec)"
    raise ValueError(msg)


def make_recipe(codec: str, level: int | None, chunk_size: Size | None) -> Recipe:
    """Check codec, level and chunk size, and fill in the defaults.

    :raises ValueError: there is no such codec, level or size.
    :raises TypeError: the level is no int, or the size neither int nor text.
    """
    row = codecs.named(codec)
    level = row.default_level if level is None else level
    if isinstance(level, bool) or not isinstance(level, int):
        msg = f"compression_level must be an int, not {type(level).__name__}"
        raise TypeError(msg)
    if level not in row.levels:
        msg = (
            f"compression_level of {codec} must be from {row.levels[0]} to {row.levels[-1]}, "
            f"not {level}"
        )
        raise ValueError(msg)
    size = row.chunk_size(level) if chunk_size is None else parse_size(chunk_size, "chunk_size")
    return Recipe(row, level, size)


def make_reading(
    max_output: Size | None,
    max_window: Size,
    chunk_size: Size | None = None,
    max_metadata: Size = DEFAULT_MAX_METADATA,
) -> Reading:
    """Check the limits of reading.

    :raises ValueError: a size that is none.
    :raises TypeError: a size that is neither int nor text.
    """
    return Reading(
        read_size=READ_SIZE if chunk_size is None else parse_size(chunk_size, "chunk_size"),
        max_window=parse_size(max_window, "max_window"),
        max_output=None if max_output is None else parse_size(max_output, "max_output"),
        max_metadata=parse_size(max_metadata, "max_metadata"),
    )


def make_bounds(max_members: int | None, max_member_size: Size | None) -> Bounds:
    """Check how many members may be restored, and how large.

    :raises ValueError: a number below 0, or a size that is none.
    :raises TypeError: a number that is no int, or a size that is neither int nor text.
    """
    if isinstance(max_members, bool) or not isinstance(max_members, int | None):
        msg = f"max_members must be an int, not {type(max_members).__name__}"
        raise TypeError(msg)
    if max_members is not None and max_members < 0:
        msg = f"max_members must not be negative, as {max_members} is"
        raise ValueError(msg)
    size = None if max_member_size is None else parse_size(max_member_size, "max_member_size")
    return Bounds(max_members, size)


def make_writing(on_exists: OnExists, fsync: bool | None, progress: ProgressOption) -> Writing:  # noqa: FBT001
    """Check how a file is to be written.

    :raises ValueError: ``on_exists`` is none of its values.
    :raises TypeError: ``progress`` cannot be called.
    """
    if on_exists not in get_args(OnExists):
        msg = f"on_exists must be 'error', 'replace' or 'skip', not {on_exists!r}"
        raise ValueError(msg)
    if not isinstance(progress, bool) and not callable(progress):
        msg = f"progress must be a bool or a callable, not {type(progress).__name__}"
        raise TypeError(msg)
    return Writing(on_exists, fsync, progress)


def check_on_error(on_error: OnError) -> None:
    """Check what is to be done about what goes wrong.

    :raises ValueError: it is none of its values.
    """
    if on_error not in get_args(OnError):
        msg = f"on_error must be 'raise' or 'skip', not {on_error!r}"
        raise ValueError(msg)


def as_bytes(data: Any) -> Buffer:
    """Check that ``data`` is bytes-like, an array included.

    :raises TypeError: it is not.
    """
    return data if isinstance(data, bytes | bytearray | memoryview) else memoryview(data)
