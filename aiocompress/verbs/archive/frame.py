"""The members wholly inside one frame become files: a worker's part in restoring by the index.

The index says where each member begins. That is a hint: a member counts only if the header at that
place says the same, or a damaged or forged index could give one member's bytes to another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final, NamedTuple

from aiocompress.errors import AiocompressError, CorruptError, UnsafeMemberError
from aiocompress.formats import FORMATS
from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import BLOCK
from aiocompress.formats.tar.index import DIRECTORY, FILE, Record, Records, in_range
from aiocompress.formats.tar.plain import stretch
from aiocompress.model import Member
from aiocompress.storage.reach import Reach
from aiocompress.storage.restorer import CONFLICTS, FATAL, Keeping, Restorer, checked
from aiocompress.verbs.jobs import decode
from aiocompress.workers.job import Place, Result, views

_SECOND: Final = 1_000_000_000


class UnlikeIndexError(AiocompressError):
    """The archive is not what its index says: it has to be read from front to back.

    Never seen by callers. It crosses from workers, which pass on only errors of this family.
    """

    def __init__(self, reason: str = "the archive is not what its index says") -> None:
        super().__init__(reason)


class DoubtfulFrameError(UnlikeIndexError):
    """A frame cannot be decoded: it is damaged, or does not stand where the index says."""


class Part(NamedTuple):
    """Consecutive members: ``Records``, encoded, and for each a byte, 1 if it is wanted."""

    records: bytes
    wanted: bytes | None = None

    def decoded(self) -> tuple[Records, bytes]:
        """Return the records, and for each a byte."""
        records = Records.decode(self.records)
        return records, self.wanted or b"\1" * len(records)

    def chosen(self) -> Iterator[Record]:
        """Return the records of the members that are wanted."""
        records, wanted = self.decoded()
        return records.where(wanted)


def restore(
    place: Place,
    codec: str,
    raw: tuple[int, int],
    parts: tuple[Part, ...],
    target: Reach,
    keeping: Keeping,
    keeps: bool,  # noqa: FBT001 - jobs take what they are sent
    again: bool,  # noqa: FBT001
) -> Result:
    """Decode a frame, and create the files and folders that are wholly inside it.

    :param raw: offset and size of the frame in the raw archive.
    :param target: the folder that the members go to.
    :param keeps: whether the frame is wanted, too.
    :param again: see ``Restorer``.
    :raises CorruptError: the frame is damaged, or not of that size.
    :raises UnlikeIndexError: a header is not as the index says, or two members share a name.
    :raises OSError: what affects all members, such as a full disk.
    """
    start, size = raw
    data = content(place, codec, size)
    frame = kept(place, data) if keeps else None
    if not parts:
        return Result(size, frame)
    root = target.open()
    restorer = Restorer(root, keeping, again=again)
    try:
        files, failed = _restore_all(restorer, whole(data, start, parts))
    finally:
        restorer.close()
        os.close(root)
    return Result(size, frame, files=files, failed=failed)


def content(place: Place, codec: str, size: int) -> memoryview:
    """Decode a frame into its slot, or, where there is none, into memory of its own.

    :raises CorruptError: the frame is damaged, or not of that size.
    """
    data, room = views(place)
    room = memoryview(bytearray(size)) if room is None else room[:size]
    _decode(data, codec, room)
    return room


def kept(place: Place, data: memoryview) -> bytes | None:
    """Return a copy of a frame that was decoded into no slot; None: it stands in one."""
    return bytes(data) if views(place)[1] is None else None


def whole(
    raw: memoryview, start: int, parts: tuple[Part, ...]
) -> Iterator[tuple[Record, Member | None, memoryview]]:
    """Yield the members that are wanted: the record of each, what ``verified`` says, its content.

    Nearly every header is one plain block. Those are compared many at a time, and there is no more
    to know than their records: None.

    :raises UnlikeIndexError: a header is not as the index says.
    """
    for records, wanted in map(Part.decoded, parts):
        compared, end = 0, len(records)
        for number, record in enumerate(records):
            if not wanted[number]:
                continue
            at, member = record.offset - start, None
            content = at + BLOCK * record.blocks
            if number >= compared and record.blocks == 1:
                last = wanted.find(0, number)
                to = records.offsets()[end if last < 0 else last]
                compared = number + _compared(records, number, raw[at : to - start])
            if number >= compared:
                member = verified(record, raw[at:content])
            yield record, member, raw[content : content + record.size]


def _compared(records: Records, first: int, raw: memoryview) -> int:
    """Compare plain headers with records from ``first`` on; returns how many there are.

    :raises UnlikeIndexError: they differ.
    """
    members = stretch(raw, 0, len(raw))
    if members.names and not records.agree(first, members):
        raise UnlikeIndexError
    return len(members.names)


def decoded(place: Place, codec: str, size: int) -> Result:
    """Decode a frame into memory of its own, which its readers may keep: the slot is free then.

    :raises CorruptError: the frame is damaged, or not of that size.
    """
    room = bytearray(size)
    _decode(views(place)[0], codec, memoryview(room))
    return Result(size, room)


def _decode(data: memoryview, codec: str, room: memoryview) -> None:
    if decode(FORMATS[codec].codec, data, ((len(data), len(room)),), room) != len(room):
        raise CorruptError("the frame is not as long as the index says", offset=0)


def _restore_all(
    restorer: Restorer, members: Iterator[tuple[Record, Member | None, memoryview]]
) -> tuple[int, tuple[tuple[bytes, AiocompressError | OSError], ...]]:
    """Create files and folders; links have to wait until all files exist.

    :returns: how many files there are now, and which members could not be restored, and why.
    """
    files, failed, strip = 0, [], restorer.keeping.strip_components
    for record, member, data in members:
        name, _, kind, _, _, mode, mtime_ns, owner, _ = record
        try:
            place = checked(name, strip)
            if kind == FILE:
                if member is None:
                    restorer.write_file(place, data, mode, mtime_ns, owner[:2])
                else:
                    _restore_file(restorer, place, data, member)
                files += 1
            elif kind == DIRECTORY:
                restorer.make_folder(place, () if member is None else member.xattrs)
        except (UnsafeMemberError, OSError) as error:
            code = error.errno if isinstance(error, OSError) else None
            if code in CONFLICTS:
                raise UnlikeIndexError from None
            if code in FATAL:
                raise
            failed.append((name, error))
    return files, tuple(failed)


def _restore_file(restorer: Restorer, place: bytes, data: memoryview, member: Member) -> None:
    about = member.mode, member.mtime_ns, (member.uid, member.gid), member.xattrs
    if member.extents is None:
        restorer.write_file(place, data, *about)
    else:
        restorer.write_sparse(place, data, member.extents, member.size, *about)


def verified(record: Record, head: memoryview) -> Member:
    """Compare a member's headers with its record in the index; returns what they say together.

    Of its time, the record knows nanoseconds, the header any year. Extended attributes, and where
    a sparse file stores what, only the header has.

    :raises UnlikeIndexError: they differ.
    """
    try:
        found = tar.parse(head)
    except AiocompressError:
        raise UnlikeIndexError from None
    member = record.member()
    if not is_same(found, member):
        raise UnlikeIndexError
    is_exact = found.mtime_ns // _SECOND == member.mtime_ns // _SECOND
    mtime_ns = member.mtime_ns if is_exact else found.mtime_ns
    return member._replace(mtime_ns=mtime_ns, xattrs=found.xattrs, extents=found.extents)


def is_same(header: Member, indexed: Member) -> bool:
    """Whether a header and the index describe the same member."""
    return _fields(header) == _fields(indexed)


def _fields(member: Member) -> tuple[object, ...]:
    """Return what both the index and a header say; only the index knows nanoseconds.

    The index has no word for what cannot be read.
    """
    return (
        member.name,
        member.kind,
        member.size,
        member.mode,
        in_range(member.mtime_ns) // _SECOND,
        member.link,
        member.device,
        (member.uid, member.gid, member.user, member.group),
        member.data_offset - member.offset,
        member.unreadable,
    )
