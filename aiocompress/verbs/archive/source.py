"""A tree on its way out: planned here, and for the most part read by workers.

The bytes depend on nothing but the tree: where a chunk ends follows from what ``stat`` saw, by the
rules of ``Layer``, whoever lays a member. A file thread lays what a worker cannot do alone: members
that go through several chunks, files with several names, and whatever is out of the ordinary.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Executor
from contextlib import closing, suppress
from typing import Any, Final, NamedTuple

from aiocompress.formats.tar.blocks import Blocks
from aiocompress.formats.tar.header import BLOCK, END, LONGEST_LINK, Owner, is_plain
from aiocompress.formats.tar.index import Row
from aiocompress.formats.tar.writer import Layer
from aiocompress.storage.base import OpenedSource, naming
from aiocompress.storage.holes import LEAST, may_have_holes
from aiocompress.storage.reach import Reach
from aiocompress.storage.walk import Entry, Run, Skip
from aiocompress.verbs.archive import planned
from aiocompress.verbs.archive.pack import Packer
from aiocompress.verbs.archive.planned import (
    FOLDER,
    LINK,
    Laid,
    Members,
    Owners,
    Packed,
    Plan,
    Root,
    room_for,
)
from aiocompress.verbs.found import Found
from aiocompress.verbs.jobs import Encoding
from aiocompress.verbs.options import Packing
from aiocompress.verbs.tree import Tree
from aiocompress.workers.job import Extents, Result
from aiocompress.workers.threads import call

_MOST_ROOTS: Final = 16
"""How many folders are held open for workers at once."""


class TreeSource(OpenedSource):
    """Folders and files as one tar.

    :param executor: the file threads, which look at the tree and read it.
    :param by_path: whether workers reach it by its path; see ``Reach``.
    """

    least_chunk = len(END)
    makes_index = True

    def __init__(self, packing: Packing, executor: Executor, *, by_path: bool) -> None:
        self.found = Found()
        self._executor, self._planner = executor, _Planner(packing, by_path=by_path)
        self._blocks = Blocks()
        self.name = self._planner.tree.name

    async def check(self) -> None:
        """Open each of the sources once, so that an error comes before any bytes.

        :raises OSError: one cannot be opened.
        """
        with naming(self.name):
            await call(self._executor, self._planner.tree.check)

    @property
    def is_over(self) -> bool:
        return self._planner.ended

    def leave_out(self, status: os.stat_result) -> None:
        self._planner.tree.leave_out(status)

    async def begin(self, view: memoryview) -> tuple[int, _Unread]:
        """Plan the next chunk, and lay some of it."""
        used, chunk = await call(self._executor, self._planner.plan, view)
        return used, _Unread(chunk, self)

    async def fill(self, view: memoryview) -> int:
        """Lay the next chunk; returns how many bytes it has, 0 at the end."""
        _, unread = await self.begin(view)
        size, about = await call(self._executor, unread.read, view)
        await unread.settle(about)
        return size

    async def readinto(self, view: memoryview) -> int:
        return await self.fill(view)

    async def settle(self, chunk: _Chunk, packed: Packed) -> list[bytes]:
        """Take what has become of a chunk; returns the blocks of the index behind it."""
        for found in (chunk.found, packed.found):
            self.found.add(found)
            self.found.latest = found.latest or self.found.latest
        self._planner.done_with(chunk)
        blocks = self._blocks
        for records in packed.records:
            if blocks.has_room_for(records):
                blocks.extend(records)
            else:
                await call(self._executor, blocks.extend, records)
        if chunk.is_last or blocks.is_full:
            await call(self._executor, blocks.close)
        return blocks.take()

    async def aclose(self) -> None:
        await call(self._executor, self._planner.close)


class _Chunk(NamedTuple):
    """A chunk that was planned."""

    plan: Plan
    found: Found
    """What the planner had to tell."""
    root: int
    """The number of the root that was walked last."""
    is_last: bool
    """Whether all members are planned now."""


class _Unread:
    """What is still to be read of a chunk."""

    def __init__(self, chunk: _Chunk, source: TreeSource) -> None:
        self._chunk, self._source = chunk, source

    def job(self, encoding: Encoding) -> tuple[Callable[..., Result], tuple[Any, ...]]:
        return planned.compress, (encoding, self._chunk.plan)

    def laid(self) -> Extents:
        return self._chunk.plan.laid()

    def read(self, view: memoryview) -> tuple[int, Packed]:
        chunk, packed = planned.read(view, self._chunk.plan)
        if chunk.obj is not view.obj:
            view[: packed.size] = chunk
        return packed.size, packed

    async def settle(self, about: Packed) -> tuple[int, list[bytes]]:
        return about.size, await self._source.settle(self._chunk, about)


class _Planner:
    """Walks a tree, and plans it chunk by chunk; plain blocking code, for a file thread."""

    def __init__(self, packing: Packing, *, by_path: bool) -> None:
        self.ended = False
        """Whether the end marker was planned."""
        self._packing, self._by_path, self._found = packing, by_path, Found()
        # Holes that come after the plan are laid as zeros: their map would not have room.
        self._as_told = packing._replace(roots=(), excluded=None, sparse=False)
        self.tree = Tree(packing, self._found)
        self._rows: list[Row] = []
        self._layer = Layer(self._rows.append)
        self._packer = Packer(self.tree, packing, self._layer, self._found)
        self._steps = self._plan_all()
        self._is_last = False
        self._parts: list[Members | Laid] = []
        self._mark = 0
        """Where the part ends that was begun last."""
        self._members: Members | None = None
        """That part, if it is one for a worker."""
        self._root: Root | None = None
        """What workers open; None: they read nothing of this root."""
        self._number = -1
        self._who: tuple[int, int] | None = None
        self._owner: Owner
        """Who owned the last member."""
        self._owners: Owners = {}
        """Who owns members of this chunk."""
        self._open: deque[tuple[int, int]] = deque()
        """Descriptors for workers, and the numbers of the roots."""

    def plan(self, view: memoryview) -> tuple[int, _Chunk]:
        """Plan the next chunk, and lay in it what workers cannot; returns its size, too."""
        self._layer.begin_chunk(view)
        self._parts, self._mark, self._members = [], 0, None
        self._who, self._owners = None, {}
        was_last = self._is_last
        next(self._steps, None)
        self._end_laid()
        own = frozenset(self.tree.own)
        plan = Plan(self._parts, self._layer.at, self._as_told, own, self._owners)
        is_last = self._is_last and not was_last
        chunk = _Chunk(plan, self._found.take(), self.tree.number, is_last)
        return self._layer.end_chunk(), chunk

    def done_with(self, chunk: _Chunk) -> None:
        """Close what no later chunk needs."""
        while self._open and self._open[0][0] < chunk.root:
            os.close(self._open.popleft()[1])

    def close(self) -> None:
        self._steps.close()
        while self._open:
            os.close(self._open.popleft()[1])

    def _plan_all(self) -> Generator[None]:
        with closing(self.tree.runs()) as items:
            for item in items:
                if self.tree.number != self._number:
                    self._begin_root()
                if isinstance(item, Run):
                    yield from self._plan_run(item)
                elif isinstance(item, Entry) and item.is_folder and item.parent != item.descriptor:
                    yield from self._plan_folder(item)
                else:
                    yield from self._lay(item)  # the root, too
        self._is_last = True
        yield from self._layer.lay_end()
        self.ended = True
        yield

    def _lay(self, entry: Entry | Skip) -> Generator[None]:
        if (steps := self._packer.lay_one(entry)) is not None:
            yield from steps

    def _plan_folder(self, entry: Entry) -> Generator[None]:
        name, base, *_ = entry
        size = self._size_of(os.fstat(entry.descriptor), name + b"/", is_folder=True)
        if size is None or not (yield from self._find_room(BLOCK)):
            yield from self._lay(entry)
        else:
            self._leave(name[: -len(base)], [base], [size], BLOCK)

    def _plan_run(self, run: Run) -> Generator[None]:
        # Nothing else of the main process's work takes as long as this.
        path, parent, rows = run
        layer, names, size_of = self._layer, [row[1:] for row in rows], self._size_at
        sizes = [size_of(path + base, base, parent) for base in names]
        known = [size for size in sizes if size is not None]
        room = sum(map(room_for, known))
        # The same rules as in ``Layer``, by which the packer decides; most runs fit as they are.
        if len(known) == len(sizes) and layer.at + room + BLOCK <= layer.size:
            self._leave(path, names, known, room)
            return
        for row, base, size in zip(rows, names, sizes, strict=True):
            if size is not None:
                room = BLOCK + size + BLOCK if size >= 0 else BLOCK
                if layer.at + room <= layer.size or (yield from self._find_room(room)):
                    self._leave(path, [base], [size], room_for(size))
                    continue
            yield from self._lay(Entry(path + base, base, parent, is_file=row[:1] == b"f"))

    def _size_at(self, name: bytes, base: bytes, parent: int) -> int | None:
        """Return what a plan says of the size of what is no folder; None: it is for the packer."""
        if self._root is None:
            return None
        try:
            status = os.stat(base, dir_fd=parent, follow_symlinks=False)
        except OSError:
            return None  # the packer meets and tells it
        return self._size_of(status, name)

    def _find_room(self, size: int) -> Generator[None, None, bool]:
        """Go on in the next chunk, if a member belongs there; returns whether it has room then."""
        layer = self._layer
        if layer.at + size > layer.size and layer.is_uncut(size):
            yield
        return layer.at + size <= layer.size

    def _size_of(
        self, status: os.stat_result, name: bytes, *, is_folder: bool = False
    ) -> int | None:
        """Return what a plan says of the size of a member; None: it is for the packer."""
        size, mode = status.st_size, status.st_mode
        if self._root is None:
            return None
        if is_folder or not stat.S_ISREG(mode):
            size = FOLDER if is_folder else LINK
            if size == LINK and not _is_short_link(status):
                return None
        # Of files with several names the first must be there, or the others link to nothing.
        elif (
            status.st_nlink > 1
            or (size >= LEAST and may_have_holes(status))
            or self.tree.is_own(status)
        ):
            return None
        who = status.st_uid, status.st_gid
        if who != self._who:
            self._who, self._owner = who, self._packer.owner(*who)
            self._owners[who] = self._packer.names_of(*who)
        return size if is_plain(name, size, status.st_mtime, self._owner) else None

    def _leave(self, path: bytes, names: list[bytes], sizes: list[int], room: int) -> None:
        """Leave members of a folder to a worker; they take ``room`` bytes."""
        layer, members = self._layer, self._members
        if members is None or layer.at != self._mark or members.path != path:
            self._end_laid()
            assert self._root is not None
            members = self._members = Members(self._root, path, [], [])
            self._parts.append(members)
        members.names.extend(names)
        members.sizes.extend(sizes)
        layer.at = self._mark = layer.at + room

    def _begin_root(self) -> None:
        """Hold the root that is walked now open for workers, if they can do something with it."""
        tree = self.tree
        self._number, self._root, self._members = tree.number, None, None
        by_worker = self._packing.clamp is not None or not self._packing.xattrs
        if by_worker and tree.folder >= 0 and len(self._open) < _MOST_ROOTS:
            with suppress(OSError):  # too many are open: the packer makes do with less
                descriptor = os.dup(tree.folder)
                self._open.append((tree.number, descriptor))
                reach = Reach.of(descriptor, by_path=self._by_path)
                self._root = Root(tree.root, tree.cut, reach)

    def _end_laid(self) -> None:
        """Tell of what the packer has laid since the last part."""
        size = self._layer.at - self._mark
        if size or self._rows:
            self._parts.append(Laid(size, self._rows.copy()))
            self._rows.clear()
            self._mark = self._layer.at


def _is_short_link(status: os.stat_result) -> bool:
    """Whether it is a symbolic link that a header can hold; those of /proc have a size of 0."""
    return stat.S_ISLNK(status.st_mode) and 0 < status.st_size <= LONGEST_LINK
