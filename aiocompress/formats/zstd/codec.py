"""Zstandard frames (RFC 8878): compress a chunk, decode a frame, find where a frame ends.

``compress`` writes the content size and a checksum into every frame, and ``StreamEncoder``, which
cannot know the size, a checksum. libzstd does not notice when a frame lacks its last bytes, so
readers walk the block headers first: 13 microseconds for 4 MiB.
"""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Iterable, Iterator
from typing import IO, Final, NamedTuple, cast

import zstandard

from aiocompress.errors import (
    AiocompressError,
    CorruptError,
    FormatError,
    LimitError,
    TruncatedError,
)
from aiocompress.formats import base
from aiocompress.formats.base import STREAM, Codec, RoomFor
from aiocompress.model import KIB, MIB, Buffer

MAGIC: Final = b"\x28\xb5\x2f\xfd"
LARGEST_HEADER: Final = 18
U32_MAX: Final = 0xFFFFFFFF
_LARGEST_BLOCK: Final = 128 * KIB
_LARGEST_MARKED_LOG: Final = 26
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


class FrameHeader(NamedTuple):
    """The header of a frame (RFC 8878, 3.1.1.1); sizes in bytes, None where it states none."""

    data: bytes
    descriptor: int
    window: int
    window_byte: int | None
    dictionary: int
    content_size: int | None

    @property
    def size(self) -> int:
        """Bytes of the header itself."""
        return len(self.data)

    @property
    def room(self) -> int:
        """Bytes to reserve for the content; pzstd states no size, and puts 4 windows in a frame."""
        return 4 * self.window if self.content_size is None else self.content_size

    @property
    def has_checksum(self) -> bool:
        """Whether the low 32 bits of the content's XXH64 end the frame."""
        return bool(self.descriptor & 4)

    @property
    def is_marked(self) -> bool:
        """Whether ``mark_header`` made this header."""
        return (
            self.descriptor >> 6 == 3  # a content size of 8 bytes
            and self.has_checksum
            and self.window_byte is not None
            and self.window_byte & 7 == 1
            and (self.content_size or 0) <= U32_MAX
        )


def is_skippable(data: Buffer, start: int = 0) -> bool:
    """Whether a skippable frame (RFC 8878, 3.1.2) begins there; 4 bytes must be present."""
    return data[start] >> 4 == 5 and bytes(data[start + 1 : start + 4]) == b"\x2a\x4d\x18"


def parse_header(data: Buffer, start: int = 0) -> FrameHeader | None:
    """Parse the header of the frame that begins at ``start``; None: more bytes are needed.

    :raises CorruptError: the reserved bit is set.
    """
    at = start + 5
    if len(data) < at:
        return None
    descriptor = data[start + 4]
    if descriptor & 8:
        raise CorruptError("the zstd frame header has its reserved bit set", offset=4)
    single = bool(descriptor & 32)
    dictionary_size = (0, 1, 2, 4)[descriptor & 3]
    content_field = (int(single), 2, 4, 8)[descriptor >> 6]
    end = at + (not single) + dictionary_size + content_field
    if len(data) < end:
        return None
    window_byte = None if single else data[at]
    at += not single
    dictionary = int.from_bytes(data[at : at + dictionary_size], "little")
    at += dictionary_size
    content_size = None
    if content_field:
        content_size = int.from_bytes(data[at:end], "little") + 256 * (content_field == 2)
    if window_byte is None:
        window = content_size or 0
    else:
        base = 1 << (10 + (window_byte >> 3))
        window = base + (base >> 3) * (window_byte & 7)
    head = bytes(data[start:end])
    return FrameHeader(head, descriptor, window, window_byte, dictionary, content_size)


def check_header(header: FrameHeader, max_window: int, *, streamed: bool = False) -> None:
    """Refuse a frame that cannot be decoded, or only with more memory than allowed.

    :param streamed: the frame is decoded as a stream, where a single segment counts as a window.
    :raises FormatError: it needs a dictionary.
    :raises LimitError: its window is above ``max_window`` bytes.
    """
    if header.dictionary:
        raise FormatError(f"the frame needs dictionary {header.dictionary}", offset=0)
    if header.window > max_window and (streamed or header.window_byte is not None):
        raise LimitError(
            f"the frame needs a window of {header.window} bytes, {max_window} are allowed",
            offset=0,
            hint=f"max_window={header.window} allows it",
        )


def mark_header(header: FrameHeader) -> bytes:
    """Return the same header with a mark that libzstd never writes, and every decoder reads.

    The content size takes 8 bytes, and the window has the mantissa 1. The mark is left out where
    the window is above 64 MiB: an eighth more could exceed the limit of other decoders.
    """
    content = header.content_size or 0
    if header.window_byte is None:
        log = max(10, (content - 1).bit_length())
    else:
        log = 10 + (header.window_byte >> 3)
    if log > _LARGEST_MARKED_LOG or content > U32_MAX:
        return header.data
    descriptor = 3 << 6 | header.descriptor & 0x1F
    return MAGIC + struct.pack("<BBQ", descriptor, (log - 10) << 3 | 1, content)


class FrameWalk:
    """Steps from block header to block header to the end of a frame (RFC 8878, 3.1.1.2)."""

    def __init__(self, header: FrameHeader) -> None:
        self.size = header.size
        """Bytes from the frame's start to the next block header, or to the frame's end."""
        self.ended = False
        """Whether ``size`` is the size of the whole frame, its checksum included."""
        self._checksum_size = 4 if header.has_checksum else 0

    def advance(self, data: Buffer, start: int, blocks: int = 1 << 30) -> None:
        """Step over at most ``blocks`` headers; the frame's first byte is at ``data[start]``.

        ``start`` is negative where ``data`` begins inside the frame.

        :raises CorruptError: a block has the reserved type, or is above 128 KiB.
        """
        at, end = start + self.size, len(data) - 3
        while not self.ended and at <= end and blocks:
            block = data[at] | data[at + 1] << 8 | data[at + 2] << 16
            kind, size = block >> 1 & 3, block >> 3
            if kind == 3 or size > _LARGEST_BLOCK:
                raise CorruptError("invalid zstd block", offset=at - start)
            at += 4 if kind == 1 else 3 + size
            blocks -= 1
            if block & 1:
                self.ended = True
                at += self._checksum_size
        self.size = at - start


def measured(data: Buffer, start: int, max_window: int) -> tuple[FrameHeader, int] | None:
    """Return header and size of the frame at ``start``; None: it is damaged, or not all there."""
    if bytes(data[start : start + 4]) != MAGIC:
        return None
    try:
        header = parse_header(data, start)
        if header is None:
            return None
        check_header(header, max_window)
        walk = FrameWalk(header)
        walk.advance(data, start)
    except AiocompressError:
        return None
    return (header, walk.size) if walk.ended and start + walk.size <= len(data) else None


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
        return self.feed_into((data,), lambda: memoryview(bytearray(_LARGEST_BLOCK)))

    def feed_into(self, parts: Iterable[Buffer], room_for: RoomFor) -> Iterator[memoryview]:
        room, filled = _NOTHING, 0
        try:
            for part in parts:
                self._pending += part
                while size := self._whole_blocks(1):
                    room = room or room_for()
                    size += self._whole_blocks((len(room) - filled) // _LARGEST_BLOCK - 1, size)
                    filled += self._decode(size, room[filled:])
                    if len(room) - filled < _LARGEST_BLOCK:
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
    return _compressed(data, level, _LARGEST_MARKED_LOG if first else _LONG_LOG)


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
    blocks, rest = divmod(size, _LARGEST_BLOCK)
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
