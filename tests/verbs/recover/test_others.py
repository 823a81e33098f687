"""``recover`` of archives by other writers, of plain files, and of malice."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import pytest

from aiocompress import Engine
from aiocompress.errors import CorruptError, FormatError, TruncatedError

from ...help.built import indexed_member
from ...help.data import noise, text
from ...help.tools import module, run, tool
from .bench import CHUNK, Bench, contents, make_tree, zeroed

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
        damaged = zeroed(data, offset, offset + 5)
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


async def test_a_damaged_name(engine: Engine, tmp_path: Path) -> None:
    """One bit of the only record of a pax header: no file gets the name without it."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "caf\xe9").write_bytes(b"x" * 100)
    (tmp_path / "tree" / "z").write_bytes(b"z" * 100)
    data = make_tar(tmp_path)
    assert b"caf?" in data
    bench = Bench(engine, tmp_path, data, ".tar")
    start = data.index(b" path=caf") - 2
    for at in range(start, start + 8):
        damaged = bytearray(data)
        damaged[at] ^= 1
        report = await bench.attempt(bytes(damaged))
        assert report is not None
        assert list(bench.back) == ["z"]
        assert "extended header is damaged, 'caf?'" in report.skipped[0]


async def test_only_folders_are_whole(engine: Engine, tmp_path: Path) -> None:
    """They are saved, and what is missing is named."""
    (tmp_path / "tree" / "a" / "b").mkdir(parents=True)
    (tmp_path / "tree" / "a" / "b" / "file").write_bytes(noise(9000))
    await engine.compress_folder(tmp_path / "tree", tmp_path / "x.tar.zst", CHUNK)
    data = bytearray((tmp_path / "x.tar.zst").read_bytes())
    data[6000] ^= 1
    (tmp_path / "x.tar.zst").write_bytes(data)
    report = await engine.recover(tmp_path / "x.tar.zst", tmp_path / "out")
    assert contents(tmp_path / "out") == {"a": None, "a/b": None}
    assert (report.files, report.skipped_count) == (0, 1)


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


@pytest.mark.parametrize("end", [0, 1, 27])
async def test_bgzf_without_its_end(engine: Engine, tmp_path: Path, end: int) -> None:
    """Nothing says that data is missing: all there is comes back, and the report says what is not.

    ``gzip -t`` accepts such a file where the end block is missing altogether.
    """
    data = _members_bgzf(text(30_000))
    block = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
    (tmp_path / "x.gz").write_bytes(data + block)
    report = await engine.recover(tmp_path / "x.gz", tmp_path / "whole")
    assert report.skipped_count == 0
    (tmp_path / "x.gz").write_bytes(data + block[:end])
    report = await engine.recover(tmp_path / "x.gz", tmp_path / "out")
    assert (tmp_path / "out" / "x").read_bytes() == text(30_000)
    assert "empty block at the end is missing" in report.skipped[0]
    with pytest.raises(TruncatedError, match="decompress_stream"):
        await engine.decompress_file(tmp_path / "x.gz", tmp_path / "y")


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
    """A file full of what looks like frames takes little processor time."""
    footer = b"\x01\0\0\0\x80\xb1\xea\x92\x8f"
    (tmp_path / "x.zst").write_bytes(b"x" + unit * (1_000_000 // len(unit)) + footer)
    begun = time.process_time()
    with pytest.raises((FormatError, CorruptError)):
        await engine.recover(tmp_path / "x.zst", tmp_path / "out")
    assert time.process_time() - begun < 20
