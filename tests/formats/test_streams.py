"""Streams: decoded in pieces of any size, cut off, damaged, and full of bombs."""

from __future__ import annotations

import tracemalloc
import zlib
from itertools import product

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiocompress.errors import (
    AiocompressError,
    CorruptError,
    FormatError,
    LimitError,
    TruncatedError,
)
from aiocompress.formats import FORMATS
from aiocompress.formats.base import Format
from aiocompress.model import DEFAULT_MAX_WINDOW, KIB, MIB

from ..help.built import gzip_member, raw_block, rle_block, window_byte, zstd_frame
from ..help.codecs import CHUNKS, LARGEST, READERS, decompress, frame_of, stream
from ..help.containers import check_offset
from ..help.data import SPLITS, by_sizes, noise, text

ANY_FIXTURE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
GARBAGE = [b"x", b"garbage", b"\x1f\x8b\x07\0", b"\xff" * 4 + bytes(9)]
every_split = pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
of_deflate = pytest.mark.parametrize("codec", READERS[1:], indirect=True)
"""The codecs whose frames only their decoder can tell apart; zstd's container finds each one."""
of_gzip = pytest.mark.parametrize("codec", ["gzip", "gzip without isal"], indirect=True)


# Streams.


@every_split
def test_streams_give_the_same_data_however_they_come(codec: Format, split: object) -> None:
    """Whole, byte by byte, and in pieces."""
    assert callable(split)
    for chunk in CHUNKS.values():
        frame = frame_of(codec, chunk)
        assert stream(codec.codec.open_stream(DEFAULT_MAX_WINDOW), *split(frame)) == chunk


@every_split
@pytest.mark.parametrize("padding", [0, 1, 3, 5, 2000])
@of_deflate
def test_streams_of_deflate_may_be_several(codec: Format, split: object, padding: int) -> None:
    """One after another, empty ones too, and zeros behind the last."""
    assert callable(split)
    chunks = [b"", text(3000), b"", b"", noise(100), b"x"]
    data = b"".join(frame_of(codec, chunk) for chunk in chunks) + bytes(padding)
    assert stream(codec.codec.open_stream(DEFAULT_MAX_WINDOW), *split(data)) == b"".join(chunks)


@settings(ANY_FIXTURE, max_examples=50)
@given(
    chunk=st.binary(max_size=2000),
    repeat=st.integers(1, 30),
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=5),
)
def test_any_stream_round_trips(codec: Format, chunk: bytes, repeat: int, sizes: list[int]) -> None:
    """Whatever the data and the pieces."""
    frame = frame_of(codec, chunk * repeat)
    pieces = by_sizes(*sizes)(frame)
    assert stream(codec.codec.open_stream(DEFAULT_MAX_WINDOW), *pieces) == chunk * repeat


@pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 5])
@every_split
def test_streams_at_the_size_of_a_block(codec: Format, size: int, split: object) -> None:
    """Nothing is lost or repeated where a block is exactly full."""
    assert callable(split)
    chunk = bytes(size - 3) + b"end"
    data = frame_of(codec, chunk)
    if codec.name != "zstd":
        chunk, data = chunk * 2, data * 2
    assert stream(codec.codec.open_stream(DEFAULT_MAX_WINDOW), *split(data)) == chunk


@every_split
@pytest.mark.parametrize("size", [5, MIB, MIB + 1, 3 * MIB + 5])
def test_blocks_are_joined_in_rooms(codec: Format, size: int, split: object) -> None:
    """Each room but the last is as full as whole blocks of 128 KiB can make it."""
    assert callable(split)
    chunk = bytes(size - 3) + b"end"
    decoder = codec.codec.open_stream(DEFAULT_MAX_WINDOW)
    room = memoryview(bytearray(MIB))
    raw = [bytes(block) for block in decoder.feed_into(split(frame_of(codec, chunk)), lambda: room)]
    decoder.finish()
    assert b"".join(raw) == chunk
    assert all(MIB - 128 * KIB < len(block) <= MIB for block in raw[:-1])


BLOCKS = [b"", b"a", text(3000), b"", bytes(128 * KIB), noise(128 * KIB), b"", b"b"]


@every_split
def test_blocks_of_any_size(split: object) -> None:
    """Empty ones too, first and last: all bytes come out, each as soon as its block is there."""
    assert callable(split)
    blocks = [raw_block(data, last=False) for data in BLOCKS]
    frame = zstd_frame(*blocks, raw_block(b""), window=window_byte(MIB))
    assert stream(FORMATS["zstd"].codec.open_stream(MIB), *split(frame)) == b"".join(BLOCKS)
    decoder = FORMATS["zstd"].codec.open_stream(MIB)
    for data, block in zip(BLOCKS, [frame[:6] + blocks[0], *blocks[1:]], strict=False):
        assert b"".join(decoder.feed(block)) == data


