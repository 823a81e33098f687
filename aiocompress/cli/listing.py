"""What ``list`` and ``cat`` write to stdout."""

from __future__ import annotations

import stat
import sys
from collections import Counter
from typing import Any, Final

from aiocompress.api.archive import Archive
from aiocompress.api.stream import PipeSink
from aiocompress.cli.plan import Options
from aiocompress.model import MIB, Member, printable, readable_size

_TYPES: Final = {
    "file": stat.S_IFREG,
    "hardlink": stat.S_IFREG,
    "symlink": stat.S_IFLNK,
    "directory": stat.S_IFDIR,
    "fifo": stat.S_IFIFO,
    "character device": stat.S_IFCHR,
    "block device": stat.S_IFBLK,
}

_TOTALS: Final = {"file": "file", "directory": "folder", "symlink": "link", "hardlink": "hard link"}


async def list_members(archive: Archive, options: Options) -> None:
    """Write a line for each member: its name, or with ``--long`` and ``--json`` all about it."""
    out, end = sys.stdout.buffer, "\0" if options.null else "\n"
    matching = options.members or None
    if not (options.long or options.as_json):
        async for names in archive.names(matching=matching):
            raw = options.null or "".join(names).isprintable()
            lines = names if raw else map(printable, names)
            out.write(_bytes(end.join([*lines, ""])))
        return
    kinds, size = Counter[str](), 0
    async with archive.members(matching=matching) as members:
        async for member in members:
            text = as_json(member) if options.as_json else _long(member, escape=not options.null)
            out.write(_bytes(text + end))
            kinds[_TOTALS.get(member.kind, "other")] += 1
            size += member.size
    if options.long and not options.null:
        out.write(_bytes(_totals(kinds, size) + end))


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


def _long(member: Member, *, escape: bool) -> str:
    import time

    moment = time.localtime(max(0, member.mtime_ns // 1_000_000_000))
    owner = f"{member.user or member.uid}/{member.group or member.gid}"
    name = member.name + "/" * (member.kind == "directory")
    if member.link:
        name += (" link to " if member.kind == "hardlink" else " -> ") + member.link
    if escape:
        name = printable(name)
    mode = stat.filemode(_TYPES[member.kind] | member.mode)
    return f"{mode} {owner:<17} {member.size:>12} {time.strftime('%Y-%m-%d %H:%M', moment)} {name}"


async def cat(archive: Archive, names: tuple[str, ...], sink: PipeSink) -> None:
    """Write the content of members, one after another."""
    for name in names:
        async with archive.open(name) as file:
            while data := await file.read(MIB):
                await sink.write(data)


def _bytes(text: str) -> bytes:
    """Encode text so that names come out as the bytes that the archive holds."""
    return text.encode("utf-8", "surrogateescape")
