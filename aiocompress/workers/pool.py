"""Workers and slots: who runs a chunk, and what happens when a worker dies.

A chunk whose worker died is not run again before every process of that executor is down: the
others may still be writing into their slots. It is run once more, because its input is still in
the slot; when workers die twice on one chunk, the chunk is to blame.

Memory, threads and workers belong to the process and the event loop that use them. A process that
is forked shares the memory of its parent's slots: two that wrote into them would give each other's
bytes to their clients. So a fork lets go of everything, without a word to the parent's workers,
and begins anew. So does a pool whose event loop has closed while chunks were in flight.
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
from aiocompress.model import MIB, EngineStatistics
from aiocompress.workers import limits
from aiocompress.workers.arena import Slot, Slots
from aiocompress.workers.forks import begins_anew, not_now
from aiocompress.workers.inflight import Job
from aiocompress.workers.job import Result
from aiocompress.workers.threads import Threads, begin, settled
from aiocompress.workers.turns import Few, Turns

if TYPE_CHECKING:
    from aiocompress.workers.process import Workers

ExecutorOption: TypeAlias = Literal["process", "thread"] | Executor
T = TypeVar("T")

_log = logging.getLogger("aiocompress")
_SLOT_MEMORY = 64 * MIB
LONGEST_CHUNK = 288 * MIB
"""What the largest chunks that are made by default take: 128 MiB and as much for their frame."""
_FILE_THREADS = 8
_NEWCOMERS = 4
"""New streams that may read their first bytes at once."""
_WATCH_SECONDS = 1.0
_DEATH_HINT = "was it killed for its memory? Lower num_workers"


def _user() -> tuple[int, int]:
    """Return who this process is now: a service may drop its privileges while its workers run."""
    return os.geteuid(), os.getegid()


def _said(error: BaseException) -> str:
    """Return a hint with the text of an error, which may hold paths: a reason holds none."""
    return f"the cause is {type(error).__name__}: {error}".removesuffix(": ")


class WorkerPool:
    """Runs jobs in processes, threads or the caller's executor, within a memory limit.

    :param num_workers: how many chunks are worked on at the same time.
    :param memory_limit: bytes of all slots together; None: 64 MiB for each of ``num_workers + 2``,
        at least ``LONGEST_CHUNK``, at most a quarter of the memory of this machine or cgroup.
    :param executor: "process", "thread", or the caller's own executor.
    :param preload: modules that worker processes import before they are forked: those of the jobs.
    :param files_shared: the workers of the caller's executor see the same files as this process.
    """

    def __init__(
        self,
        num_workers: int,
        memory_limit: int | None,
        executor: ExecutorOption,
        preload: tuple[str, ...] = (),
        *,
        files_shared: bool = False,
    ) -> None:
        self.num_workers = num_workers
        self.by_path = files_shared
        """Whether workers reach files by their paths: they may run on other machines."""
        self._preload = preload
        # Handing a job out takes a cluster about as long as a worker takes to do it.
        self.window = (2 * num_workers if files_shared else num_workers) + 2
        """How many chunks of one stream are under way at once."""
        self._memory_limit = memory_limit or min(
            max((num_workers + 2) * _SLOT_MEMORY, LONGEST_CHUNK), limits.memory() // 4
        )
        self._executor = executor
        self._own = None if isinstance(executor, str) else executor
        self._own_is_lost = False
        self._closed = False
        self._begin()
        begins_anew(self)

    def _begin(self) -> None:
        self.slots = Slots(self.window, self._memory_limit)
        """The memory of all chunks in flight."""
        self.chunks_redone = self.raw_bytes = self.compressed_bytes = 0
        self._wants_processes = self._executor == "process"
        self._workers: Workers | None = None
        self._user: tuple[int, int] | None = None
        self._jobs: set[Job] = set()
        self._belong_to(None)

    def _belong_to(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._repairs: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()
        self._closing: asyncio.Future[None] | None = None
        self._watching: asyncio.TimerHandle | None = None
        self.turns, self.newcomers = Turns(), Few(_NEWCOMERS)

    def begin_anew(self) -> None:
        """In a process that was just forked: let go of all that is the parent's."""
        self._own_is_lost = self._own is not None and (self._own_is_lost or self.is_used)
        if self._workers is not None:
            self._workers.disown()
        self.slots.disown()
        self._begin()

    @cached_property
    def threads(self) -> Threads:
        """Threads that compute: single chunks, streams, and all jobs if processes cannot run."""
        return Threads(self.num_workers, "aiocompress-compute")

    @cached_property
    def _small(self) -> Threads:
        """Threads for small payloads, which never wait behind large chunks."""
        return Threads(self.num_workers, "aiocompress-small")

    @cached_property
    def files(self) -> Threads:
        """Threads that wait for files: stuck reads would starve the loop's, and getaddrinfo."""
        return Threads(_FILE_THREADS, "aiocompress-files")

    @property
    def has_processes(self) -> bool:
        """Whether worker processes have been started."""
        return self._workers is not None

    @property
    def has_own(self) -> bool:
        """Whether the workers are the engine's own, and not a caller's executor."""
        return self._own is None

    @property
    def shares_files(self) -> bool:
        """Whether workers reach our open files: by path, or on this machine and as this user."""
        return self.by_path or (self._own is None and self._user in {None, _user()})

    @property
    def is_closed(self) -> bool:
        """Whether ``aclose`` was called."""
        return self._closed

    @property
    def is_used(self) -> bool:
        """Whether a loop has used it."""
        return self._loop is not None

    def check(self) -> None:
        """Bind the pool to the running loop, for as long as that is not closed.

        :raises ClosedError: it was closed.
        :raises AiocompressError: another loop uses it, or none of asyncio runs here.
        """
        if self._closed:
            raise ClosedError("the engine is closed")
        self._bind()

    def _bind(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise AiocompressError(
                "no event loop of asyncio runs here",
                hint="call it from asyncio, or use aiocompress.sync, which needs no loop",
            ) from None
        if self._loop is loop:
            return
        if self._loop is not None:
            if not self._loop.is_closed():
                raise AiocompressError(
                    "the engine belongs to another event loop", hint="make one engine for each loop"
                )
            if self.slots.in_use:
                # These chunks never end: nobody can tell a closed loop that their worker is done.
                self._end_workers()
                self.slots.close()
                self._begin()
        self._belong_to(loop)

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
        **options: Any,
    ) -> Job:
        """Start ``function`` on a slot that holds ``used`` bytes of input; see ``Job``."""
        job = Job(slot, used, function, arguments, **options)
        try:
            if not job.alone and self._wants_processes and self._workers is None:
                await self._start()
            self.check()
        except BaseException:
            slot.free()
            raise
        self._jobs.add(job)
        try:
            self._submit(job)
        except BaseException:
            job.release()
            raise
        return job

    async def in_small_thread(self, work: Callable[[], T]) -> T:
        """Do work that takes milliseconds, and that nobody else may be kept waiting by."""
        assert self._loop is not None
        return await self._loop.run_in_executor(self._small, work)

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
            memory_limit=slots.size,
            raw_bytes=self.raw_bytes,
            compressed_bytes=self.compressed_bytes,
            chunks_redone=self.chunks_redone,
            memory_waiting=slots.waiting,
            memory_kept=slots.kept.size,
        )

    async def aclose(self) -> None:
        """End the workers, even those at work, and wait for them.

        :raises AiocompressError: it is bound to another loop.
        """
        if self._closing is None:
            if self._closed:
                return  # by ``close``
            self._bind()
            self._closed = True
            self._closing = begin(self._close(), "closes the engine")
        await settled(self._closing)

    async def _close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        async with self._changing:
            if self._workers is not None:
                if self._jobs:
                    self._workers.kill()
                await self._in_thread(self._workers.close)
                self._workers = None
        while self._repairs:
            await asyncio.wait(self._repairs)
        # Threads cannot be stopped: each of them finishes its chunk.
        for threads in ("threads", "_small"):
            if threads in vars(self):
                await self._in_thread(vars(self)[threads].shutdown)
        self.files.shutdown(wait=False)
        self.slots.close()

    def close(self) -> None:
        """End the workers at once, and wait for them; no loop is needed."""
        if not self._closed:
            self._closed = True
            self._end_workers()
            for threads in (self.threads, self._small, self.files):
                threads.shutdown(wait=False)
            self.slots.close()

    def _end_workers(self) -> None:
        if self._workers is not None:
            self._workers.kill()
            with suppress(RuntimeError):  # the executor's own thread cannot wait for itself
                self._workers.close()
            self._workers = None

    # Which executor runs a job, and how it is told the place.

    def _is_for_own(self, job: Job) -> bool:
        return self._own is not None and not job.alone

    def _submit(self, job: Job) -> None:
        assert self._loop is not None
        workers, job.runs_on = self._workers, None
        executor: Executor = self.threads
        if self._is_for_own(job):
            assert self._own is not None
            executor, call = self._own, job.for_another()
        elif not job.alone and workers is not None:
            executor, call, job.runs_on = workers.executor, job.for_process(), workers
        else:
            call = job.for_thread()
        try:
            if executor is self._own and self._own_is_lost:
                raise RuntimeError("it was in use before this process was forked")  # noqa: TRY301
            future = self._loop.run_in_executor(executor, *call)
        except BaseException as error:  # broken, being replaced, or not ours at all
            if isinstance(error, OSError) and executor is self.threads:  # none can start
                self._settle(job, error)
            else:
                self._failed(job, error)
            if not isinstance(error, Exception):
                raise
        else:
            self.chunks_redone += job.attempts
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
        if future.cancelled():
            self._settle(job, ClosedError("the engine is closed, or the executor was"))
            return
        error, own = future.exception(), self._is_for_own(job)
        if error is None or isinstance(error, AiocompressError):
            self._settle(job, error or future.result())
        elif own and job.attempts == 1 and not (job.released or self._closed):
            # An executor that lost a worker says so in its own way, and may have others left.
            self._submit(job)
        elif isinstance(error, OSError):
            self._settle(job, error)
        elif isinstance(error, BrokenExecutor):
            self._failed(job, error)
        else:
            self._settle(job, WorkerError("a worker failed", hint=_said(error)))

    def _settle(self, job: Job, outcome: Result | BaseException) -> None:
        self._jobs.discard(job)
        job.settle(outcome)

    def _failed(self, job: Job, error: BaseException) -> None:
        workers, job.runs_on = job.runs_on, None
        if workers is None:
            self._settle(job, WorkerError("the executor cannot run a chunk", hint=_said(error)))
            return
        task = begin(self._redo(job, workers), "does a chunk again")
        self._repairs.add(task)
        task.add_done_callback(self._repairs.discard)

    async def _redo(self, job: Job, broken: Workers) -> None:
        try:
            await self._replace_and_run(job, broken)
        except Exception as error:  # noqa: BLE001 - the job must end, and its waiter hear of it
            self._settle(job, WorkerError("worker processes cannot be replaced", hint=_said(error)))

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
        self._user = _user()
        with not_now():  # nor during the import: a fork could never import the module again
            from aiocompress.workers.process import Workers  # imports multiprocessing

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
        work = [function]

        def run() -> T:
            # A thread lets go of what it ran only after it has told the result: a program that
            # ends right then would seem to leak the semaphores of workers that it has closed.
            return work.pop()()

        return await settled(self._loop.run_in_executor(self.files, run))
