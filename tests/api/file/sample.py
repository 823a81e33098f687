"""A file of many frames, and the same data in memory."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

import aiocompress

LINES = [b"%d %s\n" % (number, b"x" * (number * 37 % 90)) for number in range(9_000)]
DATA = b"".join(LINES)
every_suffix = pytest.mark.parametrize("suffix", [".zst", ".gz"])


async def write(path: Path, data: bytes = DATA, mode: str = "wb", frames: int = 9) -> Path:
    """Write data in so many frames."""
    size = -(-len(data) // frames)
    async with aiocompress.open(path, mode) as file:
        for at in range(0, len(data), size):
            assert await file.write(data[at : at + size]) == len(data[at : at + size])
            await file.flush()
    return path


def one_zstd_frame(data: bytes) -> bytes:
    """One frame that does not state its size."""
    made = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return made.compress(data) + made.flush()


FOREIGN: dict[str, Callable[[bytes], bytes]] = {
    "one zstd frame": one_zstd_frame,
    "zstd frames": lambda data: b"".join(
        zstandard.compress(data[at : at + 50_000]) for at in range(0, len(data), 50_000)
    ),
    "one gzip member": gzip.compress,
    "gzip members": lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
}


def plain() -> io.BufferedReader:
    """The data as ``io`` reads it, which is what every file is compared with."""
    return io.BufferedReader(io.BytesIO(DATA))  # type: ignore[arg-type] # as good as a raw file
