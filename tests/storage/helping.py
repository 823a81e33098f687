"""What the tests of this floor share: another user, few descriptors, and what is open."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user without rights for a moment."""
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextmanager
def anybodys_folder() -> Iterator[Path]:
    """A folder that every user can reach and write: those of pytest are for one user alone."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        with nobody():
            reached = os.access(name, os.W_OK, effective_ids=True)
        if not reached:
            pytest.skip("folders for temporary files are for one user alone here")
        yield Path(name)


@contextmanager
def no_more_descriptors(but: int = 0) -> Iterator[None]:
    """Have the system refuse to open anything more, but for so many."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)  # the lowest number that is free
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + but, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextmanager
def opened(path: Path | str | bytes) -> Iterator[int]:
    """A descriptor of a folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def descriptors() -> dict[int, str]:
    """What this process has open."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # that of the listing itself
            continue
    return found
