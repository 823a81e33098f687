"""Concatenated zlib streams (RFC 1950), read only: ``.compressed`` and ``.zz`` files."""

from __future__ import annotations

from typing import Final

from .base import STREAM, Codec
from .inflate import StreamDecoder

_WBITS: Final = 15
_DEFLATE = 8


def check_head(head: bytes) -> str | None:
    """Say what is wrong with the first 2 bytes of a stream, or None."""
    method, flags = head[0], head[1]
    whole = method & 15 == _DEFLATE and method >> 4 <= 7 and (method << 8 | flags) % 31 == 0
    if not whole:
        return "not a zlib stream"
    return "the zlib stream needs a dictionary" if flags & 32 else None


CODEC = Codec(
    name="zlib",
    suffixes=(".zz", ".compressed"),
    is_magic=lambda head: len(head) > 1 and check_head(head) is None,
    open_stream=lambda _max_window: StreamDecoder("zlib", _WBITS, check_head),
    decompress=lambda _frame, _room: STREAM,
)
