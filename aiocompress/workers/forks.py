"""Forks: who lets go of what is the parent's, and what only the parent can go on with.

A forked process has a copy of everything but the threads, and shares its parent's memory maps and
open files. Two that wrote into the same slots would give each other's bytes to their clients. So
whoever has threads, memory or workers drops them in a child, without a word to the parent's, and
begins anew; and what was under way goes on only where it was begun.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - its lock is taken after ours: see below
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakSet

from aiocompress.errors import AiocompressError


class BeginsAnew(Protocol):
    """Has what a fork must not use."""

    def begin_anew(self) -> None:
        """In a process that was just forked: let go of all that is the parent's."""


_known: WeakSet[BeginsAnew] = WeakSet()


def begins_anew(one: BeginsAnew) -> None:
    """Have ``begin_anew`` called in every fork of this process, for as long as it exists."""
    _known.add(one)


def _begin_anew() -> None:
    for one in list(_known):
        one.begin_anew()


_busy = threading.RLock()
os.register_at_fork(
    before=_busy.acquire, after_in_parent=_busy.release, after_in_child=_busy.release
)
os.register_at_fork(after_in_child=_begin_anew)


@contextmanager
def not_now() -> Iterator[None]:
    """Have forks by other threads wait: a child never gets a lock back that another thread held.

    A module that is being imported has such a lock. Of the locks that a fork takes, ours comes
    first, as whoever holds it may want the others: what is registered last is called first.
    """
    with _busy:
        yield


class Begun:
    """Something that was begun in this process, and that no fork of it can go on with.

    :param what: what errors call it.
    """

    def __init__(self, what: str) -> None:
        self._what, self._process = what, os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether this is the process that began it."""
        return self._process == os.getpid()

    def check(self) -> None:
        """Refuse to go on elsewhere.

        :raises AiocompressError: this is a fork of the process that began it.
        """
        if not self.is_here:
            raise AiocompressError(
                f"{self._what} was begun before this process was forked",
                hint="begin it in the process that goes on with it",
            )
