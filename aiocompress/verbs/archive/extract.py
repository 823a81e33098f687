"""Archives become folders: ours in parallel, frame by frame; all others from front to back.

Ours first: a job a frame, whose worker creates the files wholly inside it; what spans frames is
written here, in order; links and the modes of folders come last. Where anything is not as the
index says, or two members want the same place, everything is thrown away and done again from front
to back: that way is right for every archive, and the other only faster.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from enum import Enum
from typing import Final, NamedTuple

from aiocompress.errors import CorruptError, LimitError, UnsafeMemberError
from aiocompress.formats.base import STREAM, FrameTable
from aiocompress.formats.tar.header import BLOCK
from aiocompress.formats.tar.index import DIRECTORY, FILE, HARDLINK, SYMLINK, Record, Records
from aiocompress.storage.atomic_folder import AtomicFolder
from aiocompress.storage.base import Source
from aiocompress.storage.restorer import CONFLICTS, Restorer, checked
from aiocompress.verbs.archive import frame as members
from aiocompress.verbs.archive.finish import Finisher, Incoming
from aiocompress.verbs.archive.frame import Part
from aiocompress.verbs.archive.raw import raw_blocks
from aiocompress.verbs.archive.seek import Indexed, UnlikeIndexError
from aiocompress.verbs.archive.unpack import Unpacker
from aiocompress.verbs.base import Tally
from aiocompress.verbs.found import Failures, Found, shown
from aiocompress.verbs.options import Reading, Restoring
from aiocompress.verbs.select import Selection
from aiocompress.workers.job import Result
from aiocompress.workers.lane import Lane
from aiocompress.workers.pipeline import in_order
from aiocompress.workers.pool import Job, WorkerPool
from aiocompress.workers.threads import call

_SPECIAL: Final = b"346"
_HINT: Final = "--keep-going (on_error='skip') restores the members in the other frames"


# From front to back.


async def restore_stream(
    pool: WorkerPool,
    source: Source,
    building: AtomicFolder,
    reading: Reading,
    restoring: Restoring,
    tally: Tally,
) -> None:
    """Restore the members of any tar, compressed or not.

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
            error.located(file=source.name)
            tally.found.refuse(f"{error}; what follows is not restored")
            await call(pool.files, unpacker.finish_cut)
        building.mode = unpacker.root_mode
    finally:
        await call(pool.files, unpacker.close)


# Frame by frame.


async def least_space(archive: Indexed, selection: Selection) -> int:
    """Return how many bytes the files that are to be restored take at least.

    Names that do not follow each other in order are not counted: they may stand there twice.

    :raises CorruptError: a block of the index is damaged.
    """
    total, last = 0, b""
    async with aclosing(archive.checked_blocks()) as blocks:
        async for records in blocks:
            mask = selection.mask(records.names) or b"\1" * len(records)
            for name, size, wanted in zip(records.names, records.sizes, mask, strict=True):
                place = name.replace(b"/", b"\0")  # as folders are walked
                if wanted and place > last:
                    total, last = total + size, place
    return total


class _Wanted(NamedTuple):
    """What is wanted of a frame: members inside, the rest of one, the beginning of another."""

    frame: int
    parts: tuple[Part, ...]
    tail: bool
    head: Record | None


class _Frame(NamedTuple):
    wanted: _Wanted
    job: Job

    def release(self) -> None:
        self.job.release()


class Restored(Enum):
    """How far restoring by the index came."""

    ALL = "all that can be"
    UNLIKE = "the archive is not as its index says, or members want the same place"
    DOUBTFUL = "a frame is damaged, or its place is not as the index says"


class _DoubtfulFrameError(UnlikeIndexError):
    """A frame cannot be decoded, and may not be where the index says."""


async def restore_indexed(
    pool: WorkerPool,
    archive: Indexed,
    building: AtomicFolder,
    reading: Reading,
    restoring: Restoring,
    tally: Tally,
    *,
    trusting: bool = False,
) -> Restored:
    """Restore the members of an archive of ours, unless it has to be done from front to back.

    :param trusting: a frame that cannot be decoded is damaged, wherever it may stand.
    """
    # The end of the tar is a frame of its own: two frames are one job.
    lane = Lane(pool, small=len(archive.table.starts) <= 2, opens_files=True)
    spanning = _Spanning(building.descriptor, restoring, tally.found)
    planner = _Planner(archive.table, restoring)
    try:
        plan = _plan(archive, reading, planner)
        frames = _start(lane, archive, building, restoring, plan)
        async with aclosing(in_order(frames, pool.window)) as jobs:
            async for frame in jobs:
                await _finish(pool, archive, frame, spanning, tally, trusting=trusting)
                reading.check_output(tally.raw_bytes)
        await _restore_rest(pool, archive, building, restoring, tally.found)
        tally.found.add(planner.found)
    except _DoubtfulFrameError:
        return Restored.DOUBTFUL
    except UnlikeIndexError:
        return Restored.UNLIKE
    finally:
        await lane.over()
        await call(pool.files, spanning.close)
    return Restored.ALL


