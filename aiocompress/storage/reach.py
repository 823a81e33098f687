"""How workers reach a file or a folder that the main process has open.

Those of this machine open it by its descriptor, whatever has become of its name. Those of a cluster
have only its path, by which something else may stand by the time they come. A descriptor may have
been closed by then, and its number stand for another file. So inode and device are told as well.
"""

from __future__ import annotations

import errno
import os
from functools import cache
from typing import Final, NamedTuple

from aiocompress.errors import WorkerError

OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors of this process, not of the source: no source is skipped because of them."""
ROOT_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_HINT: Final = "files_shared=True is for workers that find it under this path, as this user"


class Reach(NamedTuple):
    """Opens the same file or folder in a worker.

    ``path`` and ``machine`` are empty where workers run on this machine, as this user.
    """

    process: int
    descriptor: int
    inode: int
    device: int
    path: str = ""
    machine: str = ""

    @classmethod
    def of(cls, descriptor: int, *, by_path: bool) -> Reach:
        """Return the reach of what is open here.

        :param by_path: workers may run on other machines, which see the same files.
        """
        status = os.fstat(descriptor)
        about = os.getpid(), descriptor, status.st_ino, status.st_dev
        if not by_path:
            return cls(*about)
        return cls(*about, os.readlink(f"/proc/self/fd/{descriptor}"), _machine())

    @property
    def is_elsewhere(self) -> bool:
        """Whether it was opened on another machine than this one."""
        return self.machine not in {"", _machine()}

    def open(self, flags: int = ROOT_FLAGS) -> int:
        """Open it, as a folder by default; returns a descriptor.

        :raises OSError: it cannot be opened by its descriptor, or there are too many.
        :raises WorkerError: its path does not lead to it.
        """
        try:
            descriptor = self._open(flags | os.O_CLOEXEC)
            try:
                self._check(os.fstat(descriptor))
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            if not self.path or error.errno in OURS:
                raise
            reason = f"a worker does not see a file as it is here ({error.strerror})"
            raise WorkerError(reason, hint=_HINT) from None
        return descriptor

    def _open(self, flags: int) -> int:
        if self.path:
            return os.open(self.path, flags)
        if os.getpid() == self.process:
            return os.dup(self.descriptor)
        return os.open(f"/proc/{self.process}/fd/{self.descriptor}", flags)

    def _check(self, status: os.stat_result) -> None:
        # Each machine has numbers of its own for the devices that it shares with others.
        if status.st_ino != self.inode or not (status.st_dev == self.device or self.is_elsewhere):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


def read_into(descriptor: int, offset: int, view: memoryview) -> int:
    """Fill ``view`` from an offset on; returns the bytes, fewer only at the end."""
    done = 0
    while done < len(view) and (size := os.preadv(descriptor, [view[done:]], offset + done)):
        done += size
    return done


@cache
def _machine() -> str:
    """Return what no other machine is called."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read()
    except OSError:
        return os.uname().nodename