@pytest.mark.parametrize("good", range(12))
def test_blocks_before_a_bad_header(good: int) -> None:
    """All of them come out before the error, however many go into a room."""
    blocks = [raw_block(noise(100 * KIB, seed), last=False) for seed in range(good)]
    frame = zstd_frame(*blocks, b"\x07\0\0", window=window_byte(MIB))
    decoder, raw = FORMATS["zstd"].codec.open_stream(MIB), bytearray()
    room = memoryview(bytearray(MIB))
    with pytest.raises(CorruptError) as caught:
        list(map(raw.extend, decoder.feed_into((frame,), lambda: room)))
    assert raw == b"".join(noise(100 * KIB, seed) for seed in range(good))
    assert caught.value.offset == len(frame) - 3


def test_boundary_is_where_a_frame_ends(codec: Format) -> None:
    """Byte by byte: not before the last one, and at the last one."""
    frame = frame_of(codec, b"some data")
    decoder = codec.codec.open_stream(DEFAULT_MAX_WINDOW)
    for at in range(len(frame)):
        assert not decoder.boundary
        list(decoder.feed(frame[at : at + 1]))
    assert decoder.boundary
    if codec.name != "zstd":
        list(decoder.feed(frame[:1]))
        assert not decoder.boundary
        list(decoder.feed(frame[1:]))
        assert decoder.boundary
    decoder.finish()


@every_split
def test_a_stream_cut_anywhere_is_truncated(codec: Format, split: object) -> None:
    """All data before the cut comes out, and then an error that says where."""
    assert callable(split)
    chunk = text(60) + noise(20)
    frame = frame_of(codec, chunk)
    for cut in range(len(frame)):
        decoder = codec.codec.open_stream(DEFAULT_MAX_WINDOW)
        raw = b"".join(
            bytes(block) for piece in split(frame[:cut]) for block in decoder.feed(piece)
        )
        assert chunk.startswith(raw)
        with pytest.raises(TruncatedError) as caught:
            decoder.finish()
        check_offset(caught.value, cut)


@pytest.mark.parametrize("padding", [0, 1, 700])
@of_deflate
def test_garbage_behind_a_stream_is_an_error(codec: Format, padding: int) -> None:
    """The data comes out first; the error points at the first byte that does not belong."""
    chunk = text(500)
    frame = frame_of(codec, chunk)
    for split, garbage in product(SPLITS.values(), GARBAGE):
        pieces = split(frame + bytes(padding) + garbage)
        raw = bytearray()
        with pytest.raises(CorruptError, match="garbage after the") as caught:
            stream(codec.codec.open_stream(DEFAULT_MAX_WINDOW), *pieces, into=raw)
        assert raw == chunk
        assert caught.value.offset == len(frame) + padding


@pytest.mark.parametrize("seed", range(3))
def test_every_flipped_bit_of_a_stream_is_noticed(codec: Format, seed: int) -> None:
    """An error of ours, or the same data where the bit means nothing."""
    chunk = text(40, seed) + noise(10, seed)
    frames = frame_of(codec, chunk) * (1 if codec.name == "zstd" else 2)
    whole = chunk * (1 if codec.name == "zstd" else 2)
    for bit in range(8 * len(frames)):
        damaged = bytearray(frames)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        try:
            raw = stream(
                codec.codec.open_stream(DEFAULT_MAX_WINDOW), *by_sizes(11, 30)(bytes(damaged))
            )
        except AiocompressError as error:
            check_offset(error, len(frames))
        else:
            assert raw == whole


@settings(ANY_FIXTURE)
@given(data=st.binary(max_size=200), sizes=st.lists(st.integers(1, 50), min_size=1, max_size=3))
def test_no_bytes_lead_to_another_exception(codec: Format, data: bytes, sizes: list[int]) -> None:
    """Behind a good head, anything at all is data or an error of the family."""
    for head in (b"", frame_of(codec, b"some data")[:12]):
        try:
            stream(codec.codec.open_stream(DEFAULT_MAX_WINDOW), *by_sizes(*sizes)(head + data))
        except AiocompressError as error:
            check_offset(error, len(head + data))