async def _start(
    lane: Lane,
    archive: Indexed,
    building: AtomicFolder,
    restoring: Restoring,
    plan: AsyncGenerator[_Wanted],
) -> AsyncGenerator[_Frame]:
    table = archive.table
    async with aclosing(plan):
        async for wanted in plan:
            number = wanted.frame
            raw_size = table.raw_size(number)
            archive.check_room(number)
            job = await lane.start(
                await archive.read_at(table.starts[number], table.sizes[number]),
                raw_size,
                members.restore,
                archive.format.name,
                (table.raws[number], raw_size),
                wanted.parts,
                building.reach,
                restoring.keeping,
                follows=True,
            )
            yield _Frame(wanted, job)


async def _plan(archive: Indexed, reading: Reading, planner: _Planner) -> AsyncGenerator[_Wanted]:
    """Yield the frames that hold something wanted, in order."""
    try:
        async with aclosing(archive.checked_blocks()) as blocks:
            async for records in blocks:
                if records.metadata > reading.max_metadata:
                    raise UnlikeIndexError  # reading from front to back tells of it
                for wanted in planner.add(records):
                    yield wanted
    except CorruptError:
        raise UnlikeIndexError from None
    for wanted in planner.flush():
        yield wanted


class _Planner:
    """Sorts the records of the index by the frames that hold them."""

    def __init__(self, table: FrameTable, restoring: Restoring) -> None:
        self.found = Found()
        """What is refused."""
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

        :raises UnlikeIndexError: a limit ends it all, which is not for the index to say.
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
            self._parts.append(Part(records.encode(), mask))

    def _span(self, record: Record, end: int) -> Iterator[_Wanted]:
        """Yield the frames that a member spans, but for the last one."""
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


async def _finish(
    pool: WorkerPool,
    archive: Indexed,
    frame: _Frame,
    spanning: _Spanning,
    tally: Tally,
    *,
    trusting: bool,
) -> None:
    """Wait for a frame, and write what spans it."""
    wanted, table = frame.wanted, archive.table
    number = wanted.frame
    try:
        result = await _decoded(frame.job)
    except CorruptError as error:
        if not trusting and not archive.is_frame(number, memoryview(frame.job.input)):
            raise _DoubtfulFrameError from None
        error.located(file=archive.name, base=table.starts[number], frame=number)
        await call(pool.files, spanning.damaged, wanted, error)
        return
    if result.size == members.UNLIKE:
        raise UnlikeIndexError
    tally.found.files += result.files
    for name, reason in result.failed:
        spanning.failures.member(name, reason)
    if wanted.tail or wanted.head is not None:
        data = memoryview(frame.job.data)
        await call(pool.files, spanning.take, data, table.raws[number], wanted)
    tally.add(result.size, table.sizes[number], 1)


async def _decoded(job: Job) -> Result:
    """Wait for a frame.

    :raises CorruptError: it cannot be decoded.
    """
    result = await job.result()
    if result.size == STREAM:
        raise CorruptError("a damaged frame", offset=0)
    return result


