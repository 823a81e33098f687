"""A folder that is served, by uvicorn on the loopback or in this process, and what is in it."""

# A server says only that it has started:
# ruff: noqa: ASYNC110

from __future__ import annotations

import asyncio
import gzip
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import zstandard

from aiocompress import Engine, sync

from ..help.data import noise, text
from ..help.tools import module

KIB, MIB = 1 << 10, 1 << 20
SECRET = b"what stands outside of the root"
LOG = b"".join(b"line %d of a log\n" % n for n in range(20_000))
PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360"
    "f8cf500f0003860180ba3f4e8d0000000049454e44ae426082"
)


def make_root(folder: Path) -> Path:
    """Make a folder of everything that is served, beside one that must not be."""
    (folder / "secret").write_bytes(SECRET)
    (folder / "private").mkdir()
    (folder / "private" / "key").write_bytes(SECRET)
    root = folder / "root"
    (root / "docs" / "deep").mkdir(parents=True)
    (root / "docs" / "notes.txt").write_text("Grüße\n" * 100)
    (root / "docs" / "deep" / "down.txt").write_text("far down")
    (root / "docs" / "a b&<c>'\".txt").write_text("odd name")
    (root / "docs" / os.fsdecode(b"\xff\xfe.txt")).write_text("no UTF-8")
    (root / "page.html").write_text("<script>alert(1)</script>")
    (root / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (root / "dot.png").write_bytes(PICTURE)
    (root / "data.bin").write_bytes(noise(300 * KIB))
    (root / "log.gz").write_bytes(gzip.compress(LOG))
    (root / "log.zst").write_bytes(zstandard.compress(LOG))
    (root / "big.zst").write_bytes(sync_frames(text(300 * KIB)))
    (root / "out").symlink_to("../secret")
    (root / "outside").symlink_to("../private")
    (root / "docs" / "inner").symlink_to("notes.txt")
    os.mkfifo(root / "pipe")
    sync.compress_folder([root / "docs", root / "dot.png"], root / "ours.tar.zst", "16KiB")
    with tarfile.open(root / "theirs.tar.gz", "w:gz") as archive:
        archive.add(root / "docs", "docs")
        link = tarfile.TarInfo("escape")
        link.type, link.linkname = tarfile.SYMTYPE, "../../secret"
        archive.addfile(link)
        for name in ("../above", "/etc/absolute"):
            archive.addfile(tarfile.TarInfo(name))
    return root


def sync_frames(data: bytes) -> bytes:
    """Several zstd frames, of another writer."""
    size = len(data) // 3 + 1
    return b"".join(zstandard.compress(data[at : at + size]) for at in range(0, len(data), size))


@asynccontextmanager
async def served(application: Any, lifespan: Any = "on") -> AsyncIterator[str]:
    """Run uvicorn with the application; yields the address, without a slash."""
    uvicorn = module("uvicorn")
    config = uvicorn.Config(
        application,
        "127.0.0.1",
        0,
        log_level="critical",
        loop="asyncio",
        ws="none",
        lifespan=lifespan,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.001)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def asking(application: Any) -> AsyncIterator[Any]:
    """Run an application in this process; yields a client that decodes nothing by itself."""
    httpx = module("httpx")
    transport = httpx.ASGITransport(application)
    router = getattr(application, "router", None)
    async with (
        router.lifespan_context(application) if router else nullcontext(),
        httpx.AsyncClient(
            transport=transport, base_url="http://test", headers={"accept-encoding": "identity"}
        ) as client,
    ):
        yield client


@asynccontextmanager
async def engine_of_threads() -> AsyncIterator[Engine]:
    """An engine that has given everything back in the end."""
    async with Engine(2, executor="thread") as engine:
        yield engine
        assert engine.statistics().slots_in_use == 0
