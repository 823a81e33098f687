"""Framed folders, through the verbs: out and back, the original script's, cut off, hostile."""

# They look at files, and wait for what has no event:
# ruff: noqa: ASYNC110, ASYNC240

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress import (
    AiocompressError,
    CorruptError,
    Engine,
    FormatError,
    LimitError,
    Report,
    TruncatedError,
    UnsafeMemberError,
    sync,
)
from aiocompress.formats.zstd.frame import MAGIC
from aiocompress.model import KIB, MIB

from ...help.built import raw_block, rle_block, window_byte, zstd_frame
from ...help.data import noise, text

Tree = dict[bytes, bytes]
CHUNK = 100
SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 50)
TREE: Tree = {
    b"a/empty": b"",
    b"a/file": b"file",
    b"a/large": noise(5 * CHUNK + 1),
    b"a/z/exact": text(2 * CHUNK),
    b"new\nline \xff\xfe": b"odd",
    b"\xc3\xa9": text(CHUNK),
}


@pytest_asyncio.fixture
async def engine() -> AsyncIterator[Engine]:
    async with Engine(2, executor="thread") as engine:
        yield engine


def build(folder: Path, tree: Tree) -> Path:
    """Make the files of a tree."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in tree.items():
        path = os.path.join(os.fsencode(folder), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(data)
    return folder


def found(folder: Path) -> Tree:
    """The files below a folder, which holds nothing else but folders."""
    tree = {}
    for above, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            path = os.path.join(above, name)
            assert os.path.isfile(path)
            assert not os.path.islink(path)
            tree[os.path.relpath(path, os.fsencode(folder))] = Path(os.fsdecode(path)).read_bytes()
    return tree


async def pack(engine: Engine, source: Path, destination: Path, **how: Any) -> Report:
    how = {"chunk_size": CHUNK, "fsync": False, **how}
    return await engine.compress_folder(source, destination, layout="framed", **how)


async def unpack(engine: Engine, source: Path, destination: Path, **how: Any) -> Report:
    return await engine.decompress_folder(source, destination, fsync=False, **how)


def script(*items: tuple[str, Sequence[bytes]], order: str = ">", characters: bool = True) -> bytes:
    """What the original writes; a chunk that finished late simply stands elsewhere."""
    written = []
    for name, chunks in items:
        path = name.encode()
        written.append(struct.pack(order + "H", len(name if characters else path)) + path)
        frames = map(zstandard.ZstdCompressor().compress, chunks)
        written += [struct.pack(order + "I", len(frame)) + frame for frame in frames]
    return b"".join(written)


def read_as_the_script(data: bytes) -> Tree:
    """Read the plain container, with nothing of ours."""
    tree: Tree = {}
    at, name = 0, b""
    while at < len(data):
        if data[at + 4 : at + 8] == MAGIC:
            (size,) = struct.unpack_from(">I", data, at)
            tree[name] += zstandard.ZstdDecompressor().decompress(data[at + 4 : at + 4 + size])
            at += 4 + size
        else:
            (size,) = struct.unpack_from(">H", data, at)
            name = data[at + 2 : at + 2 + size]
            tree[name] = b""
            at += 2 + size
    return tree


def nothing_left(folder: Path, *names: str) -> bool:
    """Whether these are all that stands in a folder, hidden ones included."""
    return sorted(os.listdir(folder)) == sorted(names)


# Out and back.

names = st.one_of(
    st.sampled_from([b"a", b"b", b"new\nline", b"\xff", b"\x1b[1m", b" ", b"-", b"\\", b"a" * 255]),
    st.binary(min_size=1, max_size=12).filter(lambda name: not set(name) & {0, ord("/")}),
).filter(lambda name: name not in {b".", b".."})
paths = st.lists(names, min_size=1, max_size=3).map(b"/".join)
contents = st.builds(noise, st.sampled_from(SIZES), st.integers(0, 3))


def is_tree(tree: Tree) -> bool:
    """Whether no file is where a folder is."""
    return not any(path.startswith(other + b"/") for path, other in product(tree, tree))


trees = st.dictionaries(paths, contents, max_size=6).filter(is_tree)


@settings(deadline=None, max_examples=60)
@given(tree=trees)
def test_any_tree_comes_back(tree: Tree) -> None:
    """Names of every kind, sizes around the borders of chunks; others read it, too."""
    tree = {**tree, b"~last": b"1"}

    async def there_and_back(folder: Path) -> None:
        source = build(folder / "in", tree)
        async with Engine(2, executor="thread") as engine:
            report = await pack(engine, source, folder / "x")
            assert report.files == len(tree)
            assert report.raw_bytes == sum(map(len, tree.values()))
            assert report.compressed_bytes == os.path.getsize(folder / "x")
            assert read_as_the_script((folder / "x").read_bytes()) == tree
            back = await unpack(engine, folder / "x", folder / "out")
        assert found(folder / "out") == tree
        assert back[:2] == report[:2]
        assert (back.files, back.frames) == (report.files, report.frames)
        assert not back.warnings

    with tempfile.TemporaryDirectory() as name:
        asyncio.run(there_and_back(Path(name)))


async def test_the_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    """Small files by the hundred, and large ones, in processes."""
    tree = {b"%03d" % number: noise(20 * number, number) for number in range(400)}
    source = build(tmp_path / "in", {**tree, **TREE, b"large": noise(MIB)})
    for workers in (1, 2, 5):
        async with Engine(workers) as engine:
            await pack(engine, source, tmp_path / str(workers), chunk_size=4 * KIB)
            await unpack(engine, tmp_path / str(workers), tmp_path / f"out{workers}")
        assert found(tmp_path / f"out{workers}") == found(source)
    first, *others = [(tmp_path / str(workers)).read_bytes() for workers in (1, 2, 5)]
    assert others == [first, first]
    assert read_as_the_script(first) == found(source)


async def test_files_of_many_batches(engine: Engine, tmp_path: Path) -> None:
    """More than a task of a worker takes, both ways."""
    tree = {b"%d" % number: noise(300 * KIB, number) for number in range(20)}
    source = build(tmp_path / "in", {**tree, b"large": noise(3 * MIB + 5)})
    report = await pack(engine, source, tmp_path / "x", chunk_size=MIB)
    assert report.frames == 24
    await unpack(engine, tmp_path / "x", tmp_path / "out", chunk_size=1000)
    assert found(tmp_path / "out") == found(source)


async def test_executors_of_the_caller(tmp_path: Path) -> None:
    """They are sent bytes, and return them."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    source = build(tmp_path / "in", {**TREE, b"large": noise(400 * KIB)})
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        async with Engine(1, executor=executor) as engine:
            await pack(engine, source, tmp_path / "x", chunk_size=64 * KIB)
            await unpack(engine, tmp_path / "x", tmp_path / "out")
    assert found(tmp_path / "out") == found(source)


