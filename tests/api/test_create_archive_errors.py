"""Archives in the making when something is wrong: nothing half written, nothing lost or left."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiocompress import (
    AiocompressError,
    ArchiveWriter,
    ClosedError,
    CorruptError,
    Engine,
    TruncatedError,
    UnsafeMemberError,
    sync,
)
from aiocompress.model import KIB, MIB

from ..help.archives import two_threads
from ..help.data import noise, text

LARGE = text(MIB)
OPTIONS: Any = {"chunk_size": "64K", "fsync": False}


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    """Threads, which start at once."""
    async with two_threads() as made:
        yield made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an older file is, which must stay."""
    place_older(tmp_path / "a.tar.zst")
    return tmp_path / "a.tar.zst"


def place_older(path: Path) -> None:
    path.write_bytes(b"older")


def replacing(engine: Engine, path: Path) -> Any:
    return engine.create_archive(path, on_exists="replace", **OPTIONS)


def all_ways(writer: ArchiveWriter) -> list[Callable[[], Awaitable[object]]]:
    """All ways to add something."""
    return [
        lambda: writer.add("y", b""),
        lambda: writer.add_path(__file__),
        lambda: writer.add_folder(os.path.dirname(__file__)),
    ]


def nothing_happened(path: Path) -> bool:
    return os.listdir(path.parent) == [path.name] and path.read_bytes() == b"older"


async def names_in(engine: Engine, path: Path) -> list[str]:
    async with engine.open_archive(path) as archive:
        await archive.test()
        return [member.name async for member in archive.members()]


async def breaking_off(data: bytes, error: BaseException) -> AsyncIterator[bytes]:
    """A source that fails behind its data."""
    for at in range(0, len(data), 10_000):
        yield data[at : at + 10_000]
        await asyncio.sleep(0)
    raise error


def plainly_breaking_off(data: bytes, error: BaseException) -> Iterator[bytes]:
    yield data
    raise error


# Names.


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "./", "/", "//", "..", "../a", "a/..", "a/../b", "/etc/passwd", "a/", "a\0b"),
        *("x" * 256, "/".join("x" * 2100), "\ud800"),
    ],
    ids=ascii,
)
async def test_names_that_no_archive_may_hold(name: str, engine: Engine, path: Path) -> None:
    """What extraction refuses is refused here; nothing was written, and the archive goes on."""
    async with replacing(engine, path) as writer:
        for add in (writer.add, writer.add_path):
            with pytest.raises(UnsafeMemberError, match="member") as caught:
                await add(*((name, b"x") if add == writer.add else (path, name)))
            assert caught.value.hint
        await writer.add("good", b"x")
    assert await names_in(engine, path) == ["good"]


async def test_names_of_folders(engine: Engine, path: Path) -> None:
    """A folder of the archive may end with a slash, and no more than that."""
    async with replacing(engine, path) as writer:
        for name in ("/", "/a", "../a", "a\0b", "x" * 256):
            with pytest.raises(UnsafeMemberError):
                await writer.add_folder(path.parent, name)


async def test_names_in_other_words(engine: Engine, path: Path) -> None:
    """They are stored as extraction takes them."""
    async with replacing(engine, path) as writer:
        assert (await writer.add("./a//b/./c", b"")).name == "a/b/c"
        with pytest.raises(ValueError, match="'a/b/c' is in the archive already"):
            await writer.add("a/b/c", b"")
    assert await names_in(engine, path) == ["a/b/c"]


