"""The plain container of folders: ours and the original script's, in every split, after damage."""

from __future__ import annotations

import gzip
import io
import os
import random
import struct
import tarfile
import tracemalloc
import zlib
from collections.abc import Iterable, Sequence
from itertools import product

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
from aiocompress.formats.framed.container import (
    DETECT_SIZE,
    Chunk,
    Order,
    Path,
    Paths,
    Reader,
    chunk_entry,
    detect,
)
from aiocompress.formats.zstd import codec as zstd
from aiocompress.model import DEFAULT_MAX_WINDOW, KIB, MIB

from ..help.built import raw_block, rle_block, window_byte, zstd_frame
from ..help.containers import WHOLE, check_offset, encode
from ..help.data import SPLITS, Split, at_once, by_byte, by_sizes, noise, text

Files = list[tuple[str, list[bytes]]]
VARIANTS = {
    f"{order}-endian, {'characters' if characters else 'bytes'}": (order, characters)
    for order, characters in product(("big", "little"), (False, True))
}
FOLDER: Files = [
    ("empty", []),
    ("docs/short.txt", [text(90)]),
    ("docs/\u00e4\u00f6\u00fc \u65e5\u672c \U0001f600.bin", [noise(50, 1), noise(50, 2), b"end"]),
    ("z\u00e9ro", []),
    ("long", [bytes(300), bytes(300)]),
    ("last", []),
]

every_variant = pytest.mark.parametrize(("order", "characters"), VARIANTS.values(), ids=VARIANTS)


def script(files: Iterable[tuple[str, Sequence[bytes]]], order: str, *, characters: bool) -> bytes:
    """What the script in circulation writes, and its relatives: no marks, no end."""
    compressor = zstandard.ZstdCompressor()
    written = []
    for name, chunks in files:
        path = name.encode()
        length = len(name) if characters else len(path)
        written.append(length.to_bytes(2, order) + path)  # type: ignore[arg-type]
        frames = map(compressor.compress, chunks)
        written += [len(frame).to_bytes(4, order) + frame for frame in frames]  # type: ignore[arg-type]
    return b"".join(written)


def entries(files: Files) -> list[bytes]:
    """Ours, entry by entry."""
    paths, written, is_first = Paths(), [], True
    for name, chunks in files:
        written.append(paths.entry(os.fsencode(name), has_chunks=bool(chunks)))
        for chunk in chunks:
            frame = memoryview(zstd.compress(memoryview(chunk), 3))
            written.append(b"".join(map(bytes, chunk_entry(frame, is_first=is_first))))
            is_first = False
    return written


def ours(files: Files) -> bytes:
    return b"".join(entries(files))


def read(
    data: bytes,
    split: Split = at_once,
    into: Files | None = None,
    whole: int = WHOLE,
    max_window: int = DEFAULT_MAX_WINDOW,
) -> tuple[Files, Reader]:
    """Read as a verb does: the files, also what came before an error, and the reader."""
    reader, files = Reader(max_window=max_window, whole=whole), [] if into is None else into

    def take() -> None:
        while (event := reader.next_event()) is not None:
            if isinstance(event, Path):
                files.append((event.name, []))
            else:
                files[-1][1].append(decoded(event))
                event.data.release()

    for block in split(data):
        reader.feed(block)
        take()
    reader.end()
    take()
    assert reader.next_event() is None
    return files, reader


def decoded(chunk: Chunk) -> bytes:
    """The raw data of a frame; one that does not say its size has room for 1 MiB."""
    room = memoryview(bytearray(MIB if chunk.raw_size is None else chunk.raw_size))
    try:
        return bytes(room[: zstd.decompress(chunk.data, room)])
    except CorruptError as error:
        raise error.located(base=chunk.offset, frame=chunk.frame) from None


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


# Out and back.


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_ours_come_back(split: Split) -> None:
    """Names, empty files and chunks, in every split; the order of ours is known."""
    files, reader = read(ours(FOLDER), split)
    assert files == FOLDER
    assert not reader.may_be_unordered
    assert reader.frames == 6


names = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40),
    st.text("abc/.", min_size=1, max_size=300),
    st.binary(min_size=1, max_size=20)
    .filter(lambda name: 0 not in name)
    .map(lambda name: name.decode("utf-8", "surrogateescape")),
)
folders = st.lists(
    st.tuples(names, st.lists(st.binary(min_size=1, max_size=200), max_size=4)), max_size=8
)
splits = st.one_of(
    st.just(at_once), st.lists(st.integers(1, 60), min_size=1).map(lambda sizes: by_sizes(*sizes))
)


