"""tar archives: headers out and back, archives of every writer, and what hostile ones try."""

from __future__ import annotations

import base64
import io
import os
import random
import re
import struct
import subprocess
import tarfile
import tracemalloc
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress.errors import (
    AiocompressError,
    CorruptError,
    FormatError,
    LimitError,
    TruncatedError,
)
from aiocompress.formats.tar import header, pax
from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import BLOCK, END, padding
from aiocompress.formats.tar.writer import Writer
from aiocompress.model import KIB, MIB, Buffer, Member

from ...help.containers import check_offset
from ...help.data import SPLITS, Split, at_once, by_byte
from ...help.tools import run, tool

every_split = pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)


@dataclass(slots=True)
class Archive:
    """What came out of a reader."""

    members: list[Member] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [member.name for member in self.members]

    def __getitem__(self, name: str) -> tuple[Member, bytes]:
        """The only member of that name, and its content with all zeros."""
        (at,) = (at for at, member in enumerate(self.members) if member.name == name)
        return self.members[at], expand(self.members[at], self.contents[at])


def expand(member: Member, stored: bytes) -> bytes:
    """Put stored bytes where they belong."""
    if member.extents is None:
        return stored
    whole, at = bytearray(member.size), 0
    for offset, size in member.extents:
        whole[offset : offset + size] = stored[at : at + size]
        at += size
    return bytes(whole)


def read(data: bytes, split: Split = at_once, **options: int) -> Archive:
    """Read an archive; every member's content has the size that the member says."""
    reader, archive = tar.Reader(**options), Archive()
    archive.warnings = reader.warnings
    contents: list[bytearray] = []
    for part in split(data):
        for item in reader.feed(part):
            if isinstance(item, Member):
                archive.members.append(item)
                contents.append(bytearray())
            else:
                contents[-1] += item
    reader.finish()
    archive.contents = list(map(bytes, contents))
    for member, stored in zip(archive.members, archive.contents, strict=True):
        assert len(stored) == member.stored_size
        if member.kind == "file" and member.extents is None:
            assert stored == data[member.data_offset :][: member.stored_size]
    return archive


def check_headers(archive: Archive, data: bytes) -> None:
    """Assert that each member's headers alone say the same, where there are no global ones."""
    for member in archive.members:
        again = tar.parse(data[member.offset : member.data_offset])
        assert again == member._replace(offset=0, data_offset=again.data_offset)


def refused(
    data: bytes, error: type[AiocompressError] = CorruptError, **options: int
) -> AiocompressError:
    """Read an archive that is to be refused, whole and byte by byte; returns the error."""
    errors = []
    for split in (at_once, by_byte):
        with pytest.raises(error) as caught:
            read(data, split, **options)
        check_offset(caught.value, len(data))
        errors.append(caught.value)
    assert str(errors[0]) == str(errors[1])
    return errors[0]


# Archives built by hand.


def sealed(block: Buffer) -> bytes:
    """A header block with the right checksum."""
    done = bytearray(block)
    done[148:156] = b" " * 8
    done[148:156] = b"%06o\0 " % sum(done)
    return bytes(done)


def block(name: bytes = b"m", kind: bytes = b"0", size: int = 0, **fields: bytes) -> bytes:
    """A ustar header; ``fields`` are written over it, by the names of ``FIELDS``."""
    made = bytearray(header.header(name, kind, 0o644, size, 0, b"", header.owner(0, 0, "", "")))
    for key, value in fields.items():
        made[FIELDS[key] : FIELDS[key] + len(value)] = value
    return sealed(made)


FIELDS = {
    "name": 0,
    "mode": 100,
    "uid": 108,
    "gid": 116,
    "size": 124,
    "mtime": 136,
    "link": 157,
    "magic": 257,
    "user": 265,
    "major": 329,
    "prefix": 345,
    "map": 386,
    "more": 482,
    "real_size": 483,
}
V7 = bytes(255)
GNU = b"ustar  \0"


def padded(data: bytes) -> bytes:
    return data + bytes(padding(len(data)))


def a_file(name: bytes = b"m", data: bytes = b"data", **fields: bytes) -> bytes:
    return block(name, b"0", len(data), **fields) + padded(data)


def extended(*records: tuple[bytes, bytes], kind: bytes = b"x", body: bytes | None = None) -> bytes:
    """A pax header."""
    text = b"".join(pax._record(*record) for record in records) if body is None else body
    return block(b"pax", kind, len(text)) + padded(text)


def long(kind: bytes, text: bytes) -> bytes:
    """A GNU header with a long name (L) or a long link target (K)."""
    return block(b"././@LongLink", kind, len(text) + 1, magic=GNU) + padded(text + b"\0")


FIRST, LAST = a_file(b"first"), a_file(b"last")
HIDDEN = block(b"hidden")


def between(*parts: bytes) -> bytes:
    """An archive with ``parts`` in its middle."""
    return FIRST + b"".join(parts) + LAST + END


# Round trips.

