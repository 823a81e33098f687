"""Event loops: an engine serves one after another, outlives all of them, and ends without any."""

# ruff: noqa: ASYNC110 - they wait for what has no event

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from aiocompress import AiocompressError, ClosedError, Engine, sync
from aiocompress.model import KIB

from ..help.data import noise, text
from ..help.engines import given_back
from ..help.programs import alive, own_family, said_in_dev
from ..help.tools import LIBRARY, module
from .test_forks import packed

DATA = noise(128 * KIB) + text(128 * KIB)
EXECUTORS = pytest.mark.parametrize("executor", ["process", "thread"])


async def _round_trip(engine: Engine) -> None:
    assert await engine.decompress(await packed(engine, DATA)) == DATA
    assert engine.statistics().slots_in_use == 0


async def _begin(engine: Engine) -> Any:
    """Leave with chunks in flight that take a while."""
    stream = engine.compress_stream(text(KIB) * 1024, chunk_size="128K", compression_level=19)
    reading = asyncio.ensure_future(anext(stream))
    while not engine.statistics().slots_in_use:
        await asyncio.sleep(0)
    return stream, reading


# One loop after another.


@EXECUTORS
def test_several_runs(executor: Any) -> None:
    """Workers that run go on with the next loop; statistics go on as well."""
    engine = Engine(2, executor=executor)
    asyncio.run(_round_trip(engine))
    before, raw = own_family(), engine.statistics().raw_bytes
    for _ in range(2):
        asyncio.run(_round_trip(engine))
    assert own_family() == before
    assert engine.statistics().raw_bytes == 3 * raw
    asyncio.run(engine.aclose())
    assert not alive(before, 1)
    with pytest.raises(ClosedError):
        asyncio.run(engine.compress(b"x"))


