"""Where bytes come from: files, pipes, memory, readers and iterables, all read the same way."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from typing import Protocol, TypeAlias, runtime_checkable

from .errors import AiocompressError, FormatError
from .model import MIB, Buffer, PathLike
from .pipes import PipeSource
from .storage import FileSource, call
from .trees.found import Found
from .trees.packing import Packer, Packing
from .workers.pool import WorkerPool


class Source(Protocol):
    """Bytes in order. ``size`` is None where it is not known before the end.

    ``waits`` says that the other side may be slow: its bytes are gathered before a slot is taken.
    """

    @property
    def name(self) -> str | None: ...

    @property
    def size(self) -> int | None: ...

    @property
    def waits(self) -> bool: ...

    async def readinto(self, view: memoryview) -> int:
        """Read what is there into ``view``; returns the number of bytes, 0 at the end."""
        ...

    async def fill(self, view: memoryview) -> int:
        """Read until ``view`` is full or nothing is left; returns the number of bytes."""
        ...

    async def aclose(self) -> None:
        """Give the source back; what the caller opened stays open."""
        ...


@runtime_checkable
class AsyncReader(Protocol):
    """An object with ``async read(n)``: at most n bytes, none at the end."""

    async def read(self, size: int, /) -> Buffer: ...


class MemorySource:
    """Bytes that are all here."""

    name = None
    waits = False

    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(data).cast("B")
        self.size: int | None = len(self._view)

    async def readinto(self, view: memoryview) -> int:
        size = min(len(view), len(self._view))
        view[:size] = self._view[:size]
        self._view = self._view[size:]
        return size

    async def fill(self, view: memoryview) -> int:
        return await self.readinto(view)

    async def aclose(self) -> None:
        pass


class Filling(ABC):
    """A source that is read again and again until a view is full."""

    @abstractmethod
    async def readinto(self, view: memoryview) -> int: ...

    async def fill(self, view: memoryview) -> int:
        done = 0
        while done < len(view) and (size := await self.readinto(view[done:])):
            done += size
        return done


class IterableSource(Filling):
    """An async iterable of bytes-like objects, each of any size."""

    name = None
    size: int | None = None
    waits = True

    def __init__(self, iterable: AsyncIterable[Buffer]) -> None:
        self._iterator: AsyncIterator[Buffer] = aiter(iterable)
        self._left = memoryview(b"")

    async def _next(self, size: int) -> Buffer:  # noqa: ARG002 - readers want it
        """Return bytes that are not empty, or none at the end."""
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
        self._reader = reader
        self._left = memoryview(b"")

    async def _next(self, size: int) -> Buffer:
        data = self._reader.read(min(size, MIB))
        if not isinstance(data, Awaitable):
            msg = f"source.read must be async, that of {type(self._reader).__name__} is not"
            raise TypeError(msg)
        return await data


@runtime_checkable
class Positional(Protocol):
    """Bytes that can be read anywhere: what an application keeps elsewhere, say."""

    async def size(self) -> int:
        """Return how many bytes there are."""
        ...

    async def read_at(self, offset: int, size: int, /) -> Buffer:
        """Return ``size`` bytes from ``offset``; fewer only at the end."""
        ...


class PositionalSource(Filling):
    """Bytes that can be read anywhere, read from their beginning."""

    waits = True

    def __init__(self, positional: Positional) -> None:
        self.name: str | None = getattr(positional, "name", None)
        self.size: int | None = None
        self._positional = positional
        self._at = 0

    async def readinto(self, view: memoryview) -> int:
        data = await self._positional.read_at(self._at, min(len(view), MIB))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    async def aclose(self) -> None:
        """Do nothing: it is the caller's."""


class TreeSource:
    """Folders and files as one tar; see ``Source``."""

    size: int | None = None
    waits = False

    executor: Executor
    """The file threads, of whoever opens it."""

    def __init__(self, packing: Packing) -> None:
        self.name = packing.roots[0][0] if len(packing.roots) == 1 else None
        self.found = Found()
        self._packer = Packer(packing, self.found)

    @property
    def more(self) -> bool:
        """Whether another chunk follows one that was not filled."""
        return self._packer.more

    def leave_out(self, status: os.stat_result) -> None:
        """Leave out the file that this archive goes to."""
        self._packer.own.add((status.st_dev, status.st_ino))

    def take_index(self) -> bytes | None:
        """Return the block of the index that stands behind the last chunk, if one does."""
        block, self._packer.index = self._packer.index, None
        return block

    async def fill(self, view: memoryview) -> int:
        """Lay the next chunk; returns its bytes, 0 at the end."""
        return await call(self.executor, self._packer.fill, view)

    async def readinto(self, view: memoryview) -> int:
        return await self.fill(view)

    async def aclose(self) -> None:
        """Close what is open."""
        await call(self.executor, self._packer.close)


StreamSource: TypeAlias = PathLike | Buffer | AsyncReader | AsyncIterable[Buffer] | PipeSource
AnySource: TypeAlias = StreamSource | TreeSource | PositionalSource


@asynccontextmanager
async def opened(
    source: AnySource, pool: WorkerPool, *, folders: bool = False
) -> AsyncGenerator[Source]:
    """Open a source, name it in the errors of what is done with it, and close it.

    :param folders: a path may be one of a folder, and is read as a tar of it.

    :raises OSError: a path that cannot be opened.
    :raises FormatError: a folder, and those are not wanted.
    :raises TypeError: nothing that bytes can be read from.
    """
    pool.check()
    data = await _open(source, pool, folders=folders)
    try:
        yield data
    except AiocompressError as error:
        raise error.located(file=data.name) from error.__cause__
    finally:
        await data.aclose()


async def _open(source: AnySource, pool: WorkerPool, *, folders: bool) -> Source:
    if isinstance(source, TreeSource):
        source.executor = pool.files
    if isinstance(source, PipeSource | TreeSource | PositionalSource):
        return source
    if isinstance(source, bytes | bytearray | memoryview):
        return MemorySource(source)
    if isinstance(source, str | os.PathLike):
        return await _open_path(os.fspath(source), pool, folders=folders)
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
    """A named pipe or a device: the descriptor is ours, the slots are for other streams, too."""

    waits = True

    async def aclose(self) -> None:
        if self._descriptor >= 0:
            await super().aclose()
            os.close(self._descriptor)
            self._descriptor = -1


async def _open_path(path: str, pool: WorkerPool, *, folders: bool) -> Source:
    mode = (await call(pool.files, os.stat, path)).st_mode
    if stat.S_ISDIR(mode) and folders:
        return await _open(TreeSource(Packing(((path, ""),))), pool, folders=folders)
    if stat.S_ISDIR(mode):
        raise FormatError("is a folder", file=path, hint="compress_folder makes an archive of it")
    if stat.S_ISREG(mode):
        return await FileSource.open(path, pool.files)
    flags = os.O_RDONLY | os.O_NONBLOCK
    return _OpenedPipe(await call(pool.files, os.open, path, flags, undo=os.close), path)
