"""Extraction: hostile archives, built byte by byte, harm nothing outside of the destination.

Every row is met twice: in an archive of another writer, read from front to back, and in one of
ours, whose index sends it through the workers; there in one frame, and cut in the middle of
members.
"""

# They look at files, and wait for what has no event:
# ruff: noqa: FBT001

from __future__ import annotations

import asyncio
import errno
import gc
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

import aiocompress
from aiocompress import (
    AiocompressError,
    CorruptError,
    Engine,
    LimitError,
    Report,
    UnsafeMemberError,
)

from ...help import hostile, trees
from ...help.data import noise
from ...help.hostile import TIME, Member, folder, hardlink, symlink
from ...help.tools import LIBRARY, nobody, run, small_disk, tool
from ...help.trees import IS_ROOT, Tree

OUT = b"@outside@"
"""Stands for the path of the folder outside."""
GOOD = Member(b"good", data=b"good")

Way = Callable[[list[Member]], tuple[str, bytes]]
FOREIGN: dict[str, Way] = {
    "tar": lambda members: (".tar", hostile.tar(members)),
    "foreign zst": lambda members: (".tar.zst", hostile.compressed(hostile.tar(members))),
}
INDEXED: dict[str, Way] = {
    "indexed zst": lambda members: (".tar.zst", hostile.indexed(members)),
    "cut in headers": lambda members: (".tar.zst", hostile.indexed(members, frame=256)),
    "a frame a block": lambda members: (".tar.gz", hostile.indexed(members, "gzip", frame=512)),
}
WAYS = FOREIGN | INDEXED
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
FEW = ["tar", "indexed zst", "cut in headers"]
few_ways = pytest.mark.parametrize("way", [WAYS[name] for name in FEW], ids=FEW)
foreign_way = pytest.mark.parametrize("way", FOREIGN.values(), ids=FOREIGN)
indexed_way = pytest.mark.parametrize("way", INDEXED.values(), ids=INDEXED)


