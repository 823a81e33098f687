"""What a verb found on its way through a tree or an archive, and what it left out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from copy import copy
from typing import Final

from aiocompress.errors import Lines, short
from aiocompress.model import Member, Report

NAMELESS: Final = "(no name)"
HINT: Final = "on_error='skip' restores the others"
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

    :param skipped: what gathers those that were skipped, if it has a bound of its own.
    """

    def __init__(self, files: int = 0, skipped: Lines | None = None) -> None:
        self.files = files
        self.changed = self.damaged = 0
        self.kept = 0
        """Files that existed already and were not replaced."""
        self.latest: bytes | None = None
        """The file that was come to last, for whoever is told the progress."""
        self.skipped = Lines() if skipped is None else skipped
        self.warnings = Lines()
        self._left_out: dict[str, tuple[str, int]] = {}
        """Unreadable fields of members: the first such member, and how many there are."""

    @property
    def skipped_count(self) -> int:
        """How much was left out."""
        return self.skipped.total

    def skip(self, text: str) -> None:
        """Note that something was left out."""
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
        count = self.warnings.left_out
        more = (f"{count:,} more warnings",) if count else ()
        return (*self.warnings, *more, *map(short, left_out), *kept)

    def take(self) -> Found:
        """Return what was noted since the last time."""
        taken = copy(self)
        vars(self).update(vars(Found()))
        return taken

    def add(self, other: Found) -> None:
        """Add what another one has found; only members read front to back leave something out."""
        self.extend(other.warnings)
        self.skipped += other.skipped
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
        self.warnings.extend(warnings)

    def warn(self, text: str) -> None:
        """Note something worth knowing."""
        self.warnings.append(text)


def shown(name: bytes) -> str:
    """Return a member's name as text, for a line."""
    return short(os.fsdecode(name))
