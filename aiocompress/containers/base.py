"""What a container does, both ways, without input or output: feed it bytes, get frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Generator, Iterator
from typing import Final, NamedTuple, Protocol, TypeAlias

from ..errors import DATA_BEFORE, AiocompressError, CorruptError, TruncatedError
from ..model import MIB, Buffer

PART: Final = MIB
LARGEST_TABLE: Final = 64 * MIB
"""Bytes of the largest table of frames that is read whole: 28 TB in chunks of 5 MiB."""
_RUN_COMPRESSED, _RUN_FRAMES = 2 * MIB, 256


class Piece(NamedTuple):
    """A run of bytes of a container: whole frames, or a part of a stream.

    Where ``frames`` is not None it holds (compressed, raw) bytes of each whole frame in ``data``;
    a raw size is exact, or a bound, as ``exact`` says. Where it is None, ``data`` is for a
    ``StreamDecoder``, finished after the piece that is ``last``. ``offset`` counts bytes,
    ``first_frame`` frames, from the start of the container. ``data`` is valid until the
    reader is fed again.
    """

    offset: int
    first_frame: int
    data: memoryview
    frames: tuple[tuple[int, int], ...] | None = None
    exact: bool = False
    last: bool = False

    @property
    def room(self) -> int:
        """Bytes that the raw data of the whole frames takes at most."""
        return sum(raw for _, raw in self.frames or ())


class Writer(Protocol):
    """Frames in, the container's bytes out."""

    def add(self, frame: memoryview, raw_size: int) -> tuple[Buffer, ...]:
        """Return what to write for this frame, in order: views of it, and bytes of our own."""
        ...

    index_last: bool
    """Whether index blocks stand behind all frames: the caller keeps them till then."""

    def index(self, block: bytes) -> bytes:
        """Return what holds a block of an archive's index, in the order of the frames."""
        ...

    def finish(self) -> bytes:
        """Return what ends the container."""
        ...


Request: TypeAlias = tuple[int, int]
"""Offset and size of bytes that are wanted."""


class FrameTable(NamedTuple):
    """Where the frames of a container stand, as its own index says: a hint, to be verified.

    ``starts`` and ``raws`` are the compressed and raw offsets of each frame that holds data;
    ``sizes`` their compressed sizes; the last of ``raws`` is the raw size of it all. ``blocks`` are
    (offset, size) of what holds the blocks of an archive's index, in order.
    """

    starts: array[int]
    sizes: array[int]
    raws: array[int]
    blocks: list[Request]

    def find(self, raw_offset: int) -> int:
        """Return the number of the frame that holds the byte there."""
        return bisect_right(self.raws, raw_offset, 0, len(self.starts)) - 1

    def raw_size(self, frame: int) -> int:
        """Return the raw bytes of a frame."""
        return self.raws[frame + 1] - self.raws[frame]


Search: TypeAlias = Generator[Request, bytes, FrameTable | None]
"""Yields what it wants to read, is sent those bytes (fewer at the end), and returns the table;
None: there is none that can be believed."""

Steps: TypeAlias = Iterator[Piece | None]


