"""More workers than this machine has: a model of costs that are measured here.

Some work of ``n`` workers on as many processors takes, in an engine that has started,

    factor * max(main, (main + workers) / n, memory)

``main`` is the main process's own CPU time, which no number of workers makes smaller; ``workers``
that of all workers together; ``memory`` the time in which what they move can be copied by one
processor here (the memory of larger machines is faster: the model is careful there). ``factor`` is
what is lost to waiting for each other, as with the most workers that were measured.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil

from aiocompress import Engine

from ..measuring import remove
from .results import Point, Scaled

BEYOND: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
MOVES: Final = {
    "file to .zst -3": 4,
    "file to .gz -6": 4,
    "folder to .tar.zst -3": 4,
    ".zst to file": 4,
}
"""How often a raw byte is moved: from the page cache, through the codec, and to the page cache."""

_COMMAND: Final = (sys.executable, "-m", f"{__package__}.scaling")


def scaled(job: str, source: Path, raw: int, output: Path, cores: int, rounds: int) -> Scaled:
    """Measure with as many workers as there are processors, and predict the rest."""
    runs = {
        workers: [_measured(job, source, output, workers) for _ in range(rounds)]
        for workers in range(1, cores + 1)
    }
    most = runs[cores]
    costs = {what: statistics.median(run[what] for run in most) for what in ("main", "workers")}
    costs["memory"] = raw * MOVES[job] / bandwidth()
    seconds = {n: statistics.median(run["seconds"] for run in some) for n, some in runs.items()}
    lost = seconds[cores] / _bound(costs, cores)
    return Scaled(
        job,
        raw,
        costs,
        lost,
        [Point(n, each, measured=True) for n, each in seconds.items()]
        + [Point(n, predicted(costs, lost, n), measured=False) for n in BEYOND if n > cores],
    )


def predicted(costs: dict[str, float], lost: float, workers: int) -> float:
    """Return the seconds that the model has for that many workers."""
    return lost * _bound(costs, workers)


def _bound(costs: dict[str, float], workers: int) -> float:
    busy = (costs["main"] + costs["workers"]) / workers
    return max(costs["main"], busy, costs["memory"])


def bandwidth() -> float:
    """Return the bytes that one processor copies in a second of its own."""
    size, seconds = 64 << 20, []
    source, target = memoryview(bytearray(size)), memoryview(bytearray(size))
    for _ in range(9):
        start = time.process_time()
        target[:] = source
        seconds.append(time.process_time() - start)
    return size / statistics.median(seconds)


def _measured(job: str, source: Path, output: Path, workers: int) -> dict[str, float]:
    command = (*_COMMAND, job, str(source), str(output), str(workers))
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    remove(output)
    costs: dict[str, float] = json.loads(done.stdout)
    return costs


# In a process of its own.


async def work(job: str, source: str, output: str, workers: int) -> dict[str, float]:
    """Do a job twice; returns the second time's costs in seconds: the first starts the workers."""
    async with Engine(workers) as engine:
        verbs: dict[str, Callable[..., Any]] = {
            "folder to .tar.zst -3": engine.compress_folder,
            ".zst to file": engine.decompress_file,
        }
        verb = verbs.get(job, engine.compress_file)
        await verb(source, output, fsync=False)
        remove(Path(output))
        start, before = time.perf_counter(), _cpu()
        await verb(source, output, fsync=False)
        seconds = time.perf_counter() - start
        main, others = (after - once for after, once in zip(_cpu(), before, strict=True))
    return {"seconds": seconds, "main": main, "workers": others}


def _cpu() -> tuple[float, float]:
    """Return the CPU times of this process and of all that it has started."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    children = (one.cpu_times() for one in psutil.Process().children(recursive=True))
    return used.ru_utime + used.ru_stime, sum(one.user + one.system for one in children)


if __name__ == "__main__":
    job, source, output, workers = sys.argv[1:]
    json.dump(asyncio.run(work(job, source, output, int(workers))), sys.stdout)
