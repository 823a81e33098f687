"""tar headers: ``header`` makes blocks of 512 bytes, ``parse`` takes them apart.

POSIX.1-2008 ``pax``: the ustar interchange format, and extended headers (records of keyword and
value) only for what a ustar header cannot hold: a long name, a large size, extended attributes.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Final

from aiocompress.errors import CorruptError
from aiocompress.formats.tar import pax
from aiocompress.formats.tar.fields import (
    GNU_MAGIC,
    check_sum,
    ids_of,
    is_tidy,
    number,
    owners_of,
    until_nul,
)
from aiocompress.formats.tar.pax import Records
from aiocompress.model import Kind, Member

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)
"""The end marker of an archive."""
TYPES: Final[dict[Kind, bytes]] = {
    "file": b"0",
    "hardlink": b"1",
    "symlink": b"2",
    "character device": b"3",
    "block device": b"4",
    "directory": b"5",
    "fifo": b"6",
}
DISAGREE: Final = "GNU tar and bsdtar do not agree on where the next member begins"
DUMP, SPARSE, LABEL = b"DSV"
"""GNU tar's folder of an incremental backup, whose content lists names; its sparse file; the name
of its volume."""
PLAIN: Final = b"0\x00123456"
"""Types of members that may stand without headers before them, and without a map."""

_KINDS: Final[dict[int, Kind]] = {
    DUMP: "directory",
    **{flag[0]: kind for kind, flag in TYPES.items()},
}
_FLAGS: Final = bytes(_KINDS) + b"\x007SMV"
"""Types that some tar has defined, and that this reader knows."""
_FILES, _SLASH = b"\x0007S", b"/"[0]
_LARGEST_ID, _LARGEST_NUMBER = 0o7777777, 0o77777777777
_NAME_SIZE, _PREFIX_SIZE, _OWNER_SIZE = 100, 155, 32
LONGEST_LINK: Final = 100
SPARSE_FOLDER: Final = b"GNUSparseFile.0/"
_TAIL_SIZE: Final = BLOCK - 156
"""Bytes behind the checksum."""
_PAX_HEADER_NAME: Final = b"././@PaxHeader"


def to_bytes(text: str) -> bytes:
    """Return a name as bytes; surrogate escapes become the bytes they stand for."""
    return text.encode("utf-8", "surrogateescape")


def to_text(name: bytes) -> str:
    """Return a name in an archive as text; bytes that are not UTF-8 become surrogate escapes."""
    return name.decode("utf-8", "surrogateescape")


def padding(size: int) -> int:
    """Return how many zeros follow ``size`` bytes of content."""
    return -size % BLOCK


class Owner:
    """Who owns a member: encoded once for many members, with the fields behind it in a header.

    :param device: its numbers, where the member is one.
    """

    __slots__ = ("ids", "pax", "row", "tail")

    def __init__(
        self, uid: int, gid: int, user: str, group: str, device: tuple[int, int] = (0, 0)
    ) -> None:
        ids, names = (uid, gid), (to_bytes(user), to_bytes(group))
        self.row = (uid, gid, *names)
        """The row of the index's table of owners."""
        records = [
            (key, b"%d" % value)
            for key, value in zip((b"uid", b"gid"), ids, strict=True)
            if not 0 <= value <= _LARGEST_ID
        ]
        records += [
            (key, text)
            for key, text in zip((b"uname", b"gname"), names, strict=True)
            if len(text) >= _OWNER_SIZE
        ]
        self.pax = tuple(records)
        self.ids = b"%07o\0%07o\0" % tuple(i if 0 <= i <= _LARGEST_ID else 0 for i in ids)
        fields = (text[: _OWNER_SIZE - 1].ljust(_OWNER_SIZE, b"\0") for text in names)
        self.tail = b"ustar\x0000" + b"".join(fields)
        self.tail += b"%07o\0%07o\0" % tuple(min(number, _LARGEST_ID) for number in device)


owner: Final = lru_cache(1024)(Owner)
"""Returns an ``Owner``; the last 1,024 are kept."""


def is_plain(name: bytes, size: int, seconds: float, owner: Owner) -> bool:
    """Whether one block is the header of a member without long link or xattrs; see ``header``."""
    return (
        (len(name) <= _NAME_SIZE or 0 < _cut(name) <= _PREFIX_SIZE)
        and size <= _LARGEST_NUMBER >= seconds >= 0
        and not owner.pax
    )


def _cut(name: bytes) -> int:
    """Return where a long name is cut in two, as a header stores it; -1: it cannot be."""
    return name.find(b"/", max(0, len(name) - _NAME_SIZE - 1), len(name) - 1)