class Reader(ABC):
    """Bytes in, pieces out: ``feed`` and ``next_piece`` by turns, then ``end``, ``next_piece``.

    A format writes ``_parse``, a generator that yields pieces, and None for "more bytes".

    :param run: raw bytes of small frames that travel together, unless one alone is larger.
    :param whole: raw plus compressed bytes of the largest frame that is given out whole.
    :param max_window: bytes of the largest zstd window allowed.
    :param strict: a damaged index is an error, not a warning.
    """

    def __init__(
        self, *, whole: int, max_window: int, run: int = 4 * MIB, strict: bool = False
    ) -> None:
        self.warnings: list[str] = []
        self.frames = 0
        """Frames given out so far; a stream whose frames cannot be found counts as one."""
        self._whole, self._max_window, self._strict = whole, max_window, strict
        self._run_size = run
        self._store = bytearray()
        self._buffer = memoryview(self._store)
        """What was fed and not dropped: a view of ``_store``, which never shrinks, for the pages
        of memory that is given back come back one page fault each."""
        self._start = 0
        self._offset = 0
        self._ended = False
        self._steps = self._parse()

    def feed(self, data: Buffer) -> None:
        """Take the next bytes, after ``next_piece`` has returned None."""
        size = len(data)
        self.room(size)[:size] = data
        self.fill(size)

    def room(self, size: int) -> memoryview:
        """Return room to read the next ``size`` bytes into; ``fill`` then says how many came."""
        end = len(self._buffer)
        if self._start + end + size > len(self._store):
            store = self._store if end + size <= len(self._store) else bytearray(2 * (end + size))
            view = memoryview(store)
            view[:end] = self._buffer
            self._store, self._start, self._buffer = store, 0, view[:end]
        at = self._start + end
        return memoryview(self._store)[at : at + size]

    def fill(self, size: int) -> None:
        """Take the bytes that were read into ``room``."""
        end = self._start + len(self._buffer) + size
        self._buffer = memoryview(self._store)[self._start : end]

    def end(self) -> None:
        """Say that no bytes follow."""
        self._ended = True

    def next_piece(self) -> Piece | None:
        """Return the next piece; None: more bytes are needed, or, after ``end``, nothing is left.

        :raises CorruptError: the container is damaged there.
        :raises TruncatedError: after ``end``: the container is not whole.
        :raises FormatError: a frame needs a dictionary.
        :raises LimitError: a frame needs a larger window than allowed.
        """
        try:
            return next(self._steps, None)
        except AiocompressError as error:
            raise error.located(base=self._offset, frame=self.frames) from None

    @abstractmethod
    def _parse(self) -> Steps:
        """Yield the pieces of the whole container; the buffer begins where one does."""

    def _need(self, size: int) -> Generator[None, None, bool]:
        """Wait until the buffer holds ``size`` bytes; returns whether it does at the end."""
        while len(self._buffer) < size and not self._ended:
            yield None
        return len(self._buffer) >= size

    def _drop(self, size: int) -> None:
        self._buffer = self._buffer[size:]
        self._start += size
        self._offset += size

    def _give_frames(self, frames: list[tuple[int, int]], *, exact: bool) -> Steps:
        """Give out the first bytes as whole frames, and drop them when asked again."""
        size = sum(compressed for compressed, _ in frames)
        data = self._buffer[:size]
        yield Piece(self._offset, self.frames, data, tuple(frames), exact)
        self.frames += len(frames)
        self._drop(size)

    def _give_part(self, size: int, *, last: bool) -> Steps:
        """Give out the first bytes as part of a stream, and drop them when asked again."""
        data = self._buffer[:size]
        yield Piece(self._offset, self.frames, data, last=last)
        self.frames += last
        self._drop(size)

    def _is_full(self, frames: list[tuple[int, int]], compressed: int) -> bool:
        """Whether a run is worth a worker's task."""
        return (
            compressed >= _RUN_COMPRESSED
            or len(frames) >= _RUN_FRAMES
            or sum(raw for _, raw in frames) >= self._run_size
        )

    def _rest(self) -> Steps:
        """Give out all that follows as one stream, which finds its own end."""
        while (yield from self._need(1)):
            yield from self._give_part(min(len(self._buffer), PART), last=False)
        yield from self._give_part(0, last=True)

    def _padding(self) -> Steps:
        """Zeros may follow the last frame, as on tapes; anything else is garbage."""
        while (yield from self._need(1)):
            garbage = len(bytes(self._buffer).lstrip(b"\0"))
            self._drop(len(self._buffer) - garbage)
            if garbage:
                raise CorruptError("garbage after the compressed data", offset=0, hint=DATA_BEFORE)

    def _cut_off(self) -> TruncatedError:
        return TruncatedError("the file is cut off", offset=len(self._buffer), hint=DATA_BEFORE)

    def _index_is_damaged(self) -> None:
        problem = "the index at the end does not match the frames"
        if self._strict:
            hint = "the data before it is whole: decompress it and compress it again"
            raise CorruptError(problem, offset=0, hint=hint)
        self.warnings.append(f"{problem} at byte {self._offset}; it was not used")


class StreamReader(Reader):
    """A container whose frames cannot be found: all of it is one stream."""

    def _parse(self) -> Steps:
        return self._rest()
