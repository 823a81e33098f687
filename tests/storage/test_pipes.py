"""Pipes: the other side may be slow or gone, and what it gave us stays as it was."""

# Small files are opened where they are used, and parameters are flags:
# ruff: noqa: ASYNC230, FBT001

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aiocompress.model import KIB, MIB
from aiocompress.storage.pipes import NamedPipeSink, PipeSink, PipeSource, WriterSink
from aiocompress.storage.sources import opened
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

from ..help.data import noise
from .helping import descriptors, no_more_descriptors

DATA = noise(3 * MIB)
blocking = pytest.mark.parametrize("blocks", [True, False], ids=["blocking", "non-blocking"])


@contextmanager
def pipe(*, blocks: bool = True) -> Iterator[tuple[int, int]]:
    """Both ends of a pipe; some of its descriptors may be closed meanwhile."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, blocks)
    try:
        yield ends
    finally:
        for end in ends:
            try:
                os.close(end)
            except OSError:
                continue


def flags(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_GETFL)


class Drain:
    """Reads a descriptor to its end, in a thread, once it is told to."""

    def __init__(self, descriptor: int, step: int = 64 * KIB) -> None:
        self.found = bytearray()
        self.go = threading.Event()
        self._descriptor, self._step = os.dup(descriptor), step
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        assert self.go.wait(60)
        os.set_blocking(self._descriptor, True)
        while data := os.read(self._descriptor, self._step):
            self.found += data
        os.close(self._descriptor)

    def finish(self) -> bytes:
        self.go.set()
        self._thread.join()
        return bytes(self.found)


# Reading.


@blocking
async def test_read_what_is_there(blocks: bool) -> None:
    """A read gives what has come, and 0 at the end; the descriptor stays open, with its flags."""
    with pipe(blocks=blocks) as (read, write):
        before = flags(read)
        source = PipeSource(read, "stdin")
        room = bytearray(10)
        os.write(write, b"abc")
        assert await source.readinto(memoryview(room)) == 3
        reading = asyncio.ensure_future(source.readinto(memoryview(room)))
        await asyncio.sleep(0.01)
        assert not reading.done()
        os.write(write, b"defg")
        assert await reading == 4
        assert room[:4] == b"defg"
        os.close(write)
        assert await source.readinto(memoryview(room)) == 0
        assert await source.readinto(memoryview(room)) == 0
        await source.aclose()
        await source.aclose()
        assert flags(read) == before


@blocking
async def test_fill(blocks: bool) -> None:
    """``fill`` waits until the view is full, or the other side has ended."""
    with pipe(blocks=blocks) as (read, write):
        source = PipeSource(read, "stdin")
        room = bytearray(5)
        filling = asyncio.ensure_future(source.fill(memoryview(room)))
        for letter in (b"a", b"b", b"c", b"d"):
            os.write(write, letter)
            await asyncio.sleep(0.001)
            assert not filling.done()
        os.write(write, b"ef")
        assert await filling == 5
        assert room == b"abcde"
        os.close(write)
        assert await source.fill(memoryview(room)) == 1
        await source.aclose()


@blocking
@pytest.mark.parametrize("method", [PipeSource.readinto, PipeSource.fill])
async def test_cancelled_read_ends(method: Callable[..., Any], blocks: bool) -> None:
    """A read ends when it is cancelled, though the other side never writes."""
    with pipe(blocks=blocks) as (read, write):
        before, state = descriptors(), flags(read)
        source = PipeSource(read, "stdin")
        reading = asyncio.ensure_future(method(source, memoryview(bytearray(5))))
        await asyncio.sleep(0.01)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(reading, 60)
        await source.aclose()
        assert (descriptors(), flags(read)) == (before, state)
        os.write(write, b"abc")
        assert os.read(read, 10) == b"abc"  # it was not swallowed by a thread left behind


async def test_read_error_names_the_source(tmp_path: Path) -> None:
    """An error of the system's says whose it is."""
    folder = os.open(tmp_path, os.O_RDONLY)
    source = PipeSource(folder, "stdin")
    with pytest.raises(IsADirectoryError) as caught:
        await source.readinto(memoryview(bytearray(5)))
    assert caught.value.filename == "stdin"
    await source.aclose()
    os.close(folder)


