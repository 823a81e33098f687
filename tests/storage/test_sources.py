"""Sources: the same bytes from wherever they come, read in whatever parts."""

# Small files are opened where they are used:
# ruff: noqa: ASYNC230

from __future__ import annotations

import asyncio
import io
import os
import tempfile
import threading
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress.errors import ClosedError, CorruptError, FormatError
from aiocompress.model import KIB, Buffer
from aiocompress.storage.base import AsyncReader, OpenedSource, Positional
from aiocompress.storage.pipes import PipeSource
from aiocompress.storage.sources import PositionalSource, opened
from aiocompress.workers.pool import WorkerPool

from .helping import descriptors


class Reader:
    """An ``AsyncReader`` that gives at most so much at once."""

    def __init__(self, data: bytes, most: int = 1 << 30) -> None:
        self.data, self.most = data, most

    async def read(self, size: int, /) -> bytes:
        assert size > 0
        size = min(size, self.most)
        data, self.data = self.data[:size], self.data[size:]
        return data


class Store:
    """A ``Positional``."""

    name = "store:object"

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []

    async def size(self) -> int:
        return len(self.data)

    async def read_at(self, offset: int, size: int, /) -> bytes:
        self.asked.append((offset, size))
        return self.data[offset : offset + size]


async def pieces(data: bytes, size: int) -> AsyncGenerator[Buffer]:
    """An async iterable of buffers of several kinds, some of them empty."""
    kinds: tuple[Callable[[bytes], Buffer], ...] = (bytes, bytearray, memoryview)
    for number, at in enumerate(range(0, len(data), size)):
        yield b""
        yield kinds[number % 3](data[at : at + size])
    yield b""


@contextmanager
def written(data: bytes, descriptor: Callable[[], int]) -> Iterator[None]:
    """Write into a pipe, from a thread, and close it."""

    def write() -> None:
        with open(descriptor(), "wb", buffering=0) as file:
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@asynccontextmanager
async def source_of(
    kind: str, data: bytes, piece: int, pool: WorkerPool, folder: Path
) -> AsyncIterator[OpenedSource]:
    """A source of that kind with these bytes in it."""
    path = folder / "data"
    simple: dict[str, Callable[[], Any]] = {
        "bytes": lambda: data,
        "bytearray": lambda: bytearray(data),
        "memoryview": lambda: memoryview(data),
        "array": lambda: array("b", data),
        "reader": lambda: Reader(data),
        "short reader": lambda: Reader(data, piece),
        "iterable": lambda: pieces(data, piece),
        "positional": lambda: PositionalSource(Store(data)),
    }
    if kind in simple:
        async with opened(simple[kind](), pool) as source:
            yield source
    elif kind in {"path", "text"}:
        path.write_bytes(data)
        async with opened(path if kind == "path" else str(path), pool) as source:
            yield source
    elif kind == "named pipe":
        os.mkfifo(path)
        with written(data, lambda: os.open(path, os.O_WRONLY)):
            async with opened(path, pool) as source:
                yield source
        path.unlink()
    else:
        read, write = os.pipe()
        with written(data, lambda: write):
            async with opened(PipeSource(read, "a pipe"), pool) as source:
                yield source
        os.close(read)


KINDS = (
    *("bytes", "bytearray", "memoryview", "array", "reader", "short reader", "iterable"),
    *("positional", "path", "text", "named pipe", "pipe"),
)


async def read_all(source: OpenedSource, sizes: list[int], fills: list[bool]) -> bytes:
    """Read it in views of these sizes, over and over, by ``fill`` or ``readinto``."""
    whole, number = bytearray(), 0
    while True:
        room = bytearray(sizes[number % len(sizes)])
        by_fill = fills[number % len(fills)]
        done = await (source.fill if by_fill else source.readinto)(memoryview(room))
        assert 0 <= done <= len(room)
        assert not any(room[done:])
        whole += room[:done]
        if not done or (by_fill and done < len(room)):
            return bytes(whole)
        number += 1


