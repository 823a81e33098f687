"""What this process may use: processors, memory, space on a disk, and the modes of new files."""

from __future__ import annotations

import os
import threading
from typing import Final

_CGROUP: Final = "/sys/fs/cgroup"
_PLAIN_SYSTEMS: Final = {"ext2", "ext3", "ext4", "xfs", "tmpfs", "vfat", "exfat"}
"""File systems on which a file takes as much as it holds: none that compresses or shares."""
_umask_lock = threading.Lock()


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


def free_space(descriptor: int) -> int | None:
    """Return the bytes that the file system of an open folder can still take.

    None: who knows; it may compress, or be another one than it seems.
    """
    device = os.fstat(descriptor).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in _read_file("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == number and after.split()[0] in _PLAIN_SYSTEMS:
            system = os.fstatvfs(descriptor)
            # Some blocks are for root alone. A tmpfs without a limit has none at all.
            free = system.f_bavail if os.geteuid() else system.f_bfree
            return system.f_frsize * free if system.f_blocks else None
    return None


def umask() -> int:
    """Return the mask of this process, if possible without changing it for a moment."""
    _, found, rest = _read_file("/proc/self/status").partition("\nUmask:")
    if found:
        return int(rest.split(None, 1)[0], 8)
    with _umask_lock:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask


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
