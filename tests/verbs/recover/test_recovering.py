"""``recover``: what is whole comes back exactly, what is not is named, and nothing else is made.

``check`` holds every result against the original, whatever was done to the file.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import gzip
import io
import os
import random
import shutil
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiocompress import Engine, Report
from aiocompress.errors import AiocompressError, CorruptError, FormatError
from aiocompress.formats import FORMATS
from aiocompress.formats.scan import Frame, View
from aiocompress.formats.tar.directory import Directory
from aiocompress.formats.tar.salvage import Event, Hole, Salvager
from aiocompress.model import MIB, Member
from aiocompress.verbs import jobs
from aiocompress.verbs.found import Found

from ...help.built import indexed_member
from ...help.data import noise, text
from ...help.programs import done, failed, ours
from ...help.tools import module, run, tool

SUFFIXES = (".tar.zst", ".tar.gz")
CHUNK = 4096


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    """An engine of threads: most of these files are small."""
    async with Engine(2, executor="thread") as engine:
        yield engine


def make_tree(folder: Path, seed: int = 5) -> None:
    """Files small and large, nested folders, links, a name that takes a pax header."""
    source = random.Random(seed)
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    for number in range(10):
        size = source.choice([0, 10, 300, 700])
        (folder / "sub" / f"f{number}").write_bytes(source.randbytes(size))
    (folder / "big").write_bytes(noise(9000))
    (folder / "text").write_bytes(text(8000))
    (folder / ("long" * 40)).write_bytes(b"x" * 77)
    os.link(folder / "sub" / "f1", folder / "zlink")
    (folder / "sym").symlink_to("big")


def contents(folder: Path) -> dict[str, object]:
    """All that is in a folder: content, targets of links, None for folders."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = (os.readlink(path),)
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


class Bench:
    """An archive, what is in it, and a place to try damage."""

    def __init__(self, engine: Engine, folder: Path, data: bytes, name: str) -> None:
        self.engine, self.data, self.name = engine, data, name
        self._folder = folder
        self.tree = contents(folder / "tree")
        self.out = folder / "out"
        self.frames: list[tuple[int, int, set[str]]] = []

    async def attempt(self, data: bytes, *, keep_damaged: bool = False) -> Report | None:
        """Recover from these bytes; the law: what comes back is as it was."""
        source = self._folder / ("damaged" + self.name)
        source.write_bytes(data)
        shutil.rmtree(self.out, ignore_errors=True)
        try:
            report = await self.engine.recover(
                source, self.out, keep_damaged=keep_damaged, fsync=False
            )
        except AiocompressError:
            assert not self.out.exists()
            return None
        self.back = {
            name: what for name, what in contents(self.out).items() if ".damaged" not in name
        }
        for name, what in self.back.items():
            assert self.tree[name] == what, name
        missing = self.tree.keys() - self.back.keys()
        assert report.skipped_count or not missing, missing
        return report

    def touched(self, offset: int) -> set[str]:
        """Members that the frame with this byte holds a part of, and links to them."""
        for start, end, names in self.frames:
            if start <= offset < end:
                return names
        return set()


def hard(member: Member) -> bool:
    return member.kind == "hardlink"


async def make_bench(
    engine: Engine, folder: Path, suffix: str, *, made: bool = True, chunk_size: int = CHUNK
) -> Bench:
    """Pack a tree that is made first, unless it is there."""
    if made:
        make_tree(folder / "tree")
    archive = folder / ("whole" + suffix)
    await engine.compress_folder(folder / "tree", archive, chunk_size)
    bench = Bench(engine, folder, archive.read_bytes(), suffix)
    async with engine.open_archive(archive) as opened:
        members = [member async for member in opened.members()]
        assert opened._opened.index is not None
        table = opened._opened.index.table
    for number, (start, size) in enumerate(zip(table.starts, table.sizes, strict=True)):
        first, last = table.raws[number], table.raws[number + 1]
        names = {
            member.name
            for member in members
            if member.offset < last and member.data_offset + member.stored_size > first
        }
        names |= {member.name for member in members if hard(member) and member.link in names}
        bench.frames.append((start, start + size, names))
    return bench


