"""Members become files: below one folder, and nowhere else.

Plain blocking code, for workers and file threads. The folder is a new one of ours. Every step is
taken from the descriptor of the folder above, no link is ever followed, nothing that exists is
ever opened for writing, and links are made last: so whatever an archive says, nothing outside is
created, changed, linked to or read. Names are judged before they are used, as text is never
resolved here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Final, NamedTuple

from aiocompress.errors import UnsafeMemberError
from aiocompress.storage.atomic_file import umask
from aiocompress.storage.walk import FOLDER_FLAGS

_LONGEST_NAME, _LONGEST_PATH = 255, 4095
_NEW_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LARGEST_TIME: Final = (1 << 62) * 1_000_000_000
_UNSET_MODE: Final = 0o1700
"""Of a folder that is to be given its mode yet."""
_FOLDER_MODE: Final = 0o777
"""The umask is taken off. All stands in a folder that only we can enter."""
PLACEHOLDER_MODE: Final = 0
"""Of an empty file that stands where a link will be; all others can be read by their owner."""
CONFLICTS: Final = frozenset({errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.EISDIR})
"""What goes wrong where two members want the same place."""


FATAL: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE}
)
"""What goes wrong with all members that follow, too."""


_NOT_THERE: Final = (FileNotFoundError, NotADirectoryError)


class Keeping(NamedTuple):
    """What is restored beside content, permissions and times: with ``preserve``, owners too."""

    preserve: bool = False

    def mode(self, mode: int) -> int:
        """Return the mode that a file gets: its owner can always read it."""
        return (mode & (0o7777 if self.preserve else 0o777)) | 0o400

    def folder_mode(self, mode: int) -> int:
        """Return the mode that a folder gets: its owner can always look into it."""
        return (mode & (0o7777 if self.preserve else 0o777)) | 0o500

    def root_mode(self, mode: int) -> int:
        """Return the mode of the folder that all goes to: its owner can always write there."""
        return self.folder_mode(mode) | 0o200


def checked(name: bytes) -> bytes:
    """Return where a member goes: its name without what means nothing; empty for the root.

    :raises UnsafeMemberError: the name leads elsewhere, or no system could take it.
    """
    if (
        b"/." not in name
        and b"//" not in name
        and name[:1] not in {b"/", b".", b""}
        and name[-1:] != b"/"
        and len(name) <= _LONGEST_NAME
        and b"\0" not in name
    ):
        return name
    parts = [part for part in name.split(b"/") if part not in {b"", b"."}]
    if b".." in parts:
        raise UnsafeMemberError("the name leads out of the folder ('..')")
    if any(len(part) > _LONGEST_NAME for part in parts) or len(name) > _LONGEST_PATH:
        raise UnsafeMemberError("the name is longer than a file system takes")
    if b"\0" in name:
        raise UnsafeMemberError("the name holds a zero byte")
    return b"/".join(parts)


def _check_number(*numbers: int) -> None:
    """Refuse numbers of owners or devices that no system has.

    :raises UnsafeMemberError: one is out of bounds.
    """
    if not all(-1 <= number < 1 << 31 for number in numbers):
        raise UnsafeMemberError("the number of an owner or a device is out of bounds")


class Restorer:
    """Creates files, folders and links below a folder.

    ``name`` always is what ``checked`` returned. An ``OSError`` tells of a member that cannot be
    created; one of ``CONFLICTS`` of a name that another member has taken.

    :param root: a descriptor of the folder; stays open.
    """

    def __init__(self, root: int, keeping: Keeping) -> None:
        self._root, self.keeping = root, keeping
        self._umask = umask()
        self._folder, self._descriptor = b"", root

    def close(self) -> None:
        """Close what is open."""
        if self._descriptor != self._root:
            os.close(self._descriptor)
        self._folder, self._descriptor = b"", self._root

    def parent(self, name: bytes) -> tuple[int, bytes]:
        """Return a descriptor of the folder that a name is in, and its name there."""
        folder, _, base = name.rpartition(b"/")
        if folder != self._folder:
            descriptor = self._open_folder(folder)
            self.close()
            self._folder, self._descriptor = folder, descriptor
        return self._descriptor, base

    def _open_folder(self, folder: bytes) -> int:
        """Open a folder step by step; those that are missing are made."""
        at = self._root
        try:
            for part in folder.split(b"/") if folder else ():
                below = _open_or_make(part, at)
                if at != self._root:
                    os.close(at)
                at = below
        except BaseException:
            if at != self._root:
                os.close(at)
            raise
        return at

    # Files.

    def create(self, name: bytes, mode: int) -> int:
        """Create a file that does not exist; returns its descriptor."""
        folder, base = self.parent(name)
        mode = self.keeping.mode(mode)
        descriptor = os.open(base, _NEW_FLAGS, mode & 0o777, dir_fd=folder)
        if mode & (self._umask | 0o7000) and not self.keeping.preserve:
            os.fchmod(descriptor, mode)
        return descriptor

    def finish(
        self,
        descriptor: int,
        mode: int,
        mtime_ns: int,
        owner: tuple[int, int] = (-1, -1),
        xattrs: tuple[tuple[str, bytes], ...] = (),
    ) -> None:
        """Give a file all but its content; the descriptor stays open."""
        if self.keeping.preserve:
            _change_owner(descriptor, owner)
            _set_xattrs(descriptor, xattrs)
            os.fchmod(descriptor, self.keeping.mode(mode))
        _set_time(descriptor, mtime_ns)

    def write_file(
        self,
        name: bytes,
        data: memoryview,
        mode: int,
        mtime_ns: int,
        owner: tuple[int, int] = (-1, -1),
        xattrs: tuple[tuple[str, bytes], ...] = (),
    ) -> None:
        """Create a file with all that is in it."""
        descriptor = self.create(name, mode)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            self.finish(descriptor, mode, mtime_ns, owner, xattrs)
        finally:
            os.close(descriptor)

    # What has no content.

    def make_folder(self, name: bytes, xattrs: tuple[tuple[str, bytes], ...] = ()) -> None:
        """Make a folder, unless it is there; what it is to be like waits for ``set_folder``."""
        if name:
            folder, base = self.parent(name)
            try:
                os.mkdir(base, _UNSET_MODE, dir_fd=folder)
            except FileExistsError:
                self._mark_unset(base, folder)
            if xattrs and self.keeping.preserve:
                descriptor = self.existing_folder(name)
                try:
                    _set_xattrs(descriptor, xattrs)
                finally:
                    os.close(descriptor)

    def _mark_unset(self, base: bytes, folder: int) -> None:
        """Have ``set_folder`` set a folder that was made for what is in it, or comes again."""
        try:
            descriptor = os.open(base, FOLDER_FLAGS, dir_fd=folder)
        except OSError:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        try:
            os.fchmod(descriptor, _UNSET_MODE)
        finally:
            os.close(descriptor)

    def set_folder(
        self, name: bytes, mode: int, mtime_ns: int, owner: tuple[int, int] = (-1, -1)
    ) -> None:
        """Give a folder its mode and time, when nothing more is made in it.

        From the last one of a name to the first: the last one counts.
        """
        descriptor = self.existing_folder(name)
        try:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) == _UNSET_MODE:
                if self.keeping.preserve:
                    _change_owner(descriptor, owner)
                os.fchmod(descriptor, self.keeping.folder_mode(mode))
                _set_time(descriptor, mtime_ns)
        finally:
            os.close(descriptor)

    def make_hardlink(self, name: bytes, target: bytes) -> None:
        """Give a file that was created here another name.

        :raises UnsafeMemberError: there is no such file.
        """
        above, _, base = target.rpartition(b"/")
        try:
            descriptor = self.existing_folder(above)
        except _NOT_THERE:
            raise UnsafeMemberError("a hard link to what was not extracted") from None
        try:
            self._check_target(base, descriptor)
            folder, own = self.parent(name)
            os.link(base, own, src_dir_fd=descriptor, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(descriptor)

    def existing_folder(self, folder: bytes) -> int:
        """Open a folder step by step, and make none."""
        at = os.dup(self._root)
        for part in folder.split(b"/") if folder else ():
            try:
                below = os.open(part, FOLDER_FLAGS, dir_fd=at)
            finally:
                os.close(at)
            at = below
        return at

    def _check_target(self, base: bytes, folder: int) -> None:
        try:
            status = os.stat(base, dir_fd=folder, follow_symlinks=False)
        except _NOT_THERE:
            status = None
        if (
            status is None
            or not stat.S_ISREG(status.st_mode)
            or stat.S_IMODE(status.st_mode) == PLACEHOLDER_MODE
        ):
            raise UnsafeMemberError("a hard link to what is no file extracted here")

    def make_symlink(
        self, name: bytes, target: bytes, mtime_ns: int, owner: tuple[int, int] = (-1, -1)
    ) -> None:
        """Make a symbolic link, to wherever it says: nothing of ours goes through it."""
        folder, base = self.parent(name)
        os.symlink(target, base, dir_fd=folder)
        if self.keeping.preserve:
            _check_number(*owner)
            with contextlib.suppress(PermissionError):
                os.chown(base, *owner, dir_fd=folder, follow_symlinks=False)
        _set_time(base, mtime_ns, folder)

    def make_special(self, name: bytes, mode: int, device: tuple[int, int]) -> None:
        """Make a named pipe or a device."""
        folder, base = self.parent(name)
        _check_number(*device)
        os.mknod(base, mode, os.makedev(*device), dir_fd=folder)

    def finish_special(self, name: bytes, mode: int, mtime_ns: int, owner: tuple[int, int]) -> None:
        """Give it owner, mode and time."""
        folder, base = self.parent(name)
        _check_number(*owner)
        with contextlib.suppress(PermissionError):
            os.chown(base, *owner, dir_fd=folder, follow_symlinks=False)
        os.chmod(base, self.keeping.mode(mode), dir_fd=folder)
        _set_time(base, mtime_ns, folder)

    def is_folder(self, name: bytes) -> bool:
        """Whether a folder of that name is there."""
        try:
            os.close(self.existing_folder(name))
        except _NOT_THERE:
            return False
        return True

    # Where one member takes the place of another.

    def remove(self, name: bytes) -> None:
        """Remove what has that name, but no folder with something in it."""
        folder, base = self.parent(name)
        try:
            os.unlink(base, dir_fd=folder)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError):
            os.rmdir(base, dir_fd=folder)

    def make_placeholder(self, name: bytes, number: int) -> None:
        """Keep a place for a link; what is made there later takes it."""
        folder, base = self.parent(name)
        descriptor = os.open(base, _NEW_FLAGS, PLACEHOLDER_MODE, dir_fd=folder)
        try:
            os.utime(descriptor, ns=(number, number))
        finally:
            os.close(descriptor)

    def holds_place(self, name: bytes, number: int) -> bool:
        """Whether the place that was kept under that number is still kept."""
        above, _, base = name.rpartition(b"/")
        try:
            descriptor = self.existing_folder(above)
        except _NOT_THERE:
            return False
        try:
            status = os.stat(base, dir_fd=descriptor, follow_symlinks=False)
        except _NOT_THERE:
            return False
        finally:
            os.close(descriptor)
        return (
            stat.S_ISREG(status.st_mode)
            and stat.S_IMODE(status.st_mode) == PLACEHOLDER_MODE
            and status.st_mtime_ns == number
        )


def _set_xattrs(descriptor: int, xattrs: tuple[tuple[str, bytes], ...]) -> None:
    for key, value in xattrs:
        with contextlib.suppress(OSError):
            os.setxattr(descriptor, key, value)


def _change_owner(descriptor: int, owner: tuple[int, int]) -> None:
    _check_number(*owner)
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, *owner)


def _set_time(place: int | bytes, mtime_ns: int, folder: int | None = None) -> None:
    """Set the time of a descriptor, or of a name in a folder; some systems lack early ones."""
    if not -_LARGEST_TIME < mtime_ns < _LARGEST_TIME:
        mtime_ns = _LARGEST_TIME if mtime_ns > 0 else -_LARGEST_TIME
    try:
        if folder is None:
            os.utime(place, ns=(mtime_ns, mtime_ns))
        else:
            os.utime(place, ns=(mtime_ns, mtime_ns), dir_fd=folder, follow_symlinks=False)
    except OSError:
        pass


def _open_or_make(part: bytes, folder: int) -> int:
    try:
        return os.open(part, FOLDER_FLAGS, dir_fd=folder)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):  # another worker was faster
            os.mkdir(part, _FOLDER_MODE, dir_fd=folder)
        return os.open(part, FOLDER_FLAGS, dir_fd=folder)
