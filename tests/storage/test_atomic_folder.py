"""Folders that are whole or not there, and how one is merged into another."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress.model import OnExists
from aiocompress.storage import atomic_folder
from aiocompress.storage.atomic_folder import AtomicFolder

from ..help.tools import small_disk
from ..help.trees import Node, Tree, build, check_same, look
from .helping import anybodys_folder, as_root, descriptors, no_more_descriptors, nobody, opened

TREE: Tree = {
    b"a": Node("file", 0o640, 10**18 + 1, b"new a"),
    b"d": Node("directory", 0o750, 10**18 + 2),
    b"d/b": Node("file", 0o400, 10**18 + 3, b"new b"),
    b"d/e": Node("directory", 0o555, 10**18 + 4),
    b"d/e/c": Node("file", 0o644, 10**18 + 5, b"new c"),
    b"l": Node("symlink", 0o777, 10**18 + 6, link=b"/etc/passwd"),
}


@contextmanager
def made(
    path: Path | str, on_exists: OnExists = "error", tree: Tree = TREE
) -> Iterator[AtomicFolder]:
    """A folder in the making with a tree in it, closed in the end."""
    folder = AtomicFolder(str(path), on_exists)
    try:
        build(Path(folder.reach(by_path=True).path), tree)
        yield folder
    finally:
        folder.close()


def write(path: Path, on_exists: OnExists = "error", tree: Tree = TREE) -> int:
    """Make a whole folder; returns how many files were kept."""
    with made(path, on_exists, tree) as folder:
        folder.commit(fsync=False)
        return folder.kept


def visible(folder: Path) -> list[str]:
    """What stands in a folder under a name that somebody chose."""
    return sorted(name for name in os.listdir(folder) if not name.startswith(".aiocompress-"))


# Whole, or not there.


@pytest.mark.parametrize("fsync", [True, False])
def test_name_comes_last(tmp_path: Path, fsync: Any) -> None:
    """Nobody sees the folder before it is whole; then nothing else is left."""
    before = descriptors()
    with made(tmp_path / "new") as folder:
        assert visible(tmp_path) == []
        folder.commit(fsync=fsync)
        check_same(look(tmp_path / "new"), TREE)
    assert os.listdir(tmp_path) == ["new"]
    check_same(look(tmp_path / "new"), TREE)
    assert descriptors() == before


def test_given_up(tmp_path: Path) -> None:
    """A folder that is closed before it is committed leaves nothing, however often it is closed."""
    before = descriptors()
    with made(tmp_path / "new") as folder:
        folder.close()
    assert os.listdir(tmp_path) == []
    assert descriptors() == before


def test_private_while_it_is_made(tmp_path: Path) -> None:
    """Nobody else may look into it before it is whole."""
    with made(tmp_path / "new") as folder:
        assert stat.S_IMODE(os.fstat(folder.descriptor).st_mode) == 0o700
        assert os.path.samestat(
            os.stat(folder.reach(by_path=True).path), os.fstat(folder.descriptor)
        )


@pytest.mark.parametrize(
    ("mask", "mode", "expected"),
    [
        (0o022, None, 0o755),
        (0o077, None, 0o700),
        (0o022, 0o2711, 0o2711),
        (0o077, 0o777, 0o777),
    ],
)
def test_mode(tmp_path: Path, mask: int, mode: int | None, expected: int) -> None:
    """A new folder has the mode that it is told, or that the process gives to new folders."""
    before = os.umask(mask)
    try:
        with made(tmp_path / "new") as folder:
            folder.mode = mode
            folder.commit(fsync=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == expected


# What is there already.


@pytest.mark.parametrize("fill", [{b"x": Node("file")}, {b".x": Node("symlink", 0o777, link=b"n")}])
def test_something_is_in_it(tmp_path: Path, fill: Tree) -> None:
    """A folder with something in it is an error that names it and says what to do."""
    before = descriptors()
    build(tmp_path / "there", fill)
    with pytest.raises(FileExistsError, match="on_exists='replace' replaces") as caught:
        AtomicFolder(str(tmp_path / "there"), "error")
    assert caught.value.filename == str(tmp_path / "there")
    assert list(look(tmp_path)) == [b"there", *(b"there/" + name for name in fill)]
    assert descriptors() == before


@pytest.mark.parametrize("on_exists", ["error", "skip", "replace"])
def test_empty_folder(tmp_path: Path, on_exists: OnExists) -> None:
    """An empty folder is filled, and stays the same one; what a killed run left does not count."""
    there = tmp_path / "there"
    there.mkdir(mode=0o711)
    (there / ".aiocompress-0123456789abcdef.tmp").mkdir()
    inode = there.stat().st_ino
    assert write(there, on_exists) == 0
    found = look(there)
    del found[b".aiocompress-0123456789abcdef.tmp"]
    check_same(found, TREE)
    assert (there.stat().st_ino, stat.S_IMODE(there.stat().st_mode)) == (inode, 0o711)
    assert os.listdir(tmp_path) == ["there"]


def test_empty_folder_is_given_up(tmp_path: Path) -> None:
    """A folder that was there stays, as empty as it was."""
    (tmp_path / "there").mkdir()
    with made(tmp_path / "there"):
        assert visible(tmp_path / "there") == []
    assert list(look(tmp_path)) == [b"there"]


@pytest.mark.parametrize("on_exists", ["error", "skip", "replace"])
@pytest.mark.parametrize("kind", ["file", "lost link", "pipe"])
def test_something_else_is_there(tmp_path: Path, kind: str, on_exists: OnExists) -> None:
    """What is no folder is never replaced by one."""
    path = tmp_path / "there"
    if kind == "file":
        path.write_bytes(b"safe")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere")
    with pytest.raises(NotADirectoryError) as caught:
        AtomicFolder(str(path), on_exists)
    assert caught.value.filename == str(path)
    assert os.listdir(tmp_path) == ["there"]


def test_link_to_a_folder(tmp_path: Path) -> None:
    """A link to a folder stays one, and what it leads to is filled."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link")
    assert os.readlink(tmp_path / "link") == "real"
    check_same(look(tmp_path / "real"), TREE)


