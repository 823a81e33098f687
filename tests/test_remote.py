"""The members of an archive as a file system of fsspec."""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import io
import os
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
import pytest

from aiocompress.remote import ArchiveFileSystem

from .help import hostile
from .help.data import noise
from .help.forks import forked
from .help.hostile import Member
from .help.programs import said_in_dev
from .help.tools import LIBRARY, module
from .help.web import Site

if TYPE_CHECKING:
    from .help.s3 import Storage

KIB = 1 << 10
CSV = b"".join(b"%d,%d\n" % (n, n * n) for n in range(20_000))
LARGE = noise(700 * KIB)
MEMBERS = [
    hostile.folder(b"data"),
    Member(b"data/deep/b.bin", data=LARGE),
    Member(b"data/empty"),
    Member(b"data/hard", b"1", link=b"data/deep/b.bin"),
    Member(b"data/link", b"2", link=b"x.csv"),
    Member(b"data/x.csv", data=b"n,square\n" + CSV),
    Member(b"top.txt", data=b"top"),
]
INDEXED = hostile.indexed(MEMBERS, frame=256 * KIB)


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    """Make it known to fsspec where the package is not installed; its instances are closed."""
    fsspec.register_implementation("aiocompress", ArchiveFileSystem, clobber=True)
    yield
    for made in list(ArchiveFileSystem._cache.values()):
        made.close()
    ArchiveFileSystem.clear_instance_cache()


