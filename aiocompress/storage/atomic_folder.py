"""Folders that are whole or not there: made under a hidden name, and renamed once.

Plain blocking code, for a file thread. Where the destination is there already, what was made is
moved into it when it is whole, a rename each: no file of it is ever half-written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable
from functools import partial
from typing import Final

from aiocompress.model import OnExists
from aiocompress.storage.atomic_file import hidden_name, umask
from aiocompress.storage.walk import FOLDER_FLAGS

_MODE: Final = 0o700
_PLAIN_SYSTEMS: Final = {"ext2", "ext3", "ext4", "xfs", "tmpfs", "vfat", "exfat"}
"""File systems on which a file takes as much as it holds: none that compresses or shares."""
_SPARE: Final = 3
_HIDDEN: Final = re.compile(r"\.aiocompress-[0-9a-f]{16}\.tmp")
_HINT: Final = "exists already and is not empty; -f replaces what is in it"


class AtomicFolder:
    """A folder in the making; ``descriptor`` is that of the hidden one, where all is made.

    :param path: where it belongs in the end.
    :param on_exists: what to do with what is there: "error" unless that is an empty folder.
    :raises FileExistsError: there is a folder with something in it.
    :raises NotADirectoryError: there is something else.
    """

    def __init__(self, path: str, on_exists: OnExists) -> None:
        if not path:
            raise FileNotFoundError(errno.ENOENT, "an empty name is no folder", path)
        self.path = path
        self.mode: int | None = None
        """That of a new folder; None: as the umask says."""
        self.kept = 0
        """How many files were there, and are not replaced."""
        self._on_exists = on_exists
        self._exists = os.path.lexists(path)
        self._final = os.path.realpath(path) if os.path.isdir(path) else os.path.abspath(path)
        if self._exists:
            self._check()
        above = self._final if self._exists else os.path.dirname(self._final)
        self._name = hidden_name()
        self._folder = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.descriptor = -1
        self._spare: list[int] = []
        """To be closed where removing what was made needs descriptors, and there are no more."""
        try:
            while len(self._spare) < _SPARE:
                self._spare.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            os.mkdir(self._name, _MODE, dir_fd=self._folder)
            self.descriptor = os.open(self._name, FOLDER_FLAGS, dir_fd=self._folder)
            self._status = os.fstat(self.descriptor)
        except BaseException as error:
            self._undo()
            if isinstance(error, OSError):
                raise type(error)(error.errno, error.strerror, path) from None
            raise

    def _give_spare(self) -> None:
        while self._spare:
            os.close(self._spare.pop())

    def _undo(self) -> None:
        """Forget a folder that could not be begun."""
        self._give_spare()
        if self.descriptor >= 0:
            os.close(self.descriptor)
        with contextlib.suppress(OSError):
            os.rmdir(self._name, dir_fd=self._folder)
        os.close(self._folder)

    def _check(self) -> None:
        if not os.path.isdir(self.path):
            raise NotADirectoryError(errno.ENOTDIR, "exists already, and is no folder", self.path)
        if self._on_exists == "error" and not _is_empty(self.path):
            raise FileExistsError(errno.EEXIST, _HINT, self.path)

    @property
    def reach(self) -> str:
        """The path by which other processes of the same user can work in it."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def commit(self, *, fsync: bool) -> None:
        """Give it its name, or move what is in it into the folder of that name.

        :param fsync: all is on the disk before.
        """
        if fsync:
            sync_all(self.descriptor)
        if self._exists:
            self._merge()
        else:
            mode = 0o777 & ~umask() if self.mode is None else self.mode
            os.fchmod(self.descriptor, mode)
            self._rename(os.path.basename(self._final))
        if fsync:
            with contextlib.suppress(OSError):
                os.fsync(self._folder)

    def _rename(self, final: str) -> None:
        """Take the name, unless somebody else has by now: an empty folder may be replaced."""
        here = self._folder
        try:
            os.rename(self._name, final, src_dir_fd=here, dst_dir_fd=here)
        except OSError as error:
            raise type(error)(error.errno, error.strerror, self.path) from None
        self._name = ""

    def _merge(self) -> None:
        pairs = [_pair(os.dup, self.descriptor, self._folder)]
        try:
            while pairs:
                pair = pairs.pop()
                try:
                    self._merge_folder(*pair, pairs)
                finally:
                    _close(pair)
        finally:
            for pair in pairs:
                _close(pair)

    def _merge_folder(self, source: int, target: int, both: list[tuple[int, int]]) -> None:
        """Move what is in one folder into another; ``both`` gets the folders that both have.

        What is moved into, out of, or by itself has to be writable, but only for that moment.
        """
        ours, theirs = os.fstat(source), os.fstat(target)
        _make_writable(source, ours)
        _make_writable(target, theirs)
        for name in os.listdir(source):
            mine = os.stat(name, dir_fd=source, follow_symlinks=False)
            there = _status(name, target)
            if there is None:
                _move(name, source, target, mine)
            elif stat.S_ISDIR(mine.st_mode) and stat.S_ISDIR(there.st_mode):
                both.append(_pair(partial(_open_below, name), source, target))
            elif self._on_exists == "skip":
                self.kept += 1
            else:
                self._replace(name, source, target, mine, there)
        if self._on_exists == "replace" and not os.path.samestat(ours, self._status):
            _take_after(target, ours)
        elif not theirs.st_mode & stat.S_IWUSR:
            os.fchmod(target, stat.S_IMODE(theirs.st_mode))

    def _replace(
        self,
        name: str,
        source: int,
        target: int,
        ours: os.stat_result,
        there: os.stat_result,
    ) -> None:
        if stat.S_ISDIR(there.st_mode):
            where = os.path.join(self.path, name)
            raise IsADirectoryError(errno.EISDIR, "a folder is where a file belongs", where)
        if stat.S_ISDIR(ours.st_mode):
            os.unlink(name, dir_fd=target)
        _move(name, source, target, ours)

    def close(self) -> None:
        """Remove what was not committed."""
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            self._give_spare()
            try:
                if self._name:
                    empty(descriptor)
                    os.rmdir(self._name, dir_fd=self._folder)
            finally:
                os.close(descriptor)
                os.close(self._folder)


