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
from aiocompress.formats.tar import doubt, fields, header
from aiocompress.formats.tar.directory import Directory, is_of
from aiocompress.formats.tar.header import BLOCK, END, PLAIN, padding, to_text
from aiocompress.formats.tar.index import FILE, Record
from aiocompress.formats.tar.reader import GLOBAL, ZEROS, Reader, is_archive
from aiocompress.formats.tar.splicing import CONTEXT, Splices, TornError
from aiocompress.model import DEFAULT_MAX_METADATA, KIB, MIB, Buffer, Member

_MAGIC: Final = re.compile(rb"ustar[\0 ]")
_MAGIC_AT: Final = 257
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
        self._has_size = False
        """Whether an extended header says the size of the last member: nothing vouches for it."""
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
        except TornError:
            return
        except AiocompressError:
            if not self._unsure and not _MAGIC.match(self._pending, _MAGIC_AT):
                yield Hole(0)  # the content before this is too long, or lacks bytes
            is_there = yield from self._refuse()
        else:
            if member is None or not self._unsure or not self._is_contradicted(member, start):
                self._unsure = False
                self._ended |= member is None
                yield from () if member is None else self._give(member, start)
                return
            self._unread()
            is_there = False
        if self._unsure and not is_there:
            self._raw = None
        yield from self._resync()

    def _record(self, member: Member, start: int) -> Record | None:
        """Return the index's record of a member that begins there; None: they do not agree."""
        record = self._directory.member_at(start)
        agrees = record is not None and record.offset == start and is_of(record, member)
        return record if agrees else None

    def _is_contradicted(self, member: Member, start: int | None) -> bool:
        """Whether the index knows that no such member begins there."""
        covered = start is not None and self._directory.covers(start)
        return covered and self._record(member, start or 0) is None

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
                data = self._view[self._at : self._at + step]
                if left:
                    yield data
                elif self._has_size and bytes(data).strip(b"\0"):
                    yield Hole(0)  # it goes on where padding should be: the size is damaged
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
        self._has_size = False
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
                    self._has_size = doubt.check_records(bytes(self._pending), item)
                    return item._replace(offset=0, data_offset=item.data_offset - shift)
            if len(self._pending) > self._most:
                raise LimitError("too many headers before one member")
            block = yield from self._block()

    def _refuse(self) -> Generator[Event | None, None, bool]:
        """Put back headers of which none counts; returns whether a member stands there.

        That is so where an extended header is damaged: the one behind it is passed, too, for by
        itself it would have a wrong name or size.
        """
        end = doubt.extended_size(bytes(self._pending))
        if 0 < end <= self._most:
            try:
                while len(self._pending) < end + BLOCK:
                    yield from self._block()
            except TornError:
                return True
            block = bytes(self._pending[end : end + BLOCK])
            if doubt.is_sound(block):
                name = to_text(fields.until_nul(block[:100]))
                yield Unknown(f"a member whose extended header is damaged, {name!r} in short")
                self._context, self._pending = b"", bytearray()
                return True
        self._unread()
        return False

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
            found = yield from self._attempt()
            if found is None:
                continue
            member, start = found
            self._unsure = False
            self._raw = None if start is None else start + len(self._pending)
            if start is None:
                yield Unknown(f"something before {member.name!r} is missing")
            self.guessed = start is None or not self._directory.covers(start)
            yield from self._give(member, start)
            return

    def _attempt(self) -> Generator[Event | None, None, tuple[Member, int | None] | None]:
        """Take the headers of a candidate: its member and raw offset; None: they do not count."""
        start = self._raw
        try:
            member = yield from self._headers()
        except TornError:
            return None
        except AiocompressError:
            yield from self._refuse()
            return None
        assert member is not None
        try:
            return member, self._accepted(member, start)
        except AiocompressError:
            self._unread()
            return None

    def _inside(self, record: Record) -> Steps:
        """Go on in a member whose beginning is lost, and give out the rest of its content."""
        member = record.member()
        self._told = max(self._told, member.end)
        yield from self._skip_headers(member.data_offset)
        at = self._raw
        is_file = record.kind == FILE and not record.is_sparse  # its map is lost
        if at is None or not member.data_offset <= at < member.end or not is_file:
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

    def _accepted(self, member: Member, start: int | None) -> int | None:
        """Return the raw offset of a member that was found; None: it stays unknown.

        :raises CorruptError: the archive has no such member, or its extended header may be lost.
        """
        if start is None and self._directory:
            record = self._directory.find(member)
            if record is None:
                raise CorruptError("not a member of this archive")
            return record.offset
        if self._is_contradicted(member, start):
            raise CorruptError("the index does not agree")
        if start is None or not self._directory.covers(start):
            doubt.check_complete(bytes(self._pending), self._context, member)
        return start
