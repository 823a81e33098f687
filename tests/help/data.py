"""Data that is the same every time, and the ways to cut it up."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import cycle

from aiocompress.formats import HEAD_SIZE
from aiocompress.model import KIB


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress, the same ones every time."""
    return random.Random(seed).randbytes(size)


def text(size: int, seed: int = 0) -> bytes:
    """Bytes that compress as text does, the same ones every time."""
    source = random.Random(seed)
    words = [source.randbytes(source.randint(1, 9)).hex().encode() for _ in range(200)]
    return b" ".join(source.choices(words, k=size // 4 + 1))[:size]


Split = Callable[[bytes], Iterator[bytes]]


def at_once(data: bytes) -> Iterator[bytes]:
    """All bytes at once."""
    yield data


def by_byte(data: bytes) -> Iterator[bytes]:
    """One byte after another."""
    return (data[at : at + 1] for at in range(len(data)))


def by_sizes(*sizes: int) -> Split:
    """Pieces of these sizes, over and over."""

    def split(data: bytes) -> Iterator[bytes]:
        at, turns = 0, cycle(sizes)
        while at < len(data):
            size = next(turns)
            yield data[at : at + size]
            at += size

    return split


SPLITS: dict[str, Split] = {
    "at once": at_once,
    "byte by byte": by_byte,
    "as the pipeline reads": lambda data: iter((data[:HEAD_SIZE], data[HEAD_SIZE:])),
    "3, 1, 50": by_sizes(3, 1, 50),
    "7": by_sizes(7),
    "64 KiB, 1": by_sizes(64 * KIB, 1),
}
