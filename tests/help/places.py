"""A place to extract to, and one outside that nothing may happen to.

Every row is met twice: in an archive of another writer, read from front to back, and in one of
ours, whose index sends it through the workers; there in one frame, and cut in the middle of
members.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from aiocompress import AiocompressError, Report

from . import hostile, trees
from .archives import two_threads
from .data import noise
from .hostile import Member, folder, symlink
from .trees import Tree

OUT = b"@outside@"
"""Stands for the path of the folder outside."""
GOOD = Member(b"good", data=b"good")

Way = Callable[[list[Member]], tuple[str, bytes]]
FOREIGN: dict[str, Way] = {
    "tar": lambda members: (".tar", hostile.tar(members)),
    "foreign zst": lambda members: (".tar.zst", hostile.compressed(hostile.tar(members))),
}
INDEXED: dict[str, Way] = {
    "indexed zst": lambda members: (".tar.zst", hostile.indexed(members)),
    "cut in headers": lambda members: (".tar.zst", hostile.indexed(members, frame=256)),
    "a frame a block": lambda members: (".tar.gz", hostile.indexed(members, "gzip", frame=512)),
}
WAYS = FOREIGN | INDEXED
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
FEW = ["tar", "indexed zst", "cut in headers"]
few_ways = pytest.mark.parametrize("way", [WAYS[name] for name in FEW], ids=FEW)
foreign_way = pytest.mark.parametrize("way", FOREIGN.values(), ids=FOREIGN)


@dataclass
class Place:
    """A folder to work in, and one outside that nothing may happen to."""

    work: Path
    outside: Path

    def write(self, way: Way, members: list[Member], name: str = "a") -> Path:
        """Write an archive; ``OUT`` becomes the path of the folder outside."""
        there = os.fsencode(self.outside)
        members = [
            replace(
                member,
                name=member.name.replace(OUT, there),
                link=member.link.replace(OUT, there),
            )
            for member in members
        ]
        suffix, data = way(members)
        path = self.work / (name + suffix)
        path.write_bytes(data)
        return path

    @property
    def dest(self) -> Path:
        return self.work / "dest"

    def tree(self) -> Tree:
        return trees.look(self.dest)


async def extract_to(path: Path, place: Place, **options: Any) -> Report:
    async with two_threads() as engine:
        return await engine.decompress_folder(path, place.dest, fsync=False, **options)


def in_short(tree: Tree) -> dict[bytes, tuple[str, bytes]]:
    return {path: (node.kind, node.data or node.link) for path, node in tree.items()}


def a_file(data: bytes = b"") -> tuple[str, bytes]:
    return "file", data


FOLDER = ("directory", b"")


def check_named(error: BaseException, path: Path) -> None:
    """An error of ours names the archive, one of the system what it could not do it to."""
    if isinstance(error, AiocompressError):
        assert error.file == str(path)
    else:
        assert isinstance(error, OSError)
        assert error.filename


MANY = [
    *(folder(b"d%d" % number) for number in range(4)),
    *(Member(b"d%d/%d" % (number % 4, number), data=noise(3000)) for number in range(60)),
    *(symlink(b"d%d/l" % number, b"x") for number in range(4)),
]
