"""Containers, written and read on the bytes floor alone.

``decode`` does, without asyncio, what ``aiocompress.verbs.decode`` does: whole frames go
to ``Codec.decompress``; parts of streams, and all that follows a frame of which it says
``STREAM``, go to one ``StreamDecoder``, until a frame ends where a piece does.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiocompress.errors import AiocompressError, CorruptError
from aiocompress.formats import FORMATS, HEAD_SIZE, detect
from aiocompress.formats.base import STREAM, Codec, FrameTable, Piece, Search, StreamDecoder
from aiocompress.model import DEFAULT_MAX_WINDOW, MIB

from .data import Split, at_once

WHOLE = 64 * MIB
"""What an engine with the default memory gives out whole at most."""
TINY = 1
"""Nothing is given out whole: every frame comes as a stream."""

# Out.


def frames_of(
    chunks: Iterable[bytes], codec: str = "zstd", level: int | None = None
) -> list[bytes]:
    """Write a container: the bytes of each frame, and then those that end it."""
    row, make_writer = FORMATS[codec].codec, FORMATS[codec].container.writer
    assert make_writer is not None
    writer = make_writer()
    written = []
    for chunk in chunks:
        frame = row.compress(memoryview(chunk), row.default_level if level is None else level)
        written.append(b"".join(map(bytes, writer.add(memoryview(frame), len(chunk)))))
    return [*written, writer.finish()]


def encode(chunks: Iterable[bytes], codec: str = "zstd", level: int | None = None) -> bytes:
    """Write a container of these chunks."""
    return b"".join(frames_of(chunks, codec, level))


def table_of(data: bytes) -> FrameTable:
    """Return where the frames of one of our archives stand, as its own index says."""
    search = FORMATS[detect(data[:HEAD_SIZE]).name].container.search
    assert search is not None
    found: list[FrameTable | None] = []

    def run() -> Search:
        found.append((yield from search(len(data))))
        return found[0]

    steps, part = run(), None
    with suppress(StopIteration):
        while True:
            at, size = steps.send(part)  # type: ignore[arg-type]
            part = data[at : at + size]
    assert found[0] is not None
    return found[0]


# Back.


@dataclass(slots=True)
class Seen:
    """A piece, without its data."""

    offset: int
    first_frame: int
    size: int
    frames: tuple[tuple[int, int], ...] | None
    room: int
    last: bool


@dataclass(slots=True)
class Decoded:
    """What came out of a container; after an error as well, where the caller passed it in."""

    data: bytearray = field(default_factory=bytearray)
    frames: int = 0
    warnings: list[str] = field(default_factory=list)
    pieces: list[Seen] = field(default_factory=list)
    blocks: int = 0
    largest: int = 0
    """Bytes of the largest block that came out of a stream."""
    keep: bool = True

    def add(self, block: Any) -> None:
        self.blocks += 1
        if self.keep:
            self.data += block


def decode(
    data: bytes,
    *,
    codec: str | None = None,
    split: Split = at_once,
    whole: int = WHOLE,
    max_window: int = DEFAULT_MAX_WINDOW,
    strict: bool = False,
    into: Decoded | None = None,
) -> Decoded:
    """Read a container as the pipeline does."""
    row = FORMATS[codec] if codec else detect(data[:HEAD_SIZE])
    reader = FORMATS[row.name].container.reader(whole=whole, max_window=max_window, strict=strict)
    decoded = Decoded() if into is None else into
    decoded.warnings = reader.warnings
    pieces = _Pieces(row.codec, max_window, decoded)
    for block in split(data):
        reader.feed(block)
        while (piece := reader.next_piece()) is not None:
            pieces.take(piece)
    reader.end()
    while (piece := reader.next_piece()) is not None:
        pieces.take(piece)
    pieces.finish()
    decoded.frames = reader.frames
    return decoded


class _Pieces:
    """The consumer of ``decompression``."""

    def __init__(self, codec: Codec, max_window: int, decoded: Decoded) -> None:
        self._codec, self._max_window, self._decoded = codec, max_window, decoded
        self._decoder: StreamDecoder | None = None
        self._start = self._frame = 0

    def take(self, piece: Piece) -> None:
        data, frames = bytes(piece.data), piece.frames
        piece.data.release()
        about = piece.offset, piece.first_frame, len(data), frames, piece.room, piece.last
        self._decoded.pieces.append(Seen(*about))
        if frames is not None and self._decoder is None and self._whole(data, piece):
            return
        if self._decoder is None:
            self._decoder = self._codec.open_stream(self._max_window)
            self._start, self._frame = piece.offset, piece.first_frame
        try:
            for block in self._decoder.feed(data):
                self._decoded.largest = max(self._decoded.largest, len(block))
                self._decoded.add(block)
        except AiocompressError as error:
            raise error.located(base=self._start, frame=self._frame) from None
        if piece.last or (frames is not None and self._decoder.boundary):
            self.finish()

    def _whole(self, data: bytes, piece: Piece) -> bool:
        """Do what ``worker.decompress`` does; False: a frame is not what its index says."""
        view, room = memoryview(data), memoryview(bytearray(piece.room))
        at = size = 0
        for number, (compressed, raw) in enumerate(piece.frames or ()):
            try:
                frame = view[at : at + compressed]
                done = self._codec.decompress(frame, room[size : size + raw])
            except CorruptError as error:
                error.located(base=at, frame=number)
                raise error.located(base=piece.offset, frame=piece.first_frame) from None
            if done == STREAM:
                return False
            assert not piece.exact or done == raw
            at += compressed
            size += done
        self._decoded.add(room[:size])
        return True

    def finish(self) -> None:
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            try:
                decoder.finish()
            except AiocompressError as error:
                raise error.located(base=self._start, frame=self._frame) from None


def check_offset(error: AiocompressError, size: int) -> None:
    """Assert that the error says where in the file of that many bytes it is."""
    assert error.offset is not None, error
    assert 0 <= error.offset <= size, error
