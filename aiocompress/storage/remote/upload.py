"""Objects of S3, written in parts while they are made: whole in the end, or not there.

Parts are sent beside the work, a few at a time. An object appears when the last call completes it;
until then the store keeps the parts of an *upload*, which costs money and which nobody sees. So
whatever happens, an upload is completed or aborted. Only a ``kill -9`` can leave one behind: a rule
of the bucket (AbortIncompleteMultipartUpload) removes those.
"""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

from aiocompress.errors import ClosedError
from aiocompress.model import MIB, Buffer, OnExists
from aiocompress.storage.base import OpenedSink
from aiocompress.storage.remote.base import named
from aiocompress.storage.remote.retries import Failure, patiently
from aiocompress.workers.forks import Begun
from aiocompress.workers.threads import ended, settled

if TYPE_CHECKING:
    from aiocompress.storage.remote.s3 import S3Client

PART: Final = 8 * MIB
_EVEN_PARTS, _STEP = 4000, 667
"""So many parts are of one size, as some stores demand: 31 GiB. With each further step they are
twice as large, so that 10,000 of them, the most there may be, hold 5 TiB."""
_MEMORY: Final = 3 * PART
"""Bytes of parts that are being sent, beside the one that is being filled."""
_MARK: Final = "aiocompress-upload"
"""The metadata by which an object is known to be that of this upload."""
_log = logging.getLogger("aiocompress")


