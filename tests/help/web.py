"""Web servers on loopback that count what they are asked, and fail as they are told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Self

from aiohttp import web

Fault = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers every request while it is entered; ``latency`` is in seconds."""

    def __init__(self) -> None:
        self.latency = 0.0
        self.at_once = self.most_at_once = 0
        self.arrived = asyncio.Semaphore(0)
        """One more for each request."""

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.endpoint = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        fault = self.take_fault(request)
        self.arrived.release()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.latency)
            return await (fault or self.answer)(request)
        finally:
            self.at_once -= 1

    def take_fault(self, request: web.Request) -> Fault | None:
        """Count the request, and say how to fail."""
        raise NotImplementedError

    async def answer(self, request: web.Request) -> web.Response:
        """Answer as a good server does."""
        raise NotImplementedError

    # Faults.

    async def drop(self, request: web.Request) -> web.StreamResponse:
        """Cut the connection instead of an answer."""
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def drop_after(self, request: web.Request) -> web.StreamResponse:
        """Do it, and cut the connection instead of saying so."""
        await self.answer(request)
        return await self.drop(request)

    async def cut(self, request: web.Request) -> web.StreamResponse:
        """Cut the connection in the middle of the body."""
        whole = await self.answer(request)
        assert isinstance(whole.body, bytes)
        half = web.StreamResponse(status=whole.status, headers=whole.headers)
        half.content_length = len(whole.body)
        await half.prepare(request)
        await half.write(whole.body[: len(whole.body) // 2])
        return await self.drop(request)


class Site(Server):
    """Serves ``data`` at ``url``; ``faults`` are taken one by one, before anything is served."""

    def __init__(self, data: bytes, name: str = "a.tar.zst") -> None:
        super().__init__()
        self.data, self.name = data, name
        self.tag: str | None = '"first"'
        self.modified: str | None = "Sat, 28 Nov 2026 10:00:00 GMT"
        self.has_ranges = self.has_suffixes = True
        self.faults: list[Fault] = []
        self.asked: list[str | None] = []
        """The ranges, in the order of the requests."""
        self.headers: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"{self.endpoint}/folder/{self.name}"

    def taken(self) -> int:
        """How often it was asked since the last time."""
        count = len(self.asked)
        self.asked.clear()
        return count

    def take_fault(self, request: web.Request) -> Fault | None:
        self.asked.append(request.headers.get("Range"))
        self.headers.append(dict(request.headers))
        return self.faults.pop(0) if self.faults else None

    async def answer(self, request: web.Request) -> web.Response:
        headers = {"ETag": self.tag, "Last-Modified": self.modified}
        about = {key: value for key, value in headers.items() if value is not None}
        wanted = request.headers.get("If-Match")
        if wanted is not None and self.tag is not None and wanted != self.tag:
            return web.Response(status=412)
        span = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
        if span is None or not self.has_ranges or not (span[1] or self.has_suffixes):
            return web.Response(body=self.data, headers=about)
        total = len(self.data)
        start = int(span[1]) if span[1] else max(0, total - int(span[2]))
        end = min(total, int(span[2]) + 1) if span[1] and span[2] else total
        if start >= total:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{total}"})
        about["Content-Range"] = f"bytes {start}-{end - 1}/{total}"
        return web.Response(status=206, body=self.data[start:end], headers=about)

    def status(self, status: int, **headers: str) -> Fault:
        """Answer with a status; of the headers, ``_`` is ``-``."""

        async def answer(_: web.Request) -> web.StreamResponse:
            about = {key.replace("_", "-"): value for key, value in headers.items()}
            return web.Response(status=status, headers=about, text="password=hunter2")

        return answer
