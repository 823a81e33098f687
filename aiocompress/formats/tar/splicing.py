"""Raw bytes with gaps between them, as ``salvage`` takes them: waited for, joined, put back."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import Final, Literal, TypeAlias

from aiocompress.formats.tar.header import BLOCK

State: TypeAlias = Literal["data", "gap", "end"]
CONTEXT: Final = 2 * BLOCK
"""Bytes in front of a header that are looked at, too."""


class TornError(Exception):
    """Headers are not all there."""


class Splices:
    """What was fed and is not taken yet. Generators wait for more by yielding None."""

    def __init__(self) -> None:
        self._queue: deque[memoryview] = deque()
        self._view, self._at = memoryview(b""), 0
        self._raw: int | None = 0
        """Where in the archive the next byte stands; None: that is not known."""
        self._gap: tuple[int | None] | None = None
        self._over = False
        self._unsure = True
        """Whether the index, if it can, has to agree with the next header."""
        self._pending = bytearray()
        """Blocks that were taken for headers."""
        self._context = b""
        self._rejected = 0

    def _unread(self) -> None:
        """Put back all but the first byte of what was taken for headers."""
        self._rejected += len(self._pending)
        self._queue.appendleft(self._view[self._at :])
        self._view, self._at = memoryview(bytes(self._pending)), 1
        if self._raw is not None:
            self._raw -= len(self._pending) - 1
        self._context = (self._context + bytes(self._pending[:1]))[-CONTEXT:]
        self._pending = bytearray()

    def _block(self) -> Generator[None, None, bytes]:
        taken = b""
        while len(taken) < BLOCK:
            if (yield from self._wait()) != "data":
                raise TornError
            part = self._view[self._at : self._at + BLOCK - len(taken)]
            taken += part
            self._pending += part
            self._advance(len(part))
        return taken

    def _cross(self) -> int | None:
        """Go to where a gap ends; returns its size."""
        assert self._gap is not None
        (size,) = self._gap
        self._gap, self._context, self._unsure = None, b"", True
        self._raw = None if size is None or self._raw is None else self._raw + size
        return size

    def _join(self) -> Generator[None, None, bool]:
        """Lay some of the next bytes behind the last ones of this view."""
        rest = bytes(self._view[self._at :])
        self._view, self._at = memoryview(b""), 0
        if (yield from self._wait()) != "data":
            self._raw = None if self._raw is None else self._raw + len(rest)
            return False
        following = self._view[self._at :]
        self._queue.appendleft(following[BLOCK:])
        self._view, self._at = memoryview(rest + bytes(following[:BLOCK])), 0
        return True

    def _wait(self) -> Generator[None, None, State]:
        """Wait for what comes next."""
        while True:
            if self._at < len(self._view):
                return "data"
            if self._queue:
                self._view, self._at = self._queue.popleft(), 0
            elif self._gap is not None:
                return "gap"
            elif self._over:
                return "end"
            else:
                self._view, self._at = memoryview(b""), 0  # it may be memory that others manage
                yield None

    def _advance(self, size: int) -> None:
        self._at += size
        if self._raw is not None:
            self._raw += size
