"""Archives, opened: members are listed, read and extracted, at random and in several tasks."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aiocompress
from aiocompress import (
    AiocompressError,
    ClosedError,
    FormatError,
    MemberNotFoundError,
    TruncatedError,
)
from aiocompress.formats.tar import reader as tar

from ..help import hostile, trees
from ..help.archives import (
    KIB,
    ON_ERROR,
    SUFFIXES,
    Elsewhere,
    Works,
    decompressed,
    every_suffix,
    pack,
    two_threads,
)
from ..help.data import noise
from ..help.hostile import Member
from ..help.tools import run, tool
from ..help.trees import CHUNK, SECOND

MANY = [(f"d{number % 4}/f{number:03}", noise(7000 + number, number)) for number in range(320)]
FRAME = 64 * KIB
END_READ = 256 * KIB
"""What opening an archive reads."""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Archives of 320 files, in 40 frames, by suffix."""
    place = tmp_path_factory.mktemp("many")
    tree = place / "tree"
    for name, data in MANY:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    (tree / "link").symlink_to("d0/f000")
    os.link(tree / "d1" / "f001", tree / "hard")
    paths = {suffix: place / f"a{suffix}" for suffix in SUFFIXES}
    for path in paths.values():
        asyncio.run(pack(tree, path, FRAME))
    paths["foreign.tar.zst"] = place / "foreign.tar.zst"
    paths["foreign.tar"] = place / "foreign.tar"
    run(tool("tar"), "-C", tree, "--sort=name", "--zstd", "-cf", paths["foreign.tar.zst"], ".")
    run(tool("tar"), "-C", tree, "--sort=name", "-cf", paths["foreign.tar"], ".")
    return paths


KINDS = [*SUFFIXES, "foreign.tar.zst", "foreign.tar"]
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
async def test_members(kind: str, many: dict[str, Path]) -> None:
    """They come in the order of the archive, and say what its headers say."""
    raw = decompressed(many[kind])
    async with aiocompress.open_archive(many[kind]) as archive:
        assert archive.name == str(many[kind])
        assert archive.is_indexed == (kind in SUFFIXES)
        members = [member async for member in archive.members()]
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as other:
            infos = other.getmembers()
        assert len(members) == len(infos)
        kinds = {b"0": "file", b"1": "hardlink", b"2": "symlink", b"5": "directory"}
        for member, info in zip(members, infos, strict=True):
            assert tuple(member[:4]) == (info.name, kinds[info.type], info.size, info.mode)
            assert member.mtime_ns // SECOND == info.mtime
            assert (member.uid, member.gid) == (info.uid, info.gid)
            assert (member.user, member.group) == (info.uname, info.gname)
            assert (member.link, member.offset) == (info.linkname, info.offset)
            assert (member.data_offset, member.stored_size) == (info.offset_data, info.size)
        for member in members[1::100]:
            assert await archive.member(member.name.removeprefix("./")) == member
        async with archive.members() as some:
            assert await anext(some) == members[0]


@every_kind
async def test_read(kind: str, many: dict[str, Path]) -> None:
    """Content of a file, and of what a hard link is linked to; links and folders are none."""
    async with aiocompress.open_archive(many[kind]) as archive:
        for name, data in (MANY[17], MANY[-1], MANY[0]):
            assert await archive.read(name) == data
            assert await archive.read(f"./{name}") == data
        assert await archive.read("hard") == MANY[1][1]
        for name, what in (("link", "symlink"), ("d1", "directory"), ("d1/", "directory")):
            with pytest.raises(FormatError, match=what) as caught:
                await archive.read(name)
            assert caught.value.file == str(many[kind])
        for name, close in (("d1/f010", "d2/f010"), ("F005", "d1/f005"), ("d0/f000x", "d0/f000")):
            with pytest.raises(MemberNotFoundError, match=close) as missing:
                await archive.read(name)
            assert isinstance(missing.value, KeyError)
            assert missing.value.file == str(many[kind])


