"""Files that are written in place: what was written is there for all to read."""

from __future__ import annotations

import contextlib
import fcntl
import os
from concurrent.futures import Executor
from typing import Final, Literal, Self, TypeAlias

from aiocompress.model import Buffer
from aiocompress.storage.base import OpenedSink, naming
from aiocompress.workers.threads import call

WriteMode: TypeAlias = Literal["w", "x", "a"]
_FLAGS: Final = {
    "w": os.O_CREAT | os.O_TRUNC,
    "x": os.O_CREAT | os.O_EXCL,
    "a": os.O_CREAT | os.O_APPEND,
}


class InPlaceSink(OpenedSink):
    """A regular file, from its beginning or, to append, from its end.

    Of a write that fails nothing is left: the file ends with what was written before.
    """

    def __init__(self, descriptor: int, name: str, executor: Executor) -> None:
        self.name, self._descriptor, self._executor = name, descriptor, executor
        self.status = os.fstat(descriptor)
        self.appends = bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND)
        """Whether whatever is written goes to the end, as it is then."""
        self.begin = self.status.st_size if self.appends else os.lseek(descriptor, 0, os.SEEK_CUR)
        """Bytes that stand before what is written."""

    @classmethod
    async def open(cls, path: str, mode: WriteMode, executor: Executor) -> Self:
        """Open a file, as ``open`` of Python does.

        :raises OSError: it cannot be opened; ``FileExistsError``: it exists, and the mode is "x".
        """
        flags = os.O_WRONLY | os.O_CLOEXEC | _FLAGS[mode]
        descriptor = await call(executor, os.open, path, flags, 0o666, undo=os.close)
        return cls(descriptor, path, executor)

    async def write(self, *buffers: Buffer) -> None:
        with naming(self.name):
            await call(self._executor, self._write, buffers)

    def _write(self, buffers: tuple[Buffer, ...]) -> None:
        views, done = [memoryview(buffer) for buffer in buffers if len(buffer)], 0
        try:
            while views:
                size = os.writev(self._descriptor, views)
                done += size
                while views and size >= len(views[0]):
                    size -= len(views.pop(0))
                if size:
                    views[0] = views[0][size:]
        except OSError:
            self._cut(done)
            raise

    def _cut(self, size: int) -> None:
        """Take back the last bytes, unless somebody else has appended more."""
        with contextlib.suppress(OSError):
            end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
            if size and os.fstat(self._descriptor).st_size == end:
                os.ftruncate(self._descriptor, end - size)
                os.lseek(self._descriptor, end - size, os.SEEK_SET)

    async def overwrite(self, offset: int, data: bytes) -> None:
        """Write over bytes that were written; the offset counts from the first of them."""
        with naming(self.name):
            await call(self._executor, os.pwrite, self._descriptor, data, self.begin + offset)

    def __del__(self) -> None:
        if self._descriptor >= 0:  # nobody has closed it, and nobody will
            os.close(self._descriptor)

    async def aclose(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with naming(self.name):
                await call(self._executor, os.close, descriptor)
