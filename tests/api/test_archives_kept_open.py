"""Archives that stay open: what was read of them is kept, within the engine's memory."""

from __future__ import annotations

import asyncio
import os
import sys
import tracemalloc
from pathlib import Path

import pytest

from aiocompress import Archive, Engine, MemberFile, MemberNotFoundError
from aiocompress.formats import FORMATS
from aiocompress.formats.tar.index import Records
from aiocompress.model import Buffer

from ..help import hostile
from ..help.archives import KIB, MIB, SUFFIXES, Elsewhere, every_codec, pack, two_threads
from ..help.data import noise
from ..help.engines import given_back
from ..help.hostile import Member
from ..help.tools import run, tool

NAMES = [f"dir{number // 500:02}/file-{number % 500:03}" for number in range(23_443)]
"""With their folders they are 23,490 members: three blocks of the index."""


class Counted(Elsewhere):
    """An archive that counts how often it is asked, and is never asked behind its end."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.requests = self.sizes = 0

    async def size(self) -> int:
        self.requests += 1
        self.sizes += 1
        return await super().size()

    async def read_at(self, offset: int, size: int) -> bytes:
        assert size > 0
        assert offset + size <= len(self._data)
        self.requests += 1
        await asyncio.sleep(0)
        return await super().read_at(offset, size)

    def taken(self) -> int:
        """How often it was asked since the last time."""
        taken, self.requests = self.requests, 0
        return taken


@pytest.fixture(scope="module")
def large() -> dict[str, bytes]:
    """Archives of 23,490 members, by codec, laid out as those of a folder are."""
    members = []
    for name in map(str.encode, NAMES):
        if name.endswith(b"000"):
            members.append(hostile.folder(name[:5]))
        members.append(Member(name, data=name))
    runs = [members[first : first + 8192] for first in range(0, len(members), 8192)]
    return {codec: _laid(runs, codec) for codec in SUFFIXES.values()}


def _laid(runs: list[list[Member]], codec: str) -> bytes:
    """Each run of members in frames of its own, with a block of the index."""
    row, make_writer = FORMATS[codec].codec, FORMATS[codec].container.writer
    assert make_writer is not None
    writer, parts, blocks, start = make_writer(), list[Buffer](), list[bytes](), 0
    for members in [*runs, []]:
        raw = b"".join(map(bytes, members)) or hostile.END
        for at in range(0, len(raw), 4 * MIB):
            chunk = memoryview(raw)[at : at + 4 * MIB]
            frame = bytearray(row.compress(chunk, row.default_level))
            parts += writer.add(memoryview(frame), len(chunk))
        records = Records(start)
        for member in members:
            records.add(*member.row)
        start = records.end
        if members and writer.index_last:
            blocks.append(records.pack())
        elif members:
            parts.append(writer.index(records.pack()))
    return b"".join([*map(bytes, parts), *map(writer.index, blocks), writer.finish()])


@every_codec
async def test_how_few_requests(codec: str, large: dict[str, bytes]) -> None:
    """Size, end, one block of the index, one frame; then what is near is there already."""
    source = Counted(large[codec])
    name, near = NAMES[15_000], NAMES[15_001]
    async with two_threads() as engine, engine.open_archive(source) as archive:
        assert await archive.read(name) == name.encode()
        assert source.taken() <= 4
        assert await archive.read(near) == near.encode()
        assert source.taken() <= 1
        assert await archive.read(name) == name.encode()
        assert source.taken() == 0
        for number in range(0, len(NAMES), 1000):
            assert (await archive.member(NAMES[number])).name == NAMES[number]
        assert source.taken() <= 1  # the first block of the index
        with pytest.raises(MemberNotFoundError, match=NAMES[7]):
            await archive.member(NAMES[7] + "x")
        assert source.taken() == 0
        assert source.sizes == 1


async def test_others_have_their_turn(large: dict[str, bytes]) -> None:
    """Names are looked up, missed and listed while the loop goes on."""
    turns, over = 0, asyncio.Event()

    async def others() -> None:
        nonlocal turns
        while not over.is_set():
            turns += 1
            await asyncio.sleep(0)

    source = Counted(large["zstd"])
    async with two_threads() as engine, engine.open_archive(source) as archive:
        task = asyncio.create_task(others())
        found = await asyncio.gather(*map(archive.member, NAMES[::235]))
        assert [member.name for member in found] == NAMES[::235]
        assert turns > 10
        turns = 0
        with pytest.raises(MemberNotFoundError):
            await archive.member("nowhere")
        assert turns > 1
        turns = 0
        assert len([member async for member in archive.members()]) == 23_490
        assert turns > 23_490 // 1000
        over.set()
        await task


# Frames.

FRAME = 256 * KIB
MANY = [Member(b"m%03d" % number, data=noise(40 * KIB, number)) for number in range(300)]


@pytest.fixture(scope="module", params=SUFFIXES.values())
def many(request: pytest.FixtureRequest) -> bytes:
    """An archive of 300 members in 47 frames."""
    return hostile.indexed(MANY, request.param, frame=FRAME)


def _name(number: int) -> str:
    return os.fsdecode(MANY[number].name)


async def test_many_open_members(many: bytes) -> None:
    """They hold no more than where they are: a frame is kept once, or not at all."""
    async with Engine(2, 8 * MIB, executor="thread") as engine:
        async with engine.open_archive(Counted(many)) as archive:
            tracemalloc.start()
            files = [archive.open(_name(number)) for number in range(300)]
            await asyncio.gather(*(file.__aenter__() for file in files))
            for number, file in enumerate(files):
                assert await file.read(100) == MANY[number].data[:100]
            for number, file in enumerate(reversed(files)):
                assert await file.read() == MANY[299 - number].data[100:]
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 6 * MIB + len(many) // 8
            assert FRAME < engine.statistics().memory_kept <= 2 * MIB
            for file in files:
                await file.aclose()
            assert engine.statistics().memory_kept > FRAME
        assert engine.statistics().memory_kept == 0


async def test_decoded_once_for_all(many: bytes) -> None:
    """Who asks for a frame while it is read and decoded waits for that; so does the index."""
    source = Counted(many)
    async with two_threads() as engine, engine.open_archive(source) as archive:
        source.taken()
        names = [_name(number) for number in range(4)]
        found = await asyncio.gather(*map(archive.read, names * 20))
        assert found == [member.data for member in MANY[:4]] * 20
        assert source.taken() <= 2


async def test_whoever_decodes_gives_up(many: bytes) -> None:
    """The others do it then; none of them waits for ever."""
    for steps in range(12):
        source = Counted(many)
        async with two_threads() as engine, engine.open_archive(source) as archive:
            first = asyncio.create_task(archive.read(_name(0)))
            others = [asyncio.create_task(archive.read(_name(number))) for number in (0, 1)]
            for _ in range(steps):
                await asyncio.sleep(0)
            first.cancel()
            assert await asyncio.gather(*others) == [MANY[0].data, MANY[1].data]
            await asyncio.wait([first])
        await given_back(engine)


async def test_the_oldest_goes_first(many: bytes) -> None:
    """What was used last stays, as much of it as there is room for."""
    source = Counted(many)
    async with (
        Engine(2, 8 * MIB, executor="thread") as engine,
        engine.open_archive(source) as archive,
    ):
        for number in range(0, 300, 7):  # a frame each
            await archive.read(_name(number))
        source.taken()
        await archive.read(_name(294))
        await archive.read(_name(287))
        assert source.taken() == 0
        await archive.read(_name(0))
        assert source.taken() > 0


async def test_memory_is_given_back_to_chunks(many: bytes) -> None:
    """What is only kept to be faster makes way for what somebody waits for."""
    engine = Engine(1, 2 * MIB, executor="thread")
    async with engine, engine.open_archive(Counted(many)) as archive:
        await archive.read(_name(0))
        assert engine.statistics().memory_kept > FRAME
        await engine.compress(noise(900 * KIB))  # a slot of nearly all that there is
        assert engine.statistics().memory_kept < FRAME
        assert await archive.read(_name(1)) == MANY[1].data


async def test_small_steps_without_room(many: bytes) -> None:
    """A frame that cannot be kept is not decoded anew at each step."""
    source = Counted(many)
    engine = Engine(1, 900 * KIB, executor="thread")
    async with (
        engine,
        engine.open_archive(source) as archive,
        archive.open(_name(200)) as file,
    ):
        source.taken()
        parts = [await file.read(100) for _ in range(300)]
        assert b"".join(parts) == MANY[200].data[:30_000]
        assert source.taken() <= 2
        assert engine.statistics().memory_kept < 64 * KIB


@pytest.mark.parametrize("way", ["zst", "tar"])
async def test_open_members_of_foreign_archives(way: str) -> None:
    """They hold no stream each, and may be read by turns, in small steps."""
    members = MANY[:60]
    data = hostile.tar(members) if way == "tar" else hostile.compressed(hostile.tar(members))
    source = Counted(data)
    async with two_threads() as engine, engine.open_archive(source) as archive:
        tracemalloc.start()
        files = [archive.open(_name(number)) for number in range(60)]
        for file, member in zip(files, members, strict=True):
            await file.__aenter__()
            assert await file.read(100) == member.data[:100]
        several = files[10:26:2]
        read: list[list[bytes]] = await asyncio.gather(*map(_in_steps, several))
        assert [b"".join(parts) for parts in read] == [one.data[100:] for one in members[10:26:2]]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 64 * MIB + len(data)


async def _in_steps(file: MemberFile) -> list[bytes]:
    parts = []
    while part := await file.read(10 * KIB):
        parts.append(part)
        await asyncio.sleep(0)
    return parts


async def test_two_archives_share_the_room(many: bytes) -> None:
    """One that nobody reads any more leaves its room to the other."""
    async with Engine(2, 8 * MIB, executor="thread") as engine:
        one, two = Counted(many), Counted(many)
        async with engine.open_archive(one) as idle, engine.open_archive(two) as archive:
            await _read_all(idle)
            await _read_all(archive)
            two.taken()
            for number in range(285, 300):
                await archive.read(_name(number))
            assert two.taken() == 0
        assert engine.statistics().memory_kept == 0


async def _read_all(archive: Archive) -> None:
    for number in range(0, 300, 3):
        assert await archive.read(_name(number)) == MANY[number].data


PROGRAM = """
import asyncio, sys
import aiocompress

