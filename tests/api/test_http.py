"""Over HTTP, with the servers and clients that people use, on the loopback."""

# Keys of ASGI, and a server that says only that it has started:
# ruff: noqa: ASYNC110

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from wsgiref.handlers import SimpleHandler

import psutil
import pytest

from aiocompress import ClosedError, Engine, LimitError, sync

from ..help.data import noise, text
from ..help.engines import given_back
from ..help.tools import module, tool
from .sample import KIB, MIB, all_of, pieces

RAW = text(MIB) * 6 + noise(MIB)
"""Two frames in the default form, of which some clients would read one."""
PAGE = """<script type="module">
    const data = await (await fetch("/")).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data)).toHex();
    document.body.innerHTML = `<p>${digest} ${data.byteLength}</p>`;
</script>"""
"""What a browser runs."""
CODECS: Any = ["zstd", "gzip"]
every_codec = pytest.mark.parametrize("codec", CODECS)


class Download:
    """An ASGI application: a file, a folder or events, compressed while they are sent."""

    def __init__(self, engine: Engine, source: Any, codec: Any, **options: Any) -> None:
        self._make = lambda: engine.compress_stream(source, codec=codec, single=True, **options)
        self._headers = {"content-encoding": codec}
        self.left = 0
        """How many responses are over."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        responses = module("starlette.responses")
        if scope["path"] == "/page":
            await responses.HTMLResponse(PAGE)(scope, receive, send)
            return
        try:
            async with self._make() as stream:
                answer = responses.StreamingResponse(stream, headers=self._headers)
                await answer(scope, receive, send)
        except FileNotFoundError:
            await responses.Response(status_code=404)(scope, receive, send)
        finally:
            self.left += 1


@asynccontextmanager
async def served(application: Any) -> AsyncIterator[str]:
    """Run uvicorn; yields the address."""
    uvicorn = module("uvicorn")
    config = uvicorn.Config(
        application, "127.0.0.1", 0, log_level="error", lifespan="off", loop="asyncio", ws="none"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.001)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def engine_and_file(folder: Path) -> AsyncIterator[tuple[Engine, Path]]:
    (folder / "file").write_bytes(RAW)
    async with Engine(2, executor="thread") as engine:
        yield engine, folder / "file"
        await given_back(engine)


# Whole, for each client.


async def _with_httpx(url: str) -> tuple[str, int]:
    async with module("httpx").AsyncClient() as client:
        answer = await client.get(url)
        return hashlib.sha256(answer.content).hexdigest(), len(answer.content)


async def _with_aiohttp(url: str) -> tuple[str, int]:
    async with module("aiohttp").ClientSession() as session, session.get(url) as answer:
        data = await answer.read()
        return hashlib.sha256(data).hexdigest(), len(data)


async def _ran(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1)
    out, told = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, told.decode()
    return out


async def _with_curl(url: str) -> tuple[str, int]:
    data = await _ran(tool("curl"), "-sS", "--fail", "--noproxy", "*", "--compressed", url)
    return hashlib.sha256(data).hexdigest(), len(data)


async def _with_node(url: str) -> tuple[str, int]:
    code = f"""
        const data = Buffer.from(await (await fetch({json.dumps(url)})).arrayBuffer());
        const {{createHash}} = await import("node:crypto");
        console.log(createHash("sha256").update(data).digest("hex"), data.length);
    """
    out = await _ran(tool("node"), "--input-type=module", "-e", code)
    digest, size = out.decode().split()
    return digest, int(size)


async def _with_chromium(url: str) -> tuple[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-proxy-server")
        home = f"--user-data-dir={folder}"
        dump = ("--virtual-time-budget=30000", "--dump-dom")
        out = await _ran(tool("chromium"), *flags, home, *dump, f"{url}page")
    found = re.search(r"<p>(\w+) (\d+)</p>", out.decode())
    assert found, out
    return found[1], int(found[2])


CLIENTS: Any = {
    "httpx, zstd": (_with_httpx, "zstd"),
    "httpx, gzip": (_with_httpx, "gzip"),
    "aiohttp, gzip": (_with_aiohttp, "gzip"),
    "curl, zstd": (_with_curl, "zstd"),
    "curl, gzip": (_with_curl, "gzip"),
    "node, gzip": (_with_node, "gzip"),
}


BROWSERS: Any = {
    "chromium, zstd": (_with_chromium, "zstd"),
    "chromium, gzip": (_with_chromium, "gzip"),
}


@pytest.mark.parametrize(
    "client", [*CLIENTS, *(pytest.param(name, marks=pytest.mark.faults) for name in BROWSERS)]
)
async def test_clients_read_it_whole(client: str, tmp_path: Path) -> None:
    """A single frame as ``Content-Encoding``, decoded by the client itself."""
    fetch, codec = (CLIENTS | BROWSERS)[client]
    async with engine_and_file(tmp_path) as (engine, path):
        application = Download(engine, path, codec, compression_level=1)
        async with served(application) as url:
            assert await fetch(url) == (hashlib.sha256(RAW).hexdigest(), len(RAW))


@every_codec
async def test_a_missing_file(codec: Any, tmp_path: Path) -> None:
    """It is known before any header is sent: 404, and not a broken 200."""
    async with engine_and_file(tmp_path) as (engine, path):
        path.unlink()
        async with (
            served(Download(engine, path, codec)) as url,
            module("httpx").AsyncClient() as client,
        ):
            assert (await client.get(url)).status_code == 404


async def test_a_client_that_leaves(tmp_path: Path) -> None:
    """Its stream ends, and gives everything back."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield noise(64 * KIB)

    async with engine_and_file(tmp_path) as (engine, _):
        application = Download(engine, endless(), "zstd")
        async with served(application) as url, module("httpx").AsyncClient() as client:
            async with client.stream("GET", url) as answer:
                async for data in answer.aiter_bytes():
                    assert data
                    break
            async with asyncio.timeout(10):
                while not application.left:
                    await asyncio.sleep(0.01)


