"""Plain headers, quickly: members whose headers are one block each, as nearly all are.

Those that stand one behind another mostly differ in name, size and time only. So what the other
fields say is worked out once, and then they are compared as they stand. Whatever is odd is left to
``header.parse``, which tells.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple
from zlib import adler32

from aiocompress.errors import CorruptError
from aiocompress.formats.tar.columns import OwnerRow
from aiocompress.formats.tar.fields import check_sum, ids_of, owners_of, size_of, until_nul
from aiocompress.formats.tar.header import BLOCK, padding, to_bytes
from aiocompress.formats.tar.index import DIRECTORY, FILE, Row
from aiocompress.model import Buffer

_FIELDS: Final = Struct("100s24s11s13s8s356s").unpack_from
"""Name; mode, uid and gid; size; the time, between the ends of both numbers; checksum; the rest."""
_KINDS, _LINKS, _LONG_NAME = b"0125", b"12", b"L"
_AFTER_DIGITS, _SLASH, _SECOND = b"\0 ", b"/"[0], 1_000_000_000
_LARGEST_SUM: Final = 65521 - 255 * 100 - 57 * 24
"""What the common fields may sum up to, so that Adler-32 holds the sum of all: names may have any
bytes, numbers no more than the digit 9."""


class Common(NamedTuple):
    """What headers say in all fields but name, size and time."""

    kind: int
    mode: int
    owner: OwnerRow
    link: bytes
    folder: bytes
    """What of their names stands at the end of the headers, with a slash."""
    total: int
    """The sum of these bytes, the checksum's own as spaces."""


class Stretch(NamedTuple):
    """Members one behind another, as columns."""

    names: list[bytes]
    sizes: list[int]
    times: list[int]
    """Modification times in ns."""
    runs: list[tuple[int, Common]]
    """From which of them on, which fields are the same; nobody may have those of the last run."""
    length: int
    """Bytes of the headers and contents, to where the next header is."""


def stretch(data: Buffer, at: int, end: int) -> Stretch:  # noqa: C901 - calls take longer
    """Return the members that begin at ``at``, up to the first whose header is not plain.

    :param data: of the archive; what is missing of the last one's content is not missed.
    :param end: where no header may go beyond.
    """
    names: list[bytes] = []
    sizes: list[int] = []
    times: list[int] = []
    runs: list[tuple[int, Common]] = []
    start, last = at, end - BLOCK
    ids = rest = time = folder = b""
    kind = base = total = mtime_ns = 0
    add_name, add_size, add_time = names.append, sizes.append, times.append
    try:
        while at <= last:
            name, own_ids, digits, own_time, stated, own_rest = _FIELDS(data, at)
            if own_rest != rest or own_ids != ids or own_time != time:
                if own_time != time:
                    mtime_ns, time = _mtime_ns(own_time), own_time
                if own_rest != rest or own_ids != ids:
                    common = _common(own_ids, own_rest)
                    if common is None:
                        break
                    runs.append((len(names), common))
                    ids, rest = own_ids, own_rest
                    kind, folder, base = common.kind, common.folder, common.total
                total = adler32(time, base)
            if stated != _stated(adler32(name, adler32(digits, total)) & 0xFFFF):
                check_sum(bytes(data[at : at + BLOCK]), 0)
            name = name.partition(b"\0")[0]
            if kind == DIRECTORY:
                name = name.rstrip(b"/")
            if not name or name[0] == _SLASH or name[-1] == _SLASH or not digits.isdigit():
                break
            if size := int(digits, 8):
                if kind != FILE:
                    break
                at += size + BLOCK - 1 & -BLOCK
            add_name(folder + name if folder else name)
            add_size(size)
            add_time(mtime_ns)
            at += BLOCK
    except (ValueError, CorruptError):  # so this header is not plain
        pass
    return Stretch(names, sizes, times, runs, at - start)


@lru_cache(1 << 14)
def _stated(total: int) -> bytes:
    """Return a checksum as nearly all writers state it."""
    return b"%06o\0 " % total


def plain(block: bytes) -> Row | None:
    """Return what the index stores of a member, if all of it is in this block; a quick ``parse``.

    None: there is more to it, or it is odd, or damaged: ``parse`` tells.
    """
    name, ids, digits, time, stated, rest = _FIELDS(block)
    common = _common(ids, rest)
    if common is None or not digits.isdigit():
        return None
    kind, mode, owner, link, folder, total = common
    try:
        size, mtime_ns = int(digits, 8), _mtime_ns(time)
        total = adler32(name, adler32(digits, adler32(time, total))) & 0xFFFF
        if stated != _stated(total):
            check_sum(block, 0)
    except (ValueError, CorruptError):
        return None
    if (size and kind != FILE) or not (name := _name(name, kind)):
        return None
    return folder + name, kind, 1, size, mode, mtime_ns, owner, link


def long_named(head: bytes) -> Row | None:
    """Return what the index stores of a member whose long name stands before its header.

    None: it has none, or not as GNU tar writes it, or is odd: ``parse`` tells.

    :param head: all of its headers.
    """
    if head[156:157] != _LONG_NAME or (row := plain(head[-BLOCK:])) is None:
        return None
    _, kind, _, size, mode, mtime_ns, owner, link = row
    text = head[BLOCK:-BLOCK]
    try:
        length = size_of(head[:BLOCK], 0)
    except CorruptError:
        return None
    is_alone = len(text) == length + padding(length)
    if not is_alone or b"\0" not in text[: length + 1] or not (name := _name(text, kind)):
        return None
    return name, kind, len(head) // BLOCK, size, mode, mtime_ns, owner, link


def _name(field: bytes, kind: int) -> bytes:
    """Return the name in a field that is padded with NULs; nothing, if it is odd."""
    name = field.partition(b"\0")[0]
    if kind == DIRECTORY:
        name = name.rstrip(b"/")
    return b"" if not name or name[0] == _SLASH or name[-1] == _SLASH else name


@lru_cache(1024)
def _common(ids: bytes, rest: bytes) -> Common | None:
    """Return what these fields mean; None: a header that has them is not plain.

    :param rest: the type and all behind it.
    """
    kind = rest[0] or FILE
    total = sum(ids + rest) + sum(b" " * 8)
    if kind not in _KINDS or total > _LARGEST_SUM or rest[189] == _SLASH:
        return None
    mode, uid, gid, unreadable = ids_of(ids)
    try:
        user, group, has_folder = owners_of(rest[101:173])
    except ValueError:
        return None
    if unreadable or (rest[230] and not has_folder):
        return None
    folder = until_nul(rest[189:344]) + b"/" if has_folder and rest[189] else b""
    link = until_nul(rest[1:101]) if kind in _LINKS else b""
    owner = uid, gid, to_bytes(user), to_bytes(group)
    return Common(kind, mode, owner, link, folder, total)


def _mtime_ns(field: bytes) -> int:
    """Return a time in ns.

    :param field: its digits, and what ends the number before it, and it.
    :raises ValueError: it is odd.
    """
    before, digits, behind = field[0], field[1:12], field[12]
    if not (digits.isdigit() and before in _AFTER_DIGITS and behind in _AFTER_DIGITS):
        raise ValueError
    return int(digits, 8) * _SECOND
