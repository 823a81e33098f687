"""Hostile bytes: what stands in ``corpus``, mutated by chance that is the same in every run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"
"""Small files of every format: ours, and of zstd, pzstd, gzip, pigz, GNU tar, bsdtar, and by hand.

``script-*`` are what the original script writes, in both byte orders, and both ways of counting.
"""
_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 511, 512, 513, 65535, 65536, 1 << 20, (1 << 31) - 1)
_LARGE = (1 << 31, (1 << 32) - 1, 1 << 32, (1 << 62) + 1, (1 << 63) - 1, (1 << 64) - 1)
_FIELDS = (
    b"7" * 11,
    b"-1",
    b"99999999999",
    b"\x80" + b"\xff" * 11,
    b"\xff" * 12,
    b"1e9",
    b"../" * 30,
)


@cache
def corpus(suffix: str) -> tuple[bytes, ...]:
    """Return all of one suffix."""
    return tuple(path.read_bytes() for path in sorted(FOLDER.glob(f"*{suffix}")))


def mutated(chance: random.Random, seeds: tuple[bytes, ...]) -> bytes:
    """Return one of them, changed in some places."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5, 9))):
        if not data:
            return bytes(data)
        _CHANGES[chance.randrange(len(_CHANGES))](chance, data, seeds)
    return bytes(data)


def _flip(chance: random.Random, data: bytearray, _: tuple[bytes, ...]) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(chance: random.Random, data: bytearray, _: tuple[bytes, ...]) -> None:
    data[chance.randrange(len(data))] = chance.choice(
        (0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256))
    )


def _number(chance: random.Random, data: bytearray, _: tuple[bytes, ...]) -> None:
    size = chance.choice((2, 4, 4, 8))
    at = chance.randrange(len(data))
    value = chance.choice(_NUMBERS + _LARGE) % (1 << 8 * size)
    data[at : at + size] = value.to_bytes(size, chance.choice(("little", "big")))


def _field(chance: random.Random, data: bytearray, _: tuple[bytes, ...]) -> None:
    at, field = chance.randrange(len(data)), chance.choice(_FIELDS)
    data[at : at + len(field)] = field


def _cut(chance: random.Random, data: bytearray, _: tuple[bytes, ...]) -> None:
    del data[chance.randrange(len(data)) :]


def _drop(chance: random.Random, data: bytearray, _: tuple[bytes, ...]) -> None:
    at = chance.randrange(len(data))
    del data[at : at + chance.choice((1, 2, 4, 16, 512))]


def _repeat(chance: random.Random, data: bytearray, _: tuple[bytes, ...]) -> None:
    at, to = chance.randrange(len(data)), chance.randrange(len(data))
    data[to:to] = data[at : at + chance.choice((1, 8, 64, 512, 1024))]


def _splice(chance: random.Random, data: bytearray, seeds: tuple[bytes, ...]) -> None:
    other = chance.choice(seeds)
    at, start = chance.randrange(len(data)), chance.randrange(len(other) or 1)
    data[at:] = other[start:]


def _noise(chance: random.Random, data: bytearray, _: tuple[bytes, ...]) -> None:
    at = chance.randrange(len(data))
    size = chance.randrange(1, 20)
    data[at : at + size] = chance.randbytes(size)


_CHANGES = (_flip, _flip, _set, _number, _number, _field, _cut, _drop, _repeat, _splice, _noise)


def summed(chance: random.Random, data: bytes) -> bytes:
    """Return a tar whose headers have good checksums, for most of them: so it is read further."""
    whole = bytearray(data)
    for at in range(0, len(whole) - 511, 512):
        if whole[at + 257 : at + 262] == b"ustar" and chance.random() < 0.9:
            whole[at + 148 : at + 156] = b" " * 8
            whole[at + 148 : at + 156] = b"%06o\0 " % sum(whole[at : at + 512])
    return bytes(whole)


def split(chance: random.Random, data: bytes) -> Iterator[bytes]:
    """Cut data as a pipe may."""
    at = 0
    while at < len(data):
        size = chance.choice((1, 7, 512, 4096, 1 << 16))
        yield data[at : at + size]
        at += size
