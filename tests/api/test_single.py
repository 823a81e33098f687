"""Streams of a single frame: what they write, in which memory, and beside whom."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import tarfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

import aiocompress
from aiocompress import Engine, TruncatedError, sync

from ..help.data import noise, text
from ..help.engines import given_back
from ..help.tools import run, tool
from .sample import KIB, MIB, TEXT, all_of, pieces

PIECE = 256 * KIB
CODECS: Any = ["zstd", "gzip"]
every_codec = pytest.mark.parametrize("codec", CODECS)


def _first_only(packed: bytes) -> bytes:
    """Decode as a client that knows of no second frame; nothing may follow the first one."""
    decoder = (
        zstandard.ZstdDecompressor().decompressobj()
        if packed.startswith(b"\x28\xb5\x2f\xfd")
        else zlib.decompressobj(31)
    )
    raw = decoder.decompress(packed)
    assert decoder.eof
    assert not decoder.unused_data
    return raw


@every_codec
@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * MIB + 7])
async def test_it_is_one_frame(codec: Any, size: int, tmp_path: Path) -> None:
    """Whatever its size; the same bytes from a file, bytes and a slow iterable; we read it."""
    raw = (text(MIB) * (size // MIB + 1))[:size]
    path = tmp_path / "raw"
    path.write_bytes(raw)
    async with Engine(2, executor="thread") as engine:
        sources = (path, raw, pieces(raw), io.BytesIO(raw))
        streams = [engine.compress_stream(source, codec=codec, single=True) for source in sources]
        (packed,) = set(await asyncio.gather(*map(all_of, streams)))
        assert _first_only(packed) == raw
        assert await engine.decompress(packed) == raw
        assert (streams[0].report.raw_bytes, streams[0].report.frames) == (size, 1)
        assert streams[0].report.compressed_bytes == len(packed)


@every_codec
async def test_several_frames_are_read_by_halves(codec: Any) -> None:
    """The default form, as such a client reads it: the reason why there is another one."""
    async with Engine(1, executor="thread") as engine:
        packed = await all_of(engine.compress_stream(TEXT, codec=codec, chunk_size="64K"))
    decoder = zstandard.ZstdDecompressor().decompressobj()
    raw = (decoder if codec == "zstd" else zlib.decompressobj(31)).decompress(packed)
    assert raw == TEXT[: 64 * KIB]


@every_codec
async def test_tools_read_it(codec: Any) -> None:
    """``zstd -d`` and ``gunzip``; and every form of the call writes the same."""
    raw = text(MIB)
    packed = await all_of(aiocompress.compress_stream(raw, codec=codec, single=True))
    command = (tool("zstd"), "-dc") if codec == "zstd" else (tool("gunzip"), "-c")
    assert run(*command, data=packed) == raw
    assert b"".join(sync.compress_stream(raw, codec=codec, single=True)) == packed


@every_codec
async def test_a_cut_is_an_error(codec: Any) -> None:
    """It has no mark and no index, but an end."""
    packed = await all_of(aiocompress.compress_stream(TEXT, codec=codec, single=True))
    async with Engine(1, executor="thread") as engine:
        for size in (20, len(packed) // 2, len(packed) - 5, len(packed) - 1):
            with pytest.raises(TruncatedError):
                await engine.decompress(packed[:size])


@every_codec
async def test_a_folder(codec: Any, tmp_path: Path) -> None:
    """It is a plain tar in there, without the index of an archive."""
    tree = tmp_path / "tree"
    for number in range(300):
        (tree / f"{number % 7}").mkdir(parents=True, exist_ok=True)
        (tree / f"{number % 7}" / f"{number}").write_bytes(noise(number * 11, number))
    (tree / "large").write_bytes(text(MIB))
    packed = await all_of(aiocompress.compress_stream(tree, codec=codec, single=True))
    with tarfile.open(fileobj=io.BytesIO(_first_only(packed))) as archive:
        archive.extractall(tmp_path / "out", filter="data")
    run(tool("diff"), "-r", tree, tmp_path / "out")


@pytest.mark.parametrize("options", [{"chunk_size": "1MiB"}, {"flush_after": -1}])
def test_what_makes_no_sense(options: Any) -> None:
    """A chunk size where there are no chunks; a time before now."""
    with pytest.raises(ValueError, match=next(iter(options))):
        aiocompress.compress_stream(b"", single=True, **options)


async def test_a_slow_reader_holds_bounded_memory() -> None:
    """The source is read no further than a piece ahead, and no slot is held."""
    pulled = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal pulled
        while pulled < 8 * MIB:
            pulled += 64 * KIB
            yield noise(64 * KIB)

    async with (
        Engine(2, executor="thread") as engine,
        engine.compress_stream(source(), single=True) as stream,
    ):
        for _ in range(3):
            before = stream.report.raw_bytes
            await anext(stream)
            await asyncio.sleep(0.02)
            assert pulled <= before + 3 * PIECE
            await given_back(engine)


async def test_stuck_streams_stop_nobody() -> None:
    """Readers that never read on, more of them than threads."""
    async with Engine(1, executor="thread") as engine:
        raw = noise(MIB)
        stuck = [engine.compress_stream(raw, single=True) for _ in range(20)]
        for stream in stuck:
            assert await anext(stream)
        async with asyncio.timeout(20):
            packed = await all_of(engine.compress_stream(raw, single=True))
        assert _first_only(packed) == raw
        for stream in stuck:
            await stream.aclose()


def test_memory() -> None:
    """100 MB that do not compress take 24 MiB more than the first of them."""
    code = """
