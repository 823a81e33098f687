"""``framed``: a folder as paths and zstd frames, the plain container of the original script.

    path    u16 length | UTF-8 path          (bytes that are not UTF-8 stay as they are)
    chunk   u32 length | zstd frame          (0 or more behind the path of their file)

Ours is big-endian, counts bytes, and stands in order. The script in circulation counts the
*characters* of a path and writes chunks as they finish, so that one can stand under another file;
both also exist little-endian. All four are read, and evidence tells which it is: the magic of a
zstd frame at +4 makes a chunk, for 0xB5 and 0xFD there are never UTF-8; everything else is a path,
if what it leads to is an entry again. What no evidence tells apart (bytes and characters are
the same in ASCII) reads the same, and stays open.

The format has neither a mark nor an end: a cut that falls exactly between two entries cannot be
seen. The first frame of ours is marked in its header, as ``.zst`` files are, where every decoder
reads over it: it tells that the chunks stand in order.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Final, NamedTuple, TypeAlias, TypeVar, cast

from aiocompress.errors import (
    AiocompressError,
    CorruptError,
    FormatError,
    LimitError,
    TruncatedError,
)
from aiocompress.formats import base
from aiocompress.formats.base import Steps
from aiocompress.formats.framed.paths import ALL, OURS, SCRIPT, Found, Variant, decoded, path_end
from aiocompress.formats.zstd import codec as zstd
from aiocompress.formats.zstd.codec import MAGIC, FrameHeader, FrameWalk
from aiocompress.model import KIB

DETECT_SIZE: Final = 64 * KIB
"""Bytes that ``detect`` wants to see, where a file has as many."""
_LONGEST_PATH: Final = 0xFFFF
_U32_MAX: Final = 0xFFFFFFFF
_DEPTH: Final = 16
"""Paths one after another, in one reading, that are evidence enough for it."""
_LOOK_AHEAD: Final = 64 * KIB
"""No path that begins further behind the one in question is looked at."""
_LONGEST_DETECTED: Final = 4096
_BEFORE: Final = "the files before it are whole"

_T = TypeVar("_T")


class Path(NamedTuple):
    """A file begins. ``name`` has surrogate escapes (PEP 383); whether it is safe is not judged.

    ``offset`` is that of the entry, in bytes from the start of the container.
    """

    name: str
    offset: int


class Chunk(NamedTuple):
    """The next frame of the file: whole, its end verified; valid until the next event is asked for.

    ``offset`` is where the frame itself begins, in bytes, ``frame`` its number.
    """

    data: memoryview
    offset: int
    frame: int
    header: FrameHeader

    @property
    def raw_size(self) -> int | None:
        """Raw bytes, as the header says; None: it does not."""
        return self.header.content_size

    @property
    def room(self) -> int:
        """Bytes that the raw data takes, or, where the header does not say, hardly exceeds."""
        size = self.raw_size
        return 4 * self.header.window if size is None else size


Event: TypeAlias = Path | Chunk
Events: TypeAlias = Generator[Event | None, None, None]


class Order:
    """The rule for the chunks of one file: only the last may be smaller than the first.

    All that can be told of a file whose chunks may stand in the wrong order.
    """

    def __init__(self) -> None:
        self.chunks = 0
        self.is_broken = False
        """Whether the file's content cannot be what it was: it is to be refused."""
        self.first = self._last = 0

    def add(self, raw_size: int) -> bool:
        """Count the next chunk's real raw bytes; returns whether the rule holds so far."""
        if self.chunks:
            self.is_broken |= self._last != self.first or raw_size > self.first
        else:
            self.first = raw_size
        self._last = raw_size
        self.chunks += 1
        return not self.is_broken


class Paths:
    """What stands in front of the chunks of each file, in the order of the files."""

    def __init__(self) -> None:
        self._short = b""

    def entry(self, name: bytes, *, has_chunks: bool) -> bytes:
        """Return what begins a file.

        :param name: its path, "/" between folders.
        :raises FormatError: it is empty, above 65535 bytes, or would read as a zstd frame.
        """
        if not 0 < len(name) <= _LONGEST_PATH:
            raise _unwritable(name, "an empty path" if not name else "a path above 65535 bytes")
        entry = len(name).to_bytes(2, "big") + name
        if MAGIC in (entry[4:8], (self._short + entry[:8])[4:8]):
            raise _unwritable(name, "a path that reads as a zstd frame")
        self._short = entry if len(entry) < 8 and not has_chunks else b""
        return entry


def chunk_entry(frame: memoryview, *, is_first: bool) -> tuple[bytes, memoryview]:
    """Return what to write for a chunk, in order: content size and checksum stand in its frame.

    :param is_first: of the whole container: it is marked.
    :raises FormatError: the frame is above 4 GiB.
    """
    head = b""
    if is_first:
        header = zstd.parse_header(frame)
        assert header is not None
        head, frame = zstd.mark_header(header), frame[header.size :]
    size = len(head) + len(frame)
    if size > _U32_MAX:
        raise FormatError("a framed folder cannot hold a chunk above 4 GiB")
    return size.to_bytes(4, "big") + head, frame


