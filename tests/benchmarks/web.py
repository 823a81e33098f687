"""Pages, downloads and small bodies over the loopback: ``python -m tests.benchmarks.web``.

The server is a process of its own; figures are medians of interleaved rounds. The zip servers
(``pip install zipstream-ng stream-zip``) stand behind the same uvicorn, if they are there.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import uvicorn
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from aiocompress import Engine, sync
from aiocompress.web import app

ROUNDS: Final = 5
BODIES: Final = 1000


# The server.


def zipped_by_zipstream(folder: Path) -> Iterator[bytes]:
    """The folder, deflated by zipstream-ng."""
    from zipstream import ZIP_DEFLATED, ZipStream

    return iter(ZipStream.from_path(str(folder), compress_type=ZIP_DEFLATED))


def zipped_by_stream_zip(folder: Path) -> Iterator[bytes]:
    """The folder, deflated by stream-zip."""
    from stream_zip import ZIP_32, stream_zip

    def content(path: Path) -> Iterator[bytes]:
        with path.open("rb") as file:
            while data := file.read(1 << 18):
                yield data

    now = datetime.now(UTC)
    members = ((str(path.name), now, 0o600, ZIP_32, content(path)) for path in folder.iterdir())
    return iter(stream_zip(members))


ZIPPERS: Final[dict[str, Callable[[Path], Iterator[bytes]]]] = {
    "/zip/zipstream-ng": zipped_by_zipstream,
    "/zip/stream-zip": zipped_by_stream_zip,
}


def serve(root: Path) -> None:
    """Serve the folder, and zips of it, at a port that is told on stdout."""
    inner: ASGIApp = app(root)

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        zipper = ZIPPERS.get(scope.get("path", ""))
        answer = inner if zipper is None else StreamingResponse(zipper(root / "large"))
        await answer(scope, receive, send)

    config = uvicorn.Config(outer, "127.0.0.1", 0, log_level="error", ws="none")
    listening = config.bind_socket()
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    uvicorn.Server(config).run(sockets=[listening])


# What is measured.


def make(root: Path) -> None:
    """Make a folder of 200 MB, and one of 20,000 entries, as archives, too."""
    source = random.Random(1)
    words = [source.randbytes(source.randint(1, 9)).hex().encode() for _ in range(2000)]
    (root / "large").mkdir()
    for number in range(200):
        content = b" ".join(source.choices(words, k=110_000))[: 1 << 20]
        (root / "large" / str(number)).write_bytes(content)
    (root / "many").mkdir()
    for number in range(20_000):
        (root / "many" / f"entry-{number:05}").write_bytes(bytes(number % 300))
    sync.compress_folder(root / "many", root / "many.tar.zst")
    os.system(f"tar -C {root} -czf {root}/theirs.tar.gz many")


@asynccontextmanager
async def served(root: Path) -> AsyncIterator[tuple[str, psutil.Process]]:
    """Run the server; yields its address and its process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.web", str(root)), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield (
            f"http://127.0.0.1:{int(await process.stdout.readline())}",
            psutil.Process(process.pid),
        )
    finally:
        process.terminate()
        await process.wait()


async def taken(client: httpx.AsyncClient, address: str) -> tuple[float, float]:
    """Return the seconds to the first byte of a body, and to its end."""
    began, first = time.perf_counter(), 0.0
    async with client.stream("GET", address) as answer:
        answer.raise_for_status()
        async for _ in answer.aiter_raw():
            first = first or time.perf_counter() - began
    return first, time.perf_counter() - began


async def pages(client: httpx.AsyncClient) -> None:
    """A page of a folder of 20,000 entries."""
    for address in (
        *("/many/", "/many/?sort=size", "/many/?page=20", "/many/?q=123"),
        *("/many.tar.zst/", "/many.tar.zst/?sort=size", "/many.tar.zst/?q=123"),
        "/theirs.tar.gz/many/",
    ):
        cold, _ = await taken(client, address)
        times = [await taken(client, address) for _ in range(ROUNDS)]
        first, whole = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
        print(f"{address:<26} first {cold * 1000:4.0f} ms; then {first:4.0f}, whole {whole:4.0f}")


async def downloads(client: httpx.AsyncClient, root: Path) -> None:
    """A folder of 200 MB: into a file by ``compress_folder``, and over the loopback."""
    found: dict[str, list[tuple[float, float]]] = {}
    async with Engine() as engine:
        for number in range(ROUNDS + 1):
            began = time.perf_counter()
            await engine.compress_folder(
                root / "large", root / "x.tar.zst", on_exists="replace", fsync=False
            )
            row = {"compress_folder to a file": (0.0, time.perf_counter() - began)}
            row["over the loopback"] = await taken(client, "/large/?download=tar.zst")
            for address in ZIPPERS if number in {1, 2, 3} else ():
                try:
                    row[address] = await taken(client, address)
                except httpx.HTTPError as error:
                    print(f"{address}: {type(error).__name__}")
            for name, times in row.items() if number else ():
                found.setdefault(name, []).append(times)
    base = statistics.median(whole for _, whole in found["compress_folder to a file"])
    for name, times in found.items():
        first, whole = (statistics.median(column) for column in zip(*times, strict=True))
        rate = base / whole
        print(f"{name:<26} {whole:6.2f} s, rate {rate:4.2f}; first byte {first * 1000:4.0f} ms")


async def bodies(client: httpx.AsyncClient, server: psutil.Process) -> None:
    """Small bodies to compress, all of them at once."""
    data = os.urandom(500) * 4

    async def one() -> float:
        began = time.perf_counter()
        answer = await client.post("/compress", content=data)
        answer.raise_for_status()
        return time.perf_counter() - began

    for _ in range(3):
        before = server.memory_full_info().pss
        times = sorted(await asyncio.gather(*(one() for _ in range(BODIES))))
        grown = (server.memory_full_info().pss - before) / 1e6
        median, high = statistics.median(times), times[int(len(times) * 0.99)]
        print(
            f"{BODIES} bodies at once: median {median * 1000:.0f} ms, p99 {high * 1000:.0f} "
            f"({high / median:.1f} x), no error; memory {grown:+.1f} MB"
        )


async def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root)
        most: Any = httpx.Limits(max_connections=BODIES)
        async with (
            served(root) as (url, server),
            httpx.AsyncClient(base_url=url, timeout=120, limits=most) as client,
        ):
            print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
            await pages(client)
            await downloads(client, root)
            await bodies(client, server)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(Path(sys.argv[1]))
    else:
        asyncio.run(main())
