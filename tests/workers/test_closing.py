"""What is left of worker processes when an engine has closed."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from multiprocessing.synchronize import SemLock
from typing import Any

from aiocompress import Engine

from ..help.data import noise

MIB = 1 << 20


class _Slow(asyncio.SelectorEventLoop):
    """A loop whose threads, once they have told a result, come to nothing else for a while."""

    def call_soon_threadsafe(self, *arguments: Any, **options: Any) -> asyncio.Handle:
        handle = super().call_soon_threadsafe(*arguments, **options)
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.1)
        return handle


def _semaphores() -> int:
    gc.collect()
    return sum(isinstance(found, SemLock) for found in gc.get_objects())


async def _use() -> None:
    async with Engine(1) as engine:
        await engine.compress(noise(6 * MIB))
        assert _semaphores()


def test_semaphores_go_with_the_engine() -> None:
    """A program that ends right then would seem to leak them: no thread holds on to them."""
    before = _semaphores()
    with asyncio.Runner(loop_factory=_Slow) as runner:
        runner.run(_use())
        assert _semaphores() == before