def test_no_name(tmp_path: Path) -> None:
    """An empty name is no folder, and neither is one whose folder is missing."""
    with pytest.raises(FileNotFoundError):
        AtomicFolder("", "error")
    with pytest.raises(FileNotFoundError):
        AtomicFolder(str(tmp_path / "no" / "new"), "error")
    assert os.listdir(tmp_path) == []


# What happens meanwhile.


def test_folder_appears_meanwhile(tmp_path: Path) -> None:
    """A folder that somebody fills while ours is made is left alone: ours is the error."""
    with made(tmp_path / "new") as folder:
        build(tmp_path / "new", {b"theirs": Node("file", data=b"safe")})
        with pytest.raises(OSError, match="not empty") as caught:
            folder.commit(fsync=False)
        assert caught.value.filename == str(tmp_path / "new")
    assert list(look(tmp_path)) == [b"new", b"new/theirs"]


def test_file_appears_meanwhile(tmp_path: Path) -> None:
    """So is a file, or a link, that somebody makes."""
    for name in ("file", "link"):
        with made(tmp_path / name) as folder:
            if name == "file":
                (tmp_path / name).write_bytes(b"safe")
            else:
                (tmp_path / name).symlink_to("/etc")
            with pytest.raises(NotADirectoryError) as caught:
                folder.commit(fsync=False)
            assert caught.value.filename == str(tmp_path / name)
    assert list(look(tmp_path)) == [b"file", b"link"]


def test_folder_above_is_moved(tmp_path: Path) -> None:
    """What was begun in a folder stays in it, wherever that is now."""
    (tmp_path / "a").mkdir()
    with made(tmp_path / "a" / "new") as folder:
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "a").mkdir()
        folder.commit(fsync=False)
    assert os.listdir(tmp_path / "a") == []
    check_same(look(tmp_path / "b" / "new"), TREE)


# Merged into a folder with something in it.

OLD: Tree = {
    b"a": Node("file", 0o600, 5, b"old a"),
    b"d": Node("directory", 0o711, 6),
    b"d/e": Node("directory", 0o700, 7),
    b"d/e/c": Node("symlink", 0o777, 8, link=b"nowhere"),
    b"d/e/own": Node("file", 0o600, 9, b"own"),
    b"d/other": Node("file", 0o600, 10, b"other"),
    b"z": Node("directory", 0o555, 11),
}


def test_replacing(tmp_path: Path) -> None:
    """New files take the place of old ones, folders are joined and take after the new ones."""
    build(tmp_path / "there", OLD)
    assert write(tmp_path / "there", "replace") == 0
    found = look(tmp_path / "there")
    check_same(found, dict(sorted((OLD | TREE).items())))


def test_skipping(tmp_path: Path) -> None:
    """Old files stay, and are counted; folders that were there keep their modes."""
    build(tmp_path / "there", OLD)
    assert write(tmp_path / "there", "skip") == 2
    found, expected = look(tmp_path / "there"), TREE | OLD
    for path in (b"d", b"d/e"):  # something was made in them
        expected[path] = replace(expected[path], mtime_ns=found[path].mtime_ns)
    check_same(found, dict(sorted(expected.items())))


