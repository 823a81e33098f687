"""What a program tells whoever looks into it: lines of its log, names of tasks and threads."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import aiocompress
from aiocompress import CorruptError, Engine

from ..help.archives import two_threads
from ..help.data import noise, text
from ..help.trees import Node, build
from .test_destinations import Collector

TEXT = text(200 << 10)
SIZES = r": (\d+) bytes raw, (\d+) compressed, \d+\.\d{3} s"


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Any:
    """Return the lines that were logged since the last call."""
    caplog.set_level(logging.DEBUG, "aiocompress")

    def lines() -> list[str]:
        found = [record.getMessage() for record in caplog.records]
        assert {record.name for record in caplog.records} <= {"aiocompress"}
        assert {record.levelno for record in caplog.records} <= {logging.DEBUG}
        caplog.clear()
        return found

    return lines


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    """Threads, which start at once."""
    async with two_threads() as made:
        yield made


async def _read(stream: aiocompress.ByteStream) -> bytes:
    async with stream:
        return b"".join([data async for data in stream])


async def test_a_line_for_each_verb(engine: Engine, said: Any, tmp_path: Path) -> None:
    """What was done, from where to where, how many bytes on both sides, in which time."""
    raw, tree, options = tmp_path / "raw", tmp_path / "tree", {"fsync": False}
    raw.write_bytes(TEXT)
    build(tree, {b"a": Node("file", 0o644, 0, TEXT), b"b": Node("file", 0o644, 0, b"b")})
    packed, archive, mirror = tmp_path / "raw.zst", tmp_path / "a.tar.zst", tmp_path / "mirror"

    async def made() -> None:
        async with engine.create_archive(tmp_path / "b.tar.zst", **options) as writer:
            await writer.add("x", TEXT)

    for work, line in (
        (engine.compress_file(raw, packed, **options), f"compressing {raw} to {packed}"),
        (
            engine.decompress_file(packed, tmp_path / "back", **options),
            f"decompressing {packed} to {tmp_path}/back",
        ),
        (engine.compress_folder(tree, archive, **options), f"compressing {tree} to {archive}"),
        (engine.compress_folder(tree, mirror, **options), f"compressing {tree} to {mirror}"),
        (
            engine.compress_folder(tree, Collector(), layout="framed"),
            f"compressing {tree}",
        ),
        (
            engine.decompress_folder(archive, tmp_path / "out", **options),
            f"extracting {archive} to {tmp_path}/out",
        ),
        (
            engine.decompress_folder(mirror, tmp_path / "out2", **options),
            f"decompressing {mirror} to {tmp_path}/out2",
        ),
        (engine.test(packed), f"testing {packed}"),
        (
            engine.recover(archive, tmp_path / "rec", **options),
            f"recovering {archive} to {tmp_path}/rec",
        ),
        (made(), f"compressing a stream to {tmp_path}/b.tar.zst"),
        (_read(engine.compress_stream(TEXT)), "compressing a stream"),
        (_read(engine.decompress_stream(packed)), f"decompressing {packed}"),
        (engine.compress(TEXT), "compressing a stream"),
        (engine.compress(b"small"), "compressing a payload"),
        (engine.decompress(await engine.compress(b"small")), "decompressing a payload"),
    ):
        said()
        await work
        (told,) = [one for one in said() if " to /proc/" not in one]
        match = re.fullmatch(re.escape(line) + SIZES, told)
        assert match, (line, told)
        assert all(int(size) > 0 for size in match.groups())


async def test_a_line_for_what_failed(engine: Engine, said: Any, tmp_path: Path) -> None:
    """Why, and after which time; also where the caller gave it up."""
    (tmp_path / "a\nb.zst").write_bytes(await engine.compress(TEXT))
    said()
    with pytest.raises(FileExistsError):
        await engine.compress_file(TEXT, tmp_path / "a\nb.zst")
    (line,) = said()
    assert re.search(r"a\\nb\.zst: FileExistsError .* after \d\.\d{3} s$", line)
    assert "\n" not in line
    with pytest.raises(CorruptError):
        await engine.decompress(b"\x28\xb5\x2f\xfd" + noise(99))
    assert any(": CorruptError" in line or ": TruncatedError" in line for line in said())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(engine.compress_file(endless(), tmp_path / "c.zst"), 0.1)
    (line,) = said()
    assert ": CancelledError, after 0." in line


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x"
        await asyncio.sleep(0.01)


async def test_nobody_is_told_by_default(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """A library is silent until somebody asks."""
    caplog.set_level(logging.INFO, "aiocompress")
    await engine.compress(b"small")
    await engine.compress(TEXT)
    assert not caplog.records


async def test_names_of_tasks_and_threads(tmp_path: Path) -> None:
    """All that are ours say so, and what they do."""
    before = asyncio.all_tasks()

    class Slow:
        async def write(self, _: bytes) -> None:
            names.update(task.get_name() for task in asyncio.all_tasks() - before)
            threads.update(thread.name for thread in threading.enumerate())
            await asyncio.sleep(0)

    def plain() -> Iterator[bytes]:
        threads.add(threading.current_thread().name)
        yield TEXT

    names: set[str] = set()
    threads: set[str] = set()
    (tmp_path / "raw").write_bytes(TEXT * 3)
    async with Engine(2) as engine:
        async with engine.create_archive(Slow(), chunk_size="64K") as writer:
            await writer.add("x", noise(300 << 10))
            await writer.add_folder(tmp_path)
            await writer.add("y", plain())
        await engine.compress_file(tmp_path / "raw", tmp_path / "raw.zst", "16K", fsync=True)
        threads.update(thread.name for thread in threading.enumerate())
    threads -= {"MainThread", *(name for name in threads if name.startswith("QueueFeeder"))}
    assert names == {
        "aiocompress writes an archive",
        "aiocompress reads ahead for aiocompress writes an archive",
    }
    assert all(name.startswith("aiocompress-") for name in threads), threads
    assert {"aiocompress-workers", "aiocompress-files_0", "aiocompress-source"} <= threads
