"""What was tried is told at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from . import counting
from .waiting import TEXT


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


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A file that takes SLOW more than a second."""
    path = tmp_path / "big"
    path.write_bytes(TEXT)
    return path
