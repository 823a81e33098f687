"""Counts rows, in a process of its own: ``python -m tests.benchmarks.guard.counting``.

Each row runs twice: once to start what stays, and once to be counted. Python counts what the
process at hand does (the share of work that no number of workers makes smaller); the system calls
of all processes are counted by strace, from outside, and only marked here.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from aiocompress import Engine

from ..measuring import remove
from .instructions import Instructions
from .rows import ROWS, Row, Stage

MARK: Final = "/aiocompress guard/"
"""A path that is asked for before a row, with its name, and after it, without."""

Counts: TypeAlias = dict[str, int]
Counted: TypeAlias = Callable[[str], AbstractContextManager[Counts]]
"""Yields what will be the counts of a row of that name."""


def python(counter: Counter[str]) -> Counted:
    """Count what Python calls, begins and hands over, in all threads that start from now on."""

    def called(_frame: object, event: str, _argument: object) -> None:
        if event in {"call", "c_call"}:
            counter["calls"] += 1

    def counted(what: str, function: Callable[..., Any]) -> Any:
        def count(*arguments: Any, **options: Any) -> Any:
            counter[what] += 1
            return function(*arguments, **options)

        return count

    for executor in (ThreadPoolExecutor, ProcessPoolExecutor):
        executor.submit = counted("hops", executor.submit)
    loop = asyncio.BaseEventLoop
    loop.create_task = counted("tasks", loop.create_task)
    threading.setprofile(called)
    sys.setprofile(called)

    @contextmanager
    def between(_name: str) -> Iterator[Counts]:
        counts: Counts = {}
        tracemalloc.start()
        before = counter.copy()
        yield counts
        counts.update({what: counter[what] - before[what] for what in ("calls", "tasks", "hops")})
        counts["peak"] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    return between


def marked() -> Counted:
    """Tell strace when a row begins and ends; count instructions where the processor does."""
    instructions = Instructions()

    @contextmanager
    def between(name: str) -> Iterator[Counts]:
        counts: Counts = {}
        before = instructions.read()
        os.access(f"{MARK}{name}", os.F_OK)
        yield counts
        os.access(MARK, os.F_OK)
        if before:
            counts["instructions"] = instructions.read() - before

    return between


async def run(executor: Any, sources: Path, rows: list[Row], counted: Counted) -> dict[str, Counts]:
    """Run rows with an engine; returns their counts."""
    result = {}
    async with Engine(2, executor=executor) as engine:
        for row in rows:
            stage = Stage(engine, sources, sources / f"output of {os.getpid()}.zst")
            await row.work(stage)
            remove(stage.output)
            with counted(row.name) as result[row.name]:
                await row.work(stage)
            remove(stage.output)
    return result


def main(executor: str, sources: str, *names: str) -> None:
    """Run the rows of those names, for strace with ``--marks``; print what was counted."""
    rows = [row for row in ROWS if row.name in names]
    counted = marked() if "--marks" in names else python(Counter())
    json.dump(asyncio.run(run(executor, Path(sources), rows, counted)), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
