"""The way of a byte, out and back: source, producer, slot, worker, ordered consumer.

A producer fills slots and starts jobs, at most a window ahead of the consumer, who takes their
outcomes in the order of reading. No slot may wait for the outside, or a few stuck clients would
hold them all: so a stream reserves room in its window before it takes a slot, gathers beforehand
what a slow source sends, and copies out of the slot what a slow reader is to take. Only the
command line, which has no other stream, lets a slot wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Generic, NamedTuple, Protocol, TypeVar

from aiocompress.workers.threads import ended


class _Releasable(Protocol):
    def release(self) -> None: ...


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


async def in_order(items: AsyncGenerator[T], window: int) -> AsyncGenerator[T]:
    """Run a producer ahead of the consumer, by at most ``window`` items not yet released."""
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
