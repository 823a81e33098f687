"""FORMAT.md, held to its word: its example is real, and it is enough to read what we write."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
import zstandard

import aiocompress
from aiocompress.sync import compress, compress_folder

from .second_reader import (
    END_MEMBER,
    Container,
    Record,
    agrees,
    content_of,
    expanded,
    framed_entries,
    is_marked,
    records,
    records_of,
    seek_table,
    zstd_content,
)

PAGE = Path(aiocompress.__file__).parent / "formats" / "FORMAT.md"
TEXT = PAGE.read_text(encoding="utf-8")
HELLO = {"hello.txt": b"Hello, world!\n", "world.txt": b"Goodbye.\n"}
SUFFIXES = (".tar.zst", ".tar.gz")
every_suffix = pytest.mark.parametrize("suffix", SUFFIXES)


# The page.


class Row(NamedTuple):
    """A row of a hex dump."""

    offset: int
    data: bytes
    meaning: str


def dump(name: str) -> list[Row]:
    """Return the rows of a hex dump of the page."""
    block = TEXT.partition(f"\n```hexdump {name}\n")[2].partition("\n```\n")[0]
    rows = [line.split("|", 2) for line in block.splitlines()]
    return [Row(int(at), bytes.fromhex(data), text.strip()) for at, data, text in rows]


def joined(rows: list[Row]) -> bytes:
    return b"".join(row.data for row in rows)


# The worked example.


async def members_of(path: Path) -> list[aiocompress.Member]:
    async with aiocompress.open_archive(path) as archive, archive.members() as members:
        assert archive.is_indexed
        return [member async for member in members]


@pytest.mark.parametrize("name", ["hello.tar.zst", "index block"])
def test_dump_has_no_gap(name: str) -> None:
    """Each row of a hex dump begins where the one before it ends, and something explains it."""
    rows = dump(name)
    assert [row.offset + len(row.data) for row in rows][:-1] == [row.offset for row in rows][1:]
    assert rows[0].offset == 0
    assert all(row.meaning or len(before.data) == 16 for before, row in pairwise(rows))


def test_example_decodes_as_it_says() -> None:
    """The index block in the example is the one that is shown decompressed."""
    container = Container.parse(joined(dump("hello.tar.zst")))
    assert content_of(container.payloads[0]) == joined(dump("index block"))
    assert [(record.name.decode(), record.offset) for record in records(container)] == [
        ("hello.txt", 0),
        ("world.txt", 1024),
    ]


def hello(folder: Path) -> Path:
    """Pack the members of the example."""
    (folder / "hello").mkdir()
    for name, data in HELLO.items():
        (folder / "hello" / name).write_bytes(data)
    compress_folder(folder / "hello", folder / "hello.tar.zst", reproducible=True)
    return folder / "hello.tar.zst"


def test_example_is_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same members give the same bytes, or with another libzstd at least the same archive."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    packed, shown = hello(tmp_path).read_bytes(), joined(dump("hello.tar.zst"))
    one, other = Container.parse(packed), Container.parse(shown)
    assert records(one) == records(other)
    assert one.read(0, 3072) == other.read(0, 3072)
    version = ".".join(map(str, zstandard.ZSTD_VERSION))
    if f"libzstd {version}." not in TEXT:
        pytest.skip(f"libzstd {version} is not the version that the example was made with")
    assert packed == shown


async def test_example_is_read(tmp_path: Path) -> None:
    """The library reads the example."""
    path = tmp_path / "hello.tar.zst"
    path.write_bytes(joined(dump("hello.tar.zst")))
    async with aiocompress.open_archive(path) as archive:
        assert archive.is_indexed
        assert {name: await archive.read(name) for name in HELLO} == HELLO
        await archive.test()


def test_example_is_read_by_tools(tmp_path: Path) -> None:
    """Programs that know nothing of it read the example, too."""
    if not shutil.which("zstd") or not shutil.which("tar"):
        pytest.skip("zstd or tar is missing")
    path = tmp_path / "hello.tar.zst"
    path.write_bytes(joined(dump("hello.tar.zst")))
    raw = subprocess.run(("zstd", "-dc", path), capture_output=True, check=True).stdout
    assert raw == Container.parse(path.read_bytes()).read(0, 3072)
    subprocess.run(("tar", "-C", tmp_path, "-xf", "-"), input=raw, check=True)
    assert {name: (tmp_path / name).read_bytes() for name in HELLO} == HELLO


# What the page says, piece by piece.


def test_names_expand_as_the_table_shows() -> None:
    """The names that are shown in full and shortened belong together."""
    table = TEXT.partition("| name | stored |\n|---|---|\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(.*)` \| `(.*)` \|$", table, re.MULTILINE)
    assert len(rows) > 4
    assert expanded([stored.encode() for _, stored in rows]) == [name.encode() for name, _ in rows]


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_constants(codec: str) -> None:
    """A small file is one frame without a mark; mark and end of a larger one are of the page."""
    small = compress(bytes(65536), codec=codec)
    data = compress(bytes(65537), codec=codec)
    if codec == "gzip":
        assert small.startswith(bytes.fromhex("1f8b0800"))
        assert gzip.decompress(small) == bytes(65536)
        assert data[20:32] == b"aiocompress\0"
        assert data.endswith(END_MEMBER)
        assert END_MEMBER.hex(" ").upper() in TEXT
    else:
        assert zstd_content(small) == bytes(65536)
        assert not is_marked(small)
        (frame,) = seek_table(data)
        assert is_marked(data)
        assert frame[:2] == (len(data) - 29, 65537)


def test_framed_container(tmp_path: Path) -> None:
    """A framed container is paths and frames, big-endian, in order, and marked."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    files = {"a": b"0123456789" * 3, "empty": b"", "sub/\xe9": b"x"}
    for name, data in files.items():
        (tmp_path / "in" / name).write_bytes(data)
    compress_folder(tmp_path / "in", tmp_path / "x", 10, layout="framed")
    found: dict[str, list[bytes]] = {}
    for what, data, marked in framed_entries((tmp_path / "x").read_bytes()):
        if what == "path":
            chunks = found.setdefault(data.decode(), [])
        else:
            assert marked == (not chunks and len(found) == 1)
            chunks.append(data)
    assert [len(chunks) for chunks in found.values()] == [3, 0, 1]
    assert {name: b"".join(chunks) for name, chunks in found.items()} == files


