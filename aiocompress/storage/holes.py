"""Where a file has holes: the runs of bytes between them, as the file system knows them."""

from __future__ import annotations

import errno
import os
from typing import Final, TypeAlias

Runs: TypeAlias = list[tuple[int, int]]
"""(offset, size) of what is stored, in order."""
LEAST: Final = 1 << 20
"""Bytes of holes that are worth a map."""
_SMALLEST: Final = 4 << 10
_MOST_RUNS: Final = 8192
"""More make a map that takes hundreds of kilobytes: then small holes count as zeros."""


def may_have_holes(status: os.stat_result) -> bool:
    """Whether a file takes less room than it has bytes: by holes, or because it is compressed."""
    return status.st_size - 512 * status.st_blocks >= LEAST


def stored_runs(descriptor: int, status: os.stat_result) -> Runs | None:
    """Return what a file stores; None: it has less than 1 MiB of holes, or nobody knows.

    The descriptor is at the beginning, before and after that.
    """
    if not may_have_holes(status):
        return None
    try:
        runs = _found(descriptor, status.st_size)
    except OSError:  # not on this file system
        return None
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
    return runs if status.st_size - sum(stored for _, stored in runs) >= LEAST else None


def _found(descriptor: int, size: int) -> Runs:
    runs: Runs = []
    at, smallest = 0, _SMALLEST
    while (start := _next_data(descriptor, at)) < size:
        at = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        _add(runs, start, at, smallest)
        if len(runs) > _MOST_RUNS:
            smallest *= 2
            runs = _joined(runs, smallest)
    return runs


def _next_data(descriptor: int, at: int) -> int:
    try:
        return os.lseek(descriptor, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing but a hole
            return 1 << 63
        raise


def _add(runs: Runs, start: int, end: int, smallest: int) -> None:
    """Add a run, to the last one if there is no hole between them that counts."""
    if runs and start - sum(runs[-1]) < smallest:
        start, _ = runs.pop()
    runs.append((start, end - start))


def _joined(runs: Runs, smallest: int) -> Runs:
    joined: Runs = []
    for start, size in runs:
        _add(joined, start, start + size, smallest)
    return joined
