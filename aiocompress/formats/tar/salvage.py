"""What is left of a tar: ``Salvager`` is fed data and gaps, and returns what was saved and lost.

Without gaps it goes by the headers, as ``reader`` does. Behind a gap it finds the next member by
the index, where that survived; otherwise by the ustar magic and the checksum of headers, and then a
header counts only if nothing suggests that an extended header belonged in front of it.

Where no index covers a place, and the header of a tar file *in* the archive is lost, the members of
that file look like those of the archive. They are ``guessed``, and ``Inner`` takes them back when
an end marker follows that is not the archive's. If that marker is lost too, they stay.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import Final, NamedTuple, TypeAlias

from aiocompress.errors import AiocompressError, CorruptError, LimitError
from aiocompress.formats.tar import fields, header
from aiocompress.formats.tar.directory import Directory, is_of
from aiocompress.formats.tar.header import BLOCK, END, PLAIN, padding, to_bytes
from aiocompress.formats.tar.index import FILE, Record
from aiocompress.formats.tar.reader import GLOBAL, ZEROS, Reader, is_archive
from aiocompress.formats.tar.splicing import CONTEXT, Splices, TornError
from aiocompress.model import DEFAULT_MAX_METADATA, KIB, MIB, Buffer, Member

_MAGIC: Final = re.compile(rb"ustar[\0 ]")
_MAGIC_AT: Final = 257
_PAX_END: Final = re.compile(rb"(?:^|\n)([0-9]+) [^=\n]+=")
_SECOND: Final = 10**9
_LARGEST_GLOBAL: Final = 64 * KIB
_MOST_REJECTED: Final = 64 * MIB


class Hole(NamedTuple):
    """How many bytes are missing here in the content of the last member; None: all the rest."""

    size: int | None


class Lost(NamedTuple):
    """A member of which nothing is left but its record in the index."""

    member: Member


class Unknown(NamedTuple):
    """Something of unknown nature is missing."""

    reason: str


class Inner(NamedTuple):
    """The members since the last gap belong to a tar inside a member."""


Event: TypeAlias = Member | memoryview | Hole | Lost | Unknown | Inner
Steps: TypeAlias = Generator[Event | None, None, None]


class Salvager(Splices):
    """The rest of a tar to members and content: ``feed`` and ``gap`` in order, then ``finish``.

    :param directory: what is left of the index.
    :param size: raw bytes of the whole archive, if known.
    :param max_metadata: bytes of headers allowed before one member.
    """

    def __init__(
        self,
        directory: Directory,
        size: int | None = None,
        max_metadata: int = DEFAULT_MAX_METADATA,
    ) -> None:
        super().__init__()
        self._directory, self._size = directory, size
        self._most = max_metadata + 64 * KIB
        self._told = 0
        """The raw offset before which every member was given out, or named as lost."""
        self._ended = False
        self.guessed = False
        """Whether the last members were found behind a gap, where no index covers them."""
        self._global = b""
        self._steps = self._parse()

    def feed(self, data: Buffer) -> Iterator[Event]:
        """Take the next bytes; the caller takes all events before the next call."""
        self._queue.append(memoryview(data))
        return self._run()

    def gap(self, size: int | None) -> Iterator[Event]:
        """Declare that ``size`` bytes are missing here; None: an unknown number."""
        if size != 0:
            self._gap = (size,)
        return self._run()

    def finish(self) -> Iterator[Event]:
        """Declare that nothing follows."""
        self._over = True
        return self._run()

    def _run(self) -> Iterator[Event]:
        return iter(lambda: next(self._steps, None), None)

    def _parse(self) -> Steps:
        while (state := (yield from self._wait())) != "end":
            if state == "gap":
                self._cross()
                yield from self._resync()
            else:
                yield from self._member()
        yield from self._unmet(max(self._told, self._directory.end))
        if not self._ended and (self._size is None or self._told < self._size - len(END)):
            yield Unknown("the end of the archive is missing, and what stood there")

    def _member(self) -> Steps:
        start = self._raw
        try:
            member = yield from self._headers()
            if member is not None and self._unsure:
                self._check(member, start)
        except TornError:
            return
        except AiocompressError:
            if not self._unsure and not _MAGIC.match(self._pending, _MAGIC_AT):
                yield Hole(0)  # the content before this is too long, or lacks bytes
            self._unread()
            self._raw = None if self._unsure else self._raw
            yield from self._resync()
            return
        self._unsure = False
        if member is None:
            self._ended = True
        else:
            yield from self._give(member, start)

    def _record(self, member: Member, start: int) -> Record | None:
        """Return the index's record of a member that begins there; None: they do not agree."""
        record = self._directory.member_at(start)
        agrees = record is not None and record.offset == start and is_of(record, member)
        return record if agrees else None

    def _check(self, member: Member, start: int | None) -> None:
        if start is not None and self._directory.covers(start) and not self._record(member, start):
            raise CorruptError("the index does not agree")

    def _give(self, member: Member, start: int | None) -> Steps:
        """Give out a member whose headers were just taken."""
        if self.guessed and self._ended:
            yield Inner()  # the end marker was not that of the archive
        if start is not None:
            self.guessed &= not self._directory.covers(start)
            yield from self._lost(start)
            self._told = max(self._told, start + member.end - member.offset)
            record = self._record(member, start)
            if record is not None and record.mtime_ns // _SECOND == member.mtime_ns // _SECOND:
                member = member._replace(mtime_ns=record.mtime_ns)  # headers hold no fractions
        self._ended = False
        yield member
        left_of_headers = member.data_offset - member.offset - len(self._pending)
        behind = left_of_headers + padding(member.stored_size)
        yield from self._content(member.stored_size, behind)

    def _content(self, left: int, behind: int) -> Steps:
        """Give out ``left`` bytes of content, and skip ``behind`` bytes; gaps become holes."""
        while left + behind:
            state = yield from self._wait()
            if state == "data":
                step = min(len(self._view) - self._at, left or behind)
                if left:
                    yield self._view[self._at : self._at + step]
                self._advance(step)
            elif state == "end":
                if left:
                    yield Hole(None)
                return
            else:
                gap = self._cross()
                if left:
                    yield Hole(None if gap is None else min(gap, left))
                if gap is None or gap > left + behind:
                    yield from self._resync()
                    return
                step = gap
            behind -= max(0, step - left)
            left -= min(left, step)

    def _lost(self, end: int) -> Iterator[Lost | Unknown]:
        """Name what stood before ``end`` and was not met, as far as it is known."""
        if not self._ended and not self._directory.covers_all(self._told, end):
            yield Unknown(f"what stood between {self._told} and {end} of the archive is missing")
        yield from self._unmet(end)

    def _unmet(self, end: int) -> Iterator[Lost]:
        for record in self._directory.between(self._told, end):
            yield Lost(record.member())
        self._told = max(self._told, end)

    def _headers(self) -> Generator[None, None, Member | None]:
        """Take the headers of a member; None: a block of zeros.

        :raises AiocompressError: no headers of a member stand there.
        """
        self._pending = bytearray()
        block = yield from self._block()
        if block == ZEROS:
            return None
        if block[156] in PLAIN and not self._global:
            return header.parse(block, 0, BLOCK)
        reader = Reader(max_metadata=self._most)
        shift = len(self._global)
        if shift:
            fields.check_sum(block, 0)
            list(reader.feed(self._global))
        while True:
            for item in reader.feed(block):
                if isinstance(item, Member):
                    self._keep_global()
                    return item._replace(offset=0, data_offset=item.data_offset - shift)
            if len(self._pending) > self._most:
                raise LimitError("too many headers before one member")
            block = yield from self._block()

    def _keep_global(self) -> None:
        """Remember global headers in front of this member: they apply to later ones too."""
        at = 0
        while self._pending[at + 156] == GLOBAL:
            size = fields.size_of(bytes(self._pending[at : at + BLOCK]), at)
            at += BLOCK + size + padding(size)
        if len(self._global) + at <= _LARGEST_GLOBAL:
            self._global += self._pending[:at]

    def _resync(self) -> Steps:
        """Go to where the next member begins.

        No header behind a gap can be trusted: content may look like one (that of a tar in the
        archive does), and one that lost its extended header has a wrong name or size. Content
        under a wrong name is worse than a lost member. So the index decides, where it covers the
        place: it names the member that stands here, even if its beginning is lost. Elsewhere
        ``_seek`` finds candidates, and ``_accepted`` refuses every one that leaves a doubt.
        """
        while True:
            if self._raw is not None and (record := self._directory.member_at(self._raw)):
                yield from self._lost(record.offset)
                if record.offset != self._raw:
                    yield from self._inside(record)
                    return
                if self._unsure:
                    return
            if not (yield from self._seek()):
                if (yield from self._wait()) == "end":
                    return
                self._cross()
                continue
            start, is_first = self._raw, not self._context
            try:
                member = yield from self._headers()
                assert member is not None
                start = self._accepted(member, start, is_first=is_first)
            except TornError:
                continue
            except AiocompressError:
                self._unread()
                continue
            self._unsure = False
            self._raw = None if start is None else start + len(self._pending)
            if start is None:
                yield Unknown(f"something before {member.name!r} is missing")
            self.guessed = start is None or not self._directory.covers(start)
            yield from self._give(member, start)
            return

    def _inside(self, record: Record) -> Steps:
        """Go on in a member whose beginning is lost, and give out the rest of its content."""
        member = record.member()
        self._told = max(self._told, member.end)
        yield from self._skip_headers(member.data_offset)
        at = self._raw
        if at is None or not member.data_offset <= at < member.end or record.kind != FILE:
            yield Lost(member)
            if at is None or at > member.end:
                yield from self._resync()
            return
        done = min(at - member.data_offset, member.stored_size)
        yield member
        yield Hole(done)
        behind = member.end - max(at, member.data_offset + member.stored_size)
        yield from self._content(member.stored_size - done, behind)

    def _skip_headers(self, end: int) -> Generator[None, None, None]:
        """Skip the rest of damaged headers, up to the raw offset ``end``."""
        while self._raw is not None and self._raw < end:
            state = yield from self._wait()
            if state == "gap":
                self._cross()
            elif state == "end":
                return
            else:
                self._advance(min(end - self._raw, len(self._view) - self._at))

    def _seek(self) -> Generator[None, None, bool]:
        """Go to the next candidate for a header; False: a gap, or the end, comes first."""
        while (yield from self._wait()) == "data":
            if len(self._view) - self._at < BLOCK:
                if not (yield from self._join()):
                    return False
                continue
            at = self._candidate()
            end = len(self._view) - BLOCK + 1 if at is None else at
            self._remember(self._view[max(self._at, end - CONTEXT) : end])
            self._advance(end - self._at)
            if at is not None:
                return True
        return False

    def _candidate(self) -> int | None:
        """Return where in the view a header seems to begin; None: nowhere."""
        for match in _MAGIC.finditer(self._view, self._at + _MAGIC_AT):
            at = match.start() - _MAGIC_AT
            block = bytes(self._view[at : at + BLOCK])
            aligned = self._raw is None or not (self._raw + at - self._at) % BLOCK
            if len(block) < BLOCK:
                break
            # Only plain headers are tried after too much was: each of the others costs more.
            is_cheap = block[156] in PLAIN or self._rejected <= _MOST_REJECTED
            if aligned and is_cheap and is_archive(block):
                return at
        return None

    def _accepted(self, member: Member, start: int | None, *, is_first: bool) -> int | None:
        """Return the raw offset of a member that was found; None: it stays unknown.

        :raises CorruptError: the archive has no such member, or its extended header may be lost.
        """
        if start is None and self._directory:
            record = self._directory.find(member)
            if record is None:
                raise CorruptError("not a member of this archive")
            return record.offset
        self._check(member, start)
        if start is None or not self._directory.covers(start):
            self._check_complete(member, is_first=is_first)
        return start

    def _check_complete(self, member: Member, *, is_first: bool) -> None:
        """Refuse a member that seems to have lost its extended header."""
        block = bytes(self._pending[-BLOCK:])
        if len(self._pending) > BLOCK:
            return
        cut = block[99] and to_bytes(member.name).endswith(block[:100])
        cut = cut or (block[256] and to_bytes(member.link) == block[157:257])
        if cut or b"GNUSparseFile" in block[:100] or _is_pax_body(self._context):
            raise CorruptError("the extended header of a member is lost")
        if is_first and (b"?" in block[:100] or not (member.size or member.kind != "file")):
            raise CorruptError("the extended header of a member may be lost")


def _is_pax_body(before: bytes) -> bool:
    """Whether bytes end like the body of a pax header: with a whole record, and padding."""
    text = before.rstrip(b"\0")
    for match in _PAX_END.finditer(text):
        if text.endswith(b"\n") and int(match[1][-9:]) == len(text) - match.start(1):
            return True
    return False
