"""Framed containers that are cut off, damaged or hostile."""

from __future__ import annotations

import random
import tracemalloc

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
from aiocompress.formats.framed.container import Reader, detect
from aiocompress.formats.zstd import frame as zstd
from aiocompress.model import DEFAULT_MAX_WINDOW, KIB, MIB

from ..help.built import raw_block, rle_block, window_byte, zstd_frame
from ..help.containers import check_offset
from ..help.data import Split, at_once, by_byte, noise
from ..help.framed import FOLDER, Files, entries, every_variant, ours, read, script, splits


def failure(data: bytes, split: Split = at_once, **how: int) -> tuple[AiocompressError, Files]:
    """The error that reading raises, and what came out before it."""
    files: Files = []
    with pytest.raises(AiocompressError) as caught:
        read(data, split, files, **how)
    check_offset(caught.value, len(data))
    return caught.value, files


def outcome(data: bytes, split: Split = at_once) -> Files | type[AiocompressError]:
    """What comes of reading: the files, or the class of the error."""
    try:
        return read(data, split)[0]
    except AiocompressError as error:
        check_offset(error, len(data))
        return type(error)


def is_beginning(part: Files, whole: Files) -> bool:
    """Whether the files are the first ones, the last perhaps without its last chunks."""
    return not part or (
        part[:-1] == whole[: len(part) - 1]
        and part[-1][0] == whole[len(part) - 1][0]
        and whole[len(part) - 1][1][: len(part[-1][1])] == part[-1][1]
    )


@pytest.mark.parametrize("split", [at_once, by_byte])
def test_ours_cut_at_any_byte(split: Split) -> None:
    """An error at the end of what is there, or the cut stands between two entries."""
    parts = entries(FOLDER[1:])
    borders = {sum(map(len, parts[:count])) for count in range(len(parts))}
    data = b"".join(parts)
    for cut in range(1, len(data)):
        if cut in borders:
            before, _ = read(data[:cut], split)
        elif cut > len(parts[0]):
            error, before = failure(data[:cut], split)
            assert isinstance(error, TruncatedError)
            assert error.offset == cut
        else:
            before = failure(data[:cut], split)[1]
        assert is_beginning(before, FOLDER[1:])


@every_variant
def test_the_script_cut_at_any_byte(*, order: str, characters: bool) -> None:
    """An error, or the cut stands between two entries: that cannot be seen."""
    files = FOLDER[1:]
    data, borders = script(files, order, characters=characters), set()
    for count in range(len(files)):
        name, chunks = files[count]
        borders |= {
            len(script([*files[:count], (name, chunks[:some])], order, characters=characters))
            for some in range(len(chunks) + 1)
        }
    for cut in range(1, len(data)):
        if cut in borders:
            assert is_beginning(read(data[:cut])[0], files)
        else:
            wrong: Files = []
            cut_off = False
            try:
                read(data[:cut], into=wrong)
            except CorruptError as error:
                check_offset(error, cut)
                cut_off = True
            if not cut_off:
                # Bytes or characters? Nothing but the name of an empty file tells, cut off too.
                name, chunks = wrong.pop()
                assert not chunks
                assert files[len(wrong)][0].startswith(name)
            assert is_beginning(wrong, files)


@every_variant
def test_every_bit_of_the_script_flipped(*, order: str, characters: bool) -> None:
    """Its frames have no checksum: nothing but errors of the family is all there is to say."""
    data = script(FOLDER, order, characters=characters)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        outcome(bytes(damaged))


def test_every_bit_of_ours_flipped() -> None:
    """An error, or the same chunks, and a name that differs: nothing can tell that."""
    data = ours(FOLDER)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        files: Files = []
        try:
            read(bytes(damaged), into=files)
        except AiocompressError as error:
            check_offset(error, len(data))
        else:
            assert [chunks for _, chunks in files if chunks] == [
                chunks for _, chunks in FOLDER if chunks
            ]


