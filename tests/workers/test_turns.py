"""Small work on the loop's thread: all of it is done, and the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest

from aiocompress.workers import turns
from aiocompress.workers.turns import Few, Turns

MANY = 300


def work() -> int:
    """Keep the thread for a millisecond."""
    time.sleep(0.001)
    return 1


async def test_the_loop_goes_on() -> None:
    """However many want their turn at once, few have it before the loop comes round again."""
    turns, between = Turns(), [0]

    async def one() -> None:
        await turns.run(work)
        between[-1] += 1

    async def tick() -> None:
        while sum(between) < MANY:
            between.append(0)
            await asyncio.sleep(0)

    await asyncio.gather(tick(), *(one() for _ in range(MANY)))
    assert sum(between) == MANY
    assert max(between) <= 10  # of them take 5 ms


async def test_one_after_another() -> None:
    """A caller that never waits for anything else lets the loop go on, too."""
    turns, ticks = Turns(), 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.ensure_future(tick())
    for _ in range(MANY):
        await turns.run(work)
    ticking.cancel()
    assert ticks >= MANY // 10


async def test_errors() -> None:
    """What the work raises is the caller's."""
    turns = Turns()

    def fail() -> None:
        raise KeyError(1)

    with pytest.raises(KeyError):
        await turns.run(fail)
    assert await turns.run(work) == 1


async def test_cancelled() -> None:
    """Those that are cancelled while they wait keep nobody else from their turn."""
    turns = Turns()
    tasks = [asyncio.ensure_future(turns.run(work)) for _ in range(MANY)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    found = await asyncio.gather(*tasks[1::2])
    assert found == [1] * (MANY // 2)
    for task in tasks[::2]:
        with suppress(asyncio.CancelledError):
            await task


async def test_few() -> None:
    """So many are in at once, and cancelled ones leave their place to others."""
    few, inside, most = Few(3), 0, 0

    async def come() -> None:
        nonlocal inside, most
        async with few.one():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    comers = [asyncio.create_task(come()) for _ in range(30)]
    await asyncio.sleep(0)
    for waiting in comers[3:20]:
        waiting.cancel()
    await asyncio.wait_for(asyncio.gather(*comers[:3], *comers[20:]), 60)
    assert (inside, most) == (0, 3)


async def test_few_are_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has waited for long comes in all the same."""
    monkeypatch.setattr(turns, "_PATIENCE", 0.01)
    few = Few(1)
    async with few.one(), asyncio.timeout(60), few.one():
        pass
    async with asyncio.timeout(60), few.one():
        pass
