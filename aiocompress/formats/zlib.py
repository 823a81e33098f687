"""Concatenated zlib streams (RFC 1950), read only: ``.compressed`` and ``.zz`` files."""

from __future__ import annotations

from typing import Final

from aiocompress.errors import CorruptError, FormatError
from aiocompress.formats.base import STREAM, Codec, Container, Format, Reader
from aiocompress.formats.deflate import StreamDecoder

_WBITS: Final = 15
_DEFLATE: Final = 8
_LARGEST_WINDOW: Final = 7


def parse_header(head: bytes) -> tuple[int, bytes] | None:
    """Return the size of a stream's header, and the header; see ``StreamDecoder``.

    :raises CorruptError: these bytes are not the header of a zlib stream.
    :raises FormatError: the stream needs a dictionary.
    """
    if len(head) < 2:
        return None
    method, flags = head[0], head[1]
    window = method >> 4
    if method & 15 != _DEFLATE or window > _LARGEST_WINDOW or (method << 8 | flags) % 31:
        raise CorruptError("not a zlib stream", offset=0)
    if flags & 32:
        raise FormatError("the zlib stream needs a dictionary", offset=0)
    return 2, head[:2]


def _is_magic(head: bytes) -> bool:
    try:
        return parse_header(head) is not None
    except (CorruptError, FormatError):
        return False


FORMAT = Format(
    name="zlib",
    suffixes=(".zz", ".compressed"),
    is_magic=_is_magic,
    codec=Codec(
        open_stream=lambda _max_window: StreamDecoder("zlib", _WBITS, parse_header),
        decompress=lambda _frame, _room: STREAM,
    ),
    container=Container(Reader),
)