def sync_all(folder: int) -> None:
    """Wait until all of the file system of an open folder is on the disk.

    :raises OSError: something could not be written since the folder was opened.
    """
    try:
        import ctypes  # takes as long as many small files

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
    """Return the bytes that the file system of an open folder can still take.

    None: that cannot be told, since it may compress, or be another one than it seems.
    """
    device = os.fstat(descriptor).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in _mounts():
        before, _, after = line.partition(" - ")
        if before.split()[2] == number and after.split()[0] in _PLAIN_SYSTEMS:
            system = os.fstatvfs(descriptor)
            # Some blocks are for root alone. A tmpfs without a limit has none at all.
            free = system.f_bavail if os.geteuid() else system.f_bfree
            return system.f_frsize * free if system.f_blocks else None
    return None


def _mounts() -> list[str]:
    try:
        with open("/proc/self/mountinfo") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _is_empty(path: str) -> bool:
    """Whether nothing is in a folder but what a killed run has left behind."""
    with os.scandir(path) as entries:
        return all(_HIDDEN.fullmatch(entry.name) for entry in entries)


def empty(folder: int) -> None:
    """Remove all that is in a folder, however deep: folders are moved up, and so met in turn."""
    number, token = 0, os.urandom(8).hex()
    queue = ["."]
    while queue:
        name = queue.pop()
        at = os.open(name, FOLDER_FLAGS, dir_fd=folder)
        try:
            for base in os.listdir(at):
                try:
                    os.unlink(base, dir_fd=at)
                except (IsADirectoryError, PermissionError):
                    number += 1
                    moved = f".{token}-{number}"
                    os.chmod(base, _MODE, dir_fd=at)
                    os.rename(base, moved, src_dir_fd=at, dst_dir_fd=folder)
                    queue.append(moved)
        finally:
            os.close(at)
        if name != ".":
            os.rmdir(name, dir_fd=folder)


def _status(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _open_below(name: str, folder: int) -> int:
    return os.open(name, FOLDER_FLAGS, dir_fd=folder)


def _pair(opening: Callable[[int], int], first: int, second: int) -> tuple[int, int]:
    """Return two descriptors, or none."""
    one = opening(first)
    try:
        return one, opening(second)
    except BaseException:
        os.close(one)
        raise


def _close(pair: tuple[int, int]) -> None:
    for descriptor in pair:
        os.close(descriptor)


def _make_writable(folder: int, status: os.stat_result) -> None:
    if not status.st_mode & stat.S_IWUSR:
        os.fchmod(folder, stat.S_IMODE(status.st_mode) | _MODE)


def _move(name: str, source: int, target: int, status: os.stat_result) -> None:
    """Move something that is in one folder into another."""
    if not stat.S_ISDIR(status.st_mode) or status.st_mode & stat.S_IWUSR:
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
        return
    descriptor = os.open(name, FOLDER_FLAGS, dir_fd=source)
    try:
        _make_writable(descriptor, status)
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
    finally:
        os.close(descriptor)


def _take_after(folder: int, like: os.stat_result) -> None:
    os.fchmod(folder, stat.S_IMODE(like.st_mode))
    os.utime(folder, ns=(like.st_atime_ns, like.st_mtime_ns))
