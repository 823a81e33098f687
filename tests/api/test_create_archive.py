"""Archives that are made member by member: the bytes, the members, and whatever may go in."""

# The other ends of pipes are programs:
# ruff: noqa: ASYNC220

from __future__ import annotations

import array
import asyncio
import io
import os
import subprocess
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiofiles
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aiocompress
from aiocompress import Engine, Report
from aiocompress.model import KIB, MIB

from ..help.archives import Works, a_place, decompressed, every_suffix, pack, two_threads
from ..help.data import noise, text
from ..help.programs import own_family
from ..help.tools import run, tool
from ..help.trees import CHUNK, SIZES, Tree, build, content, trees, zoo
from .test_destinations import Collector

TIME = 10**18 + 123_456_789
OPTIONS: Any = {"chunk_size": CHUNK, "fsync": False}


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    """Threads, which start at once."""
    async with two_threads() as made:
        yield made


def flat(folder: Path) -> dict[str, bytes]:
    """Fill a folder with files of every size that matters for chunks, all of one mode and time."""
    folder.mkdir()
    files = {f"{number:03d}": content(size, number) for number, size in enumerate(SIZES)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o644)
        os.utime(folder / name, ns=(0, 0))
    folder.chmod(0o755)
    return files


# The bytes.


@every_suffix
@pytest.mark.parametrize("workers", [1, 3])
async def test_a_folder(suffix: str, workers: int, tmp_path: Path) -> None:
    """Added, it is what compress_folder packs, byte for byte, for any number of workers."""
    build(tmp_path / "tree", zoo())
    await pack(tmp_path / "tree", tmp_path / f"a{suffix}")
    await pack(tmp_path / "tree", tmp_path / f"b{suffix}", prefix="in/it")
    async with Engine(workers, executor="thread") as engine:
        for name, inside in (("a", ""), ("b", "in/it"), ("b", "./in//it/")):
            made = tmp_path / f"made{suffix}"
            options = OPTIONS | {"on_exists": "replace"}
            async with engine.create_archive(made, **options) as writer:
                count = await writer.add_folder(tmp_path / "tree", inside)
            assert made.read_bytes() == (tmp_path / f"{name}{suffix}").read_bytes()
            async with engine.open_archive(made) as archive:
                assert count == len([member async for member in archive.members()])


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=trees())
def test_any_folder(tree: Tree, works: Works) -> None:
    """Of whatever there is, the bytes are the same."""

    async def make(place: Path) -> None:
        options: Any = {"fsync": False}
        await works.engine.compress_folder(place / "tree", place / "a.tar.zst", CHUNK, **options)
        async with works.engine.create_archive(place / "b.tar.zst", **OPTIONS) as writer:
            await writer.add_folder(place / "tree")

    with a_place() as place:
        build(place / "tree", tree)
        works(make(place))
        assert (place / "a.tar.zst").read_bytes() == (place / "b.tar.zst").read_bytes()


@every_suffix
async def test_member_by_member(suffix: str, engine: Engine, tmp_path: Path) -> None:
    """From memory, the bytes are those of a reproducible archive of the same files."""
    files = flat(tmp_path / "flat")
    await pack(tmp_path / "flat", tmp_path / f"a{suffix}", reproducible=True)
    async with engine.create_archive(tmp_path / f"b{suffix}", **OPTIONS) as writer:
        for name, data in files.items():
            await writer.add(name, data, mtime_ns=0)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


async def test_nothing(engine: Engine, tmp_path: Path) -> None:
    """An archive without members is one, and that of an empty folder."""
    (tmp_path / "empty").mkdir()
    await pack(tmp_path / "empty", tmp_path / "a.tar.zst")
    async with engine.create_archive(tmp_path / "b.tar.zst", **OPTIONS):
        pass
    assert (tmp_path / "a.tar.zst").read_bytes() == (tmp_path / "b.tar.zst").read_bytes()


# Sources.


