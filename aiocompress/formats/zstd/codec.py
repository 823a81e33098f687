"""Zstandard's codec: compress a chunk into a frame, decode a frame, whole or in pieces.

``compress`` writes the content size and a checksum into every frame, and ``StreamEncoder``, which
cannot know the size, a checksum.
"""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Iterable, Iterator
from typing import IO, Final, cast

import zstandard

from aiocompress.errors import AiocompressError, CorruptError, TruncatedError
from aiocompress.formats import base
from aiocompress.formats.base import STREAM, Codec, RoomFor
from aiocompress.formats.zstd.frame import (
    LARGEST_BLOCK,
    LARGEST_MARKED_LOG,
    MAGIC,
    FrameHeader,
    FrameWalk,
    check_header,
    parse_header,
)
from aiocompress.model import MIB, Buffer

_LONG_LOG: Final = 27
"""The largest window that decoders allow unless they are told otherwise: 128 MiB."""
_HIGHEST_STREAMED: Final = 19
"""The highest level with a window of 8 MiB, which is all that browsers decode (RFC 9659)."""

_NOTHING: Final = memoryview(b"")
_codecs = threading.local()
_TUNED: Final[dict[int, dict[str, int]]] = {
    # Half the table of short matches, so that more of both tables stays in the L2 cache: 4 to 8 %
    # faster on sources, libraries and documents; the larger chunk regains the 0.2 to 0.5 % lost.
    3: {"chain_log": 15}
}


class _StarvedError(Exception):
    """The decoder wants more blocks."""


class _Run:
    """The file that a decoder reads: whole blocks, once."""

    blocks = b""

    def read(self, _: int) -> bytes:
        if not self.blocks:  # the end of the file would be the end of the decoder, too
            raise _StarvedError
        blocks, self.blocks = self.blocks, b""
        return blocks


class StreamDecoder(base.StreamDecoder):
    """Decodes one frame that arrives in pieces; see ``base.StreamDecoder``.

    A few bytes can stand for 128 KiB. So libzstd is given whole blocks, no more than the room takes
    whatever they hold: nothing stays behind, and one call, without the interpreter lock, fills it.
    """

    def __init__(self, max_window: int) -> None:
        self.boundary = False
        self._max_window = max_window
        self._pending = bytearray()
        self._taken = 0
        self._walk: FrameWalk | None = None
        self._run = _Run()
        largest = min(max(max_window, 1 << 10), 1 << 31)
        decompressor = zstandard.ZstdDecompressor(max_window_size=largest)
        self._decoder = decompressor.stream_reader(cast("IO[bytes]", self._run))

    def feed(self, data: Buffer) -> Iterator[Buffer]:
        return self.feed_into((data,), lambda: memoryview(bytearray(LARGEST_BLOCK)))

    def feed_into(self, parts: Iterable[Buffer], room_for: RoomFor) -> Iterator[memoryview]:
        room, filled = _NOTHING, 0
        try:
            for part in parts:
                self._pending += part
                while size := self._whole_blocks(1):
                    room = room or room_for()
                    size += self._whole_blocks((len(room) - filled) // LARGEST_BLOCK - 1, size)
                    filled += self._decode(size, room[filled:])
                    if len(room) - filled < LARGEST_BLOCK:
                        yield room[:filled]
                        room, filled = _NOTHING, 0
        except AiocompressError:
            if filled:
                yield room[:filled]
            raise
        if filled:
            yield room[:filled]

    def _whole_blocks(self, most: int, start: int = 0) -> int:
        """Walk over so many blocks, if they are all here; returns their size.

        :param start: how many bytes were walked over already.
        """
        if self._walk is None:
            header = parse_header(self._pending)
            if header is None:
                return 0
            check_header(header, self._max_window, streamed=True)
            self._walk = FrameWalk(header)
        walk, end = self._walk, start
        for _ in range(most):
            before = walk.size, walk.ended
            try:
                walk.advance(self._pending, -self._taken, 1)
            except CorruptError:
                if end:  # what stands before it comes first
                    break
                raise
            if walk.size == before[0] or walk.size - self._taken > len(self._pending):
                walk.size, walk.ended = before
                break
            end = walk.size - self._taken
        return end - start

    def _decode(self, size: int, room: memoryview) -> int:
        """Decode the first bytes, which are whole blocks; returns how many they become."""
        with memoryview(self._pending) as pending:
            self._run.blocks = bytes(pending[:size])
        del self._pending[:size]
        try:
            raw: int = self._decoder.readinto1(room)
        except _StarvedError:  # blocks can be empty
            raw = 0
        except zstandard.ZstdError as error:
            raise CorruptError(f"damaged zstd frame ({error})", offset=self._taken) from None
        self._taken += size
        assert self._walk is not None
        self.boundary = self._walk.ended and not self._pending
        return raw

    def finish(self) -> None:
        if not self.boundary:
            raise TruncatedError(
                "the zstd frame is cut off", offset=self._taken + len(self._pending)
            )


def compress(data: memoryview, level: int) -> bytes:
    """Compress one chunk into one frame, content size and checksum included."""
    return _compressed(data, level, 0)


def compress_long(data: memoryview, level: int, first: bool) -> bytes:  # noqa: FBT001
    """Do the same, and look for repeats that are far apart.

    In the first frame of a file they are at most 64 MiB apart: there the header has its mark.
    """
    return _compressed(data, level, LARGEST_MARKED_LOG if first else _LONG_LOG)


def _compressed(data: memoryview, level: int, window_log: int) -> bytes:
    if getattr(_codecs, "made_for", None) != (level, window_log):
        _codecs.compressor = None  # it may take hundreds of megabytes
        _codecs.compressor = _compressor(level, window_log)
        _codecs.made_for = level, window_log
    frame: bytes = _codecs.compressor.compress(data)
    return frame


class StreamEncoder:
    """Compresses bytes that arrive in pieces into one frame; see ``base.StreamEncoder``."""

    def __init__(self, level: int) -> None:
        self._encoder = _compressor(min(level, _HIGHEST_STREAMED)).compressobj()

    def feed(self, data: Buffer, *, flush: bool = False) -> bytes:
        frame: bytes = self._encoder.compress(data)
        return frame + self._encoder.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) if flush else frame

    def finish(self) -> bytes:
        return self._encoder.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)


