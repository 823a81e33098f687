"""Archives in the making: cancelled, forked, forgotten, left by their loop. Nothing is left."""

# ruff: noqa: FBT001

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aiocompress import AiocompressError, ClosedError, Engine
from aiocompress.model import KIB

from ..help.data import noise, text
from ..help.forks import forked
from ..help.programs import descriptors
from ..help.trees import build, zoo
from .counting import count, lose, quick_and_whole
from .test_forks import BEFORE
from .waiting import At
from .world import Watch, idle

KIND = "a cancellation of an archive writer"
QUICK_STEP = 13
OLDER = b"older"
OPTIONS: Any = {"chunk_size": "32K", "on_exists": "replace", "fsync": False}
LARGE = noise(300 * KIB)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to add, and one for the archive, which is there already."""
    build(tmp_path / "tree", zoo())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.tar.zst").write_bytes(OLDER)
    return tmp_path


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 50_000):
        yield data[at : at + 50_000]
        await asyncio.sleep(0)


async def make(engine: Engine, folder: Path) -> None:
    """Add something of every kind."""
    async with engine.create_archive(folder / "out" / "a.tar.zst", **OPTIONS) as writer:
        await writer.add("memory", text(9000))
        await writer.add("large", LARGE)
        async with asyncio.TaskGroup() as group:
            group.create_task(writer.add("gathered", pieces(LARGE)))
            group.create_task(writer.add("flowing", pieces(LARGE), size=len(LARGE)))
            group.create_task(writer.add_path(folder / "tree" / "large", "path"))
        await writer.add_folder(folder / "tree", "tree")


@quick_and_whole
@pytest.mark.parametrize("late", [False, True], ids=["waiting", "when it is done"])
async def test_cancelled_at_every_await(late: bool, whole: bool, folder: Path) -> None:
    """CancelledError goes out at each; the older file stays, and the engine works on."""
    path = folder / "out" / "a.tar.zst"
    async with Engine(2, executor="thread") as engine:
        await make(engine, folder)
        files = (await engine.test(path)).files
        k, watch, is_over = 1, Watch(KIND), False
        while not is_over:
            path.write_bytes(OLDER)
            work = At(make(engine, folder), k, late)
            task = asyncio.get_running_loop().create_task(work)
            if not (await asyncio.wait([task], timeout=20))[0]:
                lose(KIND, f"{k}: it hangs")
            is_over = not task.cancelled() and work.steps < k
            if not task.cancelled() and task.exception() is not None:
                lose(KIND, f"{k}: {task.exception()!r}")
            if os.listdir(path.parent) != [path.name]:
                lose(KIND, f"{k}: left {os.listdir(path.parent)}")
            if path.read_bytes() != OLDER and (await engine.test(path)).files != files:
                lose(KIND, f"{k}: it is not whole")
            await idle(engine, KIND)
            watch.check(k)
            count(KIND)
            k += 1 if whole else QUICK_STEP


async def test_one_member_is_cancelled(folder: Path) -> None:
    """While it is gathered, or waits, the archive goes on; once it flows, nothing is kept."""

    async def endless(size: int) -> AsyncIterator[bytes]:
        yield noise(size)
        await asyncio.sleep(1000)

    path = folder / "out" / "a.tar.zst"
    async with Engine(2, executor="thread") as engine:
        async with engine.create_archive(path, **OPTIONS) as writer:
            for size in (0, 10, 400 * KIB):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(writer.add("x", endless(size)), 0.1)
            await writer.add("x", b"good")
        async with engine.open_archive(path) as archive:
            assert await archive.read("x") == b"good"
        path.write_bytes(OLDER)
        writer = engine.create_archive(path, **OPTIONS)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(pytest.raises(AiocompressError, match="'x' broke off"))
            await stack.enter_async_context(writer)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(writer.add("x", endless(10), size=400 * KIB), 0.1)
        assert path.read_bytes() == OLDER


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork(folder: Path) -> None:
    """The child can neither go on nor do harm; the parent goes on."""
    path = folder / "out" / "a.tar.zst"
    with asyncio.Runner() as runner:
        engine = Engine(2, executor="thread")
        writer = engine.create_archive(path, **OPTIONS)
        runner.run(writer.__aenter__())
        runner.run(_awaited(writer.add("x", LARGE)))

        def child() -> list[str]:
            async def use() -> list[str]:
                said = []
                for work in (writer.add("y", LARGE), writer.__aexit__(None)):
                    with pytest.raises(AiocompressError, match=BEFORE) as caught:
                        await work
                    said.append(caught.value.reason)
                await writer.__aexit__(ValueError)
                return said

            return asyncio.run(use())

        assert len(forked(child)) == 2
        runner.run(_awaited(writer.add("y", LARGE)))
        runner.run(writer.__aexit__(None))
        runner.run(_check(engine, path))
        runner.run(engine.aclose())


async def _awaited(work: Any) -> Any:
    return await work


async def _check(engine: Engine, path: Path) -> None:
    async with engine.open_archive(path) as archive:
        assert [member.name async for member in archive.members()] == ["x", "y"]
        assert await archive.read("y") == LARGE


async def _begin(engine: Engine, path: Path) -> Any:
    writer = engine.create_archive(path, **OPTIONS)
    await writer.__aenter__()
    await writer.add("x", text(KIB))
    return writer


@pytest.mark.parametrize("how", ["run", "closed"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of asyncio
def test_a_loop_that_has_ended(how: str, folder: Path) -> None:
    """It cannot be used in the next one; with it goes all that it held."""
    path, before = folder / "out" / "a.tar.zst", descriptors()
    engine = Engine(2, executor="thread")
    if how == "run":
        writer = asyncio.run(_begin(engine, path))
    else:
        loop = asyncio.new_event_loop()
        writer = loop.run_until_complete(_begin(engine, path))
        loop.close()

    async def use() -> None:
        for work in (writer.add("y", b""), writer.__aexit__(None)):
            with pytest.raises(AiocompressError, match=r"another event loop|is not open"):
                await work
        await _begin_and_end(engine, path)

    asyncio.run(use())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        loop = writer = None
        gc.collect()
    engine.close()
    assert os.listdir(path.parent) == [path.name]
    assert descriptors(but=before) == before


async def _begin_and_end(engine: Engine, path: Path) -> None:
    writer = await _begin(engine, path)
    await writer.__aexit__(None)


async def test_one_that_is_forgotten(folder: Path) -> None:
    """It tells so, and what it has begun goes."""
    path, watch = folder / "out" / "a.tar.zst", Watch(KIND)
    async with Engine(2, executor="thread") as engine:
        forgotten = [await _begin(engine, path)]
        with pytest.warns(ResourceWarning, match="ArchiveWriter was not closed"):
            forgotten.clear()
        await asyncio.sleep(0.2)
        watch.check("forgotten")
    assert path.read_bytes() == OLDER
    writer = Engine(1).create_archive(path)  # never opened: nothing to tell
    del writer
    gc.collect()


async def test_another_loop(folder: Path) -> None:
    """From a live one, a clear error."""
    path = folder / "out" / "a.tar.zst"
    async with Engine(2, executor="thread") as engine:
        writer = await _begin(engine, path)

        async def use() -> None:
            with pytest.raises(AiocompressError, match="another event loop"):
                await writer.add("y", b"")

        await asyncio.to_thread(asyncio.run, use())
        await writer.add("y", b"")
        await writer.__aexit__(None, None, None)
        with pytest.raises(ClosedError):
            await writer.add("z", b"")
