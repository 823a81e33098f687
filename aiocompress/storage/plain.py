"""Plain code that gives bytes, run beside the loop: an iterable, the ``read`` of a file.

Nobody knows how long such code takes, so it gets threads of its own: eight reads that hang would
occupy all of the engine's file threads. Nobody can stop it either. So a stream that is given up
leaves its thread behind, as a daemon that the end of the program does not wait for, and what the
thread still brings is dropped.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from typing import Final, TypeVar

from aiocompress.model import KIB, Buffer

T = TypeVar("T")

_MOST_AHEAD: Final = 256 * KIB


def _start(function: Callable[[], object]) -> None:
    """Run a function in a daemon thread, with the context variables of its caller.

    :raises OSError: no thread can be started.
    """
    run, name = copy_context().run, "aiocompress-source"
    try:
        threading.Thread(target=run, args=(function,), name=name, daemon=True).start()
    except (RuntimeError, MemoryError):
        raise OSError(errno.EAGAIN, "no thread can be started here") from None


async def apart(function: Callable[[], T]) -> T:
    """Run a function that may block for ever; whoever is cancelled here leaves at once.

    :raises BaseException: what the function raises.
    :raises OSError: no thread can be started.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Future[T]] = loop.create_future()

    def run() -> None:
        outcome: Future[T] = Future()
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001 - it goes to the one who waits
            outcome.set_exception(error)
        with suppress(RuntimeError):  # the loop has closed meanwhile
            loop.call_soon_threadsafe(tell, outcome)

    def tell(outcome: Future[T]) -> None:
        if not ended.done():
            ended.set_result(outcome)

    _start(run)
    return (await ended).result()


class Pump:
    """Takes the items of a plain iterable in a thread, at most 256 KiB and an item ahead.

    A hop to a thread for each item would take longer than to compress it: many programs yield
    lines. So the thread runs on, and hands over together what has gathered meanwhile.
    """

    def __init__(self, items: Iterable[Buffer]) -> None:
        self._items = items
        self._gathered: list[bytes] = []
        self._size = 0
        self._error: BaseException | None = None
        self._begun = self._ended = self._is_awaited = self._stopped = False
        self._changed = threading.Condition()

    async def next(self) -> bytes:
        """Return what has come, at least a byte; nothing at the end.

        :raises BaseException: what the iterable raises; ``TypeError`` if an item is not bytes-like.
        """
        if not self._begun:
            self._begun, self._ready = True, asyncio.Event()
            self._loop = asyncio.get_running_loop()
            _start(self._run)
        while not (data := self._take()) and not self._ended:
            await self._ready.wait()
        if data or (data := self._take()):  # the last items may have come before the end was seen
            return data
        if self._error is not None:
            raise self._error
        return b""

    def stop(self) -> None:
        """Let the thread end after its item, and drop what it has brought."""
        with self._changed:
            self._stopped = True
            self._gathered.clear()
            self._changed.notify()

    def _take(self) -> bytes:
        with self._changed:
            data = b"".join(self._gathered)
            self._gathered.clear()
            self._size = 0
            self._changed.notify()
            self._is_awaited = not data
            self._ready.clear()
        return data

    # In the thread.

    def _run(self) -> None:
        try:
            for item in self._items:
                # A copy, for the iterable may fill the same buffer again.
                data = item if type(item) is bytes else bytes(memoryview(item))
                if not self._give(data):
                    break
        except BaseException as error:  # noqa: BLE001 - it goes to the one who waits
            self._error = error
        with self._changed:
            self._items, self._ended = (), True
            self._wake()

    def _give(self, data: bytes) -> bool:
        """Hand over an item, and wait until there is room; returns whether to go on."""
        with self._changed:
            self._gathered.append(data)
            self._size += len(data)
            self._wake()
            while self._size >= _MOST_AHEAD and not self._stopped:
                self._changed.wait()
            return not self._stopped

    def _wake(self) -> None:
        if self._is_awaited:
            self._is_awaited = False
            with suppress(RuntimeError):  # the loop has closed meanwhile
                self._loop.call_soon_threadsafe(self._ready.set)
