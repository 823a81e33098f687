"""Large files, of which several chunks are read at once, in the order of their offsets."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiocompress import Engine, decompress_file

from ..help.data import noise, text
from ..help.programs import descriptors

KIB = 1 << 10
CHUNK = 16 * KIB


class Reads:
    """``os.preadv`` as it is, but that something happens to real files before a read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._preadv, self._events = os.preadv, dict[int, Callable[[], object]]()
        monkeypatch.setattr(os, "preadv", self._read)

    def on(self, offset: int, event: Callable[[], object]) -> None:
        """Have something happen before anything is read at an offset."""
        self._events[offset] = event

    def _read(self, descriptor: int, buffers: Any, offset: int) -> int:
        self._events.pop(offset, lambda: None)()
        return self._preadv(descriptor, buffers, offset)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


async def pack(source: Path, path: Path, workers: int = 2) -> int:
    """Compress a file; returns how many frames that took."""
    async with Engine(workers, executor="thread") as engine:
        report = await engine.compress_file(source, path, CHUNK, fsync=False, on_exists="replace")
        assert engine.statistics().slots_in_use == 0
        return report.frames


async def raw(path: Path) -> bytes:
    """Return what was compressed."""
    await decompress_file(path, path.with_suffix(".raw"), fsync=False)
    with path.with_suffix(".raw").open("rb") as file:
        return file.read()


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("chunks", [1, 2, 5, 9])
async def test_the_same_bytes(chunks: int, more: int, tmp_path: Path) -> None:
    """As from memory, where one chunk is read after another, for any number of workers."""
    data = text(chunks * CHUNK + more)
    source, path = tmp_path / "source", tmp_path / "a.zst"
    source.write_bytes(data)
    async with Engine(2, executor="thread") as engine:
        expected = await engine.compress_stream(data, chunk_size=CHUNK).read()
    for workers in (1, 2, 7):
        assert await pack(source, path, workers) == -(-len(data) // CHUNK)
        assert path.read_bytes() == expected


async def test_reads_wait_for_each_other(reads: Reads, tmp_path: Path) -> None:
    """The first read ends only when the second one has begun, so both are under way at once."""
    source, second = tmp_path / "source", threading.Event()
    source.write_bytes(text(6 * CHUNK))
    reads.on(0, lambda: second.wait(20) or pytest.fail("nothing else is read"))
    reads.on(CHUNK, second.set)
    await pack(source, tmp_path / "a.zst")
    assert await raw(tmp_path / "a.zst") == text(6 * CHUNK)


@pytest.mark.parametrize("more", [1, CHUNK, 5 * CHUNK + 7])
@pytest.mark.parametrize("size", [4 * CHUNK - 1, 4 * CHUNK])
async def test_grows(size: int, more: int, reads: Reads, tmp_path: Path) -> None:
    """A file is read to the end that it has by then, as ``cat`` does."""
    source = tmp_path / "source"
    source.write_bytes(text(size))

    def grow() -> None:
        with source.open("ab") as file:
            file.write(noise(more))

    reads.on(0, grow)
    await pack(source, tmp_path / "a.zst", 1)
    assert await raw(tmp_path / "a.zst") == text(size) + noise(more)


@pytest.mark.parametrize("to", [0, 1, CHUNK, 3 * CHUNK, 3 * CHUNK + 5])
async def test_shrinks(to: int, reads: Reads, tmp_path: Path) -> None:
    """What was read of a file is compressed, without a gap, though other reads are under way."""
    source = tmp_path / "source"
    source.write_bytes(text(8 * CHUNK))
    reads.on(min(to // CHUNK, 1) * CHUNK, lambda: os.truncate(source, to))
    await pack(source, tmp_path / "a.zst", 1)
    found = await raw(tmp_path / "a.zst")
    assert found == text(8 * CHUNK)[: len(found)]
    assert to <= len(found) <= max(to, 4 * CHUNK)


def _fail() -> None:
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize("at", [0, 3, 7])
async def test_read_errors(at: int, reads: Reads, tmp_path: Path) -> None:
    """The error names the file; nothing is left, of the result and of the other reads."""
    source = tmp_path / "source"
    source.write_bytes(text(8 * CHUNK))
    before = descriptors()
    reads.on(at * CHUNK, _fail)
    with pytest.raises(OSError, match="Input/output") as caught:
        await pack(source, tmp_path / "a.zst")
    assert caught.value.filename == str(source)
    assert os.listdir(tmp_path) == ["source"]
    assert descriptors() == before
