"""Runs commands in turn: seconds, size of the output, and memory of the whole process tree."""

from __future__ import annotations

import os
import shlex
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeAlias

Command: TypeAlias = tuple[str, ...]

_SAMPLE_SECONDS: Final = 0.02


class FailedError(Exception):
    """A command failed, or what it wrote is wrong."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Commands joined by pipes, the memory of one of which is of interest."""

    name: str
    commands: tuple[Command, ...]
    output: Path
    """What they write; removed before each run, and after those that are measured."""
    writes_stdout: bool = False
    """Whether the last command's standard output is ``output``."""
    tells_seconds: bool = False
    """Whether ``output`` is no data but the seconds that count."""
    watched: int = 0
    verify: Callable[[Path], None] | None = None
    """Called once with ``output``; raises if it is wrong."""
    prepare: Callable[[], object] | None = None
    """Called before each run, and not measured."""


@dataclass(frozen=True, slots=True)
class Result:
    """The median of the rounds, and what the warm-up round told, in bytes."""

    contender: Contender
    seconds: float
    size: int
    memory: int
    times: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """What the contender is called."""
        return self.contender.name


@dataclass(frozen=True, slots=True)
class _Run:
    seconds: float
    size: int
    memory: int


def alternate(
    contenders: Sequence[Contender],
    rounds: int,
    *,
    sync: bool = False,
    left_out: Callable[[Contender, FailedError], object] | None = None,
) -> list[Result]:
    """Run each in turn: one round to warm up, then those that count.

    :param sync: wait before each run until the disk has what earlier ones wrote.
    :param left_out: called with those that fail when they warm up; otherwise all is over.
    """
    warm: list[tuple[Contender, _Run, list[float]]] = []
    for contender in contenders:
        try:
            warm.append((contender, _warm_up(contender), []))
        except FailedError as error:
            if left_out is None:
                raise
            left_out(contender, error)
    for _ in range(rounds):
        for contender, _run_before, times in warm:
            if sync:
                os.sync()
            times.append(_run(contender).seconds)
            remove(contender.output)
    return [
        Result(contender, statistics.median(times), run.size, run.memory, tuple(times))
        for contender, run, times in warm
    ]


def peak_memory(contender: Contender, runs: int) -> int:
    """Return the most memory (PSS, bytes) that the watched command's tree ever had."""
    return max(_warm_up(contender).memory for _ in range(runs))


def once(contender: Contender) -> Path:
    """Run it once and keep its output."""
    _run(contender)
    return contender.output


def _warm_up(contender: Contender) -> _Run:
    """Run once, watched and verified."""
    run = _run(contender, watch=True)
    if contender.verify is not None:
        contender.verify(contender.output)
    remove(contender.output)
    return run


def _run(contender: Contender, *, watch: bool = False) -> _Run:
    output = contender.output
    remove(output)
    if contender.prepare is not None:
        contender.prepare()
    target = output if contender.writes_stdout else Path(os.devnull)
    memory = None
    start = time.perf_counter()
    with _started(contender.commands, target) as processes, ExitStack() as watching:
        if watch:
            memory = watching.enter_context(PeakMemory(processes[contender.watched].pid))
        for process in processes:
            process.wait()
    seconds = time.perf_counter() - start
    _check(contender.commands, processes)
    if contender.tells_seconds:
        return _Run(float(output.read_text()), 0, 0)
    size = output.stat().st_size if output.is_file() else 0
    return _Run(seconds, size, memory.peak if memory else 0)


def remove(output: Path) -> None:
    """Remove a file, or a folder with all that is in it."""
    if output.is_dir():
        shutil.rmtree(output)
    else:
        output.unlink(missing_ok=True)


@contextmanager
def _started(commands: Iterable[Command], output: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start commands joined by pipes; end those that still run when we leave."""
    *first, last = commands
    with ExitStack() as stack:
        source: int = subprocess.DEVNULL
        processes: list[subprocess.Popen[bytes]] = []
        for command in first:
            read, write = os.pipe()
            processes.append(_start(stack, command, source, write))
            source = read
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        processes.append(_start(stack, last, source, descriptor))
        yield processes


def _start(stack: ExitStack, command: Command, source: int, target: int) -> subprocess.Popen[bytes]:
    """Start a command; its ends of the pipes are its own from now on."""
    try:
        process = subprocess.Popen(command, stdin=source, stdout=target)
    finally:
        for descriptor in (source, target):
            if descriptor >= 0:
                os.close(descriptor)
    stack.enter_context(process)
    stack.callback(process.kill)  # nothing, where it has ended
    return process


def _check(commands: Iterable[Command], processes: Iterable[subprocess.Popen[bytes]]) -> None:
    for command, process in zip(commands, processes, strict=True):
        if process.returncode:
            msg = f"{shlex.join(command)} ended with {process.returncode}"
            raise FailedError(msg)


class PeakMemory:
    """The largest PSS of a process and all its descendants, in bytes, sampled by a thread.

    Pages of a file in /dev/shm count for those who map it, not for those who read or write it.
    """

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.is_set():
            self.peak = max(self.peak, sum(map(_pss, _tree(self._pid))))
            self._ended.wait(_SAMPLE_SECONDS)


def _tree(pid: int) -> Iterator[int]:
    """Yield a process and its descendants; each thread has children of its own."""
    yield pid
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _tree(int(child))
    except OSError:  # it has ended
        return


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
