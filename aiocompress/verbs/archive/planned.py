"""A chunk of a tree as it was planned, and what a worker does with the plan.

The main process knows of most files only their names and what ``stat`` saw: their sizes say where
each member stands in the chunk, and where the chunk ends. A worker opens and reads them, lays them
where the plan has room for them, and compresses the chunk. What the main process has laid itself
stands in the chunk already.

A tree changes meanwhile. What is smaller than planned, or gone, moves all that follows. What is
larger is packed whole if there is room for it in the chunk, and else cut. A worker that dies must
leave to the next one what the main process has laid: so as soon as a member cannot stand within its
room, the worker goes on in memory of its own.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator
from contextlib import ExitStack
from itertools import accumulate
from typing import Final, NamedTuple, TypeAlias

from aiocompress.formats.base import STREAM
from aiocompress.formats.tar.header import BLOCK, header, padding
from aiocompress.formats.tar.index import FILE, Records, Row
from aiocompress.formats.tar.writer import Layer
from aiocompress.storage.chain import Chain
from aiocompress.storage.reach import OURS, Reach
from aiocompress.storage.walk import FILE_FLAGS, Entry, Skip
from aiocompress.verbs.archive.pack import Packer
from aiocompress.verbs.entries import Names
from aiocompress.verbs.found import Found
from aiocompress.verbs.jobs import Encoding
from aiocompress.verbs.options import Packing
from aiocompress.workers.job import Extents, Place, Result, deliver, views

FOLDER: Final = -1
LINK: Final = -2
"""In the place of a file's size."""
_SECOND: Final = 1_000_000_000
_MOST_RECORDS: Final = 1 << 15
"""They have fewer owners than a block of the index may have."""


Owners: TypeAlias = dict[tuple[int, int], tuple[str, str]]
"""What users and groups are called, by their numbers: other machines may know other names."""


class Root(NamedTuple):
    """A folder that is packed: how the user calls it, and how a worker reaches it."""

    path: bytes
    cut: int
    """Bytes before the names of what is in it."""
    reach: Reach


class Members(NamedTuple):
    """Members of one folder that a worker lays, one behind the other.

    ``path`` stands before their names; ``sizes`` are those of their contents. Each of them has one
    header block.
    """

    root: Root
    path: bytes
    names: list[bytes]
    sizes: list[int]

    @property
    def size(self) -> int:
        """Bytes that they take in the chunk."""
        return sum(map(room_for, self.sizes))


class Laid(NamedTuple):
    """Bytes that stand in the chunk already, and the members that begin in them."""

    size: int
    rows: list[Row]


class Plan(NamedTuple):
    """What stands in a chunk: its parts in order."""

    parts: list[Members | Laid]
    size: int
    """Bytes of all parts."""
    packing: Packing
    own: frozenset[tuple[int, int]]
    """Device and inode of the files that the output goes to."""
    owners: Owners

    def laid(self) -> Extents:
        """Return where bytes stand in the chunk already."""
        sizes = [part.size for part in self.parts]
        starts = accumulate(sizes, initial=0)
        extents = zip(starts, sizes, self.parts, strict=False)
        return [(start, size) for start, size, part in extents if isinstance(part, Laid) and size]


class Packed(NamedTuple):
    """What became of a plan: bytes of the chunk, its members, and what is to be told."""

    size: int
    records: list[Records]
    found: Found


def room_for(size: int) -> int:
    """Return how many bytes a member takes, from the size of its content."""
    return BLOCK + size + -size % BLOCK if size > 0 else BLOCK


def compress(place: Place, encoding: Encoding, plan: Plan) -> Result:
    """Read what is missing in a chunk, and compress it into one frame.

    :returns: ``about`` is a ``Packed``; ``size`` is ``STREAM`` if the tree is out of reach.
    :raises OSError: something cannot be read, and the caller wants the error.
    """
    data, room = views(place)
    try:
        chunk, packed = read(data, plan)
    except Unreachable:
        return Result(STREAM)
    return deliver(encoding.apply(chunk), room)._replace(about=packed)


class Unreachable(Exception):  # noqa: N818 - no error: the main process reads the chunk instead
    """A root is out of reach."""


