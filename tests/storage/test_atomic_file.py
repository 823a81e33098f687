"""Files that are whole or not there, whatever happens in between."""

from __future__ import annotations

import errno
import os
import resource
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from aiocompress.model import OnExists
from aiocompress.storage import atomic_file
from aiocompress.storage.atomic_file import AtomicFile

from ..help.data import noise
from ..help.tools import small_disk
from .helping import (
    NOBODY,
    anybodys_folder,
    as_root,
    descriptors,
    no_more_descriptors,
    nobody,
    opened,
)


@pytest.fixture(params=["nameless", "hidden name"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a file that has no name, and where a system has none of those."""
    if request.param == "hidden name":
        monkeypatch.delattr(os, "O_TMPFILE")


_NAMELESS = os.O_TMPFILE
pytestmark = pytest.mark.usefixtures("either_way")


@contextmanager
def made(path: Path, on_exists: OnExists = "error") -> Iterator[AtomicFile]:
    """A file in the making, closed in the end."""
    file = AtomicFile(str(path), on_exists)
    try:
        yield file
    finally:
        file.close()


def commit(file: AtomicFile, like: Any = None, *, fsync: bool = False) -> None:
    file.commit(like, fsync)


def write(path: Path, data: bytes, on_exists: OnExists = "error", like: Any = None) -> None:
    """Write a whole file."""
    with made(path, on_exists) as file:
        file.write((data,))
        commit(file, like)


def visible(folder: Path) -> list[str]:
    """What stands in a folder under a name that somebody chose."""
    return sorted(name for name in os.listdir(folder) if not name.startswith(".aiocompress-"))


# Whole, or not there.


@pytest.mark.parametrize("fsync", [True, False])
def test_name_comes_last(tmp_path: Path, fsync: Any) -> None:
    """Nobody sees the file before it is whole; then nothing else is left."""
    before = descriptors()
    with made(tmp_path / "file") as file:
        for data in (b"abc", b"", b"defg"):
            file.write((data,))
            file.sync()
            assert visible(tmp_path) == []
        assert file.position == 7
        commit(file, fsync=fsync)
        assert visible(tmp_path) == ["file"]
        assert (tmp_path / "file").read_bytes() == b"abcdefg"
    assert os.listdir(tmp_path) == ["file"]
    assert descriptors() == before


def test_given_up(tmp_path: Path) -> None:
    """A file that is closed before it is committed leaves nothing, however often it is closed."""
    before = descriptors()
    with made(tmp_path / "file") as file:
        file.write((b"abc",))
        file.close()
    assert os.listdir(tmp_path) == []
    assert descriptors() == before


def test_private_while_it_is_written(tmp_path: Path) -> None:
    """Nobody else may read it before it is whole."""
    with made(tmp_path / "file") as file:
        assert stat.S_IMODE(os.fstat(file.descriptor).st_mode) == 0o600


def test_many_buffers(tmp_path: Path) -> None:
    """Any number of buffers of any kind is written in one call."""
    parts = [noise(number % 50, number) for number in range(3000)]
    with made(tmp_path / "file") as file:
        file.write((bytearray(b"a"), memoryview(b"b"), b"c"))
        file.write(tuple(parts))
        file.write(())
        commit(file)
    assert (tmp_path / "file").read_bytes() == b"abc" + b"".join(parts)


def test_written_by_others(tmp_path: Path) -> None:
    """Workers write at their own offsets; the file ends where the position is."""
    with made(tmp_path / "file") as file:
        os.pwrite(file.descriptor, b"0123456789", 0)
        file.position += 4
        file.write((b"ab",))
        commit(file)
    assert (tmp_path / "file").read_bytes() == b"0123ab"


def test_holes(tmp_path: Path) -> None:
    """Where nobody wrote are zeros, at the end, too."""
    with made(tmp_path / "file") as file:
        file.position = 5
        file.write((b"ab",))
        file.position += 3
        commit(file)
    assert (tmp_path / "file").read_bytes() == b"\0\0\0\0\0ab\0\0\0"


# What is there already.


@pytest.mark.parametrize("on_exists", ["error", "skip"])
def test_exists(tmp_path: Path, on_exists: OnExists) -> None:
    """A file that is there is an error that names it, before anything is made."""
    before = descriptors()
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(FileExistsError) as caught:
        AtomicFile(str(tmp_path / "file"), on_exists)
    assert caught.value.filename == str(tmp_path / "file")
    assert (os.listdir(tmp_path), (tmp_path / "file").read_bytes()) == (["file"], b"old")
    assert descriptors() == before


def test_appears_meanwhile(tmp_path: Path) -> None:
    """A file that somebody makes while ours is written is left alone: ours is the error."""
    with made(tmp_path / "file") as file:
        file.write((b"new",))
        (tmp_path / "file").write_bytes(b"theirs")
        with pytest.raises(FileExistsError) as caught:
            commit(file)
    assert caught.value.filename == str(tmp_path / "file")
    assert (os.listdir(tmp_path), (tmp_path / "file").read_bytes()) == (["file"], b"theirs")


def test_replace(tmp_path: Path) -> None:
    """The older file is there until the new one is whole; who has it open reads on in it."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with open(path, "rb") as old, made(path, "replace") as file:
        file.write((b"new",))
        assert path.read_bytes() == b"old"
        commit(file)
        assert path.read_bytes() == b"new"
        assert old.read() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_replace_is_given_up(tmp_path: Path) -> None:
    """The older file stays as it was."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    before = path.stat()
    with made(path, "replace") as file:
        file.write((b"new",))
    after = path.stat()
    assert (os.listdir(tmp_path), path.read_bytes()) == (["file"], b"old")
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_replace_nothing(tmp_path: Path) -> None:
    """There need not be anything to replace."""
    write(tmp_path / "file", b"new", "replace")
    assert (os.listdir(tmp_path), (tmp_path / "file").read_bytes()) == (["file"], b"new")


@pytest.mark.parametrize("on_exists", ["error", "replace"])
def test_folder_is_there(tmp_path: Path, on_exists: OnExists) -> None:
    """A folder is never replaced, also not one that somebody makes meanwhile."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        AtomicFile(str(tmp_path / "folder"), on_exists)
    assert caught.value.filename == str(tmp_path / "folder")
    with made(tmp_path / "late", on_exists) as file:
        file.write((b"new",))
        (tmp_path / "late").mkdir()
        with pytest.raises(OSError, match="late"):
            commit(file)
    assert sorted(os.listdir(tmp_path)) == ["folder", "late"]


# Links.


def test_link_stays(tmp_path: Path) -> None:
    """A link as destination stays one, and the file that it leads to is replaced."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("there/file")
    with pytest.raises(FileExistsError) as caught:
        AtomicFile(str(tmp_path / "link"), "error")
    assert caught.value.filename == str(tmp_path / "link")
    write(tmp_path / "link", b"new", "replace")
    assert os.readlink(tmp_path / "link") == "there/file"
    assert (tmp_path / "there" / "file").read_bytes() == b"new"
    assert (os.listdir(tmp_path / "there"), len(os.listdir(tmp_path))) == (["file"], 2)


def test_link_to_nothing(tmp_path: Path) -> None:
    """A link that leads nowhere leads to the new file then."""
    (tmp_path / "link").symlink_to("file")
    write(tmp_path / "link", b"new")
    assert os.readlink(tmp_path / "link") == "file"
    assert (tmp_path / "file").read_bytes() == b"new"


def test_link_in_circles(tmp_path: Path) -> None:
    """A link that leads to itself stays, and is never followed for ever."""
    (tmp_path / "link").symlink_to("link")
    with suppress(OSError):
        write(tmp_path / "link", b"new")
    assert os.readlink(tmp_path / "link") == "link"
    assert os.listdir(tmp_path) == ["link"]


def test_destination_becomes_a_link(tmp_path: Path) -> None:
    """A link that somebody lays while ours is written is replaced, and not followed."""
    (tmp_path / "victim").write_bytes(b"safe")
    with made(tmp_path / "file", "replace") as file:
        file.write((b"new",))
        (tmp_path / "file").symlink_to("victim")
        commit(file)
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "victim").read_bytes() == b"safe"


def test_folder_is_moved_meanwhile(tmp_path: Path) -> None:
    """The file stands in the folder that it was begun in, wherever that is now."""
    (tmp_path / "a").mkdir()
    with made(tmp_path / "a" / "file") as file:
        file.write((b"new",))
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "a").mkdir()
        commit(file)
    assert (os.listdir(tmp_path / "a"), os.listdir(tmp_path / "b")) == ([], ["file"])


# Modes and times.


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
@pytest.mark.parametrize("on_exists", ["error", "replace"])
def test_mode_by_umask(tmp_path: Path, mask: int, on_exists: OnExists) -> None:
    """A new file has the mode that the process gives to new files."""
    before = os.umask(mask)
    try:
        assert atomic_file.umask() == mask
        write(tmp_path / "file", b"new", on_exists)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("on_exists", ["error", "replace"])
def test_takes_after_another(tmp_path: Path, on_exists: OnExists) -> None:
    """It takes over mode and times, but no special bits."""
    like = tmp_path / "like"
    like.touch()
    os.utime(like, ns=(10**18 + 1, 10**18 + 987_654_321))
    like.chmod(0o4751)
    write(tmp_path / "file", b"new", on_exists, like.stat())
    found = (tmp_path / "file").stat()
    assert stat.S_IMODE(found.st_mode) == 0o751
    assert (found.st_atime_ns, found.st_mtime_ns) == (10**18 + 1, 10**18 + 987_654_321)


@as_root
def test_takes_after_another_owner(tmp_path: Path) -> None:
    """Root gives it to its owner; who may not gives nothing to a group of its own instead."""
    like = tmp_path / "like"
    like.touch()
    like.chmod(0o640)
    os.chown(like, 1234, 4321)
    write(tmp_path / "file", b"new", like=like.stat())
    found = (tmp_path / "file").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 4321, 0o640)
    like_status = like.stat()
    with anybodys_folder() as folder:
        with nobody():
            write(folder / "file", b"new", like=like_status)
        found = (folder / "file").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (NOBODY, NOBODY, 0o600)


# Where it cannot be made, or not be finished.


def test_no_such_folder(tmp_path: Path) -> None:
    """Without its folder it cannot be begun; the error names the file as the caller does."""
    (tmp_path / "file").touch()
    before = descriptors()
    for path, error in (
        (tmp_path / "no" / "x", FileNotFoundError),
        (tmp_path / "file" / "x", NotADirectoryError),
    ):
        with pytest.raises(error) as caught:
            AtomicFile(str(path), "replace")
        assert caught.value.filename == str(path)
    assert descriptors() == before


@as_root
def test_no_permission() -> None:
    """A folder that may not be written is an error that names the file."""
    with anybodys_folder() as folder:
        folder.chmod(0o755)
        with nobody(), pytest.raises(PermissionError) as caught:
            AtomicFile(str(folder / "file"), "error")
        assert caught.value.filename == str(folder / "file")
        assert os.listdir(folder) == []


def test_no_more_descriptors(tmp_path: Path) -> None:
    """Too few descriptors leave nothing behind."""
    before = descriptors()
    with no_more_descriptors(), pytest.raises(OSError, match="Too many open files") as caught:
        AtomicFile(str(tmp_path / "file"), "error")
    assert caught.value.filename == str(tmp_path / "file")
    assert os.listdir(tmp_path) == []
    assert descriptors() == before


def test_full_disk(tmp_path: Path) -> None:
    """A full disk is an error that names the file; the older one is whole; all is given back."""
    with small_disk(tmp_path / "disk", "size=256k"):
        path = tmp_path / "disk" / "file"
        path.write_bytes(b"old")
        free = os.statvfs(path).f_bfree
        with made(path, "replace") as file, pytest.raises(OSError, match="file") as caught:
            file.write((noise(300_000),))
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
        assert (os.listdir(path.parent), path.read_bytes()) == (["file"], b"old")
        assert os.statvfs(path).f_bfree == free


def test_largest_file(tmp_path: Path) -> None:
    """A limit of file sizes is an error that names the file."""
    path = tmp_path / "file"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with made(path) as file, pytest.raises(OSError, match="file") as caught:
            file.write((bytes(6000), bytes(6000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Where a file system has no links, a file with a hidden name is renamed over an empty one."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    monkeypatch.setattr(os, "link", refuse)
    write(tmp_path / "file", b"new")
    assert (os.listdir(tmp_path), (tmp_path / "file").read_bytes()) == (["file"], b"new")
    with made(tmp_path / "other") as file:
        file.write((b"new",))
        (tmp_path / "other").write_bytes(b"theirs")
        with pytest.raises(FileExistsError):
            commit(file)
    assert (tmp_path / "other").read_bytes() == b"theirs"
    assert sorted(os.listdir(tmp_path)) == ["file", "other"]


def test_two_at_once(tmp_path: Path) -> None:
    """Two writers of one file do not meet: the last one to commit has it, and it is whole."""
    path = tmp_path / "file"
    with made(path, "replace") as one, made(path, "replace") as two:
        for _ in range(100):
            one.write((b"1" * 100,))
            two.write((b"2" * 50,))
        commit(two)
        assert path.read_bytes() == b"2" * 5000
        commit(one)
    assert path.read_bytes() == b"1" * 10_000
    assert os.listdir(tmp_path) == ["file"]


# Names for files that others have finished.


@pytest.fixture(params=["hidden", "nameless"])
def publish(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Publish a finished file, in either way."""

    def give_name(name: str, on_exists: OnExists) -> bool:
        with opened(tmp_path) as folder:
            if request.param == "hidden":
                temporary = atomic_file.hidden_name()
                (tmp_path / temporary).write_bytes(b"new")
                return atomic_file.publish(temporary, name, folder, on_exists)
            descriptor = os.open(tmp_path, os.O_RDWR | _NAMELESS, 0o600)
            try:
                os.write(descriptor, b"new")
                return atomic_file.publish_nameless(descriptor, name, folder, on_exists)
            finally:
                os.close(descriptor)

    return give_name


@pytest.mark.parametrize("on_exists", ["error", "skip", "replace"])
def test_publish(publish: Any, tmp_path: Path, on_exists: OnExists) -> None:
    """A free name is taken; a taken one is replaced, or the new file goes."""
    assert publish("free", on_exists)
    (tmp_path / "taken").write_bytes(b"old")
    assert publish("taken", on_exists) == (on_exists == "replace")
    (tmp_path / "link").symlink_to("taken")
    assert publish("link", on_exists) == (on_exists == "replace")
    assert sorted(os.listdir(tmp_path)) == ["free", "link", "taken"]
    assert (tmp_path / "free").read_bytes() == b"new"
    expected = b"new" if on_exists == "replace" else b"old"
    assert (tmp_path / "taken").read_bytes() == expected
    assert (tmp_path / "link").is_symlink() == (on_exists != "replace")


def test_publish_where_a_folder_is(publish: Any, tmp_path: Path) -> None:
    """A folder is never replaced, and the new file goes."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        publish("folder", "replace")
    assert not publish("folder", "skip")
    assert os.listdir(tmp_path) == ["folder"]


def test_exists_sees_links(tmp_path: Path) -> None:
    """A link that leads nowhere is something, too; what cannot be told is an error."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    with opened(tmp_path) as folder:
        assert atomic_file.exists("file", folder)
        assert atomic_file.exists(b"link", folder)
        assert not atomic_file.exists("nowhere", folder)
        with pytest.raises(NotADirectoryError):
            atomic_file.exists("file/x", folder)


def test_hidden_names() -> None:
    """Nobody guesses a hidden name, and none comes twice."""
    names = {atomic_file.hidden_name() for _ in range(1000)}
    assert len(names) == 1000
    assert all(name.startswith(".") and name.endswith(".tmp") for name in names)


def test_umask_is_not_changed_to_be_read() -> None:
    """Reading the mask never lets another thread make a file with the wrong one."""
    before = os.umask(0o022)
    seen: set[int] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            with open("/proc/self/status") as file:
                seen.update(int(line.split()[1], 8) for line in file if line.startswith("Umask"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        assert {atomic_file.umask() for _ in range(300)} == {0o022}
    finally:
        stop.set()
        watcher.join()
        os.umask(before)
    assert seen == {0o022}
