"""What tests of whole programs share: starting ours, watching its processes, what it left."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

COMMAND = (sys.executable, "-m", "aiocompress")
ARENA = "/memfd:aiocompress"
Done = subprocess.CompletedProcess[bytes]


def ours(*arguments: str | Path, data: bytes | None = b"", **options: Any) -> Done:
    """Run the command line with ``data`` on its stdin; returns its exit code and output."""
    if "stdin" not in options:
        options["input"] = data
    options = {"capture_output": True, "timeout": 60} | options
    return subprocess.run((*COMMAND, *arguments), check=False, **options)


def done(*arguments: str | Path, data: bytes = b"", **options: Any) -> bytes:
    """Run the command line, which must succeed and not complain; returns its stdout."""
    ended = ours(*arguments, data=data, **options)
    assert ended.returncode == 0, ended
    assert b"Traceback" not in ended.stderr
    return ended.stdout


def failed(
    *arguments: str | Path, naming: str = "", code: int = 2, data: bytes = b"", **options: Any
) -> str:
    """Run the command line, which must fail with one line that says ``naming``; returns it."""
    ended = ours(*arguments, data=data, **options)
    said = ended.stderr.decode()
    assert ended.returncode == code, ended
    assert len(said.splitlines()) == 1, said
    assert said.startswith("aiocompress: "), said
    assert naming in said, said
    return said


def limited(limit: str, *command: str | Path) -> Sequence[str | Path]:
    """Return a command that runs another one under a ``ulimit``, or with descriptors closed."""
    return ("sh", "-c", f'{limit}; exec "$@"', "sh", *command)


@contextmanager
def started(*command: str | Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a process group of its own, and kill what is left of it."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE} | options
    options = {"stderr": subprocess.PIPE, "start_new_session": True} | options
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


def script(path: Path, text: str, *, timeout: float = 60) -> Done:
    """Write a script and run it."""
    path.write_text(text)
    command = (sys.executable, path)
    return subprocess.run(command, capture_output=True, check=False, timeout=timeout)


def said_in_dev(ended: Done) -> list[str]:
    """Return what ``python -X dev`` said, but for what the loop says of a slow machine."""
    lines = ended.stderr.decode().splitlines()
    return [line for line in lines if not line.startswith("Executing <")]


# Processes.


def family(pid: int) -> list[psutil.Process]:
    """Return all descendants of a process."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def words(process: psutil.Process) -> str:
    """Return the command line of a process; nothing where it has ended."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def own_family() -> list[psutil.Process]:
    """Return all descendants of this process but the one that cleans up for multiprocessing."""
    return [process for process in family(os.getpid()) if "resource_tracker" not in words(process)]


def workers(pid: int) -> list[psutil.Process]:
    """Return the workers of a program: children of its fork server, or its own if it has none."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(pid).children()
        nested = [grandchild for child in children for grandchild in child.children()]
        return nested or [child for child in children if "multiprocessing" not in words(child)]
    return []


def kill(processes: list[psutil.Process]) -> None:
    """Kill processes; one that has ended meanwhile is dead as well."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def alive(processes: list[psutil.Process], within: float) -> list[psutil.Process]:
    """Return those that still run after that many seconds, sooner if none does."""
    end = time.monotonic() + within
    while (left := [process for process in processes if _runs(process)]) and time.monotonic() < end:
        time.sleep(0.01)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def descriptors(but: list[str] | None = None) -> list[str]:
    """Return files and pipes that are open here, but for the memory of engines, made when needed.

    :param but: garbage is not collected first where these are what is open.
    """
    if (found := _open_now()) != but:
        gc.collect()
        found = _open_now()
    return found


def _open_now() -> list[str]:
    names = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            names.append(os.readlink(f"/proc/self/fd/{number}"))
    return sorted(name for name in names if name.startswith(("/", "pipe")) and ARENA not in name)


def until(condition: Any, within: float = 20) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)