@settings(deadline=None, max_examples=150)
@given(files=folders, split=splits)
def test_any_folder_comes_back(files: Files, split: Split) -> None:
    """Whatever the names, UTF-8 or not, and the chunks, if there is one."""
    files = [*files, ("last", [b"1"])]
    data = ours(files)
    assert read(data, split)[0] == files
    both, reader = read(data + data, split)
    assert both == files * 2
    assert not reader.may_be_unordered
    assert read(data + data + bytes(5), split)[0] == files * 2


text_folders = st.lists(
    st.tuples(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=40),
        st.lists(st.binary(max_size=200), max_size=4),
    ),
    max_size=8,
)


@every_variant
@settings(deadline=None, max_examples=60)
@given(files=text_folders, split=splits)
def test_any_folder_of_the_script_comes_back(
    *, order: str, characters: bool, files: Files, split: Split
) -> None:
    """Both byte orders, both ways to count, found by evidence."""
    assert read(script(files, order, characters=characters), split)[0] == files


@every_variant
@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_the_script_and_its_relatives(*, order: str, characters: bool, split: Split) -> None:
    """The same in every split; only big-endian characters may be out of order."""
    files, reader = read(script(FOLDER, order, characters=characters), split)
    assert files == FOLDER
    assert reader.may_be_unordered == (characters and order == "big")


@every_variant
def test_ascii_names_leave_the_way_to_count_open(*, order: str, characters: bool) -> None:
    """What big-endian and without a mark may be the script's."""
    files = [("a", [b"1", b"2"]), ("b", [])]
    read_back, reader = read(script(files, order, characters=characters))
    assert read_back == files
    assert reader.may_be_unordered == (order == "big")


@every_variant
def test_chunks_under_another_file_break_the_rule(*, order: str, characters: bool) -> None:
    """They come out where they stand; the rule tells which file cannot be right."""
    files = [("\u00e9", [bytes(9), bytes(4)]), ("b", [bytes(9), bytes(5), bytes(9)]), ("c", [b"1"])]
    read_back, _ = read(script(files, order, characters=characters), by_byte)
    assert read_back == files
    broken = []
    for name, chunks in read_back:
        rule = Order()
        broken += [name for chunk in chunks if not rule.add(len(chunk))]
    assert broken == ["b"]


@pytest.mark.parametrize(
    ("sizes", "good"),
    [
        ([], True),
        ([5], True),
        ([5, 5], True),
        ([5, 5, 1], True),
        ([5, 1, 5], False),
        ([1, 5], False),
        ([5, 5, 6], False),
        ([5, 1, 1], False),
        ([0, 5], False),
        ([5, 0], True),
    ],
)
def test_the_rule(*, sizes: list[int], good: bool) -> None:
    """All chunks but the last are of one size, and the last is no larger."""
    rule = Order()
    for size in sizes:
        rule.add(size)
    assert rule.is_broken == (not good)
    assert rule.chunks == len(sizes)


def test_the_bytes_of_ours() -> None:
    """Exactly the plain format: what the original writes, but for one header."""
    first, chunk, other, second = entries([("d/\u00e9", [b"abc", b"de"]), ("e", [])])
    assert first == b"\0\x04d/\xc3\xa9"
    assert second == b"\0\x01e"
    for entry, raw in ((chunk, b"abc"), (other, b"de")):
        assert struct.unpack(">I", entry[:4]) == (len(entry) - 4,)
        assert zstandard.ZstdDecompressor().decompress(entry[4:]) == raw
    assert other[4:] == zstd.compress(memoryview(b"de"), 3)
    assert ours([]) == b""


def test_events_say_where_they_stand() -> None:
    """Paths at their entry, chunks at their frame."""
    data, reader = ours(FOLDER), Reader(max_window=DEFAULT_MAX_WINDOW, whole=WHOLE)
    reader.feed(data)
    reader.end()
    number = 0
    while (event := reader.next_event()) is not None:
        if isinstance(event, Path):
            name = event.name.encode()
            assert data[event.offset + 2 :].startswith(name)
        else:
            assert data[event.offset : event.offset + len(event.data)] == event.data
            assert event.frame == number
            number += 1
    assert number == 6


def test_names_that_cannot_be_written() -> None:
    """Empty, too long, or with the magic of a frame where a chunk has it."""
    for name in (b"", b"x" * 65536, b"ab(\xb5/\xfdx"):
        with pytest.raises(FormatError):
            Paths().entry(name, has_chunks=True)
    assert read(ours([("x" * 65535, [b"1"]), ("y", [])]))[0][0][0] == "x" * 65535
    paths = Paths()
    paths.entry(b"ab", has_chunks=False)
    with pytest.raises(FormatError):
        paths.entry(b"/\xfd".ljust(0x28B5), has_chunks=False)


