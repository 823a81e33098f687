"""`long_distance`: workers that die, archives that are damaged or cut off, too little memory.

Its other faults are made with all verbs: see ``world.VERBS``.
"""

# They wait for what has no event:
# ruff: noqa: ASYNC110

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from aiocompress import Engine, TruncatedError

from ..help.containers import table_of
from ..help.data import noise
from ..help.programs import kill, workers
from .counting import WHOLE, count, dice, lose, quick_and_whole

MIB = 1 << 20
KIND = "far apart"
DATA = noise(MIB)
LONG: dict[str, Any] = {"long_distance": True, "fsync": False}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Four files, each of its own and of what all have in common."""
    (tmp_path / "tree").mkdir()
    for number in range(4):
        (tmp_path / "tree" / str(number)).write_bytes(noise(9999, number) + DATA)
    return tmp_path / "tree"


@pytest.mark.faults
async def test_workers_that_die(tmp_path: Path) -> None:
    """All of them, when a chunk is done and others are at work: the same bytes come out."""
    source, made = tmp_path / "source", [tmp_path / name for name in ("expected.zst", "made.zst")]
    source.write_bytes(DATA * 12)
    how: Any = LONG | {"compression_level": 12}
    async with Engine(2, executor="thread") as engine:
        await engine.compress_file(source, made[0], MIB, **how)
    async with Engine(2) as engine:
        work = asyncio.create_task(engine.compress_file(source, made[1], MIB, **how))
        while not engine.statistics().compressed_bytes:
            await asyncio.sleep(0.001)
        kill(workers(os.getpid()))
        await work
        statistics = engine.statistics()
        assert statistics.chunks_redone
        assert statistics.memory_in_use == 0
    assert made[0].read_bytes() == made[1].read_bytes()


@quick_and_whole
async def test_damage(whole: bool, tree: Path, tmp_path: Path) -> None:  # noqa: FBT001
    """`recover` saves what is in whole frames, also where these refer to nothing else."""
    path, damaged = tmp_path / "a.tar.zst", tmp_path / "damaged.tar.zst"
    async with Engine(2, executor="thread") as engine:
        await engine.compress_folder(tree, path, MIB // 2, **LONG)
        data = path.read_bytes()
        table = table_of(data)
        for n in range(WHOLE // 20 if whole else 1):
            saved, number = tmp_path / str(n), dice("far", n).randrange(3)
            at = table.starts[number] + table.sizes[number] // 2
            damaged.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
            report = await engine.recover(damaged, saved, fsync=False)
            found = {file.name: file.read_bytes() for file in saved.iterdir()}
            if report.skipped_count != 4 - len(found) or len(found) < 2:
                lose(KIND, f"frame {number}: {sorted(found)}, {report}")
            assert all(found[name] == (tree / name).read_bytes() for name in found)
            count(KIND)


@quick_and_whole
async def test_cut_off(whole: bool, tree: Path, tmp_path: Path) -> None:  # noqa: FBT001
    """Wherever that is, it is told."""
    path = tmp_path / "a.zst"
    async with Engine(2, executor="thread") as engine:
        await engine.compress_file(tree / "0", path, MIB // 4, **LONG)
        data = path.read_bytes()
        for n in range(WHOLE // 5 if whole else 5):
            path.write_bytes(data[: dice("cut", n).randrange(len(data))])
            with pytest.raises(TruncatedError):
                await engine.decompress_file(path, tmp_path / "back", fsync=False)
            assert not (tmp_path / "back").exists()
            count(KIND)
