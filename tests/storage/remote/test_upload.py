"""Objects written to a real S3 server: whole or not there, and no upload left open."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from aiocompress import ClosedError, compress_file, compress_folder
from aiocompress.remote import S3Upload
from aiocompress.storage.remote.upload import PART, part_size

from ...help.archives import KIB, MIB, two_threads
from ...help.data import noise
from ...help.s3 import Proxy, Storage

URL = "s3://bucket/a.tar.zst"
LARGE = noise(PART + 3 * MIB)
faults = partial(pytest.param, marks=pytest.mark.faults)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    for number in range(5):
        (tmp_path / "folder" / f"file{number}").write_bytes(noise(200 * KIB, number))
    return tmp_path / "folder"


@pytest.fixture
def large(folder: Path) -> Path:
    """A folder whose archive has two parts."""
    (folder / "large").write_bytes(LARGE)
    return folder


async def _write(size: int, then: Callable[[], object]) -> None:
    async with S3Upload(URL) as upload:
        await upload.write(bytes(size))
        then()


async def test_a_small_archive(storage: Storage, proxy: Proxy, folder: Path) -> None:
    """It fits into one call, and has the bytes of a file."""
    async with two_threads() as engine:
        await engine.compress_folder(folder, URL)
        await engine.compress_folder(folder, folder.parent / "a.tar.zst", fsync=False)
    assert storage.get("a.tar.zst") == (folder.parent / "a.tar.zst").read_bytes()
    assert proxy.calls == {"head": 1, "put": 1}


async def test_a_large_archive(storage: Storage, proxy: Proxy, large: Path) -> None:
    """It goes out in parts, several at once, which are counted; then it is read again."""
    (large / "larger").write_bytes(LARGE)
    proxy.latency = 0.05
    async with two_threads() as engine:
        most = 0

        def look(_: object) -> None:
            nonlocal most
            most = max(most, engine.statistics().memory_waiting)

        await engine.compress_folder(large, URL, progress=look)
        await engine.compress_folder(large, large.parent / "a.tar.zst", fsync=False)
        assert engine.statistics().memory_waiting == 0
        assert 0 < most <= 5 * PART
        async with engine.open_archive(URL) as archive:
            assert await archive.read("large") == LARGE
    assert storage.get("a.tar.zst") == (large.parent / "a.tar.zst").read_bytes()
    assert proxy.calls["part"] == 3
    assert proxy.most_at_once >= 2
    assert not storage.uploads()


async def test_a_file_and_back(storage: Storage, tmp_path: Path) -> None:
    """Files go there and come back, and may go from there to there."""
    async with two_threads() as engine:
        await engine.compress_file(noise(KIB), "s3://bucket/x.gz")
        await engine.decompress_file("s3://bucket/x.gz", tmp_path / "x", fsync=False)
        assert (tmp_path / "x").read_bytes() == noise(KIB)
        await engine.decompress_file("s3://bucket/x.gz", "s3://bucket/x")
    assert storage.get("x") == noise(KIB)


async def test_what_exists(storage: Storage, folder: Path) -> None:
    """It is an error before anything is packed, or kept, or replaced."""
    storage.put("a.tar.zst", b"old")
    async with two_threads() as engine:
        with pytest.raises(FileExistsError) as caught:
            await engine.compress_folder(folder, URL)
        assert caught.value.filename == URL
        report = await engine.compress_folder(folder, URL, on_exists="skip")
        assert report.skipped == (URL,)
        assert storage.get("a.tar.zst") == b"old"
        await engine.compress_folder(folder, URL, on_exists="replace")
    assert storage.get("a.tar.zst") != b"old"


@pytest.mark.parametrize("size", [KIB, 9 * MIB])
async def test_what_comes_to_exist_meanwhile(storage: Storage, size: int) -> None:
    """The store itself refuses at the last moment, where it can."""
    with pytest.raises(FileExistsError):
        await _write(size, lambda: storage.put("a.tar.zst", b"theirs"))
    assert storage.get("a.tar.zst") == b"theirs"
    assert not storage.uploads()


@pytest.mark.parametrize("call", ["put", faults("complete")])
async def test_a_store_that_knows_no_conditions(
    call: str, storage: Storage, proxy: Proxy, folder: Path
) -> None:
    """Then the object is written without one: it was looked for before."""
    if call == "complete":
        (folder / "large").write_bytes(LARGE)
    proxy.faults = [(call, proxy.status(501, "NotImplemented"))]
    await compress_folder(folder, URL)
    assert not proxy.faults
    assert storage.keys() == ["a.tar.zst"]


async def test_by_hand(storage: Storage) -> None:
    """Options of s3fs, many writes, and a body that fails: nothing is there."""
    async with S3Upload("s3://bucket/x", **storage.options()) as upload:
        for number in range(100):
            await upload.write(b"%d\n" % number, b"")
    assert storage.get("x") == b"".join(b"%d\n" % number for number in range(100))
    with pytest.raises(ClosedError, match="s3://bucket/x"):
        await upload.write(b"more")
    await upload.commit()
    for size in (1, PART, PART + 1):
        with pytest.raises(ZeroDivisionError):
            await _write(size, lambda: 1 // 0)
    assert storage.keys() == ["x"]
    assert not storage.uploads()
    with pytest.raises(ValueError, match="s3://BUCKET/KEY only"):
        S3Upload("https://alice:hunter2@x/y")
    with pytest.raises(ValueError, match="on_exists"):
        S3Upload("s3://bucket/y", on_exists="skip")


def test_sizes_of_parts() -> None:
    """Even ones up to 31 GiB, as some stores demand; 10,000 hold 5 TiB, none more than it may."""
    sizes = [part_size(number) for number in range(1, 10_001)]
    assert set(sizes[:4000]) == {PART}
    assert sizes == sorted(sizes)
    assert sum(sizes) >= 5 << 40
    assert max(sizes) <= 5 << 30


# Faults.


async def test_calls_that_are_made_again(storage: Storage, proxy: Proxy, large: Path) -> None:
    """Whatever call fails, or whose answer gets lost: the object is whole all the same."""
    for call in ("head", "create", "part", "complete"):
        proxy.faults.append((call, proxy.drop if call == "part" else proxy.status(503)))
        if call in {"part", "complete"}:
            proxy.faults.append((call, proxy.drop_after))
    await compress_folder(large, URL)
    assert not proxy.faults
    proxy.faults = [("put", proxy.status(503)), ("put", proxy.drop_after)]
    await compress_file(b"small", "s3://bucket/small.zst")
    assert not proxy.faults
    async with two_threads() as engine, engine.open_archive(URL) as archive:
        assert await archive.read("large") == LARGE
    assert not storage.uploads()


@pytest.mark.parametrize("call", [faults("head"), faults("create"), "part", faults("complete")])
async def test_calls_that_are_refused(
    call: str, storage: Storage, proxy: Proxy, large: Path
) -> None:
    """An error that names the object; no object, and no upload left open."""
    code = 500 if call == "head" else 403
    proxy.faults = [(call, proxy.status(code))] * 9
    async with two_threads() as engine:
        with pytest.raises(OSError, match=f"answered {code}") as caught:
            await engine.compress_folder(large, URL)
        assert caught.value.filename == URL
        assert engine.statistics().memory_waiting == 0
        assert engine.statistics().slots_in_use == 0
    proxy.faults.clear()
    assert not storage.keys()
    assert not storage.uploads()


async def test_a_source_that_fails(storage: Storage) -> None:
    """What was sent before is aborted."""

    async def source() -> AsyncIterator[bytes]:
        yield LARGE
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await compress_file(source(), "s3://bucket/a.zst")
    assert not storage.keys()
    assert not storage.uploads()


@pytest.mark.parametrize("call", [faults("head"), faults("create"), "part", "complete"])
async def test_cancelled(call: str, storage: Storage, proxy: Proxy, large: Path) -> None:
    """At whatever call: all of the object or nothing of it, and no upload left open."""
    waits = asyncio.Event()

    async def wait(request: object) -> object:
        waits.set()
        await asyncio.sleep(0.05)
        return await proxy.answer(request)  # type: ignore[arg-type]

    proxy.faults = [(call, wait)]  # type: ignore[list-item]
    async with two_threads() as engine:
        task = asyncio.create_task(engine.compress_folder(large, URL))
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.statistics().memory_waiting == 0
    assert storage.keys() == (["a.tar.zst"] if call == "complete" else [])
    assert not storage.uploads()


@pytest.mark.faults
async def test_cancelled_at_any_moment(storage: Storage, large: Path) -> None:
    """All of the object or nothing of it, no upload left open, and no task."""
    async with two_threads() as engine:
        before, step = asyncio.all_tasks(), 0
        while not storage.keys():
            task = asyncio.create_task(engine.compress_folder(large, URL))
            await asyncio.sleep(0.01 * step)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert asyncio.all_tasks() == before
            assert not storage.uploads()
            assert engine.statistics().memory_waiting == 0
            step += 1
        async with engine.open_archive(URL) as archive:
            assert await archive.read("large") == LARGE
    assert step > 5


async def test_a_stuck_part_is_given_up(storage: Storage, proxy: Proxy, large: Path) -> None:
    """Whoever is cancelled does not wait for a server that never answers."""
    proxy.faults = [("part", proxy.stall)]
    task = asyncio.create_task(compress_folder(large, URL))
    await proxy.stalled.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    assert not storage.keys()
    assert not storage.uploads()


async def test_destinations_that_are_none(folder: Path, tmp_path: Path) -> None:
    """What is no object elsewhere, or cannot be written there, is refused; secrets are not told."""
    async with two_threads() as engine:
        for destination in ("https://alice:hunter2@x/a.tar.zst?hunter2", "gs://b/a.tar.zst"):
            with pytest.raises(ValueError, match="s3://BUCKET/KEY only") as caught:
                await engine.compress_folder(folder, destination)
            assert "hunter2" not in str(caught.value)
        await engine.compress_folder(folder, tmp_path / "a.tar.zst", fsync=False)
        here = "of this machine only"
        with pytest.raises(ValueError, match=here):
            await engine.compress_folder(folder, "s3://bucket/mirror")
        with pytest.raises(ValueError, match=here):
            await engine.compress_folder("s3://bucket/folder", tmp_path / "b.tar.zst")
        with pytest.raises(ValueError, match=here):
            await engine.decompress_folder(tmp_path / "a.tar.zst", "s3://bucket/folder")
        with pytest.raises(ValueError, match=here):
            await engine.recover("s3://bucket/a.tar.zst", tmp_path / "out")
        async with engine.open_archive(tmp_path / "a.tar.zst") as archive:
            with pytest.raises(ValueError, match=here):
                await archive.extract("s3://bucket/folder")
    assert sorted(os.listdir(tmp_path)) == ["a.tar.zst", "folder"]
