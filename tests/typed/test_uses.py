"""Each public object and verb as a caller writes it: run here, and checked by mypy and pyright."""

from __future__ import annotations

import contextlib
import csv
import inspect
import io
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, BinaryIO, TextIO, assert_type

import aiofiles
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import aiocompress
from aiocompress import (
    Archive,
    ArchiveWriter,
    AsyncFile,
    ByteStream,
    Codec,
    Engine,
    EngineStatistics,
    Member,
    MemberFile,
    Members,
    OnError,
    OnExists,
    Positional,
    Progress,
    Report,
    Sink,
    Size,
    Source,
    sync,
)
from aiocompress.web import FileResponse, FolderResponse, MemberResponse, app

DATA = b"some data\n" * 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one file in it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(DATA)
    return tmp_path


# What callers bring.


class Reader:
    """An object with ``async read``, as of aiohttp or aiofiles."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    async def read(self, n: int = -1) -> bytes:
        return self._file.read(n)


class Writer:
    """An object with ``async write``."""

    def __init__(self) -> None:
        self.data = b""

    async def write(self, data: bytes) -> int:
        self.data += data
        return len(data)


class Object:
    """An object that is read at any offset, such as one in a store."""

    name = "object"
    at_once = 2

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def size(self) -> int:
        return len(self._data)

    async def read_at(self, offset: int, size: int) -> memoryview:
        return memoryview(self._data)[offset : offset + size]


async def pieces(data: bytes = DATA) -> AsyncIterator[bytes]:
    """Content as a request has it."""
    yield data[:100]
    yield data[100:]


async def test_sources(folder: Path) -> None:
    """All kinds of them, under the one name that a function of the caller gives them."""

    async def packed(source: Source) -> bytes:
        writer = Writer()
        await aiocompress.compress_file(source, writer, "64K", 1)
        return writer.data

    path = folder / "folder" / "file"
    async with aiofiles.open(path, "rb") as opened:
        assert await packed(opened)
    with path.open("rb") as file:
        assert await packed(file)
    sources: list[Source] = [
        *(path, str(path), DATA, bytearray(DATA), memoryview(DATA), Reader(DATA), pieces()),
        *([DATA], iter([DATA]), io.BytesIO(DATA), (bytearray(DATA) for _ in range(1))),
    ]
    assert len({await packed(source) for source in sources}) == 1


async def test_sinks(folder: Path) -> None:
    """A path, or any object with ``async write``."""

    async def pack(to: Sink, codec: Codec | None = None) -> int:
        report = await aiocompress.compress_folder(folder / "folder", to, codec=codec)
        return assert_type(report, Report).compressed_bytes

    async with aiofiles.open(folder / "b.tar.zst", "wb") as opened:
        sizes = [await pack(folder / "a.tar.zst"), await pack(Writer()), await pack(opened)]
    assert len(set(sizes)) == 1
    assert await pack(os.fspath(folder / "a.tar.gz"), "gzip") > 0


# An engine, and the verbs.


async def test_an_engine(folder: Path) -> None:
    """Its verbs, with all that is said of them by keywords."""
    size: Size = "64KiB"
    exists: OnExists = "replace"
    errors: OnError = "skip"
    told: list[Progress] = []

    async def tell(progress: Progress) -> None:
        assert_type(progress.total, int | None)
        told.append(progress)

    async with Engine(2, "256MiB", executor="thread") as engine:
        packed = assert_type(await engine.compress(DATA, codec="gzip"), bytes)
        assert assert_type(await engine.decompress(packed, max_output=1 << 20), bytes) == DATA
        report = await engine.compress_folder(
            [folder / "folder"],
            folder / "a.tar.zst",
            size,
            compression_level=5,
            prefix="top",
            exclude=["*.o"],
            reproducible=True,
            on_error=errors,
            on_exists=exists,
            fsync=False,
            progress=tell,
        )
        assert_type(report.ratio, float)
        assert_type(report.skipped, tuple[str, ...])
        report = await engine.decompress_folder(
            folder / "a.tar.zst", folder / "back", members=["top"], progress=told.append
        )
        assert assert_type(report.files, int) == 1
        await engine.compress_file(DATA, folder / "x.zst", progress=False)
        await engine.decompress_file(folder / "x.zst", folder / "x", max_window="64MiB")
        assert (folder / "x").read_bytes() == DATA
        assert_type(await engine.test(folder / "a.tar.zst"), Report)
        assert_type(await engine.recover(folder / "a.tar.zst", folder / "saved"), Report)
        assert_type(await engine.content_encoding(folder / "x.zst"), Codec | None)
        assert_type(engine.statistics(), EngineStatistics)
    assert told
    with ThreadPoolExecutor(1) as pool, contextlib.closing(Engine(executor=pool)) as engine:
        assert_type(engine, Engine)


async def test_streams(folder: Path) -> None:
    """Iterated, read, and one in another."""
    async with Engine(1, executor="thread") as engine:
        async with engine.compress_stream(pieces(), single=True, flush_after=0.1) as stream:
            assert_type(stream, ByteStream)
            parts = [assert_type(part, bytes) async for part in stream]
        assert await engine.decompress(b"".join(parts)) == DATA
        packed = engine.compress_stream([folder / "folder"], prefix="p", chunk_size="64K")
        back = engine.decompress_stream(packed, max_input="1MiB", max_output="1MiB")
        assert len(assert_type(await back.read(), bytes)) > len(DATA)
        assert_type(back.report, Report)
    async with aiocompress.compress_stream(folder / "folder", num_workers=1) as stream:
        assert_type(await stream.read(10), bytes)


# Files.


async def test_files(folder: Path) -> None:
    """The mode says whether lines are bytes or text."""
    path = folder / "log.zst"
    async with aiocompress.open(path, "wt", encoding="utf-8", newline="\n") as log:
        assert_type(log, AsyncFile[str])
        assert_type(await log.write("one\n"), int)
        await log.writelines(["two\n", "three\n"])
        await log.flush()
    async with aiocompress.open(path, "ab", compression_level=9) as more:
        assert_type(more, AsyncFile[bytes])
        await more.write(b"four\n")
    async with aiocompress.open(path) as binary:
        async for line in binary:
            assert_type(line, bytes)
        await binary.seek(0)
        assert_type(await binary.readlines(), list[bytes])
        assert_type(await binary.tell(), int)
    async with aiocompress.open(path, "rt") as text:
        assert assert_type([line async for line in text], list[str])[0] == "one\n"
    async with Engine(1, executor="thread") as engine:
        file = assert_type(await engine.open(path, "rb"), AsyncFile[bytes])
        assert await file.readinto(bytearray(4)) == 4
        await file.close()
        async with engine.open(Object(path.read_bytes()), "rt") as text:
            assert_type(await text.readline(), str)
        async with engine.open(Writer(), "wb", codec="gzip") as binary:
            await binary.write(memoryview(DATA))
        async with aiocompress.open(path, engine=engine, mode="rt") as text:
            assert_type(await text.read(3), str)

    async def first(mode: str) -> None:
        async with aiocompress.open(path, mode) as either:
            assert_type(either, AsyncFile[Any])

    await first("rb")


# Archives.


async def test_archives(folder: Path) -> None:
    """Written member by member, listed, read, extracted."""
    path = folder / "a.tar.zst"
    async with aiocompress.create_archive(path, codec="zstd", on_exists="replace") as writer:
        assert_type(writer, ArchiveWriter)
        member = await writer.add("memory", DATA, mtime_ns=0)
        assert_type(member, Member)
        await writer.add("stream", pieces(), size=len(DATA), mode=0o600)
        await writer.add("reader", Reader(DATA))
        assert_type(await writer.add_path(folder / "folder" / "file", "file"), Member)
        assert_type(await writer.add_folder(folder / "folder", "in"), int)
    async with aiocompress.open_archive(path, max_window="8MiB") as archive:
        assert_type(archive, Archive)
        async for member in archive.members("in/"):
            assert_type(member.mtime_ns, int)
        async with archive.members() as members:
            assert_type(members, Members)
            assert (await anext(members)).name == "memory"
        async for some in archive.names():
            assert_type(some, list[str])
        assert assert_type(await archive.read("memory"), bytes) == DATA
        assert_type(await archive.listdir(), list[str])
        assert_type(await archive.scandir("in"), list[Member])
        async with archive.open("stream") as file:
            assert_type(file, MemberFile)
            async for line in file:
                assert_type(line, bytes)
            await aiocompress.compress_file(file, folder / "y.zst")
        async with archive.compress_stream(["in"], codec="gzip") as stream:
            assert_type(await stream.read(), bytes)
        await archive.extract(folder / "out", ["in"], on_error="skip")
        assert_type(archive.warnings, list[str])
    somewhere: Positional = Object(path.read_bytes())
    async with Engine(1, executor="thread") as engine, engine.open_archive(somewhere) as archive:
        assert await archive.exists("memory")
        with pytest.raises(aiocompress.MemberNotFoundError) as caught:
            await archive.member("nothing")
        assert_type(caught.value.hint, str | None)


# Without async.


def test_without_async(folder: Path) -> None:
    """The same verbs, plain files, plain iterators."""
    assert_type(sync.compress_folder(folder / "folder", folder / "a.tar.zst", 1 << 20, 1), Report)
    assert sync.decompress(assert_type(sync.compress(DATA, codec="zstd"), bytes)) == DATA
    buffer = io.BytesIO()
    assert_type(sync.compress_file([DATA], buffer, fsync=False), Report)
    stream = sync.decompress_stream(io.BytesIO(buffer.getvalue()))
    assert b"".join(assert_type(part, bytes) for part in stream) == DATA
    with sync.open_archive(folder / "a.tar.zst") as archive:
        names: Iterator[Member] = archive.members()
        assert [member.name for member in names] == ["file"]
        assert_type(archive.read("file"), bytes)
        assert_type(archive.extract(folder / "out"), Report)
        with archive.open("file") as file:
            assert_type(file, BinaryIO)
    with sync.create_archive(buffer) as writer:
        assert_type(writer.add("rows", (b"row" for _ in range(3))), Member)
    with sync.open(folder / "t.csv.gz", "wt", newline="") as table:
        assert_type(table, TextIO)
        csv.writer(table).writerow(["a", "b"])
    with sync.open(folder / "t.csv.gz") as binary:
        assert_type(binary, BinaryIO)
        assert_type(binary.read(), bytes)

    def first(mode: str) -> None:
        with sync.open(folder / "t.csv.gz", mode) as either:
            assert_type(either, IO[Any])

    first("rt")


# Behind a server, and elsewhere.


async def test_a_server(folder: Path) -> None:
    """Responses of Starlette, and an application that is mounted."""
    await aiocompress.compress_folder(folder / "folder", folder / "a.tar.zst")
    await aiocompress.compress_file(DATA, folder / "x.zst")

    async def download(request: Request) -> Response:
        codec: Codec = "gzip" if "gzip" in request.query_params else "zstd"
        return FolderResponse(folder / "folder", codec=codec, exclude=["*.o"])

    async def member(_: Request) -> Response:
        return MemberResponse(folder / "a.tar.zst", "file", content_disposition_type="inline")

    async def file(_: Request) -> Response:
        return FileResponse(folder / "x.zst", decode=True, max_output="1MiB")

    site = app(folder, writable=False, max_body="1MiB")
    routes = [Route("/folder", download), Route("/member", member), Route("/file", file)]
    server = Starlette(routes=routes)
    server.mount("/site", site)
    asked = httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url="http://test")
    async with asked as client:
        assert (await client.get("/folder?gzip")).headers["content-type"] == "application/gzip"
        assert (await client.get("/member")).content == DATA
        assert (await client.get("/file")).content == DATA


def test_elsewhere() -> None:
    """Objects of servers and stores are sources and destinations like any other."""
    from aiocompress.remote import FsspecArchive, HttpArchive, S3Upload

    async def use() -> None:  # with a server; here nothing is asked for
        remote = HttpArchive("https://example.com/a.tar.zst")
        async with remote, aiocompress.open_archive(remote) as archive:
            assert_type(await archive.read("x"), bytes)
        async with aiocompress.open_archive(FsspecArchive("s3://bucket/a.tar.zst")) as archive:
            assert_type(archive.is_indexed, bool)
        await aiocompress.compress_file(DATA, "s3://bucket/x.zst", on_exists="replace")
        async with S3Upload("s3://bucket/x") as upload:
            await upload.write(DATA)
        await aiocompress.compress_folder("folder", S3Upload("s3://bucket/a.tar.zst"))

    assert inspect.iscoroutinefunction(use)
