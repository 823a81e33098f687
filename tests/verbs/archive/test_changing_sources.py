"""Sources that change while they are packed: the archive stays well formed."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aiocompress
from aiocompress.storage import walk as walked

from ...help.archives import (
    MIB,
    decompressed,
    every_suffix,
    names_in,
    pack,
    sound_contents,
    unpack,
)
from ...help.data import noise
from ...help.programs import descriptors
from ...help.trees import CHUNK


class Reads:
    """``os.readv`` as it is, but that something happens to real files at the moment of a read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._events: dict[tuple[str, int], Callable[[], object]] = {}
        self._counts: dict[str, int] = {}
        self._readv = os.readv
        monkeypatch.setattr(os, "readv", self._read)

    def on(self, path: Path, number: int, event: Callable[[], object]) -> None:
        """Have something happen before a file is read for the n-th time, from 1."""
        self._events[str(path), number] = event

    def forget(self) -> None:
        """Count the reads of each file from 1 again."""
        self._counts.clear()

    def _read(self, descriptor: int, buffers: Any) -> int:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        self._counts[path] = self._counts.get(path, 0) + 1
        event = self._events.get((path, self._counts[path]))
        if event is not None:
            event()
        return self._readv(descriptor, buffers)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@every_suffix
@pytest.mark.parametrize("size", [1000, 100_000], ids=["small", "large"])
@pytest.mark.parametrize("to", [0, 600, 60_000, 200_000])
async def test_grows_or_shrinks(
    size: int, to: int, suffix: str, reads: Reads, tmp_path: Path
) -> None:
    """The archive stays well formed: the first bytes, zeros for what is gone, and a warning."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("a", "m", "z"):
        (tree / name).write_bytes(noise(size, 1))
    reads.on(tree / "m", 1 if size < CHUNK else 2, lambda: os.truncate(tree / "m", to))
    path = tmp_path / f"a{suffix}"
    report = await pack(tree, path)
    assert report.changed == 1
    assert [text for text in report.warnings if text.startswith(f"{tree / 'm'}: ")]
    found = await sound_contents(path)
    assert found["a"] == found["z"] == noise(size, 1)
    assert len(found["m"]) == size
    # What was read before stays; what is not there any more is zeros.
    kept = min(to, size)
    assert found["m"][:kept] == noise(size, 1)[:kept]
    if size < CHUNK:
        assert found["m"][kept:] == bytes(size - kept)
    else:
        first = found["m"][kept:].rstrip(b"\0")
        assert noise(size, 1)[kept:].startswith(first)


RUN, LAST = 40_000, 5 << 20
"""A sparse file: so many bytes at its begin, and again at LAST, behind a hole and before one."""
SPARSE = 8 << 20


def _write_at(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(noise(RUN, 2))


def _replace_by_zeros(path: Path) -> None:
    path.with_name("other").write_bytes(bytes(SPARSE))
    path.with_name("other").rename(path)


SPARSE_CHANGES: dict[str, tuple[Callable[[Path], object], str, int]] = {
    # What happens, what is told of it, and how many bytes of the last run are packed.
    "grows": (lambda path: os.truncate(path, 2 * SPARSE), "grew while it was read", RUN),
    "is appended to": (lambda path: _write_at(path, SPARSE), "grew while it was read", RUN),
    "loses its last run": (lambda path: os.truncate(path, RUN), "shrank while it was read", 0),
    "loses half a run": (lambda path: os.truncate(path, LAST + 9), "shrank while it was read", 9),
    "loses its last hole": (lambda path: os.truncate(path, LAST + MIB), "changed while", RUN),
    "is written to in a hole": (lambda path: _write_at(path, MIB), "changed while", RUN),
    "becomes a hole": (
        lambda path: (os.truncate(path, 0), os.truncate(path, SPARSE)),
        "changed",
        0,
    ),
    "is replaced": (_replace_by_zeros, "", RUN),
}


@pytest.mark.parametrize(
    ("change", "told", "left"), SPARSE_CHANGES.values(), ids=SPARSE_CHANGES.keys()
)
async def test_sparse_files(
    change: Callable[[Path], object],
    told: str,
    left: int,
    reads: Reads,
    tmp_path: Path,
) -> None:
    """The holes are those that it had at first, and one warning names the file."""
    file, path = tmp_path / "tree" / "m", tmp_path / "a.tar.zst"
    file.parent.mkdir()
    for name in ("a", "z"):
        (tmp_path / "tree" / name).write_bytes(noise(RUN, 1))
    with file.open("wb") as opened:
        for at in (0, LAST):
            opened.seek(at)
            opened.write(noise(RUN))
        opened.truncate(SPARSE)
    os.utime(file, ns=(0, 0))
    reads.on(file, 2, lambda: change(file))
    report = await pack(tmp_path / "tree", path)
    assert report.changed == len(report.warnings) == bool(told)
    assert all(text.startswith(f"{file}: {told}") for text in report.warnings)
    found = await sound_contents(path)
    assert found["a"] == found["z"] == noise(RUN, 1)
    assert len(found["m"]) == SPARSE
    assert found["m"][LAST:].rstrip(b"\0") == noise(RUN)[:left].rstrip(b"\0")
    assert not any(found["m"][RUN:LAST])
    assert path.stat().st_size < MIB


async def test_rewritten_while_read(reads: Reads, tmp_path: Path) -> None:
    """A file that another process writes into is told, though its size is the same."""
    file = tmp_path / "tree" / "f"
    file.parent.mkdir()
    file.write_bytes(noise(100_000))
    os.utime(file, ns=(0, 0))
    reads.on(file, 3, lambda: file.write_bytes(noise(100_000, 1)))
    report = await pack(file.parent, tmp_path / "a.tar.zst")
    assert report.changed == 1
    assert str(file) in report.warnings[0]
    await sound_contents(tmp_path / "a.tar.zst")


def _swapped(path: Path, make: Callable[[Path], object]) -> Callable[[], None]:
    def swap() -> None:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        make(path)

    return swap


@every_suffix
async def test_vanishes(suffix: str, reads: Reads, small: Path, tmp_path: Path) -> None:
    """What was there when the folder was listed, and is gone: an error, or named in the report."""
    reads.on(small / "a", 1, lambda: shutil.rmtree(small / "e"))
    reads.on(small / "b" / "c", 1, (small / "b" / "d.log").unlink)
    path = tmp_path / f"a{suffix}"
    report = await pack(small, path, on_error="skip")
    assert [text.split(":")[0] for text in report.skipped] == [
        str(small / "b" / "d.log"),
        str(small / "e"),
    ]
    assert sorted(await sound_contents(path)) == ["a", "b/c", "b/keep.log"]
    reads.on(small / "a", 2, (small / "b" / "c").unlink)
    reads.on(small / "a", 2, lambda: shutil.rmtree(small / "b"))
    with pytest.raises(FileNotFoundError) as caught:
        await pack(small, tmp_path / f"x{suffix}")
    assert caught.value.filename == str(small / "b")
    assert not (tmp_path / f"x{suffix}").exists()


async def test_swapped(reads: Reads, small: Path, tmp_path: Path) -> None:
    """A folder or a file swapped for a link is packed as the link; a pipe is never opened."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    for path, make in (
        (small / "e", lambda path: path.symlink_to(outside)),
        (small / "b" / "keep.log", lambda path: path.symlink_to(outside / "secret")),
        (small / "b" / "d.log", os.mkfifo),
    ):
        reads.on(small / ("a" if path.name == "e" else "b/c"), 1, _swapped(path, make))
        if path.name == "keep.log":
            first = _swapped(path, make)
        if path.name == "d.log":
            second = _swapped(path, make)
    reads.on(small / "b" / "c", 1, lambda: (first(), second()))
    await asyncio.wait_for(pack(small, tmp_path / "a.tar.zst"), 20)
    async with aiocompress.open_archive(tmp_path / "a.tar.zst") as archive:
        kinds = {member.name: member.kind async for member in archive.members()}
    assert kinds == {
        "a": "file",
        "b": "directory",
        "b/c": "file",
        "b/d.log": "fifo",
        "b/keep.log": "symlink",
        "e": "symlink",
    }
    assert b"secret\0" not in decompressed(tmp_path / "a.tar.zst").replace(b"/secret\0", b"")