@every_kind
async def test_a_member_as_a_file(kind: str, many: dict[str, Path]) -> None:
    """Read, readinto, seek and tell; awaited, or a context manager."""
    name, data = MANY[20]
    async with aiocompress.open_archive(many[kind]) as archive:
        file = await archive.open(name)
        assert (file.size, file.name, await file.tell()) == (len(data), name, 0)
        room = bytearray(1000)
        assert await file.readinto(room) == 1000
        assert bytes(room) == data[:1000]
        assert await file.seek(-10, io.SEEK_END) == len(data) - 10
        assert await file.readinto(memoryview(room)[:100]) == 10
        assert await file.readinto(room) == 0
        assert await file.read() == await file.read(5) == b""
        assert await file.seek(len(data) + 99) == len(data) + 99
        assert await file.read(1) == b""
        with pytest.raises(ValueError, match="before"):
            await file.seek(-1)
        with pytest.raises(ValueError, match="before"):
            await file.seek(-len(data) - 1, io.SEEK_END)
        await file.seek(3)
        assert await file.read(0) == b""
        assert await file.seek(4, io.SEEK_CUR) == 7
        assert await file.read() == data[7:]
        await file.aclose()
        await file.aclose()
        for use in (file.read, file.tell, lambda: file.seek(0), lambda: file.readinto(room)):
            with pytest.raises(ClosedError):
                await use()
        with pytest.raises(ClosedError):
            await archive.open(name).read()


SPANNING = noise(5 * CHUNK + 77)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("seek"),
            st.one_of(
                st.integers(0, len(SPANNING) + 10),
                st.builds(
                    lambda border, more: max(0, border * CHUNK - 512 + more),
                    st.integers(0, 6),
                    st.integers(-2, 2),
                ),
            ),
        ),
        st.tuples(st.sampled_from(["read", "readline"]), st.integers(0, 3 * CHUNK)),
        st.tuples(st.just("near"), st.integers(-99, 99)),
        st.tuples(st.just("readinto"), st.integers(0, 2 * CHUNK)),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, ways=st.sampled_from(["indexed zst", "indexed gz", "foreign", "tar"]))
def test_reads_anywhere(steps: list[tuple[str, int]], ways: str, works: Works) -> None:
    """As a file of the same bytes, at every border of the frames."""
    members = [Member(b"first", data=b"1" * 700), Member(b"m", data=SPANNING), Member(b"z")]
    archives = {
        "indexed zst": lambda: hostile.indexed(members, frame=CHUNK),
        "indexed gz": lambda: hostile.indexed(members, "gzip", frame=CHUNK),
        "foreign": lambda: hostile.compressed(hostile.tar(members)),
        "tar": lambda: hostile.tar(members),
    }
    expected = io.BytesIO(SPANNING)

    async def read() -> None:
        source = Elsewhere(archives[ways]())
        async with works.engine.open_archive(source) as archive, archive.open("m") as file:
            assert archive.is_indexed == ways.startswith("indexed")
            for step, number in steps:
                if step == "seek":
                    assert await file.seek(number) == expected.seek(number)
                elif step == "near":
                    near = max(0, expected.tell() + number)
                    assert await file.seek(near) == expected.seek(near)
                elif step in {"read", "readline"}:
                    assert await getattr(file, step)(number) == getattr(expected, step)(number)
                else:
                    room, other = bytearray(number), bytearray(number)
                    assert await file.readinto(room) == expected.readinto(other)
                    assert room == other
                assert await file.tell() == expected.tell()

    works(read())


@every_suffix
async def test_how_little_is_read(suffix: str, many: dict[str, Path]) -> None:
    """A member takes one frame, once opening has read the end: the table and the index."""
    data = many[suffix].read_bytes()
    source = Elsewhere(data)
    name, content = MANY[21]
    async with aiocompress.open_archive(source) as archive:
        assert archive.is_indexed
        assert source.bytes_read == END_READ < len(data) // 8
        listed = [member async for member in archive.members()]
        assert len(listed) == len(MANY) + 6
        assert source.bytes_read == END_READ
        assert await archive.read(name) == content
        assert len(content) < source.bytes_read - END_READ < FRAME + 2 * KIB
        read = source.bytes_read
        await archive.member(name)
        assert await archive.read(name) == content
        assert source.bytes_read == read


