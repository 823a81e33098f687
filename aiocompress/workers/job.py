"""What a job is to a worker: a plain function from a place in the arena to a place in the arena.

Worker processes get offsets, threads get views, a caller's executor gets bytes and returns bytes.
Nothing else crosses the process boundary.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from aiocompress.errors import AiocompressError
from aiocompress.model import Buffer

Place: TypeAlias = tuple[int, int, int, int] | tuple[memoryview, memoryview] | tuple[bytes, int]
"""Input and output: (offset, size, offset, size) in the arena, two views, or (bytes, room)."""

_arena: memoryview | None = None


class Result(NamedTuple):
    """What a worker made: ``size`` bytes in the slot, in ``data``, or ``written`` to the file.

    Of an archive's members ``files`` were restored, and some have ``failed``, each for a reason.
    """

    size: int
    data: bytes | None = None
    written: bool = False
    files: int = 0
    failed: tuple[tuple[bytes, AiocompressError | OSError], ...] = ()


def attach(arena: memoryview) -> None:
    """Say where the arena is in this process; once, for its whole life."""
    global _arena  # noqa: PLW0603
    _arena = arena


def views(place: Place) -> tuple[memoryview, memoryview | None]:
    """Return the input of a job, and the room for its output; None: it returns bytes."""
    if isinstance(place[0], int):
        assert _arena is not None
        start, size, room, room_size = place
        return _arena[start : start + size], _arena[room : room + room_size]
    if isinstance(place[0], bytes):
        return memoryview(place[0]), None
    return place[0], place[1]


def deliver(frame: Buffer, room: memoryview | None) -> Result:
    """Lay the output where it belongs."""
    if room is None:
        return Result(len(frame), bytes(frame))
    room[: len(frame)] = frame
    return Result(len(frame))
