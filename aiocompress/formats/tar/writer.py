"""tar archives, written: members and bytes in, blocks out, chunk by chunk, with the index.

The mirror of ``reader``. Where a chunk ends, a frame ends. So a member that is small beside the
chunk is never cut, and one frame gives it back; a large one flows from chunk to chunk. The bytes,
and where chunks end, depend on nothing but the members and the chunk size.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Final

from aiocompress.formats.tar import sparse
from aiocompress.formats.tar.blocks import Blocks
from aiocompress.formats.tar.header import BLOCK, END, Owner, header, owner, padding, to_bytes
from aiocompress.formats.tar.index import (
    DEVICES,
    DIRECTORY,
    FILE,
    LETTERS,
    Record,
    Row,
    in_range,
)
from aiocompress.model import Buffer, Member

_LINKS: Final = b"12"
_UNCUT: Final = 8
"""A member of at most this fraction of a chunk is not cut."""
_SECOND: Final = 1_000_000_000
_FLAGS: Final = [b"%c" % kind for kind in range(128)]
_ZEROS: Final = bytes(1 << 16)


class Layer:
    """Lays members one after another into the chunks that it is given.

    For each chunk: ``begin_chunk``, members, ``end_chunk``. For each member: ``head``, then either
    ``room`` and ``place``, where all of it fits into the rest of the chunk, or ``open`` and
    ``lay``. Methods that may need several chunks are generators: they yield where one is full.

    :param add: is told of each member, before its content is laid.
    """

    def __init__(self, add: Callable[[Row], object]) -> None:
        self._add = add
        self._view = memoryview(b"")
        self.size = self.at = 0
        """Bytes of the chunk, and how many of them have been laid."""
        self._pending: Row
        """The member whose head was made last."""

    @property
    def has_chunk(self) -> bool:
        """Whether it is in a chunk."""
        return len(self._view) > 0

    def begin_chunk(self, view: memoryview) -> None:
        """Go on in the next chunk."""
        self._view, self.size, self.at = view, len(view), 0

    def end_chunk(self) -> int:
        """Close the chunk; returns how many bytes it has."""
        size = self.at
        self.begin_chunk(memoryview(b""))
        return size

    def head(
        self,
        name: bytes,
        kind: int,
        mode: int,
        size: int,
        mtime_ns: int,
        who: Owner,
        link: bytes = b"",
        xattrs: tuple[tuple[str, bytes], ...] = (),
        runs: Sequence[tuple[int, int]] | None = None,
    ) -> bytes:
        """Return the header blocks of the member that comes next.

        :param link: the target of a link; for a device, its numbers as the index stores them.
        :param runs: of a sparse file, the (offset, size) of what is stored of it, in order: its map
            stands behind the header, and then only these bytes are its content.
        """
        extents, real_size = b"", None
        if runs is not None:
            extents, real_size = sparse.laid(runs, size), size
            size, link = sum(stored for _, stored in runs), b"%d" % size
        blocks = header(
            name + b"/" if kind == DIRECTORY else name,
            _FLAGS[kind],
            mode,
            len(extents) + size,
            mtime_ns // _SECOND,
            link if kind in _LINKS else b"",
            who,
            xattrs,
            real_size,
        )
        blocks += extents
        self._pending = name, kind, len(blocks) // BLOCK, size, mode, mtime_ns, who.row, link
        return blocks

    def head_of(self, member: Member) -> bytes:
        """Return the header blocks of a member; see ``head``."""
        kind = LETTERS[member.kind]
        link = to_bytes(member.link)
        if kind in DEVICES:
            link = b"%d,%d" % member.device
        return self.head(
            to_bytes(member.name),
            kind,
            member.mode,
            member.size if kind == FILE else 0,
            member.mtime_ns,
            owner(member.uid, member.gid, member.user, member.group, member.device),
            link,
            member.xattrs,
        )

    def room(self, head: bytes) -> memoryview | None:
        """Return room for the content of the member, and a byte more, in which growth shows.

        None: the member does not fit into the rest of the chunk.
        """
        start = self.at + len(head)
        end = start + self._pending[3]
        return self._view[start : end + 1] if end + BLOCK <= self.size else None

    def place(self, head: bytes) -> None:
        """Lay the member whose head was made last, and whose content stands in its ``room``."""
        self.place_row(head, self._pending)

    def place_row(self, head: bytes, row: Row) -> None:
        """Lay a member whose content stands there."""
        size = row[3]
        start = self.at + len(head)
        end = start + size
        self._view[self.at : start] = head
        pad = -size % BLOCK
        self._view[end : end + pad] = _ZEROS[:pad]
        self.at = end + pad
        self._add(row)

    def place_with(self, head: bytes, data: Buffer) -> bool:
        """Lay a member and its content, if there is room; returns whether there was."""
        room = self.room(head)
        if room is None:
            return False
        room[: len(data)] = data
        self.place(head)
        return True

    def begin(self, head: bytes) -> Generator[None, None, memoryview | None]:
        """Begin a member that does not fit into the rest of the chunk.

        :returns: its ``room`` in the next chunk, if it is not to be cut. None: its head is laid,
            and its content, with padding, is to be laid next.
        """
        if self.is_uncut(len(head) + self._pending[3] + BLOCK):
            yield
            if (room := self.room(head)) is not None:
                return room
        self.open()
        yield from self.lay(head)
        return None

    def open(self) -> None:
        """Tell of the member; the caller lays its head and content next."""
        self._add(self._pending)

    def place_head(self, head: bytes) -> bool:
        """Lay a member without content, if there is room for it; returns whether there was."""
        fits = self.at + len(head) <= self.size
        if fits:
            self.place(head)
        return fits

    def is_uncut(self, size: int) -> bool:
        """Whether a member of that many bytes belongs into the next chunk, instead of into two."""
        return self.at > 0 and size <= max(self.size // _UNCUT, 1)

    def lay(self, data: Buffer) -> Generator[None]:
        """Lay bytes, in as many chunks as they need."""
        left = memoryview(data)
        while left:
            room = yield from self.rest(len(left))
            room[:] = left[: len(room)]
            self.advance(len(room))
            left = left[len(room) :]

    def lay_zeros(self, size: int) -> Generator[None]:
        """Lay ``size`` zeros, in as many chunks as they need."""
        while size:
            yield from self.lay(_ZEROS[:size])
            size -= min(size, len(_ZEROS))

    def rest(self, size: int) -> Generator[None, None, memoryview]:
        """Return the rest of the chunk, or else the next chunk; at most ``size`` bytes of it."""
        if self.at == self.size:
            yield
        return self._view[self.at : self.at + size]

    def advance(self, size: int) -> None:
        """Take ``size`` bytes that the caller has read into ``rest``."""
        self.at += size

    def lay_end(self) -> Generator[None]:
        """Lay the end marker, in a chunk of its own."""
        if self.at:
            yield
        self._view[: len(END)] = END
        self.at = len(END)


class Writer(Layer):
    """A layer that makes the archive's index, too, and its end.

    :param start: the raw offset of the first member: 0, or where an archive is continued.
    """

    def __init__(self, start: int = 0) -> None:
        self._blocks = Blocks(start)
        super().__init__(self._blocks.add)
        self.ended = False
        """Whether the end marker has been laid."""
        self._laid = start
        """Raw bytes before the chunk."""

    @property
    def is_whole(self) -> bool:
        """Whether all that the index lists has been laid: no member is begun and not ended."""
        return self._laid + self.at == self._blocks.end

    def end_chunk(self) -> int:
        if not self.ended and self._blocks.is_full:
            self._blocks.close()
        size = super().end_chunk()
        self._laid += size
        return size

    def take_index(self) -> list[bytes]:
        """Return the blocks of the index that stand behind the last chunk, once."""
        return self._blocks.take()

    def finish(self) -> Generator[None]:
        """Lay the end marker, in a chunk of its own: an append can cut the file there."""
        self._blocks.close()
        yield from self.lay_end()
        self.ended = True
        yield

    @property
    def offset(self) -> int:
        """Where the next member begins, in raw bytes."""
        return self._blocks.end

    @property
    def latest(self) -> Member:
        """The member that was put into the index last, its content laid."""
        name, *about, mtime_ns, who, link = self._pending
        _, blocks, size, _ = about
        offset = self._blocks.end - BLOCK * blocks - size - padding(size)
        return Record._make((name, link, *about, in_range(mtime_ns), who, offset)).member()
