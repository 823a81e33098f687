"""Trees, and archives of them."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ...help import trees
from ...help.archives import SUFFIXES, pack
from ...help.places import Place


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with one of every kind; nobody changes it."""
    root = tmp_path_factory.mktemp("zoo") / "zoo"
    trees.build(root, trees.zoo())
    yield root
    subprocess.run(["chmod", "-R", "u+rwx", root], check=False)


@pytest.fixture(scope="module")
def packed(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The zoo as an archive of ours, by suffix."""
    folder = tmp_path_factory.mktemp("packed")
    for suffix in SUFFIXES:
        asyncio.run(pack(zoo, folder / f"zoo{suffix}"))
    return {suffix: folder / f"zoo{suffix}" for suffix in SUFFIXES}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A small tree."""
    tree = tmp_path / "small"
    for name in ("a", "b/c", "b/d.log", "b/keep.log", "e/f/g", "e/x.log"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    return tree


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Afterwards nothing outside has changed, and nothing hidden is left."""
    work, outside = tmp_path / "work", tmp_path / "outside"
    work.mkdir()
    (outside / "sub").mkdir(parents=True)
    (outside / "file").write_bytes(b"outside")
    (outside / "link").symlink_to("file")
    (outside / "sub" / "deeper").write_bytes(b"")
    (outside / "file").chmod(0o604)
    outside.chmod(0o751)
    for path in (outside / "file", outside / "sub", outside):
        os.utime(path, ns=(10**18 + 5, 10**18 + 7))
    before = _snapshot(outside)
    yield Place(work, outside)
    assert _snapshot(outside) == before
    assert sorted(os.listdir(tmp_path)) == ["outside", "work"]
    assert [name for name in os.listdir(work) if name.startswith(".")] == []


def _snapshot(top: Path) -> dict[str, tuple[Any, ...]]:
    """All that can change; ``st_ctime_ns`` tells of changes that were undone."""
    found = {}
    for path in [top, *top.rglob("*")]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        if path.is_symlink():
            content = os.fsencode(os.readlink(path))
        found[str(path)] = (*status[:7], status.st_mtime_ns, status.st_ctime_ns, content)
    return found