@pytest.mark.parametrize("kind", KINDS)
def test_same_bytes(kind: str) -> None:
    """Read by any split, each source gives its bytes, once and in order."""

    @settings(max_examples=12, deadline=None)
    @given(
        data=st.binary(max_size=200) | st.integers(0, 3).map(lambda seed: os.urandom(9000 + seed)),
        piece=st.sampled_from([1, 2, 7, 100, 5000]),
        sizes=st.lists(st.sampled_from([1, 3, 64, 1000, 20_000]), min_size=1, max_size=4),
        fills=st.lists(st.booleans(), min_size=1, max_size=3),
    )
    def check(data: bytes, piece: int, sizes: list[int], fills: list[bool]) -> None:
        if len(data) > 200:
            piece, sizes = max(piece, 100), [max(size, 64) for size in sizes]

        async def read() -> bytes:
            async with source_of(kind, data, piece, pool, Path(folder)) as source:
                if source.size is not None:
                    assert source.size == len(data) or not data
                found = await read_all(source, sizes, fills)
                for _ in range(2):  # the end stays the end
                    assert await source.readinto(memoryview(bytearray(5))) == 0
                    assert await source.fill(memoryview(bytearray(5))) == 0
                return found

        assert runner.run(read()) == data

    with asyncio.Runner() as runner, tempfile.TemporaryDirectory() as folder:
        pool = WorkerPool(1, 64 * KIB, "thread")
        before = None
        try:
            check()
            before = descriptors()
            check()
            assert descriptors() == before
        finally:
            runner.run(pool.aclose())


@pytest.fixture
async def pool() -> AsyncIterator[WorkerPool]:
    """A pool, for its file threads."""
    made = WorkerPool(1, 64 * KIB, "thread")
    yield made
    await made.aclose()


async def test_wide_items(pool: WorkerPool) -> None:
    """Buffers of larger items than bytes are read as their bytes."""
    data = array("I", range(1000))

    async def items() -> AsyncIterator[Any]:
        yield data
        yield memoryview(data)

    async with opened(memoryview(data), pool) as source:
        assert source.size == 4000
        assert await read_all(source, [7], [False]) == data.tobytes()
    async with opened(items(), pool) as source:
        assert await read_all(source, [7], [False]) == data.tobytes() * 2


async def test_fill_reads_to_the_end_of_the_view(pool: WorkerPool) -> None:
    """``readinto`` gives what is there, ``fill`` waits for all of it."""
    for kind in ("short reader", "iterable"):
        async with source_of(kind, b"0123456789", 3, pool, Path()) as source:
            room = bytearray(5)
            assert await source.readinto(memoryview(room)) == 3
            assert await source.fill(memoryview(room)) == 5
            assert room == b"34567"
            assert await source.fill(memoryview(room)) == 2


async def test_what_is_known(pool: WorkerPool, tmp_path: Path) -> None:
    """A file says its size and its status, memory its size, and the rest nothing."""
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    async with opened(path, pool) as source:
        assert (source.size, source.name, source.waits) == (3, str(path), False)
        assert source.status is not None
        assert source.status.st_ino == path.stat().st_ino
    async with opened(b"abc", pool) as source:
        assert (source.size, source.name, source.status, source.waits) == (3, None, None, False)
    async with opened(Reader(b"abc"), pool) as source:
        assert (source.size, source.name, source.status, source.waits) == (None, None, None, True)
    async with opened("/proc/self/status", pool) as source:
        assert source.size is None
        assert (await read_all(source, [100], [True])).startswith(b"Name:")


async def test_caller_keeps_what_it_opened(pool: WorkerPool) -> None:
    """An iterable that was given up is not closed: it may be read on."""
    items = pieces(b"0123456789", 3)
    async with opened(items, pool) as source:
        await source.readinto(memoryview(bytearray(3)))
    assert b"".join([data async for data in items]) == b"3456789"


async def test_positional_is_read_in_order(pool: WorkerPool) -> None:
    """It is asked for what follows, once, and never for more than there is room for."""
    store = Store(b"0123456789")
    async with opened(PositionalSource(store), pool) as source:
        assert source.name == "store:object"
        assert await read_all(source, [4], [False]) == store.data
    assert store.asked[:3] == [(0, 4), (4, 4), (8, 2)]


async def test_positional_is_not_asked_beyond_its_end(pool: WorkerPool) -> None:
    """Nothing is asked for at or behind ``size()``: a web server answers that with error 416."""
    store = Store(b"0123456789")
    async with opened(PositionalSource(store), pool) as source:
        assert await read_all(source, [4], [False]) == store.data
    assert all(offset < len(store.data) for offset, _ in store.asked)


def test_protocols() -> None:
    """What callers bring is known by its methods."""
    assert isinstance(Reader(b""), AsyncReader)
    assert not isinstance(Store(b""), AsyncReader)
    assert isinstance(Store(b""), Positional)


# What cannot be read.


