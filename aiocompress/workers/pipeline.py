"""The way of a byte, out and back: source, producer, slot, worker, ordered consumer.

A producer fills slots and starts jobs, at most a window ahead of the consumer, who takes their
outcomes in the order of reading. No slot may wait for the outside, or a few stuck clients would
hold them all: so a stream reserves room in its window before it takes a slot, gathers beforehand
what a slow source sends, and copies out of the slot what a slow reader is to take. Only the
command line, which has no other stream, lets a slot wait.

What slow readers have not taken yet is memory, too. Each of them always has one outcome; whatever
a stream has ready beyond that is lent to it out of the memory limit, and a window grows only while
its reader takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from aiocompress.model import MIB
from aiocompress.workers.arena import Slots
from aiocompress.workers.threads import begin, ended


class _Releasable(Protocol):
    def release(self) -> None: ...


_STUCK_SECONDS: Final = 0.2
BUFFERED: Final = 8 * MIB
"""More bytes than the buffers of programs and systems take of a stream that nobody reads."""
_LEAST: Final = BUFFERED // 16
"""Bytes that each item counts: one that hardly has any cost as much work as others."""
T = TypeVar("T", bound=_Releasable)
W = TypeVar("W", bound=_Releasable | None)
A = TypeVar("A")


class Sent(NamedTuple, Generic[W, A]):
    """Work under way, if there is any to do, and what its consumer has to know about it."""

    work: W
    about: A

    def release(self) -> None:
        if self.work is not None:
            self.work.release()


class Window:
    """How many items of a stream may be under way at once.

    :param most: never more than that.
    :param slots: lends the memory of items beyond the first; None: they need none of their own.
    """

    def __init__(self, most: int, slots: Slots | None = None) -> None:
        self._most, self._slots = most, slots
        self._limit = most if slots is None else 1
        self._inside = 0
        self._loans: list[int] = []
        self._left: asyncio.Future[None] | None = None
        self.largest = 0
        """Bytes that the largest item so far has kept."""
        self._taken = 0
        self.when_stuck: Callable[[], int] | None = None
        """Called when the reader has taken nothing for long; returns the bytes that it freed."""

    @property
    def is_new(self) -> bool:
        """Whether all that the reader has taken may stand in buffers, so that it may be slow."""
        return self._slots is not None and self._taken < BUFFERED

    async def enter(self) -> None:
        """Wait for room for one more item."""
        while not self._admits():
            loop = asyncio.get_running_loop()
            self._left = loop.create_future()
            timer = loop.call_later(_STUCK_SECONDS, self._free)
            try:
                await self._left
            finally:
                timer.cancel()
        self._inside += 1

    def _free(self) -> None:
        if self._slots is not None and self.when_stuck is not None:
            self._slots.free(self.when_stuck())

    def _admits(self) -> bool:
        if self._slots is None or not self._inside:
            return self._inside < self._limit
        if self._inside >= self._limit or not self._slots.lend(self.largest):
            return False
        self._loans.append(self.largest)
        return True

    def leave(self) -> None:
        """Say that the reader has taken an item: it may have one more at a time."""
        self._inside -= 1
        self._taken += max(self.largest, _LEAST)
        self._limit = min(self._limit + 1, self._most)
        if self._loans:
            self._give_back()
        if self._left is not None and not self._left.done():
            self._left.set_result(None)

    def close(self) -> None:
        """Give everything back."""
        while self._loans:
            self._give_back()

    def _give_back(self) -> None:
        assert self._slots is not None
        self._slots.return_lent(self._loans.pop())


def _reader() -> str:
    """Return the name of the task that reads.

    Not the task: a cancelled one has its error, whose traceback has the frame that would keep it.
    """
    task = asyncio.current_task()
    return "" if task is None else task.get_name()


async def in_order(items: AsyncGenerator[T], window: Window | int) -> AsyncGenerator[T]:
    """Run a producer ahead of the consumer, by at most a window of items not yet released."""
    room = Window(window) if isinstance(window, int) else window
    queue: asyncio.Queue[T | BaseException | None] = asyncio.Queue()

    async def produce() -> None:
        try:
            async with aclosing(items):
                await room.enter()
                while (item := await anext(items, None)) is not None:
                    queue.put_nowait(item)
                    await room.enter()
            queue.put_nowait(None)
        except BaseException as error:
            queue.put_nowait(error)  # the consumer raises it, in its turn
            if not isinstance(error, Exception):
                raise

    producer = begin(produce(), f"reads ahead for {_reader()}")
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            try:
                yield item
            finally:
                item.release()
                room.leave()
    finally:
        producer.cancel()
        try:
            await ended(producer)
        finally:
            while not queue.empty():
                left = queue.get_nowait()
                if left is not None and not isinstance(left, BaseException):
                    left.release()
            room.close()
