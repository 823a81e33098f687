"""Work on the loop's own thread, a few milliseconds at a time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

T = TypeVar("T")

_SLICE: Final = 0.005
"""Seconds of each turn of the loop that such work may take."""
_WOKEN: Final = 200
"""How many of those that wait are woken for one turn."""
_PATIENCE: Final = 5
"""Seconds that anybody waits for a few others."""
_PAUSE: Final = 2e-5
"""Seconds; the system makes it about 70 microseconds, which a thread needs to wake up."""


def let_threads_in() -> None:
    """Let the threads that read ahead have the interpreter lock.

    A thread needs it four times for each block. From a loop that never waits it gets the lock only
    after the switch interval of 5 ms, as a turn of the loop gives it back for less time than a
    thread takes to wake up: so the blocks come too late, and the loop waits after all.
    """
    time.sleep(_PAUSE)


class Turns:
    """Runs work that takes a few microseconds, where a thread would take longer to wake up.

    Thousands of callers that each take a moment would together keep the loop from everybody else.
    So when a turn of the loop has given them enough time, the others wait for one of the next.
    """

    def __init__(self) -> None:
        self._begun: float | None = None
        self._is_spent = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def run(self, work: Callable[[], T]) -> T:
        """Do some work in this turn of the loop, or in one of the next."""
        while self._is_spent:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._begin()
        try:
            return work()
        finally:
            assert self._begun is not None
            self._is_spent = time.perf_counter() - self._begun > _SLICE

    def _begin(self) -> None:
        if self._begun is None:
            self._begun = time.perf_counter()
            asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        self._begun, self._is_spent = None, False
        if self._waiting:
            self._begin()  # whether or not those that are woken still want their turn
            for turn in [self._waiting.popleft() for _ in range(min(_WOKEN, len(self._waiting)))]:
                if not turn.done():
                    turn.set_result(None)


class Few:
    """Lets a few in at a time; and whoever has waited for long, as one of them may be stuck."""

    def __init__(self, most: int) -> None:
        self._room = asyncio.Semaphore(most)

    @asynccontextmanager
    async def one(self) -> AsyncGenerator[None]:
        """Be one of them."""
        is_counted = await self._enter()
        try:
            yield
        finally:
            if is_counted:
                self._room.release()

    async def _enter(self) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._room.acquire()
        except TimeoutError:
            return False
