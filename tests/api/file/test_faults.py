"""Files that are cancelled, stuck or forked: nothing is lost that was written, or left behind."""

from __future__ import annotations

import asyncio
import os
import threading
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

import aiocompress
from aiocompress import AiocompressError, Engine

from ...help.data import noise
from ...help.forks import forked
from ...help.programs import until
from .sample import DATA, LINES, every_suffix, write

MIB = 1 << 20


async def _append(path: Path, said: list[bytes]) -> None:
    async with aiocompress.open(path, "ab") as file:
        for line in LINES[:20]:
            await file.write(line)
            await file.flush()
            said.append(line)


async def _replace(path: Path, said: list[bytes]) -> None:
    async with aiocompress.open(path, "wb", atomic=True) as file:
        await file.write(DATA)
        await file.flush()
        await file.write(DATA)
    said.append(b"done")


async def _read(path: Path, said: list[bytes]) -> None:
    async with aiocompress.open(path) as file:
        said.append(await file.readline())
        await file.seek(-1, os.SEEK_END)
        said.append(await file.read())


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("work", [_append, _replace, _read])
async def test_cancelled_anywhere(
    work: Callable[[Path, list[bytes]], Awaitable[None]], tmp_path: Path
) -> None:
    """At every few steps of the loop: what was flushed is there, and nothing else is left."""
    path, before, steps, ended = tmp_path / "a.zst", _descriptors(), 0, False
    while not ended:
        path.unlink(missing_ok=True)
        await write(path, DATA, frames=2)
        said: list[bytes] = []
        task = asyncio.ensure_future(work(path, said))
        for _ in range(steps):
            await asyncio.sleep(0.0002)
        task.cancel()
        await asyncio.wait([task], timeout=20)
        ended = not task.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert os.listdir(tmp_path) == ["a.zst"]
        async with aiocompress.open(path) as file:
            found = await file.read()
        if work is _append:
            assert found.startswith(DATA + b"".join(said))
            assert (DATA + DATA).startswith(found)
        else:
            assert found == DATA * 2 or (found == DATA and b"done" not in said)
        steps += 1 + steps // 2
    until(lambda: _descriptors() <= before)
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("aiocompress-comp")])


async def test_many_that_are_stuck(tmp_path: Path) -> None:
    """Readers that read a line, and no more, leave room for others; all goes back in the end."""
    path = await write(tmp_path / "a.zst", noise(8 * MIB), frames=16)
    async with Engine(2, 16 * MIB, executor="thread") as engine:
        files = [engine.open(path) for _ in range(30)]
        await asyncio.gather(*files)
        await asyncio.gather(*(file.read(1) for file in files))
        await asyncio.sleep(0.1)
        assert engine.statistics().memory_waiting <= 16 * MIB // 4 + 30 * MIB
        assert len(await engine.decompress(path.read_bytes())) == 8 * MIB
        for file in files:
            await file.aclose()
        statistics = engine.statistics()
        assert statistics.memory_waiting == statistics.memory_in_use == 0


async def test_many_that_come_at_once(tmp_path: Path) -> None:
    """Few new readers get to their first frame at a time; those that give up hold up nobody."""
    path = await write(tmp_path / "a.zst")

    async def read() -> bytes:
        async with engine.open(path) as file:
            return await file.read()

    async with Engine(2, executor="thread") as engine:
        readers = [asyncio.create_task(read()) for _ in range(60)]
        for turns in range(20):
            await asyncio.sleep(0.001)
            readers[turns].cancel()
        read_all = await asyncio.wait_for(asyncio.gather(*readers[20:]), 60)
        assert read_all == [DATA] * 40
        assert await asyncio.wait_for(read(), 60) == DATA
        assert engine.statistics().slots_in_use == 0


async def test_a_frame_without_end(tmp_path: Path) -> None:
    """To seek in a single large frame, and to write one piece of many chunks, takes little."""
    path = tmp_path / "a"
    made = zstandard.ZstdCompressor().compressobj(size=100 * MIB)
    with path.open("wb") as raw:
        for _ in range(100):
            raw.write(made.compress(bytes(MIB)))
        raw.write(made.flush())
    tracemalloc.start()
    try:
        async with aiocompress.open(path) as file:
            await file.seek(-5, os.SEEK_END)
            assert await file.read() == bytes(5)
            await file.seek(50 * MIB)
            assert await file.read(5) == bytes(5)
        async with aiocompress.open(tmp_path / "b.zst", "wb") as file:
            data = memoryview(bytes(60 * MIB))
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            await file.write(data)
        assert tracemalloc.get_traced_memory()[1] - before < 40 * MIB
    finally:
        tracemalloc.stop()


@every_suffix
@pytest.mark.faults
async def test_forks(suffix: str, tmp_path: Path) -> None:
    """Parent and child read on, each for itself; only the parent writes on."""
    path = await write(tmp_path / f"a{suffix}")

    async with Engine(2, executor="thread") as engine, engine.open(path) as file:
        assert await file.readline() == LINES[0]
        assert forked(lambda: _in_a_child(file.readlines)) == LINES[1:]
        assert await file.readlines() == LINES[1:]
        async with engine.open(tmp_path / "b.zst", "wb") as writer:
            await writer.write(b"a")
            await writer.flush()
            assert forked(lambda: _in_a_child(lambda: _refused(writer)))
            await writer.write(b"b")
        assert await aiocompress.decompress((tmp_path / "b.zst").read_bytes()) == b"ab"


async def _refused(writer: aiocompress.AsyncFile[bytes]) -> bool:
    await writer.write(b"c")
    try:
        await writer.flush()
    except AiocompressError as error:
        return "forked" in str(error)
    return False


def _in_a_child(work: Callable[[], Awaitable[Any]]) -> Any:
    asyncio.set_event_loop(None)
    asyncio._set_running_loop(None)
    return asyncio.new_event_loop().run_until_complete(work())
