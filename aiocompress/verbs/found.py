"""What a verb finds on its way through a tree or an archive, and what it leaves out."""

from __future__ import annotations

import os
from typing import Final

from aiocompress.errors import AiocompressError, LimitError, UnsafeMemberError
from aiocompress.model import MIB, OnError, Report
from aiocompress.storage.restorer import FATAL, checked

HINT: Final = "--keep-going (on_error='skip') restores the others"
_MOST_TOLD: Final = 1000
_MOST_TEXT: Final = 8 * MIB
"""Characters of all names that are told: a name of an archive can be long."""


class Found:
    """What was found on the way: counts, and the first names of what went wrong.

    :param most_told: how many names; all of them together hold 8 MiB at most.
    """

    def __init__(self, files: int = 0, most_told: int = _MOST_TOLD) -> None:
        self.files = files
        self._most_told, self._room = most_told, _MOST_TEXT
        self.skipped_count = self.changed = self.damaged = self.kept = 0
        self.skipped: list[str] = []
        self.warnings: list[str] = []

    def skip(self, text: str) -> None:
        """Note that something was left out."""
        self.skipped_count += 1
        if len(self.skipped) < self._most_told and self._room > 0:
            self._room -= len(text)
            self.skipped.append(text)

    def refuse(self, text: str) -> None:
        """Note a member that was refused, or is damaged."""
        self.damaged += 1
        self.skip(text)

    def keep(self) -> None:
        """Count a file that is there already, and is not replaced."""
        self.kept += 1

    def change(self, text: str) -> None:
        """Note that something did not stay as it was while it was read."""
        self.changed += 1
        self.warn(text)

    def add(self, other: Found) -> None:
        """Add what somebody else has found."""
        for text in other.warnings:
            self.warn(text)
        for text in other.skipped:
            self.skip(text)
        self.skipped_count += other.skipped_count - len(other.skipped)
        self.files += other.files
        self.changed += other.changed
        self.damaged += other.damaged
        self.kept += other.kept

    def report(self, report: Report) -> Report:
        """Add it to what is known of the bytes."""
        kept = (f"{self.kept} files exist already, and were kept",) if self.kept else ()
        return report._replace(
            files=self.files,
            skipped=tuple(self.skipped),
            skipped_count=self.skipped_count,
            changed=self.changed,
            damaged=self.damaged,
            warnings=(*report.warnings, *self.warnings, *kept),
        )

    def warn(self, text: str) -> None:
        """Note something worth knowing."""
        if len(self.warnings) < _MOST_TOLD:
            self.warnings.append(text)


class Failures:
    """Decides what a member that cannot be restored means: an error, or a line of the report."""

    def __init__(self, on_error: OnError, found: Found) -> None:
        self._raises, self._found = on_error == "raise", found
        self._stripped = False

    def place(self, name: bytes) -> bytes:
        """Return where a member goes; see ``checked``. One warning tells of absolute names."""
        place = checked(name)
        if name[:1] == b"/" and not self._stripped:
            self._stripped = True
            self._found.warn(f"{shown(name)}: the leading '/' was removed from member names")
        return place

    def member(self, name: bytes, error: AiocompressError | OSError) -> None:
        """Take the error of one member.

        :raises AiocompressError: members are not to be left out, or it concerns all.
        """
        if isinstance(error, OSError):
            if error.errno in FATAL:
                raise OSError(error.errno, error.strerror, os.fsdecode(name)) from None
            reason = error.strerror or str(error)
        else:
            reason = error.reason
        if self._raises and isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, os.fsdecode(name)) from None
        if self._raises and isinstance(error, LimitError):
            raise LimitError(f"member {shown(name)}: {reason}", hint=error.hint)
        if self._raises:
            raise UnsafeMemberError(f"member {shown(name)}: {reason}", hint=HINT)
        self._found.refuse(f"{shown(name)}: {reason}")

    def special(self, name: bytes, what: str) -> None:
        """Tell of a member that is not made unless asked for."""
        self._found.skip(f"{shown(name)}: {what}, not created (--preserve does)")


def shown(name: bytes) -> str:
    """Return a member's name as text."""
    return os.fsdecode(name)