@dataclass
class Place:
    """A folder to work in, and one outside that nothing may happen to."""

    work: Path
    outside: Path

    def write(self, way: Way, members: list[Member], name: str = "a") -> Path:
        """Write an archive; ``OUT`` becomes the path of the folder outside."""
        there = os.fsencode(self.outside)
        members = [
            replace(
                member,
                name=member.name.replace(OUT, there),
                link=member.link.replace(OUT, there),
            )
            for member in members
        ]
        suffix, data = way(members)
        path = self.work / (name + suffix)
        path.write_bytes(data)
        return path

    @property
    def dest(self) -> Path:
        return self.work / "dest"

    def tree(self) -> Tree:
        return trees.look(self.dest)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Afterwards nothing outside has changed, and nothing hidden is left."""
    work, outside = tmp_path / "work", tmp_path / "outside"
    work.mkdir()
    (outside / "sub").mkdir(parents=True)
    (outside / "file").write_bytes(b"outside")
    (outside / "link").symlink_to("file")
    (outside / "sub" / "deeper").write_bytes(b"")
    (outside / "file").chmod(0o604)
    outside.chmod(0o751)
    for path in (outside / "file", outside / "sub", outside):
        os.utime(path, ns=(10**18 + 5, 10**18 + 7))
    before = _snapshot(outside)
    yield Place(work, outside)
    assert _snapshot(outside) == before
    assert sorted(os.listdir(tmp_path)) == ["outside", "work"]
    assert [name for name in os.listdir(work) if name.startswith(".")] == []


def _snapshot(top: Path) -> dict[str, tuple[Any, ...]]:
    """All that can change; ``st_ctime_ns`` tells of changes that were undone."""
    found = {}
    for path in [top, *top.rglob("*")]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        if path.is_symlink():
            content = os.fsencode(os.readlink(path))
        found[str(path)] = (*status[:7], status.st_mtime_ns, status.st_ctime_ns, content)
    return found


def _engine() -> Engine:
    return Engine(2, executor="thread")


async def _extract(path: Path, place: Place, **options: Any) -> Report:
    async with _engine() as engine:
        return await engine.decompress_folder(path, place.dest, fsync=False, **options)


def _short(tree: Tree) -> dict[bytes, tuple[str, bytes]]:
    return {path: (node.kind, node.data or node.link) for path, node in tree.items()}


def _file(data: bytes = b"") -> tuple[str, bytes]:
    return "file", data


def _link(target: bytes) -> tuple[str, bytes]:
    return "symlink", target


FOLDER = ("directory", b"")

# Names and links: refused, and with on_error="skip" all others are there.

DEEP = b"d/" * 200_000 + b"f"
Expected = dict[bytes, tuple[str, bytes]]
REFUSED: dict[str, tuple[list[Member], Expected | None]] = {
    ".. first": ([Member(b"../outside/new")], {}),
    ".. inside": ([Member(b"a/../../outside/file", data=b"x")], {}),
    ".. that stays inside": ([Member(b"a/../b")], {}),
    ".. last": ([folder(b"a/..", 0o777)], {}),
    ".. alone": ([Member(b"..")], {}),
    ".. as a folder": ([folder(b"..", 0o777, mtime=1)], {}),
    ".. after a slash": ([Member(b"/../outside/new")], {}),
    ".. as a link": ([symlink(b"../outside/new", b"x")], {}),
    ".. as a hard link": ([Member(b"f"), hardlink(b"../outside/new", b"f")], {b"f": _file()}),
    "through a link": ([symlink(b"l", OUT), Member(b"l/new")], {b"l": _link(OUT)}),
    "over a file through a link": (
        [symlink(b"l", OUT), Member(b"l/file", data=b"x")],
        {b"l": _link(OUT)},
    ),
    "through a relative link": (
        [symlink(b"l", b"../../outside"), folder(b"l/sub", 0o777)],
        {b"l": _link(b"../../outside")},
    ),
    "through two links": (
        [symlink(b"up", b".."), symlink(b"up/l", b"../outside"), Member(b"up/l/new")],
        {b"up": _link(b"..")},
    ),
    "through a link made deeper": (
        [folder(b"d"), symlink(b"d/l", OUT), Member(b"d/l/sub/new")],
        {b"d": FOLDER, b"d/l": _link(OUT)},
    ),
    "a link through a link": (
        [symlink(b"l", OUT), symlink(b"l/new", b"/etc")],
        {b"l": _link(OUT)},
    ),
    "a link where all goes": ([symlink(b".", OUT)], {}),
    "a link where all goes, ./": ([symlink(b"./", OUT)], {}),
    "a file where all goes": ([Member(b".", data=b"x")], {}),
    "a hard link where all goes": ([Member(b"f"), hardlink(b"./.", b"f")], {b"f": _file()}),
    "hard link to outside": ([hardlink(b"h", OUT + b"/file")], {}),
    "hard link to outside, ..": ([hardlink(b"h", b"../../outside/file")], {}),
    "hard link to a link": (
        [symlink(b"l", OUT + b"/file"), hardlink(b"h", b"l")],
        {b"l": _link(OUT + b"/file")},
    ),
    "hard link to itself": ([hardlink(b"h", b"h")], {}),
    "hard link to itself, there": ([Member(b"h", data=b"x"), hardlink(b"h", b"h")], None),
    "hard link to nothing": ([hardlink(b"h", b"nothing")], {}),
    "hard link to no name": ([hardlink(b"h", b"")], {}),
    "hard link to all": ([hardlink(b"h", b".")], {}),
    "hard link to a folder": ([folder(b"d"), hardlink(b"h", b"d")], {b"d": FOLDER}),
    "hard link through a link": (
        [symlink(b"l", OUT), hardlink(b"h", b"l/file")],
        {b"l": _link(OUT)},
    ),
    "hard link into a file": ([Member(b"f"), hardlink(b"h", b"f/g")], {b"f": _file()}),
    "a member in a file": ([Member(b"f"), Member(b"f/g")], {b"f": _file()}),
    "a name of 256 bytes": ([Member(b"x" * 256)], {}),
    "a name of 256 bytes, below": ([Member(b"d/" + b"x" * 256 + b"/f")], {}),
    "a path over PATH_MAX": ([Member(b"d/" * 2048 + b"f")], {}),
    "built for realpath": (
        [Member((b"d" * 247 + b"/") * 16 + b"../" * 17 + b"outside/new")],
        {},
    ),
    "200,000 levels": ([Member(DEEP)], {}),
    "200,000 levels of folders": ([folder(DEEP)], {}),
    "a link 200,000 levels down": ([symlink(DEEP, b"x")], {}),
    "hard link 200,000 levels down": ([hardlink(b"h", DEEP)], {}),
    "a folder over a full one": (
        [folder(b"d"), Member(b"d/f", data=b"1"), Member(b"d", data=b"2")],
        {b"d": FOLDER, b"d/f": _file(b"1")},
    ),
    "a target that is too long": ([symlink(b"l", b"x" * 5000)], {}),
    "no target": ([symlink(b"l", b"")], {}),
}
refused_rows = pytest.mark.parametrize(("members", "left"), REFUSED.values(), ids=REFUSED)


def _check_named(error: BaseException, path: Path) -> None:
    """An error of ours names the archive, one of the system what it could not do it to."""
    if isinstance(error, AiocompressError):
        assert error.file == str(path)
    else:
        assert isinstance(error, OSError)
        assert error.filename


@few_ways
@refused_rows
async def test_refused(
    members: list[Member], left: Expected | None, way: Way, place: Place
) -> None:
    """An error of ours, or an OSError that names the member; then nothing is there."""
    path = place.write(way, [*members, GOOD])
    with pytest.raises((UnsafeMemberError, OSError)) as caught:
        await _extract(path, place)
    _check_named(caught.value, path)
    del left
    assert os.listdir(place.work) == [path.name]


@every_way
@refused_rows
async def test_skipped(
    members: list[Member], left: Expected | None, way: Way, place: Place
) -> None:
    """With on_error="skip" it is reported, and all others are there."""
    path = place.write(way, [*members, GOOD])
    report = await _extract(path, place, on_error="skip")
    assert report.damaged == report.skipped_count == len(report.skipped) >= 1
    found = _short(place.tree())
    assert found.pop(b"good") == _file(b"good")
    if left is not None:
        there = os.fsencode(place.outside)
        expected = {name: (kind, data.replace(OUT, there)) for name, (kind, data) in left.items()}
        expected = {name: one for name, one in expected.items() if name}
        assert found == expected


# Names that no archive should hold.


@every_way
@pytest.mark.parametrize(
    "member",
    [Member(b""), Member(b"x", pax=((b"path", b"a\0b"),)), Member(b"x", pax=((b"path", b""),))],
    ids=["empty", "NUL", "empty in pax"],
)
async def test_no_names(member: Member, way: Way, place: Place) -> None:
    """An empty name, or one with a NUL, makes the archive damaged."""
    path = place.write(way, [GOOD, member])
    with pytest.raises(CorruptError) as caught:
        await _extract(path, place)
    assert caught.value.file == str(path)
    assert os.listdir(place.work) == [path.name]
    report = await _extract(path, place, on_error="skip")
    assert report.damaged == 1
    assert _short(place.tree()) == {b"good": _file(b"good")}


@every_way
async def test_absolute_names(way: Way, place: Place) -> None:
    """The leading slash is removed, and one warning says so; all stands inside."""
    there = os.fsencode(place.outside).lstrip(b"/")
    members = [
        Member(OUT + b"/file", data=b"1"),
        Member(b"/" + OUT + b"/new", data=b"2"),
        symlink(b"/l", b"/etc"),
    ]
    report = await _extract(place.write(way, members), place)
    found = {name: one for name, one in _short(place.tree()).items() if one != FOLDER}
    assert found == {
        there + b"/file": _file(b"1"),
        there + b"/new": _file(b"2"),
        b"l": _link(b"/etc"),
    }
    assert len([text for text in report.warnings if "'/'" in text]) == 1


@every_way
async def test_odd_names(way: Way, place: Place) -> None:
    """A newline, ESC, bytes that are not UTF-8, and names differing in case: all are kept."""
    names = [b"new\nline", b"\x1b[31m", b"\xff\xfe", b"A", b"a", b"caf\xc3\xa9", b"cafe\xcc\x81"]
    members = [Member(b"d/" + name, data=name) for name in names]
    await _extract(place.write(way, members), place)
    assert _short(place.tree()) == {b"d": FOLDER} | {
        b"d/" + name: _file(name) for name in sorted(names)
    }


@every_way
async def test_untidy_names(way: Way, place: Place) -> None:
    """Slashes and dots that mean nothing are removed."""
    members = [
        folder(b".", 0o750),
        Member(b"./a", data=b"1"),
        Member(b"b//c", data=b"2"),
        Member(b"./b/./d", data=b"3"),
        hardlink(b"./e", b"./a"),
        Member(b"x" * 255, data=b"4"),
    ]
    await _extract(place.write(way, members), place)
    assert _short(place.tree()) == {
        b"a": _file(b"1"),
        b"b": FOLDER,
        b"b/c": _file(b"2"),
        b"b/d": _file(b"3"),
        b"e": _file(b"1"),
        b"x" * 255: _file(b"4"),
    }
    assert stat.S_IMODE(place.dest.stat().st_mode) == 0o750


@few_ways
async def test_as_deep_as_paths_go(way: Way, place: Place) -> None:
    """2,047 levels are restored; the file is where it belongs."""
    path = place.write(way, [Member(b"d/" * 2047 + b"f", data=b"deep")])
    try:
        await _extract(path, place)
        at = os.open(place.dest, os.O_RDONLY)
        for _ in range(2047):
            below = os.open("d", os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
        assert os.stat("f", dir_fd=at).st_size == 4
        os.close(at)
    finally:
        run(tool("rm"), "-rf", place.dest)


# One name, several members: the last one wins, whole.

LONG, SHORT = noise(3000), b"short"
DUPLICATES: dict[str, tuple[list[Member], Expected]] = {
    "a longer file first": (
        [Member(b"m", data=LONG), Member(b"m", data=SHORT)],
        {b"m": _file(SHORT)},
    ),
    "a shorter file first": (
        [Member(b"m", data=SHORT), Member(b"m", data=LONG)],
        {b"m": _file(LONG)},
    ),
    "spelled otherwise": (
        [Member(b"m", data=LONG), Member(b"./m", data=SHORT)],
        {b"m": _file(SHORT)},
    ),
    "file then folder": ([Member(b"m", data=SHORT), folder(b"m")], {b"m": FOLDER}),
    "folder then file": ([folder(b"m"), Member(b"m", data=SHORT)], {b"m": _file(SHORT)}),
    "link then file": ([symlink(b"m", OUT + b"/file"), Member(b"m", data=b"")], {b"m": _file()}),
    "link then longer file": (
        [symlink(b"m", OUT + b"/file"), Member(b"m", data=LONG)],
        {b"m": _file(LONG)},
    ),
    "file then link": ([Member(b"m", data=LONG), symlink(b"m", OUT)], {b"m": _link(OUT)}),
    "link then link": ([symlink(b"m", OUT), symlink(b"m", b"/")], {b"m": _link(b"/")}),
    "link then folder": ([symlink(b"m", OUT), folder(b"m", 0o777)], {b"m": FOLDER}),
    "link, then folder with a file": (
        [symlink(b"m", OUT), folder(b"m"), Member(b"m/new", data=SHORT)],
        {b"m": FOLDER, b"m/new": _file(SHORT)},
    ),
    "folder then link": ([folder(b"m", 0o777), symlink(b"m", OUT)], {b"m": _link(OUT)}),
    "folder, link, folder": (
        [folder(b"m"), symlink(b"m", OUT), folder(b"m", 0o711)],
        {b"m": FOLDER},
    ),
    "link to outside, then hard link": (
        [Member(b"f", data=SHORT), symlink(b"m", OUT), hardlink(b"m", b"f")],
        {b"f": _file(SHORT), b"m": _file(SHORT)},
    ),
    "hard link then file": (
        [Member(b"f", data=SHORT), hardlink(b"m", b"f"), Member(b"m", data=LONG)],
        {b"f": _file(SHORT), b"m": _file(LONG)},
    ),
    "a file with a hard link, then another": (
        [Member(b"m", data=SHORT), hardlink(b"h", b"m"), Member(b"m", data=LONG)],
        {b"h": _file(SHORT), b"m": _file(LONG)},
    ),
    "hard link, and its file again as a link": (
        [Member(b"m", data=SHORT), hardlink(b"h", b"m"), symlink(b"m", OUT)],
        {b"h": _file(SHORT), b"m": _link(OUT)},
    ),
    "folders twice": (
        [folder(b"m"), Member(b"m/f"), folder(b"m")],
        {b"m": FOLDER, b"m/f": _file()},
    ),
}


@every_way
@pytest.mark.parametrize(("members", "expected"), DUPLICATES.values(), ids=DUPLICATES)
async def test_duplicates(
    members: list[Member], expected: Expected, way: Way, place: Place
) -> None:
    """Members of one name: the last one wins, and is never written through an earlier one."""
    await _extract(place.write(way, [*members, GOOD]), place)
    there = os.fsencode(place.outside)
    found = _short(place.tree())
    assert found.pop(b"good") == _file(b"good")
    assert found == {
        name: (kind, data.replace(OUT, there)) for name, (kind, data) in expected.items()
    }


@every_way
async def test_the_last_mode_of_a_folder(way: Way, place: Place) -> None:
    """A folder that comes twice gets the mode and time of the last one."""
    members = [folder(b"m", 0o700, mtime=1), Member(b"m/f"), folder(b"m", 0o755, mtime=2)]
    await _extract(place.write(way, members), place)
    status = (place.dest / "m").stat()
    assert (oct(stat.S_IMODE(status.st_mode)), int(status.st_mtime)) == (oct(0o755), 2)


# Modes, owners, times.


@every_way
async def test_modes(way: Way, place: Place) -> None:
    """No special bits, and the owner can always read; folders' times are set last."""
    members = [
        folder(b"d", 0o7000, mtime=5),
        Member(b"d/setuid", mode=0o6755, mtime=6),
        Member(b"d/none", mode=0o000, data=b"x"),
        Member(b"d/write", mode=0o222, data=b"y" * 3000, ids=(12345, 54321)),
        folder(b"d/e", 0o555, mtime=7),
        Member(b"d/e/f", mode=0o1777),
        symlink(b"d/e/l", b"x"),
        hardlink(b"d/e/h", b"d/none"),
    ]
    await _extract(place.write(way, members), place)
    found = {name: (oct(node.mode), node.mtime_ns // 10**9) for name, node in place.tree().items()}
    assert found == {
        b"d": ("0o500", 5),
        b"d/setuid": ("0o755", 6),
        b"d/none": ("0o400", TIME),
        b"d/write": ("0o622", TIME),
        b"d/e": ("0o555", 7),
        b"d/e/f": ("0o777", TIME),
        b"d/e/l": ("0o777", TIME),
        b"d/e/h": ("0o400", TIME),
    }
    assert (place.dest / "d" / "write").stat().st_uid == os.geteuid()


@every_way
async def test_preserved(way: Way, place: Place) -> None:
    """On request set-user-ID bits and, for root, owners come back."""
    members = [
        folder(b"d", 0o1777, ids=(5, 6)),
        Member(b"d/f", data=b"x" * 2000, mode=0o4711, ids=(7, 8)),
        Member(b"d/g", mode=0o2755, ids=(1 << 20, 9)),
    ]
    await _extract(place.write(way, members), place, preserve=True)
    found = {path: (place.dest / path).stat() for path in ("d", "d/f", "d/g")}
    modes = {path: stat.S_IMODE(status.st_mode) for path, status in found.items()}
    assert modes == {"d": 0o1777, "d/f": 0o4711, "d/g": 0o2755}
    if IS_ROOT:
        owners = {path: (status.st_uid, status.st_gid) for path, status in found.items()}
        assert owners == {"d": (5, 6), "d/f": (7, 8), "d/g": (1 << 20, 9)}


@every_way
@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
@pytest.mark.parametrize("what", ["link", "pipe"])
async def test_preserved_links_and_pipes(what: str, way: Way, place: Place) -> None:
    """They get their owners and times too."""
    member = Member(b"m", b"2" if what == "link" else b"6", ids=(10, 11))
    member = replace(member, link=b"target" if what == "link" else b"")
    await _extract(place.write(way, [member]), place, preserve=True)
    status = (place.dest / "m").lstat()
    assert (status.st_uid, status.st_gid, status.st_mtime) == (10, 11, TIME)


@every_way
async def test_specials(way: Way, place: Place) -> None:
    """Pipes and devices are not made, and reported; they are not damage."""
    members = [
        Member(b"p", b"6"),
        Member(b"d/c", b"3", device=(1, 3)),
        Member(b"b", b"4", device=(7, 0)),
        GOOD,
    ]
    report = await _extract(place.write(way, members), place)
    assert [text.split(":")[0] for text in report.skipped] == ["p", "d/c", "b"]
    assert (report.skipped_count, report.damaged, report.files) == (3, 0, 1)
    found = _short(place.tree())
    assert {name: one for name, one in found.items() if one != FOLDER} == {b"good": _file(b"good")}


@every_way
@pytest.mark.skipif(not IS_ROOT, reason="only root makes devices")
async def test_specials_preserved(way: Way, place: Place) -> None:
    """On request they are made as they were."""
    members = [Member(b"p", b"6", mode=0o640), Member(b"c", b"3", device=(1, 3), mode=0o666)]
    try:
        os.mknod(place.work / "try", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except OSError:
        pytest.skip("no devices can be made here")
    (place.work / "try").unlink()
    await _extract(place.write(way, members), place, preserve=True)
    assert stat.S_ISFIFO((place.dest / "p").stat().st_mode)
    assert stat.S_IMODE((place.dest / "p").stat().st_mode) == 0o640
    status = (place.dest / "c").stat()
    assert stat.S_ISCHR(status.st_mode)
    assert (os.major(status.st_rdev), os.minor(status.st_rdev)) == (1, 3)


HUGE = b"9" * 17
OUT_OF_BOUNDS: dict[str, tuple[Member, bool]] = {
    "time of a file": (Member(b"x", data=b"1", pax=((b"mtime", HUGE),)), False),
    "time of a folder": (replace(folder(b"x"), pax=((b"mtime", HUGE),)), False),
    "time of a link": (replace(symlink(b"x", b"y"), pax=((b"mtime", HUGE),)), False),
    "time before all": (replace(folder(b"x"), pax=((b"mtime", b"-" + HUGE),)), False),
    "time in base 256": (Member(b"x", mtime=1 << 62), False),
    "owner": (Member(b"x", pax=((b"uid", b"9" * 18),)), True),
    "group of a folder": (replace(folder(b"x"), pax=((b"gid", b"9" * 18),)), True),
    "owner, -1": (Member(b"x", pax=((b"uid", b"%d" % (2**32 - 1)),)), True),
    "device": (Member(b"x", b"3", device=(1 << 50, 1)), True),
    "device, minor": (Member(b"x", b"4", device=(1, 1 << 40)), True),
}


@foreign_way
@pytest.mark.parametrize(("member", "preserve"), OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS)
async def test_numbers_out_of_bounds(
    member: Member, preserve: bool, way: Way, place: Place
) -> None:
    """Numbers that no system takes are an error of that member, or left out; never a crash."""
    path = place.write(way, [member, GOOD])
    try:
        await _extract(path, place, preserve=preserve)
    except (AiocompressError, OSError) as error:
        _check_named(error, path)
        assert os.listdir(place.work) == [path.name]
    shutil.rmtree(place.dest, ignore_errors=True)
    await _extract(path, place, preserve=preserve, on_error="skip")
    assert _short(place.tree())[b"good"] == _file(b"good")


@foreign_way
async def test_a_sparse_file_beyond_all_sizes(way: Way, place: Place) -> None:
    """A hole of 4 EiB is an error of that member."""
    size = b"%d" % (1 << 62)
    fields = [(b"GNU.sparse.major", b"0"), (b"GNU.sparse.minor", b"1"), (b"GNU.sparse.map", b"0,1")]
    fields += [(b"GNU.sparse.size", size), (b"GNU.sparse.numblocks", b"1")]
    member = Member(b"hole", data=b"x", pax=tuple(fields))
    path = place.write(way, [member, GOOD])
    with pytest.raises((AiocompressError, OSError)) as caught:
        await _extract(path, place)
    _check_named(caught.value, path)
    assert os.listdir(place.work) == [path.name]


@every_way
async def test_max_output(way: Way, place: Place) -> None:
    """More raw bytes than asked for are refused, whatever else is skipped; nothing is left."""
    path = place.write(way, [Member(b"%d" % number, data=bytes(9000)) for number in range(9)])
    for on_error in ("raise", "skip"):
        with pytest.raises(LimitError):
            await _extract(path, place, max_output=30_000, on_error=on_error)
        assert os.listdir(place.work) == [path.name]


@every_way
async def test_max_members(way: Way, place: Place) -> None:
    """More members than asked for are refused, whatever else is skipped; as many are not."""
    path = place.write(way, [folder(b"d"), *(Member(b"d/%d" % number) for number in range(8))])
    for on_error in ("raise", "skip"):
        with pytest.raises(LimitError, match="more than the 8 members"):
            await _extract(path, place, max_members=8, on_error=on_error)
        assert os.listdir(place.work) == [path.name]
    await _extract(path, place, max_members=1, members=["d/7"])
    shutil.rmtree(place.dest)
    assert (await _extract(path, place, max_members=9)).warnings == ()


@every_way
async def test_max_member_size(way: Way, place: Place) -> None:
    """A member that is larger is refused, and named; the others come back where that is wanted."""
    path = place.write(way, [Member(b"large", data=bytes(9001)), Member(b"s", data=bytes(9000))])
    with pytest.raises(LimitError, match="member large: it is larger than the 9000 bytes"):
        await _extract(path, place, max_member_size=9000)
    assert os.listdir(place.work) == [path.name]
    report = await _extract(path, place, max_member_size=9000, on_error="skip")
    assert (report.damaged, report.warnings) == (1, ())
    assert report.skipped[0].startswith("large: ")
    assert _short(place.tree()) == {b"s": _file(bytes(9000))}
    shutil.rmtree(place.dest)
    assert (await _extract(path, place, max_member_size="9001")).files == 2


@foreign_way
async def test_max_member_size_of_a_hole(way: Way, place: Place) -> None:
    """A sparse file counts as large as it becomes."""
    fields = [(b"GNU.sparse.major", b"0"), (b"GNU.sparse.minor", b"1"), (b"GNU.sparse.map", b"0,1")]
    fields += [(b"GNU.sparse.size", b"1000000"), (b"GNU.sparse.numblocks", b"1")]
    path = place.write(way, [Member(b"hole", data=b"x", pax=tuple(fields))])
    with pytest.raises(LimitError, match="member hole"):
        await _extract(path, place, max_member_size=999_999)
    await _extract(path, place, max_member_size=1_000_000)
    assert (place.dest / "hole").stat().st_size == 1_000_000


@every_way
async def test_max_metadata(way: Way, place: Place) -> None:
    """A megabyte of it before one member is allowed, more if asked for, less if asked for."""
    comment = (b"comment", b"c" * 1_100_000)
    path = place.write(way, [Member(b"f", data=b"content", pax=(comment,)), GOOD])
    for options in ({}, {"on_error": "skip"}):
        with pytest.raises(LimitError, match="max_metadata"):
            await _extract(path, place, **options)
        assert os.listdir(place.work) == [path.name]
    assert (await _extract(path, place, max_metadata="2MiB")).files == 2
    await aiocompress.test(path, max_metadata="2MiB")
    small = place.write(way, [Member(b"f", pax=((b"comment", b"c" * 9000),))], "small")
    shutil.rmtree(place.dest)
    assert (await _extract(small, place)).files == 1
    if way in FOREIGN.values():
        async with aiocompress.open_archive(small, max_metadata="8k") as archive:
            with pytest.raises(LimitError, match="max_metadata"):
                [member async for member in archive.members()]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_members": -1}, ValueError),
        ({"max_members": "9"}, TypeError),
        ({"max_members": True}, TypeError),
        ({"max_member_size": 0}, ValueError),
        ({"max_metadata": "much"}, ValueError),
    ],
)
async def test_limits_that_are_none(options: Any, error: Any, place: Place) -> None:
    """They are told at once, and nothing is begun."""
    path = place.write(FOREIGN["tar"], [GOOD])
    with pytest.raises(error, match=next(iter(options))):
        await _extract(path, place, **options)
    assert os.listdir(place.work) == [path.name]


@indexed_way
async def test_limits_beside_damage(way: Way, place: Place) -> None:
    """What is too large and what is damaged are left out; all others come back."""
    members = [Member(b"%d" % number, data=noise(400, number)) for number in range(20)]
    members[3] = replace(members[3], data=noise(900))
    path = place.write(way, members)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    report = await _extract(path, place, max_member_size=800, on_error="skip")
    expected = {b"%d" % n: _file(members[n].data) for n in range(20) if n != 3}
    back = _short(place.tree())
    assert back.items() <= expected.items()
    assert len(back) == 20 - report.skipped_count
    assert report.skipped_count == 20 or b"19" in back
    assert any(text.startswith("3: it is larger") for text in report.skipped)


def _one_large(_: list[Member]) -> tuple[str, bytes]:
    members = [Member(b"large", data=bytes(4 << 20)), Member(b"small", data=b"small")]
    return ".tar.zst", hostile.indexed(members, frame=1 << 20)


async def test_a_disk_without_room(place: Place) -> None:
    """It is seen before anything is written; what has room is restored."""
    path, disk = place.write(_one_large, []), place.work / "disk"
    disk.mkdir()
    with small_disk(disk, "size=2M"):
        async with aiocompress.open_archive(path) as archive:
            with pytest.raises(OSError, match="need 4,194,309 bytes, 2,0") as caught:
                await archive.extract(disk / "out")
            assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(disk / "out"))
            assert os.listdir(disk) == []
            await archive.extract(disk / "out", ["small"])
        assert os.listdir(disk / "out") == ["small"]


