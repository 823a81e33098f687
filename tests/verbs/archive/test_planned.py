"""Chunks that are planned here and read by workers: the same bytes, whatever happens meanwhile."""

# A test waits for what has no event:
# ruff: noqa: ASYNC110

from __future__ import annotations

import asyncio
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aiocompress
from aiocompress import Engine
from aiocompress.sync import open_archive

from ...help import trees
from ...help.archives import (
    KIB,
    MIB,
    SUFFIXES,
    Works,
    a_place,
    decompressed,
    pack,
    sound_contents,
    two_threads,
)
from ...help.data import noise, text
from ...help.programs import descriptors, kill, workers
from ...help.tools import LIBRARY, nobody, run
from ...help.trees import CHUNK, Tree

BEFORE, AFTER = 700, 900


async def by_hand(source: Path, path: Path, chunk: int) -> None:
    """Pack a folder as a writer of archives does, whose members no worker lays."""
    async with (
        two_threads() as engine,
        engine.create_archive(path, chunk_size=chunk, fsync=False) as writer,
    ):
        await writer.add_folder(source)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    tree=trees.trees(30),
    chunk=st.sampled_from([KIB, 4 * KIB, CHUNK, 70_000, MIB]),
    suffix=st.sampled_from([*SUFFIXES]),
)
def test_the_plan_is_what_the_packer_does(
    tree: Tree, chunk: int, suffix: str, works: Works
) -> None:
    """Chunks that workers lay by a plan are those that are laid member by member."""
    with a_place() as place:
        trees.build(place / "tree", tree)
        planned, packed = place / f"planned{suffix}", place / f"packed{suffix}"
        works(works.engine.compress_folder(place / "tree", planned, chunk, fsync=False))
        works(by_hand(place / "tree", packed, chunk))
        assert planned.read_bytes() == packed.read_bytes()


async def test_more_roots_than_are_held_open(tmp_path: Path) -> None:
    """The first folders are left to workers, the others are not: nobody sees a difference."""
    roots, several = [], tmp_path / "several"
    for number in range(40):
        for name in ("a", "b/c"):
            path = several / f"{number:02}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text(number, number))
        roots.append(several / f"{number:02}")
    before = descriptors()
    await pack([*roots[:20], *roots[20:]], tmp_path / "roots.tar.zst", 4 * KIB)
    assert descriptors() == before
    await by_hand(several, tmp_path / "folder.tar.zst", 4 * KIB)
    assert decompressed(tmp_path / "roots.tar.zst") == decompressed(tmp_path / "folder.tar.zst")


# What changes between the plan and the worker that reads it.


class Opened:
    """``os.readv`` as it is, but that something happens when the first file is read.

    By then the chunk has been planned, and nothing else of it has been opened.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: Path) -> None:
        self._first, self._readv = str(first), os.readv
        self.event: Callable[[], object] = lambda: None
        monkeypatch.setattr(os, "readv", self._read)

    def _read(self, descriptor: int, buffers: Any) -> int:
        if os.readlink(f"/proc/self/fd/{descriptor}") == self._first:
            self.event()
        return self._readv(descriptor, buffers)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree whose members stand in one chunk, but for the last one.

    Of those behind ``m``, a worker lays some; others were laid before: a file with two names, and
    the begin of one that needs several chunks.
    """
    tree = tmp_path / "tree"
    tree.mkdir()
    for name, size in (("a", BEFORE), ("m", 1024), ("n", AFTER), ("p", 512), ("q", AFTER)):
        (tree / name).write_bytes(noise(size, ord(name)))
    (tree / "o1").write_bytes(noise(600, 1))
    os.link(tree / "o1", tree / "o2")
    (tree / "z").write_bytes(noise(100_000, 2))
    return tree


