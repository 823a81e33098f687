"""A source that is filled from outside: the application pushes, the pipeline pulls.

They meet at a chunk. The pipeline offers its memory and waits until it is full; a caller with
members to lay waits until a chunk is offered. So the application is held up whenever the pipeline
is, and nothing piles up between them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator
from typing import TypeVar

from aiocompress.formats.tar.header import END
from aiocompress.formats.tar.writer import Writer
from aiocompress.storage.base import OpenedSource

T = TypeVar("T")


class PushedSource(OpenedSource):
    """The chunks of a tar whose members come one by one; ``writer`` lays them."""

    waits = True
    least_chunk = len(END)
    makes_index = True

    def __init__(self) -> None:
        self.writer = Writer()
        self.outputs: list[os.stat_result] = []
        """The archive's own files, which must not be packed."""
        self._full: asyncio.Future[None] | None = None
        """Done when the chunk is full; None if no chunk is offered."""
        self._offered: asyncio.Future[None] | None = None
        self.ended: Exception | None = None
        """Why no more chunks will be offered; None while they are."""

    # For the pipeline.

    async def fill(self, view: memoryview) -> int:
        """Offer a chunk; returns how many bytes were laid in it."""
        self.writer.begin_chunk(view)
        full = self._full = asyncio.get_running_loop().create_future()
        self._wake()
        try:
            await full
        finally:
            self._full = None
        return self.writer.end_chunk()

    async def readinto(self, view: memoryview) -> int:
        return await self.fill(view)

    @property
    def is_over(self) -> bool:
        return self.writer.ended

    def take_index(self) -> list[bytes]:
        return self.writer.take_index()

    def leave_out(self, status: os.stat_result) -> None:
        self.outputs.append(status)

    def end(self, why: Exception) -> None:
        """Offer no more chunks; callers that wait for one get the error."""
        self.ended = why
        self._wake()

    def _wake(self) -> None:
        if self._offered is not None and not self._offered.done():
            self._offered.set_result(None)

    # For the task that lays members, one at a time.

    @property
    def has_chunk(self) -> bool:
        """Whether there is a chunk to lay in, now."""
        return self._full is not None

    async def chunk(self) -> None:
        """Wait until there is a chunk to lay in.

        :raises Exception: what ended the pipeline.
        """
        while self._full is None:
            if self.ended is not None:
                raise self.ended
            self._offered = asyncio.get_running_loop().create_future()
            await self._offered

    def pass_on(self) -> None:
        """Give the chunk to the pipeline."""
        if self._full is not None and not self._full.done():
            self._full.set_result(None)
        self._full = None

    async def next_chunk(self) -> None:
        """Give the chunk to the pipeline, and wait for the next one; raises as ``chunk``."""
        self.pass_on()
        await self.chunk()

    async def run(self, steps: Generator[None, None, T]) -> T:
        """Run steps that lay something, and yield whenever the chunk is full."""
        while True:
            try:
                next(steps)
            except StopIteration as end:
                value: T = end.value
                return value
            await self.next_chunk()

    async def finish(self) -> None:
        """Lay the end of the archive."""
        for _ in self.writer.finish():
            self.pass_on()
            if not self.writer.ended:
                await self.chunk()
