"""``recover``: what is whole comes back exactly, what is not is named, and nothing else is made.

``check`` holds every result against the original, whatever was done to the file.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aiocompress import Engine, Report
from aiocompress.errors import AiocompressError
from aiocompress.files import Writing
from aiocompress.model import OnExists
from aiocompress.recovering import recover as _recover

from .support import noise, text

SUFFIXES = (".tar.zst", ".tar.gz")
CHUNK = 4096


async def recover(
    engine: Engine,
    source: Path,
    destination: Path,
    *,
    keep_damaged: bool = False,
    on_exists: OnExists = "error",
) -> Report:
    """Call the verb: to be switched to ``engine.recover`` when it is one."""
    return await _recover(
        engine._pool,
        source,
        destination,
        keep_damaged=keep_damaged,
        writing=Writing(on_exists, fsync=False),
    )


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    """An engine of threads: most of these files are small."""
    async with Engine(2, executor="thread") as engine:
        yield engine


def make_tree(folder: Path, seed: int = 5) -> None:
    """Files small and large, nested folders, links, a name that takes a pax header."""
    source = random.Random(seed)
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    for number in range(10):
        size = source.choice([0, 10, 300, 700])
        (folder / "sub" / f"f{number}").write_bytes(source.randbytes(size))
    (folder / "big").write_bytes(noise(9000))
    (folder / "text").write_bytes(text(8000))
    (folder / ("long" * 40)).write_bytes(b"x" * 77)
    os.link(folder / "sub" / "f1", folder / "zlink")
    (folder / "sym").symlink_to("big")


def contents(folder: Path) -> dict[str, object]:
    """All that is in a folder: content, targets of links, None for folders."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = (os.readlink(path),)
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


class Bench:
    """An archive, what is in it, and a place to try damage."""

    def __init__(self, engine: Engine, folder: Path, data: bytes, name: str) -> None:
        self.engine, self.data, self.name = engine, data, name
        self._folder = folder
        self.tree = contents(folder / "tree")
        self.out = folder / "out"
        self.frames: list[tuple[int, int, set[str]]] = []

    async def attempt(self, data: bytes, *, keep_damaged: bool = False) -> Report | None:
        """Recover from these bytes; the law: what comes back is as it was."""
        source = self._folder / ("damaged" + self.name)
        source.write_bytes(data)
        shutil.rmtree(self.out, ignore_errors=True)
        try:
            report = await recover(self.engine, source, self.out, keep_damaged=keep_damaged)
        except AiocompressError:
            assert not self.out.exists()
            return None
        self.back = {
            name: what for name, what in contents(self.out).items() if ".damaged" not in name
        }
        for name, what in self.back.items():
            assert self.tree[name] == what, name
        missing = self.tree.keys() - self.back.keys()
        assert report.skipped_count or not missing, missing
        return report

    def touched(self, offset: int) -> set[str]:
        """Members that the frame with this byte holds a part of, and links to them."""
        for start, end, names in self.frames:
            if start <= offset < end:
                return names
        return set()


async def make_bench(engine: Engine, folder: Path, suffix: str) -> Bench:
    make_tree(folder / "tree")
    archive = folder / ("whole" + suffix)
    await engine.compress_folder(folder / "tree", archive, CHUNK)
    bench = Bench(engine, folder, archive.read_bytes(), suffix)
    async with engine.open_archive(archive) as opened:
        members = [member async for member in opened.members()]
        assert opened._indexed is not None
        table = opened._indexed.table
    for number, (start, size) in enumerate(zip(table.starts, table.sizes, strict=True)):
        first, last = table.raws[number], table.raws[number + 1]
        names = {
            member.name
            for member in members
            if member.offset < last and member.data_offset + member.stored_size > first
        }
        names |= {member.name for member in members if member.link in names}
        bench.frames.append((start, start + size, names))
    return bench


@pytest.fixture(params=SUFFIXES)
async def bench(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Bench:
    """A small archive of many frames, of each kind."""
    return await make_bench(engine, tmp_path, request.param)


# The archives of ours.


async def test_nothing_is_damaged(bench: Bench) -> None:
    """A whole archive comes back whole, and the report says so."""
    report = await bench.attempt(bench.data)
    assert report is not None
    assert bench.back == bench.tree
    assert (report.skipped_count, report.warnings, report.files) == (0, (), 15)


async def test_every_byte(bench: Bench) -> None:
    """One damaged byte: every member that does not touch that frame comes back."""
    for offset in range(len(bench.data) % 53, len(bench.data), 53):
        data = bytearray(bench.data)
        data[offset] ^= 1 << offset % 8
        assert await bench.attempt(bytes(data)) is not None, offset
        lost = bench.tree.keys() - bench.back.keys()
        assert lost <= bench.touched(offset), offset


async def test_cut_off(bench: Bench) -> None:
    """The end is missing: all of the frames before it come back."""
    for size in range(0, len(bench.data), 211):
        report = await bench.attempt(bench.data[:size])
        whole = [names for start, end, names in bench.frames if end <= size]
        broken: set[str] = set().union(*(n for _, end, n in bench.frames if end > size))
        if report:
            assert set().union(*whole) - broken <= bench.back.keys(), size


async def test_front_is_lost(bench: Bench) -> None:
    """The table at the end tells what the rest is."""
    for size in range(1, len(bench.data), 211):
        report = await bench.attempt(bench.data[size:])
        lost: set[str] = set().union(*(n for start, _, n in bench.frames if start < size))
        if report:
            assert report.skipped_count
            assert bench.tree.keys() - bench.back.keys() <= lost, size
