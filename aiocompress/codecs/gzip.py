"""gzip members (RFC 1952), written by ISA-L or libdeflate, read by ISA-L or zlib.

| level | written by | on Linux's source, MB/s and ratio, one thread |
|---|---|---|
| 0 | libdeflate 0 (stored) | 14,000 and 1.00 |
| 1 | ISA-L 2; libdeflate 1 where ISA-L has no wheel | 723 and 4.87 (libdeflate 1: 322 and 5.24) |
| 2 to 12 | libdeflate, the same number | 276 and 5.42 (level 2), 152 and 6.02 (level 6) |
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from ..errors import CorruptError
from ..model import MIB
from .base import STREAM, Codec
from .inflate import StreamDecoder, inflater

MAGIC: Final = b"\x1f\x8b\x08"
PLAIN_HEADER: Final = 10
"""Bytes before the DEFLATE data in every member that ``compress`` returns: no optional field."""
_WBITS = 31
_RESERVED_FLAGS = 0xE0


def check_head(head: bytes) -> str | None:
    """Say what is wrong with the first 4 bytes of a member, or None."""
    if head[:3] != MAGIC:
        return "not a gzip member"
    return "the gzip header has reserved flags set" if head[3] & _RESERVED_FLAGS else None


def compress(data: memoryview, level: int) -> bytes | bytearray:
    """Compress one chunk into one member with a plain header of 10 bytes."""
    if level == 1 and inflater() is not zlib:
        frame: bytes = inflater().compress(data, 2, _WBITS)
        return frame
    import deflate  # noqa: PLC0415 - only those who write gzip pay for it

    return deflate.gzip_compress(data, level)


def decompress(frame: memoryview, room: memoryview) -> int:
    """Decode one whole member into ``room``, exactly as long as its last 4 bytes say.

    :returns: its raw length; ``STREAM`` where the member is not as long as the index says.
    :raises CorruptError: it is damaged.
    """
    if wrong := check_head(bytes(frame[:4])):
        raise CorruptError(wrong, offset=0)
    (claimed,) = struct.unpack("<I", frame[-4:])
    decoder = inflater().decompressobj(_WBITS)
    try:
        raw = decoder.decompress(frame, max(1, min(claimed, len(room)) + 1))
    except (zlib.error, inflater().error):
        # Damage, or an index that lies: front to back tells which.
        return STREAM
    if not decoder.eof or decoder.unused_data or len(raw) > len(room):
        return STREAM
    room[: len(raw)] = raw
    return len(raw)


CODEC = Codec(
    name="gzip",
    suffixes=(".gz", ".gzip"),
    is_magic=lambda head: head[:3] == MAGIC,
    open_stream=lambda _max_window: StreamDecoder("gzip", _WBITS, check_head),
    decompress=decompress,
    levels=range(13),
    default_level=6,
    chunk_size=lambda _level: MIB,
    # libdeflate and ISA-L fall back to stored blocks: 5 bytes each, at least 4 KiB long.
    bound=lambda size: size + (size >> 9) + 512,
    compress=compress,
)
