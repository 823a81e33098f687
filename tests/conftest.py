"""What tests of several folders share, and the sum of faults that is told at the end."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from .faults import counting
from .help.archives import Works


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