def test_sync(tmp_path: Path) -> None:
    """As plain functions."""
    source = build(tmp_path / "in", TREE)
    assert sync.compress_folder(source, tmp_path / "x", CHUNK, 2, layout="framed").files == 6
    assert sync.decompress_folder(tmp_path / "x", tmp_path / "out").files == 6
    assert found(tmp_path / "out") == TREE


async def test_prefix_exclude_and_several_sources(engine: Engine, tmp_path: Path) -> None:
    """Names in the container."""
    source = build(tmp_path / "in", TREE)
    (tmp_path / "single").write_bytes(b"1")
    await pack(engine, source, tmp_path / "x", prefix="p/q", exclude=["a/", "new*"])
    assert read_as_the_script((tmp_path / "x").read_bytes()) == {b"p/q/\xc3\xa9": TREE[b"\xc3\xa9"]}
    both: Any = [source, tmp_path / "single"]
    await pack(engine, both, tmp_path / "y", exclude=["new*"])
    names = set(read_as_the_script((tmp_path / "y").read_bytes()))
    assert names == {b"single", *(b"in/" + name for name in TREE if b"new" not in name)}


async def test_what_cannot_be_said_is_named(engine: Engine, tmp_path: Path) -> None:
    """Links, special files and empty folders; hard links are files."""
    source = build(tmp_path / "in", {b"file": b"file"})
    (source / "link").symlink_to("file")
    (source / "loop").symlink_to(".")
    os.link(source / "file", source / "hard")
    os.mkfifo(source / "pipe")
    (source / "none" / "below").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "socket"))
    report = await pack(engine, source, tmp_path / "x")
    assert [line.split(": ")[0].removeprefix(f"{source}/") for line in report.skipped] == [
        *("link", "loop", "none/below/", "pipe", "socket")
    ]
    assert report.skipped_count == 5
    assert read_as_the_script((tmp_path / "x").read_bytes()) == {b"file": b"file", b"hard": b"file"}
    (tmp_path / "empty").mkdir()
    report = await pack(engine, tmp_path / "empty", tmp_path / "y")
    assert (report.files, report.skipped_count) == (0, 1)
    assert (tmp_path / "y").read_bytes() == b""


