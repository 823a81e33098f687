"""The table of codecs, and chunks into frames and back."""

from __future__ import annotations

import gzip
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress.errors import CorruptError, FormatError, TruncatedError
from aiocompress.formats import FORMATS, HEAD_SIZE, detect, writable
from aiocompress.formats.base import STREAM, Codec, Format
from aiocompress.model import DEFAULT_MAX_WINDOW, KIB, MIB

from ..help.built import raw_block, skippable, window_byte, zstd_frame
from ..help.codecs import CHUNKS, decompress, frame_of, stream
from ..help.data import by_sizes, noise, text
from ..help.tools import without_isal

WRITERS = [codec.name for codec in FORMATS.values() if codec.codec.levels]
LEVELS = [(name, level) for name in WRITERS for level in FORMATS[name].codec.levels]


def edges(codec: Codec) -> list[int]:
    """The levels at which a codec may change its mind."""
    wanted = {codec.levels[0], -1, 0, 1, 2, codec.default_level, codec.levels[-1]}
    return sorted(wanted & set(codec.levels))


EDGES = [(name, level) for name in WRITERS for level in edges(FORMATS[name].codec)]

every_level = pytest.mark.parametrize(("name", "level"), LEVELS)
every_edge = pytest.mark.parametrize(("name", "level"), EDGES)
every_chunk = pytest.mark.parametrize("chunk", CHUNKS.values(), ids=CHUNKS)


# The table.


def test_the_table_names_each_codec_once() -> None:
    """A codec stands under its own name, and no suffix under two."""
    assert list(FORMATS) == ["zstd", "gzip", "zlib"]
    assert all(codec.name == name for name, codec in FORMATS.items())
    suffixes = [suffix for codec in FORMATS.values() for suffix in codec.suffixes]
    assert sorted(set(suffixes)) == sorted(suffixes)
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in suffixes)


@pytest.mark.parametrize("name", WRITERS)
def test_defaults_are_possible(name: str) -> None:
    """The default level is a level; chunks have a size at each, and do not shrink."""
    row = FORMATS[name].codec
    assert row.default_level in row.levels
    sizes = [row.chunk_size(level) for level in row.levels]
    assert sizes == sorted(sizes)
    assert sizes[0] >= MIB


def test_named_finds_what_can_write() -> None:
    """A codec by its name."""
    assert [writable(name) for name in WRITERS] == [FORMATS[name] for name in WRITERS]
    assert WRITERS == ["zstd", "gzip"]


@pytest.mark.parametrize("name", ["zlib", "", "ZSTD", "brotli", "zst"])
def test_named_refuses_the_rest(name: str) -> None:
    """Codecs that only read, and those that do not exist, are a ValueError with the choice."""
    with pytest.raises(ValueError, match="'zstd' or 'gzip', not " + repr(name)):
        writable(name)


def test_detect_knows_every_codec_by_its_first_bytes(codec: Format) -> None:
    """What a codec's frames begin with says which codec it is, also in a short file."""
    for chunk in CHUNKS.values():
        frame = frame_of(codec, chunk)
        assert detect(frame[:HEAD_SIZE]) is codec
        assert detect(frame[:4]) is codec


@every_level
def test_detect_knows_what_is_written(name: str, level: int) -> None:
    """So it does at each level."""
    assert (
        detect(bytes(FORMATS[name].codec.compress(memoryview(b"abc"), level))[:HEAD_SIZE]).name
        == name
    )


@pytest.mark.parametrize("magic", range(0x184D2A50, 0x184D2A60))
def test_detect_takes_skippable_frames_for_zstd(magic: int) -> None:
    """A file may begin with a skippable frame: pzstd's do."""
    assert detect(skippable(b"", magic)).name == "zstd"


@pytest.mark.parametrize("wbits", range(9, 16))
def test_detect_knows_zlib_of_any_window(wbits: int) -> None:
    """All windows that zlib writes."""
    for level in (0, 1, 6, 9):
        deflate = zlib.compressobj(level, wbits=wbits)
        assert detect(deflate.compress(b"a") + deflate.flush()).name == "zlib"


@pytest.mark.parametrize(
    "head",
    [
        *(b"\0", b"\x1f\x8b", b"\x28\xb5\x2f", b"\x78", b"hello", bytes(18)),
        *(b"\x1f\x8b\x07\0", b"\x60\x2a\x4d\x18"),
        # A preset dictionary; a wrong header checksum; a window of 64 KiB.
        *(b"\x78\xbb", b"\x78\x9d", b"\x88\x1c"),
    ],
)
def test_detect_refuses_the_rest(head: bytes) -> None:
    """What is of no codec is a FormatError at the first byte."""
    with pytest.raises(FormatError, match="not a zstd, gzip or zlib file") as caught:
        detect(head)
    assert caught.value.offset == 0


