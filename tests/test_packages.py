"""What is built of the repository can be installed, and is whole."""

from __future__ import annotations

import os
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from .help.tools import module, run

ROOT = Path(__file__).parents[1]
PAGE = "share/man/man1/aiocompress.1"

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build the wheel and the sdist."""
    module("build")
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, ROOT)
    return {path.name.split(".")[-1]: path for path in out.iterdir()}


def test_what_is_in_them(built: dict[str, Path]) -> None:
    """All that is needed at run time, the manual page, and in the sdist the tests."""
    with zipfile.ZipFile(built["whl"]) as wheel:
        names = wheel.namelist()
    assert any(name.endswith(f".data/data/{PAGE}") for name in names)
    assert {"aiocompress/py.typed", "aiocompress/web/templates/base.html"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "examples/"))]
    with tarfile.open(built["gz"]) as sdist:
        files = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"tests/test_packages.py", "examples/quickstart.py", ".ci/run", "LICENSE"} <= files


@pytest.mark.parametrize("kind", ["whl", "gz"])
def test_each_can_be_installed(kind: str, built: dict[str, Path], tmp_path: Path) -> None:
    """The program runs in an environment of its own, and its manual page is there."""
    run(sys.executable, "-m", "venv", "--system-site-packages", tmp_path)
    python = tmp_path / "bin" / "python"
    install = ("-m", "pip", "install", "-q", "--no-deps", "--force-reinstall")
    run(python, *install, built[kind])
    said = run("env", "-u", "PYTHONPATH", "-C", "/", tmp_path / "bin" / "aiocompress", "--version")
    assert said.startswith(b"aiocompress ")
    assert os.path.exists(tmp_path / PAGE)
