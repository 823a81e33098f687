"""``recover`` of files that stand one behind the other: all of them come back, or are named."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from aiocompress import CorruptError, Engine, FormatError, Report

from ...help.data import noise, text
from .bench import CHUNK, SUFFIXES, Bench, contents, make_bench, zeroed

TIMES = 1_700_000_000, 1_700_000_100, 1_700_008_192
"""Of the members of each archive: with these, the first frames of two in gzip have one size."""


class Joined:
    """Archives that ``cat`` has joined, each of a tree with names of its own."""

    def __init__(self, benches: list[Bench], place: Path) -> None:
        self._place, self.engine = place, benches[0].engine
        self.tree = {name: what for bench in benches for name, what in bench.tree.items()}
        self.frames: list[tuple[int, int, set[str]]] = []
        self.ends = [0]
        self.data = b""
        for bench in benches:
            start = len(self.data)
            self.frames += [(first + start, end + start, who) for first, end, who in bench.frames]
            self.data += bench.data
            self.ends.append(len(self.data))
        self.suffix = benches[0].name

    def touched(self, start: int, end: int) -> set[str]:
        """Members of which the frames with these bytes hold a part."""
        hit = [names for first, last, names in self.frames if first < end and last > start]
        return set[str]().union(*hit)

    async def attempt(self, data: bytes) -> Report:
        """Recover from these bytes: what comes back is as it was, and what does not is told of."""
        source, out = self._place / ("joined" + self.suffix), self._place / "out"
        source.write_bytes(data)
        shutil.rmtree(out, ignore_errors=True)
        report = await self.engine.recover(source, out, fsync=False)
        self.back = contents(out)
        assert all(self.tree[name] == what for name, what in self.back.items())
        assert report.skipped_count or self.back == self.tree
        return report


async def make_joined(engine: Engine, place: Path, suffix: str) -> Joined:
    """Three archives; all frames of two of them have one size."""
    benches = []
    for number, word in enumerate("abc"):
        folder = place / word
        tree = folder / "tree" / word
        (tree / "sub").mkdir(parents=True)
        for index, size in enumerate([0, 700, 9000, 40, 2 * CHUNK]):
            make = noise if number else text
            (tree / "sub" / f"f{index}").write_bytes(make(size, 10 * number + index))
        (tree / "link").symlink_to("sub")
        for path in (*tree.rglob("*"), tree):
            os.utime(path, (0, TIMES[number]), follow_symlinks=False)
        benches.append(await make_bench(engine, folder, suffix, made=False))
    return Joined(benches, place)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Joined]:
    """Three archives joined into one file, of each kind."""

    async def make() -> dict[str, Joined]:
        async with Engine(2, executor="thread") as engine:
            return {
                suffix: await make_joined(engine, tmp_path_factory.mktemp("joined"), suffix)
                for suffix in SUFFIXES
            }

    return asyncio.run(make())


@pytest.fixture(params=SUFFIXES)
def joined(request: pytest.FixtureRequest, made: dict[str, Joined], engine: Engine) -> Joined:
    """One of them, and an engine of this test."""
    made[request.param].engine = engine
    return made[request.param]


async def test_all_come_back(joined: Joined) -> None:
    """Nothing is damaged: the members of all archives are there, and nothing is said."""
    report = await joined.attempt(joined.data)
    assert joined.back == joined.tree
    assert (report.skipped, report.warnings) == ((), ())


async def test_others_read_the_first(joined: Joined, tmp_path: Path) -> None:
    """test accepts it, for all tables are right; it says that more follows, and so does list."""
    path = tmp_path / ("all" + joined.suffix)
    path.write_bytes(joined.data)
    report = await joined.engine.test(path)
    assert "behind the end" in report.warnings[0]
    async with joined.engine.open_archive(path) as archive:
        found = {member.name async for member in archive.members()}
        assert found == {name for name in joined.tree if name.split("/")[0] == "a"}
        assert "behind the end" in archive.warnings[0]
    damaged = bytearray(joined.data)
    table = joined.data.rfind(b"aiocompress index .", 0, joined.ends[2]) + 40
    damaged[table if joined.suffix == ".tar.gz" else joined.ends[2] - 20] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CorruptError):
        await joined.engine.test(path)


async def test_lost_members_are_named(joined: Joined) -> None:
    """A frame of any of them is lost: its index knows who was in it."""
    for start, end, names in joined.frames:
        report = await joined.attempt(zeroed(joined.data, start, end))
        lost = joined.tree.keys() - joined.back.keys()
        assert lost <= names
        assert lost <= {line.partition(":")[0] for line in report.skipped}


async def test_damage_at_the_joints(joined: Joined) -> None:
    """The end of one and the beginning of the next are gone: no other member is."""
    source = random.Random(8)
    for joint in joined.ends[1:-1]:
        for _ in range(12):
            start, end = joint - source.randint(0, 4000), joint + source.randint(0, 4000)
            await joined.attempt(zeroed(joined.data, start, end))
            lost = joined.tree.keys() - joined.back.keys()
            assert lost <= joined.touched(start, end), (start, end)


async def test_one_is_gone(joined: Joined) -> None:
    """All of one is overwritten: the others come back whole."""
    for first, last in zip(joined.ends, joined.ends[1:], strict=False):
        gone = joined.touched(first, last)
        report = await joined.attempt(
            joined.data[:first] + b"U" * (last - first) + joined.data[last:]
        )
        assert joined.tree.keys() - joined.back.keys() <= gone
        assert report.skipped


@given(st.data())
@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_damage(made: dict[str, Joined], data: st.DataObject) -> None:
    """Holes anywhere, and a lost end: nothing that comes back is wrong, or missing in silence.

    It may be an error that there is nothing, but only where no member is whole.
    """
    joined = made[data.draw(st.sampled_from(SUFFIXES))]
    damaged, gone = bytearray(joined.data), set[str]()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(damaged)))
        end = min(len(damaged), start + data.draw(st.sampled_from([1, 30, 900, 6000])))
        damaged[start:end] = bytes(end - start)
        gone |= joined.touched(start, end)
    size = data.draw(st.integers(len(damaged) // 2, len(damaged)))

    gone |= joined.touched(size, len(damaged))
    # Of an archive that is gone to its first byte, nothing can tell.
    assume(any(damaged[max(end for end in joined.ends if end <= size) : size]))

    async def attempt() -> None:
        async with Engine(2, executor="thread") as joined.engine:
            await joined.attempt(bytes(damaged[:size]))

    try:
        asyncio.run(attempt())
    except (CorruptError, FormatError):
        assert joined.tree.keys() <= gone


@pytest.mark.parametrize("size", [1, 3, 4, 11, 40])
async def test_a_few_bytes_of_another(size: int, joined: Joined) -> None:
    """What is left of an archive that was cut off at its first bytes is told of."""
    report = await joined.attempt(joined.data[: joined.ends[1] + size])
    assert report.skipped_count
