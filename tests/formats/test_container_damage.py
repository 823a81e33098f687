"""Containers that are cut off or damaged, and frames too large to be given out whole."""

from __future__ import annotations

import gzip
import re
import tracemalloc
from collections.abc import Callable
from itertools import accumulate

import pytest
import zstandard
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aiocompress.errors import CorruptError, FormatError, TruncatedError
from aiocompress.formats import FORMATS
from aiocompress.model import KIB, MIB

from ..help.built import indexed_member, raw_block, rle_block, skippable, window_byte, zstd_frame
from ..help.containers import TINY, WHOLE, Decoded, decode, encode, frames_of
from ..help.data import SPLITS, at_once, by_byte, by_sizes, noise, text
from ..help.files import (
    CHUNKS,
    FILES,
    OURS,
    RAW,
    TABLE,
    attempt,
    codec_of,
    every_file,
    every_one_of_ours,
    every_whole,
    every_writer,
    failure,
    zstd_of,
)

LARGEST = 2 * MIB
"""Bytes of the largest block that may come out of a stream."""


# Cut off.


@pytest.mark.usefixtures("library")
@every_one_of_ours
@every_whole
@pytest.mark.parametrize("split", ["at once", "byte by byte"])
def test_ours_cut_at_any_byte_is_an_error(data: bytes, whole: int, split: str) -> None:
    """Also exactly between two frames; what came out before is the beginning of the data."""
    for cut in range(1, len(data)):
        error, before = failure(data[:cut], SPLITS[split], whole=whole)
        assert isinstance(error, CorruptError | FormatError)
        assert RAW.startswith(before)
        assert error.offset is not None
        assert 0 <= error.offset <= cut


@every_writer
@every_whole
def test_ours_cut_between_frames_is_truncated(name: str, whole: int) -> None:
    """The error says so, and points at the end."""
    frames = frames_of(CHUNKS, name)
    for cut in list(accumulate(map(len, frames)))[:-1]:
        for split in SPLITS.values():
            error, _ = failure(b"".join(frames)[:cut], split, whole=whole)
            assert isinstance(error, TruncatedError)
            assert error.offset == cut


@every_writer
@every_whole
@pytest.mark.parametrize("level", ["first", "last"])
def test_levels_make_no_difference_to_a_cut(name: str, whole: int, level: str) -> None:
    """Every level's frames can be marked."""
    levels = FORMATS[name].codec.levels
    frames = frames_of(CHUNKS, name, levels[0] if level == "first" else levels[-1])
    for last in range(1, len(frames)):
        assert isinstance(failure(b"".join(frames[:last]), whole=whole)[0], TruncatedError)


@every_writer
@every_whole
def test_padding_does_not_hide_a_cut(name: str, whole: int) -> None:
    """Zeros where the end should be are no end."""
    frames = frames_of(CHUNKS, name)
    for last in range(1, len(frames)):
        data = b"".join(frames[:last]) + bytes(500)
        assert isinstance(failure(data, whole=whole)[0], TruncatedError)


@every_writer
def test_a_cut_file_of_ours_before_another_is_an_error(name: str) -> None:
    """The second one's end does not stand for the first one's."""
    frames = frames_of(CHUNKS, name)
    for last in range(1, len(frames)):
        for split in SPLITS.values():
            error, before = failure(b"".join(frames[:last]) + encode(CHUNKS, name), split)
            assert isinstance(error, TruncatedError)
            assert (b"".join(CHUNKS[:last]) + RAW).startswith(before)


@every_writer
def test_a_cut_file_of_ours_behind_others_is_an_error(name: str) -> None:
    """Where the frames of the first one can be found."""
    others = FILES["zstd"] if name == "zstd" else FILES["pgzip"]
    frames = frames_of(CHUNKS, name)
    for last in range(1, len(frames)):
        assert isinstance(failure(others + b"".join(frames[:last]))[0], TruncatedError)


@every_file
@every_whole
def test_any_file_cut_inside_a_frame_is_an_error(data: bytes, whole: int) -> None:
    """Only between two frames of others, after all of their data, can nothing be seen."""
    for cut in range(1, len(data)):
        into = Decoded()
        try:
            decode(data[:cut], whole=whole, into=into)
        except (CorruptError, FormatError):
            assert RAW.startswith(into.data)
        else:
            assert data not in OURS.values()
            assert into.data in list(accumulate(CHUNKS, initial=b""))