async def test_sources_that_cannot_be_packed(engine: Engine, tmp_path: Path) -> None:
    """Raised by name, or left out: what cannot be read, and what would read as a frame."""
    bad = b"ab(\xb5"
    source = build(tmp_path / "in", {b"good": b"1", bad + b"/\xfdx": b"2"})
    with pytest.raises(FormatError, match="reads as a zstd frame"):
        await pack(engine, source, tmp_path / "x")
    assert nothing_left(tmp_path, "in")
    report = await pack(engine, source, tmp_path / "x", on_error="skip")
    assert report.skipped_count == 1
    assert read_as_the_script((tmp_path / "x").read_bytes()) == {b"good": b"1"}
    with pytest.raises(ValueError, match="zstd"):
        await pack(engine, source, tmp_path / "y", codec="gzip")
    with pytest.raises(FileNotFoundError):
        await pack(engine, tmp_path / "nothing", tmp_path / "y")
    assert nothing_left(tmp_path, "in", "x")


async def test_read_errors(engine: Engine, tmp_path: Path, monkeypatch: Any) -> None:
    """In the first chunk, and behind it."""
    source = build(tmp_path / "in", {b"a": noise(CHUNK), b"b": noise(3 * CHUNK), b"c": b"c"})
    readv, inodes = os.readv, {os.stat(source / name).st_ino for name in "ab"}
    calls: list[int] = []

    def failing(descriptor: int, buffers: Any) -> int:
        number = os.fstat(descriptor).st_ino
        calls.append(number)
        if number in inodes and (len(calls) == 1 or calls.count(number) == 2):
            raise OSError(5, "Input/output error")
        return readv(descriptor, buffers)

    monkeypatch.setattr(os, "readv", failing)
    with pytest.raises(OSError, match="Input/output error") as caught:
        await pack(engine, source, tmp_path / "x")
    assert caught.value.filename == str(source / "a")
    calls.clear()
    report = await pack(engine, source, tmp_path / "x", on_error="skip")
    assert report.skipped == (f"{source}/a: Input/output error",)
    assert report.changed == 1
    assert f"{source}/b: Input/output error at byte {CHUNK}" in report.warnings[0]
    assert set(read_as_the_script((tmp_path / "x").read_bytes())) == {b"b", b"c"}


