"""``framed``: a folder as paths and zstd frames, the plain container of the original script.

    path    u16 length | UTF-8 path          (bytes that are not UTF-8 stay as they are)
    chunk   u32 length | zstd frame          (0 or more behind the path of their file)

Ours is big-endian, counts bytes, and stands in order. The script in circulation counts the
*characters* of a path and writes chunks as they finish, so that one can stand under another file;
both also exist little-endian. All four are read, and evidence tells which it is: the magic of a
zstd frame at +4 makes a chunk, for 0xB5 and 0xFD there are never UTF-8; everything else is a path,
if what it leads to is an entry again. What no evidence tells apart (bytes and characters are
the same in ASCII) reads the same, and stays open.

The format has neither a mark nor an end. Ours put both into headers of frames, where every decoder
reads over them: the first frame is marked as ``.zst`` files are, and behind the last file's chunks
stands a marked frame of nothing, which adds nothing to that file. So what is ours is known to be
in order, and when it is cut off between two entries this is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar, cast

from ..codecs import zstd
from ..codecs.zstd import MAGIC, FrameHeader, FrameWalk
from ..errors import AiocompressError, CorruptError, FormatError, LimitError, TruncatedError
from ..model import KIB, Buffer
from . import base
from .base import Steps

DETECT_SIZE: Final = 64 * KIB
"""Bytes that ``detect`` wants to see, where a file has as many."""
_LONGEST_PATH: Final = 0xFFFF
_U32_MAX: Final = 0xFFFFFFFF
_EMPTY_FRAME: Final = bytes.fromhex("28b52ffd 24 00 010000 99e9d851")
_DEPTH: Final = 16
"""Paths one after another, in one reading, that are evidence enough for it."""
_LOOK_AHEAD: Final = 64 * KIB
"""No path that begins further behind the one in question is looked at."""
_LONGEST_DETECTED: Final = 4096
_CONTINUATIONS: Final = bytes(range(0x80, 0xC0))
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

    ``offset`` is where the frame itself begins, ``frame`` its number, ``raw_size`` what its header
    says (None: nothing), in bytes.
    """

    data: memoryview
    offset: int
    frame: int
    raw_size: int | None


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
        self._first = self._last = 0

    def add(self, raw_size: int) -> bool:
        """Count the next chunk's real raw bytes; returns whether the rule holds so far."""
        if self.chunks:
            self.is_broken |= self._last != self._first or raw_size > self._first
        else:
            self._first = raw_size
        self._last = raw_size
        self.chunks += 1
        return not self.is_broken


class Writer:
    """Paths and frames, content size and checksum in each, to a container.

    ``path`` for each file, ``add`` for each of its chunks, ``finish`` at the end.
    """

    def __init__(self) -> None:
        self._short = b""
        self._has_path = self._has_frame = False

    def path(self, name: bytes) -> bytes:
        """Return what begins a file.

        :param name: its path, "/" between folders.
        :raises FormatError: it is empty, above 65535 bytes, or would read as a zstd frame.
        """
        if not 0 < len(name) <= _LONGEST_PATH:
            raise _unwritable(name, "an empty path" if not name else "a path above 65535 bytes")
        entry = len(name).to_bytes(2, "big") + name
        if MAGIC in (entry[4:8], (self._short + entry[:8])[4:8]):
            raise _unwritable(name, "a path that reads as a zstd frame")
        self._short = entry if len(entry) < 8 else b""
        self._has_path = True
        return entry

    def add(self, frame: memoryview, raw_size: int) -> tuple[Buffer, ...]:
        """Return what to write for the next frame of the file, in order; a frame of nothing: none.

        :raises FormatError: the frame is above 4 GiB.
        """
        if not raw_size:
            return ()
        head = b""
        if not self._has_frame:
            head, frame = _marked(frame)
            self._has_frame = True
        size = len(head) + len(frame)
        if size > _U32_MAX:
            raise FormatError("a framed folder cannot hold a chunk above 4 GiB")
        self._short = b""
        return size.to_bytes(4, "big") + head, frame

    def finish(self) -> bytes:
        """Return what ends the container: a folder without files is empty."""
        if not self._has_path:
            return b""
        head, rest = _marked(memoryview(_EMPTY_FRAME))
        return (len(head) + len(rest)).to_bytes(4, "big") + head + rest


def _marked(frame: memoryview) -> tuple[bytes, memoryview]:
    header = zstd.parse_header(frame)
    assert header is not None
    return zstd.mark_header(header), frame[header.size :]


