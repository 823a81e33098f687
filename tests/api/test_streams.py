"""Streams: every kind of source, and an end that gives everything back."""

# They look at files, and wait for what has no event:
# ruff: noqa: ASYNC110, PT012

from __future__ import annotations

import array
import asyncio
import gc
import io
import mmap
import os
import tarfile
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zstandard

import aiocompress
from aiocompress import ClosedError, CorruptError, Engine, FormatError

from ..help.data import noise, text
from ..help.engines import given_back

KIB = 1 << 10
TEXT = text(100 * KIB)
CHUNK = 16 * KIB


async def _pieces(data: bytes, size: int = 3000) -> AsyncIterator[Any]:
    kinds = (bytes, bytearray, memoryview, lambda part: memoryview(part).cast("c"))
    for number, start in enumerate(range(0, len(data), size)):
        yield kinds[number % 4](data[start : start + size])
        yield b""


async def _all(stream: aiocompress.ByteStream) -> bytes:
    async with stream:
        parts = [data async for data in stream]
    assert all(type(part) is bytes and part for part in parts)
    return b"".join(parts)


class Reader:
    """An object with ``async read(n)``; iterating it would go wrong."""

    def __init__(self, data: bytes) -> None:
        self._file, self.most = io.BytesIO(data), 0

    async def read(self, size: int) -> bytes:
        self.most = max(self.most, size)
        return self._file.read(min(size, 7001))

    def __aiter__(self) -> Any:
        raise AssertionError("read(n) wins over iteration")


