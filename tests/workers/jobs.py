"""Jobs for workers to do, and a gate before which one waits: plain functions of a light module."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiocompress.errors import CorruptError
from aiocompress.workers.job import Place, Result, deliver, views

MODULE = __name__


def double(place: Place) -> Result:
    """Return the input twice."""
    data, room = views(place)
    return deliver(bytes(data) * 2, room)


def where(place: Place) -> Result:
    """Tell which process and which thread works, and how it was told its place."""
    _, room = views(place)
    about = os.getpid(), threading.current_thread().name, type(place[0]).__name__
    return deliver(" ".join(map(str, about)).encode(), room)


def fail(place: Place, error: Exception) -> Result:
    """Fail so."""
    views(place)
    raise error


def damaged(place: Place) -> Result:
    """Find the input damaged."""
    views(place)
    raise CorruptError("it is damaged", offset=7)


def nothing(place: Place, size: int, written: bool) -> Result:  # noqa: FBT001
    """Leave the output as it is, and say something about it."""
    views(place)
    return Result(size, written=written)


def at_gate(place: Place, path: str) -> Result:
    """Wait until a named pipe has been opened and closed; then double the input."""
    with open(path, "rb") as file:
        file.read()
    return double(place)


def die_once(place: Place, path: str) -> Result:
    """Kill this process, unless that was done before."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return double(place)
    return die(place)


def die(place: Place) -> Result:
    """Kill this process, unless it is that of the tests."""
    assert isinstance(place[0], int), "not in a worker process"
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def make_gate(folder: Path, name: str = "gate") -> str:
    """Make what ``at_gate`` waits for."""
    path = str(folder / name)
    os.mkfifo(path)
    return path


@asynccontextmanager
async def gate_reached(path: str) -> AsyncIterator[None]:
    """Wait until a job stands at its gate; it goes on at the end."""
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            await asyncio.sleep(0.001)
    try:
        yield
    finally:
        os.close(descriptor)


def is_running(pid: int) -> bool:
    """Whether a process has not ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_ended(pid: int) -> None:
    """Wait until a process has ended: a signal takes its time."""
    for _ in range(1000):
        if not is_running(pid):
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} still runs")
