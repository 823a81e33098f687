"""What is below a folder, found step by step: by descriptors, and through no link.

A path must never be resolved as text: between its check and its use, or by a member written through
a link that an earlier member was, it can come to lead elsewhere. So every step is taken from the
descriptor of the folder above.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import AnyStr, Final, Generic

from aiocompress.storage.reach import Reach
from aiocompress.storage.walk import open_folder

MOST_OPEN: Final = 12
"""Folders on the way to another that stay open: more than nearly all trees have."""


class Chain(Generic[AnyStr]):
    """Opens folders below a root, and keeps those above the last one open; ``close`` it.

    What comes folder by folder opens nearly every folder once. Every path is one without empty
    parts, ``.`` and ``..``.

    :param root: a descriptor, which stays the caller's, or the reach of one.
    :param slash: what stands between the names of a path.
    """

    def __init__(self, root: int | Reach, slash: AnyStr) -> None:
        self._roots = int(isinstance(root, int))
        self._open = [root if isinstance(root, int) else root.open()]
        self._slash: AnyStr = slash
        self._path: list[AnyStr] = []
        self._folder: AnyStr | None = slash[:0]

    def close(self) -> None:
        """Close all folders; what has its root from the caller can go on."""
        while len(self._open) > self._roots:
            os.close(self._open.pop())
        self._path, self._folder = [], self._slash[:0]

    def parent(self, path: AnyStr) -> tuple[int, AnyStr]:
        """Return a descriptor of the folder that something is in, see ``at``, and its name there.

        :raises OSError: the folder cannot be opened, or is none.
        """
        folder, _, name = path.rpartition(self._slash)
        if folder != self._folder:
            self._go(folder, self._step)
        return self._open[-1], name

    def at(self, folder: AnyStr) -> int:
        """Return a descriptor of a folder that is there, valid until the next call.

        That of the folder above is valid as long, if it was asked for just before.

        :raises OSError: it cannot be opened, or is no folder.
        """
        if folder != self._folder:
            self._go(folder, open_folder)
        return self._open[-1]

    def _step(self, name: AnyStr, above: int) -> int:
        """Open a folder on the way to something."""
        return open_folder(name, above)

    def _go(self, folder: AnyStr, step: Callable[[AnyStr, int], int]) -> None:
        self._folder = None
        path = folder.split(self._slash) if folder else []
        while path[: len(self._path)] != self._path:
            self._path.pop()
            os.close(self._open.pop())
        for name in path[len(self._path) :]:
            below = step(name, self._open[-1])
            if len(self._path) <= MOST_OPEN:
                self._path.append(name)
            else:  # so deep, only the last two stay open, and no path leads past them
                os.close(self._open.pop(-2))
                self._path[-2] = self._slash
            self._open.append(below)
        self._folder = folder