@every_kind
async def test_two_tasks(kind: str, many: dict[str, Path]) -> None:
    """Several tasks read one archive at once."""
    async with aiocompress.open_archive(many[kind]) as archive:
        names = [name for name, _ in MANY[::90]]
        found = await asyncio.gather(*map(archive.read, names), archive.read("hard"))
        assert found == [*(data for _, data in MANY[::90]), MANY[1][1]]
        async with archive.open(names[0]) as one, archive.open(names[1]) as two:
            parts = await asyncio.gather(one.read(10), two.read(10))
            assert parts == [MANY[0][1][:10], MANY[90][1][:10]]  # type: ignore[comparison-overlap]


@every_kind
async def test_not_open(kind: str, many: dict[str, Path], tmp_path: Path) -> None:
    """Before it is opened, and when it is closed, all of it says so."""
    archive = aiocompress.open_archive(many[kind])

    async def check_all() -> None:
        for use in (
            lambda: archive.member("hard"),
            lambda: archive.read("hard"),
            lambda: archive.extract(tmp_path / "out"),
            archive.test,
        ):
            with pytest.raises(ClosedError):
                await use()
        for opening in (archive.members, lambda: archive.open("hard")):
            with pytest.raises(ClosedError):
                opening()

    await check_all()
    async with archive:
        file = await archive.open("hard")
        members = archive.members()
        await anext(members)
    await check_all()
    with pytest.raises(ClosedError):
        await file.read()
    await file.aclose()
    await members.aclose()
    await archive.aclose()
    with pytest.raises(ClosedError):
        await archive.__aenter__()
    assert os.listdir(tmp_path) == []


async def test_a_stream_is_read_once(many: dict[str, Path], tmp_path: Path) -> None:
    """What cannot be read again says so; any archive comes out of it, ours too."""

    async def parts(data: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(data), 10_007):
            yield data[at : at + 10_007]

    for kind, path in many.items():
        async with aiocompress.open_archive(parts(path.read_bytes())) as archive:
            assert not archive.is_indexed
            await archive.extract(tmp_path / kind, fsync=False)
            assert (tmp_path / kind / MANY[5][0]).read_bytes() == MANY[5][1]
            with pytest.raises(AiocompressError, match="once"):
                await archive.read(MANY[5][0])


@every_kind
async def test_extracted_by_two_tasks(kind: str, many: dict[str, Path], tmp_path: Path) -> None:
    """One archive goes to two places at once, while a third task reads."""
    async with two_threads() as engine, engine.open_archive(many[kind]) as archive:
        _, _, data = await asyncio.gather(
            archive.extract(tmp_path / "one", fsync=False),
            archive.extract(tmp_path / "two", fsync=False),
            archive.read(MANY[-1][0]),
        )
    assert data == MANY[-1][1]
    trees.check_same(trees.look(tmp_path / "one"), trees.look(tmp_path / "two"))
    assert len(trees.look(tmp_path / "one")) == len(MANY) + 6


