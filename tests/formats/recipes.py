"""How the files in ``released`` are made: from nothing but fixed seeds, times and modes.

``write_all`` makes one file of every kind. Files of a release never change; a new folder is for a
release that writes something else, and is written once, by root, for that owns what is packed::

    python -c "from tests.formats import recipes; recipes.release('1.2.3')"
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
import shutil
import stat
import tempfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import zstandard

import aiocompress

RELEASED = Path(__file__).parent / "released"
KIB, SECOND = 1024, 1_000_000_000


# The data.


def noise(size: int, seed: str) -> bytes:
    """Bytes that do not compress."""
    return hashlib.shake_256(seed.encode()).digest(size)


def text(size: int, seed: str) -> bytes:
    """Lines of a few words."""
    words = b"async chunk frame member index table offset raw".split()
    lines = (words[byte % 8] + (b"\n" if byte > 224 else b" ") for byte in noise(size, seed))
    return b"".join(lines)[:size]


DATA = text(6000, "data") + noise(1500, "data") + bytes(3000) + text(1500, "more")
CHUNK = 4 * KIB
RAW = {"empty": b"", "even": DATA[: 2 * CHUNK], "data": DATA}


# The tree.


class Node(NamedTuple):
    """Something in a tree; ``same`` is the path of which a hard link is another name."""

    kind: str
    mode: int
    mtime_ns: int
    data: bytes = b""
    link: bytes = b""
    same: bytes = b""


def file(data: bytes, mode: int = 0o644, mtime_ns: int = 10**18) -> Node:
    return Node("file", mode, mtime_ns, data)


def folder(mode: int = 0o755, mtime_ns: int = 10**18 + 7) -> Node:
    return Node("directory", mode, mtime_ns)


def symlink(link: bytes) -> Node:
    return Node("symlink", 0o777, 10**18 + 5, link=link)


FIRST = file(noise(300, "first"), 0o600, 1_234_567_890_987_654_321)
TREE = {
    b"0 bytes": file(b"", 0o444, 0),
    b"caf\xe9": file(text(100, "latin"), mtime_ns=1),
    b"empty": folder(0o1770, 5 * SECOND),
    b"folder": folder(0o750),
    **{b"folder/%d" % number: file(text(900, f"small {number}")) for number in range(10)},
    b"folder/a.txt": file(text(700, "a"), 0o640),
    b"folder/" + b"f" * 80: folder(),
    b"folder/" + b"f" * 80 + b"/" + b"g" * 70: file(b"its name goes into two fields"),
    b"folder/first": FIRST,
    b"large": file(text(20_000, "large") + bytes(14_000) + noise(1000, "large"), 0o604),
    b"links": folder(),
    b"links/dangling": symlink(b"nowhere\xff"),
    b"links/hard": FIRST._replace(same=b"folder/first"),
    b"links/" + b"l" * 120: symlink(b"../" + b"t" * 120),
    b"links/relative": symlink(b"../folder/a.txt"),
    b"na\xc3\xafve": file(text(1025, "one more than is never cut")),
    b"n" * 140: file(b"its name goes into an extended header"),
    b"old": file(b"from before 1970", mtime_ns=-12 * SECOND - 1),
    b"setuid": file(b"#!/bin/sh\n", 0o4711),
    b"\xff" * 120: file(b"its name is long, and not UTF-8"),
}
"""In the order in which its members are packed."""


def build(root: Path) -> bool:
    """Make the tree; returns whether it could be given to root, as that of the releases is."""
    top, owned = os.fsencode(root) + b"/", True
    root.mkdir()
    for path, node in TREE.items():
        if node.kind == "directory":
            os.mkdir(top + path)
        elif node.kind == "symlink":
            os.symlink(node.link, top + path)
        elif node.same:
            os.link(top + node.same, top + path)
        else:
            Path(os.fsdecode(top + path)).write_bytes(node.data)
    for path, node in reversed(TREE.items()):
        try:
            os.chown(top + path, 0, 0, follow_symlinks=False)
        except PermissionError:
            owned = False
        if node.kind != "symlink":
            os.chmod(top + path, node.mode)
        os.utime(top + path, ns=(node.mtime_ns, node.mtime_ns), follow_symlinks=False)
    return owned


def look(root: Path) -> dict[bytes, Node]:
    """Return what stands in a folder."""
    top, tree = os.fsencode(root) + b"/", {}
    inodes: dict[int, bytes] = {}
    for above, folders, names in os.walk(top):
        folders.sort()
        for name in folders + names:
            path = os.path.join(above, name)[len(top) :]
            status = os.lstat(top + path)
            mode, data, link, same = stat.S_IMODE(status.st_mode), b"", b"", b""
            if stat.S_ISREG(status.st_mode):
                kind, data = "file", Path(os.fsdecode(top + path)).read_bytes()
                first = inodes.setdefault(status.st_ino, path)
                same = first if first != path else b""
            elif stat.S_ISLNK(status.st_mode):
                kind, link = "symlink", os.readlink(top + path)
            else:
                kind = "directory"
            tree[path] = Node(kind, mode, status.st_mtime_ns, data, link, same)
    return tree


def extracted(node: Node) -> Node:
    """Return what extraction makes of a node by default."""
    if node.kind == "symlink":
        return node._replace(mode=0o777)
    return node._replace(mode=node.mode & 0o777 | (0o400 if node.kind == "file" else 0o500))


def plain(node: Node) -> Node:
    """Return what is packed of a node reproducibly."""
    mode = 0o755 if node.kind == "directory" or node.mode & 0o100 else 0o644
    return node._replace(mode=mode, mtime_ns=min(node.mtime_ns, 0))


# What is written of them.


class Recipe(NamedTuple):
    """How a file is written: from what, with which options, and by which libraries."""

    source: str
    options: dict[str, Any]
    libraries: tuple[str, ...] = ("zstd",)


PLAIN: dict[str, Recipe] = {
    "data.zst": Recipe("data", {}),
    "data-fast.zst": Recipe("data", {"compression_level": -7}),
    "data-best.zst": Recipe("data", {"compression_level": 22}),
    "data.gz": Recipe("data", {}, ("deflate",)),
    "data-stored.gz": Recipe("data", {"compression_level": 0}, ("deflate",)),
    "data-isal.gz": Recipe("data", {"compression_level": 1}, ("isal",)),
    "data-best.gz": Recipe("data", {"compression_level": 12}, ("deflate",)),
    "even.zst": Recipe("even", {}),
    "even.gz": Recipe("even", {}, ("deflate",)),
    "empty.zst": Recipe("empty", {}),
    "empty.gz": Recipe("empty", {}, ("deflate",)),
}
ARCHIVES: dict[str, Recipe] = {
    "tree.tar.zst": Recipe("tree", {}),
    "tree.tar.gz": Recipe("tree", {}, ("deflate", "zstd")),
    "reproducible.tar.zst": Recipe("tree", {"reproducible": True, "prefix": "backup/today"}),
    "nothing.tar.zst": Recipe("tree/empty", {}),
    "nothing.tar.gz": Recipe("tree/empty", {}, ("deflate", "zstd")),
}
OTHERS: dict[str, Recipe] = {
    "tree.framed": Recipe("tree", {"layout": "framed", "on_error": "skip"}),
    "mirror.tar.zst": Recipe("mirror", {}),
}
ALL = PLAIN | ARCHIVES | OTHERS
OWNED = ("tree.tar.zst", "tree.tar.gz", "mirror.tar.zst")
"""What tells of the owner of what was packed."""


async def write_all(target: Path, engine: aiocompress.Engine) -> bool:
    """Write all files, and a mirrored tree; returns whether their owner is that of the releases."""
    owned = build(target / "tree")
    for name, recipe in PLAIN.items():
        options = {"fsync": False, **recipe.options}
        await engine.compress_file(RAW[recipe.source], target / name, CHUNK, **options)
    mirror = {"layout": "mirror", "fsync": False}
    await engine.compress_folder(target / "tree", target / "mirror", 16 * KIB, **mirror)
    for name, recipe in (ARCHIVES | OTHERS).items():
        options = {"fsync": False, **recipe.options}
        await engine.compress_folder(target / recipe.source, target / name, 16 * KIB, **options)
    return owned


def libraries() -> dict[str, str]:
    """Return the versions that the compressed bytes depend on; ISA-L is another on each machine."""
    found = {"zstd": ".".join(map(str, zstandard.ZSTD_VERSION))}
    for name in ("deflate", "isal"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    if "isal" in found:
        found["isal"] += f" on {platform.machine()}"
    return found


async def _release(version: str) -> None:
    """Write the files of a release, and their manifest."""
    target = RELEASED / version
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as work:
        async with aiocompress.Engine(2) as engine:
            assert await write_all(Path(work), engine), "root has to write them, for their owners"
        for name in ALL:
            shutil.copyfile(Path(work) / name, target / name)
    sums = {name: hashlib.sha256((target / name).read_bytes()).hexdigest() for name in ALL}
    manifest = {"libraries": libraries(), "sha256": sums}
    (target / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def release(version: str) -> None:
    """Write the files of a release: once, and never again."""
    asyncio.run(_release(version))
