"""An object elsewhere, read by ranges, which must stay the one first seen.

A request costs more time than the bytes it brings. So the first one asks for the end of the object,
where the index of an archive stands, without knowing the size; the answer tells size and ETag as
well. From then on the object must stay the same: parts of two different archives put together would
look like damage.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from functools import partial
from typing import Final, NamedTuple, Self

from aiocompress.model import KIB, public_url
from aiocompress.storage.positional import SourceError
from aiocompress.storage.remote.retries import Failure, patiently
from aiocompress.workers.forks import Begun

_END: Final = 256 * KIB
"""Bytes of the end that the first request asks for: an archive reads those first."""
_of_parents: Final[list[object]] = []
"""Connections of the parent of a fork: closing them here might end them there."""


class Version(NamedTuple):
    """What a server tells about an object, by which a replacement is noticed."""

    size: int
    tag: str | None = None
    """Its ETag."""
    modified: str | None = None
    """When it was last modified, in the words of the server."""

    def is_of(self, other: Version) -> bool:
        """Whether both may be of the same object; a field that one of them lacks does not count."""
        pairs = (self.tag, other.tag), (self.modified, other.modified)
        return self.size == other.size and all(a == b or not (a and b) for a, b in pairs)


class Answer(NamedTuple):
    """Bytes of an object, and the version that they are of."""

    data: bytes
    version: Version


class Store(ABC):
    """One object's server or store, asked by one process in one loop."""

    @abstractmethod
    async def get(self, start: int | None, size: int, seen: Version | None) -> Answer:
        """Return ``size`` bytes from ``start``; None: the last ones, fewer if there are no more.

        :param seen: the version that the object must still have, if the store can tell.
        :raises Failure: the request failed; with status 412 or 416 the object was replaced.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connections."""


class RemoteArchive(ABC):
    """An object elsewhere, as ``open_archive`` reads it; ``async with``, or ``aclose()`` it.

    A request is made up to 5 times within a minute if the connection was cut or the server is busy
    (429, 500, 502, 503, 504). A server has 10 seconds to accept a connection, and must send
    something every 30 seconds.

    :param name: its name in errors.
    """

    at_once: Final = 4
    """How many reads of one stream may be under way, to hide the time that each answer takes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._version: Version | None = None
        self._end = b""
        self._store: Store | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begun = Begun("the connection")

    @abstractmethod
    async def _connect(self) -> Store:
        """Return a store for the running loop."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; a later read makes new ones."""
        store, self._store = self._store, None
        if store is not None and self._begun.is_here:
            await store.aclose()
        elif store is not None:
            _of_parents.append(store)

    async def size(self) -> int:
        """Return how many bytes there are.

        :raises OSError: the object cannot be read: ``FileNotFoundError``, ``PermissionError``,
            ``TimeoutError``, ``ConnectionError`` and others, with its URL.
        """
        return (await self._first_seen()).size

    async def read_at(self, offset: int, size: int, /) -> bytes:
        """Return ``size`` bytes from ``offset``.

        :raises OSError: see ``size``.
        :raises CorruptError: the object was replaced since it was first asked for.
        """
        version = await self._first_seen()
        at = offset - version.size + len(self._end)
        if at >= 0:
            return self._end[at : at + size]
        return (await self._get(offset, size, version)).data

    async def _first_seen(self) -> Version:
        """Return the version first seen; the request for it also brings the end of the object."""
        if self._version is None:
            self._bind()
            async with self._opening:
                if self._version is None:
                    self._end, self._version = await self._get(None, _END, None)
        return self._version

    async def _get(self, start: int | None, size: int, seen: Version | None) -> Answer:
        try:
            store = await self._connected()
            answer = await patiently(partial(store.get, start, size, seen))
        except Failure as failure:
            if seen is not None and failure.status in {412, 416}:
                raise self._replaced() from None
            if seen is None and failure.status == 416 and failure.size == 0:
                return Answer(b"", Version(0))
            raise failure.error(self.name) from None
        if seen is not None and not answer.version.is_of(seen):
            raise self._replaced()
        return answer

    def _replaced(self) -> SourceError:
        return SourceError(
            "the object was replaced while it was open",
            file=self.name,
            hint="open it again",
        )

    async def _connected(self) -> Store:
        self._bind()
        async with self._connecting:
            if self._store is None:
                self._store = await self._connect()
            return self._store

    def _bind(self) -> None:
        """Begin anew in a fork or another loop: connections belong to one process and loop."""
        loop = asyncio.get_running_loop()
        if self._loop is loop and self._begun.is_here:
            return
        if self._store is not None and not self._begun.is_here:
            _of_parents.append(self._store)
        self._store, self._loop, self._begun = None, loop, Begun("the connection")
        self._opening, self._connecting = asyncio.Lock(), asyncio.Lock()


def named(url: str) -> str:
    """Return the name in errors of the object at a URL.

    :raises TypeError: it is not text.
    """
    if not isinstance(url, str):
        raise TypeError(f"a URL must be text, not {type(url).__name__}")
    return public_url(url)
