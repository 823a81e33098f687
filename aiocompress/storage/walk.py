"""Folders as they are: walked in an order that depends on names alone.

Plain blocking code, for a file thread. Every step is taken from the descriptor of the folder
above, and no link is followed: a folder that somebody replaces by a link during the walk leads
nowhere else.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
import stat
import tempfile
from collections.abc import Callable, Generator, Iterator
from itertools import islice
from operator import itemgetter
from typing import Final, NamedTuple

from aiocompress.storage.reach import ROOT_FLAGS

_MOST_NAMES: Final = 100_000
_MOST_IN_RUN: Final = 1000
_READ_SIZE: Final = 64 << 10
FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FOLDER_FLAGS: Final = ROOT_FLAGS | os.O_NOFOLLOW
_KINDS: Final = {
    "l": "a symbolic link",
    "s": "a socket",
    "p": "a named pipe",
    "c": "a device",
    "b": "a device",
}
_FOLDER, _FILE = b"d"[0], b"f"[0]
_by_name: Final = itemgetter(slice(1, None))


class Entry(NamedTuple):
    """Something in a folder.

    ``name`` is its path in the tree, ``base`` its name in the folder whose descriptor is
    ``parent``. Its kind may have changed since it was listed. ``descriptor`` is a folder's own,
    open until the walk goes on.
    """

    name: bytes
    base: bytes
    parent: int
    is_folder: bool = False
    is_file: bool = False
    descriptor: int = -1


class Run(NamedTuple):
    """What stands side by side in a folder, and is no folder.

    ``path`` stands before the names in the tree; ``rows`` are of a letter (``f`` for a regular
    file, or ``o``) and a name.
    """

    path: bytes
    parent: int
    rows: list[bytes]

    def entries(self) -> Iterator[Entry]:
        """Return them one by one."""
        path, parent, rows = self
        for row in rows:
            yield Entry(path + row[1:], row[1:], parent, is_file=row[0] == _FILE)


class Skip(NamedTuple):
    """Something that could not be looked into."""

    name: bytes
    error: OSError


Excluded = Callable[[bytes, bool], bool]
"""Whether a path in the tree is left out; the second argument says whether it is a folder."""


def without_prefix(excluded: Excluded | None, size: int) -> Excluded | None:
    """Have patterns see names without their first ``size`` bytes, the path of the tree."""
    if excluded is None:
        return None
    return lambda name, is_folder: excluded(name[size:], is_folder)


Enter = Callable[[Entry, list[bytes] | None], bool]
"""Whether to go into a folder, given what is in it: rows of a letter (``d``, ``f`` or ``o``) and a
name, sorted; None if there are too many to keep. The root comes first, with an empty name."""


def walk(
    folder: int, prefix: bytes, excluded: Excluded | None = None, enter: Enter | None = None
) -> Generator[Entry | Skip]:
    """Yield all that is below a folder, each folder before what is in it; see ``runs``."""
    with contextlib.closing(runs(folder, prefix, excluded, enter)) as items:
        for item in items:
            if isinstance(item, Run):
                yield from item.entries()
            else:
                yield item


def runs(
    folder: int, prefix: bytes, excluded: Excluded | None = None, enter: Enter | None = None
) -> Generator[Entry | Run | Skip]:
    """Yield all that is below a folder, each folder before what is in it.

    :param folder: a descriptor of it; stays open.
    :param prefix: put before each name: empty, or a path that ends with a slash.
    """
    root, rows = _listing(folder)
    if enter is not None and not enter(
        Entry(b"", b"", -1, is_folder=True, descriptor=folder), rows
    ):
        return
    levels = [(folder, prefix, root)]
    try:
        while levels:
            parent, path, names = levels[-1]
            side, base = _next_run(names, path, excluded)
            if side:
                yield Run(path, parent, side)
            if base is None:
                if len(side) < _MOST_IN_RUN:
                    levels.pop()
                    if levels:
                        os.close(parent)
                continue
            name = path + base
            try:
                descriptor, listing, rows = _open_folder(base, parent)
            except OSError as error:
                is_other = error.errno in {errno.ENOTDIR, errno.ELOOP}  # something else by now
                yield Entry(name, base, parent) if is_other else Skip(name, error)
                continue
            levels.append((descriptor, name + b"/", listing))
            entry = Entry(name, base, parent, is_folder=True, descriptor=descriptor)
            if enter is None or enter(entry, rows):
                yield entry
            else:
                levels[-1] = descriptor, b"", iter(())
    finally:
        for descriptor, _, _ in levels[1:]:
            os.close(descriptor)


def _next_run(
    names: Iterator[bytes], path: bytes, excluded: Excluded | None
) -> tuple[list[bytes], bytes | None]:
    """Return rows up to the next folder, and its name, if it comes within a run."""
    side: list[bytes] = []
    for row in names:
        if excluded is not None and excluded(path + row[1:], row[0] == _FOLDER):
            continue
        if row[0] == _FOLDER:
            return side, row[1:]
        side.append(row)
        if len(side) == _MOST_IN_RUN:
            break
    return side, None


def _open_folder(base: bytes, parent: int) -> tuple[int, Iterator[bytes], list[bytes] | None]:
    descriptor = open_folder(base, parent)
    try:
        return descriptor, *_listing(descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def open_folder(name: str | bytes, parent: int) -> int:
    """Open a folder that is in another one, and no link to it; returns its descriptor."""
    return os.open(name, FOLDER_FLAGS, dir_fd=parent)


@contextlib.contextmanager
def closing(descriptor: int) -> Iterator[int]:
    """Close a descriptor in the end."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_folder(path: str | bytes) -> bool:
    """Whether a path is a folder, or a link to one.

    :raises OSError: it cannot be told, for want of rights say.
    """
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except FileNotFoundError:
        return False  # a link to nowhere, say


