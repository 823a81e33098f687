"""The rows: what an application asks of an engine, in units that a count is divided by."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from aiocompress import Engine, sync
from aiocompress.model import KIB

from ...help.data import text

CHUNK: Final = 256 * KIB
CHUNKS: Final = 50
FOLDERS: Final = 12
FILES: Final = 40
"""In each folder: what is counted for an entry is next to nothing for an archive."""
ENTRIES: Final = FOLDERS * (FILES + 1)
CALLS: Final = 100
EXECUTORS: Final = ("process", "thread")
LINES: Final = 100_000
FAST: Final[dict[str, Any]] = {"compression_level": 1, "fsync": False}


@dataclass(frozen=True, slots=True)
class Stage:
    """An engine, the sources that ``make_sources`` has made, and where to write."""

    engine: Engine
    sources: Path
    output: Path


Work: TypeAlias = Callable[[Stage], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Row:
    """What is counted, and how many units of what the work is."""

    name: str
    unit: str
    units: int
    work: Work
    executors: tuple[str, ...] = EXECUTORS
    steady_calls: tuple[str, ...] = EXECUTORS
    """With whom Python makes as many calls in each run: not where it wakes when others are done."""


def make_sources(folder: Path) -> None:
    """Make what the rows read, always the same."""
    piece = text(CHUNK)
    with (folder / "raw").open("wb") as file:
        file.writelines(piece[at:] + piece[:at] for at in range(CHUNKS))
    for at in range(FOLDERS):
        inside = folder / "tree" / f"folder {at}"
        inside.mkdir(parents=True)
        for number in range(FILES):
            size = 100 + at * FILES + number * 50
            (inside / f"file {number}").write_bytes(piece[at : at + size])
    (folder / "log").write_bytes(b"a line of a log, as long as most are\n" * LINES)
    sync.compress_file(folder / "raw", folder / "raw.zst", CHUNK, **FAST)
    sync.compress_file(folder / "log", folder / "log.zst", **FAST)
    sync.compress_folder(folder / "tree", folder / "tree.tar.zst", CHUNK, **FAST)
    sync.compress_folder(folder / "tree", folder / "mirror", **FAST)


# Files and streams, by the chunk.


async def compress_file(stage: Stage, codec: Any) -> None:
    """From file to file."""
    source, options = stage.sources / "raw", FAST | {"codec": codec}
    await stage.engine.compress_file(source, stage.output, CHUNK, **options)


async def decompress_file(stage: Stage) -> None:
    """From file to file."""
    await stage.engine.decompress_file(stage.sources / "raw.zst", stage.output, fsync=False)


async def compress_for_slow_reader(stage: Stage) -> None:
    """From file to a reader whom each part takes a while."""
    source = stage.sources / "raw"
    stream = stage.engine.compress_stream(source, compression_level=1, chunk_size=CHUNK)
    async with stream:
        async for _ in stream:
            await asyncio.sleep(0.004)


async def decompress_for_slow_reader(stage: Stage) -> None:
    """From file to a reader whom each part takes a while."""
    async with stage.engine.decompress_stream(stage.sources / "raw.zst") as stream:
        async for _ in stream:
            await asyncio.sleep(0.004)


# Folders, by the entry.


async def pack_folder(stage: Stage) -> None:
    """From folder to archive."""
    await stage.engine.compress_folder(
        stage.sources / "tree", stage.output, CHUNK, layout="archive", codec="zstd", **FAST
    )


async def extract_archive(stage: Stage) -> None:
    """From archive to folder."""
    await stage.engine.decompress_folder(stage.sources / "tree.tar.zst", stage.output, fsync=False)


async def mirror_out(stage: Stage) -> None:
    """From folder to a tree of compressed files."""
    source = stage.sources / "tree"
    await stage.engine.compress_folder(source, stage.output, layout="mirror", **FAST)


async def mirror_back(stage: Stage) -> None:
    """From a tree of compressed files to a folder."""
    await stage.engine.decompress_folder(stage.sources / "mirror", stage.output, fsync=False)


async def list_archive(stage: Stage) -> None:
    """Every member by the index."""
    async with stage.engine.open_archive(stage.sources / "tree.tar.zst") as archive:
        async for _ in archive.members():
            pass


async def add_members(stage: Stage) -> None:
    """Small members from memory."""
    body = text(1000)
    options: dict[str, Any] = {"codec": "zstd", "fsync": False, "compression_level": 1}
    async with stage.engine.create_archive(stage.output, **options) as archive:
        for number in range(ENTRIES):
            await archive.add(f"{number:06}", body)


# Calls.


async def read_members(stage: Stage) -> None:
    """One member of an archive that is opened for it."""
    for number in range(CALLS):
        async with stage.engine.open_archive(stage.sources / "tree.tar.zst") as archive:
            await archive.read(f"folder {number % FOLDERS}/file {number % FILES}")


async def compress_payloads(stage: Stage, size: int) -> None:
    """From memory to memory."""
    payload = text(size)
    for _ in range(CALLS):
        await stage.engine.compress(payload)


async def decompress_payloads(stage: Stage, size: int) -> None:
    """From memory to memory."""
    payload = await stage.engine.compress(text(size))
    for _ in range(CALLS):
        await stage.engine.decompress(payload)


async def read_lines(stage: Stage) -> None:
    """One line after another."""
    async with stage.engine.open(stage.sources / "log.zst") as file:
        async for _ in file:
            pass


_PROCESS: Final = ("process",)
_THREAD: Final = ("thread",)
"""For what no worker is asked to do."""

ROWS: Final = (
    Row(
        "compress a file",
        "chunk",
        CHUNKS,
        partial(compress_file, codec="zstd"),
        EXECUTORS,
        _PROCESS,
    ),
    Row(
        "compress a file, gzip",
        "chunk",
        CHUNKS,
        partial(compress_file, codec="gzip"),
        EXECUTORS,
        _PROCESS,
    ),
    Row("decompress a file", "chunk", CHUNKS, decompress_file),
    Row("compress for a slow reader", "chunk", CHUNKS, compress_for_slow_reader, EXECUTORS, ()),
    Row("decompress for a slow reader", "chunk", CHUNKS, decompress_for_slow_reader, EXECUTORS, ()),
    Row("pack a folder", "entry", ENTRIES, pack_folder),
    Row("extract an archive", "entry", ENTRIES, extract_archive),
    Row("mirror a tree, out", "entry", ENTRIES, mirror_out),
    Row("mirror a tree, back", "entry", ENTRIES, mirror_back),
    Row("list an archive", "entry", ENTRIES, list_archive, _THREAD),
    Row("add members from memory", "entry", ENTRIES, add_members),
    Row("read one member", "call", CALLS, read_members, _THREAD),
    Row("compress 1 KB", "call", CALLS, partial(compress_payloads, size=1000), _THREAD),
    Row("compress 50 KB", "call", CALLS, partial(compress_payloads, size=50_000), _THREAD),
    Row("decompress 1 KB", "call", CALLS, partial(decompress_payloads, size=1000), _THREAD),
    Row("decompress 50 KB", "call", CALLS, partial(decompress_payloads, size=50_000), _THREAD),
    Row("read lines", "1,000 lines", LINES // 1000, read_lines, _THREAD),
)
