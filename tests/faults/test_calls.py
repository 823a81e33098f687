"""The n-th call of the system fails, for every n; or does less; or the program is killed there."""

# ruff: noqa: FBT001

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from itertools import product

import pytest

from aiocompress import AiocompressError, Engine

from .calls import NAMES, OPENS, READS, SYNCS, WRITES, Calls, fail
from .counting import Loss, chosen, count, lose, quick_and_whole, quick_or_whole
from .world import HIDDEN, VERBS, Verb, Watch, World, idle

KIND = "a failing call"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Where everything happens."""
    return World(tmp_path_factory.mktemp("calls"))


class Sweep:
    """One verb, over and over, with one engine; a call fails at another place each time."""

    def __init__(self, engine: Engine, world: World, verb: Verb, calls: Calls) -> None:
        self._engine, self._world, self._verb, self._calls = engine, world, verb, calls
        self._fsync = verb.before == "file"

    async def run(self, at: int | None = None, *, ever_since: bool = False) -> None:
        self._calls.arm(None)
        result = self._world.reset(self._verb)
        self._calls.arm(at, fail, ever_since=ever_since)
        work = self._verb.run(self._engine, self._world, result, fsync=self._fsync)
        await asyncio.wait_for(work, 20)

    async def number(self) -> int:
        """Return how many calls there are when nothing happens."""
        await self.run()
        await self.run()
        return self._calls.number

    async def over(self, numbers: Iterator[int], *, ever_since: bool = False) -> None:
        """Have each of these calls fail, or all from there on; then the next one works."""
        losses = []
        watch = Watch(KIND)
        for n in numbers:
            try:
                said = await self._one(n, ever_since=ever_since)
                watch.check((self._verb.name, n, said))
                count(KIND)
            except Loss as loss:
                losses.append(loss)
                watch = Watch(KIND)
        await self.run()
        assert self._verb.found(self._world, KIND) == "new"
        assert not losses, f"{len(losses)}: {losses[0]}"

    async def _one(self, n: int, *, ever_since: bool) -> str:
        about = f"{self._verb.name}, call {n}"
        said = await self._outcome(about, n, ever_since=ever_since)
        happened = self._calls.happened
        self._calls.arm(None)
        found, result = self._verb.found(self._world, KIND), self._world.out / self._verb.result
        if left := [name for name in self._world.left() if name != str(result)]:
            lose(KIND, f"{about}: {left} left after {said}")
        if said == "done" and found != "new":
            lose(KIND, f"{about}: success, but the result is {found}")
        if said != "done" and found != "old" and " over " not in self._verb.name:
            lose(KIND, f"{about}: {said}, but the result is {found}")
        if said != "done" and not happened:
            lose(KIND, f"{about}: {said}, but nothing had happened")
        await idle(self._engine, KIND)
        return said

    async def _outcome(self, about: str, n: int, *, ever_since: bool) -> str:
        try:
            await self.run(n, ever_since=ever_since)
        except TimeoutError:
            lose(KIND, f"{about}: it hung")
        except OSError as error:
            if error.filename is None:
                lose(KIND, f"{about}: {error!r} names no file")
            return str(error)
        except AiocompressError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - which is what this is about
            lose(KIND, f"{about}: {error!r}")
        return "done"


@quick_and_whole
@pytest.mark.parametrize("name", VERBS)
async def test_the_nth_call_fails(name: str, whole: bool, world: World) -> None:
    """An OSError that names a file, and all is as before; or the whole of it is done."""
    calls = Calls()
    async with Engine(2, executor="thread") as engine:
        with calls.installed():
            sweep = Sweep(engine, world, VERBS[name], calls)
            number = await sweep.number()
            await sweep.over(chosen(number, number if whole else 5, name))
        assert engine.statistics().memory_in_use == 0


FAMILIES = {
    "no space": (*WRITES, *SYNCS),
    "a broken disk": READS,
    "no descriptors": OPENS,
    "read-only": (*NAMES, *WRITES),
}


def _is_quick(name: str, family: str) -> bool:
    """Each verb meets a third of the families, and each family a third of the verbs."""
    return (list(VERBS).index(name) + list(FAMILIES).index(family)) % 3 == 0


@quick_or_whole("name family", product(VERBS, FAMILIES), _is_quick)
async def test_all_calls_fail_from_the_nth_on(
    name: str, family: str, whole: bool, world: World
) -> None:
    """No space, or no descriptors, are not gone with the next call."""
    calls = Calls(FAMILIES[family])
    async with Engine(2, executor="thread") as engine:
        with calls.installed():
            sweep = Sweep(engine, world, VERBS[name], calls)
            number = await sweep.number()
            numbers = chosen(number, number if whole else 1, name, family)
            await sweep.over(numbers, ever_since=True)


@pytest.mark.parametrize("name", VERBS)
async def test_short_reads_and_writes(name: str, world: World) -> None:
    """A system that does half of what it is asked to, each time, is no fault at all."""
    verb, calls = VERBS[name], Calls()
    calls.short = True
    async with Engine(2, executor="thread") as engine:
        with calls.installed():
            await verb.run(engine, world, world.reset(verb), fsync=False)
    assert verb.found(world, "a short call") == "new"
    count("a short call", calls.number)


# SIGKILL at the n-th call.


def _in_a_fork(verb: Verb, world: World, at: int | None) -> int:
    """Run a verb in a fork that kills itself at a call; returns its status, or the calls."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        with suppress(BaseException):
            calls = Calls()
            calls.arm(at, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            with calls.installed():
                asyncio.run(_alone(verb, world))
            os.write(writing, str(calls.number).encode())
            status = 0
        os._exit(status)
    os.close(writing)
    with open(reading) as file:
        said = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return int(said) if at is None else status


async def _alone(verb: Verb, world: World) -> None:
    async with Engine(2, executor="thread") as engine:
        await verb.run(engine, world, world.out / verb.result, fsync=False)


@quick_and_whole
@pytest.mark.parametrize("name", VERBS)
def test_killed_at_the_nth_call(name: str, whole: bool, world: World) -> None:
    """The old or the whole new one is there, beside a hidden one at most; the next call works."""
    verb, kind = VERBS[name], "SIGKILL at a call"
    world.reset(verb)
    number = _in_a_fork(verb, world, None)
    assert verb.found(world, kind) == "new"
    for n in chosen(number, number if whole else 2, name, "kill"):
        world.reset(verb)
        status = _in_a_fork(verb, world, n)
        assert status in {0, -signal.SIGKILL}, status
        found = verb.found(world, kind)
        if found == "mixed" and " over " not in name:
            lose(kind, f"{name}, call {n}: a part of it is there")
        if found == "old" and not status:
            lose(kind, f"{name}, call {n}: not done")
        again = verb if found == "old" or verb.before is not None else VERBS[name]
        if found == "new" and verb.before is None:
            world.reset(verb)
        asyncio.run(_alone(again, world))
        if verb.found(world, kind) != "new":
            lose(kind, f"{name}, call {n}: the next run did not do it")
        count(kind)


@pytest.mark.parametrize("name", ["extract", "mirror", "mirror back", "framed back"])
def test_killed_while_an_empty_folder_is_filled(name: str, world: World) -> None:
    """What a killed run has left hidden in its destination is no reason to refuse the next one."""
    verb, kind = VERBS[name], "SIGKILL at a call"
    world.reset(verb).mkdir()
    number = _in_a_fork(verb, world, None)
    world.reset(verb).mkdir()
    assert _in_a_fork(verb, world, number // 2) == -signal.SIGKILL
    assert not [name for name in os.listdir(world.out / verb.result) if HIDDEN not in name]
    asyncio.run(_alone(verb, world))
    assert verb.found(world, kind) == "new"
    count(kind)
