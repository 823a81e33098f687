"""Frames of every codec, and what decoders make of them."""

from __future__ import annotations

import gzip
import zlib

import zstandard

from aiocompress.formats.base import STREAM, Codec, Format, StreamDecoder
from aiocompress.model import MIB

from .data import noise, text

LARGEST = 2 * MIB
"""Bytes of the largest block that may come out of a stream, whatever goes in."""
READERS = ["zstd", "gzip", "zlib", "gzip without isal", "zlib without isal"]
CHUNKS = {
    "empty": b"",
    "one byte": b"a",
    "text": text(5000),
    "zeros": bytes(70_000),
    "noise": noise(3000),
    "page": text(4096),
}


def frame_of(codec: Format, chunk: bytes) -> bytes:
    """One frame by somebody else."""
    if codec.name == "zlib":
        return zlib.compress(chunk)
    if codec.name == "gzip":
        return gzip.compress(chunk, mtime=0)
    return zstandard.ZstdCompressor(write_checksum=True).compress(chunk)


def decompress(codec: Codec, frame: bytes, room: int) -> bytes | None:
    """Decode one whole frame; None: it must be decoded as a stream."""
    output = memoryview(bytearray(room))
    size = codec.decompress(memoryview(frame), output)
    return None if size == STREAM else bytes(output[:size])


def stream(decoder: StreamDecoder, *pieces: bytes, into: bytearray | None = None) -> bytes:
    """Decode all of a stream."""
    raw = bytearray() if into is None else into
    for piece in pieces:
        for block in decoder.feed(piece):
            assert 0 < len(block) <= LARGEST
            raw += block
    decoder.finish()
    return bytes(raw)
