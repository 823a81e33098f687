"""Back: the files of a framed container, ours or the original script's.

Frames are decoded by workers, files written one after another: the last one of a name wins, whole,
and one whose chunks cannot be in order is removed and named.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from aiocompress.errors import (
    AiocompressError,
    CorruptError,
    LimitError,
    UnsafeMemberError,
)
from aiocompress.formats import FORMATS
from aiocompress.formats.base import Piece
from aiocompress.formats.framed import container as framed
from aiocompress.formats.tar.header import to_bytes
from aiocompress.model import MIB, Member, OnError, Report
from aiocompress.storage.atomic_file import umask
from aiocompress.storage.base import OpenedSource
from aiocompress.storage.restorer import Keeping
from aiocompress.storage.sources import opened
from aiocompress.verbs.archive.finish import ENDLESS, MemberMaker
from aiocompress.verbs.base import Tally, into_folder, verb
from aiocompress.verbs.decode import Decoder, Decoding, Rooms, outcome, pieces, stepped
from aiocompress.verbs.found import HINT, Found, shown
from aiocompress.verbs.options import READ_SIZE, Bounds, Reading, Restoring, Writing
from aiocompress.verbs.select import Selection
from aiocompress.workers.lane import Lane
from aiocompress.workers.pipeline import Sent, in_order
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

_RUN_COMPRESSED, _RUN_RAW, _RUN_ITEMS = 2 * MIB, 4 * MIB, 512
_SCRIPT_CHUNK: Final = MIB
"""Raw bytes of the script's chunks: a file of just one may have lost the others."""
_ZSTD: Final = FORMATS["zstd"]


async def decompress_tree(
    pool: WorkerPool,
    source: str,
    destination: str,
    reading: Reading,
    writing: Writing,
    *,
    on_error: OnError,
    bounds: Bounds,
) -> Report:
    """Give back the files of a framed container.

    :param on_error: "skip" leaves out files that are refused or damaged, and reports them.
    :raises CorruptError: it is damaged, or chunks of a file are not in order.
    :raises UnsafeMemberError: a file would be outside of the folder.
    :raises LimitError: there is more than ``max_output``, or a frame or file above a limit.
    :raises OSError: a file cannot be read or written; ``FileExistsError``: the folder exists.
    """
    async with (
        verb(pool, "extracting", writing, found=Found(), back=True) as run,
        opened(source, pool) as data,
        into_folder(run, destination) as building,
    ):
        run.name, run.total = data.name, data.size
        restoring = Restoring(Selection(), Keeping(), on_error, bounds)
        files = Files(building.descriptor, restoring, run.tally.found)
        await _Restoration(pool, data, files, reading, run.tally).run()
    return run.report()


class Part(NamedTuple):
    """A chunk on its way back: where its frame stands, bytes of it, and raw bytes if known."""

    offset: int
    frame: int
    size: int
    raw: int | None


Items: TypeAlias = list[framed.Path | Part]


class _Gathered:
    """Paths and chunks that travel together.

    :param whole: the most bytes of a frame and its raw data.
    """

    def __init__(self, whole: int) -> None:
        self.items: Items = []
        self._frames: list[tuple[int, int]] = []
        self._whole, self._room, self._data = whole, 0, bytearray()
        self._is_exact = True
        """Whether the size of the raw data is known; one frame that does not say it goes alone."""

    def fits(self, event: framed.Event) -> bool:
        """Whether it is not worth a worker's task yet, and can take an event, too."""
        if (
            len(self._data) >= _RUN_COMPRESSED
            or self._room >= _RUN_RAW
            or len(self.items) >= _RUN_ITEMS
            or not self._is_exact
        ):
            return False
        if isinstance(event, framed.Path) or not self._frames:
            return True
        size = len(self._data) + len(event.data) + self._room + event.header.room
        return event.raw_size is not None and size <= self._whole

    def add(self, event: framed.Event) -> None:
        """Take an event."""
        if isinstance(event, framed.Path):
            self.items.append(event)
            return
        size, raw = len(event.data), event.raw_size
        room = min(event.header.room, self._whole - size)
        self._is_exact = raw is not None
        self.items.append(Part(event.offset, event.frame, size, raw))
        self._frames.append((size, room))
        self._data += event.data
        self._room += room

    def piece(self) -> Piece | None:
        """Return the frames as a run to be decoded; None: there are only paths."""
        first = next((item for item in self.items if isinstance(item, Part)), None)
        if first is None:
            return None
        frames, data = tuple(self._frames), memoryview(self._data)
        return Piece(first.offset, first.frame, data, frames, self._is_exact)


