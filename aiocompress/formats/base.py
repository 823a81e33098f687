"""What a format is: a codec, a container for its frames, and the marks that tell it from others.

Nothing here reads or writes files: a reader is fed bytes and returns frames, a writer the reverse.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from aiocompress.errors import DATA_BEFORE, AiocompressError, CorruptError, Lines, TruncatedError
from aiocompress.model import KIB, MIB, Buffer

if TYPE_CHECKING:
    from aiocompress.formats.scan import Scan, View

PART: Final = MIB
_LARGEST_BARE: Final = 64 * KIB
"""Raw bytes of the largest file that is one frame and nothing else: a cut through it shows, so it
needs no mark and no table."""
LARGEST_TABLE: Final = 64 * MIB
"""Bytes of the largest table of frames that is read whole: 28 TB in chunks of 5 MiB."""
AT_ONCE: Final = 4 * MIB
"""Bytes of an archive's end that are read in one piece, however many parts the index has."""
_RUN_COMPRESSED, _RUN_FRAMES = 2 * MIB, 256
STREAM = -1
"""Returned by ``Codec.decompress``: the frame is not what its index says; decode it as a stream."""


RoomFor: TypeAlias = Callable[[], memoryview]


class StreamDecoder(Protocol):
    """Decodes bytes that arrive in pieces, in blocks of bounded size whatever the input claims."""

    boundary: bool
    """Whether everything fed so far is decoded and ends exactly where a frame ends."""

    @abstractmethod
    def feed(self, data: Buffer) -> Iterator[Buffer]:
        """Yield the raw blocks (at most 1 MiB each) that ``data`` completes.

        :raises CorruptError: with the offset counted from the first byte ever fed.
        """
        ...

    def feed_into(self, parts: Iterable[Buffer], room_for: RoomFor) -> Iterator[memoryview]:
        """Feed parts one after another, and join the blocks in rooms as large as the largest.

        :param room_for: returns the room for the next blocks; the same one until it was yielded.
        :raises CorruptError: after what stands before the damage.
        """
        room, filled = memoryview(b""), 0
        try:
            for block in chain.from_iterable(map(self.feed, parts)):
                if filled + len(block) > len(room):
                    if filled:
                        yield room[:filled]
                    room, filled = room_for(), 0
                room[filled : filled + len(block)] = block
                filled += len(block)
        except AiocompressError:
            if filled:
                yield room[:filled]
            raise
        if filled:
            yield room[:filled]

    def finish(self) -> None:
        """Check, after the last ``feed``, that the input ended with a frame.

        :raises TruncatedError: it did not.
        """
        ...


class StreamEncoder(Protocol):
    """Compresses bytes that arrive in pieces into one frame; the mirror of ``StreamDecoder``."""

    def feed(self, data: Buffer, *, flush: bool = False) -> Buffer:
        """Return what can be written after ``data``; often nothing, for more may compress better.

        :param flush: return everything that a decoder needs to give back all bytes fed so far.
        """
        ...

    def finish(self) -> Buffer:
        """Return the end of the frame, its checksum included."""
        ...


class Codec(NamedTuple):
    """How to compress a chunk into a frame, and back."""

    open_stream: Callable[[int], StreamDecoder]
    """Returns a decoder for one stream, given the largest window allowed, in bytes."""
    decompress: Callable[[memoryview, memoryview], int]
    """Decodes one whole frame into a buffer; returns its raw length in bytes, or ``STREAM``."""
    decompress_to_bytes: Callable[[memoryview, int], bytes | None] | None = None
    """Decodes one whole frame into new bytes, at most so many, which saves whoever wants bytes a
    copy. It returns None where the frame has to be decoded into a buffer to see what is wrong."""
    levels: range = range(0)
    """Empty for a codec that is read only."""
    default_level: int = 0
    chunk_size: Callable[[int], int] = lambda _level: 0
    """Returns the default chunk size in bytes for a level."""
    bound: Callable[[int], int] = lambda _size: 0
    """Returns the size of the largest frame that a chunk of that many bytes can become."""
    slow_from: int = 10
    """The first level at which a chunk takes seconds."""
    compress: Callable[[memoryview, int], Buffer] = lambda data, _level: data
    """Compresses one chunk into one frame, at a level."""
    open_encoder: Callable[[int], StreamEncoder] | None = None
    """Returns an encoder for one frame of any size, given a level; None: frames are chunks."""
    compress_long: Callable[[memoryview, int, bool], Buffer] | None = None
    """Does as ``compress``, and finds repeats that are far apart; it is told whether the frame is
    the first of a file. None: the window is too small for that."""
    long_chunk_size: int = 0
    """The default and the largest chunk size for that, in bytes."""


