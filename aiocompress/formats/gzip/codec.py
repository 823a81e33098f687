"""gzip members (RFC 1952), written by ISA-L, libdeflate or zlib, read by ISA-L or zlib.

| level | written by | on Linux's source, MB/s and ratio, one thread |
|---|---|---|
| 0 | libdeflate 0 (stored) | 14,000 and 1.00 |
| 1 | ISA-L 2; libdeflate 1 where ISA-L has no wheel | 723 and 4.87 (libdeflate 1: 322 and 5.24) |
| 2 to 12 | libdeflate, the same number | 276 and 5.42 (level 2), 152 and 6.02 (level 6) |

libdeflate compresses only what is all there. A member that is written as it comes is ISA-L's at
level 1, and else zlib's, whose highest level is 9.
"""

from __future__ import annotations

import io
import zlib
from typing import Any, Final

from aiocompress.errors import CorruptError
from aiocompress.formats.base import STREAM, Codec
from aiocompress.formats.deflate import StreamDecoder, inflater, opener
from aiocompress.model import MIB, Buffer

MAGIC: Final = b"\x1f\x8b\x08"
PLAIN_HEADER: Final = 10
"""Bytes before the DEFLATE data of every member that ``compress`` returns: no optional field."""
WBITS: Final = 31
"""What ``decompressobj`` takes for gzip with the largest window."""
_ISAL_LEVEL, _ZLIB_HIGHEST = 2, 9
_SMALL: Final = MIB
"""Raw bytes of members that take less time to decode than a file to open."""
_CHECKSUM, EXTRA, _NAME, COMMENT, RESERVED_FLAGS = 2, 4, 8, 16, 0xE0


def check_head(head: bytes) -> None:
    """Check the first 4 bytes of a member.

    :raises CorruptError: the magic is wrong, or reserved flags are set, which ISA-L would accept.
    """
    if not head.startswith(MAGIC[: len(head)]):
        raise CorruptError("not a gzip member", offset=0)
    if len(head) > 3 and head[3] & RESERVED_FLAGS:
        raise CorruptError("the gzip header has reserved flags set", offset=0)


def parse_header(head: bytes) -> tuple[int, bytes] | None:
    """Return the size of a header, and the header without options; see ``StreamDecoder``."""
    check_head(head)
    if len(head) < PLAIN_HEADER:
        return None
    flags, at = head[3], PLAIN_HEADER
    if flags & EXTRA:
        at += 2 + int.from_bytes(head[at : at + 2], "little")
    for flag in (_NAME, COMMENT):
        if flags & flag:
            at = head.find(0, at) + 1
            if not at:
                return None
    if flags & _CHECKSUM:
        at += 2
    if at > len(head):
        return None
    if flags & _CHECKSUM:
        expected = int.from_bytes(head[at - 2 : at], "little")
        if zlib.crc32(head[: at - 2]) & 0xFFFF != expected:
            raise CorruptError("the gzip header is damaged", offset=0)
    return at, MAGIC + b"\0" + head[4:PLAIN_HEADER]


def compress(data: memoryview, level: int) -> bytes | bytearray:
    """Compress one chunk into one member with a plain header of 10 bytes."""
    if level == 1 and inflater() is not zlib:
        frame: bytes = inflater().compress(data, _ISAL_LEVEL, WBITS)
        return frame
    import deflate  # slow to import: only writers of gzip pay for it

    return deflate.gzip_compress(data, level)


class StreamEncoder:
    """Compresses bytes that arrive in pieces into one member; see ``base.StreamEncoder``."""

    def __init__(self, level: int) -> None:
        fast = level == 1 and inflater() is not zlib
        maker, level = (inflater(), _ISAL_LEVEL) if fast else (zlib, min(level, _ZLIB_HIGHEST))
        self._encoder: Any = maker.compressobj(level, zlib.DEFLATED, WBITS)

    def feed(self, data: Buffer, *, flush: bool = False) -> bytes:
        member: bytes = self._encoder.compress(data)
        return member + self._encoder.flush(zlib.Z_SYNC_FLUSH) if flush else member

    def finish(self) -> bytes:
        end: bytes = self._encoder.flush()
        return end


def decompress(frame: memoryview, room: memoryview) -> int:
    """Decode one whole member into ``room``, exactly as long as its last 4 bytes say.

    :returns: its raw length in bytes; ``STREAM`` where the index seems wrong about the member.
    :raises CorruptError: no member begins there.
    """
    check_head(bytes(frame[:4]))
    claimed = int.from_bytes(frame[-4:], "little")
    if claimed > len(room):
        return STREAM
    read = _read_small if claimed <= _SMALL else _read
    try:
        size = read(frame, room[:claimed])
    except (zlib.error, inflater().error, EOFError, OSError):
        # Damage, or an index that lies: reading from front to back tells which.
        return STREAM
    return size if size == claimed else STREAM


def _read_small(frame: memoryview, room: memoryview) -> int:
    """Decode a member; returns its raw length, -1 if it has another, or is not alone."""
    decoder = inflater().decompressobj(WBITS)
    raw = decoder.decompress(frame, len(room) + 1)
    if not decoder.eof or decoder.unused_data or len(raw) != len(room):
        return -1
    room[:] = raw
    return len(raw)


def _read(frame: memoryview, room: memoryview) -> int:
    """Do the same without memory of its own, which takes the system as long as a fifth of it."""
    with opener()(fileobj=io.BytesIO(frame)) as reader:
        size: int = reader.readinto(room)
        return -1 if reader.read(1) else size


CODEC = Codec(
    open_stream=lambda _max_window: StreamDecoder("gzip", WBITS, parse_header),
    decompress=decompress,
    levels=range(13),
    default_level=6,
    # A task costs the main process half a millisecond, in which ISA-L compresses 400 KB.
    chunk_size=lambda _level: 4 * MIB,
    # libdeflate and ISA-L fall back to stored blocks of at least 4 KiB: 5 bytes more for each.
    bound=lambda size: size + (size >> 9) + 512,
    compress=compress,
    open_encoder=StreamEncoder,
)
