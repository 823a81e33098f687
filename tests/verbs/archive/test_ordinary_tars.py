"""Tars as ordinary tools write them: what one member lacks does not cost the others."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiocompress import CorruptError, Report, UnsafeMemberError, open_archive

from ...help import hostile
from ...help.archives import two_threads, unpack
from ...help.data import noise
from ...help.hostile import Member, folder, hardlink, symlink
from ...help.places import Place, Way, every_way, extract_to, foreign_way
from ...help.programs import ours
from ...help.tars import END, FIRST, LAST, base_256, between, block, extended, padded
from ...help.tars import a_file as an_entry
from ...help.tools import run, tool
from ...help.trees import IS_ROOT


@pytest.fixture
def umask() -> Iterator[int]:
    """A umask that is not the default of any tool."""
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


async def check_whole(path: Path, dest: Path, **options: bool) -> Report:
    """Extract and test a tar of which nothing but attributes is left out; returns the report."""
    report = await unpack(path, dest, **options)
    assert (report.skipped_count, report.damaged) == (0, 0)
    async with two_threads() as engine:
        tested = await engine.test(path)
    if not options:
        assert (tested.changed, tested.warnings) == (report.changed, report.warnings)
        assert tested.files == report.files
    return report


# Sparse files.


@pytest.mark.parametrize(
    "options",
    [
        ["-H", "gnu"],
        ["-H", "oldgnu"],
        *(["-H", "posix", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0")),
    ],
    ids=" ".join,
)
async def test_a_file_that_is_one_hole(options: list[str], tmp_path: Path) -> None:
    """It has zeros alone, and not what the next member holds."""
    (tmp_path / "hole").touch()
    os.truncate(tmp_path / "hole", 1279)
    (tmp_path / "other").write_bytes(b"other" * 1000)
    path = tmp_path / "s.tar"
    run(tool("tar"), "-C", tmp_path, *options, "-Scf", path, "hole", "other")
    async with open_archive(path) as archive:
        member = await archive.member("hole")
        if member.extents is None:
            pytest.skip("a file system without holes")
        assert (member.size, member.runs) == (1279, ())
        assert await archive.read("hole") == bytes(1279)
        async with archive.open("hole") as file:
            assert await file.seek(1000) == 1000
            assert await file.read() == bytes(279)
        assert await archive.read("other") == b"other" * 1000
    assert ours("cat", path, "hole", "other").stdout == bytes(1279) + b"other" * 1000
    await check_whole(path, tmp_path / "out")
    assert (tmp_path / "out" / "hole").read_bytes() == bytes(1279)


# Hard links.


@pytest.mark.parametrize("writer", ["tar", "bsdtar"])
async def test_a_tree_of_hard_links(writer: str, tmp_path: Path) -> None:
    """``cp -al`` links whatever is no folder: also symbolic links, pipes, and what they are not."""
    made = tmp_path / "a"
    (made / "sub").mkdir(parents=True)
    (made / "file").write_bytes(b"content")
    (made / "soft").symlink_to("file")
    (made / "sub" / "dangling").symlink_to("../nothing")
    os.mkfifo(made / "pipe")
    run("cp", "-al", made, tmp_path / "b")
    path = tmp_path / "t.tar"
    run(tool(writer), "-C", tmp_path, "-cf", path, "a", "b")
    async with open_archive(path) as archive:
        links = {member.link async for member in archive.members() if member.kind == "hardlink"}
    assert len(links & {name + "/soft" for name in "ab"}) == 1
    report = await unpack(path, tmp_path / "out")
    assert sorted(text.split(":")[0] for text in report.skipped) == ["a/pipe", "b/pipe"]
    assert (report.damaged, report.warnings) == (0, ())
    for name in ("a", "b"):
        top = tmp_path / "out" / name
        assert (top / "file").read_bytes() == b"content"
        assert os.readlink(top / "soft") == "file"
        assert os.readlink(top / "sub" / "dangling") == "../nothing"
        assert sorted(os.listdir(top)) == ["file", "soft", "sub"]
    assert (tmp_path / "out/a/file").samefile(tmp_path / "out/b/file")
    await unpack(path, tmp_path / "kept", preserve=True)
    for name in ("a", "b"):
        assert stat.S_ISFIFO((tmp_path / "kept" / name / "pipe").stat().st_mode)


@pytest.mark.parametrize("arguments", [["u", "u/f"], ["u/f", "u", "./u/f", "u"], ["u", "u"]])
@pytest.mark.parametrize("compressed", [False, True])
async def test_overlapping_arguments(
    arguments: list[str],
    compressed: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    """GNU tar stores the second ``u/f`` as a hard link to itself: it is there already."""
    (tmp_path / "u").mkdir()
    (tmp_path / "u/f").write_bytes(b"content")
    os.link(tmp_path / "u/f", tmp_path / "u/g")
    path = tmp_path / ("u.tar.gz" if compressed else "u.tar")
    run(tool("tar"), "-C", tmp_path, "-czf" if compressed else "-cf", path, *arguments)
    report = await unpack(path, tmp_path / "out")
    assert (report.skipped_count, report.warnings) == (0, ())
    assert (tmp_path / "out/u/f").samefile(tmp_path / "out/u/g")
    async with open_archive(path) as archive:
        for name in ("u/f", "u/g"):
            assert (tmp_path / "out" / name).read_bytes() == await archive.read(name) == b"content"


@every_way
async def test_hard_links_are_to_what_stands_before_them(way: Way, place: Place) -> None:
    """A link keeps the content that it was given when a later member takes the name."""
    members = [
        Member(b"f", data=b"first"),
        hardlink(b"h", b"f"),
        hardlink(b"f", b"f"),
        hardlink(b"i", b"./f"),
        Member(b"f", data=b"second"),
        hardlink(b"j", b"f"),
    ]
    path = place.write(way, members)
    expected = {"h": b"first", "i": b"first", "f": b"second", "j": b"second"}
    await extract_to(path, place)
    async with open_archive(path) as archive:
        for name, data in expected.items():
            assert await archive.read(name) == (place.dest / name).read_bytes() == data


# Attributes that cannot be read.

BAD: dict[str, list[bytes]] = {
    "mode": [an_entry(mode=value) for value in (b" " * 8, b"abcdefg\0", base_256(-1, 8))],
    "uid": [an_entry(uid=value) for value in (b" " * 8, b"-000001\0", base_256(-1, 8))],
    "gid": [an_entry(gid=value) for value in (b" " * 8, b"0000999\0", base_256(-1, 8))],
    "mtime": [an_entry(mtime=value) for value in (b" " * 12, b"-0000000001\0")],
    "xattr": [extended((b"LIBARCHIVE.xattr.user.a", b"A")) + an_entry()],
}
for key, value in (b"uid", b"-1"), (b"gid", b"abc"), (b"mtime", b"nan"), (b"uid", b"9" * 30):
    BAD[key.decode()].append(extended((key, value)) + an_entry())
bad_rows = pytest.mark.parametrize(
    ("what", "entry"), [(what, entry) for what, entries in BAD.items() for entry in entries]
)


@bad_rows
@pytest.mark.parametrize("preserve", [False, True])
async def test_bad_attributes(
    what: str,
    entry: bytes,
    preserve: bool,  # noqa: FBT001
    umask: int,
    tmp_path: Path,
) -> None:
    """The attribute is that of a new file, a warning says so, and all else is restored."""
    path, before = tmp_path / "a.tar", time.time()
    path.write_bytes(between(entry))
    report = await check_whole(path, tmp_path / "out", preserve=preserve)
    assert (report.files, report.changed) == (3, 1)
    (warning,) = report.warnings
    assert warning.startswith("m: ")
    found = {name: (tmp_path / "out" / name).stat() for name in ("first", "m", "last")}
    assert all((tmp_path / "out" / name).read_bytes() == b"data" for name in ("first", "m", "last"))
    is_now = found["m"].st_mtime >= before - 5
    assert is_now == (what == "mtime")
    assert stat.S_IMODE(found["m"].st_mode) == (0o666 & ~umask if what == "mode" else 0o644)
    assert (found["m"].st_uid, found["m"].st_gid) == (os.geteuid(), os.getegid())
    assert all(found[name].st_mtime == 0 for name in ("first", "last"))


async def test_bad_attributes_of_folders_and_links(umask: int, tmp_path: Path) -> None:
    """The same goes for what is finished last."""
    bad = {"mode": b" " * 8, "uid": b" " * 8, "gid": b" " * 8, "mtime": b" " * 12}
    path, before = tmp_path / "a.tar", time.time()
    entries = block(b"d/", b"5", **bad), block(b"l", b"2", link=b"x", **bad)
    path.write_bytes(between(*entries, block(b"d/f")))
    report = await check_whole(path, tmp_path / "out")
    assert (report.changed, len(report.warnings)) == (2, 4)
    status = (tmp_path / "out/d").stat()
    assert stat.S_IMODE(status.st_mode) == 0o777 & ~umask
    assert min(status.st_mtime, (tmp_path / "out/l").lstat().st_mtime) >= before - 5


async def test_attributes_of_all_members(tmp_path: Path) -> None:
    """One warning is enough for what all members lack, as old Java archivers write them."""
    path = tmp_path / "a.tar"
    path.write_bytes(b"".join(an_entry(b"%d" % at, uid=b" " * 8) for at in range(1500)) + END)
    report = await check_whole(path, tmp_path / "out")
    assert (report.files, report.changed) == (1500, 1500)
    assert report.warnings == ("0 and 1,499 more: the uid cannot be used, and was left out",)
    path.write_bytes(extended((b"SCHILY.xattr.user.a", b"v"), kind=b"g") + FIRST + LAST + END)
    (warning,) = (await check_whole(path, tmp_path / "two")).warnings
    assert warning.startswith("first and 1 more: an extended attribute ")


@foreign_way
async def test_members_without_a_name(way: Way, place: Place) -> None:
    """They are refused one by one, by the place where they stand; the others are restored."""
    path = place.write(way, [Member(b"a", data=b"1"), Member(b"", data=b"2"), Member(b"b")])
    with pytest.raises(UnsafeMemberError, match="no name, at byte 1,024") as caught:
        await extract_to(path, place)
    assert caught.value.file == str(path)
    assert (await extract_to(path, place, on_error="skip")).damaged == 1
    assert sorted(os.listdir(place.dest)) == ["a", "b"]
    async with two_threads() as engine:
        with pytest.raises(CorruptError, match="without a name at byte 1024"):
            await engine.test(path)


@foreign_way
@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
@pytest.mark.parametrize("number", [3059377464, (1 << 32) - 2, (1 << 32) - 1, 1 << 40])
async def test_large_owners(number: int, way: Way, place: Place) -> None:
    """A number of 32 bits is an owner; what the system cannot have is left out."""
    members = [Member(b"f", ids=(number, 5)), folder(b"d", ids=(number, 5))]
    link = Member(b"l", b"2", link=b"x", ids=(number, 5))
    report = await extract_to(place.write(way, [*members, link]), place, preserve=True)
    is_owner = number < (1 << 32) - 1
    for name in ("f", "d", "l"):
        status = (place.dest / name).lstat()
        assert (status.st_uid, status.st_gid) == (number if is_owner else 0, 5)
    assert (report.changed, len(report.warnings)) == ((0, 0) if is_owner else (3, 1))


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
async def test_large_owners_by_the_index(place: Place) -> None:
    """Workers take them, too."""
    members = [Member(b"f", ids=(3059377464, (1 << 32) - 2))]
    path = place.write(lambda members: (".tar.zst", hostile.indexed(members)), members)
    await extract_to(path, place, preserve=True)
    status = (place.dest / "f").stat()
    assert (status.st_uid, status.st_gid) == (3059377464, (1 << 32) - 2)


@pytest.mark.skipif(not IS_ROOT, reason="only root makes devices")
async def test_a_device_without_numbers(tmp_path: Path) -> None:
    """It is not made; the others are restored."""
    path = tmp_path / "a.tar"
    path.write_bytes(between(block(b"dev", b"3", major=b"x" * 8)))
    with pytest.raises(UnsafeMemberError, match="dev: the numbers of the device"):
        await unpack(path, tmp_path / "out", preserve=True)
    report = await unpack(path, tmp_path / "out", preserve=True, on_error="skip")
    assert report.damaged == 1
    assert sorted(os.listdir(tmp_path / "out")) == ["first", "last"]


# Types and sizes.


async def test_unknown_types(tmp_path: Path) -> None:
    """They are files, as for every other tool; a warning says so, and the exit code."""
    path, content = tmp_path / "a.tar", noise(3000)
    path.write_bytes(between(block(b"z", b"Z", len(content)), padded(content)))
    report = await check_whole(path, tmp_path / "out")
    assert (report.files, report.changed) == (3, 1)
    assert report.warnings == ("z: the type is unknown, and was taken for that of a file",)
    assert (tmp_path / "out/z").read_bytes() == content
    async with open_archive(path) as archive:
        assert await archive.read("z") == content
        assert [member.name async for member in archive.members()] == ["first", "z", "last"]
        assert archive.warnings == list(report.warnings)
    for verb in ("extract", "test"):
        ended = ours(verb, path, *(["-o", tmp_path / "cli"] if verb == "extract" else []))
        assert ended.returncode == 1
        assert b"warning: z: the type is unknown" in ended.stderr
    for name, option in (("tar", "-xf"), ("bsdtar", "-xf")):
        (tmp_path / name).mkdir()
        run(tool(name), "-C", tmp_path / name, option, path)
        assert (tmp_path / name / "z").read_bytes() == content


@pytest.mark.parametrize(
    "parts",
    [
        (block(b"d/", b"5", 4096), block(b"d/f", b"0")),
        (extended((b"size", b"0" * 23 + b"4")), block(b"d/f"), padded(b"data")),
    ],
    ids=["a folder with a size", "a size of 24 digits"],
)
async def test_sizes(parts: tuple[bytes, ...], tmp_path: Path) -> None:
    """All restore the same."""
    path = tmp_path / "a.tar"
    path.write_bytes(between(*parts))
    report = await check_whole(path, tmp_path / "ours")
    assert report.warnings == ()
    for name in ("tar", "bsdtar"):
        (tmp_path / name).mkdir()
        run(tool(name), "-C", tmp_path / name, "-xf", path)
        for file in ("first", "d/f", "last"):
            content = (tmp_path / name / file).read_bytes()
            assert (tmp_path / "ours" / file).read_bytes() == content


# Paths through links.


@every_way
@pytest.mark.parametrize(
    "before", [symlink(b"l", b"d"), Member(b"l", data=b"x")], ids=["a link", "a file"]
)
async def test_a_path_through_another_member(before: Member, way: Way, place: Place) -> None:
    """The error is ours, and names the archive and the member."""
    path = place.write(way, [folder(b"d"), before, Member(b"l/new", data=b"x"), Member(b"good")])
    with pytest.raises(UnsafeMemberError, match="l/new: its path leads through") as caught:
        await extract_to(path, place)
    assert caught.value.file == str(path)
    report = await extract_to(path, place, on_error="skip")
    assert len(report.skipped) == report.damaged == 1
    assert sorted(os.listdir(place.dest)) == ["d", "good", "l"]
    assert os.listdir(place.dest / "d") == []


@every_way
async def test_a_link_over_a_full_folder(way: Way, place: Place) -> None:
    """The last member of a name wins; that a folder's members are gone is told."""
    members = [
        folder(b"m"),
        Member(b"m/f", data=b"x"),
        folder(b"m/sub", 0o500),
        symlink(b"m", b"d"),
    ]
    report = await extract_to(place.write(way, [*members, folder(b"d")]), place)
    assert os.readlink(place.dest / "m") == "d"
    assert report.changed == 1
    (warning,) = report.warnings
    assert warning == "m: took the place of a folder, and all in it"