class Piece(NamedTuple):
    """A run of bytes of a container: whole frames, or a part of a stream.

    ``frames`` holds (compressed, raw) bytes of each whole frame in ``data``; the raw sizes are
    exact, or upper bounds, as ``exact`` says. Where ``frames`` is None, ``data`` belongs to a
    ``StreamDecoder``, which ends with the piece that is ``last``. ``offset`` counts bytes,
    ``first_frame`` frames, from the start of the container. ``data`` stays valid until the
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
        """The most bytes that the raw data of the whole frames can take."""
        return sum(raw for _, raw in self.frames or ())


class Writer(Protocol):
    """Frames in, the container's bytes out."""

    index_last: bool
    """Whether index blocks stand behind all frames: the caller keeps them until then."""

    def add(self, frame: memoryview, raw_size: int) -> tuple[Buffer, ...]:
        """Return the buffers to write for a frame, in order: views of it, and added bytes."""
        ...

    def index(self, block: bytes) -> bytes:
        """Return the bytes that store a block of an archive's index in the container."""
        ...

    def finish(self) -> bytes:
        """Return the bytes that end the container."""
        ...


class Draft(Writer, Protocol):
    """Writes a container that others read while it grows: nothing in it demands an end.

    Such a container may also follow another one, in the same file.
    """

    def seal(self) -> tuple[int, bytes] | None:
        """Return what to write at which offset once all is written, so that a cut shows."""
        ...


Request: TypeAlias = tuple[int, int]
"""Offset and size, in bytes, of a part of the file."""


Read: TypeAlias = Callable[[int, int], bytes]
"""Returns so many bytes from an offset of the file; fewer at its end."""


class FrameTable(NamedTuple):
    """Where the frames of a container stand according to its own index: a hint, to be verified.

    ``starts`` and ``raws`` are the compressed and raw offsets of the frames that hold data, and
    ``sizes`` their compressed sizes; ``raws`` ends with the raw size of the whole container.
    ``blocks`` are (offset, size) of the places that store an archive's index blocks, in order.
    ``begin`` is where the container begins, if another one stands before it in the file.
    """

    starts: array[int]
    sizes: array[int]
    raws: array[int]
    blocks: list[Request]
    begin: int = 0

    def find(self, raw_offset: int) -> int:
        """Return the number of the frame that holds the byte at a raw offset."""
        return bisect_right(self.raws, raw_offset, 0, len(self.starts)) - 1

    def raw_size(self, frame: int) -> int:
        """Return the raw size of a frame in bytes."""
        return self.raws[frame + 1] - self.raws[frame]


Search: TypeAlias = Generator[Request, bytes, FrameTable | None]
"""Yields the part of the file it needs, is sent those bytes (fewer at the end of the file), and
returns the table; None: there is no credible one."""
Steps: TypeAlias = Generator[Piece | None]


def little_endian(column: array[Any]) -> array[Any]:
    """Return numbers in the byte order of files, or numbers from a file in that of this machine."""
    if sys.byteorder == "big":
        column = array(column.typecode, column)
        column.byteswap()
    return column


