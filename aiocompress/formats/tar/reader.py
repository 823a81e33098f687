"""tar archives of any writer, read: ``Reader`` is fed bytes and returns members and content.

POSIX.1-2008 ustar and pax, GNU tar's own formats, and headers of the seventh edition. Tools
differ on what damaged or hostile headers mean; where GNU tar and bsdtar would not list the same
members, this reader refuses.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final, TypeAlias

from aiocompress.errors import (
    AiocompressError,
    CorruptError,
    FormatError,
    LimitError,
    Lines,
    TruncatedError,
)
from aiocompress.formats.tar import fields, header, sparse
from aiocompress.formats.tar.header import BLOCK, END, PLAIN, padding
from aiocompress.formats.tar.pax import Records
from aiocompress.model import DEFAULT_MAX_METADATA, KIB, Buffer, Member

Steps: TypeAlias = Generator[Member | memoryview | None, None, None]

_NOTHING: Final = memoryview(b"")
ZEROS: Final = END[:BLOCK]
_PART: Final = 64 * KIB
_LARGEST_EMPTY: Final = 20 * BLOCK
"""What GNU tar and bsdtar write where there is nothing to archive: a record of zeros."""
_SKIPPING: Final = "on_error='skip' restores it"
_BEFORE: Final = b"xXLKA"
_LONG: Final = {b"L"[0]: b"path", b"K"[0]: b"linkpath"}
_PAX: Final = b"xX"
GLOBAL, _CONTINUED = b"gM"
"""Types: a global pax header; the rest of a file from another volume."""


def parse(data: Buffer) -> Member:
    """Return the member whose headers these bytes are, all of them; its ``offset`` is 0.

    :raises AiocompressError: as ``Reader.feed``, or they are not whole.
    """
    if len(data) == BLOCK and (block := bytes(data))[156] in PLAIN:
        return header.parse(block, 0, BLOCK)
    reader = Reader(max_metadata=len(data))
    for item in reader.feed(data):
        if isinstance(item, Member):
            return item
    raise TruncatedError("headers without a member", offset=0)


def is_archive(head: bytes) -> bool:
    """Whether a file that begins with these 512 bytes is a tar, which may be an empty one."""
    if len(head) < BLOCK or head == ZEROS:
        return len(head) == BLOCK
    try:
        fields.check_sum(head, 0)
    except AiocompressError:
        return False
    return True


class Reader:
    """A tar archive to members and content: ``feed`` all of it, then ``finish``.

    Members come as the archive has them: one may lack a name, or have ``unreadable`` attributes.
    ``warnings`` tells what the reader left out, as text with the raw offset; at most 1,000.

    :param max_metadata: bytes of names, attributes and sparse maps allowed before one member.
    :param content: whether content is given out at all.
    """

    def __init__(self, *, max_metadata: int = DEFAULT_MAX_METADATA, content: bool = True) -> None:
        self.warnings = Lines()
        self._gives_content = content
        self._max_metadata = max_metadata
        self._metadata = 0
        self._view = _NOTHING
        self._at = 0
        self._start = 0
        """The raw offset of the first byte of ``_view``."""
        self._ended = False
        self._error: AiocompressError | None = None
        self._global: Records | None = None
        """Records of global headers; None: the archive has had no pax header so far."""
        self._steps = self._parse()

    def feed(self, data: Buffer) -> Iterator[Member | memoryview]:
        """Take the next bytes; yields members as soon as their headers are whole.

        The ``stored_size`` bytes of each follow it, as views of ``data`` that are valid until the
        next feed. Take everything before feeding again.

        :raises CorruptError: a header is damaged there, or tools would disagree on it.
        :raises FormatError: the archive, or a member, is of a kind that cannot be read.
        :raises LimitError: there is more metadata than ``max_metadata``.
        """
        self._check_taken()
        self._start += self._at
        self._view, self._at = memoryview(data), 0
        return self._run()

    def members(self, data: Buffer) -> tuple[list[Member], AiocompressError | None]:
        """Take the next bytes as ``feed`` does; returns the members in them, and their error."""
        found: list[Member] = []
        try:
            found.extend(item for item in self.feed(data) if isinstance(item, Member))
        except AiocompressError as error:
            return found, error
        return found, None

    def finish(self) -> None:
        """Declare that no bytes follow.

        :raises TruncatedError: the archive is cut off.
        """
        self._check_taken()
        self._ended = True
        for _ in self._run():
            raise AssertionError

    def _check_taken(self) -> None:
        if self._error is None and (self._ended or self._at < len(self._view)):
            raise ValueError("take all that was fed before feeding more, and finish once")

    def _run(self) -> Iterator[Member | memoryview]:
        if self._error is not None:
            raise self._error
        try:
            for item in self._steps:
                if item is None:
                    self._start += self._at
                    self._view, self._at = _NOTHING, 0  # the caller may reuse its memory
                    break
                yield item
        except AiocompressError as error:
            self._error = error
            raise

    def _parse(self) -> Steps:
        before: int | None = None
        while True:
            start, end = self._start + self._at, self._at + BLOCK
            if end <= len(self._view):
                block = bytes(self._view[self._at : end])
                self._at = end
            elif (yield from self._is_more()):
                block = yield from self._take(BLOCK)
            else:
                raise TruncatedError(
                    "the archive ends without its end marker",
                    offset=self._offset,
                    hint="what stands before is whole, but more may have followed; " + _SKIPPING,
                )
            if block == ZEROS:
                yield from self._rest(start)
                return
            if not start and not is_archive(block):
                raise FormatError(
                    "holds no tar archive, or one whose first header is damaged",
                    offset=0,
                    hint="decompress_file gives what a compressed file holds",
                )
            if block[156] == GLOBAL:  # the next member begins with it
                before = start if before is None else before
                yield from self._for_all(block)
                continue
            begin, before = start if before is None else before, None
            if block[156] in PLAIN:
                member = header.parse(block, begin, start + BLOCK, self._global)
                yield member
                size = member.stored_size + padding(member.stored_size)
                if not self._gives_content and self._at + size <= len(self._view):
                    self._at += size
                elif size:
                    yield from self._content(member)
            else:
                yield from self._extended(block, begin)

    def _for_all(self, block: bytes) -> Generator[None, None, None]:
        """Read a global header, which is valid until the next one."""
        self._metadata = 0
        offset = self._offset
        body = yield from self._body(block)
        self._global = Records() if self._global is None else self._global
        self._global.decode(body, offset, for_all=True)

    def _extended(self, block: bytes, start: int) -> Steps:
        """Read a member with headers before it, or of a type that is not plain."""
        self._metadata = 0
        records = Records() if self._global is None else self._global.copy()
        block = yield from self._before(block, records)
        flag = block[156]
        if block == ZEROS or flag == GLOBAL:
            raise CorruptError("an extended header without its member", offset=start)
        member = header.parse(block, start, self._offset, records)
        if flag == _CONTINUED:
            raise FormatError("the rest of a file from another volume", offset=start)
        if flag == header.SPARSE or records.is_sparse:
            member = yield from sparse.expand(member, block, records, self._map_block)
        size = member.stored_size + padding(member.stored_size)
        if flag == header.DUMP:  # its content is a list of names
            yield member._replace(size=0, stored_size=0, data_offset=member.data_offset + size)
            yield from self._skip(size)
        elif flag == header.LABEL:
            self._leave_out(member)
        else:
            yield member
            yield from self._content(member)

    def _before(self, block: bytes, records: Records) -> Generator[None, None, bytes]:
        """Read headers that describe the next one; returns the first that does not."""
        long: dict[bytes, bytes] = {}
        seen: set[int] = set()
        while (flag := block[156]) in _BEFORE:
            offset = self._offset
            if flag in seen:
                raise CorruptError("two extended headers for one member", offset=offset - BLOCK)
            seen.update(_PAX if flag in _PAX else (flag,))
            body = yield from self._body(block)
            if flag in _PAX:
                self._global = Records() if self._global is None else self._global
                records.decode(body, offset)
            elif flag in _LONG:
                long[_LONG[flag]] = fields.until_nul(body)
            else:
                self._warn(f"a Solaris access list at byte {offset - BLOCK} was left out")
            block = yield from self._take(BLOCK)
        if long.keys() & records.texts or (b"path" in long and records.is_sparse):
            raise CorruptError("two long names for one member", offset=self._offset - BLOCK)
        records.texts.update(long)
        return block

    def _body(self, block: bytes) -> Generator[None, None, bytes]:
        size = fields.size_of(block, self._offset - BLOCK)
        self._count(size)
        padded = yield from self._take(size + padding(size))
        body = padded[:size]
        if block[156] in _LONG and fields.until_nul(padded) != fields.until_nul(body):
            # GNU tar would read on, up to the next NUL.
            raise CorruptError("a long name that does not end", offset=self._offset - len(padded))
        return body

    def _map_block(self) -> Generator[None, None, bytes]:
        self._count(BLOCK)
        return (yield from self._take(BLOCK))

    def _count(self, size: int) -> None:
        self._metadata += size
        if self._metadata > self._max_metadata:
            raise LimitError(
                f"{self._metadata} bytes of names, attributes or maps before a member",
                offset=self._offset,
                hint=f"{self._max_metadata} are allowed: raise max_metadata",
            )

    def _leave_out(self, label: Member) -> None:
        if label.size:
            raise CorruptError(
                "a volume label with a size", offset=label.offset, hint=header.DISAGREE
            )
        self._warn(f"{label.name!r} at byte {label.offset} is of type 'V'; it was left out")

    def _rest(self, start: int) -> Steps:
        """Skip what follows the end marker, which begins at ``start``; warn unless it is zeros.

        :raises CorruptError: all began with zeros, and more of them than an empty archive has.
        """
        while (yield from self._is_more()):
            data = bytes(self._view[self._at : self._at + _PART])
            zeros = len(data) - len(data.lstrip(b"\0"))
            self._at += zeros
            if not start and self._offset > _LARGEST_EMPTY:
                raise CorruptError(
                    "an archive that begins with nothing but zeros",
                    offset=0,
                    hint=f"an empty one has {_LARGEST_EMPTY:,} of them at most: this one is lost",
                )
            if zeros < len(data):
                where = f"a lone zero block at byte {start}; what follows it"
                if self._offset >= start + len(END):
                    where = f"data behind the end of the archive, at byte {self._offset},"
                self._warn(f"{where} was not read")
                break
        while (yield from self._is_more()):
            self._at = len(self._view)

    @property
    def _offset(self) -> int:
        return self._start + self._at

    def _is_more(self) -> Generator[None, None, bool]:
        """Wait for a byte; returns whether there is one."""
        while self._at == len(self._view) and not self._ended:
            yield None
        return self._at < len(self._view)

    def _take(self, size: int) -> Generator[None, None, bytes]:
        taken = bytearray()
        while len(taken) < size:
            if not (yield from self._is_more()):
                raise TruncatedError("the archive is cut off in a header", offset=self._offset)
            before = len(taken)
            taken += self._view[self._at : self._at + size - before]
            self._at += len(taken) - before
        return bytes(taken)

    def _content(self, member: Member) -> Steps:
        left = member.stored_size
        while left:
            at = self._at
            size = min(left, len(self._view) - at)
            self._at += size
            left -= size
            if size:
                if self._gives_content:
                    yield self._view[at : at + size]
            elif not (yield from self._is_more()):
                reason = f"the archive is cut off in {member.name!r}"
                raise TruncatedError(reason, offset=self._offset)
        yield from self._skip(padding(member.stored_size))

    def _skip(self, size: int) -> Generator[None, None, None]:
        while size:
            if not (yield from self._is_more()):
                raise TruncatedError("the archive is cut off behind content", offset=self._offset)
            step = min(size, len(self._view) - self._at)
            self._at += step
            size -= step

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
