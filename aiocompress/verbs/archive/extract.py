"""Archives become folders: by their index, frame by frame and in parallel, or front to back.

By the index each frame is a job, whose worker creates the files wholly inside it; members that span
frames are written here, in order; links and the modes of folders come last. Frames are finished in
any order, so this way cannot decide which of two members of one name is the last, and it believes
an index that may be wrong. Where either shows, everything is thrown away and done again from front
to back: that way is right for every archive, the parallel one is only faster.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from itertools import compress, pairwise
from typing import Final

from aiocompress.errors import AiocompressError, CorruptError, LimitError, UnsafeMemberError
from aiocompress.formats.tar.index import DIRECTORY, FILE, HARDLINK, SYMLINK, Record, Records
from aiocompress.storage.atomic_folder import AtomicFolder
from aiocompress.storage.base import OpenedSource
from aiocompress.storage.restorer import CONFLICTS, checked
from aiocompress.verbs.archive.failures import Failures
from aiocompress.verbs.archive.finish import MemberMaker
from aiocompress.verbs.archive.frame import UnlikeIndexError, restore, verified
from aiocompress.verbs.archive.planner import Planner, Spanning, Wanted
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
LAST: Final = (bytes([SYMLINK]) + _SPECIAL, bytes([HARDLINK]), bytes([DIRECTORY]))
"""What has to wait until all files exist, in this order: a hard link may be linked to a symbolic
link, which neither of them follows; folders come inside out."""
_HINT: Final = "on_error='skip' restores the members in the other frames"


async def restore_stream(
    pool: WorkerPool,
    source: OpenedSource,
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


async def has_no_name_twice(archive: Indexed, restoring: Restoring) -> bool:
    """Whether every member has a place of its own: names are sorted, as those of a folder are."""
    last, strip = b"", restoring.keeping.strip_components
    try:
        async with aclosing(archive.checked_blocks()) as blocks:
            async for records in blocks:
                for name in records.names:
                    with suppress(UnsafeMemberError):
                        place = checked(name, strip).replace(b"/", b"\0")
                        if b"" < place <= last:
                            return False
                        last = place
    except CorruptError:
        return False
    return True


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
        self._refused = Found()
        """What is refused: apart from what file threads find, which runs at the same time."""
        choice = _Choice(restoring, self._refused)
        self._planner = Planner(archive, reading.max_metadata, choice.mask)
        self._maker = Maker(building.descriptor, restoring, tally.found)
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
            self._tally.found.add(self._refused)
        finally:
            await self._lane.over()
            await call(self._pool.files, self._maker.close)

    async def _started(self) -> AsyncGenerator[Sent[Job, Wanted]]:
        """Start a job for each frame that holds something wanted, in order."""
        target = self._building.reach(by_path=self._pool.by_path)
        keeping, again = self._restoring.keeping, False
        if self._pool.by_path:
            # A cluster runs the job of a worker that has died once more, and does not say so.
            again = await has_no_name_twice(self._archive, self._restoring)
        archive, lane = self._archive, self._lane
        planned = self._planner.plan()
        async with aclosing(planned) as plan, aclosing(archive.read_all(plan)) as frames:
            async for wanted, data in frames:
                about = wanted.parts, target, keeping, wanted.spans, again
                job = await archive.start(lane, wanted.frame, data, restore, *about, follows=True)
                yield Sent(job, wanted)

    async def _finish(self, job: Job, wanted: Wanted) -> None:
        """Wait for a frame, and write the members that span it."""
        maker, table = self._maker, self._archive.table
        files, number = self._pool.files, wanted.frame
        try:
            result = await self._archive.result(job, number, trusting=self._trusting)
        except DAMAGE as error:
            await call(files, maker.damaged, wanted, error)
            return
        self._tally.found.files += result.files
        self._tally.found.latest = self._planner.latest
        for name, reason in result.failed:
            maker.refuse(name, reason)
        if wanted.spans:
            await call(files, maker.take, memoryview(job.data), table.raws[number], wanted)
        self._tally.add(result.size, table.sizes[number], 1)

    async def _make_rest(self) -> None:
        """Make links, now that every file exists, then set the modes of folders, inside out."""
        for kinds in LAST:
            backwards = kinds[0] == DIRECTORY
            async with aclosing(self._archive.blocks(kinds, backwards=backwards)) as blocks:
                async for records in blocks:
                    chosen = records.only(kinds)
                    order = chosen[::-1] if backwards else chosen
                    await call(self._pool.files, self._maker.make, order)
        self._building.mode = self._maker.root_mode


class _Choice:
    """Decides which records of the index are restored; notes in ``found`` what is refused."""

    def __init__(self, restoring: Restoring, found: Found) -> None:
        self._restoring = restoring
        self._failures = Failures(restoring.on_error, found)
        self._members = 0

    def mask(self, records: Records) -> bytes | None:
        """Return a byte for each record, 1 if it is to be restored; None: all are.

        :raises UnlikeIndexError: a limit ends the extraction, which the index must not decide.
        """
        bounds = self._restoring.bounds
        mask = self._restoring.selection.mask(records.names)
        self._members += len(records) if mask is None else sum(mask)
        most = bounds.max_member_size
        try:
            bounds.check_count(self._members)
            if most is None or max(sizes := records.whole_sizes(), default=0) <= most:
                return mask
            allowed = bytearray(mask or b"\1" * len(records))
            for number, size in enumerate(sizes):
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


class Maker(MemberMaker, Spanning):
    """Makes what workers cannot: members that span frames, in order, then links, then folders."""

    def __init__(self, root: int, restoring: Restoring, found: Found) -> None:
        MemberMaker.__init__(self, root, restoring, found)
        Spanning.__init__(self)

    def refuse(self, name: bytes, error: AiocompressError | OSError) -> None:
        if isinstance(error, OSError) and error.errno in CONFLICTS:
            raise UnlikeIndexError from None
        super().refuse(name, error)

    def begin(self, record: Record, header: memoryview) -> None:
        self._attempt(record.name, self._begin, record, header)

    def go_on(self, raw: memoryview) -> bool:
        self._file.write(raw)
        if self._file.is_whole:
            self._file.end()
        return self._file.is_open

    def _begin(self, record: Record, header: memoryview) -> None:
        member = verified(record, header)
        place = checked(record.name, self._strip)
        if record.kind == FILE:
            self._file.begin(place, member)
        elif record.kind == DIRECTORY:
            self._restorer.make_folder(place, member.xattrs)

    def damaged(self, wanted: Wanted, error: AiocompressError) -> None:
        """Leave out every member that a damaged frame holds a part of.

        :raises AiocompressError: the caller wants the error.
        """
        names = [record.name for part in wanted.parts for record in part.chosen()]
        if wanted.tail and self.record is not None:
            names.insert(0, self.record.name)
        if wanted.head is not None:
            names.append(wanted.head.name)
        if self._restoring.on_error == "raise":
            listed = ", ".join(map(shown, names[:3])) + (" ..." if len(names) > 3 else "")
            error.hint = f"it holds {len(names)} members ({listed}); {_HINT}"
            raise error
        self._file.drop()
        self.record = None
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
