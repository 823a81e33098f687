"""The containers: frames into files and back, in every split, by every tool, after any damage."""

from __future__ import annotations

import gzip
import io
import random
import struct
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import accumulate, product
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress.errors import (
    AiocompressError,
    CorruptError,
    FormatError,
    LimitError,
    TruncatedError,
)
from aiocompress.formats import FORMATS, HEAD_SIZE, detect
from aiocompress.formats.base import Piece
from aiocompress.model import DEFAULT_MAX_WINDOW, KIB, MIB

from ..help.built import (
    SKIPPABLE_MAGICS,
    gzip_member,
    indexed_member,
    raw_block,
    rle_block,
    skippable,
    window_byte,
    zstd_frame,
)
from ..help.containers import TINY, WHOLE, Decoded, check_offset, decode, encode, frames_of
from ..help.data import SPLITS, Split, at_once, by_byte, by_sizes, noise, text
from ..help.tools import module, run, tool, without_isal

LARGEST = 2 * MIB
"""Bytes of the largest block that may come out of a stream."""
CHUNKS = [text(90), noise(40), bytes(300)]
RAW = b"".join(CHUNKS)
WRITERS = [name for name, row in FORMATS.items() if row.container.writer]
SEEK_TABLE_MAGIC, FOOTER_MAGIC = 0x184D2A5E, 0x8F92EAB1


def zstd_of(data: bytes, *, size: bool = True, checksum: bool = True) -> bytes:
    """A frame as zstd writes it."""
    compressor = zstandard.ZstdCompressor(write_content_size=size, write_checksum=checksum)
    return compressor.compress(data)


def pzstd_of(*chunks: bytes) -> bytes:
    """Frames as pzstd writes them: without content size, behind each one's length."""
    frames = [zstd_of(chunk, size=False) for chunk in chunks]
    return b"".join(skippable(struct.pack("<I", len(frame))) + frame for frame in frames)


def bgzf_of(*chunks: bytes) -> bytes:
    """Blocks as bgzip writes them, with the empty one at the end."""
    return b"".join(indexed_member(chunk, b"BC") for chunk in (*chunks, b""))


def join(members: Iterator[bytes]) -> bytes:
    return b"".join(members)


FILES: dict[str, bytes] = {
    "ours zstd": encode(CHUNKS),
    "ours gzip": encode(CHUNKS, "gzip"),
    "ours gzip 1": encode(CHUNKS, "gzip", 1),
    "zstd": join(map(zstd_of, CHUNKS)),
    "zstd from a pipe": join(zstd_of(chunk, size=False) for chunk in CHUNKS),
    "pzstd": pzstd_of(*CHUNKS),
    "gzip": join(map(gzip.compress, CHUNKS)),
    "gzip with names": join(
        gzip_member(chunk, name=b"a", comment=b"b", header_crc=True) for chunk in CHUNKS
    ),
    "BGZF": bgzf_of(*CHUNKS),
    "pgzip": join(map(indexed_member, CHUNKS)),
    "mgzip": join(indexed_member(chunk, b"MZ") for chunk in CHUNKS),
    "zlib": join(map(zlib.compress, CHUNKS)),
}
"""The same data by every writer, with checksums. What follows must hold for each of them."""
TABLE = len(frames_of(CHUNKS)[-1])
OURS = {name: data for name, data in FILES.items() if name.startswith("ours")}
WHOLES = {"whole": WHOLE, "some whole": 250, "streams": TINY}

every_file = pytest.mark.parametrize("data", FILES.values(), ids=FILES)
every_one_of_ours = pytest.mark.parametrize("data", OURS.values(), ids=OURS)
every_whole = pytest.mark.parametrize("whole", WHOLES.values(), ids=WHOLES)
every_writer = pytest.mark.parametrize("name", WRITERS)


