"""A job as its worker sees it: a plain function that reads one place and writes another.

Worker processes are sent offsets in the arena, threads get views of it, and a caller's executor
is sent bytes and returns bytes: it may run on another machine. A thread returns bytes, too, where
the output is not to stay in the slot.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from aiocompress.errors import AiocompressError
from aiocompress.model import Buffer

Extents: TypeAlias = Sequence[tuple[int, int]]
"""Offsets and sizes of what counts in a buffer; the rest is to be filled."""
Place: TypeAlias = tuple[int, int, int, int] | tuple[Buffer, memoryview | None]
"""Input and output: (offset, size, offset, size) in the arena, or two buffers, of which the second
is None where the output is to be returned as bytes."""

_arena: memoryview | None = None


class Result(NamedTuple):
    """What a worker made: ``size`` bytes in the slot, in ``data``, or ``written`` to the file.

    Of an archive's members, ``files`` were restored; ``failed`` has the others and their errors.
    ``about`` is what else the verb wants to know.
    """

    size: int
    data: bytes | bytearray | None = None
    written: bool = False
    files: int = 0
    failed: tuple[tuple[bytes, AiocompressError | OSError], ...] = ()
    about: Any = None


class Parcel:
    """A job on its way to an executor of the caller's: all in one object.

    Dask would look through plain arguments for its own futures, hash each chunk, and take two equal
    jobs for one, whose files are then written once.

    :param size: bytes of the input.
    :param parts: what is there of it: offsets and bytes.
    """

    def __init__(
        self,
        function: Callable[..., Result],
        size: int,
        parts: tuple[tuple[int, bytes], ...],
        arguments: tuple[Any, ...],
    ) -> None:
        self._function, self._arguments = function, arguments
        self._size, self._parts = size, parts

    def __dask_tokenize__(self) -> str:
        return os.urandom(16).hex()

    def run(self) -> Result:
        """Do the job, which returns its output."""
        if len(self._parts) == 1 and len(self._parts[0][1]) == self._size:
            return self._function((self._parts[0][1], None), *self._arguments)
        room = bytearray(self._size)
        for start, data in self._parts:
            room[start : start + len(data)] = data
        return self._function((room, None), *self._arguments)


def attach(arena: memoryview) -> None:
    """Keep the arena for the jobs of this worker process."""
    global _arena  # noqa: PLW0603
    _arena = arena


def views(place: Place) -> tuple[memoryview, memoryview | None]:
    """Return a job's input and the room for its output, or None where it is to return bytes."""
    if len(place) == 2:
        return memoryview(place[0]), place[1]
    assert _arena is not None
    start, size, room, room_size = place
    return _arena[start : start + size], _arena[room : room + room_size]


def deliver(frame: Buffer, room: memoryview | None) -> Result:
    """Put the output where it belongs."""
    if room is None:
        # A copy: zstandard's own bytes keep all the memory of the largest frame it could have been.
        return Result(len(frame), bytes(memoryview(frame)))
    room[: len(frame)] = frame
    return Result(len(frame))
