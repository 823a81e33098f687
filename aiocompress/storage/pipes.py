"""Pipes, sockets and terminals: descriptors whose other side may be slow.

Each has a thread of its own, so that a stuck one takes no thread from the others. The thread waits
in ``poll`` for the descriptor and for a wake-up, so that a cancelled read or write ends at once: a
thread that sat in ``read`` would keep the program from ending. The descriptor is not made
non-blocking, because its flags are shared with the process that passed it on.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import select
import stat
from collections.abc import Awaitable, Callable
from typing import Final, Self, TypeVar

from aiocompress.model import MIB, Buffer
from aiocompress.storage.base import AsyncWriter, OpenedSink, OpenedSource
from aiocompress.workers.threads import Threads, ended

T = TypeVar("T")

_PIPE_SIZE: Final = MIB
_RETRY: Final = 0.05


class _Cancelled(Exception):  # noqa: N818
    """The read or write was cancelled."""


class _Pipe:
    """A descriptor with a thread; ``events`` is what ``poll`` waits for."""

    _opened_here = False
    """Whether the descriptor is closed in the end: it is not the caller's."""

    def __init__(self, descriptor: int, name: str, events: int) -> None:
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        self.name: str = name
        self._descriptor = descriptor
        self._thread = Threads(1, f"aiocompress-{name}")
        self._wake_read, self._wake_write = os.pipe()
        self._owned = [self._wake_read, self._wake_write]
        if self._opened_here:
            self._owned.append(descriptor)
        self._poll = select.poll()
        self._poll.register(descriptor, events)
        self._poll.register(self._wake_read, select.POLLIN)
        if is_pipe:
            with contextlib.suppress(OSError, AttributeError):
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)

    @classmethod
    def adopt(cls, descriptor: int, path: str) -> Self:
        """Take over a descriptor that was opened for this; it is closed if that fails, too."""
        try:
            return cls(descriptor, path)  # type: ignore[call-arg] # a direction knows its events
        except BaseException:
            os.close(descriptor)
            raise

    async def _run(self, function: Callable[[T], int], argument: T) -> int:
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._thread, function, argument)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            os.write(self._wake_write, b"!")
            await ended(work)
            raise
        except OSError as error:
            error.filename = self.name
            raise

    def _when_ready(self, move: Callable[[int, T], int], data: T) -> int:
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._wake_read:
                    raise _Cancelled
            with contextlib.suppress(BlockingIOError):
                return move(self._descriptor, data)

    async def aclose(self) -> None:
        """End the thread; a descriptor that is the caller's stays open."""
        if self._owned:
            self._thread.shutdown(wait=False)
        while self._owned:
            os.close(self._owned.pop())


class PipeSource(_Pipe, OpenedSource):  # type: ignore[misc] # its name is never None
    """Reads from a descriptor of the command line.

    Its engine has no other stream, so a slot may wait for the other side, and bytes are read
    straight into it.

    :param descriptor: stays open, and keeps its flags.
    :param name: what errors call it.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__(descriptor, name, select.POLLIN)

    async def readinto(self, view: memoryview) -> int:
        return await self._run(self._read, view)

    async def fill(self, view: memoryview) -> int:
        return await self._run(self._fill, view)

    def _read(self, view: memoryview) -> int:
        return self._when_ready(os.readv, [view])

    def _fill(self, view: memoryview) -> int:
        done = 0
        while done < len(view) and (size := self._read(view[done:])):
            done += size
        return done


class OpenedPipe(PipeSource):
    """A named pipe or a device: it is closed in the end, and no slot waits for it."""

    waits = True
    _opened_here = True


class PipeSink(_Pipe, OpenedSink):
    """Writes to a descriptor of the command line, straight out of the slots.

    :param descriptor: stays open, and keeps its flags.
    :param name: what errors call it.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__(descriptor, name, select.POLLOUT)
        self.status = os.fstat(descriptor)
        self._at_once = select.PIPE_BUF
        mode = self.status.st_mode
        if stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(descriptor)):
            self._at_once = _PIPE_SIZE
        elif stat.S_ISFIFO(mode):
            # A write of more than PIPE_BUF bytes may block, even after poll. The pipe is opened
            # a second time, with flags of its own, so that it does not.
            with contextlib.suppress(OSError):
                path = f"/proc/self/fd/{descriptor}"
                self._descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                self._owned.append(self._descriptor)
                self._at_once = _PIPE_SIZE

    async def write(self, *buffers: Buffer) -> None:
        for buffer in buffers:
            await self._run(self._write, memoryview(buffer))

    def _write(self, view: memoryview) -> int:
        size = len(view)
        while view:
            view = view[self._when_ready(os.write, view[: self._at_once]) :]
        return size


class NamedPipeSink(PipeSink):
    """A named pipe, a device or a terminal as destination: it is opened and written in place."""

    waits = True
    _opened_here = True

    @classmethod
    async def open(cls, path: str) -> Self:
        """Open it, and wait for a reader if it is a pipe that has none yet.

        :raises OSError: it cannot be opened.
        """
        while True:
            try:
                return cls.adopt(os.open(path, os.O_WRONLY | os.O_NONBLOCK), path)
            except OSError as error:
                if error.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(path).st_mode):
                    raise
                await asyncio.sleep(_RETRY)


class WriterSink(OpenedSink):
    """A caller's object with ``async write(data)``, which stays open.

    It may be slow, and may keep what it is given, so it gets a copy of the bytes.
    """

    waits = True

    def __init__(self, writer: AsyncWriter) -> None:
        self.name = getattr(writer, "name", None) or type(writer).__name__
        self._writer = writer

    async def write(self, *buffers: Buffer) -> None:
        written = self._writer.write(b"".join(buffers))
        if not isinstance(written, Awaitable):
            msg = f"destination.write must be async, that of {type(self._writer).__name__} is not"
            raise TypeError(msg)
        await written
