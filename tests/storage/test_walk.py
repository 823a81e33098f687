"""Walks: everything below a folder, in the order of the names, and never through a link."""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress.storage import walk
from aiocompress.storage.reach import OURS
from aiocompress.storage.walk import Enter, Entry, Excluded, Skip

from ..help.trees import NAMES
from .helping import as_root, descriptors, no_more_descriptors, nobody, opened


def make(root: Path, *names: str) -> Path:
    """Make empty files, and folders where a name ends with a slash."""
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def walked(
    root: Path | bytes,
    prefix: bytes = b"",
    excluded: Excluded | None = None,
    enter: Enter | None = None,
) -> list[Entry | Skip]:
    with opened(root) as folder:
        return list(walk.walk(folder, prefix, excluded, enter))


def names(found: list[Entry | Skip]) -> list[bytes]:
    return [one.name for one in found]


COMPONENTS = st.sampled_from(NAMES) | st.binary(min_size=1, max_size=5).map(
    lambda name: name.translate(bytes.maketrans(b"\0/.", b"01a"))
)

# What is found, and in which order.


def test_order_is_by_name(tmp_path: Path) -> None:
    """Each folder comes before what is in it; names count as bytes, folders as any other."""
    make(tmp_path, "b/x", "b/a/z", "b-", "b.", "B", "a", "c", "\u00e9")
    expected = "B a b b/a b/a/z b/x b- b. c \u00e9"
    assert names(walked(tmp_path)) == [name.encode() for name in expected.split()]


def test_kinds(tmp_path: Path) -> None:
    """It says what is a file or a folder; a link to one is neither."""
    make(tmp_path, "file", "folder/")
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "lost").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    found = {one.name: one for one in walked(tmp_path) if isinstance(one, Entry)}
    assert [name for name, one in found.items() if one.is_file] == [b"file"]
    assert [name for name, one in found.items() if one.is_folder] == [b"folder"]
    assert list(found) == [b"file", b"folder", b"link", b"lost", b"pipe"]


def test_prefix(tmp_path: Path) -> None:
    """All names stand behind the prefix; their last part alone is that in their folder."""
    make(tmp_path, "a/b")
    found = walked(tmp_path, b"top/")
    assert names(found) == [b"top/a", b"top/a/b"]
    assert [one.base for one in found if isinstance(one, Entry)] == [b"a", b"b"]


def test_descriptors_lead_there(tmp_path: Path) -> None:
    """An entry can be looked at from its folder's descriptor, and a folder by its own."""
    make(tmp_path, "a/b/c", "a/d")
    with opened(tmp_path) as folder:
        for one in walk.walk(folder, b""):
            assert isinstance(one, Entry)
            path = tmp_path / os.fsdecode(one.name)
            found = os.stat(one.base, dir_fd=one.parent, follow_symlinks=False)
            assert os.path.samestat(found, path.lstat())
            if one.is_folder:
                assert os.path.samestat(os.fstat(one.descriptor), path.lstat())
        os.fstat(folder)  # stays open


def test_names_that_are_not_text(tmp_path: Path) -> None:
    """Names are bytes, whatever they say."""
    strange = sorted(
        [b"\xff\xfe", b"new\nline", b"a\\b", b" ", b"\x01", b"x" * 255, b"\xed\xb2\x80"]
    )
    for name in strange:
        os.mkdir(os.fsencode(tmp_path) + b"/" + name)
        os.mkdir(os.fsencode(tmp_path) + b"/" + name + b"/" + name)
    found = names(walked(tmp_path))
    assert found == [path for name in strange for path in (name, name + b"/" + name)]


def _model(top: bytes, prefix: bytes) -> Iterator[tuple[bytes, str]]:
    """What the standard library finds there, folder by folder."""
    below = next(os.walk(top), (top, [], []))
    links = {name for name in below[1] if os.path.islink(os.path.join(top, name))}
    for name in sorted(below[1] + below[2]):
        path = os.path.join(top, name)
        if name in below[1] and name not in links:
            yield prefix + name, "folder"
            yield from _model(path, prefix + name + b"/")
        else:
            is_file = stat.S_ISREG(os.lstat(path).st_mode)
            yield prefix + name, "file" if is_file else "other"


KINDS: dict[str, Callable[[bytes], object]] = {
    "folder": os.mkdir,
    "file": lambda path: os.close(os.open(path, os.O_CREAT | os.O_WRONLY)),
    "link": lambda path: os.symlink(b"/", path),
    "pipe": os.mkfifo,
}


