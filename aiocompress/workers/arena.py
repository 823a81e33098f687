"""The arena: one piece of memory that all processes map, cut into slots.

A slot is room for one chunk and its frame: an input part and an output part. A chunk that was
pickled for a worker would be copied four times; here a producer reads it straight into the slot,
and only the slot's offsets cross to the worker.

There is one arena for all streams, because its size is then the limit of what is in flight,
whatever the streams do. Slots are cut from it in any size, since each stream has its own chunk
size, and given out first come, first served: were a small one let past a large one that waits,
small ones could keep it waiting for ever. Each stream waits for one slot at a time, so that they
take turns. Only chunks that take seconds must leave one slot to those that do not.

New streams have a queue of their own, which gets an eighth while others are at work. Whether its
reader is slow shows only once the buffers on the way to it are full; were a new stream served like
any other until then, two hundred slow clients that come at once would hold up all the others.
Slots that are free meanwhile stay so: the loop that sends all of it has no time to spare, either.
"""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import tempfile
import time
from collections import deque
from functools import cached_property
from typing import Any, Final, NamedTuple

from aiocompress.errors import ClosedError, LimitError
from aiocompress.workers import limits
from aiocompress.workers.job import Place, Result
from aiocompress.workers.kept import Kept

_PAGE = mmap.PAGESIZE
_TRIMMED = 16 << 20
_OTHERS: Final = 7
"""How many bytes others get for each of new streams, while both want some."""
_PAUSE: Final = 0.02
"""Seconds after which others that do not come back are taken to have enough."""
_TRIM_SECONDS: Final = 0.2


class Arena:
    """Anonymous memory behind a descriptor: it has no name, so a SIGKILL leaves nothing behind.

    It can be pickled only for a worker that is starting, which gets a duplicate of the descriptor.
    """

    def __init__(self, size: int, descriptor: int | None = None) -> None:
        self.size = size
        try:
            self._descriptor = _anonymous_file(size) if descriptor is None else descriptor
        except OSError:  # RLIMIT_FSIZE, RLIMIT_NOFILE: shared with forked processes only
            self._descriptor = -1
        self.view = memoryview(mmap.mmap(self._descriptor, size))

    def __reduce__(self) -> tuple[Any, ...]:
        if self._descriptor < 0:
            raise OSError(errno.ENOMEM, "no memory can be shared")
        from multiprocessing import reduction  # only with worker processes

        return _attach, (self.size, reduction.DupFd(self._descriptor))

    def close(self) -> None:
        """Give up the descriptor; the memory goes with the last view of it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _anonymous_file(size: int) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("aiocompress")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, size)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _attach(size: int, shared: Any) -> Arena:
    return Arena(size, shared.detach())


class Slot:
    """Room for one chunk and its frame; ``input`` and ``output`` are views of the arena."""

    def __init__(self, slots: Slots, extent: tuple[int, int], input_size: int) -> None:
        self.slots, self._extent = slots, extent
        offset, size = extent
        view = slots.arena.view[offset : offset + size]
        self.input, self.output = view[:input_size], view[input_size:]

    def place(self, used: int) -> Place:
        """Return the offsets and sizes by which a worker process finds input and output."""
        offset = self._extent[0]
        return offset, used, offset + len(self.input), len(self.output)

    def view(self, result: Result) -> memoryview:
        """Return what the worker made."""
        return self.output[: result.size] if result.data is None else memoryview(result.data)

    def free(self) -> None:
        """Give the room back: from now on it is somebody else's."""
        self.input.release()
        self.output.release()
        self.slots.give_back(self._extent)


class _Waiting(NamedTuple):
    """Somebody who waits for so many bytes."""

    size: int
    slow: bool
    turn: asyncio.Future[tuple[int, int]]


