"""Waiting for work that cannot be stopped at once.

A thread that reads into memory, or a worker, goes on when the await is cancelled: the memory may
not be given to somebody else before it has ended.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

T = TypeVar("T")


async def settled(work: asyncio.Future[T]) -> T:
    """Return what ``work`` returns; if cancelled, go only after the work has ended."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await ended(work)
        raise


async def ended(work: asyncio.Future[Any]) -> None:
    """Wait until ``work`` has ended, however; a cancellation meanwhile is raised after that."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if not work.cancelled():
        work.exception()  # seen: asyncio would log it otherwise
    if cancelled is not None:
        raise cancelled
