"""Files that are written: what others find in them, and when."""

from __future__ import annotations

import asyncio
import gc
import gzip
import io
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import indexed_zstd
import psutil
import pytest
import zstandard

import aiocompress
from aiocompress import CorruptError, Engine, FormatError, TruncatedError, sync

from ...help.data import noise
from ...help.tools import LIBRARY, tool
from .sample import DATA, LINES, every_suffix, one_zstd_frame, write

OTHERS = {".zst": ("zstd", "-dcq"), ".gz": ("gzip", "-dc")}


def by_others(path: Path) -> bytes:
    """What the usual tool reads."""
    name, *options = OTHERS[path.suffix]
    command = (tool(name), *options, path)
    return subprocess.run(command, stdout=-1, check=True).stdout


async def by_us(path: Path) -> bytes:
    """What ``open`` reads."""
    async with aiocompress.open(path) as file:
        return await file.read()


@every_suffix
@pytest.mark.parametrize("size", [0, 1, 70_000, 6 << 20])
async def test_round_trip(suffix: str, size: int, tmp_path: Path) -> None:
    """Files of any size are what ``compress_file`` writes, or nearly, and read by all."""
    data, path = noise(size), tmp_path / f"a{suffix}"
    async with aiocompress.open(path, "wb") as file:
        for at in range(0, size, 100_000):
            await file.write(data[at : at + 100_000])
        assert await file.tell() == size
    assert by_others(path) == await by_us(path) == data
    assert await aiocompress.decompress(path.read_bytes()) == data
    assert (await aiocompress.test(path)).raw_bytes == size
    await aiocompress.compress_file(data, tmp_path / f"b{suffix}")
    assert path.read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@every_suffix
async def test_appending(suffix: str, tmp_path: Path) -> None:
    """What was there keeps its bytes; the whole is one file, for all readers, and seekable."""
    path, data, before = tmp_path / f"a{suffix}", b"", b""
    for number in range(6):
        part = noise(100_000 * (number % 3) + 1, number)
        async with aiocompress.open(path, "ab") as file:
            assert await file.tell() == 0
            await file.write(part)
        data += part
        assert path.read_bytes().startswith(before[:5])
        assert path.read_bytes()[6:].startswith(before[6:])
        before = path.read_bytes()
        assert by_others(path) == await by_us(path) == data
    async with aiocompress.open(path) as file:
        assert await file.seek(-150_000, io.SEEK_END) == len(data) - 150_000
        assert await file.read() == data[-150_000:]
    await aiocompress.test(path)


async def test_appending_to_a_file_of_others(tmp_path: Path) -> None:
    """It needs no table, but the same format, and an end."""
    path = tmp_path / "a.zst"
    path.write_bytes(one_zstd_frame(DATA))
    async with aiocompress.open(path, "ab") as file:
        await file.write(b"more")
    assert by_others(path) == await by_us(path) == DATA + b"more"
    whole = path.read_bytes()
    for broken, error in (
        (one_zstd_frame(DATA)[:-7], TruncatedError),
        (b"text and more of it", FormatError),
        (gzip.compress(DATA), FormatError),
        (whole + b"garbage", CorruptError),
    ):
        path.write_bytes(broken)
        with pytest.raises(error):
            await aiocompress.open(path, "ab")
        assert path.read_bytes() == broken


@every_suffix
async def test_read_while_it_grows(suffix: str, tmp_path: Path) -> None:
    """Each flush shows; the end comes again and again; and tools read it, too."""
    path = tmp_path / f"a{suffix}"
    async with aiocompress.open(path, "wb") as file:
        await file.write(LINES[0])
        assert not path.stat().st_size
        await file.flush()
        async with aiocompress.open(path) as reader:
            for number in range(1, 9):
                assert [line async for line in reader] == [LINES[number - 1]]
                assert await reader.readline() == b""
                await file.write(LINES[number])
                await file.flush()
                await file.flush()
                assert by_others(path) == await by_us(path) == b"".join(LINES[: number + 1])
            assert await reader.seek(0, io.SEEK_END) == len(b"".join(LINES[:9]))
            await reader.seek(0)
            assert await reader.readlines() == LINES[:9]
            await file.aclose()
            assert await reader.read() == b""
    cut = path.read_bytes()[:-30]
    path.write_bytes(cut)
    with pytest.raises(TruncatedError):
        await by_us(path)


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
async def test_others_that_write(codec: str, tmp_path: Path) -> None:
    """Of a frame that has not ended, what its writer has flushed is read."""
    path = tmp_path / "a"
    made: Any = zstandard.ZstdCompressor().compressobj()
    kind = zstandard.COMPRESSOBJ_FLUSH_BLOCK
    if codec == "gzip":
        import zlib

        made, kind = zlib.compressobj(wbits=31), zlib.Z_SYNC_FLUSH
    with path.open("wb", buffering=0) as file:
        file.write(made.compress(b"first\n") + made.flush(kind))
        async with aiocompress.open(path) as reader:
            assert await reader.readline() == b"first\n"
            with pytest.raises(TruncatedError):
                await reader.readline()
            file.write(made.compress(b"second\n") + made.flush(kind))
            assert await reader.readline() == b"second\n"
            file.write(made.flush())
            assert await reader.readline() == b""


