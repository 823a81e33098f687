"""Modes, owners and times come back, also for one who is not root."""

# They look at files, and wait for what has no event:
# ruff: noqa: FBT001

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aiocompress import AiocompressError

from ...help import hostile, trees
from ...help.hostile import TIME, Member, folder, hardlink, symlink
from ...help.places import (
    FOLDER,
    GOOD,
    WAYS,
    Place,
    Way,
    a_file,
    check_named,
    every_way,
    extract_to,
    few_ways,
    foreign_way,
    in_short,
)
from ...help.tools import LIBRARY, nobody, run, tool
from ...help.trees import IS_ROOT

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
    await extract_to(place.write(way, members), place)
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
@pytest.mark.skipif(not IS_ROOT, reason="only root can give files away")
async def test_preserved_in_a_folder_that_exists(way: Way, place: Place) -> None:
    """A subfolder takes the owner together with mode and time, and keeps its own without."""
    members = [folder(b"d", 0o2750, mtime=5, ids=(5, 6)), Member(b"d/f", ids=(7, 8))]
    archive = place.write(way, members)
    (place.dest / "d").mkdir(parents=True)
    os.chown(place.dest / "d", 1, 2)
    for preserve, owner in ((False, (1, 2)), (True, (5, 6))):
        await extract_to(archive, place, preserve=preserve, on_exists="replace")
        status = (place.dest / "d").stat()
        assert (status.st_uid, status.st_gid) == owner
        assert oct(status.st_mode & 0o7777) == ("0o2750" if preserve else "0o750")
        assert status.st_mtime_ns == 5 * 10**9


@every_way
async def test_preserved(way: Way, place: Place) -> None:
    """On request set-user-ID bits and, for root, owners come back."""
    members = [
        folder(b"d", 0o1777, ids=(5, 6)),
        Member(b"d/f", data=b"x" * 2000, mode=0o4711, ids=(7, 8)),
        Member(b"d/g", mode=0o2755, ids=(1 << 20, 9)),
    ]
    await extract_to(place.write(way, members), place, preserve=True)
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
    await extract_to(place.write(way, [member]), place, preserve=True)
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
    report = await extract_to(place.write(way, members), place)
    assert [text.split(":")[0] for text in report.skipped] == ["p", "d/c", "b"]
    assert (report.skipped_count, report.damaged, report.files) == (3, 0, 1)
    found = in_short(place.tree())
    assert {name: one for name, one in found.items() if one != FOLDER} == {b"good": a_file(b"good")}


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
    await extract_to(place.write(way, members), place, preserve=True)
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
        await extract_to(path, place, preserve=preserve)
    except (AiocompressError, OSError) as error:
        check_named(error, path)
        assert os.listdir(place.work) == [path.name]
    shutil.rmtree(place.dest, ignore_errors=True)
    await extract_to(path, place, preserve=preserve, on_error="skip")
    assert in_short(place.tree())[b"good"] == a_file(b"good")


@foreign_way
async def test_a_sparse_file_beyond_all_sizes(way: Way, place: Place) -> None:
    """A hole of 4 EiB is an error of that member."""
    size = b"%d" % (1 << 62)
    fields = [(b"GNU.sparse.major", b"0"), (b"GNU.sparse.minor", b"1"), (b"GNU.sparse.map", b"0,1")]
    fields += [(b"GNU.sparse.size", size), (b"GNU.sparse.numblocks", b"1")]
    member = Member(b"hole", data=b"x", pax=tuple(fields))
    path = place.write(way, [member, GOOD])
    with pytest.raises((AiocompressError, OSError)) as caught:
        await extract_to(path, place)
    check_named(caught.value, path)
    assert os.listdir(place.work) == [path.name]


@few_ways
async def test_the_umask(way: Way, place: Place) -> None:
    """Modes come back whatever the umask; what the archive does not speak of takes it."""
    members = [Member(b"f", mode=0o666), Member(b"implied/g", mode=0o777), folder(b"d", 0o777)]
    path = place.write(way, members)
    before = os.umask(0o077)
    try:
        await extract_to(path, place)
    finally:
        os.umask(before)
    modes = {name: oct(node.mode) for name, node in place.tree().items()}
    assert modes == {b"f": "0o666", b"implied": "0o700", b"implied/g": "0o777", b"d": "0o777"}
    assert stat.S_IMODE(place.dest.stat().st_mode) == 0o700


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
