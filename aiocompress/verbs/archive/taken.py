"""The names that an archive has already, so that no name is given twice."""

from __future__ import annotations

from typing import Final

from aiocompress.formats.tar.header import to_text
from aiocompress.verbs.archive.hashed import Hashed

_IMPLIED, _FOLDER, _OTHER = 1, 2, 3
"""A folder that only member names imply; one that is a member; anything else."""
_MOST_FOLDERS: Final = 1000


class Taken:
    """Names of members, and of the folders that these names lead through."""

    def __init__(self) -> None:
        self._names = Hashed()
        self._folders = {b""}
        """Some known folders, to save a lookup for every name in them."""

    def admits(self, name: bytes, *, is_folder: bool = False) -> bool:
        """Check that a member may have a name; False if it is a folder that is there already.

        :raises ValueError: another member has the name, or is a file where a folder has to be.
        """
        if kind := self._names.kind(name):
            return _admitted(name, kind, is_folder=is_folder)
        self._above(name)
        return True

    def take(self, name: bytes, *, is_folder: bool = False) -> bool:
        """Take a name if ``admits`` allows it; returns and raises the same."""
        if (kind := self._names.kind(name)) and not _admitted(name, kind, is_folder=is_folder):
            return False
        folder = name[: max(0, name.rfind(b"/"))]
        if folder not in self._folders:
            for unknown in self._above(name):
                self._names.set(unknown, _IMPLIED)
            if len(self._folders) >= _MOST_FOLDERS:
                self._folders = {b""}
            self._folders.add(folder)
        self._names.set(name, _FOLDER if is_folder else _OTHER)
        return True

    def _above(self, name: bytes) -> list[bytes]:
        """Return the folders above a name that are not known yet.

        :raises ValueError: one of them is a file.
        """
        unknown, folder = [], name
        while (folder := folder[: max(0, folder.rfind(b"/"))]) not in self._folders:
            kind = self._names.kind(folder)
            if kind == _OTHER:
                what = f"cannot be in {to_text(folder)!r}, which is not a folder"
                raise ValueError(f"{to_text(name)!r} {what}")
            if kind:
                break
            unknown.append(folder)
        return unknown


def _admitted(name: bytes, kind: int, *, is_folder: bool) -> bool:
    """Return whether a known name may be taken."""
    if is_folder and kind != _OTHER:
        return kind == _IMPLIED
    what = "is in the archive already" if kind == _OTHER else "is a folder in the archive"
    raise ValueError(f"{to_text(name)!r} {what}")