async def test_files_that_change(engine: Engine, tmp_path: Path, monkeypatch: Any) -> None:
    """They grow and shrink while they are read: what they held is packed, and it is told."""
    source = build(tmp_path / "in", {b"grows": noise(CHUNK), b"shrinks": noise(3 * CHUNK)})
    readv, number = os.readv, os.stat(source / "grows").st_ino

    def changing(descriptor: int, buffers: Any) -> int:
        if os.fstat(descriptor).st_ino == number:
            with open(source / "grows", "ab") as file:
                file.write(b"more")
        else:
            os.truncate(source / "shrinks", CHUNK + 10)
        return readv(descriptor, buffers)

    monkeypatch.setattr(os, "readv", changing)
    report = await pack(engine, source, tmp_path / "x")
    assert report.changed == 2
    assert "grew" in report.warnings[0]
    assert "shrank" in report.warnings[1]
    packed = read_as_the_script((tmp_path / "x").read_bytes())
    assert [len(packed[name]) for name in (b"grows", b"shrinks")] == [CHUNK, CHUNK + 10]


async def test_the_output_stays_out(engine: Engine, tmp_path: Path) -> None:
    """It may stand in the folder, also an older one that is replaced."""
    source = build(tmp_path / "in", {b"a": b"1", b"z": b"2"})
    for on_exists in ("error", "replace"):
        await pack(engine, source, source / "out", on_exists=on_exists)
        assert read_as_the_script((source / "out").read_bytes()) == {b"a": b"1", b"z": b"2"}


async def test_what_is_there(engine: Engine, tmp_path: Path) -> None:
    """Refused, replaced or kept, both ways."""
    source, out = build(tmp_path / "in", {b"a": b"new", b"d/b": b"new"}), tmp_path / "out"
    await pack(engine, source, tmp_path / "x")
    before = (tmp_path / "x").read_bytes()
    build(source, {b"c": b"c"})
    with pytest.raises(FileExistsError):
        await pack(engine, source, tmp_path / "x")
    assert (await pack(engine, source, tmp_path / "x", on_exists="skip")).skipped_count == 1
    assert (tmp_path / "x").read_bytes() == before
    build(out, {b"a": b"old", b"other": b"old"})
    with pytest.raises(FileExistsError):
        await unpack(engine, tmp_path / "x", out)
    report = await unpack(engine, tmp_path / "x", out, on_exists="skip")
    assert "1 files exist already" in report.warnings[0]
    assert found(out) == {b"a": b"old", b"other": b"old", b"d/b": b"new"}
    await unpack(engine, tmp_path / "x", out, on_exists="replace")
    assert found(out) == {b"a": b"new", b"other": b"old", b"d/b": b"new"}


# The original script's.


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("characters", [True, False])
async def test_the_script(*, engine: Engine, tmp_path: Path, order: str, characters: bool) -> None:
    """All four kinds; only big-endian characters may be out of order, and that is told."""
    a, b = noise(2 * CHUNK), noise(2 * CHUNK + 7, 1)
    data = script(
        ("d/\u00e9\u65e5", [a[:CHUNK], a[CHUNK:]]),
        ("one", [b"1"]),
        ("empty", []),
        ("d/b", [b[:CHUNK], b[CHUNK : 2 * CHUNK], b[2 * CHUNK :]]),
        order=order,
        characters=characters,
    )
    (tmp_path / "x").write_bytes(data)
    report = await unpack(engine, tmp_path / "x", tmp_path / "out")
    expected = {"d/\u00e9\u65e5".encode(): a, b"one": b"1", b"empty": b"", b"d/b": b}
    assert found(tmp_path / "out") == expected
    assert report.compressed_bytes == len(data)
    in_doubt = ["d/\u00e9\u65e5", "d/b"] if characters and order == ">" else []
    assert list(report.warnings) == [f"{name}: its order cannot be verified" for name in in_doubt]
    assert report.changed == len(in_doubt)


