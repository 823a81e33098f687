"""Two trees side by side: the source is walked once, and its folders and links are made again.

Plain blocking code, for a file thread. Regular files are left to others: they come in batches, and
each has its folder by then. Folders get their modes and times in the end, children first.
"""

from __future__ import annotations

import errno
import heapq
import os
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from itertools import pairwise
from typing import Final, NamedTuple

from aiocompress.errors import FormatError
from aiocompress.formats.tar.index import DIRECTORY
from aiocompress.model import Member, OnError, OnExists
from aiocompress.storage.atomic_file import Like, exists, hidden_name, take_after
from aiocompress.storage.restorer import Keeping, Restorer
from aiocompress.storage.walk import (
    FOLDER_FLAGS,
    OURS,
    Entry,
    Excluded,
    Skip,
    kind_of,
    scan,
    spilled,
    walk,
)
from aiocompress.verbs.archive.finish import Journal
from aiocompress.verbs.found import Found
from aiocompress.verbs.mirror.batch import Chain, Files

_BATCH: Final = 256
"""Files of a batch: a task costs the main process as much as 20 files cost a worker."""
_BATCHES: Final = 4
_FOLDER_MODE: Final = 0o700

Identity = tuple[int, int]
"""Device and inode."""


class Side(NamedTuple):
    """A tree: its path as the user knows it, and a descriptor of its root."""

    path: str
    root: int

    def shown(self, name: str) -> str:
        """Return the path of something in it."""
        return os.path.join(self.path, name)


class Plan(NamedTuple):
    """How one tree becomes the other.

    ``naming`` says what a file is called there, None that it cannot be there at all. ``on_exists``
    is None where the target is new. ``own`` are folders that are part of the target; a folder may
    be ``excluded``, and so may a file. The target's root keeps its times if ``keep_root``.
    """

    naming: Callable[[str], str | None]
    on_exists: OnExists | None
    on_error: OnError
    excluded: Excluded | None
    own: frozenset[Identity]
    keep_root: bool


