"""What is below a folder, found step by step: by descriptors, and through no link.

A path must never be resolved as text: between its check and its use, or by a member written through
a link that an earlier member was, it can come to lead elsewhere. So every step is taken from the
descriptor of the folder above.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from aiocompress.storage.walk import open_folder


class Below:
    """Opens what is below a folder; ``close`` it.

    Every name is a path without empty parts, ``.`` and ``..``.

    :param root: a descriptor of the folder; stays open.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._folder, self._descriptor = b"", root

    def close(self) -> None:
        if self._descriptor != self._root:
            os.close(self._descriptor)
        self._folder, self._descriptor = b"", self._root

    def parent(self, name: bytes) -> tuple[int, bytes]:
        """Return a descriptor of the folder that a name is in, and its name there."""
        folder, _, base = name.rpartition(b"/")
        if folder != self._folder:
            descriptor = self._open_folder(folder, self._step) if folder else self._root
            self.close()
            self._folder, self._descriptor = folder, descriptor
        return self._descriptor, base

    def _step(self, part: bytes, above: int) -> int:
        """Open a folder on the way to a name."""
        return open_folder(part, above)

    def existing_folder(self, folder: bytes) -> int:
        """Open a folder that is there already; returns its descriptor."""
        return self._open_folder(folder, open_folder)

    def _open_folder(self, folder: bytes, step: Callable[[bytes, int], int]) -> int:
        at = os.dup(self._root)
        for part in folder.split(b"/") if folder else ():
            try:
                below = step(part, at)
            finally:
                os.close(at)
            at = below
        return at