@of_gzip
def test_optional_fields_of_gzip_are_skipped(codec: Format) -> None:
    """FEXTRA, FNAME, FCOMMENT and FHCRC in every combination, in every split."""
    for bits in range(16):
        member = gzip_member(
            b"some data",
            extra=b"XX\x02\0ab" if bits & 1 else None,
            name=b"n" * 300 if bits & 2 else None,
            comment=b"c" if bits & 4 else None,
            header_crc=bool(bits & 8),
        )
        for split in SPLITS.values():
            assert stream(codec.codec.open_stream(0), *split(member * 2)) == b"some data" * 2


@pytest.mark.parametrize("flag", [0x20, 0x40, 0x80])
@of_gzip
def test_reserved_flags_of_gzip_are_refused(codec: Format, flag: int) -> None:
    """In the first member, and where a member follows (RFC 1952, 2.3.1.2)."""
    good = gzip_member(b"some data")
    bad = good[:3] + bytes([good[3] | flag]) + good[4:]
    for data, offset in ((bad, 0), (good + bad, len(good))):
        with pytest.raises(CorruptError) as caught:
            stream(codec.codec.open_stream(0), *SPLITS["7"](data))
        assert caught.value.offset == offset


# Bombs, and windows.


def rle_bomb(size: int, **header: int | None) -> bytes:
    """A frame of ``size`` zeros, 4 bytes for each 128 KiB."""
    count = size // (128 * KIB)
    blocks = rle_block(0, 128 * KIB, last=False) * (count - 1) + rle_block(0, 128 * KIB)
    return zstd_frame(blocks, **header)  # type: ignore[arg-type]


