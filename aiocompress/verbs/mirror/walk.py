"""Two trees side by side: one walk over the source makes its folders and links again.

Plain blocking code, for a file thread. Others convert the regular files: ``Twins`` hands out their
paths in batches, and the folder of each exists by then. Folders get their modes and times last,
children before parents, because every file that is made in a folder changes its time.
"""

from __future__ import annotations

import errno
import heapq
import os
import stat
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, suppress
from itertools import islice, pairwise
from typing import Final, NamedTuple

from aiocompress.errors import AiocompressError, FormatError
from aiocompress.formats.tar.index import DIRECTORY
from aiocompress.model import Member, OnError, OnExists
from aiocompress.storage.atomic_file import Like, exists, hidden_name, publish, renamed, take_after
from aiocompress.storage.atomic_folder import AtomicFolder, sync_all
from aiocompress.storage.chain import Chain
from aiocompress.storage.reach import ROOT_FLAGS, Reach
from aiocompress.storage.restorer import Keeping, Restorer
from aiocompress.storage.walk import (
    Entry,
    Excluded,
    Skip,
    kind_of,
    scan,
    spilled,
    walk,
)
from aiocompress.verbs.archive.finish import Journal
from aiocompress.verbs.entries import skip
from aiocompress.verbs.found import Found
from aiocompress.verbs.mirror.batch import Files, Roots
from aiocompress.verbs.options import Writing

_BATCH: Final = 256
_BATCHES: Final = 4
_FOLDER_MODE: Final = 0o700


class Side(NamedTuple):
    """A tree: its path as the user knows it, and a descriptor of its root."""

    path: str
    root: int

    def shown(self, name: bytes) -> str:
        """Return the path of something in it."""
        return os.path.join(self.path, os.fsdecode(name))


class Trees:
    """Both trees, opened; always ``close`` them.

    A target that is new is a hidden folder, which gets its name when all is in it. One that exists
    is used in place, unless it may only be an empty folder.
    """

    def __init__(self, source: str, destination: str, writing: Writing) -> None:
        self.on_exists: OnExists | None = None
        """What to do with what exists; None: the target is new."""
        self.fsync = writing.fsync
        self._new: AtomicFolder | None = None
        with ExitStack() as stack:
            root = os.open(source, ROOT_FLAGS)
            stack.callback(os.close, root)
            there = None
            with suppress(FileNotFoundError):
                there = os.stat(destination)
            if there is not None and os.path.samestat(there, os.fstat(root)):
                msg = f"{destination}: source and destination are the same folder"
                raise ValueError(msg)
            if writing.on_exists != "error" and os.path.isdir(destination):
                self.on_exists = writing.on_exists
                target = os.open(destination, ROOT_FLAGS)
                stack.callback(os.close, target)
            else:
                self._new = stack.enter_context(
                    closing(AtomicFolder(destination, writing.on_exists))
                )
                self._new.mode = stat.S_IMODE(os.fstat(root).st_mode) & 0o777
                target = self._new.descriptor
            self.source, self.target = Side(source, root), Side(destination, target)
            self.own = {
                _identity(status) for status in (os.fstat(target), there) if status is not None
            }
            """Folders that are part of the destination."""
            self.keep_root = there is not None
            """Whether the destination was there: it keeps its mode and times."""
            self._opened = stack.pop_all()

    def roots(self, *, by_path: bool) -> Roots:
        """Say where workers find the trees; see ``Reach``."""
        source, target = (
            Reach.of(side.root, by_path=by_path) for side in (self.source, self.target)
        )
        return Roots(source, target, self.on_exists, self.fsync)

    def commit(self) -> None:
        """Give a new tree its name."""
        if self._new is not None:
            self._new.commit(fsync=self.fsync)
        elif self.fsync:
            sync_all(self.target.root)

    def close(self) -> None:
        """Close both; a new tree without a name is removed."""
        self._opened.close()


