"""What this process may use, against what the system says of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from aiocompress.workers import limits


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cgroup that sets no limits: real ones cannot be made everywhere."""
    monkeypatch.setattr(limits, "_CGROUP", str(tmp_path))
    return tmp_path


def meminfo() -> int:
    """Bytes of memory of this machine."""
    match = re.search(r"^MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert match
    return int(match[1]) * 1024


def test_within_the_machine() -> None:
    """There is at least one processor and some memory, and no more than the machine has."""
    assert 1 <= limits.processors() <= len(os.sched_getaffinity(0))
    assert 0 < limits.memory() <= meminfo()


def test_affinity(cgroup: Path) -> None:
    """A process bound to some processors uses as many workers, and no more."""
    del cgroup
    before = os.sched_getaffinity(0)
    assert limits.processors() == len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert limits.processors() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert limits.processors() == len(before)


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("max 100000", None),
        ("100000 100000", 1),
        ("100001 100000", 2),
        ("50000 100000", 1),
        ("1 100000", 1),
        ("9900000 100000", 99),
        ("", None),
        ("nonsense", None),
    ],
)
def test_quota(cgroup: Path, text: str, most: int | None) -> None:
    """The quota of the cgroup counts in whole processors, rounded up; at least one is left."""
    (cgroup / "cpu.max").write_text(text + "\n")
    there = len(os.sched_getaffinity(0))
    assert limits.processors() == (there if most is None else min(there, most))


@pytest.mark.parametrize(
    ("text", "most"), [("max", None), ("1048576", 1 << 20), ("9" * 19, None), ("", None)]
)
def test_memory(cgroup: Path, text: str, most: int | None) -> None:
    """The limit of the cgroup counts where it is lower than what the machine has."""
    (cgroup / "memory.max").write_text(text + "\n")
    assert limits.memory() == (meminfo() if most is None else most)


def test_no_cgroup(cgroup: Path) -> None:
    """Without files of a cgroup the machine is the limit."""
    assert not list(cgroup.iterdir())
    assert limits.processors() == len(os.sched_getaffinity(0))
    assert limits.memory() == meminfo()


def test_own_cgroup_first(cgroup: Path) -> None:
    """What the process's own cgroup says counts before what the root of all says."""
    own = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip().lstrip("/")
    (cgroup / "memory.max").write_text("2097152\n")
    (cgroup / own).mkdir(parents=True, exist_ok=True)
    (cgroup / own / "memory.max").write_text("1048576\n")
    assert limits.memory() == 1 << 20
