"""The gzip container: its shape, and sizes in headers that lie."""

from __future__ import annotations

import gzip
import struct

import pytest

from aiocompress.errors import CorruptError, TruncatedError
from aiocompress.model import KIB

from ..help.built import gzip_member, indexed_member
from ..help.containers import TINY, WHOLE, decode, encode
from ..help.data import SPLITS, at_once, by_sizes, noise
from ..help.files import CHUNKS, RAW, attempt, failure

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
