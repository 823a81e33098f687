"""The application: a folder for browsers and for programs."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from aiocompress.api.engine import Engine
from aiocompress.model import PathLike, Size, parse_size
from aiocompress.web.archives import Archives
from aiocompress.web.guard import Guard
from aiocompress.web.limits import Limits
from aiocompress.web.pages import Page, quoted
from aiocompress.web.site import Site

_WORDS: Final = {
    HTTPStatus.NOT_FOUND: "There is nothing of that name here.",
    HTTPStatus.FORBIDDEN: "This server may not read that, or you may not write it.",
}


def app(
    root: PathLike,
    *,
    engine: Engine | None = None,
    writable: bool = False,
    allowed_hosts: Collection[str] | None = None,
    max_upload: Size = "16GiB",
    max_body: Size = "4GiB",
    max_output: Size = "16GiB",
    max_streams: int = 256,
    page_seconds: float = 10,
    idle_seconds: float = 60,
) -> Starlette:
    """Return an ASGI application that serves a folder and the inside of its archives.

    It has pages for people, downloads of folders and selections, ``POST /compress`` and
    ``/decompress``, and ``/healthz``. Nothing outside the folder can be reached: the application
    follows no link, neither on the disk nor in an archive.

    Its lifespan closes the archives that it keeps open, and its own engine. An application that
    mounts it has to run that: ``async with made.router.lifespan_context(made)``.

    :param root: the path of a folder.
    :param engine: your engine, which you close; None: an engine of its own, which it closes.
    :param writable: whether clients may upload files, from a page or by PUT. An upload replaces an
        existing file only if the client asks for that.
    :param allowed_hosts: the values of ``Host`` to answer, against DNS rebinding; None: any.
    :param max_upload: the most bytes of an uploaded file, an int or text.
    :param max_body: the most bytes of a body to compress or decompress, an int or text.
    :param max_output: the most bytes to decode for one answer, an int or text.
    :param max_streams: how many uploads, conversions and downloads that pack or decode run at once.
        Further ones wait for ``page_seconds``, then get a 503.
    :param page_seconds: the most seconds to gather what a page shows.
    :param idle_seconds: how long a client may stall; in the long run it has to move 1 KiB a second.
    :raises ValueError: a size cannot be read, or a number is not positive.
    :raises TypeError: a size is neither an int nor text.
    """
    if min(max_streams, page_seconds, idle_seconds) <= 0:
        raise ValueError("max_streams, page_seconds and idle_seconds must be positive")
    limits = Limits(
        parse_size(max_upload, "max_upload"),
        parse_size(max_body, "max_body"),
        parse_size(max_output, "max_output"),
        max_streams,
        page_seconds,
        idle_seconds,
    )
    own = Engine() if engine is None else engine
    archives = Archives(own)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await archives.aclose()
            if engine is None:
                await own.aclose()

    guard = Middleware(Guard, hosts=allowed_hosts, idle_seconds=idle_seconds)
    made = Starlette(
        lifespan=lifespan, middleware=[guard], exception_handlers={HTTPException: _explain}
    )
    made.router.default = Site(os.path.abspath(root), own, archives, limits, writable=writable)
    return made


async def _explain(request: Request, error: Exception) -> Response:
    """Describe an error: by a page for people, by a line for programs."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    reason = error.detail
    if reason == status.phrase:
        reason = _WORDS.get(status, reason)
    if request.method == "HEAD" or "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse(reason + "\n", status, error.headers)
    top = quoted(request.scope.get("root_path", "")) + "/"
    about = {"title": status.phrase, "reason": reason, "top": top, "crumbs": [("Files", top)]}
    return Page("problem.html", about, status, error.headers)
