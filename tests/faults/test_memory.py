"""Memory stays within the formula of README, whoever reads slowly, and goes back to the system.

Each case runs in a process of its own, with threads in the place of workers, so that the resident
memory of that process is all there is.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..help.data import noise
from ..help.tools import LIBRARY
from .waiting import MIB

SETUP = """
import asyncio, gc, os, resource, sys
import aiocompress
MIB = 1 << 20
DATA, PACKED, NUMBER, LIMIT, CHUNK = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / MIB

def peak():
    with open("/proc/self/status") as file:
        return int(file.read().partition("VmHWM:")[2].split()[0]) / 1024

class Reader:
    def __init__(self, path):
        self.file = open(path, "rb")
    async def read(self, size):
        return self.file.read(size)

async def pieces(path):
    with open(path, "rb") as file:
        while data := file.read(100_000):
            yield data

async def warm_up(engine):
    assert await engine.decompress(await engine.compress(bytes(300_000))) == bytes(300_000)
"""

STUCK = """
async def main():
    async with aiocompress.Engine(2, LIMIT * MIB, executor="thread") as engine:
        await warm_up(engine)
        before = resident()
        def opened():
            options = {{}} if "decompress" in "{make}" else {{"chunk_size": CHUNK * MIB}}
            return engine.{make}
        streams = [opened() for _ in range(NUMBER)]
        async def some(stream):
            for _ in range({taken}):
                await anext(stream)
        await asyncio.gather(*map(some, streams))
        await asyncio.sleep(0.5)
        waiting, stuck = engine.statistics().memory_waiting / MIB, resident()
        assert waiting <= LIMIT / 4 + NUMBER * CHUNK * 1.01 + 1, waiting
        for stream in streams:
            await stream.aclose()
        assert engine.statistics().memory_waiting == engine.statistics().memory_in_use == 0
        del streams, stream
        gc.collect()
    print(stuck - before, resident() - before)
asyncio.run(main())
"""

KINDS = {
    "a file": "compress_stream(DATA, **options)",
    "an iterable": "compress_stream(pieces(DATA), **options)",
    "a reader": "compress_stream(Reader(DATA), **options)",
    "a compressed file": "decompress_stream(PACKED)",
    "a compressed iterable": "decompress_stream(pieces(PACKED))",
    "a compressed reader": "decompress_stream(Reader(PACKED))",
}


def measured(code: str, *arguments: object) -> list[float]:
    """Run a program, and return the MiB that it prints."""
    command = [sys.executable, "-c", SETUP + code, *map(str, arguments)]
    done = subprocess.run(
        command, env=LIBRARY, capture_output=True, check=False, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [float(word) for word in done.stdout.split()]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A file that cannot be compressed, and what it is compressed to all the same."""
    folder = tmp_path_factory.mktemp("memory")
    data, packed = folder / "data", folder / "data.zst"
    data.write_bytes(noise(12 * MIB))
    code = "import sys; from aiocompress.sync import compress_file as c; c(*sys.argv[1:], '1MiB')"
    subprocess.run([sys.executable, "-c", code, data, packed], env=LIBRARY, check=True)
    return data, packed


@pytest.mark.parametrize("taken", [1, 13])
@pytest.mark.parametrize("kind", KINDS)
def test_stuck_readers(kind: str, taken: int, files: tuple[Path, Path]) -> None:
    """Forty that take a little and then nothing: the limit, and one frame for each of them."""
    number, limit, chunk = 40, 32, 1
    code = STUCK.format(make=KINDS[kind], taken=taken)
    stuck, after = measured(code, *files, number, limit, chunk)
    assert stuck <= limit + number * chunk + 30
    assert after <= 45


def test_thousands_of_small_payloads(files: tuple[Path, Path]) -> None:
    """2,000 callers at once cost what they bring, and little more."""
    code = """
async def main():
    async with aiocompress.Engine(2, LIMIT * MIB, executor="thread") as engine:
        packed = await engine.compress(b"a small payload " * 20)
        await asyncio.gather(*(engine.decompress(packed) for _ in range(NUMBER)))
        async def whole(stream):
            return b"".join([part async for part in stream])
        async def one(data):
            yield data
        streams = [engine.decompress_stream(one(packed)) for _ in range(NUMBER)]
        assert set(await asyncio.gather(*map(whole, streams))) == {b"a small payload " * 20}
    print(peak())
asyncio.run(main())
"""
    (most,) = measured(code, *files, 2000, 64, 1)
    assert most <= 160


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_stuck_readers_of_large_frames(kind: str, tmp_path: Path) -> None:
    """The same with frames of 5 MiB and a limit of 256 MiB."""
    data, packed = tmp_path / "data", tmp_path / "data.zst"
    data.write_bytes(noise(100 * MIB))
    code = "import sys; from aiocompress.sync import compress_file as c; c(*sys.argv[1:])"
    subprocess.run([sys.executable, "-c", code, data, packed], env=LIBRARY, check=True)
    code = STUCK.format(make=KINDS[kind], taken=50)
    stuck, after = measured(code, data, packed, 40, 256, 5)
    assert stuck <= 256 + 40 * 5 + 60
    assert after <= 60
