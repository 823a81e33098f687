"""What pax and GNU headers say of the member that follows."""

from __future__ import annotations

import base64
import tracemalloc

import pytest

from aiocompress.errors import LimitError, TruncatedError
from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import BLOCK, END
from aiocompress.model import MIB, Member

from ...help.data import at_once, by_byte
from ...help.tars import (
    FIRST,
    GNU,
    HIDDEN,
    LARGEST_ID,
    a_file,
    between,
    block,
    extended,
    long,
    only,
    padded,
    read,
    refused,
)


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


UNREADABLE = {
    b"uid": (b"-1", b"-1.5", b"nan", b"1e9", b" 5", b"0x5", b"9" * 24, b"9223372036854775808"),
    b"gid": (b"-1", b"abc"),
    b"mtime": (b"nan", b"inf", b"-", b"1e9", b"9" * 24),
    b"uname": (b"a\0b",),
    b"gname": (b"\0",),
    b"SCHILY.xattr.a\0b": (b"c",),
    b"LIBARCHIVE.xattr.user.a": (b"A", b"AAAAA"),
}
FIELDS = {b"mtime": "mtime_ns", b"uid": "uid", b"gid": "gid", b"uname": "user", b"gname": "group"}
attribute_rows = pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in UNREADABLE.items() for value in values]
)


@attribute_rows
def test_unreadable_attributes(key: bytes, value: bytes) -> None:
    """What a member can do without is named, and nothing else of it, or behind it, is lost."""
    field, other = FIELDS.get(key, "xattrs"), (b"SCHILY.xattr.user.good", b"v")
    filled = {"uid": b"0000007\0", "gid": b"0000007\0", "mtime": b"00000000007\0"}
    header = a_file(b"m", b"content", **filled, user=b"user")
    member = only(extended((key, value), other), header)
    assert member.unreadable == (field,)
    assert (member.name, member.size, member.xattrs) == ("m", 7, (("user.good", b"v"),))
    if field != "xattrs":
        assert getattr(member, field) == Member._field_defaults[field]
    # The last record of a keyword counts, one without a value brings the header's back.
    for last in (b"", b"5"):
        again = only(extended((key, value), (key, last)), header)
        assert again.unreadable == ((field,) if field == "xattrs" else ())


@attribute_rows
def test_unreadable_attributes_of_all_members(key: bytes, value: bytes) -> None:
    """Those of a global header are those of each member, unless its own header has others."""
    field = FIELDS.get(key, "xattrs")
    data = extended((key, value), kind=b"g") + a_file(b"1") + extended((key, b"5")) + a_file(b"2")
    first, second = read(data + END).members
    assert first.unreadable == (field,)
    assert second.unreadable == ((field,) if field == "xattrs" else ())


def test_numbers_with_zeros_in_front() -> None:
    """A number may have more digits than any number needs; GNU tar and bsdtar read it."""
    content = padded(HIDDEN)
    for zeros in (b"0" * 21, b"0" * 4000):
        records = (b"size", zeros + b"512"), (b"uid", zeros + b"7"), (b"mtime", zeros + b"8.5")
        member = only(extended(*records), block(size=0), content)
        assert (member.stored_size, member.uid, member.mtime_ns) == (512, 7, 8_500_000_000)
    refused(between(extended((b"size", b"1" * 24)), block(size=0), content))


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
        b"8 size=\n",
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
