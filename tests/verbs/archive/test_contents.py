"""What there is in an archive: looked up, listed by folder and by prefix."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress import Archive, FormatError, MemberNotFoundError

from ...help import hostile
from ...help.archives import Elsewhere, Works, two_threads
from ...help.hostile import Member, folder, hardlink, symlink

PARTS = st.sampled_from(["a", "b", "a.b", "B", "é", "\udcff", "long" * 30])
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
ODD = ["", "/", "a/", "./a", "a/b/", "x", "a/b/c/d"]
WAYS = ["zstd", "gzip", "foreign", "tar"]


def _archive(names: list[str], way: str, in_block: int) -> bytes:
    members = [Member(os.fsencode(name), data=b"%d" % number) for number, name in enumerate(names)]
    if way == "tar":
        return hostile.tar(members)
    if way == "foreign":
        return hostile.compressed(hostile.tar(members))
    return hostile.indexed(members, way, frame=2048, in_block=in_block)


def in_order(names: list[str]) -> list[str]:
    """As a folder is walked."""
    return sorted(names, key=lambda name: os.fsencode(name).replace(b"/", b"\0"))


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(NAMES, min_size=1, max_size=14),
    asked=st.lists(st.one_of(NAMES, st.sampled_from(ODD)), max_size=6),
    way=st.sampled_from(WAYS),
    in_block=st.integers(1, 5),
    arranged=st.sampled_from([list, in_order]),
)
def test_any_names_in_any_order(
    names: list[str],
    asked: list[str],
    way: str,
    in_block: int,
    arranged: Callable[[list[str]], list[str]],
    works: Works,
) -> None:
    """The last of a name is found, whatever the order; folders need no member of their own."""
    names = arranged(names)

    async def look() -> None:
        source = Elsewhere(_archive(names, way, in_block))
        async with works.engine.open_archive(source) as archive:
            assert archive.is_indexed == (way in {"zstd", "gzip"})
            for name in [*names, *asked]:
                await _check(archive, names, name)

    works(look())


async def _check(archive: Archive, names: list[str], name: str) -> None:
    plain = name.removeprefix("./").strip("/")
    assert await archive.exists(name) == (plain in names)
    if plain in names:
        last = len(names) - 1 - names[::-1].index(plain)
        assert await archive.read(name) == b"%d" % last
    else:
        with pytest.raises(MemberNotFoundError):
            await archive.member(name)
    for prefix in (name, name[:2], name + "/"):
        start = prefix.removeprefix("./").lstrip("/")
        found = [member.name async for member in archive.members(prefix)]
        assert found == [other for other in names if other.startswith(start)]
    start = plain + "/" if plain else ""
    inside = {other[len(start) :].partition("/")[0] for other in names if other.startswith(start)}
    if inside:
        assert await archive.listdir(name) == sorted(inside, key=os.fsencode)
    else:
        with pytest.raises(FormatError if plain in names else MemberNotFoundError):
            await archive.listdir(name)


TREE = [
    folder(b"d"),
    Member(b"d/a", data=b"1"),
    folder(b"d/empty"),
    symlink(b"d/link", b"a"),
    hardlink(b"hard", b"d/a"),
    Member(b"none/of/these"),
]


@pytest.mark.parametrize("way", WAYS)
async def test_folders(way: str) -> None:
    """As ``os.listdir`` says, of folders with a member of their own and without."""
    archives: dict[str, Any] = {
        "tar": lambda: hostile.tar(TREE),
        "foreign": lambda: hostile.compressed(hostile.tar([folder(b"."), *TREE])),
    }
    data = archives.get(way, lambda: hostile.indexed(TREE, way, in_block=2))()
    async with two_threads() as engine, engine.open_archive(Elsewhere(data)) as archive:
        assert await archive.listdir() == ["d", "hard", "none"]
        assert await archive.listdir("./d/") == ["a", "empty", "link"]
        assert await archive.listdir("d/empty") == []
        assert await archive.listdir("none/of") == ["these"]
        assert [member.name async for member in archive.members("d/")] == [
            "d/a",
            "d/empty",
            "d/link",
        ]
        for name in ("d/a", "d/link", "hard"):
            with pytest.raises(FormatError, match="no folder"):
                await archive.listdir(name)
        with pytest.raises(MemberNotFoundError, match="closest: d/empty"):
            await archive.listdir("x/empty")
        assert await archive.exists("d/empty/")
        assert not await archive.exists("none")
