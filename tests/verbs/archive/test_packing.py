"""What is packed: choices, several sources, and kinds of file that are hard to pack."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import aiocompress

from ...help.archives import decompressed, every_suffix, names_in, pack, two_threads, unpack
from ...help.data import noise
from ...help.tools import LIBRARY, nobody, run, small_disk, tool
from ...help.trees import IS_ROOT


@every_suffix
async def test_prefix(suffix: str, small: Path, tmp_path: Path) -> None:
    """All stands in the folder asked for; one that leads elsewhere is refused."""
    for number, prefix in enumerate(("top", "./top/", "/top", "top//sub")):
        path = tmp_path / f"{number}{suffix}"
        await pack(small, path, prefix=prefix)
        inside = b"top/sub" if "sub" in prefix else b"top"
        assert all(name.startswith(inside) for name in names_in(path))
        await unpack(path, tmp_path / f"out{number}")
        back = tmp_path / f"out{number}" / inside.decode()
        assert (back / "e/f/g").read_text() == "e/f/g"
    with pytest.raises(ValueError, match="prefix"):
        await pack(small, tmp_path / f"x{suffix}", prefix="a/../..")


@every_suffix
async def test_more_members_in_a_chunk_than_in_a_block(suffix: str, tmp_path: Path) -> None:
    """Long targets fill several blocks of the index, which stand behind one chunk."""
    (tmp_path / "tree").mkdir()
    targets = {f"{number:04d}": f"{number:04d}" * 1000 for number in range(1300)}
    for name, target in targets.items():
        (tmp_path / "tree" / name).symlink_to(target)
    path = tmp_path / f"a{suffix}"
    async with two_threads() as engine:
        packed = await engine.compress_folder(tmp_path / "tree", path, "16MiB", fsync=False)
        assert packed.frames == 2  # the second one is the end
        report = await engine.test(path)
        assert (report.files, report.warnings) == (len(targets), ())
        async with engine.open_archive(path) as archive:
            assert archive.is_indexed
            found = {member.name: member.link async for member in archive.members()}
            assert archive.is_indexed
    assert found == targets


@pytest.mark.faults
async def test_66_000_members_in_a_chunk(tmp_path: Path) -> None:
    """As many as made a block above 4 MiB at level 22, whose chunks are that large."""
    (tmp_path / "tree").mkdir()
    for number in range(66_000):
        os.close(os.open(tmp_path / "tree" / f"{number:064d}", os.O_CREAT))
    path = tmp_path / "a.tar.zst"
    async with two_threads() as engine:
        await engine.compress_folder(
            tmp_path / "tree", path, "36MiB", compression_level=1, fsync=False
        )
        assert (await engine.test(path)).files == 66_000


@every_suffix
async def test_the_smallest_chunks(suffix: str, small: Path, tmp_path: Path) -> None:
    """A chunk has room for the end of a tar; less is an error that says so, before anything."""
    for size in (1, 512, 1023):
        with pytest.raises(ValueError, match=f"chunk_size of an archive .* 1024 .* not {size}"):
            await pack(small, tmp_path / f"a{suffix}", size)
    assert os.listdir(tmp_path) == ["small"]
    await pack(small, tmp_path / f"a{suffix}", 1024)
    await unpack(tmp_path / f"a{suffix}", tmp_path / "out")
    assert (tmp_path / "out/e/f/g").read_text() == "e/f/g"


async def test_exclude(small: Path, tmp_path: Path) -> None:
    """The rules of gitignore: negation, folders, anchors; a prefix does not count."""
    for number, (rules, left) in enumerate(
        (
            (["*.log", "!keep.log"], [b"a", b"b", b"b/c", b"b/keep.log", b"e", b"e/f", b"e/f/g"]),
            (["e/"], [b"a", b"b", b"b/c", b"b/d.log", b"b/keep.log"]),
            (
                ["/a", "# nothing", "", "f"],
                [b"b", b"b/c", b"b/d.log", b"b/keep.log", b"e", b"e/x.log"],
            ),
            (
                ["**/c", "a/"],
                [b"a", b"b", b"b/d.log", b"b/keep.log", b"e", b"e/f", b"e/f/g", b"e/x.log"],
            ),
            (["*"], []),
        )
    ):
        path = tmp_path / f"{number}.tar.zst"
        await pack(small, path, exclude=rules)
        assert names_in(path) == left
        await pack(small, tmp_path / f"p{number}.tar.zst", exclude=rules, prefix="p")
        assert (
            names_in(tmp_path / f"p{number}.tar.zst")[1:] == [b"p/" + name for name in left]
            or not left
        )


async def test_exclude_and_newlines(tmp_path: Path) -> None:
    """A name that ends with a newline is not the name without it."""
    (tmp_path / "tree").mkdir()
    for name in ("foo", "foo\n", "x.log", "x.log\n"):
        (tmp_path / "tree" / name).write_text(name)
    await pack(tmp_path / "tree", tmp_path / "a.tar.zst", exclude=["foo", "*.log"])
    assert names_in(tmp_path / "a.tar.zst") == [b"foo\n", b"x.log\n"]


@every_suffix
async def test_several_sources(suffix: str, small: Path, tmp_path: Path) -> None:
    """They stand under their own names; two of one name are refused, and so is none."""
    (tmp_path / "other").write_text("other")
    (tmp_path / "link").symlink_to("other")
    path = tmp_path / f"a{suffix}"
    await pack([small / "b", tmp_path / "other", small / "e", tmp_path / "link"], path)
    assert names_in(path) == [
        *(b"b", b"b/c", b"b/d.log", b"b/keep.log", b"other"),
        *(b"e", b"e/f", b"e/f/g", b"e/x.log", b"link"),
    ]
    await unpack(path, tmp_path / "out")
    assert (tmp_path / "out" / "other").read_text() == "other"
    (small / "other").write_text("clash")
    for sources, words in (([small / "other", tmp_path / "other"], "other"), ([], "no source")):
        with pytest.raises(ValueError, match=words):
            await pack(sources, tmp_path / f"x{suffix}")
    with pytest.raises(FileNotFoundError) as caught:
        await pack([small, small / "nothing"], tmp_path / f"x{suffix}")
    assert caught.value.filename == str(small / "nothing")
    assert not (tmp_path / f"x{suffix}").exists()


@every_suffix
async def test_a_file_as_source(suffix: str, tmp_path: Path) -> None:
    """It stands there under its own name."""
    (tmp_path / "only").write_bytes(noise(50_000))
    path = tmp_path / f"a{suffix}"
    report = await pack(tmp_path / "only", path)
    assert (names_in(path), report.files) == ([b"only"], 1)
    async with aiocompress.open_archive(path) as archive:
        assert await archive.read("only") == noise(50_000)


@every_suffix
async def test_an_empty_folder(suffix: str, tmp_path: Path) -> None:
    """It is an archive of nothing, for everybody."""
    (tmp_path / "tree").mkdir()
    path = tmp_path / f"a{suffix}"
    assert (await pack(tmp_path / "tree", path)).files == 0
    assert run(tool("tar"), "-taf", path) == run(tool("bsdtar"), "-tf", path) == b""
    assert decompressed(path) == bytes(1024)
    async with two_threads() as engine, engine.open_archive(path) as archive:
        assert [member async for member in archive.members()] == []
        assert (await archive.test()).files == 0
        await archive.extract(tmp_path / "out", fsync=False)
    assert os.listdir(tmp_path / "out") == []


@every_suffix
async def test_a_destination_inside_the_source(suffix: str, small: Path) -> None:
    """It is left out, with a warning; an older one of that name as well."""
    path = small / f"b/a{suffix}"
    await pack(small, path)
    report = await pack(small, path, on_exists="replace")
    assert f"b/a{suffix}".encode() not in names_in(path)
    assert [text for text in report.warnings if "output" in text], report.warnings
    assert [name for name in os.listdir(small / "b") if name.startswith(".")] == []


async def test_attributes_that_nobody_would_read_back(tmp_path: Path) -> None:
    """More of them than ``max_metadata`` are left out, and told of: the archive comes back."""
    with small_disk(tmp_path / "disk", "size=9M"):
        tree = tmp_path / "disk" / "tree"
        tree.mkdir()
        for name in ("f", "g"):
            (tree / name).write_bytes(b"data")
        try:
            for number in range(20):
                os.setxattr(tree / "f", f"user.{number}", bytes(60_000))
            os.setxattr(tree / "g", "user.plain", b"value")
        except OSError:
            pytest.skip("a file system without so many attributes")
        report = await pack(tree, tmp_path / "a.tar.zst", xattrs=True)
    assert report.changed == 1
    assert report.warnings[0].endswith("f: its attributes are too large, and not packed")
    await unpack(tmp_path / "a.tar.zst", tmp_path / "out", preserve=True)
    assert (tmp_path / "out" / "f").read_bytes() == b"data"


@every_suffix
async def test_xattrs(suffix: str, tmp_path: Path) -> None:
    """On request they are packed; bsdtar and ``preserve`` bring them back."""
    (tmp_path / "tree" / "d").mkdir(parents=True)
    (tmp_path / "tree" / "f").write_bytes(b"data")
    attributes = {"user.plain": b"value", "user.a=b%": b"\0\xff\n", "user.empty": b""}
    try:
        for name in ("d", "f"):
            for key, value in attributes.items():
                os.setxattr(tmp_path / "tree" / name, key, value)
    except OSError:
        pytest.skip("a file system without extended attributes")
    path = tmp_path / f"a{suffix}"
    await pack(tmp_path / "tree", path, xattrs=True)
    await unpack(path, tmp_path / "plain")
    await unpack(path, tmp_path / "kept", preserve=True)
    (tmp_path / "bsd").mkdir()
    run(tool("bsdtar"), "-xpf", path, "-C", tmp_path / "bsd")
    for name in ("f", "d"):
        assert not os.listxattr(tmp_path / "plain" / name)
        for place in ("bsd", "kept"):
            full = tmp_path / place / name
            found = {key: os.getxattr(full, key) for key in os.listxattr(full)}
            assert found.items() >= {"user.plain": b"value"}.items(), (place, name)
            if place == "kept":
                assert found == attributes
    await pack(tmp_path / "tree", tmp_path / f"b{suffix}")
    assert b"xattr" not in decompressed(tmp_path / f"b{suffix}")


@every_suffix
async def test_specials(suffix: str, tmp_path: Path) -> None:
    """A named pipe is never opened, and packed as one; a socket is named as left out."""
    tree = tmp_path / "tree"
    tree.mkdir()
    os.mkfifo(tree / "pipe", 0o640)
    (tree / "file").write_bytes(b"x")
    path = tmp_path / f"a{suffix}"
    await asyncio.wait_for(pack(tree, path), 20)
    assert run(tool("tar"), "-tvaf", path).splitlines()[1].startswith(b"prw-r-----")
    here = os.getcwd()
    os.chdir(tree)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
    finally:
        os.chdir(here)
    with pytest.raises(OSError, match="socket") as caught:
        await pack(tree, path, on_exists="replace")
    assert caught.value.filename == str(tree / "socket")
    report = await pack(tree, path, on_exists="replace", on_error="skip")
    assert (report.skipped_count, report.files) == (1, 2)
    assert report.skipped[0].startswith(str(tree / "socket"))
    report = await unpack(path, tmp_path / "kept", preserve=True)
    status = (tmp_path / "kept" / "pipe").stat()
    assert stat.S_ISFIFO(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o640


@every_suffix
@pytest.mark.skipif(not IS_ROOT, reason="only root makes devices")
async def test_devices(suffix: str, tmp_path: Path) -> None:
    """Devices come back on request, with their numbers."""
    tree = tmp_path / "tree"
    tree.mkdir()
    try:
        os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except OSError:
        pytest.skip("no devices can be made here")
    path = tmp_path / f"a{suffix}"
    await pack(tree, path)
    await unpack(path, tmp_path / "out", preserve=True)
    assert (tmp_path / "out" / "null").stat().st_rdev == os.makedev(1, 3)


@every_suffix
async def test_times_beyond_all_clocks(suffix: str, tmp_path: Path) -> None:
    """A time that does not fit 64 bits of ns is packed, as near as can be, or reported."""
    with late_file(tmp_path) as file:
        report = await pack(file.parent, tmp_path / f"a{suffix}", on_error="skip")
        assert report.files + report.skipped_count == 1


@contextmanager
def late_file(tmp_path: Path) -> Iterator[Path]:
    """A file of the year 3237, on a file system that keeps such times."""
    for where in ("/dev/shm", str(tmp_path)):
        if not os.access(where, os.W_OK):
            continue
        with tempfile.TemporaryDirectory(dir=where) as name:
            file = Path(name) / "f"
            file.write_bytes(b"x")
            os.utime(file, ns=(0, 40 * 10**18))
            if file.stat().st_mtime_ns >= 1 << 63:
                yield file
                return
    pytest.skip("no file system with such times")


def test_unreadable_files() -> None:
    """Named, and the rest is packed; by default the first one is an error."""
    script = """
