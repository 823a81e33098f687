"""Workers that die: their chunks are redone, or one error says so."""

# They look at files, and wait for what has no event:
# ruff: noqa: ASYNC110, PT012

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from aiocompress import Engine, WorkerError, sync

from ..help.data import text
from ..help.programs import COMMAND, kill, own_family, started, until, workers
from .waiting import MIB, SLOW, TEXT, pieces

HARD: Any = {"chunk_size": "1M", "compression_level": 19}


@pytest.fixture(scope="module")
def expected() -> bytes:
    """What TEXT becomes where nobody dies."""

    async def work() -> bytes:
        async with Engine(2, executor="thread") as engine:
            return await engine.compress_stream(TEXT, **HARD).read()

    return asyncio.run(work())


async def _killed(engine: Engine, number: int) -> None:
    """Wait until a chunk is done and others are at work, and kill that many workers."""
    while not engine.statistics().compressed_bytes:
        await asyncio.sleep(0.01)
    kill(workers(os.getpid())[:number])


@pytest.mark.parametrize("number", [1, 2])
async def test_chunks_of_dead_workers_are_redone(
    number: int, expected: bytes, big: Path, tmp_path: Path
) -> None:
    """One worker or all: the same bytes come out, and statistics tell."""
    async with Engine(2) as engine:
        killing = asyncio.create_task(_killed(engine, number))
        await engine.compress_file(big, tmp_path / "result.zst", **HARD)
        await killing
        statistics = engine.statistics()
        assert 0 < statistics.chunks_redone <= statistics.slots_total
        assert statistics.slots_in_use == statistics.memory_in_use == 0
    assert (tmp_path / "result.zst").read_bytes() == expected


async def test_the_server_of_the_workers_dies(big: Path, tmp_path: Path) -> None:
    """Everything below the program is killed at once, and it goes on."""
    async with Engine(2) as engine:
        writing = asyncio.create_task(
            engine.compress_file(big, tmp_path / "result.zst", "1M", compression_level=19)
        )
        while len(workers(os.getpid())) < 2:
            await asyncio.sleep(0.01)
        kill(own_family())
        await writing
        assert await engine.decompress((tmp_path / "result.zst").read_bytes()) == TEXT


async def test_a_decompressing_worker_dies(tmp_path: Path) -> None:
    """Workers write into the file themselves: what a dead one half wrote is written again."""
    data = text(MIB) * 160
    packed, result = tmp_path / "packed.zst", tmp_path / "result"
    async with Engine(2) as engine:
        await engine.compress_file(pieces(data), packed, "1M", fsync=False)
        kill(workers(os.getpid()))
        reading = asyncio.create_task(engine.decompress_file(packed, result, fsync=False))
        await asyncio.sleep(0.05)
        kill(workers(os.getpid())[:1])
        await reading
    assert result.read_bytes() == data


async def test_a_chunk_that_kills_twice_is_an_error() -> None:
    """The second death is told by name; the next call works, and so do the streams beside it."""
    async with Engine(2) as engine:

        async def kill_twice() -> None:
            await _killed(engine, 2)
            while not engine.statistics().chunks_redone or len(workers(os.getpid())) < 2:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            kill(workers(os.getpid()))

        killing = asyncio.create_task(kill_twice())
        stream = engine.compress_stream(text(4 * MIB) * 4, chunk_size="4M", compression_level=19)
        with pytest.raises(WorkerError, match="died twice") as caught:
            async with stream:
                async for _ in stream:
                    pass
        await killing
        assert caught.value.hint
        assert await engine.decompress(await engine.compress(TEXT)) == TEXT
        assert engine.statistics().slots_in_use == 0


def test_a_dying_worker_of_the_command_line(big: Path, tmp_path: Path) -> None:
    """Workers forked from the command line are replaced too."""
    result = tmp_path / "result.zst"
    with started(*COMMAND, *SLOW, "-o", result, big) as process:
        until(lambda: len(workers(process.pid)) == 2)
        time.sleep(0.4)
        kill(workers(process.pid))
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0, said
    assert sync.decompress(result.read_bytes()) == TEXT