@settings(max_examples=40, deadline=None)
@given(data=st.data(), most=st.sampled_from([1, 2, 3, 1000]))
def test_as_the_standard_library_walks(data: st.DataObject, most: int) -> None:
    """Any tree: the same names and kinds as ``os.walk``, sorted, however many are kept at once."""
    with tempfile.TemporaryDirectory() as name:
        top = os.fsencode(name)
        folders = [top]
        for _ in range(data.draw(st.integers(0, 12))):
            path = os.path.join(data.draw(st.sampled_from(folders)), data.draw(COMPONENTS))
            kind = data.draw(st.sampled_from(["folder", *KINDS]))
            if not os.path.lexists(path):
                KINDS[kind](path)
                folders += [path] * (kind == "folder")
        with mock.patch.object(walk, "_MOST_NAMES", most):
            found = []
            for one in walked(top, b"in/"):
                assert isinstance(one, Entry)
                kind = "folder" if one.is_folder else "file" if one.is_file else "other"
                found.append((one.name, kind))
        assert found == list(_model(top, b"in/"))


# What is left out.


def test_excluded(tmp_path: Path) -> None:
    """What is excluded is not told, nor is what is in it, and nobody looks inside."""
    make(tmp_path, "a/x", "b/x/y", "b/z", "c")
    asked: list[tuple[bytes, bool]] = []

    def excluded(name: bytes, is_folder: bool) -> bool:  # noqa: FBT001
        asked.append((name, is_folder))
        return name in {b"a", b"b/x", b"c"}

    assert names(walked(tmp_path, excluded=excluded)) == [b"b", b"b/z"]
    assert asked == [(b"a", True), (b"b", True), (b"b/x", True), (b"b/z", False), (b"c", False)]


def test_excluded_behind_a_prefix(tmp_path: Path) -> None:
    """``without_prefix`` has patterns judge names as the caller knows them."""
    make(tmp_path, "a", "b")
    assert walk.without_prefix(None, 3) is None
    excluded = walk.without_prefix(lambda name, _: name == b"a", 4)
    assert names(walked(tmp_path, b"top/", excluded)) == [b"top/b"]


def test_enter_prunes(tmp_path: Path) -> None:
    """A folder that is not entered is not told, nor is what is in it; the root is asked first."""
    make(tmp_path, "a/x", "b/x/y", "b/z", "c")
    (tmp_path / "b" / "link").symlink_to("z")
    asked: list[tuple[bytes, list[bytes] | None]] = []

    def enter(entry: Entry, rows: list[bytes] | None) -> bool:
        assert entry.is_folder
        os.fstat(entry.descriptor)
        asked.append((entry.name, rows and list(rows)))
        return entry.name not in {b"a", b"b/x"}

    assert names(walked(tmp_path, enter=enter)) == [b"b", b"b/link", b"b/z", b"c"]
    assert asked == [
        (b"", [b"da", b"db", b"fc"]),
        (b"a", [b"fx"]),
        (b"b", [b"olink", b"dx", b"fz"]),
        (b"b/x", [b"fy"]),
    ]


def test_enter_refuses_the_root(tmp_path: Path) -> None:
    """Where the root is not entered there is nothing to tell."""
    make(tmp_path, "a")
    assert walked(tmp_path, enter=lambda _, __: False) == []


def test_enter_of_an_empty_folder(tmp_path: Path) -> None:
    """An empty folder has rows, but none in them."""
    make(tmp_path, "a/")
    seen: list[list[bytes] | None] = []
    walked(tmp_path, enter=lambda _, rows: seen.append(rows) is None)
    assert seen == [[b"da"], []]


# What changes, or cannot be looked into.


@pytest.mark.parametrize("becomes", ["link", "file"])
def test_folder_becomes_something_else(tmp_path: Path, becomes: str) -> None:
    """What was a folder when it was listed is told as what it is now, and not followed."""
    inside, outside = make(tmp_path / "in", "a", "b/x", "c"), make(tmp_path / "out", "secret")
    found = []
    with opened(inside) as folder:
        for one in walk.walk(folder, b""):
            found.append(one)
            if one.name == b"a":
                (inside / "b").rename(tmp_path / "moved")
                if becomes == "link":
                    (inside / "b").symlink_to(outside)
                else:
                    (inside / "b").touch()
    assert names(found) == [b"a", b"b", b"c"]
    assert isinstance(found[1], Entry)
    assert (found[1].is_folder, found[1].is_file, found[1].descriptor) == (False, False, -1)


