"""Work that takes long enough to be disturbed, and a way to cancel it at its k-th await."""

# ruff: noqa: FBT001

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Generator
from typing import Any

from ..help.data import text

KIB, MIB = 1 << 10, 1 << 20
TEXT = text(MIB) * 8
SLOW = ("compress", "-l", "19", "--chunk-size", "1M", "-T", "2", "--no-progress")
"""About 0.3 s of work a chunk."""


async def pieces(data: bytes, size: int = MIB) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


class At(Coroutine[Any, Any, Any]):
    """Runs a coroutine in its task, and does something at its k-th await."""

    def __init__(self, work: Coroutine[Any, Any, Any], k: int, late: bool) -> None:
        self._work, self._k, self._late, self.steps = work, k, late, 0

    def send(self, value: Any) -> Any:
        waited = self._work.send(value)
        self.steps += 1
        if self.steps == self._k:
            task = asyncio.current_task()
            assert task is not None
            if self._late and isinstance(waited, asyncio.Future):
                waited.add_done_callback(lambda _: task.cancel())
            else:
                task.cancel()
        return waited

    def throw(self, *error: Any) -> Any:
        return self._work.throw(*error)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, None, Any]:
        raise NotImplementedError
