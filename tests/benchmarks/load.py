"""Slow clients beside fast ones, of a real uvicorn: ``python -m tests.benchmarks.load``.

Twenty clients take all that they get of a long download, first alone, then beside 200 that take
1 KB a second each. What is told: the rates of the fast ones, second by second while the windows of
the slow ones fill, and after that; the memory (PSS) of the server and its workers, beside README's
formula; and how long the server works on for clients that have left. The server is a process of its
own, which shares the processors with its clients.
"""

# Nobody tells when the server has given all back:
# ruff: noqa: ASYNC110

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aiocompress import Engine, sync
from aiocompress.model import MIB
from aiocompress.web import FileResponse, FolderResponse, MemberResponse

from ..help.data import text

FAST: Final = 20
SLOW: Final = 200
SIZE: Final = 2 << 30
FRAME: Final = 5
"""MiB of a frame, at most."""
SECONDS: Final = 5
"""How long each of the three phases is."""


# The server.


def serve(root: Path) -> None:
    """Serve downloads of a folder, a member and a file at a port that is told on stdout."""
    engine = Engine()
    packed = root / "one.tar.zst"

    async def folder(_: Request) -> Response:
        return FolderResponse(root / "large", engine=engine)

    async def member(_: Request) -> Response:
        return MemberResponse(packed, "member", engine=engine)

    async def file(_: Request) -> Response:
        return FileResponse(root / "file.zst", engine=engine)

    async def state(_: Request) -> Response:
        return JSONResponse(engine.statistics()._asdict())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with engine:
            yield

    routes = [Route(f"/{one.__name__}", one) for one in (folder, member, file, state)]
    application = Starlette(routes=routes, lifespan=lifespan)

    config = uvicorn.Config(application, log_level="error", ws="none")
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    uvicorn.Server(config).run(sockets=[listening])


# Its clients.


class _Fast(asyncio.BufferedProtocol):
    """A client that takes all it gets; ``taken`` counts for all of them."""

    taken = 0
    room = bytearray(MIB)

    def __init__(self, path: str) -> None:
        self._path = path
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(_request(self._path))

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        _Fast.taken += nbytes


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


async def _slow(port: int, path: str) -> None:
    """Take 1 KB a second, of a window that is as small as the system makes it."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(0)
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, _request(path))
        while await loop.sock_recv(client, 1000):
            await asyncio.sleep(1)


# What is measured.


def make(root: Path) -> None:
    """Make a folder that takes longer to download than is measured, and the like."""
    (root / "large").mkdir()
    content = text(16 * MIB)
    for number in range(SIZE // len(content)):
        (root / "large" / str(number)).write_bytes(content[number:] + content[:number])
    (root / "one").mkdir()
    with (root / "one" / "member").open("wb") as file:
        file.writelines([content] * (SIZE // len(content)))
    sync.compress_folder(root / "one", root / "one.tar.zst", fsync=False)
    sync.compress_file(root / "one" / "member", root / "file.zst", fsync=False)


@asynccontextmanager
async def served(root: Path) -> AsyncIterator[tuple[int, psutil.Process]]:
    """Run the server; yields its port and its process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.load", str(root)), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield int(await process.stdout.readline()), psutil.Process(process.pid)
    finally:
        process.kill()  # it would wait for the slow ones
        await process.wait()


async def _state(port: int) -> dict[str, Any]:
    def ask() -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/state", timeout=60) as answer:
            state: dict[str, Any] = json.load(answer)
            return state

    return await asyncio.to_thread(ask)


def _memory(server: psutil.Process) -> float:
    processes = [server, *server.children(recursive=True)]
    return sum(one.memory_full_info().pss for one in processes) / MIB


async def _rate(seconds: float) -> float:
    """Return how many MB a second the fast clients take together."""
    before, began = _Fast.taken, time.perf_counter()
    await asyncio.sleep(seconds)
    return (_Fast.taken - before) / (time.perf_counter() - began) / 1e6


async def measure(root: Path, path: str) -> None:
    """Measure one kind of download."""
    async with served(root) as (port, server):
        loop, fast = asyncio.get_running_loop(), [_Fast(path) for _ in range(FAST)]
        for one in fast:
            await loop.create_connection(lambda one=one: one, "127.0.0.1", port)
        await _rate(2)
        alone, before = await _rate(SECONDS), _memory(server)
        slow = [asyncio.create_task(_slow(port, path)) for _ in range(SLOW)]
        filling = [await _rate(1) for _ in range(SECONDS)]
        await asyncio.sleep(SECONDS)
        later, most, state = await _rate(SECONDS), _memory(server), await _state(port)
        assert not any(one.transport.is_closing() for one in fast), "the download is too short"
        began = time.perf_counter()
        for one in (*slow, *(one.transport for one in fast)):
            one.cancel() if isinstance(one, asyncio.Task) else one.abort()
        while (now := await _state(port))["slots_in_use"] or now["memory_waiting"]:
            await asyncio.sleep(0.01)
        ended, after = time.perf_counter() - began, _memory(server)
    told = " ".join(f"{rate / alone:.2f}" for rate in filling)
    streams = (FAST + SLOW) * FRAME
    formula = (state["memory_limit"] / MIB, streams, state["num_workers"] * 3, 12 * 3 + 20)
    print(f"{path}: {FAST} fast clients alone {alone:.0f} MB/s")
    print(f"  beside {SLOW} slow ones: second by second {told}; later {later / alone:.2f}")
    print(
        f"  PSS {before:.0f} MiB, beside the slow ones {most:.0f}, after all {after:.0f}; "
        f"the formula allows {sum(formula):.0f}; all work ended {ended:.2f} s after they left"
    )


async def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root)
        await asyncio.sleep(2)  # of files that have just changed a server remembers nothing
        for path in sys.argv[1:] or ("/folder", "/member", "/file"):
            await measure(root, path)


if __name__ == "__main__":
    if sys.argv[1:] and Path(sys.argv[1]).is_dir():
        serve(Path(sys.argv[1]))
    else:
        asyncio.run(main())