@pytest.mark.parametrize("source", [b"x", "stream"])
async def test_a_name_twice(source: Any, engine: Engine, path: Path) -> None:
    """The first one stays; the source of the second is not even read."""

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError
        yield b""

    async with replacing(engine, path) as writer:
        await writer.add("a/b", b"first")
        for name, what in (
            ("a/b", "'a/b' is in the archive already"),
            ("a", "'a' is a folder in the archive"),
            ("a/b/c", "'a/b/c' cannot be in 'a/b', which is not a folder"),
            ("a/b/c/d", "'a/b/c/d' cannot be in 'a/b', which is not a folder"),
        ):
            for mine in (source if source == b"x" else unread(), path):
                add = writer.add_path(mine, name) if mine is path else writer.add(name, mine)
                with pytest.raises(ValueError, match=what):
                    await add
        await writer.add("ab", b"")
        await writer.add("a/c", b"")
    assert await names_in(engine, path) == ["a/b", "ab", "a/c"]
    async with engine.open_archive(path) as archive:
        assert await archive.read("a/b") == b"first"


async def test_a_name_twice_at_once(engine: Engine, path: Path) -> None:
    """One of them wins, and the other gets the error."""
    async with replacing(engine, path) as writer:
        adding = [writer.add("a", plain(text(9))) for _ in range(3)]
        done = await asyncio.gather(*adding, return_exceptions=True)
        assert sorted(type(one).__name__ for one in done) == ["Member", "ValueError", "ValueError"]


def plain(data: bytes) -> Iterator[bytes]:
    yield data


# Sizes, and sources that fail.


@pytest.mark.parametrize("kind", ["bytes", "small", "large", "path"])
@pytest.mark.parametrize("off", [-1, 1])
async def test_another_size(kind: str, off: int, engine: Engine, path: Path) -> None:
    """It is an error; if some of it had to be written before that, nothing is kept."""
    data = LARGE if kind in {"large", "path"} else text(9000)
    (path.parent / "x").write_bytes(data)
    source = {"bytes": data, "path": path.parent / "x"}.get(kind, plain(data))
    expected = TruncatedError if off > 0 else CorruptError
    is_broken = kind in {"large", "path"}

    async def make() -> None:
        async with replacing(engine, path) as writer:
            with pytest.raises(CorruptError, match=r"'x': (less|more) came than the") as caught:
                await writer.add("x", source, size=len(data) + off)
            assert type(caught.value) is expected
            if not is_broken:
                await writer.add("x", data)

    if is_broken:
        with pytest.raises(AiocompressError, match="'x' broke off, and the archive") as caught:
            await make()
        assert caught.value.file == str(path)
        os.unlink(path.parent / "x")
        assert nothing_happened(path)
    else:
        await make()
        assert await names_in(engine, path) == ["x"]


class Boom(Exception):  # noqa: N818
    """Of the source."""


@pytest.mark.parametrize("source", [breaking_off, plainly_breaking_off])
@pytest.mark.parametrize("size", [0, 9000, MIB])
async def test_a_source_that_fails(source: Any, size: int, engine: Engine, path: Path) -> None:
    """Its own error goes out, costs its member only, and the archive goes on."""
    async with replacing(engine, path) as writer:
        await writer.add("before", b"")
        with pytest.raises(Boom, match="gone"):
            await writer.add("x", source(text(size), Boom("gone")))
        await writer.add("x", b"again")
    assert await names_in(engine, path) == ["before", "x"]


@pytest.mark.parametrize("after", [300 * KIB, 3 * MIB])
async def test_a_large_source_that_fails(after: int, engine: Engine, path: Path) -> None:
    """Its first bytes are written by then: nothing more can be added, and nothing is kept."""

    async def make() -> None:
        async with replacing(engine, path) as writer:
            await writer.add("before", b"")
            with pytest.raises(Boom, match="gone"):
                await writer.add("x", breaking_off(noise(after), Boom("gone")), size=4 * MIB)
            for add in all_ways(writer):
                with pytest.raises(AiocompressError, match="member 'x' broke off"):
                    await add()

    with pytest.raises(AiocompressError, match="member 'x' broke off") as caught:
        await make()
    assert isinstance(caught.value.__cause__, Boom)
    assert nothing_happened(path)


