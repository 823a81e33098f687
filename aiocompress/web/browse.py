"""The contents of folders, on the disk and in archives, as the same kind of rows.

The functions for folders on the disk block, and are for a file thread.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Iterator
from fnmatch import translate
from itertools import islice
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

from aiocompress.api.archive import Archive
from aiocompress.formats import names
from aiocompress.model import Member
from aiocompress.web.limits import Deadline
from aiocompress.web.root import Place, open_folder

Kind: TypeAlias = Literal["folder", "archive", "file", "link", "other"]
Sort: TypeAlias = Literal["name", "size", "time"]
PER_PAGE: Final = 500
"""Rows of a page: as many as a browser renders at once and people scroll through."""
_MOST: Final = 100_000
"""Names of a folder that are read."""
_MOST_FOUND: Final = 1000
_MOST_FOLDERS: Final = 64
"""Levels of folders that a search descends."""
_OFTEN: Final = 512
_NANOSECONDS: Final = 1e9
_KINDS: Final[dict[str, Kind]] = {
    "file": "file",
    "hardlink": "file",
    "directory": "folder",
    "symlink": "link",
}
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

T = TypeVar("T")


class Item(NamedTuple):
    """One row; ``name`` is a path in search results, ``modified`` is in seconds since 1970."""

    name: str
    kind: Kind
    size: int | None = None
    modified: float | None = None
    target: str = ""

    @property
    def has_inside(self) -> bool:
        """Whether a page shows it as a folder."""
        return self.kind in {"folder", "archive"}


class View(NamedTuple):
    """Which part of a folder to show, and in which order; pages count from 1."""

    sort: Sort = "name"
    descending: bool = False
    page: int = 1
    search: str = ""


class Listing(NamedTuple):
    """The rows of one page, and the number of all; ``is_whole`` says that none is missing."""

    items: list[Item]
    total: int
    is_whole: bool = True

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return max(1, -(-self.total // PER_PAGE))


def is_archive(name: str) -> bool:
    """Whether a page shows a file of this name as a folder."""
    return names.is_tar(name) or name.lower().endswith(".tar")


def matcher(search: str) -> Callable[[str], bool]:
    """Return a function that says whether a name contains the text, or matches the pattern."""
    folded = search.casefold()
    if any(c in folded for c in "*?["):
        pattern = re.compile(translate(folded))
        return lambda name: pattern.match(name.casefold()) is not None
    return lambda name: folded in name.casefold()


def arranged(items: list[Item], view: View, *, is_whole: bool = True) -> Listing:
    """Sort rows and return those of one page; folders come first, or last if descending."""
    keys: dict[Sort, Callable[[Item], Any]] = {
        "name": lambda item: (item.kind != "folder", item.name.casefold(), item.name),
        "size": lambda item: (item.kind != "folder", item.size or 0, item.name),
        "time": lambda item: (item.modified or 0, item.name),
    }
    items.sort(key=keys[view.sort], reverse=view.descending)
    start = (view.page - 1) * PER_PAGE
    return Listing(items[start : start + PER_PAGE], len(items), is_whole)


# Folders.


def list_folder(place: Place, view: View, deadline: Deadline) -> Listing:
    """List a folder.

    :raises OSError: it cannot be read.
    :raises TimeoutError: it takes too long.
    """
    descriptor = open_folder(place)
    try:
        with os.scandir(descriptor) as scanned:
            entries = {entry.name: entry for entry in _timely(islice(scanned, _MOST + 1), deadline)}

        def looked_at(items: Iterable[Item]) -> list[Item]:
            return [_looked_at(item, entries[item.name]) for item in _timely(items, deadline)]

        items = [Item(name, _kind_of(entry)) for name, entry in islice(entries.items(), _MOST)]
        if view.sort != "name":  # the order needs the size or time of every row
            items = looked_at(items)
        listing = arranged(items, view, is_whole=len(entries) <= _MOST)
        return listing._replace(items=list(map(_with_archives, looked_at(listing.items))))
    finally:
        os.close(descriptor)


def search_folder(place: Place, view: View, deadline: Deadline) -> Listing:
    """Find names in a folder and below it until the deadline.

    :raises OSError: the folder cannot be read.
    """
    descriptor, matches = open_folder(place), matcher(view.search)
    items: list[Item] = []
    is_whole = True
    try:
        for name, entry in _timely(_below(descriptor, "", _MOST_FOLDERS), deadline):
            if matches(entry.name):
                if len(items) == _MOST_FOUND:
                    is_whole = False
                    break
                items.append(_with_archives(_looked_at(Item(name, _kind_of(entry)), entry)))
    except TimeoutError:
        is_whole = False
    finally:
        os.close(descriptor)
    return arranged(items, view, is_whole=is_whole)


def _below(folder: int, before: str, levels: int) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield before + entry.name, entry
            if levels and entry.is_dir(follow_symlinks=False):
                try:
                    inside = os.open(entry.name, _FOLDER_FLAGS, dir_fd=folder)
                except OSError:  # it is gone, or unreadable
                    continue
                try:
                    yield from _below(inside, f"{before}{entry.name}/", levels - 1)
                finally:
                    os.close(inside)


def _kind_of(entry: os.DirEntry[str]) -> Kind:
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    if not entry.is_file(follow_symlinks=False):
        return "other"
    return "file"


def _looked_at(item: Item, entry: os.DirEntry[str]) -> Item:
    if item.modified is not None:
        return item
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:  # it was just removed
        return item
    size = status.st_size if item.kind == "file" else None
    return Item(item.name, item.kind, size, status.st_mtime)


def _with_archives(item: Item) -> Item:
    """Mark a file as an archive by its name; only visible rows need that."""
    is_one = item.kind == "file" and is_archive(item.name)
    return item._replace(kind="archive") if is_one else item


def _timely(rows: Iterable[T], deadline: Deadline) -> Iterator[T]:
    for number, row in enumerate(rows):
        if number % _OFTEN == 0:
            deadline.check()
        yield row


# Folders of archives.


def list_members(members: Iterable[Member], view: View) -> Listing:
    """List the members that are directly in a folder of an archive."""
    items = [_item_of(member, base_of(member.name)) for member in members]
    return arranged([item for item in items if _leads_inside(item.name)], view)


async def search_archive(archive: Archive, folder: str, view: View, seconds: float) -> Listing:
    """Find names in a folder of an archive and below it for up to ``seconds``."""
    before, matches = folder + "/" * bool(folder), matcher(view.search)
    items: list[Item] = []
    is_whole = True
    try:
        async with asyncio.timeout(seconds), archive.members(before) as members:
            async for member in members:
                name = member.name.removeprefix("./").strip("/")
                if matches(base_of(name)) and name != folder and _leads_inside(name):
                    if len(items) == _MOST_FOUND:
                        is_whole = False
                        break
                    items.append(_item_of(member, name[len(before) :]))
    except TimeoutError:
        is_whole = False
    return arranged(items, view, is_whole=is_whole)


def base_of(name: str) -> str:
    """Return the last part of a member's name."""
    return name.rstrip("/").rpartition("/")[2]


def _leads_inside(name: str) -> bool:
    """Whether a browser resolves a name to an address below the page that shows it."""
    return {"", ".", ".."}.isdisjoint(name.split("/"))


def _item_of(member: Member, name: str) -> Item:
    """Return the row of a member; a folder that only member names imply has no time."""
    kind = _KINDS.get(member.kind, "other")
    size = member.size if member.kind == "file" else None
    return Item(name, kind, size, member.mtime_ns / _NANOSECONDS or None, member.link)
