"""What this process may use, processors and memory; and giving memory back."""

from __future__ import annotations

import os
from typing import Final

_CGROUP: Final = "/sys/fs/cgroup"


def processors() -> int:
    """Return how many processors this process may use, by its affinity and its cgroup's quota."""
    affinity = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    number = len(affinity(0))
    quota, _, period = _read("cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        number = min(number, -(-int(quota) // int(period)))
    return max(1, number)


def memory() -> int:
    """Return the bytes of memory of this machine, or the cgroup's limit if that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read("memory.max")
    return min(total, int(limit)) if limit.isdigit() else total


def _read(name: str) -> str:
    """Read a limit of this process's cgroup (v2); empty where there is none."""
    own = _read_file("/proc/self/cgroup").rpartition("::")[2]
    return _read_file(f"{_CGROUP}{own}/{name}") or _read_file(f"{_CGROUP}/{name}")


def _read_file(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def trim_heap() -> None:
    """Give the free pages of the heap back to the system, where that is for us to say (glibc).

    ``malloc`` keeps what was freed below anything that is still in use, for ever: after hundreds
    of slow downloads at once that is most of what they took.
    """
    import ctypes  # hardly any process ever comes here

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