def test_bgzf_without_its_end_is_truncated() -> None:
    """BGZF ends with an empty block for this very purpose (SAM/BAM specification, 4.1.2)."""
    whole = b"".join(indexed_member(chunk, b"BC") for chunk in CHUNKS)
    error, before = failure(whole)
    assert isinstance(error, TruncatedError)
    assert (before, error.offset) == (RAW, len(whole))


# Damage.


READINGS = [
    pytest.param(library, data, id=f"{name}-{library}")
    for name, data in FILES.items()
    for library in (["isal"] if codec_of(data) == "zstd" else ["isal", "zlib"])
]


@pytest.mark.parametrize(("library", "data"), READINGS, indirect=["library"])
@every_whole
@pytest.mark.usefixtures("library")
def test_every_flipped_bit_is_noticed(data: bytes, whole: int) -> None:
    """An error of ours, or the same data where the bit means nothing."""
    codec = codec_of(data)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        found = attempt(bytes(damaged), codec=codec, whole=whole)
        assert not isinstance(found, bytes) or found == RAW, f"bit {bit}"


@every_whole
def test_every_flipped_bit_of_ours_is_noticed_where_it_is_strict(whole: int) -> None:
    """No bit of a seek table is ignored then."""
    data = FILES["ours zstd"]
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        found = attempt(bytes(damaged), codec="zstd", whole=whole, strict=True)
        assert not isinstance(found, bytes) or found == RAW, f"bit {bit}"
        assert not isinstance(found, bytes) or bit < 8 * (len(data) - TABLE), f"bit {bit}"


@every_one_of_ours
def test_flipped_bits_do_not_depend_on_the_split(data: bytes) -> None:
    """The same outcome byte by byte."""
    for bit in range(0, 8 * len(data), 5):
        damaged = bytearray(data)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        found = [attempt(bytes(damaged), split=split) for split in (at_once, by_byte)]
        assert [isinstance(one, bytes) for one in found] in ([True] * 2, [False] * 2), bit


def unnoticed(data: bytes, damaged: bytes) -> bool:
    """Whether the length of an extra field has changed, which no checksum of RFC 1952 covers.

    A length that reaches into the next member takes that one's data for its own, whole and with
    the right checksum. Our files notice that by the index at their end.
    """
    heads = [match.end() for match in re.finditer(rb"\x1f\x8b\x08[\x04-\x07].{6}", data, re.DOTALL)]
    return any(damaged[end : end + 2] != data[end : end + 2] for end in heads)


@every_file
@settings(deadline=None, max_examples=60)
@given(
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=9),
    sizes=st.lists(st.integers(1, 100), min_size=1, max_size=4),
    whole=st.sampled_from([WHOLE, 250, TINY]),
)
def test_random_damage_is_noticed(
    data: bytes, edits: list[tuple[int, int]], sizes: list[int], whole: int
) -> None:
    """Several bytes at once."""
    damaged = bytearray(data)
    for at, byte in edits:
        damaged[at % len(data)] = byte
    assume(data in OURS.values() or not unnoticed(data, damaged))
    found = attempt(bytes(damaged), split=by_sizes(*sizes), whole=whole)
    assert not isinstance(found, bytes) or found == RAW


@every_file
@settings(deadline=None, max_examples=60)
@given(
    cuts=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=5),
    sizes=st.lists(st.integers(1, 100), min_size=1, max_size=4),
    whole=st.sampled_from([WHOLE, 250, TINY]),
)
def test_shuffled_parts_raise_nothing_else(
    data: bytes, cuts: list[tuple[int, int]], sizes: list[int], whole: int
) -> None:
    """Parts of a file in any order: data or our errors, the same in every split."""
    codec = codec_of(data)
    parts = [data[:40]]
    for one, two in cuts:
        first, last = sorted((one % len(data), two % len(data)))
        parts.append(data[first:last])
    shuffled = b"".join(parts)
    found = [
        attempt(shuffled, codec=codec, split=split, whole=whole)
        for split in (at_once, by_sizes(*sizes))
    ]
    assert found[0] == found[1] or not any(isinstance(one, bytes) for one in found)


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None)
@given(
    head=st.sampled_from([b"", zstd_of(b"a")[:6], skippable(b"")[:5], gzip.compress(b"a")[:10]]),
    data=st.binary(max_size=100),
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    whole=st.sampled_from([WHOLE, 250, TINY]),
)
def test_any_bytes_are_data_or_an_error_of_ours(
    name: str, head: bytes, data: bytes, sizes: list[int], whole: int
) -> None:
    """Whatever is fed to whichever reader."""
    attempt(head + data, codec=name, split=by_sizes(*sizes), whole=whole)


