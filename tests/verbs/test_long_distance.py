"""Repeats that are far apart are found, within the memory limit; and any zstd reads the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiocompress import Engine, LimitError, TruncatedError, compress_file, sync

from ..help.archives import two_threads
from ..help.data import noise
from ..help.programs import done, failed
from ..help.tools import run, tool

MIB = 1 << 20
DATA = noise(6 * MIB) * 2
LONG: dict[str, Any] = {"long_distance": True, "fsync": False}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file whose halves are the same, further apart than a frame is long."""
    (tmp_path / "data").write_bytes(DATA)
    return tmp_path / "data"


async def test_repeats_are_found(path: Path) -> None:
    """Once: by every executor and number of workers in the same bytes, which zstd decodes."""
    made = set()
    for number, executor in ((1, "thread"), (2, "process"), (3, "thread")):
        async with Engine(number, executor=executor) as engine:
            to = path.with_name(f"{number}.zst")
            await engine.compress_file(path, to, **LONG)
            async with engine.compress_stream(path, long_distance=True) as stream:
                assert b"".join([piece async for piece in stream]) == to.read_bytes()
            made.add(to.read_bytes())
    (data,) = made
    assert len(data) < 7 * MIB
    assert run(tool("zstd"), "-dc", data=data) == DATA
    assert sync.decompress(data) == DATA


async def test_archives(path: Path) -> None:
    """An archive is indexed, and its members are read and extracted."""
    tree, packed = path.with_name("tree"), path.with_name("a.tar.zst")
    for name in ("a", "b"):
        (tree / name).mkdir(parents=True)
        (tree / name / "same").write_bytes(DATA[: 6 * MIB])
    async with two_threads() as engine:
        await engine.compress_folder(tree, packed, **LONG)
        assert packed.stat().st_size < 7 * MIB
        async with engine.open_archive(packed) as archive:
            assert archive.is_indexed
            assert await archive.read("b/same") == DATA[: 6 * MIB]
            assert [one async for one in archive.diff(tree)] == []


async def test_a_cut_between_frames_shows(path: Path) -> None:
    """The first frame has its mark: 4 frames without the others are no whole file."""
    await compress_file(path, path.with_name("a.zst"), MIB, **LONG)
    data = path.with_name("a.zst").read_bytes()
    assert run(tool("zstd"), "-dc", data=data) == DATA
    at = 0
    for _ in range(4):
        at = data.index(b"\x28\xb5\x2f\xfd", at + MIB // 2)
    with pytest.raises(TruncatedError, match="between two"):
        sync.decompress(data[:at])


@pytest.mark.parametrize("level", [1, 12])
async def test_levels(level: int, path: Path) -> None:
    """Other levels find them, too."""
    async with two_threads() as engine:
        options = LONG | {"compression_level": level}
        await engine.compress_file(path, path.with_name("a.zst"), 12 * MIB, **options)
    assert path.with_name("a.zst").stat().st_size < 7 * MIB
    assert run(tool("zstd"), "-dc", path.with_name("a.zst")) == DATA


async def test_memory(path: Path) -> None:
    """Where one chunk does not fit, an error says what it needs; a smaller chunk may."""
    with path.open("r+b") as file:
        file.truncate(130 * MIB)
    async with Engine(2, "64MiB", executor="thread") as engine:
        with pytest.raises(LimitError, match=r"needs \d+ bytes of memory, the limit is 67108864"):
            await engine.compress_file(path, path.with_name("a.zst"), **LONG)
        assert not path.with_name("a.zst").exists()
        await engine.compress_file(path, path.with_name("a.zst"), "16MiB", **LONG)
        assert engine.statistics().memory_peak <= 64 * MIB


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "gzip": ({"codec": "gzip"}, "long_distance is for zstd"),
    "a level for speed": ({"compression_level": 0}, "from 1 on"),
    "a larger chunk": ({"chunk_size": "129MiB"}, "at most 134217728"),
    "a single frame": ({"single": True}, "browsers"),
}


@pytest.mark.parametrize(("options", "reason"), REFUSED.values(), ids=REFUSED)
async def test_refused(options: dict[str, Any], reason: str, path: Path) -> None:
    """What cannot be is an error, and so are trees of files."""
    async with two_threads() as engine:
        with pytest.raises(ValueError, match=reason):
            engine.compress_stream(b"", long_distance=True, **options)
        with pytest.raises(ValueError, match="for archives, not for the layout 'mirror'"):
            await engine.compress_folder(path.parent, path.with_name("out"), **LONG)


def test_the_command_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--long` does it; with `-d`, as `tar -I` calls it, it does nothing."""
    monkeypatch.chdir(path.parent)
    done("compress", "-q", "--long", "data")
    assert Path("data.zst").stat().st_size < 7 * MIB
    assert done("compress", "-d", "--long", "-c", "data.zst") == DATA
    failed("compress", "--long", "-o", "data.gz", "data", naming="--long is for zstd")
