"""The containers, by the name of the codec whose frames they hold. One row each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from . import gz, zst
from .base import Piece, Reader, StreamReader, Writer

__all__ = ["CONTAINERS", "Container", "Piece", "Reader", "Writer"]


class Container(NamedTuple):
    """How to write a container, unless it is read only, and how to read it."""

    reader: type[Reader]
    writer: Callable[[], Writer] | None = None


CONTAINERS: Final = {
    "zstd": Container(zst.Reader, zst.Writer),
    "gzip": Container(gz.Reader, gz.Writer),
    "zlib": Container(StreamReader),
}