async def test_regular_file_as_stdin(tmp_path: Path) -> None:
    """``< file`` is read like a pipe."""
    (tmp_path / "file").write_bytes(DATA[:100_000])
    with open(tmp_path / "file", "rb", buffering=0) as file:
        source = PipeSource(file.fileno(), "stdin")
        room = bytearray(200_000)
        assert await source.fill(memoryview(room)) == 100_000
        assert room[:100_000] == DATA[:100_000]
        await source.aclose()


# Writing.


@blocking
async def test_write_to_a_slow_reader(blocks: bool) -> None:
    """All buffers arrive whole and in order, however slowly they are taken."""
    with pipe(blocks=blocks) as (read, write):
        state = flags(write)
        drain = Drain(read, 5000)
        sink = PipeSink(write, "stdout")
        parts = memoryview(DATA), bytearray(b"some"), b"", b"more"
        writing = asyncio.ensure_future(sink.write(*parts))
        await asyncio.sleep(0.01)
        assert not writing.done()
        drain.go.set()
        await writing
        await sink.commit(None)
        await sink.aclose()
        await sink.aclose()
        assert flags(write) == state
        os.close(write)
        assert drain.finish() == DATA + b"somemore"


@blocking
async def test_cancelled_write_ends(blocks: bool) -> None:
    """A write ends when it is cancelled, though the other side never reads."""
    with pipe(blocks=blocks) as (_, write):
        before, state = descriptors(), flags(write)
        sink = PipeSink(write, "stdout")
        writing = asyncio.ensure_future(sink.write(DATA))
        await asyncio.sleep(0.01)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(writing, 60)
        await sink.aclose()
        assert (descriptors(), flags(write)) == (before, state)


@blocking
@pytest.mark.parametrize("early", [True, False], ids=["closed before", "closed while it writes"])
async def test_closed_reader(blocks: bool, early: bool) -> None:
    """Where nobody reads any more, a write is a BrokenPipeError that names the destination."""
    with pipe(blocks=blocks) as (read, write):
        sink = PipeSink(write, "stdout")
        if early:
            os.close(read)
        writing = asyncio.ensure_future(sink.write(DATA))
        if not early:
            await asyncio.sleep(0.01)
            assert not writing.done()
            os.close(read)
        with pytest.raises(BrokenPipeError) as caught:
            await asyncio.wait_for(writing, 60)
        assert caught.value.filename == "stdout"
        await sink.aclose()


async def test_reader_that_leaves_flags_alone() -> None:
    """A pipe is written without blocking, though its own flags say otherwise, and stay so."""
    with pipe() as (read, write):
        sink = PipeSink(write, "stdout")
        await sink.write(b"abc")
        assert os.get_blocking(write)
        assert os.read(read, 10) == b"abc"
        await sink.aclose()
        assert os.get_blocking(write)


async def test_status() -> None:
    """The sink says what it writes to, so that a source can leave that out."""
    with pipe() as (_, write):
        sink = PipeSink(write, "stdout")
        assert sink.status is not None
        assert os.path.samestat(sink.status, os.fstat(write))
        await sink.aclose()


@blocking
async def test_sockets(blocks: bool) -> None:
    """A socket is written and read as a pipe is."""
    one, two = socket.socketpair()
    with one, two:
        one.setblocking(blocks)
        state = flags(one.fileno())
        drain = Drain(two.fileno())
        drain.go.set()
        sink = PipeSink(one.fileno(), "stdout")
        await sink.write(DATA[:MIB])
        await sink.aclose()
        one.shutdown(socket.SHUT_WR)
        assert drain.finish() == DATA[:MIB]
        source = PipeSource(one.fileno(), "stdin")
        two.sendall(b"abc")
        room = bytearray(3)
        assert await source.fill(memoryview(room)) == 3
        await source.aclose()
        assert room == b"abc"
        assert flags(one.fileno()) == state


async def test_regular_file_as_stdout(tmp_path: Path) -> None:
    """``>> file`` is written where it stands."""
    (tmp_path / "file").write_bytes(b"before ")
    with open(tmp_path / "file", "ab", buffering=0) as file:
        sink = PipeSink(file.fileno(), "stdout")
        await sink.write(DATA, b"end")
        await sink.aclose()
    assert (tmp_path / "file").read_bytes() == b"before " + DATA + b"end"


async def test_full_device() -> None:
    """An error of the system's says whose it is."""
    with open("/dev/full", "wb", buffering=0) as file:
        sink = PipeSink(file.fileno(), "stdout")
        with pytest.raises(OSError, match="No space left") as caught:
            await sink.write(b"abc")
        assert caught.value.filename == "stdout"
        await sink.aclose()


