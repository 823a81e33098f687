"""Members become files: below one folder, and nowhere else.

Plain blocking code, for workers and file threads. No link is followed (see ``chain``), nothing that
exists is opened for writing, and links are made last. Whatever an archive says, nothing outside is
created, changed, linked to or read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias, TypeVar

from aiocompress.errors import UnsafeMemberError
from aiocompress.storage.atomic_file import status_of, umask
from aiocompress.storage.atomic_folder import empty
from aiocompress.storage.chain import Chain
from aiocompress.storage.walk import closing, open_folder

_LONGEST_NAME, _LONGEST_PATH = 255, 4095
_LONGEST_TARGET: Final = 4096
"""Bytes that are kept of a link's target: one more than any link can have."""
LARGEST_OWNER: Final = (1 << 32) - 2
"""The system's numbers of owners have 32 bits, and the last one stands for none."""
_LARGEST_DEVICE: Final = (1 << 31) - 1
_NEW_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LARGEST_TIME: Final = (1 << 62) * 1_000_000_000
_UNSET_MODE: Final = 0o1700
"""The mode of a folder that has not been given its own yet."""
_FOLDER_MODE: Final = 0o777
"""The umask applies; everything is inside a folder that only this user can enter."""
PLACEHOLDER_MODE: Final = 0
"""The mode of a file that keeps the place of a link; no other file gets this mode."""
CROSSED: Final = frozenset({errno.ENOTDIR, errno.ELOOP})
"""Errors that say that a member's path leads through something other than a folder."""
CONFLICTS: Final = CROSSED | {errno.EEXIST, errno.EISDIR}
"""Errors that say that two members want the same place."""
FATAL: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE}
)
"""Errors that every later member would meet, too."""
Owner: TypeAlias = tuple[int, int]
"""The numbers of a user and a group; -1 leaves one as it is."""
Xattrs: TypeAlias = tuple[tuple[str, bytes], ...]
_NOBODY: Final = (-1, -1)
_NOT_GIVEN: Final = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL})
"""Errors of giving a file away: only root may, and to users that its container knows."""
T = TypeVar("T")
_NOT_THERE: Final = (FileNotFoundError, NotADirectoryError)


class Keeping(NamedTuple):
    """What is restored beside content, permissions and times: with ``preserve``, owners too.

    ``strip_components``: how many of the first parts of a name are left out.
    """

    preserve: bool = False
    strip_components: int = 0

    def mode(self, mode: int, least: int = 0o400) -> int:
        """Return the mode that a file gets: its owner can always read it."""
        return (mode & (0o7777 if self.preserve else 0o777)) | least

    def root_mode(self, mode: int) -> int:
        """Return the mode of the folder extracted to: its owner can always write there."""
        return self.mode(mode, 0o700)


def checked(name: bytes, strip: int = 0) -> bytes:
    """Return a member's path below the root, normalized; empty for the root itself.

    :param strip: how many of its first parts are left out, once all of it was checked.
    :raises UnsafeMemberError: the name leads elsewhere, or no file system could take it.
    """
    if (
        not strip
        and b"/." not in name
        and b"//" not in name
        and name[:1] not in {b"/", b".", b""}
        and name[-1:] != b"/"
        and len(name) <= _LONGEST_NAME
        and b"\0" not in name
    ):
        return name
    parts = parts_of(name)
    if b".." in parts:
        raise UnsafeMemberError("the name leads out of the folder ('..')")
    if any(len(part) > _LONGEST_NAME for part in parts) or len(name) > _LONGEST_PATH:
        raise UnsafeMemberError("the name is longer than a file system takes")
    if b"\0" in name:
        raise UnsafeMemberError("the name holds a zero byte")
    return b"/".join(part for part in parts[strip:] if part != b".")


def parts_of(name: bytes) -> list[bytes]:
    """Return the parts of a name as GNU tar counts them: "." is one."""
    return [part for part in name.split(b"/") if part]


def is_owner(number: int) -> bool:
    """Whether the system can have a user or a group of that number, or none is meant."""
    return -1 <= number <= LARGEST_OWNER


