"""The fields of a header: numbers, checksums, sizes and kinds."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiocompress.errors import FormatError
from aiocompress.formats.tar.header import BLOCK, END, header, owner

from ...help.tars import (
    FIRST,
    GNU,
    HIDDEN,
    LAST,
    a_file,
    base_256,
    between,
    block,
    extended,
    long,
    only,
    padded,
    read,
    refused,
    sealed,
)
from ...help.tools import run, tool

# Archives built by hand.


V7 = bytes(255)


# Header fields.


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


@pytest.mark.parametrize("field", ["mode", "uid", "gid", "mtime"])
def test_unreadable_attributes(field: str) -> None:
    """GNU tar and bsdtar restore a member with such a field, and so what follows it."""
    size = 12 if field == "mtime" else 8
    values = [b" " * size, b"-000001\0", b"abcdefgh", b"0000999\0", b"\xb2" * size]
    values += [b"\x80" + b"\xff" * 11] if field == "mtime" else [base_256(-1, 8)]
    for value in values:
        for kind in (b"0", b"5", b"2"):
            member = only(block(b"m", kind, **{field: value}))
            assert member.unreadable == ("mtime_ns" if field == "mtime" else field,)
            assert (member.mode, member.uid, member.gid, member.mtime_ns) == (0o644, 0, 0, 0)
    every = {"mode": b" " * 8, "uid": b" " * 8, "gid": b" " * 8, "mtime": b" " * 12}
    assert set(only(a_file(**every)).unreadable) == {"mode", "uid", "gid", "mtime_ns"}
    member = only(extended((b"uid", b"7"), (b"mtime", b"8")), a_file(**every))
    assert (member.unreadable, member.uid, member.mtime_ns) == (("gid", "mode"), 7, 8_000_000_000)


def test_unreadable_devices() -> None:
    """A device may be read without its numbers, but not be made."""
    member = only(block(b"m", b"3", major=b"x" * 8))
    assert (member.kind, member.device, member.unreadable) == (
        "character device",
        (0, 0),
        ("device",),
    )


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


@given(
    name=st.binary(min_size=1, max_size=260).map(lambda text: text.replace(b"z", b"/")),
    link=st.binary(max_size=120),
    user=st.text(max_size=40),
    mode=st.integers(0, 0o7777),
)
def test_written_checksums(name: bytes, link: bytes, user: str, mode: int) -> None:
    """They are the sum of all bytes, whatever those are."""
    made = header(name, b"2", mode, 1, 2, link, owner(1, 2, user, user))[-BLOCK:]
    assert int(made[148:155].rstrip(b"\0"), 8) == sum(made) - sum(made[148:156]) + sum(b" " * 8)


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
    """An empty name is that member's fault, and no other's."""
    for parts in (
        (block(b"", kind),),
        (extended((b"path", b"")), block(b"x", kind)),
        (long(b"L", b""), block(b"x", kind)),
    ):
        member = only(*parts)
        assert (member.name, member.unreadable) == ("", ("name",))


# Sizes and kinds.


@pytest.mark.parametrize("kind", list(b"23456"))
def test_sizes_where_nothing_is_stored(kind: int) -> None:
    """GNU tar skips that much, bsdtar nothing: a member could hide there."""
    if kind != b"5"[0]:
        refused(between(block(kind=bytes([kind]), size=512, link=b"first"), HIDDEN))
    refused(between(extended((b"size", b"512")), block(kind=bytes([kind])), HIDDEN))


@pytest.mark.parametrize("magic", [b"ustar\x0000", GNU, bytes(8)])
def test_sizes_of_folders(magic: bytes) -> None:
    """In a folder's header it means nothing: all tools see the same members."""
    for before in ((), (extended((b"uid", b"7")),)):
        data = between(*before, block(b"d/", b"5", 512, magic=magic), HIDDEN)
        archive = read(data)
        assert archive.names == ["first", "d", "hidden", "last"]
        assert (archive.members[1].size, archive.members[1].stored_size) == (0, 0)
        for name in ("tar", "bsdtar"):
            listed = run(tool(name), "-tf", "-", data=data).decode().split()
            assert [line.rstrip("/") for line in listed] == archive.names
    refused(between(block(b"d/", b"0", 512), HIDDEN))


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


@pytest.mark.parametrize("magic", [b"ustar\x0000", GNU, bytes(8)])
def test_unknown_types(magic: bytes) -> None:
    """A type that no tar knows is taken for a file, as GNU tar, bsdtar and tarfile take it."""
    for kind in b"ZENI89":
        parts = block(b"n", bytes([kind]), 5, magic=magic, link=b"x"), padded(b"hello")
        member, archive = only(*parts), read(between(*parts))
        assert (member.kind, member.size, member.link) == ("file", 5, "")
        assert (member.unreadable, archive.contents[1]) == (("kind",), b"hello")
        listed = run(tool("bsdtar"), "-tf", "-", data=between(*parts)).decode().split()
        assert listed == archive.names
    refused(between(block(b"n/", b"Z", 5), padded(b"hello")))


def test_members_of_other_kinds() -> None:
    """The label of a volume is left out, with a warning that names the place."""
    archive = read(between(block(b"label", b"V")))
    assert archive.names == ["first", "last"]
    (warning,) = archive.warnings
    assert "'label'" in warning
    assert "'V'" in warning
    assert f"byte {len(FIRST)}" in warning
    refused(between(block(kind=b"V", size=512), HIDDEN))
    refused(between(block(kind=b"M", size=4), padded(b"rest")), FormatError)


def test_warnings_are_bounded() -> None:
    """An archive of nothing else does not fill the memory."""
    assert len(read(block(b"n", b"V") * 5000 + END).warnings) == 1000