def header(
    name: bytes,
    kind: bytes,
    mode: int,
    size: int,
    seconds: int,
    link: bytes,
    owner: Owner,
    xattrs: tuple[tuple[str, bytes], ...] = (),
    real_size: int | None = None,
) -> bytes:
    """Return the header blocks of a member, an extended header first where it needs one.

    The last one is POSIX.1-2008's ustar Interchange Format.

    :param name: as it is to stand there: that of a folder with a slash at the end.
    :param kind: the ustar type, one byte.
    :param size: bytes of the content.
    :param seconds: the modification time; a header holds no fractions.
    :param real_size: the bytes of a sparse file, whose content begins with its map: GNU tar's
        format 1.0. Tools that do not know it restore what is stored, under another name.
    """
    records, prefix = owner.pax, b""
    if real_size is not None:
        records += sparse_records(name, real_size)
        name = SPARSE_FOLDER + name[name.rfind(b"/") + 1 :][: _NAME_SIZE - len(SPARSE_FOLDER)]
    if len(name) > _NAME_SIZE:
        cut = _cut(name)
        if 0 < cut <= _PREFIX_SIZE:
            prefix, name = name[:cut], name[cut + 1 :]
        else:
            records += ((b"path", name),)
            name = name[:_NAME_SIZE]
    if len(link) > LONGEST_LINK:
        records += ((b"linkpath", link),)
        link = link[:LONGEST_LINK]
    if size > _LARGEST_NUMBER:
        records += ((b"size", b"%d" % size),)
        size = 0
    if not 0 <= seconds <= _LARGEST_NUMBER:
        records += ((b"mtime", b"%d" % seconds),)
        seconds = min(max(seconds, 0), _LARGEST_NUMBER)
    if xattrs:
        records += tuple((pax.xattr_key(key), value) for key, value in xattrs)
    middle, tail, total = _fixed(kind, mode & 0o7777, owner)
    head = b"%b%b%011o\0%011o\0" % (name.ljust(_NAME_SIZE, b"\0"), middle, size, seconds)
    total += _sum(head)
    if link or prefix:
        tail = b"%b%b%b%b" % (kind, link.ljust(LONGEST_LINK, b"\0"), owner.tail, prefix)
        tail, total = tail.ljust(_TAIL_SIZE, b"\0"), total + _sum(link) + _sum(prefix)
    block = b"%b%06o\0 %b" % (head, total, tail)
    return _pax(records) + block if records else block


@lru_cache(1024)
def _fixed(kind: bytes, mode: int, owner: Owner) -> tuple[bytes, bytes, int]:
    """Return what many headers have in common, if they have neither link nor prefix.

    What stands between name and size; what stands behind the checksum; and the sum of the bytes of
    the latter and of the checksum's own field, which counts as spaces.
    """
    tail = (kind + bytes(LONGEST_LINK) + owner.tail).ljust(_TAIL_SIZE, b"\0")
    return b"%07o\0%b" % (mode, owner.ids), tail, sum(tail) + sum(b" " * 8)


def _sum(data: bytes) -> int:
    """Return the sum of all bytes of at most 256.

    In C: it is the low half of Adler-32, modulo 65521, which they cannot reach.
    """
    return zlib.adler32(data, 0) & 0xFFFF


def sparse_records(name: bytes, real_size: int) -> tuple[tuple[bytes, bytes], ...]:
    """Return what an extended header says of a sparse file."""
    return (
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", name),
        (b"GNU.sparse.realsize", b"%d" % real_size),
    )


