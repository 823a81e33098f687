"""Workers and slots: who runs a chunk, and what happens when a worker dies.

A chunk under way is a ``Job``. Cancelling the wait for it does not stop its worker, which goes on
writing into the slot: so the pool, not the stream, frees a slot, and only when the worker is done
with it. For the same reason a chunk whose worker died is not run again before every process of
that executor is down: the others may still be writing. It is run once more, because its input is
still in the slot; when workers die twice on one chunk, the chunk is to blame.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from aiocompress.errors import AiocompressError, ClosedError, WorkerError
from aiocompress.model import MIB, Buffer, EngineStatistics
from aiocompress.workers import limits
from aiocompress.workers.arena import Slot, Slots
from aiocompress.workers.job import Result
from aiocompress.workers.threads import Threads, settled

if TYPE_CHECKING:
    from aiocompress.workers.process import Workers

ExecutorOption: TypeAlias = Literal["process", "thread"] | Executor
T = TypeVar("T")

_log = logging.getLogger("aiocompress")
_SLOT_MEMORY = 64 * MIB
_FILE_THREADS = 8
_WATCH_SECONDS = 1.0
_DEATH_HINT = "was it killed for its memory? Lower num_workers (-T)"


def _user() -> tuple[int, int]:
    """Return who this process is now: a service may drop its privileges while its workers run."""
    return os.geteuid(), os.getegid()


class Job:
    """One chunk in flight: its slot, the function that a worker runs on it, and its outcome."""

    def __init__(
        self, slot: Slot, used: int, function: Callable[..., Result], arguments: tuple[Any, ...]
    ) -> None:
        self.slot, self.used = slot, used
        self.function, self.arguments = function, arguments
        self.alone = self.detach = self.keep_input = self.released = False
        self.attempts = 0
        self.runs_on: Workers | None = None
        loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[Result] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()
        """Done when the worker is done, even if nobody waits for the outcome any more."""
        self._copies: tuple[bytes, bytes] | None = None
        self._freed = False

    async def result(self) -> Result:
        """Wait for the outcome; cancelling the wait does not stop the worker."""
        return await self._outcome

    @property
    def input(self) -> Buffer:
        """What the worker was given."""
        return self._copies[0] if self._copies is not None else self.slot.input[: self.used]

    @property
    def data(self) -> Buffer:
        """What the worker made."""
        if self._copies is not None:
            return self._copies[1]
        return self.slot.view(self._outcome.result())

    def settle(self, outcome: Result | BaseException) -> None:
        """Take the outcome. The worker is done with the slot."""
        if self._outcome.cancelled():
            pass  # nobody waits any more
        elif isinstance(outcome, BaseException):
            self._outcome.set_exception(outcome)
            self._outcome.exception()  # seen: asyncio would log it if nobody waits
        else:
            self._outcome.set_result(outcome)
        self.over.set_result(None)
        if self.released:
            self._free()
        elif self.detach and not self._outcome.cancelled():
            self._copies = self._copied(outcome)
            self._free()

    def _copied(self, outcome: Result | BaseException) -> tuple[bytes, bytes]:
        decoded = isinstance(outcome, Result) and outcome.size >= 0
        given = bytes(self.slot.input[: self.used]) if self.keep_input or not decoded else b""
        if isinstance(outcome, Result) and decoded and not outcome.written:
            return given, bytes(self.slot.view(outcome))
        return given, b""

    def release(self) -> None:
        """Give the job up; its slot is free once the worker is done."""
        self.released = True
        if self.over.done():
            self._free()

    def _free(self) -> None:
        if not self._freed:
            self._freed = True
            self.slot.free()


class WorkerPool:
    """Runs jobs in processes, threads or the caller's executor, within a memory limit.

    :param num_workers: how many chunks are worked on at the same time.
    :param memory_limit: bytes of all slots together; None: 64 MiB for each of ``num_workers + 2``,
        at most a quarter of the memory of this machine or cgroup.
    :param executor: "process", "thread", or the caller's own executor.
    :param preload: modules that worker processes import before they are forked: those of the jobs.
    """

    def __init__(
        self,
        num_workers: int,
        memory_limit: int | None,
        executor: ExecutorOption,
        preload: tuple[str, ...] = (),
    ) -> None:
        self.num_workers = num_workers
        self._preload = preload
        self.chunks_redone = self.raw_bytes = self.compressed_bytes = 0
        self.window = num_workers + 2
        """How many chunks of one stream are under way at once."""
        self._memory_limit = memory_limit or min(self.window * _SLOT_MEMORY, limits.memory() // 4)
        self._own = None if isinstance(executor, str) else executor
        self._wants_processes = executor == "process"
        self._workers: Workers | None = None
        self._user: tuple[int, int] | None = None
        self._jobs: set[Job] = set()
        self._repairs: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changing = asyncio.Lock()
        self._closing: asyncio.Future[None] | None = None
        self._closed = False
        self._watching: asyncio.TimerHandle | None = None

    @cached_property
    def slots(self) -> Slots:
        """The memory of all chunks in flight."""
        return Slots(self.window, self._memory_limit)

    @cached_property
    def threads(self) -> Threads:
        """Threads that compute: single chunks, streams, and all jobs if processes cannot run."""
        return Threads(self.num_workers, "aiocompress-compute")

    @cached_property
    def files(self) -> Threads:
        """Threads that wait for files: stuck reads would starve the loop's, and getaddrinfo."""
        return Threads(_FILE_THREADS, "aiocompress-files")

    @property
    def has_processes(self) -> bool:
        """Whether worker processes have been started."""
        return self._workers is not None

    @property
    def shares_files(self) -> bool:
        """Whether workers run on this machine as this user, and so can reach our open files."""
        return self._own is None and self._user in {None, _user()}

    @property
    def is_closed(self) -> bool:
        """Whether ``aclose`` was called."""
        return self._closed

    @property
    def is_used(self) -> bool:
        """Whether a loop has used it."""
        return self._loop is not None

    def check(self) -> None:
        """Bind the pool to the running loop, for good.

        :raises ClosedError: it was closed.
        :raises AiocompressError: it is bound to another loop.
        """
        if self._closed:
            raise ClosedError("the engine is closed")
        self._bind()

    def _bind(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop not in {None, loop}:
            raise AiocompressError(
                "the engine belongs to another event loop", hint="make one engine for each loop"
            )
        self._loop = loop

    def prefork(self) -> None:
        """Fork the workers now, from a process that has neither threads nor a loop."""
        if self._wants_processes:
            try:
                self._workers = self._launch(fork=True)
            except Exception as error:  # noqa: BLE001 - as in _start
                self._give_up_processes(error)

    async def run(
        self,
        slot: Slot,
        used: int,
        function: Callable[..., Result],
        *arguments: Any,
        alone: bool = False,
        detach: bool = False,
        keep_input: bool = False,
    ) -> Job:
        """Start ``function`` on a slot that holds ``used`` bytes of input; the job owns the slot.

        :param alone: no other job runs beside it, so a thread will do.
        :param detach: free the slot as soon as the worker is done; the job keeps a copy of the
            output, and with ``keep_input`` one of the input.
        """
        job = Job(slot, used, function, arguments)
        job.alone, job.detach, job.keep_input = alone, detach, keep_input
        try:
            if not alone and self._wants_processes and self._workers is None:
                await self._start()
            self.check()
        except BaseException:
            slot.free()
            raise
        self._jobs.add(job)
        self._submit(job)
        return job

    def statistics(self) -> EngineStatistics:
        """Return what is in flight now, and what has gone through."""
        slots = self.slots
        return EngineStatistics(
            num_workers=self.num_workers,
            slots_in_use=slots.in_use,
            slots_peak=slots.peak,
            slots_total=slots.total,
            memory_in_use=slots.memory_in_use,
            memory_peak=slots.memory_peak,
            memory_limit=slots.arena.size,
            raw_bytes=self.raw_bytes,
            compressed_bytes=self.compressed_bytes,
            chunks_redone=self.chunks_redone,
        )

    async def aclose(self) -> None:
        """End the workers, even those at work, and wait for them.

        :raises AiocompressError: it is bound to another loop.
        """
        if self._closing is None:
            self._bind()
            self._closed = True
            self._closing = asyncio.ensure_future(self._close())
        await settled(self._closing)

    async def _close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        async with self._changing:
            if self._workers is not None:
                if self._jobs:
                    self._workers.kill()
                await self._in_thread(self._workers.close)
        while self._repairs:
            await asyncio.wait(self._repairs)
        # Threads cannot be stopped: each of them finishes its chunk.
        if "threads" in vars(self):
            await self._in_thread(self.threads.shutdown)
        if "files" in vars(self):
            self.files.shutdown(wait=False)
        if "slots" in vars(self):
            self.slots.arena.close()

    def abandon(self) -> None:
        """End the processes of a pool that was never closed, and whose loop may be gone."""
        if self._workers is not None and not self._closed:
            self._closed = True
            self._workers.kill()
            with suppress(RuntimeError):  # the executor's own thread cannot wait for itself
                self._workers.close()

    # Which executor runs a job, and how it is told the place.

    def _submit(self, job: Job) -> None:
        assert self._loop is not None
        workers, slot = self._workers, job.slot
        executor: Executor = self.threads
        call: tuple[Any, ...] = slot.input[: job.used], slot.output
        job.runs_on = None
        if not job.alone and self._own is not None:
            executor, call = self._own, (bytes(call[0]), len(slot.output))
        elif not job.alone and workers is not None:
            executor, call, job.runs_on = workers.executor, slot.place(job.used), workers
        try:
            future = self._loop.run_in_executor(executor, job.function, call, *job.arguments)
        except RuntimeError as error:  # broken, or being replaced
            self._failed(job, error)
        except OSError as error:  # a thread that cannot start
            self._settle(job, error)
        else:
            job.attempts += 1
            future.add_done_callback(partial(self._done, job, job.runs_on))
            if job.runs_on is not None:
                self._watch()

    def _watch(self) -> None:
        """Look from time to time whether the executor's own thread still runs.

        When it has died, nobody settles a future any more: the jobs would never end.
        """
        if self._watching is None:
            assert self._loop is not None
            self._watching = self._loop.call_later(_WATCH_SECONDS, self._look)

    def _look(self) -> None:
        self._watching = None
        for job in [job for job in self._jobs if job.runs_on is not None]:
            if job.runs_on is not None and not job.runs_on.is_minded:
                job.runs_on.kill()
                self._failed(job, BrokenExecutor("its thread has ended"))
            else:
                self._watch()

    def _done(self, job: Job, workers: Workers | None, future: asyncio.Future[Result]) -> None:
        if job.runs_on is not workers or job.over.done():
            return  # ``_look`` has given this attempt up
        error = ClosedError("the engine is closed") if future.cancelled() else future.exception()
        if isinstance(error, BrokenExecutor):
            self._failed(job, error)
        elif error is None or isinstance(error, AiocompressError | OSError):
            self._settle(job, error or future.result())
        else:
            self._settle(job, WorkerError(f"a worker failed ({error!r})"))

    def _settle(self, job: Job, outcome: Result | BaseException) -> None:
        self._jobs.discard(job)
        job.settle(outcome)

    def _failed(self, job: Job, error: Exception) -> None:
        workers, job.runs_on = job.runs_on, None
        if workers is None:
            self._settle(job, WorkerError(f"the executor cannot run a chunk ({error})"))
            return
        task = asyncio.ensure_future(self._redo(job, workers))
        self._repairs.add(task)
        task.add_done_callback(self._repairs.discard)

    async def _redo(self, job: Job, broken: Workers) -> None:
        try:
            await self._replace_and_run(job, broken)
        except Exception as error:  # noqa: BLE001 - the job must end, and its waiter hear of it
            self._settle(job, WorkerError(f"worker processes cannot be replaced ({error})"))

    async def _replace_and_run(self, job: Job, broken: Workers) -> None:
        async with self._changing:
            if self._workers is broken and not self._closed:
                await self._in_thread(broken.close)
                self._workers = None
        if job.released or self._closed:
            self._settle(job, ClosedError("the engine is closed"))
        elif job.attempts > 1:
            self._settle(
                job, WorkerError("worker processes died twice on the same chunk", hint=_DEATH_HINT)
            )
        else:
            self.chunks_redone += job.attempts
            if self._workers is None:
                await self._start()
            self._submit(job)

    # The worker processes.

    async def _start(self) -> None:
        async with self._changing:
            if self._workers is None and self._wants_processes and not self._closed:
                assert self._loop is not None
                launch = self._loop.run_in_executor(self.files, self._launch)
                try:
                    self._workers = await settled(launch)
                except asyncio.CancelledError:
                    if not launch.cancelled() and launch.exception() is None:
                        self._workers = launch.result()
                    raise
                except Exception as error:  # noqa: BLE001
                    # No semaphores, a daemonic process, too few descriptors, another Python ...
                    self._give_up_processes(error)

    def _give_up_processes(self, error: Exception) -> None:
        _log.warning("worker processes cannot start here (%s): using threads", error)
        self._wants_processes = False

    def _launch(self, *, fork: bool = False) -> Workers:
        from aiocompress.workers.process import Workers  # imports multiprocessing

        self._user = _user()
        workers = Workers(self.num_workers, self.slots.arena, self._preload, fork=fork)
        if not fork:
            try:
                workers.wait()
            except BaseException:
                workers.close()
                raise
        return workers

    async def _in_thread(self, function: Callable[[], T]) -> T:
        assert self._loop is not None
        return await settled(self._loop.run_in_executor(self.files, function))
