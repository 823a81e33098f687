"""Files on disk: read with one thread hop for each block, written whole or not at all.

The only module that knows aiofiles. Each blocking call runs on the engine's file threads. A call
that is cancelled is waited for all the same: its thread goes on, and must not write into memory
that has become somebody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, Self

import aiofiles
import aiofiles.os

from aiocompress.model import KIB, MIB, Buffer, OnExists
from aiocompress.storage.atomic_file import AtomicFile
from aiocompress.storage.base import Look, OpenedSink, OpenedSource, naming
from aiocompress.storage.reach import Reach, read_into
from aiocompress.workers.threads import FileThreads, begin, call, ended, settled

_SYNC_EVERY: Final = 64 * MIB
_SPOOL_MEMORY: Final = 256 * KIB


class FileSource(OpenedSource):
    """A regular file, read from beginning to end, or at several offsets at once."""

    at_offsets = True

    def __init__(self, file: Any, path: str, status: os.stat_result, executor: Executor) -> None:
        self.name, self.status = path, status
        self.size = status.st_size or None  # those of /proc have content, and say 0
        self._file, self._executor = file, executor
        self._threads = FileThreads(executor)

    @classmethod
    async def open(cls, path: str, executor: Executor) -> Self:
        """Open a file.

        :raises OSError: it cannot be opened; ``IsADirectoryError`` if it is a folder.
        """
        threads = FileThreads(executor)
        opened: Any = aiofiles.open(path, "rb", buffering=0, executor=threads)
        file = await threads.whole(opened, lambda file: file._file.close())  # noqa: SLF001
        try:
            with naming(path):
                status = os.fstat(file.fileno())
        except OSError:
            await threads.whole(file.close())
            raise
        with contextlib.suppress(OSError, AttributeError):  # not every system has it
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return cls(file, path, status, executor)

    async def readinto(self, view: memoryview) -> int:
        with naming(self.name):
            size: int = await self._threads.transfer(self._file.readinto(view))
        return size

    async def read_at(self, offset: int, view: memoryview) -> int:
        threads = FileThreads(self._executor)
        read = aiofiles.os.wrap(_read_and_look)
        with naming(self.name):
            running = read(self._file.fileno(), offset, view, self.look, executor=threads)
            size: int = await threads.transfer(running)
        return size

    async def reach(self, *, by_path: bool, watched: bool) -> Reach:  # noqa: ARG002
        return Reach.of(self._file.fileno(), by_path=by_path)

    async def aclose(self) -> None:
        await self._threads.whole(self._file.close())


def _read_and_look(descriptor: int, offset: int, view: memoryview, look: Look | None) -> int:
    """Read as ``read_into``, and have somebody look at it."""
    size = read_into(descriptor, offset, view)
    if look is not None:
        look(offset, view, size)
    return size


def read_at(descriptor: int, offset: int, size: int) -> bytes:
    """Return ``size`` bytes from ``offset``; fewer only at the end."""
    parts = []
    while size and (part := os.pread(descriptor, size, offset)):  # a call reads 2 GiB at most
        parts.append(part)
        offset, size = offset + len(part), size - len(part)
    return b"".join(parts)


class FilePositions:
    """A regular file, read at any offset; see ``base.Positional``."""

    def __init__(self, descriptor: int, path: str, executor: Executor) -> None:
        self.name = path
        self._descriptor, self._executor = descriptor, executor

    @classmethod
    async def open(cls, path: str, executor: Executor) -> Self:
        """Open a file.

        :raises OSError: it cannot be opened.
        """
        return cls(await call(executor, os.open, path, os.O_RDONLY, undo=os.close), path, executor)

    @property
    def status(self) -> os.stat_result:
        with naming(self.name):
            return os.fstat(self._descriptor)

    async def size(self) -> int:
        return self.status.st_size

    def read_now(self, offset: int, size: int) -> bytes:
        """Do as ``read_at``, in the thread that calls."""
        with naming(self.name):
            return read_at(self._descriptor, offset, size)

    async def read_at(self, offset: int, size: int) -> bytes:
        return await call(self._executor, self.read_now, offset, size)

    async def aclose(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            await call(self._executor, os.close, descriptor)


class FileSink(OpenedSink):
    """A file that appears under its name only when it is whole; see ``AtomicFile``.

    :param fsync: its bytes are on the disk before it gets its name. It is synced in the background
        all the while, so that little is left to do in the end.
    """

    def __init__(self, temporary: AtomicFile, executor: Executor, *, fsync: bool) -> None:
        self.name = temporary.path
        self._temporary, self._executor, self._fsync = temporary, executor, fsync
        self._threads = FileThreads(executor)
        self._synced = 0
        self._syncing: asyncio.Future[None] | None = None

    @classmethod
    async def open(
        cls,
        path: str,
        executor: Executor,
        *,
        on_exists: OnExists,
        fsync: bool,
        follow: bool = True,
        named: bool = False,
    ) -> FileSink:
        """Begin a file.

        :param named: it has a name all the while, by which other machines find it.
        :raises FileExistsError: it exists, and ``on_exists`` is not "replace".
        :raises OSError: it cannot be created there.
        """
        make = partial(AtomicFile, path, on_exists, follow=follow, named=named)
        temporary = await call(executor, make, undo=AtomicFile.close)
        return cls(temporary, executor, fsync=fsync)

    @property
    def status(self) -> os.stat_result:  # type: ignore[override]
        return os.fstat(self._temporary.descriptor)

    def reach(self, *, by_path: bool) -> Reach:
        """Say how workers can write to it; by its path only if it is ``named``."""
        return Reach.of(self._temporary.descriptor, by_path=by_path)

    async def write(self, *buffers: Buffer) -> None:
        write = aiofiles.os.wrap(self._temporary.write)
        await self._threads.transfer(write(buffers, executor=self._threads))
        self._sync_behind()

    def skip(self, size: int) -> None:
        """Go on after ``size`` bytes that a worker has written."""
        self._temporary.position += size
        self._sync_behind()

    def _sync_behind(self) -> None:
        position = self._temporary.position
        if not self._fsync or position - self._synced < _SYNC_EVERY:
            return
        if self._syncing is not None:
            if not self._syncing.done():
                return
            self._syncing.result()  # the system reports an error only once
        self._synced = position
        self._syncing = begin(call(self._executor, self._temporary.sync), f"syncs {self.name}")

    async def commit(self, like: os.stat_result | None) -> None:
        if self._syncing is not None:
            await self._syncing
        await self._threads.call(self._temporary.commit, like, self._fsync)

    async def aclose(self) -> None:
        await settled(begin(self._close(), f"closes {self.name}"))

    async def _close(self) -> None:
        if self._syncing is not None:
            await ended(self._syncing)
        await self._threads.call(self._temporary.close)


class Spool:
    """Bytes that are put aside, in memory or, if there are many, in a nameless file."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._file = tempfile.SpooledTemporaryFile(_SPOOL_MEMORY)  # noqa: SIM115
        self._sizes: list[int] = []

    @classmethod
    @asynccontextmanager
    async def opened(cls, executor: Executor) -> AsyncGenerator[Self]:
        """Make a spool, and drop it in the end."""
        spool = cls(executor)
        try:
            yield spool
        finally:
            spool._file.close()

    async def write(self, data: Buffer) -> None:
        await call(self._executor, self.put, data)

    def put(self, data: Buffer) -> None:
        """Do as ``write``, in the thread that calls."""
        self._file.write(data)
        self._sizes.append(len(data))

    async def parts(self) -> AsyncGenerator[bytes]:
        """Yield everything as it was written; nothing is written then."""
        await call(self._executor, self._file.seek, 0)
        for size in self._sizes:
            yield await call(self._executor, self._file.read, size)
