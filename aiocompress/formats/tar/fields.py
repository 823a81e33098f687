"""Fields of tar headers, read: numbers, texts, and the checksum over all of them."""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from itertools import pairwise
from typing import Final

from aiocompress.errors import CorruptError
from aiocompress.formats.tar.pax import LARGEST

GNU_MAGIC: Final = b"ustar  \0"
_UTF8: Final = "utf-8", "surrogateescape"
_MODE: Final = 0o644
"""Of a member whose mode cannot be read."""
_ASCII, _AFTER_DIGITS = bytes(range(128)), b"\0 "
_OCTAL: Final = re.compile(rb" *+([0-7]++)(?:[ \0].*)?|[ \0]*\0[ \0]*", re.DOTALL)
_NUMBERS: Final = (*pairwise((100, 108, 116, 124, 136, 148)), *pairwise((329, 337, 345)))
_TIDY: Final = re.compile(rb" *([0-7]*)[ \0]*")


def check_sum(block: bytes, offset: int) -> None:
    """Compare the sum of a header's bytes, its own field as spaces, with the sum it states.

    :raises CorruptError: neither the sum of unsigned bytes agrees, nor that of signed ones, which
        old writers took.
    """
    field = block[148:156]
    if block.isascii():  # see ``header``, where one is written
        total = (zlib.adler32(block, 0) - zlib.adler32(field, 0) & 0xFFFF) + 256
        if field == b"%06o\0 " % total:  # nearly always
            return
        signed = total
    else:
        rest = block[:148] + block[156:]
        total = sum(rest) + 256
        signed = total - 256 * len(rest.translate(None, _ASCII))
    tidy = _TIDY.fullmatch(field)
    claimed = int(tidy[1] or b"0", 8) if tidy and not field.isspace() else None
    if claimed not in (total, signed):
        raise CorruptError("a header with a wrong checksum", offset=offset)


def size_of(block: bytes, offset: int) -> int:
    """Return the size in bytes of the metadata behind an extended header's block.

    :raises CorruptError: the block is damaged.
    """
    check_sum(block, offset)
    try:
        return number(block[124:136])
    except ValueError as error:
        raise CorruptError(f"a header with {error}", offset=offset) from None


def number(field: bytes, *, signed: bool = False) -> int:
    """Return a number of a header: octal digits, or, for large ones, base-256 (GNU tar, star).

    Spaces before the digits, and anything behind a space or NUL, do not count.

    :raises ValueError: it is neither, or negative unless ``signed``, or too large.
    """
    if field[:-1].isdigit() and field[-1] in _AFTER_DIGITS:
        try:
            return int(field[:-1], 8)
        except ValueError:
            raise ValueError("an octal number with other digits") from None
    if field[0] in {0x80, 0xFF}:
        digits = field[1:] if field[0] == 0x80 else field
        value = int.from_bytes(digits, "big", signed=field[0] == 0xFF)
        if not (-LARGEST if signed else 0) <= value <= LARGEST:
            raise ValueError("a number out of bounds")
        return value
    match = _OCTAL.fullmatch(field)
    if not match:
        raise ValueError("text where a number belongs")
    return int(match[1] or b"0", 8)


@lru_cache(1024)
def ids_of(fields: bytes) -> tuple[int, int, int, tuple[str, ...]]:
    """Return mode, uid and gid, and which of them cannot be read and have their defaults."""
    values, unreadable = {"mode": _MODE, "uid": 0, "gid": 0}, []
    for at, name in enumerate(values):
        try:
            values[name] = number(fields[8 * at : 8 * at + 8])
        except ValueError:
            unreadable.append(name)
    mode, uid, gid = values.values()
    return mode & 0o7777, uid, gid, tuple(unreadable)


@lru_cache(1024)
def owners_of(fields: bytes) -> tuple[str, str, bool]:
    """Return user, group, and whether the header can hold a prefix of the name."""
    magic = fields[:8]
    is_ustar = magic[:6] == b"ustar\0"
    if is_ustar or magic == GNU_MAGIC:
        user, group = map(until_nul, (fields[8:40], fields[40:]))
        return user.decode(*_UTF8), group.decode(*_UTF8), is_ustar
    if magic[:5] == b"ustar":
        raise ValueError("a damaged ustar magic")
    return "", "", False


def until_nul(field: bytes) -> bytes:
    """Return the text of a field that is padded with NULs."""
    return field.partition(b"\0")[0]


def is_tidy(block: bytes) -> bool:
    """Whether bsdtar would recognise an archive by this ustar header."""
    fields = (block[start:end] for start, end in _NUMBERS)
    return block[263:265] == b"00" and all(map(_TIDY.fullmatch, fields))