NAMES = st.one_of(
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=60),
    st.binary(min_size=1, max_size=300).map(
        lambda name: name.replace(b"\0", b"/").decode("utf-8", "surrogateescape")
    ),
    st.lists(st.text("abc\xe9.", min_size=1, max_size=120), min_size=1, max_size=5).map("/".join),
)
LARGEST_ID = (1 << 63) - 1
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
    refused(between(extended((b"mtime", text)), LAST))


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


def by_tarfile(version: int) -> bytes:
    """A small archive of many kinds of members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=version) as out:
        for name, kind, content, fields in TARFILE_MEMBERS:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            for key, value in {"uname": "someone", "mtime": 12345, **fields}.items():
                setattr(info, key, value)
            with suppress(ValueError):  # ustar cannot say it
                out.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


TARFILE_MEMBERS: list[tuple[str, bytes, bytes, dict[str, Any]]] = [
    ("plain", tarfile.REGTYPE, b"plain" * 200, {}),
    ("folder", tarfile.DIRTYPE, b"", {"mode": 0o755}),
    ("long" * 60, tarfile.REGTYPE, b"l", {}),
    ("caf\xe9 \udcff", tarfile.REGTYPE, b"", {"uid": 1 << 40, "mtime": -5}),
    ("soft", tarfile.SYMTYPE, b"", {"linkname": "t" * 200}),
    ("hard", tarfile.LNKTYPE, b"", {"linkname": "plain"}),
    ("fifo", tarfile.FIFOTYPE, b"", {"gid": 1 << 22}),
    ("device", tarfile.CHRTYPE, b"", {"devmajor": 5, "devminor": 6}),
]


# What pax and GNU headers say.


def only(*parts: bytes) -> Member:
    """The one member of these headers, between two others, and however it is fed."""
    archive = read(between(*parts))
    check_headers(archive, between(*parts))
    assert archive == read(between(*parts), by_byte)
    first, member, last = archive.members
    assert (first.name, last.name) == ("first", "last")
    assert member.offset == len(FIRST)
    assert last.offset == member.end
    return member


def test_pax_records() -> None:
    """Each keyword has the last word on its field, and unknown ones none."""
    member = only(
        extended(
            (b"path", b"caf\xc3\xa9"),
            (b"path", b"a=b\n\xff"),
            (b"size", b"600"),
            (b"uid", b"9223372036854775807"),
            (b"gid", b"3000000"),
            (b"uname", b"\xc3\xa9"),
            (b"gname", b"g" * 50),
            (b"comment", b"12 size=5\n"),
            (b"VENDOR.thing", b"\0\xff"),
            (b"hdrcharset", b"BINARY"),
            (b"SCHILY.xattr.user.a%3Db%25", b"\0=\n"),
            (b"SCHILY.xattr.user.empty", b""),
            (b"LIBARCHIVE.xattr.user.%E2%82%AC", base64.b64encode(b"euro").rstrip(b"=")),
        ),
        a_file(b"header", b"x" * 600)[:BLOCK],
        bytes(1024),
    )
    assert (member.name, member.size) == ("a=b\n\udcff", 600)
    assert (member.uid, member.gid) == (LARGEST_ID, 3_000_000)
    assert (member.user, member.group) == ("\xe9", "g" * 50)
    assert member.xattrs == (("user.a=b%", b"\0=\n"), ("user.empty", b""), ("user.\u20ac", b"euro"))


def test_pax_size_against_header_size() -> None:
    """The pax size is the one that counts, as everywhere."""
    content = padded(HIDDEN)
    assert only(extended((b"size", b"512")), block(size=0), content).stored_size == 512
    assert only(extended((b"size", b"0")), block(size=512)).stored_size == 0


def test_empty_values_delete() -> None:
    """A record without a value brings the header's field back."""
    member = only(
        extended((b"uname", b"x"), (b"mtime", b"5"), (b"uname", b""), (b"mtime", b"")),
        a_file(user=b"user"),
    )
    assert (member.user, member.mtime_ns) == ("user", 0)


