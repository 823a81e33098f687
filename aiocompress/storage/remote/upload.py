"""Objects in S3, written in parts while they are made: in the end whole, or absent.

Parts are sent in the background, a few at a time. The object appears when the last call completes
it; until then the store keeps the parts of an *upload*, invisible but billed. So whatever happens,
an upload is completed or aborted. Only a ``kill -9`` can leave one behind: a rule of the bucket
(AbortIncompleteMultipartUpload) removes those.
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
"""Parts of one size, as some stores demand: 31 GiB. After each further step the size doubles, so
that 10,000 parts, the most there may be, hold 5 TiB."""
_MEMORY: Final = 3 * PART
"""Bytes of parts being sent, in addition to the one being filled."""
_MARK: Final = "aiocompress-upload"
"""The metadata that identifies the object of this upload."""
_log = logging.getLogger("aiocompress")


def part_size(number: int) -> int:
    """Return the bytes of a part, counted from 1."""
    return PART << max(0, -(-(number - _EVEN_PARTS) // _STEP))


class S3Upload(OpenedSink):
    """An object of S3 that is being written: a destination for every verb, or ``async with``.

    It appears whole when the verb or the body ends without an error, and is aborted otherwise. A
    part is 8 MiB, and up to three are sent at once; calls are repeated as in ``HttpArchive``.

    :param url: ``s3://bucket/key``.
    :param on_exists: "error" or "replace". If the store can, it checks again at the last moment.
    :param storage_options: options of ``s3fs.S3FileSystem``: ``key``, ``secret``, ``endpoint_url``,
        ``s3_additional_kwargs`` and others.
    :raises ValueError: it is no such URL, or ``on_exists`` has another value.
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
        """Called with the bytes of parts that were added, or removed if negative."""

    async def __aenter__(self) -> Self:
        """Check that the object does not exist, unless it is to be replaced.

        :raises FileExistsError: it exists.
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
        """Whether the object exists, as far as the store lets us know."""
        try:
            await self._call("head_object")
        except FileNotFoundError:
            return False
        except PermissionError:  # these credentials may only write: the last call will tell
            return False
        return True

    async def write(self, *buffers: Buffer) -> None:
        """Take bytes, and send each part that is full.

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

    async def commit(self, _: os.stat_result | None = None) -> None:
        """Make the object appear, whole; doing it again does no harm.

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
        # A cancellation takes effect once it is known whether the object is there.
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
        """Make the call by which the object appears, unless one exists already."""
        condition = {} if self._replaces else {"IfNoneMatch": "*"}
        try:
            await self._tried(method, lambda: parameters() | condition)
        except Failure as failure:
            if failure.status == 501 and condition:
                self._replaces = True  # this store knows no such condition, and was asked before
                return await self._last(method, parameters)
            # The answer to an earlier attempt may have got lost: then the object is ours.
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
        """Parameters of the call that makes the object, by which we recognise it later."""
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
        """Send the full part in the background, once there is room for another one."""
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
        """Wait until at most ``most`` parts are under way.

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
        """Call the store, several times if need be, with new parameters each time.

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
    """Return the parameters of a call that sends bytes: a file, which aiohttp sends in pieces."""
    return {"Body": io.BytesIO(data), "sends": len(data)}
