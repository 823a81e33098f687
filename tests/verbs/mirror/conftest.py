"""Where trees come from and go to."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty folder."""
    path = tmp_path / "source"
    path.mkdir()
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """What is not there yet."""
    return tmp_path / "out"
