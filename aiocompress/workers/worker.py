"""What runs in a worker: plain functions from a place in the arena to a place in the arena.

Own processes get offsets, threads get views, a caller's executor gets bytes and returns bytes.
Nothing else crosses the process boundary, and the caller's main module is never imported.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ..codecs import CODECS, STREAM
from ..errors import AiocompressError, CorruptError
from ..model import Buffer

if TYPE_CHECKING:
    from .slots import Arena

Place: TypeAlias = tuple[int, int, int, int] | tuple[memoryview, memoryview] | tuple[bytes, int]
"""Input and output: (offset, size, offset, size) in the arena, two views, or (bytes, room)."""

DISCARD = ""
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


def initialize(arena: Arena) -> None:
    """Make this process a worker: it ends with its parent, and leaves its terminal alone."""
    global _arena  # noqa: PLW0603 - one arena a process, for its whole life
    _arena = arena.view
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # A worker that holds the ends of a pipe keeps its readers waiting for ever.
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.freeze()


def _end_with_parent() -> None:
    import multiprocessing.connection  # noqa: PLC0415 - only in worker processes

    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def ready() -> None:
    """Do nothing: who gets an answer knows that this worker runs."""


def compress(place: Place, codec: str, level: int) -> Result:
    """Compress one chunk into one frame."""
    data, room = views(place)
    frame = CODECS[codec].compress(data, level)
    return deliver(frame, room)


def decompress(
    place: Place, codec: str, frames: tuple[tuple[int, int], ...], target: tuple[str, int] | None
) -> Result:
    """Decode a run of whole frames.

    :param frames: (compressed, raw) bytes of each.
    :param target: a path and an offset to write the raw data to, ``DISCARD`` for a path to drop
        it: then there need only be room for the largest frame; None leaves it all in the slot.
    :returns: ``size`` is ``STREAM`` where a frame is not as its index says, and where the path
        cannot be opened from here.
    :raises CorruptError: with offset and frame counted from the first byte of the run.
    """
    data, room = views(place)
    if room is None:
        room = memoryview(bytearray(sum(raw for _, raw in frames)))
    with _opened(target) as write:
        if write is None and target is not None:
            return Result(STREAM)
        at = size = 0
        for number, (compressed, raw) in enumerate(frames):
            # What is written at once leaves its room to the next frame, hot in the cache.
            start = size if write is None else 0
            frame = data[at : at + compressed]
            try:
                done = CODECS[codec].decompress(frame, room[start : start + raw])
            except CorruptError as error:
                raise error.located(base=at, frame=number) from None
            if done == STREAM:
                return Result(STREAM)
            if write is not None:
                write(room[:done], size)
            at += compressed
            size += done
    if write is not None:
        return Result(size, written=True)
    return Result(size, bytes(room[:size]) if isinstance(place[0], bytes) else None)


Write: TypeAlias = Callable[[memoryview, int], None]


@contextmanager
def _opened(target: tuple[str, int] | None) -> Iterator[Write | None]:
    """Open the target for one job: it belongs to a stream, which may end without this worker."""
    if target is None:
        yield None
        return
    path, base = target
    if path == DISCARD:
        yield lambda _data, _offset: None
        return
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except OSError:
        yield None
        return

    def write(data: memoryview, offset: int) -> None:
        while data:
            try:
                written = os.pwrite(descriptor, data, base + offset)
            except OSError as error:
                raise OSError(error.errno, error.strerror, path) from None
            data, offset = data[written:], offset + written

    try:
        yield write
    finally:
        os.close(descriptor)


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