def _same_name(_: list[Member]) -> tuple[str, bytes]:
    members = [Member(b"same", data=bytes(1 << 20) + b"%d" % number) for number in range(8)]
    return ".tar.zst", hostile.indexed(members, frame=1 << 20)


@pytest.mark.parametrize("size", ["4M", "0"])
async def test_a_disk_with_just_enough_room(size: str, place: Place) -> None:
    """Members that replace each other, and a disk that knows no limit, are no reason to refuse."""
    path, disk = place.write(_same_name, []), place.work / "disk"
    with small_disk(disk, f"size={size}"):
        async with aiocompress.open_archive(path) as archive:
            await archive.extract(disk / "out")
        assert (disk / "out" / "same").read_bytes()[-1:] == b"7"


@few_ways
async def test_the_umask(way: Way, place: Place) -> None:
    """Modes come back whatever the umask; what the archive does not speak of takes it."""
    members = [Member(b"f", mode=0o666), Member(b"implied/g", mode=0o777), folder(b"d", 0o777)]
    path = place.write(way, members)
    before = os.umask(0o077)
    try:
        await _extract(path, place)
    finally:
        os.umask(before)
    modes = {name: oct(node.mode) for name, node in place.tree().items()}
    assert modes == {b"f": "0o666", b"implied": "0o700", b"implied/g": "0o777", b"d": "0o777"}
    assert stat.S_IMODE(place.dest.stat().st_mode) == 0o700


