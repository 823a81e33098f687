"""The event loop while level 19 runs; a thousand streams, some of them stuck."""

# ruff: noqa: FBT001

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import pytest

from aiocompress import Engine

from ..help.data import text
from .counting import WHOLE, count, lose, note, quick_and_whole, quick_or_whole
from .world import KIB, MIB, VERBS, Watch, World, no_children

BAR, NOISY = 0.05, 0.25
"""Seconds: what is promised; and what is asserted where others use the machine too."""


@asynccontextmanager
async def _ticking() -> AsyncIterator[list[float]]:
    """Measure how late callbacks are; the worst stand first in the end."""
    late: list[float] = []

    async def tick() -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(0.002)
            late.append(time.perf_counter() - begun - 0.002)

    task = asyncio.create_task(tick())
    try:
        yield late
    finally:
        task.cancel()
        await asyncio.wait([task])
        late.sort(reverse=True)


@quick_or_whole(
    "executor level",
    product(["process", "thread"], [3, 19]),
    lambda *row: row in {("process", 19), ("thread", 3)},
)
async def test_the_loop_is_never_blocked(
    executor: Any, level: int, whole: bool, tmp_path: Path
) -> None:
    """No callback waits over 50 ms for a turn while a folder goes out and back."""
    kind = f"the loop, level {level}, {executor}"
    world = await asyncio.to_thread(World, tmp_path, "large")
    if level == 19 and not whole:
        os.unlink(world.tree / "noise")
        os.truncate(world.tree / "a-large-one", MIB)
    archive = tmp_path / "a.tar.zst"
    async with Engine(2, executor=executor) as engine, _ticking() as late:
        await engine.compress_folder(
            world.tree, archive, "1M", compression_level=level, fsync=False
        )
        await engine.decompress_folder(archive, tmp_path / "back", fsync=False)
        await engine.compress_folder(
            world.tree, tmp_path / "m", "1M", compression_level=level, fsync=False
        )
        await engine.compress_file(
            world.raw, tmp_path / "r.zst", "1M", compression_level=min(level, 9), fsync=False
        )
    count(kind)
    note(kind, f"{len(late):,} callbacks, the latest {late[0] * 1000:.0f} ms")
    if late[0] > (BAR if whole else NOISY):
        lose(kind, f"a callback was {late[0] * 1000:.0f} ms late")


async def _source(size: int, stuck: bool) -> AsyncIterator[bytes]:
    data = text(16 * KIB)
    for _ in range(size // len(data)):
        yield data
        await asyncio.sleep(0)
    if stuck:
        await asyncio.sleep(3600)


def _memory() -> int:
    """Return bytes that only this process and those below it have."""
    gc.collect()
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(int(process.memory_full_info().pss) for process in processes)


@quick_and_whole
async def test_a_thousand_streams_of_which_some_are_stuck(whole: bool) -> None:
    """A tenth never reads or never writes: the others finish, within the memory of the README."""
    kind, number, workers = "streams, a tenth of them stuck", WHOLE if whole else 100, 2
    chunk, size = 64 * KIB, 256 * KIB
    async with Engine(workers, executor="process") as engine:
        await engine.compress(text(MIB))
        before = _memory()

        async def one(n: int) -> int:
            stuck = n % 10 == 3
            source = _source(size, stuck=stuck and n % 20 == 3)
            async with engine.compress_stream(source, chunk_size=chunk) as stream:
                packed = 0
                async for data in stream:
                    packed += len(data)
                    if stuck and n % 20 != 3:
                        await asyncio.sleep(3600)
            return packed

        tasks = [asyncio.create_task(one(n)) for n in range(number)]
        healthy = [task for n, task in enumerate(tasks) if n % 10 != 3]
        done, waiting = await asyncio.wait(healthy, timeout=120)
        used = _memory() - before
        statistics = engine.statistics()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        if waiting:
            lose(kind, f"{len(waiting)} of {len(healthy)} did not finish")
        assert {task.result() for task in done} == {healthy[0].result()}
        # The formula of the README; what Python takes by itself was there before, but for this.
        streams = number * (chunk + (workers + 2) * chunk)
        bound = (workers + 2) * 2 * chunk + streams + 24 * MIB
        note(kind, f"{used / MIB:.0f} MiB of {bound / MIB:.0f}, {len(done)} finished")
        if used > bound:
            lose(kind, f"{used >> 20} MiB, and not {bound >> 20}")
        assert statistics.slots_peak <= statistics.slots_total
        assert engine.statistics().memory_in_use == 0
    count(kind, number)
    no_children(kind)


@pytest.mark.faults
async def test_the_same_over_and_over() -> None:
    """Nothing grows with the number of calls: neither descriptors nor memory."""
    async with Engine(2, executor="thread") as engine:
        for _ in range(50):
            await engine.decompress(await engine.compress(text(MIB)))
        watch, before = Watch("calls, one after another"), _memory()
        for _ in range(WHOLE):
            await engine.decompress(await engine.compress(text(MIB)))
        watch.check("a call")
        assert _memory() - before < 16 * MIB
    count("calls, one after another", WHOLE)
    assert sys.getrefcount(VERBS) < 1000