def read(view: memoryview, plan: Plan) -> tuple[memoryview, Packed]:
    """Read what is missing in a chunk.

    :param view: the chunk, as far as it has been laid.
    :returns: the chunk, in memory of its own if the tree has changed.
    :raises Unreachable: a root is out of reach.
    :raises OSError: something cannot be read, and the caller wants the error.
    """
    found, layer = Found(), _Rooms(view, plan.size)
    names = Names(plan.packing.on_error, found, set(plan.own))
    packer = _Rest(names, plan.packing, layer, found)
    packer.owners = plan.owners
    with ExitStack() as stack:
        chains: dict[Root, Chain[bytes]] = {}
        for number, part in enumerate(plan.parts):
            if isinstance(part, Laid):
                layer.keep(part)
                continue
            if part.root not in chains:
                chains[part.root] = _open(part.root)
                stack.callback(chains[part.root].close)
            if isinstance(plan.parts[min(number + 1, len(plan.parts) - 1)], Laid):
                layer.free_to(part.size)
            packer.lay_part(part, chains[part.root])
        starts = range(0, len(layer.rows), _MOST_RECORDS)
        records = [Records.of(layer.rows[start : start + _MOST_RECORDS]) for start in starts]
        return layer.chunk, Packed(layer.at, records, found)


def _open(root: Root) -> Chain[bytes]:
    try:
        return Chain(root.reach, b"/")
    except OSError as error:
        if error.errno in OURS or os.getpid() == root.reach.process:
            raise OSError(error.errno, error.strerror, os.fsdecode(root.path)) from None
        raise Unreachable from error


class _Rooms(Layer):
    """Lays the members of one chunk within the room that the plan has for each."""

    def __init__(self, chunk: memoryview, planned: int) -> None:
        self.rows: list[Row] = []
        """The members that were laid, and those that begin in what stood there."""
        super().__init__(self.rows.append)
        self.begin_chunk(chunk)
        self._chunk = chunk
        self._planned, self._end = planned, 0
        """Where the chunk ends, and where the member ends that comes next, as planned."""
        self._free = len(chunk)
        """Up to where nothing has been laid before."""
        self._moved = False

    @property
    def chunk(self) -> memoryview:
        """What has been laid."""
        return self._view[: self.at]

    def keep(self, laid: Laid) -> None:
        """Go on behind what stands there already."""
        start, self._end = self._end, self._end + laid.size
        self._free = len(self._chunk)
        if self.at != start:
            self._move()
        if self._moved:
            self._view[self.at : self.at + laid.size] = self._chunk[start : self._end]
        self.at += laid.size
        self.rows += laid.rows

    def free_to(self, size: int) -> None:
        """Say that no more than the next ``size`` bytes are free."""
        self._free = self._end + size

    def expect(self, size: int) -> None:
        """Say of what size the content of the member was planned that comes next."""
        self._end += BLOCK + size + -size % BLOCK if size > 0 else BLOCK

    def room(self, head: bytes) -> memoryview | None:
        start, size = self.at + len(head), self._pending[3]
        if not self._admits(len(head) + size + padding(size), beyond=not padding(size)):
            return None
        return self._view[start : start + size + 1]

    def room_as_planned(self, size: int) -> memoryview | None:
        """Return the room of a file's content behind one block, and a byte more; see ``room``.

        None: the file cannot stand where it was planned, or what is behind it has been laid.
        """
        start = self.at + BLOCK
        end = start + size
        if self._moved or end + -size % BLOCK > self._end or end >= self._free:
            return None
        return self._view[start : end + 1]

    def place_head(self, head: bytes) -> bool:
        fits = self._admits(len(head))
        if fits:
            self.place(head)
        return fits

    def _admits(self, size: int, *, beyond: bool = False) -> bool:
        """Whether a member has room; ``beyond``: the byte behind it is written, too."""
        end = self.at + size
        if end > self._end or end + beyond > self._free:
            self._move()
        return not self._moved or end + self._planned - self._end <= len(self._chunk)

    def _move(self) -> None:
        """Go on in memory of its own, with a byte more, in which growth shows."""
        if not self._moved:
            view = memoryview(bytearray(len(self._chunk) + 1))
            view[: self.at] = self._view[: self.at]
            self._view, self._moved = view, True


