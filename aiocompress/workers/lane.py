"""A stream's lane: what all its jobs have in common, and where each of them runs.

This is the one place that decides between a worker process and a thread. Processes pay off when
several chunks can be worked on at once. For a single chunk they take longer to start than the
work takes, and they are of no use for a file that they cannot open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from aiocompress.model import KIB, Buffer
from aiocompress.workers.arena import Slot
from aiocompress.workers.inflight import Job
from aiocompress.workers.job import Extents, Result
from aiocompress.workers.pipeline import Window
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import ended

LIGHT = KIB
"""Bytes of input that take less time to work on than to send to a process."""


class Lane:
    """The jobs of one stream.

    :param small: the work on the whole stream takes less time than starting processes.
    :param opens_files: its jobs open files by their paths, which not every worker can reach.
    :param detach: the reader may be slow, so that a job gives its slot back as soon as the worker
        is done, and keeps a copy of the output.
    """

    def __init__(
        self,
        pool: WorkerPool,
        *,
        small: bool = False,
        opens_files: bool = False,
        detach: bool = False,
    ) -> None:
        self.pool = pool
        self._small, self.detach = small, detach
        self._stays_here = opens_files and not pool.shares_files
        self._first = True
        self._jobs: set[Job] = set()
        self.window = Window(pool.window, pool.slots if detach else None)
        """How many of its jobs are under way at once."""

    async def start(
        self,
        data: Buffer,
        room: int,
        function: Callable[..., Result],
        *arguments: Any,
        new: bool = False,
        **options: Any,
    ) -> Job:
        """Take a slot with ``room`` bytes for the output, copy ``data`` into it, and ``run``.

        :param new: see ``Slots.take``.
        """
        slot = await self.pool.slots.take(len(data), room, new=new)
        slot.input[: len(data)] = data
        return await self.run(slot, len(data), function, *arguments, **options)

    async def run(
        self,
        slot: Slot,
        used: int,
        function: Callable[..., Result],
        *arguments: Any,
        follows: bool | None = None,
        light: bool = False,
        keep_input: bool = False,
        extents: Extents | None = None,
    ) -> Job:
        """Start ``function`` on a slot that holds ``used`` bytes of input; the job owns the slot.

        :param extents: what of the input is there already; None: all.
        :param follows: whether another job comes after this one; None: not known yet.
        :param light: the work takes less time than sending it to a process.
        :param keep_input: a detached job keeps a copy of the input, too.
        """
        here = light or self._is_for_here(follows)
        self._first = False
        options = {"alone": here, "detach": self.detach, "keep_input": keep_input}
        job = await self.pool.run(slot, used, function, *arguments, extents=extents, **options)
        self._jobs.add(job)
        job.over.add_done_callback(partial(self._ended, job))
        return job

    def _ended(self, job: Job, _: asyncio.Future[None]) -> None:
        self._jobs.discard(job)
        self.window.largest = max(self.window.largest, job.kept)

    def _is_for_here(self, follows: bool | None) -> bool:  # noqa: FBT001
        if self._stays_here or self._small:
            return True
        if not self._first or follows:
            return False
        return follows is False or not self.pool.has_processes

    def stay_here(self) -> None:
        """Run all later jobs in threads: a worker process could not reach the files."""
        self._stays_here = True

    async def over(self) -> None:
        """Wait for all jobs that were started.

        Jobs open files by descriptor number. Whoever owns such a descriptor must wait here before
        closing it, or the number may stand for another file by the time a job uses it.
        """
        if self._jobs:
            await ended(asyncio.gather(*(job.over for job in self._jobs)))
