"""A small archive, and what comes back after damage.

``Bench.attempt`` holds every result against the original, whatever was done to the file.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from aiocompress import Engine, Report
from aiocompress.errors import AiocompressError
from aiocompress.model import Member

from ...help.containers import table_of
from ...help.data import noise, text

SUFFIXES = (".tar.zst", ".tar.gz")
CHUNK = 4096


def make_tree(folder: Path, seed: int = 5) -> None:
    """Files small and large, nested folders, links, a name that takes a pax header."""
    source = random.Random(seed)
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    for number in range(10):
        size = source.choice([0, 10, 300, 700])
        (folder / "sub" / f"f{number}").write_bytes(source.randbytes(size))
    (folder / "big").write_bytes(noise(9000))
    (folder / "text").write_bytes(text(8000))
    (folder / ("long" * 40)).write_bytes(b"x" * 77)
    os.link(folder / "sub" / "f1", folder / "zlink")
    (folder / "sym").symlink_to("big")


def contents(folder: Path) -> dict[str, object]:
    """All that is in a folder: content, targets of links, None for folders."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = (os.readlink(path),)
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


class Bench:
    """An archive, what is in it, and a place to try damage."""

    def __init__(self, engine: Engine, folder: Path, data: bytes, name: str) -> None:
        self.engine, self.data, self.name = engine, data, name
        self._folder = folder
        self.tree = contents(folder / "tree")
        self.out = folder / "out"
        self.frames: list[tuple[int, int, set[str]]] = []

    async def attempt(self, data: bytes, *, keep_damaged: bool = False) -> Report | None:
        """Recover from these bytes; the law: what comes back is as it was."""
        source = self._folder / ("damaged" + self.name)
        source.write_bytes(data)
        shutil.rmtree(self.out, ignore_errors=True)
        try:
            report = await self.engine.recover(
                source, self.out, keep_damaged=keep_damaged, fsync=False
            )
        except AiocompressError:
            assert not self.out.exists()
            return None
        self.back = {
            name: what for name, what in contents(self.out).items() if ".damaged" not in name
        }
        for name, what in self.back.items():
            assert self.tree[name] == what, name
        missing = self.tree.keys() - self.back.keys()
        assert report.skipped_count or not missing, missing
        return report

    def touched(self, offset: int) -> set[str]:
        """Members that the frame with this byte holds a part of, and links to them."""
        for start, end, names in self.frames:
            if start <= offset < end:
                return names
        return set()


def hard(member: Member) -> bool:
    return member.kind == "hardlink"


async def make_bench(
    engine: Engine, folder: Path, suffix: str, *, made: bool = True, chunk_size: int = CHUNK
) -> Bench:
    """Pack a tree that is made first, unless it is there."""
    if made:
        make_tree(folder / "tree")
    archive = folder / ("whole" + suffix)
    await engine.compress_folder(folder / "tree", archive, chunk_size)
    bench = Bench(engine, folder, archive.read_bytes(), suffix)
    async with engine.open_archive(archive) as opened:
        members = [member async for member in opened.members()]
    table = table_of(bench.data)
    for number, (start, size) in enumerate(zip(table.starts, table.sizes, strict=True)):
        first, last = table.raws[number], table.raws[number + 1]
        names = {
            member.name
            for member in members
            if member.offset < last and member.data_offset + member.stored_size > first
        }
        names |= {member.name for member in members if hard(member) and member.link in names}
        bench.frames.append((start, start + size, names))
    return bench


def zeroed(data: bytes, start: int, end: int) -> bytes:
    return data[:start] + bytes(end - start) + data[end:]
