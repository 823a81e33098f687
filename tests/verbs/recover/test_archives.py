"""``recover`` of our archives: what is whole comes back exactly, and nothing else is made."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiocompress import Engine
from aiocompress.errors import Lines
from aiocompress.model import MIB
from aiocompress.verbs.found import Found

from ...help.data import noise
from .bench import CHUNK, SUFFIXES, Bench, make_bench, make_tree, zeroed


async def test_nothing_is_damaged(bench: Bench) -> None:
    """A whole archive comes back whole, and the report says so."""
    report = await bench.attempt(bench.data)
    assert report is not None
    assert bench.back == bench.tree
    assert (report.skipped_count, report.warnings, report.files) == (0, (), 15)


def list_all(folder: Path) -> list[Path]:
    """All that is in a folder, what is inside first."""
    return sorted(folder.rglob("*"), reverse=True)


def times(folder: Path) -> dict[str, int]:
    """When everything in a folder was modified."""
    return {str(path.relative_to(folder)): path.lstat().st_mtime_ns for path in list_all(folder)}


@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_times_are_exact(engine: Engine, tmp_path: Path, suffix: str) -> None:
    """Headers know seconds; the index knows the rest, also in a new archive."""
    make_tree(tmp_path / "tree")
    for number, path in enumerate(list_all(tmp_path / "tree")):
        os.utime(path, ns=(0, 10**18 + 1_234_567_891 * number), follow_symlinks=False)
    await engine.compress_folder(tmp_path / "tree", tmp_path / ("x" + suffix), CHUNK)
    await engine.recover(tmp_path / ("x" + suffix), tmp_path / ("y" + suffix))
    for archive, out in (("x", "one"), ("y", "two")):
        await engine.recover(tmp_path / (archive + suffix), tmp_path / out)
        assert times(tmp_path / out) == times(tmp_path / "tree")


async def test_all_are_named(engine: Engine, tmp_path: Path) -> None:
    """However many are lost: whoever asks for the rest has to know what to look for."""
    (tmp_path / "tree").mkdir()
    for number in range(1200):
        (tmp_path / "tree" / f"f{number}").write_bytes(b"x")
    (tmp_path / "tree" / "z").write_bytes(noise(3_000_000))
    (tmp_path / "tree" / "zz").write_bytes(b"saved")
    archive = tmp_path / "x.tar.zst"
    await engine.compress_folder(tmp_path / "tree", archive, "2M")
    damaged = bytearray(archive.read_bytes())
    damaged[100] ^= 1
    archive.write_bytes(damaged)
    report = await engine.recover(archive, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["zz"]
    named = {line.partition(":")[0] for line in report.skipped}
    assert named == {f"f{number}" for number in range(1200)} | {"z"}


def test_names_take_bounded_memory() -> None:
    """A name of an archive may have a mebibyte: it is shortened, and only so many are told."""
    found = Found(skipped=Lines(1_000_000, 64_000))
    for _ in range(20):
        found.refuse("n" * MIB)
    assert (len(found.skipped), found.skipped_count) == (15, 20)
    assert max(map(len, found.skipped)) <= 4500


async def test_a_source_that_cannot_be_read(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the disk names the source, and not what was to be made."""

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    source = tmp_path / ("whole" + bench.name)
    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(OSError, match="Input/output") as caught:
        await bench.engine.recover(source, tmp_path / "out")
    assert caught.value.filename == str(source)


async def test_bytes_are_damaged(bench: Bench) -> None:
    """One damaged byte: every member that does not touch that frame comes back."""
    for offset in range(len(bench.data) % 97, len(bench.data), 97):
        data = bytearray(bench.data)
        data[offset] ^= 1 << offset % 8
        assert await bench.attempt(bytes(data)) is not None, offset
        lost = bench.tree.keys() - bench.back.keys()
        assert lost <= bench.touched(offset), offset


async def test_cut_off(bench: Bench) -> None:
    """The end is missing: all of the frames before it come back."""
    for size in range(0, len(bench.data), 211):
        whole = {name for _, end, names in bench.frames if end <= size for name in names}
        broken = {name for _, end, names in bench.frames if end > size for name in names}
        if await bench.attempt(bench.data[:size]):
            assert whole - broken <= bench.back.keys(), size
        else:
            assert not whole - broken


async def test_front_is_lost(bench: Bench) -> None:
    """The table at the end tells what the rest is."""
    for size in range(1, len(bench.data), 211):
        lost = {name for start, _, names in bench.frames if start < size for name in names}
        if await bench.attempt(bench.data[size:]):
            assert bench.tree.keys() - bench.back.keys() <= lost, size
        else:
            assert lost >= {name for name, what in bench.tree.items() if what is not None}


def _cut_out(data: bytes, start: int, end: int) -> bytes:
    return data[:start] + data[end:]


def _replaced(data: bytes, start: int, end: int) -> bytes:
    return data[:start] + noise(end - start) + data[end:]


