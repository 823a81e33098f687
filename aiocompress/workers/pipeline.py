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
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol, TypeVar

from aiocompress.workers.threads import ended


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
