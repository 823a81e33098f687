"""Tars that were cut off, or zeroed, inside containers that are whole: never called whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aiocompress import AiocompressError, CorruptError, FormatError, TruncatedError

from ...help.archives import two_threads, unpack
from ...help.data import noise
from ...help.programs import ours
from ...help.tools import run, tool

COMPRESSORS = {"zstd": ["zstd", "-qc"], "gzip": ["gzip", "-c"], "ours": []}
SUFFIXES = {"zstd": ".zst", "gzip": ".gz", "ours": ".zst"}
every_compressor = pytest.mark.parametrize("compressor", COMPRESSORS)
BIG = 300_000
NO_END = r"without its end marker.*keep-going"


def compress(raw: bytes, compressor: str) -> bytes:
    """A container of another tool, or what our command line makes of its stdin."""
    if command := COMPRESSORS[compressor]:
        return run(tool(command[0]), *command[1:], data=raw)
    ended = ours("compress", "--chunk-size", "64K", data=raw)
    assert ended.returncode == 0
    return ended.stdout


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A tar of two files."""
    folder = tmp_path_factory.mktemp("big")
    for name in ("one", "two"):
        (folder / name).write_bytes(noise(BIG))
    return run(tool("tar"), "-C", folder, "-cf", "-", "one", "two")


SECOND = 512 + BIG + -BIG % 512
"""Where the second file begins."""
CUTS = {
    "in content": 100_000,
    "behind a member": SECOND,
    "in a header": SECOND + 100,
    "behind a header": SECOND + 512,
    "in padding": SECOND - 10,
}


async def check_cut(path: Path, error: type[AiocompressError]) -> None:
    """Neither ``test`` nor ``extract`` calls it whole."""
    async with two_threads() as engine:
        with pytest.raises(error) as caught:
            await engine.test(path)
        assert caught.value.file == str(path)
    with pytest.raises(error):
        await unpack(path, path.parent / "out")
    assert not (path.parent / "out").exists()
    assert ours("test", path).returncode == 2


class _Reader:
    """A stream without a name."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, size: int) -> bytes:
        data, self._data = self._data[:size], self._data[size:]
        return data


@every_compressor
@pytest.mark.parametrize("cut", CUTS)
async def test_a_cut_tar_in_a_whole_container(
    cut: str, compressor: str, raw: bytes, tmp_path: Path
) -> None:
    """``tar c big | head -c N | gzip``: a pipe whose writer died ends like any other."""
    path = tmp_path / f"x{SUFFIXES[compressor]}"
    path.write_bytes(compress(raw[: CUTS[cut]], compressor))
    await check_cut(path, TruncatedError)
    async with two_threads() as engine:
        with pytest.raises(TruncatedError):
            await engine.test(_Reader(path.read_bytes()))
        path.write_bytes(compress(raw, compressor))
        report = await engine.test(path)
        assert (report.files, report.raw_bytes, report.warnings) == (2, len(raw), ())
        report = await engine.test(_Reader(path.read_bytes()))
        assert (report.files, report.raw_bytes, report.warnings) == (2, len(raw), ())


@every_compressor
async def test_what_is_left_of_it(compressor: str, raw: bytes, tmp_path: Path) -> None:
    """On request the members that are whole are restored, and the report says what is not."""
    path = tmp_path / f"x{SUFFIXES[compressor]}"
    path.write_bytes(compress(raw[: SECOND + 1000], compressor))
    report = await unpack(path, tmp_path / "out", on_error="skip")
    assert os.listdir(tmp_path / "out") == ["one"]
    assert report.damaged == len(report.skipped) == 2
    assert "cut off in 'two'" in report.skipped[0]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
async def test_no_end_marker(suffix: str, raw: bytes, tmp_path: Path) -> None:
    """The last member may be the last one, or not: an error, which says how to get them all."""
    path, cut = tmp_path / f"x{suffix}", raw.rstrip(b"\0")
    cut += bytes(-len(cut) % 512)
    path.write_bytes(compress(cut, "gzip") if suffix == ".tar.gz" else cut)
    async with two_threads() as engine:
        with pytest.raises(TruncatedError, match=NO_END):
            await engine.test(path)
    with pytest.raises(TruncatedError, match=NO_END):
        await unpack(path, tmp_path / "out")
    report = await unpack(path, tmp_path / "out", on_error="skip")
    assert sorted(os.listdir(tmp_path / "out")) == ["one", "two"]
    assert (tmp_path / "out/two").read_bytes() == noise(BIG)
    assert (report.damaged, len(report.skipped)) == (1, 1)
    ended = ours("extract", "--keep-going", path, "-o", tmp_path / "cli")
    assert ended.returncode == 2
    assert b"ends without its end marker" in ended.stderr
    assert sorted(os.listdir(tmp_path / "cli")) == ["one", "two"]


@pytest.mark.parametrize("size", [512, 10_240, 100_000, 3 << 20])
async def test_zeros_with_the_name_of_an_archive(size: int, tmp_path: Path) -> None:
    """What a crash has left of a file is no archive; a record of zeros may be an empty one."""
    path = tmp_path / "x.tar.zst"
    path.write_bytes(bytes(size))
    await check_cut(path, FormatError)
    path.write_bytes(compress(bytes(size), "zstd"))
    plain = tmp_path / "x.tar"
    plain.write_bytes(bytes(size))
    if size > 10_240:
        for archive in (path, plain):
            with pytest.raises(CorruptError, match="nothing but zeros"):
                await unpack(archive, tmp_path / "out")
            async with two_threads() as engine:
                with pytest.raises(CorruptError, match="nothing but zeros"):
                    await engine.test(archive)
        assert ours("test", "-", data=bytes(size)).returncode == 2
    else:
        for number, archive in enumerate((path, plain)):
            assert (await unpack(archive, tmp_path / f"out{number}")).files == 0
            async with two_threads() as engine:
                assert (await engine.test(archive)).files == 0


@pytest.mark.parametrize("suffix", [".tar", ".tar.zst", ".tar.gz"])
async def test_nothing_at_all(suffix: str, tmp_path: Path) -> None:
    """An empty file is no archive, nor is a container of nothing."""
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"")
    await check_cut(path, AiocompressError)
    if suffix != ".tar":
        path.write_bytes(compress(b"", "zstd"))
        await check_cut(path, TruncatedError)


@pytest.mark.parametrize("data", [b"", bytes(100), bytes(2000), b"text" * 200, noise(300_000)])
async def test_what_is_no_tar(data: bytes, tmp_path: Path) -> None:
    """It is a file, and whole; unless its name says that it is an archive."""
    for name in ("x.zst", "x.tar.zst"):
        path = tmp_path / name
        path.write_bytes(compress(data, "zstd"))
        async with two_threads() as engine:
            assert (await engine.test(_Reader(path.read_bytes()))).raw_bytes == len(data)
            if name == "x.zst":
                report = await engine.test(path)
                assert (report.files, report.raw_bytes) == (1, len(data))
            elif data != bytes(2000):
                with pytest.raises(AiocompressError) as caught:
                    await engine.test(path)
                assert caught.value.file == str(path)
