"""Signals to whole programs, and to their workers, at random moments."""

# ruff: noqa: FBT001

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from itertools import product
from pathlib import Path

import psutil
import pytest

from aiocompress import Engine

from ..help.programs import alive, family, ours, started, workers
from .counting import SEED, WHOLE, count, dice, lose, quick_and_whole
from .world import HIDDEN, PROGRAM, VERBS, Verb, World, left_in_shared_memory, shared_memory

SIGNALS = {"SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}
FAULTS = (*SIGNALS, "SIGKILL of a worker")
CHOSEN = ("compress a file", "compress a folder", "extract", "mirror", "mirror back")
OTHERS = (
    *("decompress a file", "extract over another", "mirror over another", "framed back"),
    *("recover", "recover as an archive"),
)
FLAGS = ("--no-fsync", "--no-progress", "-T", "2")
_STARTING = (
    b"Could not import runpy",
    b"frozen importlib",
    b"<frozen runpy>",
    b"<frozen site>",
    b"<frozen zipimport>",
    b'File "<string>"',
)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> list[World]:
    """Two of them, so that both processors have something to do."""
    return [World(tmp_path_factory.mktemp("signals"), "large") for _ in range(2)]


@cache
def _seconds(verb: Verb, world: World) -> float:
    """Return how long it takes when nothing happens."""
    result, begun = world.reset(verb), time.perf_counter()
    ended = ours(*verb.command(world, result), *FLAGS)
    assert ended.returncode == verb.code, ended
    assert verb.found(world, "a signal") == "new"
    return time.perf_counter() - begun


def _hit(process: subprocess.Popen[bytes], fault: str, chance: random.Random) -> bool:
    """Make the fault; returns whether there was still somebody to hit."""
    if fault == "SIGKILL of a worker":
        victims = workers(process.pid)
        with suppress(psutil.NoSuchProcess):
            for victim in chance.sample(victims, min(len(victims), chance.choice((1, 2)))):
                victim.kill()
            return bool(victims)
        return False
    with suppress(ProcessLookupError):
        # A terminal sends it to all of the group; a killer picks out the one.
        (os.kill if fault == "SIGKILL" else os.killpg)(process.pid, SIGNALS[fault])
    return True


def _try(verb: Verb, world: World, fault: str, seconds: float, chance: random.Random) -> None:
    """Start a program, hit it, and look at what it has left; then have it done."""
    kind = fault
    moment = chance.uniform(0, 1.1 * seconds)
    result, shared = world.reset(verb), shared_memory()
    command = (*PROGRAM, *verb.command(world, result), *FLAGS)
    about = f"{verb.name}, after {moment:.3f} s (seed {SEED})"
    with started(*command) as process:
        time.sleep(moment)
        children = family(process.pid)
        hit = _hit(process, fault, chance)
        try:
            _, said = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            lose(kind, f"{about}: it hangs")
        if alive(children, 1 if fault != "SIGKILL" else 2):
            lose(kind, f"{about}: workers are left")
    if new := left_in_shared_memory(shared):
        lose(kind, f"{about}: {new} in /dev/shm")
    code, found = process.returncode, verb.found(world, kind)
    if not _is_right(verb, fault, code, found, said) or (
        found == "mixed" and " over " not in verb.name
    ):
        lose(kind, f"{about}: {code}, {found}, hit {hit}: {said.decode()}")
    if b"Traceback" in said and not any(name in said for name in _STARTING):
        lose(kind, f"{about}: {said.decode()}")
    if fault != "SIGKILL" and (left := _left(world, result)):
        lose(kind, f"{about}: left {left}")
    _again(verb, world, kind, about)
    count(kind)


def _is_right(verb: Verb, fault: str, code: int, found: str, said: bytes) -> bool:
    """Whether a program has ended as it should, and its result is what that says."""
    if code == 1 and any(name in said for name in _STARTING):
        return found == "old"  # nobody can do anything about it while Python starts
    if code == verb.code:
        return found == "new"
    return fault in SIGNALS and code == -SIGNALS[fault]


def _left(world: World, result: Path) -> list[str]:
    return [name for name in world.left() if name != str(result)]


def _again(verb: Verb, world: World, kind: str, about: str) -> None:
    """Whatever was left: the next run does it all, and minds nothing."""
    result = world.out / verb.result
    if verb.before is None and os.path.lexists(result):
        return  # it is whole, as was seen
    asyncio.run(_alone(verb, world, result))
    if verb.found(world, kind) != "new":
        lose(kind, f"{about}: the next run did not do it")


async def _alone(verb: Verb, world: World, result: Path) -> None:
    async with Engine(2, executor="thread") as engine:
        await verb.run(engine, world, result, fsync=False)


def _rounds(names: tuple[str, ...], fault: str, number: int, worlds: list[World]) -> None:
    for name in names:
        _seconds(VERBS[name], worlds[0])

    def one(world: World, turn: int) -> None:
        for n, name in list(product(range(number), names))[turn :: len(worlds)]:
            moment = dice(name, fault, n)
            _try(VERBS[name], world, fault, _seconds(VERBS[name], worlds[0]), moment)

    with ThreadPoolExecutor(len(worlds)) as threads:
        for done in [threads.submit(one, world, turn) for turn, world in enumerate(worlds)]:
            done.result()


@quick_and_whole
@pytest.mark.parametrize("fault", FAULTS)
def test_signals_at_random_moments(fault: str, whole: bool, worlds: list[World]) -> None:
    """It ends by that signal, or goes on without that worker; nothing is lost or left."""
    _rounds(CHOSEN, fault, max(1, WHOLE // len(CHOSEN)) if whole else 1, worlds)


@pytest.mark.faults
@pytest.mark.parametrize("fault", FAULTS)
def test_signals_at_random_moments_of_other_verbs(fault: str, worlds: list[World]) -> None:
    """So it is with the rest of them."""
    _rounds(OTHERS, fault, max(1, WHOLE // 20), worlds)


@quick_and_whole
def test_what_sigkill_leaves(whole: bool, worlds: list[World]) -> None:
    """At most one hidden thing, that only its owner can open; the next run is not troubled."""
    for name in ("mirror", "extract"):
        for n in range(WHOLE // 20 if whole else 1):
            verb, world = VERBS[name], worlds[0]
            seconds = _seconds(verb, world)
            result = world.reset(verb)
            chance = dice("left", name, n)
            with started(*PROGRAM, *verb.command(world, result), *FLAGS) as process:
                time.sleep(chance.uniform(0.2, 1) * seconds)
                process.kill()
                process.wait()
            names = [name for name in os.listdir(world.out) if name != verb.result]
            assert len(names) <= 1
            for hidden in names:
                assert hidden.startswith(HIDDEN)
                assert not os.stat(world.out / hidden).st_mode & 0o077
            _again(verb, world, "SIGKILL", name)
            count("SIGKILL")
