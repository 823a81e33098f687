"""Worker processes, by the standard library's ``ProcessPoolExecutor``.

The executor takes its processes from a context. Ours differ from the standard library's in three
ways: they never import the caller's main module, so that a script needs no ``__main__`` guard;
none outlives the application, however that ends; and the server that forks them (``server``) is
no business of the application's, and ends with the pool. The command line, which has no threads
yet, forks its workers itself.

What stands here on names that Python does not promise, and why:

- ``ProcessPoolExecutor._executor_manager_thread``: when that thread dies, for want of memory say,
  no future is ever settled, and nothing public tells; its ``executor_reference`` would have a fork
  of the application wake it up;
- ``multiprocessing.context.set_spawning_popen``, ``reduction.ForkingPickler`` and ``DupFd``
  (undocumented): the queues of an executor can only be pickled for a process that is starting;
- ``multiprocessing.spawn.get_command_line`` (undocumented): this interpreter and its options;
- ``multiprocessing.util.is_exiting`` (undocumented): the queues of an executor work no more;
- ``resource_tracker._resource_tracker._lock``: see ``_free_tracker``.

Where a Python has lost one of them, starting fails, and the pool uses threads with one warning.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures.process import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import context, resource_tracker, util
from multiprocessing.synchronize import Semaphore
from typing import Any

from aiocompress.workers import job, server
from aiocompress.workers.arena import Arena
from aiocompress.workers.forks import Begun

_WATCH_SECONDS = 0.1


def _free_tracker() -> None:
    """In a fork: Python's tracker of semaphores is nobody's.

    A thread that the fork has not got may have had its lock just then: wherever semaphores are
    collected as garbage, the tracker is told. Nothing would ever give that lock back.
    """
    resource_tracker._resource_tracker._lock = threading.RLock()  # type: ignore[attr-defined]  # noqa: SLF001


os.register_at_fork(after_in_child=_free_tracker)


class Workers:
    """A process pool whose processes can be ended at once.

    :param preload: modules that are imported before the workers are forked: those of the jobs.
    :param fork: fork this very process, which must not have threads.
    :raises Exception: they cannot run here: no semaphores, too few descriptors or threads ...
    """

    def __init__(self, number: int, arena: Arena, preload: tuple[str, ...], *, fork: bool) -> None:
        _check_threads()
        self._context = _Forking() if fork else _Served((__name__, *preload))
        try:
            # Who is idle gets the next job, and no new process is started for it. Behind the
            # gate nobody is idle, until there is one for each of the first jobs.
            gate = self._context.Semaphore(0)
            self.executor = ProcessPoolExecutor(
                number, self._context, initializer=initialize, initargs=(arena, gate)
            )
            with self._context.signals_blocked():
                self._first = [self.executor.submit(ready) for _ in range(number)]
            self._minder: threading.Thread = self.executor._executor_manager_thread  # type: ignore[assignment]  # noqa: SLF001
            for _ in range(number):
                gate.release()
        except BaseException:
            self.kill()
            try:
                if "executor" in vars(self):
                    # An executor whose thread never started cannot wait for it.
                    with suppress(RuntimeError):
                        self.executor.shutdown(cancel_futures=True)
            finally:
                self._context.close()
            raise

    def wait(self) -> None:
        """Wait until the workers answer.

        :raises BrokenExecutor: they cannot run here.
        """
        while futures.wait(self._first, _WATCH_SECONDS).not_done:
            if not self.is_minded:
                raise futures.BrokenExecutor("its thread has ended")
        for first in self._first:
            first.result()

    @property
    def is_minded(self) -> bool:
        """Whether the executor's own thread runs, without which no work is ever done."""
        return self._minder.is_alive()

    def kill(self) -> None:
        """End the processes, whatever they are doing."""
        for process in self._context.started:
            if process.pid is not None:
                process.kill()

    def disown(self) -> None:
        """In a fork of the application, whose workers these are: drop them without a word.

        An executor that is dropped has its thread, which a fork has not, end the processes.
        """
        self._minder.executor_reference = None  # type: ignore[attr-defined]

    def close(self) -> None:
        """Wait for the processes to end, and end their server."""
        try:
            self.executor.shutdown(cancel_futures=True)
        finally:
            self._context.close()


def _check_threads() -> None:
    """Try whether two more threads can run: the executor's.

    Its first thread starts the second, and would die, with a traceback, where it cannot.

    :raises RuntimeError: they cannot.
    """
    ending = threading.Event()
    with futures.ThreadPoolExecutor(2) as threads:
        try:
            for _ in range(2):
                threads.submit(ending.wait)
        finally:
            ending.set()


def initialize(arena: Arena, gate: Semaphore) -> None:
    """Make this process a worker: it ends with its parent, and leaves its terminal alone."""
    job.attach(arena.view)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # A worker that holds the ends of a pipe keeps its readers waiting for ever.
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    if (parent := multiprocessing.parent_process()) is not None:  # forked by the command line
        server.end_with(parent.sentinel)
    gc.freeze()
    gate.acquire()


def ready() -> None:
    """Do nothing: an answer says that the worker runs."""


class _Forked(context.ForkProcess):
    """A worker that was forked from this process."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._begun, self._is_exiting = Begun("the worker"), util.is_exiting

    def join(self, timeout: float | None = None) -> None:
        # At its exit a later fork of this process waits for all that it takes for its children.
        if self._begun.is_here:
            if self._is_exiting():
                self.kill()  # it has not heard of the end: see ``server.Process.join``
            super().join(timeout)


class _Forking(context.ForkContext):
    """Forks this very process: right only before it has threads."""

    def __init__(self) -> None:
        self.started: list[_Forked] = []

    def Process(  # type: ignore[override]  # noqa: N802
        self, **options: Any
    ) -> _Forked:
        self.started.append(_Forked(**options))
        return self.started[-1]

    @contextmanager
    def signals_blocked(self) -> Iterator[None]:
        """Hold signals back until the workers have their own handlers."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, server.SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def close(self) -> None:
        pass


class _Served(context.SpawnContext):
    """Has a server process fork."""

    def __init__(self, preload: tuple[str, ...]) -> None:
        self._server = server.Server(preload)
        self.started: list[server.Process] = []

    def Process(  # type: ignore[override]  # noqa: N802
        self, **options: Any
    ) -> server.Process:
        self.started.append(server.Process(self._server, **options))
        return self.started[-1]

    @contextmanager
    def signals_blocked(self) -> Iterator[None]:
        """Leave that to the server, which was started so."""
        yield

    def close(self) -> None:
        for process in self.started:
            process.close()
        self._server.close()
