"""Files that are whole or not there; ``building`` does it for folders.

Plain blocking code, for a file thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ..limits import umask
from ..model import Buffer, OnExists
from .publishing import hidden_name, take_after

T = TypeVar("T")

_MOST_BUFFERS: Final = 512
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


class Temporary:
    """A file without a name (``O_TMPFILE``), or with one that nobody guesses, readable by us only.

    A link as destination stays one: the file it points to is replaced.

    :param path: where it belongs in the end.
    :param on_exists: "replace" what is there, or it is an error.
    :raises FileExistsError: it exists.
    :raises OSError: it cannot be created there; it names the file as the caller knows it.
    """

    def __init__(self, path: str, on_exists: OnExists) -> None:
        self.position = 0
        self.path = path
        self._on_exists = on_exists
        self._final = os.path.realpath(path)
        self._folder = -1
        self._name: str | None = None
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if os.path.exists(path) and on_exists != "replace":
            raise FileExistsError(errno.EEXIST, "exists already, replace it with -f", path)
        flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
        self._folder = self._named(os.open, os.path.dirname(self._final), flags)
        try:
            self.descriptor = self._named(self._create)
        except BaseException:
            os.close(self._folder)
            raise

    def _create(self) -> int:
        if hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                return os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600, dir_fd=self._folder)
        self._name = hidden_name()
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
        return os.open(self._name, flags, 0o600, dir_fd=self._folder)

    def _named(self, function: Callable[..., T], *arguments: Any) -> T:
        """Have an OSError name the file as the caller knows it."""
        try:
            return function(*arguments)
        except OSError as error:
            raise type(error)(error.errno, error.strerror, self.path) from None

    def write(self, buffers: tuple[Buffer, ...]) -> None:
        """Append buffers."""
        self._named(self._write, [memoryview(buffer) for buffer in buffers])

    def _write(self, views: list[memoryview]) -> None:
        while views:
            done = os.pwritev(self.descriptor, views[:_MOST_BUFFERS], self.position)
            self.position += done
            while views and done >= len(views[0]):
                done -= len(views.pop(0))
            if done:
                views[0] = views[0][done:]

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        self._named(os.fdatasync, self.descriptor)

    def commit(self, like: os.stat_result | None, fsync: bool) -> None:  # noqa: FBT001
        """Give it its name, and the mode, times and owner of ``like`` (default: umask)."""
        self._named(self._commit, like, fsync)

    def _commit(self, like: os.stat_result | None, fsync: bool) -> None:  # noqa: FBT001
        os.ftruncate(self.descriptor, self.position)
        if like is None:
            os.fchmod(self.descriptor, 0o666 & ~umask())
        else:
            take_after(self.descriptor, like)
        if fsync:
            os.fsync(self.descriptor)
        final = os.path.basename(self._final)
        if self._on_exists == "replace":
            if self._name is None:
                name = hidden_name()
                self._link(name)
                self._name = name
            os.rename(self._name, final, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            self._name = None
        else:
            self._claim(final)
        if fsync:
            # Some file systems cannot sync folders; the file has its name by now.
            with contextlib.suppress(OSError):
                os.fsync(self._folder)

    def _claim(self, final: str) -> None:
        """Take a name that nobody has."""
        try:
            self._link(final)
        except OSError as error:
            if self._name is None or error.errno not in _NO_LINKS:
                raise
            # No hard links here: make an empty file of that name, and rename over it.
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            os.close(os.open(final, flags, 0o600, dir_fd=self._folder))
            os.rename(self._name, final, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            self._name = None

    def _link(self, name: str) -> None:
        """Give it a name that nobody has: unlike a rename, a link never replaces a file."""
        here = self._folder
        if self._name is not None:
            os.link(self._name, name, src_dir_fd=here, dst_dir_fd=here, follow_symlinks=False)
        else:
            path = f"/proc/self/fd/{self.descriptor}"
            os.link(path, name, src_dir_fd=here, dst_dir_fd=here, follow_symlinks=True)

    def close(self) -> None:
        """Remove what was not committed."""
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            if self._name is not None:
                with contextlib.suppress(OSError):
                    os.unlink(self._name, dir_fd=self._folder)
            os.close(self._folder)
            os.close(descriptor)
