"""Sources of every kind that callers pass, and the one function that opens them."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import stat
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Iterable,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Self, TypeGuard

from aiocompress.errors import AiocompressError, FormatError
from aiocompress.model import KIB, MIB, Buffer, PathLike, is_url
from aiocompress.storage.base import AsyncReader, OpenedSource, PlainReader, Positional, Source
from aiocompress.storage.files import FileSource
from aiocompress.storage.pipes import OpenedPipe
from aiocompress.storage.plain import Pump, apart
from aiocompress.storage.positional import Checked
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import begin, call, ended

if TYPE_CHECKING:
    from aiocompress.storage.remote import RemoteArchive

_ROOM_IN_TIME: Final = 64 * KIB


class _Parts(OpenedSource):
    """Bytes that come in parts of any size: what has not been read of the last one is kept."""

    waits = True
    _left = memoryview(b"")

    async def _next(self, _: int) -> Buffer:
        """Return some bytes, about as many as wanted, or none at the end."""
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


class PlainIterableSource(_Parts):
    """A plain iterable of bytes-like objects, each of any size."""

    def __init__(self, iterable: Iterable[Buffer]) -> None:
        self._pump = Pump(iterable)

    async def _next(self, _: int) -> Buffer:
        return await self._pump.next()

    async def aclose(self) -> None:
        self._pump.stop()
        await super().aclose()


class ReaderSource(_Parts):
    """An object with ``read(n)``: async, or plain as a file's, which is called in a thread."""

    def __init__(self, reader: AsyncReader | PlainReader) -> None:
        name = getattr(reader, "name", None)
        self.name = name if isinstance(name, str) else None
        # ``read`` of a buffered file waits until it has all n bytes.
        self._read = reader.read1 if isinstance(reader, io.BufferedIOBase) else reader.read
        self._is_async = inspect.iscoroutinefunction(self._read)

    async def _next(self, size: int) -> Buffer:
        read = partial(self._read, min(size, 256 * KIB))
        data = read() if self._is_async else await apart(read)
        return await data if isinstance(data, Awaitable) else data


class PositionalSource(_Parts):
    """A ``Positional``, read from an offset on; it is never asked for bytes behind its end.

    Where answers take longer than what they bring, whoever goes on reading has parts asked for
    ahead: as many as the object answers at once.
    """

    def __init__(self, positional: Positional, offset: int = 0) -> None:
        self._positional, self._at = Checked.of(positional), offset
        self.name = self._positional.name
        self._reads: deque[asyncio.Future[memoryview]] = deque()
        self._most = 1

    async def _next(self, room: int) -> Buffer:
        total = await self._positional.size()
        while len(self._reads) < self._most and self._at < total:
            size = min(room, MIB, total - self._at)
            self._reads.append(asyncio.ensure_future(self._positional.read_at(self._at, size)))
            self._at += size
        if not self._reads:
            return b""
        await asyncio.wait([self._reads[0]])
        self._most = min(self._positional.at_once, 2 * self._most)
        return self._reads.popleft().result()

    async def aclose(self) -> None:
        for read in self._reads:
            read.cancel()
        while self._reads:
            await ended(self._reads.popleft())
        await super().aclose()


class RemoteSource(PositionalSource):
    """An object elsewhere, read from its beginning."""

    def __init__(self, remote: RemoteArchive, size: int) -> None:
        super().__init__(remote)
        self._remote, self.size = remote, size

    @classmethod
    async def open(cls, url: str) -> Self:
        """Ask for the object.

        :raises OSError: it cannot be read.
        :raises AiocompressError: the extra ``remote`` is not installed.
        """
        from aiocompress.storage import remote

        opened = await remote.at(url)
        try:
            return cls(opened, await opened.size())
        except BaseException:
            await opened.aclose()
            raise

    async def aclose(self) -> None:
        await super().aclose()
        await self._remote.aclose()


