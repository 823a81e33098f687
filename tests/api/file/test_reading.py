"""Files that are read: like ``io`` reads the plain data, whatever the calls."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aiocompress
from aiocompress import AiocompressError, ClosedError, CorruptError, FormatError, TruncatedError

from ...help.data import noise
from .sample import DATA, FOREIGN, LINES, every_suffix, plain, write


@every_suffix
async def test_lines(suffix: str, tmp_path: Path) -> None:
    """All ways to read lines give the same ones."""
    path = await write(tmp_path / f"a{suffix}")
    async with aiocompress.open(path) as file:
        assert [line async for line in file] == LINES
        assert await file.readline() == b"" == await file.read() == await file.peek()
    async with aiocompress.open(path) as file:
        assert await anext(file) == LINES[0]
        assert await file.readlines(100) == LINES[1:3]
        assert await file.readlines() == LINES[3:]
    async with aiocompress.open(path) as file:
        for line in LINES:
            assert await file.readline() == line


@every_suffix
async def test_a_few_lines(suffix: str, tmp_path: Path) -> None:
    """``readlines`` stops where that of ``io`` does."""
    path = await write(tmp_path / f"a{suffix}")
    for hint in (1, len(LINES[0]), len(LINES[0]) + 1, 1000, 200_000):
        async with aiocompress.open(path) as file:
            assert await file.readlines(hint) == plain().readlines(hint)


@every_suffix
async def test_a_short_way_back(suffix: str, tmp_path: Path) -> None:
    """After a read through several frames, the bytes before the position are those of the last."""
    async with aiocompress.open(await write(tmp_path / f"a{suffix}")) as file:
        await file.read(10)
        await file.read()
        await file.seek(-9, io.SEEK_CUR)
        assert await file.read() == DATA[-9:]


@every_suffix
async def test_bytes(suffix: str, tmp_path: Path) -> None:
    """All ways to read bytes give the same ones."""
    path = await write(tmp_path / f"a{suffix}")
    async with aiocompress.open(path) as file:
        assert (file.readable(), file.writable(), file.seekable()) == (True, False, True)
        assert (await file.peek(1))[:9] == DATA[:9]
        room = bytearray(1000)
        assert await file.readinto(room) == 1000
        assert room == DATA[:1000]
        assert await file.read(0) == b"" == await file.read1(0)
        some = await file.read1(70_000)
        assert 0 < len(some) <= 70_000
        assert some + await file.readall() == DATA[1000:]
        assert await file.readinto(room) == 0
    async with aiocompress.open(path) as file:
        assert await file.read() == DATA


CALLS = st.one_of(
    st.tuples(st.sampled_from(["read", "readline", "skip"]), st.integers(-1, 200_000)),
    st.tuples(st.just("seek"), st.integers(0, len(DATA) + 9)),
    st.tuples(st.just("back"), st.integers(0, len(DATA))),
    st.tuples(st.just("near"), st.integers(-99, 99)),
    st.tuples(st.just("lines"), st.integers(1, 50)),
)


@pytest.fixture(scope="module")
def many(tmp_path_factory: Any) -> dict[str, Path]:
    """The same data in files of every kind."""
    folder = tmp_path_factory.mktemp("many")
    paths = {}
    for kind, made in FOREIGN.items():
        paths[kind] = folder / kind
        paths[kind].write_bytes(made(DATA))
    for suffix in (".zst", ".gz"):
        path = paths[suffix] = folder / f"a{suffix}"
        asyncio.run(write(path, DATA[:300_000]))
        asyncio.run(write(path, DATA[300_000:], "ab"))
    return paths


@pytest.mark.parametrize("kind", [*FOREIGN, ".zst", ".gz"])
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(calls=st.lists(CALLS, max_size=12))
def test_any_calls(kind: str, many: dict[str, Path], calls: list[tuple[str, int]]) -> None:
    """In any order, they do what they do to a plain file."""
    asyncio.run(_compare(many[kind], calls))


async def _compare(path: Path, calls: list[tuple[str, int]]) -> None:
    plain = io.BytesIO(DATA)
    async with aiocompress.open(path) as file:
        for name, size in calls:
            if name == "lines":
                async for line in file:
                    assert line == plain.readline()
                    assert await file.tell() == plain.tell()
                    if not (size := size - 1):
                        break
            elif name == "seek":
                assert await file.seek(size) == plain.seek(size)
            elif name == "back":
                assert await file.seek(-size, io.SEEK_END) == plain.seek(-size, io.SEEK_END)
            elif name == "near":
                near = max(0, plain.tell() + size)
                assert await file.seek(near) == plain.seek(near)
            elif name == "skip":
                assert await file.seek(abs(size), io.SEEK_CUR) == plain.seek(size, io.SEEK_CUR) or (
                    size < 0
                )
                plain.seek(await file.tell())
            else:
                assert await getattr(file, name)(size) == getattr(plain, name)(size)
            assert await file.tell() == plain.tell()


class Store:
    """An object in a store."""

    def __init__(self, data: bytes) -> None:
        self.data, self.asked = data, 0

    async def size(self) -> int:
        return len(self.data)

    async def read_at(self, offset: int, size: int) -> bytes:
        self.asked += size
        return self.data[offset : offset + size]


async def test_an_object(tmp_path: Path) -> None:
    """It is asked for what is read, and for the end that says where that is."""
    data = noise(12 << 20)
    path = await write(tmp_path / "a.zst", data, frames=24)
    store = Store(path.read_bytes())
    async with aiocompress.open(store) as file:
        await file.seek(9 << 20)
        assert await file.read(100) == data[9 << 20 : (9 << 20) + 100]
    assert store.asked < 6 << 20


async def test_what_can_be_read_once(tmp_path: Path) -> None:
    """A pipe, an iterable: forward only."""
    path = await write(tmp_path / "a.zst")

    async def pieces() -> Any:
        yield path.read_bytes()

    reading, writing = os.pipe()
    os.write(writing, zstandard.compress(b"in a pipe"))
    os.close(writing)
    async with aiocompress.open(reading) as file:
        assert await file.read() == b"in a pipe"
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(reading)
    async with aiocompress.open(pieces()) as file:
        assert not file.seekable()
        assert await file.readline() == LINES[0]
        for call in (file.seek(0), file.seek(0, io.SEEK_END)):
            with pytest.raises(io.UnsupportedOperation, match="only once"):
                await call
        assert await file.read() == DATA[len(LINES[0]) :]
        assert await file.read() == b""

    async def broken() -> Any:
        yield path.read_bytes()[:-9]
        raise ZeroDivisionError

    async with aiocompress.open(broken()) as file:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await file.read()
        assert await file.readline() == LINES[0]


async def test_a_descriptor(tmp_path: Path) -> None:
    """It is read from where it is, and closed with the file."""
    path = await write(tmp_path / "a.zst")
    path.write_bytes(b"head" + path.read_bytes())
    descriptor = os.open(path, os.O_RDONLY)
    os.read(descriptor, 4)
    async with aiocompress.open(descriptor) as file:
        assert await file.seek(-4, io.SEEK_END) == len(DATA) - 4
        await file.seek(0)
        assert await file.read() == DATA
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(descriptor)


async def test_a_table_that_lies(tmp_path: Path) -> None:
    """Its places do not count: what is read is what the frames hold."""
    data = noise(11 << 20)
    path = await write(tmp_path / "a.zst", data, frames=11)
    whole = bytearray(path.read_bytes())
    at = len(whole) - 9 - 11 * 12
    raw = int.from_bytes(whole[at + 4 : at + 8], "little")
    whole[at + 4 : at + 8] = (raw - 1000).to_bytes(4, "little")
    whole[at + 16 : at + 20] = (raw + 1000).to_bytes(4, "little")
    path.write_bytes(whole)
    async with aiocompress.open(path) as file:
        for offset in (9 << 20, 5 << 20, 2 << 20):
            await file.seek(offset)
            assert await file.read(999) == data[offset : offset + 999]


@every_suffix
async def test_cut_off(suffix: str, tmp_path: Path) -> None:
    """What is before the cut can be read, and the error says what is wrong, each time."""
    path = await write(tmp_path / f"a{suffix}", DATA[:9000])
    whole = path.read_bytes()
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        got: list[bytes] = []
        async with aiocompress.open(path) as file:
            for _ in range(2):
                with pytest.raises(TruncatedError, match=str(path)):
                    await _gather(file, got)
                with pytest.raises(TruncatedError):
                    await file.read()
        assert DATA.startswith(b"".join(got))


async def _gather(file: aiocompress.AsyncFile[bytes], got: list[bytes]) -> None:
    while data := await file.read1(100):
        got.append(data)


async def test_damaged(tmp_path: Path) -> None:
    """The frames before the damage are read; it says where it is, and others are found."""
    data = noise(12 << 20)
    path = await write(tmp_path / "a.zst", data, frames=12)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    async with aiocompress.open(path) as file:
        assert await file.read(5 << 20) == data[: 5 << 20]
        with pytest.raises(CorruptError, match="at byte"):
            await file.read()
        assert await file.tell() == 5 << 20
        await file.seek(10 << 20)
        assert await file.read() == data[10 << 20 :]


async def test_not_compressed(tmp_path: Path) -> None:
    """It says so when it is read."""
    path = tmp_path / "a.zst"
    path.write_bytes(b"plain text, and more of it")
    async with aiocompress.open(path) as file:
        with pytest.raises(FormatError, match="not compressed"):
            await file.read()
    with pytest.raises(IsADirectoryError):
        await aiocompress.open(tmp_path)
    with pytest.raises(FileNotFoundError):
        await aiocompress.open(tmp_path / "none")


async def test_states(tmp_path: Path) -> None:
    """Not open, open by await, closed, and in use by another task."""
    path = await write(tmp_path / "a.zst")
    file = aiocompress.open(path)
    with pytest.raises(ClosedError, match="not open"):
        await file.read()
    assert await file is file
    assert (file.name, file.mode, file.closed) == (str(path), "rb", False)
    with pytest.raises(io.UnsupportedOperation, match="mode 'rb'"):
        await file.write(b"a")
    results = await asyncio.gather(file.read(), file.read(), return_exceptions=True)
    assert results[0] == DATA
    assert isinstance(results[1], AiocompressError)
    await file.close()
    await file.aclose()
    assert file.closed
    for call in (file.read(), file.readline(), file.seek(0), file.tell(), file.peek()):
        with pytest.raises(ValueError, match="closed"):
            await call
    with pytest.raises(ClosedError):
        await file


async def test_cancelled(tmp_path: Path) -> None:
    """A read that was cancelled may be tried again; nothing is lost."""
    path = await write(tmp_path / "a.zst")
    async with aiocompress.open(path) as file:
        assert await file.read(10) == DATA[:10]
        for _ in range(5):
            task = asyncio.ensure_future(file.read())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await file.read() == DATA[10:]
