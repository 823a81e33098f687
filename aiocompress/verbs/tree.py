"""The tree that goes into one file: its roots, walked in order.

Plain blocking code, for a file thread; archives and framed containers are packed with it.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Executor
from contextlib import closing, suppress
from itertools import islice
from typing import Final

from aiocompress.formats.tar.header import BLOCK, END, padding, to_bytes
from aiocompress.storage.base import Origin
from aiocompress.storage.holes import may_have_holes, stored_runs
from aiocompress.storage.reach import ROOT_FLAGS
from aiocompress.storage.walk import Entry, Run, Skip, is_folder, runs, without_prefix
from aiocompress.verbs.base import Amount, check_here
from aiocompress.verbs.entries import Names, open_file
from aiocompress.verbs.found import Found
from aiocompress.verbs.options import FolderSource, Packing
from aiocompress.workers.threads import call

_AT_ONCE: Final = 1000


def roots_of(source: FolderSource) -> tuple[tuple[str, str], ...]:
    """Return what to pack, as (path, name in the archive).

    The members of a single folder stand at the top of the archive; several sources, and files,
    keep their own names there.

    :raises OSError: a source does not exist.
    :raises ValueError: there is no source, or two would have the same name.
    """
    paths = [source] if isinstance(source, str | os.PathLike) else list(source)
    if not paths:
        raise ValueError("no source to compress")
    roots: dict[str, str] = {}
    for given in paths:
        path = os.fspath(given)
        check_here(path)
        os.lstat(path)
        if len(paths) == 1 and is_folder(path):
            return ((path, ""),)
        name = os.path.basename(os.path.abspath(path))
        if name in roots:
            msg = f"{roots[name]} and {path} would both be {name!r} in the archive"
            raise ValueError(msg)
        roots[name] = path
    return tuple((path, name) for name, path in roots.items())


class Tree(Names, Origin):
    """All sources of one call, in order.

    :param found: where to note what is left out.
    """

    def __init__(self, packing: Packing, found: Found) -> None:
        super().__init__(packing.on_error, found, set())
        self.name = packing.roots[0][0] if len(packing.roots) == 1 else None
        self.folder = -1
        """A descriptor of the root that is walked, if that is a folder."""
        self.number = -1
        """How many roots were walked before this one."""
        self._packing = packing

    def leave_out(self, status: os.stat_result) -> None:
        self.own.add((status.st_dev, status.st_ino))

    def entries(self) -> Generator[Entry | Skip]:
        """Yield everything by its name in the archive, each folder before what is in it.

        A folder among the sources comes first; its name is empty if its members stand there by
        themselves and there is no prefix.
        """
        for items in self._roots():
            for item in items:
                if isinstance(item, Run):
                    yield from item.entries()
                else:
                    yield item

    def runs(self) -> Generator[Entry | Run | Skip]:
        """Yield the same, but together what stands side by side."""
        for items in self._roots():
            yield from items

    def check(self) -> None:
        """Open each root, and close it again: what cannot be read is an error before all others.

        :raises OSError: a root cannot be opened.
        """
        for entries in self._roots():
            with closing(entries):
                entry = next(entries)
                if isinstance(entry, Entry) and not entry.is_folder:
                    self._check_file(entry)

    def _check_file(self, entry: Entry) -> None:
        try:
            descriptor, _ = open_file(entry)
        except OSError as error:
            if self._packing.on_error == "raise":
                self.skip(entry.name, error)
            return  # or else it is left out, and told, in its turn
        if descriptor >= 0:
            os.close(descriptor)

    def _roots(self) -> Iterator[Generator[Entry | Run | Skip]]:
        for path, name in self._packing.roots:
            self.root = os.fsencode(path)
            inside = to_bytes(self._packing.prefix) + os.fsencode(name)
            yield self._below(inside + b"/" if name else inside)

    def _below(self, inside: bytes) -> Generator[Entry | Run | Skip]:
        """Walk one root; ``inside`` stands before the names of what is in it."""
        self.cut = len(inside)
        is_tree = is_folder(self.root)
        folder, base = (self.root, b".") if is_tree else os.path.split(self.root)
        descriptor = os.open(folder or b".", ROOT_FLAGS)
        self.folder, self.number = descriptor if is_tree else -1, self.number + 1
        try:
            if is_tree:
                yield Entry(inside[:-1], base, descriptor, is_folder=True, descriptor=descriptor)
                excluded = without_prefix(self._packing.excluded, self.cut)
                yield from runs(descriptor, inside, excluded)
            else:
                yield Entry(inside[:-1], base, descriptor)
        finally:
            os.close(descriptor)


async def amount(packing: Packing, executor: Executor, *, as_tar: bool) -> Amount:
    """Return how much there is to pack; no file is opened but those that may have holes.

    :param executor: the file threads, in one of which the tree is walked.
    :param as_tar: count headers and padding, too, a file with several names once, and no holes
        that are left out.
    """
    steps, total = _amounts(packing, as_tar=as_tar), (0, 0)
    try:
        # A few steps at a time, so that it can be cancelled in between.
        while last := await call(executor, _last, islice(steps, _AT_ONCE)):
            total = last
    finally:
        await call(executor, steps.close)
    return total


def _last(steps: Iterator[Amount]) -> Amount | None:
    return next(iter(deque(steps, 1)), None)


def _amounts(packing: Packing, *, as_tar: bool) -> Generator[Amount]:
    """Walk a tree, and yield how much has been found so far."""
    size, files = len(END) if as_tar else 0, 0
    met: set[tuple[int, int]] = set()
    with closing(Tree(packing, Found()).entries()) as entries:
        for entry in entries:
            if not entry.name:
                continue  # the only source, whose members stand there by themselves
            content = 0
            if isinstance(entry, Entry) and not entry.is_folder:
                files += 1
                with suppress(OSError):
                    status = os.stat(entry.base, dir_fd=entry.parent, follow_symlinks=False)
                    same = status.st_dev, status.st_ino
                    if stat.S_ISREG(status.st_mode) and not (as_tar and same in met):
                        content = status.st_size
                        if as_tar and packing.sparse and may_have_holes(status):
                            content = _stored(entry)
                    if status.st_nlink > 1:
                        met.add(same)
            size += BLOCK + content + padding(content) if as_tar else content
            yield size, files


def _stored(entry: Entry) -> int:
    """Return how many bytes of a file an archive stores."""
    descriptor, status = open_file(entry)
    if descriptor < 0:
        return 0
    try:
        runs = stored_runs(descriptor, status)
    finally:
        os.close(descriptor)
    return status.st_size if runs is None else sum(size for _, size in runs)
