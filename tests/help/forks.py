"""Forks of the process that runs the tests: what they did, and that they ended well."""

from __future__ import annotations

import os
import pickle
import select
import signal
import traceback
from collections.abc import Callable
from typing import Any

_MOST_SECONDS = 60


class Fork:
    """A child that runs a function and ends at once, without what Python does at its exit.

    So it does to a loop of its parent's: a child that closed it would take its parent's
    descriptors out of the ``epoll`` that both have.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self._end, theirs = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            _answer(theirs, work)
        os.close(theirs)

    def result(self) -> Any:
        """Wait for what the function returned; it fails here if it failed there."""
        with open(self._end, "rb") as pipe:
            ready, _, _ = select.select([pipe], [], [], _MOST_SECONDS)
            if not ready:
                os.kill(self.pid, signal.SIGKILL)
            said = pipe.read()
        os.waitpid(self.pid, 0)
        assert said, "the child hung, or died"
        failure, value = pickle.loads(said)
        assert failure is None, failure
        return value


def _answer(pipe: int, work: Callable[[], object]) -> None:
    try:
        try:
            said = pickle.dumps((None, work()))
        except BaseException:  # noqa: BLE001 - told in the parent
            said = pickle.dumps((traceback.format_exc(), None))
        with open(pipe, "wb") as file:
            file.write(said)
    finally:
        os._exit(0)


def forked(work: Callable[[], object]) -> Any:
    """Return what a function returns in a child."""
    return Fork(work).result()