async def test_chunks_out_of_order(engine: Engine, tmp_path: Path) -> None:
    """A file that breaks the rule is refused by name; the others come back."""
    parts = [noise(CHUNK, 1), noise(CHUNK, 2), b"end"]
    (tmp_path / "x").write_bytes(
        script(("a", [b"a"]), ("mixed", [parts[2], *parts[:2], b"more"]), ("b", [b"b"]))
    )
    with pytest.raises(CorruptError, match="member mixed: its chunks are not in order") as caught:
        await unpack(engine, tmp_path / "x", tmp_path / "out")
    assert (caught.value.file, caught.value.frame) == (str(tmp_path / "x"), 2)
    assert caught.value.offset
    assert nothing_left(tmp_path, "x")
    report = await unpack(engine, tmp_path / "x", tmp_path / "out", on_error="skip")
    assert found(tmp_path / "out") == {b"a": b"a", b"b": b"b"}
    assert (report.damaged, report.files) == (1, 2)
    assert report.skipped[0].startswith("mixed: its chunks are not in order at byte")


async def test_a_file_of_one_whole_chunk_of_the_script(engine: Engine, tmp_path: Path) -> None:
    """Its other chunks may stand elsewhere."""
    (tmp_path / "x").write_bytes(script(("a", [bytes(MIB)]), ("b", [b"end of a, in truth"])))
    report = await unpack(engine, tmp_path / "x", tmp_path / "out")
    assert report.warnings == ("a: its order cannot be verified",)


async def test_duplicate_names(engine: Engine, tmp_path: Path) -> None:
    """The last wins, whole; a file and a folder of one name cannot both be."""
    (tmp_path / "x").write_bytes(
        script(("a", [b"longer"]), ("./a", [b"last"]), ("f/x", [b"1"]), ("a/b", [b"2"]), ("f", []))
    )
    report = await unpack(engine, tmp_path / "x", tmp_path / "out", on_error="skip")
    assert found(tmp_path / "out") == {b"a": b"last", b"f/x": b"1"}
    assert [line.split(":")[0] for line in report.skipped] == ["a/b", "f"]


async def test_frames_that_do_not_say_their_size(engine: Engine, tmp_path: Path) -> None:
    """Small ones, and those that take more than four windows."""
    raw = {"small": b"small", "large": text(300 * KIB), "none": b""}
    data = b""
    for name, content in raw.items():
        parameters = zstandard.ZstdCompressionParameters(window_log=10, write_content_size=False)
        frame = zstandard.ZstdCompressor(compression_params=parameters).compress(content)
        data += struct.pack(">H", len(name)) + name.encode()
        data += struct.pack(">I", len(frame)) + frame
    (tmp_path / "x").write_bytes(data)
    report = await unpack(engine, tmp_path / "x", tmp_path / "out")
    assert found(tmp_path / "out") == {name.encode(): content for name, content in raw.items()}
    assert (report.frames, report.compressed_bytes) == (3, len(data))


# Damage, limits, and what is hostile.


async def test_cut_at_any_byte(engine: Engine, tmp_path: Path) -> None:
    """An error that says where, unless the cut is between two entries; what is whole can stay."""
    tree = {b"a": b"aaa", b"b": noise(CHUNK + 20), b"c": b"", b"d": b"d"}
    source = build(tmp_path / "in", tree)
    await pack(engine, source, tmp_path / "x")
    data = (tmp_path / "x").read_bytes()
    cut_path, out = tmp_path / "cut", tmp_path / "out"
    seen = 0
    for cut in range(11, len(data)):  # less looks like nothing
        cut_path.write_bytes(data[:cut])
        try:
            await unpack(engine, cut_path, out)
        except TruncatedError as error:
            seen += (error.file, error.offset) == (str(cut_path), cut)
            assert not out.exists()
            report = await unpack(engine, cut_path, out, on_error="skip")
            assert report.damaged
            assert report.skipped[-1].endswith("; what follows is not restored")
            assert all(tree[name] == content for name, content in found(out).items())
        else:
            assert all(tree[name].startswith(content) for name, content in found(out).items())
        shutil.rmtree(out, ignore_errors=True)
    assert seen == len(data) - 11 - 6


