"""Bytes that can be read at any offset, held to what they say of themselves.

A caller's object may be wrong about its size, or return more or less than it was asked for. Taken
as it comes, that would pass for damage of the archive, or for an index that lies. So here it is an
error of its own, which names the object.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from aiocompress.errors import ClosedError, CorruptError
from aiocompress.storage.base import Positional

T = TypeVar("T")


class SourceError(CorruptError):
    """Other bytes came than were asked for: nothing in the archive is to blame."""


class Checked:
    """A ``Positional`` that is asked for its size once, and for nothing at its end or behind it."""

    def __init__(self, positional: Positional) -> None:
        name = getattr(positional, "name", None)
        self.name: str | None = name if isinstance(name, str) else None
        self._shown = self.name or type(positional).__name__
        self.at_once: int = max(1, getattr(positional, "at_once", 1))
        """How many reads of one stream may be under way."""
        self._positional = positional
        self._size: int | None = None
        self._is_closed = False

    def close(self) -> None:
        """Refuse all further reads; the object itself stays open."""
        self._is_closed = True

    @classmethod
    def of(cls, positional: Positional) -> Checked:
        """Return the object, checked, unless it is checked already."""
        return positional if isinstance(positional, Checked) else cls(positional)

    async def size(self) -> int:
        """Return how many bytes there are.

        :raises SourceError: the object says a negative number.
        :raises TypeError: its ``size`` is not async, or returns no int.
        """
        if self._size is None:
            size = await self._awaited("size", self._positional.size())
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"size of {self._shown} must return an int, not {_kind(size)}")
            if size < 0:
                raise SourceError(f"size() returned {size}", file=self._shown)
            self._size = size
        return self._size

    async def read_at(self, offset: int, size: int, /) -> memoryview:
        """Return ``size`` bytes from ``offset``; fewer only where the end is nearer.

        :raises SourceError: the object returned more or fewer of them.
        :raises TypeError: its ``read_at`` is not async, or returns no bytes.
        :raises ClosedError: this was closed, maybe only while it was read.
        """
        self._check()
        total = await self.size()
        size = min(size, total - offset)
        if size <= 0:
            return memoryview(b"")
        data = await self._awaited("read_at", self._positional.read_at(offset, size))
        try:
            view = memoryview(data).cast("B")
        except TypeError:
            text = f"read_at of {self._shown} must return bytes, not {_kind(data)}"
            raise TypeError(text) from None
        if len(view) != size:
            raise SourceError(
                f"{len(view)} bytes were read instead of {size}",
                file=self._shown,
                offset=offset,
                hint=f"it said that it has {total} bytes: has it changed since?",
            )
        return view

    async def _awaited(self, method: str, result: Awaitable[T]) -> T:
        if not isinstance(result, Awaitable):
            raise TypeError(f"{method} of {self._shown} must be async")
        try:
            return await result
        except Exception:
            self._check()  # an object that is closed as well may raise anything
            raise

    def _check(self) -> None:
        if self._is_closed:
            raise ClosedError("closed while it was read", file=self._shown) from None


def _kind(value: object) -> str:
    return type(value).__name__