# Named pipes.


async def test_named_pipe_waits_for_a_reader(tmp_path: Path) -> None:
    """It is opened when somebody reads it, then written, and closed in the end."""
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    before = descriptors()
    opening = asyncio.ensure_future(NamedPipeSink.open(path))
    await asyncio.sleep(0.01)
    assert not opening.done()
    read = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = await opening
    assert (sink.name, sink.waits) == (path, True)
    drain = Drain(read)
    drain.go.set()
    await sink.write(DATA[:MIB])
    await sink.aclose()
    await sink.aclose()
    assert drain.finish() == DATA[:MIB]
    os.close(read)
    assert descriptors() == before


async def test_named_pipe_that_nobody_reads(tmp_path: Path) -> None:
    """The wait for a reader ends when it is cancelled, or when the pipe becomes something else."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    before = descriptors()
    opening = asyncio.ensure_future(NamedPipeSink.open(str(path)))
    await asyncio.sleep(0.01)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    opening = asyncio.ensure_future(NamedPipeSink.open(str(path)))
    await asyncio.sleep(0.01)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        await asyncio.wait_for(opening, 60)
    assert descriptors() == before


async def test_named_pipe_whose_reader_leaves(tmp_path: Path) -> None:
    """It is a BrokenPipeError that names the path."""
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    read = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = await NamedPipeSink.open(path)
    os.close(read)
    with pytest.raises(BrokenPipeError) as caught:
        await sink.write(b"abc")
    assert caught.value.filename == path
    await sink.aclose()


async def test_device() -> None:
    """A device is written as it is."""
    sink = await NamedPipeSink.open(os.devnull)
    await sink.write(DATA, b"more")
    await sink.aclose()


async def test_what_cannot_be_opened(tmp_path: Path) -> None:
    """What is not there, or is a folder, is an error."""
    with pytest.raises(FileNotFoundError):
        await NamedPipeSink.open(str(tmp_path / "missing"))
    with pytest.raises(IsADirectoryError):
        await NamedPipeSink.open(str(tmp_path))


# Objects of the caller's.


class Writer:
    """An ``AsyncWriter`` that keeps what it is given."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    async def write(self, data: bytes, /) -> None:
        await asyncio.sleep(0)
        self.taken.append(data)


@pytest.mark.parametrize("way", ["read", "write"])
async def test_no_descriptors_for_a_named_pipe(tmp_path: Path, way: str) -> None:
    """Where the pipe itself opens, but nothing more does, it is closed again."""
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    pool = WorkerPool(1, None, "thread")
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        await call(pool.files, os.getpid)  # its threads run
        before = descriptors()
        opening = opened(path, pool).__aenter__() if way == "read" else NamedPipeSink.open(path)
        with no_more_descriptors(but=1), pytest.raises(OSError, match="Too many open files"):
            await opening
        assert descriptors() == before
    finally:
        os.close(reader)
        await pool.aclose()


async def test_writer_gets_bytes_of_its_own() -> None:
    """All buffers come in one call, as bytes that nobody changes afterwards."""
    writer, room = Writer(), bytearray(b"abc")
    sink = WriterSink(writer)
    await sink.write(memoryview(room), b"def", bytearray(b"ghi"))
    room[:] = b"xyz"
    await sink.commit(None)
    await sink.aclose()
    assert writer.taken == [b"abcdefghi"]
    assert type(writer.taken[0]) is bytes
    assert sink.waits
    assert sink.status is None


async def test_writer_has_a_name() -> None:
    """It is called what it calls itself, or what it is."""
    writer: Any = Writer()
    assert WriterSink(writer).name == "Writer"
    writer.name = "somewhere"
    assert WriterSink(writer).name == "somewhere"


async def test_writer_that_does_not_wait(tmp_path: Path) -> None:
    """An ordinary file is not a writer."""
    with open(tmp_path / "file", "wb") as file:
        wrong: Any = file
        with pytest.raises(TypeError, match=r"destination\.write must be async"):
            await WriterSink(wrong).write(b"abc")


async def test_errors_of_a_writer() -> None:
    """What a writer raises comes out as it is."""
    error = RuntimeError("full")

    class Full:
        async def write(self, _: bytes, /) -> None:
            raise error

    with pytest.raises(RuntimeError) as caught:
        await WriterSink(Full()).write(b"abc")
    assert caught.value is error
