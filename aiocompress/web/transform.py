"""``POST /compress`` and ``POST /decompress``: the answer is the body, converted.

    200  the result; an error after its first bytes closes the connection
    400  the codec or level is unknown
    408  the client stopped sending
    413  the body is larger than ``max_body``, or its content than ``max_output``
    415  the format of the body is unknown
    422  the body is damaged, or cut off
    503  too many streams at once: try again later

Small bodies never wait for large ones: they need no slot, no worker and no place in the gate.
"""

from __future__ import annotations

import re
from contextlib import AsyncExitStack, aclosing, suppress
from http import HTTPStatus
from typing import Final, cast

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aiocompress.api.engine import Engine
from aiocompress.api.stream import ByteStream
from aiocompress.errors import LimitError
from aiocompress.model import KIB, MIB, Codec
from aiocompress.web.limits import Gate, Incoming, Limits
from aiocompress.web.responses import archive_type
from aiocompress.web.sending import behind, send_body, while_connected

_SMALL: Final = 64 * KIB
"""Bytes of a body that is gathered first, for which the engine needs no slot."""
_SMALL_OUTPUT: Final = MIB
_LEVEL: Final = re.compile(r"-?\d{1,9}", re.ASCII)
_BINARY: Final = "application/octet-stream"


class Transform:
    """Compresses and decompresses what clients send."""

    def __init__(self, engine: Engine, limits: Limits, gate: Gate) -> None:
        self._engine, self._limits, self._gate = engine, limits, gate

    async def compress(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer ``POST /compress?codec=zstd&level=3``.

        :raises HTTPException: as above; ``AiocompressError``: what is wrong with the body.
        """
        asked = QueryParams(scope["query_string"])
        codec, level = cast("Codec", asked.get("codec", "zstd")), asked.get("level")
        if level is not None and _LEVEL.fullmatch(level) is None:
            raise HTTPException(HTTPStatus.BAD_REQUEST, "level must be a whole number")
        number = None if level is None else int(level)
        try:  # before the body is read
            self._engine.compress_stream(b"", codec=codec, compression_level=number)
        except ValueError as error:
            raise HTTPException(HTTPStatus.BAD_REQUEST, str(error)) from None
        body = self._incoming(scope, receive)
        head = await body.head(_SMALL)
        media_type = archive_type(codec)
        if body.is_whole and len(head) <= _SMALL:
            made = await self._engine.compress(head, codec=codec, compression_level=number)
            await _answer(made, media_type)(scope, receive, send)
            return
        stream = self._engine.compress_stream(body, codec=codec, compression_level=number)
        await self._stream(stream, body, media_type, send)

    async def decompress(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer ``POST /decompress``; the content says what it is.

        :raises HTTPException: as above; ``AiocompressError``: what is wrong with the body.
        """
        body = self._incoming(scope, receive)
        head = await body.head(_SMALL)
        most = self._limits.max_output
        if body.is_whole and len(head) <= _SMALL:
            with suppress(LimitError):  # a stream decodes it in bounded memory
                raw = await self._engine.decompress(head, max_output=min(_SMALL_OUTPUT, most))
                await _answer(raw, _BINARY)(scope, receive, send)
                return
        stream = self._engine.decompress_stream(body, max_output=most)
        await self._stream(stream, body, _BINARY, send)

    def _incoming(self, scope: Scope, receive: Receive) -> Incoming:
        limits = self._limits
        return Incoming(scope["headers"], receive, limits.max_body, limits.idle_seconds)

    async def _stream(
        self, stream: ByteStream, body: Incoming, media_type: str, send: Send
    ) -> None:
        """Answer as the body arrives; its beginning is converted before any header goes out.

        :raises HTTPException: 503 if there are too many streams.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._gate.entered())
            await stack.enter_async_context(stream)
            first = await anext(stream, b"")
            answer = _answer(b"", media_type)
            del answer.headers["content-length"]
            head = {"type": "http.response.start", "status": HTTPStatus.OK}
            await send(head | {"headers": answer.raw_headers})
            async with aclosing(behind(first, stream)) as blocks:
                await while_connected(body.disconnected, send_body(blocks, send))


def _answer(data: bytes, media_type: str) -> Response:
    return Response(data, media_type=media_type, headers={"cache-control": "no-store"})
