"""Real servers: clients that leave, the end of a server, the command, and the tools of others."""

# Clients and servers are waited for that tell nobody what they have done:
# ruff: noqa: ASYNC110

from __future__ import annotations

import asyncio
import gzip
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from aiocompress import Engine
from aiocompress.web import FolderResponse, app

from ..help.data import noise
from ..help.tools import LIBRARY, module, tool
from .sample import LOG, MIB, served


async def until(true: Any, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def asked(url: str, line: str, body: bytes = b"") -> AsyncIterator[asyncio.StreamReader]:
    """Ask a server, and leave in the end, whatever it has still to say."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 14)
    size = 2 * len(body)  # more follows, which never comes
    head = f"{line} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n"
    writer.write(head.encode() + body)
    try:
        yield reader
    finally:
        writer.transport.abort()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A folder that no client takes at once."""
    (tmp_path / "large").mkdir()
    for number in range(8):
        (tmp_path / "large" / str(number)).write_bytes(noise(4 * MIB, number))
    return tmp_path


# Clients that leave.


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("GET /large/?download=tar.zst", b""),
        ("GET /large/?download=tar.gz", b""),
        ("GET /large/0", b""),
        ("POST /compress?level=19", noise(12 * MIB)),
        ("PUT /new", noise(MIB)),
    ],
)
async def test_a_client_that_leaves(line: str, body: bytes, large: Path) -> None:
    """Its work ends within a second: slots, memory, tasks, descriptors."""
    process = psutil.Process()
    async with (
        Engine(2, executor="thread") as engine,
        served(app(large, engine=engine, writable=True)) as url,
    ):
        await engine.compress(noise(MIB))  # now it has its memory
        tasks, descriptors = len(asyncio.all_tasks()), process.num_fds()
        async with asked(url, line, body) as reader:
            if body:
                await asyncio.sleep(0.2)
            else:
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.05)

        def is_over() -> bool:
            seen = engine.statistics()
            return (
                not (seen.slots_in_use or seen.memory_waiting)
                and len(asyncio.all_tasks()) <= tasks
                and process.num_fds() <= descriptors
            )

        await until(is_over, 5)
    assert sorted(os.listdir(large)) == ["large"]


async def test_responses_in_a_plain_application(large: Path) -> None:
    """The same without the application's own care: the response sees to it."""
    async with Engine(2, executor="thread") as engine:
        ended = []

        async def download(scope: Any, receive: Any, send: Any) -> None:
            await FolderResponse(large / "large", engine=engine)(scope, receive, send)
            ended.append(engine.statistics().slots_in_use)

        async with served(download, lifespan="off") as url:
            async with asked(url, "GET /") as reader:
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
                assert not ended
            await until(lambda: ended)
        assert engine.statistics().memory_waiting == 0


@pytest.mark.parametrize("number", [100, pytest.param(1000, marks=pytest.mark.faults)])
async def test_many_small_bodies_at_once(number: int, tmp_path: Path) -> None:
    """All of them come back, and take no slot; large ones that are under way hold up nobody."""
    aiohttp = module("aiohttp")

    async def post(path: str, data: bytes) -> bytes:
        async with client.post(f"{url}{path}", data=data) as answer:
            assert answer.status == 200
            made: bytes = await answer.read()
            return made

    async def there_and_back(seed: int) -> None:
        raw = noise(300, seed) * 10
        assert await post("/decompress", await post("/compress", raw)) == raw

    async with (
        Engine(2, executor="thread") as engine,
        served(app(tmp_path, engine=engine, max_streams=1)) as url,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as client,
        asked(url, "POST /compress?level=19", noise(2 * MIB)),
    ):
        await asyncio.gather(*map(there_and_back, range(number)))
        assert engine.statistics().memory_peak <= 64 * MIB


@pytest.mark.faults
async def test_many_who_leave_and_many_who_are_slow(large: Path) -> None:
    """A hundred who take nothing hold up nobody, and a hundred who leave leave nothing."""
    httpx = module("httpx")
    async with (
        Engine(2, executor="thread") as engine,
        served(app(large, engine=engine)) as url,
        AsyncExitStack() as stack,
    ):
        for _ in range(100):
            slow = asked(url, "GET /large/?download=tar.zst")
            assert await (await stack.enter_async_context(slow)).readline()
        async with httpx.AsyncClient(timeout=60) as client:
            quick = await client.get(f"{url}/large/?download=tar.gz")
            assert len(quick.content) > 32 * MIB
        await stack.aclose()
        await until(lambda: not engine.statistics().memory_waiting, 5)
        await until(lambda: not engine.statistics().slots_in_use, 5)


# The tools of others.