@pytest.mark.parametrize("harm", [zeroed, _cut_out, _replaced])
async def test_holes(bench: Bench, harm: Callable[[bytes, int, int], bytes]) -> None:
    """Many bytes are wrong, or gone: what they do not touch comes back."""
    source = random.Random(3)
    for _ in range(25):
        start = source.randrange(bench.frames[-1][1])
        end = min(start + source.randint(1, 3000), bench.frames[-1][1])
        assert await bench.attempt(harm(bench.data, start, end)) is not None
        lost = bench.tree.keys() - bench.back.keys()
        touched = [names for first, last, names in bench.frames if first < end and last > start]
        assert lost <= set().union(*touched), (start, end)


async def test_damaged_frames_hold_no_memory(bench: Bench) -> None:
    """A decoder is gone with its frame, and not when garbage is collected some time."""
    data = bytearray(bench.data)
    for start, end, _ in bench.frames[2:]:
        data[(start + end) // 2] ^= 1
    gc.collect()
    gc.disable()
    try:
        await bench.attempt(bytes(data))
        streams = [one for one in gc.get_objects() if type(one).__name__ == "StreamDecoder"]
    finally:
        gc.enable()
    assert not streams


async def test_frames_twice_and_swapped(bench: Bench) -> None:
    """The table knows the order: nothing is lost, and nothing is wrong."""
    data, (first, second, third) = bench.data, [bench.frames[n][:2] for n in (2, 3, 4)]
    part = data[slice(*first)], data[slice(*second)], data[slice(*third)]
    for changed in (
        [part[0], part[0], part[1], part[2]],
        [part[1], part[0], part[2]],
        [part[2], part[1], part[0]],
    ):
        report = await bench.attempt(data[: first[0]] + b"".join(changed) + data[third[1] :])
        assert report is not None
        assert bench.back == bench.tree


async def test_frames_that_look_alike(engine: Engine, tmp_path: Path) -> None:
    """Frames of what does not compress have one size: some are cut out, and none is misplaced."""
    (tmp_path / "tree").mkdir()
    for number in range(3):
        (tmp_path / "tree" / f"f{number}").write_bytes(noise(40_000, number))
    for suffix in SUFFIXES:
        bench = await make_bench(engine, tmp_path, suffix, made=False)
        starts = [start for start, _, _ in bench.frames]
        for first, last in [(2, 4), (0, 3), (5, 15), (11, 12), (1, 29)]:
            for extra in (0, 100):
                damaged = _cut_out(bench.data, starts[first], starts[last] + extra)
                await bench.attempt(damaged)


async def test_tars_inside(engine: Engine, tmp_path: Path) -> None:
    """The members of a tar that is a member are not taken for members of the archive."""
    inner = tmp_path / "inner"
    make_tree(inner, seed=6)
    (inner / "evil").write_bytes(b"not of this archive")
    for where in ("a", "tree"):
        (tmp_path / where).mkdir(exist_ok=True)
    with tarfile.open(tmp_path / "a" / "in.tar", "w") as archive:
        archive.add(inner, ".")
    await engine.compress_folder(inner, tmp_path / "a" / "in.tar.zst", 1024)
    for place in ("in", "m", "z"):
        for kind in ("tar", "tar.zst"):
            shutil.copy(tmp_path / "a" / f"in.{kind}", tmp_path / "tree" / f"{place}.{kind}")
    shutil.rmtree(tmp_path / "a")
    bench = await make_bench(engine, tmp_path, ".tar.zst", made=False)
    source = random.Random(4)
    for _ in range(60):
        start = source.randrange(bench.frames[-2][1])
        end = min(start + source.randint(1, 3000), bench.frames[-2][1])
        assert await bench.attempt(zeroed(bench.data, start, end))
        assert "evil" not in bench.back


@given(st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_damage(archives: dict[str, Bench], data: st.DataObject) -> None:
    """Whatever is done to an archive: what comes back is as it was, and errors are ours."""
    bench = archives[data.draw(st.sampled_from(SUFFIXES))]
    damaged = bytearray(bench.data)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(damaged)))
        end = start + data.draw(st.integers(0, 2000))
        kind = data.draw(st.sampled_from(["zero", "cut", "twice", "noise", "flip"]))
        part = bytes(damaged[start:end])
        damaged[start:end] = {
            "zero": bytes(len(part)),
            "cut": b"",
            "twice": part + part,
            "noise": noise(len(part), start),
            "flip": bytes([part[0] ^ 1]) + part[1:] if part else b"",
        }[kind]

    async def attempt() -> None:
        async with Engine(2, executor="thread") as bench.engine:
            await bench.attempt(bytes(damaged), keep_damaged=data.draw(st.booleans()))

    asyncio.run(attempt())


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    """A small archive of each kind."""

    async def make() -> dict[str, Bench]:
        async with Engine(2, executor="thread") as engine:
            return {
                suffix: await make_bench(engine, tmp_path_factory.mktemp("any"), suffix)
                for suffix in SUFFIXES
            }

    return asyncio.run(make())
