"""What the tests of objects elsewhere share."""

from __future__ import annotations

import pytest

from aiocompress.storage.remote import requests


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a hundredth as long before a request is made again."""
    monkeypatch.setattr(requests, "_FIRST", requests._FIRST / 100)
