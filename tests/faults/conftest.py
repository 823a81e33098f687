"""A file for tests that disturb what works on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from .waiting import TEXT


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A file that takes SLOW more than a second."""
    path = tmp_path / "big"
    path.write_bytes(TEXT)
    return path
