"""``framed``: a folder as paths and zstd frames, the plain container of the original script.

    path    u16 length | UTF-8 path          (bytes that are not UTF-8 stay as they are)
    chunk   u32 length | zstd frame          (0 or more behind the path of their file)

Files written here are big-endian, count bytes, and hold the chunks in order. The script in
circulation counts the *characters* of a path and writes chunks as they finish, so that one can
stand under another file; both also exist little-endian. ``Reader`` begins with all four variants
and drops those that disagree with what it finds: a zstd magic 4 bytes after the beginning of an
entry makes it a chunk, for 0xB5 and 0xFD cannot stand there in UTF-8; anything else is a path, if
an entry follows it. Variants that no evidence tells apart read the same (in ASCII, bytes and
characters do), and stay.

The format has neither a magic nor an end: a cut exactly between two entries cannot be seen. The
writer marks the header of the first frame, as in ``.zst``; here the mark means that all chunks
stand in order.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Final, NamedTuple, TypeAlias, TypeVar, cast

from aiocompress.errors import AiocompressError, CorruptError, FormatError, LimitError
from aiocompress.formats import base
from aiocompress.formats.base import Steps
from aiocompress.formats.framed.paths import ALL, OURS, SCRIPT, Found, Variant, decoded, path_end
from aiocompress.formats.zstd.frame import (
    LARGEST_HEADER,
    MAGIC,
    U32_MAX,
    FrameHeader,
    FrameWalk,
    check_header,
    mark_header,
    parse_header,
)
from aiocompress.model import KIB

DETECT_SIZE: Final = 64 * KIB
"""How many bytes of a file ``detect`` needs, if it has as many."""
_LONGEST_PATH: Final = 0xFFFF
_DEPTH: Final = 16
"""So many paths in a row are evidence enough for a variant."""
_LOOK_AHEAD: Final = 64 * KIB
"""The look-ahead ends with the first path that begins further on than this."""
_LONGEST_DETECTED: Final = 4096
_BEFORE: Final = "the files before it are whole"

_T = TypeVar("_T")


class Path(NamedTuple):
    """A file begins. ``name`` has surrogate escapes (PEP 383), and may be an unsafe path.

    ``offset`` is that of the entry, in bytes from the start of the container.
    """

    name: str
    offset: int


class Chunk(NamedTuple):
    """The next frame of the file, whole, its end verified; valid until the next ``next_event``.

    ``offset`` is that of the frame itself, in bytes, ``frame`` its number in the container.
    """

    data: memoryview
    offset: int
    frame: int
    header: FrameHeader

    @property
    def raw_size(self) -> int | None:
        """Raw bytes, as the frame's header states; None: it states none."""
        return self.header.content_size


Event: TypeAlias = Path | Chunk
Events: TypeAlias = Generator[Event | None, None, None]


class Order:
    """Checks the sizes of the chunks of one file: only the last may be smaller than the first.

    Nothing else can show that the chunks of a file stand in the wrong order.
    """

    def __init__(self) -> None:
        self.chunks = 0
        self.is_broken = False
        """Whether the chunks stand in the wrong order: the file has to be refused."""
        self.first = self._last = 0

    def add(self, raw_size: int) -> bool:
        """Add the next chunk, with its real raw bytes; returns whether the rule still holds."""
        if self.chunks:
            self.is_broken |= self._last != self.first or raw_size > self.first
        else:
            self.first = raw_size
        self._last = raw_size
        self.chunks += 1
        return not self.is_broken


class Paths:
    """Makes the path entries of a container, in the order of its files."""

    def __init__(self) -> None:
        self._short = b""

    def entry(self, name: bytes, *, has_chunks: bool) -> bytes:
        """Return the entry that begins a file.

        :param name: its path, with "/" between folders.
        :param has_chunks: whether the file is not empty.
        :raises FormatError: the path is empty, above 65535 bytes, or would read as a zstd frame.
        """
        if not 0 < len(name) <= _LONGEST_PATH:
            raise _unwritable(name, "an empty path" if not name else "a path above 65535 bytes")
        entry = len(name).to_bytes(2, "big") + name
        if MAGIC in (entry[4:8], (self._short + entry[:8])[4:8]):
            raise _unwritable(name, "a path that reads as a zstd frame")
        self._short = entry if len(entry) < 8 and not has_chunks else b""
        return entry


def chunk_entry(frame: memoryview, *, is_first: bool) -> tuple[bytes, memoryview]:
    """Return the two parts of a chunk's entry, in order.

    :param frame: a zstd frame with content size and checksum.
    :param is_first: it is the first of the whole container, and gets the mark.
    :raises FormatError: the frame is above 4 GiB.
    """
    head = b""
    if is_first:
        header = parse_header(frame)
        assert header is not None
        head, frame = mark_header(header), frame[header.size :]
    size = len(head) + len(frame)
    if size > U32_MAX:
        raise FormatError("a framed folder cannot hold a chunk above 4 GiB")
    return size.to_bytes(4, "big") + head, frame


LARGEST_CHUNK_HEAD: Final = 4 + LARGEST_HEADER
"""The most bytes that ``chunk_entry`` adds to a frame."""


def _unwritable(name: bytes, what: str) -> FormatError:
    return FormatError(
        f"a framed folder cannot hold {what}",
        file=name[:_LONGEST_DETECTED].decode("utf-8", "surrogateescape"),
        hint="rename the file, or write a tar",
    )


