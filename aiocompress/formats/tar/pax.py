r"""pax records, ``"%d %s=%s\n"``: the body of an extended header, encoded and decoded.

POSIX.1-2008, pax Extended Header; extended attributes as star, GNU tar and libarchive write them;
sparse files as GNU tar does ("Storing Sparse Files", PAX Formats 0.0, 0.1 and 1.0).
"""

from __future__ import annotations

import binascii
import re
from typing import Final

from aiocompress.errors import CorruptError

XATTR: Final = b"SCHILY.xattr."
LIBARCHIVE_XATTR: Final = b"LIBARCHIVE.xattr."
LARGEST: Final = (1 << 63) - 1
"""The largest number of GNU tar and libarchive; a larger one is damage, or hostile."""

_NUMBERS: Final = {
    *(b"size", b"SCHILY.realsize", b"GNU.sparse.size", b"GNU.sparse.realsize"),
    *(b"GNU.sparse.major", b"GNU.sparse.minor", b"GNU.sparse.numblocks"),
}
_TEXTS: Final = {b"path", b"linkpath", b"uname", b"gname", b"GNU.sparse.name"}
_SPARSE: Final = b"GNU.sparse."
_SPARSE_KEYS: Final = (_SPARSE, b"SCHILY.realsize")
_MAPS: Final = {_SPARSE + key for key in (b"map", b"offset", b"numbytes")}
ATTRIBUTES: Final = {
    b"mtime": "mtime_ns",
    b"uid": "uid",
    b"gid": "gid",
    b"uname": "user",
    b"gname": "group",
}
"""What a member can do without, and a global header can say, by keyword: a field of ``Member``."""
_HEAD: Final = re.compile(rb"([0-9]{1,20}) ([^=]+)=")
_TIME: Final = re.compile(rb"(-?)0*([0-9]{1,19})(?:\.([0-9]*))?")
_ESCAPED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")


