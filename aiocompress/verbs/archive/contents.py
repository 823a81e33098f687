"""What is in an archive: its members, by its index if it has one, or else by reading all of it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from itertools import islice
from operator import and_
from typing import Final, TypeVar

from aiocompress.errors import (
    ClosedError,
    CorruptError,
    FormatError,
    LimitError,
    Lines,
    MemberNotFoundError,
)
from aiocompress.formats.tar.header import to_bytes, to_text
from aiocompress.formats.tar.index import Record, Records
from aiocompress.model import Member
from aiocompress.storage.positional import SourceError
from aiocompress.verbs.archive.seek import Indexed
from aiocompress.verbs.options import Bounds
from aiocompress.verbs.select import Closest, Selection, plain
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

T = TypeVar("T")

_NAMES_AT_ONCE, _MEMBERS_AT_ONCE = 8192, 512
"""How many are made of the index before other tasks have their turn: a few milliseconds."""
_NOTHING: Final = {b"", b"."}
"""What is left of the name of the folder itself."""


class Contents(ABC):
    """The members of an archive.

    :param name: the path of the archive, if it has one.
    """

    def __init__(self, pool: WorkerPool, name: str | None) -> None:
        self._pool, self.name = pool, name
        self.is_open = False
        self.index: Indexed | None = None
        """Where its members are; None: it has to be read from front to back."""
        self._comparing, self._scanning = asyncio.Lock(), asyncio.Lock()
        self._next_scan = _Scan()
        self.warnings = Lines()
        """What was odd about the archive, each thing once."""

    @property
    @abstractmethod
    def can_be_read_again(self) -> bool:
        """Whether it can be read from the front more than once."""

    @abstractmethod
    def _scan(self) -> AsyncGenerator[list[Member]]:
        """Yield the members, read from front to back, some at a time."""

    def check(self) -> None:
        """Check that the archive is open, and used by the loop that opened it.

        :raises ClosedError: it is not, or its engine was closed.
        """
        if not self.is_open:
            raise ClosedError("the archive is not open: use it with `async with`", file=self.name)
        self._pool.check()

    def distrust(self, why: CorruptError | None = None) -> None:
        """Give the index up: it is damaged, or the archive differs from it.

        :raises SourceError: ``why``, if the source of the bytes is to blame, and not the index.
        """
        if isinstance(why, SourceError):
            raise why
        if self.index is not None:
            self.index.close()
            self.index = None
            self.warnings.append("the index is not what the archive holds, and was not used")

    async def names(self, selection: Selection | None = None) -> AsyncGenerator[list[str]]:
        """Yield the names of members, many at once; that of a folder ends with a slash.

        :raises MemberNotFoundError: at the end: a name or pattern matches no member.
        """
        wanted = selection or Selection()
        batches = self._batches(
            lambda records: records.listing(wanted.mask(records.names)),
            lambda member: (
                [member.name + "/" * (member.kind == "directory")]
                * wanted.wants(to_bytes(member.name))
            ),
        )
        async with aclosing(batches):
            async for batch in batches:
                yield batch
        if wanted.missing is not None:
            raise await self.not_found(wanted.missing)

    async def members(
        self, prefix: str = "", selection: Selection | None = None
    ) -> AsyncGenerator[Member]:
        """Yield the members that are wanted and whose names begin so, in the archive's order.

        :raises MemberNotFoundError: at the end: a name or pattern matches no member.
        """
        start = to_bytes(prefix).removeprefix(b"./").lstrip(b"/")
        wanted = selection or Selection()
        batches = self._batches(
            lambda records: _members(records, start, wanted.mask(records.names)),
            lambda member: (
                [member]
                * plain(to_bytes(member.name)).startswith(start)
                * wanted.wants(to_bytes(member.name))
            ),
            start,
            _MEMBERS_AT_ONCE,
        )
        async with aclosing(batches):
            async for batch in batches:
                for member in batch:
                    yield member
        if wanted.missing is not None:
            raise await self.not_found(wanted.missing)

    async def listdir(self, folder: str) -> list[str]:
        """Return the names of all that is directly in a folder, in order.

        :raises MemberNotFoundError: there is no such folder.
        :raises FormatError: it is no folder.
        """
        self.check()
        inside = plain(to_bytes(folder))
        start = inside + b"/" if inside else b""
        found: set[bytes] = set()
        batches = self._batches(
            lambda records: _children(records.plain_names, start),
            lambda member: _children([plain(to_bytes(member.name))], start),
            start,
        )
        async with aclosing(batches):
            async for names in batches:
                found.update(names)
        if not found and inside and (member := await self.member(folder)).kind != "directory":
            raise FormatError(f"member {folder!r} is a {member.kind}, no folder", file=self.name)
        return [to_text(name) for name in sorted(found)]

    async def scandir(self, folder: str, bounds: Bounds) -> list[Member]:
        """Return all that is directly in a folder, in the order of names.

        :raises LimitError: there are too many.
        :raises MemberNotFoundError: there is no such folder.
        :raises FormatError: it is no folder.
        """
        self.check()
        inside = plain(to_bytes(folder))
        start = inside + b"/" if inside else b""
        found: dict[bytes, Member] = {}
        batches = self._batches(
            lambda records: _directly_in(records, start),
            lambda member: _child(member, start),
            start,
            _MEMBERS_AT_ONCE,
        )
        async with aclosing(batches):
            async for batch in batches:
                for name, member in batch:
                    if member is not None:
                        found[name] = member
                    elif name not in found:
                        found[name] = Member(to_text(start + name), "directory", mode=0o755)
                bounds.check_count(len(found))
        if not found and inside:
            if not await self.exists(folder):
                hint = "members() tells what there is"
                raise MemberNotFoundError(f"no member {folder!r}", file=self.name, hint=hint)
            if (kind := (await self.member(folder)).kind) != "directory":
                raise FormatError(f"member {folder!r} is a {kind}, no folder", file=self.name)
        return [found[name] for name in sorted(found)]

    async def _batches(
        self,
        indexed: Callable[[Records], Iterable[T]],
        scanned: Callable[[Member], list[T]],
        prefix: bytes = b"",
        at_once: int = _NAMES_AT_ONCE,
    ) -> AsyncGenerator[list[T]]:
        """Yield something for all members: by the index as far as that is whole, then by a scan.

        :param indexed: makes it of some records of the index.
        :param scanned: makes it of one member.
        :param prefix: leaves out blocks of the index that hold no names with this prefix.
        :param at_once: how many are taken of ``indexed`` before other tasks have their turn.
        """
        told, index = 0, self.index
        if index is not None:
            try:
                all_blocks = index.blocks_with(prefix) if prefix else index.checked_blocks()
                async with aclosing(all_blocks) as blocks:
                    async for records in blocks:
                        made = iter(indexed(records))
                        while batch := list(islice(made, at_once)):
                            yield batch
                            told += len(batch)
                            await asyncio.sleep(0)  # others want the loop, too
                return
            except CorruptError as error:
                self.distrust(error)
        async with aclosing(self._scan()) as runs:
            async for members in runs:
                batch = [item for member in members for item in scanned(member)]
                if told < len(batch):
                    yield batch[told:]
                told = max(0, told - len(batch))

    async def member(self, name: str) -> Member:
        """Return the member of that name, the last one if there are several.

        :raises MemberNotFoundError: there is none; its hint has the closest names.
        """
        self.check()
        index = self.index
        if index is None:
            return await self.scan_for(name)
        try:
            record = await index.find(plain(to_bytes(name)))
        except CorruptError as error:
            self.distrust(error)
            return await self.scan_for(name)
        if record is None:
            raise await self.not_found(name)
        return record.member()

    async def exists(self, name: str) -> bool:
        """Whether there is a member of that name."""
        self.check()
        wanted = plain(to_bytes(name))
        if self.index is not None:
            try:
                return await self.index.find(wanted) is not None
            except CorruptError as error:
                self.distrust(error)
        return wanted in (await self._scan_with(wanted)).found

    async def not_found(self, name: str) -> MemberNotFoundError:
        """Return an error with the closest of all names, if the archive can be read again."""
        closest = Closest(name)
        if self.can_be_read_again:
            async with self._comparing:  # several threads would keep the loop's from running
                with suppress(CorruptError, LimitError):
                    async with aclosing(self.names()) as batches:
                        async for names in batches:
                            await call(self._pool.files, closest.add, map(to_bytes, names))
        return closest.error().located(file=self.name)

    async def scan_for(self, name: str) -> Member:
        """Look a name up from front to back; see ``member``."""
        wanted = plain(to_bytes(name))
        scan = await self._scan_with(wanted)
        if wanted not in scan.found:
            raise await self.not_found(name)
        return scan.found[wanted]

    async def _scan_with(self, wanted: bytes) -> _Scan:
        """Look a name up from front to back, together with all that wait for the same scan.

        One scan runs at a time: each takes the memory of a stream, and hundreds of tasks may ask.
        """
        scan = self._next_scan
        scan.wanted.add(wanted)
        async with self._scanning:
            if not scan.is_over:
                self._next_scan = _Scan() if self._next_scan is scan else self._next_scan
                async with aclosing(self._scan()) as runs:
                    async for members in runs:
                        for member in members:
                            scan.take(plain(to_bytes(member.name)), member)
                scan.is_over = True
        return scan


class _Scan:
    """The names that one scan looks for, and what it has found."""

    def __init__(self) -> None:
        self.wanted: set[bytes] = set()
        self.found: dict[bytes, Member] = {}
        self.is_over = False

    def take(self, name: bytes, member: Member) -> None:
        if name in self.wanted:
            self.found[name] = member


def _members(records: Records, start: bytes, mask: bytes | None) -> Iterator[Member]:
    if start:
        begin = bytes(name.startswith(start) for name in records.plain_names)
        mask = begin if mask is None else bytes(map(and_, begin, mask))
    return map(Record.member, records if mask is None else records.where(mask))


def _children(names: Iterable[bytes], start: bytes) -> list[bytes]:
    """Return the first part of each name behind ``start``; those that have none are left out."""
    parts = (name[len(start) :].partition(b"/")[0] for name in names if name.startswith(start))
    return [part for part in parts if part not in _NOTHING]


def _child(member: Member, start: bytes) -> list[tuple[bytes, Member | None]]:
    """Return what ``_directly_in`` yields of one member."""
    place = plain(to_bytes(member.name))
    if not place.startswith(start):
        return []
    name, slash, _ = place[len(start) :].partition(b"/")
    return [] if name in _NOTHING else [(name, None if slash else member)]


def _directly_in(records: Records, start: bytes) -> Iterator[tuple[bytes, Member | None]]:
    """Yield what ``_children`` returns, each once, and the members that have such a name."""
    size = len(start)
    names = records.plain_names
    inside = [name[size:] if name.startswith(start) else b"" for name in names]
    folders = {name.partition(b"/")[0] for name in inside if b"/" in name}
    yield from ((name, None) for name in folders - _NOTHING)
    direct = (name not in _NOTHING and b"/" not in name for name in inside)
    for record in records.where(direct):
        yield record.name.removeprefix(b"./")[size:], record.member()