async def test_no_processes(many: dict[str, Path], tmp_path: Path) -> None:
    """Without an engine an archive is read in threads."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    async with aiocompress.open_archive(many[".tar.zst"]) as archive:
        await archive.read(MANY[3][0])
        await archive.extract(tmp_path / "out", fsync=False)
        during = {process.pid for process in psutil.Process().children(recursive=True)}
    assert during <= before


async def test_no_archives(tmp_path: Path) -> None:
    """What is no archive is refused by name: text, nothing, a folder, what is not there."""
    (tmp_path / "text").write_bytes(b"text " * 300)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "not.tar.zst").write_bytes(hostile.compressed(b"text " * 300))
    for name in ("text", "empty", "not.tar.zst", "."):
        for on_error in ON_ERROR:
            with pytest.raises((FormatError, TruncatedError)) as caught:
                async with aiocompress.open_archive(tmp_path / name) as archive:
                    await archive.extract(tmp_path / "out", fsync=False, on_error=on_error)
            assert caught.value.file == str(tmp_path / name)
            assert not (tmp_path / "out").exists()
    with pytest.raises(FileNotFoundError) as missing:
        await aiocompress.open_archive(tmp_path / "missing").__aenter__()
    assert missing.value.filename == str(tmp_path / "missing")


def test_noise_is_no_tar() -> None:
    """A header whose sum is no number is none, whatever its bytes add up to: -1, say."""
    data = bytearray(512)
    data[:4] = b"\x28\xb5\x2f\xfd"
    data[148:156] = b"\xff" * 8
    data[200:203] = 128, 128, 246
    signed = [byte - 256 * (byte > 127) for byte in data[:148] + b" " * 8 + data[156:]]
    assert sum(signed) == -1
    assert not tar.is_archive(bytes(data))


async def test_compressed_and_not_a_tar(tmp_path: Path) -> None:
    """What begins as zstd does is never taken for a plain tar, whatever its bytes add up to."""
    (tmp_path / "tree").mkdir()
    for name in "amz":
        (tmp_path / "tree" / name).write_bytes(noise(1000, 1))
    path = tmp_path / "a.tar.zst"
    async with two_threads() as engine:
        for second in range(1795309572, 1795309572 + 200):
            for name in "amz":
                os.utime(tmp_path / "tree" / name, (second, second))
            await engine.compress_folder(
                tmp_path / "tree", path, CHUNK, fsync=False, on_exists="replace"
            )
            async with engine.open_archive(path) as archive:
                assert await archive.read("m") == noise(1000, 1), second


@every_kind
async def test_some_members(kind: str, many: dict[str, Path], tmp_path: Path) -> None:
    """Names, folders and patterns are restored, and nothing else."""
    async with two_threads() as engine, engine.open_archive(many[kind]) as archive:
        for number, (patterns, expected) in enumerate(
            (
                (["d0/f000"], ["d0/f000"]),
                (["d3/", "link"], [*(name for name, _ in MANY if name.startswith("d3")), "link"]),
                (["d?/f*3"], [name for name, _ in MANY if name.endswith("3")]),
                (["./d1/f001", "hard"], ["d1/f001", "hard"]),
                (["d0/f000", "*9"], ["d0/f000", *(name for name, _ in MANY if name.endswith("9"))]),
                ([], []),
            )
        ):
            dest = tmp_path / f"{number}"
            report = await archive.extract(dest, patterns, fsync=False)
            found = [
                os.fsdecode(name)
                for name, node in trees.look(dest).items()
                if node.kind != "directory"
            ]
            assert found == sorted(expected)
            assert report.files == len(expected)
            for name, data in MANY:
                if name in expected:
                    assert (dest / name).read_bytes() == data
        with pytest.raises(MemberNotFoundError, match="d0/f000"):
            await archive.extract(tmp_path / "x", ["d0/f004", "d1/f000"], fsync=False)
        assert not (tmp_path / "x").exists()


@every_suffix
async def test_few_frames_for_few_members(
    suffix: str, many: dict[str, Path], tmp_path: Path
) -> None:
    """Only the frames that hold what is wanted are read."""
    source = Elsewhere(many[suffix].read_bytes())
    async with aiocompress.open_archive(source) as archive:
        report = await archive.extract(tmp_path / "out", [MANY[21][0]], fsync=False)
    assert report.frames == 1
    assert source.bytes_read < END_READ + FRAME + 2 * KIB


async def test_lines_of_a_member(tmp_path: Path) -> None:
    """An open member offers what a file does: lines, peeks and reads by turns."""
    content = b"".join(b"line %d\n" % number for number in range(20_000))
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "log").write_bytes(content)
    await aiocompress.compress_folder(tmp_path / "tree", tmp_path / "a.tar.zst", None, 1)
    archive = aiocompress.open_archive(tmp_path / "a.tar.zst")
    async with archive, archive.open("log") as file:
        lines = [line async for line in file]
        assert b"".join(lines) == content
        assert await file.seek(-8, 2) == len(content) - 8
        assert await file.peek() == content[-8:] == await file.readall()
        assert await file.seek(5) == 5
        assert await file.readline() == b"0\n"
        assert await file.read(4) == b"line"
        assert await file.tell() == 11
        assert await file.read1(3) == b" 1\n"
        assert len(await file.readlines()) == len(lines) - 2
        assert file.seekable()
