"""The same data as files of every writer, and what comes of reading them."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator

import pytest
import zstandard

from aiocompress.errors import AiocompressError
from aiocompress.formats import FORMATS, HEAD_SIZE, detect

from .built import gzip_member, indexed_member, skippable
from .containers import TINY, WHOLE, Decoded, check_offset, decode, encode, frames_of
from .data import Split, at_once, noise, text

CHUNKS = [text(90), noise(40), bytes(300)]
RAW = b"".join(CHUNKS)
WRITERS = [name for name, row in FORMATS.items() if row.container.writer]


def zstd_of(data: bytes, *, size: bool = True, checksum: bool = True) -> bytes:
    """A frame as zstd writes it."""
    compressor = zstandard.ZstdCompressor(write_content_size=size, write_checksum=checksum)
    return compressor.compress(data)


def pzstd_of(*chunks: bytes) -> bytes:
    """Frames as pzstd writes them: without content size, behind each one's length."""
    frames = [zstd_of(chunk, size=False) for chunk in chunks]
    return b"".join(skippable(struct.pack("<I", len(frame))) + frame for frame in frames)


def bgzf_of(*chunks: bytes) -> bytes:
    """Blocks as bgzip writes them, with the empty one at the end."""
    return b"".join(indexed_member(chunk, b"BC") for chunk in (*chunks, b""))


def join(members: Iterator[bytes]) -> bytes:
    return b"".join(members)


FILES: dict[str, bytes] = {
    "ours zstd": encode(CHUNKS),
    "ours gzip": encode(CHUNKS, "gzip"),
    "ours gzip 1": encode(CHUNKS, "gzip", 1),
    "zstd": join(map(zstd_of, CHUNKS)),
    "zstd from a pipe": join(zstd_of(chunk, size=False) for chunk in CHUNKS),
    "pzstd": pzstd_of(*CHUNKS),
    "gzip": join(map(gzip.compress, CHUNKS)),
    "gzip with names": join(
        gzip_member(chunk, name=b"a", comment=b"b", header_crc=True) for chunk in CHUNKS
    ),
    "BGZF": bgzf_of(*CHUNKS),
    "pgzip": join(map(indexed_member, CHUNKS)),
    "mgzip": join(indexed_member(chunk, b"MZ") for chunk in CHUNKS),
    "zlib": join(map(zlib.compress, CHUNKS)),
}
"""The same data by every writer, with checksums. What follows must hold for each of them."""
TABLE = len(frames_of(CHUNKS)[-1])
OURS = {name: data for name, data in FILES.items() if name.startswith("ours")}
WHOLES = {"whole": WHOLE, "some whole": 250, "streams": TINY}

every_file = pytest.mark.parametrize("data", FILES.values(), ids=FILES)
every_one_of_ours = pytest.mark.parametrize("data", OURS.values(), ids=OURS)
every_whole = pytest.mark.parametrize("whole", WHOLES.values(), ids=WHOLES)
every_writer = pytest.mark.parametrize("name", WRITERS)


def codec_of(data: bytes) -> str:
    """The name of the codec of a file that is not damaged."""
    return detect(data[:HEAD_SIZE]).name


def attempt(data: bytes, **how: object) -> bytes | type[AiocompressError]:
    """What comes of reading: the data, or the class of the error."""
    try:
        return bytes(decode(data, **how).data)  # type: ignore[arg-type]
    except AiocompressError as error:
        check_offset(error, len(data))
        return type(error)


def failure(data: bytes, split: Split = at_once, **how: object) -> tuple[AiocompressError, bytes]:
    """The error that reading raises, and what had come out before it."""
    into = Decoded()
    with pytest.raises(AiocompressError) as caught:
        decode(data, split=split, into=into, **how)  # type: ignore[arg-type]
    return caught.value, bytes(into.data)