class SourceInTime(_Parts):
    """A source that lets go of what has come, some seconds after the first byte of it.

    Reading cannot be stopped at a time without losing bytes, so a task of its own goes on with it.
    The caller closes the source itself.
    """

    def __init__(self, source: OpenedSource, seconds: float) -> None:
        self.name, self.status, self.size = source.name, source.status, source.size
        self._source, self._seconds = source, seconds
        self._room = memoryview(bytearray(_ROOM_IN_TIME))
        self._reading: asyncio.Task[int] | None = None
        self._ended = False

    async def fill(self, view: memoryview) -> int:
        """Read until ``view`` is full, the end is reached or the time is over."""
        loop, done, until = asyncio.get_running_loop(), 0, 0.0
        while done < len(view):
            left = max(0.0, until - loop.time()) if done else None
            if not self._left and not await self._has_come(left):
                break
            if not done:
                until = loop.time() + self._seconds
            done += await self.readinto(view[done:])
        return done

    async def _has_come(self, seconds: float | None) -> bool:
        """Wait for bytes, which are in ``_left`` then; False: it is the end, or too late."""
        if self._reading is None:
            self._reading = begin(self._source.readinto(self._room), "waits for a source")
        await asyncio.wait([self._reading], timeout=seconds)
        if not self._reading.done():
            return False
        reading, self._reading = self._reading, None
        self._left = self._room[: reading.result()]
        self._ended = not self._left
        return not self._ended

    @property
    def is_over(self) -> bool:
        return self._ended

    async def aclose(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await ended(self._reading)
        await super().aclose()


def is_paths(source: object) -> TypeGuard[Sequence[PathLike]]:
    """Whether a source is a list of paths, and not one of bytes; an empty one counts as paths."""
    return isinstance(source, list | tuple) and all(
        isinstance(item, str | os.PathLike) for item in source
    )


@asynccontextmanager
async def opened(source: Source, pool: WorkerPool) -> AsyncGenerator[OpenedSource]:
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


@asynccontextmanager
async def in_time(source: OpenedSource, seconds: float | None) -> AsyncGenerator[OpenedSource]:
    """Let go of what a slow source has sent after so many seconds; None: when it is enough."""
    if seconds is None or not source.waits:
        yield source
        return
    async with aclosing(SourceInTime(source, seconds)) as timely:
        yield timely


async def _open(source: Source, pool: WorkerPool) -> OpenedSource:
    if isinstance(source, OpenedSource):
        return source
    if isinstance(source, str | os.PathLike):
        return await _open_path(os.fspath(source), pool)
    return _made_of(source)


def _made_of(source: object) -> OpenedSource:
    """Return the source of an object's bytes; it is opened already."""
    with suppress(TypeError):
        return MemorySource(memoryview(source))  # type: ignore[arg-type] # an array, say
    if is_paths(source):
        raise TypeError("source must not be a list of paths: compress_folder makes an archive")
    if isinstance(source, AsyncReader):  # before iterables: many iterate by lines
        return ReaderSource(source)
    if isinstance(source, AsyncIterable):
        return IterableSource(source)
    if isinstance(source, Iterable):
        return PlainIterableSource(source)
    msg = (
        "source must be a path, bytes, an object with read(n), or an iterable of bytes, async or "
        f"not; not {type(source).__name__}"
    )
    raise TypeError(msg)


async def _open_path(path: str, pool: WorkerPool) -> OpenedSource:
    if is_url(path):
        return await RemoteSource.open(path)
    mode = (await call(pool.files, os.stat, path)).st_mode
    if stat.S_ISDIR(mode):
        hint = "compress_folder makes an archive of it, add_folder adds it to one"
        raise FormatError("is a folder", file=path, hint=hint)
    if stat.S_ISREG(mode):
        return await FileSource.open(path, pool.files)
    flags = os.O_RDONLY | os.O_NONBLOCK
    return OpenedPipe.adopt(await call(pool.files, os.open, path, flags, undo=os.close), path)
