"""Compressed files as callers hold them: read and written as if they were not compressed."""

from __future__ import annotations

import io
import warnings
from collections.abc import AsyncGenerator, Generator, Iterable
from typing import AnyStr, Generic, NoReturn, Self, overload

from aiocompress.errors import ClosedError
from aiocompress.model import Buffer
from aiocompress.workers.pool import WorkerPool


class AsyncFile(Generic[AnyStr]):
    """A compressed file that is open: ``async with aiocompress.open(path) as file``, or await it.

    It offers what files of ``gzip.open`` and ``io`` do, and each method that may have to wait is
    async. A file of bytes gives and takes ``bytes``, one of text ``str``. One task at a time reads;
    several may write, each call as a whole. Whoever awaits it must close it.

    Attributes: ``name`` (the path, or that of the object, or None) and ``mode``.
    """

    name: str | None
    mode: str
    _opened = _closed = False

    def __init__(self, pool: WorkerPool, mode: str, *, owns_pool: bool) -> None:
        self._pool, self.mode, self._owns_pool = pool, mode, owns_pool

    def __await__(self) -> Generator[None, None, Self]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Self:
        """Open the file.

        :raises OSError: it cannot be opened; ``FileExistsError``: it exists, and the mode is "x".
        :raises TypeError: it is nothing of this kind.
        """
        if self._closed:
            self._check()
        if not self._opened:
            try:
                await self._open()
            except BaseException:
                await self._release()
                raise
            self._opened = True
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if not self._closed:
            await self._close(failed=kind is not None)

    async def aclose(self) -> None:
        """Close the file, with all that was written to it; closing twice does no harm.

        :raises OSError: something could not be written.
        """
        await self.__aexit__(None)

    async def close(self) -> None:
        """Close the file, as ``aclose`` does; files of aiofiles call it so."""
        await self.aclose()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def _check(self) -> None:
        if self._closed:
            raise ClosedError("the file is closed", file=self.name)
        if not self._opened:
            raise ClosedError(
                "the file is not open", file=self.name, hint="use it with `async with`, or await it"
            )

    async def _close(self, *, failed: bool) -> None:
        opened, self._opened, self._closed = self._opened, False, True
        try:
            if opened:
                await self._finish(failed=failed)
        finally:
            await self._release()

    async def _release(self) -> None:
        if self._owns_pool:
            await self._pool.aclose()

    async def _open(self) -> None:
        """Open what is below."""

    async def _finish(self, *, failed: bool) -> None:
        """Close what is below."""

    def __del__(self) -> None:
        if self._opened:
            warnings.warn("an AsyncFile was not closed", ResourceWarning, stacklevel=2, source=self)
            self._leave()
            if self._owns_pool:
                self._pool.close()

    def _leave(self) -> None:
        """Let go of what works for a file that nobody closes."""

    # What a file for reading offers.

    def _unsupported(self, what: str) -> NoReturn:
        self._check()
        raise io.UnsupportedOperation(f"{what}: the file is open in mode {self.mode!r}")

    async def read(self, size: int | None = -1) -> AnyStr:
        """Return the next ``size`` bytes or characters, fewer at the end; negative: all the rest.

        :raises CorruptError: the file is damaged; ``TruncatedError``: it ends within a frame, or
            is empty. The position stays: in smaller steps, all that is before the damage can be
            read; and what somebody else is just writing, a little later.
        :raises FormatError: it is not compressed, or in a way that is unknown here.
        :raises ClosedError: it is not open; the error is a ``ValueError``, too.
        :raises io.UnsupportedOperation: it is open for writing, which is an ``OSError`` and a
            ``ValueError``.
        """
        self._unsupported("read")

    async def readall(self) -> AnyStr:
        """Return all the rest; see ``read``."""
        self._unsupported("read")

    async def readline(self, size: int | None = -1) -> AnyStr:
        """Return the next line, with its end; only the last one may have none.

        :param size: return at most so many bytes or characters of it.
        :raises CorruptError: and so on, as ``read``.
        """
        self._unsupported("read")

    async def readlines(self, hint: int | None = -1) -> list[AnyStr]:
        """Return all lines that are left.

        :param hint: enough lines, once they have so many bytes or characters together.
        :raises CorruptError: and so on, as ``read``.
        """
        self._unsupported("read")

    def __aiter__(self) -> AsyncGenerator[AnyStr]:
        """Iterate over the lines.

        :raises CorruptError: and so on, as ``read``.
        """
        self._unsupported("read")

    async def __anext__(self) -> AnyStr:
        self._unsupported("read")

    async def read1(self, size: int | None = -1) -> bytes:
        """Return at most ``size`` bytes, as soon as there are any; none at the end.

        :raises CorruptError: and so on, as ``read``; so is that of text.
        """
        self._unsupported("read1")

    async def readinto(self, room: Buffer) -> int:
        """Read into ``room``, a writable buffer, until it is full; returns the number of bytes.

        :raises CorruptError: and so on, as ``read``; so is that of text.
        """
        self._unsupported("readinto")

    async def peek(self, size: int = 0) -> bytes:
        """Return bytes that follow, and stay at the position; none at the end.

        :param size: a hint; more or fewer may come, but at least one.
        :raises CorruptError: and so on, as ``read``; so is that of text.
        """
        self._unsupported("peek")

    # Where it is.

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset in bytes, counted as ``io.IOBase.seek`` does; returns the new one.

        It may be behind the end, where nothing is left to read. The next read begins with the
        nearest frame that is known: by a seek table, or because it was met while reading. A file
        that is a single frame is decoded from its beginning to go back. Of text, only what
        ``tell`` has returned can be sought, the beginning, and the end.

        :raises ValueError: it is before the beginning; ``whence`` is none of the three.
        :raises io.UnsupportedOperation: the file is open for writing; or it comes from something
            that can be read only once, a pipe, say.
        :raises CorruptError: of a seek from the end, and so on, as ``read``.
        """
        self._unsupported("seek")

    async def tell(self) -> int:
        """Return the offset of the next byte; of text, a number that only ``seek`` understands."""
        self._unsupported("tell")

    def readable(self) -> bool:
        """Whether it can be read."""
        return False

    def writable(self) -> bool:
        """Whether it can be written."""
        return False

    def seekable(self) -> bool:
        """Whether it can be read from any offset on."""
        return False

    # What a file for writing offers.

    @overload
    async def write(self: AsyncFile[bytes], data: Buffer) -> int: ...

    @overload
    async def write(self: AsyncFile[str], data: str) -> int: ...

    async def write(self, data: Buffer | str) -> int:
        """Write bytes-like data, or text; returns how many bytes or characters it has.

        What fills no frame yet is kept, until more comes, or ``flush`` or the end.

        :raises TypeError: it is text for a file of bytes, or the reverse.
        :raises OSError: it, or what was written before it, cannot be written.
        :raises ClosedError: the file is not open; the error is a ``ValueError``, too.
        :raises io.UnsupportedOperation: it is open for reading.
        """
        self._unsupported("write")

    @overload
    async def writelines(self: AsyncFile[bytes], lines: Iterable[Buffer]) -> None: ...

    @overload
    async def writelines(self: AsyncFile[str], lines: Iterable[str]) -> None: ...

    async def writelines(self, lines: Iterable[Buffer] | Iterable[str]) -> None:
        """Write several pieces, to which nothing is added; see ``write``."""
        self._unsupported("write")

    async def flush(self) -> None:
        """End the frame: whoever reads the file now finds all that was written so far.

        A file of many small frames is larger, so it is for what somebody waits for.

        :raises OSError: something cannot be written.
        """
        self._check()