@pytest.mark.parametrize("wrong", [None, 5, 1.5, object(), type])
async def test_wrong_types(pool: WorkerPool, wrong: Any) -> None:
    """Anything else is an error that says what would do."""
    with pytest.raises(TypeError, match="source must be a path, bytes, an object with"):
        async with opened(wrong, pool):
            pass


@pytest.mark.parametrize("paths", [["a"], ("a", Path("b")), []])
async def test_lists_of_paths(pool: WorkerPool, paths: Any) -> None:
    """Only an archive can be made of them."""
    with pytest.raises(TypeError, match="compress_folder"):
        async with opened(paths, pool):
            pass


@pytest.mark.parametrize("plain", [{b"abc"}, iter([b"a", b"bc"]), [b"abc"], io.BytesIO(b"abc")])
async def test_plain_sources(pool: WorkerPool, plain: Any) -> None:
    """What is not async is read as well."""
    async with opened(plain, pool) as source:
        assert await source.fill(room := memoryview(bytearray(5))) == 3
        assert bytes(room[:3]) == b"abc"


async def test_files_are_read_in_a_thread(pool: WorkerPool, tmp_path: Path) -> None:
    """An ordinary file looks like a reader, and never runs on the loop; errors name it."""
    (tmp_path / "file").write_bytes(b"abc")
    with open(tmp_path / "file", "rb") as file:
        async with opened(file, pool) as source:
            assert source.name == file.name
            assert await source.readinto(memoryview(bytearray(3))) == 3
        assert not file.closed
    threads = set()

    class Plain:
        def read(self, _: int) -> bytes:
            threads.add(threading.get_ident())
            return b""

    async with opened(Plain(), pool) as source:
        assert await source.readinto(memoryview(bytearray(3))) == 0
    assert len(threads - {threading.get_ident()}) == 1


async def test_buffered_files_give_what_they_have(pool: WorkerPool) -> None:
    """``read(n)`` of a buffered pipe would wait for n bytes."""
    descriptor, other = os.pipe()
    with open(descriptor, "rb") as file, open(other, "wb", buffering=0) as writer:
        async with opened(file, pool) as source, asyncio.timeout(10):
            writer.write(b"ab")
            assert await source.readinto(memoryview(bytearray(3))) == 2


@pytest.mark.parametrize("wrong", ["text", 5, None])
async def test_items_that_are_not_bytes(pool: WorkerPool, wrong: Any) -> None:
    """Items of an iterable have to be bytes-like."""

    async def items() -> AsyncIterator[Any]:
        yield wrong

    async with opened(items(), pool) as source:
        with pytest.raises(TypeError):
            await source.readinto(memoryview(bytearray(3)))


async def test_folder(pool: WorkerPool, tmp_path: Path) -> None:
    """A folder is not a stream of bytes; the error names what reads it."""
    with pytest.raises(FormatError, match="is a folder") as caught:
        async with opened(tmp_path, pool):
            pass
    assert caught.value.file == str(tmp_path)
    assert caught.value.hint is not None
    assert "compress_folder" in caught.value.hint


async def test_missing(pool: WorkerPool, tmp_path: Path) -> None:
    """What is not there, or a link in circles, is an error that names the path."""
    (tmp_path / "loop").symlink_to("loop")
    for name in ("missing", "loop"):
        with pytest.raises(OSError, match=name) as caught:
            async with opened(tmp_path / name, pool):
                pass
        assert caught.value.filename == str(tmp_path / name)


async def test_closed_pool(tmp_path: Path) -> None:
    """Nothing is opened for an engine that was closed."""
    pool = WorkerPool(1, 64 * KIB, "thread")
    await pool.aclose()
    with pytest.raises(ClosedError):
        async with opened(tmp_path / "missing", pool):
            pass


async def test_errors_name_the_source(pool: WorkerPool, tmp_path: Path) -> None:
    """An error of ours names what was being read; and it is closed."""
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    before = descriptors()
    with pytest.raises(CorruptError) as caught:
        async with opened(path, pool):
            raise CorruptError("damaged")
    assert caught.value.file == str(path)
    assert descriptors() == before


async def test_named_pipe_that_is_given_up(pool: WorkerPool, tmp_path: Path) -> None:
    """A read that waits for somebody to write ends with its cancellation."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    before = descriptors()
    writer = os.open(path, os.O_RDWR)
    async with opened(path, pool) as source:
        assert source.waits
        reading = asyncio.ensure_future(source.fill(memoryview(bytearray(5))))
        await asyncio.sleep(0.01)
        assert not reading.done()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    os.close(writer)
    assert descriptors() == before
