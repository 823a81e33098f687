"""Objects of web servers, by range requests over fsspec's session (RFC 9110)."""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Mapping
from typing import Any, Final, Self

import aiohttp
from fsspec.implementations.http import HTTPFileSystem
from yarl import URL

from aiocompress.storage.remote.base import Answer, RemoteArchive, Store, Version, named
from aiocompress.storage.remote.retries import (
    CONNECT_SECONDS,
    READ_SECONDS,
    Failure,
    Known,
    always,
    cut_off,
    failure,
    refused,
    too_slow,
    unreachable,
)

_RANGE: Final = re.compile(r"\s*bytes\s+(?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)\s*", re.ASCII)
_KNOWN: Final[list[Known]] = [
    ((TimeoutError,), too_slow),
    (
        (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError),
        always("the server has no valid certificate", errno.EACCES),
    ),
    ((aiohttp.ClientConnectorError,), unreachable),
    ((aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError), cut_off),
    ((asyncio.IncompleteReadError,), cut_off),
    ((aiohttp.TooManyRedirects,), always("the server redirects without end", errno.ELOOP)),
    ((ValueError,), always("this is no URL that can be asked for", errno.EINVAL)),
]
_NO_RANGES: Final = "the server sends no parts of a file: download it, or open it as a stream"


class HttpArchive(RemoteArchive):
    """A file of a web server, for ``open_archive``.

    The server must send ranges. If it sends an ETag or ``Last-Modified``, replacing the file while
    it is open is an error.

    :param url: an ``http`` or ``https`` URL. Errors show it without user, password and query.
    :param storage_options: those of fsspec's ``HTTPFileSystem``: ``headers=...``, and
        ``client_kwargs={"auth": ...}`` for ``aiohttp.ClientSession``.
    :raises TypeError: the URL is not text.
    """

    def __init__(self, url: str, **storage_options: Any) -> None:
        super().__init__(named(url))
        self._url, self._options = url, storage_options

    async def _connect(self) -> Store:
        return await _WebServer.open(self._url, self._options)


class _WebServer(Store):
    """Asks a web server for one file."""

    def __init__(self, fs: HTTPFileSystem, session: aiohttp.ClientSession, url: URL) -> None:
        self._session, self._url = session, url
        self._options: dict[str, Any] = dict(fs.kwargs)
        self._headers: Mapping[str, str] = self._options.pop("headers", {})

    @classmethod
    async def open(cls, url: str, options: dict[str, Any]) -> Self:
        """Open a session."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS
        )
        client: dict[str, Any] = {"timeout": timeout, "trust_env": True}
        client |= options.get("client_kwargs", {})
        client["auto_decompress"] = False  # ranges are of what is stored
        options = options | {"client_kwargs": client, "skip_instance_cache": True}
        fs = HTTPFileSystem(asynchronous=True, **options)
        try:
            target = fs.encode_url(url)
        except ValueError as error:
            raise failure(error, _KNOWN) from None
        return cls(fs, await fs.set_session(), target)

    async def aclose(self) -> None:
        await self._session.close()

    async def get(self, start: int | None, size: int, seen: Version | None) -> Answer:
        span = f"-{size}" if start is None else f"{start}-{start + size - 1}"
        headers = {**self._headers, "Range": f"bytes={span}", "Accept-Encoding": "identity"}
        if seen is not None and seen.tag is not None and not seen.tag.startswith("W/"):
            headers["If-Match"] = seen.tag
        try:
            async with self._session.get(self._url, headers=headers, **self._options) as response:
                try:
                    answer = await self._answer(response, start, size, seen)
                finally:
                    if not response.content.at_eof():
                        response.close()  # nobody wants the rest
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            raise failure(error, _KNOWN) from None
        if isinstance(answer, int):
            return await self.get(max(0, answer - size), min(size, answer), None)
        return answer

    async def _answer(
        self, response: aiohttp.ClientResponse, start: int | None, size: int, seen: Version | None
    ) -> Answer | int:
        """Read the bytes that were asked for, but no others.

        :returns: if the server sends the whole file instead of its end, the size of the file: some
            servers only know ranges counted from the front.
        """
        headers, status = response.headers, response.status
        first, last, total = _content_range(headers)
        if status == 200 and start is None:
            total = response.content_length
            if total is None:
                raise Failure("the server does not say how long the file is")
            if total > size:
                return total
            first, last = 0, total - 1
        elif status == 200:
            raise Failure(_NO_RANGES)
        elif status != 206:
            raise refused(status, headers.get("Retry-After"), total)
        if total is None:
            if seen is None:
                raise Failure("the server does not say how long the file is")
            total = seen.size
        version = Version(total, headers.get("ETag"), headers.get("Last-Modified"))
        if seen is not None and not version.is_of(seen):
            return Answer(b"", version)
        begin = max(0, total - size) if start is None else start
        end = min(total, begin + size)
        if (first, last) != (begin, end - 1) or response.content_length not in {None, end - begin}:
            raise Failure("the server sends other bytes than it was asked for")
        return Answer(await response.content.readexactly(end - begin), version)


def _content_range(headers: Mapping[str, str]) -> tuple[int | None, int | None, int | None]:
    """Return the first and last byte of a range, and the size of the file; None if not told."""
    found = _RANGE.fullmatch(headers.get("Content-Range", ""))
    parts = found.groups() if found is not None else (None, None, None)
    first, last, total = (None if part in {None, "*"} else int(part) for part in parts)
    return first, last, total