def _stream_reader(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


def _file(data: bytes, folder: Path) -> Path:
    path = folder / "file"
    path.write_bytes(data)
    return path


class Plain:
    """An object with a plain ``read(n)``, and nothing else of a file."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, 7001))


class Awaitable:
    """A plain ``read(n)`` that returns something to await."""

    def __init__(self, data: bytes) -> None:
        self._reader = Reader(data)

    def read(self, size: int) -> Any:
        return self._reader.read(size)


def _refilled(data: bytes, size: int = 3000) -> Iterator[memoryview]:
    """One buffer, filled again and again."""
    file, buffer = io.BytesIO(data), memoryview(bytearray(size))
    while taken := file.readinto(buffer):
        yield buffer[:taken]


def _words(data: bytes, _: Path) -> Any:
    padded = data + bytes(-len(data) % 4)
    return array.array("I", padded) if padded == data else memoryview(data)


FILES = ExitStack()


def _opened(data: bytes, folder: Path, buffering: int) -> Any:
    return FILES.enter_context(_file(data, folder).open("rb", buffering))


def _mapped(data: bytes) -> Any:
    mapping = mmap.mmap(-1, len(data)) if data else io.BytesIO()
    mapping.write(data)
    mapping.seek(0)
    return mapping


SOURCES: dict[str, Any] = {
    "str": lambda data, folder: str(_file(data, folder)),
    "path": _file,
    "bytes": lambda data, _: data,
    "bytearray": lambda data, _: bytearray(data),
    "memoryview": lambda data, _: memoryview(data),
    "array": _words,
    "async read": lambda data, _: Reader(data),
    "async iterable": lambda data, _: _pieces(data),
    "StreamReader": lambda data, _: _stream_reader(data),
    "plain read": lambda data, _: Plain(data),
    "read that is awaited": lambda data, _: Awaitable(data),
    "BytesIO": lambda data, _: io.BytesIO(data),
    "file": lambda data, folder: _opened(data, folder, -1),
    "unbuffered file": lambda data, folder: _opened(data, folder, 0),
    "generator": lambda data, _: _refilled(data),
    "lines": lambda data, _: (line for line in io.BytesIO(data)),
    "list of bytes": lambda data, _: [data[:1], b"", bytearray(data[1:5000]), data[5000:]],
    "mmap": lambda data, _: _mapped(data),
}


@pytest.mark.parametrize("kind", SOURCES)
async def test_sources(kind: str, tmp_path: Path) -> None:
    """The same bytes come out of every kind, and go back in as every kind."""
    async with Engine(2, executor="thread") as engine:
        expected = await _all(engine.compress_stream(TEXT, chunk_size=CHUNK))
        make = SOURCES[kind]
        stream = engine.compress_stream(make(TEXT, tmp_path), chunk_size=CHUNK)
        assert await _all(stream) == expected
        assert await _all(engine.decompress_stream(make(expected, tmp_path))) == TEXT
        assert (await engine.test(make(expected, tmp_path))).raw_bytes == len(TEXT)
        await engine.compress_file(make(b"", tmp_path), tmp_path / "empty.zst")
        assert await engine.decompress((tmp_path / "empty.zst").read_bytes()) == b""
    FILES.close()


async def test_a_named_pipe(tmp_path: Path) -> None:
    """A FIFO is waited for, and read to its end."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with Engine(1, executor="thread") as engine:
        reading = asyncio.create_task(_all(engine.compress_stream(fifo, chunk_size=CHUNK)))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(fifo.write_bytes, TEXT)
        assert await engine.decompress(await reading) == TEXT


async def test_a_folder(tmp_path: Path) -> None:
    """A folder is a tar on the way out, and an error that says so on the way back."""
    (tmp_path / "file").write_bytes(TEXT)
    async with Engine(1, executor="thread") as engine:
        raw = await engine.decompress(await _all(engine.compress_stream(tmp_path)))
        with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
            member = archive.extractfile("file")
            assert member is not None
            assert member.read() == TEXT
        with pytest.raises(FormatError, match="folder") as caught:
            await _all(engine.decompress_stream(tmp_path))
        assert caught.value.file == str(tmp_path)


@pytest.mark.parametrize("source", [5, None, object()], ids=type)
async def test_what_is_no_source(source: Any) -> None:
    """The error says what is wanted."""
    async with Engine(1, executor="thread") as engine:
        for make in (engine.compress_stream, engine.decompress_stream):
            with pytest.raises(TypeError, match="async"):
                await _all(make(source))
        assert engine.statistics().slots_in_use == 0


@pytest.mark.parametrize("part", ["text", 5, None, [1]])
async def test_sources_that_yield_no_bytes(part: Any) -> None:
    """It is a TypeError, not something that gets compressed."""

    async def source() -> AsyncIterator[Any]:
        yield b"good"
        yield part

    async with Engine(1, executor="thread") as engine:
        with pytest.raises(TypeError):
            await _all(engine.compress_stream(source()))
        with pytest.raises(TypeError):
            await _all(engine.compress_stream(iter([b"good", part])))
        await given_back(engine)


async def test_text_files(tmp_path: Path) -> None:
    """A file opened as text gives no bytes."""
    with (
        _file(TEXT, tmp_path).open(encoding="latin-1") as file,
        pytest.raises(TypeError, match="str"),
    ):
        await _all(aiocompress.compress_stream(file))


@pytest.mark.parametrize("kind", ["async", "plain", "read"])
async def test_a_source_that_fails(kind: str) -> None:
    """Its own error goes out as it is, both ways."""

    async def source() -> AsyncIterator[bytes]:
        yield TEXT
        raise KeyError("mine")

    def plain() -> Iterator[bytes]:
        yield TEXT
        raise KeyError("mine")

    class Failing:
        def read(self, _: int) -> bytes:
            raise KeyError("mine")

    kinds: dict[str, Any] = {"async": source, "plain": plain, "read": Failing}
    async with Engine(2, executor="thread") as engine:
        for make in (engine.compress_stream, engine.decompress_stream):
            with pytest.raises((KeyError, FormatError)):
                await _all(make(kinds[kind]()))
        await given_back(engine)


# Their end.


async def _settled(engine: Engine, tasks: set[asyncio.Task[Any]]) -> None:
    async with asyncio.timeout(5):
        while engine.statistics().slots_in_use or asyncio.all_tasks() - tasks:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("how", ["end", "error", "cancel", "aclose", "break", "never begun"])
async def test_an_end_gives_everything_back(how: str) -> None:
    """Slots, tasks and sources, whichever way it ended."""
    closed = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        try:
            yield TEXT
            if how == "error":
                raise KeyError("mine")
            if how in {"cancel", "aclose", "break"}:
                await asyncio.sleep(3600)
        finally:
            closed.set()

    async with Engine(2, executor="thread") as engine:
        tasks = asyncio.all_tasks()
        stream = engine.compress_stream(source(), chunk_size=CHUNK)
        if how == "cancel":
            task = asyncio.create_task(_all(stream))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        elif how == "error":
            with pytest.raises(KeyError):
                await _all(stream)
        elif how == "end":
            assert await engine.decompress(await _all(stream)) == TEXT
        elif how == "never begun":
            await stream.aclose()
            closed.set()
        else:
            async with stream:
                async for _ in stream:
                    break
        await _settled(engine, tasks)
        if how != "never begun":
            await asyncio.wait_for(closed.wait(), 1)
        await stream.aclose()
        with pytest.raises(ClosedError if how != "ignored" else ()):
            await anext(stream)


async def test_an_exhausted_stream_stays_exhausted() -> None:
    """As every iterator does."""
    async with Engine(1, executor="thread") as engine:
        stream = engine.compress_stream(TEXT)
        assert [data async for data in stream]
        assert [data async for data in stream] == []
        await stream.aclose()


async def test_good_bytes_come_before_an_error() -> None:
    """What is checked is given out; then the error."""
    async with Engine(1, executor="thread") as engine:
        packed = await _all(engine.compress_stream(TEXT, chunk_size=CHUNK))
        seen = bytearray()
        with pytest.raises(CorruptError) as caught:
            async for data in engine.decompress_stream(_pieces(packed[: len(packed) // 2])):
                seen += data
        assert TEXT.startswith(seen)
        assert len(seen) >= CHUNK
        assert caught.value.offset


async def test_a_slow_consumer_holds_bounded_memory() -> None:
    """The way back reads no further than a window ahead either."""
    pulled = 0
    data = noise(2 << 20)

    async with Engine(2, executor="thread") as engine:
        packed = await _all(engine.compress_stream(data, chunk_size=CHUNK))

        async def source() -> AsyncIterator[bytes]:
            nonlocal pulled
            for start in range(0, len(packed), CHUNK):
                pulled += CHUNK
                yield packed[start : start + CHUNK]

        async with engine.decompress_stream(source()) as stream:
            taken = len(await anext(stream))
            await asyncio.sleep(0.1)
            assert pulled <= taken + (engine.statistics().slots_total + 3) * max(taken, CHUNK)
            await given_back(engine)


class Stuck:
    """Bytes whose rest never comes."""

    def __init__(self, data: bytes) -> None:
        self._file, self.reached = io.BytesIO(data), asyncio.Event()

    async def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if not data:
            self.reached.set()
            await asyncio.Event().wait()
        return data


@pytest.mark.parametrize("way", ["compress_stream", "decompress_stream", "open"])
async def test_cancelled_in_the_middle(way: str) -> None:
    """What was ready is freed at once: nothing waits for the garbage collector."""
    packed = b"".join(zstandard.compress(noise(1 << 20)) for _ in range(3))

    async def read(source: Stuck) -> None:
        async with getattr(engine, way)(source) as file:
            while await file.read(1000):
                pass

    async with Engine(executor="thread") as engine:
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            for _ in range(6):
                source = Stuck(packed)
                task = asyncio.create_task(read(source))
                await source.reached.wait()
                await asyncio.sleep(0.02)
                task.cancel()
                await asyncio.wait([task])
            del source, task
            assert tracemalloc.get_traced_memory()[0] < 1 << 20
        finally:
            tracemalloc.stop()
            gc.enable()
