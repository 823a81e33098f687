"""What this process may use: processors and memory."""

from __future__ import annotations

import os
from typing import Final

_CGROUP: Final = "/sys/fs/cgroup"


def processors() -> int:
    """Return the number of processors: of the affinity, at most the quota of the cgroup."""
    if hasattr(os, "sched_getaffinity"):
        number = len(os.sched_getaffinity(0))
    else:
        number = os.cpu_count() or 1
    quota, _, period = _read("cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        number = min(number, -(-int(quota) // int(period)))
    return max(1, number)


def memory() -> int:
    """Return the bytes of memory of this machine, at most the limit of the cgroup."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read("memory.max")
    return min(total, int(limit)) if limit.isdigit() else total


def _read(name: str) -> str:
    """Read a limit of the cgroup (v2) that this process is in; "" where there is none."""
    own = _read_file("/proc/self/cgroup").rpartition("::")[2]
    return _read_file(f"{_CGROUP}{own}/{name}") or _read_file(f"{_CGROUP}/{name}")


def _read_file(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
