"""Sources of every kind that callers pass, and the one function that opens them."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

from aiocompress.errors import AiocompressError, FormatError
from aiocompress.model import MIB, Buffer, PathLike
from aiocompress.storage.base import AsyncReader, Positional, Source
from aiocompress.storage.files import FileSource
from aiocompress.storage.pipes import OpenedPipe
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call


class _Parts(Source):
    """Bytes that come in parts of any size: what has not been read of the last one is kept."""

    waits = True
    _left = memoryview(b"")

    async def _next(self, size: int) -> Buffer:  # noqa: ARG002 - the size is a hint
        """Return some bytes, or none at the end."""
        return b""

    async def readinto(self, view: memoryview) -> int:
        if not self._left:
            self._left = memoryview(await self._next(len(view))).cast("B")
        size = min(len(view), len(self._left))
        view[:size] = self._left[:size]
        self._left = self._left[size:]
        return size

    async def aclose(self) -> None:
        self._left = memoryview(b"")


class MemorySource(_Parts):
    """Bytes in memory."""

    waits = False

    def __init__(self, data: Buffer) -> None:
        self._left = memoryview(data).cast("B")
        self.size = len(self._left)


class IterableSource(_Parts):
    """An async iterable of bytes-like objects, each of any size."""

    def __init__(self, iterable: AsyncIterable[Buffer]) -> None:
        self._iterator: AsyncIterator[Buffer] = aiter(iterable)

    async def _next(self, _: int) -> Buffer:
        async for data in self._iterator:
            if len(data):
                return data
        return b""


class ReaderSource(_Parts):
    """An object with ``async read(n)``."""

    def __init__(self, reader: AsyncReader) -> None:
        self._reader = reader

    async def _next(self, size: int) -> Buffer:
        data = self._reader.read(min(size, MIB))
        if not isinstance(data, Awaitable):
            msg = f"source.read must be async, that of {type(self._reader).__name__} is not"
            raise TypeError(msg)
        return await data


class PositionalSource(_Parts):
    """A ``Positional``, read from its beginning; it is never asked for bytes behind its end."""

    def __init__(self, positional: Positional) -> None:
        self.name = getattr(positional, "name", None)
        self._positional, self._at, self._end = positional, 0, -1

    async def _next(self, size: int) -> Buffer:
        if self._end < 0:
            self._end = await self._positional.size()
        if self._at >= self._end:
            return b""
        data = await self._positional.read_at(self._at, min(size, MIB))
        self._at += len(data)
        return data


StreamSource: TypeAlias = PathLike | Buffer | AsyncReader | AsyncIterable[Buffer]
AnySource: TypeAlias = StreamSource | Source


@asynccontextmanager
async def opened(source: AnySource, pool: WorkerPool) -> AsyncGenerator[Source]:
    """Open a source, name it in the errors raised while it is read, and close it.

    :raises OSError: the path cannot be opened.
    :raises FormatError: it is the path of a folder.
    :raises TypeError: bytes cannot be read from this object.
    """
    pool.check()
    data = await _open(source, pool)
    try:
        yield data
    except AiocompressError as error:
        raise error.located(file=data.name) from error.__cause__
    finally:
        await data.aclose()


async def _open(source: AnySource, pool: WorkerPool) -> Source:
    if isinstance(source, Source):
        return source
    if isinstance(source, bytes | bytearray | memoryview):
        return MemorySource(source)
    if isinstance(source, str | os.PathLike):
        return await _open_path(os.fspath(source), pool)
    if isinstance(source, AsyncReader):
        return ReaderSource(source)
    if isinstance(source, AsyncIterable):
        return IterableSource(source)
    with suppress(TypeError):
        return MemorySource(memoryview(source))  # an array, say
    msg = (
        "source must be a path, bytes, an object with async read(n), or an async iterable of "
        f"bytes, not {type(source).__name__}"
    )
    raise TypeError(msg)


async def _open_path(path: str, pool: WorkerPool) -> Source:
    mode = (await call(pool.files, os.stat, path)).st_mode
    if stat.S_ISDIR(mode):
        raise FormatError("is a folder", file=path, hint="compress_folder makes an archive of it")
    if stat.S_ISREG(mode):
        return await FileSource.open(path, pool.files)
    flags = os.O_RDONLY | os.O_NONBLOCK
    return OpenedPipe.adopt(await call(pool.files, os.open, path, flags, undo=os.close), path)
