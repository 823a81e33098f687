"""What a verb found on its way through a tree or an archive, and what it left out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

from aiocompress.errors import AiocompressError, LimitError, UnsafeMemberError
from aiocompress.model import MIB, Member, OnError, Report
from aiocompress.storage.restorer import CROSSED, FATAL, checked

NAMELESS: Final = "(no name)"
_CROSSED: Final = "its path leads through an earlier member that is a link or a file"
HINT: Final = "--keep-going (on_error='skip') restores the others"
_MOST_TOLD: Final = 1000
_MOST_TEXT: Final = 8 * MIB
"""Characters of all names together: an archive may hold very long ones."""
_LEFT_OUT: Final = {
    "name": "it has no name",
    "kind": "the type is unknown, and was taken for that of a file",
    "mode": "the mode cannot be used, and was left out",
    "mtime_ns": "the modification time cannot be used, and was left out",
    "uid": "the uid cannot be used, and was left out",
    "gid": "the gid cannot be used, and was left out",
    "user": "the name of the user cannot be used, and was left out",
    "group": "the name of the group cannot be used, and was left out",
    "device": "the numbers of the device cannot be used",
    "xattrs": "an extended attribute cannot be used, and was left out",
}
"""What is said of a field of ``Member`` that is unreadable."""


class Found:
    """Counts of files, and the names of those that were skipped, changed or damaged.

    :param most_told: how many names to keep; together they hold 8 MiB at most.
    """

    def __init__(self, files: int = 0, most_told: int = _MOST_TOLD) -> None:
        self.files = files
        self._most_told, self._room = most_told, _MOST_TEXT
        self.skipped_count = self.changed = self.damaged = 0
        self.kept = 0
        """Files that existed already and were not replaced."""
        self.skipped: list[str] = []
        self.warnings: list[str] = []
        self._left_out: dict[str, tuple[str, int]] = {}
        """Unreadable fields of members: the first such member, and how many there are."""

    def skip(self, text: str) -> None:
        """Note that something was left out."""
        self.skipped_count += 1
        if len(self.skipped) < self._most_told and self._room > 0:
            self._room -= len(text)
            self.skipped.append(text)

    def refuse(self, text: str) -> None:
        """Note a member that is damaged, or that we refused to restore."""
        self.damaged += 1
        self.skip(text)

    def change(self, text: str) -> None:
        """Note that a file changed while it was read."""
        self.changed += 1
        self.warn(text)

    def leave_out(self, member: Member) -> None:
        """Note what is left out of a member, if anything is; often it is the same of all."""
        self.changed += bool(member.unreadable)
        for field in member.unreadable:
            first, count = self._left_out.get(field, (member.name, 0))
            self._left_out[field] = first, count + 1

    def told(self) -> tuple[str, ...]:
        """Return all warnings."""
        left_out = (
            f"{first or NAMELESS}{f' and {count - 1:,} more' * (count > 1)}: {_LEFT_OUT[field]}"
            for field, (first, count) in self._left_out.items()
        )
        kept = (f"{self.kept} files exist already, and were kept",) if self.kept else ()
        return (*self.warnings, *left_out, *kept)

    def add(self, other: Found) -> None:
        """Add what another one has found; only members read front to back leave something out."""
        self.extend(other.warnings)
        for text in other.skipped:
            self.skip(text)
        self.skipped_count += other.skipped_count - len(other.skipped)
        self.files += other.files
        self.changed += other.changed
        self.damaged += other.damaged
        self.kept += other.kept

    def report(self, report: Report) -> Report:
        """Complete a report that knows only bytes and frames."""
        return report._replace(
            files=self.files,
            skipped=tuple(self.skipped),
            skipped_count=self.skipped_count,
            changed=self.changed,
            damaged=self.damaged,
            warnings=(*report.warnings, *self.told()),
        )

    def extend(self, warnings: Iterable[str]) -> None:
        """Note all of these warnings."""
        for text in warnings:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Note something worth knowing."""
        if len(self.warnings) < _MOST_TOLD:
            self.warnings.append(text)


class Failures:
    """Decides whether a member that cannot be restored is an error or a line in the report."""

    def __init__(self, on_error: OnError, found: Found) -> None:
        self._raises, self._found = on_error == "raise", found
        self._stripped = False

    def place(self, name: bytes) -> bytes:
        """Return where a member goes (see ``checked``), and warn once about absolute names."""
        place = checked(name)
        if name[:1] == b"/" and not self._stripped:
            self._stripped = True
            self._found.warn(f"{shown(name)}: the leading '/' was removed from member names")
        return place

    def member(self, name: bytes, error: AiocompressError | OSError) -> None:
        """Raise the error of one member, or report it and go on.

        :raises AiocompressError: the caller wants errors raised.
        :raises OSError: so does this, and an error that the next members would meet, too.
        """
        label = shown(name) or NAMELESS
        if isinstance(error, OSError) and error.errno in CROSSED:
            error = UnsafeMemberError(_CROSSED)
        if isinstance(error, OSError):
            if self._raises or error.errno in FATAL:
                raise OSError(error.errno, error.strerror, label) from None
            self._found.refuse(f"{label}: {error.strerror or error}")
            return
        reason = f"{label}: {error.reason}"
        if not self._raises:
            self._found.refuse(reason)
        elif isinstance(error, LimitError):
            raise LimitError(f"member {reason}", hint=error.hint)
        else:
            raise UnsafeMemberError(f"member {reason}", hint=HINT)

    def special(self, name: bytes, what: str) -> None:
        """Report a member that is created only on request."""
        self._found.skip(f"{shown(name)}: {what}, not created (--preserve does)")


def shown(name: bytes) -> str:
    """Return a member's name as text."""
    return os.fsdecode(name)
