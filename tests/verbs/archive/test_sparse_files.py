"""Holes of sparse files stay holes, from the disk into the archive and back."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from aiocompress import Engine, LimitError, create_archive

from ...help.archives import every_suffix, pack, two_threads, unpack
from ...help.data import noise
from ...help.programs import done
from ...help.tools import run, tool

KIB, MIB = 1 << 10, 1 << 20
SHAPES: dict[str, tuple[int, dict[int, bytes]]] = {
    "all hole": (3 * MIB, {}),
    "data first": (3 * MIB, {0: noise(5000)}),
    "data last": (3 * MIB - 7, {2 * MIB: noise(MIB - 7)}),
    "between": (9 * MIB + 1, {MIB: noise(70 * KIB), 4 * MIB: b"x", 7 * MIB: noise(3 * KIB)}),
    "vast": ((1 << 40) + 5, {1 << 39: noise(100)}),
}


def make(path: Path, size: int, data: dict[int, bytes]) -> None:
    with path.open("wb") as file:
        for at, part in data.items():
            file.seek(at)
            file.write(part)
        file.truncate(size)
    os.utime(path, (1, 1))
    if path.stat().st_blocks * 512 > size - MIB:
        pytest.skip("this file system stores holes")


def check(path: Path, size: int, data: dict[int, bytes]) -> None:
    """Assert that a file has its bytes, and holes where it had them."""
    status = path.stat()
    assert status.st_size == size
    assert status.st_blocks * 512 <= sum(map(len, data.values())) + 64 * KIB * len(data)
    with path.open("rb") as file:
        for at, part in data.items():
            file.seek(at)
            assert file.read(len(part)) == part


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder of one file of each shape, and others around them."""
    (tmp_path / "tree" / "d").mkdir(parents=True)
    for name, shape in SHAPES.items():
        make(tmp_path / "tree" / "d" / name, *shape)
    (tmp_path / "tree" / "z").write_bytes(noise(3000))
    (tmp_path / "tree" / ("long" * 50)).write_bytes(b"")
    make(tmp_path / "tree" / ("n" * 200), *SHAPES["between"])
    return tmp_path / "tree"


@pytest.mark.parametrize("chunk", [4 * KIB, MIB])
@every_suffix
async def test_there_and_back(chunk: int, suffix: str, tree: Path, tmp_path: Path) -> None:
    """Extracted by the index and without one, and compared; the archive stays small."""
    path = tmp_path / f"a{suffix}"
    report = await pack(tree, path, chunk)
    assert not report.warnings
    assert path.stat().st_size < 3 * MIB
    async with two_threads() as engine:
        report = await engine.decompress_folder(path, tmp_path / "back", fsync=False)
        assert not report.warnings
        for name, shape in SHAPES.items():
            check(tmp_path / "back" / "d" / name, *shape)
        check(tmp_path / "back" / ("n" * 200), *SHAPES["between"])
        async with engine.open_archive(path) as archive:
            assert archive.is_indexed
            assert [one async for one in archive.diff(tmp_path / "back")] == []
            assert [one async for one in archive.diff(tree)] == []
            assert await archive.test()
            member = await archive.member("d/vast")
            assert (member.size, member.link) == (SHAPES["vast"][0], "")
            async with archive.open("d/vast") as file:
                await file.seek((1 << 39) - 3)
                assert await file.read(9) == b"\0\0\0" + SHAPES["vast"][1][1 << 39][:6]
                await file.seek(1 << 40)
                assert await file.read() == bytes(5)
            whole = await archive.read("d/between")
            assert whole == (tree / "d" / "between").read_bytes()

        async def pieces() -> Any:
            yield path.read_bytes()

        async with engine.open_archive(pieces()) as archive:
            await archive.extract(tmp_path / "piped", fsync=False)
        check(tmp_path / "piped" / "d" / "between", *SHAPES["between"])