@pytest.fixture(params=["isal", "zlib"])
def library(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both libraries that read DEFLATE."""
    with nullcontext() if request.param == "isal" else without_isal():
        yield request.param


def codec_of(data: bytes) -> str:
    """The name of the codec of a file that is not damaged."""
    return detect(data[:HEAD_SIZE]).name


def attempt(data: bytes, **how: object) -> bytes | type[AiocompressError]:
    """What comes of reading: the data, or the class of the error."""
    try:
        return bytes(decode(data, **how).data)  # type: ignore[arg-type]
    except AiocompressError as error:
        check_offset(error, len(data))
        return type(error)


def failure(data: bytes, split: Split = at_once, **how: object) -> tuple[AiocompressError, bytes]:
    """The error that reading raises, and what had come out before it."""
    into = Decoded()
    with pytest.raises(AiocompressError) as caught:
        decode(data, split=split, into=into, **how)  # type: ignore[arg-type]
    return caught.value, bytes(into.data)


# Out and back.


def test_every_codec_has_a_container() -> None:
    """They go by the same names, and what a codec can write, its container can."""
    assert [name for name, row in FORMATS.items() if row.codec.levels] == WRITERS


@pytest.mark.usefixtures("library")
@every_file
@every_whole
def test_every_file_reads_the_same_in_every_split(data: bytes, whole: int) -> None:
    """Whole, byte by byte, as frames, as streams: the same data, frames, and no warnings."""
    frames = set()
    for split in SPLITS.values():
        decoded = decode(data, split=split, whole=whole, strict=True)
        assert decoded.data == RAW
        assert decoded.warnings == []
        frames.add(decoded.frames)
    assert len(frames) == 1


@every_writer
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_chunks_round_trip(name: str, data: st.DataObject) -> None:
    """Whatever the chunks, the level, the split and the limit."""
    parts = data.draw(st.lists(st.binary(max_size=300), max_size=8))
    chunks = [part * data.draw(st.integers(0, 20)) for part in parts]
    level = data.draw(
        st.sampled_from([FORMATS[name].codec.levels[0], 1, FORMATS[name].codec.default_level])
    )
    sizes = data.draw(st.lists(st.integers(1, 500), min_size=1, max_size=5))
    whole = data.draw(st.sampled_from([WHOLE, 2000, 300, TINY]))
    written = encode(chunks, name, level)
    decoded = decode(written, codec=name, split=by_sizes(*sizes), whole=whole, strict=True)
    assert decoded.data == b"".join(chunks)
    assert decoded.warnings == []


@every_writer
@every_whole
@pytest.mark.parametrize("chunks", [[], [b""], [b"", b""], [b"a"], [b"", b"a", b"", b"b"]])
def test_empty_chunks_and_files(name: str, whole: int, chunks: list[bytes]) -> None:
    """A file of nothing is a file, and empty frames may stand anywhere."""
    for split in SPLITS.values():
        decoded = decode(encode(chunks, name), split=split, whole=whole, strict=True)
        assert decoded.data == b"".join(chunks)
        assert decoded.warnings == []


@every_writer
def test_readers_take_no_bytes_for_an_empty_file(name: str) -> None:
    """That nothing at all is no file is for the caller to say, who wanted its first bytes."""
    assert decode(b"", codec=name).pieces == []


@every_writer
def test_frames_are_counted(name: str) -> None:
    """Each chunk is one; gzip's end is a member too."""
    decoded = decode(encode(CHUNKS, name))
    assert decoded.frames == len(CHUNKS) + (name == "gzip")


@every_file
@every_whole
def test_pieces_follow_one_another(data: bytes, whole: int) -> None:
    """Offsets and frames go on where the piece before ended; skippable frames lie between."""
    for split in SPLITS.values():
        at = frame = 0
        for piece in decode(data, split=split, whole=whole).pieces:
            assert piece.offset >= at
            assert decode(data[at : piece.offset], codec="zstd").frames == 0
            assert piece.first_frame == frame
            if piece.frames is not None:
                assert piece.frames
                assert piece.size == sum(compressed for compressed, _ in piece.frames)
                assert piece.room == sum(raw for _, raw in piece.frames)
            at = piece.offset + piece.size
            frame += len(piece.frames) if piece.frames is not None else piece.last
        assert decode(data[at:], codec="zstd").frames == 0


@pytest.mark.parametrize(
    "name", ["ours zstd", "zstd", "pzstd", "ours gzip", "BGZF", "pgzip", "mgzip"]
)
def test_frames_are_found_where_they_can_be(name: str) -> None:
    """What is decoded in parallel: whole frames, never a stream."""
    for split in SPLITS.values():
        pieces = decode(FILES[name], split=split).pieces
        assert pieces
        assert all(piece.frames is not None for piece in pieces)


@pytest.mark.parametrize("name", ["ours zstd", "zstd"])
def test_small_frames_travel_together(name: str) -> None:
    """One piece for all that have come, with the raw sizes that the headers say."""
    (piece,) = decode(FILES[name]).pieces
    assert piece.frames is not None
    assert [raw for _, raw in piece.frames] == list(map(len, CHUNKS))


@every_writer
def test_runs_of_frames_are_bounded(name: str) -> None:
    """Thousands of tiny frames come in pieces that are worth a task each, not in one."""
    chunk = b"x" * 10
    decoded = decode(encode([chunk] * 1000, name))
    assert decoded.data == chunk * 1000
    assert 2 <= len(decoded.pieces) <= 20
    decoded = decode(encode([bytes(MIB)] * 40, name))
    assert max(piece.room for piece in decoded.pieces) <= 16 * MIB


@every_writer
@pytest.mark.parametrize("whole", [2000, 20_000, 3 * MIB])
def test_no_piece_takes_more_than_the_limit(name: str, whole: int) -> None:
    """A run of frames needs room as one frame does: a small engine has no more (FAULTS, R4)."""
    chunks = [bytes(size) for size in (100, 1500, 1800, 1900, 100, 19_000, 2 * MIB, 2 * MIB)]
    decoded = decode(encode(chunks * 2, name), whole=whole)
    assert decoded.data == b"".join(chunks * 2)
    for piece in decoded.pieces:
        if piece.frames is not None:
            assert piece.size + piece.room <= whole


@every_file
def test_nothing_is_kept_of_a_piece(data: bytes) -> None:
    """A reader goes on when its piece has been released, and not before it was asked to."""
    reader = FORMATS[codec_of(data)].container.reader(whole=WHOLE, max_window=DEFAULT_MAX_WINDOW)
    pieces: list[Piece] = []
    for byte in by_byte(data):
        reader.feed(byte)
        while (piece := reader.next_piece()) is not None:
            piece.data.release()
            pieces.append(piece)
        assert reader.next_piece() is None
    reader.end()
    while (piece := reader.next_piece()) is not None:
        piece.data.release()
        pieces.append(piece)
    assert reader.next_piece() is None
    assert pieces


def test_a_stream_of_gzip_flows_at_once() -> None:
    """What arrives of a plain member is given out, not held back for its end (a live pipe)."""
    deflate = zlib.compressobj(9, wbits=31)
    data = deflate.compress(noise(30)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    reader = FORMATS["gzip"].container.reader(whole=WHOLE, max_window=DEFAULT_MAX_WINDOW)
    reader.feed(data)
    piece = reader.next_piece()
    assert piece is not None
    assert bytes(piece.data) == data


# What may follow.


@every_file
@every_whole
def test_zeros_may_follow(data: bytes, whole: int) -> None:
    """Tapes and block devices pad; the padding is no frame."""
    frames = decode(data, whole=whole).frames
    for split, count in product(SPLITS.values(), (1, 3, 4, 600)):
        decoded = decode(data + bytes(count), split=split, whole=whole, strict=True)
        assert decoded.data == RAW
        assert decoded.warnings == []
        assert decoded.frames == frames


GARBAGE = [b"x", b"\x28\xb5\x2f\xfe", b"\x1f\x8b\x07\0", b"garbage " * 9, b"\xff" * 4, b"\x01"]


@every_file
@every_whole
@pytest.mark.parametrize("padding", [0, 1, 600])
def test_garbage_may_not_follow(data: bytes, whole: int, padding: int) -> None:
    """All of the data comes out, then an error that points at the first byte of the garbage."""
    for garbage, split in product(GARBAGE, SPLITS.values()):
        error, before = failure(data + bytes(padding) + garbage, split, whole=whole)
        assert isinstance(error, CorruptError)
        assert before == RAW
        assert error.offset == len(data) + padding


@every_one_of_ours
@every_whole
def test_garbage_is_called_garbage(data: bytes, whole: int) -> None:
    """It is no cut, however short it is."""
    for garbage in GARBAGE:
        assert not isinstance(failure(data + garbage, whole=whole)[0], TruncatedError)


SUITE = [
    (one, two) for one, two in product(FILES, FILES) if codec_of(FILES[one]) == codec_of(FILES[two])
]


@pytest.mark.parametrize(("one", "two"), SUITE)
@every_whole
def test_concatenations_decode(one: str, two: str, whole: int) -> None:
    """Any file behind any other of its codec, in every split, and without a warning."""
    for split in SPLITS.values():
        decoded = decode(FILES[one] + FILES[two], split=split, whole=whole, strict=True)
        assert decoded.data == RAW * 2
        assert decoded.warnings == []


@every_writer
def test_codecs_do_not_mix(name: str) -> None:
    """A file of one codec behind one of another is garbage."""
    other = "gzip" if name == "zstd" else "zstd"
    error, before = failure(encode(CHUNKS, name) + encode(CHUNKS, other))
    assert isinstance(error, CorruptError)
    assert before == RAW
    assert error.offset == len(encode(CHUNKS, name))


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


@every_file
@every_whole
def test_every_flipped_bit_is_noticed(library: str, data: bytes, whole: int) -> None:
    """An error of ours, or the same data where the bit means nothing."""
    codec = codec_of(data)
    if (library, codec) == ("zlib", "zstd"):
        return
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


# Sizes in gzip headers that lie.

LIES = sorted({-400, -100, -60, *range(-32, 33), 60, 100, 400, 5000, 1 << 24, (1 << 32) - 1000})


def with_lie(index: int, lie: int, name: bytes, chunks: list[bytes]) -> bytes | None:
    """Members that say their sizes, one of them a wrong one; None: the lie has no room there."""
    members = [indexed_member(chunk, name) for chunk in chunks]
    try:
        members[index] = indexed_member(chunks[index], name, lie)
    except OverflowError:
        return None
    return b"".join(members)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("name", [b"IG", b"MZ", b"BC"])
@pytest.mark.parametrize("index", range(5))
@pytest.mark.parametrize("whole", [WHOLE, TINY])
def test_sizes_that_lie_give_no_wrong_bytes(name: bytes, index: int, whole: int) -> None:
    """Too small, too large, into the middle of any member: the data, or an error."""
    chunks = [*CHUNKS, bytes(70), b""]
    for lie in LIES:
        data = with_lie(index, lie, name, chunks)
        if data is None:
            continue
        assert gzip.decompress(data) == b"".join(chunks)
        for split in (at_once, by_sizes(3, 1, 50)):
            found = attempt(data, split=split, whole=whole)
            assert not isinstance(found, bytes) or found == b"".join(chunks), (lie, split)


@pytest.mark.parametrize("name", [b"IG", b"MZ", b"BC"])
@pytest.mark.parametrize("index", range(5))
def test_sizes_that_lie_are_only_hints(name: bytes, index: int) -> None:
    """What gunzip reads is read: from front to back, where the sizes are no help (FAULTS)."""
    chunks = [*CHUNKS, bytes(70), b""]
    # The end of BGZF is an empty block where the sizes lead to: it and the last may hide it.
    allowed = {TruncatedError} if name == b"BC" and index >= 3 else set()
    wrong = []
    for lie in LIES:
        data = with_lie(index, lie, name, chunks)
        if data is not None and attempt(data) not in {b"".join(chunks), *allowed}:
            wrong.append(lie)
    assert wrong == []


def test_a_size_that_spans_two_members_is_seen() -> None:
    """The place where it points to begins a member, and yet it lies."""
    members = [indexed_member(chunk) for chunk in (*CHUNKS, b"", b"end")]
    for index in range(len(members) - 1):
        spanning = [*members]
        both = len(members[index]) + len(members[index + 1])
        spanning[index] = members[index][:16] + struct.pack("<I", both) + members[index][20:]
        data = b"".join(spanning)
        for split in SPLITS.values():
            assert decode(data, split=split).data == RAW + b"end"


@pytest.mark.parametrize("split", ["at once", "byte by byte"])
def test_raw_sizes_that_lie_are_errors(split: str) -> None:
    """The last 4 bytes of a member are checked, whatever they claim."""
    member = indexed_member(b"some data")
    for claim in (0, 8, 10, 5000, 1 << 20, (1 << 32) - 1):
        data = member + member[:-4] + struct.pack("<I", claim) + member
        error, before = failure(data, SPLITS[split])
        assert isinstance(error, CorruptError)
        assert (b"some data" * 2).startswith(before)


@pytest.mark.parametrize(
    "extra",
    [
        *(b"", b"I", b"IG", b"IG\x04", b"IG\x04\0", b"IG\x04\0\x01\x02", b"IG\x02\0ab"),
        *(b"BC\x04\0abcd", b"XX\0\0", b"XX\xff\xffab", b"XX\x02\0abIG\x04\0\0\0\0\0", b"\0" * 70),
    ],
)
def test_odd_extra_fields_are_read_past(extra: bytes) -> None:
    """Fields that are cut, unknown or of another length say nothing."""
    data = gzip_member(b"one", extra=extra) + gzip_member(b"two", extra=extra)
    for split in SPLITS.values():
        assert decode(data, split=split).data == b"onetwo"


def test_the_size_may_stand_behind_other_fields() -> None:
    """Subfields come in any order (RFC 1952, 2.3.1.1)."""
    blank = b"XX\x03\0abcIG\x04\0" + bytes(4)
    size = len(gzip_member(RAW, extra=blank))
    data = gzip_member(RAW, extra=blank[:-4] + struct.pack("<I", size)) * 2
    decoded = decode(data)
    assert decoded.data == RAW * 2
    assert decoded.pieces[0].frames is not None


def test_long_headers_are_read() -> None:
    """Every optional field, 64 KiB of extra field, long names: across any border of reading."""
    member = gzip_member(
        RAW,
        extra=b"XX" + struct.pack("<H", 60_000) + noise(60_000),
        name=b"n" * 70_000,
        comment=b"c",
    )
    for split in (at_once, by_sizes(1000), by_sizes(64 * KIB), by_sizes(66_666, 3)):
        assert decode(member * 3, split=split).data == RAW * 3


def test_names_at_the_borders_of_reading() -> None:
    """The second member's header may lie anywhere, also across what is decoded at once."""
    second = gzip_member(RAW, name=b"a name", comment=b"a comment", header_crc=True)
    first = gzip_member(noise(64 * KIB - 100), level=0)
    for size in range(64 * KIB - len(first) - 40, 64 * KIB - len(first) + 1):
        filler = gzip_member(b"", name=b"n" * (size - len(gzip_member(b"", name=b""))))
        data = first + filler + second
        assert decode(data).data == noise(64 * KIB - 100) + RAW


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


@pytest.mark.parametrize("window", [2 * MIB, 256 * MIB])
@pytest.mark.parametrize("kind", ["unknown size", "known size", "one segment"])
@pytest.mark.parametrize("whole", [WHOLE, MIB])
def test_windows_above_the_limit_are_refused(window: int, kind: str, whole: int) -> None:
    """The error names the option; allowed, the frame decodes."""
    frame = windows(window).get(kind)
    if frame is None:
        return
    assert decode(frame, whole=whole, max_window=window).data == bytes(2 * MIB)
    before = zstd_of(b"a frame before it")
    if kind == "one segment" and whole > window:
        assert decode(frame, whole=whole, max_window=window // 2).data == bytes(2 * MIB)
        return
    for split in (at_once, by_sizes(3), by_sizes(len(before))):
        error, _ = failure(before + frame, split, whole=whole, max_window=window - 1)
        assert type(error) is LimitError
        assert (error.offset, error.frame) == (len(before), 1)
        assert f"--max-window {window}" in str(error)
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


# gzip's shape.


def test_ours_says_the_size_of_each_member() -> None:
    """First in FEXTRA, as pgzip writes it; the last member is empty."""
    data, found = encode(CHUNKS, "gzip"), []
    while data:
        assert data[:3] == b"\x1f\x8b\x08"
        assert data[3] & 4
        assert data[10:16] == b"\x08\0IG\x04\0"
        (size,) = struct.unpack_from("<I", data, 16)
        found.append(gzip.decompress(data[:size]))
        data = data[size:]
    assert found == [*CHUNKS, b""]


# Tools of others, both ways.

LONG = [text(9000, 1), noise(5000), bytes(70_000), text(20_000, 2)]
SHAPES = {"several": LONG, "one": LONG[:1], "empty": [b""]}
every_shape = pytest.mark.parametrize("chunks", SHAPES.values(), ids=SHAPES)


@every_shape
@pytest.mark.parametrize(
    ("codec", "command"),
    [
        ("zstd", "zstd -dc FILE"),
        ("zstd", "zstd -tc FILE"),
        ("zstd", "pzstd -dc FILE"),
        ("zstd", "pzstd -dc -p 3 FILE"),
        ("zstd", "bsdcat FILE"),
        ("gzip", "gzip -dc FILE"),
        ("gzip", "pigz -dc FILE"),
        ("gzip", "bgzip -dc FILE"),
        ("gzip", "bsdcat FILE"),
    ],
)
def test_ours_is_read_by_others(
    tmp_path: Path, codec: str, command: str, chunks: list[bytes]
) -> None:
    """Ordinary tools read what is written, and find nothing wrong with it."""
    path = tmp_path / f"x{FORMATS[codec].suffixes[0]}"
    for level in (
        FORMATS[codec].codec.levels[0],
        FORMATS[codec].codec.default_level,
        FORMATS[codec].codec.levels[-1],
    ):
        path.write_bytes(encode(chunks, codec, level))
        name, *arguments = command.replace("FILE", str(path)).split()
        out = run(tool(name), *arguments)
        assert out == (b"" if " -t" in command else b"".join(chunks))


@every_writer
@pytest.mark.parametrize("command", ["bsdtar -xOf FILE", "tar --TYPE -xOf FILE"])
def test_ours_is_read_by_tar(tmp_path: Path, name: str, command: str) -> None:
    """A tar in our container, in chunks that have nothing to do with its members."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for chunk in LONG:
            member = tarfile.TarInfo(f"file {len(chunk)}")
            member.size = len(chunk)
            tar.addfile(member, io.BytesIO(chunk))
    path = tmp_path / "x"
    path.write_bytes(encode(by_sizes(7000)(packed.getvalue()), name))
    program, *arguments = command.replace("FILE", str(path)).replace("TYPE", name).split()
    assert run(tool(program), *arguments) == b"".join(LONG)


@every_shape
@pytest.mark.parametrize("level", [0, 1, 6, 12])
def test_ours_is_read_by_gzip_modules(tmp_path: Path, chunks: list[bytes], level: int) -> None:
    """Python's gzip and pgzip, which reads the sizes too."""
    data, path = encode(chunks, "gzip", level), tmp_path / "x.gz"
    path.write_bytes(data)
    assert gzip.decompress(data) == b"".join(chunks)
    with gzip.open(path) as file:
        assert file.read() == b"".join(chunks)
    with module("pgzip").open(path, "rb", thread=2) as file:
        assert file.read() == b"".join(chunks)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "command",
    [
        *(
            "zstd -c FILE",
            "zstd -1c --no-check FILE",
            "zstd -19c FILE",
            "zstd -c",
            "zstd --fast=5 -c",
        ),
        *("zstd -c --long=27 FILE", "zstd -T2 -B16K -c FILE", "zstd -c --rsyncable", "zstd -c -"),
        *("pzstd -c FILE", "pzstd -c -p 3 -1 FILE", "pzstd -c"),
        *("gzip -c FILE", "gzip -1c", "gzip -9nc FILE"),
        *("pigz -c FILE", "pigz -ci -b 32 FILE", "pigz -zc FILE", "pigz -11 -c", "pigz -0c"),
        *("bgzip -c FILE", "bgzip -l 0 -c FILE", "bgzip -c"),
    ],
)
def test_others_are_read(tmp_path: Path, shape: str, command: str) -> None:
    """What ordinary tools write, from a file and from a pipe, in every split."""
    raw, path = b"".join(SHAPES[shape]), tmp_path / "a name"
    path.write_bytes(raw)
    name, *arguments = (path if word == "FILE" else word for word in command.split())
    data = run(tool(str(name)), *arguments, data=b"" if "FILE" in command else raw)
    splits = (at_once, SPLITS["as the pipeline reads"], by_sizes(997), by_sizes(4000, 3, 1))
    for split, whole in product(splits, (WHOLE, 40_000, TINY)):
        decoded = decode(data, split=split, whole=whole, strict=True)
        assert decoded.data == raw
        assert decoded.warnings == []
    twice = decode(data * 2 + bytes(100), split=by_sizes(999))
    assert twice.data == raw * 2


@pytest.mark.parametrize("chunks", [LONG, LONG[:1]], ids=["several", "one"])
def test_pgzip_is_read_in_parallel(tmp_path: Path, chunks: list[bytes]) -> None:
    """Its members say their sizes: whole frames, no stream."""
    path, raw = tmp_path / "x.gz", b"".join(chunks)
    with module("pgzip").open(path, "wb", thread=2, blocksize=10_000) as file:
        file.write(raw)
    for split in SPLITS.values():
        decoded = decode(path.read_bytes(), split=split)
        assert decoded.data == raw
        assert all(piece.frames is not None for piece in decoded.pieces)


def test_every_zlib_stream_is_read() -> None:
    """Python's zlib at every level and window, one behind another."""
    data = raw = b""
    for level in range(10):
        for wbits in range(9, 16):
            deflate = zlib.compressobj(level, wbits=wbits)
            data += deflate.compress(RAW) + deflate.flush()
            raw += RAW
    for split in SPLITS.values():
        assert decode(data, split=split).data == raw
