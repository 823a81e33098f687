"""The restorer: members become files below one folder, and nothing outside is touched."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress.errors import UnsafeMemberError
from aiocompress.storage.restorer import CONFLICTS, FATAL, Keeping, Restorer, checked

from ..help.trees import look
from .helping import as_root, descriptors, no_more_descriptors, opened

SECOND = 1_000_000_000
CREATED = 0o644, 10**18


@contextmanager
def restoring(folder: Path, *, preserve: bool = False) -> Iterator[Restorer]:
    """A restorer for a folder, closed in the end."""
    with opened(folder) as root:
        restorer = Restorer(root, Keeping(preserve))
        try:
            yield restorer
        finally:
            restorer.close()


@pytest.fixture
def restorer(tmp_path: Path) -> Iterator[Restorer]:
    """One for ``tmp_path``, which leaves no descriptor open."""
    before = descriptors()
    with restoring(tmp_path) as made:
        yield made
    assert descriptors() == before


def write(restorer: Restorer, name: bytes, data: bytes = b"data") -> None:
    restorer.write_file(name, memoryview(data), *CREATED)


# Names.


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"a", b"a"),
        (b"a/b", b"a/b"),
        (b"/a", b"a"),
        (b"//a//b//", b"a/b"),
        (b"./a/./b/.", b"a/b"),
        (b"", b""),
        (b".", b""),
        (b"/", b""),
        (b"./", b""),
        (b"...", b"..."),
        (b".a", b".a"),
        (b"a/.b", b"a/.b"),
        (b"..a/b..", b"..a/b.."),
        (b"\xff\n\x1b", b"\xff\n\x1b"),
        (b"x" * 255, b"x" * 255),
        (b"/".join([b"x" * 100] * 40), b"/".join([b"x" * 100] * 40)),
    ],
)
def test_names(name: bytes, expected: bytes) -> None:
    """What means nothing is taken off a name, a leading slash, too."""
    assert checked(name) == expected


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b"..", "leads out"),
        (b"../a", "leads out"),
        (b"a/..", "leads out"),
        (b"a/../b", "leads out"),
        (b"/../a", "leads out"),
        (b"./../a", "leads out"),
        (b"a//..", "leads out"),
        (b"a/b/../..", "leads out"),
        (b"a\0b", "zero byte"),
        (b"a/b\0", "zero byte"),
        (b"x" * 256, "longer"),
        (b"a/" + b"x" * 256, "longer"),
        (b"/".join([b"x" * 100] * 41), "longer"),
        (b"a/" * 3000, "longer"),
    ],
)
def test_unsafe_names(name: bytes, reason: str) -> None:
    """A name that leads elsewhere, or that no system takes, is refused, and never mended."""
    with pytest.raises(UnsafeMemberError, match=reason):
        checked(name)


@given(st.lists(st.sampled_from([b"/", b".", b"..", b"a", b"\0", b"x" * 130]), max_size=12))
def test_any_name(parts: list[bytes]) -> None:
    """Whatever the name, what comes of it leads down, and stays as it is."""
    name = b"".join(parts)
    try:
        place = checked(name)
    except UnsafeMemberError:
        assert b".." in name.split(b"/") or b"\0" in name or len(name) > 255
        return
    assert checked(place) == place
    if place:
        assert not {b"", b".", b".."} & set(place.split(b"/"))
    kept = [part for part in name.split(b"/") if part not in {b"", b"."}]
    assert place == b"/".join(kept)


# What is made.


def test_file(restorer: Restorer, tmp_path: Path) -> None:
    """A file has its content, its mode and its time; folders above it are made."""
    restorer.write_file(b"a/b/c", memoryview(b"data"), 0o640, 10**18 + 123_456_789)
    path = tmp_path / "a" / "b" / "c"
    assert path.read_bytes() == b"data"
    status = path.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o640, 10**18 + 123_456_789)


def test_file_in_parts(restorer: Restorer, tmp_path: Path) -> None:
    """One that is written by and by gets the same at its end; others may be made meanwhile."""
    descriptor = restorer.create(b"a/large", 0o600)
    os.write(descriptor, b"da")
    write(restorer, b"b/small")
    os.write(descriptor, b"ta")
    restorer.finish(descriptor, 0o600, 5 * SECOND)
    os.close(descriptor)
    status = (tmp_path / "a" / "large").stat()
    assert (status.st_size, status.st_mtime_ns) == (4, 5 * SECOND)
    assert (tmp_path / "b" / "small").read_bytes() == b"data"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
@pytest.mark.parametrize(
    ("mode", "expected", "kept"),
    [
        (0o644, 0o644, 0o644),
        (0o000, 0o400, 0o400),
        (0o077, 0o477, 0o477),
        (0o4755, 0o755, 0o4755),
        (0o7777, 0o777, 0o7777),
        (0o200, 0o600, 0o600),
    ],
)
def test_modes(tmp_path: Path, mask: int, mode: int, expected: int, kept: int) -> None:
    """Special bits go unless they are asked for; the owner can always read; no umask counts."""
    before = os.umask(mask)
    try:
        for name, preserve, wanted in ((b"plain", False, expected), (b"kept", True, kept)):
            with restoring(tmp_path, preserve=preserve) as restorer:
                restorer.write_file(name, memoryview(b""), mode, 0, (os.geteuid(), os.getegid()))
                restorer.make_folder(name + b".d")
                restorer.set_folder(name + b".d", mode, 0, (os.geteuid(), os.getegid()))
            found = (tmp_path / os.fsdecode(name)).stat()
            assert stat.S_IMODE(found.st_mode) == wanted
            found = (tmp_path / os.fsdecode(name + b".d")).stat()
            assert stat.S_IMODE(found.st_mode) == wanted | 0o500
    finally:
        os.umask(before)


@pytest.mark.parametrize("time", [0, -1, -(10**18), 10**18 + 1, 1 << 80, -(1 << 80)])
def test_times(restorer: Restorer, tmp_path: Path, time: int) -> None:
    """A time that the system has is set exactly; any other is no error."""
    restorer.write_file(b"file", memoryview(b""), 0o644, time)
    restorer.make_symlink(b"link", b"file", time)
    restorer.make_folder(b"folder")
    restorer.set_folder(b"folder", 0o755, time)
    if abs(time) < 1 << 61:
        for name in ("file", "link", "folder"):
            assert (tmp_path / name).lstat().st_mtime_ns == time


def test_links(restorer: Restorer, tmp_path: Path) -> None:
    """A symbolic link says what it is told, a hard link is the same file."""
    write(restorer, b"a/file")
    restorer.make_symlink(b"b/link", b"../../anywhere\xff", 7 * SECOND)
    restorer.make_hardlink(b"c/hard", b"a/file")
    assert os.readlink(os.fsencode(tmp_path / "b" / "link")) == b"../../anywhere\xff"
    assert (tmp_path / "b" / "link").lstat().st_mtime_ns == 7 * SECOND
    assert (tmp_path / "c" / "hard").samefile(tmp_path / "a" / "file")


def test_named_pipe(restorer: Restorer, tmp_path: Path) -> None:
    """What is neither file, folder nor link is made with its mode and time."""
    restorer.make_special(b"a/pipe", stat.S_IFIFO | 0o600, (0, 0))
    restorer.finish_special(b"a/pipe", 0o622, 9 * SECOND, (os.geteuid(), os.getegid()))
    status = (tmp_path / "a" / "pipe").stat()
    assert (stat.filemode(status.st_mode), status.st_mtime_ns) == ("prw--w--w-", 9 * SECOND)


@as_root
def test_owners(tmp_path: Path) -> None:
    """Owners are restored where they are asked for, and only there."""
    for name, preserve, expected in ((b"plain", False, (0, 0)), (b"kept", True, (1234, 4321))):
        with restoring(tmp_path, preserve=preserve) as restorer:
            restorer.write_file(name, memoryview(b""), 0o4755, 0, (1234, 4321))
            restorer.make_folder(name + b".d")
            restorer.set_folder(name + b".d", 0o755, 0, (1234, 4321))
            restorer.make_symlink(name + b".l", b"x", 0, (1234, 4321))
        for more in (b"", b".d", b".l"):
            found = os.lstat(os.fsencode(tmp_path) + b"/" + name + more)
            assert (found.st_uid, found.st_gid) == expected
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o4755  # chown would clear a bit


def test_numbers_that_no_system_has(tmp_path: Path) -> None:
    """An owner or a device out of bounds is refused by name, and is no overflow."""
    with restoring(tmp_path, preserve=True) as restorer:
        restorer.make_folder(b"d")
        for number in (-2, (1 << 32) - 1, 1 << 70):
            with pytest.raises(UnsafeMemberError, match="out of bounds"):
                restorer.write_file(b"f", memoryview(b""), 0o644, 0, (number, 0))
            restorer.remove(b"f")
            with pytest.raises(UnsafeMemberError, match="out of bounds"):
                restorer.make_special(b"x", stat.S_IFCHR | 0o600, (0, number))
            with pytest.raises(UnsafeMemberError, match="out of bounds"):
                restorer.set_folder(b"d", 0o755, 0, (0, number))
    assert os.listdir(tmp_path) == ["d"]


# Folders: modes and times last.


def test_folders_are_set_last(restorer: Restorer, tmp_path: Path) -> None:
    """A folder can be filled, whatever its mode, and has its time when all is in it."""
    restorer.make_folder(b"a")
    restorer.make_folder(b"a/b")
    write(restorer, b"a/b/file")
    restorer.make_folder(b"a")  # once more
    write(restorer, b"a/late")
    for name in (b"a/b", b"a"):
        restorer.set_folder(name, 0o555, 5 * SECOND)
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        status = path.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o555, 5 * SECOND)


def test_last_folder_of_a_name_counts(restorer: Restorer, tmp_path: Path) -> None:
    """Set from the last to the first, a folder that comes twice is as the last one says."""
    restorer.make_folder(b"a")
    restorer.make_folder(b"a")
    restorer.set_folder(b"a", 0o711, 2 * SECOND)
    restorer.set_folder(b"a", 0o755, 1 * SECOND)
    status = (tmp_path / "a").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o711, 2 * SECOND)


def test_folder_of_which_nothing_is_said(restorer: Restorer, tmp_path: Path) -> None:
    """A folder that was made for what is in it is like any new one; it may be spoken of later."""
    before = os.umask(0o027)
    try:
        write(restorer, b"a/b/file")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o750
    restorer.make_folder(b"a")
    restorer.set_folder(b"a", 0o700, SECOND)
    assert (tmp_path / "a").stat().st_mtime_ns == SECOND
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_root_is_left_alone(restorer: Restorer, tmp_path: Path) -> None:
    """The folder itself is not made, and not set: others decide on it."""
    before = tmp_path.stat()
    restorer.make_folder(b"")
    restorer.set_folder(b"", 0o555, 5)
    assert tmp_path.stat().st_mode == before.st_mode


def test_is_folder(restorer: Restorer, tmp_path: Path) -> None:
    """Only a folder is one: no file, and no link to one."""
    restorer.make_folder(b"a/b")
    write(restorer, b"file")
    (tmp_path / "link").symlink_to("a")
    found = [restorer.is_folder(name) for name in (b"", b"a", b"a/b", b"file", b"link", b"no/no")]
    assert found == [True, True, True, False, False, False]


# Two members want the same place.


def conflicts(function: Callable[..., object], *arguments: object) -> None:
    """Assert that it fails as something does whose place is taken."""
    with pytest.raises(OSError, match=r".") as caught:
        function(*arguments)
    assert caught.value.errno in CONFLICTS
    assert caught.value.errno not in FATAL


def test_conflicts(restorer: Restorer, tmp_path: Path) -> None:
    """What is there is never opened for writing, nor replaced, nor taken for a folder."""
    write(restorer, b"file", b"first")
    restorer.make_folder(b"folder")
    restorer.make_symlink(b"link", b"folder", 0)
    write(restorer, b"other")
    for name in (b"file", b"folder", b"link"):
        conflicts(write, restorer, name)
        conflicts(restorer.create, name, 0o644)
        conflicts(restorer.make_symlink, name, b"x", 0)
        conflicts(restorer.make_hardlink, name, b"other")
        conflicts(restorer.make_special, name, stat.S_IFIFO | 0o600, (0, 0))
        conflicts(restorer.make_placeholder, name, 1)
    for name in (b"file", b"link"):
        conflicts(write, restorer, name + b"/x")
        conflicts(restorer.make_folder, name)
        conflicts(restorer.make_folder, name + b"/x")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert os.listdir(tmp_path / "folder") == []


def test_remove(restorer: Restorer, tmp_path: Path) -> None:
    """A place is cleared of a file, a link or an empty folder; a full folder stays."""
    write(restorer, b"file")
    restorer.make_folder(b"empty")
    restorer.make_symlink(b"link", b"full", 0)
    write(restorer, b"full/safe")
    for name in (b"file", b"empty", b"link", b"missing", b"empty"):
        restorer.remove(name)
    with pytest.raises(OSError, match="not empty"):
        restorer.remove(b"full")
    assert list(look(tmp_path)) == [b"full", b"full/safe"]


def test_folders_are_kept_open(restorer: Restorer) -> None:
    """Members of one folder share its descriptor; those above it stay open, and no others."""
    before = len(descriptors())
    for number in range(5):
        write(restorer, b"a/b/%d" % number)
        assert len(descriptors()) == before + 2
    write(restorer, b"a/x")
    assert len(descriptors()) == before + 1
    write(restorer, b"c/d/e/x")
    assert len(descriptors()) == before + 3
    write(restorer, b"x")
    assert len(descriptors()) == before
    restorer.close()
    write(restorer, b"a/b/late")


def test_removed_folders_are_not_kept_open(restorer: Restorer, tmp_path: Path) -> None:
    """What takes the place of a folder is where later members go, or stops them."""
    write(restorer, b"a/b/c/old")
    assert restorer.empty(b"a/b")
    write(restorer, b"a/b/c/new")
    assert restorer.empty(b"a")
    restorer.remove(b"a")
    write(restorer, b"a/b/file")
    assert sorted(look(tmp_path)) == [b"a", b"a/b", b"a/b/file"]
    restorer.remove(b"a/b/file")
    restorer.remove(b"a/b")
    restorer.make_symlink(b"a/b", b".", 0)
    conflicts(write, restorer, b"a/b/file")


def test_no_more_descriptors(restorer: Restorer, tmp_path: Path) -> None:
    """Too few descriptors are an error that meets all members, and leave nothing open."""
    restorer.make_folder(b"a")
    before = descriptors()
    with no_more_descriptors(), pytest.raises(OSError, match="Too many open files") as caught:
        write(restorer, b"a/file")
    assert caught.value.errno in FATAL
    assert descriptors() == before
    write(restorer, b"a/file")
    assert (tmp_path / "a" / "file").read_bytes() == b"data"


# Places that are kept for links.


def test_placeholder(restorer: Restorer, tmp_path: Path) -> None:
    """A place is kept by a file that nobody can read, and known by its number."""
    restorer.make_placeholder(b"a/link", 7)
    restorer.make_placeholder(b"a/other", 8)
    assert restorer.holds_place(b"a/link", 7)
    assert not restorer.holds_place(b"a/link", 8)
    status = (tmp_path / "a" / "link").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_size) == (0, 0)
    restorer.remove(b"a/link")
    restorer.make_symlink(b"a/link", b"x", 0)
    assert not restorer.holds_place(b"a/link", 7)
    assert restorer.holds_place(b"a/other", 8)


def test_target_of_a_placeholder(restorer: Restorer, tmp_path: Path) -> None:
    """What a kept link will lead to is known, though nobody can read the file that keeps it."""
    restorer.make_placeholder(b"a/link", 7, b"../\xff target")
    restorer.make_placeholder(b"a/long", 8, b"x" * 5000)
    restorer.make_placeholder(b"a/none", 9)
    write(restorer, b"file")
    assert restorer.kept_target(b"a/link") == b"../\xff target"
    assert restorer.kept_target(b"a/long") == b"x" * 4096
    assert restorer.kept_target(b"a/none") == b""
    for name in (b"", b"a", b"file", b"missing", b"missing/x", b"file/x", b"a/link/x"):
        assert restorer.kept_target(name) is None
    assert restorer.holds_place(b"a/link", 7)
    assert stat.S_IMODE((tmp_path / "a" / "link").stat().st_mode) == 0


def test_emptied(restorer: Restorer, tmp_path: Path) -> None:
    """A folder loses all that is in it, at any depth; nothing else loses anything."""
    write(restorer, b"full/a/b/file")
    restorer.make_symlink(b"full/link", b"../file", 0)
    write(restorer, b"file")
    restorer.make_symlink(b"link", b"full", 0)
    restorer.make_folder(b"empty")
    for name in (b"file", b"link", b"empty", b"missing", b"file/x"):
        assert not restorer.empty(name)
    assert restorer.empty(b"full")
    assert sorted(look(tmp_path)) == [b"empty", b"file", b"full", b"link"]


def test_placeholder_whose_place_was_taken(restorer: Restorer, tmp_path: Path) -> None:
    """A file, a folder or a link there, or nothing, does not hold the place."""
    write(restorer, b"file")
    os.utime(tmp_path / "file", ns=(7, 7))
    restorer.make_folder(b"folder")
    restorer.make_symlink(b"link", b"file", 7)
    for name in (b"file", b"folder", b"link", b"missing", b"missing/x", b"file/x", b"link/x"):
        assert not restorer.holds_place(name, 7)


def test_no_file_looks_like_a_placeholder(restorer: Restorer) -> None:
    """An empty file of mode 000 and that time is none: its owner can read it."""
    restorer.write_file(b"file", memoryview(b""), 0, 7)
    assert not restorer.holds_place(b"file", 7)


# Nothing outside.


def test_hard_links_to_what_was_not_extracted(restorer: Restorer, tmp_path: Path) -> None:
    """A hard link leads to what stands here by now, a folder aside, and follows no link."""
    (tmp_path / "link").symlink_to("/etc/hostname")
    (tmp_path / "outside").symlink_to("/etc")
    restorer.make_folder(b"folder")
    restorer.make_placeholder(b"place", 1)
    os.mkfifo(tmp_path / "pipe")
    for target in (
        *(b"outside/hostname", b"missing", b"missing/x", b"folder", b"place", b"new"),
        *(b"link/x", b"pipe/x", b""),
    ):
        with pytest.raises(UnsafeMemberError, match="hard link to something"):
            restorer.make_hardlink(b"new", target)
    assert not (tmp_path / "new").exists()
    restorer.make_hardlink(b"same link", b"link")
    restorer.make_hardlink(b"same pipe", b"pipe")
    restorer.make_hardlink(b"same pipe", b"same pipe")
    for name in ("link", "pipe"):
        assert (tmp_path / f"same {name}").lstat() == (tmp_path / name).lstat()


def outside_of(top: Path) -> tuple[Path, Path]:
    """A folder, and one beside it with something of every kind in it."""
    inside, outside = top / "in", top / "out"
    inside.mkdir()
    (outside / "folder").mkdir(parents=True)
    (outside / "file").write_bytes(b"safe")
    (outside / "empty").mkdir(mode=0o1700)  # like one whose mode is still to be set
    (outside / "empty").chmod(0o1700)
    (outside / "place").touch()
    os.utime(outside / "place", ns=(1, 1))
    (outside / "place").chmod(0)
    for path in (outside, *outside.iterdir()):
        os.utime(path, ns=(1, 1))
    return inside, outside


Step = Callable[[Restorer, bytes, bytes], object]
STEPS: dict[str, Step] = {
    "write_file": lambda restorer, name, _: write(restorer, name),
    "create": lambda restorer, name, _: os.close(restorer.create(name, 0o4777)),
    "make_folder": lambda restorer, name, _: restorer.make_folder(name),
    "set_folder": lambda restorer, name, _: restorer.set_folder(name, 0o777, 5 * SECOND),
    "make_hardlink": lambda restorer, name, other: restorer.make_hardlink(name, other),
    "make_symlink": lambda restorer, name, _: restorer.make_symlink(name, b"../out", 5),
    "make_special": lambda restorer, name, _: restorer.make_special(name, stat.S_IFIFO, (0, 0)),
    "remove": lambda restorer, name, _: restorer.remove(name),
    "make_placeholder": lambda restorer, name, _: restorer.make_placeholder(name, 1),
    "holds_place": lambda restorer, name, _: restorer.holds_place(name, 1),
    "kept_target": lambda restorer, name, _: restorer.kept_target(name),
    "empty": lambda restorer, name, _: restorer.empty(name),
    "is_folder": lambda restorer, name, _: restorer.is_folder(name),
}
LINKS = {
    b"link": b"../out",
    b"file": b"../out/file",
    b"folder": b"../out/folder",
    b"empty": b"../out/empty",
    b"place": b"../out/place",
    b"lost": b"../out/new",
    b"up": b"..",
    b"here": b".",
    b"loop": b"loop",
}
BELOW = (b"", b"/file", b"/folder", b"/empty", b"/place", b"/new", b"/new/new", b"/out/file")


@pytest.mark.parametrize("preserve", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_links_in_the_way(tmp_path: Path, step: str, preserve: bool) -> None:  # noqa: FBT001
    """Whatever link stands on the way or at its end, no step goes through it."""
    inside, outside = outside_of(tmp_path)
    before = look(outside)
    with restoring(inside, preserve=preserve) as restorer:
        for link, target in LINKS.items():
            for below in BELOW:
                with suppress(FileNotFoundError):
                    (inside / os.fsdecode(link)).unlink()
                (inside / os.fsdecode(link)).symlink_to(os.fsdecode(target))
                with suppress(OSError, UnsafeMemberError):
                    STEPS[step](restorer, link + below, b"file")
                assert look(outside) == before, (link, below)
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]
    assert not [path for path in look(inside) if b"/" in path]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(STEPS)),
            st.sampled_from([b"a", b"b", b"a/a", b"a/b", b"b/a", b"a/file", b"b/empty", b"b/new"]),
            st.sampled_from([b"a", b"b", b"a/a", b"a/file", b"b/file"]),
        ),
        max_size=25,
    ),
    st.booleans(),
)
def test_any_steps(steps: list[tuple[str, bytes, bytes]], preserve: bool) -> None:  # noqa: FBT001
    """Whatever is made in whatever order, links first as well, all stays inside."""
    with tempfile.TemporaryDirectory() as name:
        inside, outside = outside_of(Path(name))
        before = look(outside), descriptors()
        with restoring(inside, preserve=preserve) as restorer:
            for step, place, other in steps:
                try:
                    STEPS[step](restorer, place, other)
                except UnsafeMemberError:
                    assert step == "make_hardlink"
                except OSError as error:
                    if error.errno not in {*CONFLICTS, errno.ENOENT, errno.ENOTEMPTY}:
                        raise
        assert (look(outside), descriptors()) == before
        assert sorted(os.listdir(name)) == ["in", "out"]


def test_folder_becomes_a_link_meanwhile(tmp_path: Path) -> None:
    """A folder that somebody else replaces by a link is not followed, now or at the end."""
    inside, outside = outside_of(tmp_path)
    before = look(outside)
    with restoring(inside) as restorer:
        restorer.make_folder(b"a")
        write(restorer, b"a/first")
        write(restorer, b"elsewhere/x")
        (inside / "a").rename(tmp_path / "moved")
        (inside / "a").symlink_to("../out")
        conflicts(write, restorer, b"a/second")
        conflicts(restorer.set_folder, b"a", 0o777, 5)
        assert not restorer.is_folder(b"a")
    assert look(outside) == before


def test_special_file_becomes_a_link_meanwhile(tmp_path: Path) -> None:
    """Owner, mode and time of a pipe are not given to what a link in its place leads to."""
    inside, outside = outside_of(tmp_path)
    before = look(outside)
    with restoring(inside, preserve=True) as restorer:
        restorer.make_special(b"pipe", stat.S_IFIFO | 0o600, (0, 0))
        (inside / "pipe").unlink()
        (inside / "pipe").symlink_to("../out/file")
        with suppress(OSError):
            restorer.finish_special(b"pipe", 0o777, 5 * SECOND, (os.geteuid(), os.getegid()))
    assert look(outside) == before


def test_attributes_of_files_are_those_of_the_file_made(tmp_path: Path) -> None:
    """A file gets its mode and time by its descriptor, whatever stands in its place by then."""
    inside, outside = outside_of(tmp_path)
    before = look(outside)
    with restoring(inside, preserve=True) as restorer:
        descriptor = restorer.create(b"file", 0o644)
        (inside / "file").unlink()
        (inside / "file").symlink_to("../out/file")
        restorer.finish(descriptor, 0o777, 5 * SECOND)
        os.close(descriptor)
    assert look(outside) == before


def test_extended_attributes(tmp_path: Path) -> None:
    """They are restored where they are asked for; one that the system refuses is no error."""
    try:
        os.setxattr(tmp_path, "user.test", b"x")
    except OSError:
        pytest.skip("no extended attributes on this file system")
    xattrs = (("user.a", b"\0\xff"), ("nonsense", b"x"), ("user.b", b""))
    for name, preserve, expected in ((b"plain", False, []), (b"kept", True, ["user.a", "user.b"])):
        with restoring(tmp_path, preserve=preserve) as restorer:
            owner = os.geteuid(), os.getegid()
            restorer.write_file(name, memoryview(b""), 0o644, 0, owner, xattrs)
            restorer.make_folder(name + b".d", xattrs)
        for more in (b"", b".d"):
            path = os.fsencode(tmp_path) + b"/" + name + more
            assert sorted(os.listxattr(path)) == expected
    assert os.getxattr(tmp_path / "kept", "user.a") == b"\0\xff"