def test_folder_is_moved_away_while_it_is_walked(tmp_path: Path) -> None:
    """The walk goes on in the folder that it entered, and never in what now has its name."""
    inside, outside = make(tmp_path / "in", "b/x", "b/y", "b/z/w"), make(tmp_path / "out", "secret")
    found = []
    with opened(inside) as folder:
        for one in walk.walk(folder, b""):
            found.append(one.name)
            if one.name == b"b/x":
                (inside / "b").rename(tmp_path / "moved")
                (inside / "b").symlink_to(outside)
    assert found == [b"b", b"b/x", b"b/y", b"b/z", b"b/z/w"]


def test_folder_vanishes(tmp_path: Path) -> None:
    """A folder that is gone by now is told as an error, and the walk goes on."""
    make(tmp_path, "a", "b/", "c")
    found = []
    with opened(tmp_path) as folder:
        for one in walk.walk(folder, b"top/"):
            found.append(one)
            if one.name == b"top/a":
                (tmp_path / "b").rmdir()
    assert names(found) == [b"top/a", b"top/b", b"top/c"]
    assert isinstance(found[1], Skip)
    assert found[1].error.errno == errno.ENOENT


@as_root
def test_folder_that_may_not_be_read(tmp_path: Path) -> None:
    """A folder without permission is told as an error, and the walk goes on."""
    make(tmp_path, "a", "b/x", "c/y").chmod(0o755)
    (tmp_path / "b").chmod(0o711)
    with opened(tmp_path) as folder, nobody():
        found = list(walk.walk(folder, b""))
    assert names(found) == [b"a", b"b", b"c", b"c/y"]
    assert isinstance(found[1], Skip)
    assert found[1].error.errno == errno.EACCES


def test_no_more_descriptors(tmp_path: Path) -> None:
    """Too few descriptors are told as an error that is ours, and not the folder's."""
    make(tmp_path, "a", "b/x", "c/y", "d")
    found = []
    with opened(tmp_path) as folder:
        steps = walk.walk(folder, b"")
        found.append(next(steps))
        with no_more_descriptors():
            found.append(next(steps))
        found += steps
    assert names(found) == [b"a", b"b", b"c", b"c/y", b"d"]
    assert isinstance(found[1], Skip)
    assert found[1].error.errno in OURS


# More names than are kept at once.


@pytest.mark.parametrize("number", [2, 3, 4, 6, 7, 30])
def test_more_names_than_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Runs that were put aside are merged: the same order, and nothing lost at their borders."""
    monkeypatch.setattr(walk, "_MOST_NAMES", 3)
    made = sorted(f"{(number * 7919) % 101:03d}" for number in range(number))
    make(tmp_path, *made[: number // 2], *(name + "/x" for name in made[number // 2 :]))
    expected = [*made[: number // 2]]
    for name in made[number // 2 :]:
        expected += [name, name + "/x"]
    assert names(walked(tmp_path)) == [name.encode() for name in expected]


def test_too_many_rows_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``enter`` is asked about a folder of too many names as well, but not told them."""
    monkeypatch.setattr(walk, "_MOST_NAMES", 3)
    make(tmp_path, "few/x", "few/y", "many/x", "many/y", "many/z")
    seen = {}
    found = walked(tmp_path, enter=lambda entry, rows: seen.update({entry.name: rows}) is None)
    assert seen == {b"": [b"dfew", b"dmany"], b"few": [b"fx", b"fy"], b"many": None}
    assert names(found)[-3:] == [b"many/x", b"many/y", b"many/z"]


