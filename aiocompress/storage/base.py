"""What bytes come from and go to: the protocols of storage, for the inside and for callers.

Callers bring an ``AsyncReader``, an ``AsyncWriter`` or a ``Positional``; inside, every verb reads a
``Source`` and writes a ``Sink``. Most of both is optional: a class that inherits from the protocol
says only what is different about it.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from aiocompress.model import Buffer


@runtime_checkable
class AsyncReader(Protocol):
    """An object with ``async read(n)``: at most n bytes, none at the end."""

    def read(self, size: int, /) -> Awaitable[Buffer]: ...


@runtime_checkable
class AsyncWriter(Protocol):
    """An object with ``async write(data)``, which takes all of the bytes."""

    def write(self, data: bytes, /) -> Awaitable[object]: ...


@runtime_checkable
class Positional(Protocol):
    """Bytes that can be read anywhere: an object in a store, say."""

    async def size(self) -> int:
        """Return how many bytes there are."""
        ...

    async def read_at(self, offset: int, size: int, /) -> Buffer:
        """Return ``size`` bytes from ``offset``; fewer only at the end."""
        ...


class Origin(Protocol):
    """What a sink may want to know of where its bytes come from."""

    name: str | None = None
    """What errors call it."""
    status: os.stat_result | None = None
    """What the system says of it, if it is a file, a pipe or a device."""

    def leave_out(self, status: os.stat_result) -> None:  # noqa: ARG002
        """Leave a file out of what is read, because it is what is being written."""
        return


@runtime_checkable
class Source(Origin, Protocol):
    """Bytes in order."""

    size: int | None = None
    """None where it is not known before the end."""
    waits: bool = False
    """Whether the other side may be slow: its bytes are gathered before a slot is taken."""

    @abstractmethod
    async def readinto(self, view: memoryview) -> int:
        """Read what is there into ``view``; returns the number of bytes, 0 at the end."""
        ...

    async def fill(self, view: memoryview) -> int:
        """Read until ``view`` is full or nothing is left; returns the number of bytes."""
        done = 0
        while done < len(view) and (size := await self.readinto(view[done:])):
            done += size
        return done

    def goes_on(self, *, filled: bool) -> bool:
        """Whether there may be another chunk; ``filled``: the last one took all of its room."""
        return filled

    def take_index(self) -> bytes | None:
        """Return the block of an archive's index that belongs behind the last chunk, if any."""
        return None

    async def aclose(self) -> None:
        """Give the source back; what the caller opened stays open."""
        return


@runtime_checkable
class Sink(Protocol):
    """Where bytes go, in order."""

    name: str
    """What errors call it."""
    waits: bool = False
    """Whether the other side may be slow: what it takes is copied out of the slots first."""
    status: os.stat_result | None = None
    """What the system says of it while it is written, if it is a file, a pipe or a device."""

    @abstractmethod
    async def write(self, *buffers: Buffer) -> None:
        """Write all of the buffers."""
        ...

    async def commit(self, like: os.stat_result | None) -> None:  # noqa: ARG002
        """Take everything for whole, and take after ``like``: mode, times and owner."""
        return

    async def aclose(self) -> None:
        """Give the sink back; what was not committed is gone where that is possible."""
        return


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Have an OSError that names no file, or one by its descriptor, name this one."""
    try:
        yield
    except OSError as error:
        name = error.filename
        if isinstance(name, bytes):
            error.filename = os.fsdecode(name)
        elif not isinstance(name, str) or name.startswith(f"/proc/{os.getpid()}/fd/"):
            error.filename = path
        raise