class Reader:
    """Bytes in, pieces out: ``feed`` and ``next_piece`` by turns, then ``end``, ``next_piece``.

    A format implements ``_parse``, a generator that yields pieces, and None for "more bytes". Where
    frames cannot be found, this class reads the container: all of it is one stream.

    :param whole: the most raw plus compressed bytes of a frame that is given out whole.
    :param max_window: the largest zstd window allowed, in bytes.
    :param run: the raw bytes after which a run of small frames is given out.
    :param strict: a damaged index is an error, not a warning.
    """

    _hint = DATA_BEFORE
    _without_end: str
    """What a cut between two frames leaves, for the error."""

    def __init__(
        self, *, whole: int, max_window: int, run: int = 4 * MIB, strict: bool = False
    ) -> None:
        self.warnings = Lines()
        self.frames = 0
        """How many frames were given out; a stream whose frames cannot be found counts as one."""
        self.gives_cut = False
        """Whether what there is of a frame that is cut off comes before the error: its writer may
        have flushed it."""
        self._whole, self._max_window, self._strict = whole, max_window, strict
        self._run_size = run
        self._store = self._buffer = memoryview(bytearray())
        """What was fed and not dropped: a view of ``_store``. That never shrinks: memory that is
        given back to the system comes back with one page fault a page."""
        self._start = self._given = 0
        self._offset = 0
        self._ended = False
        self._end_due = False
        """Whether the container has to end with a part that has not been met."""
        self._steps = self._parse()

    def feed(self, data: Buffer) -> None:
        """Take the next bytes; allowed once ``next_piece`` has returned None."""
        size = len(data)
        self.room(size)[:size] = data
        self.fill(size)

    def room(self, size: int) -> memoryview:
        """Return a buffer to read the next ``size`` bytes into; ``fill`` says how many came."""
        end = len(self._buffer)
        if self._start + end + size > len(self._store):
            needed = end + size
            store = self._store
            if needed > len(store):
                store = memoryview(bytearray(needed + needed // 4))
            store[:end] = self._buffer
            self._store, self._start, self._buffer = store, 0, store[:end]
        at = self._start + end
        return self._store[at : at + size]

    def fill(self, size: int) -> None:
        """Take the ``size`` bytes that the caller has read into ``room``."""
        end = self._start + len(self._buffer) + size
        self._buffer = self._store[self._start : end]

    def let_go(self) -> int:
        """Keep no more memory than is needed, while nobody asks for another piece for long.

        The last piece must have been copied, and its view released.

        :returns: bytes that were freed.
        """
        self._drop_given()
        freed = len(self._store) - len(self._buffer)
        self._store = self._buffer = memoryview(bytearray(self._buffer))
        self._start = 0
        return freed

    def end(self) -> None:
        """Declare that no bytes follow."""
        self._ended = True

    def close(self) -> None:
        """Stop where it is: its steps and it hold each other, and the buffer, until then."""
        self._steps.close()

    def next_piece(self) -> Piece | None:
        """Return the next piece; None: more bytes are needed, or, after ``end``, nothing is left.

        :raises CorruptError: the container is damaged at the error's offset.
        :raises TruncatedError: after ``end``, the container is incomplete.
        :raises FormatError: a frame needs a dictionary.
        :raises LimitError: a frame needs a larger window than allowed.
        """
        try:
            return next(self._steps, None)
        except AiocompressError as error:
            raise error.located(base=self._offset, frame=self.frames) from None

    def _parse(self) -> Steps:
        """Yield the pieces of the whole container, each with its first byte first in the buffer."""
        return self._rest()

    def _need(self, size: int) -> Generator[None, None, bool]:
        """Wait for ``size`` bytes in the buffer; returns False where the input ends before."""
        while len(self._buffer) < size and not self._ended:
            yield None
        return len(self._buffer) >= size

    def _drop(self, size: int) -> None:
        self._buffer = self._buffer[size:]
        self._start += size
        self._offset += size

    def _drop_given(self) -> None:
        self._drop(self._given)
        self._given = 0

    def _give_frames(self, frames: list[tuple[int, int]], *, exact: bool) -> Steps:
        """Give out the first bytes as whole frames, and drop them when asked again."""
        self._given = sum(compressed for compressed, _ in frames)
        data = self._buffer[: self._given]
        yield Piece(self._offset, self.frames, data, tuple(frames), exact)
        self.frames += len(frames)
        self._drop_given()

    def _give_part(self, size: int, *, last: bool) -> Steps:
        """Give out the first bytes as part of a stream, and drop them when asked again."""
        self._given = size
        yield Piece(self._offset, self.frames, self._buffer[:size], last=last)
        self.frames += last
        self._drop_given()

    def _is_full(self, frames: list[tuple[int, int]], compressed: int) -> bool:
        """Whether a run is large enough to be worth a worker's task."""
        return (
            compressed >= _RUN_COMPRESSED
            or len(frames) >= _RUN_FRAMES
            or sum(raw for _, raw in frames) >= self._run_size
        )

    def _rest(self) -> Steps:
        """Give out all that follows as one stream, whose decoder finds the end."""
        while (yield from self._need(1)):
            yield from self._give_part(min(len(self._buffer), PART), last=False)
        yield from self._give_part(0, last=True)

    def _padding(self) -> Steps:
        """Skip zeros up to the end, as tapes add them; anything else there is garbage."""
        while (yield from self._need(1)):
            garbage = len(bytes(self._buffer).lstrip(b"\0"))
            self._drop(len(self._buffer) - garbage)
            if garbage:
                raise CorruptError("garbage after the compressed data", offset=0, hint=self._hint)

    def _check_end(self) -> None:
        """Check, where the container ends or another one begins, that its last part was met."""
        if self._end_due:
            reason = f"the file is cut off between two {self._without_end}"
            raise TruncatedError(reason, offset=0, hint=self._hint)

    def _cut_off(self) -> TruncatedError:
        return TruncatedError("the file is cut off", offset=len(self._buffer), hint=self._hint)

    def _index_is_damaged(self) -> None:
        problem = "the index at the end does not match the frames"
        if self._strict:
            hint = "the data before it is whole: decompress it and compress it again"
            raise CorruptError(problem, offset=0, hint=hint)
        self.warnings.append(f"{problem} at byte {self._offset}; it was not used")


class Container(NamedTuple):
    """How to read a container and, unless it is read only, how to write it."""

    reader: type[Reader]
    writer: Callable[[], Writer] | None = None
    draft: Callable[[], Draft] | None = None
    search: Callable[[int], Search] | None = None
    """Looks for the table of frames of a file of that many bytes."""
    begins: Callable[[bytes, int, int], bool] = lambda _head, _compressed, _raw: False
    """Whether a frame of these sizes may begin with these bytes (up to 32)."""
    index_payload: Callable[[bytes], bytes | None] = lambda _: None
    """Unpacks an archive's index block from the bytes that store it; None: they store none."""
    is_frame: Callable[[memoryview, int], bool] = lambda _data, _raw_size: False
    """Whether bytes begin and end as one frame of that raw size does, damaged inside or not."""
    has_bare_files: bool = False
    """Whether a small file is one frame, as the codec makes it, and nothing else."""
    is_sole: Callable[[Read, int], bool] = lambda _read, _size: False
    """Whether a file of so many bytes is one frame that every HTTP client decodes."""
    whole: Callable[[bytes, int, int], bytes | None] = lambda _data, _most, _max_window: None
    """Decodes a small file of one frame at once, given the most raw bytes and the largest window
    allowed; None: the file is anything else, and ``reader`` has to read it. ``LimitError``: it says
    that it holds more."""


class Format(NamedTuple):
    """One row of the table: everything the rest of the library knows of a codec."""

    name: str
    suffixes: tuple[str, ...]
    """Suffixes of compressed files; files are written with the first one."""
    is_magic: Callable[[bytes], bool]
    """Whether a file that begins with these bytes (up to 18) is of this format."""
    codec: Codec
    container: Container
    tar_suffixes: tuple[str, ...] = ()
    """Short suffixes of a tar in this container, such as ``.tgz``."""
    scan: Callable[[View, int], Scan] | None = None
    """Opens the scan of a damaged file, given the largest window; None: it is not recoverable."""

    def is_bare(self, raw_size: int) -> bool:
        """Whether a file of so many raw bytes, all of them in one chunk, is just its frame."""
        return self.container.has_bare_files and raw_size <= _LARGEST_BARE
