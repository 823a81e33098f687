"""Whether an extended header, which has no checksum of its own, may be damaged, or lost.

A member that has lost it, or has a damaged one, has a wrong name or size: ``salvage`` must not call
it whole. The ustar header behind it repeats what fits there, and is a witness.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from aiocompress.errors import AiocompressError, CorruptError
from aiocompress.formats.tar import fields
from aiocompress.formats.tar.header import BLOCK, padding, to_bytes
from aiocompress.model import Member

_BEFORE: Final = b"xXLK"
"""Types of headers that describe the one behind them."""
_PAX: Final = b"xX"
_RECORD: Final = re.compile(rb"([0-9]{1,20}) ([^=]+)=")
_PAX_END: Final = re.compile(rb"(?=([0-9]{1,20}) [^=\n\0]{1,256}=)")
_HARMLESS: Final = {b"atime", b"ctime", b"comment", b"charset", b"hdrcharset"}
_SPARSE: Final = (b"major", b"minor", b"name", b"map", b"offset", b"numbytes", b"numblocks")
_DECISIVE: Final = (
    *(b"path", b"linkpath", b"size", b"SCHILY.realsize", b"GNU.sparse.size"),
    *(b"GNU.sparse.realsize", *(b"GNU.sparse." + key for key in _SPARSE)),
)
"""Keywords without which a member has another name, size or content."""
_OTHERS: Final = {b"mtime", b"uid", b"gid", b"uname", b"gname"} | _HARMLESS
_SPARSE_NAME: Final = re.compile(rb"GNUSparseFile\.[0-9]+/")
"""What GNU tar puts into the name of a sparse file."""
_FEW: Final = 2
_LARGEST: Final = 0o77777777777
"""The largest size of a ustar header: some write it in the place of a larger one, others zero."""


def extended_size(headers: bytes, types: bytes = _BEFORE) -> int:
    """Return how many bytes of these headers stand in front of the member's own.

    Where the block of one is damaged, so many up to that.
    """
    at = 0
    while at < len(headers) and headers[at + 156] in types:
        try:
            size = fields.size_of(headers[at : at + BLOCK], at)
        except AiocompressError:
            break
        at += BLOCK + size + padding(size)
    return at


def is_sound(block: bytes) -> bool:
    """Whether a header has the right checksum."""
    try:
        fields.check_sum(block, 0)
    except AiocompressError:
        return False
    return True


def check_records(headers: bytes, member: Member) -> bool:
    """Check the extended headers of a member against its own; returns whether they say its size.

    :param headers: all of them, the member's own last.
    :raises CorruptError: they are probably damaged.
    """
    end = extended_size(headers, _BEFORE + b"g")
    block, records = headers[end : end + BLOCK], dict(_records(headers[:end]))
    if any(map(_is_spoiled, records)):
        raise CorruptError("a keyword is damaged")
    name = fields.until_nul(block[:100])
    if prefix := fields.until_nul(block[345:500]):
        name = prefix + b"/" + name
    name = _SPARSE_NAME.sub(b"", name).rstrip(b"/")
    link = fields.until_nul(block[157:257])
    wrong = _differs(name, member.name, is_full=block[99] != 0)
    if wrong or _differs(link, member.link, is_full=block[256] != 0):
        raise CorruptError("a name is damaged")
    if b"size" not in records:
        return False
    with suppress(ValueError):
        if fields.number(block[124:136]) not in {0, int(records[b"size"]), _LARGEST}:
            raise CorruptError("a size is damaged")
    return True


def _records(headers: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(headers):
        block = headers[at : at + BLOCK]
        size = fields.size_of(block, at)
        body = headers[at + BLOCK : at + BLOCK + size] if block[156] in _PAX else b""
        start = 0
        while match := _RECORD.match(body, start):
            end = start + int(match[1])
            yield match[2], body[match.end() : end - 1]
            start = end
        at += BLOCK + size + padding(size)


def _is_spoiled(key: bytes) -> bool:
    """Whether a keyword is one that names a member, or says its size, and is damaged.

    Those of POSIX are known; all others have the name of a vendor in front, and a dot.
    """
    if key in _DECISIVE or key in _OTHERS:
        return False
    return b"." not in key or any(
        key.startswith(known) or (len(key) == len(known) and _distance(key, known) <= _FEW)
        for known in _DECISIVE
    )


def _differs(short: bytes, text: str, *, is_full: bool) -> bool:
    """Whether a text in a ustar header is nearly that of the extended header.

    Writers put a ``?`` for each character, or each byte, that is not ASCII, or a ``_`` for what
    they do not like, and leave out what does not fit: the end, or something in the middle.
    """
    least = _FEW + 1
    for whole in (text, to_bytes(text).decode("latin-1")):
        if len(whole) == len(short) or (is_full and len(whole) > len(short)):
            pairs = zip(whole, short.decode("latin-1"), strict=False)
            least = min(least, sum(not _stands_for(two, one) for one, two in pairs))
    return 0 < least <= _FEW


def _stands_for(written: str, meant: str) -> bool:
    return written in {meant, "_"} or (written == "?" and not meant.isascii())


def _distance(one: bytes, other: bytes) -> int:
    return sum(first != second for first, second in zip(one, other, strict=True))


def check_complete(headers: bytes, context: bytes, member: Member) -> None:
    """Refuse a member, found behind damage, that seems to have lost its extended header.

    :param context: the bytes in front of it, as far as they are known.
    :raises CorruptError: it does.
    """
    if len(headers) > BLOCK:
        return
    cut = headers[99] and to_bytes(member.name).endswith(headers[:100])
    cut = cut or (headers[256] and to_bytes(member.link) == headers[157:257])
    if cut or b"GNUSparseFile" in headers[:100] or _is_pax_body(context):
        raise CorruptError("the extended header of a member is lost")
    if not context and (b"?" in headers[:100] or not (member.size or member.kind != "file")):
        raise CorruptError("the extended header of a member may be lost")


def _is_pax_body(before: bytes) -> bool:
    """Whether bytes end like the body of a pax header: with a whole record, and padding."""
    text = before.rstrip(b"\0")
    for match in _PAX_END.finditer(text):
        if text.endswith(b"\n") and int(match[1][-9:]) == len(text) - match.start(1):
            return True
    return False
