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
from aiocompress.storage.pipes import PipeSource
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call


class MemorySource(Source):
    """Bytes in memory."""

    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(data).cast("B")
        self.size = len(self._view)

    async def readinto(self, view: memoryview) -> int:
        size = min(len(view), len(self._view))
        view[:size] = self._view[:size]
        self._view = self._view[size:]
        return size


class IterableSource(Source):
    """An async iterable of bytes-like objects, each of any size."""

    waits = True

    def __init__(self, iterable: AsyncIterable[Buffer]) -> None:
        self._iterator: AsyncIterator[Buffer] = aiter(iterable)
        self._left = memoryview(b"")

    async def _next(self, size: int) -> Buffer:  # noqa: ARG002 - readers want it
        """Return some bytes, or none at the end."""
        async for data in self._iterator:
            if len(data):
                return data
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


class ReaderSource(IterableSource):
    """An object with ``async read(n)``."""

    def __init__(self, reader: AsyncReader) -> None:
        self._reader, self._left = reader, memoryview(b"")

    async def _next(self, size: int) -> Buffer:
        data = self._reader.read(min(size, MIB))
        if not isinstance(data, Awaitable):
            msg = f"source.read must be async, that of {type(self._reader).__name__} is not"
            raise TypeError(msg)
        return await data


class PositionalSource(Source):
    """A ``Positional``, read from its beginning; it is never asked for bytes behind its end."""

    waits = True

    def __init__(self, positional: Positional) -> None:
        self.name = getattr(positional, "name", None)
        self._positional, self._at, self._end = positional, 0, -1

    async def readinto(self, view: memoryview) -> int:
        if self._end < 0:
            self._end = await self._positional.size()
        if self._at >= self._end:
            return 0
        data = await self._positional.read_at(self._at, min(len(view), MIB))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


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


class _OpenedPipe(PipeSource):
    """A named pipe or a device: it is closed in the end, and no slot waits for it."""

    waits = True

    async def aclose(self) -> None:
        if self._descriptor >= 0:
            await super().aclose()
            os.close(self._descriptor)
            self._descriptor = -1


async def _open_path(path: str, pool: WorkerPool) -> Source:
    mode = (await call(pool.files, os.stat, path)).st_mode
    if stat.S_ISDIR(mode):
        raise FormatError("is a folder", file=path, hint="compress_folder makes an archive of it")
    if stat.S_ISREG(mode):
        return await FileSource.open(path, pool.files)
    flags = os.O_RDONLY | os.O_NONBLOCK
    return _OpenedPipe(await call(pool.files, os.open, path, flags, undo=os.close), path)
