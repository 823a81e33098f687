"""tar archives, out and back, and those of every other writer."""

from __future__ import annotations

import io
import os
import random
import tarfile
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress.formats.tar import header
from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import BLOCK, END
from aiocompress.formats.tar.writer import Writer
from aiocompress.model import KIB, MIB, Member

from ...help.data import SPLITS, Split
from ...help.tars import (
    LARGEST_ID,
    LAST,
    Archive,
    between,
    block,
    by_tarfile,
    check_headers,
    every_split,
    extended,
    padded,
    read,
)
from ...help.tools import run, tool

# Round trips.


NAMES = st.one_of(
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=60),
    st.binary(min_size=1, max_size=300).map(
        lambda name: name.replace(b"\0", b"/").decode("utf-8", "surrogateescape")
    ),
    st.lists(st.text("abc\xe9.", min_size=1, max_size=120), min_size=1, max_size=5).map("/".join),
)
IDS = st.one_of(st.integers(0, 1 << 22), st.integers(0, LARGEST_ID))
OWNERS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40)
SECONDS = st.one_of(
    st.integers(-(1 << 40), 1 << 40), st.integers(-LARGEST_ID, LARGEST_ID), st.just(0)
)
XATTRS = st.dictionaries(
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20),
    st.binary(max_size=30),
    max_size=3,
).map(lambda xattrs: tuple(xattrs.items()))


@st.composite
def members(draw: st.DrawFn) -> Member:
    """A member of any kind that an archive can hold."""
    kind = draw(st.sampled_from(sorted(header.TYPES)))
    name = draw(NAMES)
    if kind in {"file", "directory"}:
        name = name.rstrip("/") or "/"
    size = draw(st.integers(0, 3000)) if kind == "file" else 0
    return Member(
        "." if name == "/" else name,
        kind,  # type: ignore[arg-type]
        size,
        draw(st.integers(0, 0o7777)),
        draw(SECONDS) * 1_000_000_000,
        draw(IDS),
        draw(IDS),
        draw(OWNERS),
        draw(OWNERS),
        draw(NAMES) if kind in {"symlink", "hardlink"} else "",
        draw(st.tuples(st.integers(0, 4000), st.integers(0, 4000))) if "device" in kind else (0, 0),
        stored_size=size,
        xattrs=draw(XATTRS),
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(members(), max_size=4), st.sampled_from(sorted(SPLITS)), st.randoms())
def test_round_trip(given_members: list[Member], split: str, source: random.Random) -> None:
    """What ``encode`` writes, ``Reader`` reads, in every split."""
    data, expected, contents = b"", [], []
    for member in given_members:
        head = Writer().head_of(member)
        contents.append(source.randbytes(member.size))
        expected.append(member._replace(offset=len(data), data_offset=len(data) + len(head)))
        data += head + padded(contents[-1])
        assert expected[-1].end == len(data)
    archive = read(data + END, SPLITS[split])
    assert archive.members == expected
    assert archive.contents == contents
    check_headers(archive, data)
    assert archive.warnings == []


@pytest.mark.parametrize("size", [8 << 30, (1 << 33) - 1, 1 << 62])
def test_sizes_beyond_octal(size: int) -> None:
    """Sizes that the header's field cannot hold come back exactly."""
    member = Member("huge", size=size)
    assert tar.parse(Writer().head_of(member)).size == size
    (item,) = tar.Reader().feed(Writer().head_of(member))
    assert isinstance(item, Member)
    assert item.stored_size == size


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        (b"1", 1_000_000_000),
        (b"1.", 1_000_000_000),
        (b"1.5", 1_500_000_000),
        (b"1700000000.123456789", 1_700_000_000_123_456_789),
        (b"9007199254740993.000000001", 9_007_199_254_740_993_000_000_001),
        (b"0.0000000019", 1),
        (b"-1.5", -1_500_000_000),
        (b"-0.000000001", -1),
        (b"-0.0000000001", -1),
        (b"-0.0000000000", 0),
    ],
)
def test_times(text: bytes, nanoseconds: int) -> None:
    """Times of pax are exact to the nanosecond, and rounded down below it."""
    assert tar.parse(extended((b"mtime", text)) + block()).mtime_ns == nanoseconds


