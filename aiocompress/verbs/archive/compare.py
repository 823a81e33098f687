"""Members compared with what is below a folder: nothing is written, and no link is followed.

Plain blocking code, for workers and file threads.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import closing as closing_it
from contextlib import suppress
from typing import Final, TypeAlias

from aiocompress.errors import UnsafeMemberError
from aiocompress.formats.tar.header import to_bytes, to_text
from aiocompress.formats.tar.index import DIRECTORY
from aiocompress.model import KIB, Aspect, Difference, Member
from aiocompress.storage.chain import Chain
from aiocompress.storage.reach import OURS, Reach
from aiocompress.storage.restorer import LARGEST_OWNER, Keeping, checked
from aiocompress.storage.walk import Entry, closing
from aiocompress.verbs.archive.frame import Part, content, kept, whole
from aiocompress.verbs.archive.runs import Runs
from aiocompress.verbs.entries import open_file
from aiocompress.verbs.options import Comparing
from aiocompress.workers.job import Place, Result

Told: TypeAlias = tuple[int, Difference]
"""The raw offset of a member, and in what it differs."""

_SECOND: Final = 1_000_000_000
GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""Errors that say that there is nothing, or that the way there leads through a link or a file."""
_KINDS: Final = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFSOCK: "socket",
}
_ZEROS: Final = memoryview(bytes(256 * KIB))


def compare(
    place: Place,
    codec: str,
    raw: tuple[int, int],
    parts: tuple[Part, ...],
    target: Reach,
    inside: bytes,
    comparing: Comparing,
    keeps: bool,  # noqa: FBT001 - jobs take what they are sent
) -> Result:
    """Decode a frame, and compare the members that are wholly inside it.

    :param raw: offset and size of the frame in the raw archive.
    :param target: the folder to compare with.
    :param inside: what the names of the members begin with, and no path below the folder does.
    :param keeps: whether the frame is wanted, too.
    :raises CorruptError: the frame is damaged, or not of that size.
    :raises UnlikeIndexError: a header is not as the index says.
    """
    start, size = raw
    data, files = content(place, codec, size), 0
    with (
        closing(target.open()) as root,
        closing_it(Comparison(root, inside, comparing)) as comparison,
    ):
        for record, member, stored in whole(data, start, parts):
            comparison.begin(member or record.member())
            comparison.take(stored)
            comparison.end()
            files += record.kind != DIRECTORY
    frame = kept(place, data) if keeps else None
    return Result(size, frame, not keeps, files, about=tuple(comparison.told))


