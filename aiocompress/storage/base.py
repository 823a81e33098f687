"""What bytes come from and go to: the protocols of storage, for callers and for verbs.

Callers bring a ``Source`` or a ``Positional``, and a ``Sink``; every verb reads an ``OpenedSource``
and writes an ``OpenedSink``. Most members of both are optional: a class that inherits from the
protocol defines only what is different about it.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
)
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias, runtime_checkable

from aiocompress.model import Buffer, PathLike
from aiocompress.storage.reach import Reach
from aiocompress.workers.job import Extents, Result


@runtime_checkable
class AsyncReader(Protocol):
    """An object with ``async read(n)``, which returns at most n bytes, and none at the end."""

    def read(self, size: int, /) -> Awaitable[Buffer]: ...


class PlainReader(Protocol):
    """A binary file: ``read(n)`` as above, but it blocks."""

    def read(self, size: int, /) -> Buffer: ...


@runtime_checkable
class AsyncWriter(Protocol):
    """An object with ``async write(data)``, which takes all of the bytes."""

    def write(self, data: bytes, /) -> Awaitable[object]: ...


@runtime_checkable
class Positional(Protocol):
    """Bytes that can be read at any offset: an object in a store, say.

    If it has a ``name``, errors tell it. An archive asks for the size once, and never for bytes
    that are not there. Each task that reads asks for one part at a time; if the object has an
    ``at_once``, a number, extracting and reading on ask for so many, each for up to a frame.
    """

    async def size(self) -> int:
        """Return how many bytes there are."""
        ...

    async def read_at(self, offset: int, size: int, /) -> Buffer:
        """Return exactly ``size`` bytes from ``offset``."""
        ...


class Origin(Protocol):
    """What a sink may ask about the source of its bytes."""

    name: str | None = None
    """Its name in errors."""
    status: os.stat_result | None = None
    """Its status, if it is a file, a pipe or a device."""

    def leave_out(self, status: os.stat_result) -> None:  # noqa: ARG002
        """Leave a file out of what is read, because it is the destination."""
        return


class Look(Protocol):
    """Looks at what was read."""

    def __call__(self, offset: int, view: memoryview, size: int, /) -> object:
        """Look at the first ``size`` bytes of a view that was to be filled from an offset on."""
        ...


class Unread(Protocol):
    """What is still to be read of a chunk, by a worker of this machine, or here."""

    def job(self, encoding: Any) -> tuple[Callable[..., Result], tuple[Any, ...]]:
        """Return what a worker has to do to the chunk; ``STREAM`` is the size if it cannot."""
        ...

    def laid(self) -> Extents:
        """Return what stands in the chunk already."""
        ...

    def read(self, view: memoryview) -> tuple[int, Any]:
        """Read it; returns the size of the chunk, and what ``settle`` takes. For a file thread."""
        ...

    async def settle(self, about: Any) -> tuple[int, list[bytes]]:
        """Take what was read, chunk by chunk in order.

        :param about: from the result of the job, or from ``read``.
        :returns: the size of the chunk, and the blocks of an archive's index that belong after it.
        """
        ...


@runtime_checkable
class OpenedSource(Origin, Protocol):
    """Bytes in order."""

    size: int | None = None
    """In bytes; None if it is not known before the end."""
    waits: bool = False
    is_local: bool = False
    """Whether it is a file of this machine, which takes no longer than its disk."""
    """Whether the other side may be slow, so that its bytes are gathered before a slot is taken."""
    least_chunk: int = 1
    """Bytes of the smallest chunk that can be filled."""
    makes_index: bool = False
    """Whether it lays an archive, and ``take_index`` gives the index of that."""
    at_offsets: bool = False
    """Whether ``read_at`` can be called, several times at once."""
    look: Look | None = None
    """What ``read_at`` calls when it has read, in the thread that did."""

    @abstractmethod
    async def readinto(self, view: memoryview) -> int:
        """Read what is available into ``view``; returns the number of bytes, 0 at the end."""
        ...

    async def fill(self, view: memoryview) -> int:
        """Read until ``view`` is full or the end is reached; returns the number of bytes."""
        done = 0
        while done < len(view) and (size := await self.readinto(view[done:])):
            done += size
        return done

    async def read_at(self, offset: int, view: memoryview) -> int:  # noqa: ARG002
        """Read from an offset until ``view`` is full or the end is reached; returns the bytes."""
        return 0

    async def reach(self, *, by_path: bool, watched: bool) -> Reach | None:  # noqa: ARG002
        """Say how workers can read it at offsets; None: not at all.

        :param by_path: they may run on other machines.
        :param watched: ``see`` is called with all that they have read.
        """
        return None

    async def see(self, offset: int, view: memoryview, size: int) -> None:  # noqa: ARG002
        """Look at what a worker has read from an offset on, several times at once."""
        return

    async def begin(self, view: memoryview) -> tuple[int, Unread | None]:
        """Do as ``fill``, but perhaps leave some of the chunk for a worker to read."""
        return await self.fill(view), None

    @property
    def is_over(self) -> bool | None:
        """Whether the last chunk was the end; None: only one that did not fill its room was."""
        return None

    def goes_on(self, *, filled: bool) -> bool:
        """Whether another chunk may follow; ``filled``: the last one filled its room."""
        return filled if self.is_over is None else not self.is_over

    def take_index(self) -> list[bytes]:
        """Return the blocks of an archive's index that belong after the last chunk, if any."""
        return []

    def late_index(self) -> AsyncGenerator[bytes] | None:
        """Return an index that is known only behind the last chunk; None: there is none."""
        return None

    async def aclose(self) -> None:
        """Close the source, unless the caller opened it."""
        return


@runtime_checkable
class OpenedSink(Protocol):
    """Where bytes go, in order."""

    name: str
    """Its name in errors."""
    waits: bool = False
    """Whether the other side may be slow, so that its bytes are copied out of the slots first."""
    status: os.stat_result | None = None
    """Its status while it is written, if it is a file, a pipe or a device."""

    @abstractmethod
    async def write(self, *buffers: Buffer) -> None:
        """Write all of the buffers."""
        ...

    async def commit(self, like: os.stat_result | None) -> None:  # noqa: ARG002
        """Say that everything was written, and give it mode, times and owner of ``like``."""
        return

    async def aclose(self) -> None:
        """Close the sink, unless the caller opened it; remove what was not committed."""
        return


Source: TypeAlias = (
    PathLike
    | Buffer
    | AsyncReader
    | PlainReader
    | AsyncIterable[Buffer]
    | Iterable[Buffer]
    | OpenedSource
)
"""What callers pass for bytes that are read once, from the first to the last.

A path; a URL, with the extra ``remote``; bytes-like; an object with ``read(n)``, async or a binary
file; an iterable of bytes-like, async or not. What is not async is called in a thread. An object
that has ``async read(n)`` is not iterated: many iterate by lines.
"""
Sink: TypeAlias = PathLike | AsyncWriter | OpenedSink
"""What callers pass for where bytes go.

A path; ``s3://BUCKET/KEY``, with the extra ``remote``; or an object with ``async write(data)``,
which takes all of the bytes, one call at a time, and stays open.
"""


@contextmanager
def naming(path: str | None) -> Iterator[None]:
    """Put this path into an OSError that has no name, or that of a descriptor."""
    try:
        yield
    except OSError as error:
        name = error.filename
        if isinstance(name, bytes):
            error.filename = os.fsdecode(name)
        elif not isinstance(name, str) or name.startswith(f"/proc/{os.getpid()}/fd/"):
            error.filename = path
        raise
