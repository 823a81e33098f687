"""Both libraries that read DEFLATE."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from ..help.tools import without_isal


@pytest.fixture(params=["isal", "zlib"])
def library(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both libraries that read DEFLATE."""
    with nullcontext() if request.param == "isal" else without_isal():
        yield request.param
