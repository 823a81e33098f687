"""One member of an archive as a file: read from any offset, without what stands before it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import aclosing
from typing import Final, Self

from aiocompress.api.reading import BinaryReading
from aiocompress.errors import ClosedError, CorruptError, FormatError
from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import to_bytes
from aiocompress.model import KIB, Member
from aiocompress.storage.positional import SourceError
from aiocompress.verbs.archive.frame import UnlikeIndexError, is_same
from aiocompress.verbs.archive.opened import OpenedArchive
from aiocompress.verbs.decode import DAMAGE
from aiocompress.verbs.select import plain

_AT_ONCE: Final = 64 * KIB
"""Bytes that are read for lines. Of other reads nothing is kept: hundreds may be open."""


class MemberFile(BinaryReading):
    """The content of a member; ``async with archive.open(name) as file``, or await it.

    It is for one task at a time. A hard link has the content of the file that it is linked to.
    """

    def __init__(self, archive: OpenedArchive, name: str) -> None:
        super().__init__()
        self._archive, self.name = archive, name
        self._member: Member | None = None
        self._closed = False
        self._at = 0

    def __await__(self) -> Generator[None, None, Self]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Self:
        """Find the member, and check that it is where the index says.

        :raises MemberNotFoundError: there is none of that name.
        :raises FormatError: it is not a file.
        """
        member = await self._find(self.name)
        if member.kind == "hardlink":
            member = await self._find_linked(member)
        self._check_is_file(member)
        self._member = member
        return self

    def _check_is_file(self, member: Member) -> None:
        if member.kind != "file":
            where = f", to {member.link!r}" if member.link else ""
            reason = f"member {self.name!r} is a {member.kind}{where}, and not a file"
            raise FormatError(reason, file=self._archive.name)

    async def _find(self, name: str) -> Member:
        """Return a member; the index is believed only if the header there agrees."""
        member = await self._archive.member(name)
        if self._archive.index is None:
            return member
        if (known := await self._agreed(member)) is None:
            known = await self._archive.scan_for(name)
            self._archive.distrust()  # only now: if the scan fails, it was damage
        return known

    async def _find_linked(self, link: Member) -> Member:
        """Return what a hard link is linked to: the last member of that name before it.

        Nearly always that is the last one of all. It is not where a later one has taken the name,
        or where the link is one to itself.
        """
        last = await self._find(link.link)
        if last.offset < link.offset and last.kind != "hardlink":
            return last
        name, before = plain(to_bytes(link.link)), last
        async with aclosing(self._archive.members()) as members:
            async for member in members:
                if member.offset >= link.offset:
                    break
                is_own = member.kind == "hardlink" and plain(to_bytes(member.link)) == name
                if plain(to_bytes(member.name)) == name and not is_own:
                    before = member
        if self._archive.index is None:
            return before
        if (known := await self._agreed(before)) is not None:
            return known
        self._archive.distrust()
        return await self._find_linked(link)

    async def _agreed(self, member: Member) -> Member | None:
        """Return a member with its extents, which only its header has; None: that differs."""
        parts, at, end = [], member.offset, member.data_offset
        try:
            while at < end and (part := await self._archive.raw_at(at, end - at)):
                parts.append(part)
                at += len(part)
            header = tar.parse(b"".join(parts))
            return member._replace(extents=header.extents) if is_same(header, member) else None
        except (UnlikeIndexError, *DAMAGE) as error:
            if isinstance(error, SourceError) or error.frame is not None:
                raise  # neither the header nor the index is to blame
            return None

    @property
    def member(self) -> Member:
        """The member whose content it is: of a hard link, the file that it is linked to.

        :raises ClosedError: it is not open.
        """
        return self._opened()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the member; the archive stays open."""
        self._closed = True

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return self._opened().size

    def _check(self) -> None:
        self._opened()

    def _move(self, offset: int) -> None:
        self._at = offset

    async def _size(self) -> int:
        return self._opened().size

    async def _next(self, size: int) -> bytes:
        left = self._opened().size - self._at
        return await self._read_some(min(left, size or _AT_ONCE)) if left > 0 else b""

    async def _read_some(self, size: int) -> bytes:
        """Return some of the next bytes; a sparse member has holes between its extents."""
        member, stored = self._opened(), 0
        for start, length in member.runs:
            if self._at < start:
                size = min(size, start - self._at)
                break
            if self._at < start + length:
                at = member.data_offset + stored + self._at - start
                data = await self._raw_at(at, min(size, start + length - self._at))
                if not data:
                    raise CorruptError("the archive ends in this member", file=self._archive.name)
                self._at += len(data)
                return data
            stored += length
        self._at += size
        return bytes(size)

    async def _raw_at(self, offset: int, size: int) -> bytes:
        try:
            return await self._archive.raw_at(offset, size)
        except UnlikeIndexError:
            pass
        data = await self._archive.raw_at(offset, size, by_index=False)
        self._archive.distrust()
        return data

    def _opened(self) -> Member:
        self._archive.check()
        if self._closed or self._member is None:
            raise ClosedError("the member is not open: use it with `async with`")
        return self._member
