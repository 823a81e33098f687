"""Tables and frames of a scan: packed, and found again."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from aiocompress.formats import FORMATS
from aiocompress.formats.parts import Entries, Entry, Frame, Frames
from aiocompress.formats.scan import View
from aiocompress.formats.zstd.container import SeekTable
from aiocompress.model import MIB

u32 = st.integers(0, (1 << 32) - 1)
u62 = st.integers(0, (1 << 62) - 1)
frames = st.builds(Frame, u62, u62, st.none() | u62, u62, u32, st.booleans(), st.booleans())


@given(st.lists(frames), st.lists(st.builds(Entry, u32, u32, u32)))
def test_rows_come_back(rows: list[Frame], entries: list[Entry]) -> None:
    """What is packed into numbers is the same when it is unpacked."""
    packed, table = Frames(), Entries()
    for row in rows:
        packed.add(row)
    for entry in entries:
        table.add(entry)
    assert list(packed) == rows
    assert list(packed.cut(1, len(rows))) == rows[1:]
    assert list(table) == entries
    assert table.raw_size == sum(entry.raw for entry in entries)
    assert list(table.starts(-5))[-1] == sum(entry.size for entry in entries) - 5


def test_a_large_table_takes_its_own_bytes() -> None:
    """A table that lists many frames does not become an object for each."""
    table = SeekTable()
    for number in range(60_000):
        table.add(20, 1000, number.to_bytes(4, "little"))
    data = bytes(table)
    tracemalloc.start()
    try:
        scan = FORMATS["zstd"].scan(View(lambda at, size: data[at : at + size], len(data)), MIB)
        for _ in scan.run():
            pass
        (part,) = scan.parts
        assert len(list(part.steps())) == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(data) + MIB