# The second reader and the library.


def plant(folder: Path) -> None:
    """Make a tree with all that an index can say of it, devices aside."""
    long = "long " + "n" * 150
    deep = folder / ("d" * 90) / ("e" * 90)
    deep.mkdir(parents=True)
    (folder / "empty folder").mkdir(mode=0o700)
    (folder / "large").write_bytes(bytes(range(256)) * 300)
    (folder / "zero").touch()
    for number in range(30):
        (deep / f"{number:0100}").write_bytes(b"small %d" % number)
    (folder / long).write_bytes(b"in an extended header")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9")).write_bytes(b"not UTF-8")
    (folder / "symlink").symlink_to("nowhere/" + "t" * 120)
    (folder / "hard link").hardlink_to(folder / "large")
    os.mkfifo(folder / "pipe")
    os.utime(folder / "zero", ns=(0, 1_234_567_890_123_456_789))
    os.utime(folder / "large", ns=(0, -1_500_000_000))
    (folder / "zero").chmod(0o4711)


def as_member(record: Record) -> tuple[object, ...]:
    kinds = ("file", "hardlink", "symlink", "character device", "block device", "directory", "fifo")
    uid, gid, user, group = map(os.fsdecode, record.owner)
    name, link, kind = os.fsdecode(record.name), os.fsdecode(record.link), kinds[record.kind - 48]
    about = record.size, record.mode, record.mtime_ns, int(uid), int(gid), user, group
    return name, kind, *about, link, record.offset, record.data_offset


@every_suffix
@pytest.mark.parametrize("chunk_size", [4096, 1 << 20])
async def test_index_is_read(tmp_path: Path, suffix: str, chunk_size: int) -> None:
    """The second reader finds the members that the library finds, and their content."""
    (tmp_path / "tree").mkdir()
    plant(tmp_path / "tree")
    path = tmp_path / f"x{suffix}"
    async with aiocompress.Engine(2, executor="thread") as engine:
        await engine.compress_folder(tmp_path / "tree", path, chunk_size, prefix="a/b")
    members = await members_of(path)
    container = Container.parse(path.read_bytes())
    found = records(container)
    assert found[0].name == b"a/b"
    assert [as_member(record) for record in found] == [
        (*member[:2], *member[2:9], member.link, member.offset, member.data_offset)
        for member in members
    ]
    assert len(container.frames) > 4 or chunk_size > 4096
    assert container.frames[-1].raw_size == 1024
    for record in found:
        header = container.read(record.data_offset - 512, 512)
        assert agrees(record, header), record
        if record.kind == ord("0"):
            place = tmp_path / "tree" / os.fsdecode(record.name).removeprefix("a/b/")
            assert container.read(record.data_offset, record.size) == place.read_bytes()


@every_suffix
def test_archive_without_members(tmp_path: Path, suffix: str) -> None:
    """An archive of nothing has one block without records, and the end marker."""
    (tmp_path / "tree").mkdir()
    compress_folder(tmp_path / "tree", tmp_path / f"x{suffix}")
    container = Container.parse((tmp_path / f"x{suffix}").read_bytes())
    assert container.read(0, 2048) == bytes(1024)
    assert [list(records_of(payload)) for payload in container.payloads] == [[]]