@every_codec
async def test_events(codec: Any, tmp_path: Path) -> None:
    """With ``flush_after`` a client sees an event before the next one happens."""
    seen = asyncio.Event()

    async def events() -> AsyncIterator[bytes]:
        for number in range(3):
            seen.clear()
            yield b"data: %d\n\n" % number
            await seen.wait()

    async with engine_and_file(tmp_path) as (engine, _):
        application = Download(engine, events(), codec, flush_after=0.005)
        async with (
            asyncio.timeout(20),
            served(application) as url,
            module("httpx").AsyncClient() as client,
            client.stream("GET", url) as answer,
        ):
            got = b""
            async for data in answer.aiter_bytes():
                got += data
                if got.endswith(b"\n\n"):
                    seen.set()
            assert got == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"


@pytest.mark.faults
@every_codec
async def test_many_slow_clients(codec: Any, tmp_path: Path) -> None:
    """Each takes the state of its encoder, as the README says; others are served meanwhile."""
    number, each = 100, 4 * MIB + MIB  # and a MiB for the server's own buffers

    parts = [noise(64 * KIB, seed) for seed in range(64)]

    async def endless() -> AsyncIterator[bytes]:
        while True:
            for part in parts:
                yield part

    async with engine_and_file(tmp_path) as (engine, path):
        slow, quick = Download(engine, None, codec), Download(engine, path, codec)
        slow._make = lambda: engine.compress_stream(endless(), codec=codec, single=True)
        async with served(slow) as url, served(quick) as other:
            host, port = url.removeprefix("http://").rstrip("/").split(":")
            before = psutil.Process().memory_full_info().pss
            clients = [await asyncio.open_connection(host, int(port)) for _ in range(number)]
            for reader, writer in clients:
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            async with asyncio.timeout(60):
                assert await _with_httpx(other) == (hashlib.sha256(RAW).hexdigest(), len(RAW))
            assert psutil.Process().memory_full_info().pss - before < number * each + 32 * MIB
            for _, writer in clients:
                writer.close()
            async with asyncio.timeout(60):
                while slow.left < number:
                    await asyncio.sleep(0.01)


