"""Payloads: small ones are compressed directly, into the same bytes as a file."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiocompress import (
    ClosedError,
    CorruptError,
    Engine,
    FormatError,
    LimitError,
    TruncatedError,
)

from ..help.data import noise, text
from ..help.tools import run, tool
from .sample import KIB, all_of, pieces

LARGEST = 64 * KIB
CODECS = ("zstd", "gzip")
JSON = b'{"id": 12345, "name": "a name", "tags": ["one", "two"], "at": "2026-11-28T08:00:00Z"}  '


@pytest.fixture(params=["process", "thread"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """An engine of each kind."""
    async with Engine(2, executor=request.param) as engine:
        yield engine


@pytest.mark.parametrize("codec", CODECS)
@given(
    size=st.one_of(
        st.integers(0, 200),
        st.integers(4 * KIB - 2, 4 * KIB + 2),
        st.integers(LARGEST - 2, LARGEST + 2),
    ),
    level=st.sampled_from([None, 1, 9]),
    seed=st.integers(0, 99),
)
@example(size=0, level=None, seed=0)
@settings(max_examples=60, deadline=None)
def test_any_payload_comes_back(codec: str, size: int, level: int | None, seed: int) -> None:
    """Whatever its size; and it is what a stream of the same bytes becomes."""
    data = noise(size // 2, seed) + text(size - size // 2)

    async def there_and_back() -> None:
        async with Engine(1, executor="thread") as engine:
            options: Any = {"codec": codec, "compression_level": level}
            packed = await engine.compress(data, **options)
            assert packed == await all_of(engine.compress_stream(pieces(data), **options))
            assert await engine.decompress(packed) == data
            some = pieces(packed, len(packed) // 50 + 7)
            assert await all_of(engine.decompress_stream(some)) == data
            assert engine.statistics().raw_bytes == 4 * len(data)

    asyncio.run(there_and_back())


@pytest.mark.parametrize("codec", CODECS)
async def test_bytes_of_files(engine: Engine, codec: str, tmp_path: Path) -> None:
    """A payload, a file and a file of a mirrored tree all become the same."""
    suffix = {"zstd": ".zst", "gzip": ".gz"}[codec]
    for size in (0, 1, 100, LARGEST, LARGEST + 1):
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / "data").write_bytes(text(size))
        packed = await engine.compress(text(size), codec=codec)
        one, all_ = tmp_path / f"{size}{suffix}", tmp_path / f"{size}.mirror"
        await engine.compress_file(folder / "data", one, fsync=False)
        await engine.compress_folder(folder, all_, layout="mirror", codec=codec, fsync=False)
        assert one.read_bytes() == packed == (all_ / f"data{suffix}").read_bytes()


async def test_sizes(engine: Engine) -> None:
    """Little more than the codec's own bytes: a checksum, and no table."""
    assert len(await engine.compress(JSON)) <= len(zstandard.compress(JSON)) + 4
    assert len(await engine.compress(JSON, codec="gzip")) <= len(gzip.compress(JSON, 6))


