"""What clients send: bodies to compress and to decompress, and uploads, within limits."""

from __future__ import annotations

import asyncio
import gzip
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import zstandard

from aiocompress import Engine, decompress
from aiocompress.web import app

from ..help.data import noise, text
from .sample import KIB, MIB, asking, served

SMALL, LARGE = text(3000), text(3 * MIB) + noise(MIB)


async def parts(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


# Bodies.


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
@pytest.mark.parametrize("codec", ["zstd", "gzip"])
async def test_there_and_back(codec: str, data: bytes, tmp_path: Path) -> None:
    """A body of any size comes back compressed, and that one as it was."""
    async with Engine(2, executor="thread") as engine, asking(app(tmp_path, engine=engine)) as to:
        made = await to.post(f"/compress?codec={codec}&level=1", content=parts(data))
        assert made.status_code == 200
        assert made.headers["content-type"] == f"application/{codec}"
        assert made.headers["cache-control"] == "no-store"
        assert await decompress(made.content) == data
        back = await to.post("/decompress", content=parts(made.content))
        assert back.content == data
        assert engine.statistics().slots_in_use == 0


async def test_statuses(tmp_path: Path) -> None:
    """Each mistake has a status of its own, and a reason."""
    packed = zstandard.compress(LARGE)
    async with (
        Engine(2, executor="thread") as engine,
        asking(app(tmp_path, engine=engine, max_body="5MiB", max_output="4MiB")) as to,
    ):
        for expected, target, body in (
            (400, "/compress?codec=zip", SMALL),
            (400, "/compress?level=99", SMALL),
            (400, "/compress?level=high", SMALL),
            (413, "/compress", noise(6 * MIB)),
            (415, "/decompress", b"no format at all"),
            (415, "/decompress", noise(200 * KIB)),
            (422, "/decompress", packed[:1000]),
            (422, "/decompress", packed[:20] + bytes(30)),
            (422, "/decompress", b""),
        ):
            answer = await to.post(target, content=parts(body))
            assert answer.status_code == expected, (target, answer.status_code, answer.text)
            assert len(answer.text.splitlines()) == 1
            assert "int()" not in answer.text
        # Who says beforehand that it is too much is told at once.
        answer = await to.post("/compress", content=noise(6 * MIB))
        assert answer.status_code == 413
        assert engine.statistics().slots_in_use == 0


async def test_bombs(tmp_path: Path) -> None:
    """A small body that becomes more than is allowed at once is refused."""
    async with (
        Engine(2, executor="thread") as engine,
        asking(app(tmp_path, engine=engine, max_output="100KiB")) as to,
    ):
        for bomb in (zstandard.compress(bytes(MIB)), gzip.compress(bytes(9 * MIB))):
            answer = await to.post("/decompress", content=bomb)
            assert answer.status_code == 413
            assert "102400 bytes allowed" in answer.text


async def test_damage_behind_good_bytes(tmp_path: Path) -> None:
    """The status has gone by then: the connection breaks, so that nobody takes it for the whole."""
    good = b"".join(zstandard.compress(noise(MIB, seed)) for seed in range(3))
    async with (
        Engine(2, executor="thread") as engine,
        served(app(tmp_path, engine=engine)) as url,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        body = good + b"\x28\xb5\x2f\xfd" + bytes(50)
        head = f"POST /decompress HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200")
        assert not answer.endswith(b"0\r\n\r\n")


async def test_a_client_that_stops_sending(tmp_path: Path) -> None:
    """It is told so, and holds nothing."""
    async with (
        Engine(2, executor="thread") as engine,
        served(app(tmp_path, engine=engine, idle_seconds=0.1, writable=True)) as url,
    ):
        for line in ("POST /compress", "POST /decompress", "PUT /x", "POST /"):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(f"{line} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\nsome".encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1 408"), line
            writer.close()
    assert os.listdir(tmp_path) == []


async def test_too_many_at_once(tmp_path: Path) -> None:
    """Large bodies wait for others, and are sent away in the end; small ones never wait."""
    held = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield noise(100_000)
        await held.wait()

    async with (
        Engine(2, executor="thread") as engine,
        served(app(tmp_path, engine=engine, max_streams=1, page_seconds=0.2)) as url,
    ):
        import httpx

        async with httpx.AsyncClient(base_url=url, timeout=30) as to:
            first = asyncio.create_task(to.post("/compress", content=slow()))
            await asyncio.sleep(0.2)
            answer = await to.post("/compress", content=LARGE)
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
            assert (await to.post("/compress", content=SMALL)).status_code == 200
            held.set()
            assert (await first).status_code == 200
            assert (await to.post("/compress", content=LARGE)).status_code == 200


# Uploads.


async def test_an_upload(tmp_path: Path) -> None:
    """It is there when it is whole, and takes the place of nothing unless that is asked for."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "folder").mkdir()
    (tmp_path / "aside").write_text("aside")
    (tmp_path / "in" / "link").symlink_to("../aside")
    name = "a%20%C3%BC%FF%3F"
    async with (
        Engine(2, executor="thread") as engine,
        asking(app(tmp_path, engine=engine, writable=True)) as to,
    ):
        assert (await to.put(f"/in/{name}", content=parts(LARGE))).status_code == 201
        path = tmp_path / "in" / os.fsdecode(b"a \xc3\xbc\xff?")
        assert path.read_bytes() == LARGE
        assert stat.S_IMODE(os.stat(path).st_mode) & 0o600 == 0o600
        answer = await to.put(f"/in/{name}", content=b"other")
        assert (answer.status_code, answer.text) == (409, "something of that name exists\n")
        assert (await to.put("/in/link", content=b"x")).status_code == 409
        assert (await to.put("/in/folder", content=b"x")).status_code == 409
        assert (await to.put("/in/folder?replace", content=b"x")).status_code == 409
        assert path.read_bytes() == LARGE
        assert (await to.put(f"/in/{name}?replace", content=b"other")).status_code == 204
        assert path.read_bytes() == b"other"
        assert (await to.put("/in/link?replace", content=b"new")).status_code == 204
        assert (tmp_path / "aside").read_text() == "aside"
        assert (tmp_path / "in" / "link").read_text() == "new"
        for target, status in (
            ("/missing/x", 404),
            ("/aside/x", 404),
            ("/in/%2e%2e%2fx", 404),
            ("/in/%00", 404),
            ("/in/" + "x" * 300, 404),
            ("/in/", 405),
            ("/", 405),
        ):
            assert (await to.put(target, content=b"x")).status_code == status, target
    assert sorted(os.listdir(tmp_path)) == ["aside", "in"]


async def test_an_upload_that_is_too_large_or_breaks_off(tmp_path: Path) -> None:
    """Nothing is left of it, not even a temporary."""
    async with (
        Engine(2, executor="thread") as engine,
        served(app(tmp_path, engine=engine, writable=True, max_upload="1MiB")) as url,
    ):
        import httpx

        async with httpx.AsyncClient(base_url=url) as to:
            assert (await to.put("/x", content=parts(LARGE))).status_code == 413
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(
            b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + bytes(500_000)
        )
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await asyncio.sleep(0.05)
    assert os.listdir(tmp_path) == []


async def test_who_may_not_write(tmp_path: Path) -> None:
    """Without ``writable`` there is no upload, and no script on the page."""
    async with Engine(2, executor="thread") as engine, asking(app(tmp_path, engine=engine)) as to:
        assert (await to.put("/x", content=b"x")).status_code == 405
        page = (await to.get("/")).text
        assert "<script" not in page
        assert "Upload" not in page
    async with (
        Engine(2, executor="thread") as engine,
        asking(app(tmp_path, engine=engine, writable=True)) as to,
    ):
        assert "<script>" in (await to.get("/")).text
        assert "<script" not in (await to.get("/x", headers={"accept": "text/html"})).text
