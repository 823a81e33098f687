"""The way of a byte, out and back: source, producer, slot, worker, ordered consumer.

Both directions, ``compression`` and ``decompression``, are async generators of these parts. A
producer fills slots and starts jobs, at most a window ahead of the consumer, who takes their
outcomes in the order of reading. A stream reserves room in its window before it takes a slot,
gathers what a slow source sends before that, and has what a slow reader takes copied out of the
slot at once: so no slot ever waits for anybody outside, except in the command line, where no
other stream wants it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol, TypeVar

from .model import Report
from .trees.found import Found
from .waiting import ended
from .workers.pool import Job, WorkerPool


class Tally:
    """What has gone through a stream so far; ``read_bytes`` also what is only on its way."""

    def __init__(self, pool: WorkerPool, found: Found | None = None) -> None:
        self._pool = pool
        self.raw_bytes = self.compressed_bytes = self.frames = self.read_bytes = 0
        self.warnings: list[str] = []
        self.found = Found(files=1) if found is None else found
        """What a tree is found to hold, if one is packed or restored."""
        self.observer: Callable[[], object] | None = None
        """Called when something has gone through."""

    def add(self, raw: int, compressed: int, frames: int) -> None:
        """Count bytes and frames, here and in the engine's statistics."""
        self.raw_bytes += raw
        self.compressed_bytes += compressed
        self.frames += frames
        self._pool.raw_bytes += raw
        self._pool.compressed_bytes += compressed
        if self.observer is not None:
            self.observer()

    def reset(self) -> None:
        """Begin anew."""
        self.raw_bytes = self.compressed_bytes = self.frames = self.read_bytes = 0
        self.found = Found()

    def report(self, seconds: float) -> Report:
        """Sum it up."""
        report = Report(
            raw_bytes=self.raw_bytes,
            compressed_bytes=self.compressed_bytes,
            seconds=seconds,
            frames=self.frames,
            warnings=tuple(self.warnings),
        )
        return self.found.report(report)


class Running:
    """Jobs that may still write to what is about to be closed.

    They open it by its descriptor's number, which may be used again by then: so it is closed only
    when the last of them is over.
    """

    def __init__(self) -> None:
        self._jobs: set[Job] = set()

    def add(self, job: Job) -> None:
        """Count a job till it is over."""
        self._jobs.add(job)
        job.over.add_done_callback(lambda _: self._jobs.discard(job))

    async def over(self) -> None:
        """Wait for all of them."""
        if self._jobs:
            await ended(asyncio.gather(*(job.over for job in self._jobs)))


class _Releasable(Protocol):
    def release(self) -> None: ...


T = TypeVar("T", bound=_Releasable)


async def in_order(items: AsyncGenerator[T], window: int) -> AsyncGenerator[T]:
    """Run a producer ahead, by at most ``window`` items that are not released yet."""
    room = asyncio.Semaphore(window)
    queue: asyncio.Queue[T | BaseException | None] = asyncio.Queue()

    async def produce() -> None:
        try:
            async with aclosing(items):
                while await room.acquire() and (item := await anext(items, None)) is not None:
                    queue.put_nowait(item)
            queue.put_nowait(None)
        except BaseException as error:
            queue.put_nowait(error)  # the consumer raises it, in its turn
            if not isinstance(error, Exception):
                raise

    producer = asyncio.ensure_future(produce())
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            try:
                yield item
            finally:
                item.release()
                room.release()
    finally:
        producer.cancel()
        try:
            await ended(producer)
        finally:
            while not queue.empty():
                left = queue.get_nowait()
                if left is not None and not isinstance(left, BaseException):
                    left.release()
