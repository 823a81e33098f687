"""Large single frames of others: one thread decodes them, ahead of whoever takes the data."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aiocompress import AiocompressError, CorruptError, Engine, LimitError, TruncatedError

from ..help.built import raw_block, window_byte, zstd_frame
from ..help.data import noise, text
from ..help.engines import given_back
from ..help.tools import run, tool

KIB, MIB = 1 << 10, 1 << 20
RAW = noise(3 * MIB) + text(MIB) * 6 + bytes(3 * MIB) + noise(3 * MIB, 1)
"""Pieces whose raw size is as theirs, many times that, and as theirs again."""


@pytest.fixture(scope="module", params=["zstd", "gzip"])
def frame(request: pytest.FixtureRequest) -> bytes:
    """The data as one frame, or member, of the ordinary tool."""
    return run(tool(request.param), "-q", "-1", "-c", data=RAW)


def small_slots(threads: int = 2) -> Engine:
    """An engine whose slots have no room for the frame."""
    return Engine(threads, 12 * MIB, executor="thread")


async def test_a_file(frame: bytes, tmp_path: Path) -> None:
    """It is decoded to the last byte, in memory that is given back."""
    (tmp_path / "x").write_bytes(frame)
    async with small_slots() as engine:
        report = await engine.decompress_file(tmp_path / "x", tmp_path / "out", fsync=False)
        await given_back(engine)
    assert (tmp_path / "out").read_bytes() == RAW
    assert (report.raw_bytes, report.compressed_bytes) == (len(RAW), len(frame))


@pytest.mark.parametrize("where", ["cut off", "damaged"])
async def test_what_stands_before_damage(frame: bytes, where: str, tmp_path: Path) -> None:
    """All of it is given out before the error, and the error says where."""
    at = len(frame) - 2 * MIB
    broken = frame[:at] if where == "cut off" else frame[:at] + b"\xff" * 64 + frame[at + 64 :]
    (tmp_path / "x").write_bytes(broken)
    got = bytearray()
    error: AiocompressError | None = None
    async with small_slots() as engine:
        try:
            async with engine.decompress_stream(tmp_path / "x") as stream:
                async for part in stream:
                    got += part
        except CorruptError as raised:
            error = raised
    assert error is not None
    assert isinstance(error, TruncatedError) == (where == "cut off")
    assert error.offset is not None
    assert len(RAW) - 3 * MIB < len(got) < len(RAW)
    assert RAW.startswith(got[: len(RAW) - 3 * MIB])


async def test_frames_of_odd_blocks(tmp_path: Path) -> None:
    """Empty frames, and empty and tiny blocks, one frame after another: all in order."""
    chunks = [[], [b""], [b"", noise(100), b""], [b"x"] * 50, [bytes(128 * KIB)] * 20, [b"", b"y"]]
    frames = [
        zstd_frame(
            *(raw_block(data, last=False) for data in chunk),
            raw_block(b""),
            window=window_byte(MIB),
        )
        for chunk in chunks
    ]
    (tmp_path / "x.zst").write_bytes(b"".join(frames) * 3)
    raw = b"".join(b"".join(chunk) for chunk in chunks) * 3
    # No slot has room for what these frames may hold.
    async with Engine(2, 12 * MIB, executor="thread") as engine:
        await engine.decompress_file(tmp_path / "x.zst", tmp_path / "out", fsync=False)
        async with engine.decompress_stream(tmp_path / "x.zst") as stream:
            assert b"".join([part async for part in stream]) == raw
    assert (tmp_path / "out").read_bytes() == raw


async def test_a_reader_who_leaves(frame: bytes, tmp_path: Path) -> None:
    """The thread stops, whenever that is."""
    (tmp_path / "x").write_bytes(frame)
    async with small_slots() as engine:
        for parts in range(0, 60, 7):
            async with engine.decompress_stream(tmp_path / "x") as stream:
                for _ in range(parts):
                    await anext(stream)
        with pytest.raises(LimitError):
            await engine.decompress_file(
                tmp_path / "x", tmp_path / "out", max_output=9 * MIB, fsync=False
            )
        await given_back(engine)
    assert not (tmp_path / "out").exists()


async def test_many_at_once(frame: bytes, tmp_path: Path) -> None:
    """More streams than threads take turns."""
    (tmp_path / "x").write_bytes(frame)
    async with small_slots(1) as engine:

        async def size() -> int:
            async with engine.decompress_stream(tmp_path / "x") as stream:
                return sum([len(part) async for part in stream])

        assert set(await asyncio.gather(*(size() for _ in range(5)))) == {len(RAW)}
