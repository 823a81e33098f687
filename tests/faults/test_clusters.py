"""Dask clusters that see the same files, whose workers are killed in the middle."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from aiocompress import Engine

from ..help.archives import KIB, two_threads
from ..help.clusters import dask_client
from ..help.data import noise, text
from ..help.mirrors import fill, look, temporaries

CHUNK = 256 * KIB
pytestmark = pytest.mark.filterwarnings("ignore")  # Dask's own


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tree_of(path: Path, files: int, large: int) -> Path:
    path.mkdir()
    names = {f"{n % 40}/{n}": noise(3000 + n % 999, n) + text(3000, n) for n in range(files)}
    fill(path, names | {"0/large": text(large, 1), "large": noise(large // 2)})
    return path


async def _one_killed(client: Any, work: Awaitable[Any], is_begun: Callable[[], bool]) -> None:
    """Kill a worker once some of the work is done, and wait for the rest."""
    pids = await asyncio.to_thread(client.run, os.getpid)
    working = asyncio.ensure_future(work)
    while not (is_begun() or working.done()):  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0)
    assert not working.done()
    os.kill(next(iter(pids.values())), signal.SIGKILL)
    await asyncio.wait_for(working, 120)


@pytest.mark.parametrize("turn", range(3))
@pytest.mark.faults
async def test_killed_in_the_middle(turn: int, tmp_path: Path) -> None:
    """One of two workers: the same bytes as in this process, and no temporary."""
    tree = tree_of(tmp_path / "tree", 6000, 80 * CHUNK)
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    how: dict[str, Any] = {"chunk_size": CHUNK, "compression_level": 9, "fsync": False}
    async with two_threads() as engine:
        await engine.compress_folder(tree, here / "a.tar.zst", **how)
        await engine.compress_folder(tree, here / "mirror", **how)
        await engine.compress_file(tree / "0/large", here / "large.zst", **how)

    def hidden(enough: int) -> Callable[[], bool]:
        """Whether so many files are in what is not whole yet."""
        return lambda: sum(len(files) for _, _, files in os.walk(there)) > known + enough

    async with dask_client() as client:
        executor = client.get_executor()
        async with Engine(2, executor=executor, files_shared=True) as engine:

            def compressed() -> bool:
                return engine.statistics().raw_bytes > done + 8 * (turn + 1) * CHUNK

            done = engine.statistics().raw_bytes
            out: Any = there / "a.tar.zst"
            await _one_killed(client, engine.compress_folder(tree, out, **how), compressed)
            assert digest(out) == digest(here / "a.tar.zst")

            known, some = sum(len(files) for _, _, files in os.walk(there)), 100 * (turn + 1)
            out = there / "extracted"
            work = engine.decompress_folder(here / "a.tar.zst", out, fsync=False)
            await _one_killed(client, work, hidden(some))
            assert look(out, times=False) == look(tree, times=False)

            known, out = sum(len(files) for _, _, files in os.walk(there)), there / "mirror"
            await _one_killed(client, engine.compress_folder(tree, out, **how), hidden(some))
            assert look(out, times=False) == look(here / "mirror", times=False)

            known, out = sum(len(files) for _, _, files in os.walk(there)), there / "back"
            work = engine.decompress_folder(here / "mirror", out, fsync=False)
            await _one_killed(client, work, hidden(some))
            assert look(out, times=False) == look(tree, times=False)

            done, out = engine.statistics().raw_bytes, there / "large.zst"
            await _one_killed(
                client, engine.compress_file(tree / "0/large", out, **how), compressed
            )
            assert digest(out) == digest(here / "large.zst")

            done, out = engine.statistics().raw_bytes, there / "large"
            work = engine.decompress_file(here / "large.zst", out, fsync=False)
            await _one_killed(client, work, compressed)
            assert digest(out) == digest(tree / "0/large")
    assert not temporaries(tmp_path)


async def test_a_cluster_in_short(tmp_path: Path) -> None:
    """A worker is killed while a folder is packed: the same bytes as in this process."""
    pytest.importorskip("distributed")
    tree = tree_of(tmp_path / "tree", 100, 40 * CHUNK)
    how: dict[str, Any] = {"chunk_size": CHUNK, "compression_level": 9, "fsync": False}
    async with two_threads() as engine:
        await engine.compress_folder(tree, tmp_path / "here.tar.zst", **how)
    async with (
        dask_client() as client,
        Engine(2, executor=client.get_executor(), files_shared=True) as engine,
    ):
        work = engine.compress_folder(tree, tmp_path / "there.tar.zst", **how)
        await _one_killed(client, work, lambda: engine.statistics().raw_bytes > 0)
    assert digest(tmp_path / "there.tar.zst") == digest(tmp_path / "here.tar.zst")