@pytest.mark.parametrize(
    ("head", "named"),
    [
        (b"\xfd7zXZ\0", "is an xz file at byte 0; use xz"),
        (b"BZh9", "is a bzip2 file at byte 0; use bzip2"),
        (b"\x04\x22\x4d\x18", "is an lz4 file at byte 0; use lz4"),
        (b"PK\3\4", "is a zip file at byte 0; use unzip"),
        (b"7z\xbc\xaf\x27\x1c", "is a 7z file at byte 0; use 7z"),
        (b"\x1f\x9d\x90", "is a Z file at byte 0; use uncompress"),
        *((bytes([0x20 + n]) + b"\xb5\x2f\xfd", f"is a file of zstd 0.{n},") for n in (5, 6, 7)),
    ],
)
def test_detect_names_what_others_write(head: bytes, named: str) -> None:
    """Who holds such a file is told what reads it."""
    with pytest.raises(FormatError) as caught:
        detect(head + b"more of it")
    assert str(caught.value).startswith(named)
    assert caught.value.offset == 0


def test_detect_of_nothing() -> None:
    """An empty file is cut off at its very start."""
    with pytest.raises(TruncatedError, match="is empty"):
        detect(b"")


@settings(deadline=None)
@given(st.binary(max_size=HEAD_SIZE))
def test_detect_knows_or_refuses_anything(head: bytes) -> None:
    """No bytes lead to another exception."""
    with suppress(FormatError if head else TruncatedError):
        assert detect(head) in FORMATS.values()


# Frames, whole.


@every_level
@every_chunk
def test_every_level_round_trips(name: str, level: int, chunk: bytes) -> None:
    """A chunk comes back from its frame, into a room of its size and into a larger one."""
    row = FORMATS[name].codec
    frame = bytes(row.compress(memoryview(chunk), level))
    assert len(frame) <= row.bound(len(chunk))
    assert decompress(row, frame, len(chunk)) == chunk
    assert decompress(row, frame, len(chunk) + 1000) == chunk


@every_edge
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_any_chunk_round_trips(name: str, level: int, data: st.DataObject) -> None:
    """Whatever the chunk, its frame is bounded, repeatable, and decodes whole and as a stream."""
    row = FORMATS[name].codec
    unit = data.draw(st.binary(min_size=1, max_size=300))
    chunk = unit * data.draw(st.integers(0, 40))
    frame = bytes(row.compress(memoryview(chunk), level))
    assert len(frame) <= row.bound(len(chunk))
    assert bytes(row.compress(memoryview(bytearray(chunk)), level)) == frame
    assert decompress(row, frame, len(chunk)) == chunk
    sizes = data.draw(st.lists(st.integers(1, 2000), min_size=1, max_size=4))
    assert stream(row.open_stream(DEFAULT_MAX_WINDOW), *by_sizes(*sizes)(frame)) == chunk


@every_edge
@pytest.mark.parametrize("size", [4095, 65_536, 128 * KIB + 1, MIB])
def test_noise_stays_within_the_bound(name: str, level: int, size: int) -> None:
    """Data that does not compress grows by no more than a slot has room for."""
    row, chunk = FORMATS[name].codec, noise(size)
    frame = bytes(row.compress(memoryview(chunk), level))
    assert len(frame) <= row.bound(size)
    assert decompress(row, frame, size) == chunk


@pytest.mark.parametrize("name", WRITERS)
def test_a_frame_depends_on_nothing_but_chunk_and_level(name: str) -> None:
    """Not on what the thread compressed before, nor on the thread."""
    row, chunk = FORMATS[name].codec, memoryview(text(20_000))
    levels = edges(row)
    once = [bytes(row.compress(chunk, level)) for level in levels]
    again = [bytes(row.compress(chunk, level)) for level in reversed(levels)]
    assert once == again[::-1]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            frames = threads.map(lambda level: bytes(row.compress(chunk, level)), levels)
            assert list(frames) == once
            rooms = threads.map(lambda frame: decompress(row, frame, len(chunk)), once)
            assert list(rooms) == [bytes(chunk)] * len(levels)


