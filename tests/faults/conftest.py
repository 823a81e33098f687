"""What was tried is told at the end."""

from __future__ import annotations

from typing import Any

from . import counting


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell how many faults were made, and what was lost."""
    if not counting.tried:
        return
    terminalreporter.section("faults")
    for kind in sorted(counting.tried | counting.lost):
        note = f" ({counting.notes[kind]})" if kind in counting.notes else ""
        terminalreporter.write_line(
            f"{kind}: {counting.tried[kind]:,} tried, {counting.lost[kind] or 'none'} lost{note}"
        )
    terminalreporter.write_line(
        f"in all: {counting.tried.total():,} tried, {counting.lost.total() or 'none'} lost"
    )
