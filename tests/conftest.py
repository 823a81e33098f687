"""What tests of several folders share, and the sum of faults that is told at the end."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from .faults import counting
from .help.archives import Works

if TYPE_CHECKING:
    from .help.s3 import Proxy, Storage


def pytest_collection_finish() -> None:
    """Spare whoever looks for garbage what pytest has imported and collected."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Have a process of pytest-xdist say what it has counted."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["faults"] = counting.counted()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add what such a process has counted; one that crashed says nothing."""
    if counted := getattr(node, "workeroutput", {}).get("faults"):
        counting.add(counted)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell the sum."""
    counting.tell(terminalreporter)


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