async def main():
    async with aiocompress.open_archive(sys.argv[1]) as archive:
        files = [archive.open(f"f{number:03}") for number in range(300)]
        await asyncio.gather(*(file.__aenter__() for file in files))
        await asyncio.gather(*(file.read(1000) for file in files))
        (most,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
        print(int(most.split()[1]) >> 10)
        for file in files:
            await file.aclose()

asyncio.run(main())
"""


@pytest.mark.faults
@pytest.mark.parametrize(("way", "most"), [("ours", 200), ("foreign", 400)])
async def test_memory_of_300_open_members(way: str, most: int, tmp_path: Path) -> None:
    """A process that holds them all has 200 MiB, or four streams of a frame of unknown size."""
    (tmp_path / "tree").mkdir()
    for number in range(300):
        (tmp_path / "tree" / f"f{number:03}").write_bytes(noise(250 * KIB, number))
    path = tmp_path / "a.tar.zst"
    if way == "ours":
        await pack(tmp_path / "tree", path, 5 * MIB)
    else:
        names = sorted(os.listdir(tmp_path / "tree"))
        run(tool("tar"), "-C", tmp_path / "tree", "--zstd", "-cf", path, *names)
    said = run(sys.executable, "-c", PROGRAM, path)
    assert int(said) <= most, said
