"""Files that are read from any offset on, also while somebody else appends to them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol, TypeVar

from aiocompress.model import Buffer
from aiocompress.storage.base import OpenedSource, naming
from aiocompress.storage.files import FilePositions
from aiocompress.storage.positional import Checked
from aiocompress.storage.sources import PositionalSource
from aiocompress.workers.threads import call

T = TypeVar("T")


class Anywhere(Protocol):
    """Bytes that are read from any offset on."""

    @property
    def name(self) -> str | None:
        """Its name in errors."""

    async def size(self) -> int:
        """Return how many bytes there are by now."""
        ...

    async def read_at(self, offset: int, size: int, /) -> Buffer:
        """Return ``size`` bytes from ``offset``; fewer only at the end."""
        ...

    def source(self, offset: int) -> OpenedSource:
        """Return what stands behind an offset as a source."""
        ...

    async def aclose(self) -> None: ...


class FileAnywhere(FilePositions):
    """A regular file of this machine.

    :param base: where its bytes begin.
    """

    def __init__(self, descriptor: int, path: str, executor: Executor, base: int = 0) -> None:
        super().__init__(descriptor, path, executor)
        self._base = base

    async def size(self) -> int:
        return max(0, await super().size() - self._base)

    async def read_at(self, offset: int, size: int) -> bytes:
        return await super().read_at(self._base + offset, size)

    async def readinto(self, offset: int, view: memoryview) -> int:
        """Read from ``offset``; returns the number of bytes, 0 at the end."""
        with naming(self.name):
            where = self._base + offset
            return await call(self._executor, os.preadv, self._descriptor, [view], where)

    async def apply(self, function: Callable[[Callable[[int, int], bytes]], T]) -> T:
        """Call a function in a thread, with one that reads bytes from an offset."""

        def read(offset: int, size: int) -> bytes:
            return os.pread(self._descriptor, size, self._base + offset)

        with naming(self.name):
            return await call(self._executor, function, read)

    def __del__(self) -> None:
        if self._descriptor >= 0:  # nobody has closed it, and nobody will
            os.close(self._descriptor)

    def source(self, offset: int) -> OpenedSource:
        left = os.fstat(self._descriptor).st_size - self._base - offset
        return _FilePart(self, offset, max(0, left) or None)


class _FilePart(OpenedSource):
    is_local = True

    def __init__(self, file: FileAnywhere, offset: int, size: int | None) -> None:
        self._file, self._at = file, offset
        self.name, self.size = file.name, size

    async def readinto(self, view: memoryview) -> int:
        size = await self._file.readinto(self._at, view)
        self._at += size
        return size


class ObjectAnywhere(Checked):
    """A caller's object, which stays open."""

    def source(self, offset: int) -> OpenedSource:
        return PositionalSource(self, offset)

    async def aclose(self) -> None:
        return
