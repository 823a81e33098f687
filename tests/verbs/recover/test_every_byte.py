"""Every byte of a small archive damaged, on the bytes floor: without files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aiocompress.errors import AiocompressError
from aiocompress.formats import FORMATS
from aiocompress.formats.parts import Frame
from aiocompress.formats.scan import View
from aiocompress.formats.tar.directory import Directory
from aiocompress.formats.tar.salvage import Event, Hole, Salvager
from aiocompress.model import MIB, Member
from aiocompress.verbs import jobs

from .bench import SUFFIXES, Bench


def salvaged(data: bytes, codec: str) -> dict[str, bytes | None]:
    """Return the members that are whole, with their content; None for those without."""
    scan = FORMATS[codec].scan(View(lambda at, size: data[at : at + size], len(data)), 8 * MIB)
    for _ in scan.run():
        pass
    found = _Found()
    for part in scan.parts:
        steps = part.steps()
        salvager = Salvager(Directory(part.index), part.raw_size)
        for frame, lost in steps:
            raw = None if frame is None else _decoded(data, codec, frame)
            found.take(salvager.gap(lost) if raw is None else salvager.feed(raw))
        found.take(salvager.finish())
        found.end()
    return found.whole


def _decoded(data: bytes, codec: str, frame: Frame) -> bytes | None:
    if frame.room > MIB:
        return None  # as a stream, in the library
    place = data[frame.offset : frame.offset + frame.size], None
    try:
        result = jobs.decompress(place, codec, ((frame.size, frame.room),), None)
    except AiocompressError:
        return None
    return result.data if result.size >= 0 else None


class _Found:
    """What came out of a salvager."""

    def __init__(self) -> None:
        self.whole: dict[str, bytes | None] = {}
        self._member: Member | None = None
        self._content = b""
        self._torn = False

    def take(self, events: Iterator[Event]) -> None:
        for event in events:
            if isinstance(event, memoryview):
                self._content += event
            elif isinstance(event, Member):
                self.end()
                self._member, self._content, self._torn = event, b"", False
            else:
                self._torn |= isinstance(event, Hole)

    def end(self) -> None:
        member = self._member
        if member is not None and not self._torn:
            assert len(self._content) == member.stored_size
            self.whole[member.name] = self._content if member.kind == "file" else None


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_byte_is_damaged(tiny: dict[str, Bench], suffix: str) -> None:
    """Every byte by itself: only members of that frame are missing, and none is wrong."""
    bench, codec = tiny[suffix], "zstd" if suffix.endswith("zst") else "gzip"
    whole = salvaged(bench.data, codec)
    assert {name for name, data in whole.items() if data is not None} == {
        name for name, data in bench.tree.items() if data is not None
    }
    for offset in range(len(bench.data)):
        data = bytearray(bench.data)
        data[offset] ^= 1 << offset % 8
        back = salvaged(bytes(data), codec)
        assert all(whole[name] == data for name, data in back.items()), offset
        assert whole.keys() - back.keys() <= bench.touched(offset), offset


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_at_every_byte(tiny: dict[str, Bench], suffix: str) -> None:
    """The end or the front is gone, from every byte on: the frames that are there come back."""
    bench, codec = tiny[suffix], "zstd" if suffix.endswith("zst") else "gzip"
    whole = salvaged(bench.data, codec)
    for offset in range(len(bench.data) + 1):
        front, back = salvaged(bench.data[:offset], codec), salvaged(bench.data[offset:], codec)
        assert all(whole[name] == data for name, data in (front | back).items()), offset
        lost = {name for _, end, names in bench.frames if end > offset for name in names}
        assert whole.keys() - front.keys() <= lost, offset
        lost = {name for start, _, names in bench.frames if start < offset for name in names}
        assert whole.keys() - back.keys() <= lost or offset > bench.frames[-1][0], offset
