"""A tree as a source: its members, laid as tar straight into the chunks that are read.

The chunk borders, as all bytes, depend on the members alone: a member that is small beside the
chunk is never cut, so that one frame gives it back; a large one flows from chunk to chunk. All
small files of a chunk are opened, read and closed in one hop to a file thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator
from concurrent.futures import Executor
from functools import cache
from typing import Any, Final, NamedTuple

from .archives.header import BLOCK, END, Owner, header, owner, padding, to_bytes
from .archives.index import DIRECTORY, FILE, HARDLINK, SYMLINK, Records
from .model import MIB, OnError, Report
from .storage import call
from .trees import OURS, Entry, Excluded, Skip, is_folder, kind_of, walk, without_prefix

_FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_UNCUT: Final = 8
"""A member of at most this part of a chunk is not cut."""
_SECOND: Final = 1_000_000_000
_MOST_TOLD: Final = 1000
_MOST_TEXT: Final = 8 * MIB
"""Characters of all names that are told: a name of an archive can be long."""
_ZEROS: Final = bytes(1 << 16)
_LETTERS: Final = ((stat.S_ISFIFO, b"6"), (stat.S_ISCHR, b"3"), (stat.S_ISBLK, b"4"))


class Packing(NamedTuple):
    """How a tree is packed.

    ``roots`` are (path, name): what is packed, and what it is called in the archive; "" for a
    folder whose members stand there by themselves. ``prefix`` stands before all names;
    ``excluded`` says what is left out; ``clamp`` is the latest time in seconds, and turns owners
    and modes into the plainest (``reproducible``).
    """

    roots: tuple[tuple[str, str], ...]
    prefix: str = ""
    excluded: Excluded | None = None
    on_error: OnError = "raise"
    xattrs: bool = False
    clamp: int | None = None


class Found:
    """What was found on the way: counts, and the first names of what went wrong.

    :param most_told: how many names; all of them together hold 8 MiB at most.
    """

    def __init__(self, files: int = 0, most_told: int = _MOST_TOLD) -> None:
        self.files = files
        self._most_told, self._room = most_told, _MOST_TEXT
        self.skipped_count = self.changed = self.damaged = self.kept = 0
        self.skipped: list[str] = []
        self.warnings: list[str] = []

    def skip(self, text: str) -> None:
        """Note that something was left out."""
        self.skipped_count += 1
        if len(self.skipped) < self._most_told and self._room > 0:
            self._room -= len(text)
            self.skipped.append(text)

    def refuse(self, text: str) -> None:
        """Note a member that was refused, or is damaged."""
        self.damaged += 1
        self.skip(text)

    def keep(self) -> None:
        """Count a file that is there already, and is not replaced."""
        self.kept += 1

    def change(self, text: str) -> None:
        """Note that something did not stay as it was while it was read."""
        self.changed += 1
        self.warn(text)

    def report(self, report: Report) -> Report:
        """Add it to what is known of the bytes."""
        kept = (f"{self.kept} files exist already, and were kept",) if self.kept else ()
        return report._replace(
            files=self.files,
            skipped=tuple(self.skipped),
            skipped_count=self.skipped_count,
            changed=self.changed,
            damaged=self.damaged,
            warnings=(*report.warnings, *self.warnings, *kept),
        )

    def warn(self, text: str) -> None:
        """Note something worth knowing."""
        if len(self.warnings) < _MOST_TOLD:
            self.warnings.append(text)


class TreeSource:
    """Folders and files as one tar; see ``sources.Source``."""

    size: int | None = None
    waits = False

    executor: Executor
    """The file threads, of whoever opens it."""

    def __init__(self, packing: Packing) -> None:
        self.name = packing.roots[0][0] if len(packing.roots) == 1 else None
        self.found = Found()
        self._packer = _Packer(packing, self.found)

    @property
    def more(self) -> bool:
        """Whether another chunk follows one that was not filled."""
        return self._packer.more

    def leave_out(self, status: os.stat_result) -> None:
        """Leave out the file that this archive goes to."""
        self._packer.own.add((status.st_dev, status.st_ino))

    def take_index(self) -> bytes | None:
        """Return the block of the index that stands behind the last chunk, if one does."""
        block, self._packer.index = self._packer.index, None
        return block

    async def fill(self, view: memoryview) -> int:
        """Lay the next chunk; returns its bytes, 0 at the end."""
        return await call(self.executor, self._packer.fill, view)

    async def readinto(self, view: memoryview) -> int:
        return await self.fill(view)

    async def aclose(self) -> None:
        """Close what is open."""
        await call(self.executor, self._packer.close)


class _Packer:
    """Lays members one after another; plain blocking code.

    ``_lay_all`` is a generator that goes on for ever where the last chunk ended.
    """

    def __init__(self, packing: Packing, found: Found) -> None:
        self.more = True
        self.index: bytes | None = None
        self._packing, self._found = packing, found
        self._records = Records()
        self._view = memoryview(b"")
        self._at = 0
        self.own: set[tuple[int, int]] = set()
        self._links: dict[tuple[int, int], list[Any]] = {}
        self._owner = cache(_owner if packing.clamp is None else _nobody)
        self._root, self._cut = b"", 0
        self._steps = self._lay_all()

    def fill(self, view: memoryview) -> int:
        self._view, self._at = view, 0
        next(self._steps, None)
        self._view = memoryview(b"")
        if self.more and self._records.is_full:
            self._close_block()
        return self._at

    def close(self) -> None:
        self._steps.close()

    def _close_block(self) -> None:
        self.index = self._records.pack()
        self._records = Records(self._records.end)

    # What there is.

    def _lay_all(self) -> Generator[None]:
        with contextlib.closing(self._entries()) as entries:
            for entry in entries:
                if (steps := self._lay_entry(entry)) is not None:
                    yield from steps
        self._close_block()
        if self._at:
            yield
            self._at = 0
        self.more = False
        self._view[: len(END)] = END
        self._at = len(END)
        yield
        self._at = 0

    def _lay_entry(self, entry: Entry | Skip) -> Generator[None] | None:
        if isinstance(entry, Skip):
            self._skip(entry.name, entry.error)
            return None
        try:
            if entry.is_folder:
                return self._lay_folder(entry)
            return self._lay_file(entry) if entry.is_file else self._lay_other(entry)
        except OSError as error:
            self._skip(entry.name, error)
            return None

    def _entries(self) -> Generator[Entry | Skip]:
        """Yield all members in order, from all roots, with their names in the archive."""
        packing = self._packing
        prefix = to_bytes(packing.prefix)
        for path, name in packing.roots:
            self._root = os.fsencode(path)
            inside = prefix + (os.fsencode(name) + b"/" if name else b"")
            self._cut = len(inside)
            yield from self._root_entries(os.fsencode(name), inside)

    def _root_entries(self, name: bytes, inside: bytes) -> Generator[Entry | Skip]:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        if not is_folder(self._root):
            folder, base = os.path.split(self._root)
            parent = os.open(folder or b".", flags)
            try:
                whole = to_bytes(self._packing.prefix) + name
                is_file = stat.S_ISREG(os.lstat(base, dir_fd=parent).st_mode)
                yield Entry(whole, base, parent, is_file=is_file)
            finally:
                os.close(parent)
            return
        descriptor = os.open(self._root, flags)
        try:
            if inside:
                yield Entry(inside[:-1], b".", descriptor, is_folder=True, descriptor=descriptor)
            yield from walk(descriptor, inside, without_prefix(self._packing.excluded, self._cut))
        finally:
            os.close(descriptor)

    # How it is laid. A function lays what fits at once, and returns the steps for what does not.

    def _lay_folder(self, entry: Entry) -> Generator[None] | None:
        status = os.fstat(entry.descriptor)
        return self._lay_head(entry, status, DIRECTORY, self._xattrs(entry.descriptor))

    def _lay_other(self, entry: Entry) -> Generator[None] | None:
        """Lay what has no content."""
        status = os.stat(entry.base, dir_fd=entry.parent, follow_symlinks=False)
        mode = status.st_mode
        if stat.S_ISREG(mode):
            return self._lay_file(entry)
        if stat.S_ISLNK(mode):
            link = os.readlink(entry.base, dir_fd=entry.parent)
            path = b"/proc/self/fd/%d/%b" % (entry.parent, entry.base)
            return self._lay_head(entry, status, SYMLINK, self._xattrs(path), link)
        for test, letter in _LETTERS:
            if test(mode):
                numbers = os.major(status.st_rdev), os.minor(status.st_rdev)
                link = b"" if letter == b"6" else b"%d,%d" % numbers
                return self._lay_head(entry, status, letter[0], link=link)
        raise OSError(errno.EINVAL, f"is {kind_of(mode)}, which no archive holds")

    def _lay_file(self, entry: Entry) -> Generator[None] | None:
        try:
            descriptor = os.open(entry.base, _FILE_FLAGS, dir_fd=entry.parent)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO}:  # it is a link, or a socket, by now
                return self._lay_other(entry)
            raise
        steps = None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return self._lay_other(entry)
            if (status.st_dev, status.st_ino) in self.own:
                self._found.warn(f"{self._shown(entry.name)}: is the output, and not packed")
                return None
            if status.st_nlink > 1 and (first := self._first_link(status)):
                return self._lay_head(entry, status, HARDLINK, link=first)
            steps = self._lay_content(entry, descriptor, status)
        finally:
            if steps is None:
                os.close(descriptor)
        return steps

    def _first_link(self, status: os.stat_result) -> bytes | None:
        """Return the name of the member that is the same file, if one is."""
        key = status.st_dev, status.st_ino
        known = self._links.get(key)
        if known is None:
            return None
        first: bytes = known[0]
        known[1] -= 1
        if not known[1]:
            del self._links[key]  # that was the last of its names
        return first

    def _lay_content(
        self, entry: Entry, descriptor: int, status: os.stat_result
    ) -> Generator[None] | None:
        """Lay a file at once if there is room for it."""
        size = status.st_size
        blocks = self._head(entry.name, status, FILE, size, self._xattrs(descriptor))
        start = self._at + len(blocks)
        end = start + size
        # One more byte tells whether the file has grown.
        if end + BLOCK > len(self._view):
            return self._lay_large(entry, descriptor, status, blocks)
        view = self._view
        done = os.readv(descriptor, [view[start : end + 1]])
        if done != size:
            done = self._finish_short(entry, descriptor, view[start : end + 1], done)
        view[self._at : start] = blocks
        pad = padding(size)
        view[end : end + pad] = _ZEROS[:pad]
        self._at = end + pad
        self._add(entry.name, FILE, blocks, size, status)
        return None

    def _finish_short(self, entry: Entry, descriptor: int, view: memoryview, done: int) -> int:
        """Read on after a read that gave less, or more, than the file's size."""
        size = len(view) - 1
        while done < size and (more := os.readv(descriptor, [view[done:]])):
            done += more
        if done != size:
            self._tell_changed(entry.name, done, size)
            view[min(done, size) :] = bytes(len(view) - min(done, size))
        return done

    def _tell_changed(self, name: bytes, done: int, size: int) -> None:
        what = "shrank" if done < size else "grew"
        kept = f"its first {size} bytes are packed" if done > size else f"padded to {size} bytes"
        self._found.change(f"{self._shown(name)}: {what} while it was read, {kept}")

    def _lay_large(
        self, entry: Entry, descriptor: int, status: os.stat_result, blocks: bytes
    ) -> Generator[None]:
        try:
            size, name = status.st_size, entry.name
            if len(blocks) + size + BLOCK <= max(len(self._view) // _UNCUT, 1) and self._at:
                yield
                self._at = 0
                if len(blocks) + size + BLOCK <= len(self._view):
                    yield from self._lay_content(entry, descriptor, status) or ()
                    return
            self._add(name, FILE, blocks, size, status)
            yield from self._lay(blocks)
            yield from self._lay_stream(name, descriptor, size)
            yield from self._lay(bytes(padding(size)))
            after = os.fstat(descriptor)
            if after.st_size > size:
                self._tell_changed(name, after.st_size, size)
            elif after.st_mtime_ns != status.st_mtime_ns and after.st_size == size:
                self._found.change(f"{self._shown(name)}: changed while it was read")
        finally:
            os.close(descriptor)

    def _lay_stream(self, name: bytes, descriptor: int, left: int) -> Generator[None]:
        """Lay content chunk by chunk; what is not there any more is zeros, and told."""
        size = left
        while left:
            if self._at == len(self._view):
                yield
                self._at = 0
            room = self._view[self._at : self._at + left]
            try:
                done = os.readv(descriptor, [room])
            except OSError as error:
                self._fail(name, error, size - left)
                yield from self._lay_zeros(left)
                return
            if not done:
                self._tell_changed(name, size - left, size)
                yield from self._lay_zeros(left)
                return
            self._at += done
            left -= done

    def _fail(self, name: bytes, error: OSError, offset: int) -> None:
        """Tell of a read error: it is never silently zeros."""
        if self._packing.on_error == "raise":
            raise OSError(error.errno, error.strerror, self._shown(name)) from None
        text = f"{self._shown(name)}: {error.strerror} at byte {offset}, the rest is zeros"
        self._found.change(text)

    def _lay_zeros(self, left: int) -> Generator[None]:
        while left:
            yield from self._lay(_ZEROS[:left])
            left -= min(left, len(_ZEROS))

    def _lay_head(
        self,
        entry: Entry,
        status: os.stat_result,
        kind: int,
        xattrs: tuple[tuple[str, bytes], ...] = (),
        link: bytes = b"",
    ) -> Generator[None] | None:
        blocks = self._head(entry.name, status, kind, 0, xattrs, link)
        if self._at + len(blocks) > len(self._view):
            return self._lay_long_head(entry, status, kind, blocks, link)
        self._view[self._at : self._at + len(blocks)] = blocks
        self._at += len(blocks)
        self._add(entry.name, kind, blocks, 0, status, link)
        return None

    def _lay_long_head(
        self, entry: Entry, status: os.stat_result, kind: int, blocks: bytes, link: bytes
    ) -> Generator[None]:
        if len(blocks) <= len(self._view) // _UNCUT and self._at:
            yield
            self._at = 0
        self._add(entry.name, kind, blocks, 0, status, link)
        yield from self._lay(blocks)

    def _lay(self, data: bytes) -> Generator[None]:
        left = memoryview(data)
        while left:
            if self._at == len(self._view):
                yield
                self._at = 0
            size = min(len(left), len(self._view) - self._at)
            self._view[self._at : self._at + size] = left[:size]
            self._at += size
            left = left[size:]

    # What is said of a member.

    def _head(
        self,
        name: bytes,
        status: os.stat_result,
        kind: int,
        size: int,
        xattrs: tuple[tuple[str, bytes], ...] = (),
        link: bytes = b"",
    ) -> bytes:
        full = name + b"/" if kind == DIRECTORY else name
        who = self._owner(status.st_uid, status.st_gid)[1]
        if kind in b"34":
            link = b""
            numbers = os.major(status.st_rdev), os.minor(status.st_rdev)
            ids = status.st_uid, status.st_gid
            who = owner(*ids, *(_names(*ids)), numbers)
        seconds = self._time(status) // _SECOND
        mode = self._mode(status, kind)
        return header(full, b"%c" % kind, mode, size, seconds, link, who, xattrs)

    def _time(self, status: os.stat_result) -> int:
        clamp = self._packing.clamp
        time = status.st_mtime_ns
        return time if clamp is None else min(time, clamp * _SECOND)

    def _mode(self, status: os.stat_result, kind: int) -> int:
        mode = status.st_mode
        if self._packing.clamp is None:
            return mode & 0o7777
        return 0o755 if kind == DIRECTORY or mode & 0o100 else 0o644

    def _add(
        self,
        name: bytes,
        kind: int,
        blocks: bytes,
        size: int,
        status: os.stat_result,
        link: bytes = b"",
    ) -> None:
        if kind != DIRECTORY:
            self._found.files += 1
        if kind == FILE and status.st_nlink > 1:
            self._links[status.st_dev, status.st_ino] = [name, status.st_nlink - 1]
        self._records.add(
            name,
            kind,
            len(blocks) // BLOCK,
            size,
            self._mode(status, kind),
            self._time(status),
            self._owner(status.st_uid, status.st_gid)[0],
            link,
        )

    def _xattrs(self, place: int | bytes) -> tuple[tuple[str, bytes], ...]:
        if not self._packing.xattrs or self._packing.clamp is not None:
            return ()
        found = []
        with contextlib.suppress(OSError):  # a file system without them
            follow = isinstance(place, int)
            for key in sorted(os.listxattr(place, follow_symlinks=follow)):
                with contextlib.suppress(OSError):
                    found.append((key, os.getxattr(place, key, follow_symlinks=follow)))
        return tuple(found)

    def _shown(self, name: bytes) -> str:
        """Return the path of a member as its user knows it."""
        rest = name[self._cut :]
        return os.fsdecode(os.path.join(self._root, rest) if rest else self._root)

    def _skip(self, name: bytes, error: OSError) -> None:
        path = self._shown(name)
        if self._packing.on_error == "raise" or error.errno in OURS:
            raise OSError(error.errno, error.strerror, path) from None
        self._found.skip(f"{path}: {error.strerror}")


def _owner(uid: int, gid: int) -> tuple[tuple[int, int, bytes, bytes], Owner]:
    """Return an owner for the index, and for headers."""
    user, group = _names(uid, gid)
    return (uid, gid, to_bytes(user), to_bytes(group)), owner(uid, gid, user, group)


def _nobody(uid: int, gid: int) -> tuple[tuple[int, int, bytes, bytes], Owner]:
    """Return the owner of everything in a reproducible archive."""
    del uid, gid
    return (0, 0, b"", b""), owner(0, 0, "", "")


@cache
def _names(uid: int, gid: int) -> tuple[str, str]:
    import grp  # noqa: PLC0415 - only those who pack pay for it
    import pwd  # noqa: PLC0415

    user = group = ""
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(uid).pw_name
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(gid).gr_name
    return user, group
