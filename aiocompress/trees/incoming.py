"""The content of one member, put where it belongs as it comes; plain blocking code."""

from __future__ import annotations

import os

from ..model import Member


class IncomingFile:
    """A file whose content is on its way.

    :param descriptor: the open file; whoever gives it closes it.
    """

    def __init__(self, name: bytes, descriptor: int, member: Member) -> None:
        self.name, self.descriptor, self.member = name, descriptor, member
        self._extents = iter(member.extents or ((0, member.size),))
        self._at = self._left = 0
        self._missing = member.stored_size

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come."""
        return not self._missing

    def write(self, data: memoryview) -> None:
        """Write the next bytes where they belong: a sparse file has holes between them."""
        while data:
            while not self._left:
                self._at, self._left = next(self._extents)
            done = os.pwrite(self.descriptor, data[: self._left], self._at)
            self._at, self._left = self._at + done, self._left - done
            self._missing -= done
            data = data[done:]

    def skip(self, size: int) -> None:
        """Leave zeros for stored bytes that are missing."""
        while size:
            while not self._left:
                self._at, self._left = next(self._extents)
            step = min(size, self._left)
            self._at, self._left, size = self._at + step, self._left - step, size - step