# Frames too large to be given out whole.


@every_writer
@pytest.mark.parametrize("size", [3 * MIB, 3 * MIB + 17])
def test_large_frames_come_in_parts(name: str, size: int) -> None:
    """Parts of at most 1 MiB, one after another; what fits is still given out whole."""
    chunks = [text(500), noise(size), text(600)]
    data = encode(chunks, name, 1)
    for split in (at_once, by_sizes(MIB), by_sizes(100_000, 7)):
        decoded = decode(data, split=split, whole=2 * MIB, strict=True)
        assert decoded.data == b"".join(chunks)
        assert decoded.largest <= LARGEST
        parts = [piece for piece in decoded.pieces if piece.frames is None]
        assert len(parts) >= 3
        assert all(part.size <= MIB for part in parts)
        assert decoded.pieces[0].frames is not None
        if name == "zstd":
            assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
            assert decoded.pieces[-1].frames is not None
            assert decoded.frames == len(chunks)


def zeros_by_zstd(size: int, *, known: bool) -> bytes:
    """A frame of that many zeros, by libzstd's streaming interface."""
    compressor = zstandard.ZstdCompressor(level=1, write_content_size=known, write_checksum=True)
    stream = compressor.compressobj(size=size if known else -1)
    zeros = bytes(MIB)
    return b"".join(stream.compress(zeros) for _ in range(size // MIB)) + stream.flush()


def rle_frame(size: int, **header: int | None) -> bytes:
    """A frame of ``size`` zeros, 4 bytes for each 128 KiB."""
    count = size // (128 * KIB)
    blocks = rle_block(0, 128 * KIB, last=False) * (count - 1) + rle_block(0, 128 * KIB)
    return zstd_frame(blocks, **header)  # type: ignore[arg-type]


BOMBS: dict[str, Callable[[], bytes]] = {
    "zstd, size known": lambda: zeros_by_zstd(1 << 30, known=True),
    "zstd, size unknown": lambda: zeros_by_zstd(1 << 30, known=False),
    "zstd, a small window": lambda: rle_frame(1 << 30, window=window_byte(128 * KIB)),
    "gzip": lambda: gzip.compress(bytes(128 * MIB), 1),
    "gzip, its size said": lambda: indexed_member(bytes(128 * MIB), level=1),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_stay_flat(bomb: str) -> None:
    """Fed at once: blocks of at most 2 MiB, and a few of them in memory at a time."""
    data = BOMBS[bomb]()
    size = (1 << 30) if bomb.startswith("zstd") else 128 * MIB
    zeros, raw = bytes(LARGEST), 0

    class Sink(Decoded):
        """Counts zeros and keeps none."""

        def add(self, block: bytes) -> None:
            nonlocal raw
            assert len(block) <= LARGEST
            assert block == zeros[: len(block)]
            raw += len(block)

    tracemalloc.start()
    try:
        decode(data, into=Sink(keep=False))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert raw == size
    assert peak < 4 * len(data) + 6 * LARGEST


@pytest.mark.parametrize("block", [2, 9, 13])
def test_damage_deep_in_a_large_frame_is_located(block: int) -> None:
    """A block of the reserved type: the same offset from the file's start, however it is read."""
    blocks = [raw_block(noise(128 * KIB), last=number == 13) for number in range(14)]
    blocks[block] = b"\x06\0\0" + blocks[block][3:]
    first = zstd_of(b"a frame before it")
    frame = zstd_frame(*blocks, window=window_byte(128 * KIB))
    offset = len(first) + 6 + sum(map(len, blocks[:block]))
    for split in (at_once, by_sizes(MIB), by_sizes(77_777)):
        for whole in (WHOLE, MIB):
            error, _ = failure(first + frame, split, whole=whole)
            assert isinstance(error, CorruptError)
            assert (error.offset, error.frame) == (offset, 1)
