"""Columns of a block of the index, laid and read; see ``index``."""

from __future__ import annotations

from array import array
from functools import lru_cache
from typing import TypeAlias

OwnerRow: TypeAlias = tuple[int, int, bytes, bytes]
"""uid, gid, user and group."""


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