@pytest.fixture(params=["indexed", "foreign"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    foreign = hostile.compressed(hostile.tar(MEMBERS))
    (tmp_path / "a.tar.zst").write_bytes(INDEXED if request.param == "indexed" else foreign)
    return tmp_path / "a.tar.zst"


def test_the_entry_point() -> None:
    """An installed package makes itself known."""
    entries = importlib.metadata.entry_points(group="fsspec.specs", name="aiocompress")
    if not entries:
        pytest.skip("the package is not installed here, or an older one")
    assert {entry.load() for entry in entries} == {ArchiveFileSystem}


def test_what_there_is(path: Path) -> None:
    """Names, sizes and kinds; folders that the archive does not hold; globs and walks."""
    fs = ArchiveFileSystem(str(path))
    assert fs.ls("", detail=False) == ["data", "top.txt"]
    in_data = ["data/deep", "data/empty", "data/hard", "data/link", "data/x.csv"]
    assert fs.ls("data", detail=False) == in_data
    assert [entry["type"] for entry in fs.ls("data/")] == [
        "directory",
        *("file",) * 2,
        "link",
        "file",
    ]
    assert fs.ls("top.txt", detail=False) == ["top.txt"]
    assert fs.ls("/data/deep", detail=False) == ["data/deep/b.bin"]
    about = fs.info("data/x.csv")
    assert about["size"] == len(CSV) + 9
    assert about["type"] == "file"
    assert about["mode"] == 0o644
    assert fs.info("data/hard")["size"] == len(LARGE)
    assert fs.info("data/deep")["type"] == "directory"
    assert fs.info("")["type"] == "directory"
    assert fs.size("top.txt") == 3
    assert fs.isfile("top.txt")
    assert fs.isdir("data/deep")
    assert not fs.exists("data/nothing")
    assert fs.glob("data/*.csv") == ["data/x.csv"]
    assert fs.glob("**/b*") == ["data/deep/b.bin"]
    files = [*("data/deep/b.bin", "data/empty", "data/hard", "data/link"), "data/x.csv", "top.txt"]
    assert fs.find("") == files
    assert fs.find("", maxdepth=1) == ["top.txt"]
    assert fs.find("", maxdepth=1, withdirs=True) == ["data", "top.txt"]
    assert fs.find("top.txt") == ["top.txt"]
    assert fs.find("nothing") == []
    assert list(fs.walk("")) == [
        ("", ["data"], ["top.txt"]),
        ("data", ["deep"], ["empty", "hard", "link", "x.csv"]),
        ("data/deep", [], ["b.bin"]),
    ]
    assert fs.du("data/deep") == len(LARGE)
    assert fs.modified("top.txt").timestamp() == hostile.TIME


def test_what_is_in_it(path: Path) -> None:
    """Whole members, parts, and files that seek."""
    fs = ArchiveFileSystem(str(path))
    assert fs.cat_file("data/deep/b.bin") == LARGE
    assert fs.cat_file("data/deep/b.bin", 100, 200) == LARGE[100:200]
    assert fs.cat_file("data/deep/b.bin", -10) == LARGE[-10:]
    assert fs.cat(["top.txt", "data/empty"]) == {"top.txt": b"top", "data/empty": b""}
    assert fs.cat_file("data/hard") == LARGE
    with fs.open("data/deep/b.bin") as file:
        assert file.read(10) == LARGE[:10]
        assert file.seek(-5, os.SEEK_END) == len(LARGE) - 5
        assert file.read() == LARGE[-5:]
        assert file.read() == b""
        assert file.seek(300 * KIB) == file.tell()
        assert file.read(KIB) == LARGE[300 * KIB : 301 * KIB]
        with pytest.raises(ValueError, match="before the beginning"):
            file.seek(-1)
    with fs.open("data/x.csv", "rt") as file:
        assert file.readline() == "n,square\n"
    with fsspec.open(f"aiocompress://top.txt::{path}") as file:
        assert file.read() == b"top"
    with tarfile.open(fileobj=io.BytesIO(hostile.tar(MEMBERS))) as tar:
        fs.get("data/x.csv", str(path.parent / "x.csv"))
        member = tar.extractfile("data/x.csv")
        assert member is not None
        assert (path.parent / "x.csv").read_bytes() == member.read()


def test_what_is_not_there(path: Path) -> None:
    """The errors of every other file system; nothing is written."""
    fs = ArchiveFileSystem(str(path))
    for look in (fs.info, fs.ls, fs.cat_file, fs.open):
        with pytest.raises(FileNotFoundError):
            look("nothing")
    with pytest.raises(IsADirectoryError):
        fs.open("data")
    with pytest.raises(OSError, match="read only"):
        fs.open("top.txt", "wb")
    with pytest.raises(ValueError, match="which archive"):
        ArchiveFileSystem()
    with pytest.raises(FileNotFoundError):
        ArchiveFileSystem(str(path.parent / "nowhere")).ls("")
    with pytest.raises(ValueError, match="maxdepth"):
        fs.find("", maxdepth=0)


def test_from_another_store() -> None:
    """The archive may be in any store, and in a chain of them."""
    fsspec.filesystem("memory").pipe_file("/b/a.tar.zst", INDEXED)
    for chain in ("memory://b/a.tar.zst", "simplecache::memory://b/a.tar.zst"):
        with fsspec.open(f"aiocompress://top.txt::{chain}") as file:
            assert file.read() == b"top"
    assert ArchiveFileSystem("memory://b/a.tar.zst").ls("", detail=False) == ["data", "top.txt"]


def test_threads_pickles_and_closing(path: Path) -> None:
    """Many threads share it; a copy opens the archive anew; what is closed opens again."""
    fs = ArchiveFileSystem(str(path))
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda n: fs.cat_file("data/deep/b.bin", n, n + 100), range(100))
        assert list(found) == [LARGE[n : n + 100] for n in range(100)]
    copy = pickle.loads(pickle.dumps(fs))
    assert copy == fs
    assert copy.cat_file("top.txt") == b"top"
    fs.close()
    fs.close()
    assert fs.cat_file("top.txt") == b"top"
    with fs.open("data/deep/b.bin", block_size=10) as file:
        assert file.read(10) == LARGE[:10]
        fs.close()
        file.seek(600 * KIB)
        assert file.read(10) == LARGE[600 * KIB : 600 * KIB + 10]


def test_nobody_closes_it(tmp_path: Path) -> None:
    """The last reference, or the end of the program, closes the archive: no warning."""
    path = tmp_path / "a.tar.zst"
    path.write_bytes(INDEXED)
    fs = ArchiveFileSystem(str(path), skip_instance_cache=True)
    file = fs.open("data/deep/b.bin")
    del fs
    gc.collect()
    assert file.read(5) == LARGE[:5]
    del file
    gc.collect()
    code = (
        "import fsspec, aiocompress.remote as r\n"
        "fsspec.register_implementation('aiocompress', r.ArchiveFileSystem, clobber=True)\n"
        f"f = fsspec.open('aiocompress://top.txt::{path}').open()\n"
        "print(f.read())"
    )
    command = (sys.executable, "-X", "dev", "-W", "error", "-c", code)
    done = subprocess.run(command, capture_output=True, env=LIBRARY, timeout=60, check=False)
    assert (done.returncode, done.stdout, said_in_dev(done)) == (0, b"b'top'\n", [])


async def test_from_a_web_server() -> None:
    """A member is two requests, its neighbour none; what is wrong has the URL, and no secret."""
    async with Site(INDEXED) as site:
        url = f"{site.url}?token=hunter2"
        fs = ArchiveFileSystem(url)
        assert await asyncio.to_thread(fs.cat_file, "top.txt") == b"top"
        assert site.taken() == 1
        assert await asyncio.to_thread(fs.cat_file, "data/deep/b.bin", 0, 10) == LARGE[:10]
        assert site.taken() == 1
        site.faults = [site.status(403)]
        with pytest.raises(PermissionError, match=site.url) as caught:
            await asyncio.to_thread(fs.cat_file, "data/deep/b.bin")
        assert "hunter2" not in str(caught.value)
        await asyncio.to_thread(fs.close)


def test_forks(path: Path) -> None:
    """A fork opens the archive anew, also for files that are open; its parent goes on."""
    fs = ArchiveFileSystem(str(path))
    file = fs.open("data/deep/b.bin")
    assert file.read(10) == LARGE[:10]

    def child() -> bool:
        file.seek(600 * KIB)
        return (
            file.read(10) == LARGE[600 * KIB : 600 * KIB + 10] and fs.cat_file("top.txt") == b"top"
        )

    assert forked(child)
    assert fs.cat_file("data/x.csv").startswith(b"n,square\n")
    file.seek(0)
    assert file.read(10) == LARGE[:10]
    file.close()


@pytest.mark.faults
def test_pandas_and_dask(storage: Storage) -> None:
    """As people write it, out of S3, in threads and in processes."""
    pandas, frames = module("pandas"), module("dask.dataframe")
    parts = [Member(b"data/%d.csv" % n, data=b"n,square\n" + CSV) for n in range(3)]
    storage.put("a.tar.zst", hostile.indexed(parts))
    total = sum(n * n for n in range(20_000))
    one = pandas.read_csv("aiocompress://data/1.csv::s3://bucket/a.tar.zst")
    assert one["square"].sum() == total
    every = frames.read_csv("aiocompress://data/*.csv::s3://bucket/a.tar.zst", blocksize="64KiB")
    assert every.npartitions > 3
    for scheduler in ("threads", "processes"):
        assert every["square"].sum().compute(scheduler=scheduler) == 3 * total
