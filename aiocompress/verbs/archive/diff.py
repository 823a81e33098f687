"""An archive compared with a folder: by its index, frame by frame in parallel, or front to back.

What differs comes in the order of the archive, and then what is new in the folder. Of several
members of one name the last counts, as it does in extraction. An index tells all names beforehand;
without one, what differs has to wait for the end of the archive, in a file without a name.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing, asynccontextmanager, closing, suppress
from itertools import islice
from operator import itemgetter
from typing import Final, TypeVar

from aiocompress.errors import CorruptError, UnsafeMemberError
from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import to_bytes, to_text
from aiocompress.formats.tar.index import DIRECTORY, Record, Records
from aiocompress.model import MIB, Difference, Member
from aiocompress.storage.base import Source
from aiocompress.storage.positional import SourceError
from aiocompress.storage.reach import Reach
from aiocompress.storage.sources import opened
from aiocompress.storage.walk import Skip, walk
from aiocompress.verbs.archive.compare import (
    GONE,
    Comparison,
    Told,
    compare,
    kind_of,
    path_of,
)
from aiocompress.verbs.archive.frame import UnlikeIndexError, verified
from aiocompress.verbs.archive.latest import Latest
from aiocompress.verbs.archive.planner import Planner, Spanning, Wanted
from aiocompress.verbs.archive.raw import raw_blocks
from aiocompress.verbs.archive.seek import Indexed
from aiocompress.verbs.base import Tally, check_here
from aiocompress.verbs.options import Comparing, Reading
from aiocompress.verbs.select import Selection
from aiocompress.workers.inflight import Job
from aiocompress.workers.lane import Lane
from aiocompress.workers.pipeline import Sent, in_order
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

T = TypeVar("T")
_AT_ONCE: Final = 1000
"""How many entries of the folder a file thread looks at before it takes other calls."""


@asynccontextmanager
async def compared(
    pool: WorkerPool,
    folder: str,
    selection: Selection,
    comparing: Comparing,
    reading: Reading,
    tally: Tally,
) -> AsyncGenerator[Differ]:
    """Open a folder to compare with.

    :raises OSError: it cannot be opened.
    """
    check_here(folder)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    root = await call(pool.files, os.open, folder, flags, undo=os.close)
    differ = Differ(pool, root, selection, comparing, reading, tally)
    try:
        yield differ
    finally:
        await call(pool.files, differ.close)


class Differ:
    """Compares one archive with one folder.

    :param root: a descriptor of the folder, which ``close`` closes.
    """

    def __init__(
        self,
        pool: WorkerPool,
        root: int,
        selection: Selection,
        comparing: Comparing,
        reading: Reading,
        tally: Tally,
    ) -> None:
        self._pool, self._root, self._reading, self._tally = pool, root, reading, tally
        self._selection, self._comparing = selection, comparing
        self._comparison = Comparison(root, selection.inside, comparing)
        self._latest = Latest()
        self._done = 0
        """Up to which raw offset the members have been compared."""

    def close(self) -> None:
        self._comparison.close()
        os.close(self._root)

    # By the index.

    async def by_index(self, archive: Indexed) -> AsyncGenerator[Difference]:
        """Yield what differs, of members that are where the index says.

        :raises UnlikeIndexError: it has to be done from front to back; what was told is true.
        :raises CorruptError: a frame is damaged.
        """
        await self._learn(archive)
        lane = Lane(self._pool, small=len(archive.table.starts) <= 2, opens_files=True, detach=True)
        spanning = _Spanning(self._comparison)
        try:
            started = self._started(archive, lane)
            async with aclosing(in_order(started, lane.window)) as frames:
                async for job, wanted in frames:
                    result = await archive.result(job, wanted.frame)
                    told = list(result.about or ())
                    start = archive.table.raws[wanted.frame]
                    if wanted.spans:
                        frame = memoryview(job.data)
                        await call(self._pool.files, spanning.take, frame, start, wanted)
                        told = sorted(told + self._taken(), key=itemgetter(0))
                    record = spanning.record
                    self._done = start + result.size if record is None else record.offset
                    self._tally.found.files += result.files
                    self._tally.add(result.size, archive.table.sizes[wanted.frame], 1)
                    for difference in self._standing(told):
                        yield difference
            self._tally.found.files += spanning.files
        finally:
            await lane.over()

    async def _learn(self, archive: Indexed) -> None:
        try:
            async with aclosing(archive.checked_blocks()) as blocks:
                async for records in blocks:
                    await call(self._pool.files, self._add, records.names, records.offsets())
        except SourceError:
            raise
        except CorruptError:
            raise UnlikeIndexError from None

    def _add(self, names: list[bytes], offsets: list[int]) -> None:
        places = (self._place(name) for name in names)
        self._latest.add(places, offsets)

    async def _started(self, archive: Indexed, lane: Lane) -> AsyncGenerator[Sent[Job, Wanted]]:
        """Start a job for each frame that holds something wanted, in order."""
        selection = self._selection
        target = Reach.of(self._root, by_path=self._pool.by_path)
        planner = Planner(archive, self._reading.max_metadata, self._choose)
        async with aclosing(planner.plan()) as plan, aclosing(archive.read_all(plan)) as frames:
            async for wanted, data in frames:
                self._tally.found.latest = planner.latest
                about = wanted.parts, target, selection.inside, self._comparing, wanted.spans
                job = await archive.start(lane, wanted.frame, data, compare, *about, follows=True)
                yield Sent(job, wanted)

    def _choose(self, records: Records) -> bytes | None:
        return self._selection.mask(records.names)

    # Front to back.

    async def through(self, source: Source) -> AsyncGenerator[Difference]:
        """Yield what differs, of the members of any tar, compressed or not.

        :raises CorruptError: it is damaged; ``FormatError``: it is not an archive.
        """
        reader = tar.Reader(max_metadata=self._reading.max_metadata)
        self._latest = Latest()
        self._comparison.drop()
        with closing(_Journal()) as journal:
            async with opened(source, self._pool) as data:
                blocks = raw_blocks(self._pool, data, self._reading, self._tally)
                async with aclosing(blocks):
                    async for block in blocks:
                        await call(self._pool.files, self._feed, reader, block, journal)
            reader.finish()
            self._comparison.end()
            journal.add(self._taken())
            self._tally.found.extend(reader.warnings)
            rows = iter(journal)
            while some := await call(self._pool.files, _some, rows):
                for difference in self._standing(some):
                    yield difference

    def _feed(self, reader: tar.Reader, block: memoryview, journal: _Journal) -> None:
        for item in reader.feed(block):
            if isinstance(item, Member):
                self._comparison.end()
                self._begin(item)
            else:
                self._comparison.take(item)
        journal.add(self._taken())

    def _begin(self, member: Member) -> None:
        name = to_bytes(member.name)
        self._latest.add([self._place(name)], [member.offset])
        if member.offset >= self._done and self._selection.wants(name):
            self._tally.found.latest = name
            self._tally.found.files += member.kind != "directory"
            self._tally.found.leave_out(member)
            self._comparison.begin(member)

    # Which of it counts.

    def _place(self, name: bytes) -> bytes:
        """Return where a member is below the folder; nothing, if it is not there."""
        try:
            return path_of(name, self._selection.inside)
        except UnsafeMemberError:
            return b""

    def _taken(self) -> list[Told]:
        told, self._comparison.told = self._comparison.told, []
        return told

    def _standing(self, told: list[Told]) -> Iterator[Difference]:
        """Yield what differs of members that are the last of their name.

        What a hard link is linked to must not have been replaced behind it, either.
        """
        for offset, difference in told:
            names = [difference.name]
            if difference.what == "hardlink":
                names.append(str(difference.archived))
            if not any(self._latest.is_after(self._place(to_bytes(n)), offset) for n in names):
                yield difference

    # What the folder has beyond that.

    async def new(self, archive: os.stat_result | None) -> AsyncGenerator[Difference]:
        """Yield what is in the folder and not in the archive.

        :param archive: the status of its own file, which is not new.
        """
        if "new" in self._comparing.ignored:
            return
        with closing(self._unknown(archive)) as found:
            while some := await call(self._pool.files, _some, found):
                for difference in some:
                    if difference is not None:
                        yield difference

    def _unknown(self, archive: os.stat_result | None) -> Generator[Difference | None]:
        """Yield something for each entry of the folder; None: the archive has it."""
        for entry in walk(self._root, b""):
            name = self._selection.inside + entry.name
            if isinstance(entry, Skip):
                if entry.error.errno not in GONE and self._selection.wants(name):
                    reason = entry.error.strerror
                    yield Difference(to_text(name), "unreadable", found=reason)
            elif entry.name in self._latest or not self._selection.wants(name):
                yield None
            else:
                status = None
                with suppress(OSError):  # it has gone
                    status = os.stat(entry.base, dir_fd=entry.parent, follow_symlinks=False)
                if status is None or (archive is not None and os.path.samestat(status, archive)):
                    yield None
                else:
                    yield Difference(to_text(name), "new", found=kind_of(status))


def _some(rows: Iterator[T]) -> list[T]:
    return list(islice(rows, _AT_ONCE))


class _Spanning(Spanning):
    """Compares the members that span frames."""

    def __init__(self, comparison: Comparison) -> None:
        super().__init__()
        self.files = 0
        self._comparison, self._left = comparison, 0

    def begin(self, record: Record, header: memoryview) -> None:
        member = verified(record, header)
        self.files += record.kind != DIRECTORY
        self._left = record.size
        self._comparison.begin(member)

    def go_on(self, raw: memoryview) -> bool:
        stored = raw[: self._left]
        self._left -= len(stored)
        self._comparison.take(stored)
        if not self._left:
            self._comparison.end()
        return self._left > 0


class _Journal:
    """What has to wait for the end; much of it spills to a file without a name."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(MIB)  # noqa: SIM115

    def close(self) -> None:
        self._file.close()

    def add(self, told: list[Told]) -> None:
        for offset, difference in told:
            self._file.write(json.dumps([offset, *difference]).encode() + b"\n")

    def __iter__(self) -> Iterator[Told]:
        self._file.seek(0)
        for line in self._file:
            offset, *difference = json.loads(line)
            yield offset, Difference(*difference)
