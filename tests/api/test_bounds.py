"""The engine's bounds: memory, output and windows, whatever the streams do."""

# They look at files, and wait for what has no event:
# ruff: noqa: ASYNC110, PT012

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import aiocompress
from aiocompress import Engine, LimitError

from ..help.data import noise, text
from ..help.tools import run, tool
from .sample import CHUNK, KIB, MIB, TEXT, all_of, pieces


@pytest.mark.parametrize("executor", ["process", "thread"])
async def test_many_streams_share_bounded_memory(executor: Any) -> None:
    """Slots and bytes stay within what the engine says, and everyone gets the right answer."""
    async with Engine(2, "256KiB", executor=executor) as engine:
        streams = [engine.compress_stream(pieces(TEXT), chunk_size=CHUNK) for _ in range(20)]
        results = await asyncio.gather(*map(all_of, streams))
        assert len(set(results)) == 1
        back = await asyncio.gather(*(engine.decompress(result) for result in results))
        assert set(back) == {TEXT}
        statistics = engine.statistics()
        assert statistics.slots_peak <= statistics.slots_total == 4
        assert statistics.memory_peak <= statistics.memory_limit == 256 * KIB


async def test_stuck_streams_stop_nobody() -> None:
    """Of 100 streams the stuck ones, readers and writers both ways, hold no slot."""

    async def stuck(data: bytes) -> AsyncIterator[bytes]:
        yield data[: len(data) // 2]
        await asyncio.sleep(3600)

    async with Engine(2, "512KiB", executor="thread") as engine:
        packed = await all_of(engine.compress_stream(TEXT, chunk_size=CHUNK))
        readers, writers = [], []
        for _ in range(10):
            for stream in (
                engine.compress_stream(TEXT, chunk_size=CHUNK),
                engine.decompress_stream(packed),
            ):
                assert await anext(stream)  # and never again
                readers.append(stream)
            writers.append(asyncio.create_task(all_of(engine.compress_stream(stuck(TEXT)))))
            writers.append(asyncio.create_task(all_of(engine.decompress_stream(stuck(packed)))))
        async with asyncio.timeout(20):
            others = [all_of(engine.compress_stream(TEXT, chunk_size=CHUNK)) for _ in range(30)]
            assert set(await asyncio.gather(*others)) == {packed}
            again = [engine.decompress(packed) for _ in range(30)]
            assert set(await asyncio.gather(*again)) == {TEXT}
        assert engine.statistics().slots_in_use == 0
        for task in writers:
            task.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        for stream in readers:
            await stream.aclose()


async def test_first_come_first_served() -> None:
    """A short stream that comes while a long one runs does not wait for its end."""
    async with Engine(1, executor="thread") as engine:
        long = engine.compress_stream(text(4 * MIB), chunk_size="256K", compression_level=12)
        finished: list[str] = []

        async def go(name: str, stream: aiocompress.ByteStream) -> None:
            await all_of(stream)
            finished.append(name)

        first = asyncio.create_task(go("long", long))
        while not engine.statistics().raw_bytes:
            await asyncio.sleep(0.001)
        await go("short", engine.compress_stream(b"short"))
        await first
        assert finished == ["short", "long"]


async def test_a_slow_reader_holds_bounded_memory() -> None:
    """What was read of the source stays a window ahead of a reader that takes its time."""
    pulled = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal pulled
        while pulled < 4 * MIB:
            pulled += CHUNK
            yield noise(CHUNK)

    async with Engine(2, executor="thread") as engine:
        stream = engine.compress_stream(source(), chunk_size=CHUNK)
        async with stream:
            for taken in range(1, 5):
                await anext(stream)
                await asyncio.sleep(0.05)
                assert pulled <= (taken + engine.statistics().slots_total + 2) * CHUNK


async def test_too_little_memory() -> None:
    """Fewer chunks in flight, and below one an error that says how much is needed."""
    async with Engine(4, 64 * KIB, executor="thread") as engine:
        assert await engine.decompress(await all_of(engine.compress_stream(TEXT, chunk_size=CHUNK)))
        for source in (TEXT, pieces(TEXT)):
            with pytest.raises(LimitError, match=r"needs \d+ bytes.* memory_limit"):
                await all_of(engine.compress_stream(source, chunk_size="64KiB"))
        assert engine.statistics().slots_in_use == 0


async def test_sizes_that_no_machine_has(tmp_path: Path) -> None:
    """They are an error of ours or harmless, never a MemoryError."""
    packed = tmp_path / "a.zst"
    async with Engine(2, executor="thread") as engine:
        with pytest.raises(LimitError, match="memory"):
            await all_of(engine.compress_stream(pieces(TEXT), chunk_size="64TiB"))
        await engine.compress_file(TEXT, packed, "64TiB")
        report = await engine.decompress_file(packed, tmp_path / "b", "64TiB")
        assert report.raw_bytes == len(TEXT)


@pytest.mark.parametrize("limit", [1, len(TEXT) - 1])
async def test_max_output(limit: int, tmp_path: Path) -> None:
    """It holds real bytes, for bytes, streams and files."""
    async with Engine(2, executor="thread") as engine:
        packed = await all_of(engine.compress_stream(TEXT, chunk_size=CHUNK))
        with pytest.raises(LimitError, match="max_output"):
            await engine.decompress(packed, max_output=limit)
        with pytest.raises(LimitError, match="max_output"):
            await engine.decompress_file(packed, tmp_path / "x", max_output=limit)
        seen = 0
        with pytest.raises(LimitError, match="max_output"):
            async for data in engine.decompress_stream(packed, max_output=limit):
                seen += len(data)
        assert seen <= limit
        assert not os.listdir(tmp_path)
        assert await engine.decompress(packed, max_output=len(TEXT)) == TEXT


async def test_max_window() -> None:
    """A window above it is refused with a hint, and read if asked to."""
    data = text(300 * KIB)
    packed = run(tool("zstd"), "-qc", "--long=28", "--no-check", data=data)
    async with Engine(1, executor="thread") as engine:
        with pytest.raises(LimitError, match="max_window"):
            await all_of(engine.decompress_stream(pieces(packed)))
        assert await all_of(engine.decompress_stream(packed, max_window="256MiB")) == data
