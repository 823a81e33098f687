"""`diff`, and `list`: damage, a folder that changes, dead workers, cancellation, a stuck reader."""

# ruff: noqa: FBT001

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aiocompress import CorruptError, Difference, Differences, Engine

from ..help import hostile
from ..help.engines import given_back
from ..help.hostile import Member
from ..help.programs import COMMAND, alive, family, kill, started, until, workers
from .counting import WHOLE, count, dice, lose, quick_and_whole, quick_or_whole
from .test_sources import changing, changing_tree
from .waiting import At
from .world import Watch, World

KIND = "a comparison"
SAME = "a-large-one", "a/", "noise", "z"
"""What nobody changes."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Where everything happens; ``before`` differs in each file."""
    return World(tmp_path_factory.mktemp("comparing"))


@asynccontextmanager
async def _compared(engine: Engine, archive: Any, folder: Path) -> AsyncIterator[Differences]:
    async with engine.open_archive(archive) as opened, opened.diff(folder) as found:
        yield found


async def _differences(engine: Engine, archive: Any, folder: Path) -> list[Difference]:
    async with _compared(engine, archive, folder) as found:
        return [difference async for difference in found]


@quick_and_whole
@pytest.mark.parametrize("packed", ["archive", "gzip", "plain"])
async def test_damage_anywhere(packed: str, whole: bool, world: World, tmp_path: Path) -> None:
    """A byte is wrong: an error, and nothing that is told is false; or it does not matter."""
    data = getattr(world, packed).read_bytes()
    damaged = tmp_path / f"damaged{getattr(world, packed).name}"
    async with Engine(2, executor="thread") as engine:
        expected = await _differences(engine, getattr(world, packed), world.before)
        for n in range(WHOLE // 3 if whole else 8):
            chance, told = dice(packed, n), []
            at = chance.randrange(len(data))
            flipped = bytes([data[at] ^ 1 << chance.randrange(8)])
            damaged.write_bytes(data[:at] + flipped + data[at + 1 :])
            try:
                async with _compared(engine, damaged, world.before) as found:
                    while (difference := await anext(found, None)) is not None:
                        told.append(difference)
            except CorruptError:
                is_false = not set(told) <= set(expected)
            else:
                is_false = told != expected
            if is_false and packed != "plain":  # whose content has no checksum
                lose(KIND, f"byte {at}: {told}")
            count(KIND)


@quick_and_whole
@pytest.mark.parametrize("packed", ["archive", "plain"])
async def test_a_folder_that_changes(packed: str, whole: bool, world: World) -> None:
    """What comes, goes and changes meanwhile may differ, and what nobody touches does not."""
    async with Engine(2, executor="thread") as engine:
        watch = Watch(KIND)
        for n in range(WHOLE // 5 if whole else 4):
            tree = changing_tree(world)
            with changing(tree, dice("comparing", packed, n)):
                work = _differences(engine, getattr(world, packed), tree)
                found = await asyncio.wait_for(work, 20)
            if false := [one for one in found if one.name.startswith(SAME)]:
                lose(KIND, f"{n}: {false}")
            count(KIND)
        watch.check(packed)


async def test_workers_that_die(world: World) -> None:
    """All of them, in the middle: the same differences, each of them once."""
    async with Engine(2) as engine:
        expected = await _differences(engine, world.archive, world.before)
        async with _compared(engine, world.archive, world.before) as found:
            told = [await anext(found)]
            kill(workers(os.getpid()))
            told += [difference async for difference in found]
    assert told == expected


@quick_and_whole
@pytest.mark.parametrize("packed", ["archive", "gzip", "plain"])
async def test_cancelled_at_every_await(packed: str, whole: bool, world: World) -> None:
    """CancelledError goes out; no task, descriptor or slot is left, and the engine works on."""
    async with Engine(2, executor="thread") as engine:
        expected = await _differences(engine, getattr(world, packed), world.before)
        watch, step, cancelled = Watch(KIND), 1 if whole else 5, True
        k = 1
        while cancelled:
            work = At(_differences(engine, getattr(world, packed), world.before), k, late=False)
            task = asyncio.get_running_loop().create_task(work)
            await asyncio.wait([task])
            cancelled = task.cancelled()
            await given_back(engine)
            watch.check((packed, k))
            k += step
            count(KIND)
        assert task.result() == expected


@quick_or_whole("command", [("list",), ("list --json",), ("diff",)], "list".__eq__)
def test_nobody_reads_what_is_told(command: str, whole: bool, tmp_path: Path) -> None:  # noqa: ARG001
    """Stdout is full, and stays so: Ctrl-C ends the program all the same."""
    archive = tmp_path / "a.tar.zst"
    members = (Member(b"%0180d" % number) for number in range(8000))
    archive.write_bytes(hostile.indexed([*members]))
    folder = [tmp_path / "empty"] if command == "diff" else []
    (tmp_path / "empty").mkdir()
    with started(*COMMAND, *command.split(), archive, *folder) as process:
        assert process.stdout is not None
        until(lambda: _waiting(process.stdout) > 900_000)
        children = family(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(5) == -signal.SIGINT
        assert not alive(children, 1)


def _waiting(pipe: Any) -> int:
    """Return how many bytes nobody has read."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), "little")