@every_variant
def test_names_are_not_judged(*, order: str, characters: bool) -> None:
    """Whether they are safe is for who extracts them."""
    files = [(name, [b"x"]) for name in ("/etc/passwd", "../up", "a\0b", "new\nline", "C:\\x", ".")]
    assert read(script([("\u00e9", [b"1"]), *files], order, characters=characters))[0][1:] == files


@every_variant
def test_long_names(*, order: str, characters: bool) -> None:
    """Up to 65535 of what is counted: 256 KiB of path, fed as it comes."""
    wide = "\U0001f600"
    count = 65535 if characters else 65535 // 4
    files = [(wide * count, [b"1"]), ("\u00e9" * 257, [b"1"]), (wide * 200, [])]
    assert read(script(files, order, characters=characters), by_sizes(997))[0] == files


def test_lengths_that_read_the_same_both_ways() -> None:
    """257 bytes are 0x0101: the byte order stays open until the chunk's length decides."""
    for order in ("big", "little"):
        files = [("x" * 257, [b"1", b"2"]), ("y" * 514, []), ("z", [])]
        assert read(script(files, order, characters=False))[0] == files


def test_many_empty_files() -> None:
    """Thousands of paths without a chunk to go by, in names of any kind."""
    files: Files = [(f"d/{number}\u00e9", []) for number in range(2000)]
    for order, characters in VARIANTS.values():
        assert read(script(files, order, characters=characters))[0] == files
    odd: Files = [*[(f"d/{number}\udcff", []) for number in range(500)], ("z", [b"1"])] * 2
    assert read(ours(odd))[0] == odd


def test_frames_without_content_size() -> None:
    """Some writers do not say it: the caller finds out."""
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(b"abc")
    data = b"\0\1a" + len(frame).to_bytes(4, "big") + frame
    assert read(data)[0] == [("a", [b"abc"])]


def test_large_windows_go_without_the_mark() -> None:
    """They are read all the same; the order is not known."""
    frame = zstd_frame(raw_block(b"abc"), content=3, window=window_byte(128 * MIB))
    data = b"\0\1a" + b"".join(chunk_entry(memoryview(frame), is_first=True))
    files, reader = read(data)
    assert files == [("a", [b"abc"])]
    assert reader.may_be_unordered


# Cut off, damaged, hostile.


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
        (zstd_frame(rle_block(0, 9), window=window_byte(256 * MIB)), LimitError, "max-window"),
        (zstd_frame(rle_block(0, 9), content=1 << 40, window=0), LimitError, "memory-limit"),
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


# What it looks like.


@every_variant
def test_detected(*, order: str, characters: bool) -> None:
    """Every kind, whatever comes first, by the first bytes or all of them."""
    many: Files = [(f"d/{number}\u00e9", []) for number in range(9000)]
    one: Files = [("a", [])]
    two: Files = [("\u00e9", [noise(99)])]
    for files in (FOLDER, FOLDER[1:], FOLDER[2:], one, two, many):
        assert detect(script(files, order, characters=characters)[:DETECT_SIZE])
        assert detect(ours(files)[:DETECT_SIZE])


def test_detected_with_names_of_any_kind() -> None:
    """Control characters and bytes that are not UTF-8, once a chunk follows."""
    odd: Files = [(f"{number}\udcff\n", []) for number in range(500)]
    assert detect(ours([*odd, ("x", [b"1"])])[:DETECT_SIZE])
    assert not detect(ours(odd)[:DETECT_SIZE])


def others() -> Iterable[bytes]:
    """Files of other kinds."""
    raw, tar = text(100_000), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name in ("a", "folder/b", "./c"):
            member = tarfile.TarInfo(name)
            member.size = 1000
            archive.addfile(member, io.BytesIO(raw))
    yield from (b"", b"a", b"\0", bytes(20), bytes(100_000), b"\xff" * 100, raw, b"\n".join([raw]))
    yield from (tar.getvalue(), gzip.compress(raw), encode([raw]), encode([raw], "gzip"))
    yield from (zlib.compress(raw, level) for level in range(10))
    yield from (b"x\n" + raw, b"A\tB\n1\t2\n" * 900, b"PK\3\4" + raw, b"\x7fELF\2\1\1" + bytes(99))
    yield from (raw.decode().encode("utf-16"), raw.decode().encode("utf-16-be"), b"hi\n")
    yield b"\0\1a" + noise(500)
    yield b"\0\0" + encode([raw])


def test_others_are_not_detected() -> None:
    """Nor is what no one wrote."""
    assert not any(detect(data[:DETECT_SIZE]) for data in others())
    assert not any(detect(noise(size, seed)) for seed in range(300) for size in (8, 100, 5000))
