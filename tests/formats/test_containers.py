"""Containers: frames into files and back, in every split, whatever follows."""

from __future__ import annotations

import zlib
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress.errors import CorruptError, TruncatedError
from aiocompress.formats import FORMATS
from aiocompress.formats.base import Piece
from aiocompress.model import DEFAULT_MAX_WINDOW, MIB

from ..help.containers import TINY, WHOLE, decode, encode
from ..help.data import SPLITS, by_byte, by_sizes, noise
from ..help.files import (
    CHUNKS,
    FILES,
    RAW,
    WRITERS,
    codec_of,
    every_file,
    every_one_of_ours,
    every_whole,
    every_writer,
    failure,
)

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
