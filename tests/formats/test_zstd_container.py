"""The zstd container: headers, skippable frames and the seek table."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Iterator
from itertools import accumulate, product
from pathlib import Path

import pytest
import zstandard

from aiocompress.errors import (
    AiocompressError,
    CorruptError,
    FormatError,
    LimitError,
    TruncatedError,
)
from aiocompress.model import KIB, MIB

from ..help.built import SKIPPABLE_MAGICS, raw_block, rle_block, skippable, window_byte, zstd_frame
from ..help.containers import WHOLE, Decoded, decode, encode, frames_of
from ..help.data import SPLITS, at_once, by_byte, by_sizes, noise, text
from ..help.files import CHUNKS, FILES, RAW, TABLE, attempt, every_whole, failure, zstd_of
from ..help.tools import module

SEEK_TABLE_MAGIC, FOOTER_MAGIC = 0x184D2A5E, 0x8F92EAB1


# zstd's headers.


def windows(window: int) -> dict[str, bytes]:
    """Frames of 2 MiB that need a window of that many bytes."""
    blocks = rle_block(0, 128 * KIB, last=False) * 15 + rle_block(0, 128 * KIB)
    frames = {
        "unknown size": zstd_frame(blocks, window=window_byte(window)),
        "known size": zstd_frame(blocks, content=2 * MIB, window=window_byte(window)),
    }
    if window == 2 * MIB:
        frames["one segment"] = zstd_frame(blocks, content=2 * MIB)
    return frames


@pytest.mark.parametrize("whole", [WHOLE, MIB])
@pytest.mark.parametrize(
    ("window", "frame"),
    [
        pytest.param(window, frame, id=f"{kind}, {window >> 20} MiB")
        for window in (2 * MIB, 256 * MIB)
        for kind, frame in windows(window).items()
    ],
)
def test_windows_within_the_limit_are_allowed(window: int, frame: bytes, whole: int) -> None:
    """A window of exactly as many bytes as are allowed decodes."""
    assert decode(frame, whole=whole, max_window=window).data == bytes(2 * MIB)


def test_one_segment_that_is_given_out_whole_needs_no_window() -> None:
    """Its window is its content, which has its room already."""
    frame = windows(2 * MIB)["one segment"]
    assert decode(frame, whole=WHOLE, max_window=MIB).data == bytes(2 * MIB)


@pytest.mark.parametrize(
    ("window", "kind", "whole"),
    [
        *product([2 * MIB, 256 * MIB], ["unknown size", "known size"], [WHOLE, MIB]),
        (2 * MIB, "one segment", MIB),
    ],
)
def test_windows_above_the_limit_are_refused(window: int, kind: str, whole: int) -> None:
    """The error names the option."""
    frame, before = windows(window)[kind], zstd_of(b"a frame before it")
    for split in (at_once, by_sizes(3), by_sizes(len(before))):
        error, _ = failure(before + frame, split, whole=whole, max_window=window - 1)
        assert type(error) is LimitError
        assert (error.offset, error.frame) == (len(before), 1)
        assert f"max_window={window}" in str(error)
        assert "max_window" in str(error)


@every_whole
@pytest.mark.parametrize("before", [b"", zstd_of(b"one"), encode(CHUNKS) + skippable(b"abc")])
@pytest.mark.parametrize(
    ("frame", "kind", "relative"),
    [
        (zstd_frame(raw_block(b"a"), window=0, descriptor=8), CorruptError, 4),
        (zstd_frame(raw_block(b"a"), window=0, dictionary=b"\x07"), FormatError, 0),
        (zstd_frame(raw_block(b"a"), content=1, dictionary=b"\0\0\0\x07"), FormatError, 0),
        (zstd_frame(raw_block(b"abc", last=False), b"\x07\0\0", window=0), CorruptError, 12),
        (zstd_frame(b"\x06\0\0", content=3), CorruptError, 13),
    ],
)
def test_odd_frames_are_refused_where_they_stand(
    before: bytes, frame: bytes, kind: type[AiocompressError], relative: int, whole: int
) -> None:
    """Reserved bits and blocks, dictionaries: the offset counts from the start of the file."""
    good = decode(before, codec="zstd")
    for split in SPLITS.values():
        error, data = failure(before + frame + zstd_of(b"more"), split, codec="zstd", whole=whole)
        assert type(error) is kind
        assert (error.offset, error.frame) == (len(before) + relative, good.frames)
        assert data[: len(good.data)] == good.data
        assert data[len(good.data) :] in {b"", b"abc"}


@every_whole
@pytest.mark.parametrize("claim", [0, 1, 5, 7, 8, 255, 70_000, 1 << 26, 1 << 27])
@pytest.mark.parametrize("window", [None, 0, window_byte(MIB)])
def test_content_sizes_that_lie_are_errors(whole: int, claim: int, window: int | None) -> None:
    """Too small or too large, in front of other frames or at the end."""
    for block in (raw_block(b"abcdef"), rle_block(97, 6)):
        frame = zstd_frame(block, content=claim, window=window)
        for data in (frame, zstd_of(b"one") + frame, frame + zstd_of(b"two")):
            for split in (at_once, by_byte):
                error, before = failure(data, split, whole=whole)
                assert isinstance(error, CorruptError)
                assert before[:3] in {b"", b"one", b"abc", b"aaa"}


@pytest.mark.parametrize("claim", [1 << 28, 1 << 40, (1 << 64) - 2])
def test_huge_content_sizes_need_no_memory(claim: int) -> None:
    """A claim is no reason to make room: an error, and a flat way to it."""
    for window in (None, 0):
        frame = zstd_frame(raw_block(b"abcdef"), content=claim, window=window)
        tracemalloc.start()
        try:
            found = attempt(zstd_of(b"one") + frame)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert found in {CorruptError, LimitError}
        assert peak < 8 * MIB


def test_unknown_sizes_that_do_not_fit_become_streams() -> None:
    """More than 4 windows of raw data: the guess was wrong, the data is right."""
    blocks = [raw_block(noise(1000, number), last=number == 9) for number in range(10)]
    frame = zstd_frame(*blocks, window=0)
    data = zstd_of(b"one") + frame + zstd_of(b"two") + frame + zstd_of(b"end", size=False)
    content = b"".join(noise(1000, number) for number in range(10))
    for split in SPLITS.values():
        assert decode(data, split=split).data == b"one" + content + b"two" + content + b"end"


# Skippable frames.


@every_whole
@pytest.mark.parametrize("payload", [b"", b"a", bytes(9), noise(3000)])
def test_skippable_frames_may_stand_anywhere(whole: int, payload: bytes) -> None:
    """In front, in the middle, at the end, several, of each magic: they decode to nothing."""
    for split, magic in product(SPLITS.values(), SKIPPABLE_MAGICS[:: 1 + len(payload) // 600]):
        skipped = skippable(payload, magic)
        data = skipped + zstd_of(b"one") + skipped * 2 + zstd_of(b"two", size=False) + skipped
        decoded = decode(data, split=split, whole=whole, strict=True)
        assert decoded.data == b"onetwo"
        assert decoded.frames == 2
        assert decoded.warnings == []


@every_whole
@pytest.mark.parametrize("place", range(5))
def test_skippable_frames_in_ours_change_no_data(whole: int, place: int) -> None:
    """In front of it, between frames, before and behind the seek table."""
    frames = frames_of(CHUNKS)
    frames.insert(place, skippable(b"metadata"))
    for split in SPLITS.values():
        assert decode(b"".join(frames), split=split, whole=whole).data == RAW


def test_a_file_of_skippable_frames_is_empty() -> None:
    """Nothing to decode, and nothing wrong."""
    decoded = decode(skippable(b"one") + skippable(b"two", 0x184D2A5F))
    assert (bytes(decoded.data), decoded.frames, len(decoded.pieces)) == (b"", 0, 0)


@every_whole
def test_large_skippable_frames_are_not_gathered(whole: int) -> None:
    """They pass by in the pieces they come in."""
    frame, zeros = skippable(b"", size=20 * MIB), bytes(MIB)

    def blocks(_: bytes) -> Iterator[bytes]:
        yield zstd_of(b"one") + frame
        for _number in range(20):
            yield zeros
        yield zstd_of(b"two")

    tracemalloc.start()
    try:
        data = zstd_of(b"one") + frame  # what detect looks at
        decoded = decode(data, split=blocks, whole=whole)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert decoded.data == b"onetwo"
    assert peak < 5 * MIB


@every_whole
@pytest.mark.parametrize("size", [4, 100, 5 * MIB, (1 << 32) - 1])
def test_skippable_frames_that_are_cut_off(whole: int, size: int) -> None:
    """A size that is larger than the file: truncated, at the file's end."""
    for split, content in product(SPLITS.values(), (b"", b"one")):
        data = (zstd_of(content) if content else b"") + skippable(b"abc", size=size)
        error, before = failure(data, split, whole=whole)
        assert isinstance(error, TruncatedError)
        assert (error.offset, before) == (len(data), content)