def test_replaced_files_stay_whole_for_who_reads_them(tmp_path: Path) -> None:
    """Nothing is ever written into an old file."""
    build(tmp_path / "there", OLD)
    with open(tmp_path / "there" / "a", "rb") as old:
        write(tmp_path / "there", "replace")
        assert old.read() == b"old a"
    assert (tmp_path / "there" / "a").read_bytes() == b"new a"


@pytest.mark.parametrize("below", ["", "d/"])
def test_folder_where_a_file_belongs(tmp_path: Path, below: str) -> None:
    """A folder is never replaced by a file: the error names it, and what is in it stays."""
    name = os.fsencode(below) + (b"a" if not below else b"b")
    build(
        tmp_path / "there",
        {
            b"d": Node("directory", 0o755),
            name: Node("directory", 0o755),
            name + b"/safe": Node("file"),
        },
    )
    with made(tmp_path / "there", "replace") as folder:
        with pytest.raises(IsADirectoryError, match="a folder is where a file belongs") as caught:
            folder.commit(fsync=False)
        assert str(tmp_path / "there") in str(caught.value.filename)
        assert str(caught.value.filename).endswith(os.fsdecode(name.rpartition(b"/")[2]))
    assert (tmp_path / "there" / os.fsdecode(name) / "safe").exists()


def test_file_where_a_folder_belongs(tmp_path: Path) -> None:
    """A file, or a link to a folder, is replaced by a folder, and nothing goes through the link."""
    (tmp_path / "outside").mkdir()
    build(tmp_path / "there", {b"d": Node("symlink", 0o777, link=b"../outside")})
    assert write(tmp_path / "there", "replace") == 0
    check_same(look(tmp_path / "there"), TREE)
    assert os.listdir(tmp_path / "outside") == []


def test_file_where_a_folder_would_be_skipped(tmp_path: Path) -> None:
    """Where old files stay, a link in the place of a folder stays, and nothing goes through it."""
    (tmp_path / "outside").mkdir()
    build(tmp_path / "there", {b"d": Node("symlink", 0o777, link=b"../outside")})
    assert write(tmp_path / "there", "skip") == 1
    assert list(look(tmp_path / "there")) == [b"a", b"d", b"l"]
    assert os.listdir(tmp_path / "outside") == []


@as_root
def test_folders_that_may_not_be_written() -> None:
    """Folders of ours without that right are merged all the same, and have their modes again."""
    new: Tree = {
        b"d": Node("directory", 0o500, 1),
        b"d/e": Node("directory", 0o500, 2),
        b"d/e/new": Node("file", 0o400, 3, b"new"),
        b"d/f": Node("directory", 0o500, 4),
        b"d/f/x": Node("file", 0o400, 5),
    }
    old: Tree = {b"d": Node("directory", 0o555, 6), b"d/e": Node("directory", 0o555, 7)}
    for on_exists, mode in (("replace", 0o500), ("skip", 0o555)):
        with anybodys_folder() as folder, nobody():
            build(folder / "there", old)
            write(folder / "there", on_exists, new)  # type: ignore[arg-type]
            found = look(folder / "there")
            assert list(found) == list(new)
            assert found[b"d/e/new"].data == b"new"
            assert [found[path].mode for path in (b"d", b"d/e", b"d/f")] == [mode, mode, 0o500]
            for path in (b"d", b"d/e", b"d/f"):
                (folder / "there" / os.fsdecode(path)).chmod(0o700)


def _small_trees() -> st.SearchStrategy[Tree]:
    names = [b"a", b"b", b"a/a", b"a/b", b"b/a", b"a/a/a", b"a/a/b"]
    kinds = st.sampled_from(["file", "directory", "symlink"])

    def tree(kinds: dict[bytes, str], data: bytes) -> Tree:
        found: Tree = {}
        for name, kind in sorted(kinds.items()):
            above = name.rpartition(b"/")[0]
            if not above or (above in found and found[above].kind == "directory"):
                file, link = data if kind == "file" else b"", b"x" if kind == "symlink" else b""
                mode = {"file": 0o644, "directory": 0o755, "symlink": 0o777}[kind]
                found[name] = Node(kind, mode, 5, file, link)
        return found

    return st.builds(tree, st.dictionaries(st.sampled_from(names), kinds), st.binary(max_size=2))


