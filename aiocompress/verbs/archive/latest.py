"""The last member of each name in an archive: that one counts, as it does when all is extracted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiocompress.verbs.archive.hashed import Hashed

_IMPLIED, _MEMBER = 1, 2
"""A folder that is in the name of a member only; a member."""
_MOST_FOLDERS: Final = 1000


class Latest:
    """Names of members and of the folders above them, with the raw offset of the last member."""

    def __init__(self) -> None:
        self._names = Hashed(numbers=True)
        self._folders = {b""}
        """Some that are in the table, not to be looked up for every name in them."""

    def add(self, names: Iterable[bytes], offsets: Iterable[int]) -> None:
        """Add members, in the order of the archive."""
        for name, offset in zip(names, offsets, strict=False):
            self._names.set(name, _MEMBER, offset)
            folder = name[: max(0, name.rfind(b"/"))]
            if folder not in self._folders:
                self._add_above(folder)

    def _add_above(self, folder: bytes) -> None:
        if len(self._folders) >= _MOST_FOLDERS:
            self._folders = {b""}
        self._folders.add(folder)
        while folder and not self._names.kind(folder):
            self._names.set(folder, _IMPLIED)
            folder = folder[: max(0, folder.rfind(b"/"))]

    def __contains__(self, name: bytes) -> bool:
        return self._names.kind(name) > 0

    def is_after(self, name: bytes, offset: int) -> bool:
        """Whether there is a member of that name behind a raw offset."""
        return self._names.number(name) > offset