def _listing(folder: int) -> tuple[Iterator[bytes], list[bytes] | None]:
    """Return a row for everything in a folder, sorted by name: a letter and the name.

    The same rows come as a list, too, unless there are too many: then they are sorted in runs,
    which wait in files and are merged, so that memory stays bounded.
    """
    runs: list[Iterator[bytes]] = []
    last: list[bytes] = []
    for rows in scan(folder):
        last = rows if len(rows) < _MOST_NAMES else []
        if not last:
            runs.append(spilled(rows))
    last.sort(key=_by_name)
    if not runs:
        return iter(last), last
    return heapq.merge(*runs, last, key=_by_name), None


def scan(folder: int) -> Iterator[list[bytes]]:
    """Yield rows of a letter and a name, unsorted, at most 100,000 at a time."""
    with os.scandir(folder) as entries:
        while texts := [_letter(entry) + entry.name for entry in islice(entries, _MOST_NAMES)]:
            yield os.fsencode("/".join(texts)).split(b"/")  # all at once takes half the time


def _letter(entry: os.DirEntry[str]) -> str:
    if entry.is_file(follow_symlinks=False):
        return "f"
    return "d" if entry.is_dir(follow_symlinks=False) else "o"


def spilled(rows: list[bytes]) -> Iterator[bytes]:
    """Sort rows by name, and keep them in a nameless file until they are read."""
    rows.sort(key=_by_name)
    run = _spilled(rows)
    next(run)
    return run


def _spilled(rows: list[bytes]) -> Iterator[bytes]:
    with tempfile.TemporaryFile() as file:
        file.write(b"\0".join(rows) + b"\0")
        del rows
        # A generator that is dropped closes its file only if it has begun.
        yield b""
        file.seek(0)
        left = b""
        while data := file.read(_READ_SIZE):
            *rows, left = (left + data).split(b"\0")
            yield from rows


def kind_of(mode: int) -> str:
    """Say what a mode stands for that is neither file nor folder."""
    return _KINDS.get(stat.filemode(mode)[0], "of a kind unknown here")
