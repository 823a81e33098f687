"""Finds what is below one folder and nothing else, step by step, without following a link.

The code blocks, and is for a file thread. Each step is taken from the descriptor of the folder
above, as in extraction. So no path leads outside, whatever it says, nor does a folder that is
replaced by a link during the walk.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Final, NamedTuple

_STEP: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_STEPS: Final = 256


class Place(NamedTuple):
    """A file or folder below the root: its open descriptor, its status, and the steps left.

    The steps that are left of a path after a file lead inside it, if it is an archive.
    """

    descriptor: int
    status: os.stat_result
    rest: tuple[bytes, ...] = ()

    @property
    def path(self) -> str:
        """A path of this very file or folder while it is open, whatever happens to its name."""
        return f"/proc/self/fd/{self.descriptor}"

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, not a file."""
        return stat.S_ISDIR(self.status.st_mode)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)


def is_step(name: bytes) -> bool:
    """Whether this can be the name of a directory entry."""
    return name not in {b"", b".", b".."} and not {0, ord("/")}.intersection(name)


def find(root: str, steps: Sequence[bytes]) -> Place:
    """Walk from a folder along the steps, up to their end or to the first file.

    :param root: a path; it may be a link.
    :returns: a folder or a regular file, opened with ``O_PATH``.
    :raises OSError: nothing is there, or a link, a pipe, a socket or a device.
    """
    if len(steps) > _MOST_STEPS or not all(map(is_step, steps)):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        left = list(reversed(steps))
        while left and stat.S_ISDIR(os.fstat(descriptor).st_mode):
            above = descriptor
            descriptor = os.open(left.pop(), _STEP, dir_fd=above)
            os.close(above)
        status = os.fstat(descriptor)
        _check_kind(status.st_mode)
        return Place(descriptor, status, tuple(reversed(left)))
    except BaseException:
        os.close(descriptor)
        raise


def open_folder(place: Place) -> int:
    """Return a descriptor by which the names in a folder can be read.

    :raises OSError: this process may not read it.
    """
    return os.open(place.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _check_kind(mode: int) -> None:
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