import asyncio, sys
from aiocompress import Engine
async def main():
    async with Engine(2, executor="thread") as engine:
        options = dict(fsync=False)
        try:
            await engine.compress_folder(sys.argv[1], sys.argv[2], **options)
        except PermissionError as error:
            print(error.filename)
        report = await engine.compress_folder(sys.argv[1], sys.argv[2], on_error="skip", **options)
        print(*sorted(report.skipped), sep="\\n")
asyncio.run(main())
"""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o777)
        tree = place / "tree"
        for path in ("closed/in", "no-list/in", "a", "z"):
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(path)
        (tree / "secret").write_text("secret")
        for path, mode in (("secret", 0), ("closed", 0), ("no-list", 0o311)):
            (tree / path).chmod(mode)
        command = *nobody(), sys.executable, "-c", script, tree, place / "a.tar.zst"
        done = run(*command, cwd=place, env=LIBRARY).decode()
        lines = done.splitlines()
        assert lines[0] == str(tree / "closed")
        assert [line.split(":")[0] for line in lines[1:]] == [
            str(tree / path) for path in ("closed", "no-list", "secret")
        ]
        assert {b"a", b"z"} <= set(names_in(place / "a.tar.zst"))
        (tree / "closed").chmod(0o700)
        (tree / "no-list").chmod(0o700)