# The seek table: the zstd seekable format v0.1.0.


def seek_table(data: bytes) -> list[tuple[int, int, int]]:
    """Parse the seek table that ends a file: (compressed, raw, checksum) of each frame."""
    count, descriptor, footer = struct.unpack("<IBI", data[-9:])
    assert footer == FOOTER_MAGIC
    assert descriptor == 0x80
    size = 12 * count + 9
    magic, said = struct.unpack("<II", data[-size - 8 : -size])
    assert (magic, said) == (SEEK_TABLE_MAGIC, size)
    return [struct.unpack_from("<III", data, len(data) - size + 12 * at) for at in range(count)]


@pytest.mark.parametrize("chunks", [[], [b""], CHUNKS, [b"", *CHUNKS, b""], [b"x"] * 300])
@pytest.mark.parametrize("level", [-7, 3, 22])
def test_the_seek_table_is_that_of_the_seekable_format(chunks: list[bytes], level: int) -> None:
    """Each frame stands where it says, has the raw size it says, and ends with the checksum."""
    data = encode(chunks, level=level)
    table = seek_table(data)
    assert [raw for _, raw, _ in table] == list(map(len, chunks))
    at = 0
    for (compressed, raw, checksum), chunk in zip(table, chunks, strict=True):
        frame = data[at : at + compressed]
        header = zstandard.get_frame_parameters(frame)
        assert (header.content_size, header.has_checksum) == (raw, True)
        assert zstandard.ZstdDecompressor().decompress(frame) == chunk
        assert struct.pack("<I", checksum) == frame[-4:]
        if not chunk:
            assert checksum == 0x51D8E999
        at += compressed
    assert at + 8 + 12 * len(table) + 9 == len(data)


