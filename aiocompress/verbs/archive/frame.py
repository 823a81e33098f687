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
from aiocompress.formats.tar.plain import plain
from aiocompress.model import Member
from aiocompress.storage.reach import Reach
from aiocompress.storage.restorer import CONFLICTS, FATAL, Keeping, Restorer, checked
from aiocompress.verbs.jobs import decode
from aiocompress.workers.job import Place, Result, views

_SECOND: Final = 1_000_000_000

Xattrs = tuple[tuple[str, bytes], ...]


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

    def chosen(self) -> list[Record]:
        """Return the records of the members that are wanted."""
        records, wanted = Records.decode(self.records), self.wanted
        return [record for number, record in enumerate(records) if wanted is None or wanted[number]]


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
) -> Iterator[tuple[Record, Known, memoryview]]:
    """Yield the members that are wanted: the record of each, what ``verified`` says, its content.

    :raises UnlikeIndexError: a header is not as the index says.
    """
    for part in parts:
        for record in part.chosen():
            at = record.offset - start
            data = at + BLOCK * record.blocks
            yield record, verified(record, raw[at:data]), raw[data : data + record.size]


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
    restorer: Restorer, members: Iterator[tuple[Record, Known, memoryview]]
) -> tuple[int, tuple[tuple[bytes, AiocompressError | OSError], ...]]:
    """Create files and folders; links have to wait until all files exist.

    :returns: how many files there are now, and which members could not be restored, and why.
    """
    files, failed = 0, []
    for record, known, data in members:
        try:
            name = checked(record.name, restorer.keeping.strip_components)
            if record.kind == FILE:
                about = record.mode, known.mtime_ns, record.owner[:2], known.xattrs
                if known.extents is None:
                    restorer.write_file(name, data, *about)
                else:
                    size = record.member().size
                    restorer.write_sparse(name, data, known.extents, size, *about)
                files += 1
            elif record.kind == DIRECTORY:
                restorer.make_folder(name, known.xattrs)
        except (UnsafeMemberError, OSError) as error:
            code = error.errno if isinstance(error, OSError) else None
            if code in CONFLICTS:
                raise UnlikeIndexError from None
            if code in FATAL:
                raise
            failed.append((record.name, error))
    return files, tuple(failed)


class Known(NamedTuple):
    """What a record and the header know of a member together.

    Of its time, the record knows nanoseconds, the header any year. Extended attributes, and where
    a sparse file stores what, only the header has.
    """

    mtime_ns: int
    xattrs: Xattrs = ()
    extents: tuple[tuple[int, int], ...] | None = None

    def member(self, record: Record) -> Member:
        """Return the member of a record, completed."""
        return record.member()._replace(**self._asdict())


def verified(record: Record, head: memoryview) -> Known:
    """Compare a member's header with its record in the index.

    Nearly every header is one plain block, which takes a fraction of the time of any other.

    :raises UnlikeIndexError: they differ.
    """
    if record.blocks == 1 and (row := plain(bytes(head))) is not None:
        name, kind, _, size, mode, mtime_ns, owner, link = row
        seconds, about = mtime_ns // _SECOND, (name, link, kind, 1, size, mode)
        if (*about, seconds, owner) == (*record[:6], record.mtime_ns // _SECOND, record.owner):
            return Known(record.mtime_ns)
        raise UnlikeIndexError
    try:
        member = tar.parse(head)
    except AiocompressError:
        raise UnlikeIndexError from None
    if not is_same(member, record.member()):
        raise UnlikeIndexError
    is_exact = member.mtime_ns // _SECOND == record.mtime_ns // _SECOND
    mtime_ns = record.mtime_ns if is_exact else member.mtime_ns
    return Known(mtime_ns, member.xattrs, member.extents)


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
