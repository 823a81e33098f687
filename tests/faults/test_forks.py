"""Forks: a child begins anew, and the parent goes on as if there had been none."""

# ruff: noqa: ASYNC110, FBT001

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from aiocompress import AiocompressError, ClosedError, Engine, WorkerError, open_archive, sync
from aiocompress.model import KIB

from ..help.data import noise, text
from ..help.forks import Fork, forked
from ..help.programs import alive, own_family, said_in_dev, started, until, workers
from ..help.tools import LIBRARY
from .counting import WHOLE, count, lose, quick_and_whole, quick_or_whole

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
BEFORE = r"begun before this process was forked"
SIZE = 256 * KIB


async def packed(engine: Engine, data: bytes) -> bytes:
    """Compress by all workers."""
    async with engine.compress_stream(data, chunk_size="32K", compression_level=1) as stream:
        return b"".join([part async for part in stream])


async def _wrong(engine: Engine, seed: int, number: int) -> int:
    """Compress and decode other data each time; return how many came out wrong."""
    wrong = 0
    for turn in range(number):
        data = noise(SIZE // 2, seed + turn) + text(SIZE // 2, seed + turn)
        there = await packed(engine, data)
        back = await engine.decompress(there)
        wrong += back != data or sync.decompress(there) != data
    return wrong


def _works(engine: Engine, seed: int, number: int) -> int:
    """Do the same in a loop of its own, with the engine as it was found."""

    async def work() -> int:
        async with engine:
            return await _wrong(engine, seed, number)

    return asyncio.run(work())


class Before:
    """What was done with an engine before the fork, by the name of the method."""

    def __init__(self, engine: Engine, runner: asyncio.Runner) -> None:
        self.engine, self.runner = engine, runner
        self.stream: Any = None

    def untouched(self) -> None:
        """Nothing."""

    def looked_at(self) -> None:
        self.engine.statistics()

    def used(self) -> None:
        assert not self.runner.run(_wrong(self.engine, -1, 1))

    def preforked(self) -> None:
        self.engine.prefork()

    def preforked_and_used(self) -> None:
        self.preforked()
        self.used()

    def reading(self) -> None:
        """Chunks are in flight, and the loop is not running just now."""
        self.stream = self.engine.compress_stream(text(SIZE), chunk_size="8K", compression_level=9)

        async def begin() -> bytes:
            first: bytes = await anext(self.stream)
            return first

        self.first = self.runner.run(begin())

    async def rest(self) -> bytes:
        """Read on."""
        return b"".join([self.first, *[part async for part in self.stream]])


@pytest.fixture(params=["process", "thread"])
def before(request: pytest.FixtureRequest) -> Iterator[Before]:
    """An engine of each kind, and a loop for it."""
    with asyncio.Runner() as runner:
        made = Before(Engine(2, executor=request.param), runner)
        yield made
        runner.run(made.engine.aclose())


HOW = ["untouched", "looked_at", "used", "preforked", "preforked_and_used", "reading"]


@quick_or_whole("how", zip(HOW, strict=True), lambda how: how not in {"untouched", "preforked"})
def test_two_children(how: str, whole: bool, before: Before) -> None:
    """Each gets its own bytes, in loops of their own, and the parent's workers live on."""
    getattr(before, how)()
    ours = own_family()
    number = 10 if whole else 3
    children = [Fork(partial(_works, before.engine, 1000 * seed, number)) for seed in (1, 2)]
    if before.stream is not None:
        assert sync.decompress(before.runner.run(before.rest())) == text(SIZE)
    wrong = before.runner.run(_wrong(before.engine, 3000, number))
    assert [wrong, *(child.result() for child in children)] == [0, 0, 0]
    assert all(process.is_running() for process in ours)
    assert alive(ours, 0) == ours
    assert not before.runner.run(_wrong(before.engine, 4000, 1))
    assert before.engine.statistics().memory_in_use == 0
    assert before.engine.statistics().chunks_redone == 0


@quick_and_whole
def test_streams_of_many_children(whole: bool) -> None:
    """None of a thousand streams holds another process's bytes."""
    kind, number, turns = "streams of forked children", 4, WHOLE // 4 if whole else 4
    for executor in ("process", "thread"):
        engine = Engine(2, executor=executor)  # type: ignore[arg-type]
        assert not asyncio.run(_wrong(engine, 0, 1))
        children = [
            Fork(partial(_works, engine, 10_000 * seed, turns // 2)) for seed in range(number)
        ]
        wrong = sum(child.result() for child in children)
        engine.close()
        count(kind, number * turns)
        if wrong:
            lose(kind, f"{wrong} of {number * turns} have other bytes")


def test_a_child_of_a_child(before: Before) -> None:
    """It begins anew as well, while its own parent works."""

    def work() -> int:
        async def both() -> int:
            async with before.engine:
                wrong = await _wrong(before.engine, 100, 1)
                child = Fork(partial(_works, before.engine, 200, 2))
                wrong += await _wrong(before.engine, 300, 2)
            return wrong + int(child.result())

        return asyncio.run(both())

    before.used()
    assert forked(work) == 0


def test_dropped_by_a_child(before: Before) -> None:
    """A child that drops its copy of the engine, or closes it, ends nothing of its parent's."""
    before.preforked_and_used()
    other = Engine(2)
    assert not asyncio.run(_wrong(other, 0, 1))
    ours, held = own_family(), {"engine": other}

    def drop() -> None:
        held.clear()
        gc.collect()
        before.engine.close()
        with pytest.raises(ClosedError):
            asyncio.run(before.engine.compress(b"x"))

    del other
    forked(drop)
    assert alive(ours, 0) == ours
    assert not before.runner.run(_wrong(before.engine, 1, 1))
    held.pop("engine").close()


def test_closed_before(before: Before) -> None:
    """What was closed stays closed in a child."""
    before.used()
    before.engine.close()

    def use() -> None:
        with pytest.raises(ClosedError):
            asyncio.run(before.engine.compress(b"x"))

    forked(use)


def test_statistics_of_a_child(before: Before) -> None:
    """They count from zero, and looking at them makes nothing."""
    before.reading()

    def look() -> tuple[Any, ...]:
        found = before.engine.statistics()
        return found.slots_in_use, found.memory_in_use, found.raw_bytes, len(own_family())

    assert forked(look) == (0, 0, 0, 0)
    before.runner.run(before.rest())


# What was under way.


def test_a_stream_that_the_parent_reads(before: Before) -> None:
    """In a child it is an error that says so, from within a task as well; so is closing it."""
    before.reading()
    stream = before.stream

    def go_on() -> None:
        async def read() -> None:
            for step in (stream.__anext__, stream.aclose):
                with pytest.raises(AiocompressError, match=f"stream was {BEFORE}") as caught:
                    await asyncio.wait_for(step(), 10)
                assert caught.value.hint

        asyncio.run(read())
        assert not _works(before.engine, 1, 2)

    forked(go_on)
    assert sync.decompress(before.runner.run(before.rest())) == text(SIZE)


def test_forked_while_the_loop_runs(before: Before) -> None:
    """The same in the middle of a task, with another one that reads the stream."""

    async def main() -> tuple[Any, bytes]:
        stream = before.engine.compress_stream(text(SIZE), chunk_size="8K", compression_level=9)

        async def read() -> bytes:
            return b"".join([part async for part in stream])

        reading = asyncio.create_task(read())
        while not before.engine.statistics().compressed_bytes:
            await asyncio.sleep(0)

        def go_on() -> int:
            with pytest.raises(AiocompressError, match=BEFORE):
                asyncio.run(anext(stream))
            return _works(before.engine, 1, 2)

        child = Fork(go_on)
        there = await reading
        return await asyncio.to_thread(child.result), there

    wrong, there = before.runner.run(main())
    assert (wrong, sync.decompress(there)) == (0, text(SIZE))


def _content(archive: Any, name: str) -> bytes:
    content: bytes = asyncio.run(asyncio.wait_for(archive.read(name), 10))
    return content


@pytest.mark.parametrize("name", ["a.tar.zst", "a.tar"])
def test_an_archive_that_is_open(name: str, before: Before, tmp_path: Path) -> None:
    """Both read all members, with and without an index; a list that was begun is the parent's."""
    files = {f"{number}": noise(100 * KIB, number) for number in range(20)}
    (tmp_path / "tree").mkdir()
    for file, data in files.items():
        (tmp_path / "tree" / file).write_bytes(data)
    path = tmp_path / name
    if name.endswith("zst"):
        sync.compress_folder(tmp_path / "tree", path, "256K")
    else:
        subprocess.run(("tar", "-cf", path, "-C", tmp_path / "tree", *files), check=True)

    async def begin() -> tuple[Any, ...]:
        archive = await before.engine.open_archive(path).__aenter__()
        members = archive.members()
        begun = [await anext(members)]
        file = await archive.open("7")
        return archive, members, begun, file, await file.read(1000)

    archive, members, begun, file, head = before.runner.run(begin())
    assert archive.is_indexed == name.endswith("zst")

    def go_on() -> None:
        async def read() -> None:
            with pytest.raises(AiocompressError, match=f"members was {BEFORE}"):
                await anext(members)
            assert head + await file.read() == files["7"]
            for other, data in files.items():
                assert await archive.read(other) == data

        asyncio.run(asyncio.wait_for(read(), 20))

    children = [Fork(go_on) for _ in range(2)]

    async def read() -> None:
        assert head + await file.read() == files["7"]
        async for member in members:
            begun.append(member)
            assert await archive.read(member.name) == files[member.name]
        await file.aclose()
        await archive.aclose()

    before.runner.run(read())
    assert {member.name for member in begun} == set(files)
    for child in children:
        child.result()


def test_the_archive_of_a_module(tmp_path: Path) -> None:
    """So is one that has an engine of its own."""
    path = tmp_path / "a.tar.zst"
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(text(SIZE))
    sync.compress_folder(tmp_path / "tree", path, "32K")
    with asyncio.Runner() as runner:
        archive: Any = runner.run(open_archive(path).__aenter__())
        child = Fork(partial(_content, archive, "file"))
        assert runner.run(archive.read("file")) == child.result() == text(SIZE)
        runner.run(archive.aclose())


# The verbs as plain functions.


def _plainly(seed: int) -> int:
    wrong = 0
    for turn in range(seed, seed + 3):
        data = noise(SIZE, turn)
        there = b"".join(sync.compress_stream(data, chunk_size="32K", num_workers=2))
        wrong += sync.decompress(there) != data
    return wrong


def test_plain_functions() -> None:
    """They work in children, whoever else is in one of them just then."""
    reading = sync.compress_stream(text(SIZE), chunk_size="8K")
    first = next(reading)
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(_plainly, 100)
        children = [Fork(partial(_plainly, seed)) for seed in (200, 300)]
        assert [other.result(), *(child.result() for child in children)] == [0, 0, 0]
    assert sync.decompress(first + b"".join(reading)) == text(SIZE)


def test_beside_semaphores() -> None:
    """Python's tracker of semaphores has a lock that may be another thread's just then."""
    spawn, over = multiprocessing.get_context("spawn"), threading.Event()

    def make_and_drop() -> None:
        while not over.is_set():
            spawn.Semaphore()

    with ThreadPoolExecutor(2) as threads:
        making = [threads.submit(make_and_drop) for _ in range(2)]
        try:
            children = [Fork(partial(_plainly, seed)) for seed in range(8)]
        finally:
            over.set()
        assert [child.result() for child in children] == [0] * len(children)
        for made in making:
            made.result()


def test_an_iterator_that_was_begun() -> None:
    """A child cannot go on with it, and may close or drop it: nothing is heard of that."""
    kept, dropped = (sync.compress_stream(text(SIZE), chunk_size="8K") for _ in range(2))
    held = {"dropped": dropped}
    first = next(kept), next(dropped)
    del dropped

    def go_on() -> list[str]:
        said: list[str] = []
        sys.unraisablehook = lambda about: said.append(repr(about))
        held.clear()
        gc.collect()
        with pytest.raises(AiocompressError, match=f"iterator was {BEFORE}"):
            next(kept)
        return said

    assert forked(go_on) == []
    rests = [b"".join(kept), b"".join(held.pop("dropped"))]
    for head, rest in zip(first, rests, strict=True):
        assert sync.decompress(head + rest) == text(SIZE)


# Who forks.


_engine: Engine | None = None


def _of_module(seed: int) -> int:
    assert _engine is not None
    return asyncio.run(_wrong(_engine, seed, 2))


@pytest.fixture
def module_engine() -> Iterator[Engine]:
    """An engine that a module has, and that was used."""
    global _engine  # noqa: PLW0603
    _engine = Engine(2)
    assert not asyncio.run(_wrong(_engine, 0, 1))
    yield _engine
    _engine.close()
    _engine = None


def test_multiprocessing(module_engine: Engine) -> None:
    """Its processes, its pools of daemonic ones, and the executor on top of it."""
    ours, fork = own_family(), multiprocessing.get_context("fork")
    process = fork.Process(target=_exit_with, args=(_of_module, 10))
    process.start()
    assert not asyncio.run(_wrong(module_engine, 20, 1))
    process.join(60)
    assert process.exitcode == 0
    process.close()
    with ProcessPoolExecutor(2, mp_context=fork) as executor:
        assert list(executor.map(_of_module, (100, 200))) == [0, 0]
    with fork.Pool(2) as pool:
        assert pool.map(_of_module, (100, 200, 300)) == [0, 0, 0]
    assert alive(ours, 0) == ours


def _exit_with(work: Callable[[int], int], seed: int) -> None:
    sys.exit(work(seed))


AT_EXIT = """
import asyncio, os, sys
from aiocompress import Engine, sync
from tests.faults.test_forks import packed
engine = Engine(2)
HOW
data = os.urandom(1 << 18)
if pid := os.fork():
    assert sync.decompress(asyncio.run(packed(engine, data))) == data
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert sync.decompress(asyncio.run(packed(engine, data))) == data
    assert engine.statistics().chunks_redone == 0
else:
    assert sync.decompress(asyncio.run(packed(engine, data))) == data
    status = 0
engine.close()
sys.exit(status)
"""


@pytest.mark.parametrize("how", ["engine.prefork()", "asyncio.run(packed(engine, bytes(10**5)))"])
def test_children_that_exit_as_programs_do(how: str) -> None:
    """Python's exit, with all that it runs, is quiet in both, and ends no worker of the parent's.

    That is how the workers of gunicorn end.
    """
    command = (sys.executable, "-X", "dev", "-W", "ignore:This process", "-c")
    code = AT_EXIT.replace("HOW", how)
    ended = subprocess.run(
        (*command, code), capture_output=True, check=False, timeout=60, env=LIBRARY
    )
    assert (ended.returncode, said_in_dev(ended)) == (0, [])


OUTLIVED = """
import asyncio, os, sys, time
from aiocompress import Engine
from tests.faults.test_forks import packed
engine = Engine(2)
asyncio.run(packed(engine, bytes(100_000)))
if not os.fork():
    print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_a_child_that_outlives_its_parent() -> None:
    """The parent's workers end with the parent, though a child of it lives on."""
    with started(sys.executable, "-c", OUTLIVED, env=LIBRARY) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        until(lambda: len(workers(process.pid)) == 2)
        theirs = workers(process.pid)
        process.kill()
        process.wait()
        assert not alive(theirs, 2)
        assert child.is_running()
        os.kill(child.pid, signal.SIGKILL)


# Executors of the caller's.


def test_an_executor_that_was_in_use() -> None:
    """A child has none of its workers: that is said, instead of waiting for them for ever."""
    with ThreadPoolExecutor(2) as used, ThreadPoolExecutor(2) as unused:
        engine, other = Engine(2, executor=used), Engine(2, executor=unused)

        def work() -> int:
            with pytest.raises(WorkerError, match="in use before this process was forked"):
                asyncio.run(asyncio.wait_for(packed(engine, text(SIZE)), 20))
            assert engine.statistics().slots_in_use == 0
            return _works(other, 1, 2)

        assert not asyncio.run(_wrong(engine, 0, 1))
        assert forked(work) == 0
        assert not asyncio.run(_wrong(engine, 5, 1))
        engine.close()
        other.close()
