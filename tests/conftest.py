"""What tests of several folders share."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from .help.archives import Works


def pytest_collection_finish() -> None:
    """Spare whoever looks for garbage what pytest has imported and collected."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def works() -> Iterator[Works]:
    with asyncio.Runner() as runner:
        made = Works(runner)
        yield made
        made(made.engine.aclose())
