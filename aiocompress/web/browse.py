"""What is in a folder, and in a folder of an archive: rows of the same kind, in the same order.

What looks into folders is plain blocking code, for a file thread.
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
"""Rows of a page: as many as a browser shows at once, and people scroll through."""
_MOST: Final = 100_000
"""Names of a folder that are looked at."""
_MOST_FOUND: Final = 1000
_MOST_FOLDERS: Final = 64
"""Levels of folders that a search goes down."""
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
    """One row; ``name`` is a path where it was searched for, ``modified`` in seconds since 1970."""

    name: str
    kind: Kind
    size: int | None = None
    modified: float | None = None
    target: str = ""

    @property
    def has_inside(self) -> bool:
        """Whether it is shown as a folder is."""
        return self.kind in {"folder", "archive"}


class View(NamedTuple):
    """What somebody wants to see of a folder; pages are counted from 1."""

    sort: Sort = "name"
    descending: bool = False
    page: int = 1
    search: str = ""


class Listing(NamedTuple):
    """The rows of one page, and how many there are in all; ``is_whole``: nothing was left out."""

    items: list[Item]
    total: int
    is_whole: bool = True

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return max(1, -(-self.total // PER_PAGE))


def is_archive(name: str) -> bool:
    """Whether a file of this name is shown as a folder."""
    return names.is_tar(name) or name.lower().endswith(".tar")


def matcher(search: str) -> Callable[[str], bool]:
    """Return whether a name is what somebody searches for: a part of it, or a shell pattern."""
    folded = search.casefold()
    if any(c in folded for c in "*?["):
        pattern = re.compile(translate(folded))
        return lambda name: pattern.match(name.casefold()) is not None
    return lambda name: folded in name.casefold()


def arranged(items: list[Item], view: View, *, is_whole: bool = True) -> Listing:
    """Sort rows, and return those of one page; folders stand first, or last if descending."""
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
        if view.sort != "name":  # those that are not on the page count, too
            items = looked_at(items)
        listing = arranged(items, view, is_whole=len(entries) <= _MOST)
        return listing._replace(items=list(map(_with_archives, looked_at(listing.items))))
    finally:
        os.close(descriptor)


def search_folder(place: Place, view: View, deadline: Deadline) -> Listing:
    """Find names in a folder and below it, as far as the time goes.

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
                except OSError:  # it is gone, or not ours to read
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
    except OSError:  # it has just gone
        return item
    size = status.st_size if item.kind == "file" else None
    return Item(item.name, item.kind, size, status.st_mtime)


def _with_archives(item: Item) -> Item:
    """Tell an archive from another file, once it is known that somebody sees it."""
    is_one = item.kind == "file" and is_archive(item.name)
    return item._replace(kind="archive") if is_one else item


def _timely(rows: Iterable[T], deadline: Deadline) -> Iterator[T]:
    for number, row in enumerate(rows):
        if number % _OFTEN == 0:
            deadline.check()
        yield row


# Folders of archives.


def list_members(members: Iterable[Member], view: View) -> Listing:
    """List a folder of an archive: all members that are directly in it."""
    items = [_item_of(member, base_of(member.name)) for member in members]
    return arranged([item for item in items if _leads_inside(item.name)], view)


async def search_archive(archive: Archive, folder: str, view: View, seconds: float) -> Listing:
    """Find names in a folder of an archive and below it, as far as the time goes."""
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
    """Whether a browser takes a name for one below the page that shows it."""
    return {"", ".", ".."}.isdisjoint(name.split("/"))


def _item_of(member: Member, name: str) -> Item:
    """Return the row of a member; that of a folder which only its members tell of has no time."""
    kind = _KINDS.get(member.kind, "other")
    size = member.size if member.kind == "file" else None
    return Item(name, kind, size, member.mtime_ns / _NANOSECONDS or None, member.link)
