"""A real uvicorn, two hundred slow clients beside twenty fast ones; benchmarks tell how fast."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import signal
import socket
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from aiocompress import sync

from ..help.data import noise
from ..help.programs import alive, family, started, until
from ..help.tools import LIBRARY, module
from .waiting import MIB

FAST: Final = 20
SLOW: Final = 200
LIMIT: Final = 64
SIZE: Final = 24 * MIB
KINDS: Final = ["folder", "member", "file"]
EACH: Final = {"folder": 4, "member": 1, "file": 2}
"""MiB of a frame; of a file, a chunk more is being read."""

SERVER: Final = """
import asyncio, contextlib, gc, os, socket, sys
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from aiocompress import Engine
from aiocompress.web import FileResponse, FolderResponse, MemberResponse

root, limit = sys.argv[1:]
engine = Engine(2, limit)

async def folder(_):
    return FolderResponse(f"{root}/folder", engine=engine, codec="gzip")

async def member(_):
    return MemberResponse(f"{root}/a.tar.zst", "data", engine=engine)

async def file(_):
    return FileResponse(f"{root}/data.zst", engine=engine)

async def state(_):
    about = engine.statistics()._asdict()
    about["tasks"] = len(asyncio.all_tasks())
    about["descriptors"] = len(os.listdir("/proc/self/fd"))
    return JSONResponse(about)

@contextlib.asynccontextmanager
async def lifespan(_):
    async with engine:
        await engine.compress(bytes(300_000))
        gc.disable()  # it comes seldom, and must not be needed
        yield

routes = [Route(f"/{one.__name__}", one) for one in (folder, member, file, state)]
listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
print(listening.getsockname()[1], flush=True)
config = uvicorn.Config(Starlette(routes=routes, lifespan=lifespan), log_level="error", ws="none")
uvicorn.Server(config).run(sockets=[listening])
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same data, which cannot be compressed, in a folder, in an archive and in a file."""
    root = tmp_path_factory.mktemp("load")
    (root / "folder").mkdir()
    (root / "folder" / "data").write_bytes(noise(SIZE))
    sync.compress_folder(root / "folder", root / "a.tar.zst", "1MiB")
    sync.compress_file(root / "folder" / "data", root / "data.zst", "1MiB")
    return root


@contextlib.contextmanager
def asked(port: int, kind: str) -> Iterator[socket.socket]:
    """Ask for a download, with a window that is as small as the system makes it."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(60)
        client.connect(("127.0.0.1", port))
        client.sendall(f"GET /{kind} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield client


def got(port: int, kind: str) -> bytes:
    """Download it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{kind}", timeout=120) as answer:
        data: bytes = answer.read()
        return data


def state_of(port: int) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(got(port, "state"))
    return state


def digest(data: bytes, kind: str) -> str:
    """Return that of the content."""
    if kind == "folder":
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            content = archive.extractfile("folder/data")
            assert content is not None
            data = content.read()
    return hashlib.sha256(data).hexdigest()


def memory(server: psutil.Process) -> float:
    everybody = [server, *family(server.pid)]
    return sum(float(one.memory_full_info().pss) for one in everybody) / MIB


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_slow_clients_beside_fast_ones(kind: str, root: Path) -> None:
    """Fast ones get all, memory keeps to README's formula, and what leaves leaves nothing."""
    module("uvicorn")
    expected = digest((root / "folder" / "data").read_bytes(), "data")
    command = (sys.executable, "-c", SERVER, root, f"{LIMIT}MiB")
    with started(*command, env=LIBRARY) as process:
        assert process.stdout is not None
        port, server = int(process.stdout.readline()), psutil.Process(process.pid)
        with ThreadPoolExecutor(FAST) as clients:
            list(clients.map(partial(got, port), [kind] * FAST))
            before, least = state_of(port), memory(server)
            with contextlib.ExitStack() as stack:
                slow = [stack.enter_context(asked(port, kind)) for _ in range(SLOW)]
                answers = clients.map(partial(got, port), [kind] * FAST)
                assert {digest(answer, kind) for answer in answers} == {expected}
                for client in slow:
                    assert client.recv(1000).startswith(b"HTTP/1.1 200")
                until(lambda: state_of(port)["slots_in_use"] == 0)
                # The formula, and what uvicorn holds of each.
                streams = SLOW * (EACH[kind] + 0.5)
                assert memory(server) <= LIMIT + streams + 2 * 3 + 12 * 3 + 20 + 30
                assert state_of(port)["memory_waiting"] <= (LIMIT / 4 + streams) * MIB

            def is_over() -> bool:
                now = state_of(port)
                names = ("slots_in_use", "memory_waiting", "memory_kept")
                counts = ("tasks", "descriptors")
                return not any(now[name] for name in names) and all(
                    now[name] <= before[name] for name in counts
                )

            until(is_over)
            if kind == "folder":  # of the others, free pages of the heap may stay with the server
                until(lambda: memory(server) <= least + 60)
        everybody = family(process.pid)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
        assert not said, said
        assert not alive(everybody, 5)
