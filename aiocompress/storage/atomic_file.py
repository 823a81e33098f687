"""Files that are whole or not there, and how a finished file gets its name.

Plain blocking code, for a file thread; ``atomic_folder`` does the same for folders. A file is
written without a name where the system can do that (``O_TMPFILE``), so that even a SIGKILL leaves
nothing behind. It gets its name by a rename if it may replace another file, and else by a link,
because a rename silently replaces whatever has that name by then.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from typing import Final, NamedTuple

from aiocompress.model import Buffer, OnExists
from aiocompress.workers.forks import Begun

_MOST_BUFFERS: Final = 512
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_umask_lock = threading.Lock()


class AtomicFile:
    """A file without a name, or with an unguessable one, that only this user can read.

    If the path is a link, the file that it points to is replaced, and the link stays; unless
    ``follow`` is false, and the link is replaced.

    :param path: the name that ``commit`` gives it.
    :param on_exists: "replace" an existing file; anything else makes that an error.
    :param named: it has an unguessable name in any case, by which other machines find it.
    :raises FileExistsError: it exists.
    :raises OSError: it cannot be created there; the error has the name that the caller passed.
    """

    descriptor = -1

    def __init__(
        self, path: str, on_exists: OnExists, *, follow: bool = True, named: bool = False
    ) -> None:
        self.position = 0
        self._begun = Begun("the file")
        self.path = path
        self._on_exists = on_exists
        self._final = os.path.realpath(path) if follow else path
        self._name: str | None = None
        if os.path.isdir(path) and (follow or not os.path.islink(path)):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if os.path.exists(path) and on_exists != "replace":
            raise FileExistsError(
                errno.EEXIST, "exists already; on_exists='replace' replaces it", path
            )
        with renamed(path):
            self._folder = os.open(os.path.dirname(self._final), os.O_RDONLY | os.O_DIRECTORY)
            try:
                self.descriptor = self._create(named=named)
            except BaseException:
                os.close(self._folder)
                raise

    def _create(self, *, named: bool) -> int:
        if not named and hasattr(os, "O_TMPFILE") and os.path.isdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                return os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600, dir_fd=self._folder)
        self._name = hidden_name()
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW
        return os.open(self._name, flags, 0o600, dir_fd=self._folder)

    def write(self, buffers: tuple[Buffer, ...]) -> None:
        views = [memoryview(buffer) for buffer in buffers]
        with renamed(self.path):
            while views:
                done = os.pwritev(self.descriptor, views[:_MOST_BUFFERS], self.position)
                self.position += done
                while views and done >= len(views[0]):
                    done -= len(views.pop(0))
                if done:
                    views[0] = views[0][done:]

    def sync(self) -> None:
        """Wait until everything written so far is on the disk."""
        with renamed(self.path):
            os.fdatasync(self.descriptor)

    def commit(self, like: os.stat_result | None, fsync: bool) -> None:  # noqa: FBT001
        """Give it its name, and the mode, times and owner of ``like``, or what the umask says."""
        with renamed(self.path):
            os.ftruncate(self.descriptor, self.position)
            if like is None:
                os.fchmod(self.descriptor, 0o666 & ~umask())
            else:
                take_after(self.descriptor, like)
            if fsync:
                os.fsync(self.descriptor)
            self._publish(os.path.basename(self._final))
            if fsync:
                # Some file systems cannot sync folders; the file has its name by now.
                with contextlib.suppress(OSError):
                    os.fsync(self._folder)

    def _publish(self, final: str) -> None:
        if self._name is None:
            named = publish_nameless(self.descriptor, final, self._folder, self._on_exists)
        else:
            named = publish(self._name, final, self._folder, self._on_exists)
            self._name = None
        if not named:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def close(self) -> None:
        """Remove the file unless it was committed."""
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            if self._name is not None:
                with contextlib.suppress(OSError):
                    os.unlink(self._name, dir_fd=self._folder)
            os.close(self._folder)
            os.close(descriptor)

    def __del__(self) -> None:
        # Whoever should have closed it may have ended with its event loop.
        if self.descriptor >= 0 and self._begun.is_here:
            self.close()


# Names, and the attributes of a finished file.


@contextlib.contextmanager
def renamed(path: str) -> Iterator[None]:
    """Put the path that the caller passed into an OSError, instead of a hidden name."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror, path) from None


class Like(NamedTuple):
    """Attributes of one file or folder to be given to another; the names of ``os.stat_result``."""

    st_mode: int
    st_uid: int
    st_gid: int
    st_atime_ns: int
    st_mtime_ns: int


def hidden_name() -> str:
    """Return an unguessable name for something that is not whole yet."""
    return f".aiocompress-{os.urandom(8).hex()}.tmp"


def status_of(name: str | bytes, folder: int) -> os.stat_result | None:
    """Return the status of a name in a folder (of a link itself), or None if nothing has it."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def exists(name: str | bytes, folder: int) -> bool:
    """Whether something has that name, even a link that leads nowhere."""
    return status_of(name, folder) is not None


def publish(temporary: str, name: str, folder: int, on_exists: OnExists) -> bool:
    """Give a finished file its name, or remove it; returns False if the name was taken.

    :raises IsADirectoryError: a folder is there.
    """
    try:
        if on_exists == "replace" or not _has_linked(temporary, name, folder):
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            return True
    except OSError as error:
        os.unlink(temporary, dir_fd=folder)
        if isinstance(error, FileExistsError):
            return False
        raise
    os.unlink(temporary, dir_fd=folder)
    return True


def _has_linked(temporary: str, name: str, folder: int) -> bool:
    """Give a file a second name; where there are no hard links, take that with an empty file."""
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600, dir_fd=folder))
        return False
    return True


def publish_nameless(descriptor: int, name: str, folder: int, on_exists: OnExists) -> bool:
    """Give a name to a file that has none (``O_TMPFILE``); see ``publish``."""
    path, temporary = f"/proc/self/fd/{descriptor}", hidden_name()
    try:
        os.link(path, name, dst_dir_fd=folder, follow_symlinks=True)
    except FileExistsError:
        if on_exists != "replace":
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
        # It has another group now, which may not get what only the source's group could do.
        if os.fstat(descriptor).st_gid != like.st_gid:
            mode &= ~0o070
    os.fchmod(descriptor, mode)
    os.utime(descriptor, ns=(like.st_atime_ns, like.st_mtime_ns))


def umask() -> int:
    """Return the umask; only where /proc is missing by changing it for a moment."""
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        _, found, rest = file.read().partition("\nUmask:")
        if found:
            return int(rest.split(None, 1)[0], 8)
    with _umask_lock:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask
