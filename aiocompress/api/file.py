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

    It has the methods of ``gzip.open`` and ``io`` files; those that may have to wait are async. A
    binary file reads and writes ``bytes``, a text file ``str``. One task at a time may read;
    several may write, and each call writes its data in one piece. A file opened with ``await`` must
    be closed.

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
        :raises TypeError: it is neither a path, a descriptor nor a suitable object.
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
        """Write everything that is left, and close the file; closing twice does no harm.

        :raises OSError: something could not be written.
        """
        await self.__aexit__(None)

    async def close(self) -> None:
        """Close the file like ``aclose``, under the name that aiofiles uses."""
        await self.aclose()

    @property
    def closed(self) -> bool:
        """Whether the file was closed."""
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
                await (self._give_up() if failed else self._finish())
        finally:
            await self._release()

    async def _release(self) -> None:
        if self._owns_pool:
            await self._pool.aclose()

    async def _open(self) -> None:
        """Open what is below."""

    async def _finish(self) -> None:
        """Close what is below."""

    async def _give_up(self) -> None:
        """Close what is below after an error in the block."""
        await self._finish()

    def __del__(self) -> None:
        if self._opened:
            warnings.warn("an AsyncFile was not closed", ResourceWarning, stacklevel=2, source=self)
            self._leave()
            if self._owns_pool:
                self._pool.close()

    def _leave(self) -> None:
        """Stop the tasks of a file that is garbage and was never closed."""

    # What a file for reading offers.

    def _unsupported(self, what: str) -> NoReturn:
        self._check()
        raise io.UnsupportedOperation(f"{what}: the file is open in mode {self.mode!r}")

    async def read(self, size: int | None = -1) -> AnyStr:
        """Return the next ``size`` bytes or characters, fewer at the end; negative: all the rest.

        :raises CorruptError: the file is damaged; ``TruncatedError``: it ends within a frame, or
            is empty. The position stays where it was: smaller reads return what precedes the
            damage, and a later one what another process has written meanwhile.
        :raises FormatError: it is not compressed, or in an unknown format.
        :raises ClosedError: it is not open; also a ``ValueError``.
        :raises io.UnsupportedOperation: it is open for writing; an ``OSError`` and a
            ``ValueError``.
        """
        self._unsupported("read")

    async def readall(self) -> AnyStr:
        """Return all the rest; see ``read``."""
        self._unsupported("read")

    async def readline(self, size: int | None = -1) -> AnyStr:
        """Return the next line with its line end, which the last line may lack.

        :param size: return at most this many bytes or characters of it.
        :raises CorruptError: and the other errors of ``read``.
        """
        self._unsupported("read")

    async def readlines(self, hint: int | None = -1) -> list[AnyStr]:
        """Return all lines that are left.

        :param hint: stop after the line with which they have more bytes or characters than this.
        :raises CorruptError: and the other errors of ``read``.
        """
        self._unsupported("read")

    def __aiter__(self) -> AsyncGenerator[AnyStr]:
        """Iterate over the lines.

        :raises CorruptError: and the other errors of ``read``.
        """
        self._unsupported("read")

    async def __anext__(self) -> AnyStr:
        self._unsupported("read")

    async def read1(self, size: int | None = -1) -> bytes:
        """Return at most ``size`` bytes, as soon as there are any; none at the end.

        :raises CorruptError: and the other errors of ``read``; a text file does not support it.
        """
        self._unsupported("read1")

    async def readinto(self, room: Buffer) -> int:
        """Read into ``room``, a writable buffer, until it is full; returns the number of bytes.

        :raises CorruptError: and the other errors of ``read``; a text file does not support it.
        """
        self._unsupported("readinto")

    async def peek(self, size: int = 0) -> bytes:
        """Return the bytes that follow without moving the position; none at the end.

        :param size: a hint: it returns more or fewer, but at least one.
        :raises CorruptError: and the other errors of ``read``; a text file does not support it.
        """
        self._unsupported("peek")

    # The position.

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset in bytes, with ``whence`` as in ``io.IOBase.seek``; returns it.

        It may be past the end, where nothing is left to read. The next read begins at the nearest
        known frame before it: one in the seek table, or one met while reading. A file of a single
        frame is decoded again from its beginning. In a text file, only the beginning, the end and
        results of ``tell`` can be sought.

        :raises ValueError: it is before the beginning, or ``whence`` is not 0, 1 or 2.
        :raises io.UnsupportedOperation: the file is open for writing, or comes from a pipe or
            another source that can be read only once.
        :raises CorruptError: and the other errors of ``read``, in a seek from the end.
        """
        self._unsupported("seek")

    async def tell(self) -> int:
        """Return the offset of the next byte; in a text file, a number that only ``seek`` knows."""
        self._unsupported("tell")

    def readable(self) -> bool:
        """Whether it can be read."""
        return False

    def writable(self) -> bool:
        """Whether it can be written."""
        return False

    def seekable(self) -> bool:
        """Whether reading can continue at any offset."""
        return False

    # What a file for writing offers.

    @overload
    async def write(self: AsyncFile[bytes], data: Buffer) -> int: ...

    @overload
    async def write(self: AsyncFile[str], data: str) -> int: ...

    async def write(self, data: Buffer | str) -> int:
        """Write bytes-like data, or text; returns its number of bytes or characters.

        Data that does not fill a frame is kept until more comes, ``flush`` or the end.

        :raises TypeError: it is text for a binary file, or the reverse.
        :raises OSError: it, or what was written before it, cannot be written.
        :raises ClosedError: the file is not open; also a ``ValueError``.
        :raises io.UnsupportedOperation: it is open for reading.
        """
        self._unsupported("write")

    @overload
    async def writelines(self: AsyncFile[bytes], lines: Iterable[Buffer]) -> None: ...

    @overload
    async def writelines(self: AsyncFile[str], lines: Iterable[str]) -> None: ...

    async def writelines(self, lines: Iterable[Buffer] | Iterable[str]) -> None:
        """Write several pieces, without adding line ends; see ``write``."""
        self._unsupported("write")

    async def flush(self) -> None:
        """End the frame, so that readers of the file find everything that was written so far.

        Many small frames make the file larger: flush when a reader is waiting.

        :raises OSError: something cannot be written.
        """
        self._check()
