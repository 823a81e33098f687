"""What tests of several folders share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

from .help.archives import Works

if TYPE_CHECKING:
    from .help.s3 import Proxy, Storage


@pytest.fixture(scope="module")
def works() -> Iterator[Works]:
    with asyncio.Runner() as runner:
        made = Works(runner)
        yield made
        made(made.engine.aclose())


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Storage]:
    from .help.s3 import serving

    with serving() as storage:
        yield storage


@pytest.fixture
def storage(s3_server: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """An empty bucket, in which every ``s3://`` URL is."""
    s3_server.use(monkeypatch)
    yield s3_server
    s3_server.clear()


@pytest.fixture
async def proxy(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    """A proxy before it, which counts and fails."""
    from .help.s3 import Proxy

    async with Proxy(storage) as made:
        storage.use(monkeypatch, made.endpoint)
        yield made