class _Spanning:
    """Writes members that span frames, in order; plain blocking code."""

    def __init__(self, root: int, restoring: Restoring, found: Found) -> None:
        self.failures = Failures(restoring.on_error, found)
        self._found = found
        self._raises = restoring.on_error == "raise"
        self._restorer = Restorer(root, restoring.keeping)
        self._file = Incoming(self._restorer, self.failures, found)
        self._record: Record | None = None
        self._header = b""
        self._left = 0

    def take(self, raw: memoryview, start: int, wanted: _Wanted) -> None:
        """Take a frame, whose first byte is at ``start`` in the raw archive."""
        if wanted.tail:
            self._go_on(raw)
        if wanted.head is not None:
            self._record, self._header = wanted.head, b""
            self._go_on(raw[wanted.head.offset - start :])

    def _go_on(self, raw: memoryview) -> None:
        """Take the next bytes: those of the header first."""
        record = self._record
        if record is None:
            return  # it has failed
        if not self._file.is_open:
            missing = BLOCK * record.blocks - len(self._header)
            self._header += raw[:missing]
            raw = raw[missing:]
            if len(self._header) < BLOCK * record.blocks:
                return
            self._begin(record)
        self._file.write(raw[: self._left])
        self._left -= min(self._left, len(raw))
        if not self._left:
            self._file.end()
        if not self._file.is_open:
            self._record = None

    def _begin(self, record: Record) -> None:
        header = memoryview(self._header)
        if not members.agrees(record, header):
            raise UnlikeIndexError
        self._left = record.size
        try:
            place = checked(record.name)
            xattrs = members.xattrs(record, header)
            if record.kind == FILE:
                time = members.time_of(record, header)
                member = record.member()._replace(mtime_ns=time, xattrs=xattrs)
                self._file.begin(place, member, replace=False)
            elif record.kind == DIRECTORY:  # with a header that spans frames
                self._restorer.make_folder(place, xattrs)
        except (UnsafeMemberError, OSError) as error:
            if isinstance(error, OSError) and error.errno in CONFLICTS:
                raise UnlikeIndexError from None
            self.failures.member(record.name, error)

    def damaged(self, wanted: _Wanted, error: CorruptError) -> None:
        """Leave out all members that a damaged frame hits.

        :raises CorruptError: they are not to be left out.
        """
        names = [name for part in wanted.parts for name in part.names()]
        if wanted.tail and self._record is not None:
            names.insert(0, self._record.name)
        if wanted.head is not None:
            names.append(wanted.head.name)
        if self._raises:
            listed = ", ".join(map(shown, names[:3])) + (" ..." if len(names) > 3 else "")
            error.hint = f"it holds {len(names)} members ({listed}); {_HINT}"
            raise error
        self._drop()
        for name in names:
            self._found.refuse(f"{shown(name)}: {error.reason} (frame {error.frame})")

    def _drop(self) -> None:
        self._file.drop()
        self._record = None

    def close(self) -> None:
        """Close what is open; a file that is not whole is removed."""
        self._drop()
        self._restorer.close()


# What has to come last.


async def _restore_rest(
    pool: WorkerPool, archive: Indexed, building: AtomicFolder, restoring: Restoring, found: Found
) -> None:
    """Make links, when all files are there, and set folders, from the inside out."""
    rest = _Rest(building.descriptor, restoring, found)
    steps = (
        (b"%c" % HARDLINK, rest.make_hardlink, False),
        (b"%c" % SYMLINK + _SPECIAL, rest.make_other, False),
        (b"%c" % DIRECTORY, rest.set_folder, True),
    )
    try:
        for kinds, step, backwards in steps:
            async with aclosing(archive.blocks(kinds, backwards=backwards)) as blocks:
                async for records in blocks:
                    chosen = records.only(kinds)
                    await call(pool.files, rest.apply, step, chosen[::-1] if backwards else chosen)
    finally:
        await call(pool.files, rest.close)
    building.mode = rest.root_mode


class _Rest:
    """Makes what has no content; plain blocking code."""

    def __init__(self, root: int, restoring: Restoring, found: Found) -> None:
        self._selection, self._found = restoring.selection, found
        self._failures = Failures(restoring.on_error, found)
        self._restorer = Restorer(root, restoring.keeping)
        self._finisher = Finisher(self._restorer, restoring, self._failures, found)

    @property
    def root_mode(self) -> int | None:
        return self._finisher.root_mode

    def apply(self, step: Callable[[Record], None], records: list[Record]) -> None:
        """Take a step for each record that is wanted."""
        for record in records:
            if self._selection.wants(record.name):
                try:
                    step(record)
                except (UnsafeMemberError, OSError) as error:
                    if isinstance(error, OSError) and error.errno in CONFLICTS:
                        raise UnlikeIndexError from None
                    self._failures.member(record.name, error)

    def make_hardlink(self, record: Record) -> None:
        self._finisher.hardlink(checked(record.name), record.link)

    def make_other(self, record: Record) -> None:
        if record.kind == SYMLINK:
            self._finisher.symlink(checked(record.name), record)
            self._found.files += 1
        else:
            self._finisher.special(checked(record.name), record.member())

    def set_folder(self, record: Record) -> None:
        place = checked(record.name)
        if place:
            self._finisher.folder(place, record)
        elif self._finisher.root_mode is None:
            self._finisher.root(record.mode)

    def close(self) -> None:
        self._restorer.close()
