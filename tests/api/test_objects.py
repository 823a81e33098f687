"""Archives in objects of the caller's: what they may be asked for, and what if they are wrong."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from aiocompress import AiocompressError, Archive, CorruptError, Engine

from ..help import hostile
from ..help.archives import KIB, two_threads
from ..help.data import noise
from ..help.engines import given_back
from ..help.hostile import Member

MEMBERS = [Member(b"m%d" % number, data=noise(30 * KIB, number)) for number in range(9)]
KINDS: dict[str, bytes] = {
    "indexed zst": hostile.indexed(MEMBERS, frame=64 * KIB),
    "indexed gz": hostile.indexed(MEMBERS, "gzip", frame=64 * KIB),
    "foreign zst": hostile.compressed(hostile.tar(MEMBERS)),
    "tar": hostile.tar(MEMBERS),
    "nearly nothing": hostile.indexed([]),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


class Store:
    """An archive in a store, which remembers what it was asked for."""

    name = "store:archive"

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []
        self.sizes = 0

    async def size(self) -> Any:
        self.sizes += 1
        return len(self.data)

    async def read_at(self, offset: int, size: int) -> Any:
        self.asked.append((offset, size))
        return self.data[offset : offset + size]


async def _read(archive: Archive, _: Path) -> None:
    for member in MEMBERS:
        assert await archive.read(member.name.decode()) == member.data


async def _list(archive: Archive, _: Path) -> None:
    assert len([member async for member in archive.members()]) == len(MEMBERS)


async def _extract(archive: Archive, folder: Path) -> None:
    await archive.extract(folder / "out", fsync=False, on_exists="replace")


async def _test(archive: Archive, _: Path) -> None:
    await archive.test()


Use = Callable[[Archive, Path], Awaitable[None]]
USES: dict[str, Use] = {"read": _read, "list": _list, "extract": _extract, "test": _test}


@every_kind
async def test_what_is_asked(kind: str, tmp_path: Path) -> None:
    """The size once, then bytes that are there: a web server answers 416 to anything else."""
    store = Store(KINDS[kind])
    async with two_threads() as engine, engine.open_archive(store) as archive:
        uses = USES.values() if kind != "nearly nothing" else (_extract, _test)
        for use in uses:
            await use(archive, tmp_path)
    assert store.sizes == 1
    assert all(0 <= at < at + size <= len(store.data) for at, size in store.asked)


@pytest.mark.parametrize("kind", ["indexed zst", "foreign zst"])
@pytest.mark.parametrize("most", [None, 0, 3])
async def test_how_much_at_once(most: int | None, kind: str, tmp_path: Path) -> None:
    """One part after another, unless the object says that it can answer more at once."""
    inside = seen = 0

    class Slow(Store):
        async def read_at(self, offset: int, size: int) -> Any:
            nonlocal inside, seen
            inside += 1
            seen = max(seen, inside)
            await asyncio.sleep(0.002)
            inside -= 1
            return await super().read_at(offset, size)

    members = [Member(b"m%03d" % number, data=noise(60 * KIB, number)) for number in range(70)]
    raw = hostile.indexed(members, frame=64 * KIB)
    store = Slow(raw if kind == "indexed zst" else hostile.compressed(hostile.tar(members)))
    if most is not None:
        store.at_once = most  # type: ignore[attr-defined]
    async with two_threads() as engine, engine.open_archive(store) as archive:
        await archive.extract(tmp_path / "out", fsync=False)
    assert (tmp_path / "out/m069").read_bytes() == members[69].data
    assert seen == (most or 1)


async def test_an_empty_object() -> None:
    """Of nothing nothing is asked."""
    store = Store(b"")
    async with two_threads() as engine:
        with pytest.raises(AiocompressError, match="store:archive"):
            await engine.open_archive(store).__aenter__()
    assert store.asked == []


# What they return.

ANSWERS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "a byte less": lambda data: data[:-1],
    "a byte more": lambda data: data + b"x",
    "all of it twice": lambda data: data * 2,
}


@every_kind
@pytest.mark.parametrize("answer", ANSWERS)
async def test_other_bytes_than_asked_for(answer: str, kind: str, tmp_path: Path) -> None:
    """From the n-th answer on: an error that names the object and the place, no wrong bytes."""
    data = KINDS[kind]

    class Wrong(Store):
        right = 0

        async def read_at(self, offset: int, size: int) -> bytes:
            part: bytes = await super().read_at(offset, size)
            return part if len(self.asked) <= self.right else ANSWERS[answer](part)

    async with two_threads() as engine:
        for use in USES.values() if kind != "nearly nothing" else (_extract,):
            counted = Store(data)
            async with engine.open_archive(counted) as archive:
                await use(archive, tmp_path)
            for right in range(len(counted.asked)):
                store = Wrong(data)
                store.right = right
                with pytest.raises(CorruptError, match=r"bytes were read instead of") as caught:
                    async with engine.open_archive(store) as archive:
                        await use(archive, tmp_path)
                assert caught.value.file == "store:archive"
                assert caught.value.offset in [offset for offset, _ in store.asked[right:]]
                assert len(store.asked) <= right + 4  # those under way, and no other
            await given_back(engine)


@every_kind
@pytest.mark.parametrize("more", [1, 5000, 1 << 40])
async def test_a_size_that_is_too_large(more: int, kind: str, tmp_path: Path) -> None:
    """It is an error right away, and not damage of the archive."""

    class Larger(Store):
        async def size(self) -> int:
            return len(self.data) + more

    async with two_threads() as engine:
        with pytest.raises(CorruptError, match=r"store:archive: \d+ bytes were read .*it said"):
            async with engine.open_archive(Larger(KINDS[kind])) as archive:
                await archive.extract(tmp_path / "out", fsync=False)


@pytest.mark.parametrize(
    ("size", "error", "text"),
    [
        (-1, CorruptError, r"store:archive: size\(\) returned -1"),
        ("512", TypeError, "size of store:archive must return an int, not str"),
        (None, TypeError, "not NoneType"),
        (True, TypeError, "not bool"),
    ],
)
async def test_sizes_that_are_none(size: Any, error: type[Exception], text: str) -> None:
    """A number as text, say, as it stands in a header."""

    class Odd(Store):
        async def size(self) -> Any:
            return size

    async with two_threads() as engine:
        with pytest.raises(error, match=text):
            await engine.open_archive(Odd(KINDS["tar"])).__aenter__()


async def test_methods_that_are_wrong() -> None:
    """They return text, or are not async; an object without a name goes by its type."""

    class Text:
        async def size(self) -> int:
            return 1000

        async def read_at(self, _: int, size: int) -> Any:
            return "x" * size

    class Sync(Text):
        def read_at(self, _: int, size: int) -> Any:
            return bytes(size)

    async with Engine(1, executor="thread") as engine:
        with pytest.raises(TypeError, match="read_at of Text must return bytes, not str"):
            await engine.open_archive(Text()).__aenter__()
        with pytest.raises(TypeError, match="read_at of Sync must be async"):
            await engine.open_archive(Sync()).__aenter__()


@pytest.mark.parametrize("make", [bytearray, memoryview, lambda data: array("b", data)])
async def test_other_kinds_of_bytes(make: Callable[[bytes], Any]) -> None:
    """Any bytes-like object will do."""

    class Like(Store):
        async def read_at(self, offset: int, size: int) -> Any:
            return make(await super().read_at(offset, size))

    async with two_threads() as engine:
        for data in (KINDS["indexed zst"], KINDS["tar"]):
            async with engine.open_archive(Like(data)) as archive:
                assert await archive.read("m3") == MEMBERS[3].data
