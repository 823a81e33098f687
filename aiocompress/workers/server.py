"""A small server process that forks the workers of one pool.

An application has threads, so it must not fork; and ``multiprocessing`` starts its own server
and its spawned children with the caller's main module, which runs a script without a ``__main__``
guard again. This server imports the modules of the jobs and nothing of the caller's, and belongs
to one pool alone: the application's own fork server is not touched.

A *line*, a socket pair, joins the application and each worker. Down it goes what the worker is to
run; after that nobody writes, and either end sees by the end of the line that the other has died.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pickle
import signal
import socket
import sys
import threading
import weakref
from collections.abc import Callable
from multiprocessing import connection, context, current_process, reduction, spawn, util
from typing import Any, NamedTuple, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_MOST_DESCRIPTORS = 64
_INTERPRETERS = ("python", "pypy", "graalpy")

_inherited: list[int] = []
"""In a worker: the descriptors that came with what it is to run."""
_ends: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _close_ends() -> None:
    """In a fork of the application: let go of the parent's workers.

    They must notice when the parent dies, though the fork lives on.
    """
    for end in list(_ends):
        end.close()


os.register_at_fork(after_in_child=_close_ends)


# In the application.


class Server:
    """The server process; it ends with ``close``, or with the application.

    :param preload: modules that it imports before it forks: those of the jobs.
    :raises RuntimeError: no processes may be started from here.
    """

    def __init__(self, preload: tuple[str, ...]) -> None:
        if current_process().daemon:
            raise RuntimeError("a daemonic process may not have children")
        if getattr(sys, "frozen", False):
            raise RuntimeError("a frozen program is its own interpreter, and would run again")
        command: list[Any] = spawn.get_command_line()
        name = os.path.basename(os.fsdecode(command[0] or ""))
        if not name.startswith(_INTERPRETERS):  # a program with Python inside, such as uWSGI
            raise RuntimeError(f"{name!r} is no Python interpreter, and would run again")
        del command[command.index("-c") + 1 :]
        paths = [path for path in sys.path if isinstance(path, str)]
        command.append(
            f"import sys; sys.path[:] = {paths!a}; from {__name__} import serve; serve({preload!a})"
        )
        self._requests, theirs = socket.socketpair()
        with theirs:
            try:
                self._pid = os.posix_spawn(
                    command[0],
                    command,
                    os.environ,
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    ],
                    setsigmask=SIGNALS,  # until the workers have handlers
                )
            except BaseException:
                self._requests.close()
                raise
        _ends.add(self._requests)

    def fork(self, descriptors: list[int]) -> tuple[socket.socket, int]:
        """Fork a worker; returns the line to it, and its process id.

        :raises OSError: it cannot be forked.
        """
        line, theirs = socket.socketpair()
        _ends.add(line)
        try:
            with theirs:
                socket.send_fds(self._requests, [b"!"], [theirs.fileno(), *descriptors])
            pid = int.from_bytes(line.recv(4))
            if not pid:
                raise ChildProcessError("the server of the workers has ended")  # noqa: TRY301
        except BaseException:
            line.close()
            raise
        return line, pid

    def close(self) -> None:
        """End the server: at once, whoever else may hold a copy of its socket."""
        if self._requests.fileno() >= 0:
            self._requests.close()
            os.kill(self._pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):  # somebody else has waited for it
                os.waitpid(self._pid, 0)


class Descriptor(NamedTuple):
    """A descriptor of the application's, on its way to a worker."""

    number: int

    def detach(self) -> int:
        """Return the descriptor, in the worker."""
        return _inherited[self.number]


class Process:
    """A worker, as ``ProcessPoolExecutor`` wants a process of its context to be.

    While it is pickled, ``DupFd`` and ``duplicate_for_child`` have ``multiprocessing`` leave the
    descriptors of pipes and of the arena to this class.
    """

    DupFd = Descriptor
    exitcode = None  # it is the server's child: nobody here learns how it ended

    def __init__(self, server: Server, target: Callable[..., object], args: Any) -> None:
        self._server, self._call = server, (target, args)
        self._descriptors: list[int] = []
        self._line: socket.socket | None = None
        self._is_exiting = util.is_exiting  # looked up now: a Python without it starts no worker
        self.pid: int | None = None

    def duplicate_for_child(self, descriptor: int) -> int:
        self._descriptors.append(descriptor)
        return len(self._descriptors) - 1

    def start(self) -> None:
        context.set_spawning_popen(self)  # type: ignore[arg-type]
        try:
            # Not the view itself: with the frame of an error it may become garbage of which Python
            # complains, as what it is a view of cannot be closed.
            call = bytes(reduction.ForkingPickler.dumps(self._call))
        finally:
            context.set_spawning_popen(None)
        self._line, self.pid = self._server.fork(self._descriptors)
        self._line.sendall(call)

    @property
    def sentinel(self) -> int:
        return -1 if self._line is None else self._line.fileno()

    def is_alive(self) -> bool:
        return self.sentinel >= 0 and not connection.wait([self.sentinel], 0)

    def join(self, timeout: float | None = None) -> None:
        if self._line is not None and self.sentinel >= 0:
            if self._is_exiting():
                # A process of ``multiprocessing`` ends that has left its engine open. The queue by
                # which the executor said that there is no more work has lost its thread by now.
                self._line.shutdown(socket.SHUT_WR)
            connection.wait([self.sentinel], timeout)

    def kill(self) -> None:
        if self.pid is not None and self.is_alive():  # else the id may be somebody else's by now
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    terminate = kill  # there is nothing that a worker would tidy up

    def close(self) -> None:
        """Let go of the worker, which ends if it still runs."""
        if self._line is not None:
            self._line.close()


# In the server, and in the workers that it forks.


def serve(preload: tuple[str, ...]) -> None:
    """Fork a worker for each request, until the application closes the socket that is stdin."""
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # what the application was started with
    for module in preload:
        importlib.import_module(module)
    gc.freeze()  # collecting would write to, and so copy, pages that the workers share
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries the workers
    with socket.socket(fileno=0) as requests:
        while True:
            _, descriptors, _, _ = socket.recv_fds(requests, 1, _MOST_DESCRIPTORS)
            if not descriptors:
                return
            with contextlib.suppress(OSError):  # it cannot fork: the line just ends
                if not os.fork():
                    requests.detach()  # the worker will open /dev/null in its place
                    _work(*descriptors)
            for descriptor in descriptors:
                os.close(descriptor)


def _work(number: int, *descriptors: int) -> NoReturn:
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _inherited.extend(descriptors)
        line = socket.socket(fileno=number)
        line.sendall(os.getpid().to_bytes(4))
        target, arguments = pickle.load(line.makefile("rb"))  # noqa: S301 - from our parent
        end_with(number)
        target(*arguments)
        status = 0
    except (EOFError, ConnectionError):
        pass  # the application died just now
    except BaseException:  # noqa: BLE001
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def end_with(descriptor: int) -> None:
    """Have this process end at once when the other end of a pipe or socket is closed.

    Nothing else would end a worker whose parent was killed: it waits for work for ever, and keeps
    open what the parent had open.
    """

    def watch() -> None:
        with contextlib.suppress(OSError):
            os.read(descriptor, 1)
        os._exit(1)

    threading.Thread(target=watch, name="aiocompress-watch", daemon=True).start()
