"""Entries of a tree that is packed: opened, shown to the user, and left out.

Plain blocking code, for a worker or a file thread.
"""

from __future__ import annotations

import errno
import os
import stat

from aiocompress.errors import AiocompressError
from aiocompress.model import OnError
from aiocompress.storage.reach import OURS
from aiocompress.storage.walk import FILE_FLAGS, Entry
from aiocompress.verbs.found import Found


class Names:
    """What the entries of a root are to the user: their paths, and what is left out of them.

    :param found: where to note what is left out.
    :param own: device and inode of the files that the output goes to.
    """

    def __init__(self, on_error: OnError, found: Found, own: set[tuple[int, int]]) -> None:
        self.own = own
        self.root, self.cut = b"", 0
        """The path of the root, and how many bytes stand before the names of what is in it."""
        self._on_error, self._found = on_error, found

    def is_own(self, status: os.stat_result) -> bool:
        """Whether a file is one that the output goes to."""
        return (status.st_dev, status.st_ino) in self.own

    def is_output(self, name: bytes, status: os.stat_result) -> bool:
        """Whether an open file is one that the output goes to; the report says so."""
        if not self.is_own(status):
            return False
        self._found.warn(f"{self.shown(name)}: is the output, and not packed")
        return True

    def shown(self, name: bytes) -> str:
        """Return the path, as the user knows it, of an entry of the root."""
        rest = name[self.cut :]
        return os.fsdecode(os.path.join(self.root, rest) if rest else self.root)

    def skip(self, name: bytes, error: OSError | AiocompressError) -> None:
        """Leave out an entry, unless the caller wants the error; see ``skip``."""
        skip(self.shown(name), error, self._on_error, self._found)


def open_file(entry: Entry) -> tuple[int, os.stat_result]:
    """Open a regular file, and nothing else: a link, a pipe or a device may be there by now.

    :returns: a descriptor and its status; -1 and the status of what is there and is not a file.
    """
    if not entry.is_file:
        status = os.stat(entry.base, dir_fd=entry.parent, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            return -1, status
    try:
        descriptor = os.open(entry.base, FILE_FLAGS, dir_fd=entry.parent)
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.ENXIO}:  # what a link or a socket would give
            raise
        return -1, os.stat(entry.base, dir_fd=entry.parent, follow_symlinks=False)
    is_file = False
    try:
        status = os.fstat(descriptor)
        is_file = stat.S_ISREG(status.st_mode)
    finally:
        if not is_file:
            os.close(descriptor)
    return descriptor if is_file else -1, status


def skip(path: str, error: OSError | AiocompressError, on_error: OnError, found: Found) -> None:
    """Leave out what cannot be packed, and say so in the report.

    :param path: as the user knows it.
    :raises OSError: the caller wants the error, or the machine has run out of something.
    :raises AiocompressError: the caller wants the error.
    """
    if isinstance(error, OSError):
        if on_error == "raise" or error.errno in OURS:
            raise OSError(error.errno, error.strerror, path) from None
        found.skip(f"{path}: {error.strerror}")
    else:
        error.file = path
        if on_error == "raise":
            raise error
        found.skip(f"{path}: {error.reason}")
