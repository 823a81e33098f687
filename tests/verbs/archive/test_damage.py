"""Damage: what is whole comes back, and what is lost is named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from aiocompress import AiocompressError, Archive, CorruptError, FormatError, TruncatedError

from ...help import hostile, trees
from ...help.archives import MIB, Elsewhere, every_codec, two_threads, unpack
from ...help.data import noise
from ...help.hostile import Member, folder, hardlink, symlink
from ...help.trees import Tree

WHERE: dict[str, Callable[[int, int], int]] = {
    "first byte": lambda start, _: start,
    "header": lambda start, _: start + 5,
    "size": lambda start, _: start + 17,
    "middle": lambda start, end: (start + end) // 2,
    "near the end": lambda _, end: end - 6,
    "last byte": lambda _, end: end - 1,
}


def _damaged(data: bytes, frames: list[int], number: int, where: str) -> bytes:
    """Change a byte of a frame."""
    at = WHERE[where](frames[number - 1] if number else 0, frames[number])
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


DAMAGED = [
    folder(b"d"),
    Member(b"d/a", data=noise(500)),
    Member(b"d/b", data=noise(501)),
    Member(b"large", data=noise(9000)),
    Member(b"m", data=noise(502)),
    hardlink(b"h", b"m"),
    symlink(b"l", b"m"),
    Member(b"z", data=noise(503)),
]


@every_codec
@pytest.mark.parametrize("where", WHERE)
async def test_a_damaged_frame(where: str, codec: str, tmp_path: Path) -> None:
    """The error names the members that it hits; skipped, all others come back exactly."""
    data = hostile.indexed(DAMAGED, codec, frame=2048)
    (tmp_path / "sound").write_bytes(data)
    await unpack(tmp_path / "sound", tmp_path / "expected")
    whole = trees.look(tmp_path / "expected")
    ends = _ends(data, codec)
    for number in range(-(-sum(len(bytes(member)) for member in DAMAGED) // 2048)):
        path, out = tmp_path / f"{number}", tmp_path / f"out{number}"
        path.write_bytes(_damaged(data, ends, number, where))
        error = await _error_of(path, out)
        if isinstance(error, FormatError):
            assert (number, where) == (0, "first byte")  # by which it is known
        elif error is None:
            assert where in {"header", "size"}  # bits that mean nothing, or are known otherwise
            trees.check_same(trees.look(out), whole)
        else:
            hit = _hit(number)
            assert (error.frame, error.file) == (number, str(path))
            assert error.offset is not None
            assert f"{len(hit)} members" in str(error.hint)
            assert all(name in str(error.hint) for name in hit[:3])
            assert not out.exists()
            await _check_all_others(path, out, hit, whole)


async def _error_of(path: Path, out: Path) -> AiocompressError | None:
    try:
        await unpack(path, out)
    except AiocompressError as error:
        return error
    return None


def _hit(frame: int) -> list[str]:
    """Names of the members that a frame of 2 KiB holds a part of."""
    hit, at = [], 0
    for member in DAMAGED:
        end = at + len(bytes(member))
        if at // 2048 <= frame <= (end - 1) // 2048:
            hit.append(os.fsdecode(member.name.rstrip(b"/")))
        at = end
    return hit


async def _check_all_others(path: Path, out: Path, hit: list[str], whole: Tree) -> None:
    report = await unpack(path, out, on_error="skip")
    lost = {*hit, *(["h"] if "m" in hit else [])}  # which is linked to it
    assert {text.split(":")[0] for text in report.skipped} == lost
    assert report.damaged == report.skipped_count >= len(hit)
    found = trees.look(out)
    assert set(found) <= set(whole)
    for name, node in whole.items():
        if os.fsdecode(name) not in lost:
            assert replace(found[name], same=()) == replace(node, same=()), (path.name, name)
        elif node.kind == "file":
            assert name not in found, (path.name, name)


def _ends(data: bytes, codec: str) -> list[int]:
    """Where the frames of an archive end."""
    ends, at = [], 0
    if codec == "zstd":
        count = int.from_bytes(data[-9:-5], "little")
        table = len(data) - 9 - 12 * count
        for number in range(count):
            at += int.from_bytes(data[table + 12 * number :][:4], "little")
            ends.append(at)
        return ends
    while at < len(data):
        at += int.from_bytes(data[at + 16 : at + 20], "little")
        ends.append(at)
    return ends


@every_codec
async def test_cut_off_anywhere(codec: str, tmp_path: Path) -> None:
    """An archive that is cut off is an error; skipped, what is whole comes back."""
    data = hostile.indexed(DAMAGED, codec, frame=2048)
    ends = _ends(data, codec)
    cuts = sorted({1, 10, 511, *(end + more for end in ends for more in (-1, 0, 1)), len(data) - 1})
    path, out = tmp_path / "a", tmp_path / "out"
    async with two_threads() as engine:
        for cut in cuts:
            if cut >= len(data):
                continue
            path.write_bytes(data[:cut])
            with pytest.raises((TruncatedError, FormatError, CorruptError)) as caught:
                await engine.decompress_folder(path, out, fsync=False)
            assert caught.value.file == str(path)
            assert os.listdir(tmp_path) == ["a"]
            with pytest.raises((TruncatedError, FormatError, CorruptError)):
                await engine.test(path)
            if cut < 512:
                continue
            report = await engine.decompress_folder(path, out, on_error="skip", fsync=False)
            assert report.damaged
            expected = {member.name: member.data for member in DAMAGED if member.kind == b"0"}
            for name, node in trees.look(out).items():
                if node.kind == "file" and name != b"h":
                    assert node.data == expected[name], cut
            shutil.rmtree(out)


@every_codec
async def test_damage_when_reading(codec: str, tmp_path: Path) -> None:
    """A member in a damaged frame is an error that names the archive; others are read."""
    data = hostile.indexed(DAMAGED, codec, frame=2048)
    path = tmp_path / "a"
    path.write_bytes(_damaged(data, _ends(data, codec), 0, "last byte"))
    async with two_threads() as engine, engine.open_archive(path) as archive:
        assert archive.is_indexed
        with pytest.raises(CorruptError) as caught:
            await archive.read("d/a")
        assert caught.value.file == str(path)
        assert await archive.read("z") == DAMAGED[-1].data


@every_codec
@pytest.mark.parametrize("frame", [MIB, 1024], ids=["one frame", "many"])
async def test_flipped_bits(frame: int, codec: str, tmp_path: Path) -> None:
    """One bit wrong: an error, or the same as without it; skipped, never wrong bytes."""
    members = [
        *(folder(b"d"), Member(b"d/f", data=b"hello" * 100), symlink(b"l", b"d/f")),
        *(hardlink(b"h", b"d/f"), Member(b"x" * 120, data=b"q" * 600), Member(b"empty")),
    ]
    data = hostile.indexed(members, codec, frame=frame)
    path, out = tmp_path / "a", tmp_path / "out"
    path.write_bytes(data)
    await unpack(path, out)
    whole = trees.look(out)
    shutil.rmtree(out)
    async with two_threads() as engine:
        for at in range(0, len(data), 11):
            path.write_bytes(_flipped(data, at))
            try:
                await engine.decompress_folder(path, out, fsync=False)
            except AiocompressError:
                assert os.listdir(tmp_path) == ["a"]
            else:
                assert trees.look(out) == whole, at
                shutil.rmtree(out)
            try:
                report = await engine.decompress_folder(path, out, fsync=False, on_error="skip")
            except FormatError:
                assert at < 4  # by which it is known
            else:
                found = trees.look(out)
                assert all(whole[name].data == node.data for name, node in found.items()), at
                assert report.damaged or found == whole
                shutil.rmtree(out)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


async def test_a_short_source(tmp_path: Path) -> None:
    """A source that becomes shorter than it said is an error, never a hang or wrong bytes."""
    data = hostile.indexed(DAMAGED, frame=2048)

    class Shrinking(Elsewhere):
        async def read_at(self, offset: int, size: int) -> bytes:
            part = await super().read_at(offset, size)
            if self.bytes_read > 3000:
                self._data = self._data[:4000]
            return part

    async with two_threads() as engine:
        with pytest.raises((CorruptError, TruncatedError)):
            async with engine.open_archive(Shrinking(data)) as archive:
                await archive.extract(tmp_path / "out", fsync=False)
    assert os.listdir(tmp_path) == []
    assert isinstance(archive, Archive)