@pytest.mark.parametrize("text", [b"1e9", b"+1", b" 1", b"inf", b"nan", b"1_0", b"9" * 20, b"."])
def test_times_that_are_none(text: bytes) -> None:
    """What Python would read as a number need not be one."""
    archive = read(between(extended((b"mtime", text)), LAST))
    assert archive.members[1].unreadable == ("mtime_ns",)


# Archives of other writers.


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what archives find hard."""
    root = tmp_path_factory.mktemp("tree")
    made = root / "t"
    (made / "empty").mkdir(parents=True)
    (made / "empty file").touch()
    (made / "small").write_bytes(b"small")
    (made / "block").write_bytes(random.Random(1).randbytes(BLOCK))
    (made / "caf\xe9").write_bytes(b"x" * 513)
    os.link(made / "small", made / "zz hard")
    os.symlink("small", made / "zz soft")
    os.utime(made / "small", ns=(0, 1_234_567_890_123_456_789))
    return root


def extend(root: Path) -> None:
    """Add what V7 and ustar cannot say."""
    made = root / "t"
    deep = made.joinpath(*["d" * 90] * 3)
    deep.mkdir(parents=True)
    (deep / ("n" * 120)).write_bytes(b"long")
    os.symlink("l" * 150, made / "zz long")
    os.mkfifo(made / "fifo")
    with open(os.fsencode(made) + b"/not \xff utf-8", "wb") as file:
        file.write(b"bytes")
    for name, runs, size in SPARSE:
        with open(made / name, "wb") as file:
            for at in runs:
                file.seek(at)
                file.write(b"stored" * 1000)
            file.truncate(size)


SPARSE = [
    ("sparse 1", [0, 1 * MIB], 2 * MIB),
    ("sparse 2", [100 * KIB], 2 * MIB),
    ("sparse 3", [], 3 * MIB),
    ("sparse 4", range(0, 30 * 64 * KIB, 64 * KIB), 2 * MIB + 1),
    ("sparse 5", [5 * MIB], 5 * MIB + 6000),
]


@pytest.fixture(scope="module")
def full_tree(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("full")
    run("cp", "-a", tree / "t", root / "t")
    extend(root)
    return root


def check_tree(archive: Archive, root: Path, *, nanoseconds: bool = False) -> None:
    """Compare an archive with the files it was made of."""
    found = {"t", *(os.fspath(path.relative_to(root)) for path in (root / "t").rglob("*"))}
    assert set(archive.names) == found
    assert len(archive.names) == len(found)
    assert archive.warnings == []
    links = 0
    for name in found:
        member, content = archive[name]
        path = root / name
        status = path.lstat()
        assert member.mode == status.st_mode & 0o7777 or path.is_symlink()
        assert (member.uid, member.gid) == (status.st_uid, status.st_gid)
        wanted = status.st_mtime_ns
        assert member.mtime_ns == (wanted if nanoseconds else wanted - wanted % 1_000_000_000)
        if member.kind == "hardlink":
            links += 1
            assert os.path.samefile(root / member.link, path)
        elif path.is_symlink():
            assert (member.kind, member.link) == ("symlink", os.readlink(path))
        elif path.is_dir():
            assert member.kind == "directory"
        elif path.is_fifo():
            assert member.kind == "fifo"
        else:
            assert content == path.read_bytes()
            assert member.kind == "file"
    assert links == 1


GNU_TAR = [[f"--format={name}"] for name in ("v7", "oldgnu", "gnu", "ustar", "posix")]
BSDTAR = [[f"--format={name}"] for name in ("v7", "ustar", "pax", "gnutar")]
FULL_GNU_TAR = [
    ["--format=oldgnu"],
    ["--format=gnu"],
    ["--format=posix"],
    ["--format=oldgnu", "-S"],
    ["--format=gnu", "-S"],
    *(["--format=posix", "-S", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0")),
    ["--format=posix", "--pax-option=exthdr.name=%d/%f,globexthdr.name=g,comment=all"],
]


@pytest.mark.parametrize("options", [*product(["tar"], GNU_TAR), *product(["bsdtar"], BSDTAR)])
def test_other_writers(tree: Path, options: tuple[str, list[str]]) -> None:
    """Every format of GNU tar and bsdtar comes back as the tree it was made of."""
    name, flags = options
    data = run(tool(name), "-c", *flags, "-C", tree, "-f", "-", "t")
    nanoseconds = flags[0] in {"--format=posix", "--format=pax"}
    check_tree(read(data), tree, nanoseconds=nanoseconds)


@every_split
def test_other_writers_in_pieces(tree: Path, split: Split) -> None:
    """Where the bytes are cut makes no difference."""
    data = run(tool("tar"), "-c", "--format=posix", "-C", tree, "-f", "-", "t")
    assert read(data, split) == read(data)


@pytest.mark.parametrize(
    "options",
    [
        *product(["tar"], FULL_GNU_TAR),
        *product(["bsdtar"], [["--format=pax"], ["--format=gnutar"]]),
        ("bsdtar", ["--format=pax", "--no-read-sparse"]),
    ],
)
def test_long_names_and_sparse_files(full_tree: Path, options: tuple[str, list[str]]) -> None:
    """Long and undecodable names, sparse files and FIFOs come back, from every format."""
    name, flags = options
    data = run(tool(name), "-c", *flags, "-C", full_tree, "-f", "-", "t")
    archive = read(data, SPLITS["64 KiB, 1"])
    nanoseconds = flags[0] in {"--format=posix", "--format=pax"}
    check_tree(archive, full_tree, nanoseconds=nanoseconds)
    check_headers(archive, data)
    sparse = [archive[f"t/{name}"][0] for name, _, _ in SPARSE]
    is_sparse = "-S" in flags or (name == "bsdtar" and flags == ["--format=pax"])
    assert all((member.extents is not None) == is_sparse for member in sparse)
    if is_sparse:
        assert all(member.stored_size < MIB for member in sparse)


@pytest.mark.parametrize("writer", ["tar", "bsdtar"])
def test_extended_attributes(writer: str, tmp_path: Path) -> None:
    """What GNU tar and bsdtar make of odd names of attributes; GNU tar reads ours as well."""
    xattrs = {"user.a=b%c": b"v\0\n=", "user.empty": b""}
    (tmp_path / "file").touch()
    try:
        for key, value in xattrs.items():
            os.setxattr(tmp_path / "file", key, value)
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")
    folder = "-C", tmp_path
    data = run(tool(writer), "--xattrs", "--format=pax", *folder, "-cf", "-", "file")
    (member,) = read(data).members
    assert dict(member.xattrs) == xattrs
    (tmp_path / "file").unlink()
    data = Writer().head_of(Member("file", xattrs=tuple(xattrs.items()))) + END
    run(tool("tar"), "--xattrs", "--xattrs-include=user.*", *folder, "-xf", "-", data=data)
    assert {key: os.getxattr(tmp_path / "file", key) for key in xattrs} == xattrs


@pytest.mark.parametrize("version", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tarfile(version: int) -> None:
    """What Python's tarfile writes, and what it reads of it, is what we read."""
    data = by_tarfile(version)
    archive = read(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as other:
        infos = other.getmembers()
    assert archive.names == [info.name for info in infos]
    check_headers(archive, data)
    for member, info in zip(archive.members, infos, strict=True):
        about = member.size, member.mode, member.uid, member.gid, member.user, member.link
        assert about == (info.size, info.mode, info.uid, info.gid, info.uname, info.linkname)
        assert member.offset == info.offset
        assert member.data_offset == info.offset_data
        assert header.TYPES[member.kind] == info.type
        assert member.mtime_ns // 1_000_000_000 == int(info.mtime // 1)
