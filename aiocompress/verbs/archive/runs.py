"""Where in its file the stored bytes of a member belong: a sparse one has holes between them."""

from __future__ import annotations

from aiocompress.model import Member


class Runs:
    """The places of a member's stored bytes, one after another."""

    def __init__(self, member: Member) -> None:
        self._extents = iter(member.runs)
        self._at = self._left = 0

    def next(self) -> tuple[int, int]:
        """Return where the next byte belongs, and how many belong there, one behind the other."""
        while not self._left:
            self._at, self._left = next(self._extents)
        return self._at, self._left

    def advance(self, size: int) -> None:
        """Say that as many of these bytes are done."""
        self._at, self._left = self._at + size, self._left - size