@settings(deadline=None, max_examples=200)
@given(
    parts=st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from([*entries(FOLDER), zstd.MAGIC, b"\0\1a", b"\1\0a", b"\0\0\0\x0d"]),
        ),
        max_size=10,
    ),
    split=splits,
)
def test_anything_may_be_fed(parts: list[bytes], split: Split) -> None:
    """Only errors of the family come out, and detection says something."""
    data = b"".join(parts)
    detect(data)
    assert outcome(data, split) == outcome(data)


def test_damage_here_and_there() -> None:
    """One byte in a hundred is another."""
    data = ours(FOLDER * 3)
    for seed in range(300):
        source = random.Random(seed)
        damaged = bytearray(data)
        for _ in range(max(1, len(data) // 100)):
            damaged[source.randrange(len(data))] = source.randrange(256)
        outcome(bytes(damaged))


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("lie", [-30, -1, 1, 7, 1 << 31])
def test_lengths_of_chunks_that_lie(order: str, lie: int) -> None:
    """The frame knows better."""
    frame = zstandard.ZstdCompressor().compress(noise(100))
    length = (len(frame) + lie).to_bytes(4, order)  # type: ignore[arg-type]
    data = (1).to_bytes(2, order) + b"a" + length + frame  # type: ignore[arg-type]
    error, before = failure(data + data)
    assert before == [("a", [])]
    assert error.offset == 7
    assert "length of a chunk" in error.reason
    assert error.hint


def test_chunks_need_a_file() -> None:
    """None may stand in front."""
    _, chunk = entries([("a", [b"1"])])
    error, before = failure(chunk)
    assert isinstance(error, CorruptError)
    assert (error.offset, before) == (0, [])


def test_what_may_follow() -> None:
    """Zeros, and what belongs to the same order of bytes; nothing else."""
    data = ours(FOLDER)
    for count in (4, 5, 600):
        assert read(data + bytes(count), by_byte)[0] == FOLDER
    for garbage in (b"x", b"garbage " * 9, b"\0\0\0\0x", b"\xff" * 9):
        error, before = failure(data + garbage)
        assert is_beginning(before, FOLDER)
        assert len(data) <= (error.offset or 0) <= len(data + garbage)
    other = script(FOLDER, "big", characters=False)
    assert not read(data + other)[1].may_be_unordered
    both, reader = read(other + data)
    assert both == FOLDER * 2
    assert not reader.may_be_unordered  # names beyond ASCII have told
    ascii_only = script(FOLDER[:2], "big", characters=True)
    assert read(ascii_only + ours(FOLDER[:2]))[1].may_be_unordered


def test_frames_above_a_limit() -> None:
    """Window, memory and dictionaries: refused by name, before anything is allocated."""
    for frame, kind, option in (
        (zstd_frame(rle_block(0, 9), window=window_byte(256 * MIB)), LimitError, "max_window"),
        (zstd_frame(rle_block(0, 9), content=1 << 40, window=0), LimitError, "memory_limit"),
        (zstd_frame(rle_block(0, 9), window=0, dictionary=b"\1"), FormatError, "dictionary"),
    ):
        error, before = failure(b"\0\1a" + len(frame).to_bytes(4, "big") + frame)
        assert isinstance(error, kind)
        assert option in str(error)
        assert error.offset == 7
        assert before == [("a", [])]


def test_memory_is_bounded() -> None:
    """What is fed without end is held up to the largest frame, or to the look-ahead."""
    block = raw_block(bytes(100 * KIB), last=False)
    hostile = {
        "frame": (b"\0\1a\xff\xff\xff\xff" + zstd_frame(block, window=0), block),
        "paths": (b"", b"\x7f\x7f" + b"a" * 0x7F7F),
        "text": (b"", b"a" * 100 * KIB),
        "wide": (b"\xff\xff", "\U0001f600".encode() * 25 * KIB),
    }
    for head, more in hostile.values():
        reader = Reader(max_window=DEFAULT_MAX_WINDOW, whole=MIB)
        tracemalloc.start()
        try:
            reader.feed(head)
            for _ in range(100):
                while reader.next_event() is not None:
                    pass
                reader.feed(more)
        except AiocompressError:
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6 * MIB
