"""Limits on what strangers may ask for: bytes, concurrent streams, and time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Send

LEAST_RATE = 1024
"""Bytes a second that a client has to accept or send in the long run."""


class Limits(NamedTuple):
    """Limits of an application: sizes in bytes, times in seconds; see ``app``."""

    max_upload: int
    max_body: int
    max_output: int
    max_streams: int
    page_seconds: float
    idle_seconds: float


class Deadline:
    """A time after which blocking work gives up by itself: threads cannot be stopped from outside.

    :param seconds: from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def check(self) -> None:
        """Check the time.

        :raises TimeoutError: the deadline has passed.
        """
        if time.monotonic() > self._until:
            raise TimeoutError


class Gate:
    """Admits up to ``most`` streams at once; further ones wait for up to ``seconds``."""

    def __init__(self, most: int, seconds: float) -> None:
        self._places, self._seconds = asyncio.Semaphore(most), seconds

    @asynccontextmanager
    async def entered(self) -> AsyncGenerator[None]:
        """Hold a place.

        :raises HTTPException: 503 if none became free in time.
        """
        try:
            async with asyncio.timeout(self._seconds):
                await self._places.acquire()
        except TimeoutError:
            busy = "too many at once: try again later"
            headers = {"retry-after": str(max(1, int(self._seconds)))}
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, busy, headers) from None
        try:
            yield
        finally:
            self._places.release()


class Incoming(AsyncIterator[bytes]):
    """The body of a request, limited in size and in how slowly it may come.

    :param most: the most bytes.
    :param seconds: the longest pause.
    """

    def __init__(
        self, headers: Iterable[tuple[bytes, bytes]], receive: Receive, most: int, seconds: float
    ) -> None:
        self._receive, self._most, self._seconds = receive, most, seconds
        self._left = b""
        self._size, self._waited = 0, 0.0
        self._ended = asyncio.Event()
        stated = dict(headers).get(b"content-length", b"0")
        if stated.isdigit() and int(stated) > most:
            raise _too_large(most)

    @property
    def is_whole(self) -> bool:
        """Whether all of it has arrived."""
        return self._ended.is_set()

    async def head(self, size: int) -> bytes:
        """Wait for more than ``size`` bytes or the end; the result is also iterated over again."""
        parts, got = [], 0
        while got <= size and (data := await anext(self, b"")):
            parts.append(data)
            got += len(data)
        self._left = b"".join(parts)
        return self._left

    async def __anext__(self) -> bytes:
        """Return the next bytes, never empty.

        :raises HTTPException: 413 if the body is too large, 408 if the client stopped sending.
        :raises ClientDisconnect: the client has left.
        """
        if self._left:
            data, self._left = self._left, b""
            return data
        while not self._ended.is_set():
            message = await self._next()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            if not message.get("more_body"):
                self._ended.set()
            part: bytes = message.get("body", b"")
            if part:
                self._size += len(part)
                if self._size > self._most:
                    raise _too_large(self._most)
                return part
        raise StopAsyncIteration

    async def _next(self) -> Message:
        """Receive a message; the bytes so far set how long the client may have kept us waiting."""
        left, began = self._seconds + self._size / LEAST_RATE - self._waited, time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(left, self._seconds))):
                return await self._receive()
        except TimeoutError:
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT) from None
        finally:
            self._waited += time.monotonic() - began

    async def disconnected(self) -> Message:
        """Receive what follows the body: only the message that the client has left."""
        await self._ended.wait()
        return await self._receive()


def patient(send: Send, seconds: float) -> Send:
    """Return a ``send`` that gives up on a client that no longer accepts anything."""

    async def timely(message: Message) -> None:
        size = len(message.get("body", b""))
        try:
            async with asyncio.timeout(seconds + size / LEAST_RATE):
                await send(message)
        except TimeoutError:
            raise ClientDisconnect from None

    return timely


def _too_large(most: int) -> HTTPException:
    about = f"at most {most:,} bytes are taken"
    return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, about)
