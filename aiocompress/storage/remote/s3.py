"""Objects in S3 and compatible stores, by the client of s3fs."""

from __future__ import annotations

import asyncio
import errno
from functools import cache
from typing import Any, Final, Self

import aiohttp
import botocore.session
import s3fs
from aiobotocore.session import AioSession
from botocore import exceptions as boto
from botocore.loaders import Loader, create_loader
from botocore.parsers import ResponseParserError

from aiocompress.model import KIB
from aiocompress.storage.plain import apart
from aiocompress.storage.remote.base import Answer, Store, Version
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

_KNOWN: Final[list[Known]] = [
    (
        (boto.NoCredentialsError, boto.PartialCredentialsError),
        always("no credentials for the store are known here", errno.EACCES),
    ),
    ((boto.EndpointConnectionError, boto.ConnectTimeoutError), unreachable),
    ((boto.ReadTimeoutError, TimeoutError), too_slow),
    ((boto.SSLError,), always("the store has no valid certificate", errno.EACCES)),
    ((boto.ParamValidationError,), always("no bucket or key has such a name", errno.EINVAL)),
    ((boto.HTTPClientError, boto.IncompleteReadError, boto.ResponseStreamingError), cut_off),
    ((aiohttp.ClientConnectionError, aiohttp.ClientPayloadError), cut_off),
    ((asyncio.IncompleteReadError, ConnectionError, ResponseParserError), cut_off),
]
_CALL_SECONDS, _SLOWEST = CONNECT_SECONDS + READ_SECONDS, 32 * KIB
"""Seconds of a call, and the fewest bytes of its body a second: nothing else ends a stuck send."""
_BUSY: Final = {"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown"}
"""Errors worth another attempt whatever the status, which may even be 400 or 200."""


class S3Client:
    """Makes each call to S3 once: ``patiently`` decides whether to repeat it.

    :param fs: a file system made with ``asynchronous=True``.
    :param owned: whether ``aclose`` closes it.
    """

    def __init__(self, fs: s3fs.S3FileSystem, *, owned: bool = True) -> None:
        self.fs, self._owned = fs, owned

    @classmethod
    async def make(cls, options: dict[str, Any]) -> Self:
        """Return a client with a new file system, made with these options of ``S3FileSystem``.

        :raises Failure: the configuration of boto is wrong.
        """
        config: dict[str, Any] = {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": READ_SECONDS,
            "retries": {"total_max_attempts": 1},
        }
        config |= options.get("config_kwargs", {})
        options = options | {"config_kwargs": config, "skip_instance_cache": True}
        fs = s3fs.S3FileSystem(asynchronous=True, **options)
        fs.retries = 1
        if fs.session is None:
            try:
                fs.session = AioSession(**fs.kwargs)
                fs.session.register_component("data_loader", await apart(_loader))
            except boto.BotoCoreError as error:
                raise _failure(error) from None
        return cls(fs)

    async def call(self, method: str, *, sends: int = 0, **parameters: Any) -> Any:
        """Call a method of the S3 client.

        :param sends: bytes of the body, which extend the time limit.
        :raises Failure: it failed.
        """
        try:
            async with asyncio.timeout(_CALL_SECONDS + sends / _SLOWEST):
                return await self.fs._call_s3(method, **parameters)  # noqa: SLF001 - call_s3 blocks
        except Exception as error:  # noqa: BLE001 - whatever the libraries raise
            raise _failure(error) from None

    async def aclose(self) -> None:
        """Close the connections, unless they are the caller's."""
        client = self.fs._s3  # noqa: SLF001 - set_session would make one, only to be closed
        if self._owned and client is not None:
            await client.close()


@cache
def _loader() -> Loader:
    """Return a loader that has read botocore's description of S3, which takes 0.2 s."""
    loader, session = create_loader(), botocore.session.Session()
    session.register_component("data_loader", loader)
    secrets = {"aws_access_key_id": "-", "aws_secret_access_key": "-"}
    session.create_client("s3", region_name="us-east-1", **secrets).close()
    return loader


class S3Object(Store):
    """Asks S3 for one object.

    :param path: as s3fs splits it: ``bucket/key``.
    """

    def __init__(self, client: S3Client, path: str) -> None:
        self._client = client
        bucket, key, version = client.fs.split_path(path)
        self._which = {"Bucket": bucket, "Key": key}
        if version is not None:
            self._which["VersionId"] = version

    async def aclose(self) -> None:
        await self._client.aclose()

    async def get(self, start: int | None, size: int, seen: Version | None) -> Answer:
        span = f"-{size}" if start is None else f"{start}-{start + size - 1}"
        which = self._which | {"Range": f"bytes={span}"}
        if seen is not None and seen.tag is not None:
            which["IfMatch"] = seen.tag
        answer = await self._client.call("get_object", **which)
        async with answer["Body"] as body:
            total = int(answer.get("ContentRange", "/-1").rpartition("/")[2])
            total = answer["ContentLength"] if total < 0 else total
            version = Version(total, answer.get("ETag"), str(answer.get("LastModified")))
            wanted = min(size, total - (start or 0))
            if seen is not None and not version.is_of(seen):
                body.close()
                return Answer(b"", version)
            if answer["ContentLength"] != wanted:
                body.close()
                raise Failure("the store sends other bytes than it was asked for")
            try:
                data: bytes = await body.read()
            except Exception as error:  # noqa: BLE001 - as in ``call``
                raise _failure(error) from None
        if len(data) != wanted:
            raise cut_off()
        return Answer(data, version)


def _failure(error: Exception) -> Failure:
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    return _answered(response) if isinstance(response, dict) else failure(error, _KNOWN)


def _answered(response: dict[str, Any]) -> Failure:
    """Return the failure that an answer of S3 describes."""
    about, error = response.get("ResponseMetadata", {}), response.get("Error", {})
    status, code = about.get("HTTPStatusCode", 0), str(error.get("Code", ""))
    size = str(error.get("ActualObjectSize", ""))
    made = refused(
        status,
        about.get("HTTPHeaders", {}).get("retry-after"),
        int(size) if size.isdigit() else None,
    )
    if code.isascii() and code.isalpha():  # it is of a short list, and says more than the status
        made.reason += f" ({code})"
    made.again = made.again or code in _BUSY
    return made
