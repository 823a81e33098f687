"""Every codec, and both libraries that read DEFLATE."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from aiocompress.formats import FORMATS
from aiocompress.formats.base import Format

from ..help.codecs import READERS
from ..help.tools import without_isal


@pytest.fixture(params=["isal", "zlib"])
def library(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both libraries that read DEFLATE."""
    with nullcontext() if request.param == "isal" else without_isal():
        yield request.param


@pytest.fixture(params=READERS)
def codec(request: pytest.FixtureRequest) -> Iterator[Format]:
    """Every codec, and those of DEFLATE also with the standard library alone."""
    name, _, alone = request.param.partition(" ")
    if alone:
        with without_isal():
            yield FORMATS[name]
    else:
        yield FORMATS[name]