_Outcome: TypeAlias = Generator[None] | None


class _Rest(Packer):
    """Lays what is missing in a chunk, and never goes on in another one."""

    _writer: _Rooms
    _size = FOLDER
    """The size of the file that is laid, as planned."""
    _gone: bytes | None = None
    """What the names of all begin with that was in a folder which is none any more."""
    owners: Owners
    """Who owned the members when they were planned."""

    def names_of(self, uid: int, gid: int) -> tuple[str, str]:
        known = self.owners.get((uid, gid))
        return super().names_of(uid, gid) if known is None else known

    def lay_part(self, part: Members, chain: Chain[bytes]) -> None:
        """Lay members."""
        root, path, names, sizes = part
        self.tree.root, self.tree.cut = root.path, root.cut
        if self._gone is not None and path.startswith(self._gone):
            for size in sizes:
                self._writer.expect(size)
            return
        try:
            parent = chain.at(path[root.cut : -1])
        except OSError as error:
            parent, failure = -1, error
        for base, size in zip(names, sizes, strict=True):
            self._size = size
            self._writer.expect(size)
            if parent < 0:
                self.lay_one(Skip(path + base, failure))
            elif size == FOLDER:
                self.lay_one(self._folder(path + base, base, parent, chain))
            elif size < 0 or not self._lay_plain(path + base, base, parent, size):
                self.lay_one(Entry(path + base, base, parent, is_file=size >= 0))

    def _folder(self, name: bytes, base: bytes, parent: int, chain: Chain[bytes]) -> Entry | Skip:
        """Open a folder, whose own parent stays open."""
        try:
            descriptor = chain.at(name[self.tree.cut :])
        except OSError as error:
            self._gone = name + b"/"
            is_other = error.errno in {errno.ENOTDIR, errno.ELOOP}
            return Entry(name, base, parent) if is_other else Skip(name, error)
        return Entry(name, base, parent, is_folder=True, descriptor=descriptor)

    def _lay_plain(self, name: bytes, base: bytes, parent: int, size: int) -> bool:
        """Lay a file that is as it was planned, in few steps; False: it is not, or has no room.

        Nothing else that is done for each file takes a worker as long.
        """
        writer = self._writer
        room = writer.room_as_planned(size)
        if room is None:
            return False
        try:
            descriptor = os.open(base, FILE_FLAGS, dir_fd=parent)
        except OSError:
            return False
        try:
            status = os.fstat(descriptor)
            if (
                status.st_size != size
                or status.st_nlink != 1
                or not stat.S_ISREG(status.st_mode)
                or (status.st_dev, status.st_ino) in self.tree.own
            ):
                return False
            who = self.owner(status.st_uid, status.st_gid)
            mode, time = self._mode_and_time(status, FILE)
            head = header(name, b"0", mode, size, time // _SECOND, b"", who)
            if len(head) != BLOCK:
                return False
            if (done := os.readv(descriptor, [room])) != size:
                self._finish_short(name, descriptor, room, done)
        except OSError as error:
            self.tree.skip(name, error)
            return True
        finally:
            os.close(descriptor)
        writer.place_row(head, (name, FILE, 1, size, mode, time, who.row, b""))
        self._found.latest = name
        self._found.files += 1
        return True

    def _lay_large(
        self, entry: Entry, descriptor: int, status: os.stat_result, head: bytes
    ) -> _Outcome:
        """Cut a file that has grown."""
        if 0 <= self._size < status.st_size:
            head = self._head(entry.name, status, FILE, size=self._size)
            if (room := self._writer.room(head)) is not None:
                self._lay_small(entry.name, descriptor, status, head, room)
                return None
        raise self._changed()

    def _lay_long_head(self, head: bytes) -> _Outcome:  # noqa: ARG002
        raise self._changed()

    def _changed(self) -> OSError:
        return OSError(errno.ESTALE, "changed while it was packed, and has no room any more")