@pytest.mark.parametrize("level", FORMATS["gzip"].codec.levels)
@every_chunk
def test_gzip_members_have_plain_headers(level: int, chunk: bytes) -> None:
    """10 bytes without optional fields or time: the container puts its own in their place."""
    frame = bytes(FORMATS["gzip"].codec.compress(memoryview(chunk), level))
    assert frame[:8] == b"\x1f\x8b\x08" + bytes(5)
    inflate = zlib.decompressobj(-15)
    assert inflate.decompress(frame[10:]) == chunk
    assert inflate.unused_data == frame[-8:]


@pytest.mark.parametrize("level", FORMATS["zstd"].codec.levels)
@every_chunk
def test_zstd_frames_say_their_size_and_have_checksums(level: int, chunk: bytes) -> None:
    """Without both, a reader could not trust them."""
    frame = bytes(FORMATS["zstd"].codec.compress(memoryview(chunk), level))
    header = zstandard.get_frame_parameters(frame)
    assert (header.content_size, header.has_checksum) == (len(chunk), True)
    assert header.dict_id == 0


def test_gzip_level_1_without_isal() -> None:
    """Level 1 is libdeflate's where ISA-L has no wheel."""
    row, chunk = FORMATS["gzip"].codec, text(20_000)
    with without_isal():
        frame = bytes(row.compress(memoryview(chunk), 1))
        assert decompress(row, frame, len(chunk)) == chunk
    assert gzip.decompress(frame) == chunk
    assert frame[3] == 0


def test_zlib_is_always_decoded_as_a_stream() -> None:
    """Nothing says where a zlib stream ends."""
    assert FORMATS["zlib"].codec.decompress(
        memoryview(zlib.compress(b"a")), memoryview(bytearray(9))
    ) == (STREAM)


@pytest.mark.parametrize("level", edges(FORMATS["gzip"].codec))
@every_chunk
def test_a_member_that_is_not_one_frame_is_for_the_stream(level: int, chunk: bytes) -> None:
    """Cut short, two members at once, bytes behind it: the index lied, and nothing is decoded."""
    row = FORMATS["gzip"].codec
    frame = bytes(row.compress(memoryview(chunk), level))
    for size in (0, 1, len(chunk), len(chunk) + 100):
        for cut in range(10, len(frame), max(1, len(frame) // 50)):
            assert decompress(row, frame[:cut], size) is None
        assert decompress(row, frame + frame, size) is None
        assert decompress(row, frame + b"\0", size) is None
        if size < len(chunk):
            assert decompress(row, frame, size) is None


@pytest.mark.parametrize("frame", [b"x" * 30, bytes(30), b"\x1f\x8b\x08\x20" + bytes(30)])
def test_what_is_no_member_is_an_error(frame: bytes) -> None:
    """A wrong magic, or reserved flags that ISA-L does not look at (RFC 1952, 2.3.1.2)."""
    with pytest.raises(CorruptError) as caught:
        decompress(FORMATS["gzip"].codec, frame, 100)
    assert caught.value.offset == 0


def test_a_zstd_frame_of_unknown_size_may_be_for_the_stream() -> None:
    """One that says no size is decoded where it fits, and is a stream where it does not."""
    chunk = text(5000)
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(chunk)
    assert decompress(FORMATS["zstd"].codec, frame, 5000) == chunk
    assert decompress(FORMATS["zstd"].codec, frame, 6000) == chunk
    for room in (0, 1, 4999):
        assert decompress(FORMATS["zstd"].codec, frame, room) is None


def test_a_zstd_frame_of_unknown_size_and_a_large_window_decodes() -> None:
    """Whoever allows larger windows gets such frames decoded, as whole ones too."""
    frame = zstd_frame(raw_block(b"abc"), window=window_byte(256 * MIB))
    assert decompress(FORMATS["zstd"].codec, frame, 3) == b"abc"


@pytest.mark.parametrize("lie", [-1, 1, 2, 1000, 1 << 40])
@pytest.mark.parametrize("window", [None, window_byte(8 * KIB)])
def test_a_zstd_header_that_lies_is_an_error(lie: int, window: int | None) -> None:
    """More or less content than the header says: never data."""
    frame = zstd_frame(raw_block(b"abcdef"), content=6 + lie, window=window)
    for room in (0, 5, 6, min(6 + lie, MIB)):
        with pytest.raises(CorruptError) as caught:
            decompress(FORMATS["zstd"].codec, frame, room)
        assert caught.value.offset == 0
