"""Reading from open files: shared by binary files, text files and members of archives."""

from __future__ import annotations

import asyncio
import io
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from typing import AnyStr, Generic

from aiocompress.api.ready import IN_BYTES, Ends, Ready
from aiocompress.errors import AiocompressError
from aiocompress.model import Buffer
from aiocompress.workers.turns import let_threads_in


class Reading(ABC, Generic[AnyStr]):
    """A file that one task at a time reads from its position on.

    :param ends: the ends of its lines.
    """

    def __init__(self, ends: Ends[AnyStr]) -> None:
        self._ready: Ready[AnyStr] = Ready(ends)
        self._empty: AnyStr = ends.empty
        self._is_read = False

    @abstractmethod
    def _check(self) -> None:
        """Check that the file is open."""

    @abstractmethod
    async def _next(self, size: int) -> AnyStr:
        """Return the next data, of any size; nothing at the end.

        :param size: how much the caller wants; 0 if unknown.
        """

    async def _fetch(self, size: int = 0) -> AnyStr:
        if self._is_read:
            raise AiocompressError("another task is reading this file")
        self._is_read = True
        try:
            return await self._next(size)
        finally:
            self._is_read = False

    async def read(self, size: int | None = -1) -> AnyStr:
        """Return the next ``size`` bytes or characters, fewer at the end; negative: all the rest.

        :raises CorruptError: the file is damaged; ``TruncatedError``: its end is missing. The
            position stays where it was: smaller reads return what precedes the damage.
        :raises ClosedError: the file is not open.
        """
        self._check()
        left = -1 if size is None or size < 0 else size
        parts = [self._ready.take(len(self._ready) if left < 0 else left)]
        left -= len(parts[0]) if left > 0 else 0
        try:
            while left and (more := await self._fetch(left if left > 0 else sys.maxsize)):
                if 0 < left < len(more):
                    self._ready.add(more)
                    more = self._ready.take(left)
                else:
                    self._ready.clear()  # what it holds is no longer just before the position
                left -= len(more) if left > 0 else 0
                parts.append(more)
        except BaseException:
            self._ready.put_back(self._empty.join(parts))
            raise
        return parts[0] if len(parts) == 1 else self._empty.join(parts)

    async def readall(self) -> AnyStr:
        """Return all the rest; see ``read``."""
        return await self.read()

    async def readline(self, size: int | None = -1) -> AnyStr:
        """Return the next line with its line end, which the last line may lack.

        :param size: return at most this many bytes or characters of it.
        :raises CorruptError: and the other errors of ``read``.
        """
        self._check()
        size = -1 if size is None else size
        line = self._ready.line(size)
        return await self._long_line(size) if line is None else line

    async def _long_line(self, size: int) -> AnyStr:
        """Return a line whose end has not been read yet."""
        parts: list[AnyStr] = [self._ready.take(len(self._ready))]
        try:
            while more := await self._fetch():
                size -= len(parts[-1]) if size > 0 else 0
                self._ready.add(more)
                line = self._ready.line(size)
                parts.append(self._ready.take(len(more)) if line is None else line)
                if line is not None:
                    break
        except BaseException:
            self._ready.put_back(self._empty.join(parts))
            raise
        return self._empty.join(parts)

    async def readlines(self, hint: int | None = -1) -> list[AnyStr]:
        """Return all lines that are left.

        :param hint: stop after the line with which they have more bytes or characters than this.
        :raises CorruptError: and the other errors of ``read``.
        """
        lines, size = [], 0
        async for line in self:
            lines.append(line)
            size += len(line)
            if hint is not None and 0 < hint < size:
                break
        return lines

    def __aiter__(self) -> AsyncGenerator[AnyStr]:
        """Iterate over the lines.

        :raises CorruptError: and the other errors of ``read``.
        """
        return self._iterate()

    async def _iterate(self) -> AsyncGenerator[AnyStr]:
        ready = self._ready
        while True:
            self._check()
            lines = ready.lines()
            if lines is not None:
                for line in lines:
                    yield line
                if len(ready):
                    let_threads_in()
                await asyncio.sleep(0)  # let other tasks run, such as the one that reads ahead
            elif line := await self.readline():
                yield line
            else:
                return

    async def __anext__(self) -> AnyStr:
        """Return the next line."""
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return False."""
        return False


class BinaryReading(Reading[bytes]):
    """A binary file."""

    def __init__(self) -> None:
        super().__init__(IN_BYTES)
        self._end = 0
        """The offset after all data that is ready."""

    @abstractmethod
    def _move(self, offset: int) -> None:
        """Make ``_next`` continue at that offset."""

    @abstractmethod
    async def _size(self) -> int:
        """Return how many bytes the whole file has."""

    async def _fetch(self, size: int = 0) -> bytes:
        data = await super()._fetch(size)
        self._end += len(data)
        return data

    async def read1(self, size: int | None = -1) -> bytes:
        """Return at most ``size`` bytes, as soon as there are any; none at the end.

        :raises CorruptError: and the other errors of ``read``.
        """
        if size == 0:
            return b""
        left = await self.peek()
        return self._ready.take(len(left) if size is None or size < 0 else size)

    async def readinto(self, room: Buffer) -> int:
        """Read into ``room``, a writable buffer, until it is full; returns the number of bytes.

        :raises CorruptError: and the other errors of ``read``.
        """
        view = memoryview(room).cast("B")
        data = await self.read(len(view))
        view[: len(data)] = data
        return len(data)

    async def peek(self, size: int = 0) -> bytes:  # noqa: ARG002 - as of ``io.BufferedReader``
        """Return the bytes that follow without moving the position; none at the end.

        :param size: a hint: it returns more or fewer, but at least one.
        :raises CorruptError: and the other errors of ``read``.
        """
        self._check()
        if not len(self._ready):
            self._ready.add(await self._fetch())
        return self._ready.peek()

    def seekable(self) -> bool:
        """Whether reading can continue at any offset."""
        return True

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset in bytes, with ``whence`` as in ``io.IOBase.seek``; returns it.

        It may be past the end, where nothing is left to read.

        :raises ValueError: it is before the beginning, or ``whence`` is not 0, 1 or 2.
        :raises io.UnsupportedOperation: the file comes from a source that can be read only once.
        :raises CorruptError: and the other errors of ``read``, in a seek from the end.
        """
        self._check()
        if not self.seekable():
            raise io.UnsupportedOperation("seek: the source can be read only once")
        if whence not in {io.SEEK_SET, io.SEEK_CUR, io.SEEK_END}:
            raise ValueError(f"whence must be 0, 1 or 2, not {whence!r}")
        at = await self.tell()
        if whence == io.SEEK_END:
            offset += await self._size()
        elif whence == io.SEEK_CUR:
            offset += at
        if offset < 0:
            raise ValueError(f"cannot seek to {offset}, before the beginning")
        if not self._ready.move(offset - at):
            self._ready.clear()
            self._end = offset
            self._move(offset)
        return offset

    async def tell(self) -> int:
        """Return the offset of the next byte.

        :raises ClosedError: the file is not open.
        """
        self._check()
        return self._end - len(self._ready)
