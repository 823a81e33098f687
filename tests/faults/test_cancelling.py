"""A cancellation at the k-th await of a verb, and at the k-th step of its loop, for every k."""

# ruff: noqa: FBT001

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from aiocompress import Engine

from .counting import count, dice, lose, quick_and_whole
from .waiting import At
from .world import VERBS, Verb, Watch, World, idle

KIND = "a cancellation"
QUICK_STEP = 31


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Where everything happens."""
    return World(tmp_path_factory.mktemp("cancelling"))


class Stepping(asyncio.SelectorEventLoop):
    """A loop that does something before its k-th step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self._at: int | None = None
        self._event: Callable[[], object] = int

    def at(self, k: int, event: Callable[[], object]) -> None:
        """Begin to count."""
        self.steps, self._at, self._event = 0, k, event

    def _run_once(self) -> None:
        self.steps += 1
        if self.steps == self._at:
            self._event()
        super()._run_once()  # type: ignore[misc]


async def _ended(engine: Engine, verb: Verb, world: World, task: asyncio.Task[Any], k: int) -> bool:
    """Wait for a verb, and look at what it has left; returns whether it was cancelled."""
    about = f"{verb.name}, {k}"
    ended, _ = await asyncio.wait([task], timeout=20)
    if not ended:
        lose(KIND, f"{about}: it hangs")
    if not task.cancelled() and task.exception() is not None:
        lose(KIND, f"{about}: {task.exception()!r}")
    found, result = verb.found(world, KIND), world.out / verb.result
    if left := [name for name in world.left() if name != str(result)]:
        lose(KIND, f"{about}: left {left}")
    if found == "mixed" and " over " not in verb.name:
        lose(KIND, f"{about}: a part of it is there")
    if not task.cancelled() and found != "new":
        lose(KIND, f"{about}: done, but {found}")
    await idle(engine, KIND)
    count(KIND)
    return task.cancelled()


def _start(verb: Verb, engine: Engine, world: World) -> Any:
    return verb.run(engine, world, world.reset(verb), fsync=False)


@quick_and_whole
@pytest.mark.parametrize("late", [False, True], ids=["waiting", "when it is done"])
@pytest.mark.parametrize("name", VERBS)
async def test_cancelled_at_every_await(name: str, late: bool, whole: bool, world: World) -> None:
    """CancelledError goes out at each; nothing is left, and the engine works on."""
    verb, loop = VERBS[name], asyncio.get_running_loop()
    step = 1 if whole else QUICK_STEP
    k, cancelled = 1 + (0 if whole else dice(name, late).randrange(step)), True
    async with Engine(2, executor="thread") as engine:
        await _start(verb, engine, world)
        watch = Watch(KIND)
        while cancelled:
            task = loop.create_task(At(_start(verb, engine, world), k, late))
            cancelled = await _ended(engine, verb, world, task, k)
            watch.check((name, k))
            k += step
        await _start(verb, engine, world)
        assert verb.found(world, KIND) == "new"
        assert engine.statistics().memory_in_use == 0


@quick_and_whole
@pytest.mark.parametrize("name", VERBS)
def test_cancelled_at_every_step_of_the_loop(name: str, whole: bool, world: World) -> None:
    """Whatever producers, jobs and threads have come to by then."""
    verb, step = VERBS[name], 1 if whole else QUICK_STEP

    async def cancelled_at_all() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Stepping)
        async with Engine(2, executor="thread") as engine:
            await _start(verb, engine, world)
            watch = Watch(KIND)
            k, cancelled = 1 + (0 if whole else dice(name).randrange(step)), True
            while cancelled:
                task = loop.create_task(_start(verb, engine, world))
                loop.at(k, task.cancel)
                cancelled = await _ended(engine, verb, world, task, k)
                watch.check((name, k))
                k += step
            await _start(verb, engine, world)
            assert verb.found(world, KIND) == "new"

    with asyncio.Runner(loop_factory=Stepping) as runner:
        runner.run(cancelled_at_all())


@quick_and_whole
@pytest.mark.parametrize("name", ["compress a folder", "extract", "mirror", "compress a file"])
async def test_cancelled_while_processes_work(name: str, whole: bool, world: World) -> None:
    """Worker processes are told nothing, end their chunk, and write to nobody's file."""
    verb, loop = VERBS[name], asyncio.get_running_loop()
    async with Engine(2) as engine:
        await _start(verb, engine, world)
        begun = loop.time()
        await _start(verb, engine, world)
        seconds = loop.time() - begun
        watch = Watch(KIND, shared=True)
        for k in range(200 if whole else 3):
            task = loop.create_task(_start(verb, engine, world))
            await asyncio.sleep(dice(name, k).uniform(0, 1.1 * seconds))
            task.cancel()
            await _ended(engine, verb, world, task, k)
            watch.check((name, k))
        await _start(verb, engine, world)
        assert verb.found(world, KIND) == "new"


async def test_a_sibling_that_fails(world: World) -> None:
    """A task group that is torn down takes all verbs with it, and leaves nothing of them."""
    names = ("compress a folder", "extract", "mirror", "framed back")

    async def fail() -> None:
        await asyncio.sleep(0.004)
        raise KeyError("sibling")

    async with Engine(2, executor="thread") as engine:
        world.reset(VERBS["extract"])
        watch = Watch(KIND)

        async def together() -> None:
            async with asyncio.TaskGroup() as group:
                for name in names:
                    result = world.out / name
                    group.create_task(VERBS[name].run(engine, world, result, fsync=False))
                group.create_task(fail())

        with pytest.raises(ExceptionGroup) as caught:
            await together()
        assert [type(error) for error in caught.value.exceptions] == [KeyError]
        watch.check("a sibling")
        await idle(engine, KIND)
    assert not [name for name in os.listdir(world.out) if name not in names]
    count(KIND)