class Twins:
    """Walks a tree and makes its twin; always ``close`` it.

    :param naming: says what a file is called in the twin; None: it cannot be there at all.
    :param excluded: what to leave out, by its path in the source.
    """

    def __init__(
        self,
        trees: Trees,
        naming: Callable[[str], str | None],
        excluded: Excluded | None,
        on_error: OnError,
    ) -> None:
        self.found = Found()
        self._trees, self._naming = trees, naming
        self._excluded, self._on_error = excluded, on_error
        self._source = os.fstat(trees.source.root)
        self._restorer = Restorer(trees.target.root, Keeping(preserve=True))
        self._folders = Journal()
        self._files = self._walk()

    def batches(self) -> list[Files]:
        """Return the next few batches; none at the end."""
        batches = (list(islice(self._files, _BATCH)) for _ in range(_BATCHES))
        return [batch for batch in batches if batch]

    def close(self) -> None:
        self._files.close()
        self._folders.close()
        self._restorer.close()

    # The walk.

    def _walk(self) -> Generator[bytes]:
        """Yield the path of each file, and make everything else."""
        source = self._trees.source.root
        with closing(walk(source, b"", self._excluded, self._enter)) as entries:
            for entry in entries:
                if isinstance(entry, Skip):
                    self._skip(entry.name, entry.error)
                elif not entry.is_folder and (entry.is_file or self._is_file(entry)):
                    if self._naming(os.fsdecode(entry.base)) is not None:
                        yield entry.name
                        continue
                    hint = "on_error='skip' leaves such files out"
                    reason = "unknown suffix, so it has no name without one"
                    self._skip(entry.name, FormatError(reason, hint=hint))

    def _enter(self, entry: Entry, rows: list[bytes] | None) -> bool:
        """Make the twin of a folder; returns whether to go on in it."""
        path, status = entry.name, os.fstat(entry.descriptor)
        if path and _identity(status) in self._trees.own:
            shown = self._trees.source.shown(path)
            self.found.warn(f"{shown}: is the destination, and left out")
            return False
        self._check(entry, rows)
        if path:
            with renamed(self._trees.target.shown(path)):
                if not self._make_folder(path):
                    return False
        if path or not self._trees.keep_root:
            # If anything fails, the new root has to be emptied: it stays writable till the end.
            mode = stat.S_IMODE(status.st_mode) if path else _FOLDER_MODE
            time, uid, gid = status.st_mtime_ns, status.st_uid, status.st_gid
            about = Member("", mode=mode, mtime_ns=time, uid=uid, gid=gid)
            self._folders.add(path or b".", DIRECTORY, about)
        return True

    def _is_file(self, entry: Entry) -> bool:
        """Make a link again, and report what is neither link nor file; or say that it is a file."""
        try:
            status = os.stat(entry.base, dir_fd=entry.parent, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                return True
            if not stat.S_ISLNK(status.st_mode):
                shown, what = self._trees.source.shown(entry.name), kind_of(status.st_mode)
                self.found.skip(f"{shown}: is {what}, and not opened")
                return False
            link = os.readlink(entry.base, dir_fd=entry.parent)
        except OSError as error:
            self._skip(entry.name, error)
            return False
        with renamed(self._trees.target.shown(entry.name)):
            self._link(entry.name, link, status)
        return False

    def _skip(self, path: bytes, error: OSError | AiocompressError) -> None:
        skip(self._trees.source.shown(path), error, self._on_error, self.found)

    # Names.

    def _check(self, entry: Entry, rows: list[bytes] | None) -> None:
        """Refuse two things in a folder that would get the same name in its twin.

        A set of all names settles it for nearly every folder. Where that does not do (there are
        too many names, or two are the same unless one is left out), sorted runs on the disk bring
        the same names side by side, with what they come from. A slash, which no name holds, ends
        each: so those that are the same stay together.

        :raises FileExistsError: there are two.
        """
        if rows is not None and len(set(map(self._place, rows))) == len(rows):
            return
        folder, excluded = entry.name and entry.name + b"/", self._excluded
        runs = (
            [
                b" %b/%b" % (self._place(row), row[1:])
                for row in rows
                if excluded is None or not excluded(folder + row[1:], row[:1] == b"d")
            ]
            for rows in scan(entry.descriptor)
        )
        with closing(heapq.merge(*map(spilled, runs))) as merged:
            for one, two in pairwise(row[1:].split(b"/") for row in merged):
                if one[0] == two[0]:
                    names = (self._trees.source.shown(folder + name) for _, name in (one, two))
                    text = f"{' and '.join(names)} would both get this name"
                    place = self._trees.target.shown(folder + one[0])
                    raise FileExistsError(errno.EEXIST, text, place)

    def _place(self, row: bytes) -> bytes:
        """Return the name that something in a folder will have in its twin."""
        place = self._naming(os.fsdecode(row[1:])) if row[:1] == b"f" else None
        return row[1:] if place is None else os.fsencode(place)

    # The twin.

    def _make_folder(self, path: bytes) -> bool:
        """Make a folder, or take the one that is there; returns whether there is one now."""
        on_exists = self._trees.on_exists
        above, name = self._restorer.parent(path)
        try:
            os.mkdir(name, _FOLDER_MODE, dir_fd=above)
            return True
        except FileExistsError:
            if on_exists is None:
                raise
        status = os.stat(name, dir_fd=above, follow_symlinks=False)
        if os.path.samestat(status, self._source):
            msg = f"{self._trees.target.shown(path)}: is the source itself"
            raise ValueError(msg)
        if stat.S_ISDIR(status.st_mode):
            return True
        if on_exists == "skip":
            self.found.kept += 1
            return False
        os.unlink(name, dir_fd=above)
        os.mkdir(name, _FOLDER_MODE, dir_fd=above)
        return True

    def _link(self, path: bytes, link: bytes, status: os.stat_result) -> None:
        """Make a link, under a hidden name first if it is to replace something."""
        on_exists = self._trees.on_exists
        folder, base = self._restorer.parent(path)
        if on_exists == "skip" and exists(base, folder):
            self.found.kept += 1
            return
        made = os.fsencode(hidden_name()) if on_exists == "replace" else base
        owner = status.st_uid, status.st_gid
        place = path[: -len(base)] + made
        self._restorer.make_symlink(place, link, status.st_mtime_ns, owner)
        if on_exists == "replace":
            publish(os.fsdecode(made), os.fsdecode(base), folder, on_exists)
        self.found.files += 1

    def finish(self) -> None:
        """Set the modes and times of all folders: nothing more is made in them."""
        with closing(Chain(self._trees.target.root, "/")) as folders:
            for record in reversed(self._folders):
                uid, gid, *_ = record.owner
                like = Like(record.mode, uid, gid, record.mtime_ns, record.mtime_ns)
                with renamed(self._trees.target.shown(record.name)):
                    take_after(folders.at(os.fsdecode(record.name)), like)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
