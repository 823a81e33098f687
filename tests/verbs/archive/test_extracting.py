"""Extraction: hostile names and links, built byte by byte, harm nothing outside."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from aiocompress import CorruptError, Engine, UnsafeMemberError

from ...help import hostile
from ...help.data import noise
from ...help.hostile import Member, folder, hardlink, symlink
from ...help.places import (
    FOLDER,
    GOOD,
    MANY,
    OUT,
    Place,
    Way,
    a_file,
    check_named,
    every_way,
    extract_to,
    few_ways,
    in_short,
)
from ...help.tools import run, tool


def a_link(target: bytes) -> tuple[str, bytes]:
    return "symlink", target


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
    ".. as a hard link": ([Member(b"f"), hardlink(b"../outside/new", b"f")], {b"f": a_file()}),
    "through a link": ([symlink(b"l", OUT), Member(b"l/new")], {b"l": a_link(OUT)}),
    "over a file through a link": (
        [symlink(b"l", OUT), Member(b"l/file", data=b"x")],
        {b"l": a_link(OUT)},
    ),
    "through a relative link": (
        [symlink(b"l", b"../../outside"), folder(b"l/sub", 0o777)],
        {b"l": a_link(b"../../outside")},
    ),
    "through two links": (
        [symlink(b"up", b".."), symlink(b"up/l", b"../outside"), Member(b"up/l/new")],
        {b"up": a_link(b"..")},
    ),
    "through a link made deeper": (
        [folder(b"d"), symlink(b"d/l", OUT), Member(b"d/l/sub/new")],
        {b"d": FOLDER, b"d/l": a_link(OUT)},
    ),
    "a link through a link": (
        [symlink(b"l", OUT), symlink(b"l/new", b"/etc")],
        {b"l": a_link(OUT)},
    ),
    "a link where all goes": ([symlink(b".", OUT)], {}),
    "a link where all goes, ./": ([symlink(b"./", OUT)], {}),
    "a file where all goes": ([Member(b".", data=b"x")], {}),
    "a hard link where all goes": ([Member(b"f"), hardlink(b"./.", b"f")], {b"f": a_file()}),
    "hard link to outside": ([hardlink(b"h", OUT + b"/file")], {}),
    "hard link to outside, ..": ([hardlink(b"h", b"../../outside/file")], {}),
    "hard link to itself": ([hardlink(b"h", b"h")], {}),
    "hard link to nothing": ([hardlink(b"h", b"nothing")], {}),
    "hard link to no name": ([hardlink(b"h", b"")], {}),
    "hard link to all": ([hardlink(b"h", b".")], {}),
    "hard link to a folder": ([folder(b"d"), hardlink(b"h", b"d")], {b"d": FOLDER}),
    "hard link through a link": (
        [symlink(b"l", OUT), hardlink(b"h", b"l/file")],
        {b"l": a_link(OUT)},
    ),
    "hard link into a file": ([Member(b"f"), hardlink(b"h", b"f/g")], {b"f": a_file()}),
    "a member in a file": ([Member(b"f"), Member(b"f/g")], {b"f": a_file()}),
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
        {b"d": FOLDER, b"d/f": a_file(b"1")},
    ),
    "no name": ([Member(b"", data=b"x")], {}),
    "no name in pax": ([Member(b"x", data=b"x", pax=((b"path", b""),))], {}),
    "a folder without a name": ([Member(b"", b"5")], {}),
    "a target that is too long": ([symlink(b"l", b"x" * 5000)], {}),
    "no target": ([symlink(b"l", b"")], {}),
    "hard link to a target that is too long": (
        [symlink(b"l", b"x" * 5000), hardlink(b"h", b"l")],
        {},
    ),
}
refused_rows = pytest.mark.parametrize(("members", "left"), REFUSED.values(), ids=REFUSED)


@few_ways
@refused_rows
async def test_refused(
    members: list[Member], left: Expected | None, way: Way, place: Place
) -> None:
    """An error of ours, or an OSError that names the member; then nothing is there."""
    path = place.write(way, [*members, GOOD])
    with pytest.raises((UnsafeMemberError, OSError)) as caught:
        await extract_to(path, place)
    check_named(caught.value, path)
    del left
    assert os.listdir(place.work) == [path.name]


@every_way
@refused_rows
async def test_skipped(
    members: list[Member], left: Expected | None, way: Way, place: Place
) -> None:
    """With on_error="skip" it is reported, and all others are there."""
    path = place.write(way, [*members, GOOD])
    report = await extract_to(path, place, on_error="skip")
    assert report.damaged == report.skipped_count == len(report.skipped) >= 1
    found = in_short(place.tree())
    assert found.pop(b"good") == a_file(b"good")
    if left is not None:
        there = os.fsencode(place.outside)
        expected = {name: (kind, data.replace(OUT, there)) for name, (kind, data) in left.items()}
        expected = {name: one for name, one in expected.items() if name}
        assert found == expected


# Names that no archive should hold.


@every_way
async def test_no_names(way: Way, place: Place) -> None:
    """A name with a NUL makes the archive damaged."""
    path = place.write(way, [GOOD, Member(b"x", pax=((b"path", b"a\0b"),))])
    with pytest.raises(CorruptError) as caught:
        await extract_to(path, place)
    assert caught.value.file == str(path)
    assert os.listdir(place.work) == [path.name]
    report = await extract_to(path, place, on_error="skip")
    assert report.damaged == 1
    assert in_short(place.tree()) == {b"good": a_file(b"good")}


@every_way
async def test_absolute_names(way: Way, place: Place) -> None:
    """The leading slash is removed, and one warning says so; all stands inside."""
    there = os.fsencode(place.outside).lstrip(b"/")
    members = [
        Member(OUT + b"/file", data=b"1"),
        Member(b"/" + OUT + b"/new", data=b"2"),
        symlink(b"/l", b"/etc"),
    ]
    report = await extract_to(place.write(way, members), place)
    found = {name: one for name, one in in_short(place.tree()).items() if one != FOLDER}
    assert found == {
        there + b"/file": a_file(b"1"),
        there + b"/new": a_file(b"2"),
        b"l": a_link(b"/etc"),
    }
    assert len([text for text in report.warnings if "'/'" in text]) == 1


@every_way
async def test_odd_names(way: Way, place: Place) -> None:
    """A newline, ESC, bytes that are not UTF-8, and names differing in case: all are kept."""
    names = [b"new\nline", b"\x1b[31m", b"\xff\xfe", b"A", b"a", b"caf\xc3\xa9", b"cafe\xcc\x81"]
    members = [Member(b"d/" + name, data=name) for name in names]
    await extract_to(place.write(way, members), place)
    assert in_short(place.tree()) == {b"d": FOLDER} | {
        b"d/" + name: a_file(name) for name in sorted(names)
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
    await extract_to(place.write(way, members), place)
    assert in_short(place.tree()) == {
        b"a": a_file(b"1"),
        b"b": FOLDER,
        b"b/c": a_file(b"2"),
        b"b/d": a_file(b"3"),
        b"e": a_file(b"1"),
        b"x" * 255: a_file(b"4"),
    }
    assert stat.S_IMODE(place.dest.stat().st_mode) == 0o750


@few_ways
async def test_as_deep_as_paths_go(way: Way, place: Place) -> None:
    """2,047 levels are restored; the file is where it belongs."""
    path = place.write(way, [Member(b"d/" * 2047 + b"f", data=b"deep")])
    try:
        await extract_to(path, place)
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
        {b"m": a_file(SHORT)},
    ),
    "a shorter file first": (
        [Member(b"m", data=SHORT), Member(b"m", data=LONG)],
        {b"m": a_file(LONG)},
    ),
    "spelled otherwise": (
        [Member(b"m", data=LONG), Member(b"./m", data=SHORT)],
        {b"m": a_file(SHORT)},
    ),
    "file then folder": ([Member(b"m", data=SHORT), folder(b"m")], {b"m": FOLDER}),
    "folder then file": ([folder(b"m"), Member(b"m", data=SHORT)], {b"m": a_file(SHORT)}),
    "link then file": ([symlink(b"m", OUT + b"/file"), Member(b"m", data=b"")], {b"m": a_file()}),
    "link then longer file": (
        [symlink(b"m", OUT + b"/file"), Member(b"m", data=LONG)],
        {b"m": a_file(LONG)},
    ),
    "file then link": ([Member(b"m", data=LONG), symlink(b"m", OUT)], {b"m": a_link(OUT)}),
    "link then link": ([symlink(b"m", OUT), symlink(b"m", b"/")], {b"m": a_link(b"/")}),
    "link then folder": ([symlink(b"m", OUT), folder(b"m", 0o777)], {b"m": FOLDER}),
    "link, then folder with a file": (
        [symlink(b"m", OUT), folder(b"m"), Member(b"m/new", data=SHORT)],
        {b"m": FOLDER, b"m/new": a_file(SHORT)},
    ),
    "folder then link": ([folder(b"m", 0o777), symlink(b"m", OUT)], {b"m": a_link(OUT)}),
    "full folder then link": (
        [folder(b"m"), Member(b"m/sub/f", data=SHORT), symlink(b"m/l", OUT), symlink(b"m", OUT)],
        {b"m": a_link(OUT)},
    ),
    "hard link to itself": (
        [Member(b"m", data=LONG), hardlink(b"./m", b"m")],
        {b"m": a_file(LONG)},
    ),
    "hard link to a link": (
        [symlink(b"l", OUT + b"/file"), hardlink(b"m", b"l"), hardlink(b"n", b"m")],
        {name: a_link(OUT + b"/file") for name in (b"l", b"m", b"n")},
    ),
    "hard link to a link to itself": (
        [symlink(b"m", OUT), hardlink(b"m", b"m")],
        {b"m": a_link(OUT)},
    ),
    "hard link to a link, which changes": (
        [symlink(b"l", OUT), hardlink(b"m", b"l"), symlink(b"l", b"x"), hardlink(b"n", b"l")],
        {b"l": a_link(b"x"), b"m": a_link(OUT), b"n": a_link(b"x")},
    ),
    "hard link to a link, which a file replaces": (
        [symlink(b"l", OUT), hardlink(b"m", b"l"), Member(b"l", data=SHORT), hardlink(b"n", b"l")],
        {b"l": a_file(SHORT), b"m": a_link(OUT), b"n": a_file(SHORT)},
    ),
    "file then hard link to a link": (
        [symlink(b"l", OUT), Member(b"m", data=LONG), hardlink(b"m", b"l")],
        {b"l": a_link(OUT), b"m": a_link(OUT)},
    ),
    "folder, link, folder": (
        [folder(b"m"), symlink(b"m", OUT), folder(b"m", 0o711)],
        {b"m": FOLDER},
    ),
    "link to outside, then hard link": (
        [Member(b"f", data=SHORT), symlink(b"m", OUT), hardlink(b"m", b"f")],
        {b"f": a_file(SHORT), b"m": a_file(SHORT)},
    ),
    "hard link then file": (
        [Member(b"f", data=SHORT), hardlink(b"m", b"f"), Member(b"m", data=LONG)],
        {b"f": a_file(SHORT), b"m": a_file(LONG)},
    ),
    "a file with a hard link, then another": (
        [Member(b"m", data=SHORT), hardlink(b"h", b"m"), Member(b"m", data=LONG)],
        {b"h": a_file(SHORT), b"m": a_file(LONG)},
    ),
    "hard link, and its file again as a link": (
        [Member(b"m", data=SHORT), hardlink(b"h", b"m"), symlink(b"m", OUT)],
        {b"h": a_file(SHORT), b"m": a_link(OUT)},
    ),
    "folders twice": (
        [folder(b"m"), Member(b"m/f"), folder(b"m")],
        {b"m": FOLDER, b"m/f": a_file()},
    ),
}


@every_way
@pytest.mark.parametrize(("members", "expected"), DUPLICATES.values(), ids=DUPLICATES)
async def test_duplicates(
    members: list[Member], expected: Expected, way: Way, place: Place
) -> None:
    """Members of one name: the last one wins, and is never written through an earlier one."""
    await extract_to(place.write(way, [*members, GOOD]), place)
    there = os.fsencode(place.outside)
    found = in_short(place.tree())
    assert found.pop(b"good") == a_file(b"good")
    assert found == {
        name: (kind, data.replace(OUT, there)) for name, (kind, data) in expected.items()
    }


@every_way
async def test_the_last_mode_of_a_folder(way: Way, place: Place) -> None:
    """A folder that comes twice gets the mode and time of the last one."""
    members = [folder(b"m", 0o700, mtime=1), Member(b"m/f"), folder(b"m", 0o755, mtime=2)]
    await extract_to(place.write(way, members), place)
    status = (place.dest / "m").stat()
    assert (oct(stat.S_IMODE(status.st_mode)), int(status.st_mtime)) == (oct(0o755), 2)


# Modes, owners, times.


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
            check_named(caught.value, path)
            assert os.listdir(place.work) == [path.name]
            options: Any = {"fsync": False, "on_error": "skip"}
            report = await engine.decompress_folder(path, place.dest, **options)
            assert report.damaged == 1
            assert set(place.tree()) >= {member.name.rstrip(b"/") for member in MANY}
            shutil.rmtree(place.dest)


# Ended early.


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
