"""Objects in any store that fsspec knows: S3 with ETags, others through their file systems."""

from __future__ import annotations

import errno
from collections.abc import Awaitable
from functools import partial
from typing import Any, Final

import fsspec
from fsspec.asyn import AsyncFileSystem

from aiocompress.storage.plain import apart
from aiocompress.storage.remote.base import Answer, RemoteArchive, Store, Version, named
from aiocompress.storage.remote.retries import (
    Failure,
    Known,
    always,
    cut_off,
    failure,
    too_slow,
)


def _of_system(error: BaseException) -> Failure:
    return Failure("the store cannot be read", getattr(error, "errno", None) or errno.EIO)


_KNOWN: Final[list[Known]] = [
    ((TimeoutError,), too_slow),
    ((ConnectionError,), cut_off),
    ((FileNotFoundError,), always("there is no such object", errno.ENOENT)),
    ((PermissionError,), always("the store refuses access", errno.EACCES)),
    ((OSError,), _of_system),
]


class FsspecArchive(RemoteArchive):
    """An object in any store that fsspec knows, for ``open_archive``.

    A replaced object is noticed by its ETag in S3, in other stores only by its size.

    :param url: ``s3://bucket/key``, ``gs://...``; or with ``fs``, a path there.
    :param fs: a file system of fsspec, which stays open. One made with ``asynchronous=True`` runs
        in the running loop, all others in threads. Default: a new one.
    :param storage_options: options for the new file system.
    :raises TypeError: the URL is not text; ``fs`` has its options already.
    :raises ValueError: fsspec knows no such store.
    """

    def __init__(
        self, url: str, fs: fsspec.AbstractFileSystem | None = None, **storage_options: Any
    ) -> None:
        super().__init__(named(url))
        if fs is not None and storage_options:
            raise TypeError("storage_options are for a file system that is made, not for fs")
        self._url, self._fs, self._options = url, fs, storage_options
        self._kind: Any = type(fs)
        if fs is None:
            try:
                self._kind = fsspec.get_filesystem_class(url.partition("://")[0])
            except (ImportError, ValueError) as error:
                raise ValueError(f"{self.name}: {error}") from None

    async def _connect(self) -> Store:
        fs = self._fs
        if _is_s3(self._kind) and (fs is None or fs.asynchronous):
            from aiocompress.storage.remote.s3 import S3Client, S3Object

            client = await S3Client.make(self._options) if fs is None else S3Client(fs, owned=False)
            return S3Object(client, self._url)
        if fs is None:
            options = self._options | {"skip_instance_cache": True}
            if issubclass(self._kind, AsyncFileSystem):
                options["asynchronous"] = True
            fs = await apart(partial(self._kind, **options))
        assert fs is not None
        path = fs._strip_protocol(self._url)  # noqa: SLF001 - as all of fsspec does
        return _AnyStore(fs, path, owned=self._fs is None)


def _is_s3(kind: type) -> bool:
    return any(base.__module__ == "s3fs.core" for base in kind.__mro__)


class _AnyStore(Store):
    """Asks a file system of fsspec for one object."""

    def __init__(self, fs: fsspec.AbstractFileSystem, path: str, *, owned: bool) -> None:
        self._fs, self._path, self._owned = fs, path, owned
        self._in_loop = isinstance(fs, AsyncFileSystem) and fs.asynchronous

    async def aclose(self) -> None:
        """Close the session that many file systems have; others close when they are dropped."""
        close = getattr(getattr(self._fs, "_session", None), "close", None)
        if self._owned and self._in_loop and close is not None:
            closing = close()
            if isinstance(closing, Awaitable):
                await closing

    async def get(self, start: int | None, size: int, seen: Version | None) -> Answer:
        try:
            if start is None or seen is None:
                info = await self._call("info")
                start = max(0, info["size"] - size)
                seen = Version(info["size"])
            size = min(size, seen.size - start)
            data = await self._call("cat_file", start=start, end=start + size) if size else b""
        except Exception as error:  # noqa: BLE001 - whatever the store's library raises
            raise failure(error, _KNOWN) from None
        if len(data) < size:
            raise Failure("the object became shorter", status=416)
        return Answer(data[:size], seen)

    async def _call(self, method: str, **arguments: Any) -> Any:
        if self._in_loop:
            return await getattr(self._fs, f"_{method}")(self._path, **arguments)
        return await apart(partial(getattr(self._fs, method), self._path, **arguments))
