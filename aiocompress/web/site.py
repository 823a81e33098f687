"""Routing: requests for files and folders, on the disk and inside archives alike.

    GET  FOLDER/            a page; ?q=, ?sort=, ?order= and ?page= say what it shows
    GET  FOLDER/?download=  the folder as tar.zst or tar.gz, while it is packed
    POST FOLDER/            the selected entries as an archive
    GET  FILE               the file as it is stored
    GET  FILE?view          a page about it, with a preview
    GET  FILE?raw           a picture, for a page to show
    GET  FILE?decoded       the content of a compressed file
    PUT  FILE               an upload, where that is allowed; ?replace replaces a file
    POST /compress          see ``transform``, also for /decompress
    GET  /healthz           tells that the server answers

An archive followed by a slash is a folder.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from aiocompress.api.engine import Engine
from aiocompress.api.plain import PlainFiles
from aiocompress.model import MIB
from aiocompress.web.archives import Archives
from aiocompress.web.asked import Asked
from aiocompress.web.disk import Disk
from aiocompress.web.inside import Inside
from aiocompress.web.limits import Gate, Incoming, Limits
from aiocompress.web.problems import ERRORS, problem
from aiocompress.web.root import Place, find
from aiocompress.web.transform import Transform
from aiocompress.web.upload import save

_FORM: Final = MIB
"""Bytes of a form with selected names."""
_MOST_TICKED: Final = 1000


class Site:
    """An ASGI application for what is below a folder.

    :param root: its path.
    :param archives: the archives that stay open.
    """

    def __init__(
        self, root: str, engine: Engine, archives: Archives, limits: Limits, *, writable: bool
    ) -> None:
        self._root, self._limits, self._writable = root, limits, writable
        self._files = PlainFiles(engine)
        self._gate = Gate(limits.max_streams, limits.page_seconds)
        self._transform = Transform(engine, limits, self._gate)
        self._disk = Disk(engine, limits, self._gate, writable=writable)
        self._inside = Inside(engine, archives, limits, self._gate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        :raises HTTPException: any error before something was sent; a later one is raised as it is,
            and closes the connection.
        """
        asked, has_begun = Asked.of(scope), False

        async def noted(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._answer(asked, scope, receive, noted)
        except ERRORS as error:
            if has_begun:
                raise
            has_sent_it = asked.method == "POST" and not asked.is_folder
            raise problem(error, sent=has_sent_it) from error

    async def _answer(self, asked: Asked, *asgi: Any) -> None:
        match asked.method, asked.steps:
            case (("GET" | "HEAD"), (b"healthz",)):
                await Response("ok\n", media_type="text/plain")(*asgi)
            case (("GET" | "HEAD"), _):
                await self._show(asked, *asgi)
            case "POST", (b"compress",):
                await self._transform.compress(*asgi)
            case "POST", (b"decompress",):
                await self._transform.decompress(*asgi)
            case "POST", _ if asked.is_folder:
                await self._show_ticked(asked, *asgi)
            case "PUT", (*_, _) if self._writable and not asked.is_folder:
                await self._store(asked, *asgi)
            case _:
                allowed = {"allow": "GET, HEAD" + ", PUT" * self._writable}
                raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers=allowed)

    async def _show(self, asked: Asked, *asgi: Any) -> None:
        async with self._found(asked.steps) as place:
            is_inside = not place.is_folder and (place.rest or asked.is_folder)
            shown = self._inside if is_inside else self._disk
            await shown.answer(asked, place, *asgi)

    async def _store(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        body = self._incoming(scope, receive, self._limits.max_upload)
        async with self._found(asked.steps[:-1]) as folder, self._gate.entered():
            answer = await save(self._files, folder, asked, body)
        await answer(scope, receive, send)

    async def _show_ticked(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as to a GET with the form as its query."""
        data = await self._incoming(scope, receive, _FORM).head(_FORM)
        try:
            form = parse_qsl(data.decode("ascii"), max_num_fields=_MOST_TICKED + 1)
        except ValueError:
            raise HTTPException(HTTPStatus.BAD_REQUEST, "no form, or too many names") from None
        if not {"name", "download"} <= dict(form).keys():
            raise HTTPException(HTTPStatus.BAD_REQUEST, "tick what you want to download")
        await self._show(
            asked._replace(query=QueryParams(form)), {**scope, "method": "GET"}, receive, send
        )

    @asynccontextmanager
    async def _found(self, steps: Iterable[bytes]) -> AsyncGenerator[Place]:
        place = await self._files.call(find, self._root, tuple(steps), undo=Place.close)
        try:
            yield place
        finally:
            place.close()

    def _incoming(self, scope: Scope, receive: Receive, most: int) -> Incoming:
        return Incoming(scope["headers"], receive, most, self._limits.idle_seconds)