async def test_private_until_it_is_whole(place: Place) -> None:
    """Nobody else can enter what is not whole yet; nothing has its name before."""
    seen: list[tuple[str, str]] = []

    def look() -> None:
        names = os.listdir(place.work)
        seen.extend((name[0], oct((place.work / name).stat().st_mode & 0o777)) for name in names)

    for stop in range(3, 9):
        source = Slow(hostile.indexed(MANY, frame=20_000), stop, look)
        async with aiocompress.open_archive(source) as archive:
            await archive.extract(place.dest, fsync=False)
        shutil.rmtree(place.dest)
    assert set(seen) == {(".", "0o700")}


async def test_hostile_in_processes(place: Place) -> None:
    """Worker processes refuse what threads do."""
    rows = [".. first", "through a link", "hard link to outside", "hard link through a link"]
    async with Engine(2) as engine:
        for row in rows:
            members = [*REFUSED[row][0], *MANY]
            path = place.write(
                lambda members: (".tar.zst", hostile.indexed(members, frame=20_000)), members
            )
            with pytest.raises((UnsafeMemberError, OSError)) as caught:
                await engine.decompress_folder(path, place.dest, fsync=False)
            _check_named(caught.value, path)
            assert os.listdir(place.work) == [path.name]
            options: Any = {"fsync": False, "on_error": "skip"}
            report = await engine.decompress_folder(path, place.dest, **options)
            assert report.damaged == 1
            assert set(place.tree()) >= {member.name.rstrip(b"/") for member in MANY}
            shutil.rmtree(place.dest)


