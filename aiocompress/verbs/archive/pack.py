"""Entries of a tree on their way out: each becomes a member, laid as tar straight into a chunk.

Plain blocking code: a worker runs it, or a file thread. All small files of a chunk are opened, read
and closed in one go: a hop for each would take longer than reading it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator
from functools import cache
from typing import Final, TypeAlias

from aiocompress.formats.tar.header import BLOCK, Owner, owner, padding
from aiocompress.formats.tar.index import DIRECTORY, FILE, HARDLINK, LETTERS, SYMLINK
from aiocompress.formats.tar.writer import Layer
from aiocompress.model import DEFAULT_MAX_METADATA
from aiocompress.storage.holes import LEAST, Runs, stored_runs
from aiocompress.storage.walk import Entry, Skip, kind_of
from aiocompress.verbs.archive.taken import Taken
from aiocompress.verbs.entries import Names, open_file
from aiocompress.verbs.found import Found
from aiocompress.verbs.options import Packing

_Xattrs: TypeAlias = tuple[tuple[str, bytes], ...]

_SECOND: Final = 1_000_000_000
_SPECIAL: Final = {
    stat.S_IFIFO: LETTERS["fifo"],
    stat.S_IFCHR: LETTERS["character device"],
    stat.S_IFBLK: LETTERS["block device"],
}
_DEVICES: Final = b"34"


class Packer:
    """Lays entries of a tree.

    ``lay`` is one generator for the whole tree: it stops where a chunk is full, perhaps within a
    member, and goes on there in the next chunk.

    :param found: where to note what was packed, and what was not.
    :param taken: the names in the archive, if it has other members, too.
    """

    def __init__(
        self,
        tree: Names,
        packing: Packing,
        writer: Layer,
        found: Found,
        taken: Taken | None = None,
    ) -> None:
        self.tree = tree
        self.count = 0
        """How many members there are."""
        self._packing, self._writer, self._found, self._taken = packing, writer, found, taken
        self._links: dict[tuple[int, int], tuple[bytes, int]] = {}
        """Of files with several names: that of the member, and how many are yet to come."""
        self.owner = cache(self._find_owner)

    def lay(self, entries: Generator[Entry | Skip]) -> Generator[None]:
        """Lay all of these, and close the generator.

        :raises OSError: something cannot be read, and the caller wants the error.
        :raises ValueError: a name is taken.
        """
        with contextlib.closing(entries):
            for entry in entries:
                if (steps := self.lay_one(entry)) is not None:
                    yield from steps

    def lay_one(self, entry: Entry | Skip) -> Generator[None] | None:
        """Lay an entry, or return the steps that lay it in more than this chunk; as ``lay``."""
        if isinstance(entry, Skip):
            self.tree.skip(entry.name, entry.error)
            return None
        if not entry.name:
            return None  # the only source, whose members stand there by themselves
        if self._taken is not None and not self._taken.admits(
            entry.name, is_folder=entry.is_folder
        ):
            return None
        try:
            return self._lay_folder(entry) if entry.is_folder else self._lay_file(entry)
        except OSError as error:
            self.tree.skip(entry.name, error)
            return None

    # Each of these lays a member that fits into the chunk, or returns the steps that lay it: most
    # members fit, and generators for them would cost more than the rest of the work.

    def _lay_folder(self, entry: Entry) -> Generator[None] | None:
        status = os.fstat(entry.descriptor)
        return self._lay_head(entry, status, DIRECTORY, self._xattrs(entry.descriptor))

    def _lay_other(self, entry: Entry, status: os.stat_result) -> Generator[None] | None:
        """Lay what has no content."""
        mode = status.st_mode
        if stat.S_ISLNK(mode):
            link = os.readlink(entry.base, dir_fd=entry.parent)
            path = b"/proc/self/fd/%d/%b" % (entry.parent, entry.base)
            return self._lay_head(entry, status, SYMLINK, self._xattrs(path), link)
        if kind := _SPECIAL.get(stat.S_IFMT(mode)):
            return self._lay_head(entry, status, kind)
        raise OSError(errno.EINVAL, f"is {kind_of(mode)}, which no archive holds")

    def _lay_file(self, entry: Entry) -> Generator[None] | None:
        descriptor, status = open_file(entry)
        if descriptor < 0:
            return self._lay_other(entry, status)
        steps = None
        try:
            if self.tree.is_output(entry.name, status):
                return None
            if status.st_nlink > 1 and (first := self._first_link(status)):
                return self._lay_head(entry, status, HARDLINK, link=first)
            steps = self._lay_content(entry, descriptor, status)
        finally:
            if steps is None:
                os.close(descriptor)
        return steps

    def _first_link(self, status: os.stat_result) -> bytes | None:
        """Return the name of the member that is the same file, if there is one."""
        key = status.st_dev, status.st_ino
        first, left = self._links.pop(key, (None, 0))
        if first is not None and left > 1:
            self._links[key] = first, left - 1
        return first

    def _lay_content(
        self, entry: Entry, descriptor: int, status: os.stat_result
    ) -> Generator[None] | None:
        """Lay a file at once if there is room for it."""
        if self._packing.sparse and status.st_size >= LEAST:
            runs = stored_runs(descriptor, status)
            if runs is not None:
                return self._lay_sparse(entry, descriptor, status, runs)
        head = self._head(entry.name, status, FILE, self._xattrs(descriptor))
        room = self._writer.room(head)
        if room is None:
            return self._lay_large(entry, descriptor, status, head)
        self._lay_small(entry.name, descriptor, status, head, room)
        return None

    def _lay_small(
        self,
        name: bytes,
        descriptor: int,
        status: os.stat_result,
        head: bytes,
        room: memoryview,
    ) -> None:
        done = os.readv(descriptor, [room])  # room for a byte too many: the file may have grown
        if done != len(room) - 1:
            self._finish_short(name, descriptor, room, done)
        self._writer.place(head)
        self._count(name, FILE, status)

    def _finish_short(self, name: bytes, descriptor: int, view: memoryview, done: int) -> None:
        """Read on after a read that gave less, or more, than the file's size."""
        size = len(view) - 1
        while done < size and (more := os.readv(descriptor, [view[done:]])):
            done += more
        if done != size:
            self._tell_changed(name, done, size)
            view[min(done, size) :] = bytes(len(view) - min(done, size))

    def _tell_changed(self, name: bytes, done: int, size: int) -> None:
        what = "shrank" if done < size else "grew"
        kept = f"its first {size} bytes are packed" if done > size else f"padded to {size} bytes"
        self._found.change(f"{self.tree.shown(name)}: {what} while it was read, {kept}")

    def _lay_large(
        self, entry: Entry, descriptor: int, status: os.stat_result, head: bytes
    ) -> Generator[None] | None:
        """Return the steps that lay a file through several chunks, and close it."""
        return self._lay_cut(entry, descriptor, status, head)

    def _lay_cut(
        self, entry: Entry, descriptor: int, status: os.stat_result, head: bytes
    ) -> Generator[None]:
        try:
            size, name, writer = status.st_size, entry.name, self._writer
            room = yield from writer.begin(head)
            if room is not None:
                try:
                    self._lay_small(name, descriptor, status, head, room)
                except OSError as error:
                    self.tree.skip(name, error)
                return
            self._count(name, FILE, status)
            is_whole = yield from self._lay_run(name, descriptor, 0, size, size)
            yield from writer.lay_zeros(padding(size))
            if is_whole:
                self._check_unchanged(name, descriptor, status)
        finally:
            os.close(descriptor)

    def _lay_sparse(
        self, entry: Entry, descriptor: int, status: os.stat_result, runs: Runs
    ) -> Generator[None]:
        """Lay a sparse file: its map, and what is stored of it."""
        try:
            name, writer = entry.name, self._writer
            head = self._head(name, status, FILE, self._xattrs(descriptor), runs=runs)
            stored = sum(size for _, size in runs)
            if writer.room(head) is None and writer.is_uncut(len(head) + stored + BLOCK):
                yield
            writer.open()
            self._count(name, FILE, status)
            yield from writer.lay(head)
            is_whole = True
            for start, size in runs:
                if is_whole:
                    os.lseek(descriptor, start, os.SEEK_SET)
                    about = start, start + size, status.st_size
                    is_whole = yield from self._lay_run(name, descriptor, *about)
                else:
                    yield from writer.lay_zeros(size)
            yield from writer.lay_zeros(padding(stored))
            if is_whole:
                self._check_unchanged(name, descriptor, status)
        finally:
            os.close(descriptor)

    def _check_unchanged(self, name: bytes, descriptor: int, status: os.stat_result) -> None:
        """Note if a large file has changed since its status was taken."""
        after, size = os.fstat(descriptor), status.st_size
        if after.st_size > size:
            self._tell_changed(name, after.st_size, size)
        elif after.st_size < size or after.st_mtime_ns != status.st_mtime_ns:
            self._found.change(f"{self.tree.shown(name)}: changed while it was read")

    def _lay_run(
        self, name: bytes, descriptor: int, at: int, end: int, size: int
    ) -> Generator[None, None, bool]:
        """Lay content chunk by chunk; what cannot be read becomes zeros, and the report says so.

        :param at: where the descriptor is, in a file of ``size`` bytes.
        :returns: whether all could be read.
        """
        left = end - at
        while left:
            room = yield from self._writer.rest(left)
            try:
                done = os.readv(descriptor, [room])
            except OSError as error:
                self._fail(name, error, end - left)
                break
            if not done:
                self._tell_changed(name, end - left, size)
                break
            self._writer.advance(done)
            left -= done
        yield from self._writer.lay_zeros(left)
        return not left

    def _fail(self, name: bytes, error: OSError, offset: int) -> None:
        """Raise or report a read error: the zeros that follow must not pass for content."""
        if self._packing.on_error == "raise":
            raise OSError(error.errno, error.strerror, self.tree.shown(name)) from None
        text = f"{self.tree.shown(name)}: {error.strerror} at byte {offset}, the rest is zeros"
        self._found.change(text)

    def _lay_head(
        self,
        entry: Entry,
        status: os.stat_result,
        kind: int,
        xattrs: _Xattrs = (),
        link: bytes = b"",
    ) -> Generator[None] | None:
        """Lay a member without content."""
        head = self._head(entry.name, status, kind, xattrs, link)
        steps = None if self._writer.place_head(head) else self._lay_long_head(head)
        self._count(entry.name, kind, status)
        return steps

    def _lay_long_head(self, head: bytes) -> Generator[None] | None:
        """Return the steps that lay a head through several chunks."""
        return self._lay_cut_head(head)

    def _lay_cut_head(self, head: bytes) -> Generator[None]:
        if self._writer.is_uncut(len(head)):
            yield
        self._writer.open()
        yield from self._writer.lay(head)

    def _head(
        self,
        name: bytes,
        status: os.stat_result,
        kind: int,
        xattrs: _Xattrs = (),
        link: bytes = b"",
        size: int | None = None,
        runs: Runs | None = None,
    ) -> bytes:
        mode, time = self._mode_and_time(status, kind)
        if size is None:
            size = status.st_size if kind == FILE else 0
        device = 0, 0
        if kind in _DEVICES:
            device = os.major(status.st_rdev), os.minor(status.st_rdev)
            link = b"%d,%d" % device
        who = self.owner(status.st_uid, status.st_gid, device)
        about = name, kind, mode, size, time, who, link
        head = self._writer.head(*about, xattrs, runs)
        if xattrs and len(head) > DEFAULT_MAX_METADATA:  # every reader would refuse it
            self._found.change(
                f"{self.tree.shown(name)}: its attributes are too large, and not packed"
            )
            return self._writer.head(*about, runs=runs)
        return head

    def _mode_and_time(self, status: os.stat_result, kind: int) -> tuple[int, int]:
        """Return them as they are packed; the time in ns."""
        mode, time = status.st_mode & 0o7777, status.st_mtime_ns
        clamp = self._packing.clamp
        if clamp is not None:
            mode = 0o755 if kind == DIRECTORY or mode & 0o100 else 0o644
            time = min(time, clamp * _SECOND)
        return mode, time

    def _find_owner(self, uid: int, gid: int, device: tuple[int, int] = (0, 0)) -> Owner:
        """Return the owner of a member; a reproducible archive has none."""
        if self._packing.clamp is not None:
            return owner(0, 0, "", "", device)
        return owner(uid, gid, *self.names_of(uid, gid), device)

    def names_of(self, uid: int, gid: int) -> tuple[str, str]:
        """Return what a user and a group are called."""
        return _names(uid, gid)

    def _count(self, name: bytes, kind: int, status: os.stat_result) -> None:
        self._found.latest = name
        self.count += 1
        if self._taken is not None:
            self._taken.take(name, is_folder=kind == DIRECTORY)
        if kind != DIRECTORY:
            self._found.files += 1
        if kind == FILE and status.st_nlink > 1:
            self._links[status.st_dev, status.st_ino] = name, status.st_nlink - 1

    def _xattrs(self, place: int | bytes) -> _Xattrs:
        if not self._packing.xattrs or self._packing.clamp is not None:
            return ()
        found = []
        with contextlib.suppress(OSError):  # a file system without them
            follow = isinstance(place, int)
            for key in sorted(os.listxattr(place, follow_symlinks=follow)):
                with contextlib.suppress(OSError):
                    found.append((key, os.getxattr(place, key, follow_symlinks=follow)))
        return tuple(found)


@cache
def _names(uid: int, gid: int) -> tuple[str, str]:
    import grp  # only packing needs them
    import pwd

    user = group = ""
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(uid).pw_name
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(gid).gr_name
    return user, group