def test_global_headers() -> None:
    """They hold for all that follow, until they or a member's own header say otherwise."""
    data = (
        extended((b"comment", b"git"), kind=b"g")
        + a_file(b"1", uid=b"0000007\0")
        + extended((b"uid", b"8"), (b"mtime", b"1.5"), kind=b"g")
        + a_file(b"2")
        + extended((b"uid", b"9"))
        + a_file(b"3")
        + extended((b"uid", b""))
        + a_file(b"4", uid=b"0000007\0")
        + extended((b"mtime", b""), kind=b"g")
        + a_file(b"5")
        + END
    )
    for split in (at_once, by_byte):
        reader, found = tar.Reader(), []
        for part in split(data):
            found += [item for item in reader.feed(part) if isinstance(item, Member)]
        reader.finish()
        assert [member.uid for member in found] == [7, 8, 9, 7, 8]
        assert [member.mtime_ns // 10**8 for member in found] == [0, 15, 15, 15, 0]


@pytest.mark.parametrize("key", [b"path", b"linkpath", b"size", b"GNU.sparse.map"])
def test_global_headers_that_move_members(key: bytes) -> None:
    """GNU tar believes them, bsdtar does not: refused."""
    refused(between(extended((key, b"5"), kind=b"g"), a_file()))


@pytest.mark.parametrize(
    "body",
    [
        b"\n",
        b"x",
        b"9 path=a",
        b"11 path=a\n",
        b"8 path=a\n",
        b"9 path=a\n\0",
        b"-9 path=a\n",
        b"+9 path=a\n",
        b" 9 path=a\n",
        b"9path=a\n",
        b"9\tpath=a\n",
        b"0 path=a\n",
        b"8 patha\n",
        b"5 =a\n",
        b"4 =\n",
        b"99999999999999999999 path=a\n",
        b"999999999999999999999999 path=a\n",
        b"9 path=a\n9 path=b",
        b"10 size=-1\n",
        b"11 size=1_0\n",
        b"10 size= 1\n",
        b"10 size=0x\n",
        b"28 size=9223372036854775808\n",
        b"11 path=a\0b\n",
        b"8 path=\n",
        b"8 size=\n",
        b"25 LIBARCHIVE.xattr.a=A\n",
        b"22 SCHILY.xattr.a\0b=c\n",
    ],
)
def test_damaged_pax_records(body: bytes) -> None:
    """Lengths that lie, numbers that are none: refused, with the record's own offset."""
    error = refused(between(extended(body=body), a_file()))
    assert error.offset is not None
    assert len(FIRST) + BLOCK <= error.offset < len(FIRST) + 2 * BLOCK


def test_gnu_long_names() -> None:
    """L and K, in either order, each once, up to a NUL."""
    both = long(b"L", b"n" * 300), long(b"K", b"t" * 300)
    for parts in (both, both[::-1]):
        member = only(*parts, block(b"n" * 100, b"2", link=b"t" * 100, magic=GNU))
        assert (member.name, member.link) == ("n" * 300, "t" * 300)
    assert only(long(b"L", b"a\0b"), a_file()).name == "a"
    assert only(block(b"L", b"L", 4, magic=GNU), padded(b"name"), a_file()).name == "name"
    refused(between(block(b"L", b"L", 4, magic=GNU), padded(b"name+"), a_file()))
    assert only(long(b"L", b"folder//"), block(kind=b"5")).name == "folder"


@pytest.mark.parametrize(
    "parts",
    [
        (extended((b"path", b"a")), extended((b"path", b"b"))),
        (long(b"L", b"a"), long(b"L", b"b")),
        (extended((b"path", b"a")), long(b"L", b"b")),
        (long(b"L", b"b"), extended((b"path", b"a"))),
        (long(b"K", b"b"), extended((b"linkpath", b"a"))),
        (extended((b"path", b"a")), extended((b"path", b"b"), kind=b"X")),
        (extended((b"uid", b"1")), extended((b"uid", b"1"), kind=b"g")),
        (long(b"L", b""),),
    ],
)
def test_two_names_for_one_member(parts: tuple[bytes, ...]) -> None:
    """Tools do not agree on which header counts: refused."""
    refused(between(*parts, a_file()))


@pytest.mark.parametrize(
    "parts", [(extended((b"path", b"a")),), (long(b"L", b"a"),), (long(b"K", b"a"),)]
)
def test_headers_without_their_member(parts: tuple[bytes, ...]) -> None:
    """An extended header at the end belongs to a member that is lost."""
    refused(FIRST + b"".join(parts) + END)
    refused(FIRST + b"".join(parts), TruncatedError)


def test_metadata_above_the_limit() -> None:
    """All that stands before one member counts, and what it claims is never taken on trust."""
    small = extended((b"comment", b"c" * 600)), long(b"L", b"n" * 600)
    data = between(*small, a_file(), *small, a_file())
    assert len(read(data, max_metadata=1300).members) == 4
    refused(data, LimitError, max_metadata=1200)
    for kind in b"xgLKXA":
        tracemalloc.start()
        refused(between(block(kind=bytes([kind]), size=0o77777777777)), LimitError)
        assert tracemalloc.get_traced_memory()[1] < MIB
        tracemalloc.stop()


# Header fields.


def base_256(value: int, size: int = 12) -> bytes:
    """A number as GNU tar writes those that octal digits cannot."""
    if value < 0:
        return value.to_bytes(size, "big", signed=True)
    return b"\x80" + value.to_bytes(size - 1, "big")


@pytest.mark.parametrize(
    ("field_bytes", "size"),
    [
        (b"00000000004\0", 4),
        (b"00000000004 ", 4),
        (b"000000000004", 4),
        (b"          4 ", 4),
        (b"4\0junkjunk..", 4),
        (b"4 \0\0\0\0\0\0\0\0\0\0", 4),
        (bytes(12), 0),
        (base_256(4), 4),
    ],
)
def test_numbers(field_bytes: bytes, size: int) -> None:
    """Numbers as one tar or another has written them."""
    assert only(with_size(field_bytes), padded(b"x" * size)).size == size


def with_size(field_bytes: bytes, kind: bytes = b"0") -> bytes:
    """A header with this size field."""
    made = bytearray(block(kind=kind))
    made[124 : 124 + len(field_bytes)] = field_bytes
    return sealed(made)


@pytest.mark.parametrize(
    "field_bytes",
    [
        b" " * 12,
        b"-0000000001\0",
        b"+0000000001\0",
        b"00000000008\0",
        b"0000000000a\0",
        b"0o000000001\0",
        b"0000_000001\0",
        b"1junk\0\0\0\0\0\0\0",
        b"\0\1\0\0\0\0\0\0\0\0\0\0",
        b"\0         4 ",  # 4 for GNU tar, 0 for bsdtar
        b"\xb2\0\0\0\0\0\0\0\0\0\0\0",
        base_256(-1),
        base_256(-512),
        base_256(1 << 63),
        b"\x80" + b"\xff" * 11,
        b"\x81" + bytes(11),
        b"\xbf" + b"\xff" * 11,
        b"\xc0" + bytes(11),
    ],
)
def test_sizes_that_are_none(field_bytes: bytes) -> None:
    """Negative, absurd or unreadable sizes are refused, of members and of their headers."""
    for kind in (b"0", b"x", b"L", b"g", b"Z"):
        error = refused(between(with_size(field_bytes, kind), LAST))
        assert error.offset == len(FIRST)


def test_base_256_times_and_ids() -> None:
    """Times before 1970 and large ids of GNU tar."""
    member = only(a_file(mtime=base_256(-(1 << 40)), uid=base_256(1 << 40, 8), magic=GNU))
    assert (member.mtime_ns, member.uid) == (-(1 << 40) * 1_000_000_000, 1 << 40)
    for fields in (
        {"uid": base_256(-1, 8)},
        {"gid": base_256(-2, 8)},
        {"mtime": b"\x80" + b"\xff" * 11},
    ):
        refused(between(a_file(**fields)))


def test_prefix_is_only_in_ustar() -> None:
    """GNU and V7 headers have other things in its place."""
    assert only(a_file(b"n", prefix=b"folder")).name == "folder/n"
    assert only(a_file(b"n", prefix=b"folder", magic=GNU)).name == "n"
    assert only(a_file(b"n", prefix=b"folder", magic=bytes(8))).name == "n"
    assert only(a_file(b"n" * 100, prefix=b"p" * 155)).name == "p" * 155 + "/" + "n" * 100
    refused(between(a_file(magic=b"ustarxyz")))


def test_v7_headers() -> None:
    """No magic: no owner's names; a slash at the end makes a folder."""
    for kind in (b"0", b"\0"):
        folder = only(sealed(block(b"d/", kind)[:257] + V7))
        assert (folder.name, folder.kind, folder.user) == ("d", "directory", "")
    assert only(sealed(block(b"f")[:257] + V7)).kind == "file"


def test_signed_checksums() -> None:
    """Old writers summed signed bytes."""
    made = bytearray(a_file(b"\xff\xfe caf\xe9"))
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(struct.unpack("512b", made[:BLOCK]))
    assert only(bytes(made)).name == "\udcff\udcfe caf\udce9"


def test_checksums() -> None:
    """A header whose sum is wrong is refused where it stands."""
    for wrong in (
        b"0000000\0",
        b"       \0",
        b"99999999",
        bytes(8),
        b"\x80" + bytes(7),
        b"0o12345\0",
        b"12_345\0 ",
    ):
        made = bytearray(a_file())
        made[148:156] = wrong
        assert refused(between(bytes(made))).offset == len(FIRST)
        assert refused(between(extended((b"uid", b"1")), bytes(made))).offset == len(FIRST) + 1024
    assert refused(b"PK" + bytes(2000), FormatError).offset == 0


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../b", "./a", ".", "a\nb\x1b[0m", "a//b"])
def test_names_are_as_the_archive_says(name: str) -> None:
    """Whether they are safe is for others to judge."""
    assert only(a_file(name.encode())).name == name


def test_names_of_folders() -> None:
    """Slashes at their end go; a file with one is a folder, and must have no content."""
    assert only(block(b"a//", b"5")).name == "a"
    assert only(block(b"/", b"5")).name == "/"
    assert only(block(b"a/", b"0")).kind == "directory"
    assert only(extended((b"path", b"a/")), block()).kind == "directory"
    refused(between(a_file(b"a/")))


@pytest.mark.parametrize("kind", [b"0", b"\0", b"1", b"2", b"5", b"6"])
def test_members_without_a_name(kind: bytes) -> None:
    """An empty name is refused."""
    assert refused(between(block(b"", kind))).offset == len(FIRST)


# Sizes and kinds.


@pytest.mark.parametrize("kind", list(b"23456"))
def test_sizes_where_nothing_is_stored(kind: int) -> None:
    """GNU tar skips that much, bsdtar nothing: a member could hide there."""
    refused(between(block(kind=bytes([kind]), size=512, link=b"first"), HIDDEN))
    refused(between(extended((b"size", b"512")), block(kind=bytes([kind])), HIDDEN))


def test_sizes_of_hard_links() -> None:
    """Old writers say the file's size and store nothing; pax may store content."""
    member = only(block(kind=b"1", size=512, link=b"first"))
    assert (member.kind, member.link, member.stored_size) == ("hardlink", "first", 0)
    for key, value in (("magic", b"ustar\x0012"), ("mode", b"644\0junk"), ("major", b"x")):
        refused(between(block(b"m", b"1", 512, **{key: value}), HIDDEN))
        assert only(block(b"m", b"1", 0, **{key: value})).size == 0
    for magic in (GNU, bytes(8)):
        assert only(block(kind=b"1", size=512, mode=b"644\0junk", magic=magic)).stored_size == 0
    content = padded(b"x" * 600)
    member = only(extended((b"size", b"600")), block(kind=b"1", size=600, link=b"first"), content)
    assert (member.size, member.stored_size) == (600, 600)
    refused(between(extended((b"uid", b"1")), block(kind=b"1", size=512), HIDDEN))
    refused(between(extended((b"uid", b"1")), a_file(), block(kind=b"1", size=512), HIDDEN))


def test_dump_folders() -> None:
    """The list of names that GNU tar stores in an incremental backup is skipped."""
    member = only(block(b"d/", b"D", 700, magic=GNU), padded(b"Yfile\0" * 116 + b"abcd"))
    assert (member.name, member.kind, member.size, member.stored_size) == ("d", "directory", 0, 0)


def test_members_of_other_kinds() -> None:
    """What only its writer knows is left out, with a warning that names the place."""
    data = between(block(b"label", b"V"), block(b"n", b"Z", 5), padded(b"hello"))
    archive = read(data)
    assert archive.names == ["first", "last"]
    assert [
        f"byte {len(FIRST) + at}" in text
        for at, text in zip((0, 512), archive.warnings, strict=True)
    ]
    assert "'V'" in archive.warnings[0]
    refused(between(block(kind=b"V", size=512), HIDDEN))
    refused(between(block(kind=b"M", size=4), padded(b"rest")), FormatError)


def test_warnings_are_bounded() -> None:
    """An archive of nothing else does not fill the memory."""
    assert len(read(block(b"n", b"Z") * 5000 + END).warnings) == 1000


# Sparse files.


def old_sparse(pairs: Iterable[tuple[int, int]], real: int, stored: int, *, more: int = 0) -> bytes:
    """A header of the old GNU format, with the blocks behind it that four pairs do not fill."""
    entries = [b"%011o\0%011o\0" % pair for pair in pairs]
    rest = [entries[at : at + 21] for at in range(4, len(entries), 21)]
    made = block(
        kind=b"S",
        size=stored,
        magic=GNU,
        map=b"".join(entries[:4]),
        more=bytes([bool(rest) or more]),
        real_size=b"%011o\0" % real,
    )
    for number, part in enumerate(rest, 1):
        made += b"".join(part).ljust(504, b"\0") + bytes([number < len(rest)]) + bytes(7)
    return made


def pax_sparse(version: str, pairs: list[tuple[int, int]], real: int) -> tuple[bytes, bytes, int]:
    """A pax header for a sparse file, the map in front of its content, and how much is stored."""
    stored = sum(size for _, size in pairs)
    size, count = b"%d" % real, b"%d" % len(pairs)
    if version == "0.0":
        records = [(b"GNU.sparse.size", size), (b"GNU.sparse.numblocks", count)]
        for offset, length in pairs:
            records.append((b"GNU.sparse.offset", b"%d" % offset))
            records.append((b"GNU.sparse.numbytes", b"%d" % length))
        return extended(*records), b"", stored
    if version == "0.1":
        text = b",".join(b"%d,%d" % pair for pair in pairs)
        records = [(b"GNU.sparse.size", size), (b"GNU.sparse.numblocks", count)]
        return extended(*records, (b"GNU.sparse.map", text)), b"", stored
    text = padded(b"%d\n" % len(pairs) + b"".join(b"%d\n%d\n" % pair for pair in pairs))
    records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")]
    records += [(b"GNU.sparse.name", b"m"), (b"GNU.sparse.realsize", size)]
    return extended(*records), text, stored + len(text)


FORMATS = ["old", "0.0", "0.1", "1.0"]
every_sparse_format = pytest.mark.parametrize("version", FORMATS)


def sparse_member(version: str, pairs: list[tuple[int, int]], real: int, lie: int = 0) -> bytes:
    """A sparse file; ``lie`` is added to the size that its header says."""
    stored = sum(size for _, size in pairs)
    content = b"".join(bytes([65 + at % 26]) * size for at, (_, size) in enumerate(pairs))
    if version == "old":
        return old_sparse(pairs, real, stored + lie) + padded(content + bytes(max(lie, 0)))
    head, text, size = pax_sparse(version, pairs, real)
    return head + block(size=size + lie) + padded(text + content + bytes(max(lie, 0)))


@every_sparse_format
@pytest.mark.parametrize(
    ("pairs", "real"),
    [
        ([(512, 512)], 2048),
        ([(0, 512), (1024, 10)], 1034),
        ([(0, 512), (512, 512), (4096, 0)], 4096),
        ([(0, 0)], 0),
        ([(1 << 32, 600)], 1 << 33),
        ([(at * 1024, 512) for at in range(200)], 200 * 1024),
    ],
)
def test_sparse_files(version: str, pairs: list[tuple[int, int]], real: int) -> None:
    """All four formats say the same, GNU tar and tarfile agree, and empty parts are left out."""
    data = between(sparse_member(version, pairs, real))
    member = only(sparse_member(version, pairs, real))
    assert member.extents == tuple((offset, size) for offset, size in pairs if size)
    assert member.size == real
    assert member.stored_size == sum(size for _, size in pairs)
    listed = run(tool("tar"), "-tvf", "-", data=data).decode().splitlines()
    assert int(listed[1].split()[2]) == real
    with tarfile.open(fileobj=io.BytesIO(data)) as other:
        assert other.getmembers()[1].size == real


@every_sparse_format
@pytest.mark.parametrize(
    ("pairs", "real", "lie"),
    [
        ([(0, 512), (256, 512)], 2048, 0),
        ([(1024, 512), (0, 512)], 2048, 0),
        ([(0, 512), (0, 512)], 2048, 0),
        ([(1024, 512)], 1100, 0),
        ([(4096, 0)], 1024, 0),
        ([(0, 512)], 2048, 512),
        ([(0, 512), (1024, 512)], 2048, -512),
        ([(0o77777777000, 0o777)], 2048, 0),
    ],
)
def test_sparse_maps_that_lie(
    version: str, pairs: list[tuple[int, int]], real: int, lie: int
) -> None:
    """Overlaps, wrong order, beyond the end, more or less than is stored: refused."""
    refused(between(sparse_member(version, pairs, real, lie)))


SPARSE_SIZE = (b"GNU.sparse.size", b"9")
ONE_0 = (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9")


@pytest.mark.parametrize(
    "parts",
    [
        (extended(SPARSE_SIZE), a_file()),
        (extended((b"GNU.sparse.name", b"a")), a_file()),
        (extended((b"GNU.sparse.map", b"0,4")), a_file()),
        (extended(SPARSE_SIZE, (b"GNU.sparse.map", b"0,4,")), a_file()),
        (extended(SPARSE_SIZE, (b"GNU.sparse.map", b"0")), a_file()),
        (extended(SPARSE_SIZE, (b"GNU.sparse.map", b"-1,4")), a_file()),
        (extended(SPARSE_SIZE, (b"GNU.sparse.map", b"0,4"), (b"GNU.sparse.map", b"0,4")), a_file()),
        (
            extended(SPARSE_SIZE, (b"GNU.sparse.map", b"0,4"), (b"GNU.sparse.numblocks", b"2")),
            a_file(),
        ),
        (extended(SPARSE_SIZE, (b"GNU.sparse.offset", b"0")), a_file()),
        (extended(SPARSE_SIZE, (b"GNU.sparse.numbytes", b"4")), a_file()),
        (
            extended(SPARSE_SIZE, (b"GNU.sparse.offset", b"0"), (b"GNU.sparse.offset", b"0")),
            a_file(),
        ),
        (
            extended(SPARSE_SIZE, (b"GNU.sparse.realsize", b"8"), (b"GNU.sparse.map", b"0,4")),
            a_file(),
        ),
        (extended(SPARSE_SIZE, (b"GNU.sparse.map", b"0,4")), a_file(magic=GNU)),
        (extended(SPARSE_SIZE, (b"GNU.sparse.map", b"")), block(kind=b"5")),
        (
            extended(SPARSE_SIZE, (b"GNU.sparse.map", b"0,4")),
            old_sparse([(0, 4)], 9, 4),
            bytes(BLOCK),
        ),
        (extended(*ONE_0), a_file()),
        (extended(*ONE_0), a_file(data=b"1\n0\n4\n".ljust(512, b"\0"))),
        (extended(*ONE_0), a_file(data=b"-1\n0\n4\n".ljust(512, b"\0") + b"data")),
        (extended(*ONE_0), a_file(data=b"x\n0\n4\n".ljust(512, b"\0") + b"data")),
        (extended(*ONE_0), a_file(data=b"1\n0\n+4\n".ljust(512, b"\0") + b"data")),
        (extended(*ONE_0), a_file(data=b"9\n0\n4\n".ljust(512, b"\0") + b"data")),
        (extended(*ONE_0), a_file(data=b"9223372036854775807\n".ljust(512, b"\0") + b"data")),
        (extended(*ONE_0), a_file(data=b"1" * 1024)),
        (old_sparse([(0, 4)], 9, 4, more=1), bytes(1024)),
        (a_file(magic=GNU, map=b"00000000000\x0000000000004\0"),),
        (block(kind=b"S", size=4, magic=GNU, map=b"0" * 11 + bytes(13)), bytes(BLOCK)),
        (block(kind=b"S", size=4, magic=GNU, map=b"x" * 24), bytes(BLOCK)),
        (block(kind=b"S", size=4, magic=GNU, real_size=base_256(-1)), bytes(BLOCK)),
    ],
)
def test_damaged_sparse_files(parts: tuple[bytes, ...]) -> None:
    """Half a map, two maps, a map of something else: refused."""
    refused(between(*parts))


@pytest.mark.parametrize(
    "parts",
    [
        (extended((b"GNU.sparse.major", b"2"), (b"GNU.sparse.minor", b"0"), SPARSE_SIZE), a_file()),
        (extended((b"SCHILY.realsize", b"9")), a_file()),
        (block(kind=b"S", size=4), padded(b"data")),
    ],
)
def test_sparse_files_of_others(parts: tuple[bytes, ...]) -> None:
    """Kinds of which we know only that they exist: refused by name."""
    refused(between(*parts), FormatError)


def test_endless_sparse_maps() -> None:
    """A map is metadata: it has a limit, however it comes."""
    full = b"".join(b"%011o\0%011o\0" % (at * 512, 0) for at in range(21)) + b"\1" + bytes(7)
    head = old_sparse([(0, 0)] * 4, 0, 0, more=1)
    refused(FIRST + head + full * 30, LimitError, max_metadata=8 * KIB)
    text = b"4000\n" + b"0\n" * 8000
    data = between(extended(*ONE_0), a_file(data=padded(text)))
    refused(data, LimitError, max_metadata=8 * KIB)
    assert read(data).members[1].extents == ()


# Ends and damage.


def test_what_ends_an_archive() -> None:
    """One block of zeros is enough where nothing follows; many may follow."""
    for end in (bytes(512), bytes(700), END, bytes(10240), bytes(10241)):
        archive = read(FIRST + end)
        assert (archive.names, archive.warnings) == (["first"], [])
        assert read(FIRST + end, by_byte) == archive
    refused(FIRST, TruncatedError)
    refused(b"", TruncatedError)
    assert read(END) == Archive()


@every_split
def test_what_follows_the_end(split: Split) -> None:
    """It is never taken for members, and a warning says where it begins."""
    for gap in (1024, 1536, 1600, 200_000):
        archive = read(FIRST + bytes(gap) + LAST, split)
        assert archive.names == ["first"]
        (warning,) = archive.warnings
        assert f"behind the end of the archive, at byte {len(FIRST) + gap}," in warning


@every_split
def test_a_lone_zero_block(split: Split) -> None:
    """GNU tar and bsdtar stop there; so do we, and say so."""
    archive = read(FIRST + bytes(512) + LAST + END, split)
    assert archive.names == ["first"]
    (warning,) = archive.warnings
    assert f"lone zero block at byte {len(FIRST)}" in warning


def small_archive() -> bytes:
    """One of all: pax, long names, sparse, content."""
    return between(
        extended((b"path", b"p" * 10), (b"mtime", b"1.5")),
        a_file(),
        long(b"L", b"n" * 10),
        a_file(magic=GNU),
        sparse_member("1.0", [(0, 512), (1024, 3)], 2000),
        old_sparse([(at * 1024, 512) for at in range(5)], 5120, 2560),
        bytes(2560),
        block(b"d", b"D", 3, magic=GNU),
        padded(b"abc"),
    )


def test_every_truncation() -> None:
    """Cut anywhere before the end marker, an archive is an error that says where."""
    data = small_archive()
    assert len(read(data).members) == 7
    for size in range(len(data)):
        if size < len(data) - 512:
            with pytest.raises(TruncatedError) as caught:
                read(data[:size])
            assert caught.value.offset == size
        else:
            assert read(data[:size]) == read(data)


def test_every_bit() -> None:
    """A flipped bit is an error, or the same archive: only content has no checksum."""
    data = a_file(b"name", b"content") + block(b"d", b"5") + END
    whole, accepted = read(data), 0
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            archive = read(bytes(damaged))
        except AiocompressError as error:
            check_offset(error, len(data))
            continue
        if bit // 8 >= len(data) - 1024:
            assert archive.warnings
        elif bit // 8 not in range(512, 519):
            assert archive == whole
            accepted += bit // 8 not in range(512, 1024)
    # In both checksums: the last byte made a NUL, the NUL or the first zero made a space.
    assert accepted == 2 * 3


def test_errors_stay() -> None:
    """After an error nothing more comes out, and the archive is never said to be whole."""
    reader = tar.Reader()
    with pytest.raises(CorruptError) as caught:
        list(reader.feed(FIRST + b"x" * 600))
    with pytest.raises(CorruptError) as again:
        list(reader.feed(LAST + END))
    with pytest.raises(CorruptError) as finished:
        reader.finish()
    assert caught.value is again.value is finished.value


def test_feeding_too_early() -> None:
    """What the last feed gave must be taken first: nothing is lost silently."""
    reader = tar.Reader()
    items = reader.feed(FIRST)
    next(items)
    for too_early in (lambda: reader.feed(LAST), reader.finish):
        with pytest.raises(ValueError, match="take all"):
            too_early()
    list(items)
    assert [item.name for item in reader.feed(LAST) if isinstance(item, Member)] == ["last"]
    list(reader.feed(END))
    reader.finish()
    with pytest.raises(ValueError, match="finish once"):
        reader.feed(LAST)


def test_content_is_not_copied() -> None:
    """Content comes as views of what was fed, and memory stays flat."""
    data = a_file(data=bytes(4 * MIB))
    reader = tar.Reader()
    tracemalloc.start()
    items = list(reader.feed(data))
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()
    assert isinstance(items[1], memoryview)
    assert items[1].obj is data


@pytest.mark.parametrize("size", [100, BLOCK, 600, 1024, 1030])
def test_memory_is_given_back(size: int) -> None:
    """Between feeds nothing holds on to what was fed: it may be a slot, or a mapping."""
    reader, fed = tar.Reader(), bytearray(a_file(data=bytes(700))[:size])
    for item in reader.feed(memoryview(fed)):
        if isinstance(item, memoryview):
            item.release()
    fed.clear()


def test_parse_wants_all_headers() -> None:
    """Headers that are not whole are an error, not a guess."""
    whole = extended((b"path", b"a")) + a_file()[:BLOCK]
    assert tar.parse(memoryview(whole)).name == "a"
    for size in range(len(whole)):
        with pytest.raises(AiocompressError):
            tar.parse(whole[:size])


# Chance.


def short(data: bytes) -> bytes:
    """An archive without the zeros at its end that fill up 10 KiB."""
    return padded(data.rstrip(b"\0")) + END


CORPUS = {
    "all": small_archive(),
    "ustar": short(by_tarfile(tarfile.USTAR_FORMAT)),
    "gnu": short(by_tarfile(tarfile.GNU_FORMAT)),
    "pax": short(by_tarfile(tarfile.PAX_FORMAT)),
}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=1500), st.integers(0, 1), st.sampled_from(["at once", "7"]))
def test_random_bytes(data: bytes, seal: int, split: str) -> None:
    """Whatever the bytes, only errors of ours come out."""
    if seal:
        data = sealed(data[:BLOCK].ljust(BLOCK, b"\0")) + data[BLOCK:]
    try:
        read(data, SPLITS[split])
    except AiocompressError as error:
        check_offset(error, len(data))


MUTATIONS = st.lists(
    st.tuples(
        st.integers(0, 10_000),
        st.one_of(
            st.sampled_from(
                [b"\0", b" ", b"9", b"-", b"\xff", b"\x80", b"x", b"S", b"1", b"5", b"D"]
            ),
            st.binary(min_size=1, max_size=12).map(lambda value: value.replace(b"\n", b"?")),
        ),
        st.sampled_from([None, 0, 100, 124, 136, 156, 157, 257, 345, 386, 482]),
    ),
    min_size=1,
    max_size=4,
)


def mutated(data: bytes, mutations: list[tuple[int, bytes, int | None]]) -> bytes:
    """Write over a valid archive, and put the checksums right: damage that only malice makes."""
    changed = bytearray(data)
    for at, value, field_at in mutations:
        start = at % len(data)
        if field_at is not None:
            start = start // BLOCK * BLOCK + field_at
        changed[start : start + len(value)] = value
    changed = changed[: len(data)]
    for start in range(0, len(data), BLOCK):
        had = data[start : start + BLOCK]
        if had == sealed(had) and any(had):
            changed[start : start + BLOCK] = sealed(changed[start : start + BLOCK])
    return bytes(changed)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(CORPUS)), MUTATIONS, st.sampled_from(["at once", "7"]))
