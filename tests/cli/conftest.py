"""Every test runs in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from .sample import LARGE, SMALL


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a small and a large file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").write_bytes(SMALL)
    (tmp_path / "large").write_bytes(LARGE)
    return tmp_path