class Reader:
    """An object with ``async read(n)``, which gives less than it is asked for."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    async def read(self, size: int) -> bytes:
        await asyncio.sleep(0)
        return self._file.read(min(size, 40_000))


async def pieces(data: bytes, size: int = 30_000) -> AsyncIterator[bytes]:
    """An async iterable, with empty pieces in it."""
    for at in range(0, len(data), size):
        await asyncio.sleep(0)
        yield b""
        yield data[at : at + size]


def plain_pieces(data: bytes) -> Iterator[bytes]:
    yield from (data[at : at + 1000] for at in range(0, len(data), 1000))


def fed(data: bytes) -> asyncio.StreamReader:
    """What aiohttp's bodies and asyncio's connections are like."""
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


def on_disk(folder: Path, data: bytes) -> Path:
    (folder / "on-disk").write_bytes(data)
    return folder / "on-disk"


SOURCES: dict[str, Callable[[bytes, Path], Any]] = {
    "bytes": lambda data, _: data,
    "bytearray": lambda data, _: bytearray(data),
    "memoryview": lambda data, _: memoryview(data),
    "array": lambda data, _: array.array("B", data),
    "path": lambda data, folder: on_disk(folder, data),
    "text path": lambda data, folder: str(on_disk(folder, data)),
    "file": lambda data, folder: on_disk(folder, data).open("rb"),
    "BytesIO": lambda data, _: io.BytesIO(data),
    "async reader": lambda data, _: Reader(data),
    "StreamReader": lambda data, _: fed(data),
    "async iterable": lambda data, _: pieces(data),
    "generator": lambda data, _: plain_pieces(data),
    "list": lambda data, _: [data[:10], data[10:]],
}
CONTENTS = [b"", text(1000), text(90 * KIB), noise(256 * KIB), text(MIB) + noise(300 * KIB)]
"""Nothing; what fits into a chunk; what does not; what is not gathered in memory."""


@pytest.mark.parametrize("sized", [False, True], ids=["unknown", "sized"])
@pytest.mark.parametrize("kind", SOURCES)
async def test_sources(kind: str, sized: bool, engine: Engine, tmp_path: Path) -> None:  # noqa: FBT001
    """The bytes are the same, whatever the content comes from, and whether its size is given."""
    made: list[bytes] = []
    for make in (SOURCES["bytes"], SOURCES[kind]):
        collector = Collector()
        async with engine.create_archive(collector, **OPTIONS) as writer:
            for number, data in enumerate(CONTENTS):
                source = make(data, tmp_path)
                size = len(data) if sized else None
                member = await writer.add(str(number), source, size=size, mtime_ns=TIME)
                assert (member.name, member.size) == (str(number), len(data))
                if hasattr(source, "close"):
                    source.close()
        made.append(collector.data)
    assert made[0] == made[1]


async def test_a_file_of_aiofiles(engine: Engine, tmp_path: Path) -> None:
    """An async file, and a member of another archive."""
    on_disk(tmp_path, CONTENTS[-1])
    first, second = tmp_path / "a.tar.zst", tmp_path / "b.tar.zst"
    async with (
        engine.create_archive(first) as writer,
        aiofiles.open(tmp_path / "on-disk", "rb") as file,
    ):
        await writer.add("x", file)
    async with (
        engine.open_archive(first) as archive,
        engine.create_archive(second) as writer,
        archive.open("x") as member,
    ):
        await writer.add("y", member, size=member.size)
        await writer.add("z", engine.compress_stream(CONTENTS[2]))
    async with engine.open_archive(second) as archive:
        assert await archive.read("y") == CONTENTS[-1]
        assert await engine.decompress(await archive.read("z")) == CONTENTS[2]


async def test_a_pipe(engine: Engine, tmp_path: Path) -> None:
    """A named pipe as a source is read to its end; so is a file that has no size."""
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "a.tar.zst"
    async with engine.create_archive(path) as writer:
        with subprocess.Popen(("sh", "-c", f"echo hello > {tmp_path}/pipe")):
            assert (await writer.add("x", tmp_path / "pipe")).size == 6
        assert (await writer.add("y", "/proc/self/status")).size > 100
    async with engine.open_archive(path) as archive:
        assert await archive.read("x") == b"hello\n"


@pytest.mark.parametrize("source", [None, 5, object(), ["a", "b"], [1, 2]], ids=range(5))
async def test_what_is_no_source(source: Any, engine: Engine) -> None:
    """A TypeError, and the archive goes on."""
    async with engine.create_archive(Collector()) as writer:
        with pytest.raises(TypeError):
            await writer.add("x", source)
        await writer.add("x", b"good")


async def test_a_folder_as_a_source(engine: Engine, tmp_path: Path) -> None:
    """It is no content; the error says what to call."""
    async with engine.create_archive(Collector()) as writer:
        for add in (writer.add("x", tmp_path), writer.add_path(tmp_path)):
            with pytest.raises(aiocompress.FormatError, match="add_folder") as caught:
                await add
            assert caught.value.file == str(tmp_path)


# What is in it.


@every_suffix
async def test_members(suffix: str, engine: Engine, tmp_path: Path) -> None:
    """What add returns is what the archive tells; other tools read the same."""
    path, made, told = tmp_path / f"a{suffix}", {}, []
    names = ["a", "b/c", "b/d", "l" * 255, "/".join(["deep" * 20] * 20), "é", "a b\n", "x" * 200]
    async with engine.create_archive(path, **OPTIONS) as writer:
        before = time.time_ns()
        for number, name in enumerate(names):
            made[name] = content(SIZES[number * 2])
            told.append(await writer.add(name, made[name], mode=0o600 + number))
        times = (-1, 0, TIME, 2**62)
        told += [await writer.add(f"at {when}", b"", mtime_ns=when) for when in times]
        assert before <= told[0].mtime_ns <= time.time_ns()
        assert writer.name == str(path)
    async with engine.open_archive(path) as archive:
        assert archive.is_indexed
        assert [member async for member in archive.members()] == told
        assert {name: await archive.read(name) for name in names} == made
        await archive.test()
    with tarfile.open(fileobj=io.BytesIO(decompressed(path)), mode="r:") as other:
        found = {info.name: info for info in other}
        assert {name: other.extractfile(found[name]).read() for name in names} == made  # type: ignore[union-attr]
        assert [found[name].mode for name in names] == [
            member.mode for member in told[: len(names)]
        ]
    assert (told[0].uid, told[0].gid, told[0].user, told[0].group) == (0, 0, "", "")


async def test_extracted_by_tar(engine: Engine, tmp_path: Path) -> None:
    """GNU tar restores it."""
    async with engine.create_archive(tmp_path / "a.tar.zst") as writer:
        await writer.add("in/a", text(9000), mode=0o640, mtime_ns=TIME)
        await writer.add("in/b", pieces(CONTENTS[-1]))
    run(tool("tar"), "--zstd", "-xf", tmp_path / "a.tar.zst", "-C", tmp_path)
    assert (tmp_path / "in/a").read_bytes() == text(9000)
    assert (tmp_path / "in/a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "in/b").read_bytes() == CONTENTS[-1]


async def test_a_path_has_its_own_time(engine: Engine, tmp_path: Path) -> None:
    """Content of a path: the mode as given, the time of the file unless one is given."""
    path = on_disk(tmp_path, b"x")
    os.utime(path, ns=(5, 5))
    path.chmod(0o777)
    async with engine.create_archive(Collector()) as writer:
        member = await writer.add("a", path)
        assert (member.mode, member.mtime_ns) == (0o644, 5)
        assert (await writer.add("b", path, mtime_ns=7)).mtime_ns == 7


async def test_paths(engine: Engine, tmp_path: Path) -> None:
    """Files, links and pipes as they are, under their own names or others."""
    path = on_disk(tmp_path, text(99))
    path.chmod(0o751)
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    archive_path = tmp_path / "a.tar.zst"
    async with engine.create_archive(archive_path) as writer:
        told = [
            await writer.add_path(path),
            await writer.add_path(path, "sub/other"),
            await writer.add_path(str(tmp_path / "link")),
            await writer.add_path(tmp_path / "pipe"),
        ]
        with pytest.raises(FileNotFoundError, match="none"):
            await writer.add_path(tmp_path / "none")
    async with engine.open_archive(archive_path) as archive:
        assert [member async for member in archive.members()] == told
    assert [member.kind for member in told] == ["file", "file", "symlink", "fifo"]
    assert [member.name for member in told] == ["on-disk", "sub/other", "link", "pipe"]
    status = path.stat()
    assert (told[0].mode, told[0].mtime_ns, told[0].uid) == (
        0o751,
        status.st_mtime_ns,
        status.st_uid,
    )


async def test_folders_merged(engine: Engine, tmp_path: Path) -> None:
    """Two folders in one; one that is there is not told twice."""
    for name in ("one", "two"):
        (tmp_path / name / "common" / "deep").mkdir(parents=True)
        (tmp_path / name / "common" / name).write_text(name)
    async with engine.create_archive(tmp_path / "a.tar.zst") as writer:
        await writer.add("top/x", b"x")
        assert await writer.add_folder(tmp_path / "one", "top") == 4
        assert await writer.add_folder(tmp_path / "two", "top/") == 1
        with pytest.raises(ValueError, match="'top/common/one' is in the archive already"):
            await writer.add_folder(tmp_path / "one", "top")
        with pytest.raises(NotADirectoryError, match="one/common/one"):
            await writer.add_folder(tmp_path / "one/common/one")
        with pytest.raises(FileNotFoundError, match="none"):
            await writer.add_folder(tmp_path / "none")
    async with engine.open_archive(tmp_path / "a.tar.zst") as archive:
        names = await anext(archive.names())
    assert names == [
        *("top/x", "top/", "top/common/", "top/common/deep/", "top/common/one", "top/common/two"),
    ]


async def test_the_archive_itself(engine: Engine, tmp_path: Path) -> None:
    """In the folder that is added it is left out, with a warning; by itself it is an error."""
    path = on_disk(tmp_path, b"older").rename(tmp_path / "a.tar.zst")
    (tmp_path / "x").write_text("x")
    async with engine.create_archive(path, on_exists="replace") as writer:
        assert await writer.add_folder(tmp_path) == 1
        with pytest.raises(ValueError, match=r"a\.tar\.zst is the archive itself"):
            await writer.add_path(path)
    assert len(writer.report.warnings) == 2
    assert "is the output" in writer.report.warnings[0]


async def test_a_report(engine: Engine, tmp_path: Path) -> None:
    """It tells what has gone through, also after the end."""
    writer = engine.create_archive(tmp_path / "a.tar.zst", **OPTIONS)
    assert writer.report == Report(0, 0, 0.0, 0, files=0)
    async with writer:
        for number in range(100):
            await writer.add(str(number), text(1000))
        during = writer.report
    report = writer.report
    assert (during.files, report.files) == (100, 100)
    assert during.raw_bytes < report.raw_bytes == 100 * 1536 + 1024
    assert report.compressed_bytes == (tmp_path / "a.tar.zst").stat().st_size


# Destinations.


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
async def test_a_writer_as_destination(codec: str, engine: Engine, tmp_path: Path) -> None:
    """The bytes are those of a file; the object stays open."""
    files, collector = flat(tmp_path / "flat"), Collector()
    path = tmp_path / "a"
    for destination in (path, collector):
        async with engine.create_archive(destination, codec=codec, **OPTIONS) as writer:
            for name, data in files.items():
                await writer.add(name, data, mtime_ns=0)
    assert collector.data == path.read_bytes()
    assert not collector.closed


async def test_a_pipe_as_destination(engine: Engine, tmp_path: Path) -> None:
    """A named pipe is written as it is."""
    os.mkfifo(tmp_path / "pipe.tar.gz")
    with subprocess.Popen(("tar", "-xzf", "pipe.tar.gz"), cwd=tmp_path) as tar:
        async with engine.create_archive(tmp_path / "pipe.tar.gz") as writer:
            await writer.add("x", CONTENTS[-1])
        assert await asyncio.to_thread(tar.wait, 20) == 0
    assert (tmp_path / "x").read_bytes() == CONTENTS[-1]


async def test_without_an_engine(tmp_path: Path) -> None:
    """It works in threads, starts no process, and leaves nothing; with one, it uses that."""
    before = own_family()
    async with aiocompress.create_archive(tmp_path / "a.tar.zst", **OPTIONS) as writer:
        await writer.add("x", CONTENTS[-1])
        assert own_family() == before
    async with two_threads() as engine:
        async with aiocompress.create_archive(
            tmp_path / "b.tar.zst", engine=engine, **OPTIONS
        ) as writer:
            await writer.add("x", CONTENTS[-1])
        assert engine.statistics().raw_bytes > len(CONTENTS[-1])
        async with aiocompress.open_archive(tmp_path / "a.tar.zst", engine=engine) as archive:
            assert await archive.read("x") == CONTENTS[-1]


async def test_bad_arguments(engine: Engine, tmp_path: Path) -> None:
    """They are told before anything is made."""
    for options, what in (
        ({"codec": "rar"}, "codec"),
        ({"compression_level": 99}, "compression_level"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"on_exists": "skip"}, "on_exists"),
        ({"on_exists": "x"}, "on_exists"),
    ):
        with pytest.raises(ValueError, match=what):
            engine.create_archive(tmp_path / "a.tar.zst", **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="suffix"):
        engine.create_archive(tmp_path / "a.rar")
    with pytest.raises(ValueError, match="chunk_size of an archive"):
        await engine.create_archive(tmp_path / "a.tar.zst", chunk_size=512).__aenter__()
    with pytest.raises(TypeError, match="destination"):
        await engine.create_archive(5).__aenter__()  # type: ignore[arg-type]
    assert not os.listdir(tmp_path)


# Many at once.


async def test_the_order_of_the_calls(engine: Engine, tmp_path: Path) -> None:
    """Of members that are there at once, that of the calls, whatever chunk they fall into."""
    path = tmp_path / "a.tar.zst"
    async with engine.create_archive(path, **OPTIONS) as writer, asyncio.TaskGroup() as group:
        for number in range(3000):
            group.create_task(writer.add(f"{number:04d}", text(number * 7 % 5000)))
    async with engine.open_archive(path) as archive:
        names = [name async for some in archive.names() for name in some]
        assert names == [f"{number:04d}" for number in range(3000)]
        await archive.test()


async def test_slow_sources_beside_each_other(engine: Engine, tmp_path: Path) -> None:
    """Contents of unknown size are gathered at once: the fast one does not wait for the slow."""
    opened, path = asyncio.Event(), tmp_path / "a.tar.zst"

    async def slow() -> AsyncIterator[bytes]:
        yield b"begin "
        await opened.wait()
        yield b"end"

    async with engine.create_archive(path) as writer:
        waiting = asyncio.ensure_future(writer.add("slow", slow()))
        await asyncio.sleep(0)
        await asyncio.wait_for(writer.add("fast", pieces(CONTENTS[-1])), 20)
        await asyncio.wait_for(writer.add("now", b"now"), 20)
        opened.set()
        await waiting
    async with engine.open_archive(path) as archive:
        assert [member.name async for member in archive.members()] == ["fast", "now", "slow"]
        assert await archive.read("slow") == b"begin end"


async def test_a_slow_destination_holds_the_application_up(engine: Engine) -> None:
    """What has been added and not been taken is bounded."""

    class Stuck:
        async def write(self, _: bytes) -> None:
            await asyncio.sleep(1000)

    added = 0

    async def work() -> None:
        nonlocal added
        async with engine.create_archive(Stuck(), chunk_size="64K") as writer:
            while True:
                await writer.add(str(added), noise(10_000))
                added += 1

    task = asyncio.ensure_future(work())
    seen = -1
    while seen != added:
        seen = added
        await asyncio.sleep(0.3)
    assert 0 < added <= 10 * 8
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_others_get_their_turn(engine: Engine) -> None:
    """A loop that adds small members without an end does not keep the others waiting."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    async with engine.create_archive(Collector()) as writer:
        before = ticks
        for number in range(3000):
            await writer.add(str(number), b"")
        assert ticks - before >= 3000 // 256
    ticking.cancel()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    members=st.lists(st.tuples(st.sampled_from(SIZES), st.booleans(), st.booleans()), max_size=12)
)
def test_any_mixture(members: list[tuple[int, bool, bool]], works: Works) -> None:
    """From memory, streamed, sized or not: all of it comes back."""

    async def make() -> None:
        collector, told = Collector(), []
        async with works.engine.create_archive(collector, **OPTIONS) as writer:
            for number, (size, streamed, sized) in enumerate(members):
                data = content(size, number)
                source: Any = pieces(data, 777) if streamed else data
                told.append(
                    await writer.add(f"{number % 3}/{number}", source, size=size if sized else None)
                )
        async with works.engine.open_archive(io.BytesIO(collector.data)) as archive:
            found = [member async for member in archive.members()]
        assert found == [
            member._replace(mtime_ns=member.mtime_ns // 10**9 * 10**9) for member in told
        ]
        raw = await works.engine.decompress(collector.data)
        for number, member in enumerate(told):
            data = raw[member.data_offset : member.data_offset + member.size]
            assert data == content(members[number][0], number)

    works(make())
