"""Archives become folders: by their index, frame by frame and in parallel, or front to back.

By the index each frame is a job, whose worker creates the files wholly inside it; members that span
frames are written here, in order; links and the modes of folders come last. Frames are finished in
any order, so this way cannot decide which of two members of one name is the last, and it believes
an index that may be wrong. Where either shows, everything is thrown away and done again from front
to back: that way is right for every archive, the parallel one is only faster.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import compress, pairwise
from typing import Final, NamedTuple

from aiocompress.errors import AiocompressError, CorruptError, LimitError
from aiocompress.formats.base import FrameTable
from aiocompress.formats.tar.header import BLOCK
from aiocompress.formats.tar.index import DIRECTORY, FILE, HARDLINK, SYMLINK, Record, Records
from aiocompress.storage.atomic_folder import AtomicFolder
from aiocompress.storage.base import Source
from aiocompress.storage.positional import SourceError
from aiocompress.storage.restorer import CONFLICTS, checked
from aiocompress.verbs.archive.failures import Failures
from aiocompress.verbs.archive.finish import MemberMaker
from aiocompress.verbs.archive.frame import Part, UnlikeIndexError, verified
from aiocompress.verbs.archive.raw import raw_blocks
from aiocompress.verbs.archive.seek import Indexed
from aiocompress.verbs.archive.unpack import Unpacker
from aiocompress.verbs.base import Amount, Tally
from aiocompress.verbs.decode import DAMAGE
from aiocompress.verbs.found import Found, shown
from aiocompress.verbs.options import Reading, Restoring
from aiocompress.verbs.select import Selection
from aiocompress.workers.inflight import Job
from aiocompress.workers.lane import Lane
from aiocompress.workers.pipeline import Sent, in_order
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

_SPECIAL: Final = b"346"
_HINT: Final = "on_error='skip' restores the members in the other frames"


async def restore_stream(
    pool: WorkerPool,
    source: Source,
    building: AtomicFolder,
    reading: Reading,
    restoring: Restoring,
    tally: Tally,
) -> None:
    """Restore the members of any tar, compressed or not, from front to back.

    :raises FormatError: it is not an archive.
    """
    unpacker = Unpacker(
        building.descriptor, restoring, tally.found, max_metadata=reading.max_metadata
    )
    try:
        try:
            async with aclosing(raw_blocks(pool, source, reading, tally)) as blocks:
                async for data in blocks:
                    await call(pool.files, unpacker.feed, data)
            await call(pool.files, unpacker.finish)
        except CorruptError as error:
            if restoring.on_error == "raise":
                raise
            error.hint = "what follows is not restored"
            tally.found.refuse(str(error.located(file=source.name)))
            await call(pool.files, unpacker.finish_cut)
        building.mode = unpacker.root_mode
    finally:
        await call(pool.files, unpacker.close)


async def least_space(archive: Indexed, selection: Selection) -> int:
    """Return how many bytes the selected files take at least.

    Where the names are not in order, one may occur twice: those are not counted.

    :raises CorruptError: a block of the index is damaged.
    """
    total, last = 0, b""
    async with aclosing(archive.checked_blocks()) as blocks:
        async for records in blocks:
            mask = selection.mask(records.names) or b"\1" * len(records)
            for name, size, wanted in zip(records.names, records.sizes, mask, strict=True):
                inside = name.split(b"/", selection.strip)[-1]
                place = inside.replace(b"/", b"\0")  # the order in which folders are walked
                if wanted and place > last:
                    total, last = total + size, place
    return total


async def amount(archive: Indexed, selection: Selection) -> Amount:
    """Return how many compressed bytes hold the selected members, and how many are no folders.

    :raises CorruptError: a block of the index is damaged.
    """
    table, size, files, known = archive.table, 0, 0, 0
    async with aclosing(archive.checked_blocks()) as blocks:
        async for records in blocks:
            mask, offsets = selection.mask(records.names), records.offsets()
            files += records.files(mask)
            runs = [(offsets[0], offsets[-1])] if mask is None else pairwise(offsets)
            for start, end in compress(runs, mask or b"\1"):
                first, last = table.find(start), table.find(end - 1)
                size += sum(table.sizes[max(first, known) : last + 1])
                known = last + 1
    return size, files


class _Wanted(NamedTuple):
    """What is wanted of a frame: whole members, the rest of one, the beginning of another."""

    frame: int
    parts: tuple[Part, ...]
    tail: bool
    head: Record | None


class IndexedRestorer:
    """Restores the members of an archive by its index; for one ``run``.

    :param trusting: a frame that cannot be decoded is damaged, wherever it stands.
    """

    def __init__(
        self,
        pool: WorkerPool,
        archive: Indexed,
        building: AtomicFolder,
        reading: Reading,
        restoring: Restoring,
        tally: Tally,
        *,
        trusting: bool = False,
    ) -> None:
        self._pool, self._archive, self._building = pool, archive, building
        self._reading, self._restoring, self._tally = reading, restoring, tally
        self._trusting = trusting
        self._planner = _Planner(archive.table, restoring)
        self._maker = _Maker(building.descriptor, restoring, tally.found)
        # The end of the tar is a frame of its own: an archive of two frames is one job.
        self._lane = Lane(pool, small=len(archive.table.starts) <= 2, opens_files=True)

    async def run(self) -> None:
        """Restore everything that is wanted.

        :raises UnlikeIndexError: it has to be done from front to back.
        :raises DoubtfulFrameError: the same, or else to be done again, ``trusting``.
        :raises CorruptError: a frame is damaged, and the caller wants the error.
        """
        try:
            async with aclosing(in_order(self._started(), self._pool.window)) as frames:
                async for job, wanted in frames:
                    await self._finish(job, wanted)
                    self._reading.check_output(self._tally.raw_bytes)
            await self._make_rest()
            self._tally.found.add(self._planner.found)
        finally:
            await self._lane.over()
            await call(self._pool.files, self._maker.close)

    async def _started(self) -> AsyncGenerator[Sent[Job, _Wanted]]:
        """Start a job for each frame that holds something wanted, in order."""
        target, keeping = self._building.reach, self._restoring.keeping
        archive, lane = self._archive, self._lane
        async with aclosing(self._plan()) as plan, aclosing(archive.read_all(plan)) as frames:
            async for wanted, data in frames:
                about = wanted.parts, target, keeping
                job = await archive.start(lane, wanted.frame, data, *about, follows=True)
                yield Sent(job, wanted)

    async def _plan(self) -> AsyncGenerator[_Wanted]:
        try:
            async with aclosing(self._archive.checked_blocks()) as blocks:
                async for records in blocks:
                    if records.metadata > self._reading.max_metadata:
                        raise UnlikeIndexError  # front to back, the reader raises the LimitError
                    for wanted in self._planner.add(records):
                        yield wanted
        except SourceError:
            raise
        except CorruptError:
            raise UnlikeIndexError from None
        for wanted in self._planner.flush():
            yield wanted

    async def _finish(self, job: Job, wanted: _Wanted) -> None:
        """Wait for a frame, and write the members that span it."""
        maker, table = self._maker, self._archive.table
        files, number = self._pool.files, wanted.frame
        try:
            result = await self._archive.result(job, number, trusting=self._trusting)
        except DAMAGE as error:
            await call(files, maker.damaged, wanted, error)
            return
        self._tally.found.files += result.files
        self._tally.found.latest = self._planner.found.latest
        for name, reason in result.failed:
            maker.refuse(name, reason)
        if wanted.tail or wanted.head is not None:
            await call(files, maker.take, memoryview(job.data), table.raws[number], wanted)
        self._tally.add(result.size, table.sizes[number], 1)

    async def _make_rest(self) -> None:
        """Make links, now that every file exists, then set the modes of folders, inside out.

        Hard links come last: one may be linked to a symbolic link, which neither of them follows.
        """
        for kinds in (bytes([SYMLINK]) + _SPECIAL, bytes([HARDLINK]), bytes([DIRECTORY])):
            backwards = kinds[0] == DIRECTORY
            async with aclosing(self._archive.blocks(kinds, backwards=backwards)) as blocks:
                async for records in blocks:
                    chosen = records.only(kinds)
                    order = chosen[::-1] if backwards else chosen
                    await call(self._pool.files, self._maker.make, order)
        self._building.mode = self._maker.root_mode


class _Planner:
    """Sorts the records of the index by the frames that hold the members.

    A member may lie wholly inside a frame (a ``Part``), or begin in one (``head``) and go on in
    others (``tail``). The records tile the raw archive, so a frame holds the rest of at most one
    member, then whole ones, then the head of at most one.
    """

    def __init__(self, table: FrameTable, restoring: Restoring) -> None:
        self.found = Found()
        """What is refused: apart from what file threads find, which runs at the same time."""
        self._table, self._restoring = table, restoring
        self._failures = Failures(restoring.on_error, self.found)
        self._members = 0
        self._frame = -1
        self._parts: list[Part] = []
        self._tail = False

    def add(self, records: Records) -> Iterator[_Wanted]:
        """Take the next records; yields the frames that are complete."""
        offsets, mask = records.offsets(), self._mask(records)
        at, count = 0, len(records)
        while at < count:
            frame = self._table.find(offsets[at])
            if frame != self._frame:
                yield from self.flush()
                self._frame = frame
            frame_end = self._table.raws[frame + 1]
            end = bisect_right(offsets, frame_end) - 1
            if end > at:
                self._add_part(records.cut(at, end, offsets[at]), mask and mask[at:end])
            at = max(at, end)
            if at < count and offsets[at] < frame_end:
                if mask is None or mask[at]:
                    yield from self._span(records.record(at, offsets[at]), offsets[at + 1])
                at += 1

    def _mask(self, records: Records) -> bytes | None:
        """Return a byte for each record, 1 if it is to be restored; None: all are.

        :raises UnlikeIndexError: a limit ends the extraction, which the index must not decide.
        """
        bounds = self._restoring.bounds
        mask = self._restoring.selection.mask(records.names)
        self._members += len(records) if mask is None else sum(mask)
        most = bounds.max_member_size
        try:
            bounds.check_count(self._members)
            if most is None or max(records.sizes, default=0) <= most:
                return mask
            allowed = bytearray(mask or b"\1" * len(records))
            for number, size in enumerate(records.sizes):
                if allowed[number] and size > most:
                    allowed[number] = 0
                    self._refuse(records.names[number], size)
        except LimitError:
            raise UnlikeIndexError from None
        return bytes(allowed)

    def _refuse(self, name: bytes, size: int) -> None:
        try:
            self._restoring.bounds.check_size(size)
        except LimitError as error:
            self._failures.member(name, error)

    def _add_part(self, records: Records, mask: bytes | None) -> None:
        if mask is None or any(mask):
            self.found.latest = records.names[-1]
            self._parts.append(Part(records.encode(), mask))

    def _span(self, record: Record, end: int) -> Iterator[_Wanted]:
        """Yield the frames that a member spans, except the last, which may hold more."""
        last = self._table.find(end - 1)
        yield from self.flush(record)
        for frame in range(self._frame + 1, last):
            yield _Wanted(frame, (), tail=True, head=None)
        self._frame, self._tail = last, True

    def flush(self, head: Record | None = None) -> Iterator[_Wanted]:
        """Yield the frame that is complete now."""
        if self._parts or self._tail or head is not None:
            yield _Wanted(self._frame, tuple(self._parts), self._tail, head)
        self._parts, self._tail = [], False


class _Maker(MemberMaker):
    """Makes what workers cannot: members that span frames, in order, then links, then folders."""

    _record: Record | None = None
    """The member that spans frames, until it is whole or has failed."""
    _header = b""

    def refuse(self, name: bytes, error: AiocompressError | OSError) -> None:
        if isinstance(error, OSError) and error.errno in CONFLICTS:
            raise UnlikeIndexError from None
        super().refuse(name, error)

    def take(self, raw: memoryview, start: int, wanted: _Wanted) -> None:
        """Take a frame whose first byte is at ``start`` in the raw archive.

        :raises UnlikeIndexError: a header is not as the index says, or a name is taken.
        """
        if wanted.tail:
            self._go_on(raw)
        if wanted.head is not None:
            self._record, self._header = wanted.head, b""
            self._go_on(raw[wanted.head.offset - start :])

    def _go_on(self, raw: memoryview) -> None:
        """Take the next bytes: the header first, which may span frames itself."""
        record = self._record
        if record is None:
            return
        if not self._file.is_open:
            missing = BLOCK * record.blocks - len(self._header)
            self._header += raw[:missing]
            if len(raw) < missing:
                return
            raw = raw[missing:]
            self._attempt(record.name, self._begin, record)
        self._file.write(raw)
        if self._file.is_whole:
            self._file.end()
        if not self._file.is_open:
            self._record = None

    def _begin(self, record: Record) -> None:
        mtime_ns, xattrs = verified(record, memoryview(self._header))
        place = checked(record.name, self._strip)
        if record.kind == FILE:
            member = record.member()._replace(mtime_ns=mtime_ns, xattrs=xattrs)
            self._file.begin(place, member)
        elif record.kind == DIRECTORY:
            self._restorer.make_folder(place, xattrs)

    def damaged(self, wanted: _Wanted, error: AiocompressError) -> None:
        """Leave out every member that a damaged frame holds a part of.

        :raises AiocompressError: the caller wants the error.
        """
        names = [record.name for part in wanted.parts for record in part.chosen()]
        if wanted.tail and self._record is not None:
            names.insert(0, self._record.name)
        if wanted.head is not None:
            names.append(wanted.head.name)
        if self._restoring.on_error == "raise":
            listed = ", ".join(map(shown, names[:3])) + (" ..." if len(names) > 3 else "")
            error.hint = f"it holds {len(names)} members ({listed}); {_HINT}"
            raise error
        self._file.drop()
        self._record = None
        for name in names:
            self._found.refuse(f"{shown(name)}: {error.reason} (frame {error.frame})")

    def make(self, records: list[Record]) -> None:
        """Make the links and special files among these, and set the modes of the folders."""
        for record in records:
            if self._restoring.selection.wants(record.name):
                self._attempt(record.name, self._make, record)

    def _make(self, record: Record) -> None:
        place = checked(record.name, self._strip)
        if record.kind == HARDLINK:
            self._hardlink(place, self._failures.place(record.link))
        elif record.kind == SYMLINK:
            self._restorer.make_symlink(place, record.link, record.mtime_ns, record.owner[:2])
            self._found.files += 1
        elif record.kind != DIRECTORY:
            self._special(place, record.member())
        elif place:
            self._restorer.set_folder(place, record.mode, record.mtime_ns, record.owner[:2])
        elif self.root_mode is None:
            self.root_mode = self._restoring.keeping.root_mode(record.mode)