def test_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is looked at in runs, each of at most that many rows."""
    monkeypatch.setattr(walk, "_MOST_NAMES", 3)
    make(tmp_path, *"abcdefg", "h/")
    with opened(tmp_path) as folder:
        runs = list(walk.scan(folder))
    assert [len(rows) for rows in runs] == [3, 3, 2]
    assert sorted(chain(*runs)) == [b"dh", *(b"f" + bytes([letter]) for letter in b"abcdefg")]


@settings(max_examples=50)
@given(rows=st.lists(st.tuples(st.sampled_from([b"d", b"f", b"o"]), COMPONENTS), max_size=20))
def test_spilled(rows: list[tuple[bytes, bytes]]) -> None:
    """A run that is kept in a file comes back sorted by name, any byte in it."""
    whole = [letter + name for letter, name in rows]
    back = walk.spilled(list(whole)) if whole else iter(())
    assert list(back) == sorted(whole, key=lambda row: row[1:])


def test_spilled_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a part of the file ends, no name is cut."""
    rows = [b"f%d" % (10**number) for number in range(12)]
    for size in range(1, 60):
        monkeypatch.setattr(walk, "_READ_SIZE", size)
        assert list(walk.spilled(list(rows))) == sorted(rows)


# Descriptors.


def test_descriptors_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is open for each level that the walk is in, and one for each run; none in the end."""
    monkeypatch.setattr(walk, "_MOST_NAMES", 3)
    make(tmp_path, *(f"a/{number}/x/y/" for number in range(7)), "b/c/d/e/f/")
    before = descriptors()
    with opened(tmp_path) as folder:
        for one in walk.walk(folder, b""):
            levels = one.name.count(b"/") + 1
            runs = 2 if one.name[:2] in {b"a", b"a/"} else 0  # of seven names
            assert len(descriptors()) - len(before) <= 1 + levels + runs
    assert descriptors() == before


@pytest.mark.parametrize("steps", range(9))
def test_ended_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """A walk that is closed at any entry closes all that it has opened."""
    monkeypatch.setattr(walk, "_MOST_NAMES", 2)
    make(tmp_path, "a/b/c", "a/b/d", "a/b/e", "a/f/", "g")
    before = descriptors()
    with warnings.catch_warnings(), opened(tmp_path) as folder:
        # See ``test_ended_before_a_run_is_read``.
        warnings.simplefilter("ignore", ResourceWarning)
        with closing(walk.walk(folder, b"")) as entries:
            for _ in range(steps):
                next(entries, None)
        os.fstat(folder)
    assert descriptors() == before


def test_ended_before_a_run_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that were put aside and are not wanted any more are closed, and not merely dropped."""
    monkeypatch.setattr(walk, "_MOST_NAMES", 2)
    make(tmp_path, "a/b", "a/c", "a/d")
    with warnings.catch_warnings(record=True) as told, opened(tmp_path) as folder:
        warnings.simplefilter("always")
        with closing(walk.walk(folder, b"")) as entries:
            next(entries)
        del entries
    assert not told


def test_deep_tree(tmp_path: Path) -> None:
    """A tree deeper than any path may be long is walked all the same."""
    depth = 600
    with opened(tmp_path) as root:
        at = os.dup(root)
        for _ in range(depth):
            os.mkdir("f" * 10, dir_fd=at)
            below = os.open("f" * 10, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        os.close(at)
        found = [one.name for one in walk.walk(root, b"")]
    assert found == [b"/".join([b"f" * 10] * (level + 1)) for level in range(depth)]


# The small ones.


def test_is_folder(tmp_path: Path) -> None:
    """A link to a folder is one; what is not there is none; what cannot be told is an error."""
    make(tmp_path, "folder/", "file")
    for name, target in (("link", "folder"), ("lost", "nowhere"), ("loop", "loop")):
        (tmp_path / name).symlink_to(target)
    for name, expected in (("folder", 1), ("link", 1), ("file", 0), ("lost", 0), ("no", 0)):
        assert walk.is_folder(str(tmp_path / name)) == bool(expected)
        assert walk.is_folder(os.fsencode(tmp_path / name)) == bool(expected)
    with pytest.raises(OSError, match="symbolic links"):
        walk.is_folder(str(tmp_path / "loop"))
    with pytest.raises(NotADirectoryError):
        walk.is_folder(str(tmp_path / "file" / "x"))


def test_kind_of(tmp_path: Path) -> None:
    """What is neither file, folder nor link has a name in messages."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server, opened(tmp_path) as folder:
        server.bind(f"/proc/self/fd/{folder}/socket")
    for path, name in (
        (tmp_path / "pipe", "a named pipe"),
        (tmp_path / "socket", "a socket"),
        (Path("/dev/null"), "a device"),
    ):
        assert walk.kind_of(path.stat().st_mode) == name
    assert walk.kind_of(stat.S_IFBLK) == "a device"
    assert "unknown" in walk.kind_of(0)
