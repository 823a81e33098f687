"""A job as its worker sees it: a plain function that reads one place and writes another.

Worker processes are sent offsets in the arena, threads get views of it, and a caller's executor
is sent bytes and returns bytes: it may run on another machine.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from aiocompress.errors import AiocompressError
from aiocompress.model import Buffer, Difference

Place: TypeAlias = tuple[int, int, int, int] | tuple[memoryview, memoryview] | tuple[bytes, int]
"""Input and output: (offset, size, offset, size) in the arena, two views, or bytes and a size."""

_arena: memoryview | None = None


class Result(NamedTuple):
    """What a worker made: ``size`` bytes in the slot, in ``data``, or ``written`` to the file.

    Of an archive's members, ``files`` were restored; ``failed`` has the others and their errors.
    Or they were compared: ``told`` has what differs, and the raw offset of the member.
    """

    size: int
    data: bytes | bytearray | None = None
    written: bool = False
    files: int = 0
    failed: tuple[tuple[bytes, AiocompressError | OSError], ...] = ()
    told: tuple[tuple[int, Difference], ...] = ()


def attach(arena: memoryview) -> None:
    """Keep the arena for the jobs of this worker process."""
    global _arena  # noqa: PLW0603
    _arena = arena


def views(place: Place) -> tuple[memoryview, memoryview | None]:
    """Return a job's input and the room for its output, or None where it is to return bytes."""
    if isinstance(place[0], int):
        assert _arena is not None
        start, size, room, room_size = place
        return _arena[start : start + size], _arena[room : room + room_size]
    if isinstance(place[0], bytes):
        return memoryview(place[0]), None
    return place[0], place[1]


def deliver(frame: Buffer, room: memoryview | None) -> Result:
    """Put the output where it belongs."""
    if room is None:
        return Result(len(frame), bytes(frame))
    room[: len(frame)] = frame
    return Result(len(frame))
