"""Archives in plain hands: ``sync.open_archive`` and ``sync.create_archive``; plain sources."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import aiocompress
from aiocompress import AiocompressError, ClosedError, MemberNotFoundError, sync
from aiocompress.sync.archive import Archive
from aiocompress.sync.archive import ArchiveWriter as Writer

from .help.data import noise, text
from .help.forks import forked
from .help.programs import until

TEXT = text(400 << 10)


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "aiocompress" in thread.name]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No thread outlives what it worked for."""
    yield
    until(lambda: not our_threads())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An archive of three members, made in a plain way."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "table.csv").write_text("a,b\n1,2\n")
    with sync.create_archive(tmp_path / "a.tar.zst", chunk_size="64K") as writer:
        assert writer.name == str(tmp_path / "a.tar.zst")
        assert writer.add("memory", TEXT).size == len(TEXT)
        assert writer.add_path(tmp_path / "tree" / "table.csv").name == "table.csv"
        assert writer.add_folder(tmp_path / "tree", "in") == 2
    assert writer.report.files == 3
    return tmp_path / "a.tar.zst"


def test_an_archive(path: Path) -> None:
    """Members are listed, read, opened as files, extracted; nobody says await."""
    with sync.open_archive(path) as archive:
        assert archive.is_indexed
        assert not archive.is_plain
        assert (archive.name, archive.warnings) == (str(path), [])
        assert [member.name for member in archive.members()] == [
            *("memory", "table.csv", "in", "in/table.csv")
        ]
        assert [member.kind for member in archive.members("in/")] == ["file"]
        assert list(archive.names()) == [["memory", "table.csv", "in/", "in/table.csv"]]
        assert archive.listdir("in") == ["table.csv"]
        assert archive.exists("memory")
        assert archive.member("memory").size == len(TEXT)
        assert archive.read("memory") == TEXT
        with archive.open("memory") as file:
            file.seek(-5, io.SEEK_END)
            assert file.read() == TEXT[-5:]
        with archive.open("table.csv") as file, io.TextIOWrapper(file) as lines:
            assert list(csv.reader(lines)) == [["a", "b"], ["1", "2"]]
        with pytest.raises(MemberNotFoundError, match="memori"):
            archive.read("memori")
        assert archive.extract(path.parent / "out", ["in"], fsync=False).files == 1
        assert archive.test().files == 3
        assert next(archive.members()).name == "memory"  # and the others are left
    for use in (lambda: archive.read("memory"), lambda: next(archive.members())):
        with pytest.raises(ClosedError):
            use()


