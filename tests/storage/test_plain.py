"""Plain iterables and files, taken in threads of their own."""

# They wait for what a thread does:
# ruff: noqa: ASYNC110

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aiocompress
from aiocompress.storage.plain import Pump, apart

from ..help.engines import given_back
from ..help.tools import run

KIB = 1 << 10


def _threads() -> int:
    return sum(thread.name == "aiocompress-source" for thread in threading.enumerate())


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


async def _all(pump: Pump) -> bytes:
    found = bytearray()
    while data := await pump.next():
        found += data
    return bytes(found)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.binary(max_size=50)), st.sampled_from([bytes, bytearray, memoryview]))
def test_everything_in_order(parts: list[bytes], kind: Any) -> None:
    """Items of every kind, empty ones too; and after the end nothing more."""

    async def main() -> None:
        pump = Pump(map(kind, parts))
        assert await _all(pump) == b"".join(parts)
        assert await pump.next() == b""

    asyncio.run(main())


async def test_it_runs_a_bounded_way_ahead() -> None:
    """256 KiB and an item, whatever the reader does."""
    given_out = 0

    def items() -> Iterator[bytes]:
        nonlocal given_out
        while True:
            given_out += 10 * KIB
            yield bytes(10 * KIB)

    pump, taken = Pump(items()), 0
    for _ in range(5):
        taken += len(await pump.next())
        await asyncio.sleep(0.01)
        assert given_out <= taken + 256 * KIB + 20 * KIB
    pump.stop()
    await _until(lambda: not _threads())


async def test_small_items_come_together() -> None:
    """Lines do not take a hop of a thread each."""
    pump, hops = Pump(b"a line\n" for _ in range(20_000)), 0
    while await pump.next():
        hops += 1
    assert hops < 5000


async def test_an_item_does_not_wait_for_the_next() -> None:
    """What has come is given out while the iterable thinks about more."""
    gate = threading.Event()

    def items() -> Iterator[bytes]:
        yield b"first"
        gate.wait(10)
        yield b"second"

    pump = Pump(items())
    assert await pump.next() == b"first"
    gate.set()
    assert await pump.next() == b"second"
    assert await pump.next() == b""


async def test_an_error_comes_after_what_came_before() -> None:
    """Good items first; then the error, again and again."""

    def items() -> Iterator[bytes]:
        yield b"good"
        raise KeyError("mine")

    pump = Pump(items())
    assert await pump.next() == b"good"
    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            await pump.next()


@pytest.mark.parametrize("error", [StopIteration, GeneratorExit, SystemExit])
async def test_errors_that_mean_something_else(error: type[BaseException]) -> None:
    """They never hang the one who waits."""

    def fail() -> bytes:
        raise error

    with pytest.raises((error, RuntimeError)):
        await apart(fail)


async def test_a_stream_that_is_given_up() -> None:
    """Nobody waits for a source that hangs; it is closed when it wakes up."""
    gate, closed = threading.Event(), threading.Event()

    def items() -> Iterator[bytes]:
        try:
            yield b"first"
            gate.wait(30)
            yield b"second"
        finally:
            closed.set()

    async with aiocompress.Engine(1, executor="thread") as engine:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await engine.compress_stream(items()).read()
        await given_back(engine)
    assert not closed.is_set()
    gate.set()
    await _until(lambda: (gc.collect(), closed.is_set())[1] and not _threads())


async def test_many_that_hang_stop_nobody(tmp_path: Any) -> None:
    """More of them than the engine has threads for files."""
    gate = threading.Event()

    class Stuck:
        def read(self, _: int) -> bytes:
            gate.wait(30)
            return b""

    path = tmp_path / "file"
    path.write_bytes(b"data")
    async with aiocompress.Engine(1, executor="thread") as engine, asyncio.timeout(20):
        stuck = [asyncio.create_task(engine.compress_stream(Stuck()).read()) for _ in range(20)]
        await _until(lambda: _threads() == 20)
        assert await engine.compress_stream(path).read()
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
    gate.set()
    await _until(lambda: not _threads())


def test_the_program_does_not_wait_for_it() -> None:
    """A read that hangs does not hold the end of the program."""
    code = """
import asyncio, os, aiocompress
read, write = os.pipe()
def items():
    yield os.read(read, 1)
async def main():
    try:
        await asyncio.wait_for(aiocompress.compress_stream(items()).read(), 0.1)
    except TimeoutError:
        print("given up")
asyncio.run(main())
"""
    assert run(sys.executable, "-c", code) == b"given up\n"


async def test_context_variables() -> None:
    """The thread sees those of its caller."""
    variable = contextvars.ContextVar("variable", default=b"none")
    variable.set(b"mine")
    assert await apart(variable.get) == b"mine"
    assert await _all(Pump(variable.get() for _ in range(2))) == b"minemine"
