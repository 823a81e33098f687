"""Plain headers that are read together say what each of them says alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiocompress.formats.tar.header import BLOCK, END, header, owner, padding
from aiocompress.formats.tar.index import Row, unpack
from aiocompress.formats.tar.indexer import Indexer, described
from aiocompress.formats.tar.plain import long_named, plain

from ...help.tars import long, sealed

NAMES = st.sampled_from(
    [b"a", b"d/", b"d/b", b"n" * 100, b"p" * 90 + b"/" + b"q" * 60, "é/ü".encode()]
)
OWNERS = st.sampled_from([owner(0, 0, "", ""), owner(1000, 100, "jürgen", "users")])
FORMS = st.sampled_from([b"%06o\0 ", b"%07o\0", b"%06o \0"])
"""How writers state a checksum."""


BEFORE = st.sampled_from(
    [
        *([b""] * 6),
        long(b"L", b"n" * 200),
        long(b"L", b"d/" * 100),
        long(b"L", b"n" * 512),
        long(b"L", b"x") + long(b"K", b"y" * 120),
    ]
)
"""What stands before a header: nothing mostly, or a long name."""


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """A header, now and then with a type that does not fit its name, and a checksum of any form."""
    kind = draw(st.sampled_from([b"0", b"\0", b"5", b"2", b"1"]))
    name = draw(NAMES)
    size = draw(st.integers(0, 2000)) if kind in b"0\0" and name[-1:] != b"/" else 0
    link = b"target" if kind in b"12" else b""
    mode, seconds = draw(st.sampled_from([0o644, 0o755])), draw(st.integers(0, 2**33 - 1))
    block = header(name, kind, mode, size, seconds, link, draw(OWNERS))
    stated = draw(FORMS) % (sum(block[:148]) + sum(block[156:]) + 256)
    return block[:148] + stated + block[156:]


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """All headers of a member."""
    before, block = draw(BEFORE), draw(blocks())
    return block if before[BLOCK:].startswith(b"d/") and block[156:157] != b"5" else before + block


@given(st.lists(heads(), max_size=20), st.integers(BLOCK // 2, 9000))
def test_many_headers(members: list[bytes], part: int) -> None:
    """The index of an archive in parts of any size has what the slow way reads of each header."""
    rows = [described(head) for head in members]
    raw = b"".join(
        head + bytes(row[3] + padding(row[3])) for head, row in zip(members, rows, strict=True)
    )
    indexer, payloads = Indexer(), []
    for at in range(0, len(raw + END), part):
        indexer.feed((raw + END)[at : at + part])
        payloads += indexer.take()
    assert indexer.is_whole
    assert [row for payload in payloads for row in unpack(payload).rows()] == rows


@given(blocks(), st.integers(0, BLOCK - 1), st.integers(0, 255))
def test_one_header(block: bytes, at: int, byte: int) -> None:
    """A damaged header is not plain, and one that is sealed again means what it says."""
    damaged = block[:at] + bytes((byte,)) + block[at + 1 :]
    if damaged != block and not 148 <= at < 156:
        assert plain(damaged) is None
    again = bytes(sealed(bytearray(damaged)))
    row: Row | None = plain(again)
    assert row is None or row == described(again)


@given(st.integers(0, 250), st.integers(0, 3 * BLOCK - 1), st.integers(0, 255))
def test_a_long_name(length: int, at: int, byte: int) -> None:
    """A long name that stands before its member means what the slow way says, or is left to it."""
    head = long(b"L", b"n" * length) + header(b"n", b"0", 0o644, 5, 0, b"", owner(0, 0, "", ""))
    assert long_named(head) == (described(head) if length else None)
    odd = bytearray(head)
    odd[at] = byte
    odd[:BLOCK] = sealed(odd[:BLOCK])
    row = long_named(bytes(odd))
    assert row is None or row == described(bytes(odd))