@pytest.mark.parametrize("how", ["its task", "a task of its own"])
async def test_a_source_that_adds_to_the_same_archive(how: str, engine: Engine, path: Path) -> None:
    """With its size it would wait for itself, and that is told; without, it is gathered first."""

    async def content(writer: ArchiveWriter, name: str) -> AsyncIterator[bytes]:
        yield LARGE[:100]
        adding = writer.add(name, LARGE)
        await (adding if how == "its task" else asyncio.create_task(adding))
        yield LARGE[100:]

    async with replacing(engine, path) as writer:
        await writer.add("outer", content(writer, "inner"))
        async with replacing(engine, path.with_name("other.tar.zst")) as other:
            await writer.add("x", content(other, "y"), size=len(LARGE))
    assert await names_in(engine, path) == ["inner", "outer", "x"]

    async def make() -> None:
        async with replacing(engine, path) as writer:
            await writer.add("z", content(writer, "inner"), size=len(LARGE))

    with pytest.raises(AiocompressError, match="'inner' is added by the source of another"):
        await make()


def test_a_plain_source_that_adds_to_the_same_archive(path: Path) -> None:
    """The same in a thread."""

    def content(writer: Any) -> Iterator[bytes]:
        yield LARGE[:100]
        writer.add("inner", b"")
        yield LARGE[100:]

    def make() -> None:
        with sync.create_archive(path, on_exists="replace", **OPTIONS) as writer:
            writer.add("z", content(writer), size=len(LARGE))

    with pytest.raises(AiocompressError, match="'inner' is added by the source of another"):
        make()
    assert nothing_happened(path)


async def test_a_large_source_that_fails_at_once(engine: Engine, path: Path) -> None:
    """Nothing of it is written as long as all of it fits into its chunk: the archive goes on."""
    async with engine.create_archive(path, on_exists="replace") as writer:
        with pytest.raises(Boom):
            await writer.add("x", breaking_off(text(300 * KIB), Boom()), size=MIB)
        await writer.add("y", b"")
    assert await names_in(engine, path) == ["y"]


@pytest.mark.parametrize("size", [0, 20 * MIB])
async def test_a_file_that_changes(size: int, engine: Engine, tmp_path: Path) -> None:
    """One that grows is packed up to the size that it had; one that shrinks is an error."""
    (tmp_path / "x").write_bytes(noise(8 * MIB))

    class Changing:
        async def write(self, _: bytes) -> None:
            os.truncate(tmp_path / "x", size)

    async def make() -> None:
        async with engine.create_archive(Changing(), **OPTIONS) as writer:
            assert (await writer.add("x", tmp_path / "x")).size == 8 * MIB

    if size:
        await make()
    else:
        with pytest.raises(TruncatedError, match="'x'"):
            await make()


async def test_numbers_out_of_bounds(engine: Engine, path: Path) -> None:
    """Before anything is written."""
    async with replacing(engine, path) as writer:
        for name, bad in (
            ("size", (-1, 1 << 62)),
            ("mode", (-1, 0o10000)),
            ("mtime_ns", (1 << 63, -(1 << 63))),
        ):
            for value in bad:
                with pytest.raises(ValueError, match=f"{name} must be from"):
                    await writer.add("x", b"", **{name: value})
            for value in ("1", 1.0, True):
                with pytest.raises(TypeError, match=f"{name} must be an int"):
                    await writer.add("x", b"", **{name: value})
        with pytest.raises(TypeError, match="name must be a str"):
            await writer.add(b"x", b"")
    assert await names_in(engine, path) == []


# The block.


class Mine(BaseException):
    """Raised in the block."""