# Where it goes.

PAIR = [folder(b"d", 0o751, mtime=11), Member(b"d/f", data=b"new"), Member(b"g", data=b"new")]


@every_way
async def test_a_destination_with_something_in_it(way: Way, place: Place) -> None:
    """It is refused, and stays as it is; an empty one is taken, a file is not."""
    path = place.write(way, PAIR)
    place.dest.mkdir()
    (place.dest / "old").write_bytes(b"old")
    with pytest.raises(FileExistsError) as caught:
        await _extract(path, place)
    assert caught.value.filename == str(place.dest)
    assert _short(place.tree()) == {b"old": _file(b"old")}
    (place.dest / "old").unlink()
    await _extract(path, place)
    assert _short(place.tree()) == {b"d": FOLDER, b"d/f": _file(b"new"), b"g": _file(b"new")}
    shutil.rmtree(place.dest)
    place.dest.write_bytes(b"a file")
    with pytest.raises(NotADirectoryError):
        await _extract(path, place)
    assert place.dest.read_bytes() == b"a file"
    with pytest.raises(FileNotFoundError):
        async with _engine() as engine:
            await engine.decompress_folder(path, place.work / "not" / "there", fsync=False)


@every_way
@pytest.mark.parametrize("on_exists", ["replace", "skip"])
async def test_merged(on_exists: str, way: Way, place: Place) -> None:
    """Files are replaced by a rename each, or kept and reported; what else is there stays."""
    path = place.write(way, PAIR)
    (place.dest / "d").mkdir(parents=True)
    for name in ("d/f", "d/other", "other"):
        (place.dest / name).write_bytes(b"old")
    os.link(place.dest / "d" / "f", place.work / "same")
    report = await _extract(path, place, on_exists=on_exists)
    assert (place.work / "same").read_bytes() == b"old"
    content = b"new" if on_exists == "replace" else b"old"
    assert _short(place.tree()) == {
        b"d": FOLDER,
        b"d/f": _file(content),
        b"d/other": _file(b"old"),
        b"g": _file(b"new"),
        b"other": _file(b"old"),
    }
    kept = [text for text in report.warnings if "kept" in text]
    assert len(kept) == (on_exists == "skip")
    assert report.skipped_count == 0
    if on_exists == "replace":
        status = (place.dest / "d").stat()
        assert (stat.S_IMODE(status.st_mode), int(status.st_mtime)) == (0o751, 11)


