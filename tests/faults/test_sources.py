"""Sources that grow, shrink, vanish, come, and become something else while they are read."""

# ruff: noqa: FBT001

from __future__ import annotations

import asyncio
import os
import random
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from aiocompress import AiocompressError, Engine

from ..help.tools import run, tool
from ..help.trees import build
from .counting import WHOLE, count, dice, lose, quick_and_whole
from .world import HIDDEN, Watch, World, raw, tree

KIND = "a changing source"
UNTOUCHED = b"a"
"""A folder that nobody changes."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Where everything happens."""
    return World(tmp_path_factory.mktemp("sources"))


def _grow(path: Path, chance: random.Random) -> None:
    with open(path, "ab") as file:
        file.write(chance.randbytes(chance.choice((1, 1000, 100_000))))


def _shrink(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size + 1))


def _vanish(path: Path, _: random.Random) -> None:
    path.unlink()


def _replace(path: Path, chance: random.Random) -> None:
    path.with_name("new").write_bytes(chance.randbytes(5000))
    path.with_name("new").rename(path)


def _become_a_link(path: Path, _: random.Random) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def _become_a_pipe(path: Path, _: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _become_a_folder(path: Path, _: random.Random) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_bytes(b"inside")


def _lose_the_folder(path: Path, _: random.Random) -> None:
    shutil.rmtree(path.parent)


CHANGES = (
    *(_grow, _shrink, _vanish, _replace, _become_a_link, _become_a_pipe, _become_a_folder),
    _lose_the_folder,
)


@contextmanager
def changing(root: Path, chance: random.Random) -> Iterator[None]:
    """Change files below some folders, at random, until it is left."""
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            folders = [path for path in (root / "b", root / "more", root / "late") if path.is_dir()]
            files = [path for folder in folders for path in folder.iterdir() if path.is_file()]
            if files:
                with suppress(OSError):
                    chance.choice(CHANGES)(chance.choice(files), chance)
            else:
                with suppress(OSError):
                    (root / "late").mkdir(exist_ok=True)
                    (root / "late" / str(chance.random())).write_bytes(b"late")
            stop.wait(chance.choice((0, 0, 0.0005, 0.002)))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def changing_tree(world: World) -> Path:
    """Build a tree of which a part will change."""
    root = world.root / "changing"
    if root.exists():
        shutil.rmtree(root)
    build(root, tree("small"))
    (root / "more").mkdir()
    for number in range(20):
        (root / "more" / str(number)).write_bytes(raw("small")[: 9000 * number])
    with (root / "more" / "sparse").open("wb") as file:
        for _ in range(3):
            file.write(raw("small")[:9000])
            file.seek(1 << 20, os.SEEK_CUR)
        file.truncate()
    return root


def _check_untouched(found: Path, world: World, about: str) -> None:
    """All of what nobody changed is there, as it was."""
    back = {path: node for path, node in world.look(found).items() if path.startswith(UNTOUCHED)}
    expected = {
        path: node for path, node in world.expected["tree"].items() if path.startswith(UNTOUCHED)
    }
    if {path: node.data for path, node in back.items()} != {
        path: node.data for path, node in expected.items()
    }:
        lose(KIND, f"{about}: what nobody changed is not there")
    for path, node in world.look(found).items():
        if node.data.startswith(b"root:"):
            lose(KIND, f"{about}: {path!r} was read through a link")


@quick_and_whole
@pytest.mark.parametrize("suffix", [".tar.zst", ".tar.gz", "", ".framed"])
async def test_sources_that_change_while_they_are_read(
    suffix: str, whole: bool, world: World, tmp_path: Path
) -> None:
    """What was made is well formed, and holds all that nobody changed; the rest is named."""
    packed, back = tmp_path / f"packed{suffix}", tmp_path / "back"
    options: Any = {"layout": "framed"} if suffix == ".framed" else {}
    async with Engine(2, executor="thread") as engine:
        await engine.compress_folder(changing_tree(world), packed, "16K", fsync=False, **options)
        watch = Watch(KIND)
        for n in range(WHOLE // 5 if whole else 4):
            about, chance = f"{suffix}, {n}", dice("sources", suffix, n)
            on_error: Any = "raise" if n % 4 == 0 else "skip"
            root = changing_tree(world)
            _remove(packed)
            with changing(root, chance):
                work = engine.compress_folder(
                    root, packed, "16K", on_error=on_error, fsync=False, **options
                )
                try:
                    await asyncio.wait_for(work, 20)
                except TimeoutError:
                    lose(KIND, f"{about}: it hangs")
                except OSError:
                    if on_error == "skip":
                        raise
                    if packed.exists():
                        lose(KIND, f"{about}: it is there in part")
                except AiocompressError as error:
                    lose(KIND, f"{about}: {error!r}")
            if packed.exists():
                if suffix.startswith(".tar"):
                    await asyncio.to_thread(run, tool("tar"), "-taf", packed)
                    await engine.test(packed)
                await engine.decompress_folder(packed, back, fsync=False)
                _check_untouched(back, world, about)
                _remove(back)
            if left := [name for name in os.listdir(tmp_path) if name.startswith(HIDDEN)]:
                lose(KIND, f"{about}: {left} left")
            count(KIND)
        watch.check(suffix)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


@quick_and_whole
@pytest.mark.parametrize("verb", ["compress", "decompress", "extract"])
async def test_a_file_that_changes_while_it_is_read(
    verb: str, whole: bool, world: World, tmp_path: Path
) -> None:
    """A source that is cut, or written to, meanwhile: what was there, an error, and no hang."""
    source, made = tmp_path / "source", tmp_path / "made.zst"
    data = {"compress": raw("small"), "decompress": world.packed.read_bytes()}
    whole_data = data.get(verb, world.archive.read_bytes())
    async with Engine(2, executor="thread") as engine:
        verbs = {"compress": engine.compress_file, "decompress": engine.decompress_file}
        work: Any = verbs.get(verb, engine.decompress_folder)
        for n in range(WHOLE // 5 if whole else 12):
            chance = dice(verb, n)
            source.write_bytes(whole_data)
            task = asyncio.ensure_future(work(source, made, "16K", fsync=False))
            for _ in range(chance.randrange(40)):
                await asyncio.sleep(0)
            (_shrink, _grow, _vanish)[n % 3](source, chance)
            ended, _ = await asyncio.wait([task], timeout=20)
            if not ended:
                lose(KIND, f"{verb}, {n}: it hangs")
            error = task.exception()
            if error is not None and not isinstance(error, AiocompressError | OSError):
                lose(KIND, f"{verb}, {n}: {error!r}")
            if error is not None and made.exists():
                lose(KIND, f"{verb}, {n}: {error!r}, but it is there")
            if error is None and verb == "compress":
                back = await engine.decompress(made.read_bytes())
                short = min(len(back), len(whole_data))
                assert back[:short] == whole_data[:short]
            elif error is None and verb == "decompress":
                assert made.read_bytes() == raw("small")
            _remove(made)
            assert set(os.listdir(tmp_path)) <= {"source"}
            count(KIND)
