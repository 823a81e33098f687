"""The names that an archive has already, so that no name is given twice.

An archive may get millions of members in any order, whose names would take hundreds of megabytes.
So only a hash of each is kept, in 16 to 32 bytes: 62 bits, which practically never collide, and two
that say what has the name. The table is cut into parts that grow one at a time: it is used in the
event loop, which rebuilding all of it at once would block.
"""

from __future__ import annotations

from array import array
from typing import Final

from aiocompress.formats.tar.header import to_text

_IMPLIED, _FOLDER, _OTHER = 1, 2, 3
"""A folder that only member names imply; one that is a member; anything else."""
_KIND: Final = 3
_HASH: Final = (1 << 64) - 1 - _KIND
_PARTS, _PART_SHIFT = 256, 56
_MOST_FOLDERS: Final = 1000
_LEAST: Final = 16
"""Entries of a new part; always a power of two."""


class Taken:
    """Names of members, and of the folders that these names lead through."""

    def __init__(self) -> None:
        self._parts = [array("Q", bytes(8 * _LEAST)) for _ in range(_PARTS)]
        self._used = [0] * _PARTS
        self._folders = {b""}
        """Some known folders, to save a lookup for every name in them."""

    def admits(self, name: bytes, *, is_folder: bool = False) -> bool:
        """Check that a member may have a name; False if it is a folder that is there already.

        :raises ValueError: another member has the name, or is a file where a folder has to be.
        """
        if kind := self._kind(name):
            return _admitted(name, kind, is_folder=is_folder)
        self._above(name)
        return True

    def take(self, name: bytes, *, is_folder: bool = False) -> bool:
        """Take a name if ``admits`` allows it; returns and raises the same."""
        if (kind := self._kind(name)) and not _admitted(name, kind, is_folder=is_folder):
            return False
        folder = name[: max(0, name.rfind(b"/"))]
        if folder not in self._folders:
            for unknown in self._above(name):
                self._set(unknown, _IMPLIED)
            if len(self._folders) >= _MOST_FOLDERS:
                self._folders = {b""}
            self._folders.add(folder)
        self._set(name, _FOLDER if is_folder else _OTHER)
        return True

    def _above(self, name: bytes) -> list[bytes]:
        """Return the folders above a name that are not known yet.

        :raises ValueError: one of them is a file.
        """
        unknown, folder = [], name
        while (folder := folder[: max(0, folder.rfind(b"/"))]) not in self._folders:
            kind = self._kind(folder)
            if kind == _OTHER:
                what = f"cannot be in {to_text(folder)!r}, which is not a folder"
                raise ValueError(f"{to_text(name)!r} {what}")
            if kind:
                break
            unknown.append(folder)
        return unknown

    # The hash table: an entry stands in the first free place from where its hash points.

    def _kind(self, name: bytes) -> int:
        code = hash(name) & _HASH
        part = self._parts[code >> _PART_SHIFT]
        return part[_entry(part, code)] & _KIND

    def _set(self, name: bytes, kind: int) -> None:
        code = hash(name) & _HASH
        number = code >> _PART_SHIFT
        part = self._parts[number]
        at = _entry(part, code)
        self._used[number] += not part[at]
        part[at] = code | kind
        if 2 * self._used[number] > len(part):
            larger = array("Q", bytes(2 * part.itemsize * len(part)))
            for entry in filter(None, part):
                larger[_entry(larger, entry & _HASH)] = entry
            self._parts[number] = larger


def _entry(part: array[int], code: int) -> int:
    """Return the index of a hash in a part, or of the free entry where it would go."""
    last = len(part) - 1
    at = (code >> 2) & last
    while (entry := part[at]) and entry & _HASH != code:
        at = (at + 1) & last
    return at


def _admitted(name: bytes, kind: int, *, is_folder: bool) -> bool:
    """Return whether a known name may be taken."""
    if is_folder and kind != _OTHER:
        return kind == _IMPLIED
    what = "is in the archive already" if kind == _OTHER else "is a folder in the archive"
    raise ValueError(f"{to_text(name)!r} {what}")
