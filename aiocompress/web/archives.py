"""Archives that stay open between requests, so that each index is read once.

The listings of recently shown folders are kept as well: without an index, each takes a scan of the
whole archive. Only a few listings are made at once, because each takes memory.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

from aiocompress.api.archive import Archive
from aiocompress.api.engine import Engine
from aiocompress.model import Kind, Member
from aiocompress.web.root import Place

_MOST: Final = 32
_MOST_SCANS: Final = 4
_MOST_MEMBERS: Final = 100_000
"""Members in one listing."""
_MOST_REMEMBERED: Final = 50_000
"""Members in all listings that are kept."""
_Version: TypeAlias = tuple[int, int, int, int]
"""Device, inode, size and time: a file that changed is another archive."""
Folder: TypeAlias = dict[str, Member]
"""What is directly in a folder, by its plain name: without ``./`` in front or a slash behind."""


class _Folders:
    """The listings of recently shown folders of all archives."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(_MOST_SCANS)
        self._kept: OrderedDict[tuple[_Version, str], Folder] = OrderedDict()

    def get(self, version: _Version, folder: str) -> Folder | None:
        found = self._kept.get((version, folder))
        if found is not None:
            self._kept.move_to_end((version, folder))
        return found

    def put(self, version: _Version, folder: str, members: Folder) -> None:
        self._kept[version, folder] = members
        while sum(map(len, self._kept.values())) > _MOST_REMEMBERED:
            self._kept.popitem(last=False)


class KeptArchive:
    """An open archive, as pages use it."""

    def __init__(
        self, archive: Archive, version: _Version, descriptor: int, folders: _Folders
    ) -> None:
        self.archive = archive
        self.users = 0
        """How many requests are using it."""
        self._version, self._descriptor, self._folders = version, descriptor, folders

    async def scandir(self, folder: str) -> Folder:
        """Return what is directly in a folder, by name; see ``Archive.scandir``."""
        found = self._folders.get(self._version, folder)
        if found is None:
            async with self._folders.turns:
                members = await self.archive.scandir(folder, max_members=_MOST_MEMBERS)
            found = {member.name.removeprefix("./").strip("/"): member for member in members}
            self._folders.put(self._version, folder, found)
        return found

    async def kind_of(self, name: str) -> Kind | None:
        """Return the kind of a member, or "directory" for a folder that only member names imply."""
        above = self._folders.get(self._version, name.rpartition("/")[0])
        if above is not None:
            return above[name].kind if name in above else None
        async with self._folders.turns:
            if await self.archive.exists(name):
                return (await self.archive.member(name)).kind
            async with self.archive.members(f"{name}/") as members:
                async for _ in members:
                    return "directory"
        return None

    async def aclose(self) -> None:
        """Close the archive."""
        try:
            await self.archive.aclose()
        finally:
            os.close(self._descriptor)


class Archives:
    """The archives that were used last.

    An archive without an index is reopened by its path for each scan. That path is a descriptor's,
    so the descriptor stays open as long as the archive does.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: OrderedDict[_Version, KeptArchive] = OrderedDict()
        self._opening = asyncio.Lock()
        self._folders = _Folders()

    @asynccontextmanager
    async def opened(self, place: Place) -> AsyncGenerator[KeptArchive]:
        """Lend the archive in a file; the caller may close ``place`` meanwhile.

        :raises OSError: the file cannot be read.
        :raises FormatError: the file is not an archive.
        """
        kept = await self._get(place)
        kept.users += 1
        try:
            yield kept
        finally:
            kept.users -= 1
            await self._make_room()

    async def _get(self, place: Place) -> KeptArchive:
        status = place.status
        version = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        if version not in self._kept:
            async with self._opening:
                if version not in self._kept:
                    self._kept[version] = await self._open(place, version)
        self._kept.move_to_end(version)
        return self._kept[version]

    async def _open(self, place: Place, version: _Version) -> KeptArchive:
        descriptor = os.dup(place.descriptor)
        try:
            archive = self._engine.open_archive(f"/proc/self/fd/{descriptor}")
            await archive.__aenter__()
        except BaseException:
            os.close(descriptor)
            raise
        return KeptArchive(archive, version, descriptor, self._folders)

    async def _make_room(self) -> None:
        idle = [version for version, kept in self._kept.items() if not kept.users]
        for version in idle[: max(0, len(self._kept) - _MOST)]:
            await self._kept.pop(version).aclose()

    async def aclose(self) -> None:
        """Close all archives, even those in use."""
        while self._kept:
            await self._kept.popitem()[1].aclose()