@every_way
@pytest.mark.parametrize("on_exists", ["replace", "skip"])
async def test_links_in_the_destination(on_exists: str, way: Way, place: Place) -> None:
    """Nothing is written through a link that is there already."""
    members = [
        folder(b"d", 0o777),
        Member(b"d/file", data=b"new"),
        Member(b"f", data=b"new"),
        Member(b"implied/file", data=b"new"),
        hardlink(b"h", b"f"),
    ]
    path = place.write(way, members)
    place.dest.mkdir()
    for name in ("d", "implied"):
        (place.dest / name).symlink_to(place.outside)
    (place.dest / "f").symlink_to(place.outside / "file")
    (place.dest / "h").symlink_to(place.outside / "new")
    await _extract(path, place, on_exists=on_exists)
    found = _short(place.tree())
    if on_exists == "replace":
        assert found[b"d/file"] == found[b"f"] == found[b"implied/file"] == found[b"h"]
        assert found[b"d"] == FOLDER
    else:
        assert {found[name][0] for name in (b"d", b"f", b"implied", b"h")} == {"symlink"}


@every_way
async def test_hard_links_to_what_was_there(way: Way, place: Place) -> None:
    """A hard link goes only to a file of this very run, not to one that was there."""
    path = place.write(way, [hardlink(b"h", b"old")])
    place.dest.mkdir()
    (place.dest / "old").write_bytes(b"old")
    with pytest.raises(UnsafeMemberError):
        await _extract(path, place, on_exists="replace")
    assert _short(place.tree()) == {b"old": _file(b"old")}