LARGEST_CHUNK_HEAD: Final = 4 + zstd.LARGEST_HEADER
"""Bytes that ``chunk_entry`` adds to a frame at most."""


def _unwritable(name: bytes, what: str) -> FormatError:
    return FormatError(
        f"a framed folder cannot hold {what}",
        file=name[:_LONGEST_DETECTED].decode("utf-8", "surrogateescape"),
        hint="rename the file, or write a tar",
    )


class Reader(base.Reader):
    """A container of any of the four kinds to events; see ``base.Reader`` for how it is fed.

    :param whole: raw plus compressed bytes of the largest frame allowed.
    :param max_window: bytes of the largest zstd window allowed.
    """

    def __init__(self, *, max_window: int, whole: int) -> None:
        super().__init__(whole=whole, max_window=max_window)
        self._live: tuple[Variant, ...] = ALL
        self._in_file = self._is_ours = self._short = False

    @property
    def may_be_unordered(self) -> bool:
        """Whether, for all that is known by now, the original script wrote what is being read.

        Then the order of the chunks of a file that has several cannot be verified. Later evidence
        can take this back: ask at the end.
        """
        return SCRIPT in self._live and not self._is_ours

    def next_event(self) -> Event | None:
        """Return the next event; None: more bytes are needed, or, after ``end``, nothing is left.

        :raises CorruptError: the container is damaged there.
        :raises TruncatedError: after ``end``: the container is not whole.
        :raises FormatError: a frame needs a dictionary.
        :raises LimitError: a frame needs a larger window, or more memory, than allowed.
        """
        # They travel as pieces do, so that offsets are added to errors in one place.
        return cast("Event | None", self.next_piece())

    def _parse(self) -> Steps:
        return cast("Steps", self._events())

    def _events(self) -> Events:
        while (yield from self._need(1)):
            yield from self._need(8)
            if self._is_chunk(0):
                yield from self._chunk()
            elif self._is_padding(0):
                yield from self._zeros()
            else:
                yield from self._path()

    # What stands at a place of the buffer.

    def _is_chunk(self, at: int) -> bool:
        """Whether a frame's magic stands behind a length; 8 bytes must be present, or the end."""
        return bytes(self._buffer[at + 4 : at + 8]) == MAGIC

    def _is_padding(self, at: int) -> bool:
        """Whether zeros begin there; fewer than 4 may be a chunk's length, cut off."""
        return bytes(self._buffer[at : at + 4]) == bytes(4)

    def _is_end(self, at: int) -> bool:
        return at == len(self._buffer) or self._is_padding(at)

    def _found(self, at: int, variant: Variant) -> Generator[None, None, Found | None]:
        """Wait for the path that begins there; None: none does, or it is cut off."""
        size = 2
        while (yield from self._need(at + size)):
            end = path_end(self._buffer, at, variant)
            if end <= len(self._buffer):
                return decoded(self._buffer, at, end, variant)
            size = end - at
        self._short = True
        return None

    # Chunks.

    def _chunk(self) -> Events:
        if not self._in_file:
            raise CorruptError("a chunk that belongs to no file", offset=0, hint=_BEFORE)
        frame = yield from self._frame()
        if frame is None:
            raise self._cut_off()
        header, size = frame
        self._keep(lambda variant: self._claim(variant) == size)
        self._look_for_mark(header)
        data, offset = self._buffer[4 : 4 + size], self._offset + 4
        yield Chunk(data, offset, self.frames, header)
        self.frames += 1
        self._drop(4 + size)

    def _claim(self, variant: Variant) -> int:
        return int.from_bytes(self._buffer[:4], variant.order)

    def _frame(self) -> Generator[None, None, tuple[FrameHeader, int] | None]:
        """Wait for the whole frame: its header and size; None: it is cut off."""
        longest = max(map(self._claim, self._live))
        try:
            while (header := zstd.parse_header(self._buffer, 4)) is None:
                if not (yield from self._need(len(self._buffer) + 1)):
                    return None
            zstd.check_header(header, self._max_window)
            walk = FrameWalk(header)
            while not walk.ended or 4 + walk.size > len(self._buffer):
                if not (yield from self._need(4 + walk.size + (0 if walk.ended else 3))):
                    return None
                walk.advance(self._buffer, 4)
                self._check_size(walk.size, header, longest)
        except AiocompressError as error:
            error.hint = error.hint or _BEFORE
            raise error.located(base=4) from None
        return header, walk.size

    def _check_size(self, size: int, header: FrameHeader, longest: int) -> None:
        """Refuse a frame as soon as it is known to be too long, for its length or for memory."""
        if size > longest:
            raise self._lie()
        need = size + (header.content_size or 0)
        if need > self._whole:
            raise LimitError(
                f"the frame needs {need} bytes of memory, {self._whole} are allowed",
                offset=0,
                hint="raise memory_limit (--memory-limit)",
            )

    def _keep(self, is_possible: Callable[[Variant], bool]) -> None:
        """Go on with the ways to read a length that agree with the frame."""
        live = tuple(filter(is_possible, self._live))
        if not live:
            raise self._lie().located(base=4)
        self._live = live

    def _look_for_mark(self, header: FrameHeader) -> None:
        """Only the first frame says that all is ours: others may stand behind what is not."""
        if not self.frames and OURS in self._live and header.is_marked:
            self._live, self._is_ours = (OURS,), True

    # Paths.

    def _path(self) -> Events:
        self._short = False
        found = yield from _each(self._live, lambda variant: self._found(0, variant))
        live = yield from self._plausible(found)
        # Where this still leaves two, the first of ``ALL`` is the likelier one.
        path = found[live[0]]
        self._live = tuple(variant for variant in live if found[variant].end == path.end)
        self._in_file = True
        yield Path(path.name, self._offset)
        self._drop(path.end)

    def _plausible(self, found: dict[Variant, Found]) -> Generator[None, None, tuple[Variant, ...]]:
        """Return the ways that lead on; paths that are no clean text need more evidence."""
        ends = {path.end for path in found.values()}
        clean = [variant for variant, path in found.items() if path.is_clean]
        depth = 1 if len(ends) == 1 else _DEPTH
        live = yield from _each(clean, lambda one: self._leads_on(found[one].end, one, depth))
        if not live:
            live = yield from _each(found, lambda one: self._leads_on(found[one].end, one))
        if not live:
            raise self._no_entry(min(ends, default=0))
        return tuple(live)

    def _leads_on(
        self, at: int, variant: Variant, clean_depth: int = 0
    ) -> Generator[None, None, bool]:
        """Whether paths lead from there to a chunk, or on and on.

        Clean ones may be ``clean_depth``, and may lead to the end. Others have to go further,
        unless it is ours for certain.
        """
        last = at + _LOOK_AHEAD
        for _ in range(clean_depth or _DEPTH):
            is_long = yield from self._need(at + 8)
            if self._is_chunk(at) or ((clean_depth or self._is_ours) and self._is_end(at)):
                return True
            path = yield from self._found(at, variant)
            if path is None or "\0" in path.name or (clean_depth and not path.is_text):
                self._short |= not is_long
                return False
            at = path.end
            if at > last:
                break
        return True

    # What is wrong.

    def _zeros(self) -> Events:
        try:
            for _ in self._padding():
                yield None
        except CorruptError as error:
            error.hint = _BEFORE
            raise

    def _no_entry(self, at: int) -> CorruptError:
        if self._short or len(self._buffer) < 8:  # the beginning of a path, or of a chunk
            return self._cut_off()
        return CorruptError("neither a path nor a chunk", offset=at, hint=_BEFORE)

    def _cut_off(self) -> TruncatedError:
        return TruncatedError("the file is cut off", offset=len(self._buffer), hint=_BEFORE)

    def _lie(self) -> CorruptError:
        return CorruptError(
            "the length of a chunk is not that of its zstd frame", offset=0, hint=_BEFORE
        )