async def test_a_damaged_frame_costs_its_file_alone(engine: Engine, tmp_path: Path) -> None:
    """In the middle of a batch: named, with place and frame."""
    tree = {b"%d" % number: noise(50, number) for number in range(9)}
    await pack(engine, build(tmp_path / "in", tree), tmp_path / "x")
    data = bytearray((tmp_path / "x").read_bytes())
    at = data.index(tree[b"4"])
    data[at + 20] ^= 1
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(CorruptError, match="member 4: damaged zstd frame") as caught:
        await unpack(engine, tmp_path / "x", tmp_path / "out")
    assert caught.value.frame == 4
    assert at - 20 < (caught.value.offset or 0) <= at
    assert nothing_left(tmp_path, "in", "x")
    report = await unpack(engine, tmp_path / "x", tmp_path / "out", on_error="skip")
    assert report.damaged == report.skipped_count == 1
    assert report.skipped[0].startswith("4: damaged zstd frame")
    del tree[b"4"]
    assert found(tmp_path / "out") == tree


async def test_every_byte_damaged(engine: Engine, tmp_path: Path) -> None:
    """Only errors of the family, or content as it was: a name is all that nothing protects."""
    tree = {b"a": b"aaa", b"d/b": noise(CHUNK + 20)}
    await pack(engine, build(tmp_path / "in", tree), tmp_path / "x")
    data = (tmp_path / "x").read_bytes()
    for at in range(len(data)):
        (tmp_path / "y").write_bytes(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :])
        try:
            await unpack(engine, tmp_path / "y", tmp_path / "out")
        except AiocompressError:
            assert not (tmp_path / "out").exists()
        except OSError as error:  # a name that no file can have
            assert error.filename  # noqa: PT017
        else:
            assert sorted(found(tmp_path / "out").values()) == sorted(tree.values())
            shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "..", "a\0b", "n" * 256, "/../x", ".", "/"])
async def test_hostile_names(engine: Engine, tmp_path: Path, name: str) -> None:
    """Refused by name; nothing outside."""
    (tmp_path / "x").write_bytes(script(("good", [b"1"]), (name, [b"bad"]), ("b", [b"2"])))
    with pytest.raises(UnsafeMemberError):
        await unpack(engine, tmp_path / "x", tmp_path / "out")
    assert nothing_left(tmp_path, "x")
    report = await unpack(engine, tmp_path / "x", tmp_path / "out", on_error="skip")
    assert found(tmp_path / "out") == {b"good": b"1", b"b": b"2"}
    assert report.damaged == 1
    assert nothing_left(tmp_path, "x", "out")


async def test_absolute_names(engine: Engine, tmp_path: Path) -> None:
    """The slash is stripped, with one warning."""
    (tmp_path / "x").write_bytes(script((f"{tmp_path}/y", [b"1"]), ("/z", [b"2"])))
    report = await unpack(engine, tmp_path / "x", tmp_path / "out")
    inside = os.fsencode(str(tmp_path)[1:]) + b"/y"
    assert found(tmp_path / "out") == {inside: b"1", b"z": b"2"}
    assert len(report.warnings) == 1
    assert nothing_left(tmp_path, "x", "out")


async def test_links_in_the_destination(engine: Engine, tmp_path: Path) -> None:
    """Nothing is written through one."""
    outside = build(tmp_path / "outside", {b"file": b"mine"})
    out = build(tmp_path / "out", {b"other": b""})
    (out / "link").symlink_to(outside)
    (tmp_path / "x").write_bytes(script(("link/file", [b"theirs"])))
    await unpack(engine, tmp_path / "x", out, on_exists="replace")
    assert found(outside) == {b"file": b"mine"}
    assert (out / "link" / "file").read_bytes() == b"theirs"
    assert not (out / "link").is_symlink()


