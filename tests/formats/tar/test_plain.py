"""Plain headers that are read together say what each of them says alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiocompress.formats.tar.header import BLOCK, END, header, owner, padding
from aiocompress.formats.tar.index import Row, unpack
from aiocompress.formats.tar.indexer import Indexer, described
from aiocompress.formats.tar.plain import plain

from ...help.tars import sealed

NAMES = st.sampled_from(
    [b"a", b"d/", b"d/b", b"n" * 100, b"p" * 90 + b"/" + b"q" * 60, "é/ü".encode()]
)
OWNERS = st.sampled_from([owner(0, 0, "", ""), owner(1000, 100, "jürgen", "users")])
FORMS = st.sampled_from([b"%06o\0 ", b"%07o\0", b"%06o \0"])
"""How writers state a checksum."""


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


@given(st.lists(blocks(), max_size=20), st.integers(BLOCK // 2, 9000))
def test_many_headers(heads: list[bytes], part: int) -> None:
    """The index of an archive in parts of any size has what the slow way reads of each header."""
    rows = [described(head) for head in heads]
    raw = b"".join(
        head + bytes(row[3] + padding(row[3])) for head, row in zip(heads, rows, strict=True)
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
