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
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

from aiocompress.model import MIB, Buffer, OnExists
from aiocompress.storage.base import Sink
from aiocompress.storage.remote.base import named
from aiocompress.storage.remote.requests import Failure, patiently
from aiocompress.workers.forks import Begun
from aiocompress.workers.threads import ended, settled

if TYPE_CHECKING:
    from aiocompress.storage.remote.s3 import S3Client

PART: Final = 8 * MIB
_EVEN_PARTS, _STEP = 5000, 500
"""So many parts are of one size, as some stores demand: 40 GB. After each further step they are
twice as large, so that 10,000 of them, the most there may be, hold the largest object: 5 TB."""
_MEMORY: Final = 3 * PART
"""Bytes of parts that are being sent, beside the one that is being filled."""
_log = logging.getLogger("aiocompress")


class S3Upload(Sink):
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
        self._which: dict[str, str] = {}
        self._creating: asyncio.Task[str] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._tags: dict[int, str] = {}
        self._part = bytearray()
        self._number, self._size = 1, 0
        self._is_done = False
        self._begun = Begun("the upload")
        self.counts: Callable[[int], object] = lambda _: None
        """Told how many bytes of parts there are more, or fewer."""

    async def __aenter__(self) -> Self:
        """Look whether the object exists.

        :raises FileExistsError: it does, and is not to be replaced.
        :raises OSError: the store refuses to tell.
        """
        try:
            if not self._replaces:
                await self._check_new()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def _check_new(self) -> None:
        if await self.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.name)

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
        """
        self._begun.check()
        for buffer in buffers:
            view = memoryview(buffer).cast("B")
            while view:
                taken = view[: self._room - len(self._part)]
                self._part += taken
                self.counts(len(taken))
                view = view[len(taken) :]
                if len(self._part) == self._room:
                    await self._send()

    @property
    def _room(self) -> int:
        """Bytes of the part that is being filled."""
        return PART << max(0, -(-(self._number - _EVEN_PARTS) // _STEP))

    async def commit(self, like: os.stat_result | None = None) -> None:  # noqa: ARG002 - no modes
        """Make the object appear, whole; once that is done, doing it again does no harm.

        :raises FileExistsError: it exists by now, and is not to be replaced.
        :raises OSError: the store did not take it.
        """
        self._begun.check()
        if self._is_done:
            return
        if self._creating is not None:
            if self._part:
                await self._send()
            await self._sent(0)
        # Whoever is cancelled now leaves when it is known whether the object is there.
        await settled(asyncio.ensure_future(self._finish()))

    async def _finish(self) -> None:
        if self._creating is None:
            body = bytes(self._part)
            await self._last("put_object", lambda: {"Body": io.BytesIO(body)})
        else:
            parts = [{"PartNumber": n, "ETag": tag} for n, tag in sorted(self._tags.items())]
            about = {"UploadId": self._creating.result(), "MultipartUpload": {"Parts": parts}}
            try:
                await self._last("complete_multipart_upload", lambda: about)
            except FileNotFoundError:
                if not await self._is_there():
                    raise
        self._is_done = True

    async def _last(self, method: str, parameters: Callable[[], dict[str, Any]]) -> None:
        """Make the call by which the object appears, unless there is one already."""
        condition = {} if self._replaces else {"IfNoneMatch": "*"}
        try:
            await self._tried(method, lambda: parameters() | condition)
        except Failure as failure:
            if failure.status == 412:
                text = os.strerror(errno.EEXIST)
                raise FileExistsError(errno.EEXIST, text, self.name) from None
            if failure.status != 501 or self._replaces:
                raise failure.error(self.name) from None
            self._replaces = True  # this store knows no such condition, and was asked before
            await self._last(method, parameters)

    async def _is_there(self) -> bool:
        """Whether the upload was completed by a call whose answer got lost."""
        with suppress(FileNotFoundError):
            about = await self._call("head_object")
            made_of = str(about.get("ETag", "")).strip('"').partition("-")[2]
            return bool(about["ContentLength"] == self._size) and made_of == str(len(self._tags))
        return False

    async def aclose(self) -> None:
        """Abort what was not committed; closing twice does no harm."""
        if self._begun.is_here:
            await settled(asyncio.ensure_future(self._close()))

    async def _close(self) -> None:
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
            await self._call("abort_multipart_upload", UploadId=upload)
        except FileNotFoundError:
            return
        except OSError as error:
            _log.warning("%s: an upload is left open (%s)", self.name, error.strerror)

    # The parts.

    async def _send(self) -> None:
        """Send the part that is full, beside the work, once there is room for another one."""
        if self._creating is None:
            self._creating = asyncio.create_task(self._create(), name="aiocompress-upload")
        await settled(self._creating)
        room = max(0, _MEMORY - len(self._part))
        await self._sent(room // len(self._part))
        part, self._part = bytes(self._part), bytearray()
        self._size += len(part)
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
        answer = await self._call("create_multipart_upload")
        return str(answer["UploadId"])

    async def _send_part(self, number: int, part: bytes) -> None:
        assert self._creating is not None
        about = {"UploadId": self._creating.result(), "PartNumber": number}
        try:
            answer = await self._tried("upload_part", lambda: about | {"Body": io.BytesIO(part)})
        except Failure as failure:
            raise failure.error(self.name) from None
        self._tags[number] = answer["ETag"]

    # The calls.

    async def _call(self, method: str, **parameters: Any) -> Any:
        """Call the store.

        :raises OSError: it refuses.
        """
        try:
            return await self._tried(method, lambda: parameters)
        except Failure as failure:
            raise failure.error(self.name) from None

    async def _tried(self, method: str, parameters: Callable[[], dict[str, Any]]) -> Any:
        """Call the store, several times if need be; each time with parameters of its own."""
        async with self._connecting:
            if self._client is None:
                from aiocompress.storage.remote.s3 import S3Client

                self._client = await S3Client.make(self._options)
                bucket, key, _ = self._client.fs.split_path(self._path)
                self._which = {"Bucket": bucket, "Key": key}
        call = self._client.call
        return await patiently(lambda: call(method, **self._which, **parameters()))