@pytest.mark.parametrize("size", [0, 87, LARGEST])
async def test_tools_read_them(engine: Engine, size: int) -> None:
    """zstd, gzip and Python's own modules do."""
    data = (JSON * (size // len(JSON) + 1))[:size]
    packed = await engine.compress(data)
    assert run(tool("zstd"), "-dc", data=packed) == data
    assert zstandard.ZstdDecompressor().decompress(packed) == data
    packed = await engine.compress(data, codec="gzip")
    assert run(tool("gzip"), "-dc", data=packed) == data
    assert gzip.decompress(packed) == data


async def test_payloads_of_other_tools(engine: Engine) -> None:
    """Any frame or member, several of them, with or without sizes and checksums."""
    bare = zstandard.ZstdCompressor(write_content_size=False).compress(JSON)
    many = zstandard.compress(JSON) + bare + zstandard.compress(b"end")
    assert await engine.decompress(bare) == JSON
    assert await engine.decompress(many) == JSON * 2 + b"end"
    assert await engine.decompress(gzip.compress(JSON) * 3) == JSON * 3
    assert await engine.decompress(run(tool("gzip"), "-nc9", data=JSON)) == JSON
    assert await engine.decompress(zlib.compress(JSON)) == JSON
    assert await engine.decompress(gzip.compress(bytes(10 << 20), 9)) == bytes(10 << 20)


@pytest.mark.parametrize("codec", CODECS)
async def test_damage(codec: str) -> None:
    """Cut anywhere, it is an error; with a bit flipped anywhere, too, or the same bytes."""
    async with Engine(1, executor="thread") as engine:
        packed = await engine.compress(JSON, codec=codec)
        for end in range(len(packed)):
            with pytest.raises(TruncatedError if end > 3 else (TruncatedError, FormatError)):
                await engine.decompress(packed[:end])
        for bit in range(len(packed) * 8):
            damaged = bytearray(packed)
            damaged[bit // 8] ^= 1 << bit % 8
            try:
                assert await engine.decompress(damaged) == JSON
            except (CorruptError, FormatError, LimitError):
                continue
        with pytest.raises(CorruptError, match="garbage"):
            await engine.decompress(packed + b"garbage")


async def test_limits(engine: Engine) -> None:
    """``max_output`` counts, for a bomb too; so does the window."""
    packed = await engine.compress(JSON)
    assert await engine.decompress(packed, max_output=len(JSON)) == JSON
    with pytest.raises(LimitError, match="max_output"):
        await engine.decompress(packed, max_output=len(JSON) - 1)
    bomb = await engine.compress(bytes(50 << 20))
    with pytest.raises(LimitError, match="max_output"):
        await engine.decompress(bomb[:100_000], max_output="1MiB")
    parameters = zstandard.ZstdCompressionParameters(window_log=28)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(LimitError, match="window"):
        await engine.decompress(stream.compress(JSON) + stream.flush())


async def test_many_at_once(engine: Engine) -> None:
    """Thousands of callers each get their own bytes back, and the loop goes on."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async def one(number: int) -> bool:
        data = JSON * (number % 100) + b"%d" % number
        return await engine.decompress(await engine.compress(data)) == data

    ticking = asyncio.ensure_future(tick())
    assert all(await asyncio.gather(*map(one, range(2000))))
    ticking.cancel()
    assert ticks > 10
    assert engine.statistics().slots_peak == 0


async def test_beside_expensive_work(engine: Engine) -> None:
    """Small payloads do not wait for the slots that three files of level 19 fill."""
    data = text(1 << 20) * 16
    options: Any = {"compression_level": 19, "chunk_size": "1MiB"}
    streams = [engine.compress_stream(data, **options) for _ in range(3)]
    readers = [asyncio.ensure_future(all_of(stream)) for stream in streams]
    async with asyncio.timeout(10):
        while engine.statistics().slots_in_use < 3:  # noqa: ASYNC110 - there is no event for that
            await asyncio.sleep(0.01)
    for size in (1, 1000, 10_000, LARGEST):
        before = engine.statistics().compressed_bytes
        assert await engine.decompress(await engine.compress(data[:size])) == data[:size]
        # Not one of their chunks, of about 0.3 s each, had to end for that, but by chance.
        assert engine.statistics().compressed_bytes - before < 2 * LARGEST + (1 << 20)
    assert not any(reader.done() for reader in readers)
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)


async def test_closed() -> None:
    """A closed engine says so, for small payloads too."""
    engine = Engine(1)
    await engine.aclose()
    with pytest.raises(ClosedError):
        await engine.compress(b"")
    with pytest.raises(ClosedError):
        await engine.decompress(zstandard.compress(b""))


@pytest.mark.parametrize(
    "before",
    [
        zstandard.compress(b""),
        *(
            b"\x50\x2a\x4d\x18" + size.to_bytes(4, "little") + bytes(size)
            for size in (0, 4, 8, 200)
        ),
    ],
)
async def test_frames_behind_one_without_content(before: bytes, engine: Engine) -> None:
    """An empty frame, or one that is to be skipped, is not all there is."""
    frame = zstandard.compress(JSON)
    assert await engine.decompress(before + frame) == JSON
    assert await engine.decompress(frame + before) == JSON
    with pytest.raises((CorruptError, TruncatedError)):
        await engine.decompress(before + frame[:-1])
