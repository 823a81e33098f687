"""Two trees side by side: the source is walked once, and its folders and links made again.

Plain blocking code, for a file thread. What is left to others are the regular files, which come
in batches; each folder's is complete, in its place, before a file of it is named. Modes and times
of folders are set in the end, children first: they wait in a file without a name.
"""

from __future__ import annotations

import errno
import heapq
import os
import stat
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from itertools import chain, islice, pairwise
from typing import Final, NamedTuple

from ..errors import FormatError
from ..model import MIB, OnError, OnExists
from .found import Found
from .mirrors import Chain, Files
from .publishing import Like, exists, hidden_name, take_after
from .walk import FOLDER_FLAGS, OURS, Excluded, kind_of, read_back, spilled

_MOST_NAMES: Final = 100_000
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


class _Listing(NamedTuple):
    """Names of what is in a folder, or of a part of it if there is very much."""

    files: list[str]
    folders: list[str]
    others: list[str]


class _Level:
    """A folder on the way down: both descriptors, and what is still to be done there."""

    def __init__(self, path: str, source: int, target: int, status: os.stat_result) -> None:
        self.path, self.source, self.target, self.status = path, source, target, status
        self.listings: Iterator[_Listing] = iter(())
        self.folders: Iterator[str] = iter(())

    def below(self, name: str) -> str:
        """Return the path of something in it."""
        return below(self.path, name)

    def close(self) -> None:
        os.close(self.source)
        os.close(self.target)