@every_way
async def test_a_pipe_in_the_destination(way: Way, place: Place) -> None:
    """A named pipe that is there is never opened: that would wait for ever."""
    path = place.write(way, [Member(b"p", data=b"new"), Member(b"q", b"6")])
    place.dest.mkdir()
    os.mkfifo(place.dest / "p")
    os.mkfifo(place.dest / "q")
    await asyncio.wait_for(_extract(path, place, on_exists="replace"), 20)
    assert {name: node.kind for name, node in place.tree().items()} == {b"p": "file", b"q": "fifo"}


@every_way
async def test_a_folder_where_a_file_belongs(way: Way, place: Place) -> None:
    """A full folder is never replaced by a file: an error names it, and it stays."""
    path = place.write(way, [Member(b"d", data=b"new")])
    (place.dest / "d").mkdir(parents=True)
    (place.dest / "d" / "old").write_bytes(b"old")
    with pytest.raises(IsADirectoryError) as caught:
        await _extract(path, place, on_exists="replace")
    assert caught.value.filename == str(place.dest / "d")
    assert _short(place.tree()) == {b"d": FOLDER, b"d/old": _file(b"old")}


async def test_a_link_as_destination(place: Place) -> None:
    """A link to a folder stands for that folder."""
    path = place.write(WAYS["indexed zst"], PAIR)
    (place.work / "real").mkdir()
    place.dest.symlink_to("real")
    await _extract(path, place)
    assert place.dest.is_symlink()
    assert (place.work / "real" / "g").read_bytes() == b"new"
    place.dest.unlink()
    place.dest.symlink_to("nowhere")
    with pytest.raises(OSError, match="dest"):
        await _extract(path, place)
    assert not (place.work / "nowhere").exists()