@pytest.fixture
def opened(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    return Opened(monkeypatch, tree / "a")


def files(tree: Path) -> dict[str, bytes]:
    """Every file of the tree, as an archive holds it: of two names, the second one is a link."""
    return {one.name: one.read_bytes() for one in tree.iterdir() if one.name != "o2"}


def own(source: Path, path: Path, executor: ThreadPoolExecutor) -> Any:
    """Pack with an executor that may stand elsewhere, so that it reads nothing."""

    async def work() -> aiocompress.Report:
        async with Engine(2, executor=executor) as engine:
            return await engine.compress_folder(source, path, CHUNK, fsync=False, on_error="skip")

    return work()


@pytest.mark.parametrize("by", ["workers", "own"])
@pytest.mark.parametrize("size", [0, 1, 511, 512, 1023, 1025, 1536, 3000, 20_000])
async def test_another_size(size: int, by: str, opened: Opened, tree: Path, tmp_path: Path) -> None:
    """What it is now, if the chunk has room for it, or else its first bytes and a warning."""
    opened.event = lambda: (tree / "m").write_bytes(noise(size, 9))
    path = tmp_path / "a.tar.zst"
    if by == "own":
        with ThreadPoolExecutor(2) as executor:
            report = await own(tree, path, executor)
    else:
        report = await pack(tree, path, on_error="skip")
    found = await sound_contents(path)
    assert found.pop("m") == noise(size, 9)[: min(size, 1024)]
    assert report.changed == (size > 1024)
    assert report.skipped_count == 0
    assert found == {name: data for name, data in files(tree).items() if name != "m"}


async def test_larger_where_there_is_room(opened: Opened, tree: Path, tmp_path: Path) -> None:
    """A file that has grown is packed whole while its chunk has room: no warning is due."""
    (tree / "z").unlink()
    opened.event = lambda: (tree / "m").write_bytes(noise(3000, 9))
    report = await pack(tree, tmp_path / "a.tar.zst")
    assert (report.changed, report.warnings) == (0, ())
    found = await sound_contents(tmp_path / "a.tar.zst")
    assert found == files(tree)


def _to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _to_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("x" * 300)


@pytest.mark.parametrize("becomes", ["nothing", "a folder", "a long link", "one with two names"])
async def test_something_else(becomes: str, opened: Opened, tree: Path, tmp_path: Path) -> None:
    """All others are packed whole; what is there now is packed, too, or told."""
    events = {
        "nothing": Path.unlink,
        "a folder": _to_folder,
        "a long link": _to_link,
        "one with two names": lambda path: (os.unlink(path), os.link(tree / "n", path)),
    }
    path = tmp_path / "a.tar.zst"
    opened.event = lambda: events[becomes](tree / "m")
    report = await pack(tree, path, on_error="skip")
    assert report.skipped_count == (becomes in {"nothing", "a folder"})
    if report.skipped_count:
        assert report.skipped[0].startswith(f"{tree / 'm'}: ")
    await aiocompress.decompress_folder(path, tmp_path / "back", fsync=False)
    expected = trees.restored(trees.look(tree))
    if becomes == "a folder":
        del expected[b"m"]
    trees.check_same(trees.look(tmp_path / "back"), expected)


async def test_a_link_that_has_no_room(opened: Opened, tree: Path, tmp_path: Path) -> None:
    """It cannot be cut: it is named as changed, or an error."""
    (tree / "m").unlink()
    (tree / "m").symlink_to("short")
    opened.event = lambda: _to_link(tree / "m")
    report = await pack(tree, tmp_path / "a.tar.zst", on_error="skip")
    assert report.skipped_count == 1
    assert "m: changed while it was packed" in report.skipped[0]
    (tree / "m").unlink()
    (tree / "m").symlink_to("short")
    with pytest.raises(OSError, match="changed while it was packed") as caught:
        await pack(tree, tmp_path / "b.tar.zst")
    assert caught.value.filename == str(tree / "m")
    assert not (tmp_path / "b.tar.zst").exists()


async def test_the_output_moves_into_the_tree(opened: Opened, tree: Path, tmp_path: Path) -> None:
    """A name that has become another one of the archive itself is not packed."""
    path = tmp_path / "a.tar.zst"
    path.write_bytes(b"an older archive")

    def swap() -> None:
        (tree / "m").unlink()
        os.link(path, tree / "m")

    opened.event = swap
    report = await pack(tree, path, on_exists="replace")
    assert [text.split(":")[0] for text in report.warnings] == [str(tree / "m")]
    assert "m" not in await sound_contents(path)


# Workers.


def _many(tree: Path) -> None:
    for number in range(300):
        path = tree / f"{number % 7}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text(3000, number))


@pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.faults)])
async def test_workers_that_die(number: int, tmp_path: Path) -> None:
    """Their chunks are read once more, by others: the same bytes come out."""
    tree = tmp_path / "tree"
    _many(tree)
    options: Any = {"compression_level": 19, "fsync": False}
    async with two_threads() as engine:
        await engine.compress_folder(tree, tmp_path / "a.tar.zst", 64 * KIB, **options)

    async def kill_some() -> None:
        while engine.statistics().raw_bytes < before + 100 * KIB:
            await asyncio.sleep(0.001)
        kill(victims)

    async with Engine(2) as engine:
        await engine.compress_folder(tree, tmp_path / "first.tar.zst", 64 * KIB, **options)
        before, victims = engine.statistics().raw_bytes, workers(os.getpid())[:number]
        killing = asyncio.create_task(kill_some())
        path = tmp_path / "b.tar.zst"
        await engine.compress_folder(tree, path, 64 * KIB, **options)
        await killing
        assert engine.statistics().chunks_redone
        assert engine.statistics().slots_in_use == 0
    assert path.read_bytes() == (tmp_path / "a.tar.zst").read_bytes()