class _Restoration:
    """One container on its way back: read, decoded by workers, written in order."""

    def __init__(
        self, pool: WorkerPool, source: OpenedSource, files: Files, reading: Reading, tally: Tally
    ) -> None:
        self._pool, self._source, self._files = pool, source, files
        self._reading, self._tally = reading, tally
        self._reader = framed.Reader(max_window=reading.max_window, whole=pool.slots.largest)
        small = source.size is not None and source.size <= READ_SIZE
        self._decoder = Decoder(Lane(pool, small=small), _ZSTD)
        self._error: AiocompressError | None = None
        """Why the container cannot be read any further."""

    async def run(self) -> None:
        files, tally = self._pool.files, self._tally
        try:
            async with aclosing(in_order(self._arrivals(), self._pool.window)) as arrivals:
                async for decoding, items in arrivals:
                    await self._take(decoding, items)
            if self._error is not None:
                await call(files, self._files.cut, self._error)
            finish = partial(self._files.finish, unordered=self._reader.may_be_unordered)
            await call(files, finish)
        finally:
            await call(files, self._files.close)
        # Paths and lengths belong to no frame.
        tally.add(0, tally.read_bytes - tally.compressed_bytes, 0)

    # Reading.

    async def _arrivals(self) -> AsyncGenerator[Sent[Decoding | None, Items]]:
        """Read the container, and start a job for each run of chunks."""
        gathered = _Gathered(self._pool.slots.largest)
        try:
            following, about = self._reader.next_event, (self._reading, self._tally)
            events: AsyncGenerator[framed.Event]
            events = pieces(self._source, self._reader, following, *about)
            async with aclosing(events):
                async for event in events:
                    if not gathered.fits(event):
                        yield await self._start(gathered)
                        gathered = _Gathered(self._pool.slots.largest)
                    gathered.add(event)
        except AiocompressError as error:
            self._error = error.located(file=self._source.name)
        yield await self._start(gathered)

    async def _start(self, gathered: _Gathered) -> Sent[Decoding | None, Items]:
        piece = gathered.piece()
        return Sent(None if piece is None else await self._decoder.start(piece), gathered.items)

    # Writing.

    async def _take(self, decoding: Decoding | None, items: Items) -> None:
        files = self._pool.files
        if decoding is None:
            await call(files, self._files.take, items, memoryview(b""))
        elif await outcome(decoding, strict=False) is not None:
            assert decoding.job is not None
            data = memoryview(decoding.job.data)
            self._tally.add(len(data), decoding.size, decoding.frames)
            self._reading.check_output(self._tally.raw_bytes)
            await call(files, self._files.take, items, data)
        else:
            await self._stream(items, memoryview(decoding.input))

    async def _stream(self, items: Items, data: memoryview) -> None:
        """Look frame by frame at what a worker could not decode."""
        for item in items:
            if isinstance(item, framed.Path):
                await call(self._pool.files, self._files.begin, item)
                continue
            steps = self._files.stream(item, data[: item.size], self._reading.max_window)
            async with aclosing(stepped(self._pool, steps)) as sizes:
                async for size in sizes:
                    self._tally.add(size, 0, 0)
                    self._reading.check_output(self._tally.raw_bytes)
            self._tally.add(0, item.size, 1)
            data = data[item.size :]