@pytest.mark.parametrize("error", [Boom, Mine, KeyboardInterrupt])
@pytest.mark.parametrize("size", [0, 5 * MIB])
async def test_an_error_in_the_block(
    error: type[BaseException], size: int, engine: Engine, path: Path
) -> None:
    """It goes out as it is; there is no file, and what was there stays."""
    writer = replacing(engine, path)

    async def make() -> None:
        async with writer:
            await writer.add("x", noise(size))
            raise error

    with pytest.raises(error):
        await make()
    assert nothing_happened(path)
    with pytest.raises(ClosedError, match="the archive is not open"):
        await writer.add("y", b"")


async def test_what_is_there_already(engine: Engine, path: Path) -> None:
    """It is an error when the block begins; if it comes to be later, when the block ends."""
    with pytest.raises(FileExistsError, match=r"a\.tar\.zst"):
        await engine.create_archive(path).__aenter__()
    assert nothing_happened(path)
    with pytest.raises(FileNotFoundError, match="none"):
        await engine.create_archive(path.parent / "none" / "a.tar.zst").__aenter__()
    os.unlink(path)
    writer = engine.create_archive(path, **OPTIONS)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(pytest.raises(FileExistsError, match=r"a\.tar\.zst"))
        await stack.enter_async_context(writer)
        await writer.add("x", b"")
        place_older(path)
    assert nothing_happened(path)


async def test_outside_of_the_block(engine: Engine, path: Path) -> None:
    """Before and after, nothing can be added; a writer makes one archive."""
    writer = replacing(engine, path)
    for _ in range(2):
        for add in all_ways(writer):
            with pytest.raises(ClosedError, match="the archive is not open"):
                await add()
        if nothing_happened(path):
            async with writer:
                await writer.add("x", b"")
    with pytest.raises(AiocompressError, match="opened before"):
        await writer.__aenter__()
    assert await names_in(engine, path) == ["x"]


async def test_a_member_that_comes_too_late(engine: Engine, path: Path) -> None:
    """What is still gathered when the block ends gets an error, and the archive is whole."""
    go = asyncio.Event()

    async def late() -> AsyncIterator[bytes]:
        await go.wait()
        yield b"late"

    async with replacing(engine, path) as writer:
        adding = asyncio.ensure_future(writer.add("late", late()))
        await asyncio.sleep(0)
        await writer.add("x", b"")
    go.set()
    with pytest.raises(ClosedError):
        await adding
    assert await names_in(engine, path) == ["x"]


async def test_an_engine_that_is_closed(path: Path) -> None:
    """Under the writer: nothing is kept."""
    engine = two_threads()

    async def make() -> None:
        async with replacing(engine, path) as writer:
            await writer.add("x", LARGE)
            await engine.aclose()
            for add in all_ways(writer):
                with pytest.raises(ClosedError):
                    await add()

    with pytest.raises(ClosedError):
        await make()
    assert nothing_happened(path)


# Destinations that fail.


class Full:
    """A destination whose second write fails."""

    def __init__(self) -> None:
        self.writes = 0

    async def write(self, _: bytes) -> None:
        self.writes += 1
        if self.writes == 2:
            raise OSError(errno.ENOSPC, "full")


async def _add_much(writer: ArchiveWriter) -> None:
    for number in range(1000):
        await writer.add(str(number), noise(20_000))


async def test_a_destination_that_fails(engine: Engine) -> None:
    """Its error comes from add, from all that wait, and from the end of the block."""
    writer = engine.create_archive(Full(), **OPTIONS)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(pytest.raises(OSError, match="full"))
        await stack.enter_async_context(writer)
        with pytest.raises(OSError, match="full"):
            await _add_much(writer)
        adding = [writer.add(f"x{number}", noise(20_000)) for number in range(3)]
        for one in await asyncio.gather(*adding, return_exceptions=True):
            assert isinstance(one, OSError)


async def test_a_destination_that_fails_at_the_end(engine: Engine) -> None:
    """While nobody adds anything."""
    writer = engine.create_archive(Full(), **OPTIONS)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(pytest.raises(OSError, match="full"))
        await stack.enter_async_context(writer)
        await writer.add("x", noise(100_000))