class Restorer(Chain[bytes]):
    """Creates files, folders and links below a folder; folders above them are made where needed.

    Every ``name`` is what ``checked`` returned. An ``OSError`` means that a member cannot be
    created; one of ``CONFLICTS``, that another member has taken its name.

    :param again: no two members have the same name: a file that is there already was begun by a
        worker that has died.
    """

    def __init__(self, root: int, keeping: Keeping, *, again: bool = False) -> None:
        super().__init__(root, b"/")
        self.keeping = keeping
        self._again = again
        self._umask = umask()

    def default_mode(self, *, is_folder: bool) -> int:
        """Return the mode of a new file or folder of which no archive speaks."""
        return (0o777 if is_folder else 0o666) & ~self._umask

    def _step(self, name: bytes, above: int) -> int:
        try:
            return open_folder(name, above)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):  # another worker was faster
                os.mkdir(name, _FOLDER_MODE, dir_fd=above)
            return open_folder(name, above)

    # Files.

    def create(self, name: bytes, mode: int) -> int:
        """Create a file that does not exist; returns its descriptor."""
        folder, base = self.parent(name)
        mode = self.keeping.mode(mode)
        try:
            descriptor = os.open(base, _NEW_FLAGS, mode & 0o777, dir_fd=folder)
        except FileExistsError:
            # To some file systems, a name in other letters is the same one.
            if not self._again or os.fsdecode(base) not in os.listdir(folder):
                raise
            os.unlink(base, dir_fd=folder)
            descriptor = os.open(base, _NEW_FLAGS, mode & 0o777, dir_fd=folder)
        if mode & (self._umask | 0o7000) and not self.keeping.preserve:
            os.fchmod(descriptor, mode)
        return descriptor

    def finish(
        self, descriptor: int, mode: int, mtime_ns: int, owner: Owner = _NOBODY, xattrs: Xattrs = ()
    ) -> None:
        """Give a file everything but its content; the descriptor stays open."""
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
        owner: Owner = _NOBODY,
        xattrs: Xattrs = (),
    ) -> None:
        """Create a file with its content."""
        descriptor = self.create(name, mode)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            self.finish(descriptor, mode, mtime_ns, owner, xattrs)
        finally:
            os.close(descriptor)

    def write_sparse(
        self,
        name: bytes,
        data: memoryview,
        extents: tuple[tuple[int, int], ...],
        size: int,
        *about: *tuple[int, int, Owner, Xattrs],
    ) -> None:
        """Create a file with holes.

        :param extents: where the data belongs, as (offset, size).
        :param size: the bytes of the file.
        :param about: the last arguments of ``finish``.
        """
        descriptor = self.create(name, about[0])
        try:
            for offset, stored in extents:
                at, end = offset, offset + stored
                while at < end:
                    done = os.pwrite(descriptor, data[: end - at], at)
                    at, data = at + done, data[done:]
            os.ftruncate(descriptor, size)
            self.finish(descriptor, *about)
        finally:
            os.close(descriptor)

    # Members without content.

    def make_folder(self, name: bytes, xattrs: Xattrs = ()) -> None:
        """Make a folder, unless it is there; its mode and time wait for ``set_folder``."""
        if name:
            folder, base = self.parent(name)
            try:
                os.mkdir(base, _UNSET_MODE, dir_fd=folder)
            except FileExistsError:
                self._mark_unset(base, folder)
            if xattrs and self.keeping.preserve:
                _set_xattrs(self.at(name), xattrs)

    def _mark_unset(self, base: bytes, folder: int) -> None:
        """Mark for ``set_folder`` a folder that a member inside it, or an earlier one, made."""
        try:
            descriptor = open_folder(base, folder)
        except OSError:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        with closing(descriptor):
            os.fchmod(descriptor, _UNSET_MODE)

    def set_folder(self, name: bytes, mode: int, mtime_ns: int, owner: Owner = _NOBODY) -> None:
        """Give a folder its mode and time, once nothing more is made in it.

        To be called from the last member to the first: of one name, the last member counts.
        """
        descriptor = self.at(name)
        if stat.S_IMODE(os.fstat(descriptor).st_mode) == _UNSET_MODE:
            if self.keeping.preserve:
                _change_owner(descriptor, owner)
            # Its owner can always look into it.
            os.fchmod(descriptor, self.keeping.mode(mode, 0o500))
            _set_time(descriptor, mtime_ns)

    def make_hardlink(self, name: bytes, target: bytes) -> None:
        """Give what was created here another name; a symbolic link is not followed.

        One that is its own target is there already.

        :raises UnsafeMemberError: there is nothing of that name, or a folder.
        """
        above, _, base = target.rpartition(b"/")
        try:
            descriptor = os.dup(self.at(above))
        except _NOT_THERE:
            raise UnsafeMemberError("a hard link to something that was not extracted") from None
        with closing(descriptor):
            status = status_of(base, descriptor)
            if status is None or stat.S_ISDIR(status.st_mode) or _is_placeholder(status):
                raise UnsafeMemberError("a hard link to something other than an extracted file")
            if name != target:
                folder, own = self.parent(name)
                os.link(base, own, src_dir_fd=descriptor, dst_dir_fd=folder, follow_symlinks=False)

    def make_symlink(
        self, name: bytes, target: bytes, mtime_ns: int, owner: Owner = _NOBODY
    ) -> None:
        """Make a symbolic link, wherever it leads: nothing is ever restored through it."""
        folder, base = self.parent(name)
        os.symlink(target, base, dir_fd=folder)
        if self.keeping.preserve:
            _change_owner(base, owner, folder)
        _set_time(base, mtime_ns, folder)

    def make_special(self, name: bytes, mode: int, device: tuple[int, int]) -> None:
        """Make a named pipe or a device."""
        folder, base = self.parent(name)
        if not all(0 <= number <= _LARGEST_DEVICE for number in device):
            raise UnsafeMemberError("the number of a device is out of bounds")
        os.mknod(base, mode, os.makedev(*device), dir_fd=folder)

    def finish_special(self, name: bytes, mode: int, mtime_ns: int, owner: Owner) -> None:
        """Give a named pipe or a device its owner, mode and time."""
        folder, base = self.parent(name)
        _change_owner(base, owner, folder)
        # By its name, the mode could be given to what a link in its place leads to.
        with closing(os.open(base, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)) as descriptor:
            os.chmod(f"/proc/self/fd/{descriptor}", self.keeping.mode(mode))
        _set_time(base, mtime_ns, folder)

    def is_folder(self, name: bytes) -> bool:
        try:
            self.at(name)
        except _NOT_THERE:
            return False
        return True

    # Where one member takes the place of another.

    def remove(self, name: bytes) -> None:
        """Remove whatever has that name, but no folder that is not empty."""
        folder, base = self.parent(name)
        try:
            os.unlink(base, dir_fd=folder)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError):
            os.rmdir(base, dir_fd=folder)

    def empty(self, name: bytes) -> bool:
        """Remove all that is in a folder; returns whether it is one, and was not empty."""
        try:
            descriptor = self.at(name)
        except _NOT_THERE:
            return False
        with os.scandir(descriptor) as entries:
            is_full = any(entries)
        empty(descriptor)
        return is_full

    def make_placeholder(self, name: bytes, number: int, target: bytes = b"") -> None:
        """Keep the place of a link under a number; a later member may still take it.

        :param target: where it will lead; of one that is too long for any link, only the beginning
            is kept.
        """
        folder, base = self.parent(name)
        with closing(os.open(base, _NEW_FLAGS, PLACEHOLDER_MODE, dir_fd=folder)) as descriptor:
            os.write(descriptor, target[:_LONGEST_TARGET])
            os.utime(descriptor, ns=(number, number))

    def holds_place(self, name: bytes, number: int) -> bool:
        """Whether the place that was kept under this number is still kept."""
        status = self._look(name, status_of)
        return status is not None and _is_placeholder(status) and status.st_mtime_ns == number

    def kept_target(self, name: bytes) -> bytes | None:
        """Return where the link will lead whose place is kept there; None: no place is kept."""
        return self._look(name, _kept_target)

    def _look(self, name: bytes, look: Callable[[bytes, int], T | None]) -> T | None:
        """Look at what has a name, if anything does; no folder is made for it."""
        above, _, base = name.rpartition(b"/")
        try:
            folder = self.at(above)
        except _NOT_THERE:
            return None
        return look(base, folder)


