"""The framed container: out and back, in all four variants of the original script."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Iterable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress.errors import FormatError
from aiocompress.formats.framed.container import (
    DETECT_SIZE,
    Order,
    Path,
    Paths,
    Reader,
    chunk_entry,
    detect,
)
from aiocompress.formats.zstd import codec as zstd
from aiocompress.model import DEFAULT_MAX_WINDOW, MIB

from ..help.built import raw_block, window_byte, zstd_frame
from ..help.containers import WHOLE, encode
from ..help.data import SPLITS, Split, by_byte, by_sizes, noise, text
from ..help.framed import (
    FOLDER,
    VARIANTS,
    Files,
    entries,
    every_variant,
    ours,
    read,
    script,
    splits,
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