def _compressor(level: int, window_log: int = 0) -> zstandard.ZstdCompressor:
    """Return a compressor of frames.

    :param window_log: look for long repeats as far back as this power of two; 0: do not.
    """
    parameters = zstandard.ZstdCompressionParameters(
        compression_level=level,
        write_checksum=True,
        window_log=window_log,
        enable_ldm=window_log > 0,
        **_TUNED.get(level, {}),
    )
    return zstandard.ZstdCompressor(compression_params=parameters)


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_codecs, "decompressor"):
        _codecs.decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    decompressor: zstandard.ZstdDecompressor = _codecs.decompressor
    return decompressor


def decompress(frame: memoryview, room: memoryview) -> int:
    """Decode one whole frame, whose end a walk has confirmed, into ``room``.

    :returns: its raw length; ``STREAM`` where it does not state its size and does not fit.
    :raises CorruptError: it is damaged.
    """
    header = parse_header(frame)
    claimed = header.content_size if header else None
    if header is not None and claimed is None and _has_blocks_for(len(room), header, frame):
        with contextlib.suppress(zstandard.ZstdError):  # it has another size, or is damaged
            if _read(_stating(len(room), header, frame), room) == (len(room), False):
                return len(room)
    try:
        size, has_more = _read(frame, room)
    except zstandard.ZstdError as error:
        raise CorruptError(f"damaged zstd frame ({error})", offset=0) from None
    if has_more and claimed is None:
        return STREAM
    if has_more or claimed not in (None, size):
        raise CorruptError("the zstd frame is not as long as its header says", offset=0)
    return size


def _read(frame: Buffer, room: memoryview) -> tuple[int, bool]:
    """Decode into ``room``; returns how many bytes, and whether the header or more belie that."""
    with _decompressor().stream_reader(frame) as reader:
        size: int = reader.readinto(room) if room else 0
        return size, bool(reader.read(1))


def _has_blocks_for(size: int, header: FrameHeader, frame: memoryview) -> bool:
    """Whether a frame has as many blocks as so many bytes take, or an empty one more."""
    blocks, rest = divmod(size, LARGEST_BLOCK)
    walk = FrameWalk(header)
    walk.advance(frame, 0, blocks - 1)
    is_long = not walk.ended
    walk.advance(frame, 0, 2)
    return is_long and walk.ended and not rest


def _stating(size: int, header: FrameHeader, frame: memoryview) -> bytes:
    """Return a frame that states no content size as one that does.

    Then libzstd decodes it straight into its room, 14 % faster than by way of a window.
    """
    head = struct.pack("<BBI", header.descriptor | 2 << 6, header.window_byte, size)
    return b"".join((MAGIC, head, frame[header.size :]))


def decompress_to_bytes(frame: memoryview, most: int) -> bytes | None:
    """Return the content of a frame that states its size, of at most so many bytes.

    None: it states none, or a larger one, or is damaged.
    """
    try:
        is_known = 0 <= zstandard.frame_content_size(frame) <= most
    except zstandard.ZstdError:
        return None
    return decompress_all(frame) if is_known else None


def decompress_all(frame: Buffer) -> bytes | None:
    """Return the content of a frame that states its size; None: it is damaged, or not alone."""
    try:
        return _decompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError:
        return None


def _chunk_size(level: int) -> int:
    # Larger windows want larger chunks; below level 10 they cost memory and gain under 1 %.
    return (5 if level < 10 else 8 if level < 16 else 16 if level < 20 else 32) * MIB


CODEC = Codec(
    open_stream=StreamDecoder,
    decompress=decompress,
    decompress_to_bytes=decompress_to_bytes,
    levels=range(-7, 23),
    default_level=3,
    chunk_size=_chunk_size,
    bound=lambda size: size + (size >> 8) + 512,
    compress=compress,
    open_encoder=StreamEncoder,
    compress_long=compress_long,
    long_chunk_size=1 << _LONG_LOG,
)