def test_workers_that_do_not_reach_the_files() -> None:
    """Where the system hides the descriptors of this process, it reads trees and files itself.

    Whoever reads: what has no reader is told, and left out, and a tar gets its index.
    """
    script = """
import asyncio, ctypes, sys
from aiocompress import Engine
async def main(number, engine):
    options = dict(chunk_size=4096, on_error="skip")
    path = f"{number}.tar.zst"
    async with engine:
        report = await engine.compress_folder(sys.argv[1], path, fsync=False, **options)
        print(*report.skipped)
        stream = engine.compress_stream(sys.argv[1], **options)
        assert await stream.read() == open(path, "rb").read()
        assert stream.report.skipped == report.skipped
        path = f"{number}.x.tar.zst"
        await engine.compress_file("x.tar", path, 4096, fsync=False)
        stream = engine.compress_stream("x.tar", chunk_size=4096)
        assert await stream.read() == open(path, "rb").read()
engines = [Engine(2).prefork(), Engine(2).prefork(), Engine(2, executor="thread")]
asyncio.run(main(0, engines[0]))
assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0  # PR_SET_DUMPABLE
asyncio.run(main(1, engines[1]))
asyncio.run(main(2, engines[2]))
"""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o777)
        _many(place / "tree")
        with tarfile.open(place / "x.tar", "w") as tar:
            tar.add(place / "tree", "tree")
        for closed in ("3/3", "6/6"):
            (place / "tree" / closed).chmod(0)
        command = *nobody(), sys.executable, "-c", script, place / "tree"
        done = run(*command, cwd=place, env=LIBRARY).decode()
        told = " ".join(f"{place / 'tree' / one}: Permission denied" for one in ("3/3", "6/6"))
        assert done.splitlines() == [told] * 3
        for kind in ("tar", "x.tar"):
            packed = [(place / f"{number}.{kind}.zst").read_bytes() for number in range(3)]
            assert packed[0] == packed[1] == packed[2]
        with open_archive(place / "0.x.tar.zst") as archive:
            assert archive.is_indexed


async def test_cancelled(tmp_path: Path) -> None:
    """Nothing stays open of a tree whose packing is given up, and the engine goes on."""
    tree = tmp_path / "tree"
    _many(tree)
    async with Engine(2) as engine:
        await engine.compress_folder(tree, tmp_path / "started.tar.zst", 8 * KIB)
        before = descriptors()
        for wait in (0.0, 0.01, 0.05):
            path = tmp_path / "x.tar.zst"
            work = engine.compress_folder(tree, path, 8 * KIB, compression_level=15)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(work, wait)
            assert not path.exists()
        assert descriptors() == before
        path = tmp_path / "a.tar.zst"
        await engine.compress_folder(tree, path, 8 * KIB, fsync=False)
        assert len(await sound_contents(path)) == 300
