"""Small programs that the benchmark starts: the limit, a slow reader, an application."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import os
import random
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Barrier
from typing import Any, Final

import aiofiles
import zstandard

import aiocompress
from aiocompress.formats import FORMATS

MIB: Final = 1 << 20
LEVEL: Final = 3
CODEC: Final = FORMATS["zstd"].codec
CHUNK: Final = CODEC.chunk_size(LEVEL)


def limit(path: str, workers: str) -> None:
    """Print the seconds that bare processes take, each for its share, memory to memory."""
    context = multiprocessing.get_context("fork")
    number = int(workers)
    barrier = context.Barrier(number + 1)
    for first in range(number):
        share = (path, first, number, barrier)
        context.Process(target=_compress_share, args=share, daemon=True).start()
    barrier.wait()
    start = time.perf_counter()
    barrier.wait()
    sys.stdout.write(f"{time.perf_counter() - start}\n")


def _compress_share(path: str, first: int, step: int, barrier: Barrier) -> None:
    try:
        with Path(path).open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            starts = range(first * CHUNK, size, step * CHUNK)
            chunks = [os.pread(file.fileno(), CHUNK, start) for start in starts]
        barrier.wait()
        for chunk in chunks:
            CODEC.compress(memoryview(chunk), LEVEL)
        barrier.wait()
    except BaseException:
        barrier.abort()
        raise


def slow() -> None:
    """Read standard input: nothing for 2 seconds, then at most 200 MB a second."""
    time.sleep(2)
    while sys.stdin.buffer.read(MIB):
        time.sleep(0.005)


def application(verb: str, source: str, destination: str) -> None:
    """Do what an application does that works on one file."""
    asyncio.run(_work_on_file(verb, source, destination))


async def _work_on_file(verb: str, source: str, destination: str) -> None:
    async with aiocompress.Engine(2) as engine:
        if verb == "compress":
            await engine.compress_file(source, destination, fsync=False)
        else:
            await engine.decompress_file(source, destination, fsync=False)


class _Counting:
    """An archive that counts what is read of it."""

    def __init__(self, path: str) -> None:
        self.path, self.read = Path(path), 0

    async def size(self) -> int:
        return self.path.stat().st_size

    async def read_at(self, offset: int, size: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
        self.read += len(data)
        return data


def read_member(path: str, name: str) -> None:
    """Print the bytes that were read of an archive to get one member."""

    async def read() -> int:
        source = _Counting(path)
        async with aiocompress.open_archive(source) as archive:
            await archive.read(name)
        return source.read

    sys.stdout.write(f"{asyncio.run(read())}\n")


def small_files(folder: str, number: str) -> None:
    """Make many small files, 10,000 in a folder."""
    for first in range(0, int(number), 10_000):
        inside = Path(folder) / f"{first:08}"
        inside.mkdir(parents=True)
        for count in range(first, min(first + 10_000, int(number))):
            (inside / f"{count:08}.txt").write_text(f"file number {count}\n")


def members(who: str, path: str, number: str) -> None:
    """Print the seconds that it takes to make an archive of small members in memory."""
    lines = b"".join(b"line %d of a small file\n" % line for line in range(50))
    bodies = {
        f"{at % 100}/{at:06}.txt": b"%d " % at + lines[: at % 1000] for at in range(int(number))
    }
    start = time.perf_counter()
    if who == "ours":
        asyncio.run(_add_all(path, bodies))
    else:
        _add_all_by_tarfile(path, bodies)
    sys.stdout.write(f"{time.perf_counter() - start}\n")


async def _add_all(path: str, bodies: Mapping[str, bytes]) -> None:
    options: Any = {"codec": "zstd", "on_exists": "replace", "fsync": False}
    async with aiocompress.create_archive(path, **options) as writer:
        for name, body in bodies.items():
            await writer.add(name, body)


def _add_all_by_tarfile(path: str, bodies: Mapping[str, bytes]) -> None:
    compressor = zstandard.ZstdCompressor(LEVEL)
    with (
        Path(path).open("wb") as file,
        compressor.stream_writer(file) as stream,
        tarfile.open(fileobj=stream, mode="w|") as archive,
    ):
        for name, body in bodies.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(body), time.time()
            archive.addfile(info, io.BytesIO(body))


def log(path: str, size: str) -> None:
    """Make a log of that many bytes."""
    source, left = random.Random(0), int(size)
    with Path(path).open("wb") as file:
        while left > 0:
            lines = b"".join(
                b"2026-11-28T10:%02d:%06.3f host%d app[%d]: request=%x status=200 bytes=%d\n"
                % (n // 60 % 60, n % 60, n % 9, n % 7919, source.getrandbits(40), n * 37 % 9973)
                for n in range(20_000)
            )
            left -= file.write(lines)


def plain_lines(path: str, number: str) -> None:
    """Read lines of a plain log by aiofiles."""

    async def read() -> None:
        left = int(number)
        async with aiofiles.open(path, "rb") as file:
            async for _ in file:
                left -= 1
                if not left:
                    break

    asyncio.run(read())


_LINES: Final = [b"2026-11-28T10:00:00.123 host1 app[%d]: done\n" % n for n in range(200_000)]


def write(path: str) -> None:
    """Write 2,000,000 short lines."""

    async def write_all() -> None:
        async with aiocompress.open(path, "wb") as file:
            for _ in range(10):
                for line in _LINES:
                    await file.write(line)

    asyncio.run(write_all())


def write_by_backports(path: str) -> None:
    """Write the same lines."""
    from backports import zstd

    with zstd.open(path, "wb") as file:
        for _ in range(10):
            for line in _LINES:
                file.write(line)


PROGRAMS: Final[Mapping[str, Callable[..., None]]] = {
    "limit": limit,
    "slow": slow,
    "application": application,
    "read": read_member,
    "files": small_files,
    "members": members,
    "log": log,
    "plain lines": plain_lines,
    "write": write,
    "write by backports": write_by_backports,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
