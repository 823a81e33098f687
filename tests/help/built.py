"""Frames and members built by hand, byte by byte."""

from __future__ import annotations

import struct
import zlib

SKIPPABLE_MAGICS = tuple(range(0x184D2A50, 0x184D2A60))


def raw_block(data: bytes, *, last: bool = True) -> bytes:
    """A zstd block that is not compressed."""
    return (last | len(data) << 3).to_bytes(3, "little") + data


def rle_block(byte: int, size: int, *, last: bool = True) -> bytes:
    """A zstd block of one byte, over and over."""
    return (last | 1 << 1 | size << 3).to_bytes(3, "little") + bytes([byte])


def window_byte(size: int) -> int:
    """The window descriptor of a power of two."""
    return size.bit_length() - 11 << 3


def zstd_frame(
    *blocks: bytes,
    content: int | None = None,
    content_bytes: int = 0,
    window: int | None = None,
    dictionary: bytes = b"",
    descriptor: int = 0,
) -> bytes:
    """A zstd frame without a checksum (RFC 8878, 3.1.1).

    :param content: the size that the header says, in ``content_bytes`` (8: enough for all).
    :param window: the window byte; None: a single segment.
    :param descriptor: more bits of the frame header descriptor.
    """
    size_bytes = 0 if content is None else content_bytes or 8
    descriptor |= {0: 0, 1: 0, 2: 1, 4: 2, 8: 3}[size_bytes] << 6
    descriptor |= (window is None) << 5 | {0: 0, 1: 1, 2: 2, 4: 3}[len(dictionary)]
    head = b"\x28\xb5\x2f\xfd" + bytes([descriptor])
    head += b"" if window is None else bytes([window])
    size = (content or 0) - 256 * (size_bytes == 2)
    return head + dictionary + size.to_bytes(size_bytes, "little") + b"".join(blocks)


def skippable(payload: bytes, magic: int = 0x184D2A50, size: int | None = None) -> bytes:
    """A skippable frame; its header may lie about its size."""
    return struct.pack("<II", magic, len(payload) if size is None else size) + payload


def gzip_member(
    data: bytes,
    *,
    extra: bytes | None = None,
    name: bytes | None = None,
    comment: bytes | None = None,
    header_crc: bool = False,
    level: int = 6,
) -> bytes:
    """A gzip member with these optional fields."""
    fields = (extra, name, comment)
    flags = sum(bit for bit, given in zip((4, 8, 16), fields, strict=True) if given is not None) | (
        2 if header_crc else 0
    )
    head = struct.pack("<4sIBB", b"\x1f\x8b\x08" + bytes([flags]), 0, 0, 255)
    if extra is not None:
        head += struct.pack("<H", len(extra)) + extra
    head += b"".join(text + b"\0" for text in (name, comment) if text is not None)
    if header_crc:
        head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    deflate = zlib.compressobj(level, wbits=-15)
    body = deflate.compress(data) + deflate.flush()
    return head + body + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def indexed_member(data: bytes, name: bytes = b"IG", lie: int = 0, level: int = 6) -> bytes:
    """A gzip member that says its own size, plus ``lie``: ``IG`` or ``MZ``, or BGZF's ``BC``."""
    length = 2 if name == b"BC" else 4
    blank = name + struct.pack("<H", length) + bytes(length)
    size = max(0, len(gzip_member(data, extra=blank, level=level)) + lie)
    value = max(0, size - 1) if name == b"BC" else size
    extra = blank[:4] + value.to_bytes(length, "little")
    return gzip_member(data, extra=extra, level=level)