@EXECUTORS
@pytest.mark.parametrize("how", ["run", "closed"])
def test_chunks_in_flight_when_the_loop_died(
    how: str, executor: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The next loop finds all of the memory free, and gets no bytes of the last one."""
    engine = Engine(2, executor=executor)
    for _ in range(2):
        if how == "run":  # which cancels what runs
            asyncio.run(_begin(engine))
        else:
            loop = asyncio.new_event_loop()
            _, reading = loop.run_until_complete(_begin(engine))
            reading.cancel()
            loop.run_until_complete(asyncio.wait([reading]))
            loop.close()
        asyncio.run(asyncio.wait_for(_round_trip(engine), 20))
    asyncio.run(engine.aclose())
    assert not [record.getMessage() for record in caplog.records]


@EXECUTORS
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the streams
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of asyncio
def test_a_loop_that_was_closed_under_its_tasks(executor: Any) -> None:
    """Nothing was cancelled: so nobody could give anything back."""
    engine, kept = Engine(2, executor=executor), []
    for _ in range(2):
        loop = asyncio.new_event_loop()
        kept.append((loop, loop.run_until_complete(_begin(engine))))
        loop.close()
        asyncio.run(asyncio.wait_for(_round_trip(engine), 20))
    engine.close()
    kept.clear()
    gc.collect()


OF_A_MODULE = """
import os, pytest
from aiocompress import Engine
data = os.urandom(1 << 18)
engines = [Engine(2, executor=executor) for executor in ("process", "thread")]

@pytest.mark.parametrize("engine", engines)
@pytest.mark.parametrize("last", [False, False, True])
async def test_it(engine, last):
    async with engine.compress_stream(data, chunk_size="32K") as stream:
        assert await engine.decompress(await stream.read()) == data
    if last:
        await engine.aclose()
"""


def test_tests_of_pytest_asyncio(tmp_path: Path) -> None:
    """An engine of a module serves one test after another, each in a loop of its own."""
    (tmp_path / "test_it.py").write_text(OF_A_MODULE)
    settings = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
    command = (sys.executable, "-m", "pytest", "-q", "-W", "error", *settings, tmp_path)
    ended = subprocess.run(command, capture_output=True, check=False, env=LIBRARY)
    assert ended.returncode == 0, ended.stdout.decode()
    assert b"6 passed" in ended.stdout


def test_two_live_loops() -> None:
    """The second one gets an error, also when it closes; the first one goes on."""
    engine = Engine(2, executor="thread")
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(_round_trip(engine))
        for use in (lambda: engine.compress(b"x"), lambda: _round_trip(engine), engine.aclose):
            with pytest.raises(AiocompressError, match="belongs to another event loop") as caught:
                second.run(_awaited(use))
            assert caught.value.hint
        first.run(_round_trip(engine))
        first.run(engine.aclose())


async def _awaited(use: Callable[[], Awaitable[object]]) -> None:
    await use()


def test_two_loops_in_two_threads() -> None:
    """One of both gets the error, and the other its bytes."""
    engine, said = Engine(2, executor="thread"), []
    ready = threading.Barrier(2)

    async def use() -> None:
        ready.wait(20)
        try:
            await _round_trip(engine)
            said.append("done")
        except AiocompressError as error:
            said.append(error.reason)
        await asyncio.to_thread(ready.wait, 20)  # both loops live until then

    threads = [threading.Thread(target=asyncio.run, args=(use(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.close()
    assert sorted(said) == ["done", "the engine belongs to another event loop"]


# No loop of asyncio.


VERBS: dict[str, Callable[[Engine, Path], Awaitable[object]]] = {
    "compress": lambda engine, _: engine.compress(DATA),
    "decompress": lambda engine, _: engine.decompress(sync.compress(DATA)),
    "compress_stream": lambda engine, _: anext(engine.compress_stream(DATA)),
    "decompress_stream": lambda engine, _: anext(engine.decompress_stream(sync.compress(DATA))),
    "compress_file": lambda engine, path: engine.compress_file(path / "a", path / "b.zst"),
    "decompress_file": lambda engine, path: engine.decompress_file(path / "c.zst", path / "b"),
    "compress_folder": lambda engine, path: engine.compress_folder(path, path / "b.tar.zst"),
    "decompress_folder": lambda engine, path: engine.decompress_folder(path / "d.tar", path / "b"),
    "recover": lambda engine, path: engine.recover(path / "c.zst", path / "b"),
    "test": lambda engine, path: engine.test(path / "c.zst"),
    "open_archive": lambda engine, path: engine.open_archive(path / "d.tar").__aenter__(),
    "async with": lambda engine, _: engine.__aenter__(),
}


@pytest.mark.parametrize("verb", VERBS)
def test_trio(verb: str, tmp_path: Path) -> None:
    """Each verb says that it needs asyncio; nothing is made, and nothing is left."""
    trio = module("trio")
    (tmp_path / "a").write_bytes(DATA)
    sync.compress_file(tmp_path / "a", tmp_path / "c.zst")
    subprocess.run(("tar", "-cf", tmp_path / "d.tar", "-C", tmp_path, "a"), check=True)
    engine = Engine(2)
    with pytest.raises(AiocompressError, match="no event loop of asyncio") as caught:
        trio.run(_awaited, lambda: VERBS[verb](engine, tmp_path))
    assert "aiocompress.sync" in str(caught.value.hint)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c.zst", "d.tar"]
    assert not engine.statistics().slots_in_use
    asyncio.run(_round_trip(engine))
    engine.close()


def test_trio_with_threads() -> None:
    """The plain functions work there, several at once."""
    trio = module("trio")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(one)

    async def one() -> None:
        there = await trio.to_thread.run_sync(sync.compress, DATA)
        assert await trio.to_thread.run_sync(sync.decompress, there) == DATA

    trio.run(main)


# Closed without a loop.


@EXECUTORS
def test_closed_without_a_loop(executor: Any) -> None:
    """Before it was used, after its loop was closed, and twice; in the end with ``aclose`` too."""
    for use in (False, True):
        engine = Engine(2, executor=executor)
        if use:
            asyncio.run(_round_trip(engine))
        ours = own_family()
        engine.close()
        engine.close()
        assert not alive(ours, 1)
        asyncio.run(engine.aclose())
        with pytest.raises(ClosedError):
            asyncio.run(engine.compress(b"x"))


@EXECUTORS
@pytest.mark.parametrize("where", ["in the loop", "in another thread", "after the loop"])
def test_closed_with_work_in_flight(where: str, executor: Any) -> None:
    """Whoever waits gets ClosedError, or what a thread could still finish; nothing hangs."""
    engine = Engine(2, executor=executor)

    async def main() -> None:
        stream, reading = await _begin(engine)
        if where == "in the loop":
            engine.close()
        elif where == "in another thread":
            await asyncio.to_thread(engine.close)
        else:
            return
        (ended,), _ = await asyncio.wait([reading], timeout=20)
        assert ended is reading
        if executor == "process":
            assert isinstance(reading.exception(), ClosedError)
        with pytest.raises(ClosedError):
            await engine.compress(b"x")
        engine.close()
        await stream.aclose()
        await given_back(engine)  # threads end their chunks

    asyncio.run(main())
    engine.close()
    engine.close()
    assert not alive(own_family(), 1)


# Left open.


LEFT = """
import asyncio, sys
from aiocompress import Engine
engine = Engine(2, executor="EXECUTOR")

async def main():
    global stream
    data = bytes(range(256)) * 4096
    stream = engine.compress_stream(data, chunk_size="64K", compression_level=19)
    async for part in stream:
        if HOW == "stream":
            break
    if HOW == "task":
        stream = engine.compress_stream(data * 8, chunk_size="64K", compression_level=19)
        asyncio.create_task(anext(stream))
        while not engine.statistics().slots_in_use:
            await asyncio.sleep(0)

if HOW != "untouched":
    asyncio.run(main())
engine.statistics()
print("end")
"""


@EXECUTORS
@pytest.mark.parametrize("how", ["untouched", "used", "stream", "task"])
def test_left_open_at_the_exit(how: str, executor: str) -> None:
    """A program that never closes its engine ends, quietly but for the one warning of Python's."""
    code = LEFT.replace("EXECUTOR", executor).replace("HOW", repr(how))
    command = (sys.executable, "-X", "dev", "-c", code)
    ended = subprocess.run(command, capture_output=True, check=False, timeout=30, env=LIBRARY)
    assert (ended.returncode, ended.stdout) == (0, b"end\n"), ended.stderr
    said = [line.partition(" ")[2] for line in said_in_dev(ended)]  # after the place, which varies
    assert said == ([] if how == "untouched" else ["ResourceWarning: an Engine was not closed"])