import asyncio, resource, sys
from aiocompress import Engine
part = bytes(range(256)) * 4096
async def source(count):
    for number in range(count):
        yield number.to_bytes(8, "big").join((part[number:], part[:number]))
async def main():
    async with Engine(2, executor="thread") as engine:
        peaks = []
        for count in (2, 100):
            async with engine.compress_stream(source(count), codec=sys.argv[1], compression_level=1,
                                              single=True) as stream:
                size = sum([len(data) async for data in stream])
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
        assert size
        print(peaks[1] - peaks[0])
asyncio.run(main())
"""
    for codec in CODECS:
        assert int(run(sys.executable, "-c", code, codec)) < 24


# What comes slowly.


def _events(gate: asyncio.Event, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """Sources of two events each, the second of which comes when the first was seen."""
    seen = lambda: asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()  # noqa: E731

    async def iterable() -> AsyncIterator[bytes]:
        yield b"first"
        await gate.wait()
        yield b"second"

    class Reader:
        def __init__(self) -> None:
            self._parts = iterable()

        async def read(self, _: int) -> bytes:
            return await anext(self._parts, b"")

    def plain() -> Any:
        yield b"first"
        seen()
        yield b"second"

    class Plain:
        def __init__(self) -> None:
            self._parts = plain()

        def read(self, _: int) -> bytes:
            part: bytes = next(self._parts, b"")
            return part

    return {"iterable": iterable(), "read": Reader(), "plain": plain(), "file": Plain()}


@every_codec
@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("kind", ["iterable", "read", "plain", "file"])
async def test_flush_after(codec: Any, single: bool, kind: str) -> None:  # noqa: FBT001
    """What has come arrives although the source goes on; it stays one frame, or a container."""
    gate = asyncio.Event()
    source = _events(gate, asyncio.get_running_loop())[kind]
    async with Engine(1, executor="thread") as engine, asyncio.timeout(20):
        stream = engine.compress_stream(source, codec=codec, single=single, flush_after=0.01)
        packed, decoder = bytearray(), zstandard.ZstdDecompressor().decompressobj()
        reader: Any = decoder if codec == "zstd" else zlib.decompressobj(31)
        async with stream:
            async for data in stream:
                packed += data
                if not gate.is_set():
                    raw = reader.decompress(data)
                    assert raw in {b"", b"first"}
                    if raw:
                        gate.set()
        assert await engine.decompress(bytes(packed)) == b"firstsecond"
        if single:
            assert _first_only(bytes(packed)) == b"firstsecond"


async def test_flush_after_of_a_named_pipe(tmp_path: Path) -> None:
    """A read that is under way neither loses bytes nor holds the end of the stream."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with Engine(1, executor="thread") as engine, asyncio.timeout(20):
        stream = engine.compress_stream(fifo, single=True, flush_after=0.01)
        decoder, seen = zstandard.ZstdDecompressor().decompressobj(), b""
        async with stream:
            with fifo.open("wb", buffering=0) as writer:
                for word in (b"one", b"two", b"three"):
                    writer.write(word)
                    while not seen.endswith(word):
                        seen += decoder.decompress(await anext(stream))
        assert seen == b"onetwothree"


async def test_flush_after_does_not_hurry_the_others() -> None:
    """A fast source gives the same bytes with it, and a file does."""
    async with Engine(1, executor="thread") as engine:
        for source in (TEXT, pieces(TEXT), [TEXT]):
            packed = await all_of(engine.compress_stream(source, chunk_size="64K", flush_after=60))
            assert packed == await all_of(engine.compress_stream(TEXT, chunk_size="64K"))


@pytest.mark.parametrize("how", ["close", "cancel", "error"])
async def test_an_end_while_a_source_is_slow(how: str) -> None:
    """No task is left of a read that was under way."""
    closed = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.sleep(0.05 if how == "error" else 3600)
            raise KeyError("mine")
        finally:
            closed.set()

    async with Engine(1, executor="thread") as engine:
        before = asyncio.all_tasks()
        stream = engine.compress_stream(source(), single=True, flush_after=0)
        assert await anext(stream)
        if how == "close":
            await stream.aclose()
        elif how == "error":
            with pytest.raises(KeyError):
                await stream.read()
        else:
            reading = asyncio.create_task(stream.read())
            await asyncio.sleep(0.01)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        async with asyncio.timeout(5):
            await closed.wait()
        assert asyncio.all_tasks() == before
