"""What a codec is: one row of the table, and a decoder for frames that are not decoded whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from ..model import Buffer

STREAM = -1
"""Said by ``Codec.decompress``: this frame is not what its index says, decode it as a stream."""


class StreamDecoder(Protocol):
    """Decodes bytes that come in pieces, in blocks of bounded size whatever the input claims."""

    boundary: bool
    """Whether all that was fed is decoded, and ends where a frame ends."""

    def feed(self, data: Buffer) -> Iterator[Buffer]:
        """Yield the raw blocks (at most 2 MiB each) that ``data`` completes.

        :raises CorruptError: with the offset counted from the first byte ever fed.
        """
        ...

    def finish(self) -> None:
        """Say that nothing follows.

        :raises TruncatedError: unless a frame has just ended.
        """
        ...


class Codec(NamedTuple):
    """One row of the table: how to compress a chunk into a frame, and back."""

    name: str
    suffixes: tuple[str, ...]
    is_magic: Callable[[bytes], bool]
    """Whether a file that begins with these bytes (up to 18) is of this codec."""
    open_stream: Callable[[int], StreamDecoder]
    """A decoder for one stream, given the largest window in bytes."""
    decompress: Callable[[memoryview, memoryview], int]
    """Decode one whole frame into a room; returns its raw length, or ``STREAM``."""
    levels: range = range(0)
    """Empty: this codec is read only."""
    default_level: int = 0
    chunk_size: Callable[[int], int] = lambda _level: 0
    """The default chunk size in bytes by level."""
    bound: Callable[[int], int] = lambda _size: 0
    """The largest frame in bytes of a chunk of that many bytes."""
    compress: Callable[[memoryview, int], Buffer] = lambda data, _level: data
    """One chunk into one frame, at a level."""