def test_in_threads(path: Path) -> None:
    """Several read one archive at once."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                assert archive.read("memory") == TEXT
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    with sync.open_archive(path) as archive:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_not_an_archive(tmp_path: Path) -> None:
    """``with`` says so, and nothing is left."""
    with pytest.raises(FileNotFoundError):
        sync.open_archive(tmp_path / "none").__enter__()


def lines_of(data: bytes) -> Iterator[bytes]:
    yield from data.splitlines(keepends=True)


PLAIN: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "bytes": lambda path: path.read_bytes(),
    "file": lambda path: path.open("rb"),
    "unbuffered": lambda path: path.open("rb", buffering=0),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "generator": lambda path: lines_of(path.read_bytes()),
    "list": lambda path: path.read_bytes().splitlines(keepends=True),
    "socket's file": lambda path: os.fdopen(_piped(path), "rb"),
    "sync stream": lambda path: sync.decompress_stream(sync.compress(path.read_bytes())),
}


def _piped(path: Path) -> int:
    """The end of a pipe, which cannot be sought."""
    process = subprocess.Popen(("cat", path), stdout=subprocess.PIPE)
    assert process.stdout is not None
    descriptor = os.dup(process.stdout.fileno())
    process.stdout.close()
    threading.Thread(target=process.wait).start()
    return descriptor


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_sources_everywhere(kind: str, path: Path, tmp_path: Path) -> None:
    """Whatever a program without async has at hand, every verb that takes a source takes it."""
    raw, packed, made = tmp_path / "raw", tmp_path / "raw.zst", tmp_path / "made.tar.zst"
    raw.write_bytes(TEXT)
    options: dict[str, Any] = {"on_exists": "replace", "fsync": False}

    def source(of: Path) -> Any:
        opened.append(PLAIN[kind](of))
        return opened[-1]

    opened: list[Any] = []
    sync.compress_file(source(raw), packed, "64K", **options)
    sync.decompress_file(source(packed), tmp_path / "back", **options)
    assert (tmp_path / "back").read_bytes() == TEXT
    assert b"".join(sync.compress_stream(source(raw), chunk_size="64K")) == packed.read_bytes()
    assert b"".join(sync.decompress_stream(source(packed))) == TEXT
    assert sync.test(source(packed)).raw_bytes == len(TEXT)
    with sync.create_archive(made, **options) as writer:
        assert writer.add("x", source(raw)).size == len(TEXT)
        assert writer.add("y", source(raw), size=len(TEXT)).size == len(TEXT)
    for archive_path in (path, made):
        with sync.open_archive(source(archive_path)) as archive:
            assert "x" in {member.name for member in archive.members()} or archive_path == path
            assert archive.is_indexed == (kind in {"path", "file", "unbuffered", "BytesIO"})
    for one in opened:
        if hasattr(one, "close"):
            one.close()


def test_plain_destinations(tmp_path: Path) -> None:
    """A binary file gets the bytes of a path, and stays open."""
    buffer = io.BytesIO()
    with (tmp_path / "b.tar.zst").open("wb") as file:
        for destination in (tmp_path / "a.tar.zst", file, buffer):
            with sync.create_archive(destination, chunk_size="64K") as writer:
                writer.add("x", TEXT, mtime_ns=0)
        assert not file.closed
    data = (tmp_path / "a.tar.zst").read_bytes()
    assert data == (tmp_path / "b.tar.zst").read_bytes() == buffer.getvalue()


@pytest.mark.usefixtures("path")
def test_verbs_into_binary_files(tmp_path: Path) -> None:
    """They get the bytes of a path, from every verb that makes some, and stay open."""
    packed, back, tree = io.BytesIO(), io.BytesIO(), io.BytesIO()
    sync.compress_file(TEXT, packed, codec="gzip")
    sync.compress_file(TEXT, tmp_path / "x.gz")
    assert packed.getvalue() == (tmp_path / "x.gz").read_bytes()
    packed.seek(0)
    assert sync.decompress_file(packed, back).raw_bytes == len(back.getvalue()) == len(TEXT)
    sync.compress_folder(tmp_path / "tree", tree)
    sync.compress_folder(tmp_path / "tree", tmp_path / "tree.tar.zst")
    assert tree.getvalue() == (tmp_path / "tree.tar.zst").read_bytes()


def test_all_that_an_archive_offers(path: Path) -> None:
    """What an ``Archive`` has, a plain one has, too: one folder, some members as an archive."""
    for ours, theirs in ((Archive, aiocompress.Archive), (Writer, aiocompress.ArchiveWriter)):
        assert {name for name in vars(theirs) if name[0] != "_"} - {"aclose"} <= set(dir(ours))
    with sync.open_archive(path) as archive:
        ours, theirs = archive.status, path.stat()  # the times of access may differ by now
        assert (ours.st_ino, ours.st_mtime_ns) == (theirs.st_ino, theirs.st_mtime_ns)
        assert [member.name for member in archive.scandir("in")] == ["in/table.csv"]
        with archive.compress_stream(["in"], codec="gzip") as stream:
            some = io.BytesIO(stream.read())
        assert archive.read("in/table.csv") == b"a,b\n1,2\n"
    with sync.open_archive(some) as archive:
        assert [member.name for member in archive.members()] == ["in", "in/table.csv"]


def test_an_error_in_the_block(tmp_path: Path) -> None:
    """There is no file; nor is there one of a writer that is closed or dropped without its end."""

    def fail(writer: Any) -> None:
        with writer:
            writer.add("x", noise(1 << 20))
            raise KeyError

    with pytest.raises(KeyError):
        fail(sync.create_archive(tmp_path / "a.tar.zst"))
    writer = sync.create_archive(tmp_path / "a.tar.zst")
    writer.__enter__()
    writer.add("x", b"x")
    writer.close()
    with pytest.raises(ClosedError):
        writer.add("y", b"y")
    writer = sync.create_archive(tmp_path / "a.tar.zst")
    writer.__enter__()
    del writer
    assert not os.listdir(tmp_path)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork(path: Path) -> None:
    """The child can neither go on nor do harm."""
    with sync.create_archive(path, on_exists="replace") as writer:
        writer.add("x", TEXT)

        def child() -> str:
            with pytest.raises(AiocompressError, match="before this process was forked"):
                writer.add("y", b"y")
            writer.close()
            return "done"

        assert forked(child) == "done"
        writer.add("y", b"y")
    with sync.open_archive(path) as archive:
        assert [member.name for member in archive.members()] == ["x", "y"]


def test_a_script(tmp_path: Path) -> None:
    """The whole program, without a ``__main__`` guard; one that drops all ends, too."""
    code = """
from aiocompress.sync import create_archive, open_archive
with create_archive("a.tar.zst") as writer:
    writer.add("x", (b"%d\\n" % n for n in range(1000)))
archive = open_archive("a.tar.zst").__enter__()
print(len(archive.read("x")))
members = archive.members()
next(members)
"""
    done = subprocess.run(
        (sys.executable, "-c", code),
        cwd=tmp_path,
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"3890\n", b"")