@settings(max_examples=60, deadline=None)
@given(old=_small_trees(), new=_small_trees(), on_exists=st.sampled_from(["skip", "replace"]))
def test_merged(old: Tree, new: Tree, on_exists: OnExists) -> None:
    """Any tree into any other: what was there stays or goes as asked; nothing hidden is left."""
    wrong = any(
        path in old and old[path].kind == "directory" and node.kind != "directory"
        for path, node in new.items()
    )
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "there"
        build(path, old)
        if wrong and on_exists == "replace":
            with pytest.raises(IsADirectoryError):
                write(path, on_exists, new)
            assert not any(b".aiocompress" in found for found in look(path))
            return
        kept = write(path, on_exists, new)
        found = look(path)
    first, second = (new, old) if on_exists == "replace" else (old, new)
    expected = dict(first)
    for one, node in second.items():  # what stands below a file of the other one is not there
        above = [one[:at] for at, letter in enumerate(one) if letter == ord("/")]
        if not any(up in first and first[up].kind != "directory" for up in above):
            expected.setdefault(one, node)
    assert [(one, found[one].kind, found[one].data) for one in found] == [
        (one, expected[one].kind, expected[one].data) for one in sorted(expected)
    ]
    both = [one for one in new if one in old and {new[one].kind, old[one].kind} != {"directory"}]
    assert kept == (0 if on_exists == "replace" else len(both))


# Removing.


@contextmanager
def deep(folder: int, depth: int, name: str = "f" * 20) -> Iterator[None]:
    """A tree deeper than any path may be long, with a file at its end."""
    at = os.dup(folder)
    try:
        for _ in range(depth):
            os.mkdir(name, dir_fd=at)
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=at))
        yield
    finally:
        os.close(at)


def test_deep_tree_is_removed(tmp_path: Path) -> None:
    """A tree deeper than any path may be long goes, with a few descriptors."""
    before = descriptors()
    folder = AtomicFolder(str(tmp_path / "new"), "error")
    with deep(folder.descriptor, 400):
        pass
    folder.close()
    assert os.listdir(tmp_path) == []
    assert descriptors() == before


def test_removed_without_descriptors(tmp_path: Path) -> None:
    """What was made goes also where no descriptor is left for removing it."""
    folder = AtomicFolder(str(tmp_path / "new"), "error")
    with deep(folder.descriptor, 10):
        pass
    with no_more_descriptors():
        folder.close()
    assert os.listdir(tmp_path) == []


def test_begun_without_descriptors(tmp_path: Path) -> None:
    """Too few descriptors leave nothing behind; the error names the folder."""
    before = descriptors()
    with no_more_descriptors(), pytest.raises(OSError, match="Too many open files"):
        AtomicFolder(str(tmp_path / "new"), "error")
    assert os.listdir(tmp_path) == []
    assert descriptors() == before


def test_empty(tmp_path: Path) -> None:
    """All goes but the folder itself; what links lead to stays."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "safe").touch()
    top = tmp_path / "in"
    build(top, {**TREE, b"link": Node("symlink", 0o777, link=b"../outside")})
    os.mkfifo(top / "pipe")
    for number in range(50):
        (top / f"many {number}" / "x").mkdir(parents=True)
    with opened(top) as folder:
        atomic_folder.empty(folder)
        atomic_folder.empty(folder)
    assert list(look(tmp_path)) == [b"in", b"outside", b"outside/safe"]


@as_root
def test_empty_where_rights_are_missing() -> None:
    """Folders of ours that we may not even look into go, too."""
    with anybodys_folder() as top, nobody():
        build(
            top / "in",
            {
                b"a": Node("directory", 0o000),
                b"b": Node("directory", 0o000),
                b"b/c": Node("directory", 0o100),
                b"b/c/d": Node("directory", 0o000),
                b"b/c/d/file": Node("file", 0o000),
            },
        )
        with opened(top / "in") as folder:
            atomic_folder.empty(folder)
        assert list(look(top)) == [b"in"]


# The disk.


def test_free_space(tmp_path: Path) -> None:
    """A plain file system says what it can still take; others are not believed."""
    with small_disk(tmp_path / "disk", "size=1m"):
        with opened(tmp_path / "disk") as folder:
            before = atomic_folder.free_space(folder)
            (tmp_path / "disk" / "file").write_bytes(bytes(300_000))
            after = atomic_folder.free_space(folder)
        assert before is not None
        assert after is not None
        assert before <= 1 << 20
        assert 300_000 <= before - after < 310_000
    with opened("/proc") as folder:
        assert atomic_folder.free_space(folder) is None
    with small_disk(tmp_path / "unlimited", "size=0"), opened(tmp_path / "unlimited") as folder:
        assert atomic_folder.free_space(folder) is None


def test_sync_all(tmp_path: Path) -> None:
    """A whole file system can be synced by any folder in it."""
    with opened(tmp_path) as folder:
        atomic_folder.sync_all(folder)
    with pytest.raises(OSError, match=re.escape(os.strerror(9))):
        atomic_folder.sync_all(-1)