class Twins:
    """Walks a tree and makes its twin."""

    def __init__(self, source: Side, target: Side, plan: Plan) -> None:
        self.found = Found()
        self._source, self._target, self._plan = source, target, plan
        self._identity = _identity(os.fstat(source.root))
        self._folders = tempfile.SpooledTemporaryFile(MIB)  # noqa: SIM115 - closed by ``close``
        self._levels: list[_Level] = []
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
        while self._levels:
            self._levels.pop().close()

    # The walk.

    def _walk(self) -> Generator[tuple[str, list[str]]]:
        status = os.fstat(self._source.root)
        source = os.dup(self._source.root)
        try:
            target = os.dup(self._target.root)
        except BaseException:
            os.close(source)
            raise
        self._enter(_Level(".", source, target, status))
        while self._levels:
            level = self._levels[-1]
            folder = next(level.folders, None)
            if folder is not None:
                self._descend(level, folder)
                continue
            listing = next(level.listings, None)
            if listing is None:
                self._leave()
                continue
            level.folders = iter(listing.folders)
            for name in listing.others:
                self._other(level, name)
            yield level.path, self._known(level, listing.files)

    def _enter(self, level: _Level) -> None:
        self._levels.append(level)
        level.listings = self._listings(level)

    def _leave(self) -> None:
        level = self._levels.pop()
        level.close()
        like = _like(level.status)
        if not self._levels:
            if self._plan.keep_root:
                return
            # Until all is done, it has to be possible to empty it.
            like = like._replace(st_mode=_FOLDER_MODE)
        text = " ".join(map(str, (*like, level.path)))
        self._folders.write(os.fsencode(text) + b"\0")

    def _descend(self, above: _Level, name: str) -> None:
        path = above.below(name)
        try:
            source = os.open(name, FOLDER_FLAGS, dir_fd=above.source)
        except OSError as error:
            self._miss(path, error)
            return
        target = None
        try:
            status = os.fstat(source)
            if _identity(status) in self._plan.own:
                self.found.warn(f"{self._source.shown(path)}: is the destination, and left out")
            else:
                target = self._folder(above, name, path)
        finally:
            if target is None:
                os.close(source)
        if target is not None:
            self._enter(_Level(path, source, target, status))

    def _listings(self, level: _Level) -> Iterator[_Listing]:
        """Yield what is in a folder, after it is clear that no two things get the same name."""
        for number, listing in enumerate(self._scan(level)):
            if not number:
                self._check(level, listing)
            yield listing

    def _scan(self, level: _Level) -> Iterator[_Listing]:
        # Not the descriptor itself: two scans at once would share its position.
        descriptor = os.open(".", FOLDER_FLAGS, dir_fd=level.source)
        try:
            with os.scandir(descriptor) as entries:
                while True:
                    part = list(islice(entries, _MOST_NAMES))
                    listing = self._sorted(level, part)
                    if len(part) < _MOST_NAMES:
                        break
                    yield listing
        except OSError as error:
            self._miss(level.path, error)
            return
        finally:
            os.close(descriptor)
        yield listing

    def _sorted(self, level: _Level, entries: list[os.DirEntry[str]]) -> _Listing:
        listing = _Listing([], [], [])
        excluded = self._plan.excluded
        for entry in entries:
            is_folder = False
            if entry.is_file(follow_symlinks=False):
                names = listing.files
            else:
                is_folder = entry.is_dir(follow_symlinks=False)
                names = listing.folders if is_folder else listing.others
            if excluded is None or not excluded(os.fsencode(level.below(entry.name)), is_folder):
                names.append(entry.name)
        for names in listing:
            names.sort()
        return listing

    # Names.

    def _places(self, listing: _Listing) -> list[str]:
        """Return the names that a folder's twin will have."""
        naming = self._plan.naming
        return [naming(name) or name for name in listing.files] + listing.folders + listing.others

    def _check(self, level: _Level, first: _Listing) -> None:
        """Refuse two things that would get the same name.

        :raises FileExistsError: there are such.
        """
        places = self._places(first)
        if len(places) == len(set(places)) and len(places) < _MOST_NAMES:
            return
        repeated = self._repeated(level)
        if repeated is not None:
            raise self._clash(level, repeated)

    def _repeated(self, level: _Level) -> str | None:
        """Look for a name that comes twice in a very large folder."""
        parts = (
            [b" " + os.fsencode(name) for name in self._places(listing)]
            for listing in self._scan(level)
        )
        merged = heapq.merge(*(spilled(rows) for rows in parts))
        return next((os.fsdecode(a[1:]) for a, b in pairwise(merged) if a == b), None)

    def _clash(self, level: _Level, place: str) -> FileExistsError:
        names = [
            name
            for listing in self._scan(level)
            for name, other in zip(chain(*listing), self._places(listing), strict=True)
            if other == place
        ]
        both = " and ".join(self._source.shown(level.below(name)) for name in names[:2])
        where = self._target.shown(level.below(place))
        return FileExistsError(errno.EEXIST, f"{both} would both get this name", where)

    def _known(self, level: _Level, files: list[str]) -> list[str]:
        """Return the files that have a place in the twin."""
        naming = self._plan.naming
        known = [name for name in files if naming(name) is not None]
        if len(known) < len(files):
            for name in sorted({*files} - {*known}):
                self._refuse(level.below(name))
        return known

    def _refuse(self, path: str) -> None:
        shown, reason = self._source.shown(path), "unknown suffix, so it has no name without one"
        if self._plan.on_error == "raise":
            hint = "on_error='skip' leaves such files out"
            raise FormatError(reason, file=shown, hint=hint)
        self.found.skip(f"{shown}: {reason}")

    # What is made.

    def _folder(self, above: _Level, name: str, path: str) -> int | None:
        """Make a folder, or take the one that is there; None: something else is kept."""
        try:
            with suppress(FileExistsError):
                os.mkdir(name, _FOLDER_MODE, dir_fd=above.target)
                return os.open(name, FOLDER_FLAGS, dir_fd=above.target)
            return self._existing(above, name, path)
        except OSError as error:
            raise self._unmade(error, path) from None

    def _existing(self, above: _Level, name: str, path: str) -> int | None:
        if self._plan.on_exists is None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        try:
            descriptor = os.open(name, FOLDER_FLAGS, dir_fd=above.target)
        except NotADirectoryError:
            if self._plan.on_exists == "skip":
                self.found.keep()
                return None
            os.unlink(name, dir_fd=above.target)
            os.mkdir(name, _FOLDER_MODE, dir_fd=above.target)
            return os.open(name, FOLDER_FLAGS, dir_fd=above.target)
        try:
            is_source = _identity(os.fstat(descriptor)) == self._identity
        except BaseException:
            os.close(descriptor)
            raise
        if is_source:
            os.close(descriptor)
            msg = f"{self._target.shown(path)}: is the source itself"
            raise ValueError(msg)
        return descriptor

    def _other(self, level: _Level, name: str) -> None:
        """Make a link again; name what is neither."""
        path = level.below(name)
        try:
            status = os.stat(name, dir_fd=level.source, follow_symlinks=False)
            if not stat.S_ISLNK(status.st_mode):
                what = kind_of(status.st_mode)
                self.found.skip(f"{self._source.shown(path)}: is {what}, and not opened")
                return
            link = os.readlink(name, dir_fd=level.source)
        except OSError as error:
            self._miss(path, error)
            return
        try:
            self._link(level, name, link, status)
        except OSError as error:
            raise self._unmade(error, path) from None

    def _link(self, level: _Level, name: str, link: str, status: os.stat_result) -> None:
        if self._plan.on_exists == "skip" and exists(name, level.target):
            self.found.keep()
            return
        made = hidden_name() if self._plan.on_exists == "replace" else name
        os.symlink(link, made, dir_fd=level.target)
        with suppress(OSError):
            os.chown(made, status.st_uid, status.st_gid, dir_fd=level.target, follow_symlinks=False)
        times = status.st_atime_ns, status.st_mtime_ns
        os.utime(made, ns=times, dir_fd=level.target, follow_symlinks=False)
        if made != name:
            self._take_name(level, made, name)
        self.found.files += 1

    def _take_name(self, level: _Level, made: str, name: str) -> None:
        try:
            os.rename(made, name, src_dir_fd=level.target, dst_dir_fd=level.target)
        except BaseException:
            os.unlink(made, dir_fd=level.target)
            raise

    def finish(self) -> None:
        """Set the modes and times of all folders: nothing is made in them any more."""
        self._folders.seek(0)
        folders = Chain(self._target.root)
        try:
            for row in read_back(self._folders):
                *numbers, path = os.fsdecode(row).split(" ", len(Like._fields))
                try:
                    take_after(folders.at(path), Like(*map(int, numbers)))
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


def _like(status: os.stat_result) -> Like:
    return Like(*(getattr(status, field) for field in Like._fields))
