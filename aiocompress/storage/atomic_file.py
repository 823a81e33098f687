"""Files that are whole or not there, and how what is finished gets its name.

Plain blocking code, for a file thread; ``atomic_folder`` does the same for folders.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from aiocompress.model import Buffer, OnExists

T = TypeVar("T")

_MOST_BUFFERS: Final = 512
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_umask_lock = threading.Lock()


class AtomicFile:
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


# Names, and what a finished file takes after.


class Like(NamedTuple):
    """What a file or folder takes after another one; named as in ``os.stat_result``."""

    st_mode: int
    st_uid: int
    st_gid: int
    st_atime_ns: int
    st_mtime_ns: int


def hidden_name() -> str:
    """Return a name that nobody guesses, for what is not whole yet."""
    return f".aiocompress-{os.urandom(8).hex()}.tmp"


def status_of(name: str | bytes, folder: int) -> os.stat_result | None:
    """Return what has that name in a folder: a link itself, wherever it leads; None: nothing."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def exists(name: str | bytes, folder: int) -> bool:
    """Whether something has that name, even a link that leads nowhere."""
    return status_of(name, folder) is not None


def publish(temporary: str, name: str, folder: int, on_exists: OnExists) -> bool:
    """Give a finished file its name; returns whether it got it, or another one is there.

    :raises IsADirectoryError: a folder is there.
    """
    here = {"src_dir_fd": folder, "dst_dir_fd": folder}
    try:
        if on_exists == "replace":
            os.rename(temporary, name, **here)
            return True
        # Unlike a rename, a link never replaces a file.
        os.link(temporary, name, **here, follow_symlinks=False)
    except FileExistsError:
        os.unlink(temporary, dir_fd=folder)
        return False
    except OSError:
        os.unlink(temporary, dir_fd=folder)
        raise
    os.unlink(temporary, dir_fd=folder)
    return True


def publish_nameless(descriptor: int, name: str, folder: int, on_exists: OnExists) -> bool:
    """Give a name to a file that has none (``O_TMPFILE``); see ``publish``."""
    path, temporary = f"/proc/self/fd/{descriptor}", hidden_name()
    try:
        os.link(path, name, dst_dir_fd=folder, follow_symlinks=True)
    except FileExistsError:
        if on_exists == "skip":
            return False
        os.link(path, temporary, dst_dir_fd=folder, follow_symlinks=True)
        return publish(temporary, name, folder, on_exists)
    return True


def take_after(descriptor: int, like: os.stat_result | Like) -> None:
    """Give a file or folder the mode, the times and, where permitted, the owner of another."""
    mode = like.st_mode & 0o777
    try:
        os.fchown(descriptor, like.st_uid, like.st_gid)
    except OSError:
        # Another group than the source's may not get what only that group could read.
        if os.fstat(descriptor).st_gid != like.st_gid:
            mode &= ~0o070
    os.fchmod(descriptor, mode)
    os.utime(descriptor, ns=(like.st_atime_ns, like.st_mtime_ns))


def umask() -> int:
    """Return the mask of this process, if possible without changing it for a moment."""
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        _, found, rest = file.read().partition("\nUmask:")
        if found:
            return int(rest.split(None, 1)[0], 8)
    with _umask_lock:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask
