"""What the tests of objects elsewhere share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

from aiocompress.storage.remote import requests

if TYPE_CHECKING:
    from ...help.s3 import Proxy, Storage


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a hundredth as long before a request is made again."""
    monkeypatch.setattr(requests, "_FIRST", requests._FIRST / 100)


@pytest.fixture(scope="session")
def server() -> Iterator[Storage]:
    from ...help.s3 import serving

    with serving() as storage:
        yield storage


@pytest.fixture
def storage(server: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """An empty bucket, in which every ``s3://`` URL is."""
    server.use(monkeypatch)
    yield server
    server.clear()


@pytest.fixture
async def proxy(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    """A proxy before it, which counts and fails."""
    from ...help.s3 import Proxy

    async with Proxy(storage) as made:
        storage.use(monkeypatch, made.endpoint)
        yield made
