"""Columns of a block of the index, laid and read; see ``index``."""

from __future__ import annotations

from array import array
from functools import lru_cache
from itertools import accumulate
from typing import TypeAlias

from aiocompress.formats.tar.header import BLOCK

OwnerRow: TypeAlias = tuple[int, int, bytes, bytes]
"""uid, gid, user and group."""


def joined(columns: list[bytes]) -> bytes:
    """Return the columns one behind the other, the length of each in front of it."""
    return b"".join(len(column).to_bytes(4, "little") + column for column in columns)


def parted(data: bytes, at: int) -> list[bytes]:
    """Return the columns that ``joined`` laid, from ``at`` to the end.

    :raises ValueError: they end too early.
    """
    columns = []
    while at < len(data):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        columns.append(data[start:at])
    if at != len(data):
        raise ValueError
    return columns


def offsets_of(start: int, blocks: array[int], sizes: array[int]) -> list[int]:
    """Return the raw offset of each member, the first of which is at ``start``, and the end.

    :param blocks: blocks that the headers of each take.
    :param sizes: bytes stored of each.
    """
    lengths = [
        (headers + (size + BLOCK - 1) // BLOCK) * BLOCK
        for headers, size in zip(blocks, sizes, strict=True)
    ]
    return list(accumulate(lengths, initial=start))


@lru_cache(64)
def ones(number: int) -> array[int]:
    """Return a column of one number, to be repeated."""
    return array("H", (number,))


def shortened(names: list[bytes]) -> list[bytes]:
    """Return names as a block has them: without the folder of the one before; see ``index``."""
    folder, short = None, []
    for name in names:
        parent, _, base = name.rpartition(b"/")
        if parent == folder:
            short.append(b"/" + base)
        else:
            short.append(name)
            folder = parent
    return short


def lengthened(names: list[bytes]) -> list[bytes]:
    """Return what ``shortened`` was given."""
    folder, whole = b"", []
    for name in names:
        if name[:1] == b"/":
            whole.append(folder + name[1:])
        else:
            whole.append(name)
            folder = name[: name.rfind(b"/") + 1]
    return whole


def interleaved(data: bytes) -> bytes:
    """Return the sizes, whose bytes are stored by planes, number by number."""
    count, room = len(data) // 8, bytearray(len(data))
    for byte in range(8):
        room[byte::8] = data[byte * count : (byte + 1) * count]
    return bytes(room)


def parse_owners(data: bytes) -> dict[OwnerRow, int]:
    """Return the table of owners, with their numbers."""
    fields = data.split(b"\0") if data else []
    rows = zip(*(fields[first::4] for first in range(4)), strict=True)
    table = {(int(uid), int(gid), user, group): 0 for uid, gid, user, group in rows}
    return {owner: number for number, owner in enumerate(table)}
