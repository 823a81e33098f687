"""What can go wrong, as one family that names the file, the offset and what to do.

Archives decide which names stand in messages, and how many there are: so every text is ``short``,
and whatever gathers texts gathers ``Lines``.

    AiocompressError
    ├── FormatError          not something this library reads or writes
    ├── CorruptError         bytes that are not what was written
    │   └── TruncatedError   the end is missing
    ├── LimitError           the caller's limit was reached
    ├── UnsafeMemberError    a member of an archive would write or lead outside the folder
    ├── MemberNotFoundError  the archive has no such member; also a KeyError
    ├── WorkerError          worker processes died twice on the same chunk
    └── ClosedError          used after it was closed; also a ValueError

An error of the system stays a built-in ``OSError`` (with its file name), a wrong argument a
``ValueError`` or ``TypeError``. Workers raise these errors in other processes, so each survives
pickling unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Self

DATA_BEFORE: Final = "decompress_stream gives the data before it"
_LONGEST: Final = 4500
"""Characters of a line: room for every path that a file system takes, and a reason behind it."""
_MOST_LINES, _MOST_TEXT = 1000, 1 << 20
_LINE: Final = 64
"""What a line costs beside its characters: so many short ones take bounded memory, too."""


def short(text: str) -> str:
    """Return a line of at most 4,500 characters: of a longer one, its beginning and its end."""
    if len(text) <= _LONGEST:
        return text
    kept = _LONGEST // 2 - 50
    return f"{text[:kept]} [{len(text) - 2 * kept:,} more characters] {text[-kept:]}"


class Lines(list[str]):
    """Warnings, or names of what was left out: bounded in number and in characters.

    ``total`` counts all that were appended, those that were not kept included.

    :param most: how many lines to keep.
    :param room: how many characters all of them may take together, 64 for each line added.
    """

    def __init__(self, most: int = _MOST_LINES, room: int = _MOST_TEXT) -> None:
        super().__init__()
        self._most, self._room = most, room
        self.total = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return _lines, (list(self), vars(self))

    def append(self, text: str) -> None:
        """Take a line, while there is room."""
        self.total += 1
        if len(self) < self._most and self._room > 0:
            text = short(text)
            self._room -= len(text) + _LINE
            super().append(text)

    def extend(self, texts: Iterable[str]) -> None:
        """Take lines, and count those that another one has not kept."""
        for text in texts:
            self.append(text)
        if isinstance(texts, Lines):
            self.total += texts.total - len(texts)

    def __iadd__(self, texts: Iterable[str]) -> Self:  # type: ignore[override,misc]
        self.extend(texts)
        return self

    @property
    def left_out(self) -> int:
        """How many lines were not kept."""
        return self.total - len(self)


def _lines(texts: list[str], state: dict[str, int]) -> Lines:
    """Return lines as they were pickled."""
    lines = Lines()
    list.extend(lines, texts)
    vars(lines).update(state)
    return lines


class AiocompressError(Exception):
    """Base of all errors of this library.

    Attributes: ``reason`` (what is wrong, without any path of this machine: fit for an answer to a
    stranger), ``file`` (a path, or "stdin", or None), ``offset`` (bytes from the start of the
    compressed file, or None), ``frame`` (counted from 0, or None) and ``hint`` (what to do about
    it, in the names of this library, or None).
    """

    def __init__(
        self,
        reason: str,
        *,
        file: str | None = None,
        offset: int | None = None,
        frame: int | None = None,
        hint: str | None = None,
    ) -> None:
        reason = short(reason)
        super().__init__(reason)
        self.reason = reason
        self.file = file
        self.offset = offset
        self.frame = frame
        self.hint = hint and short(hint)

    def located(
        self, *, file: str | None = None, base: int | None = None, frame: int | None = None
    ) -> Self:
        """Add what only the caller knows: the file, where these bytes start in it, the frame.

        Each caller on the way out adds the offset and frame at which its own part begins.
        """
        self.file = file if self.file is None else self.file
        if base is not None:
            self.offset = base + (self.offset or 0)
        if frame is not None:
            self.frame = frame + (self.frame or 0)
        return self

    def __str__(self) -> str:
        text = f"{self.file}: {self.reason}" if self.file else self.reason
        if self.offset is not None:
            text += f" at byte {self.offset}"
        if self.frame is not None:
            text += f" (frame {self.frame})"
        return f"{text}; {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason,), self.__dict__


class FormatError(AiocompressError):
    """The data or the name is of no format that this library reads or writes."""


class CorruptError(AiocompressError):
    """The data is damaged: it is not what was written."""


class TruncatedError(CorruptError):
    """The data ends too early."""


class LimitError(AiocompressError):
    """A limit was reached: one of the ``max_...`` arguments, or ``memory_limit``."""


class UnsafeMemberError(AiocompressError):
    """A member of an archive was refused: its name or its link leads outside."""


class MemberNotFoundError(AiocompressError, KeyError):
    """The archive has no such member."""

    __str__ = AiocompressError.__str__


class WorkerError(AiocompressError):
    """Worker processes died twice in a row while working on the same chunk."""


class ClosedError(AiocompressError, ValueError):
    """An engine, a stream or a file was used after it had been closed, or before it was open."""
