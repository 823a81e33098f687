"""The containers, by the name of the codec whose frames they hold. One row each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from . import gz, zst
from .base import FrameTable, Piece, Reader, Search, StreamReader, Writer

__all__ = ["CONTAINERS", "Container", "FrameTable", "Piece", "Reader", "Search", "Writer"]


class Container(NamedTuple):
    """How to write a container, unless it is read only, and how to read it.

    ``search`` looks for its table of frames, given the size of the file; ``index_payload`` takes
    an archive's index block out of what holds it; ``is_frame`` says whether bytes begin and end
    as one frame of that raw size does, undamaged or not.
    """

    reader: type[Reader]
    writer: Callable[[], Writer] | None = None
    search: Callable[[int], Search] | None = None
    index_payload: Callable[[bytes], bytes | None] = lambda _: None
    is_frame: Callable[[memoryview, int], bool] = lambda _data, _raw_size: False


CONTAINERS: Final = {
    "zstd": Container(zst.Reader, zst.Writer, zst.search, zst.index_payload, zst.is_frame),
    "gzip": Container(gz.Reader, gz.Writer, gz.search, gz.index_payload, gz.is_frame),
    "zlib": Container(StreamReader),
}
