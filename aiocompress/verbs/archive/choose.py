"""Some members of an archive as a tar of their own: their blocks, as they stand in the archive.

Nothing is parsed and laid again, so a member keeps all that its headers say; and members that stand
together, as those of a folder do, are one run of bytes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, NamedTuple

from aiocompress.errors import AiocompressError, CorruptError
from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import END, to_bytes
from aiocompress.model import KIB, Member
from aiocompress.verbs.archive.frame import UnlikeIndexError
from aiocompress.verbs.archive.opened import OpenedArchive
from aiocompress.verbs.select import Selection

_AT_ONCE: Final = 256 * KIB


class Chosen(NamedTuple):
    """Members: where their runs begin and end in the raw archive, and how many there are."""

    runs: list[tuple[int, int]]
    number: int


async def chosen(archive: OpenedArchive, selection: Selection) -> Chosen:
    """Find the members that are wanted.

    :raises MemberNotFoundError: one of the names matches no member.
    """
    runs: list[tuple[int, int]] = []
    count = 0
    async with aclosing(archive.members()) as members:
        async for member in members:
            if selection.wants(to_bytes(member.name)):
                count += 1
                if runs and runs[-1][1] == member.offset:
                    runs[-1] = runs[-1][0], member.end
                else:
                    runs.append((member.offset, member.end))
    if selection.missing is not None:
        raise await archive.not_found(selection.missing)
    return Chosen(runs, count)


async def tar_of(
    archive: OpenedArchive, selection: Selection, members: Chosen
) -> AsyncGenerator[bytes]:
    """Yield the tar of members; what is in it is counted.

    :raises CorruptError: the archive is damaged, or not what its index says.
    """
    reader, found = tar.Reader(content=False), 0
    try:
        for start, end in members.runs:
            at = start
            while at < end:
                data = await archive.raw_at(at, min(_AT_ONCE, end - at))
                for item in reader.feed(data) if data else ():
                    if isinstance(item, Member) and selection.wants(to_bytes(item.name)):
                        found += 1
                if not data:
                    break
                at += len(data)
                yield data
    except UnlikeIndexError as error:
        raise CorruptError(error.reason, file=archive.name) from None
    except AiocompressError as error:
        raise error.located(file=archive.name) from None
    if found != members.number:
        raise CorruptError("the archive is not what its index says", file=archive.name)
    yield END