class Comparison:
    """Compares members one after another: ``begin``, ``take`` all that is stored, ``end``.

    :param root: a descriptor of the folder; stays open.
    :param inside: what the names of the members begin with, and no path below the folder does.
    """

    def __init__(self, root: int, inside: bytes, comparing: Comparing) -> None:
        self.told: list[Told] = []
        """What differs, for the caller to take."""
        self._below, self._inside = Chain(root, b"/"), inside
        self._ignored, self._keeping = comparing.ignored, Keeping(comparing.preserve)
        self._member, self._name = Member(""), ""
        self._descriptor = -1
        self._runs = Runs(self._member)
        self._at = 0
        """How much of the file has been compared."""
        self._buffer = bytearray(len(_ZEROS))
        self._room = memoryview(self._buffer)

    def close(self) -> None:
        self._close_file()
        self._below.close()

    def drop(self) -> None:
        """Forget the member that was begun, and what was told."""
        self._close_file()
        self.told = []

    def _close_file(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    @property
    def is_open(self) -> bool:
        """Whether the content of the member is still to be compared."""
        return self._descriptor >= 0

    def _tell(
        self,
        what: Aspect,
        archived: int | str | None = None,
        found: int | str | None = None,
        offset: int | None = None,
    ) -> None:
        if what not in self._ignored:
            difference = Difference(self._name, what, archived, found, offset)
            self.told.append((self._member.offset, difference))

    def _tell_error(self, error: OSError) -> None:
        """Tell that a file is not there, or cannot be read.

        :raises OSError: it is this process that has run out of something.
        """
        self._close_file()
        if error.errno in OURS:
            raise error
        if error.errno in GONE:
            self._tell("missing")
        else:
            self._tell("unreadable", found=error.strerror)

    # All but the content.

    def begin(self, member: Member) -> None:
        """Compare all but the content; opens the file, if there is content to compare."""
        self._member, self._name = member, member.name
        try:
            if place := path_of(to_bytes(member.name), self._inside):
                self._name = to_text(self._inside + place)
                self._look(member, place)
        except UnsafeMemberError:
            self._tell("missing")
        except OSError as error:
            self._tell_error(error)

    def _look(self, member: Member, place: bytes) -> None:
        if member.kind == "hardlink":
            self._compare_hardlink(member, place)
            return
        folder, base = self._below.parent(place)
        if member.kind != "file":
            status = os.stat(base, dir_fd=folder, follow_symlinks=False)
            if self._is_kind(member, status):
                self._compare_rights(member, status, folder, base)
                self._compare_target(member, status, folder, base)
            return
        self._descriptor, status = open_file(Entry(place, base, folder))
        if not self._is_kind(member, status):
            return
        self._compare_rights(member, status, folder, base)
        if "mtime_ns" not in member.unreadable and not _is_same_time(
            member.mtime_ns, status.st_mtime_ns
        ):
            self._tell("time", member.mtime_ns, status.st_mtime_ns)
        self._runs, self._at = Runs(member), 0
        if member.size != status.st_size:
            self._tell("size", member.size, status.st_size)
            self._close_file()
        elif "content" in self._ignored:
            self._close_file()

    def _is_kind(self, member: Member, status: os.stat_result) -> bool:
        found = kind_of(status)
        if found != member.kind:
            self._tell("kind", member.kind, found)
        return found == member.kind

    def _compare_rights(
        self, member: Member, status: os.stat_result, folder: int, base: bytes
    ) -> None:
        """Compare who may do what; all that extraction restores, if that is wanted."""
        if member.kind != "symlink" and "mode" not in member.unreadable:
            found, least = stat.S_IMODE(status.st_mode), 0o500 if member.kind == "directory" else 0
            # As it was packed, or as it is when it has been extracted.
            if found not in {member.mode, self._keeping.mode(member.mode, least or 0o400)}:
                self._tell("mode", member.mode, found)
        if self._keeping.preserve:
            self._compare_owner(member, status)
            if member.kind in {"file", "directory"}:
                self._compare_xattrs(member, b"/proc/self/fd/%d/%b" % (folder, base))

    def _compare_owner(self, member: Member, status: os.stat_result) -> None:
        """Compare the numbers of user and group, but for those that no file can have."""
        found = {"uid": status.st_uid, "gid": status.st_gid}
        archived = {"uid": member.uid, "gid": member.gid}
        for field, number in found.items():
            if field in member.unreadable or not 0 <= archived[field] <= LARGEST_OWNER:
                archived[field] = number
        if archived != found:
            told = "{uid}:{gid}".format_map
            self._tell("owner", told(archived), told(found))

    def _compare_xattrs(self, member: Member, path: bytes) -> None:
        """Compare those that the archive holds; a system gives files others by itself."""
        for key, value in member.xattrs:
            is_same = False
            with suppress(OSError):  # there is none, or it cannot be read
                is_same = os.getxattr(path, key, follow_symlinks=False) == value
            if not is_same:
                self._tell("xattr", key)

    def _compare_hardlink(self, member: Member, place: bytes) -> None:
        target = checked(to_bytes(member.link))
        if target.startswith(self._inside):  # or else it is to something that is not compared
            found = self._identity(place)
            try:
                if found == self._identity(target[len(self._inside) :]):
                    return
            except OSError as error:
                if error.errno not in GONE:
                    raise
            self._tell("hardlink", member.link)

    def _identity(self, place: bytes) -> object:
        """Return what two names of one file have in common; symbolic links are made again."""
        folder, base = self._below.parent(place)
        status = os.stat(base, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            return os.readlink(base, dir_fd=folder)
        return status.st_dev, status.st_ino

    def _compare_target(
        self, member: Member, status: os.stat_result, folder: int, base: bytes
    ) -> None:
        """Compare where a symbolic link leads, and which device it is."""
        if member.kind == "symlink":
            found = to_text(os.readlink(base, dir_fd=folder))
            if found != member.link:
                self._tell("link", member.link, found)
        elif member.kind.endswith("device") and "device" not in member.unreadable:
            device = os.major(status.st_rdev), os.minor(status.st_rdev)
            if device != member.device:
                archived, found = (f"{major},{minor}" for major, minor in (member.device, device))
                self._tell("device", archived, found)

    # The content.

    def take(self, data: memoryview) -> None:
        """Compare the next stored bytes of the content."""
        while data and self.is_open:
            at, size = self._runs.next()
            self._compare_zeros(at)
            self._compare_bytes(data[:size])
            self._runs.advance(len(data[:size]))
            data = data[size:]

    def end(self) -> None:
        """Compare what is behind the last stored byte, and close the file."""
        if self.is_open:
            self._compare_zeros(self._member.size)
        self._close_file()

    def _compare_zeros(self, end: int) -> None:
        """Compare zeros up to an offset; where the file has holes, too, nothing is read."""
        while self._at < end and self.is_open:
            try:
                there = os.lseek(self._descriptor, self._at, os.SEEK_DATA)
            except OSError as error:
                there = end if error.errno == errno.ENXIO else self._at
            self._at = min(max(there, self._at), end)
            self._compare_bytes(_ZEROS[: end - self._at])

    def _compare_bytes(self, data: memoryview) -> None:
        try:
            while data and self.is_open:
                room = self._room[: len(data)]
                size = os.preadv(self._descriptor, [room], self._at)
                # Not ``==``, which compares views item by item, several times slower.
                if not size or not self._buffer.startswith(data[:size]):
                    same = _same(self._buffer, data[:size])
                    self._tell("content", offset=self._at + same)
                    self._close_file()
                self._at += size
                data = data[size:]
        except OSError as error:
            self._tell_error(error)


def path_of(name: bytes, inside: bytes) -> bytes:
    """Return the path below the folder of a member whose name begins with ``inside``.

    :raises UnsafeMemberError: there can be none.
    """
    place = checked(name)
    if not place.startswith(inside):
        raise UnsafeMemberError("the name leads elsewhere")
    return place[len(inside) :]


def kind_of(status: os.stat_result) -> str:
    """Return the kind, as of ``Member``, of what has that status."""
    return _KINDS[stat.S_IFMT(status.st_mode)]


def _is_same_time(archived: int, found: int) -> bool:
    """Whether two times are the same, where one of them may have no fraction of a second."""
    if archived % _SECOND and found % _SECOND:
        return archived == found
    return archived // _SECOND == found // _SECOND


def _same(buffer: bytearray, data: memoryview) -> int:
    """Return how many of the first bytes are the same."""
    low, high = 0, len(data)
    while low < high:
        middle = (low + high + 1) // 2
        if buffer.startswith(data[:middle]):
            low = middle
        else:
            high = middle - 1
    return low