def zeros_by_zlib(wbits: int, size: int) -> bytes:
    """A stream of zeros, a thousand for each byte."""
    deflate = zlib.compressobj(1, wbits=wbits)
    return b"".join(deflate.compress(bytes(MIB)) for _ in range(size // MIB)) + deflate.flush()


BOMBS = {
    "zstd, size unknown": ("zstd", rle_bomb(1 << 30, window=window_byte(8 * MIB)), 1 << 30),
    "zstd, size known": (
        "zstd",
        rle_bomb(1 << 30, window=window_byte(8 * MIB), content=1 << 30),
        1 << 30,
    ),
    "zstd, one segment": ("zstd", rle_bomb(64 * MIB, content=64 * MIB), 64 * MIB),
    "gzip": ("gzip", zeros_by_zlib(31, 64 * MIB), 64 * MIB),
    "zlib": ("zlib", zeros_by_zlib(15, 64 * MIB), 64 * MIB),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_come_out_in_small_blocks(bomb: str) -> None:
    """Fed at once: blocks of at most 2 MiB, few of them in memory, and all the zeros."""
    name, data, size = BOMBS[bomb]
    decoder = FORMATS[name].codec.open_stream(DEFAULT_MAX_WINDOW)
    zeros, raw = bytes(LARGEST), 0
    tracemalloc.start()
    try:
        for block in decoder.feed(data):
            assert len(block) <= LARGEST
            assert bytes(block) == zeros[: len(block)]
            raw += len(block)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    decoder.finish()
    assert raw == size
    assert peak < 4 * LARGEST


LIMITS = list(product([1 << 10, 1 << 20, 1 << 21], [1 << 10, 1 << 20, (1 << 20) - 1, 1 << 31]))
"""Windows of frames, and the largest that is allowed."""


@pytest.mark.parametrize(("window", "allowed"), [pair for pair in LIMITS if pair[0] <= pair[1]])
def test_windows_within_the_limit_are_allowed(window: int, allowed: int) -> None:
    """A window of exactly as many bytes too."""
    frame = zstd_frame(raw_block(b"abc"), window=window_byte(window))
    assert stream(FORMATS["zstd"].codec.open_stream(allowed), frame) == b"abc"


@pytest.mark.parametrize(("window", "allowed"), [pair for pair in LIMITS if pair[0] > pair[1]])
def test_windows_above_the_limit_are_refused(window: int, allowed: int) -> None:
    """The error names the option and the bytes that it takes."""
    frame = zstd_frame(raw_block(b"abc"), window=window_byte(window))
    decoder = FORMATS["zstd"].codec.open_stream(allowed)
    with pytest.raises(LimitError, match=f"window of {window} bytes, {allowed} are") as caught:
        stream(decoder, frame)
    assert f"max_window={window} allows it" in str(caught.value)
    assert caught.value.offset == 0


@pytest.mark.parametrize("allowed", [1, 1000, (1 << 31) + 1, 1 << 32, 1 << 50])
def test_any_limit_of_windows_can_be_asked_for(allowed: int) -> None:
    """Limits that libzstd itself cannot take are limits all the same."""
    decoder = FORMATS["zstd"].codec.open_stream(allowed)
    frame = zstd_frame(raw_block(b"abc"), window=window_byte(1 << 10))
    if allowed < 1 << 10:
        with pytest.raises(LimitError):
            stream(decoder, frame)
    else:
        assert stream(decoder, frame) == b"abc"


@pytest.mark.parametrize("size", [2 * MIB, 1 << 40])
def test_one_segment_above_the_limit_is_refused(size: int) -> None:
    """A frame in one segment has its whole content for a window: the same error."""
    blocks = rle_block(0, 128 * KIB, last=False) * 15 + rle_block(0, 128 * KIB)
    decoder = FORMATS["zstd"].codec.open_stream(MIB)
    with pytest.raises(LimitError, match="window") as caught:
        stream(decoder, zstd_frame(blocks, content=size))
    assert "max_window=" in str(caught.value)


@pytest.mark.parametrize("allowed", [1, 4 * MIB])
def test_streams_of_deflate_have_no_window_to_limit(allowed: int, codec: Format) -> None:
    """Theirs is 32 KiB at most."""
    if codec.name != "zstd":
        assert stream(codec.codec.open_stream(allowed), frame_of(codec, text(5000))) == text(5000)


# Damage in zstd's headers.


@every_split
@pytest.mark.parametrize(
    ("frame", "kind", "offset"),
    [
        (zstd_frame(raw_block(b"a"), window=0, descriptor=8), CorruptError, 4),
        (zstd_frame(raw_block(b"a"), window=0, dictionary=b"\x07"), FormatError, 0),
        (zstd_frame(raw_block(b"a"), window=0, dictionary=b"\0\x07"), FormatError, 0),
        (zstd_frame(raw_block(b"a"), content=1, dictionary=b"\0\0\0\x07"), FormatError, 0),
        (zstd_frame(raw_block(b"abc", last=False), b"\x07\0\0", window=0), CorruptError, 12),
        (zstd_frame(b"\x06\0\0", window=0), CorruptError, 6),
        (zstd_frame(raw_block(bytes(128 * KIB + 1)), window=window_byte(MIB)), CorruptError, 6),
        (zstd_frame(rle_block(0, 128 * KIB + 1), window=window_byte(MIB)), CorruptError, 6),
        (zstd_frame(raw_block(b"abc")[:-1], window=0), TruncatedError, 11),
    ],
)
def test_odd_zstd_headers_are_refused(
    frame: bytes, kind: type[AiocompressError], offset: int, split: object
) -> None:
    """Reserved bits and blocks, dictionaries, blocks above 128 KiB: where, and as what."""
    assert callable(split)
    with pytest.raises(kind) as caught:
        stream(FORMATS["zstd"].codec.open_stream(DEFAULT_MAX_WINDOW), *split(frame))
    assert type(caught.value) is kind
    assert caught.value.offset == offset


@pytest.mark.parametrize("size", [1, 2, 4])
def test_dictionary_number_0_is_none(size: int) -> None:
    """A field that says 0 asks for no dictionary (RFC 8878, 3.1.1.1.3)."""
    frame = zstd_frame(raw_block(b"abc"), window=0, dictionary=bytes(size))
    assert stream(FORMATS["zstd"].codec.open_stream(DEFAULT_MAX_WINDOW), frame) == b"abc"
    assert decompress(FORMATS["zstd"].codec, frame, 3) == b"abc"


def test_a_needed_dictionary_is_named() -> None:
    """The error says which."""
    trained = zstandard.train_dictionary(1024, [text(200, seed) for seed in range(100)])
    frame = zstandard.ZstdCompressor(dict_data=trained).compress(text(200, 7))
    with pytest.raises(FormatError, match=f"needs dictionary {trained.dict_id()}"):
        stream(FORMATS["zstd"].codec.open_stream(DEFAULT_MAX_WINDOW), frame)


@pytest.mark.parametrize(("content_bytes", "window"), [(1, None), *product([2, 4, 8], [None, 0])])
def test_content_sizes_of_every_width_are_read(content_bytes: int, window: int | None) -> None:
    """1 byte only in one segment; 2 bytes count from 256."""
    chunk = text(256 if content_bytes > 1 else 255)
    frame = zstd_frame(
        raw_block(chunk), content=len(chunk), content_bytes=content_bytes, window=window
    )
    assert stream(FORMATS["zstd"].codec.open_stream(DEFAULT_MAX_WINDOW), frame) == chunk
    assert decompress(FORMATS["zstd"].codec, frame, len(chunk)) == chunk
