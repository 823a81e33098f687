"""A destination is a path, or any object with ``async write(data)``: the bytes are the same."""

# What ends without an event is polled for:
# ruff: noqa: ASYNC110

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiofiles
import pytest

import aiocompress
from aiocompress import CorruptError, Engine, Report

from ..help.data import noise, text
from ..help.engines import given_back
from ..help.programs import done, failed

CHUNK = 16 << 10
DATA = text(90 << 10) + noise(30 << 10)


class Collector:
    """Keeps what it is handed; ``pause`` seconds before each write."""

    def __init__(self, pause: float = 0) -> None:
        self.parts: list[Any] = []
        self.writing = False
        self.closed = False
        self._pause = pause

    async def write(self, data: bytes) -> None:
        assert not self.writing, "one write at a time"
        self.writing = True
        await asyncio.sleep(self._pause)
        self.parts.append(data)
        self.writing = False

    async def aclose(self) -> None:
        self.closed = True

    @property
    def data(self) -> bytes:
        return b"".join(self.parts)


class Full:
    """A destination whose second write fails."""

    def __init__(self) -> None:
        self.writes = 0

    async def write(self, _: bytes) -> None:
        self.writes += 1
        if self.writes == 2:
            raise ConnectionResetError("nobody there")


@pytest.fixture(params=["thread", "process"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """An engine of each kind: threads and processes write a file in different ways."""
    async with Engine(2, executor=request.param) as made:
        yield made


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small folder."""
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_bytes(text(50 << 10))
    (folder / "sub" / "b.bin").write_bytes(noise(40 << 10))
    (folder / "empty").write_bytes(b"")
    return folder


async def _verb(name: str, engine: Engine, tree: Path, destination: Any, **options: Any) -> Report:
    """Run a verb on data of a few chunks."""
    if name == "compress_file":
        return await engine.compress_file(DATA, destination, CHUNK, **options)
    if name == "decompress_file":
        # Several runs of frames: each is decoded, and written, at once.
        stream = engine.compress_stream(DATA, chunk_size=256)
        packed = b"".join([part async for part in stream])
        return await engine.decompress_file(packed, destination, **options)
    layout: Any = name
    return await engine.compress_folder(tree, destination, CHUNK, layout=layout, **options)


VERBS = ["compress_file", "decompress_file", "archive", "framed"]
every_verb = pytest.mark.parametrize("verb", VERBS)


@every_verb
async def test_a_collector_gets_what_a_file_holds(
    verb: str, engine: Engine, tree: Path, tmp_path: Path
) -> None:
    """The same bytes and the same report; each part is ``bytes``, and nothing closes the object."""
    path, collector = tmp_path / "x.tar.zst", Collector()
    expected = await _verb(verb, engine, tree, path)
    report = await _verb(verb, engine, tree, collector)
    assert collector.data == path.read_bytes()
    assert report._replace(seconds=0) == expected._replace(seconds=0)
    assert all(type(part) is bytes for part in collector.parts)
    assert len(collector.parts) > 1
    assert not collector.closed
    assert engine.statistics().slots_in_use == 0


@every_verb
async def test_an_aiofiles_file(verb: str, engine: Engine, tree: Path, tmp_path: Path) -> None:
    """It is written from where it stands, and stays open."""
    path, other = tmp_path / "x.tar.zst", tmp_path / "other"
    await _verb(verb, engine, tree, path)
    async with aiofiles.open(other, "wb") as file:
        await file.write(b"before")
        await _verb(verb, engine, tree, file)
        await file.write(b"after")
    assert other.read_bytes() == b"before" + path.read_bytes() + b"after"


@every_verb
async def test_a_slow_writer(verb: str, engine: Engine, tree: Path, tmp_path: Path) -> None:
    """It is waited for, one write at a time, and other calls go on meanwhile."""
    path, collector = tmp_path / "x.tar.zst", Collector(0.02)
    await _verb(verb, engine, tree, path)
    slow = asyncio.create_task(_verb(verb, engine, tree, collector))
    await asyncio.sleep(0)
    assert await engine.decompress(await engine.compress(DATA)) == DATA
    await slow
    assert collector.data == path.read_bytes()


async def test_a_stuck_writer_holds_no_slot(engine: Engine, tree: Path) -> None:
    """Frames leave the slots before they are written, and cancelling ends the call."""
    stuck = Collector(3600)
    task = asyncio.create_task(_verb("compress_file", engine, tree, stuck))
    async with asyncio.timeout(20):
        while not stuck.writing or engine.statistics().slots_in_use:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@every_verb
async def test_a_writer_that_raises(verb: str, engine: Engine, tree: Path) -> None:
    """Its own error goes out as it is; nothing more is written, and everything is given back."""
    full = Full()
    with pytest.raises(ConnectionResetError, match="nobody there"):
        await _verb(verb, engine, tree, full)
    assert full.writes == 2
    async with asyncio.timeout(20):
        await given_back(engine)
    assert await engine.decompress(await engine.compress(DATA)) == DATA


async def test_what_was_written_before_an_error_stays(engine: Engine) -> None:
    """An object cannot be taken back, as a file can: it holds a checked beginning."""
    stream = engine.compress_stream(DATA, chunk_size=CHUNK)
    packed = b"".join([part async for part in stream])
    collector = Collector()
    with pytest.raises(CorruptError):
        await engine.decompress_file(packed[: len(packed) // 2], collector)
    assert collector.data
    assert DATA.startswith(collector.data)


@every_verb
@pytest.mark.parametrize(
    ("destination", "words"),
    [(io.BytesIO(), "must be async"), (object(), "async write"), (None, "async write")],
    ids=["not async", "no write", "None"],
)
async def test_what_is_no_destination(
    verb: str, destination: Any, words: str, engine: Engine, tree: Path
) -> None:
    """A TypeError that says what is wanted."""
    with pytest.raises(TypeError, match=words):
        await _verb(verb, engine, tree, destination)


async def test_a_mirrored_tree_needs_a_path(engine: Engine, tree: Path) -> None:
    """It is a folder of many files: an object with ``async write`` cannot hold one."""
    collector = Collector()
    with pytest.raises(TypeError, match="path of a folder"):
        await engine.compress_folder(tree, collector, layout="mirror")
    assert not collector.parts


@every_verb
@pytest.mark.parametrize("on_exists", ["error", "replace", "skip"])
async def test_options_that_are_about_files(
    verb: str, on_exists: str, engine: Engine, tree: Path
) -> None:
    """They are checked and have nothing to do: an object is written, whatever it holds."""
    plain, collector = Collector(), Collector()
    await _verb(verb, engine, tree, plain)
    report = await _verb(verb, engine, tree, collector, on_exists=on_exists, fsync=True)
    assert collector.data == plain.data
    assert report.skipped_count == 0
    with pytest.raises(ValueError, match="on_exists"):
        await _verb(verb, engine, tree, Collector(), on_exists="perhaps")


async def test_the_codec_of_an_object(engine: Engine, tree: Path) -> None:
    """No suffix says it: zstd, unless ``codec`` does; a folder becomes an archive."""
    for codec, magic in ((None, b"\x28\xb5\x2f\xfd"), ("gzip", b"\x1f\x8b")):
        file, folder = Collector(), Collector()
        await engine.compress_file(DATA, file, codec=codec)
        await engine.compress_folder(tree, folder, codec=codec)
        assert await engine.decompress(file.data) == DATA
        assert file.data.startswith(magic)
        assert folder.data.startswith(magic)
        assert b"sub/b.bin" in await engine.decompress(folder.data)


async def test_the_functions_take_it_too(tree: Path) -> None:
    """Each makes an engine for one call."""
    packed, raw, folder = Collector(), Collector(), Collector()
    await aiocompress.compress_file(DATA, packed, CHUNK, 1)
    await aiocompress.decompress_file(packed.data, raw, None, 1)
    await aiocompress.compress_folder(tree, folder, CHUNK, 1, exclude=["*.bin"])
    assert raw.data == DATA
    assert b"sub/b.bin" not in await aiocompress.decompress(folder.data)


# The command line: `-o -`.


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_stdout_gets_what_a_file_gets(codec: str, tree: Path, tmp_path: Path) -> None:
    """A file, a folder and the way back, each the same bytes as in a file."""
    (tmp_path / "data").write_bytes(DATA)
    flags = ("--codec", codec, "--chunk-size", "16K", "-o")
    for source, name in (("data", "data.zst"), (tree, "tree.tar.zst")):
        written = done("compress", source, *flags, "-", cwd=tmp_path)
        done("compress", source, *flags, name, cwd=tmp_path)
        assert written == (tmp_path / name).read_bytes()
    assert done("decompress", "data.zst", "-o", "-", cwd=tmp_path) == DATA


@pytest.mark.parametrize("flags", [("-o", "-"), ("-c",)])
def test_a_folder_called_like_stdout(flags: tuple[str, ...], tmp_path: Path) -> None:
    """`-` is stdout all the same, and the folder stays empty."""
    (tmp_path / "-").mkdir()
    (tmp_path / "data").write_bytes(DATA)
    packed = done("compress", "data", *flags, cwd=tmp_path)
    assert done("decompress", data=packed) == DATA
    assert list((tmp_path / "-").iterdir()) == []


def test_only_an_archive_goes_to_stdout(tree: Path) -> None:
    """The other layouts need a name."""
    for layout in ("mirror", "framed"):
        failed("compress", tree, "--layout", layout, "-o", "-", naming="only an archive")


def test_recover_needs_a_name(tree: Path) -> None:
    """A folder or a new archive; stdout is neither, and the message says so."""
    failed("recover", tree / "a.txt", "-o", "-", naming="-o must be a folder or a new archive")