class Slots:
    """Gives out at most ``total`` slots, which share ``memory_limit`` bytes with all that is lent.

    Memory is *lent* for what is kept outside of the arena: frames that are ready before a slow
    reader wants them, frames of open archives. It is at most a quarter of the limit, so that slots
    always come, whatever the readers do. What is only ``kept``, to be faster the next time, gives
    way to everybody.
    """

    def __init__(self, total: int, memory_limit: int) -> None:
        self.total = total
        self.size = memory_limit // _PAGE * _PAGE or _PAGE
        """Bytes of the arena."""
        self.in_use = self.peak = self.memory_in_use = self.memory_peak = self.lent = 0
        self.waiting = 0
        """Bytes of frames and chunks that are ready, and that a slow reader has not taken."""
        self._untrimmed = 0
        """The same, and all that was freed since the system has last got its pages back."""
        self._closed = False
        self.kept = Kept()
        """That part of what is lent which can be had back at once."""
        self._free = [(0, self.size)]
        self._waiting: deque[_Waiting] = deque()
        self._new: deque[_Waiting] = deque()
        """As ``_waiting``, but of new streams."""
        self._due = 0
        """Bytes that new streams may have before others have to be served again."""
        self._served = -_PAUSE
        """When others were served last."""
        self._timed: asyncio.AbstractEventLoop | None = None
        """The loop that looks soon whether others have had enough."""

    @cached_property
    def arena(self) -> Arena:
        """The memory itself, once it is needed."""
        return Arena(self.size)

    def close(self) -> None:
        """Give up the arena, whose memory goes with the last slot in use, and what is kept."""
        self.lent -= self.kept.give_way(self.kept.size)
        self._closed = True
        self.disown()
        self._release()

    def disown(self) -> None:
        """Give up the descriptor, but not the memory: workers that are being forked use it."""
        if "arena" in vars(self):
            self.arena.close()

    def _release(self) -> None:
        # Not left to the garbage collector: every call of a function has an engine of its own.
        waiting = self._waiting or self._new
        if self._closed and not (self.in_use or waiting) and "arena" in vars(self):
            self.arena.view.release()

    @property
    def largest(self) -> int:
        """The most bytes that a slot can have if ``total`` of them are to fit at once."""
        return self.size // self.total // _PAGE * _PAGE

    async def take(
        self, input_size: int, output_size: int, *, slow: bool = False, new: bool = False
    ) -> Slot:
        """Wait in turn for a slot with this much room, in bytes, for input and output.

        :param slow: the work takes seconds: the last free slot is for others.
        :param new: nobody knows yet whether the reader of the stream is slow.
        :raises LimitError: the arena is too small for even one such slot.
        :raises ClosedError: there are none any more.
        """
        if self._closed:
            raise ClosedError("the engine is closed")
        input_size = -(-input_size // 64) * 64 or 64
        size = self.check(input_size, output_size)
        is_next = not (self._waiting or self._new) and (self._is_quiet or not new)
        extent = self._allocate(size, slow=slow) if is_next else None
        if extent is None:
            extent = await self._wait(size, slow=slow, new=new)
        else:
            self._count(size, new=new)
        return Slot(self, extent, input_size)

    def check(self, input_size: int, output_size: int) -> int:
        """Return how many bytes such a slot takes.

        :raises LimitError: the arena is too small for even one of them.
        """
        size = input_size + output_size
        # Sizes are rounded up to a few steps, so that slots of about the same size fit where one
        # was before. Otherwise they would wander, and in time touch every page of the arena.
        grain = max(_PAGE, 1 << max(0, size.bit_length() - 4))
        size = min(-(-size // grain) * grain, max(self.size, -(-size // _PAGE) * _PAGE))
        if size > self.size:
            raise LimitError(
                f"one chunk needs {size} bytes of memory, the limit is {self.size}",
                hint="raise memory_limit or lower chunk_size",
            )
        return size

    def keep(self, size: int) -> None:
        """Count bytes that wait for a slow reader."""
        self.waiting += size
        self._untrimmed = max(self._untrimmed, self.waiting)

    def drop(self, size: int) -> None:
        """Count bytes that no longer wait; once these are many, the system gets its pages back."""
        self.waiting -= size
        self._trim()

    def free(self, size: int) -> None:
        """Count bytes that a stuck stream has freed."""
        self._untrimmed += size
        self._trim()

    def _trim(self) -> None:
        """Give pages back a moment later, when the transports of clients that left have let go."""
        if self._untrimmed - self.waiting >= _TRIMMED:
            self._untrimmed = self.waiting
            try:
                asyncio.get_running_loop().call_later(_TRIM_SECONDS, limits.trim_heap)
            except RuntimeError:  # the loop has closed, and its generators are being dropped
                limits.trim_heap()

    def lend(self, size: int) -> bool:
        """Lend ``size`` bytes at once, unless they are more than can be spared."""
        missing = size + self.lent - min(self.size // 4, self.size - self.memory_in_use)
        if missing > self.kept.size:
            return False
        self.lent += size - self.kept.give_way(missing)
        return True

    def return_lent(self, size: int) -> None:
        """Take ``size`` bytes back that were lent."""
        self.lent -= size
        self._serve()

    async def _wait(self, size: int, *, slow: bool, new: bool) -> tuple[int, int]:
        turn: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        queue, entry = self._new if new else self._waiting, _Waiting(size, slow, turn)
        queue.append(entry)
        try:
            self._serve()  # those that wait may all be slow
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(turn.result())
            else:
                if entry in queue:  # unless ``_serve`` has met it
                    queue.remove(entry)
                self._serve()
            raise

    def _allocate(self, size: int, *, slow: bool) -> tuple[int, int] | None:
        """Cut the first extent that is large enough: low pages are used again and again."""
        if self.in_use >= self.total - (slow and self.total > 1):
            return None
        missing = self.memory_in_use + self.lent + size - self.size
        self.lent -= self.kept.give_way(missing)
        if self.in_use and self.memory_in_use + self.lent + size > self.size:
            return None
        for index, (offset, room) in enumerate(self._free):
            if room >= size:
                self._free[index : index + 1] = [(offset + size, room - size)] * (room > size)
                self.in_use += 1
                self.memory_in_use += size
                self.peak = max(self.peak, self.in_use)
                self.memory_peak = max(self.memory_peak, self.memory_in_use)
                return offset, size
        return None

    def give_back(self, extent: tuple[int, int]) -> None:
        """Take an extent back, join it with its free neighbours, and serve those who wait."""
        self.in_use -= 1
        self.memory_in_use -= extent[1]
        joined: list[tuple[int, int]] = []
        for offset, size in sorted([*self._free, extent]):
            if joined and sum(joined[-1]) == offset:
                joined[-1] = (joined[-1][0], joined[-1][1] + size)
            else:
                joined.append((offset, size))
        self._free = joined
        self._serve()
        self._release()

    def _serve(self) -> None:
        passed: list[tuple[deque[_Waiting], _Waiting]] = []
        while self.in_use < self.total and (queue := self._next()):
            size, slow, turn = entry = queue.popleft()
            if turn.done():
                continue
            if (extent := self._allocate(size, slow=slow)) is not None:
                turn.set_result(extent)
                self._count(size, new=queue is self._new)
                continue
            passed.append((queue, entry))
            if not slow:
                break
        for queue, entry in reversed(passed):
            queue.appendleft(entry)
        if self._new and self._timed is not (loop := self._new[0].turn.get_loop()):
            self._timed = loop
            loop.call_later(_PAUSE, self._serve_in_time)

    def _serve_in_time(self) -> None:
        self._timed = None
        self._serve()

    def _next(self) -> deque[_Waiting]:
        """Return the queue whose turn it is; an empty one if it is nobody's."""
        if not self._new:
            return self._waiting
        is_due = self._due >= self._new[0].size or (not self._waiting and self._is_quiet)
        return self._new if is_due else self._waiting

    @property
    def _is_quiet(self) -> bool:
        """Whether the streams that are not new have had enough."""
        return time.monotonic() >= self._served + _PAUSE

    def _count(self, size: int, *, new: bool) -> None:
        """Take note of who was served."""
        if new:
            self._due = max(0, self._due - size)
        else:
            self._served = time.monotonic()
            self._due += -(-size // _OTHERS) if self._new else 0
