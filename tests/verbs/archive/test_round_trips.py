"""What goes into an archive comes back, and the same bytes are written whoever works."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiocompress import Engine

from ...help import trees
from ...help.archives import (
    KIB,
    MIB,
    SUFFIXES,
    Works,
    a_place,
    decompressed,
    entries_of_tarfile,
    every_suffix,
    pack,
    two_threads,
    unpack,
)
from ...help.tools import run, tool
from ...help.trees import CHUNK, IS_ROOT, SECOND, Tree

# There and back.


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    tree=trees.trees(),
    chunk=st.sampled_from([4 * KIB, CHUNK, MIB]),
    suffix=st.sampled_from([*SUFFIXES]),
)
def test_round_trips(tree: Tree, chunk: int, suffix: str, works: Works) -> None:
    """Names, kinds, content, modes, times to the ns, targets and hard links come back."""
    with a_place() as place:
        trees.build(place / "tree", tree)
        before, path = trees.look(place / "tree"), place / f"a{suffix}"
        options: Any = {"fsync": False}
        report = works(works.engine.compress_folder(place / "tree", path, chunk, **options))
        assert report.files == sum(node.kind != "directory" for node in tree.values())
        assert report.compressed_bytes == path.stat().st_size
        assert not report.skipped_count
        assert not report.warnings
        report = works(works.engine.decompress_folder(path, place / "back", **options))
        assert report.files == sum(node.kind != "directory" for node in tree.values())
        trees.check_same(trees.look(place / "back"), trees.restored(before))
        options["preserve"] = True
        works(works.engine.decompress_folder(path, place / "kept", **options))
        kept = {
            name: replace(
                node, mode=node.mode | {"file": 0o400, "directory": 0o500}.get(node.kind, 0)
            )
            for name, node in before.items()
        }
        trees.check_same(trees.look(place / "kept"), kept)


@every_suffix
async def test_one_of_every_kind(
    suffix: str, zoo: Path, packed: dict[str, Path], tmp_path: Path
) -> None:
    """The zoo comes back, and every check of the archive passes."""
    await unpack(packed[suffix], tmp_path / "back")
    trees.check_same(trees.look(tmp_path / "back"), trees.restored(trees.look(zoo)))
    async with two_threads() as engine:
        assert (await engine.test(packed[suffix])).frames > 5
        async with engine.open_archive(packed[suffix]) as archive:
            assert archive.is_indexed
            report = await archive.test()
            assert report.files == sum(node.kind != "directory" for node in trees.zoo().values())
            assert archive.warnings == []


# The same bytes.


@every_suffix
async def test_the_same_bytes_whoever_works(
    suffix: str, zoo: Path, packed: dict[str, Path], tmp_path: Path
) -> None:
    """Workers, memory, executors and place of the tree change nothing."""
    run(tool("cp"), "-a", zoo, tmp_path / "copy")
    expected = packed[suffix].read_bytes()
    with ThreadPoolExecutor(2) as own:
        engines = (
            Engine(1, executor="thread"),
            Engine(2, "256KiB", executor="thread"),
            Engine(5, executor="thread"),
            Engine(2, executor=own),
            Engine(2),
        )
        for number, engine in enumerate(engines):
            async with engine:
                path = tmp_path / f"{number}{suffix}"
                source = tmp_path / "copy" if number % 2 else zoo
                await engine.compress_folder(source, path, CHUNK, fsync=False)
                assert path.read_bytes() == expected
                await engine.decompress_folder(path, tmp_path / f"{number}", fsync=False)
                back = trees.look(tmp_path / f"{number}")
                trees.check_same(back, trees.restored(trees.look(zoo)))


async def test_reproducible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies with other times, owners and modes give the same bytes; a later time is clamped."""
    results = {}
    for number, epoch in ((0, None), (1, None), (0, "1000000000"), (1, "1000000000")):
        tree = tmp_path / f"tree{number}"
        if not tree.exists():
            (tree / "d").mkdir(parents=True)
            (tree / "d" / "run").write_bytes(b"run")
            (tree / "f").write_bytes(b"f")
            (tree / "l").symlink_to("f")
            (tree / "d" / "run").chmod(0o755 - number * 0o44)
            (tree / "f").chmod(0o644 - number * 0o44)
            os.utime(tree / "f", ns=(0, 2 * 10**18 + number))
            os.utime(tree / "d", ns=(0, 2 * 10**18 - number))
            if IS_ROOT:
                os.chown(tree / "f", 1000 + number, 1000 + number)
        if epoch is None:
            monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
        else:
            monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        path = tmp_path / f"{number}-{epoch}.tar.zst"
        await pack(tree, path, reproducible=True)
        results[number, epoch] = path.read_bytes()
        found = entries_of_tarfile(decompressed(path))
        assert {node.mtime_ns for node in found.values()} == {int(epoch or 0) * SECOND}
        assert found[b"d/run"].mode == 0o755
        assert found[b"f"].mode == 0o644
    assert results[0, None] == results[1, None] != results[0, "1000000000"]
    assert results[0, "1000000000"] == results[1, "1000000000"]