async def test_no_destination(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty path is none: the working folder is not replaced by what is restored."""
    path = place.write(WAYS["indexed zst"], PAIR)
    place.dest.mkdir()
    monkeypatch.chdir(place.dest)
    before = os.stat(".").st_ino
    async with _engine() as engine:
        with pytest.raises((FileNotFoundError, ValueError)):
            await engine.decompress_folder(path, "", fsync=False)
    assert place.dest.stat().st_ino == before


# As one who is not root.

_SCRIPT = """
import asyncio, sys
from aiocompress import Engine
async def main():
    async with Engine(2, executor="thread") as engine:
        options = dict(fsync=False, on_exists=sys.argv[3], on_error=sys.argv[4])
        report = await engine.decompress_folder(sys.argv[1], sys.argv[2], **options)
        print(report.skipped_count)
asyncio.run(main())
"""
READ_ONLY = [
    folder(b"ro", 0o555, mtime=11),
    Member(b"ro/f", mode=0o444, data=b"new" * 700),
    folder(b"ro/sub", 0o500, mtime=12),
    Member(b"ro/sub/g", mode=0o000, data=b"new"),
    symlink(b"ro/sub/l", b"/"),
    hardlink(b"ro/sub/h", b"ro/f"),
]


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that everybody can work in."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


def _as_nobody(path: Path, dest: Path, on_exists: str = "error", on_error: str = "raise") -> str:
    """Extract as a user who has no rights but their own."""
    done = subprocess.run(
        [*nobody(), sys.executable, "-c", _SCRIPT, str(path), str(dest), on_exists, on_error],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=path.parent,
        env=LIBRARY,
    )
    return done.stdout.strip() if not done.returncode else done.stderr


def _check_read_only(dest: Path) -> None:
    tree = trees.look(dest)
    found = {name: (oct(node.mode), node.mtime_ns // 10**9) for name, node in tree.items()}
    assert found == {
        b"ro": ("0o555", 11),
        b"ro/f": ("0o444", TIME),
        b"ro/sub": ("0o500", 12),
        b"ro/sub/g": ("0o400", TIME),
        b"ro/sub/h": ("0o444", TIME),
        b"ro/sub/l": ("0o777", TIME),
    }
    run(tool("chmod"), "-R", "u+w", dest)


@pytest.mark.parametrize("way", ["foreign zst", "indexed zst", "cut in headers"])
@pytest.mark.parametrize("how", ["new", "empty", "replace"])
def test_read_only_folders(way: str, how: str, open_place: Path) -> None:
    """Who is not root gets read-only folders with all in them, wherever they go."""
    suffix, data = WAYS[way](READ_ONLY)
    path, dest = open_place / f"a{suffix}", open_place / "dest"
    path.write_bytes(data)
    if how == "empty":
        dest.mkdir()
        dest.chmod(0o777)
    if how == "replace":
        assert _as_nobody(path, dest) == "0"
        run(tool("chmod"), "-R", "u+w", dest)
    assert _as_nobody(path, dest, "error" if how == "empty" else "replace") == "0"
    assert sorted(os.listdir(open_place)) == [path.name, "dest"]
    _check_read_only(dest)


def test_a_failure_leaves_nothing_of_read_only_folders(open_place: Path) -> None:
    """What was made until then is removed, by one who is not root too."""
    path = open_place / "a.tar.zst"
    path.write_bytes(hostile.indexed([*READ_ONLY, hardlink(b"z", b"nothing")]))
    assert "UnsafeMemberError" in _as_nobody(path, open_place / "dest")
    assert os.listdir(open_place) == [path.name]


# Ended early.

MANY = [
    *(folder(b"d%d" % number) for number in range(4)),
    *(Member(b"d%d/%d" % (number % 4, number), data=noise(3000)) for number in range(60)),
    *(symlink(b"d%d/l" % number, b"x") for number in range(4)),
]


class Slow:
    """An archive elsewhere; ``stop`` says at which read something happens."""

    def __init__(self, data: bytes, stop: int, event: Callable[[], object]) -> None:
        self._data, self._stop, self.event = data, stop, event
        self.reads = 0

    async def size(self) -> int:
        return len(self._data)

    async def read_at(self, offset: int, size: int) -> bytes:
        await asyncio.sleep(0)
        self.reads += 1
        if self.reads == self._stop:
            self.event()
            await asyncio.sleep(0)
        return self._data[offset : offset + size]


def _descriptors() -> Counter[str]:
    gc.collect()
    found: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        try:
            found[os.readlink(f"/proc/self/fd/{name}")] += 1
        except FileNotFoundError:
            continue
    return found


@pytest.mark.parametrize("way", ["foreign zst", "indexed zst", "a frame a block"])
async def test_cancelled_at_every_read(way: str, place: Place) -> None:
    """CancelledError goes out; no file, descriptor or task is left, and the engine works on."""
    data = WAYS[way](MANY)[1] if way != "a frame a block" else hostile.indexed(MANY, frame=20_000)
    async with _engine() as engine:

        async def extract(source: Any) -> None:
            async with engine.open_archive(source) as archive:
                await archive.extract(place.dest, fsync=False)

        await extract(Slow(data, -1, int))
        shutil.rmtree(place.dest)
        before, tasks = _descriptors(), len(asyncio.all_tasks())
        for stop in range(1, 200):
            source = Slow(data, stop, int)
            task = asyncio.ensure_future(extract(source))
            source.event = task.cancel
            await asyncio.wait([task])
            if source.reads < stop:
                break
            assert task.cancelled()
            assert os.listdir(place.work) == []
            assert len(asyncio.all_tasks()) == tasks
        else:
            raise AssertionError
        assert len(place.tree()) == len(MANY)
        assert not _descriptors() - before
        assert engine.statistics().slots_in_use == 0


async def test_cancelled_at_any_moment(place: Place) -> None:
    """However long it has run: nothing is left, or all is there."""
    path = place.write(INDEXED["cut in headers"], MANY)
    async with _engine() as engine:
        await engine.decompress_folder(path, place.dest, fsync=False)
        shutil.rmtree(place.dest)
        before = _descriptors()
        for steps in (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377):
            work = engine.decompress_folder(path, place.dest, fsync=False)
            task = asyncio.ensure_future(work)
            for _ in range(steps):
                await asyncio.sleep(0.0001)
            task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                assert os.listdir(place.work) == [path.name], steps
            else:
                assert len(place.tree()) == len(MANY)
                shutil.rmtree(place.dest)
        assert not _descriptors() - before


async def test_no_worker_left(place: Place) -> None:
    """Cancelled while worker processes are at it: they end with the engine."""
    path = place.write(lambda members: (".tar.zst", hostile.indexed(members, frame=20_000)), MANY)
    own = psutil.Process()
    async with Engine(2) as engine:
        await engine.decompress_folder(path, place.dest, fsync=False)
        assert len(place.tree()) == len(MANY)
        shutil.rmtree(place.dest)
        task = asyncio.ensure_future(engine.decompress_folder(path, place.dest, fsync=False))
        await asyncio.sleep(0.003)
        task.cancel()
        await asyncio.wait([task])
        during = own.children(recursive=True)
    if task.cancelled():
        assert os.listdir(place.work) == [path.name]
    _, alive = psutil.wait_procs(during, 1)
    names = [" ".join(process.cmdline()) for process in alive]
    # What starts workers, and what cleans up behind them, serve the whole program.
    assert [name for name in names if "forkserver" not in name and "tracker" not in name] == []


async def test_an_error_of_the_source(place: Place) -> None:
    """What the source of an archive raises goes out as it is, and nothing is left."""
    data = hostile.indexed(MANY, frame=20_000)

    def fail() -> None:
        raise ConnectionResetError(errno.ECONNRESET, "reset")

    async with _engine() as engine:
        for stop in (1, 4, 6, 9):
            with pytest.raises(ConnectionResetError):
                async with engine.open_archive(Slow(data, stop, fail)) as archive:
                    await archive.extract(place.dest, fsync=False)
            assert os.listdir(place.work) == []
        assert engine.statistics().slots_in_use == 0


def test_the_rows_are_what_they_say(tmp_path: Path) -> None:
    """GNU tar reads what is built here, so that what is refused is not mere damage."""
    for number, (members, _) in enumerate({**REFUSED, **DUPLICATES}.values()):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(hostile.tar([*members, GOOD]))
        done = subprocess.run(
            [tool("tar"), "-tf", str(path)], capture_output=True, check=False, timeout=60
        )
        assert done.returncode == 0, (members[0].name[:60], done.stderr)
        assert done.stdout.count(b"\n") == len(members) + 1
