"""An archive compared with a folder: all that differs is told, and nothing that does not."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiocompress import (
    CorruptError,
    Difference,
    Engine,
    MemberNotFoundError,
)

from ...help import hostile, trees
from ...help.archives import (
    KIB,
    SUFFIXES,
    Works,
    a_place,
    decompressed,
    every_suffix,
    pack,
    two_threads,
    unpack,
)
from ...help.data import noise, text
from ...help.engines import given_back
from ...help.hostile import Member, folder, hardlink, symlink
from ...help.places import Place, Way, every_way, extract_to
from ...help.programs import descriptors
from ...help.tools import LIBRARY, nobody, run, tool
from ...help.trees import CHUNK, Tree
from ...storage.helping import anybodys_folder
from .test_extracting import DUPLICATES
from .test_lying_index import HONEST, every_lie


async def differences(
    engine: Engine, source: Any, folder: Path | bytes, *members: str, **options: Any
) -> list[Difference]:
    """All differences, in order."""
    async with engine.open_archive(source) as archive:
        chosen = list(members) or None
        return [one async for one in archive.diff(os.fsdecode(folder), chosen, **options)]


# Where nothing differs.


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=trees.trees(), suffix=st.sampled_from([*SUFFIXES]))
def test_nothing_differs(tree: Tree, suffix: str, works: Works) -> None:
    """Neither what was packed differs, nor what was extracted, by the index or without one."""
    with a_place() as place:
        trees.build(place / "tree", tree)
        path, engine = place / f"a{suffix}", works.engine
        works(engine.compress_folder(place / "tree", path, CHUNK, fsync=False))
        works(engine.decompress_folder(path, place / "back", fsync=False))
        for one in ("tree", "back"):
            assert works(differences(engine, path, place / one)) == []

        async def pieces() -> Any:
            yield path.read_bytes()

        assert works(differences(engine, pieces(), place / "back")) == []


@pytest.mark.parametrize("command", ["--zstd", "-z", "--format=posix", "--format=gnu"])
async def test_archives_of_others(command: str, zoo: Path, tmp_path: Path) -> None:
    """So it is with archives of GNU tar, and its folder called `.`."""
    path = tmp_path / "a.tar"
    run(tool("tar"), command, "-cf", path, "-C", zoo, ".")
    async with two_threads() as engine:
        assert await differences(engine, path, zoo) == []


REPEATED: dict[str, list[Member]] = {
    "a file": [Member(b"f", data=b"1"), Member(b"f", data=text(3000)), Member(b"g")],
    "of another kind": [Member(b"f", data=b"1"), folder(b"d"), symlink(b"f", b"x")],
    "a folder": [folder(b"d", 0o700), Member(b"d/f"), folder(b"d", 0o755)],
    "what is linked to": [Member(b"f"), hardlink(b"h", b"f"), Member(b"f", data=b"2")],
    "untidily": [Member(b"./d//f"), Member(b"d/f", data=b"2", mode=0o600)],
    "what spans frames": [Member(b"f", data=noise(70_000)), Member(b"f", data=noise(70_000, 3))],
}
ALL_REPEATED = REPEATED | {
    name: row[0] for name, row in DUPLICATES.items() if name != "full folder then link"
}
"""What was in a folder that has become a link is missing, and extraction warns of it."""


@every_way
@pytest.mark.parametrize("members", ALL_REPEATED.values(), ids=ALL_REPEATED)
async def test_the_last_of_a_name_counts(members: list[Member], way: Way, place: Place) -> None:
    """Of several members of one name the last one is compared, as it is extracted."""
    path = place.write(way, members)
    await extract_to(path, place)
    async with two_threads() as engine:
        assert await differences(engine, path, place.dest) == []


@every_lie
async def test_an_index_that_lies(lie: dict[str, Any], tmp_path: Path) -> None:
    """No lie of an index makes a difference, or hides one."""
    path = tmp_path / "a"
    path.write_bytes(hostile.indexed(HONEST, frame=2048, **lie))
    async with two_threads() as engine:
        await unpack(path, tmp_path / "out")
        assert await differences(engine, path, tmp_path / "out") == []
        (tmp_path / "out" / "z").write_bytes(text(600, 1))
        ignore = {"ignore": ["time"]}
        found = await differences(engine, path, tmp_path / "out", **ignore)
        assert [(one.name, one.what) for one in found] == [("z", "content")]


# What differs.


def _tree(place: Path) -> Path:
    tree = place / "tree"
    trees.build(
        tree,
        {
            b"d": trees.Node("directory", 0o755),
            b"d/f": trees.Node("file", data=text(3 * KIB)),
            b"d/h": trees.Node("file", data=b"same", same=(b"d/h", b"d/i")),
            b"d/i": trees.Node("file", data=b"same", same=(b"d/h", b"d/i")),
            b"l": trees.Node("symlink", link=b"d/f"),
            b"large": trees.Node("file", data=noise(5 * CHUNK)),
        },
    )
    return tree


def _write(name: str, at: int, data: bytes = b"\n") -> Callable[[Path], None]:
    """Change bytes, but not the time."""

    def change(tree: Path) -> None:
        before = (tree / name).stat()
        with (tree / name).open("r+b") as file:
            file.seek(at)
            file.write(data)
        os.utime(tree / name, ns=(before.st_atime_ns, before.st_mtime_ns))

    return change


def _replace(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(tree: Path) -> None:
        if (tree / name).is_dir():
            shutil.move(tree / name, tree.parent / "moved")
        else:
            (tree / name).unlink()
        make(tree / name)

    return change


def _linked(tree: Path) -> None:
    """Put a link to a folder of the same content in the place of the folder."""
    _replace("d", lambda path: path.symlink_to(tree.parent / "moved"))(tree)


LATER = 10**18 + 1
CHANGES: dict[str, tuple[Callable[[Path], object], list[Difference]]] = {
    "missing": (lambda tree: (tree / "d/f").unlink(), [Difference("d/f", "missing")]),
    "new": (lambda tree: (tree / "d/n").mkdir(), [Difference("d/n", "new", found="directory")]),
    "content": (_write("d/f", 2000), [Difference("d/f", "content", offset=2000)]),
    "content that spans frames": (
        _write("large", 4 * CHUNK - 1),
        [Difference("large", "content", offset=4 * CHUNK - 1)],
    ),
    "size": (
        _write("large", 5 * CHUNK),
        [Difference("large", "size", 5 * CHUNK, 5 * CHUNK + 1)],
    ),
    "mode": (lambda tree: (tree / "d").chmod(0o700), [Difference("d", "mode", 0o755, 0o700)]),
    "time": (
        lambda tree: os.utime(tree / "d/f", ns=(0, LATER)),
        [Difference("d/f", "time", 10**18 + 2, LATER)],
    ),
    "link": (
        _replace("l", lambda path: path.symlink_to("d")),
        [Difference("l", "link", "d/f", "d")],
    ),
    "hard link": (
        _replace("d/i", lambda path: shutil.copy2(path.with_name("h"), path)),
        [Difference("d/i", "hardlink", "d/h")],
    ),
    "kind": (_replace("l", os.mkfifo), [Difference("l", "kind", "symlink", "fifo")]),
    "a link to a folder": (
        _linked,
        [
            Difference("d", "kind", "directory", "symlink"),
            *(Difference(f"d/{name}", "missing") for name in "fhi"),
        ],
    ),
}


@every_suffix
@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES)
async def test_what_differs(
    change: Callable[[Path], object], expected: list[Difference], suffix: str, tmp_path: Path
) -> None:
    """Each difference is told once, with both sides; by the index as without one."""
    tree, path = _tree(tmp_path), tmp_path / f"a{suffix}"
    os.utime(tree / "d/f", ns=(0, 10**18 + 2))
    await pack(tree, path)
    raw = decompressed(path)
    change(tree)
    async with two_threads() as engine:
        assert await differences(engine, path, tree) == expected
        seconds = [one for one in expected if one.what != "time"]  # a header has no others
        assert await differences(engine, raw_source(raw), tree) == seconds
        what = {"ignore": [one.what for one in expected]}
        assert await differences(engine, path, tree, **what) == []


async def raw_source(data: bytes) -> Any:
    yield data


@every_suffix
@pytest.mark.skipif(not trees.IS_ROOT, reason="only root gives files away")
async def test_preserved(suffix: str, tmp_path: Path) -> None:
    """Owners, set-ID bits and attributes differ on request, unless they were restored."""
    tree, path = _tree(tmp_path), tmp_path / f"a{suffix}"
    for name, owner in (("d", (5, 6)), ("large", (7, 8)), ("l", (9, 10))):
        os.chown(tree / name, *owner, follow_symlinks=False)
    (tree / "d/f").chmod(0o4755)
    os.setxattr(tree / "d/h", "user.note", b"text")
    await pack(tree, path, xattrs=True)
    raw = decompressed(path)
    ours = f"{os.geteuid()}:{os.getegid()}"
    expected = [
        Difference("d", "owner", "5:6", ours),
        Difference("d/f", "mode", 0o4755, 0o755),
        Difference("d/h", "xattr", "user.note"),
        Difference("l", "owner", "9:10", ours),
        Difference("large", "owner", "7:8", ours),
    ]
    async with two_threads() as engine:
        await engine.decompress_folder(path, tmp_path / "plain", fsync=False)
        await engine.decompress_folder(path, tmp_path / "same", preserve=True, fsync=False)
        os.setxattr(tmp_path / "same/d/f", "user.new", b"")
        for one in (path, raw_source(raw)):
            assert await differences(engine, one, tmp_path / "plain", preserve=True) == expected
        assert await differences(engine, path, tmp_path / "plain") == []
        for folder in (tree, tmp_path / "same"):
            assert await differences(engine, path, folder, preserve=True) == []
            assert await differences(engine, raw_source(raw), folder, preserve=True) == []


async def test_processes(tmp_path: Path) -> None:
    """Worker processes find the same, in the same order."""
    tree, path = _tree(tmp_path), tmp_path / "a.tar.zst"
    for number in range(300):
        (tree / f"{number:03}").write_bytes(noise(2 * KIB, number))
    async with Engine(2) as engine:
        await engine.compress_folder(tree, path, CHUNK)
        for number in range(0, 300, 7):
            _write(f"{number:03}", 2047)(tree)
        _write("large", 0)(tree)
        found = await differences(engine, path, tree)
    numbers = [f"{number:03}" for number in range(0, 300, 7)]
    assert [one.name for one in found] == [*numbers, "large"]
    assert {one.what for one in found} == {"content"}


async def test_unreadable() -> None:
    """What cannot be read is told, and the rest is compared."""
    with anybodys_folder() as place:
        tree = _tree(place)
        await pack(tree, place / "a.tar.zst")
        (tree / "d/f").chmod(0)
        (place / "a.tar.zst").chmod(0o644)
        code = (
            "from aiocompress.sync import open_archive\n"
            "with open_archive('a.tar.zst') as archive:\n"
            "    print(*archive.diff('tree'), sep='\\n')"
        )
        library = "PYTHONPATH=" + LIBRARY["PYTHONPATH"]
        found = run(tool("env"), "-C", place, library, *nobody(), sys.executable, "-c", code)
    assert found == b"d/f: cannot be read: Permission denied\n"


# What is compared.


@every_suffix
async def test_some_members(suffix: str, tmp_path: Path) -> None:
    """Patterns, a folder of the archive, and names that match nothing."""
    tree, path = _tree(tmp_path), tmp_path / f"a{suffix}"
    await pack(tree, path, prefix="in/here")
    (tree / "d/f").unlink()
    (tree / "new").touch()
    missing, new = (
        Difference("in/here/d/f", "missing"),
        Difference("in/here/new", "new", None, "file"),
    )
    async with two_threads() as engine:
        there = {"prefix": "in/here"}
        assert await differences(engine, path, tree, **there) == [missing, new]
        assert await differences(engine, path, tree, "in/here/d", **there) == [missing]
        assert await differences(engine, path, tree, "*/new", **there) == [new]
        below = await differences(engine, path, tree / "d", prefix="in/here/d")
        assert below == [missing]
        top = await differences(engine, path, tree)
        assert [one.what for one in top].count("missing") == 7
        with pytest.raises(MemberNotFoundError):
            await differences(engine, path, tree, "nowhere", **there)
        with pytest.raises(ValueError, match="not 'colour'"):
            await differences(engine, path, tree, ignore=["colour"])


async def test_the_archive_itself(tmp_path: Path) -> None:
    """An archive in the folder is not new there."""
    tree = _tree(tmp_path)
    await pack(tree, tree / "a.tar.zst")
    async with two_threads() as engine:
        assert await differences(engine, tree / "a.tar.zst", tree) == []


# When things go wrong.


async def test_damage(tmp_path: Path) -> None:
    """A damaged frame is an error, and so is a folder that is not there."""
    tree, path = _tree(tmp_path), tmp_path / "a.tar.zst"
    await pack(tree, path)
    async with two_threads() as engine:
        with pytest.raises(FileNotFoundError) as caught:
            await differences(engine, path, tmp_path / "nowhere")
        assert caught.value.filename == str(tmp_path / "nowhere")
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(CorruptError) as damage:
            await differences(engine, path, tree)
        assert damage.value.file == str(path)


async def test_left_unread(tmp_path: Path) -> None:
    """Whoever stops reading keeps no slot from others, and closing gives all back."""
    tree, path = _tree(tmp_path), tmp_path / "a.tar.zst"
    (tree / "more").write_bytes(noise(60 * CHUNK))
    await pack(tree, path)
    (tree / "d/f").unlink()
    before = descriptors()
    async with Engine(2, 8 * CHUNK, executor="thread") as engine:
        async with engine.open_archive(path) as archive, archive.diff(tree) as found:
            assert (await anext(found)).what == "missing"
            await given_back(engine)
            async with asyncio.timeout(20):
                await engine.compress_file(tree / "large", tmp_path / "x.zst", CHUNK)
        await given_back(engine)
    assert descriptors() == before
