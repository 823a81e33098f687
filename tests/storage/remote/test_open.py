"""``open`` of a URL: read and sought by ranges, written whole or not at all."""

from __future__ import annotations

import gzip
import io

import pytest

import aiocompress
from aiocompress import sync

from ...help.archives import KIB, MIB, two_threads
from ...help.data import noise, text
from ...help.s3 import Proxy, Storage
from ...help.web import Site

URL = "s3://bucket/folder/log.zst"
LINES = text(900 * KIB).replace(b" ", b"\n")


def packed(data: bytes) -> bytes:
    made = io.BytesIO()
    sync.compress_file(data, made, "64K")
    return made.getvalue()


async def test_a_file_of_a_web_server() -> None:
    """Its lines come as they do from the disk; what is sought is read by its range alone."""
    data = noise(6 * MIB)
    async with Site(packed(data), "x.zst") as site, two_threads() as engine:
        async with engine.open(site.url) as file:
            assert (file.name, file.seekable()) == (site.url, True)
            assert await file.seek(-100, io.SEEK_END) == len(data) - 100
            assert await file.read() == data[-100:]
            assert site.taken() <= 8
            assert await file.seek(MIB + 5) == MIB + 5
            assert await file.read(10) == data[MIB + 5 : MIB + 15]
        async with engine.open(site.url) as file:
            assert await file.read() == data
        with pytest.raises(ValueError, match="nothing can be appended"):
            engine.open(site.url, "ab")
        with pytest.raises(ValueError, match="s3://BUCKET/KEY only"):
            await engine.open(site.url, "wb")
    async with Site(gzip.compress(LINES), "log.gz") as site:
        async with aiocompress.open(f"{site.url}?token=hunter2", "rt") as text_file:
            assert [line async for line in text_file] == LINES.decode().splitlines(keepends=True)
            assert "hunter2" not in str(text_file.name)
        site.faults = [site.status(404)]
        with pytest.raises(FileNotFoundError, match="log"):
            await aiocompress.open(site.url)


async def test_an_object_that_is_written(storage: Storage, proxy: Proxy) -> None:
    """It appears at the end, and is there for who opens it then; "x" is for a new one."""
    async with two_threads() as engine:
        async with engine.open(URL, "wt") as file:
            await file.write(LINES.decode())
            await file.flush()
        async with engine.open(URL) as file:
            assert await file.readlines() == LINES.splitlines(keepends=True)
        with pytest.raises(FileExistsError):
            await engine.open(URL, "xb")
        async with engine.open(URL.replace(".zst", ".gz"), "xb") as file:
            await file.write(LINES)
    assert gzip.decompress(storage.get("folder/log.gz")) == LINES
    assert not storage.uploads()
    assert proxy.calls["put"] == 2


async def test_an_error_in_the_body(storage: Storage, proxy: Proxy) -> None:
    """What was there stays, and no upload is left open."""
    storage.put("folder/log.zst", b"older")

    async def write() -> None:
        async with engine.open(URL, "wb") as file:
            for seed in range(12):
                await file.write(noise(MIB, seed))
                await file.flush()
            raise ZeroDivisionError

    async with two_threads() as engine:
        with pytest.raises(ZeroDivisionError):
            await write()
        assert engine.statistics().memory_waiting == 0
    assert storage.get("folder/log.zst") == b"older"
    assert proxy.calls["begin"] == proxy.calls["abort"] == 1 or not proxy.calls["begin"]
    assert not storage.uploads()
