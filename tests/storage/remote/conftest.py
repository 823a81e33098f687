"""What the tests of objects elsewhere share."""

from __future__ import annotations

import pytest

from aiocompress.storage.remote import retries


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a hundredth as long before a request is made again."""
    monkeypatch.setattr(retries, "_FIRST", retries._FIRST / 100)
