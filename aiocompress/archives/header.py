"""tar headers: ``encode`` members into blocks of 512 bytes, ``parse`` them back.

POSIX.1-2008 ``pax``: the ustar interchange format, and extended headers (records of keyword and
value) only for what a ustar header cannot say: a long name, a large size, extended attributes.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Final

from ..model import Member

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)
"""What ends an archive."""
TYPES: Final = {
    "file": b"0",
    "hardlink": b"1",
    "symlink": b"2",
    "character device": b"3",
    "block device": b"4",
    "directory": b"5",
    "fifo": b"6",
}
XATTR: Final = "SCHILY.xattr."

_LARGEST_ID, _LARGEST_NUMBER = 0o7777777, 0o77777777777
_NAME_SIZE, _PREFIX_SIZE, _LINK_SIZE, _OWNER_SIZE = 100, 155, 100, 32
_PAX_HEADER_NAME: Final = b"././@PaxHeader"


def to_bytes(text: str) -> bytes:
    """Return a name as it stands in an archive."""
    return text.encode("utf-8", "surrogateescape")


def padding(size: int) -> int:
    """Return how many zeros follow that many bytes of content."""
    return -size % BLOCK


def encode(member: Member) -> bytes:
    """Return the header blocks of a member, a pax header first where it needs one.

    Times in the header are whole seconds. A folder's name ends with a slash there.
    """
    name, link = to_bytes(member.name), to_bytes(member.link)
    if member.kind == "directory":
        name += b"/"
    size = member.size if member.kind == "file" else 0
    return header(
        name,
        TYPES[member.kind],
        member.mode,
        size,
        member.mtime_ns // 1_000_000_000,
        link,
        owner(member.uid, member.gid, member.user, member.group, member.device),
        member.xattrs,
    )


class Owner:
    """Who owns a member: encoded once for all that are the same, with what follows in a header."""

    __slots__ = ("ids", "pax", "tail")

    def __init__(self, uid: int, gid: int, user: str, group: str, device: tuple[int, int]) -> None:
        names = to_bytes(user), to_bytes(group)
        self.pax: list[tuple[bytes, bytes]] = []
        for key, number in ((b"uid", uid), (b"gid", gid)):
            if not 0 <= number <= _LARGEST_ID:
                self.pax.append((key, b"%d" % number))
        for key, text in zip((b"uname", b"gname"), names, strict=True):
            if len(text) >= _OWNER_SIZE:
                self.pax.append((key, text))
        ids = (number if 0 <= number <= _LARGEST_ID else 0 for number in (uid, gid))
        self.ids = b"%07o\0%07o\0" % tuple(ids)
        fields = (text[: _OWNER_SIZE - 1].ljust(_OWNER_SIZE, b"\0") for text in names)
        self.tail = b"ustar\x0000" + b"".join(fields)
        self.tail += b"%07o\0%07o\0" % tuple(min(number, _LARGEST_ID) for number in device)


@lru_cache(1024)
def owner(uid: int, gid: int, user: str, group: str, device: tuple[int, int] = (0, 0)) -> Owner:
    """Return an owner; see ``Owner``."""
    return Owner(uid, gid, user, group, device)


def header(
    name: bytes,
    kind: bytes,
    mode: int,
    size: int,
    seconds: int,
    link: bytes,
    owner: Owner,
    xattrs: tuple[tuple[str, bytes], ...] = (),
) -> bytes:
    """Return the header blocks of a member, from its fields as they stand there; see ``encode``."""
    short, prefix = name, b""
    if (
        len(name) > _NAME_SIZE
        or len(link) > _LINK_SIZE
        or size > _LARGEST_NUMBER
        or not 0 <= seconds <= _LARGEST_NUMBER
        or owner.pax
        or xattrs
    ):
        records = list(owner.pax)
        if len(name) > _NAME_SIZE:
            split = _split(name)
            if split is None:
                records.append((b"path", name))
                short = name[:_NAME_SIZE]
            else:
                prefix, short = split
        if len(link) > _LINK_SIZE:
            records.append((b"linkpath", link))
            link = link[:_LINK_SIZE]
        if size > _LARGEST_NUMBER:
            records.append((b"size", b"%d" % size))
        if not 0 <= seconds <= _LARGEST_NUMBER:
            records.append((b"mtime", b"%d" % seconds))
        records += [(to_bytes(XATTR + key), value) for key, value in xattrs]
        ustar = _ustar(
            short,
            kind,
            mode,
            size if size <= _LARGEST_NUMBER else 0,
            min(max(seconds, 0), _LARGEST_NUMBER),
            link,
            owner,
            prefix,
        )
        return _pax(records) + ustar if records else ustar
    return _ustar(name, kind, mode, size, seconds, link, owner, b"")


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Cut a long name at a slash into prefix and name; None: it cannot be."""
    cut = name.find(b"/", max(0, len(name) - _NAME_SIZE - 1), len(name) - 1)
    return (name[:cut], name[cut + 1 :]) if 0 < cut <= _PREFIX_SIZE else None


def _ustar(
    name: bytes,
    kind: bytes,
    mode: int,
    size: int,
    seconds: int,
    link: bytes,
    owner: Owner,
    prefix: bytes,
) -> bytes:
    """Return one block (POSIX.1-2008, ustar Interchange Format)."""
    head = b"%b%07o\0%b%011o\0%011o\0" % (
        name.ljust(_NAME_SIZE, b"\0"),
        mode & 0o7777,
        owner.ids,
        size,
        seconds,
    )
    tail = b"%b%b%b%b" % (kind, link.ljust(_LINK_SIZE, b"\0"), owner.tail, prefix)
    # The checksum is the sum of all bytes, its own field as spaces (8 x 32). Adler-32 begins
    # with that sum modulo 65521; headers with ASCII names stay below that.
    total = zlib.adler32(tail, zlib.adler32(head, 0) & 0xFFFF) & 0xFFFF
    if not (name.isascii() and link.isascii() and prefix.isascii()):
        total = sum(head) + sum(tail)
    return (b"%b%06o\0 %b" % (head, total + 256, tail)).ljust(BLOCK, b"\0")


def _pax(records: list[tuple[bytes, bytes]]) -> bytes:
    """Return an extended header: a block, and its records, padded."""
    if any(not _is_utf8(value) for key, value in records if not key.startswith(XATTR.encode())):
        records = [(b"hdrcharset", b"BINARY"), *records]
    body = b"".join(_record(key, value) for key, value in records)
    plain = owner(0, 0, "", "")
    head = _ustar(_PAX_HEADER_NAME, b"x", 0o644, len(body), 0, b"", plain, b"")
    return head + body + bytes(padding(len(body)))


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _record(key: bytes, value: bytes) -> bytes:
    r"""Return ``"%d %s=%s\n"``, the number being the length of it all, its own digits too."""
    size = len(key) + len(value) + 3
    digits = len(b"%d" % size)
    if len(b"%d" % (size + digits)) > digits:
        digits += 1
    return b"%d %b=%b\n" % (size + digits, key, value)
