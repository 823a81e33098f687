"""Frames that do not state their size: workers write them where they stand if all are full."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import zstandard

from aiocompress import Engine

from ..help.data import noise, text
from ..help.engines import given_back
from ..help.tools import run, tool

KIB, MIB = 1 << 10, 1 << 20
WINDOW = 64 * KIB
FULL = 4 * WINDOW
"""As many raw bytes as pzstd puts in a frame of this window."""


def packed(data: bytes, *, sized: bool = False) -> bytes:
    """One frame."""
    about = zstandard.ZstdCompressionParameters(
        compression_level=1, window_log=16, write_content_size=sized, write_checksum=True
    )
    return zstandard.ZstdCompressor(compression_params=about).compress(data)


def part(size: int, seed: int) -> tuple[bytes, bytes]:
    """Raw bytes, and the frame of them; of size 0 three that state their sizes."""
    if not size:
        data = noise(3 * MIB, seed)
        return data, b"".join(
            packed(data[at : at + MIB], sized=True) for at in range(0, 3 * MIB, MIB)
        )
    data = noise(min(size, FULL), seed) + text(max(0, size - FULL))
    return data, packed(data)


ORDERS = {
    "as pzstd": [FULL] * 30 + [1000],
    "short ones": [FULL, FULL, 1, *[FULL] * 9, FULL - 1, *[FULL] * 20],
    "longer ones": [2 * MIB, *[FULL] * 9, FULL + 1, *[FULL] * 20],
    "among others": [0, *[FULL] * 5, 0, 7, 0, *[FULL] * 5, 3 * MIB, 0, FULL],
    "all kinds": random.Random(7).choices([FULL, FULL, FULL, 0, 5, 2 * MIB], k=24),
}


@pytest.mark.parametrize("executor", ["process", "thread"])
@pytest.mark.parametrize("order", ORDERS)
async def test_frames_of_any_size(order: str, executor: str, tmp_path: Path) -> None:
    """Whatever follows whatever: all stand where they belong, as zstd puts them."""
    parts = [part(size, seed) for seed, size in enumerate(ORDERS[order])]
    (tmp_path / "x.zst").write_bytes(b"".join(frame for _, frame in parts))
    async with Engine(2, executor=executor) as engine:  # type: ignore[arg-type]
        report = await engine.decompress_file(tmp_path / "x.zst", tmp_path / "x", fsync=False)
        await given_back(engine)
    whole = b"".join(raw for raw, _ in parts)
    assert (tmp_path / "x").read_bytes() == whole
    assert report.raw_bytes == len(whole)


async def test_what_pzstd_writes(tmp_path: Path) -> None:
    """Full frames, and a last one that is not, twice."""
    data = noise(9 * MIB) + text(MIB)
    (tmp_path / "x.zst").write_bytes(2 * run(tool("pzstd"), "-q", "-1", "-p", "2", "-c", data=data))
    async with Engine(2) as engine:
        await engine.decompress_file(tmp_path / "x.zst", tmp_path / "x", fsync=False)
    assert (tmp_path / "x").read_bytes() == data + data