class Reader(base.Reader):
    """A container of any of the four variants to events; fed like every ``base.Reader``.

    :param whole: the most raw plus compressed bytes of a frame.
    :param max_window: the largest zstd window allowed, in bytes.
    """

    _hint = _BEFORE

    def __init__(self, *, max_window: int, whole: int) -> None:
        super().__init__(whole=whole, max_window=max_window)
        self._live: tuple[Variant, ...] = ALL
        self._in_file = self._is_ours = self._short = False

    @property
    def may_be_unordered(self) -> bool:
        """Whether the original script may have written the container, as far as was read.

        Then the order of several chunks of a file cannot be verified. Later evidence can still
        rule this out: ask at the end.
        """
        return SCRIPT in self._live and not self._is_ours

    def next_event(self) -> Event | None:
        """Return the next event; None: more bytes are needed, or, after ``end``, nothing is left.

        :raises CorruptError: the container is damaged at the error's offset.
        :raises TruncatedError: after ``end``, the container is incomplete.
        :raises FormatError: a frame needs a dictionary.
        :raises LimitError: a frame needs a larger window, or more memory, than allowed.
        """
        # Events take the way of pieces, so that one place adds the offset to errors.
        return cast("Event | None", self.next_piece())

    def _parse(self) -> Steps:
        return cast("Steps", self._events())

    def _events(self) -> Events:
        while (yield from self._need(1)):
            yield from self._need(8)
            if self._is_chunk(0):
                yield from self._chunk()
            elif self._is_padding(0):
                yield from cast("Events", self._padding())
            else:
                yield from self._path()

    def _is_chunk(self, at: int) -> bool:
        """Whether a frame's magic stands behind a length; needs 8 bytes, or the end of the file."""
        return bytes(self._buffer[at + 4 : at + 8]) == MAGIC

    def _is_padding(self, at: int) -> bool:
        """Whether zeros begin there; fewer than 4 may be a chunk's length, cut off."""
        return bytes(self._buffer[at : at + 4]) == bytes(4)

    def _is_end(self, at: int) -> bool:
        return at == len(self._buffer) or self._is_padding(at)

    def _found(self, at: int, variant: Variant) -> Generator[None, None, Found | None]:
        """Wait for the path that begins there; None: none does, or the file ends within it."""
        size = 2
        while (yield from self._need(at + size)):
            end = path_end(self._buffer, at, variant)
            if end <= len(self._buffer):
                return decoded(self._buffer, at, end, variant)
            size = end - at
        self._short = True
        return None

    def _chunk(self) -> Events:
        if not self._in_file:
            raise CorruptError("a chunk that belongs to no file", offset=0, hint=_BEFORE)
        frame = yield from self._frame()
        if frame is None:
            raise self._cut_off()
        header, size = frame
        self._live = tuple(variant for variant in self._live if self._claim(variant) == size)
        if not self._live:
            raise self._lie().located(base=4)
        # Only the first frame vouches for the whole: others may follow what some script wrote.
        if not self.frames and OURS in self._live and header.is_marked:
            self._live, self._is_ours = (OURS,), True
        yield Chunk(self._buffer[4 : 4 + size], self._offset + 4, self.frames, header)
        self.frames += 1
        self._drop(4 + size)

    def _claim(self, variant: Variant) -> int:
        return int.from_bytes(self._buffer[:4], variant.order)

    def _frame(self) -> Generator[None, None, tuple[FrameHeader, int] | None]:
        """Wait for the whole frame; returns its header and size; None: it is cut off."""
        longest = max(map(self._claim, self._live))
        try:
            while (header := parse_header(self._buffer, 4)) is None:
                if not (yield from self._need(len(self._buffer) + 1)):
                    return None
            check_header(header, self._max_window)
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
        """Refuse a frame as soon as it proves longer than its entry, or than memory allows."""
        if size > longest:
            raise self._lie()
        need = size + (header.content_size or 0)
        if need > self._whole:
            raise LimitError(
                f"the frame needs {need} bytes of memory, {self._whole} are allowed",
                offset=0,
                hint="raise memory_limit",
            )

    def _path(self) -> Events:
        self._short = False
        found = yield from _each(self._live, lambda variant: self._found(0, variant))
        live = yield from self._plausible(found)
        # Where variants still disagree, the first in the order of ``ALL`` is the likeliest.
        path = found[live[0]]
        self._live = tuple(variant for variant in live if found[variant].end == path.end)
        self._in_file = True
        yield Path(path.name, self._offset)
        self._drop(path.end)

    def _plausible(self, found: dict[Variant, Found]) -> Generator[None, None, tuple[Variant, ...]]:
        """Return the variants whose path leads on; one that is not clean needs more evidence."""
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

        A path has no magic: a wrong length yields some name, too, and would shift all that follows.
        But it also leads to a wrong place, where soon no entry is found. So a path counts only if
        ``clean_depth`` clean paths follow, or fewer up to a chunk or the end. Without a
        ``clean_depth``, names need not be clean, but the end proves nothing then (any length can
        hit it), unless the mark has told the variant.
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

    def _no_entry(self, at: int) -> CorruptError:
        if self._short or len(self._buffer) < 8:  # the beginning of a path, or of a chunk
            return self._cut_off()
        return CorruptError("neither a path nor a chunk", offset=at, hint=_BEFORE)

    def _lie(self) -> CorruptError:
        return CorruptError(
            "the length of a chunk is not that of its zstd frame", offset=0, hint=_BEFORE
        )


def detect(head: bytes) -> bool:
    """Whether a file looks like a framed folder.

    This is stricter than the reader: paths of at most 4096 bytes have to lead to a chunk; or, in
    UTF-8 without control characters, to the end of the file, or through 16 paths.

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
    """Look with several variants; returns what each of them found."""
    found = {}
    for variant in variants:
        if one := (yield from look(variant)):
            found[variant] = one
    return found
