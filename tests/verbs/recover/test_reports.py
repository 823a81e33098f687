"""What ``recover`` says is missing, and what it keeps of it."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from aiocompress import Engine
from aiocompress.errors import CorruptError, FormatError

from ...help.data import noise, text
from ...help.programs import done, failed, ours
from .bench import CHUNK, Bench, contents, zeroed


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
    report = await bench.attempt(zeroed(bench.data, start, end))
    assert report is not None
    said = " ".join(report.skipped)
    lost = {name for name in names if isinstance(bench.tree[name], bytes) and bench.tree[name]}
    assert all(name in said for name in lost)
    assert "zlink: a hard link to something other than an extracted file" in said


async def test_what_has_no_content_comes_from_the_index(bench: Bench) -> None:
    """Folders, links and empty files of a lost frame: the index says all that there is to say."""
    for start, end, _ in bench.frames[:-1]:
        assert await bench.attempt(zeroed(bench.data, start, end))
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