def _is_placeholder(status: os.stat_result) -> bool:
    return status.st_mode == stat.S_IFREG | PLACEHOLDER_MODE


def _kept_target(base: bytes, folder: int) -> bytes | None:
    status = status_of(base, folder)
    if status is None or not _is_placeholder(status):
        return None
    with closing(os.open(base, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)) as descriptor:
        path = f"/proc/self/fd/{descriptor}"
        os.chmod(path, 0o400)  # its mode lets nobody read it but root
        try:
            with closing(os.open(path, os.O_RDONLY)) as opened:
                return os.read(opened, _LONGEST_TARGET)
        finally:
            os.chmod(path, PLACEHOLDER_MODE)


def _set_xattrs(descriptor: int, xattrs: Xattrs) -> None:
    for key, value in xattrs:
        with contextlib.suppress(OSError):
            os.setxattr(descriptor, key, value)


# A place is a descriptor, or a name in a folder: links are not followed.


def _change_owner(place: int | bytes, owner: Owner, folder: int | None = None) -> None:
    if not all(map(is_owner, owner)):
        raise UnsafeMemberError("the number of an owner is out of bounds")
    try:
        os.chown(place, *owner, dir_fd=folder, follow_symlinks=folder is None)
    except OSError as error:
        if error.errno not in _NOT_GIVEN:
            raise


def _set_time(place: int | bytes, mtime_ns: int, folder: int | None = None) -> None:
    if not -_LARGEST_TIME <= mtime_ns <= _LARGEST_TIME:
        mtime_ns = _LARGEST_TIME if mtime_ns > 0 else -_LARGEST_TIME
    try:  # which takes a tenth of the time of ``suppress``
        os.utime(place, ns=(mtime_ns, mtime_ns), dir_fd=folder, follow_symlinks=folder is None)
    except OSError:  # some file systems lack early or late times
        return
