"""The members wholly inside one frame become files: what a worker does for an archive of ours.

The index says where each begins. It is believed only where the header there agrees, byte by byte.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Final, NamedTuple

from aiocompress.errors import AiocompressError, UnsafeMemberError
from aiocompress.formats import FORMATS
from aiocompress.formats.base import STREAM
from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import BLOCK, Owner, header, owner, to_text
from aiocompress.formats.tar.index import DIRECTORY, FILE, Record, Records, in_range
from aiocompress.model import Member
from aiocompress.storage.restorer import CONFLICTS, FATAL, Keeping, Restorer, checked
from aiocompress.verbs.jobs import decode
from aiocompress.workers.job import Place, Result, views

_SECOND: Final = 1_000_000_000
_DEVICES: Final = b"34"
UNLIKE: Final = -2
"""Said by ``restore``: the archive has to be read from front to back."""

Failed = tuple[bytes, AiocompressError | OSError]


class Part(NamedTuple):
    """Members that follow each other: ``Records``, encoded, and a byte for each that is meant."""

    records: bytes
    wanted: bytes | None = None

    def names(self) -> list[bytes]:
        """Return the names of those that are meant."""
        names = Records.decode(self.records).names
        if self.wanted is None:
            return names
        return [name for name, wanted in zip(names, self.wanted, strict=True) if wanted]


class _Outcome(NamedTuple):
    """How many files there are now, and which members could not be restored."""

    files: int
    failed: tuple[Failed, ...]


def restore(
    place: Place,
    codec: str,
    raw: tuple[int, int],
    parts: tuple[Part, ...],
    target: str,
    keeping: Keeping,
) -> Result:
    """Decode a frame, and create the files and folders that are wholly inside it.

    :param raw: offset and size of the frame in the raw archive.
    :param target: a path of the folder that they belong to.
    :returns: ``size`` is ``STREAM`` where the frame is not of that size, and ``UNLIKE`` where a
        header is not as the index says, or two members want the same place.
    :raises CorruptError: the frame is damaged.
    :raises OSError: what concerns all members, such as a full disk.
    """
    data, room = views(place)
    if room is None:
        room = memoryview(bytearray(raw[1]))
    if decode(FORMATS[codec].codec, data, ((len(data), raw[1]),), room) != raw[1]:
        return Result(STREAM)
    if not parts:
        return Result(raw[1])
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    restorer = Restorer(root, keeping)
    try:
        outcome = _restore_all(restorer, room[: raw[1]], raw[0], parts)
    finally:
        restorer.close()
        os.close(root)
    if outcome is None:
        return Result(UNLIKE)
    return Result(raw[1], files=outcome.files, failed=outcome.failed)


def _restore_all(
    restorer: Restorer, raw: memoryview, start: int, parts: tuple[Part, ...]
) -> _Outcome | None:
    """Create files and folders; links have to wait until all files are there.

    :returns: None where a header is not as the index says, or a name is taken.
    """
    files, failed = 0, []
    for part in parts:
        wanted = part.wanted
        for number, record in enumerate(Records.decode(part.records)):
            if wanted is not None and not wanted[number]:
                continue
            at = record.offset - start
            content = at + BLOCK * record.blocks
            if not agrees(record, raw[at:content]):
                return None
            try:
                _restore_one(restorer, record, raw[at:content], raw[content:][: record.size])
            except (UnsafeMemberError, OSError) as error:
                if isinstance(error, OSError) and error.errno in CONFLICTS:
                    return None
                if isinstance(error, OSError) and error.errno in FATAL:
                    raise
                failed.append((record.name, error))
            else:
                files += record.kind == FILE
    return _Outcome(files, tuple(failed))


def _restore_one(restorer: Restorer, record: Record, head: memoryview, data: memoryview) -> None:
    place = checked(record.name)
    if record.kind == FILE and not restorer.keeping.preserve:
        restorer.write_file(place, data, record.mode, time_of(record, head))
    elif record.kind == FILE:
        ids = record.owner[0], record.owner[1]
        more = ids, xattrs(record, head)
        restorer.write_file(place, data, record.mode, time_of(record, head), *more)
    elif record.kind == DIRECTORY:
        restorer.make_folder(place, xattrs(record, head))


def time_of(record: Record, head: memoryview) -> int:
    """Return when a member was modified: the index knows parts of seconds, the header all years."""
    if record.blocks == 1:
        return record.mtime_ns
    said = tar.parse(head).mtime_ns
    return record.mtime_ns if said // _SECOND == record.mtime_ns // _SECOND else said


def xattrs(record: Record, head: memoryview) -> tuple[tuple[str, bytes], ...]:
    """Return the extended attributes that a header tells of; the index does not."""
    return tar.parse(head).xattrs if record.blocks > 1 else ()


def agrees(record: Record, head: memoryview) -> bool:
    """Whether a header is that of the member that the index speaks of."""
    if record.blocks > 1 or record.kind in _DEVICES:
        return _says_the_same(record, head)
    expected = header(
        record.name + b"/" if record.kind == DIRECTORY else record.name,
        b"%c" % record.kind,
        record.mode,
        record.size,
        record.mtime_ns // _SECOND,
        record.link,
        _owner(*record.owner),
    )
    return bytes(head) == expected or _says_the_same(record, head)


@cache
def _owner(uid: int, gid: int, user: bytes, group: bytes) -> Owner:
    return owner(uid, gid, to_text(user), to_text(group))


def _says_the_same(record: Record, head: memoryview) -> bool:
    try:
        said = tar.parse(head)
    except AiocompressError:
        return False
    return is_same(said, record.member())


def is_same(header: Member, indexed: Member) -> bool:
    """Whether a header and the index speak of the same member."""
    return _fields(header) == _fields(indexed)


def _fields(member: Member) -> tuple[object, ...]:
    """Return what the index and the header both say; only the index has parts of seconds."""
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
    )
