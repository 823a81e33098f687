"""What callers pass, checked once, and turned into what the floors below take."""

from __future__ import annotations

import os
from typing import Any, get_args

from . import codecs
from .codecs import CODECS
from .compression import Recipe
from .decompression import READ_SIZE, Reading
from .files import Writing
from .model import Buffer, OnExists, PathLike, ProgressOption, Size, parse_size


def codec_for(destination: PathLike) -> str:
    """Return the name of the codec that the suffix of a path says.

    :raises ValueError: it says none.
    """
    name = os.fspath(destination)
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
    max_output: Size | None, max_window: Size, chunk_size: Size | None = None
) -> Reading:
    """Check the limits of reading.

    :raises ValueError: a size that is none.
    :raises TypeError: a size that is neither int nor text.
    """
    return Reading(
        read_size=READ_SIZE if chunk_size is None else parse_size(chunk_size, "chunk_size"),
        max_window=parse_size(max_window, "max_window"),
        max_output=None if max_output is None else parse_size(max_output, "max_output"),
    )


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


def as_bytes(data: Any) -> Buffer:
    """Check that ``data`` is bytes-like, an array included.

    :raises TypeError: it is not.
    """
    return data if isinstance(data, bytes | bytearray | memoryview) else memoryview(data)
