"""Full disks, no more inodes, a largest file, few descriptors, little memory."""

# ruff: noqa: FBT001

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import product
from typing import Any

import pytest

from aiocompress import AiocompressError, Engine

from ..help.programs import limited
from ..help.tools import run, small_disk, tool
from .counting import count, lose, note, quick_or_whole
from .world import (
    HIDDEN,
    MIB,
    PROGRAM,
    VERBS,
    Verb,
    Watch,
    World,
    idle,
    left_in_shared_memory,
    no_children,
    shared_memory,
)

FLAGS = ("--no-fsync", "--no-progress", "-T", "2")
QUICK = ("compress a folder", "extract", "mirror")


every_verb = quick_or_whole("name", [(name,) for name in VERBS], QUICK.__contains__)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Where everything happens."""
    return World(tmp_path_factory.mktemp("limits"), "large")


@contextmanager
def _small_disk(world: World, options: str) -> Iterator[None]:
    """Have ``out`` on a file system of that size."""
    disk, before = world.root / "disk", world.out
    with small_disk(disk, options):
        world.out = disk / "out"
        try:
            yield
        finally:
            world.out = before


QUICK_DISKS = (
    ("size=400K", "thread"),
    ("size=2M", "process"),
    ("size=100M,nr_inodes=90", "thread"),
)
DISKS = list(product(["size=400K", "size=2M", "size=100M,nr_inodes=90"], ["thread", "process"]))


@quick_or_whole("options executor", DISKS, lambda *disk: disk in QUICK_DISKS)
async def test_no_space(options: str, executor: Any, whole: bool, world: World) -> None:
    """An OSError that names a file; the older one stays, nothing else; with space it works."""
    kind, failed = "a full disk", 0
    names = [name for name in VERBS if " over " not in name and (whole or name in QUICK)]
    async with Engine(2, executor=executor) as engine:
        for name in names[:1] * (executor == "process"):  # workers that run have descriptors
            await VERBS[name].run(engine, world, world.reset(VERBS[name]), fsync=False)
        for name in names:
            verb = VERBS[name]
            with _small_disk(world, options):
                watch = Watch(kind)
                result = world.reset(verb)
                try:
                    await verb.run(engine, world, result, fsync=whole)
                except OSError as error:
                    failed += 1
                    if error.filename is None or "No space" not in str(error):
                        lose(kind, f"{name}: {error!r}")
                    if verb.found(world, kind) != "old":
                        lose(kind, f"{name}: the result is there in part")
                else:
                    assert verb.found(world, kind) == "new"
                if left := [one for one in world.left() if one != str(result)]:
                    lose(kind, f"{name}: left {left}")
                await idle(engine, kind)
                watch.check(name)
            await verb.run(engine, world, world.reset(verb), fsync=False)
            assert verb.found(world, kind) == "new"
            count(kind)
    assert failed


class _LossyDisk:
    """A file system for ``out`` that takes all; once it is broken, what lies behind 4 MiB is lost.

    The system hears of it when it writes back what was taken, and tells who syncs.
    """

    def __init__(self, world: World) -> None:
        tool("mkfs.ext4")
        self._image, self._disk = world.root / "image", world.out.parent
        self._image.touch()
        os.truncate(self._image, 48 * MIB)
        # What the system itself needs stands in front: data alone is lost.
        tables = ("-b", "4096", "-N", "1000", "-E", "nodiscard,lazy_itable_init=0")
        run("mkfs.ext4", "-q", "-O", "^has_journal", "-e", "continue", *tables, self._image)
        command = ("losetup", "-f", "--show", self._image)
        made = subprocess.run(command, check=False, capture_output=True)
        if made.returncode:
            pytest.skip("no loop devices here")
        self._device = made.stdout.decode().strip()
        self._mount()

    def _mount(self) -> None:
        subprocess.run(("mount", self._device, self._disk), check=True)

    def _resize(self, size: int) -> None:
        os.sync()
        os.truncate(self._image, size)
        run("losetup", "-c", self._device)

    def smash(self) -> None:
        """Break it."""
        self._resize(4 * MIB)

    def forget(self) -> None:
        """Have the system read again what is there."""
        self._resize(48 * MIB)
        subprocess.run(("umount", self._disk), check=True)
        self._mount()

    def close(self) -> None:
        """Give it up."""
        subprocess.run(("umount", self._disk), check=True)
        run("losetup", "-d", self._device)
        self._image.unlink()


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.faults) for name in VERBS],
)
async def test_a_disk_that_loses_what_was_written(name: str, world: World) -> None:
    """What the system tells when it syncs is an error; no name stands for what is not there."""
    kind, verb = "a disk that loses writes", VERBS[name]
    async with Engine(2, executor="thread") as engine:
        with _small_disk(world, "size=4K"), closing(_LossyDisk(world)) as disk:
            result = world.reset(verb)
            disk.smash()
            with pytest.raises(OSError) as caught:  # noqa: PT011 - it depends on the system
                await verb.run(engine, world, result, fsync=True)
            if caught.value.filename is None:
                lose(kind, f"{name}: {caught.value!r}")
            if left := [one for one in world.left() if one != str(result)]:
                lose(kind, f"{name}: left {left}")
            disk.forget()
            if verb.found(world, kind) not in {"old", "mixed" if " over " in name else "old"}:
                lose(kind, f"{name}: the result is there after {caught.value!r}")
            count(kind)


def _under(limit: str, verb: Verb, world: World, kind: str) -> str:
    """Run a program under a limit; returns "done" or what it said."""
    result, shared = world.reset(verb), shared_memory()
    command = limited(limit, *PROGRAM, *verb.command(world, result), *FLAGS)
    about = f"{verb.name}, {limit}"
    try:
        ended = subprocess.run(command, capture_output=True, check=False, timeout=15)
    except subprocess.TimeoutExpired:
        lose(kind, f"{about}: it hangs")
    said, found = ended.stderr.decode(), verb.found(world, kind)
    done = ended.returncode == verb.code and found == "new"
    if done or not ended.returncode:
        if found != "new":
            lose(kind, f"{about}: success, but {found}: {said}")
    elif found == "new" and " over " not in verb.name:
        lose(kind, f"{about}: {ended.returncode}, but it is there: {said}")
    elif _starts(limit) and (ended.returncode != 2 or "Traceback" in said):
        lose(kind, f"{about}: {ended.returncode}: {said}")
    hidden = [one for one in world.left() if one != str(result)]
    if hidden and _starts(limit):
        lose(kind, f"{about}: left {hidden} after {said}")
    if new := left_in_shared_memory(shared):
        lose(kind, f"{about}: left {new}")
    count(kind)
    return "done" if done else said.strip()


def _starts(limit: str) -> bool:
    """Whether the program gets as far as its own code under this limit."""
    code = "import aiocompress.cli.run, aiocompress.workers.pool, aiocompress.verbs.folders"
    command = limited(limit, sys.executable, "-c", code)
    return not subprocess.run(command, capture_output=True, check=False).returncode


@every_verb
def test_few_descriptors(name: str, whole: bool, world: World) -> None:
    """With RLIMIT_NOFILE 32 it works, or says in a line why not; and so with fewer."""
    said = {n: _under(f"ulimit -n {n}", VERBS[name], world, "few descriptors") for n in _few(whole)}
    note("few descriptors", f"{name}: done with {[n for n in said if said[n] == 'done']}")


def _few(whole: bool) -> tuple[int, ...]:
    return (10, 12, 14, 16, 18, 20, 22, 24, 28, 32, 40, 48, 64) if whole else (32,)


def test_few_descriptors_and_many_files(world: World) -> None:
    """Files that wait to be synced together take no descriptors that others need."""
    verb = VERBS["mirror over another"]
    for limit in (40, 64, 100):
        result = world.reset(verb)
        command = limited(f"ulimit -n {limit}", *PROGRAM, *verb.command(world, result), "-T", "2")
        ended = subprocess.run(command, capture_output=True, check=False, timeout=60)
        assert (ended.returncode, verb.found(world, "few descriptors")) == (0, "new"), ended
        count("few descriptors")


@every_verb
def test_little_memory(name: str, whole: bool, world: World) -> None:
    """With RLIMIT_AS it works, or says in a line why not: never a MemoryError, nor a hang."""
    sizes = (*range(100, 500, 20), 600, 800, 1000) if whole else (240,)
    said = {
        size: _under(f"ulimit -v {size << 10}", VERBS[name], world, "little memory")
        for size in sizes
    }
    note("little memory", f"{name}: done with {[n for n in said if said[n] == 'done']} MiB")


@contextmanager
def _threads(most: int) -> Iterator[None]:
    """Let no more than that many threads run at once: as a limit of tasks in a container does."""
    start, most = threading.Thread.start, threading.active_count() + most

    def limited_start(thread: threading.Thread) -> None:
        if threading.active_count() >= most:
            raise RuntimeError("can't start new thread")
        start(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", limited_start)
        yield


# Of the executor's own thread, which starts another one: it ends, and is found to have ended.
@pytest.mark.filterwarnings(
    "ignore:(?s).*can't start new thread:pytest.PytestUnhandledThreadExceptionWarning"
)
@quick_or_whole(
    "name executor", product(VERBS, ["thread", "process"]), lambda name, _: name in QUICK
)
async def test_no_more_threads(name: str, executor: Any, whole: bool, world: World) -> None:
    """With some threads it works with these; with none it says so; nothing is done twice."""
    verb, kind = VERBS[name], "no more threads"
    for most in range(14) if whole else (0, 1, 2, 4):
        result = world.reset(verb)
        engine = Engine(2, executor=executor)
        try:
            with _threads(most):
                await asyncio.wait_for(verb.run(engine, world, result, fsync=False), 20)
        except TimeoutError:
            lose(kind, f"{name}, {most}: it hangs")
        except (OSError, AiocompressError):
            if verb.found(world, kind) == "new" and " over " not in name:
                lose(kind, f"{name}, {most}: an error, but it is there")
        else:
            if verb.found(world, kind) != "new":
                lose(kind, f"{name}, {most}: success, but it is not there")
        finally:
            await asyncio.wait_for(engine.aclose(), 20)
        if left := [one for one in world.left() if one != str(result)]:
            lose(kind, f"{name}, {most}: left {left}")
        count(kind)
    no_children(kind)


@quick_or_whole("name", [(name,) for name in VERBS if "recover" not in name], QUICK.__contains__)
def test_a_largest_file(name: str, whole: bool, world: World) -> None:
    """RLIMIT_FSIZE is one line that names a file, and nothing is left."""
    for blocks in (0, 1, 100, 1000) if whole else (100,):
        limit = f"ulimit -f {blocks}"
        said = _under(limit, VERBS[name], world, "a largest file")
        if "File too large" not in said.splitlines()[-1] or len(said.splitlines()) > 2:
            lose("a largest file", f"{name}, {limit}: {said}")


@pytest.mark.faults
def test_recover_with_a_largest_file(world: World) -> None:
    """A file that is too large for the disk is named; all others are saved."""
    verb, kind = VERBS["recover"], "a largest file"
    result = world.reset(verb)
    command = limited("ulimit -f 100", *PROGRAM, *verb.command(world, result), *FLAGS)
    ended = subprocess.run(command, capture_output=True, check=False, timeout=15)
    large = [name for name, node in world.expected["rest"].items() if len(node.data) > 100 * 1024]
    assert ended.returncode == 1
    for name in large:
        assert f"skipped: {os.fsdecode(name)}: File too large" in ended.stderr.decode()
    expected = {name: node for name, node in world.expected["rest"].items() if name not in large}
    if not large or world.look(result) != expected:
        lose(kind, "recover: other files are there")
    count(kind)


def test_nothing_is_left_of_the_world(world: World) -> None:
    """Whatever happened here: sources are as they were."""
    assert not [name for name in os.listdir(world.root) if name.startswith(HIDDEN)]
    assert world.look(world.tree) == world.expected["tree"]
    assert asyncio.run(_packed(world)) == world.archive.read_bytes()


async def _packed(world: World) -> bytes:
    async with Engine(1, executor="thread") as engine:
        stream = engine.compress_stream(world.tree, chunk_size=world.chunk)
        async with stream:
            return b"".join([part async for part in stream])
