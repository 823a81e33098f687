"""The house: its map is the order of imports, and every folder stays small enough to know."""

from __future__ import annotations

import ast
import importlib.util
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import aiocompress

ROOT = Path(__file__).parent.parent
HOUSE = Path(aiocompress.__file__).parent
FOLDERS = sorted(path.parent for path in HOUSE.rglob("__init__.py"))
MODULES = sorted(HOUSE.rglob("*.py"))
MOST_ENTRIES = 11
"""What can be known by heart, beside ``__init__`` and ``__main__``: ``errors``, ``model``, five
families, and four doors."""
MOST_LINES = 450
LONGER = {"api/engine.py"}
"""Every verb's arguments are spelled out there, and described."""


def named(path: Path) -> str:
    return str(path.relative_to(HOUSE))


def contracts() -> list[dict[str, Any]]:
    """What import-linter holds the code to."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return found


def floors() -> list[set[str]]:
    """The floors from the roof down, as the contract of layers has them."""
    (contract,) = [one for one in contracts() if one["type"] == "layers"]
    assert contract["containers"] == ["aiocompress"]
    return [set(row.split(" | ")) for row in contract["layers"]]


def drawn() -> list[set[str]]:
    """The floors from the roof down, as the package's docstring draws them."""
    rows = re.findall(r"^    (\w+(?: \| \w+)*)(?:  .*)?$", str(aiocompress.__doc__), re.MULTILINE)
    return [set(row.split(" | ")) for row in rows]


def test_the_map_is_the_order_of_imports() -> None:
    """The map in the package's docstring is the contract that import-linter checks."""
    assert drawn() == floors()


def test_the_map_shows_all_there_is() -> None:
    """No module or folder of the package stands on no floor."""
    shown = {name for floor in drawn() for name in floor}
    assert shown == {module.name for module in pkgutil.iter_modules(aiocompress.__path__)}


def test_no_import_is_an_exception() -> None:
    """The contracts hold for every import, without a list of those that break them."""
    assert all(not name.startswith("ignore") for one in contracts() for name in one)


def test_imports_keep_the_contracts() -> None:
    """import-linter finds none broken."""
    if importlib.util.find_spec("importlinter") is None:
        pytest.skip("import-linter is missing; it comes with the extra [lint]")
    code = "from importlinter.cli import lint_imports_command as lint; lint(['--no-cache'])"
    done = subprocess.run(
        (sys.executable, "-c", code),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(HOUSE.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("folder", FOLDERS, ids=named)
def test_every_folder_says_what_it_is_for(folder: Path) -> None:
    """The first thing to read in a folder is the docstring of its ``__init__``."""
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))


def test_the_top_is_small() -> None:
    """Few enough modules and folders at the top to be known by heart."""
    entries = {module.name for module in pkgutil.iter_modules([str(HOUSE)])} - {"__main__"}
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


@pytest.mark.parametrize("module", MODULES, ids=named)
def test_every_module_is_short(module: Path) -> None:
    """What is longer holds more than one thing."""
    lines = len(module.read_text().splitlines())
    assert lines <= MOST_LINES or named(module) in LONGER


def test_importing_starts_nothing() -> None:
    """Importing the package loads no door, and starts neither a thread nor a process."""
    code = """
import sys, threading
from aiocompress import Engine
names = tuple(f"aiocompress.{door}" for door in ("cli", "sync", "web"))
doors = {name for name in sys.modules if name.startswith(names)}
assert not doors, doors
assert threading.active_count() == 1
assert "multiprocessing.forkserver" not in sys.modules
assert "asyncio.events" in sys.modules
"""
    environment = os.environ | {"PYTHONPATH": str(HOUSE.parent)}
    subprocess.run((sys.executable, "-c", code), env=environment, check=True, timeout=60)