class Files(MemberMaker):
    """Writes files one after another; plain blocking code; ``close`` always."""

    def __init__(self, root: int, restoring: Restoring, found: Found) -> None:
        super().__init__(root, restoring, found)
        self._raises = restoring.on_error == "raise"
        self._mode = 0o666 & ~umask()
        self._name = b""
        self._members = self._size = 0
        self._order = framed.Order()
        self._doubtful = Found()
        """Files whose order nothing shows, if the script wrote the container."""

    def take(self, items: Items, data: memoryview) -> None:
        """Take paths and chunks, whose raw bytes are ``data``.

        :raises AiocompressError: a file is refused, and not to be left out.
        :raises OSError: one cannot be written.
        """
        for item in items:
            if isinstance(item, framed.Path):
                self.begin(item)
            else:
                size = len(data) if item.raw is None else item.raw
                self._write(data[:size])
                self._end_chunk(item, size)
                data = data[size:]

    def stream(self, part: Part, frame: memoryview, max_window: int) -> Iterator[int]:
        """Decode a chunk as a stream, and write it; yields the bytes of each step.

        :raises CorruptError: it is damaged, and its file not to be left out.
        """
        decoder, size = _ZSTD.codec.open_stream(max_window), 0
        blocks = Rooms().blocks(decoder, (frame,))
        while True:
            try:
                block = next(blocks, None)
                if block is None:
                    decoder.finish()
            except AiocompressError as error:
                self._refuse(error.located(base=part.offset, frame=part.frame))
                return
            if block is None:
                break
            self._write(memoryview(block))
            size += len(block)
            yield len(block)
        self._end_chunk(part, size)

    def begin(self, path: framed.Path) -> None:
        """Begin a file, and end the one before it."""
        self._end_file()
        self._members += 1
        self._restoring.bounds.check_count(self._members)
        self._name, self._order, self._size = to_bytes(path.name), framed.Order(), 0
        self._found.latest = self._name
        self._attempt(self._name, self._make, path.name)

    def _make(self, name: str) -> None:
        place = self._failures.place(self._name)
        if not place:
            raise UnsafeMemberError("it has no name")
        about = Member(name, mode=self._mode, mtime_ns=time.time_ns())
        member = about._replace(size=ENDLESS, stored_size=ENDLESS)
        self._instead(place, partial(self._file.begin, place, member))

    def _write(self, data: memoryview) -> None:
        self._size += len(data)
        try:
            if self._file.is_open:
                self._restoring.bounds.check_size(self._size)
        except LimitError as error:
            self._file.drop()
            self.refuse(self._name, error)
        self._file.write(data)

    def _end_chunk(self, part: Part, size: int) -> None:
        if not self._order.add(size):
            self._refuse(
                CorruptError("its chunks are not in order", offset=part.offset, frame=part.frame)
            )

    def _refuse(self, error: AiocompressError) -> None:
        """Remove the file: it is damaged."""
        if not self._file.is_open:
            return  # it was refused before
        self._file.drop()
        name = shown(self._name)
        if self._raises:
            error.reason, error.hint = f"member {name}: {error.reason}", HINT
            raise error
        self._found.refuse(f"{name}: {error.reason} at byte {error.offset} (frame {error.frame})")

    def _end_file(self) -> None:
        if self._file.is_open:
            self._file.resize(self._size)
            self._file.end()
            if self._order.chunks > 1 or self._order.first == _SCRIPT_CHUNK:
                self._doubtful.change(f"{shown(self._name)}: its order cannot be verified")

    def finish(self, *, unordered: bool) -> None:
        """End the last file.

        :param unordered: chunks may stand in the wrong order, or under another file.
        """
        self._end_file()
        if unordered:
            self._found.add(self._doubtful)

    def cut(self, error: AiocompressError) -> None:
        """Tell that nothing more can be read; the last file may not be whole.

        :raises AiocompressError: the error, unless files are to be left out.
        """
        if self._raises:
            raise error
        if self._file.is_open:
            self._file.drop()
            self._found.refuse(f"{shown(self._name)}: it is not whole")
        self._found.refuse(f"{error}; what follows is not restored")