def _unwritable(name: bytes, what: str) -> FormatError:
    return FormatError(
        f"a framed folder cannot hold {what}",
        file=name[:_LONGEST_DETECTED].decode("utf-8", "surrogateescape"),
        hint="rename the file, or write a tar",
    )


class _Variant(NamedTuple):
    """One way to read the lengths."""

    order: Literal["big", "little"]
    characters: bool


_OURS: Final = _Variant("big", characters=False)
_SCRIPT: Final = _Variant("big", characters=True)
_ALL: Final = (_OURS, _SCRIPT, _Variant("little", characters=False), _Variant("little", True))  # noqa: FBT003


class _Found(NamedTuple):
    """A path in one way to read it: where its entry ends, in bytes of the buffer."""

    end: int
    name: str
    is_text: bool


class Reader(base.Reader):
    """A container of any of the four kinds to events; see ``base.Reader`` for how it is fed.

    :param whole: raw plus compressed bytes of the largest frame allowed.
    :param max_window: bytes of the largest zstd window allowed.
    """

    def __init__(self, *, max_window: int, whole: int) -> None:
        super().__init__(whole=whole, max_window=max_window)
        self._live: tuple[_Variant, ...] = _ALL
        self._in_file = self._is_ours = self._end_due = False
        self._short = False

    @property
    def may_be_unordered(self) -> bool:
        """Whether, for all that is known by now, the original script wrote what is being read.

        Then the order of the chunks of a file that has several cannot be verified. Later evidence
        can take this back: ask at the end.
        """
        return _SCRIPT in self._live and not self._is_ours

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
        if self._end_due:
            raise self._without_end()

    # What stands at a place of the buffer.

    def _is_chunk(self, at: int) -> bool:
        """Whether a frame's magic stands behind a length; 8 bytes must be present, or the end."""
        return bytes(self._buffer[at + 4 : at + 8]) == MAGIC

    def _is_padding(self, at: int) -> bool:
        """Whether zeros begin there; fewer than 4 may be a chunk's length, cut off."""
        head = bytes(self._buffer[at : at + 4])
        complete = self._is_ours and not self._end_due
        return not any(head) and (complete or len(head) == 4)

    def _is_end(self, at: int) -> bool:
        return at == len(self._buffer) or self._is_padding(at)

    def _found(self, at: int, variant: _Variant) -> Generator[None, None, _Found | None]:
        """Wait for the path that begins there; None: none does, or it is cut off."""
        size = 2
        while (yield from self._need(at + size)):
            end = _path_end(self._buffer, at, variant)
            if end <= len(self._buffer):
                return _decoded(self._buffer, at, end, variant)
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
        if not self._is_end_mark(header):
            data, offset = self._buffer[4 : 4 + size], self._offset + 4
            yield Chunk(data, offset, self.frames, header.content_size)
            self.frames += 1
        self._drop(4 + size)

    def _claim(self, variant: _Variant) -> int:
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

    def _keep(self, is_possible: Callable[[_Variant], bool]) -> None:
        """Go on with the ways to read a length that agree with the frame."""
        live = tuple(filter(is_possible, self._live))
        if not live:
            raise self._lie().located(base=4)
        self._live = live

    def _is_end_mark(self, header: FrameHeader) -> bool:
        """Note the marks of ours; returns whether the frame is the one that ends it."""
        if not zstd.is_marked_header(header) or _OURS not in self._live:
            return False
        ends = header.content_size == 0
        if self._end_due and not ends:
            raise self._without_end()
        self._live = (_OURS,)
        self._is_ours, self._end_due, self._in_file = True, not ends, not ends
        return ends

    # Paths.

    def _path(self) -> Events:
        if self._is_ours and not self._end_due:
            self._live, self._is_ours = _ALL, False  # another archive, appended
        self._short = False
        found = yield from _each(self._live, lambda variant: self._found(0, variant))
        live = yield from self._plausible(found)
        # Where this still leaves two, the first of ``_ALL`` is the likelier one.
        path = found[live[0]]
        self._live = tuple(variant for variant in live if found[variant].end == path.end)
        self._in_file = True
        yield Path(path.name, self._offset)
        self._drop(path.end)

    def _plausible(
        self, found: dict[_Variant, _Found]
    ) -> Generator[None, None, tuple[_Variant, ...]]:
        """Return the ways that lead on; paths that are no clean text need more evidence."""
        ends = {path.end for path in found.values()}
        clean = [variant for variant, path in found.items() if _is_clean(path)]
        depth = 1 if len(ends) == 1 else _DEPTH
        live = yield from _each(clean, lambda one: self._leads_on(found[one].end, one, depth))
        if not live:
            live = yield from _each(found, lambda one: self._leads_on(found[one].end, one))
        if not live:
            raise self._no_entry(min(ends, default=0))
        return tuple(live)

    def _leads_on(
        self, at: int, variant: _Variant, clean_depth: int = 0
    ) -> Generator[None, None, bool]:
        """Whether paths lead from there to a chunk, or on and on.

        Clean ones may be ``clean_depth``, and may lead to the end. Others have to go further: only
        ours have them, and end with a chunk.
        """
        last = at + _LOOK_AHEAD
        for _ in range(clean_depth or _DEPTH):
            yield from self._need(at + 8)
            if self._is_chunk(at) or (clean_depth and self._is_end(at)):
                return True
            path = yield from self._found(at, variant)
            if path is None or "\0" in path.name or (clean_depth and not path.is_text):
                return False
            at = path.end
            if at > last:
                break
        return True

    # What is wrong.

    def _zeros(self) -> Events:
        if self._end_due:
            raise self._without_end()
        try:
            for _ in self._padding():
                yield None
        except CorruptError as error:
            error.hint = _BEFORE
            raise

    def _no_entry(self, at: int) -> CorruptError:
        if self._short:
            return self._cut_off()
        return CorruptError("neither a path nor a chunk", offset=at, hint=_BEFORE)

    def _cut_off(self) -> TruncatedError:
        return TruncatedError("the file is cut off", offset=len(self._buffer), hint=_BEFORE)

    def _without_end(self) -> TruncatedError:
        return TruncatedError(
            "the file is cut off between two entries: the mark at its end is missing",
            offset=0,
            hint=_BEFORE,
        )

    def _lie(self) -> CorruptError:
        return CorruptError(
            "the length of a chunk is not that of its zstd frame", offset=0, hint=_BEFORE
        )


