"""Programs and modules of others, and the places that tests run in."""

from __future__ import annotations

import functools
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import aiocompress
from aiocompress.formats import deflate as inflate

LIBRARY = os.environ | {
    "PYTHONPATH": str(Path(aiocompress.__file__).parents[1]),
    "PYTHONDONTWRITEBYTECODE": "1",
}
"""The environment of an interpreter that is to find the library where this one does."""


def tool(name: str) -> str:
    """Return the path of a command; without it the test is skipped, and fails in CI."""
    return shutil.which(name) or _missing(f"the command {name}")


def module(name: str) -> Any:
    """Return a module; without it the test is skipped, and fails in CI."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return _missing(f"the module {name}")


def _missing(what: str) -> Any:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is missing")


@functools.cache
def _nobody() -> tuple[str, ...] | None:
    """Return what runs a command as a user without rights; None: that one cannot run ours."""
    if os.geteuid():
        return ()
    who = (tool("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups")
    code = "import aiocompress.cli.commands, aiocompress.verbs.folders, uvloop"
    command = (*who, sys.executable, "-c", code)
    done = subprocess.run(command, env=LIBRARY, cwd="/", capture_output=True, check=False)
    return None if done.returncode else who


def nobody() -> tuple[str, ...]:
    """Return what runs a command as a user without rights; without one the test is skipped."""
    who = _nobody()
    if who is None:
        pytest.skip("this interpreter, or this checkout, is for its owner alone")
    return who


def run(*command: str | Path, data: bytes = b"", **options: Any) -> bytes:
    """Run a command with ``data`` on its stdin; returns its stdout, and fails where it fails."""
    options |= {"input": data, "capture_output": True, "timeout": 60}
    done = subprocess.run(command, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}: {done.stderr.decode()}"
    return done.stdout


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[None]:
    """Make a folder a file system of its own: ``options`` of tmpfs say how large."""
    folder.mkdir(exist_ok=True)
    mount = ("mount", "-t", "tmpfs", "-o", options, "none", folder)
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield
    finally:
        subprocess.run(("umount", "-l", folder), check=True)


@contextmanager
def without_isal() -> Iterator[None]:
    """Make ISA-L look as if it were not installed."""
    name = "isal.isal_zlib"
    saved = sys.modules.pop(name, None)
    sys.modules[name] = None  # type: ignore[assignment]
    inflate.inflater.cache_clear()
    try:
        yield
    finally:
        del sys.modules[name]
        if saved is not None:
            sys.modules[name] = saved
        inflate.inflater.cache_clear()