@pytest.fixture(params=SUFFIXES)
async def bench(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Bench:
    """A small archive of many frames, of each kind."""
    return await make_bench(engine, tmp_path, request.param)


# The archives of ours.


async def test_nothing_is_damaged(bench: Bench) -> None:
    """A whole archive comes back whole, and the report says so."""
    report = await bench.attempt(bench.data)
    assert report is not None
    assert bench.back == bench.tree
    assert (report.skipped_count, report.warnings, report.files) == (0, (), 15)


def list_all(folder: Path) -> list[Path]:
    """All that is in a folder, what is inside first."""
    return sorted(folder.rglob("*"), reverse=True)


def times(folder: Path) -> dict[str, int]:
    """When everything in a folder was modified."""
    return {str(path.relative_to(folder)): path.lstat().st_mtime_ns for path in list_all(folder)}


@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_times_are_exact(engine: Engine, tmp_path: Path, suffix: str) -> None:
    """Headers know seconds; the index knows the rest, also in a new archive."""
    make_tree(tmp_path / "tree")
    for number, path in enumerate(list_all(tmp_path / "tree")):
        os.utime(path, ns=(0, 10**18 + 1_234_567_891 * number), follow_symlinks=False)
    await engine.compress_folder(tmp_path / "tree", tmp_path / ("x" + suffix), CHUNK)
    await engine.recover(tmp_path / ("x" + suffix), tmp_path / ("y" + suffix))
    for archive, out in (("x", "one"), ("y", "two")):
        await engine.recover(tmp_path / (archive + suffix), tmp_path / out)
        assert times(tmp_path / out) == times(tmp_path / "tree")


async def test_all_are_named(engine: Engine, tmp_path: Path) -> None:
    """However many are lost: whoever asks for the rest has to know what to look for."""
    (tmp_path / "tree").mkdir()
    for number in range(1200):
        (tmp_path / "tree" / f"f{number}").write_bytes(b"x")
    (tmp_path / "tree" / "z").write_bytes(noise(3_000_000))
    (tmp_path / "tree" / "zz").write_bytes(b"saved")
    archive = tmp_path / "x.tar.zst"
    await engine.compress_folder(tmp_path / "tree", archive, "2M")
    damaged = bytearray(archive.read_bytes())
    damaged[100] ^= 1
    archive.write_bytes(damaged)
    report = await engine.recover(archive, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["zz"]
    named = {line.partition(":")[0] for line in report.skipped}
    assert named == {f"f{number}" for number in range(1200)} | {"z"}


def test_names_take_bounded_memory() -> None:
    """A name of an archive may have a mebibyte: only so many of them are told."""
    found = Found(most_told=1_000_000)
    for _ in range(20):
        found.refuse("n" * MIB)
    assert (len(found.skipped), found.skipped_count) == (8, 20)


async def test_a_source_that_cannot_be_read(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the disk names the source, and not what was to be made."""

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    source = tmp_path / ("whole" + bench.name)
    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(OSError, match="Input/output") as caught:
        await bench.engine.recover(source, tmp_path / "out")
    assert caught.value.filename == str(source)


async def test_bytes_are_damaged(bench: Bench) -> None:
    """One damaged byte: every member that does not touch that frame comes back."""
    for offset in range(len(bench.data) % 97, len(bench.data), 97):
        data = bytearray(bench.data)
        data[offset] ^= 1 << offset % 8
        assert await bench.attempt(bytes(data)) is not None, offset
        lost = bench.tree.keys() - bench.back.keys()
        assert lost <= bench.touched(offset), offset


async def test_cut_off(bench: Bench) -> None:
    """The end is missing: all of the frames before it come back."""
    for size in range(0, len(bench.data), 211):
        whole = {name for _, end, names in bench.frames if end <= size for name in names}
        broken = {name for _, end, names in bench.frames if end > size for name in names}
        if await bench.attempt(bench.data[:size]):
            assert whole - broken <= bench.back.keys(), size
        else:
            assert not whole - broken


async def test_front_is_lost(bench: Bench) -> None:
    """The table at the end tells what the rest is."""
    for size in range(1, len(bench.data), 211):
        lost = {name for start, _, names in bench.frames if start < size for name in names}
        if await bench.attempt(bench.data[size:]):
            assert bench.tree.keys() - bench.back.keys() <= lost, size
        else:
            assert lost >= {name for name, what in bench.tree.items() if what is not None}


def _zeroed(data: bytes, start: int, end: int) -> bytes:
    return data[:start] + bytes(end - start) + data[end:]


def _cut_out(data: bytes, start: int, end: int) -> bytes:
    return data[:start] + data[end:]


def _replaced(data: bytes, start: int, end: int) -> bytes:
    return data[:start] + noise(end - start) + data[end:]


@pytest.mark.parametrize("harm", [_zeroed, _cut_out, _replaced])
async def test_holes(bench: Bench, harm: Callable[[bytes, int, int], bytes]) -> None:
    """Many bytes are wrong, or gone: what they do not touch comes back."""
    source = random.Random(3)
    for _ in range(25):
        start = source.randrange(bench.frames[-1][1])
        end = min(start + source.randint(1, 3000), bench.frames[-1][1])
        assert await bench.attempt(harm(bench.data, start, end)) is not None
        lost = bench.tree.keys() - bench.back.keys()
        touched = [names for first, last, names in bench.frames if first < end and last > start]
        assert lost <= set().union(*touched), (start, end)


async def test_damaged_frames_hold_no_memory(bench: Bench) -> None:
    """A decoder is gone with its frame, and not when garbage is collected some time."""
    data = bytearray(bench.data)
    for start, end, _ in bench.frames[2:]:
        data[(start + end) // 2] ^= 1
    gc.collect()
    gc.disable()
    try:
        await bench.attempt(bytes(data))
        streams = [one for one in gc.get_objects() if type(one).__name__ == "StreamDecoder"]
    finally:
        gc.enable()
    assert not streams


async def test_frames_twice_and_swapped(bench: Bench) -> None:
    """The table knows the order: nothing is lost, and nothing is wrong."""
    data, (first, second, third) = bench.data, [bench.frames[n][:2] for n in (2, 3, 4)]
    part = data[slice(*first)], data[slice(*second)], data[slice(*third)]
    for changed in (
        [part[0], part[0], part[1], part[2]],
        [part[1], part[0], part[2]],
        [part[2], part[1], part[0]],
    ):
        report = await bench.attempt(data[: first[0]] + b"".join(changed) + data[third[1] :])
        assert report is not None
        assert bench.back == bench.tree


async def test_frames_that_look_alike(engine: Engine, tmp_path: Path) -> None:
    """Frames of what does not compress have one size: some are cut out, and none is misplaced."""
    (tmp_path / "tree").mkdir()
    for number in range(3):
        (tmp_path / "tree" / f"f{number}").write_bytes(noise(40_000, number))
    for suffix in SUFFIXES:
        bench = await make_bench(engine, tmp_path, suffix, made=False)
        starts = [start for start, _, _ in bench.frames]
        for first, last in [(2, 4), (0, 3), (5, 15), (11, 12), (1, 29)]:
            for extra in (0, 100):
                damaged = _cut_out(bench.data, starts[first], starts[last] + extra)
                await bench.attempt(damaged)


async def test_tars_inside(engine: Engine, tmp_path: Path) -> None:
    """The members of a tar that is a member are not taken for members of the archive."""
    inner = tmp_path / "inner"
    make_tree(inner, seed=6)
    (inner / "evil").write_bytes(b"not of this archive")
    for where in ("a", "tree"):
        (tmp_path / where).mkdir(exist_ok=True)
    with tarfile.open(tmp_path / "a" / "in.tar", "w") as archive:
        archive.add(inner, ".")
    await engine.compress_folder(inner, tmp_path / "a" / "in.tar.zst", 1024)
    for place in ("in", "m", "z"):
        for kind in ("tar", "tar.zst"):
            shutil.copy(tmp_path / "a" / f"in.{kind}", tmp_path / "tree" / f"{place}.{kind}")
    shutil.rmtree(tmp_path / "a")
    bench = await make_bench(engine, tmp_path, ".tar.zst", made=False)
    source = random.Random(4)
    for _ in range(60):
        start = source.randrange(bench.frames[-2][1])
        end = min(start + source.randint(1, 3000), bench.frames[-2][1])
        assert await bench.attempt(_zeroed(bench.data, start, end))
        assert "evil" not in bench.back


@given(st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_damage(archives: dict[str, Bench], data: st.DataObject) -> None:
    """Whatever is done to an archive: what comes back is as it was, and errors are ours."""
    bench = archives[data.draw(st.sampled_from(SUFFIXES))]
    damaged = bytearray(bench.data)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(damaged)))
        end = start + data.draw(st.integers(0, 2000))
        kind = data.draw(st.sampled_from(["zero", "cut", "twice", "noise", "flip"]))
        part = bytes(damaged[start:end])
        damaged[start:end] = {
            "zero": bytes(len(part)),
            "cut": b"",
            "twice": part + part,
            "noise": noise(len(part), start),
            "flip": bytes([part[0] ^ 1]) + part[1:] if part else b"",
        }[kind]

    async def attempt() -> None:
        async with Engine(2, executor="thread") as bench.engine:
            await bench.attempt(bytes(damaged), keep_damaged=data.draw(st.booleans()))

    asyncio.run(attempt())


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    """A small archive of each kind."""

    async def make() -> dict[str, Bench]:
        async with Engine(2, executor="thread") as engine:
            return {
                suffix: await make_bench(engine, tmp_path_factory.mktemp("any"), suffix)
                for suffix in SUFFIXES
            }

    return asyncio.run(make())


# Every byte, on the bytes floor: without files.


def salvaged(data: bytes, codec: str) -> dict[str, bytes | None]:
    """Return the members that are whole, with their content; None for those without."""
    scan = FORMATS[codec].scan(View(lambda at, size: data[at : at + size], len(data)), 8 * MIB)
    for _ in scan.run():
        pass
    steps = list(scan.steps())
    salvager = Salvager(Directory(scan.index()), scan.raw_size)
    found = _Found()
    for frame, lost in steps:
        raw = None if frame is None else _decoded(data, codec, frame)
        found.take(salvager.gap(lost) if raw is None else salvager.feed(raw))
    found.take(salvager.finish())
    found.end()
    return found.whole


def _decoded(data: bytes, codec: str, frame: Frame) -> bytes | None:
    if frame.room > MIB:
        return None  # as a stream, in the library
    place = data[frame.offset : frame.offset + frame.size], frame.room
    try:
        result = jobs.decompress(place, codec, ((frame.size, frame.room),), None)
    except AiocompressError:
        return None
    return result.data if result.size >= 0 else None


class _Found:
    """What came out of a salvager."""

    def __init__(self) -> None:
        self.whole: dict[str, bytes | None] = {}
        self._member: Member | None = None
        self._content = b""
        self._torn = False

    def take(self, events: Iterator[Event]) -> None:
        for event in events:
            if isinstance(event, memoryview):
                self._content += event
            elif isinstance(event, Member):
                self.end()
                self._member, self._content, self._torn = event, b"", False
            else:
                self._torn |= isinstance(event, Hole)

    def end(self) -> None:
        member = self._member
        if member is not None and not self._torn:
            assert len(self._content) == member.stored_size
            self.whole[member.name] = self._content if member.kind == "file" else None


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    """An archive of each kind, of few bytes and many frames."""

    async def make(suffix: str) -> Bench:
        folder = tmp_path_factory.mktemp("tiny")
        (folder / "tree" / "sub").mkdir(parents=True)
        for number, size in enumerate([0, 40, 600, 2900, 90, 30]):
            (folder / "tree" / "sub" / f"f{number}").write_bytes(text(size, number))
        async with Engine(1, executor="thread") as engine:
            return await make_bench(engine, folder, suffix, made=False, chunk_size=1024)

    return {suffix: asyncio.run(make(suffix)) for suffix in SUFFIXES}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_byte_is_damaged(tiny: dict[str, Bench], suffix: str) -> None:
    """Every byte by itself: only members of that frame are missing, and none is wrong."""
    bench, codec = tiny[suffix], "zstd" if suffix.endswith("zst") else "gzip"
    whole = salvaged(bench.data, codec)
    assert {name for name, data in whole.items() if data is not None} == {
        name for name, data in bench.tree.items() if data is not None
    }
    for offset in range(len(bench.data)):
        data = bytearray(bench.data)
        data[offset] ^= 1 << offset % 8
        back = salvaged(bytes(data), codec)
        assert all(whole[name] == data for name, data in back.items()), offset
        assert whole.keys() - back.keys() <= bench.touched(offset), offset


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_at_every_byte(tiny: dict[str, Bench], suffix: str) -> None:
    """The end or the front is gone, from every byte on: the frames that are there come back."""
    bench, codec = tiny[suffix], "zstd" if suffix.endswith("zst") else "gzip"
    whole = salvaged(bench.data, codec)
    for offset in range(len(bench.data) + 1):
        front, back = salvaged(bench.data[:offset], codec), salvaged(bench.data[offset:], codec)
        assert all(whole[name] == data for name, data in (front | back).items()), offset
        lost = {name for _, end, names in bench.frames if end > offset for name in names}
        assert whole.keys() - front.keys() <= lost, offset
        lost = {name for start, _, names in bench.frames if start < offset for name in names}
        assert whole.keys() - back.keys() <= lost or offset > bench.frames[-1][0], offset


# What is said, and what is kept.


def spoiled(bench: Bench, name: str) -> bytes:
    """Return the archive with a damaged byte in the middle of a frame that only has ``name``."""
    start, end = next(frame[:2] for frame in bench.frames if frame[2] == {name})
    data = bytearray(bench.data)
    data[(start + end) // 2] ^= 1
    return bytes(data)


async def test_what_is_missing_is_named(bench: Bench) -> None:
    """The member, its bytes, the frame and its place."""
    report = await bench.attempt(spoiled(bench, "big"))
    assert report is not None
    assert report.skipped_count == report.damaged == 1
    assert report.skipped[0].startswith("big: bytes ")
    assert report.skipped[0].endswith(" of 9,000 missing")
    assert "1 damaged frames" in report.warnings[0]
    assert "big" not in bench.back
    assert "big.damaged" not in contents(bench.out)


async def test_what_is_damaged_is_kept(bench: Bench) -> None:
    """On request, under another name, with zeros for what is missing."""
    report = await bench.attempt(spoiled(bench, "big"), keep_damaged=True)
    assert report is not None
    kept, whole = contents(bench.out)["big.damaged"], bench.tree["big"]
    assert isinstance(kept, bytes)
    assert isinstance(whole, bytes)
    assert len(kept) == len(whole)
    wrong = [at for at in range(len(whole)) if kept[at] != whole[at]]
    assert 0 < len(wrong) <= CHUNK
    assert not any(kept[at] for at in wrong)


async def test_lost_members_are_named(bench: Bench) -> None:
    """The index knows who was in a frame that is gone; links to them are named too."""
    number = next(n for n, frame in enumerate(bench.frames) if "sub/f1" in frame[2])
    start, end, names = bench.frames[number]
    report = await bench.attempt(_zeroed(bench.data, start, end))
    assert report is not None
    said = " ".join(report.skipped)
    lost = {name for name in names if isinstance(bench.tree[name], bytes) and bench.tree[name]}
    assert all(name in said for name in lost)
    assert "zlink: a hard link to what is no file extracted here" in said


async def test_what_has_no_content_comes_from_the_index(bench: Bench) -> None:
    """Folders, links and empty files of a lost frame: the index says all that there is to say."""
    for start, end, _ in bench.frames[:-1]:
        assert await bench.attempt(_zeroed(bench.data, start, end))
        empty = {name for name, what in bench.tree.items() if not isinstance(what, bytes)}
        assert empty <= bench.back.keys()


async def test_into_a_new_archive(bench: Bench, tmp_path: Path) -> None:
    """What is saved becomes an archive, without what is damaged."""
    source, target = tmp_path / ("bad" + bench.name), tmp_path / "new.tar.zst"
    source.write_bytes(spoiled(bench, "big"))
    report = await bench.engine.recover(source, target)
    assert report.skipped_count == 1
    await bench.engine.decompress_folder(target, tmp_path / "back")
    back = contents(tmp_path / "back")
    assert back == {name: what for name, what in bench.tree.items() if name != "big"}
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
    with pytest.raises(FileExistsError):
        await bench.engine.recover(source, target)
    await bench.engine.recover(source, target, on_exists="replace")


async def test_never_in_place(bench: Bench, tmp_path: Path) -> None:
    """The source stays as it is, and so does a folder that is there."""
    source = tmp_path / ("bad" + bench.name)
    source.write_bytes(bench.data)
    with pytest.raises(ValueError, match="same file"):
        await bench.engine.recover(source, source)
    with pytest.raises(FileExistsError):
        await bench.engine.recover(source, tmp_path / "tree")
    assert source.read_bytes() == bench.data


@pytest.mark.parametrize("data", [b"", b"nothing of the kind", noise(9999), bytes(99)])
async def test_nothing_to_save(engine: Engine, tmp_path: Path, data: bytes) -> None:
    """Nothing that is known: an error, and no folder."""
    (tmp_path / "x.bin").write_bytes(data)
    with pytest.raises(FormatError, match=r"x\.bin"):
        await engine.recover(tmp_path / "x.bin", tmp_path / "out")
    assert os.listdir(tmp_path) == ["x.bin"]


async def test_nothing_is_whole(engine: Engine, tmp_path: Path) -> None:
    """A single frame that is damaged: an error, and no folder."""
    data = bytearray(gzip.compress(text(9000)))
    data[50] ^= 1
    (tmp_path / "x.gz").write_bytes(data)
    with pytest.raises((CorruptError, FormatError)):
        await engine.recover(tmp_path / "x.gz", tmp_path / "out")
    assert os.listdir(tmp_path) == ["x.gz"]


def test_the_command_line(tiny: dict[str, Bench], tmp_path: Path) -> None:
    """0: all was whole; 1: something was missing, and is named; 2: nothing could be saved."""
    bench, source = tiny[".tar.zst"], tmp_path / "a.tar.zst"
    source.write_bytes(bench.data)
    assert ours("recover", source, "-o", tmp_path / "all").returncode == 0
    assert contents(tmp_path / "all") == bench.tree
    data = bytearray(bench.data)
    start, end = next(frame[:2] for frame in bench.frames if frame[2] == {"sub/f3"})
    data[(start + end) // 2] ^= 1
    source.write_bytes(data)
    ended = ours("recover", source, "-o", tmp_path / "new.tar.gz", "--keep-damaged")
    assert ended.returncode == 1
    assert b"skipped: sub/f3: bytes " in ended.stderr
    assert b"sub/f3.damaged" in done("list", tmp_path / "new.tar.gz")
    source.write_bytes(noise(5000))
    failed("recover", source, "-o", tmp_path / "none", naming="a.tar.zst")
    assert not (tmp_path / "none").exists()


# What others write.


def make_tar(folder: Path, format_: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of ``tree``, as Python writes it."""
    with io.BytesIO() as out:
        with tarfile.open(fileobj=out, mode="w", format=format_) as archive:
            for name in sorted(os.listdir(folder / "tree")):
                archive.add(folder / "tree" / name, name)
        return out.getvalue()


def _frames_zstd(data: bytes) -> bytes:
    return b"".join(run(tool("zstd"), "-q", data=data[at:][:CHUNK]) for at in _parts(data))


def _members_gzip(data: bytes) -> bytes:
    return b"".join(gzip.compress(data[at:][:CHUNK], mtime=0) for at in _parts(data))


def _members_bgzf(data: bytes) -> bytes:
    return b"".join(indexed_member(data[at:][:CHUNK], b"BC") for at in _parts(data))


def _members_mgzip(data: bytes) -> bytes:
    return b"".join(indexed_member(data[at:][:CHUNK], b"MZ") for at in _parts(data))


def _pgzip(data: bytes) -> bytes:
    with io.BytesIO() as out:
        with module("pgzip").open(out, "wb", thread=1, blocksize=CHUNK) as file:
            file.write(data)
        return out.getvalue()


def _parts(data: bytes) -> range:
    return range(0, len(data), CHUNK)


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        (".tar.zst", _frames_zstd),
        (".tar.gz", _members_gzip),
        (".tar.gz", _members_bgzf),
        (".tar.gz", _members_mgzip),
        (".tar.gz", _pgzip),
        (".tar", bytes),
    ],
)
async def test_archives_of_others(
    engine: Engine, tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    """Without index and table: most comes back, and nothing that is wrong."""
    make_tree(tmp_path / "tree")
    data = compress(make_tar(tmp_path))
    bench = Bench(engine, tmp_path, data, suffix)
    report = await bench.attempt(data)
    assert report is not None
    assert bench.back == bench.tree
    assert report.skipped_count == 0
    for offset in range(1000, len(data) - 1500, len(data) // 20):
        damaged = _zeroed(data, offset, offset + 5)
        if suffix != ".tar":  # which has no checksum of content
            assert await bench.attempt(damaged)
            assert len(bench.back) > len(bench.tree) // 2


async def test_hints_of_pzstd(engine: Engine, tmp_path: Path) -> None:
    """What stands in front of each frame holds no data: damage there costs no member."""
    make_tree(tmp_path / "tree")
    raw = make_tar(tmp_path)
    frames = [run(tool("zstd"), "-q", data=raw[at:][:CHUNK]) for at in _parts(raw)]
    head = b"\x50\x2a\x4d\x18\x04\0\0\0"
    parts = [part for frame in frames for part in (head + len(frame).to_bytes(4, "little"), frame)]
    data, starts = b"".join(parts), accumulate(map(len, parts), initial=0)
    bench = Bench(engine, tmp_path, data, ".tar.zst")
    for number, start in enumerate(list(starts)[:-1:2]):
        damaged = bytearray(data)
        damaged[start + number % 12] ^= 1
        report = await bench.attempt(bytes(damaged))
        assert report is not None
        assert (report.skipped_count, bench.back) == (0, bench.tree), number


async def test_a_plain_tar_with_damaged_headers(engine: Engine, tmp_path: Path) -> None:
    """The members whose headers are whole come back."""
    make_tree(tmp_path / "tree")
    data = bytearray(make_tar(tmp_path, tarfile.GNU_FORMAT))
    place = bytes(data).index(b"sub/f4\0")
    data[place + 3] ^= 1
    bench = Bench(engine, tmp_path, bytes(data), ".tar")
    report = await bench.attempt(bytes(data))
    assert report is not None
    assert bench.tree.keys() - bench.back.keys() == {"sub/f4"}


# Files that are no archives.


@pytest.mark.parametrize("suffix", [".zst", ".gz"])
async def test_a_file(engine: Engine, tmp_path: Path, suffix: str) -> None:
    """Whole it comes back under its name, damaged on request, with zeros where frames are lost."""
    plain, source = tmp_path / "plain.bin", tmp_path / ("plain.bin" + suffix)
    plain.write_bytes(text(30_000))
    await engine.compress_file(plain, source, CHUNK)
    report = await engine.recover(source, tmp_path / "out")
    assert (report.files, report.skipped_count) == (1, 0)
    assert (tmp_path / "out" / "plain.bin").read_bytes() == plain.read_bytes()
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 1
    source.write_bytes(data)
    with pytest.raises(CorruptError, match="nothing could be saved"):
        await engine.recover(source, tmp_path / "none")
    report = await engine.recover(source, tmp_path / "kept", keep_damaged=True)
    assert report.skipped_count == report.damaged == 1
    kept = (tmp_path / "kept" / "plain.bin.damaged").read_bytes()
    whole = plain.read_bytes()
    assert len(kept) == len(whole)
    wrong = {at // CHUNK for at in range(len(whole)) if kept[at] != whole[at]}
    assert len(wrong) == 1


async def test_files_one_behind_the_other(engine: Engine, tmp_path: Path) -> None:
    """Concatenated files are one; the table of one that is damaged does not take the other."""
    for number in (1, 2):
        (tmp_path / f"f{number}").write_bytes(text(20_000 * number, number))
        await engine.compress_file(tmp_path / f"f{number}", tmp_path / f"f{number}.zst", CHUNK)
    parts = [(tmp_path / f"f{number}.zst").read_bytes() for number in (1, 2)]
    (tmp_path / "both.zst").write_bytes(b"".join(parts))
    await engine.recover(tmp_path / "both.zst", tmp_path / "out")
    whole = text(20_000, 1) + text(40_000, 2)
    assert (tmp_path / "out" / "both").read_bytes() == whole


async def test_frames_larger_than_memory(tmp_path: Path) -> None:
    """What does not fit into a slot is decoded as a stream, twice, and is verified."""
    make_tree(tmp_path / "tree")
    (tmp_path / "tree" / "huge").write_bytes(noise(3_000_000))
    data = run(tool("zstd"), "-q", data=make_tar(tmp_path))
    async with Engine(1, "1MiB", executor="thread") as engine:
        bench = Bench(engine, tmp_path, data, ".tar.zst")
        assert await bench.attempt(data)
        assert bench.back == bench.tree
        damaged = bytearray(data)
        damaged[-100_000] ^= 1
        assert await bench.attempt(bytes(damaged)) is None


# Malice.


@pytest.mark.parametrize(
    "unit",
    [
        b"\x28\xb5\x2f\xfd\x00\x58\x30\x00\x00",  # blocks that lead from one to the next
        b"\x28\xb5\x2f\xfd",
        b"\x1f\x8b\x08\0",
        b"\x1f\x8b\x08\0\0\0\0\0\0\0\x00\x0f\x00\xf0\xff",  # stored blocks, as long as they are
        b"\x50\x2a\x4d\x18\x07\0\0\0",
    ],
)
async def test_magics_everywhere(engine: Engine, tmp_path: Path, unit: bytes) -> None:
    """A file full of what looks like frames takes little time."""
    footer = b"\x01\0\0\0\x80\xb1\xea\x92\x8f"
    (tmp_path / "x.zst").write_bytes(b"x" + unit * (1_000_000 // len(unit)) + footer)
    begun = time.monotonic()
    with pytest.raises((FormatError, CorruptError)):
        await engine.recover(tmp_path / "x.zst", tmp_path / "out")
    assert time.monotonic() - begun < 20
