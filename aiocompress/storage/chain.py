"""Folders below a root, opened by their paths, step by step and through no link."""

from __future__ import annotations

import os
from typing import AnyStr, Generic

from aiocompress.storage.reach import Reach
from aiocompress.storage.walk import FOLDER_FLAGS


class Chain(Generic[AnyStr]):
    """Opens folders below a root, step by step, and keeps those above the last one open.

    Files come folder by folder, so that most folders are opened once.

    :param root: a descriptor, which stays the caller's, or the reach of one.
    :param slash: what stands between the names of a path.
    """

    def __init__(self, root: int | Reach, slash: AnyStr) -> None:
        self._open = [os.dup(root) if isinstance(root, int) else root.open()]
        self._slash: AnyStr = slash
        self._path: list[AnyStr] = []
        self._folder: AnyStr | None = slash[:0]

    def at(self, folder: AnyStr) -> int:
        """Return a descriptor of a folder, valid until the next call.

        :raises OSError: it cannot be opened, or is no folder.
        """
        if folder != self._folder:
            self._folder = None
            path = folder.split(self._slash) if folder else []
            while path[: len(self._path)] != self._path:
                self._path.pop()
                os.close(self._open.pop())
            for name in path[len(self._path) :]:
                self._open.append(os.open(name, FOLDER_FLAGS, dir_fd=self._open[-1]))
                self._path.append(name)
            self._folder = folder
        return self._open[-1]

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())
