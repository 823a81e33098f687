"""How tar archives end, and what damage and chance make of them."""

from __future__ import annotations

import re
import subprocess
import tarfile
import tracemalloc
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

from aiocompress.errors import AiocompressError, CorruptError, TruncatedError
from aiocompress.formats.tar import header
from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import BLOCK, END
from aiocompress.model import MIB, Member

from ...help.containers import check_offset
from ...help.data import SPLITS, Split, by_byte
from ...help.tars import (
    FIRST,
    GNU,
    LAST,
    Archive,
    a_file,
    between,
    block,
    by_tarfile,
    every_split,
    extended,
    long,
    old_sparse,
    padded,
    read,
    refused,
    sealed,
    sparse_member,
)
from ...help.tools import tool

# Ends and damage.


def test_what_ends_an_archive() -> None:
    """One block of zeros is enough where nothing follows; many may follow."""
    for end in (bytes(512), bytes(700), END, bytes(10240), bytes(10241)):
        archive = read(FIRST + end)
        assert (archive.names, archive.warnings) == (["first"], [])
        assert read(FIRST + end, by_byte) == archive
    refused(FIRST, TruncatedError)
    refused(b"", TruncatedError)
    assert read(END) == Archive()


def test_nothing_but_zeros() -> None:
    """An empty archive has a record of zeros at most; a file that a crash has zeroed has more."""
    for size in (512, 1024, 10_240):
        assert read(bytes(size)) == read(bytes(size), by_byte) == Archive()
    for size in (10_752, 100_000):
        assert refused(bytes(size)).offset == 0
    assert refused(bytes(20_000) + FIRST + END).offset == 0


@every_split
def test_what_follows_the_end(split: Split) -> None:
    """It is never taken for members, and a warning says where it begins."""
    for gap in (1024, 1536, 1600, 200_000):
        archive = read(FIRST + bytes(gap) + LAST, split)
        assert archive.names == ["first"]
        (warning,) = archive.warnings
        assert f"behind the end of the archive, at byte {len(FIRST) + gap}," in warning


@every_split
def test_a_lone_zero_block(split: Split) -> None:
    """GNU tar and bsdtar stop there; so do we, and say so."""
    archive = read(FIRST + bytes(512) + LAST + END, split)
    assert archive.names == ["first"]
    (warning,) = archive.warnings
    assert f"lone zero block at byte {len(FIRST)}" in warning


def small_archive() -> bytes:
    """One of all: pax, long names, sparse, content."""
    return between(
        extended((b"path", b"p" * 10), (b"mtime", b"1.5")),
        a_file(),
        long(b"L", b"n" * 10),
        a_file(magic=GNU),
        sparse_member("1.0", [(0, 512), (1024, 3)], 2000),
        old_sparse([(at * 1024, 512) for at in range(5)], 5120, 2560),
        bytes(2560),
        block(b"d", b"D", 3, magic=GNU),
        padded(b"abc"),
    )


def test_every_truncation() -> None:
    """Cut anywhere before the end marker, an archive is an error that says where."""
    data = small_archive()
    assert len(read(data).members) == 7
    for size in range(len(data)):
        if size < len(data) - 512:
            with pytest.raises(TruncatedError) as caught:
                read(data[:size])
            assert caught.value.offset == size
        else:
            assert read(data[:size]) == read(data)


def test_every_bit() -> None:
    """A flipped bit is an error, or the same archive: only content has no checksum."""
    data = a_file(b"name", b"content") + block(b"d", b"5") + END
    whole, accepted = read(data), 0
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            archive = read(bytes(damaged))
        except AiocompressError as error:
            check_offset(error, len(data))
            continue
        if bit // 8 >= len(data) - 1024:
            assert archive.warnings
        elif bit // 8 not in range(512, 519):
            assert archive == whole
            accepted += bit // 8 not in range(512, 1024)
    # In both checksums: the last byte made a NUL, the NUL or the first zero made a space.
    assert accepted == 2 * 3


def test_errors_stay() -> None:
    """After an error nothing more comes out, and the archive is never said to be whole."""
    reader = tar.Reader()
    with pytest.raises(CorruptError) as caught:
        list(reader.feed(FIRST + b"x" * 600))
    with pytest.raises(CorruptError) as again:
        list(reader.feed(LAST + END))
    with pytest.raises(CorruptError) as finished:
        reader.finish()
    assert caught.value is again.value is finished.value


def test_feeding_too_early() -> None:
    """What the last feed gave must be taken first: nothing is lost silently."""
    reader = tar.Reader()
    items = reader.feed(FIRST)
    next(items)
    for too_early in (lambda: reader.feed(LAST), reader.finish):
        with pytest.raises(ValueError, match="take all"):
            too_early()
    list(items)
    assert [item.name for item in reader.feed(LAST) if isinstance(item, Member)] == ["last"]
    list(reader.feed(END))
    reader.finish()
    with pytest.raises(ValueError, match="finish once"):
        reader.feed(LAST)


def test_content_is_not_copied() -> None:
    """Content comes as views of what was fed, and memory stays flat."""
    data = a_file(data=bytes(4 * MIB))
    reader = tar.Reader()
    tracemalloc.start()
    items = list(reader.feed(data))
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()
    assert isinstance(items[1], memoryview)
    assert items[1].obj is data