def test_mutations(name: str, mutations: Any, split: str) -> None:
    """Valid archives, changed: an error of ours, or an archive that tells the same twice."""
    data = mutated(CORPUS[name], mutations)
    try:
        archive = read(data, SPLITS[split])
    except AiocompressError as error:
        check_offset(error, len(data))
    else:
        assert read(data) == archive


IN_RANGE = re.compile(
    rb"out of (\S+ )?range|unknown extended header|Exiting with|implausibly old|link target"
)
"""What GNU tar says of numbers and links that it cannot make, though it goes on."""


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(CORPUS)), MUTATIONS)
def test_mutations_against_gnu_tar(name: str, mutations: Any) -> None:
    """What we read without a word, GNU tar lists by the same names."""
    data = mutated(CORPUS[name], mutations)
    try:
        archive = read(data)
    except AiocompressError:
        return
    if not archive.warnings:
        command = tool("tar"), "-Ptf", "-", "--quoting-style=literal"
        done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=60)
        complaints = [line for line in done.stderr.splitlines() if not IN_RANGE.search(line)]
        names = [header.to_bytes(member.name).rstrip(b"/") + b"\n" for member in archive.members]
        listed = re.sub(b"/+\n", b"\n", done.stdout)
        assert (listed, complaints) == (b"".join(names), [])


NAME_FOR_ALL = re.compile(r"[!-.0-\[\]-~][ -\[\]-~]*\n")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(CORPUS)), MUTATIONS)
def test_mutations_against_bsdtar(name: str, mutations: Any) -> None:
    """Nor does bsdtar see other members, where it takes the file for an archive at all."""
    data = mutated(CORPUS[name], mutations)
    try:
        archive = read(data)
    except AiocompressError:
        return
    names = [f"{member.name.rstrip('/')}\n" for member in archive.members]
    # It escapes what is not printable, and has ideas of its own on slashes at the start.
    if not archive.warnings and all(NAME_FOR_ALL.fullmatch(name) for name in names):
        command = tool("bsdtar"), "-tf", "-"
        done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=60)
        listed = re.sub(b"/+\n", b"\n", done.stdout).decode()
        assert listed == "".join(names) or b"Unrecognized archive format" in done.stderr