def test_ours_begins_with_a_frame() -> None:
    """Not with a skippable one, which GNU tar and many detectors do not know."""
    for chunks in ([b""], CHUNKS):
        assert encode(chunks)[:4] == b"\x28\xb5\x2f\xfd"


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1023, 1024, 1025, 65_535, 65_536, 300_000])
@pytest.mark.parametrize("level", [-7, 1, 3, 19, 22])
def test_marked_headers_are_read_by_libzstd(size: int, level: int) -> None:
    """The first frame says its size in 8 bytes and has a window for its content."""
    chunk = noise(size)
    data = encode([chunk, chunk], level=level)
    assert zstandard.ZstdDecompressor().decompress(data) == chunk
    header = zstandard.get_frame_parameters(data)
    assert header.content_size == size
    assert header.window_size <= 2.25 * max(size, KIB)
    frame = frames_of([chunk], level=level)[0]
    stream = zstandard.ZstdDecompressor().decompressobj()
    assert b"".join(stream.decompress(piece) for piece in by_sizes(1000)(frame)) == chunk
    assert stream.eof


@every_whole
def test_a_damaged_seek_table_is_a_warning(whole: int) -> None:
    """The data is right; the warning says where; strict, it is an error that says what to do."""
    start = len(FILES["ours zstd"]) - TABLE
    for byte, split in product(range(8, TABLE - 4), (at_once, by_byte)):
        damaged = bytearray(FILES["ours zstd"])
        damaged[start + byte] ^= 0x55
        decoded = decode(bytes(damaged), split=split, whole=whole)
        assert decoded.data == RAW
        (warning,) = decoded.warnings
        assert f"at byte {start}" in warning
        error, before = failure(bytes(damaged), split, whole=whole, strict=True)
        assert type(error) is CorruptError
        assert (error.offset, before) == (start, RAW)
        assert error.hint