# Bodies of requests.


async def test_bodies_of_starlette(tmp_path: Path) -> None:
    """``request.stream()`` is a source, within ``max_input``; httpx sends a stream of ours."""
    requests, responses = module("starlette.requests"), module("starlette.responses")

    async with engine_and_file(tmp_path) as (engine, path):

        async def application(scope: Any, receive: Any, send: Any) -> None:
            body = requests.Request(scope, receive).stream()
            try:
                async with engine.decompress_stream(body, max_input="8MiB") as stream:
                    digest = hashlib.sha256()
                    async for data in stream:
                        digest.update(data)
                answer = responses.Response(digest.hexdigest())
            except LimitError:
                answer = responses.Response(status_code=413)
            await answer(scope, receive, send)

        async with served(application) as url, module("httpx").AsyncClient() as client:
            sent = engine.compress_stream(path, chunk_size="1MiB")
            answer = await client.post(url, content=sent)
            assert answer.text == hashlib.sha256(RAW).hexdigest()
            large = engine.compress_stream(pieces(noise(9 * MIB)))
            assert (await client.post(url, content=large)).status_code == 413
            await large.aclose()


async def test_bodies_of_aiohttp(tmp_path: Path) -> None:
    """Its StreamReader is read by size: by lines, a body without any would be one huge item."""
    aiohttp, web = module("aiohttp"), module("aiohttp.web")
    largest = 0

    async with engine_and_file(tmp_path) as (engine, _):

        async def compress(request: Any) -> Any:
            nonlocal largest
            body = request.content
            read = body.read

            class Counted:
                """What the library asks for; iterating it is an error."""

                async def read(self, size: int) -> bytes:
                    nonlocal largest
                    data: bytes = await read(size)
                    largest = max(largest, len(data))
                    return data

                def __aiter__(self) -> Any:
                    raise AssertionError("by lines")

            answer = web.StreamResponse()
            source = Counted() if request.query else body
            async with engine.compress_stream(source, single=True) as stream:
                await answer.prepare(request)
                async for data in stream:
                    await answer.write(data)
            return answer

        application = web.Application(client_max_size=16 * MIB)
        application.router.add_post("/", compress)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        no_lines = RAW.replace(b"\n", b" ")
        try:
            async with aiohttp.ClientSession(auto_decompress=False) as session:
                for query in ("", "?counted=1"):
                    url = f"http://127.0.0.1:{port}/{query}"
                    async with session.post(url, data=_parts(no_lines)) as answer:
                        # The body of an answer is such a reader, too.
                        raw = await all_of(engine.decompress_stream(answer.content))
                    assert raw == no_lines
            assert 0 < largest <= MIB
        finally:
            await runner.cleanup()


async def _parts(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 64 * KIB):
        yield data[start : start + 64 * KIB]


def test_wsgi(tmp_path: Path) -> None:
    """A plain server iterates a plain stream, and closes it."""
    (tmp_path / "file").write_bytes(RAW)
    bodies = []

    def application(_: Any, start: Any) -> Any:
        body = sync.compress_stream(tmp_path / "file", single=True).__enter__()
        bodies.append(body)
        start("200 OK", [("Content-Encoding", "zstd")])
        return body

    sent, told = io.BytesIO(), io.StringIO()
    request = {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1"}
    SimpleHandler(io.BytesIO(), sent, told, request).run(application)
    assert not told.getvalue()
    assert sync.decompress(sent.getvalue().partition(b"\r\n\r\n")[2]) == RAW
    with pytest.raises(ClosedError):
        bodies[0].read()