def detect(head: bytes) -> bool:
    """Whether a file looks like a framed folder.

    Stricter than the reader: the paths, at most 4096 bytes long, lead to a chunk; or, if they are
    UTF-8 without control characters, to the file's end, or 16 paths on.

    :param head: the file's first ``DETECT_SIZE`` bytes, or all of it.
    """
    view = memoryview(head)[:DETECT_SIZE]
    return any(_looks_like(view, variant) for variant in ALL)


def _looks_like(head: memoryview, variant: Variant) -> bool:
    at, count, is_plain = 0, 0, True
    while not (is_plain and count == _DEPTH):
        path = _likely_path(head, at, variant)
        if path is None:
            return False
        at, count = path.end, count + 1
        is_plain = is_plain and path.is_text and min(path.name) >= " "
        if bytes(head[at + 4 : at + 8]) == MAGIC:
            return True
        if at == len(head):
            return is_plain and at < DETECT_SIZE
    return True


def _likely_path(head: memoryview, at: int, variant: Variant) -> Found | None:
    end = path_end(head, at, variant) if at + 2 <= len(head) else at
    if not at + 2 < end <= min(len(head), at + 2 + _LONGEST_DETECTED):
        return None
    path = decoded(head, at, end, variant)
    return None if path is None or "\0" in path.name else path


def _each(
    variants: Iterable[Variant], look: Callable[[Variant], Generator[None, None, _T | None]]
) -> Generator[None, None, dict[Variant, _T]]:
    """Look in several ways; returns what was found, by the way."""
    found = {}
    for variant in variants:
        if one := (yield from look(variant)):
            found[variant] = one
    return found
