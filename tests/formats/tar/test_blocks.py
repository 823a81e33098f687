"""The index as it grows: members one by one, or those of a chunk at once, give the same blocks."""

from __future__ import annotations

from itertools import pairwise
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress.formats.tar import index
from aiocompress.formats.tar.blocks import Blocks
from aiocompress.formats.tar.index import Records, Row

NAMES = st.lists(st.sampled_from([b"a", b"bc", b"d" * 60]), min_size=1, max_size=5).map(b"/".join)
OWNERS = st.sampled_from([(0, 0, b"root", b"root"), (1, 2, b"", b""), (1, 2, b"u" * 31, b"g")])
ROWS = st.tuples(
    NAMES,
    st.sampled_from(b"025"),
    st.integers(1, 3),
    st.sampled_from([0, 1, 512, 513, 1 << 40]),
    st.integers(0, 0o7777),
    st.sampled_from([0, -1, 1 << 62, 1 << 80]),
    OWNERS,
    st.sampled_from([b"", b"t" * 90]),
)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(ROWS, max_size=40), cuts=st.sets(st.integers(0, 40)))
def test_members_of_chunks(rows: list[Row], cuts: set[int]) -> None:
    """Blocks do not depend on how their members came, also where one is full within a chunk."""
    with mock.patch.multiple(index, _LARGEST_BLOCK=2000, _RESERVE=256):
        one_by_one, chunk_by_chunk = Blocks(1024), Blocks(1024)
        for row in rows:
            one_by_one.add(row)
        for start, stop in pairwise(sorted({0, *cuts, 40})):
            chunk_by_chunk.extend(Records.of(rows[start:stop]))
        for blocks in (one_by_one, chunk_by_chunk):
            blocks.close()
        assert one_by_one.end == chunk_by_chunk.end
        assert one_by_one.take() == chunk_by_chunk.take()