@every_whole
def test_a_seek_table_that_cannot_be_recognised_is_noticed(whole: int) -> None:
    """A warning with the right data, or an error: strict or not, it never passes for whole."""
    for byte in (*range(8), *range(TABLE - 4, TABLE)):
        damaged = bytearray(FILES["ours zstd"])
        damaged[len(damaged) - TABLE + byte] ^= 0x55
        into = Decoded()
        try:
            decode(bytes(damaged), whole=whole, into=into)
            assert into.warnings
        except CorruptError:
            pass
        assert into.data == RAW
        assert isinstance(failure(bytes(damaged), whole=whole, strict=True)[0], CorruptError)


def table_of(*entries: tuple[int, int, int], count: int | None = None) -> bytes:
    """A seek table with any entries, which may say that it has another number of them."""
    payload = b"".join(struct.pack("<III", *entry) for entry in entries)
    number = len(entries) if count is None else count
    footer = struct.pack("<IBI", number, 0x80, FOOTER_MAGIC)
    return skippable(payload + footer, SEEK_TABLE_MAGIC)


@pytest.mark.parametrize(
    "lie",
    [
        table_of(),
        table_of((1, 1, 1)),
        table_of(*[(1 << 31, 1 << 31, 0)] * 3),
        table_of((0, 0, 0), (0, 0, 0), (0, 0, 0)),
        table_of((0, 0, 0), count=(1 << 32) - 1),
        table_of(*[(9, 1, 1)] * 5000),
        table_of(*[(9, 1, 1)] * 200_000),
    ],
    ids=range(7),
)
def test_seek_tables_that_lie_change_no_data(lie: bytes) -> None:
    """Absent entries, overlapping, huge: a warning where the file is ours, nothing elsewhere."""
    frames = frames_of(CHUNKS)[:-1]
    for split in (at_once, by_sizes(1 + len(lie) // 500), by_sizes(64 * KIB, 1)):
        decoded = decode(b"".join(frames) + lie, split=split)
        assert decoded.data == RAW
        assert decoded.warnings
        assert decode(FILES["zstd"] + lie, split=split).data == RAW


def test_the_tables_of_others_are_read_past() -> None:
    """Without checksums, as other writers of the seekable format make them."""
    frames = [zstd_of(chunk, checksum=False) for chunk in CHUNKS]
    entries = b"".join(
        struct.pack("<II", len(frame), len(chunk))
        for frame, chunk in zip(frames, CHUNKS, strict=True)
    )
    table = skippable(entries + struct.pack("<IBI", len(frames), 0, FOOTER_MAGIC), SEEK_TABLE_MAGIC)
    for split in SPLITS.values():
        decoded = decode(b"".join(frames) + table, split=split, strict=True)
        assert decoded.data == RAW
        assert decoded.warnings == []


def test_indexed_zstd_reads_at_random(tmp_path: Path) -> None:
    """An independent reader of the seekable format finds every byte through our table."""
    chunks = [text(5000, seed) + noise(100, seed) for seed in range(20)]
    raw, path = b"".join(chunks), tmp_path / "x.zst"
    path.write_bytes(encode(chunks))
    with module("indexed_zstd").IndexedZstdFile(str(path)) as file:
        assert file.is_multiframe()
        source = random.Random(1)
        for _ in range(50):
            at, size = source.randrange(len(raw)), source.randrange(12_000)
            file.seek(at)
            assert file.read(size) == raw[at : at + size]
        assert list(file.block_offsets().values())[: len(chunks)] == list(
            accumulate(map(len, chunks[:-1]), initial=0)
        )
