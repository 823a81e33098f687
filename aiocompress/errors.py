"""What can go wrong, as one family that names the file, the offset and what to do.

    AiocompressError
    ├── FormatError          not something this library reads or writes
    ├── CorruptError         bytes that are not what was written
    │   └── TruncatedError   the end is missing
    ├── LimitError           the caller's limit was reached
    ├── UnsafeMemberError    a member of an archive would write or lead outside the folder
    ├── MemberNotFoundError  the archive has no such member; also a KeyError
    ├── WorkerError          worker processes died twice on the same chunk
    └── ClosedError          used after it was closed

An error of the system stays a built-in ``OSError`` (with its file name), a wrong argument a
``ValueError`` or ``TypeError``. Workers raise these errors in other processes, so each survives
pickling unchanged.
"""

from __future__ import annotations

from typing import Any, Final, Self

DATA_BEFORE: Final = "decompress_stream gives the data before it"


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
        super().__init__(reason)
        self.reason = reason
        self.file = file
        self.offset = offset
        self.frame = frame
        self.hint = hint

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


class ClosedError(AiocompressError):
    """An engine or a stream was used after it had been closed."""
