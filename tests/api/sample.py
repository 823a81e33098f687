"""Data that an engine is tried with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiocompress

from ..help.data import noise, text

KIB, MIB = 1 << 10, 1 << 20
CHUNK = 16 * KIB
TEXT = text(300 * KIB) + noise(100 * KIB)


async def pieces(data: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def all_of(stream: aiocompress.ByteStream) -> bytes:
    async with stream:
        return b"".join([data async for data in stream])