def detect(head: bytes) -> bool:
    """Whether a file looks like a framed folder.

    Stricter than the reader: the paths are UTF-8, at most 4096 bytes long, without control
    characters, and lead to a chunk, to the file's end, or 16 paths on.

    :param head: the file's first ``DETECT_SIZE`` bytes, or all of it.
    """
    view = memoryview(head)[:DETECT_SIZE]
    return any(_looks_like(view, variant) for variant in _ALL)


def _looks_like(head: memoryview, variant: _Variant) -> bool:
    at = 0
    for _ in range(_DEPTH):
        end = _path_end(head, at, variant) if at + 2 <= len(head) else at
        if not at + 2 < end <= min(len(head), at + 2 + _LONGEST_DETECTED):
            return False
        path = _decoded(head, at, end, variant)
        if path is None or not path.is_text or min(path.name) < " ":
            return False
        at = end
        if bytes(head[at + 4 : at + 8]) == MAGIC or at == len(head) < DETECT_SIZE:
            return True
    return True


def _each(
    variants: Iterable[_Variant], look: Callable[[_Variant], Generator[None, None, _T | None]]
) -> Generator[None, None, dict[_Variant, _T]]:
    """Look in several ways; returns what was found, by the way."""
    found = {}
    for variant in variants:
        if one := (yield from look(variant)):
            found[variant] = one
    return found


def _path_end(data: memoryview, at: int, variant: _Variant) -> int:
    """Return where the path that begins there ends; beyond ``data``: there at the earliest."""
    start = at + 2
    count = int.from_bytes(data[at:start], variant.order)
    end = start + count
    if not (variant.characters and count):
        return end
    while end <= len(data):
        # Characters are counted by their first bytes.
        missing = count - len(bytes(data[start:end]).translate(None, _CONTINUATIONS))
        if not missing:
            return _character_end(data, start, end)
        end += missing
    return end


def _character_end(data: memoryview, start: int, end: int) -> int:
    """Return where the last character that begins before ``end`` ends."""
    first = end - 1
    while first > start and data[first] & 0xC0 == 0x80:
        first -= 1
    lead = data[first]
    return max(end, first + 1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0))


def _decoded(data: memoryview, at: int, end: int, variant: _Variant) -> _Found | None:
    """Return the path that stands there; None: it is empty, or no text whose characters count."""
    name = bytes(data[at + 2 : end])
    if not name:
        return None
    try:
        return _Found(end, name.decode(), is_text=True)
    except UnicodeDecodeError:
        if variant.characters:
            return None
    return _Found(end, name.decode("utf-8", "surrogateescape"), is_text=False)


def _is_clean(path: _Found) -> bool:
    return path.is_text and "\0" not in path.name
