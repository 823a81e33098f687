"""The folder that all tests ask for; without the extra [web] there is nothing to test."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from .sample import make_root

if os.environ.get("CI") != "true" and not all(map(find_spec, ("starlette", "jinja2", "httpx"))):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to serve, which nobody changes."""
    return make_root(tmp_path_factory.mktemp("web"))
