"""Extraction that ends early leaves nothing behind."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest

import aiocompress
from aiocompress import Engine

from ...help import hostile
from ...help.archives import two_threads
from ...help.engines import given_back
from ...help.places import INDEXED, MANY, WAYS, Place
from ...help.programs import alive, descriptors, own_family

# Modes, owners, times.


async def test_private_until_it_is_whole(place: Place) -> None:
    """Nobody else can enter what is not whole yet; nothing has its name before."""
    seen: list[tuple[str, str]] = []

    def look() -> None:
        names = os.listdir(place.work)
        seen.extend((name[0], oct((place.work / name).stat().st_mode & 0o777)) for name in names)

    for stop in range(3, 9):
        source = Slow(hostile.indexed(MANY, frame=20_000), stop, look)
        async with aiocompress.open_archive(source) as archive:
            await archive.extract(place.dest, fsync=False)
        shutil.rmtree(place.dest)
    assert set(seen) == {(".", "0o700")}


# Ended early.


class Slow:
    """An archive elsewhere; ``stop`` says at which read something happens."""

    def __init__(self, data: bytes, stop: int, event: Callable[[], object]) -> None:
        self._data, self._stop, self.event = data, stop, event
        self.reads = 0

    async def size(self) -> int:
        return len(self._data)

    async def read_at(self, offset: int, size: int) -> bytes:
        await asyncio.sleep(0)
        self.reads += 1
        if self.reads == self._stop:
            self.event()
            await asyncio.sleep(0)
        return self._data[offset : offset + size]


@pytest.mark.parametrize("way", ["foreign zst", "indexed zst", "a frame a block"])
async def test_cancelled_at_every_read(way: str, place: Place) -> None:
    """CancelledError goes out; no file, descriptor or task is left, and the engine works on."""
    data = WAYS[way](MANY)[1] if way != "a frame a block" else hostile.indexed(MANY, frame=20_000)
    async with two_threads() as engine:

        async def extract(source: Any) -> None:
            async with engine.open_archive(source) as archive:
                await archive.extract(place.dest, fsync=False)

        await extract(Slow(data, -1, int))
        shutil.rmtree(place.dest)
        before, tasks = descriptors(), len(asyncio.all_tasks())
        for stop in range(1, 200):
            source = Slow(data, stop, int)
            task = asyncio.ensure_future(extract(source))
            source.event = task.cancel
            await asyncio.wait([task])
            if source.reads < stop:
                break
            assert task.cancelled()
            assert os.listdir(place.work) == []
            assert len(asyncio.all_tasks()) == tasks
        else:
            raise AssertionError
        assert len(place.tree()) == len(MANY)
        assert descriptors() == before
        await given_back(engine)


async def test_cancelled_at_any_moment(place: Place) -> None:
    """However long it has run: nothing is left, or all is there."""
    path = place.write(INDEXED["cut in headers"], MANY)
    async with two_threads() as engine:
        await engine.decompress_folder(path, place.dest, fsync=False)
        shutil.rmtree(place.dest)
        before = descriptors()
        for steps in (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377):
            work = engine.decompress_folder(path, place.dest, fsync=False)
            task = asyncio.ensure_future(work)
            for _ in range(steps):
                await asyncio.sleep(0.0001)
            task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                assert os.listdir(place.work) == [path.name], steps
            else:
                assert len(place.tree()) == len(MANY)
                shutil.rmtree(place.dest)
        assert descriptors() == before


async def test_no_worker_left(place: Place) -> None:
    """Cancelled while worker processes are at it: they end with the engine."""
    path = place.write(lambda members: (".tar.zst", hostile.indexed(members, frame=20_000)), MANY)
    async with Engine(2) as engine:
        await engine.decompress_folder(path, place.dest, fsync=False)
        assert len(place.tree()) == len(MANY)
        shutil.rmtree(place.dest)
        task = asyncio.ensure_future(engine.decompress_folder(path, place.dest, fsync=False))
        await asyncio.sleep(0.003)
        task.cancel()
        await asyncio.wait([task])
        during = own_family()
    assert during
    assert not task.cancelled() or os.listdir(place.work) == [path.name]
    assert not alive(during, 1)


async def test_an_error_of_the_source(place: Place) -> None:
    """What the source of an archive raises goes out as it is, and nothing is left."""
    data = hostile.indexed(MANY, frame=20_000)

    def fail() -> None:
        raise ConnectionResetError(errno.ECONNRESET, "reset")

    async with two_threads() as engine:
        for stop in (1, 4, 6, 9):
            with pytest.raises(ConnectionResetError):
                async with engine.open_archive(Slow(data, stop, fail)) as archive:
                    await archive.extract(place.dest, fsync=False)
            assert os.listdir(place.work) == []
        await given_back(engine)
