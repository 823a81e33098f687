"""Worker processes as this library needs them, by ``ProcessPoolExecutor``.

They differ from the standard library's in two ways: they never import the caller's main module,
so that a script needs no ``__main__`` guard, and the server they are forked from is our own, so
that the application's is not touched, and ours can end with the last pool.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures.process import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import (
    context,
    forkserver,
    popen_forkserver,
    resource_tracker,
    spawn,
)
from types import FunctionType, SimpleNamespace
from typing import Any

from aiocompress.workers import job
from aiocompress.workers.arena import Arena

_server = forkserver.ForkServer()
_users = 0
_users_lock = threading.Lock()
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Workers:
    """A process pool whose processes can be ended at once."""

    def __init__(self, number: int, arena: Arena, preload: tuple[str, ...], *, fork: bool) -> None:
        self._number = number
        self._context = _Fork() if fork else _Server(preload)
        try:
            self.executor = ProcessPoolExecutor(
                number, self._context, initializer=initialize, initargs=(arena,)
            )
            with self._context.signals_blocked():
                # In the order of submission each finds no idle worker yet, and starts one.
                self._start_feeder()
                self._first = [self.executor.submit(ready) for _ in range(number)]
        except BaseException:
            self.kill()
            self._context.close()
            raise

    def _start_feeder(self) -> None:
        """Start the thread that hands out work here, where it is noticed if it cannot start."""
        queue: Any = self.executor._call_queue  # type: ignore[attr-defined]  # noqa: SLF001
        with queue._notempty:  # noqa: SLF001
            if queue._thread is None:  # noqa: SLF001
                queue._start_thread()  # noqa: SLF001

    def wait(self) -> None:
        """Wait until the workers answer.

        :raises BrokenExecutor: they cannot run here.
        """
        for first in self._first:
            first.result()
        # One that was idle early may have served two of them.
        while len(self._context.started) < self._number:
            self.executor._spawn_process()  # type: ignore[attr-defined]  # noqa: SLF001

    @property
    def is_minded(self) -> bool:
        """Whether the executor's own thread runs, without which no work is ever done."""
        thread: Any = self.executor._executor_manager_thread  # noqa: SLF001
        return thread is None or bool(thread.is_alive())

    def kill(self) -> None:
        """End the processes, whatever they are doing."""
        for process in self._context.started:
            if process.pid is not None:
                process.terminate()

    def close(self) -> None:
        """Wait for the processes to end, and for their server if nobody else uses it."""
        self.executor.shutdown(wait=True, cancel_futures=True)
        self._context.close()


def initialize(arena: Arena) -> None:
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
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.freeze()


def _end_with_parent() -> None:
    import multiprocessing.connection  # only in worker processes

    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def ready() -> None:
    """Do nothing: who gets an answer knows that this worker runs."""


class _Fork(context.ForkContext):
    """Forks this very process: right only before it has threads."""

    def __init__(self) -> None:
        self.started: list[context.ForkProcess] = []

    def Process(  # type: ignore[override]  # noqa: N802
        self, *args: Any, **kwargs: Any
    ) -> context.ForkProcess:
        process = context.ForkProcess(*args, **kwargs)
        self.started.append(process)
        return process

    @contextmanager
    def signals_blocked(self) -> Iterator[None]:
        """Hold signals back until the workers have their own handlers."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def close(self) -> None:
        pass


class _Server(context.ForkServerContext):
    """Has a small server process of ours fork."""

    def __init__(self, preload: tuple[str, ...]) -> None:
        global _users  # noqa: PLW0603 - one server for all pools of this process
        self.started: list[_ServerProcess] = []
        _server.set_forkserver_preload([__name__, *preload])
        with _users_lock:
            _users += 1

    def Process(  # type: ignore[override]  # noqa: N802
        self, *args: Any, **kwargs: Any
    ) -> _ServerProcess:
        process = _ServerProcess(*args, **kwargs)
        self.started.append(process)
        return process

    @contextmanager
    def signals_blocked(self) -> Iterator[None]:
        """Start the server so that its children hold signals back until they have handlers."""
        resource_tracker.ensure_running()  # it would unblock the signals
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            _server.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield

    def close(self) -> None:
        global _users  # noqa: PLW0603
        with _users_lock:
            _users -= 1
            if not _users:
                _stop_server()


def _stop_server() -> None:
    """End the server: at once, for it waits for a pipe that forks of the application hold too."""
    pid = _server._forkserver_pid  # type: ignore[attr-defined]  # noqa: SLF001
    if pid is None:
        return
    with suppress(OSError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):  # somebody has waited for it already
        _server._stop()  # type: ignore[attr-defined]  # noqa: SLF001
    _server._forkserver_pid = None  # type: ignore[attr-defined]  # noqa: SLF001
    _server._forkserver_address = None  # type: ignore[attr-defined]  # noqa: SLF001


def _forget_server() -> None:
    """Forget the parent's server in a fork of the application."""
    global _users, _users_lock
    _users, _users_lock = 0, threading.Lock()
    _server.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_forget_server)


def _preparation_data(name: str) -> dict[str, Any]:
    data: dict[str, Any] = spawn.get_preparation_data(name)
    data.pop("init_main_from_name", None)
    data.pop("init_main_from_path", None)
    return data


class _Popen(popen_forkserver.Popen):
    # The same launch, but for what it finds under these two names.
    _launch = FunctionType(
        popen_forkserver.Popen._launch.__code__,  # type: ignore[attr-defined]  # noqa: SLF001
        vars(popen_forkserver)
        | {
            "spawn": SimpleNamespace(get_preparation_data=_preparation_data),
            "forkserver": SimpleNamespace(
                **vars(forkserver) | {"connect_to_new_process": _server.connect_to_new_process}
            ),
        },
    )


class _ServerProcess(context.ForkServerProcess):
    _Popen = staticmethod(_Popen)
