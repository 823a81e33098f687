"""The verbs as plain functions, wherever they are called."""

from __future__ import annotations

import asyncio
import gc
import inspect
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import aiocompress
from aiocompress import AiocompressError, ClosedError, CorruptError, sync

from .help.data import text
from .help.programs import until

TEXT = text(200 << 10)


def _everything(folder: Path) -> None:
    source, packed, back = folder / "a", folder / "a.zst", folder / "b"
    source.write_bytes(TEXT)
    assert sync.compress_file(source, packed, 16384, 2).frames == 13
    assert sync.test(packed).raw_bytes == len(TEXT)
    assert sync.decompress_file(packed, back).raw_bytes == len(TEXT)
    assert back.read_bytes() == TEXT
    assert sync.decompress(sync.compress(TEXT, codec="gzip")) == TEXT
    stream = b"".join(sync.compress_stream(TEXT, chunk_size=16384, num_workers=1))
    assert stream == packed.read_bytes()
    assert b"".join(sync.decompress_stream(stream)) == TEXT
    with pytest.raises(CorruptError):
        sync.decompress(stream[:-1])
    with pytest.raises(FileExistsError):
        sync.compress_file(source, packed)


def test_in_a_script(tmp_path: Path) -> None:
    """Every verb, in the main thread."""
    _everything(tmp_path)
    until(lambda: not [thread for thread in threading.enumerate() if "aiocompress" in thread.name])


async def test_inside_a_running_loop(tmp_path: Path) -> None:
    """As in a notebook."""
    _everything(tmp_path)


def test_in_threads(tmp_path: Path) -> None:
    """Several at once."""
    folders = [tmp_path / str(number) for number in range(2)]
    failures: list[BaseException] = []

    def work(folder: Path) -> None:
        try:
            folder.mkdir()
            _everything(folder)
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_the_same_verbs() -> None:
    """They take what the module functions take."""
    for name in {*sync.__all__} - {"create_archive", "open", "open_archive"}:
        ours, theirs = getattr(sync, name), getattr(aiocompress, name)
        assert inspect.signature(ours) == inspect.signature(theirs)
        assert ours.__doc__ == theirs.__doc__


@contextmanager
def _interrupted(seconds: float) -> Iterator[None]:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("seconds", [0.02, 0.05, 0.3])
def test_an_interrupt(seconds: float, tmp_path: Path) -> None:
    """Ctrl-C ends a verb, and leaves neither a file nor a thread."""
    data = text(1 << 20) * 32
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), _interrupted(seconds):
        sync.compress_file(data, tmp_path / "a.zst", 1 << 20, 2, compression_level=19)
    assert not os.listdir(tmp_path)
    until(lambda: threading.active_count() <= before, 2)


def test_an_iterator_that_is_left() -> None:
    """Its loop and its engine go with it."""
    stream = sync.compress_stream(TEXT, chunk_size=1024)
    assert next(stream)
    stream.close()  # type: ignore[attr-defined]
    for data in sync.compress_stream(TEXT, chunk_size=1024):
        assert data
        break
    until(lambda: not [thread for thread in threading.enumerate() if "aiocompress" in thread.name])


def test_bad_arguments() -> None:
    """They are told when the stream is made."""
    with pytest.raises(ValueError, match="codec"):
        sync.compress_stream(TEXT, codec="rar")


def test_a_program_that_ends_with_an_iterator_left_over() -> None:
    """It ends: nobody waits for the rest of a stream."""
    code = (
        "from aiocompress import sync; it = sync.compress_stream(bytes(5 << 20), chunk_size=1024);"
        "next(it); print('end')"
    )
    process = subprocess.Popen((sys.executable, "-c", code), stdout=-1, stderr=-1)
    try:
        said, _ = process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        pytest.fail("it hung")
    assert said == b"end\n"


class Rows:
    """A plain iterable that is no iterator."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([TEXT[:1000], TEXT[1000:]])


@pytest.mark.parametrize("kind", ["file", "BytesIO", "iterable", "generator", "list"])
def test_plain_sources(kind: str, tmp_path: Path) -> None:
    """What a program without async has at hand."""
    path = tmp_path / "a"
    path.write_bytes(TEXT)
    with path.open("rb") as file:
        source: Any = {
            "file": file,
            "BytesIO": io.BytesIO(TEXT),
            "iterable": Rows(),
            "generator": (part for part in Rows()),
            "list": [TEXT],
        }[kind]
        packed = b"".join(sync.compress_stream(source, chunk_size="64K"))
    assert packed == b"".join(sync.compress_stream(path, chunk_size="64K"))
    sync.decompress_file(io.BytesIO(packed), tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == TEXT


def test_a_stream_as_a_file() -> None:
    """It is opened, read by size, and tells what went through; the shell closes it."""
    with sync.compress_stream(TEXT, single=True) as packed:
        copied = io.BytesIO()
        shutil.copyfileobj(packed, copied, 1000)
        assert packed.report.raw_bytes == len(TEXT)
        assert packed.read() == packed.read(1) == b""
    with sync.decompress_stream(io.BytesIO(copied.getvalue())) as raw:
        assert raw.read(7) == TEXT[:7]
        assert next(raw) + raw.read() == TEXT[7:]
    for work in (raw.read, raw.__next__, raw.__enter__):
        with pytest.raises(ClosedError):
            work()


@pytest.mark.parametrize("verb", [sync.compress_stream, sync.decompress_stream])
def test_a_missing_file(verb: Any, tmp_path: Path) -> None:
    """``with`` says so; nothing is left."""
    before = set(threading.enumerate())
    with pytest.raises(FileNotFoundError), verb(tmp_path / "none"):
        pass
    until(lambda: set(threading.enumerate()) <= before, 2)  # threads of files end by themselves


def test_collected_by_its_own_loop() -> None:
    """A stream in a cycle of garbage ends, also where its own thread collects it."""
    before, gate = threading.active_count(), threading.Event()
    held: dict[str, Any] = {}

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(1 << 16)
        await asyncio.to_thread(gate.wait, 10)
        held.clear()
        gc.collect()
        yield bytes(1 << 20)

    held["stream"] = sync.compress_stream(parts(), chunk_size="64K")
    held["itself"] = held
    assert [next(held["stream"]) for _ in range(3)]  # so that more is read ahead
    gate.set()
    until(lambda: threading.active_count() <= before, 10)


def test_a_stream_as_a_source(tmp_path: Path) -> None:
    """A stream of this module reads another one."""
    packed = sync.compress_stream(TEXT)
    sync.decompress_file(packed, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == TEXT


def test_a_stream_in_two_threads() -> None:
    """The second one is told, and the first one goes on."""
    gate, seen = threading.Event(), threading.Event()

    def items() -> Iterator[bytes]:
        seen.set()
        gate.wait(10)
        yield TEXT

    stream = sync.compress_stream(items())
    results: list[bytes] = []
    reading = threading.Thread(target=lambda: results.append(stream.read()))
    reading.start()
    seen.wait(10)
    for work in (stream.read, stream.__next__, stream.close):
        with pytest.raises(AiocompressError, match="another thread"):
            work()
    gate.set()
    reading.join()
    assert sync.decompress(results[0]) == TEXT
    stream.close()
