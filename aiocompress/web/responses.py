"""Responses for any ASGI application: folders, members of archives and compressed files.

Each opens its source before it sends any header, so that a missing file is a 404 and not a broken
200. A later error closes the connection, so that no client takes a part for the whole. Each answers
HEAD, and releases everything when the client leaves.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing
from functools import partial
from http import HTTPStatus
from mimetypes import guess_type
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aiocompress.api.archive import Archive
from aiocompress.api.engine import Engine
from aiocompress.api.plain import PlainFiles
from aiocompress.api.stream import ByteStream
from aiocompress.errors import LimitError, TruncatedError
from aiocompress.formats import names
from aiocompress.model import KIB, Codec, OnError, PathLike, Size, parse_size, printable
from aiocompress.web.headers import (
    UnsatisfiableError,
    Validators,
    accepts,
    disposition,
    precondition,
    wanted_range,
)
from aiocompress.web.problems import ERRORS, refuse
from aiocompress.web.sending import behind, send_body, while_connected

_log = logging.getLogger("aiocompress")
_MOST_TOLD: Final = 3
Disposition: TypeAlias = Literal["attachment", "inline"]
_AT_ONCE: Final = 256 * KIB
_BINARY: Final = "application/octet-stream"
_TYPES: Final = {"zstd": "application/zstd", "gzip": "application/gzip"}
_TOO_MUCH: Final = "the data is larger than the bytes allowed"
_METHODS: Final = ("GET", "HEAD")
_WITH_BODY: Final = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT)
_OF_BODY: Final = ("content-type", "content-disposition", "content-encoding")

Blocks: TypeAlias = Callable[[int, int], AsyncGenerator[bytes]]
"""Yields the bytes of a body from the first offset up to the second."""


class Body(NamedTuple):
    """What to send; ``size`` is in bytes, or None if only the end tells it: then without ranges."""

    blocks: Blocks
    size: int | None = None
    validators: Validators = Validators()
    encoding: str | None = None


class _Sent(Response):
    """What the responses share.

    :param engine: None: an engine of threads for this response alone.
    """

    def __init__(
        self,
        name: str,
        *,
        engine: Engine | None,
        filename: str | None,
        media_type: str | None,
        content_disposition_type: Disposition,
        headers: Mapping[str, str] | None,
        background: BackgroundTask | None,
    ) -> None:
        self._engine = engine
        self.status_code = HTTPStatus.OK
        self.background = background
        self.media_type = media_type or _type_of(filename or name)
        self.init_headers(headers)
        shown = disposition(content_disposition_type, filename or name)
        self.headers.setdefault("content-disposition", shown)

    @abstractmethod
    async def _open(self, engine: Engine, asked: Headers, stack: AsyncExitStack) -> Body:
        """Open the body, which the stack closes; ``asked`` has the headers of the request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        :raises HTTPException: it cannot be answered, and the application has handlers for it.
        """
        async with AsyncExitStack() as stack:
            try:
                if scope["method"] not in _METHODS:
                    allowed = {"allow": ", ".join(_METHODS)}
                    raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers=allowed)
                asked, engine = Headers(scope=scope), self._engine
                if engine is None:
                    engine = await stack.enter_async_context(Engine(executor="thread"))
                body = await self._open(engine, asked, stack)
            except ERRORS as error:
                await refuse(error, scope, receive, send)
                return
            await self._answer(body, scope["method"], asked, receive, send)
        if self.background is not None:
            await self.background()

    async def _answer(
        self, body: Body, method: str, asked: Headers, receive: Receive, send: Send
    ) -> None:
        self._describe(body)
        start, end = self._choose(body, method, asked)
        head = {"type": "http.response.start", "status": self.status_code}
        await send(head | {"headers": self.raw_headers})
        if method == "HEAD" or self.status_code not in _WITH_BODY:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        async with aclosing(body.blocks(start, end)) as blocks:
            await while_connected(receive, send_body(blocks, send))

    def _describe(self, body: Body) -> None:
        known = body.validators
        about = {
            "etag": known.etag,
            "last-modified": known.last_modified,
            "content-encoding": body.encoding,
            "accept-ranges": "none" if body.size is None else "bytes",
        }
        self.headers.update({name: value for name, value in about.items() if value is not None})

    def _choose(self, body: Body, method: str, asked: Headers) -> tuple[int, int]:
        """Set the status; returns the range to send."""
        size, start, end = body.size, 0, body.size or 0
        self.status_code = precondition(asked, body.validators)
        if self.status_code == HTTPStatus.OK and size is not None and method == "GET":
            try:
                if (chosen := wanted_range(asked, size, body.validators)) is not None:
                    self.status_code, (start, end) = HTTPStatus.PARTIAL_CONTENT, chosen
                    self.headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
            except UnsatisfiableError:
                self.status_code = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
                self.headers["content-range"] = f"bytes */{size}"
        if self.status_code not in _WITH_BODY:
            start = end = 0
            for name in _OF_BODY:
                del self.headers[name]
        if size is not None and self.status_code != HTTPStatus.NOT_MODIFIED:
            self.headers["content-length"] = str(end - start)
        return start, end


class FolderResponse(_Sent):
    """A folder as a ``.tar.zst`` or ``.tar.gz``, packed while it is sent.

    The first bytes leave at once, and packing waits for the client. A file that cannot be read
    closes the connection, unless ``on_error`` is "skip".

    :param folder: a path.
    :param engine: yours, shared by all responses; None: one of threads, for this response alone.
    :param codec: "zstd" or "gzip".
    :param compression_level: see ``Engine.compress_stream``, also for ``exclude``,
        ``reproducible`` and ``on_error``.
    :param prefix: the folder around all members; None: the name of the folder.
    :param filename: the name to save it under; None: the folder's, with the archive's suffix.
    :param headers: more headers for the answer.
    :param background: a task to run after the answer.
    :raises ValueError: there is no such codec or level.
    """

    def __init__(
        self,
        folder: PathLike,
        *,
        engine: Engine | None = None,
        codec: Codec = "zstd",
        compression_level: int | None = None,
        prefix: str | None = None,
        exclude: Iterable[str] = (),
        reproducible: bool = False,
        on_error: OnError = "raise",
        filename: str | None = None,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        self._folder = os.fspath(folder)
        name = os.path.basename(os.path.abspath(self._folder)) or "folder"
        self._stream = partial(
            Engine.compress_stream,
            source=self._folder,
            codec=codec,
            compression_level=compression_level,
            prefix=name if prefix is None else prefix,
            exclude=tuple(exclude),
            reproducible=reproducible,
            on_error=on_error,
        )
        self._filename = filename or f"{name}.tar{names.suffix_of(codec)}"
        super().__init__(
            self._filename,
            engine=engine,
            filename=None,
            media_type=archive_type(codec),
            content_disposition_type="attachment",
            headers=headers,
            background=background,
        )

    async def _open(self, engine: Engine, _asked: Headers, stack: AsyncExitStack) -> Body:
        if not await PlainFiles(engine).call(os.path.isdir, self._folder):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._folder)
        stream = await stack.enter_async_context(self._stream(engine))
        return Body(lambda _start, _end: self._told(stream))

    async def _told(self, stream: ByteStream) -> AsyncGenerator[bytes]:
        """Yield the archive, and log what was left out: the client can no longer be told."""
        async for data in stream:
            yield data
        if count := stream.report.skipped_count:
            some = "; ".join(map(printable, stream.report.skipped[:_MOST_TOLD]))
            _log.warning("%s: %d left out of a download: %s", self._filename, count, some)


class MemberResponse(_Sent):
    """A member of an archive, decoded while it is sent; any range of it can be asked for.

    :param archive: an open archive, which is quickest, or a path.
    :param name: the member's name.
    :param engine: for an archive at a path; None: one of threads, for this response alone.
    :param filename: the name to save it under; None: the last part of the member's name.
    :param media_type: None: by the name.
    :param content_disposition_type: "attachment" to save it, "inline" to show it. Show files of
        strangers only as types that run nothing.
    :param headers: more headers for the answer.
    :param background: a task to run after the answer.
    """

    def __init__(
        self,
        archive: Archive | PathLike,
        name: str,
        *,
        engine: Engine | None = None,
        filename: str | None = None,
        media_type: str | None = None,
        content_disposition_type: Disposition = "attachment",
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        self._archive, self._name = archive, name
        super().__init__(
            name.rstrip("/").rpartition("/")[2],
            engine=engine,
            filename=filename,
            media_type=media_type,
            content_disposition_type=content_disposition_type,
            headers=headers,
            background=background,
        )

    async def _open(self, engine: Engine, _asked: Headers, stack: AsyncExitStack) -> Body:
        archive = self._archive
        if not isinstance(archive, Archive):
            archive = await stack.enter_async_context(engine.open_archive(archive))
        file = await stack.enter_async_context(archive.open(self._name))
        known = Validators()
        if archive.status is not None:
            known = validators(archive.status, f"{file.member.offset:x}")
        return Body(partial(_read_range, file), file.member.size, known)


class ChosenResponse(_Sent):
    """Some members of an archive as a new archive; see ``Archive.compress_stream``.

    :param archive: an open archive.
    :param members: names and folders.
    :param codec: "zstd" or "gzip".
    :param filename: the name to save it under.
    """

    def __init__(
        self, archive: Archive, members: Iterable[str] | None, *, codec: Codec, filename: str
    ) -> None:
        self._stream = archive.compress_stream(members, codec=codec)
        super().__init__(
            filename,
            engine=None,
            filename=None,
            media_type=archive_type(codec),
            content_disposition_type="attachment",
            headers=None,
            background=None,
        )

    async def _open(self, _engine: Engine, _asked: Headers, stack: AsyncExitStack) -> Body:
        stream = await stack.enter_async_context(self._stream)
        return Body(lambda _start, _end: behind(b"", stream))


class FileResponse(_Sent):
    """A file; of a compressed one, its content.

    A file of a single frame or member goes out as it is stored, with ``Content-Encoding``, to
    clients that accept its coding; many clients decode no more than one (see
    ``Engine.content_encoding``). Everything else is decoded on the way. The content has a known
    size, and ranges, if it is small or the file has a table of its frames, as every ``.zst`` of
    this library has.

    :param path: a path.
    :param engine: yours, shared by all responses; None: one of threads, for this response alone.
    :param decode: whether to send the content of a compressed file; None: if the suffix is that of
        one. With False every file is sent as it is stored.
    :param max_output: the most bytes to decode, an int or text.
    :param filename: the name to save it under; None: its own, without the suffix if decoded.
    :param media_type: None: by that name.
    :param content_disposition_type: "attachment" to save it, "inline" to show it. Show files of
        strangers only as types that run nothing.
    :param headers: more headers for the answer.
    :param background: a task to run after the answer.
    """

    def __init__(
        self,
        path: PathLike,
        *,
        engine: Engine | None = None,
        decode: bool | None = None,
        max_output: Size | None = None,
        filename: str | None = None,
        media_type: str | None = None,
        content_disposition_type: Disposition = "attachment",
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        self._path = os.fspath(path)
        self._max_output = sys.maxsize if max_output is None else parse_size(max_output)
        name = os.path.basename(self._path)
        restored = names.restored(name)
        self._decodes = restored is not None if decode is None else decode
        super().__init__(
            restored or name if self._decodes else name,
            engine=engine,
            filename=filename,
            media_type=media_type,
            content_disposition_type=content_disposition_type,
            headers=headers,
            background=background,
        )

    async def _open(self, engine: Engine, asked: Headers, stack: AsyncExitStack) -> Body:
        files = PlainFiles(engine)
        if not stat.S_ISREG((await files.call(os.stat, self._path)).st_mode):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._path)
        file = await stack.enter_async_context(files.reading(self._path))
        stored = partial(_blocks_of_file, file)
        if not self._decodes:
            return Body(stored, file.status.st_size, validators(file.status))
        self.headers.add_vary_header("Accept-Encoding")
        coding = await files.content_encoding(self._path, file.status)
        if coding is not None and accepts(asked, coding):
            return Body(stored, file.status.st_size, validators(file.status, coding), coding)
        known = validators(file.status, "decoded")
        size = await files.stated_size(self._path, file.status)
        return await self._decoded(engine, size, known, stack)

    async def _decoded(
        self, engine: Engine, size: int | None, known: Validators, stack: AsyncExitStack
    ) -> Body:
        """Open the content; a small one is decoded, and so known to be good, before any header."""
        file = await stack.enter_async_context(engine.open(self._path))
        first = b"" if size is not None else await file.read(_AT_ONCE)
        if (size or len(first)) > self._max_output:
            raise LimitError(_TOO_MUCH)
        if len(first) == _AT_ONCE:
            rest = _read(file, self._max_output - len(first))
            return Body(lambda _start, _end: behind(first, rest), None, known)
        size = len(first) if size is None else size
        return Body(partial(_read_range, file), size, known)


def _type_of(name: str) -> str:
    """Return the media type of a file as it is stored: ``page.html.gz`` is no page."""
    kind, coding = guess_type(name)
    return _TYPES.get(coding, _BINARY) if coding is not None else kind or _BINARY


def archive_type(codec: str) -> str:
    """Return the media type of what a codec writes."""
    return _TYPES.get(codec, _BINARY)


def validators(status: os.stat_result, form: str = "") -> Validators:
    """Return a file's validators; ``form`` distinguishes bodies that are made from one file."""
    tag = f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
    return Validators(f'"{tag}-{form}"' if form else f'"{tag}"', status.st_mtime)


class _AtOffset(Protocol):
    async def read_at(self, offset: int, size: int, /) -> bytes: ...


async def _blocks_of_file(file: _AtOffset, start: int, end: int) -> AsyncGenerator[bytes]:
    while start < end:
        yield (data := _some(await file.read_at(start, min(_AT_ONCE, end - start))))
        start += len(data)


def _some(data: bytes) -> bytes:
    """Check that the end of the file was not met early.

    :raises TruncatedError: the file became shorter since its size was announced.
    """
    if not data:
        raise TruncatedError("the file became shorter while it was sent")
    return data


class _Readable(Protocol):
    async def read(self, size: int, /) -> bytes: ...
    async def seek(self, offset: int, /) -> int: ...


async def _read_range(file: _Readable, start: int, end: int) -> AsyncGenerator[bytes]:
    await file.seek(start)
    while start < end:
        yield (data := _some(await file.read(min(_AT_ONCE, end - start))))
        start += len(data)


async def _read(file: _Readable, most: int) -> AsyncGenerator[bytes]:
    while data := await file.read(_AT_ONCE):
        most -= len(data)
        if most < 0:
            raise LimitError(_TOO_MUCH)
        yield data
