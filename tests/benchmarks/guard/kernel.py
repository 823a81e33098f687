"""System calls, the bytes that they copy and the large buffers that are asked for, by strace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from .counting import MARK, Counts

_LEFT_OUT: Final = (
    # How often these are called depends on who comes first.
    *("futex", "poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "recvfrom"),
    *("sched_yield", "restart_syscall", "clock_nanosleep", "rt_sigprocmask", "rt_sigreturn"),
    *("brk", "munmap", "mprotect", "madvise", "mremap"),  # mmap tells
    "getpid",  # asyncio of Python 3.11 asks again and again
)
_COPIES: Final = frozenset({
    *("read", "readv", "pread64", "preadv", "preadv2", "write", "writev", "pwrite64", "pwritev"),
    *("pwritev2", "sendfile", "splice", "copy_file_range", "sendto", "sendmsg"),
})  # fmt: skip
_LARGE: Final = 64 << 10
_ENVIRONMENT: Final = {"MALLOC_MMAP_THRESHOLD_": str(_LARGE)}
"""So that each large buffer is a call of mmap."""

_STRACE: Final = ("strace", "-f", "--seccomp-bpf", "-qq", "-s", "0", "-e")
_CALL: Final = re.compile(r"\d+ +(<\.\.\. )?(\w+)(?: resumed>)?(?:\(|, |.).*?(?:= (-?\d+).*)?$")
_BUFFER: Final = re.compile(r"mmap\(NULL, (\d+), PROT_READ\|PROT_WRITE, (MAP_\w+)\|MAP_ANONYMOUS,")
_OF_SMALL_OBJECTS: Final = (str(1 << 20), "MAP_PRIVATE")
"""An arena of Python's, which comes when it comes."""


def why_not() -> str:
    """Return why strace cannot count here, or nothing if it can."""
    if not shutil.which("strace"):
        return "strace is not installed"
    command = (*_STRACE, "trace=none", "true")
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"strace: {tried.stderr.strip() or 'failed'}" if tried.returncode else ""


def traced(command: Sequence[str], log: Path) -> str:
    """Run a command under strace; returns what it prints."""
    strace = (*_STRACE, f"trace=!{','.join(_LEFT_OUT)}", "-o", str(log))
    done = subprocess.run(
        (*strace, *command),
        env=os.environ | _ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def counts(log: Path) -> dict[str, Counts]:
    """Return the counts of each row that the log has marks of."""
    return {name: _count(lines) for name, lines in _rows(log)}


def _rows(log: Path) -> Iterator[tuple[str, list[str]]]:
    name, lines = "", list[str]()
    with log.open(errors="replace") as file:
        for line in file:
            if MARK not in line:
                lines.append(line)
                continue
            if name:
                yield name, lines
            name, lines = line.split(MARK)[1].split('"')[0], []


def _count(lines: list[str]) -> Counts:
    calls = copied = buffers = 0
    for line in lines:
        found = _CALL.match(line)
        if found is None:  # a signal, or the end of a thread
            continue
        resumed, name, result = found.groups()
        calls += not resumed
        if name in _COPIES and result:
            copied += max(0, int(result))
        buffer = _BUFFER.search(line)
        if buffer and int(buffer[1]) >= _LARGE and buffer.groups() != _OF_SMALL_OBJECTS:
            buffers += int(buffer[1])
    return {"system calls": calls, "copied": copied, "buffers": buffers}