@pytest.mark.parametrize("size", [100, BLOCK, 600, 1024, 1030])
def test_memory_is_given_back(size: int) -> None:
    """Between feeds nothing holds on to what was fed: it may be a slot, or a mapping."""
    reader, fed = tar.Reader(), bytearray(a_file(data=bytes(700))[:size])
    for item in reader.feed(memoryview(fed)):
        if isinstance(item, memoryview):
            item.release()
    fed.clear()


def test_parse_wants_all_headers() -> None:
    """Headers that are not whole are an error, not a guess."""
    whole = extended((b"path", b"a")) + a_file()[:BLOCK]
    assert tar.parse(memoryview(whole)).name == "a"
    for size in range(len(whole)):
        with pytest.raises(AiocompressError):
            tar.parse(whole[:size])


# Chance.


def short(data: bytes) -> bytes:
    """An archive without the zeros at its end that fill up 10 KiB."""
    return padded(data.rstrip(b"\0")) + END


CORPUS = {
    "all": small_archive(),
    "ustar": short(by_tarfile(tarfile.USTAR_FORMAT)),
    "gnu": short(by_tarfile(tarfile.GNU_FORMAT)),
    "pax": short(by_tarfile(tarfile.PAX_FORMAT)),
}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=1500), st.integers(0, 1), st.sampled_from(["at once", "7"]))
def test_random_bytes(data: bytes, seal: int, split: str) -> None:
    """Whatever the bytes, only errors of ours come out."""
    if seal:
        data = sealed(data[:BLOCK].ljust(BLOCK, b"\0")) + data[BLOCK:]
    try:
        read(data, SPLITS[split])
    except AiocompressError as error:
        check_offset(error, len(data))


MUTATIONS = st.lists(
    st.tuples(
        st.integers(0, 10_000),
        st.one_of(
            st.sampled_from(
                [b"\0", b" ", b"9", b"-", b"\xff", b"\x80", b"x", b"S", b"1", b"5", b"D"]
            ),
            st.binary(min_size=1, max_size=12).map(lambda value: value.replace(b"\n", b"?")),
        ),
        st.sampled_from([None, 0, 100, 124, 136, 156, 157, 257, 345, 386, 482]),
    ),
    min_size=1,
    max_size=4,
)


def mutated(data: bytes, mutations: list[tuple[int, bytes, int | None]]) -> bytes:
    """Write over a valid archive, and put the checksums right: damage that only malice makes."""
    changed = bytearray(data)
    for at, value, field_at in mutations:
        start = at % len(data)
        if field_at is not None:
            start = start // BLOCK * BLOCK + field_at
        changed[start : start + len(value)] = value
    changed = changed[: len(data)]
    for start in range(0, len(data), BLOCK):
        had = data[start : start + BLOCK]
        if had == sealed(had) and any(had):
            changed[start : start + BLOCK] = sealed(changed[start : start + BLOCK])
    return bytes(changed)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(CORPUS)), MUTATIONS, st.sampled_from(["at once", "7"]))
def test_mutations(name: str, mutations: Any, split: str) -> None:
    """Valid archives, changed: an error of ours, or an archive that tells the same twice."""
    data = mutated(CORPUS[name], mutations)
    try:
        archive = read(data, SPLITS[split])
    except AiocompressError as error:
        check_offset(error, len(data))
    else:
        assert read(data) == archive


IN_RANGE = re.compile(
    rb"out of (\S+ )?range|unknown extended header|Exiting with|implausibly old|link target|"
    rb"where numeric \S+ value expected"
)
"""What GNU tar says of numbers and links that it cannot make, though it goes on.

So it does where an extended header has a better one.
"""


def accepted(name: str, mutations: Any) -> tuple[bytes, Archive]:
    """A changed archive that is read without a word; another example where it is not."""
    data = mutated(CORPUS[name], mutations)
    try:
        archive = read(data)
    except AiocompressError:
        reject()
    assume(not archive.warnings and not any(member.unreadable for member in archive.members))
    return data, archive


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.sampled_from(sorted(CORPUS)), MUTATIONS)
def test_mutations_against_gnu_tar(name: str, mutations: Any) -> None:
    """What we read without a word, GNU tar lists by the same names."""
    data, archive = accepted(name, mutations)
    command = tool("tar"), "-Ptf", "-", "--quoting-style=literal"
    done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if not IN_RANGE.search(line)]
    names = [header.to_bytes(member.name).rstrip(b"/") + b"\n" for member in archive.members]
    listed = re.sub(b"/+\n", b"\n", done.stdout)
    assert (listed, complaints) == (b"".join(names), [])


NAME_FOR_ALL = re.compile(r"[!-.0-\[\]-~][ -\[\]-~]*\n")


@settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.sampled_from(sorted(CORPUS)), MUTATIONS)
def test_mutations_against_bsdtar(name: str, mutations: Any) -> None:
    """Nor does bsdtar see other members, where it takes the file for an archive at all."""
    data, archive = accepted(name, mutations)
    names = [f"{member.name.rstrip('/')}\n" for member in archive.members]
    # It escapes what is not printable, and has ideas of its own on slashes at the start.
    assume(all(NAME_FOR_ALL.fullmatch(name) for name in names))
    command = tool("bsdtar"), "-tf", "-"
    done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=60)
    listed = re.sub(b"/+\n", b"\n", done.stdout).decode()
    assert listed == "".join(names) or b"Unrecognized archive format" in done.stderr