def _pax(records: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Return an extended header: a block, and its records, padded."""
    body = pax.encode(records)
    head = header(_PAX_HEADER_NAME, b"x", 0o644, len(body), 0, b"", owner(0, 0, "", ""))
    return head + body + bytes(padding(len(body)))


def parse(block: bytes, offset: int, data_offset: int, records: Records | None = None) -> Member:
    """Return the member of a header block; a sparse one does not have its extents yet.

    What it can do without may be ``unreadable``, as may its type and its name: GNU tar and bsdtar
    restore such members, or go on behind them. What says where it ends may not.

    :param offset: where the member's first block begins in the archive.
    :param data_offset: where its content begins: behind this block.
    :param records: those of its own and of global extended headers; None: there were none.
    :raises CorruptError: the block is damaged, or GNU tar and bsdtar disagree on its meaning.
    """
    check_sum(block, data_offset - BLOCK)
    mode, uid, gid, unreadable = ids_of(block[100:124])
    try:
        size = number(block[124:136])
        user, group, has_prefix = owners_of(block[257:329])
    except ValueError as error:
        raise CorruptError(f"a header with {error}", offset=data_offset - BLOCK) from None
    try:
        seconds = number(block[136:148], signed=True)
    except ValueError:
        seconds, unreadable = 0, ("mtime_ns", *unreadable)
    name, flag = until_nul(block[:100]), block[156]
    if has_prefix:
        if block[345]:
            name = until_nul(block[345:500]) + b"/" + name
    elif block[386] and flag != SPARSE and block[257:265] == GNU_MAGIC:
        reason = "a sparse map in the header of a member that is not sparse"
        raise CorruptError(reason, offset=data_offset - BLOCK, hint=DISAGREE)
    member = Member(  # by position: keywords take twice as long
        name.decode("utf-8", "surrogateescape"),
        _KINDS.get(flag, "file"),
        size,
        mode,
        seconds * 1_000_000_000,
        uid,
        gid,
        user,
        group,
        "",
        (0, 0),
        offset,
        data_offset,
        size,
        None,
        (),
        unreadable,
    )
    if records is None and flag in _FILES and name and name[-1] != _SLASH:
        return member
    return _settled(member, block, records)


def _settled(member: Member, block: bytes, records: Records | None) -> Member:
    """Complete a member from the fields that only some types use, and from its records."""
    at, flag = member.data_offset - BLOCK, block[156]
    if flag not in _FLAGS:
        member = _without(member, "kind")
    elif flag not in _FILES:
        member = member._replace(link=to_text(until_nul(block[157:257])))
    if member.kind.endswith("device"):
        try:
            member = member._replace(device=(number(block[329:337]), number(block[337:345])))
        except ValueError:
            member = _without(member, "device")
    if records is not None:
        member = _overruled(member, records)
    if member.kind in {"file", "directory"} and member.name.endswith("/"):
        # In V7 headers, the slash is the only mark of a folder.
        member = member._replace(name=member.name.rstrip("/") or "/", kind="directory")
    if not member.name:
        member = _without(member, "name")
    if member.size and member.kind != "file" and flag != DUMP:
        return _with_size(member, block, at, records)
    return member


def _without(member: Member, *fields: str) -> Member:
    """Return a member of which these fields are unreadable, too."""
    return member._replace(unreadable=(*member.unreadable, *fields))


def _overruled(member: Member, records: Records) -> Member:
    numbers = records.numbers
    texts = {key: to_text(value) for key, value in records.texts.items()}
    size = numbers.get(b"size", member.size)
    if member.unreadable or records.unreadable:
        told = {pax.ATTRIBUTES[key] for key in pax.ATTRIBUTES.keys() & {*numbers, *texts}}
        unreadable = sorted({*member.unreadable, *records.unreadable} - told)
        defaults = {field: Member._field_defaults[field] for field in records.unreadable}
        member = member._replace(**defaults | {"unreadable": tuple(unreadable)})
    return member._replace(
        name=texts.get(b"GNU.sparse.name", texts.get(b"path", member.name)),
        link=texts.get(b"linkpath", member.link),
        user=texts.get(b"uname", member.user),
        group=texts.get(b"gname", member.group),
        uid=numbers.get(b"uid", member.uid),
        gid=numbers.get(b"gid", member.gid),
        mtime_ns=numbers.get(b"mtime", member.mtime_ns),
        size=size,
        stored_size=size,
        xattrs=tuple(records.xattrs.items()),
    )


def _with_size(member: Member, block: bytes, offset: int, records: Records | None) -> Member:
    """Judge a size in the header of a member without content, by what other tools would skip.

    In that of a hard link it means nothing (old writers put the file's size there), unless a pax
    header says so. bsdtar believes it in any archive that has pax headers, and in slightly odd
    ustar headers. That of a folder means nothing either (POSIX lets it limit what the folder may
    hold), but bsdtar believes a pax header. For all other types bsdtar ignores it; GNU tar skips it
    when it lists an archive, but not when it extracts one.
    """
    is_in_pax = records is not None and b"size" in records.numbers
    means_nothing = block[156:157] == TYPES["directory"] and not is_in_pax
    if member.kind == "hardlink":
        if is_in_pax:
            return member
        means_nothing = records is None and (block[257:263] != b"ustar\0" or is_tidy(block))
    if means_nothing:
        return member._replace(size=0, stored_size=0)
    raise CorruptError(f"a {member.kind} with a size", offset=offset, hint=DISAGREE)