def _fail() -> None:
    raise OSError(5, "Input/output error")


@every_suffix
@pytest.mark.parametrize(("size", "read"), [(1000, 1), (100_000, 3)])
async def test_read_errors(size: int, read: int, suffix: str, reads: Reads, tmp_path: Path) -> None:
    """An error names the file; skipped, it is left out, or zeros that are told of."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("a", "m", "z"):
        (tree / name).write_bytes(noise(size, 1))
    reads.on(tree / "m", read, _fail)
    path = tmp_path / f"a{suffix}"
    with pytest.raises(OSError, match="Input/output") as caught:
        await pack(tree, path)
    assert caught.value.filename == str(tree / "m")
    assert os.listdir(tmp_path) == ["tree"]
    reads.forget()
    report = await pack(tree, path, on_error="skip")
    assert str(tree / "m") in "\n".join((*report.skipped, *report.warnings))
    assert report.skipped_count + report.changed == 1
    found = await sound_contents(path)
    assert found["a"] == found["z"] == noise(size, 1)


async def test_a_read_error_of_a_file_with_two_names(reads: Reads, tmp_path: Path) -> None:
    """The second name is no hard link to a member that was left out."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(b"data")
    os.link(tree / "a", tree / "b")
    (tree / "c").write_bytes(b"c")
    reads.on(tree / "a", 1, _fail)
    report = await pack(tree, tmp_path / "a.tar.zst", on_error="skip")
    assert report.skipped_count >= 1
    await unpack(tmp_path / "a.tar.zst", tmp_path / "out")
    assert (tmp_path / "out" / "c").read_bytes() == b"c"


async def test_many_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More names than are sorted at once come in the same order, from sorted runs."""
    tree = tmp_path / "tree"
    tree.mkdir()
    names = [b"%d" % (number * 7919 % 500) for number in range(500)] + [b"new\nline", b"\xff"]
    for name in names:
        (tree / os.fsdecode(name)).write_bytes(name)
    await pack(tree, tmp_path / "a.tar.zst")
    monkeypatch.setattr(walked, "_MOST_NAMES", 7)
    before = descriptors()
    await pack(tree, tmp_path / "b.tar.zst")
    assert descriptors() == before
    assert (tmp_path / "a.tar.zst").read_bytes() == (tmp_path / "b.tar.zst").read_bytes()
    assert names_in(tmp_path / "b.tar.zst") == sorted(names)
