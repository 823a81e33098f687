"""Payloads and streams in memory: programs that print the seconds that count.

As ``peers.py``, but none of them pays for what it imports.
"""

from __future__ import annotations

import asyncio
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, Final

import zstandard

from aiocompress import Engine

from ...help.data import text


def _pair(who: str) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    """Return what compresses and decompresses a payload."""
    if who == "zstandard":
        out, back = zstandard.ZstdCompressor(), zstandard.ZstdDecompressor()
        return out.compress, back.decompress
    if who in {"isal", "zlib_ng"}:
        module = import_module({"isal": "isal.igzip", "zlib_ng": "zlib_ng.gzip_ng"}[who])
    else:
        module = import_module(who)
    return module.compress, module.decompress


def payloads(who: str, verb: str, size: str, number: str) -> None:
    """Do so many payloads, one after another."""
    data = text(int(size))
    if who.startswith("ours"):
        asyncio.run(_our_payloads(verb, data, int(number), "gzip" if "gzip" in who else "zstd"))
        return
    out, back = _pair(who)
    work, payload = (out, data) if verb == "compress" else (back, out(data))
    work(payload)
    with _timed():
        for _ in range(int(number)):
            work(payload)


async def _our_payloads(verb: str, data: bytes, number: int, codec: Any) -> None:
    async with Engine() as engine:
        made = await engine.compress(data, codec=codec)
        await engine.decompress(made)
        with _timed():
            for _ in range(number):
                if verb == "compress":
                    await engine.compress(data, codec=codec)
                else:
                    await engine.decompress(made)


def streams(who: str, number: str, size: str) -> None:
    """Compress so many streams at once; each comes in parts of 64 KiB."""
    data = text(int(size))
    parts = [data[at : at + (64 << 10)] for at in range(0, len(data), 64 << 10)]
    asyncio.run((_our_streams if who == "ours" else _streams_in_threads)(who, int(number), parts))


async def _our_streams(_who: str, number: int, parts: list[bytes]) -> None:
    async def source() -> Any:
        for part in parts:
            yield part

    async def one() -> None:
        async with engine.compress_stream(source()) as stream:
            async for _ in stream:
                pass

    async with Engine() as engine:
        await one()
        with _timed():
            await asyncio.gather(*[one() for _ in range(number)])


async def _streams_in_threads(who: str, number: int, parts: list[bytes]) -> None:
    def begun() -> Any:
        return (
            zstandard.ZstdCompressor().compressobj()
            if who == "zstandard"
            else zlib.compressobj(wbits=31)
        )

    async def one() -> None:
        stream = begun()
        for part in parts:
            await loop.run_in_executor(threads, stream.compress, part)
        await loop.run_in_executor(threads, stream.flush)

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor() as threads:
        await one()
        with _timed():
            await asyncio.gather(*[one() for _ in range(number)])


class _timed:  # noqa: N801 - read as a word
    """Print the seconds that the body takes."""

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        sys.stdout.write(f"{time.perf_counter() - self._start}\n")


PROGRAMS: Final[Mapping[str, Callable[..., None]]] = {"payloads": payloads, "streams": streams}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
