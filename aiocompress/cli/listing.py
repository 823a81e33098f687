"""What ``list``, ``cat`` and ``diff`` write to stdout."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections import Counter
from typing import Any, Final, Self

from aiocompress.api.archive import Archive
from aiocompress.api.stream import PipeSink
from aiocompress.cli.plan import STREAM, Options
from aiocompress.model import MIB, Difference, Member, printable, readable_size

_TYPES: Final = {
    "file": stat.S_IFREG,
    "hardlink": stat.S_IFREG,
    "symlink": stat.S_IFLNK,
    "directory": stat.S_IFDIR,
    "fifo": stat.S_IFIFO,
    "character device": stat.S_IFCHR,
    "block device": stat.S_IFBLK,
}

_MOST_LINES: Final = 1000
_SOON: Final = 0.1
"""Seconds."""
_TOTALS: Final = {"file": "file", "directory": "folder", "symlink": "link", "hardlink": "hard link"}


class _Lines:
    """Gathers lines; an error shows those before it, and a signal waits for no reader.

    A write that takes its time must not block the loop: nothing else would hear Ctrl-C.
    """

    def __init__(self, sink: PipeSink, end: str = "\n") -> None:
        self._sink, self._end = sink, end
        self._lines: list[str] = []
        self._due = 0.0
        """When people want to see something again."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Exception):
            await self._write()

    async def add(self, line: str) -> None:
        self._lines.append(line)
        if len(self._lines) >= _MOST_LINES or time.monotonic() > self._due:
            await self._write()
            self._due = time.monotonic() + _SOON

    async def _write(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            await self._sink.write(_bytes(self._end.join([*lines, ""])))


async def list_members(archive: Archive, options: Options, sink: PipeSink) -> None:
    """Write a line for each member: its name, or with ``--long`` and ``--json`` all about it."""
    end = "\0" if options.null else "\n"
    matching = options.members or None
    if not (options.long or options.as_json):
        async for names in archive.names(matching=matching):
            raw = options.null or "".join(names).isprintable()
            lines = names if raw else map(printable, names)
            await sink.write(_bytes(end.join([*lines, ""])))
        return
    kinds, size = Counter[str](), 0
    async with _Lines(sink, end) as told:
        async with archive.members(matching=matching) as members:
            async for member in members:
                await told.add(as_json(member) if options.as_json else _long(member, options))
                kinds[_TOTALS.get(member.kind, "other")] += 1
                size += member.size
        if options.long and not options.null:
            await told.add(_totals(kinds, size))


def _totals(kinds: Counter[str], size: int) -> str:
    """Return how many members of each kind there are, and how many bytes all of them have."""
    told = [
        f"{kinds[kind]:,} {kind}{'s' * (kinds[kind] != 1 and kind != 'other')}"
        for kind in dict.fromkeys((*_TOTALS.values(), "other"))
        if kinds[kind]
    ]
    return f"{', '.join(told) or 'no members'}: {size:,} bytes ({readable_size(size)})"


def as_json(member: Member) -> str:
    """Return a member as one line of JSON."""
    import json  # importing it takes as long as listing a small archive

    fields: dict[str, Any] = member._asdict()
    for internal in ("extents", "xattrs", "device", "stored_size"):
        del fields[internal]
    return json.dumps(fields)


def _long(member: Member, options: Options) -> str:
    moment = time.localtime(max(0, member.mtime_ns // 1_000_000_000))
    owner = f"{member.user or member.uid}/{member.group or member.gid}"
    name = member.name + "/" * (member.kind == "directory")
    if member.link:
        name += (" link to " if member.kind == "hardlink" else " -> ") + member.link
    if not options.null:
        name = printable(name)
    mode = stat.filemode(_TYPES[member.kind] | member.mode)
    return f"{mode} {owner:<17} {member.size:>12} {time.strftime('%Y-%m-%d %H:%M', moment)} {name}"


async def cat(archive: Archive, names: tuple[str, ...], sink: PipeSink) -> None:
    """Write the content of members, one after another."""
    for name in names:
        async with archive.open(name) as file:
            while data := await file.read(MIB):
                await sink.write(data)


async def diff(archive: Archive, options: Options, sink: PipeSink) -> bool:
    """Write a line for each difference; returns whether there is one. If quiet, one is enough."""
    quiet, members, inside, differs = options.quiet, options.members or None, options.inside, False
    if inside is None:
        inside = "" if options.sources == (STREAM,) else await _within(archive, _own_name(options))
    progress = options.progress is not False and (quiet or not sys.stdout.isatty())
    about: dict[str, Any] = {
        "ignore": options.ignore,
        "preserve": options.preserve,
        "progress": progress and not quiet,
    }
    differences = archive.diff(options.folder, members, prefix=inside, **about)
    async with _Lines(sink) as told, differences:
        async for difference in differences:
            differs = True
            if quiet:
                break
            await told.add(_told(difference, options))
    return differs


def _told(difference: Difference, options: Options) -> str:
    if options.as_json:
        import json

        return json.dumps(difference._asdict())
    return printable(str(difference))


def _own_name(options: Options) -> str:
    return os.path.basename(os.path.abspath(options.folder))


async def _within(archive: Archive, name: str) -> str:
    """Return the name if all members are in a folder of that name; else nothing."""
    async with archive.members() as members:
        first = await anext(members, None)
    if first is None or first.name.removeprefix("./").partition("/")[0] != name:
        return ""
    return name if await archive.listdir() == [name] else ""


def _bytes(text: str) -> bytes:
    """Encode text so that names come out as the bytes that the archive holds."""
    return text.encode("utf-8", "surrogateescape")
