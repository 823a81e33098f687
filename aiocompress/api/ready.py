"""Data that was read ahead, bytes or text, and its lines.

A loop over lines should cost no more than over a plain file, so ``io`` cuts them, many at a time;
but not so many that a caller who alternates between lines and bytes pays for the copies.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import AnyStr, Final, Generic, NamedTuple, Protocol, TypeVar

from aiocompress.model import MIB

AnyStr_co = TypeVar("AnyStr_co", bytes, str, covariant=True)

_AT_ONCE: Final = MIB
"""Bytes or characters of lines that are cut together."""
_ANY_END: Final = re.compile(r"\r\n|\n|\r")


class Cut(Protocol[AnyStr_co]):
    """An iterator over lines that can also be sought: a ``BytesIO`` or a ``StringIO``."""

    def __iter__(self) -> Iterator[AnyStr_co]: ...

    def __next__(self) -> AnyStr_co: ...

    def tell(self) -> int: ...

    def seek(self, offset: int, whence: int, /) -> int: ...


class Ends(NamedTuple, Generic[AnyStr]):
    """How to find the ends of lines.

    ``find`` and ``rfind`` take data and a range in it, and return the offset after the first or
    last line end, or 0. ``cut`` iterates over whole lines; None: they are found one by one.
    """

    empty: AnyStr
    find: Callable[[AnyStr, int, int], int]
    rfind: Callable[[AnyStr, int, int], int]
    cut: Callable[[AnyStr], Cut[AnyStr]] | None


def _ends_with(end: AnyStr, cut: Callable[[AnyStr], Cut[AnyStr]] | None = None) -> Ends[AnyStr]:
    """Return how to find lines that all have the same end."""
    size = len(end)

    def find(data: AnyStr, start: int, stop: int) -> int:
        at = data.find(end, start, stop)
        return at + size if at >= 0 else 0

    def rfind(data: AnyStr, start: int, stop: int) -> int:
        at = data.rfind(end, start, stop)
        return at + size if at >= 0 else 0

    return Ends(end[:0], find, rfind, cut)


def _find_any(data: str, start: int, stop: int) -> int:
    found = _ANY_END.search(data, start, stop)
    return found.end() if found else 0


def _rfind_any(data: str, start: int, stop: int) -> int:
    at = max(data.rfind("\n", start, stop), data.rfind("\r", start, stop)) + 1
    return at + data.startswith("\n", at) if at and data[at - 1] == "\r" else at


IN_BYTES: Final = _ends_with(b"\n", io.BytesIO)
_IN_TEXT: Final = _ends_with("\n", partial(io.StringIO, newline="\n"))
IN_TEXT: Final = {
    None: _IN_TEXT,
    "\n": _IN_TEXT,
    "": Ends("", _find_any, _rfind_any, partial(io.StringIO, newline="")),
    "\r": _ends_with("\r"),
    "\r\n": _ends_with("\r\n"),
}
"""By the argument ``newline``; with None, other line ends are translated first."""


class Ready(Generic[AnyStr]):
    """A buffer of data that is taken from the front.

    :param ends: the ends of its lines.
    """

    def __init__(self, ends: Ends[AnyStr]) -> None:
        self._ends: Ends[AnyStr] = ends
        self._data: AnyStr = ends.empty
        self._at = 0
        self._lines: Cut[AnyStr] | None = None
        """Lines before ``_at``, some of which may not have been taken yet."""
        self._start = 0
        """Where the first of them begins."""

    def __len__(self) -> int:
        """Return the number of bytes or characters left."""
        self._uncut()
        return len(self._data) - self._at

    def _uncut(self) -> None:
        lines, self._lines = self._lines, None
        if lines is not None:
            self._at = self._start + lines.tell()
            lines.seek(0, io.SEEK_END)  # ends any iteration over them

    def add(self, data: AnyStr) -> None:
        """Append data."""
        self._uncut()
        left = self._data[self._at :]
        self._data, self._at = (left + data if left else data), 0

    def put_back(self, data: AnyStr) -> None:
        """Put back the data that was taken last."""
        self._uncut()
        self._data, self._at = data + self._data[self._at :], 0

    def clear(self) -> int:
        """Drop all data, taken or not; returns how much that was."""
        self._uncut()
        size = len(self._data)
        self._data, self._at = self._ends.empty, 0
        return size

    def move(self, size: int) -> bool:
        """Skip data, or go back if ``size`` is negative; False if the buffer does not reach."""
        self._uncut()
        at = self._at + size
        if not 0 <= at <= len(self._data):
            return False
        self._at = at
        return True

    def peek(self) -> AnyStr:
        """Return what is left without taking it."""
        self._uncut()
        return self._data[self._at :]

    def take(self, size: int) -> AnyStr:
        """Return the next bytes or characters, fewer if no more are left."""
        self._uncut()
        start = self._at
        data = self._data[start : start + size]
        self._at += len(data)
        return data

    def line(self, size: int) -> AnyStr | None:
        """Take the next line, or the first ``size`` of it; None if its end is not here."""
        self._uncut()
        start, stop = self._at, len(self._data)
        if 0 <= size < stop - start:
            stop = start + size
        end = self._ends.find(self._data, start, stop)
        if not end:
            if stop == len(self._data) and stop - start != size:
                return None
            end = stop
        self._at = end
        return self._data[start:end]

    def lines(self) -> Iterator[AnyStr] | None:
        """Return an iterator over some of the lines; None if the next one is long, or incomplete.

        Any other method ends the iteration, and puts back the lines that were not taken.
        """
        self._uncut()
        start, cut = self._at, self._ends.cut
        end = self._ends.rfind(self._data, start, start + _AT_ONCE)
        if cut is None or not end:
            return None
        self._start, self._at = start, end
        self._lines = cut(self._data[start:end])
        return self._lines
