"""Limits of extraction: bytes, members, metadata, and room on the disk."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from typing import Any

import pytest

import aiocompress
from aiocompress import LimitError

from ...help import hostile
from ...help.data import noise
from ...help.hostile import Member, folder
from ...help.places import (
    FOREIGN,
    GOOD,
    INDEXED,
    Place,
    Way,
    a_file,
    every_way,
    extract_to,
    foreign_way,
    in_short,
)
from ...help.tools import small_disk

indexed_way = pytest.mark.parametrize("way", INDEXED.values(), ids=INDEXED)


@every_way
async def test_max_output(way: Way, place: Place) -> None:
    """More raw bytes than asked for are refused, whatever else is skipped; nothing is left."""
    path = place.write(way, [Member(b"%d" % number, data=bytes(9000)) for number in range(9)])
    for on_error in ("raise", "skip"):
        with pytest.raises(LimitError):
            await extract_to(path, place, max_output=30_000, on_error=on_error)
        assert os.listdir(place.work) == [path.name]


@every_way
async def test_max_members(way: Way, place: Place) -> None:
    """More members than asked for are refused, whatever else is skipped; as many are not."""
    path = place.write(way, [folder(b"d"), *(Member(b"d/%d" % number) for number in range(8))])
    for on_error in ("raise", "skip"):
        with pytest.raises(LimitError, match="more than the 8 members"):
            await extract_to(path, place, max_members=8, on_error=on_error)
        assert os.listdir(place.work) == [path.name]
    await extract_to(path, place, max_members=1, members=["d/7"])
    shutil.rmtree(place.dest)
    assert (await extract_to(path, place, max_members=9)).warnings == ()


@every_way
async def test_max_member_size(way: Way, place: Place) -> None:
    """A member that is larger is refused, and named; the others come back where that is wanted."""
    path = place.write(way, [Member(b"large", data=bytes(9001)), Member(b"s", data=bytes(9000))])
    with pytest.raises(LimitError, match="member large: it is larger than the 9000 bytes"):
        await extract_to(path, place, max_member_size=9000)
    assert os.listdir(place.work) == [path.name]
    report = await extract_to(path, place, max_member_size=9000, on_error="skip")
    assert (report.damaged, report.warnings) == (1, ())
    assert report.skipped[0].startswith("large: ")
    assert in_short(place.tree()) == {b"s": a_file(bytes(9000))}
    shutil.rmtree(place.dest)
    assert (await extract_to(path, place, max_member_size="9001")).files == 2


@foreign_way
async def test_max_member_size_of_a_hole(way: Way, place: Place) -> None:
    """A sparse file counts as large as it becomes."""
    fields = [(b"GNU.sparse.major", b"0"), (b"GNU.sparse.minor", b"1"), (b"GNU.sparse.map", b"0,1")]
    fields += [(b"GNU.sparse.size", b"1000000"), (b"GNU.sparse.numblocks", b"1")]
    path = place.write(way, [Member(b"hole", data=b"x", pax=tuple(fields))])
    with pytest.raises(LimitError, match="member hole"):
        await extract_to(path, place, max_member_size=999_999)
    await extract_to(path, place, max_member_size=1_000_000)
    assert (place.dest / "hole").stat().st_size == 1_000_000


@every_way
async def test_max_metadata(way: Way, place: Place) -> None:
    """A megabyte of it before one member is allowed, more if asked for, less if asked for."""
    comment = (b"comment", b"c" * 1_100_000)
    path = place.write(way, [Member(b"f", data=b"content", pax=(comment,)), GOOD])
    for options in ({}, {"on_error": "skip"}):
        with pytest.raises(LimitError, match="max_metadata"):
            await extract_to(path, place, **options)
        assert os.listdir(place.work) == [path.name]
    assert (await extract_to(path, place, max_metadata="2MiB")).files == 2
    await aiocompress.test(path, max_metadata="2MiB")
    small = place.write(way, [Member(b"f", pax=((b"comment", b"c" * 9000),))], "small")
    shutil.rmtree(place.dest)
    assert (await extract_to(small, place)).files == 1
    if way in FOREIGN.values():
        async with aiocompress.open_archive(small, max_metadata="8k") as archive:
            with pytest.raises(LimitError, match="max_metadata"):
                [member async for member in archive.members()]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_members": -1}, ValueError),
        ({"max_members": "9"}, TypeError),
        ({"max_members": True}, TypeError),
        ({"max_member_size": 0}, ValueError),
        ({"max_metadata": "much"}, ValueError),
    ],
)
async def test_limits_that_are_none(options: Any, error: Any, place: Place) -> None:
    """They are told at once, and nothing is begun."""
    path = place.write(FOREIGN["tar"], [GOOD])
    with pytest.raises(error, match=next(iter(options))):
        await extract_to(path, place, **options)
    assert os.listdir(place.work) == [path.name]


@indexed_way
async def test_limits_beside_damage(way: Way, place: Place) -> None:
    """What is too large and what is damaged are left out; all others come back."""
    members = [Member(b"%d" % number, data=noise(400, number)) for number in range(20)]
    members[3] = replace(members[3], data=noise(900))
    path = place.write(way, members)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    report = await extract_to(path, place, max_member_size=800, on_error="skip")
    expected = {b"%d" % n: a_file(members[n].data) for n in range(20) if n != 3}
    back = in_short(place.tree())
    assert back.items() <= expected.items()
    assert len(back) == 20 - report.skipped_count
    assert report.skipped_count == 20 or b"19" in back
    assert any(text.startswith("3: it is larger") for text in report.skipped)


def _one_large(_: list[Member]) -> tuple[str, bytes]:
    members = [Member(b"large", data=bytes(4 << 20)), Member(b"small", data=b"small")]
    return ".tar.zst", hostile.indexed(members, frame=1 << 20)


async def test_a_disk_without_room(place: Place) -> None:
    """It is seen before anything is written; what has room is restored."""
    path, disk = place.write(_one_large, []), place.work / "disk"
    disk.mkdir()
    with small_disk(disk, "size=2M"):
        async with aiocompress.open_archive(path) as archive:
            with pytest.raises(OSError, match="need 4,194,309 bytes, 2,0") as caught:
                await archive.extract(disk / "out")
            assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(disk / "out"))
            assert os.listdir(disk) == []
            await archive.extract(disk / "out", ["small"])
        assert os.listdir(disk / "out") == ["small"]


def _same_name(_: list[Member]) -> tuple[str, bytes]:
    members = [Member(b"same", data=bytes(1 << 20) + b"%d" % number) for number in range(8)]
    return ".tar.zst", hostile.indexed(members, frame=1 << 20)


@pytest.mark.parametrize("size", ["4M", "0"])
async def test_a_disk_with_just_enough_room(size: str, place: Place) -> None:
    """Members that replace each other, and a disk that knows no limit, are no reason to refuse."""
    path, disk = place.write(_same_name, []), place.work / "disk"
    with small_disk(disk, f"size={size}"):
        async with aiocompress.open_archive(path) as archive:
            await archive.extract(disk / "out")
        assert (disk / "out" / "same").read_bytes()[-1:] == b"7"
