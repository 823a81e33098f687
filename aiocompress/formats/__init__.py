"""Formats: bytes to bytes, with no file, no asyncio and no thread in sight.

``zstd`` and ``gzip`` each hold a codec (chunk to frame), a container (frames to file) and a scan
(what is left after damage); ``zlib`` is read only. ``tar`` holds members and their index,
``framed`` the container of the script this project began with, ``names`` every suffix, ``foreign``
what others write. To add a codec, write a folder and add a row to the table below.

May import: ``model`` and ``errors``. The codecs and ``tar`` do not import each other.
"""

from __future__ import annotations

from typing import Final

from aiocompress.errors import FormatError, TruncatedError
from aiocompress.formats import foreign, gzip, zlib, zstd
from aiocompress.formats.base import Format

HEAD_SIZE: Final = 18
"""How many bytes of a file ``detect`` needs: the longest frame header."""
FORMATS: Final = {row.name: row for row in (zstd.FORMAT, gzip.FORMAT, zlib.FORMAT)}


def detect(head: bytes) -> Format:
    """Return the format of a file by its first ``HEAD_SIZE`` bytes.

    :raises FormatError: no format in the table begins like this.
    :raises TruncatedError: there are no bytes at all.
    """
    if not head:
        raise TruncatedError("is empty: there is nothing to decompress", offset=0)
    for row in FORMATS.values():
        if row.is_magic(head):
            return row
    if (named := foreign.named(head)) is not None:
        what, tool = named
        raise FormatError(f"is {what}", offset=0, hint=f"use {tool}")
    *others, last = FORMATS
    known = f"{', '.join(others)} or {last}"
    raise FormatError(
        f"not a {known} file: it is not compressed, or in a way unknown here "
        f"(it begins with {head[:4].hex(' ')})",
        offset=0,
    )


def writable(name: str) -> Format:
    """Return the format of that name, which has to be one that can be written.

    :raises ValueError: there is no such format, or it is read only.
    """
    if name not in FORMATS or not FORMATS[name].codec.levels:
        writers = " or ".join(repr(row.name) for row in FORMATS.values() if row.codec.levels)
        msg = f"codec must be {writers}, not {name!r}"
        raise ValueError(msg)
    return FORMATS[name]
