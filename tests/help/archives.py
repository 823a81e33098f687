"""Archives of ours, made and read again by an engine of two threads."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from aiocompress import Engine, Report
from aiocompress.model import OnError

from .tools import run, tool
from .trees import CHUNK, SECOND, Node, Tree

KIB, MIB = 1 << 10, 1 << 20
SUFFIXES = {".tar.zst": "zstd", ".tar.gz": "gzip"}
every_suffix = pytest.mark.parametrize("suffix", SUFFIXES)
ON_ERROR: tuple[OnError, OnError] = ("raise", "skip")
T = TypeVar("T")


class Works:
    """One engine, and a loop, for tests that are not async: those of hypothesis."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner, self.engine = runner, Engine(2, executor="thread")

    def __call__(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.runner.run(wait())


@contextmanager
def a_place() -> Iterator[Path]:
    """A folder for one example."""
    with tempfile.TemporaryDirectory() as name:
        try:
            yield Path(name)
        finally:
            subprocess.run(["chmod", "-R", "u+rwx", name], check=False, capture_output=True)


def two_threads() -> Engine:
    return Engine(2, executor="thread")


async def pack(source: Any, path: Path, chunk: int = CHUNK, **options: Any) -> Report:
    async with two_threads() as engine:
        return await engine.compress_folder(source, path, chunk, fsync=False, **options)


async def unpack(path: Path, dest: Path, **options: Any) -> Report:
    async with two_threads() as engine:
        return await engine.decompress_folder(path, dest, fsync=False, **options)


def decompressed(path: Path) -> bytes:
    if path.suffix == ".zst":
        return run(tool("zstd"), "-dc", path)
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def entries_of_tarfile(data: bytes) -> Tree:
    """What Python's tarfile says is in a tar; hard links have the content of their first."""
    tree: Tree = {}
    kinds = {b"0": "file", b"1": "hardlink", b"2": "symlink", b"5": "directory"}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8") as archive:
        for info in archive:
            name, link = (os.fsencode(text) for text in (info.name, info.linkname))
            file = archive.extractfile(info) if info.isreg() else None
            data = file.read() if file else b""
            when = int(info.mtime // 1) * SECOND
            tree[name] = Node(kinds[info.type], info.mode, when, data, link)
    return tree


def names_in(path: Path) -> list[bytes]:
    return list(entries_of_tarfile(decompressed(path)))


class Elsewhere:
    """Bytes somewhere else, that tell what was read of them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.bytes_read = 0

    async def size(self) -> int:
        return len(self._data)

    async def read_at(self, offset: int, size: int) -> bytes:
        data = self._data[offset : offset + size]
        self.bytes_read += len(data)
        return data


every_codec = pytest.mark.parametrize("codec", SUFFIXES.values())


async def sound_contents(path: Path) -> dict[str, bytes]:
    """Every file of an archive, which GNU tar and a whole check find sound."""
    run(tool("tar"), "-taf", path)
    async with two_threads() as engine, engine.open_archive(path) as archive:
        await archive.test()
        assert archive.is_indexed
        members = [member async for member in archive.members()]
        return {one.name: await archive.read(one.name) for one in members if one.kind == "file"}
