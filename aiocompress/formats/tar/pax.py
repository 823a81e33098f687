r"""pax records, ``"%d %s=%s\n"``: ``encode`` them to the body of an extended header, and back.

POSIX.1-2008, pax Extended Header; extended attributes as star, GNU tar and libarchive write them;
sparse files as GNU tar does ("Storing Sparse Files", PAX Formats 0.0, 0.1 and 1.0).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from typing import Final

from aiocompress.errors import CorruptError

XATTR: Final = b"SCHILY.xattr."
LIBARCHIVE_XATTR: Final = b"LIBARCHIVE.xattr."
LARGEST: Final = (1 << 63) - 1
"""What GNU tar and libarchive can count; beyond is damage, or malice."""

_TEXTS: Final = {b"path", b"linkpath", b"uname", b"gname", b"GNU.sparse.name"}
_SPARSE: Final = b"GNU.sparse."
_SPARSE_KEYS: Final = (_SPARSE, b"SCHILY.realsize")
_NUMBERS: Final = {
    b"size",
    b"uid",
    b"gid",
    b"SCHILY.realsize",
    *(_SPARSE + name for name in (b"major", b"minor", b"size", b"realsize", b"numblocks")),
}
_GLOBAL: Final = {b"mtime", b"uid", b"gid", b"uname", b"gname"}
_NEEDED: Final = {b"path", b"linkpath", b"size"}
_HEAD: Final = re.compile(rb"([0-9]{1,20}) ([^=]+)=")
_TIME: Final = re.compile(rb"(-?)([0-9]{1,19})(?:\.([0-9]*))?")
_ESCAPED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")


def encode(records: list[tuple[bytes, bytes]]) -> bytes:
    """Return the body of an extended header."""
    if any(not _is_utf8(value) for key, value in records if not key.startswith(XATTR)):
        records = [(b"hdrcharset", b"BINARY"), *records]
    return b"".join(_record(key, value) for key, value in records)


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


def xattr_key(name: str) -> bytes:
    """Return the keyword of an extended attribute; an equals sign would end it (as GNU tar)."""
    key = name.encode("utf-8", "surrogateescape")
    return XATTR + key.replace(b"%", b"%25").replace(b"=", b"%3D")


class Records:
    """What extended headers say of a member: the last word on each keyword.

    ``numbers`` holds ``mtime`` in ns; ``sparse_map`` offsets and sizes by turns.
    """

    def __init__(self) -> None:
        self.texts: dict[bytes, bytes] = {}
        self.numbers: dict[bytes, int] = {}
        self.xattrs: dict[str, bytes] = {}
        self.sparse_map: list[int] = []

    def __bool__(self) -> bool:
        return bool(self.texts or self.numbers or self.xattrs or self.sparse_map)

    @property
    def is_sparse(self) -> bool:
        """Whether they speak of a sparse file."""
        keys = (*self.texts, *self.numbers)
        return bool(self.sparse_map) or any(key.startswith(_SPARSE_KEYS) for key in keys)

    def copy(self) -> Records:
        """Return records that begin with these."""
        records = Records()
        records.texts, records.numbers = dict(self.texts), dict(self.numbers)
        return records

    def decode(self, body: bytes, offset: int, *, for_all: bool = False) -> None:
        """Take the records of an extended header.

        :param offset: where its body stands in the archive, for errors.
        :param for_all: it is a global one, which must not say what the next member is.
        :raises CorruptError: they are damaged, or contradict each other.
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
        if for_all and key not in _GLOBAL:
            if key in _TEXTS or key in _NUMBERS or key.startswith((_SPARSE, XATTR)):
                raise ValueError("is meant for all members")
        elif not value and key in _NEEDED:
            raise ValueError("is empty")  # GNU tar and libarchive disagree on what it means then
        elif not value and (key in _TEXTS or key in _NUMBERS or key == b"mtime"):
            self.texts.pop(key, None)
            self.numbers.pop(key, None)
        elif key in _TEXTS:
            self.texts[key] = _text(value)
        elif key in _NUMBERS:
            self.numbers[key] = number(value)
        elif take := _OTHERS.get(key):
            take(self, value)
        elif key.startswith(XATTR):
            name = key[len(XATTR) :].replace(b"%3D", b"=").replace(b"%25", b"%")
            self.xattrs[_name(name)] = value
        elif key.startswith(LIBARCHIVE_XATTR):
            name = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), key)
            self.xattrs[_name(name[len(LIBARCHIVE_XATTR) :])] = _base64(value)

    def _take_time(self, value: bytes) -> None:
        self.numbers[b"mtime"] = _nanoseconds(value)

    def _take_offset(self, value: bytes) -> None:
        if len(self.sparse_map) % 2:
            raise ValueError("comes twice")
        self.sparse_map.append(number(value))

    def _take_size(self, value: bytes) -> None:
        if not len(self.sparse_map) % 2:
            raise ValueError("comes before its offset")
        self.sparse_map.append(number(value))

    def _take_map(self, value: bytes) -> None:
        if self.sparse_map:
            raise ValueError("comes twice")
        self.sparse_map += map(number, value.split(b",") if value else ())


_OTHERS: Final[dict[bytes, Callable[[Records, bytes], None]]] = {
    b"mtime": Records._take_time,  # noqa: SLF001
    b"GNU.sparse.offset": Records._take_offset,  # noqa: SLF001
    b"GNU.sparse.numbytes": Records._take_size,  # noqa: SLF001
    b"GNU.sparse.map": Records._take_map,  # noqa: SLF001
}


def number(text: bytes) -> int:
    """Return a decimal number without a sign.

    :raises ValueError: it is none, or too large.
    """
    if not text.isdigit() or len(text) > 20 or (value := int(text)) > LARGEST:
        raise ValueError("is not a number in bounds")
    return value


def _nanoseconds(text: bytes) -> int:
    """Return seconds with a fraction in ns, rounded down, exactly."""
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
    """Undo base64; libarchive writes no ``=`` at the end."""
    try:
        return binascii.a2b_base64(value.rstrip(b"=") + b"==")
    except binascii.Error:
        raise ValueError("is not base64") from None
