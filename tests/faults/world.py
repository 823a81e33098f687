"""Verbs and their worlds: what goes in, what stood there before, what may be found afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tarfile
import time
from bisect import bisect_right
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import current_process
from pathlib import Path
from typing import Any, Literal, Protocol

import psutil

from aiocompress import Engine

from ..help.containers import table_of
from ..help.data import noise, text
from ..help.programs import alive, descriptors, own_family, words
from ..help.trees import Node, Tree, build, look
from .counting import lose

KIB, MIB = 1 << 10, 1 << 20
SECOND = 10**9
TIME = 10**9 * SECOND
OLDER = b"older"
HIDDEN = ".aiocompress-"
Found = Literal["old", "new", "mixed"]
Size = Literal["small", "large"]


@cache
def tree(size: Size) -> Tree:
    """Return a folder of everything ordinary: large, it takes programs a moment."""
    found: Tree = {b"links": Node("symlink", 0o777, TIME, link=b"a/0"), b"empty": _folder()}
    folders, files, big = (b"a", b"b", b"a/c"), 3, 70 * KIB
    if size == "large":
        folders = tuple(b"f%d" % number for number in range(10))
        files, big = 40, 3 * MIB
    for number, folder in enumerate(folders):
        found[folder] = _folder()
        for file in range(files):
            data = text(100 + 397 * file, number)
            found[b"%b/%d" % (folder, file)] = Node("file", 0o644, TIME + file * SECOND, data)
    found[b"a-large-one"] = Node("file", 0o640, TIME, text(64 * KIB) * (big // (64 * KIB)) + b".")
    found[b"noise"] = Node("file", 0o600, TIME, noise(big))
    if size == "small":
        # Above what workers of mirrored trees read whole.
        found[b"z"] = Node("file", 0o644, TIME, text(KIB) * 1100)
    return dict(sorted(found.items()))


def _folder() -> Node:
    return Node("directory", 0o755, TIME)


@cache
def raw(size: Size) -> bytes:
    """Return the content of a file."""
    return text(200 * KIB) if size == "small" else text(MIB) * 5 + noise(3 * MIB)


class World:
    """Sources, and a folder ``out`` where a verb makes ``result``."""

    def __init__(self, root: Path, size: Size = "small") -> None:
        self.root, self.size = root, size
        self.raw, self.tree, self.out = root / "raw", root / "tree", root / "out"
        self.packed, self.archive = root / "raw.zst", root / "tree.tar.zst"
        self.gzip, self.plain = root / "tree.tar.gz", root / "tree.tar"
        self.mirror, self.framed = root / "mirror", root / "tree.framed"
        self.before = root / "before"
        """The mirrored tree of another one, of the same names."""
        self.damaged, self.rest = root / "damaged.tar.zst", root / "rest"
        """The archive with one byte wrong, and the tree without the file that this byte is of."""
        self.raw.write_bytes(raw(size))
        build(self.tree, tree(size))
        build(self.before, older_tree(tree(size)))
        build(self.rest, dict(list(tree(size).items())[:-1]))
        asyncio.run(self._pack())
        with tarfile.open(self.plain, "w", format=tarfile.PAX_FORMAT) as archive:
            archive.add(self.tree, ".")
        self.expected: dict[str, Tree] = {
            "tree": self.look(self.tree),
            "mirror": self.look(self.mirror),
            "before": self.look(self.before),
            "rest": self.look(self.rest),
            "before-mirror": self.look(root / "before-mirror"),
            "framed": _files_only(self.look(self.tree)),
        }

    async def _pack(self) -> None:
        options: Any = {"fsync": False}
        async with Engine(2, executor="thread") as engine:
            await engine.compress_file(self.raw, self.packed, self.chunk, **options)
            far = self.root / "raw.long.zst"
            await engine.compress_file(self.raw, far, self.chunk, long_distance=True, **options)
            for source, made in (
                *((self.tree, self.archive), (self.tree, self.gzip), (self.tree, self.mirror)),
                (self.before, self.root / "before-mirror"),
            ):
                await engine.compress_folder(source, made, self.chunk, **options)
            # Whoever recovers chooses no chunk size.
            await engine.compress_folder(self.rest, self.root / "rest.tar.zst", **options)
            await self._damage(engine)
            options["layout"] = "framed"
            await engine.compress_folder(self.tree, self.framed, self.chunk, **options)

    async def _damage(self, engine: Engine) -> None:
        """Have a byte wrong in a frame that holds nothing but a part of the last file."""
        async with engine.open_archive(self.archive) as archive:
            *_, last = [member async for member in archive.members()]
        data = bytearray(self.archive.read_bytes())
        table = table_of(bytes(data))
        middle = last.data_offset + last.size // 2
        number = bisect_right(table.raws, middle) - 1
        assert last.data_offset < table.raws[number]
        assert table.raws[number + 1] < last.data_offset + last.size
        data[table.starts[number] + table.sizes[number] // 2] ^= 1
        self.damaged.write_bytes(data)

    @property
    def chunk(self) -> str:
        return "64K" if self.size == "small" else "256K"

    @staticmethod
    def look(path: Path) -> Tree:
        """Return what stands in a folder; of what is hidden only that it is there."""
        return {
            name: replace(node, mode=0o644) if node.kind == "file" else replace(node, mtime_ns=0)
            for name, node in look(path).items()
        }

    def reset(self, verb: Verb) -> Path:
        """Make ``out`` what it was before; returns the path of the result."""
        if self.out.exists():
            shutil.rmtree(self.out)
        self.out.mkdir()
        result = self.out / verb.result
        if verb.before == "file":
            result.write_bytes(OLDER)
        elif verb.before is not None:
            shutil.copytree(self.root / verb.before, result, symlinks=True)
        return result

    def left(self, *, hidden: bool = False) -> list[str]:
        """Return names in ``out``, at any depth, that nobody wants; ``hidden`` may be there."""
        names = [
            os.path.join(folder, name)
            for folder, folders, files in os.walk(self.out)
            for name in (*folders, *files)
            if name.startswith(HIDDEN) or folder == str(self.out)
        ]
        return [name for name in names if not (hidden and f"/{HIDDEN}" in name)]


def older_tree(newer: Tree) -> Tree:
    """Return a tree of the same names, whose files say something else."""
    return {
        path: replace(node, data=OLDER + path, mtime_ns=TIME - 5 * SECOND)
        if node.kind == "file"
        else node
        for path, node in newer.items()
    }


def _files_only(found: Tree) -> Tree:
    return {
        path: replace(node, mode=0o644, mtime_ns=0)
        for path, node in found.items()
        if node.kind == "file"
    }


class Run(Protocol):
    """Does a verb of the library."""

    def __call__(
        self, engine: Engine, world: World, result: Path, *, fsync: bool
    ) -> Coroutine[Any, Any, Any]: ...


@dataclass(frozen=True)
class Verb:
    """One thing to do, from Python and from the command line.

    :param before: what stands there: None: nothing; "file"; or a folder of the world.
    :param new: what it makes: a file of the world, or a tree of ``expected``.
    :param code: what the program ends with when it is done.
    """

    name: str
    result: str
    run: Run
    command: Callable[[World, Path], tuple[str | Path, ...]]
    new: str
    before: str | None = None
    code: int = 0

    def found(self, world: World, kind: str) -> Found:
        """Say what the result is; a loss, if it is neither the old nor the new one."""
        result = world.out / self.result
        if unwanted := [name for name in world.left(hidden=True) if name != str(result)]:
            lose(kind, f"{self.name} left {unwanted}")
        if self.before is None and not os.path.lexists(result):
            return "old"
        if self.before == "file" and result.read_bytes() == OLDER:
            return "old"
        try:
            return self._of_trees(world, result) if result.is_dir() else self._of_file(world)
        except AssertionError as error:
            lose(kind, f"{self.name}: {error}")
            raise

    def _of_file(self, world: World) -> Found:
        result = world.out / self.result
        # Whoever compresses, and whatever happens: the bytes are the same.
        assert result.read_bytes() == (world.root / self.new).read_bytes(), "other bytes"
        return "new"

    def _of_trees(self, world: World, result: Path) -> Found:
        found = {
            path: node for path, node in world.look(result).items() if HIDDEN.encode() not in path
        }
        if self.new == "framed":
            found = _files_only(found)
        new = world.expected[self.new]
        old = world.expected[self.before] if self.before else {}
        assert set(new) >= set(found) >= set(old or new), "members are missing"
        states: set[Found] = set()
        for path, node in found.items():
            if node.kind == "file" and node != new[path]:
                data = node.data[:40], new[path].data[:40], node.mtime_ns, new[path].mtime_ns
                assert old, f"{path!r} is {data}"
                assert node.data == old[path].data, f"{path!r} is {data}"
                states.add("old")
            elif node.kind == "file":
                states.add("new")
            else:
                assert (node.kind, node.link) == (new[path].kind, new[path].link), path
        return states.pop() if len(states) == 1 else "mixed"


def _on_exists(result: Path) -> Any:
    """An empty folder may be filled; whatever else is there has to be replaced."""
    if not os.path.lexists(result) or (result.is_dir() and not _visible(result)):
        return "error"
    return "replace"


def _visible(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if not name.startswith(HIDDEN)]


def _compress(source: str, **more: Any) -> Run:
    def run(engine: Engine, world: World, result: Path, *, fsync: bool) -> Coroutine[Any, Any, Any]:
        path = getattr(world, source)
        verb = engine.compress_file if source == "raw" else engine.compress_folder
        exists = _on_exists(result)
        return verb(path, result, world.chunk, on_exists=exists, fsync=fsync, **more)

    return run


def _back(source: str) -> Run:
    def run(engine: Engine, world: World, result: Path, *, fsync: bool) -> Coroutine[Any, Any, Any]:
        path = getattr(world, source)
        verb = engine.decompress_file if source == "packed" else engine.decompress_folder
        exists = _on_exists(result)
        return verb(path, result, on_exists=exists, fsync=fsync)

    return run


def _recover(
    engine: Engine, world: World, result: Path, *, fsync: bool
) -> Coroutine[Any, Any, Any]:
    return engine.recover(world.damaged, result, on_exists=_on_exists(result), fsync=fsync)


def _out(source: str, *flags: str) -> Callable[[World, Path], tuple[str | Path, ...]]:
    return lambda world, result: (
        *("compress", "--chunk-size", world.chunk, "-o", result, *flags),
        getattr(world, source),
    )


def _in(verb: str, source: str, *flags: str) -> Callable[[World, Path], tuple[str | Path, ...]]:
    return lambda world, result: (verb, "-o", result, *flags, getattr(world, source))


VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "compress a file",
            "r.zst",
            _compress("raw"),
            _out("raw", "-f"),
            "raw.zst",
            before="file",
        ),
        Verb(
            "compress a file, --long",
            "r.zst",
            _compress("raw", long_distance=True),
            _out("raw", "--long"),
            "raw.long.zst",
        ),
        Verb(
            *("decompress a file", "r", _back("packed"), _in("decompress", "packed", "-f"), "raw"),
            before="file",
        ),
        Verb(
            *(
                "compress a folder",
                "r.tar.zst",
                _compress("tree"),
                _out("tree", "--prefix", "", "-f"),
            ),
            new="tree.tar.zst",
            before="file",
        ),
        Verb(
            "compress a folder, gzip",
            "r.tar.gz",
            _compress("tree"),
            _out("tree", "--prefix", ""),
            "tree.tar.gz",
        ),
        Verb("extract", "r", _back("archive"), _in("extract", "archive"), "tree"),
        Verb("extract, gzip", "r", _back("gzip"), _in("extract", "gzip"), "tree"),
        Verb("extract a plain tar", "r", _back("plain"), _in("extract", "plain"), "tree"),
        Verb(
            *("extract over another", "r", _back("archive"), _in("extract", "archive", "-f")),
            new="tree",
            before="before",
        ),
        Verb("mirror", "r", _compress("tree"), _out("tree", "--layout", "mirror"), "mirror"),
        Verb("mirror back", "r", _back("mirror"), _in("decompress", "mirror"), "tree"),
        Verb(
            *("mirror over another", "r", _compress("tree")),
            _out("tree", "--layout", "mirror", "-f"),
            "mirror",
            before="before-mirror",
        ),
        Verb(
            *("mirror back over another", "r", _back("mirror")),
            _in("decompress", "mirror", "-f"),
            "tree",
            before="before",
        ),
        Verb(
            *("framed", "r.framed", _compress("tree", layout="framed")),
            _out("tree", "--layout", "framed"),
            "tree.framed",
            code=1,  # links and empty folders are left out
        ),
        Verb("framed back", "r", _back("framed"), _in("extract", "framed"), "framed"),
        Verb("recover", "r", _recover, _in("recover", "damaged"), "rest", code=1),
        Verb(
            *("recover as an archive", "r.tar.zst", _recover, _in("recover", "damaged", "-f")),
            new="rest.tar.zst",
            before="file",
            code=1,
        ),
    )
}


# What may not be left.

_OURS = f"aiocompress-tests-{os.getpid()}"
"""What semaphores of this process and of PROGRAM begin with: others leave theirs as well."""
_NAMED = f"""
import multiprocessing, runpy
multiprocessing.current_process()._config["semprefix"] = "/{_OURS}"
runpy.run_module("aiocompress", run_name="__main__", alter_sys=True)
"""
PROGRAM = (sys.executable, "-c", _NAMED)
"""The command line, whose semaphores can be told from those of others."""
current_process()._config["semprefix"] = f"/{_OURS}"  # type: ignore[attr-defined]


def shared_memory() -> set[str]:
    """Return names of our semaphores, and of segments, in /dev/shm."""
    return {name for name in os.listdir("/dev/shm") if name.startswith((f"sem.{_OURS}", "psm_"))}


def left_in_shared_memory(before: set[str]) -> set[str]:
    """Return names in /dev/shm that are new, and that no process of this machine uses."""
    until, new = time.monotonic() + 5, shared_memory() - before
    while (new := _unused(new & shared_memory())) and time.monotonic() < until:
        time.sleep(0.05)  # one may just be made, or be cleaned up
    return new


def _unused(names: set[str]) -> set[str]:
    for process in os.listdir("/proc") if names else ():
        with suppress(OSError), open(f"/proc/{process}/maps") as maps:
            used = maps.read()
            names = {name for name in names if name not in used}
    return names


class Watch:
    """What is there before a fault, and may not be more afterwards.

    :param shared: whether shared memory is looked at, too.
    """

    def __init__(self, kind: str, *, shared: bool = False) -> None:
        self._kind, self._looks = kind, shared
        self._descriptors, self._shared = descriptors(), shared_memory()
        self._tasks = asyncio.all_tasks(_loop()) if _loop() else set()

    def check(self, about: Any) -> None:
        """Compare."""
        now = descriptors(but=self._descriptors)
        if now != self._descriptors:
            lose(self._kind, f"{about}: descriptors {now} and not {self._descriptors}")
        if self._looks and (shared := left_in_shared_memory(self._shared)):
            lose(self._kind, f"{about}: {shared} in /dev/shm")
        if _loop() and (tasks := asyncio.all_tasks(_loop()) - self._tasks):
            lose(self._kind, f"{about}: tasks {tasks}")


def _loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def idle(engine: Engine, kind: str) -> None:
    """Wait until an engine has given back all slots: what had begun ends soon."""
    for _ in range(5000):
        if not engine.statistics().slots_in_use:
            return
        await asyncio.sleep(0.001)
    lose(kind, "slots are held")


def no_children(kind: str, processes: list[psutil.Process] | None = None) -> None:
    """Assert that no process is left, but for the one that cleans up for multiprocessing."""
    if left := alive(own_family() if processes is None else processes, 2):
        lose(kind, f"processes {[words(process) for process in left]}")
