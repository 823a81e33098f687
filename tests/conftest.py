"""What tests of several folders share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from .help.archives import Works


@pytest.fixture(scope="module")
def works() -> Iterator[Works]:
    with asyncio.Runner() as runner:
        made = Works(runner)
        yield made
        made(made.engine.aclose())
