"""What releases have written is read for ever, and written again byte for byte.

``released/VERSION`` holds one file of every kind, as that version wrote it, and a manifest: with
which libraries, and the SHA-256 of each. ``recipes`` says how they are made.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import aiocompress

from .recipes import (
    ALL,
    ARCHIVES,
    CHUNK,
    OTHERS,
    OWNED,
    PLAIN,
    RAW,
    RELEASED,
    TREE,
    Node,
    Recipe,
    extracted,
    folder,
    libraries,
    look,
    plain,
    write_all,
)
from .second_reader import Container, records, structure

VERSIONS = sorted(os.listdir(RELEASED), key=lambda name: [*map(int, name.split("."))])
LAST = VERSIONS[-1]
LARGEST = 120_000
"""Bytes of all files of a release: they stay in the repository for ever."""


# Read.


def manifest(version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RELEASED / version / "manifest.json").read_bytes())
    return found


@pytest.fixture
async def engine() -> AsyncIterator[aiocompress.Engine]:
    """An engine that starts no process."""
    async with aiocompress.Engine(2, executor="thread") as engine:
        yield engine


every_version = pytest.mark.parametrize("version", VERSIONS)


def every(names: Iterable[str]) -> pytest.MarkDecorator:
    """Run a test for all files of these names that there are."""
    pairs = [(version, name) for version in VERSIONS for name in names]
    found = [(version, name) for version, name in pairs if (RELEASED / version / name).exists()]
    return pytest.mark.parametrize(("version", "name"), found)


@every_version
def test_files_are_those_of_the_release(version: str) -> None:
    """No released file is ever changed, and all together stay small."""
    sums = manifest(version)["sha256"]
    found = {path.name: path.read_bytes() for path in (RELEASED / version).iterdir()}
    found.pop("manifest.json")
    assert {name: hashlib.sha256(data).hexdigest() for name, data in found.items()} == sums
    assert sum(map(len, found.values())) < LARGEST


@every(PLAIN)
async def test_file_is_read(
    version: str, name: str, engine: aiocompress.Engine, tmp_path: Path
) -> None:
    """A compressed file gives back what it was made of, and passes the strictest check."""
    path, raw = RELEASED / version / name, RAW[PLAIN[name].source]
    report = await engine.decompress_file(path, tmp_path / "raw", fsync=False)
    assert (tmp_path / "raw").read_bytes() == raw
    assert await engine.decompress(path.read_bytes()) == raw
    assert report.frames >= max(1, -(-len(raw) // CHUNK))
    assert not report.warnings
    await engine.test(path)


def expected(name: str) -> dict[bytes, Node]:
    """Return what an archive holds."""
    if name.startswith("nothing"):
        return {}
    if name.startswith("tree"):
        return TREE
    tree = {b"backup/today/" + path: plain(node) for path, node in TREE.items()}
    hard, first = b"backup/today/links/hard", b"backup/today/folder/first"
    return {b"backup/today": plain(folder()), **tree, hard: tree[hard]._replace(same=first)}


@every(ARCHIVES)
async def test_archive_is_read(version: str, name: str) -> None:
    """An archive tells of all members by its index, and gives back what each holds."""
    tree = expected(name)
    who = (0, 0, "", "") if name.startswith("reproducible") else (0, 0, "root", "root")
    async with aiocompress.open_archive(RELEASED / version / name) as archive:
        assert archive.is_indexed
        async with archive.members() as members:
            found = [member async for member in members]
        assert [os.fsencode(member.name) for member in found] == list(tree)
        for member, node in zip(found, tree.values(), strict=True):
            kind = "hardlink" if node.same else node.kind
            size = 0 if node.same else len(node.data)
            assert (member.kind, member.size, member.mode) == (kind, size, node.mode)
            assert os.fsencode(member.link) == (node.same or node.link)
            assert member.mtime_ns == node.mtime_ns
            assert (member.uid, member.gid, member.user, member.group) == who
            if node.kind == "file":
                assert await archive.read(member.name) == node.data
        await archive.test()


@every(ARCHIVES)
async def test_archive_is_extracted(
    version: str, name: str, engine: aiocompress.Engine, tmp_path: Path
) -> None:
    """An archive becomes the tree that it was made of."""
    await engine.decompress_folder(RELEASED / version / name, tmp_path / "out", fsync=False)
    tree = {path: extracted(node) for path, node in expected(name).items()}
    found = look(tmp_path / "out")
    if name.startswith("reproducible"):  # a folder that no member stands for
        assert found.pop(b"backup").kind == "directory"
    assert found == tree


@every_version
async def test_framed_container_is_extracted(
    version: str, engine: aiocompress.Engine, tmp_path: Path
) -> None:
    """A framed container gives back the files, all in their order."""
    path = RELEASED / version / "tree.framed"
    report = await engine.decompress_folder(path, tmp_path / "out", fsync=False)
    found, files = (
        {path: node.data for path, node in tree.items() if node.kind == "file"}
        for tree in (look(tmp_path / "out"), TREE)
    )
    assert found == files
    assert not report.warnings


@every_version
async def test_mirrored_tree_is_decompressed(
    version: str, engine: aiocompress.Engine, tmp_path: Path
) -> None:
    """A mirrored tree gives back the tree, hard links as files of their own."""
    path, mirror = RELEASED / version / "mirror.tar.zst", tmp_path / "mirror"
    await engine.decompress_folder(path, mirror, fsync=False)
    await engine.decompress_folder(mirror, tmp_path / "out", fsync=False)
    assert look(tmp_path / "out") == {
        path: extracted(node._replace(same=b"")) for path, node in TREE.items()
    }


# Written again.


class Written(NamedTuple):
    """A folder with all files, written today; ``owned``: by root, as those of the releases."""

    folder: Path
    owned: bool


@pytest.fixture(
    scope="module",
    params=[(1, "thread"), (2, "thread"), (1, "process"), (2, "process")],
    ids=lambda param: f"{param[0]} {param[1]}",
)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """All files, written again."""
    target = tmp_path_factory.mktemp("written")

    async def write() -> bool:
        async with aiocompress.Engine(request.param[0], executor=request.param[1]) as engine:
            return await write_all(target, engine)

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SOURCE_DATE_EPOCH", raising=False)
        return Written(target, asyncio.run(write()))


@pytest.mark.parametrize("name", [*PLAIN, *ARCHIVES, "tree.framed"])
def test_structure_is_the_same(name: str, written: Written) -> None:
    """Frames, marks, tables and index are as they were, whatever the libraries compress to."""
    if name in OWNED and not written.owned:
        pytest.skip("only root gives files to the owners of those in the release")
    data, before = (written.folder / name).read_bytes(), (RELEASED / LAST / name).read_bytes()
    assert structure(data) == structure(before)


@pytest.mark.parametrize("name", OWNED)
def test_structure_but_for_owners_is_the_same(name: str, written: Written) -> None:
    """Who cannot give files away writes the same frames and members, with other owners."""
    data, before = (written.folder / name).read_bytes(), (RELEASED / LAST / name).read_bytes()
    archives = [Container.parse(one) for one in (data, before)]
    sizes = [[frame.raw_size for frame in archive.frames] for archive in archives]
    members = [[one._replace(owner=()) for one in records(archive)] for archive in archives]
    assert sizes[0] == sizes[1]
    assert members[0] == members[1]


async def test_mirrored_tree_is_the_same(
    written: Written, engine: aiocompress.Engine, tmp_path: Path
) -> None:
    """A mirrored tree has the same files, each of the same structure, and the same bytes."""
    path = RELEASED / LAST / "mirror.tar.zst"
    await engine.decompress_folder(path, tmp_path / "mirror", fsync=False)
    before = look(tmp_path / "mirror")
    today = {path: extracted(node) for path, node in look(written.folder / "mirror").items()}
    assert {path: node._replace(data=b"") for path, node in today.items()} == {
        path: node._replace(data=b"") for path, node in before.items()
    }
    for path, node in today.items():
        assert structure(node.data) == structure(before[path].data)
    check_libraries(OTHERS["mirror.tar.zst"])
    assert today == before


@pytest.mark.parametrize("name", ALL)
def test_bytes_are_the_same(name: str, written: Written) -> None:
    """The same input gives the same bytes, for any number of workers of any kind."""
    if not written.owned and name in OWNED:
        pytest.skip("it tells of files of root, which only root can make")
    check_libraries(ALL[name])
    assert (written.folder / name).read_bytes() == (RELEASED / LAST / name).read_bytes()


def check_libraries(recipe: Recipe) -> None:
    """Skip the rest of a test where another version of a library compresses."""
    then, now = manifest(LAST)["libraries"], libraries()
    for name in recipe.libraries:
        if now.get(name) != then[name]:
            pytest.skip(f"written with {name} {then[name]}, and here is {now.get(name, 'none')}")