@pytest.mark.parametrize("command", ["tar", "bsdtar"])
async def test_other_tools(command: str, tree: Path, tmp_path: Path) -> None:
    """GNU tar and bsdtar list the same names and sizes, and restore the holes."""
    (tree / "d" / "vast").unlink()  # bsdtar would look for zeros in it
    await pack(tree, tmp_path / "a.tar.zst", MIB)
    raw = run(tool("zstd"), "-dc", tmp_path / "a.tar.zst")
    (tmp_path / "out").mkdir()
    run(tool(command), "-xpf", "-", "-C", tmp_path / "out", data=raw)
    for name, shape in SHAPES.items():
        if name != "vast":
            check(tmp_path / "out" / "d" / name, *shape)
    check(tmp_path / "out" / ("n" * 200), *SHAPES["between"])
    assert run(tool(command), "-tf", "-", data=raw).count(b"\n") == len(SHAPES) + 3
    (tmp_path / "a.tar").write_bytes(raw)
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert archive.getmember("d/between").size in {9 * MIB + 1, 77825}


async def test_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    """For any number of workers; and a recovered archive has the same files."""
    made = set()
    for number in (1, 3):
        async with Engine(number) as engine:
            path = tmp_path / f"{number}.tar.zst"
            await engine.compress_folder(tree, path, MIB, fsync=False)
            made.add(path.read_bytes())
    assert len(made) == 1
    async with two_threads() as engine:
        report = await engine.recover(path, tmp_path / "saved.tar.zst", fsync=False)
        assert not report.skipped
        async with engine.open_archive(tmp_path / "saved.tar.zst") as archive:
            assert archive.is_indexed
            assert [one async for one in archive.diff(tree, ignore=["time"])] == []
        await engine.recover(path, tmp_path / "saved", fsync=False)
        check(tmp_path / "saved" / "d" / "between", *SHAPES["between"])


async def test_switched_off(tmp_path: Path) -> None:
    """`sparse=False` and `reproducible=True` store zeros: holes are up to the file system."""
    (tmp_path / "tree").mkdir()
    make(tmp_path / "tree" / "f", *SHAPES["between"])
    (tmp_path / "dense").mkdir()
    (tmp_path / "dense" / "f").write_bytes((tmp_path / "tree" / "f").read_bytes())
    os.utime(tmp_path / "dense" / "f", (1, 1))
    made = []
    for folder, options in (("tree", {"sparse": False}), ("dense", {})):
        made.append(tmp_path / f"{folder}.tar.zst")
        await pack(tmp_path / folder, made[-1], **options)
    assert made[0].read_bytes() == made[1].read_bytes()
    for folder in ("tree", "dense"):
        await pack(tmp_path / folder, tmp_path / f"{folder}.tar.gz", reproducible=True)
    assert (tmp_path / "tree.tar.gz").read_bytes() == (tmp_path / "dense.tar.gz").read_bytes()
    done("compress", "-q", "--no-sparse", "--prefix", "", tmp_path / "tree", "-f")
    raw = run(tool("zstd"), "-dc", tmp_path / "tree.tar.zst")
    assert len(raw) > 9 * MIB


@pytest.mark.faults
async def test_many_holes(tmp_path: Path) -> None:
    """The map of a file of 9,000 holes stays small: some of them become zeros."""
    (tmp_path / "tree").mkdir()
    data = {at * 8 * KIB: b"x" for at in range(9000)}
    make(tmp_path / "tree" / "f", 10_000 * 8 * KIB, data)
    await pack(tmp_path / "tree", tmp_path / "a.tar.zst")
    async with two_threads() as engine, engine.open_archive(tmp_path / "a.tar.zst") as archive:
        assert [one async for one in archive.diff(tmp_path / "tree")] == []


async def test_limits(tree: Path, tmp_path: Path) -> None:
    """A limit on members counts holes; a member that is added keeps them."""
    await pack(tree, tmp_path / "a.tar.zst")
    with pytest.raises(LimitError):
        await unpack(tmp_path / "a.tar.zst", tmp_path / "out", max_member_size="1GiB")
    async with create_archive(tmp_path / "b.tar.zst") as writer:
        member = await writer.add_path(tree / "d" / "between", "f")
        assert member.size == SHAPES["between"][0]
    await unpack(tmp_path / "b.tar.zst", tmp_path / "b")
    check(tmp_path / "b" / "f", *SHAPES["between"])
