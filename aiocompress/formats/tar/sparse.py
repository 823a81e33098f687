"""Maps of sparse files: where in a file that is mostly zeros the stored bytes belong.

GNU tar manual, Storing Sparse Files: the old GNU format (in the header and in blocks behind it),
pax 0.0 and 0.1 (in pax records), pax 1.0 (text in front of the content).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Final, TypeAlias

from aiocompress.errors import CorruptError, FormatError
from aiocompress.formats.tar import pax
from aiocompress.formats.tar.fields import GNU_MAGIC, number
from aiocompress.formats.tar.header import BLOCK, SPARSE, padding
from aiocompress.formats.tar.pax import Records
from aiocompress.model import Member

_ENTRY: Final = 24
_REGULAR: Final = b"0\0007"

Mapped: TypeAlias = Generator[None, None, Member]
Take: TypeAlias = Callable[[], Generator[None, None, bytes]]
"""Takes the next block; yields for more bytes."""


def expand(member: Member, block: bytes, records: Records, take: Take) -> Mapped:
    """Return the sparse member that its headers, and the blocks behind them, describe.

    :raises FormatError: the map is of a kind that only its own writer reads.
    :raises CorruptError: the map is damaged, or contradicts the member.
    """
    at = member.offset
    is_gnu = block[257:265] == GNU_MAGIC
    if b"SCHILY.realsize" in records.numbers or (block[156] == SPARSE and not is_gnu):
        raise FormatError("a sparse file as star stores it", offset=at)
    if block[156] == SPARSE:
        if records.is_sparse:
            raise CorruptError("two sparse maps for one file", offset=at)
        return (yield from _old(member, block, take))
    if block[156] not in _REGULAR or block[257:263] != b"ustar\0" or member.kind != "file":
        raise CorruptError("a sparse map for a member that is not a pax file", offset=at)
    version = tuple(records.numbers.get(b"GNU.sparse." + part) for part in (b"major", b"minor"))
    size = _real_size(records, at)
    if version == (1, 0) and not records.sparse_map:
        return (yield from _in_content(member, size, take))
    if version not in {(None, None), (0, 0), (0, 1)}:
        raise FormatError("a sparse file of an unknown version", offset=at)
    pairs, count = records.sparse_map, records.numbers.get(b"GNU.sparse.numblocks")
    if len(pairs) % 2 or (count is None and not pairs) or count not in {None, len(pairs) // 2}:
        raise CorruptError("a sparse map of the wrong length", offset=at)
    return _mapped(member, size, pairs)


def _real_size(records: Records, offset: int) -> int:
    """Return the size of the file with its holes, in bytes."""
    keys = (b"GNU.sparse.size", b"GNU.sparse.realsize")
    sizes = {records.numbers[key] for key in keys if key in records.numbers}
    if len(sizes) != 1:
        raise CorruptError("a sparse file without a size, or with two", offset=offset)
    return sizes.pop()


def _old(member: Member, block: bytes, take: Take) -> Mapped:
    """Read four entries in the header, and 21 in each block that it announces."""
    try:
        size, entries, more = number(block[483:495]), block[386:482], block[482]
        pairs, ended = _entries(entries)
        while more:
            if ended:
                raise ValueError("GNU tar stops here, bsdtar does not")  # noqa: TRY301
            block = yield from take()
            member = member._replace(data_offset=member.data_offset + BLOCK)
            more = block[504]
            added, ended = _entries(block[:504])
            pairs += added
    except ValueError:
        raise CorruptError("a damaged sparse map", offset=member.data_offset - BLOCK) from None
    return _mapped(member, size, pairs)


def _entries(entries: bytes) -> tuple[list[int], bool]:
    """Return offsets and sizes by turns up to an empty entry, and whether there was one."""
    pairs: list[int] = []
    for at in range(0, len(entries), _ENTRY):
        if not entries[at] or not entries[at + 12]:
            if entries[at] or entries[at + 12]:
                raise ValueError("half an entry")
            return pairs, True
        pairs += number(entries[at : at + 12]), number(entries[at + 12 : at + _ENTRY])
    return pairs, False


def _in_content(member: Member, size: int, take: Take) -> Mapped:
    """Read decimal numbers, a line each, in front of the content: the count, then the pairs."""
    blocks: list[bytes] = []
    lines, needed = 0, 1
    while lines < needed:
        if (len(blocks) + 1) * BLOCK > member.stored_size:
            raise CorruptError("a sparse map longer than its file", offset=member.data_offset)
        blocks.append((yield from take()))
        lines += blocks[-1].count(b"\n")
        if needed == 1 and lines:
            count = b"".join(blocks).split(b"\n", 1)[:1]
            needed = 1 + 2 * _numbers(count, member.data_offset)[0]
    pairs = _numbers(b"".join(blocks).split(b"\n", needed)[1:needed], member.data_offset)
    taken = len(blocks) * BLOCK
    member = member._replace(
        data_offset=member.data_offset + taken, stored_size=member.stored_size - taken
    )
    return _mapped(member, size, pairs)


def laid(runs: Sequence[tuple[int, int]], size: int) -> bytes:
    """Return the map, in front of the content, of a file that stores these (offset, size).

    :param size: the bytes of the file; a hole at its end is an entry without bytes, as of GNU tar.
    """
    entries = [*runs] if runs and sum(runs[-1]) == size else [*runs, (size, 0)]
    text = b"%d\n" % len(entries) + b"".join(b"%d\n%d\n" % entry for entry in entries)
    return text + bytes(padding(len(text)))


def _numbers(lines: Iterable[bytes], offset: int) -> list[int]:
    try:
        return [pax.number(line) for line in lines]
    except ValueError:
        raise CorruptError("a damaged sparse map", offset=offset) from None


def _mapped(member: Member, size: int, pairs: list[int]) -> Member:
    """Return the member with its extents: in order, apart, inside the file, as long as stored."""
    end = stored = 0
    extents = []
    for offset, length in zip(pairs[::2], pairs[1::2], strict=True):
        if offset < end:
            raise CorruptError("a sparse map that overlaps", offset=member.offset)
        end = offset + length
        stored += length
        if length:
            extents.append((offset, length))
    if end > size:
        raise CorruptError("a sparse map that leaves its file", offset=member.offset)
    if stored != member.stored_size:
        raise CorruptError(
            "a sparse map that does not match the stored bytes", offset=member.offset
        )
    return member._replace(size=size, extents=tuple(extents))
