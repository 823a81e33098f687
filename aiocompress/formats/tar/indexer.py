"""The index of a tar that others wrote, made while its bytes pass by.

The archive stays as it is, so nothing can be put right here: where a header is odd, where a member
is more than the index can say, or where the end is not plain, there is no index. A reader compares
each record with its header anyway; it must never find one that differs.
"""

from __future__ import annotations

from typing import Final

from aiocompress.errors import AiocompressError, FormatError
from aiocompress.formats.tar import fields, pax
from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import BLOCK, END, PLAIN, padding, to_bytes
from aiocompress.formats.tar.index import DEVICES, LETTERS, MOST_ZEROS, Records, Row
from aiocompress.formats.tar.plain import long_named, stretch
from aiocompress.model import MIB, Buffer, Member

_BEFORE: Final = b"xXLKg"
_LARGEST_HEAD: Final = MIB
_LEVEL: Final = 1
"""Takes an eighth of the time that a packed folder's blocks take, for 13 % more bytes."""
_FARTHEST: Final = 1 << 61


class Indexer:
    """Makes the blocks of an index: ``feed`` it the archive, and ``take`` them.

    They are worth something only if the archive ``is_whole`` in the end.

    The mirror of ``Writer``, which lays the members that it lists.
    """

    def __init__(self) -> None:
        self.gave_up = False
        """Whether the archive gets no index."""
        self._closed: list[bytes] = []
        self._records = Records()
        self._next = self._fed = 0
        """Raw offsets of the next header, and of what is fed next."""
        self._head = b""
        """The beginning of the next headers, which were cut, or are several blocks."""
        self._ended = False
        self._dotted: set[bool] = set()

    @property
    def is_whole(self) -> bool:
        """Whether the archive has come to its end, and all of it is in the index."""
        left = self._fed - self._next
        is_an_end = len(END) <= left <= MOST_ZEROS and left % BLOCK == 0
        return self._ended and not self.gave_up and is_an_end

    def feed(self, data: Buffer) -> None:
        """Take the next bytes of the archive."""
        if not self.gave_up:
            try:
                self._take(memoryview(data))
            except AiocompressError:
                self.gave_up = True
        if self.gave_up:
            self._records, self._head = Records(), b""
            self._closed = []
        elif self._records.is_full or (self._ended and len(self._records)):
            self._close_block()

    def take(self) -> list[bytes]:
        """Return the blocks that are complete, once."""
        blocks, self._closed = self._closed, []
        return blocks

    def _close_block(self) -> None:
        # Lookups take "./a" for "a", but not where a file may have both.
        names = self._records.names
        if min(names) < b"/":
            self._dotted.update((name + b"/").startswith(b"./") for name in names)
        else:  # as nearly always: none has one
            self._dotted |= {False}
        self.gave_up |= len(self._dotted) > 1
        self._closed.append(self._records.pack(_LEVEL))
        self._records = Records(self._records.end)

    def _take(self, view: memoryview) -> None:
        start = self._fed
        self._fed += len(view)
        while not self._ended and self._next + len(self._head) < self._fed:
            if not self._head:
                self._take_plain(view, start)
            if not self._ended and self._next < self._fed:
                self._take_head(view[self._next + len(self._head) - start :])
        if self._ended and any(view[max(0, self._next - start) :]):
            self.gave_up = True

    def _take_plain(self, view: memoryview, start: int) -> None:
        """Take members one after another, while the headers of each are one whole plain block."""
        at, size = self._next - start, len(view)
        while (members := stretch(view, at, min(size, at + self._records.room))).length:
            self._records.add_stretch(members)
            at += members.length
        self._next = start + at

    def _take_head(self, view: memoryview) -> None:
        """Take the headers of a member that are not one plain block, as far as they are here."""
        while (missing := missing_of(self._head)) and view:
            self._head += view[:missing]
            view = view[missing:]
        if missing:
            return
        head, self._head = self._head, b""
        if head == tar.ZEROS:
            self._ended = True
            return
        row = long_named(head) or described(head)
        if not self._records.has_room(row[0], row[7]):
            self._close_block()
        self._records.add(*row)
        self._next = self._records.end
        if self._next > _FARTHEST:
            self.gave_up = True


def described(head: bytes) -> Row:
    """Return what the index stores of the member that these headers are of.

    :raises AiocompressError: they are damaged, or say more than the index can.
    """
    member = tar.parse(head)
    _check(member, head)
    kind, link = LETTERS[member.kind], to_bytes(member.link)
    if kind in DEVICES:
        link = b"%d,%d" % member.device
    owner = member.uid, member.gid, to_bytes(member.user), to_bytes(member.group)
    about = len(head) // BLOCK, member.size, member.mode, member.mtime_ns, owner, link
    return to_bytes(member.name), kind, *about


def missing_of(head: bytes) -> int:
    """Return how many bytes are missing of headers, as far as these show; 0: they are whole.

    :raises AiocompressError: they are damaged, or too long.
    """
    at = 0
    while len(head) >= at + BLOCK:
        block = head[at : at + BLOCK]
        at += BLOCK
        if block[156] not in _BEFORE:
            return 0
        size = fields.size_of(block, at)
        at += size + padding(size)
        if at > _LARGEST_HEAD:
            raise FormatError("headers that are too long", offset=0)
    return at + BLOCK - len(head)


def _check(member: Member, head: bytes) -> None:
    """Make sure that a record can say all that a member's headers say.

    :raises AiocompressError: it cannot.
    """
    texts = member.name, member.link, member.user, member.group
    own = head[-BLOCK:]
    if (
        own[156] not in PLAIN
        or (member.kind != "file" and fields.size_of(own, 0))
        or member.unreadable
        or member.extents is not None
        or member.name[:1] in {"", "/"}
        or "\0" in "".join(texts)
        or member.data_offset != len(head)
        or _is_for_all(head)
    ):
        raise FormatError("a member that the index has no words for", offset=0)


def _is_for_all(head: bytes) -> bool:
    """Whether one of these headers says something of all members that follow."""
    at, records = 0, pax.Records()
    while head[at + 156] in _BEFORE:
        size = fields.size_of(head[at : at + BLOCK], at)
        if head[at + 156] == tar.GLOBAL:
            records.decode(head[at + BLOCK : at + BLOCK + size], at, for_all=True)
        at += BLOCK + size + padding(size)
    return bool(records.numbers or records.texts or records.unreadable)