@every_suffix
def test_killed_while_appending(suffix: str, tmp_path: Path) -> None:
    """What was there, and all that was flushed, stays: for us and for others."""
    path = tmp_path / f"a{suffix}"
    asyncio.run(write(path))
    code = (
        "import asyncio, os, signal, sys, aiocompress\n"
        "async def main():\n"
        "    file = await aiocompress.open(sys.argv[1], 'ab')\n"
        "    await file.write(b'more')\n"
        "    await file.flush()\n"
        "    await file.write(bytes(999))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())"
    )
    done = subprocess.run((sys.executable, "-c", code, path), env=LIBRARY, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert by_others(path) == asyncio.run(by_us(path)) == DATA + b"more"
    asyncio.run(write(path, b"again", "ab", 1))
    assert by_others(path) == asyncio.run(by_us(path)) == DATA + b"moreagain"


@contextmanager
def limited(size: int) -> Iterator[None]:
    """No file may be larger than that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@every_suffix
async def test_no_space(suffix: str, tmp_path: Path) -> None:
    """The error comes from the call that waits for it, and from all later ones; no frame is cut."""
    path = tmp_path / f"a{suffix}"
    file = await aiocompress.open(path, "wb")
    with limited(150_000):
        await file.write(noise(100_000))
        await file.flush()
        await file.write(noise(100_000))
        for call in (file.flush, file.flush, file.aclose):
            with pytest.raises(OSError, match="large") as caught:
                await call()
            assert caught.value.filename == str(path)
    assert file.closed
    assert by_others(path) == noise(100_000)


async def _fail(file: aiocompress.AsyncFile[bytes]) -> None:
    async with file:
        await file.write(DATA[:-1])
        await file.flush()
        await file.write(DATA[-1:])
        raise ZeroDivisionError


async def test_atomic(tmp_path: Path) -> None:
    """It appears when it is closed; an error leaves what was there, and nothing else."""
    path = tmp_path / "a.zst"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        await _fail(aiocompress.open(path, "wb", atomic=True))
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"old", ["a.zst"])
    async with aiocompress.open(path, "wb", atomic=True) as file:
        await file.write(DATA)
        assert path.read_bytes() == b"old"
    assert by_others(path) == DATA
    with pytest.raises(FileExistsError):
        await aiocompress.open(path, "xb", atomic=True)


async def test_in_place(tmp_path: Path) -> None:
    """As ``open`` does: an error in the body keeps what was written; "x" wants no file."""
    path = tmp_path / "a.zst"
    with pytest.raises(ZeroDivisionError):
        await _fail(aiocompress.open(path, "xb"))
    assert by_others(path) == DATA
    with pytest.raises(FileExistsError):
        await aiocompress.open(path, "x")
    await (await aiocompress.open(path, "w")).close()
    assert by_others(path) == b""


async def test_many_tasks(tmp_path: Path) -> None:
    """Each write is a whole, also one of many chunks, and one that was cancelled loses nothing."""
    path = tmp_path / "a.zst"
    pieces = [bytes([number]) * (7 << 20 if number == 3 else 1000 + number) for number in range(9)]
    async with Engine(2) as engine, engine.open(path, "wb") as file:
        await asyncio.gather(*map(file.write, pieces))
        task = asyncio.ensure_future(file.write(bytes(50)))
        await asyncio.sleep(0)
        task.cancel()
    found = by_others(path)
    assert sorted(found) == sorted(b"".join([*pieces, bytes(50)]))
    assert all(piece in found for piece in pieces)


async def test_seekable_for_others(tmp_path: Path) -> None:
    """Readers of the seekable format find their way."""
    path = await write(tmp_path / "a.zst")
    other = indexed_zstd.IndexedZstdFile(str(path))
    other.seek(200_000)
    assert other.read(100) == DATA[200_000:200_100]


class Slow:
    """An upload: it only has ``write``."""

    def __init__(self) -> None:
        self.data = b""

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0)
        self.data += data


async def test_an_object_and_a_descriptor(tmp_path: Path) -> None:
    """What is written to them is the same."""
    upload, path = Slow(), tmp_path / "a"
    async with aiocompress.open(upload, "wb") as file:
        await file.writelines(LINES)
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    async with aiocompress.open(descriptor, "wb") as file:
        await file.writelines(LINES)
    assert path.read_bytes() == upload.data == await aiocompress.compress(DATA)
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(descriptor)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("q", {}, "mode must be"),
    ("rwb", {}, "mode must be"),
    ("rbt", {}, "mode must be"),
    ("r+b", {}, "mode must be"),
    ("", {}, "mode must be"),
    ("rb", {"encoding": "utf-8"}, "add 't'"),
    ("w", {"newline": ""}, "add 't'"),
    ("rb", {"codec": "zstd"}, "no meaning"),
    ("rt", {"atomic": True}, "no meaning"),
    ("rb", {"compression_level": 3}, "no meaning"),
    ("wb", {"compression_level": 99}, "compression_level"),
    ("wb", {"codec": "rar"}, "codec"),
    ("ab", {"atomic": True}, "atomic"),
    ("wt", {"newline": "x"}, "newline"),
]


@pytest.mark.parametrize(("mode", "options", "message"), WRONG)
def test_wrong_arguments(mode: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    """They are told at once, and nothing is made or changed, also without async."""
    path = tmp_path / "a.zst"
    path.write_bytes(b"old")
    for opened in (aiocompress.open, sync.open):
        with pytest.raises(ValueError, match=message):
            opened(path, mode, **options)
    assert path.read_bytes() == b"old"
    with pytest.raises(LookupError):
        aiocompress.open(path, "rt", encoding="none")
    with pytest.raises(ValueError, match="suffix"):
        aiocompress.open(tmp_path / "a.txt", "wb")


async def test_wrong_calls(tmp_path: Path) -> None:
    """What a file cannot do, and what is no bytes."""
    file = aiocompress.open(tmp_path / "a.zst", "wb")
    with pytest.raises(ValueError, match="not open"):
        await file.write(b"a")
    async with file:
        assert (file.readable(), file.writable(), file.seekable()) == (False, True, False)
        for call in (file.read, file.readline, file.readlines, file.read1, file.peek):
            with pytest.raises(io.UnsupportedOperation, match="mode 'wb'"):
                await call()
        with pytest.raises(io.UnsupportedOperation):
            await file.seek(0)
        with pytest.raises(TypeError):
            await file.write("text")  # type: ignore[arg-type]
        assert await file.write(memoryview(b"abcd").cast("H")) == 4
    with pytest.raises(ValueError, match="closed"):
        await file.write(b"a")
    with pytest.raises(ValueError, match="closed"):
        await file.flush()
    with pytest.raises(TypeError, match="async write"):
        await aiocompress.open(object(), "wb")  # type: ignore[call-overload]
    assert await by_us(tmp_path / "a.zst") == b"abcd"


async def _leave_open(path: Path, mode: str) -> None:
    file = await aiocompress.open(path, mode)
    await (file.readline() if mode == "rb" else file.write(b"a"))
    await file.flush()


async def test_left_open(tmp_path: Path) -> None:
    """A file that nobody closes says so, and goes when it is garbage."""
    path = await write(tmp_path / "a.zst")
    for mode in ("rb", "wb"):
        with pytest.warns(ResourceWarning, match="not closed") as caught:
            await _leave_open(path, mode)
        caught.clear()
    for _ in range(100):
        gc.collect()
        names = [file.path for file in psutil.Process().open_files()]
        if str(path) not in names:
            break
        await asyncio.sleep(0.05)
    assert str(path) not in names
