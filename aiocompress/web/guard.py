"""Checks on every request, and headers and a time limit on every answer."""

from __future__ import annotations

import re
from collections.abc import Collection
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from aiocompress.web.limits import patient

_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-cache",
}
"""Defaults for answers that set no others: nothing in a shown file runs or loads anything."""
_SAFE: Final = frozenset({"GET", "HEAD"})
_PORT: Final = re.compile(r":\d+\Z")


class Guard:
    """Refuses requests that other sites cause, and adds security headers to every answer.

    Browsers tell where a request comes from, in ``Sec-Fetch-Site`` or at least in ``Origin``: one
    from another site must not write. A site that points its own name at this machine (DNS
    rebinding) would pass as the same site, so ``Host`` has to be a name of this server.

    :param hosts: the names of this server; None: any.
    :param idle_seconds: how long a client may accept nothing of an answer.
    """

    def __init__(
        self, application: ASGIApp, *, hosts: Collection[str] | None, idle_seconds: float
    ) -> None:
        self._application, self._idle_seconds = application, idle_seconds
        self._hosts = None if hosts is None else {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        timely = patient(guarded, self._idle_seconds)
        headers = Headers(scope=scope)
        try:
            if not self._is_ours(headers):
                wrong = PlainTextResponse(
                    "not a name of this server", HTTPStatus.MISDIRECTED_REQUEST
                )
                await wrong(scope, receive, timely)
            elif scope["method"] not in _SAFE and is_foreign(headers):
                refused = PlainTextResponse("from another site", HTTPStatus.FORBIDDEN)
                await refused(scope, receive, timely)
            else:
                await self._application(scope, receive, timely)
        except ClientDisconnect:
            return  # nobody is there to be told

    def _is_ours(self, headers: Headers) -> bool:
        host = _PORT.sub("", headers.get("host", "")).lower()
        return self._hosts is None or host in self._hosts


def is_foreign(headers: Headers) -> bool:
    """Whether a browser says that another site caused this request; other clients do not say."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")