async def test_limits(engine: Engine, tmp_path: Path) -> None:
    """On real bytes, whatever headers claim; also where the others are to be extracted."""
    frames = {
        "max_output": zstd_frame(
            rle_block(0, 100 * KIB, last=False) * 90 + raw_block(b""), window=window_byte(128 * KIB)
        ),
        "max_window": zstd_frame(rle_block(0, 9), window=window_byte(256 * MIB)),
    }
    for option, frame in frames.items():
        (tmp_path / "x").write_bytes(b"\0\1a" + struct.pack(">I", len(frame)) + frame)
        with pytest.raises(LimitError, match=option):
            await unpack(engine, tmp_path / "x", tmp_path / "out", max_output=MIB)
    await unpack(engine, tmp_path / "x", tmp_path / "out", max_window=256 * MIB)
    await pack(engine, build(tmp_path / "in", TREE), tmp_path / "y")
    with pytest.raises(LimitError, match="max_output"):
        await unpack(engine, tmp_path / "y", tmp_path / "two", max_output=CHUNK, on_error="skip")
    with pytest.raises(ValueError, match="members"):
        await unpack(engine, tmp_path / "y", tmp_path / "two", members=["a"])
    with pytest.raises(LimitError, match="more than the 1 members"):
        await unpack(engine, tmp_path / "y", tmp_path / "two", max_members=1, on_error="skip")
    with pytest.raises(LimitError, match="1 bytes allowed for a member"):
        await unpack(engine, tmp_path / "y", tmp_path / "two", max_member_size=1)
    report = await unpack(
        engine, tmp_path / "y", tmp_path / "few", max_member_size=CHUNK, on_error="skip"
    )
    large = [name for name, data in TREE.items() if len(data) > CHUNK]
    assert (report.damaged, len(report.skipped)) == (len(large), len(large))
    assert found(tmp_path / "few") == {name: TREE[name] for name in TREE if name not in large}
    assert nothing_left(tmp_path, "x", "y", "in", "out", "few")


# Cancelled.


@pytest.mark.parametrize("executor", ["thread", "process"])
async def test_cancelled_at_any_moment(tmp_path: Path, executor: Any) -> None:
    """Nothing is left: no file, no folder, no slot, no descriptor; the engine goes on."""
    source = build(tmp_path / "in", {b"%d" % number: noise(3000, number) for number in range(300)})
    async with Engine(2, executor=executor) as engine:
        await pack(engine, source, tmp_path / "x", chunk_size=1000)
        await unpack(engine, tmp_path / "x", tmp_path / "out")
        shutil.rmtree(tmp_path / "out")
        open_before = psutil.Process().num_fds()
        for number in range(12):
            for work in (
                pack(engine, source, tmp_path / "y", chunk_size=1000),
                unpack(engine, tmp_path / "x", tmp_path / "out"),
            ):
                task = asyncio.ensure_future(work)
                await asyncio.sleep(0.006 * number)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                # What had just got its name is whole.
                if (tmp_path / "y").exists():
                    assert (tmp_path / "y").read_bytes() == (tmp_path / "x").read_bytes()
                if (tmp_path / "out").exists():
                    assert found(tmp_path / "out") == found(source)
                assert set(os.listdir(tmp_path)) <= {"in", "x", "y", "out"}
                (tmp_path / "y").unlink(missing_ok=True)
                shutil.rmtree(tmp_path / "out", ignore_errors=True)
                while engine.statistics().slots_in_use:
                    await asyncio.sleep(0.001)
        assert psutil.Process().num_fds() <= open_before
        await unpack(engine, tmp_path / "x", tmp_path / "out")
    assert found(tmp_path / "out") == found(source)


async def test_memory_is_bounded(tmp_path: Path) -> None:
    """By the slots alone, however many files there are."""
    source = build(tmp_path / "in", {b"%d" % number: noise(9000, number) for number in range(900)})
    async with Engine(2, 8 * MIB, executor="thread") as engine:
        await pack(engine, source, tmp_path / "x", chunk_size=64 * KIB)
        await unpack(engine, tmp_path / "x", tmp_path / "out")
        statistics = engine.statistics()
    assert statistics.slots_peak <= statistics.slots_total == 4
    assert found(tmp_path / "out") == found(source)
