"""The folder that all tests ask for, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..help.tools import module
from .sample import make_root

for name in ("starlette", "jinja2", "httpx"):
    module(name)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to serve, which nobody changes."""
    return make_root(tmp_path_factory.mktemp("web"))