class Twins:
    """Walks a tree and makes its twin."""

    def __init__(self, source: Side, target: Side, plan: Plan) -> None:
        self.found = Found()
        self._source, self._target, self._plan = source, target, plan
        self._identity = _identity(os.fstat(source.root))
        self._restorer = Restorer(target.root, Keeping(preserve=True))
        self._folders = Journal()
        self._groups = self._walk()
        self._left: tuple[str, list[str]] = ("", [])

    def batches(self) -> list[Files]:
        """Return the next few batches; none at the end."""
        return [batch for _ in range(_BATCHES) if (batch := self._batch())]

    def _batch(self) -> Files:
        batch: Files = []
        room = _BATCH
        while room:
            folder, names = self._left
            if not names:
                group = next(self._groups, None)
                if group is None:
                    break
                self._left = group
                continue
            batch.append((folder, names[:room]))
            self._left = folder, names[room:]
            room -= len(batch[-1][1])
        return batch

    def close(self) -> None:
        """Close what is open."""
        self._groups.close()
        self._folders.close()
        self._restorer.close()

    # The walk.

    def _walk(self) -> Generator[tuple[str, list[str]]]:
        """Yield the files, a run of one folder at a time."""
        folder, names = b"", list[str]()
        entries = walk(self._source.root, b"", self._plan.excluded, self._enter)
        with closing(entries):
            for entry in entries:
                if isinstance(entry, Skip):
                    self._miss(os.fsdecode(entry.name), entry.error)
                    continue
                if entry.is_folder or not (entry.is_file or self._is_file(entry)):
                    continue
                where = entry.name[: -len(entry.base)]
                if where != folder or len(names) == _BATCH:
                    yield os.fsdecode(folder[:-1]) or ".", names
                    folder, names = where, []
                name = os.fsdecode(entry.base)
                if self._plan.naming(name) is None:
                    self._refuse(os.fsdecode(entry.name))
                else:
                    names.append(name)
        yield os.fsdecode(folder[:-1]) or ".", names

    def _enter(self, entry: Entry, rows: list[bytes] | None) -> bool:
        """Make the twin of a folder; returns whether to go on in it."""
        path, status = os.fsdecode(entry.name), os.fstat(entry.descriptor)
        if path and _identity(status) in self._plan.own:
            self.found.warn(f"{self._source.shown(path)}: is the destination, and left out")
            return False
        self._check(entry, rows)
        if path:
            try:
                if not self._make_folder(path):
                    return False
            except OSError as error:
                raise self._unmade(error, path) from None
        if path or not self._plan.keep_root:
            # Until all is done, it has to be possible to empty the root.
            mode = stat.S_IMODE(status.st_mode) if path else _FOLDER_MODE
            time, uid, gid = status.st_mtime_ns, status.st_uid, status.st_gid
            about = Member("", mode=mode, mtime_ns=time, uid=uid, gid=gid)
            self._folders.add(entry.name or b".", DIRECTORY, about)
        return True

    def _is_file(self, entry: Entry) -> bool:
        """Make a link again, and name what is neither; or say that it is a file by now."""
        path = os.fsdecode(entry.name)
        try:
            status = os.stat(entry.base, dir_fd=entry.parent, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                return True
            if not stat.S_ISLNK(status.st_mode):
                what = kind_of(status.st_mode)
                self.found.skip(f"{self._source.shown(path)}: is {what}, and not opened")
                return False
            link = os.readlink(entry.base, dir_fd=entry.parent)
        except OSError as error:
            self._miss(path, error)
            return False
        try:
            self._link(entry.name, link, status)
        except OSError as error:
            raise self._unmade(error, path) from None
        return False

    # Names.

    def _check(self, entry: Entry, rows: list[bytes] | None) -> None:
        """Refuse two things in a folder that would get the same name.

        :raises FileExistsError: there are such.
        """
        if rows is not None and len(set(map(self._place, rows))) == len(rows):
            return
        runs = ([b" " + self._place(row) for row in part] for part in self._scan(entry))
        with closing(heapq.merge(*map(spilled, runs))) as merged:
            repeated = next((one[1:] for one, two in pairwise(merged) if one == two), None)
        if repeated is not None:
            raise self._clash(entry, repeated)

    def _scan(self, entry: Entry) -> Iterator[list[bytes]]:
        """Yield what is in a folder, without what is left out."""
        excluded, inside = self._plan.excluded, entry.name + b"/" * bool(entry.name)
        for rows in scan(entry.descriptor):
            yield [
                row
                for row in rows
                if excluded is None or not excluded(inside + row[1:], row[:1] == b"d")
            ]

    def _place(self, row: bytes) -> bytes:
        """Return the name that something in a folder will have in its twin."""
        place = self._plan.naming(os.fsdecode(row[1:])) if row[:1] == b"f" else None
        return row[1:] if place is None else os.fsencode(place)

    def _clash(self, entry: Entry, place: bytes) -> FileExistsError:
        folder = os.fsdecode(entry.name) or "."
        rows = (row for part in self._scan(entry) for row in part)
        names = sorted(os.fsdecode(row[1:]) for row in rows if self._place(row) == place)
        both = " and ".join(self._source.shown(below(folder, name)) for name in names[:2])
        where = self._target.shown(below(folder, os.fsdecode(place)))
        return FileExistsError(errno.EEXIST, f"{both} would both get this name", where)

    def _refuse(self, path: str) -> None:
        shown, reason = self._source.shown(path), "unknown suffix, so it has no name without one"
        if self._plan.on_error == "raise":
            hint = "on_error='skip' leaves such files out"
            raise FormatError(reason, file=shown, hint=hint)
        self.found.skip(f"{shown}: {reason}")

    # What is made.

    def _make_folder(self, path: str) -> bool:
        """Make a folder, or take the one that is there; returns whether there is one now."""
        above, name = self._restorer.parent(os.fsencode(path))
        with suppress(FileExistsError):
            os.mkdir(name, _FOLDER_MODE, dir_fd=above)
            return True
        if self._plan.on_exists is None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        try:
            descriptor = os.open(name, FOLDER_FLAGS, dir_fd=above)
        except NotADirectoryError:
            if self._plan.on_exists == "skip":
                self.found.keep()
                return False
            os.unlink(name, dir_fd=above)
            os.mkdir(name, _FOLDER_MODE, dir_fd=above)
            return True
        try:
            is_source = _identity(os.fstat(descriptor)) == self._identity
        finally:
            os.close(descriptor)
        if is_source:
            msg = f"{self._target.shown(path)}: is the source itself"
            raise ValueError(msg)
        return True

    def _link(self, name: bytes, link: bytes, status: os.stat_result) -> None:
        folder, base = self._restorer.parent(name)
        if self._plan.on_exists == "skip" and exists(base, folder):
            self.found.keep()
            return
        made = os.fsencode(hidden_name()) if self._plan.on_exists == "replace" else base
        owner = status.st_uid, status.st_gid
        place = name[: -len(base)] + made
        self._restorer.make_symlink(place, link, status.st_mtime_ns, owner)
        if made != base:
            try:
                os.rename(made, base, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(made, dir_fd=folder)
                raise
        self.found.files += 1

    def finish(self) -> None:
        """Set the modes and times of all folders: nothing is made in them any more."""
        folders = Chain(self._target.root)
        try:
            for record in reversed(self._folders):
                uid, gid, *_ = record.owner
                like = Like(record.mode, uid, gid, record.mtime_ns, record.mtime_ns)
                path = os.fsdecode(record.name)
                try:
                    take_after(folders.at(path), like)
                except OSError as error:
                    raise self._unmade(error, path) from None
        finally:
            folders.close()

    # What goes wrong.

    def _miss(self, path: str, error: OSError) -> None:
        miss(self._source, path, error, self._plan.on_error, self.found)

    def _unmade(self, error: OSError, path: str) -> OSError:
        return OSError(error.errno, error.strerror, self._target.shown(path))


def below(folder: str, name: str) -> str:
    """Return the path of something in a folder, "." being the root."""
    return name if folder == "." else f"{folder}/{name}"


def miss(side: Side, path: str, error: OSError, on_error: OnError, found: Found) -> None:
    """Leave out what cannot be read.

    :raises OSError: that is not wanted.
    """
    shown = side.shown(path)
    if on_error == "raise" or error.errno in OURS:
        raise OSError(error.errno, error.strerror, shown) from None
    found.skip(f"{shown}: {error.strerror}")


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino
