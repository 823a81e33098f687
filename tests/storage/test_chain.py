"""Folders below a root: opened step by step, few at a time, and through no link."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress.storage.chain import MOST_OPEN, Chain
from aiocompress.storage.reach import Reach

from .helping import descriptors, opened

DEEP = 3 * MOST_OPEN


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree in which each of ``a`` and ``b`` is in each of the other, and so far down."""
    root = tmp_path_factory.mktemp("tree")
    for first in ("a", "b"):
        root.joinpath(*[first] * DEEP).mkdir(parents=True)
        root.joinpath(*[first] * MOST_OPEN, "b" if first == "a" else "a", "c").mkdir(parents=True)
    return root


def folders(tree: Path) -> list[str]:
    return [
        "",
        *sorted(os.path.relpath(path, tree) for path, _, _ in os.walk(tree) if path != str(tree)),
    ]


@settings(max_examples=30)
@given(data=st.data())
def test_any_order(tree: Path, data: st.DataObject) -> None:
    """Whatever was opened before, a path leads to its folder; few folders stay open."""
    wanted = data.draw(st.lists(st.sampled_from(folders(tree)), max_size=20))
    before = descriptors()
    with opened(tree) as root, closing(Chain(root, "/")) as chain:
        for folder in wanted:
            expected = os.stat(tree / folder)
            assert os.path.samestat(os.fstat(chain.at(folder)), expected)
            above, name = chain.parent(f"{folder}/x" if folder else "x")
            assert (os.path.samestat(os.fstat(above), expected), name) == (True, "x")
            assert len(descriptors()) <= len(before) + 1 + MOST_OPEN + 1
    assert descriptors() == before


def test_folder_above_stays_open(tree: Path) -> None:
    """However deep, the folder that was asked for just before one in it can still be used."""
    with opened(tree) as root, closing(Chain(root, b"/")) as chain:
        for depth in range(1, DEEP):
            above = chain.at(b"/".join([b"a"] * depth))
            chain.at(b"/".join([b"a"] * (depth + 1)))
            assert os.path.samestat(os.fstat(above), os.stat(tree.joinpath(*["a"] * depth)))


@pytest.mark.parametrize("depth", [1, MOST_OPEN, MOST_OPEN + 1, DEEP])
def test_links_are_not_followed(tmp_path: Path, depth: int) -> None:
    """A link is no folder, wherever it leads; the folders before it can still be opened."""
    folder = tmp_path.joinpath(*["a"] * depth)
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(folder, target_is_directory=True)
    (folder / "file").touch()
    name = "/".join(["a"] * depth)
    with opened(tmp_path) as root, closing(Chain(root, "/")) as chain:
        for wrong in ("link", "file", "missing", "link/a"):
            for path in (f"{name}/{wrong}", f"{name}/{wrong}/x"):
                with pytest.raises(OSError, match=r"."):
                    chain.at(path)
            assert os.path.samestat(os.fstat(chain.at(name)), folder.stat())


def test_whose_root_it_is(tree: Path) -> None:
    """The caller's root stays open, and can be used again; one that was reached is closed."""
    with opened(tree) as root:
        chain = Chain(root, "/")
        chain.at("a/a")
        chain.close()
        assert os.path.samestat(os.fstat(chain.at("a")), (tree / "a").stat())
        chain.close()
        before = descriptors()
        reached = Chain(Reach.of(root, by_path=False), "/")
        assert os.path.samestat(os.fstat(reached.at("b")), (tree / "b").stat())
        reached.close()
        assert descriptors() == before