def part_size(number: int) -> int:
    """Return the bytes of a part, counted from 1."""
    return PART << max(0, -(-(number - _EVEN_PARTS) // _STEP))


class S3Upload(OpenedSink):
    """An object of S3 that is being written: a destination for every verb, or ``async with``.

    It appears, whole, when the verb or the body ends without an error; otherwise it is aborted. A
    part is 8 MiB, up to three are sent at once; calls are made again as those of ``HttpArchive``.

    :param url: ``s3://bucket/key``.
    :param on_exists: "error" or "replace". A store that can tells at the last moment, too.
    :param storage_options: those of ``s3fs.S3FileSystem``: ``key``, ``secret``, ``endpoint_url``,
        ``s3_additional_kwargs`` and others.
    :raises ValueError: it is no such URL, or ``on_exists`` has no such value.
    :raises TypeError: the URL is not text.
    """

    waits = True

    def __init__(self, url: str, *, on_exists: OnExists = "error", **storage_options: Any) -> None:
        self.name = named(url)
        if not url.startswith("s3://"):
            raise ValueError(f"{self.name}: objects are written to s3://BUCKET/KEY only")
        if on_exists not in {"error", "replace"}:
            raise ValueError(f"on_exists of an upload is 'error' or 'replace', not {on_exists!r}")
        self._path, self._options = url, storage_options
        self._replaces = on_exists == "replace"
        self._client: S3Client | None = None
        self._connecting = asyncio.Lock()
        self._which: dict[str, Any] = {}
        self._creating: asyncio.Task[str] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._tags: dict[int, str] = {}
        self._part = bytearray()
        self._number = 1
        self._is_done = self._is_closed = False
        self._token = secrets.token_hex(16)
        self._begun = Begun("the upload")
        self.counts: Callable[[int], object] = lambda _: None
        """Told how many bytes of parts there are more, or fewer."""

    async def __aenter__(self) -> Self:
        """Look whether the object exists.

        :raises FileExistsError: it does, and is not to be replaced.
        :raises OSError: the store refuses to tell.
        """
        try:
            exists = not self._replaces and await self.exists()
        except BaseException:
            await self.aclose()
            raise
        if exists:
            await self.aclose()
            raise self._exists()
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                await self.commit(None)
        finally:
            await self.aclose()

    async def exists(self) -> bool:
        """Whether there is such an object, as far as the store lets us know."""
        try:
            await self._call("head_object")
        except FileNotFoundError:
            return False
        except PermissionError:  # who may only write is told at the end
            return False
        return True

    async def write(self, *buffers: Buffer) -> None:
        """Take bytes, and send what fills a part.

        :raises OSError: the store did not take them.
        :raises ClosedError: the upload was committed, aborted or closed.
        """
        self._check()
        for buffer in buffers:
            view = memoryview(buffer).cast("B")
            while view:
                taken = view[: part_size(self._number) - len(self._part)]
                self._part += taken
                self.counts(len(taken))
                view = view[len(taken) :]
                if len(self._part) == part_size(self._number):
                    await self._send()

    async def commit(self, like: os.stat_result | None = None) -> None:  # noqa: ARG002 - no modes
        """Make the object appear, whole; once that is done, doing it again does no harm.

        :raises FileExistsError: it exists by now, and is not to be replaced.
        :raises OSError: the store did not take it.
        """
        if self._is_done:
            return
        self._check()
        if self._creating is not None:
            if self._part:
                await self._send()
            await self._sent(0)
        # Whoever is cancelled now leaves when it is known whether the object is there.
        await settled(asyncio.ensure_future(self._finish()))

    async def _finish(self) -> None:
        if self._creating is None:
            body = bytes(self._part)
            await self._last("put_object", lambda: self._marked | _body(body))
        else:
            parts = [{"PartNumber": n, "ETag": tag} for n, tag in sorted(self._tags.items())]
            about = {"UploadId": self._creating.result(), "MultipartUpload": {"Parts": parts}}
            await self._last("complete_multipart_upload", lambda: about)
        self._is_done = True

    async def _last(self, method: str, parameters: Callable[[], dict[str, Any]]) -> None:
        """Make the call by which the object appears, unless there is one already."""
        condition = {} if self._replaces else {"IfNoneMatch": "*"}
        try:
            await self._tried(method, lambda: parameters() | condition)
        except Failure as failure:
            if failure.status == 501 and condition:
                self._replaces = True  # this store knows no such condition, and was asked before
                return await self._last(method, parameters)
            # The answer of an earlier attempt may have got lost: then the object is this one.
            if failure.status not in {404, 412} or not await self._is_there():
                raise (
                    self._exists() if failure.status == 412 else failure.error(self.name)
                ) from None

    async def _is_there(self) -> bool:
        with suppress(OSError):
            about = await self._call("head_object")
            return bool(about.get("Metadata", {}).get(_MARK) == self._token)
        return False

    @property
    def _marked(self) -> dict[str, Any]:
        """The parameters of the call that makes the object: what it is known by later on."""
        assert self._client is not None
        more = self._client.fs.s3_additional_kwargs.get("Metadata", {})
        return {"Metadata": {**more, _MARK: self._token}}

    def _exists(self) -> FileExistsError:
        return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.name)

    async def aclose(self) -> None:
        """Abort what was not committed; closing twice does no harm."""
        if self._begun.is_here:
            await settled(asyncio.ensure_future(self._close()))

    async def _close(self) -> None:
        self._is_closed = True
        for task in self._sending:
            task.cancel()
        for task in list(self._sending):
            await ended(task)
        creating, self._creating = self._creating, None
        if creating is not None:
            await ended(creating)
            if not self._is_done and not creating.cancelled() and creating.exception() is None:
                await self._abort(creating.result())
        self.counts(-len(self._part))
        self._part = bytearray()
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _abort(self, upload: str) -> None:
        try:
            await self._call("abort_multipart_upload", lambda: {"UploadId": upload})
        except FileNotFoundError:
            return
        except OSError as error:
            _log.warning("%s: an upload is left open (%s)", self.name, error.strerror)

    def _check(self) -> None:
        self._begun.check()
        if self._is_done or self._is_closed:
            raise ClosedError("the upload is closed", file=self.name)

    # The parts.

    async def _send(self) -> None:
        """Send the part that is full, beside the work, once there is room for another one."""
        if self._creating is None:
            self._creating = asyncio.create_task(self._create(), name="aiocompress-upload")
        await settled(self._creating)
        room = max(0, _MEMORY - len(self._part))
        await self._sent(room // len(self._part))
        part, self._part = bytes(self._part), bytearray()
        sending = self._send_part(self._number, part)
        task = asyncio.create_task(sending, name=f"aiocompress-part-{self._number}")
        task.add_done_callback(lambda _: self.counts(-len(part)))
        self._number += 1
        self._sending.add(task)

    async def _sent(self, most: int) -> None:
        """Wait until at most so many parts are under way.

        :raises OSError: one could not be sent.
        """
        while self._sending:
            done = {task for task in self._sending if task.done()}
            if not done and len(self._sending) <= most:
                return
            if not done:
                await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                self._sending.discard(task)
                task.result()

    async def _create(self) -> str:
        answer = await self._call("create_multipart_upload", lambda: self._marked)
        return str(answer["UploadId"])

    async def _send_part(self, number: int, part: bytes) -> None:
        assert self._creating is not None
        about = {"UploadId": self._creating.result(), "PartNumber": number}
        answer = await self._call("upload_part", lambda: about | _body(part))
        self._tags[number] = answer["ETag"]

    # The calls.

    async def _call(self, method: str, parameters: Callable[[], dict[str, Any]] = dict) -> Any:
        """Call the store.

        :raises OSError: it refuses.
        """
        try:
            return await self._tried(method, parameters)
        except Failure as failure:
            raise failure.error(self.name) from None

    async def _tried(self, method: str, parameters: Callable[[], dict[str, Any]]) -> Any:
        """Call the store, several times if need be; each time with parameters of its own.

        :raises Failure: it refuses.
        """
        async with self._connecting:
            if self._client is None:
                from aiocompress.storage.remote.s3 import S3Client

                self._client = await S3Client.make(self._options)
                bucket, key, _ = self._client.fs.split_path(self._path)
                self._which = {"Bucket": bucket, "Key": key}
        client = self._client
        return await patiently(lambda: client.call(method, **(self._which | parameters())))


def _body(data: bytes) -> dict[str, Any]:
    """Return the parameters of a call that sends bytes: a file, from which aiohttp sends pieces."""
    return {"Body": io.BytesIO(data), "sends": len(data)}
