"""Folders that are whole or not there: made under a hidden name, and renamed once.

Plain blocking code, for a file thread. If the destination exists, the finished tree is moved into
it entry by entry: a rename each, so that no file of it is ever half-written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from itertools import chain
from typing import Final

from aiocompress.model import OnExists
from aiocompress.storage.atomic_file import hidden_name, renamed, status_of, umask
from aiocompress.storage.reach import Reach
from aiocompress.storage.walk import closing, open_folder

_MODE: Final = 0o700
_PLAIN_SYSTEMS: Final = {"ext2", "ext3", "ext4", "xfs", "tmpfs", "vfat", "exfat"}
"""File systems on which a file takes up its own size: they neither compress nor share blocks."""
_SPARE: Final = 3
_HIDDEN: Final = re.compile(r"\.aiocompress-[0-9a-f]{16}\.tmp")
_HINT: Final = "exists already and is not empty; on_exists='replace' replaces what is in it"


class AtomicFolder:
    """A folder in the making; ``descriptor`` is the hidden one's, in which everything is made.

    :param path: the name that ``commit`` gives it.
    :param on_exists: "error" if a folder is there that is not empty; else what to do with its
        files.
    :raises FileExistsError: there is a folder that is not empty.
    :raises NotADirectoryError: there is something other than a folder.
    """

    def __init__(self, path: str, on_exists: OnExists) -> None:
        if not path:
            raise FileNotFoundError(errno.ENOENT, "an empty name is no folder", path)
        self.path = path
        self.mode: int | None = None
        """The mode of a new folder; None: as the umask says."""
        self.preserve = False
        """Whether folders that exist take owners and extended attributes, too, not modes alone."""
        self.kept = 0
        """How many existing files were not replaced."""
        self._like: os.stat_result | None = None
        """The status of the folder that took its place."""
        self._on_exists = on_exists
        self._exists = os.path.lexists(path)
        self._final = os.path.realpath(path) if os.path.isdir(path) else os.path.abspath(path)
        self.base = os.fsencode(os.path.basename(os.path.abspath(path)))
        """What it is called; "" is the root of all."""
        if self._exists:
            self._check()
        above = self._final if self._exists else os.path.dirname(self._final)
        self._name = hidden_name()
        self._folder = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.descriptor = -1
        self._spare: list[int] = []
        """Closed before a removal, which needs descriptors when there may be no more."""
        try:
            with renamed(path):
                while len(self._spare) < _SPARE:
                    self._spare.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
                os.mkdir(self._name, _MODE, dir_fd=self._folder)
                self.descriptor = open_folder(self._name, self._folder)
                self._status = os.fstat(self.descriptor)
        except BaseException:
            self.close()
            raise

    def _check(self) -> None:
        if not os.path.isdir(self.path):
            raise NotADirectoryError(errno.ENOTDIR, "exists already, and is no folder", self.path)
        if self._on_exists == "error" and not _is_empty(self.path):
            raise FileExistsError(errno.EEXIST, _HINT, self.path)

    def reach(self, *, by_path: bool) -> Reach:
        """Say how workers can work in it."""
        return Reach.of(self.descriptor, by_path=by_path)

    def unwrap(self, name: bytes) -> None:
        """Put the one folder in it, if it has that name, in its place.

        The way is a second hidden name, as the folder that is left behind has the first one.
        """
        if os.listdir(self.descriptor) != [os.fsdecode(name)]:
            return
        status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            return
        hidden, emptied = hidden_name(), self._name
        inner = open_folder(name, self.descriptor)
        try:
            _make_writable(inner, status)
            os.rename(name, hidden, src_dir_fd=self.descriptor, dst_dir_fd=self._folder)
        except BaseException:
            os.close(inner)
            raise
        os.close(self.descriptor)
        self._name, self.descriptor = hidden, inner
        self.mode, self._like = stat.S_IMODE(status.st_mode) | _MODE, status
        os.rmdir(emptied, dir_fd=self._folder)

    def commit(self, *, fsync: bool) -> None:
        """Give it its name, or move its content into the folder of that name.

        :param fsync: wait before that until everything is on the disk.
        """
        if fsync:
            sync_all(self.descriptor)
        if self._exists:
            self._merge()
            if self._like is not None and self._on_exists == "replace":
                empty(self.descriptor)  # folders of both stay behind, and it is in there itself
                os.rmdir(self._name, dir_fd=self._folder)
                self._name = ""
                os.utime(self._folder, ns=(self._like.st_atime_ns, self._like.st_mtime_ns))
        else:
            mode = 0o777 & ~umask() if self.mode is None else self.mode
            os.fchmod(self.descriptor, mode)
            final, here = os.path.basename(self._final), self._folder
            with renamed(self.path):  # replaces nothing that appeared there, but an empty folder
                os.rename(self._name, final, src_dir_fd=here, dst_dir_fd=here)
            self._name = ""
        if fsync:
            with contextlib.suppress(OSError):
                os.fsync(self._folder)

    def _merge(self) -> None:
        pairs = [_pair(".", self.descriptor, self._folder)]
        try:
            while pairs:
                source, target = pairs.pop()
                with closing(source), closing(target):
                    self._merge_folder(source, target, pairs)
        finally:
            for descriptor in chain.from_iterable(pairs):
                os.close(descriptor)

    def _merge_folder(self, source: int, target: int, both: list[tuple[int, int]]) -> None:
        """Move the content of one folder into another; subfolders of both are put into ``both``.

        Both folders, and a folder that is moved, must be writable, but only for that moment.
        """
        ours, theirs = os.fstat(source), os.fstat(target)
        _make_writable(source, ours)
        _make_writable(target, theirs)
        for name in os.listdir(source):
            mine = os.stat(name, dir_fd=source, follow_symlinks=False)
            there = status_of(name, target)
            if there is None:
                _move(name, source, target, mine)
            elif stat.S_ISDIR(mine.st_mode) and stat.S_ISDIR(there.st_mode):
                both.append(_pair(name, source, target))
            elif self._on_exists == "skip":
                self.kept += 1
            elif stat.S_ISDIR(there.st_mode):
                where = os.path.join(self.path, name)
                raise IsADirectoryError(errno.EISDIR, "a folder is where a file belongs", where)
            else:
                if stat.S_ISDIR(mine.st_mode):
                    os.unlink(name, dir_fd=target)
                _move(name, source, target, mine)
        if self._on_exists == "replace" and not os.path.samestat(ours, self._status):
            if self.preserve:  # before the mode: it clears set-user-ID bits
                _take_owner(source, target, ours)
            os.fchmod(target, stat.S_IMODE(ours.st_mode))
            os.utime(target, ns=(ours.st_atime_ns, ours.st_mtime_ns))
        elif not theirs.st_mode & stat.S_IWUSR:
            os.fchmod(target, stat.S_IMODE(theirs.st_mode))

    def close(self) -> None:
        """Remove the folder unless it was committed."""
        if self._folder < 0:
            return
        while self._spare:
            os.close(self._spare.pop())
        try:
            if self._name and self.descriptor >= 0:
                empty(self.descriptor)
            if self._name:
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(self._name, dir_fd=self._folder)
        finally:
            if self.descriptor >= 0:
                os.close(self.descriptor)
            os.close(self._folder)
            self._folder = self.descriptor = -1


def sync_all(folder: int) -> None:
    """Wait until the whole file system of an open folder is on the disk.

    :raises OSError: something could not be written since the folder was opened.
    """
    try:
        import ctypes  # slow to import

        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (ImportError, AttributeError):
        os.sync()  # does not tell of errors
        return
    if syncfs(folder):
        number = ctypes.get_errno()
        if number not in {errno.ENOSYS, errno.EPERM}:
            raise OSError(number, os.strerror(number))
        os.sync()


def free_space(descriptor: int) -> int | None:
    """Return how many more bytes the file system of an open folder can take.

    None: it cannot be told, as of one that compresses.
    """
    device = os.fstat(descriptor).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError), open("/proc/self/mountinfo") as mounts:
        for line in mounts:
            before, _, after = line.partition(" - ")
            if before.split()[2] == number and after.split()[0] in _PLAIN_SYSTEMS:
                system = os.fstatvfs(descriptor)
                # Some blocks are for root alone. A tmpfs without a limit says 0 blocks.
                free = system.f_bavail if os.geteuid() else system.f_bfree
                return system.f_frsize * free if system.f_blocks else None
    return None


def _is_empty(path: str) -> bool:
    """Whether a folder has nothing in it but the leftovers of a killed run."""
    with os.scandir(path) as entries:
        return all(_HIDDEN.fullmatch(entry.name) for entry in entries)


def empty(folder: int) -> None:
    """Remove everything in a folder. Subfolders are moved up: no depth needs recursion."""
    number, token = 0, os.urandom(8).hex()
    queue = ["."]
    while queue:
        name = queue.pop()
        with closing(open_folder(name, folder)) as at:
            for base in os.listdir(at):
                try:
                    os.unlink(base, dir_fd=at)
                except (IsADirectoryError, PermissionError):
                    number += 1
                    moved = f".{token}-{number}"
                    os.chmod(base, _MODE, dir_fd=at)
                    os.rename(base, moved, src_dir_fd=at, dst_dir_fd=folder)
                    queue.append(moved)
        if name != ".":
            os.rmdir(name, dir_fd=folder)


def _pair(name: str, source: int, target: int) -> tuple[int, int]:
    """Open the folder of that name in both, or in neither."""
    one = open_folder(name, source)
    try:
        return one, open_folder(name, target)
    except BaseException:
        os.close(one)
        raise


def _make_writable(folder: int, status: os.stat_result) -> None:
    if not status.st_mode & stat.S_IWUSR:
        os.fchmod(folder, stat.S_IMODE(status.st_mode) | _MODE)


def _take_owner(source: int, target: int, like: os.stat_result) -> None:
    """Give a folder the owner and the extended attributes of another one, as far as we may."""
    with contextlib.suppress(PermissionError):
        os.fchown(target, like.st_uid, like.st_gid)
    with contextlib.suppress(OSError):  # a file system without them
        for key in os.listxattr(source):
            os.setxattr(target, key, os.getxattr(source, key))


def _move(name: str, source: int, target: int, status: os.stat_result) -> None:
    if not stat.S_ISDIR(status.st_mode) or status.st_mode & stat.S_IWUSR:
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
        return
    with closing(open_folder(name, source)) as descriptor:
        _make_writable(descriptor, status)
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