def encode(records: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Return the body of an extended header."""
    try:
        b"".join(value + b"\0" for key, value in records if not key.startswith(XATTR)).decode()
    except UnicodeDecodeError:
        records = (b"hdrcharset", b"BINARY"), *records
    return b"".join(_record(key, value) for key, value in records)


def _record(key: bytes, value: bytes) -> bytes:
    r"""Return ``"%d %s=%s\n"``; the number is the length of the record, its own digits included."""
    size = len(key) + len(value) + 3
    digits = len(b"%d" % size)
    if len(b"%d" % (size + digits)) > digits:
        digits += 1
    return b"%d %b=%b\n" % (size + digits, key, value)


def xattr_key(name: str) -> bytes:
    """Return the keyword of an extended attribute; GNU tar escapes the equals sign, too."""
    key = name.encode("utf-8", "surrogateescape")
    return XATTR + key.replace(b"%", b"%25").replace(b"=", b"%3D")


class Records:
    """The records of a member's extended headers; the last one of each keyword counts.

    ``numbers`` has ``mtime`` in ns; ``sparse_map`` has offsets and sizes by turns; ``unreadable``
    has the fields of ``Member`` of which a record speaks, but in no way that can be read.
    """

    def __init__(self) -> None:
        self.texts: dict[bytes, bytes] = {}
        self.numbers: dict[bytes, int] = {}
        self.xattrs: dict[str, bytes] = {}
        self.sparse_map: list[int] = []
        self.unreadable: set[str] = set()

    @property
    def is_sparse(self) -> bool:
        """Whether they describe a sparse file."""
        keys = (*self.texts, *self.numbers)
        return bool(self.sparse_map) or any(key.startswith(_SPARSE_KEYS) for key in keys)

    def copy(self) -> Records:
        """Return a copy of global records, to which those of one member are added."""
        records = Records()
        records.texts, records.numbers = dict(self.texts), dict(self.numbers)
        records.unreadable = set(self.unreadable)
        return records

    def decode(self, body: bytes, offset: int, *, for_all: bool = False) -> None:
        """Take the records of an extended header.

        :param offset: where its body stands in the archive, for errors.
        :param for_all: the header is a global one, which must not describe the next member.
        :raises CorruptError: the records are damaged, or contradict each other.
        """
        at = 0
        while at < len(body):
            match = _HEAD.match(body, at)
            end = at + int(match[1]) if match else 0
            if not match or not match.end() < end <= len(body) or body[end - 1] != 0x0A:
                raise CorruptError("a damaged record in a pax header", offset=offset + at)
            key, value = match[2], body[match.end() : end - 1]
            try:
                self._take(key, value, for_all=for_all)
            except ValueError as error:
                text = f"{key[:40].decode(errors='replace')!r} in a pax header {error}"
                raise CorruptError(text, offset=offset + at) from None
            at = end

    def _take(self, key: bytes, value: bytes, *, for_all: bool) -> None:
        if key in ATTRIBUTES:
            self._take_attribute(key, value)
        elif key.startswith((XATTR, LIBARCHIVE_XATTR)):
            self._take_xattr(key, None if for_all else value)
        elif for_all:
            if key in _TEXTS or key in _NUMBERS or key.startswith(_SPARSE):
                raise ValueError("is meant for all members")
        elif key in _TEXTS:
            self.texts[key] = _text(value)
        elif key in _NUMBERS:
            self.numbers[key] = number(value)
        elif key in _MAPS:
            self._take_map(key, value)

    def _take_attribute(self, key: bytes, value: bytes) -> None:
        """Take a record instead of the header's field; one without a value brings that back."""
        self.texts.pop(key, None)
        self.numbers.pop(key, None)
        self.unreadable.discard(ATTRIBUTES[key])
        try:
            if value and key in _TEXTS:
                self.texts[key] = _text(value)
            elif value:
                self.numbers[key] = _nanoseconds(value) if key == b"mtime" else number(value)
        except ValueError:
            self.unreadable.add(ATTRIBUTES[key])

    def _take_xattr(self, key: bytes, value: bytes | None) -> None:
        """Take an extended attribute; None: it is meant for all members, which bsdtar ignores."""
        try:
            if value is None:
                self.unreadable.add("xattrs")
            elif key.startswith(XATTR):
                name = key[len(XATTR) :].replace(b"%3D", b"=").replace(b"%25", b"%")
                self.xattrs[_name(name)] = value
            else:
                name = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), key)
                self.xattrs[_name(name[len(LIBARCHIVE_XATTR) :])] = _base64(value)
        except ValueError:
            self.unreadable.add("xattrs")

    def _take_map(self, key: bytes, value: bytes) -> None:
        """Take all of the sparse map, or an offset or a size of it: they come by turns."""
        is_map, is_size = key == _SPARSE + b"map", key == _SPARSE + b"numbytes"
        if len(self.sparse_map) % 2 != is_size or (self.sparse_map and is_map):
            raise ValueError("comes before its offset" if is_size else "comes twice")
        if is_map:
            self.sparse_map += map(number, value.split(b",") if value else ())
        else:
            self.sparse_map.append(number(value))


def number(text: bytes) -> int:
    """Return a decimal number without a sign, with any number of zeros in front.

    :raises ValueError: it is not a number, or too large.
    """
    if not text.isdigit():
        raise ValueError("is not a number")
    digits = text.lstrip(b"0") or b"0"
    if len(digits) > len(str(LARGEST)) or (value := int(digits)) > LARGEST:
        raise ValueError("is a number out of bounds")
    return value


def _nanoseconds(text: bytes) -> int:
    """Return seconds with a fraction as ns, rounded down, exactly."""
    match = _TIME.fullmatch(text)
    if not match or int(match[2]) > LARGEST:
        raise ValueError("is not a time")
    fraction = match[3] or b""
    value = int(match[2] + fraction[:9].ljust(9, b"0"))
    if match[1]:
        value = -value - bool(fraction[9:].strip(b"0"))
    return value


def _text(value: bytes) -> bytes:
    if b"\0" in value:
        raise ValueError("holds a NUL")
    return value


def _name(key: bytes) -> str:
    return _text(key).decode("utf-8", "surrogateescape")


def _base64(value: bytes) -> bytes:
    """Decode base64; libarchive writes no ``=`` at the end."""
    try:
        return binascii.a2b_base64(value.rstrip(b"=") + b"==")
    except binascii.Error:
        raise ValueError("is not base64") from None