async def test_aiohttp_and_curl(root: Path, tmp_path: Path) -> None:
    """Other clients get and send the same."""
    aiohttp, curl = module("aiohttp"), tool("curl")

    async def run(*arguments: str) -> bytes:
        process = await asyncio.create_subprocess_exec(curl, "-sSg", *arguments, stdout=-1)
        out, _ = await asyncio.wait_for(process.communicate(), 30)
        return out

    (tmp_path / "up").write_bytes(LOG)
    async with (
        Engine(2, executor="thread") as engine,
        served(app(tmp_path, engine=engine, writable=True)) as url,
        served(app(root, engine=engine)) as other,
    ):
        assert await run("-T", str(tmp_path / "up"), f"{url}/sent") == b""
        assert (tmp_path / "sent").read_bytes() == LOG
        assert await run("--compressed", f"{other}/log.zst?decoded") == LOG
        assert await run("--compressed", f"{other}/log.gz?decoded") == LOG
        assert await run("-r", "100-199", f"{url}/sent") == LOG[100:200]
        await run("-o", str(tmp_path / "part"), "-r", "0-999", f"{url}/sent")
        await run("-o", str(tmp_path / "part"), "-C", "-", f"{url}/sent")  # resumed
        assert (tmp_path / "part").read_bytes() == LOG
        found = await run("--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", f"{url}/../up")
        assert found == b"404"
        packed = await run("--data-binary", f"@{tmp_path / 'up'}", f"{url}/compress?codec=gzip")
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{url}/decompress", data=packed) as answer:
                assert await answer.read() == LOG
            async with session.get(f"{other}/log.gz?decoded") as answer:
                assert await answer.read() == LOG
            async with session.get(f"{other}/docs/?download=tar.zst") as answer:
                archive = await answer.read()
    unpack = tool("tar"), "--zstd", "-xf", "-", "-C", str(tmp_path)
    await asyncio.to_thread(subprocess.run, unpack, input=archive, check=True)
    assert (tmp_path / "docs" / "deep" / "down.txt").read_text() == "far down"


async def test_the_example(root: Path) -> None:
    """FastAPI on a real uvicorn, asked by curl, and ended by Ctrl-C."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
    example = Path(__file__).parents[2] / "examples" / "fastapi_download_folder.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(example), str(root), port, env=LIBRARY, stderr=asyncio.subprocess.PIPE
    )
    try:
        get = tool("curl"), "-sSf", "--retry", "50", "--retry-connrefused", "--retry-delay", "1"
        url = f"http://127.0.0.1:{port}"
        asked = await asyncio.create_subprocess_exec(*get, f"{url}/download", stdout=-1)
        data, _ = await asyncio.wait_for(asked.communicate(), 60)
        names = await asyncio.to_thread(
            subprocess.check_output, [tool("tar"), "--zstd", "-tf", "-"], input=data
        )
        assert b"root/docs/notes.txt\n" in names
        asked = await asyncio.create_subprocess_exec(*get, f"{url}/files/docs/", stdout=-1)
        page, _ = await asyncio.wait_for(asked.communicate(), 60)
        assert b"notes.txt" in page
        process.send_signal(signal.SIGINT)
        _, told = await asyncio.wait_for(process.communicate(), 30)
        assert b"Warning" not in told, told.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


# The command.


@asynccontextmanager
async def command(*arguments: str) -> AsyncIterator[tuple[Any, str]]:
    """Run ``aiocompress serve``; yields the process and the address that it tells."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aiocompress", "serve", "--port", "0", *arguments),
        stderr=subprocess.PIPE,
        env=LIBRARY,
        process_group=0,
    )
    try:
        assert process.stderr is not None
        told = (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
        found = re.search(r"http://\S+(?=/)", told)
        assert found, told
        yield process, found[0]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.faults)]
)
async def test_the_end_of_the_command(number: signal.Signals, large: Path) -> None:
    """A signal ends it, and all that it has started, also while a client takes nothing."""
    httpx = module("httpx")
    async with command("--root", str(large)) as (process, url):
        async with httpx.AsyncClient() as client:
            assert "large" in (await client.get(f"{url}/")).text
            assert (await client.get(url, headers={"host": "evil.example"})).status_code == 421
            local = url.replace("127.0.0.1", "localhost")
            assert (await client.put(f"{local}/x", content=b"")).status_code == 405
        async with asked(url, "GET /large/?download=tar.zst") as reader:
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(number)
            await asyncio.wait_for(process.wait(), 15)
        assert process.returncode == -number
        told = (await process.stderr.read()).decode()
        assert "Traceback" not in told, told
        assert "Warning" not in told, told
        await until(lambda: not any(child.is_running() for child in children))
    assert sorted(os.listdir(large)) == ["large"]


async def test_what_the_command_says(root: Path) -> None:
    """Where it is, and who else can reach it."""
    httpx = module("httpx")
    async with command("--root", str(root), "--host", "0.0.0.0", "--writable") as (process, url):
        warning = (await process.stderr.readline()).decode()
        assert "no password" in warning
        assert "write into it" in warning
        async with httpx.AsyncClient() as client:
            port = url.rpartition(":")[2]
            assert (await client.get(f"http://127.0.0.1:{port}/healthz")).text == "ok\n"


async def test_damage_is_a_line_of_the_log(root: Path) -> None:
    """What a stranger sends broken breaks off his answer, and brings no traceback."""
    httpx = module("httpx")
    broken = gzip.compress(noise(1 << 20))[:-1000]
    async with command("--root", str(root)) as (process, url):
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post(f"{url}/decompress", content=broken)
        process.terminate()
        told = (await process.stderr.read()).decode()
    assert "an answer broke off: the gzip data is cut off" in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("arguments", [("--root", "missing"), ("--host", "192.0.2.1")])
def test_mistakes(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """One line, and exit code 2."""
    done = subprocess.run(
        (sys.executable, "-m", "aiocompress", "serve", "--port", "0", *arguments),
        cwd=tmp_path,
        env=LIBRARY,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("aiocompress: ")


def test_without_the_extra(tmp_path: Path) -> None:
    """Where starlette is missing, the command says what to install."""
    (tmp_path / "starlette.py").write_text("raise ModuleNotFoundError(name='starlette')")
    done = subprocess.run(
        (sys.executable, "-m", "aiocompress", "serve"),
        cwd=tmp_path,
        env=LIBRARY | {"PYTHONPATH": f"{tmp_path}:{LIBRARY['PYTHONPATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 2
    assert "pip install 'aiocompress[web]'" in done.stderr
