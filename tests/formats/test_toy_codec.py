"""A codec is one row of the table: with that added, every verb reads and writes it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import aiocompress
from aiocompress import CorruptError, Engine, FormatError, TruncatedError
from aiocompress.formats import FORMATS

from ..help import trees
from ..help.data import noise, text
from ..help.trees import Node, Tree
from . import toy

RAW = text(200_000) + noise(70_000)
CHUNK = 1 << 14
TREE: Tree = {
    b"empty": Node("directory", 0o755),
    b"sub": Node("directory", 0o755, 10**18),
    b"sub/large": Node("file", 0o640, 10**18 + 1, RAW),
    b"sub/small": Node("file", 0o644, 10**18 + 2, b"small"),
    b"zero": Node("file", 0o644, 10**18 + 3),
    b"zz": Node("symlink", 0o777, 10**18 + 4, link=b"sub/small"),
}
TOY: Any = "toy"


@pytest.fixture
async def engine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    """An engine of threads: worker processes would have a table of their own."""
    monkeypatch.setitem(FORMATS, "toy", toy.FORMAT)
    async with Engine(2, "4MiB", executor="thread") as engine:
        yield engine


async def test_files(engine: Engine, tmp_path: Path) -> None:
    """A suffix chooses the codec, and takes it off again."""
    source, packed = tmp_path / "data.bin", tmp_path / "data.bin.toy"
    source.write_bytes(RAW)
    report = await engine.compress_file(source, packed, CHUNK, fsync=False)
    assert report.frames == -(-len(RAW) // CHUNK)
    assert packed.read_bytes().startswith(toy.MAGIC)
    source.unlink()
    assert (await engine.test(packed)).frames == report.frames
    await engine.decompress_file(packed, source, fsync=False)
    assert source.read_bytes() == RAW


@pytest.mark.parametrize("raw", [b"", b"a", RAW], ids=["empty", "one byte", "more"])
async def test_bytes(engine: Engine, raw: bytes) -> None:
    """By name out; back by what it begins with."""
    packed = await engine.compress(raw, codec=TOY)
    assert await engine.decompress(packed) == raw


async def test_frames_too_large_for_a_slot(engine: Engine) -> None:
    """They are decoded as a stream."""
    raw = noise(5 << 20)
    packed = toy.compress(memoryview(raw), 0) + toy.compress(memoryview(RAW), 0) + toy.END
    assert await engine.decompress(packed) == raw + RAW


async def _packed(engine: Engine) -> list[bytes]:
    async with engine.compress_stream(RAW, chunk_size=CHUNK, codec=TOY) as stream:
        return [part async for part in stream]


async def test_streams(engine: Engine) -> None:
    """Pieces of any size, out and back."""
    parts = await _packed(engine)
    assert len(parts) > 10

    async def pieces() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    async with engine.decompress_stream(pieces()) as stream:
        assert b"".join([part async for part in stream]) == RAW


@pytest.mark.parametrize("name", ["tree.tar.toy", "tree.ttoy"])
async def test_archives(engine: Engine, name: str, tmp_path: Path) -> None:
    """A folder goes into a tar of that codec, and its members are read and extracted."""
    trees.build(tmp_path / "tree", TREE)
    expected = trees.look(tmp_path / "tree")
    await engine.compress_folder(tmp_path / "tree", tmp_path / name, CHUNK, fsync=False)
    await engine.decompress_folder(tmp_path / name, tmp_path / "out", fsync=False)
    trees.check_same(
        trees.in_seconds(trees.look(tmp_path / "out")), trees.in_seconds(trees.restored(expected))
    )
    async with engine.open_archive(tmp_path / name) as archive:
        assert [member.name async for member in archive.members()] == list(map(bytes.decode, TREE))
        assert await archive.read("sub/large") == RAW


async def test_mirrored_trees(engine: Engine, tmp_path: Path) -> None:
    """Every file by itself, small and large, under its name and the suffix."""
    trees.build(tmp_path / "tree", TREE)
    expected = trees.restored(trees.look(tmp_path / "tree"))
    mirror = tmp_path / "mirror"
    await engine.compress_folder(
        tmp_path / "tree", mirror, CHUNK, codec=TOY, layout="mirror", fsync=False
    )
    assert (mirror / "sub" / "small.toy").read_bytes().startswith(toy.MAGIC)
    await engine.decompress_folder(mirror, tmp_path / "out", fsync=False)
    trees.check_same(trees.look(tmp_path / "out"), expected)


async def test_damage(engine: Engine) -> None:
    """A flipped bit, a cut and garbage are errors of the family, with the place."""
    packed = b"".join(await _packed(engine))
    frame = CHUNK + toy.HEAD.size
    flipped = bytearray(packed)
    flipped[2 * frame + 100] ^= 1
    with pytest.raises(CorruptError) as caught:
        await engine.decompress(bytes(flipped))
    assert (caught.value.offset, caught.value.frame) == (2 * frame, 2)
    for size in (frame - 1, frame, frame + 3, len(packed) - 1):
        with pytest.raises(TruncatedError):
            await engine.decompress(packed[:size])
    with pytest.raises(CorruptError, match="garbage"):
        await engine.decompress(packed + b"garbage")


async def test_a_single_frame(engine: Engine) -> None:
    """Only a codec with an encoder for streams writes one."""
    with pytest.raises(ValueError, match="single is not possible with toy"):
        engine.compress_stream(RAW, codec=TOY, single=True)


async def test_without_the_row(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the row alone that makes it known."""
    packed = await engine.compress(RAW, codec=TOY)
    monkeypatch.delitem(FORMATS, "toy")
    with pytest.raises(FormatError):
        await engine.decompress(packed)
    with pytest.raises(ValueError, match="codec must be"):
        await aiocompress.compress(RAW, codec=TOY)
