"""Raw bytes with gaps between them, for ``salvage``: waited for, joined, put back."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import Final, Literal, TypeAlias

from aiocompress.formats.tar.header import BLOCK
from aiocompress.model import Buffer

State: TypeAlias = Literal["data", "gap", "end"]
CONTEXT: Final = 2 * BLOCK
"""How many bytes in front of a header are looked at, too."""


class TornError(Exception):
    """A gap, or the end, stands in the middle of headers."""


class Splices:
    """The bytes that were fed and not taken yet; generators wait for more by yielding None."""

    def __init__(self) -> None:
        self._queue: deque[memoryview] = deque()
        self._view, self._at = memoryview(b""), 0
        self._raw: int | None = 0
        """The raw offset of the next byte; None: it is unknown."""
        self._gap: tuple[int | None] | None = None
        self._over = False
        self._unsure = True
        """Whether the next header counts only if the index, where it covers it, agrees."""
        self._pending = bytearray()
        """The headers that were taken last."""
        self._context = b""
        """The bytes in front of the next one, as far as they were searched."""
        self._rejected = 0

    def _remember(self, passed: Buffer) -> None:
        self._context = (self._context + bytes(passed))[-CONTEXT:]

    def _unread(self) -> None:
        """Put back all but the first byte of the headers that were taken."""
        self._rejected += len(self._pending)
        self._queue.appendleft(self._view[self._at :])
        self._view, self._at = memoryview(bytes(self._pending)), 1
        if self._raw is not None:
            self._raw -= len(self._pending) - 1
        self._remember(self._pending[:1])
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
        """Go to the end of a gap; returns its size, None where that is unknown."""
        assert self._gap is not None
        (size,) = self._gap
        self._gap, self._context, self._unsure = None, b"", True
        self._raw = None if size is None or self._raw is None else self._raw + size
        return size

    def _join(self) -> Generator[None, None, bool]:
        """Join the rest of this view with the beginning of the next; False: there is no next."""
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
        """Wait until it is clear what comes next."""
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
                self._view, self._at = memoryview(b""), 0  # the caller may reuse its memory
                yield None

    def _advance(self, size: int) -> None:
        self._at += size
        if self._raw is not None:
            self._raw += size
