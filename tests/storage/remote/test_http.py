"""Archives of a web server: how often it is asked, and what if it answers badly."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from aiocompress import (
    AiocompressError,
    Archive,
    ClosedError,
    CorruptError,
    Engine,
    FormatError,
    open_archive,
)
from aiocompress.remote import FsspecArchive, HttpArchive
from aiocompress.storage.remote import retries

from ...help import hostile
from ...help.archives import KIB, two_threads
from ...help.data import noise
from ...help.forks import Fork
from ...help.hostile import Member
from ...help.web import Fault, Site

MEMBERS = [Member(b"d/m%d" % number, data=noise(100 * KIB, number)) for number in range(12)]
INDEXED = hostile.indexed(MEMBERS, frame=256 * KIB)
FOREIGN = hostile.compressed(hostile.tar(MEMBERS))
SMALL = hostile.indexed(MEMBERS[:1])


async def _whole(archive: Archive) -> None:
    for member in MEMBERS:
        assert await archive.read(member.name.decode()) == member.data


async def test_an_archive_by_its_url() -> None:
    """The end tells size, table and index; then each frame is a request."""
    async with Site(INDEXED) as site, two_threads() as engine:
        async with engine.open_archive(site.url) as archive:
            assert archive.is_indexed
            assert archive.name == site.url
            assert site.taken() == 1
            assert await archive.read("d/m0") == MEMBERS[0].data
            assert site.taken() == 1
            assert await archive.read("d/m1") == MEMBERS[1].data
            assert site.taken() == 0
            await _whole(archive)
        assert all(headers["Accept-Encoding"] == "identity" for headers in site.headers)
        assert all(headers["If-Match"] == '"first"' for headers in site.headers[1:])


MANY = [Member(b"d%02d/file-%03d" % divmod(n, 500), data=b"%d" % n) for n in range(20_000)]


async def test_how_few_requests() -> None:
    """Of 20,000 members: the first one in 3 requests, a second in 1; the list in 3 at most."""
    frames = hostile.indexed(MANY, frame=1 << 20, in_block=8192)
    async with Site(frames) as site, two_threads() as engine:
        async with engine.open_archive(site.url) as archive:
            assert await archive.read("d20/file-007") == b"10007"
            assert site.taken() <= 3
            assert await archive.read("d39/file-007") == b"19507"
            assert site.taken() <= 1
        async with engine.open_archive(site.url) as archive:
            assert len([member async for member in archive.members()]) == len(MANY)
            assert site.taken() <= 3


async def test_forks() -> None:
    """A child asks over a connection of its own, and leaves its parent's alone."""
    async with (
        Site(INDEXED) as site,
        two_threads() as engine,
        engine.open_archive(site.url) as archive,
    ):
        assert await archive.read("d/m0") == MEMBERS[0].data

        async def read() -> bool:
            return await archive.read("d/m5") == MEMBERS[5].data

        child = await asyncio.to_thread(Fork, lambda: asyncio.run(read()))
        assert await asyncio.to_thread(child.result)
        await _whole(archive)


async def test_a_small_archive() -> None:
    """The first request brings all of it."""
    async with Site(SMALL) as site, open_archive(site.url) as archive:
        assert await archive.read("d/m0") == MEMBERS[0].data
        assert [member.name async for member in archive.members()] == ["d/m0"]
        assert site.taken() == 1


@pytest.mark.parametrize("data", [FOREIGN, hostile.tar(MEMBERS)], ids=["zst", "tar"])
async def test_archives_without_an_index(data: bytes, tmp_path: Path) -> None:
    """They are read from front to back, with few requests."""
    async with Site(data) as site, two_threads() as engine:
        async with engine.open_archive(site.url) as archive:
            await _whole(archive)
        await engine.decompress_folder(site.url, tmp_path / "out", fsync=False)
        assert (tmp_path / "out/d/m7").read_bytes() == MEMBERS[7].data
        site.taken()
        assert (await engine.test(site.url)).files == len(MEMBERS)
        assert site.taken() <= 4


async def test_several_members_at_once() -> None:
    """Several tasks, several requests: the waits add up only once."""
    names = [member.name.decode() for member in MEMBERS]
    async with Site(INDEXED) as site, Engine(4, executor="thread") as engine:
        site.latency = 0.05
        async with engine.open_archive(site.url) as archive:
            found = await asyncio.gather(*map(archive.read, names))
        assert list(found) == [member.data for member in MEMBERS]
        assert site.most_at_once >= 4


async def test_extracted_with_several_requests_at_once(tmp_path: Path) -> None:
    """The next frames are asked for while the first is on its way."""
    async with Site(INDEXED) as site, Engine(2, executor="thread") as engine:
        site.latency = 0.02
        async with engine.open_archive(site.url) as archive:
            await archive.extract(tmp_path / "out", fsync=False)
        assert site.most_at_once >= 3
        assert (tmp_path / "out/d/m11").read_bytes() == MEMBERS[11].data


async def test_streams_of_a_url() -> None:
    """Whatever takes a source takes a URL."""
    async with (
        Site(hostile.compressed(b"some text"), "a.zst") as site,
        two_threads() as engine,
        engine.decompress_stream(site.url) as stream,
    ):
        assert await stream.read() == b"some text"


async def test_cancelled(tmp_path: Path) -> None:
    """Whoever is cancelled leaves at once, and takes no connection along; others go on."""
    async with Site(INDEXED) as site, two_threads() as engine:
        async with engine.open_archive(site.url) as archive:
            site.latency = 60
            reads = [asyncio.create_task(archive.read(f"d/m{number}")) for number in range(4)]
            reads.append(asyncio.create_task(archive.extract(tmp_path / "out", fsync=False)))
            for _ in range(1 + 4):  # one has opened it
                await site.arrived.acquire()
            for read in reads:
                read.cancel()
            ended = await asyncio.wait_for(asyncio.gather(*reads, return_exceptions=True), 10)
            assert {type(error) for error in ended} == {asyncio.CancelledError}
            site.latency = 0
            await _whole(archive)
        assert engine.statistics().slots_in_use == 0
        assert not os.listdir(tmp_path)


async def test_closed_in_the_middle() -> None:
    """Reads that are under way end, and say that the archive was closed."""
    async with Site(INDEXED) as site, two_threads() as engine:
        async with engine.open_archive(site.url) as archive:
            await archive.read("d/m0")
            while not site.arrived.locked():
                await site.arrived.acquire()
            site.latency = 60
            reads = [asyncio.create_task(archive.read(f"d/m{number}")) for number in range(3, 8)]
            await site.arrived.acquire()
        ended = await asyncio.wait_for(asyncio.gather(*reads, return_exceptions=True), 10)
    assert {type(error) for error in ended} == {ClosedError}


# Again.

FAULTS: dict[str, Callable[[Site], Fault]] = {
    "500": lambda site: site.status(500),
    "502": lambda site: site.status(502),
    "503": lambda site: site.status(503),
    "504": lambda site: site.status(504),
    "429": lambda site: site.status(429, Retry_After="0"),
    "dropped": lambda site: site.drop,
    "cut in the middle": lambda site: site.cut,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_passes(fault: str) -> None:
    """The same request is made again: at the first request, and at one in the middle."""
    async with Site(INDEXED) as site, two_threads() as engine:
        site.faults = [FAULTS[fault](site)] * 2
        async with engine.open_archive(site.url) as archive:
            assert len(site.asked) == 3
            site.faults = [FAULTS[fault](site)] * 4
            await _whole(archive)
        assert not site.faults


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_does_not_pass(fault: str) -> None:
    """After five times it is an error that names the URL; nothing else goes wrong."""
    async with Site(INDEXED) as site, two_threads() as engine:
        site.faults = [FAULTS[fault](site)] * 99
        with pytest.raises(OSError, match=r"5 times: 'http://127") as caught:
            await engine.open_archive(site.url).__aenter__()
        assert caught.value.filename == site.url
        # aiohttp itself asks again where a connection that it had kept is cut.
        assert site.taken() in {retries.ATTEMPTS, 2 * retries.ATTEMPTS}
        pickle.loads(pickle.dumps(caught.value))
        site.faults = []
        async with engine.open_archive(site.url) as archive:
            site.faults = [FAULTS[fault](site)] * 99
            with pytest.raises(OSError, match="5 times"):
                await archive.read("d/m0")
            site.faults = []
            await _whole(archive)


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, PermissionError), (403, PermissionError), (404, FileNotFoundError), (418, OSError)],
)
async def test_what_is_refused(status: int, error: type[OSError]) -> None:
    """It is not asked for again."""
    async with Site(INDEXED) as site, two_threads() as engine:
        site.faults = [site.status(status)]
        with pytest.raises(error, match=f"the server answered {status}") as caught:
            await engine.open_archive(site.url).__aenter__()
        assert caught.value.filename == site.url
        assert site.taken() == 1


async def test_a_server_that_wants_to_be_left_alone() -> None:
    """Retry-After is obeyed, but nobody waits for an hour; it may be a date."""
    async with Site(INDEXED) as site, two_threads() as engine:
        for value in ("3600", "Sat, 28 Nov 2099 10:00:00 GMT", "0.5e9"):
            site.faults = [site.status(503, Retry_After=value)]
            with pytest.raises(OSError, match=r"503 .* wants \d+ s before it is asked again"):
                await engine.open_archive(site.url).__aenter__()
            assert site.taken() == 1
        for value in ("Sat, 28 Nov 1999 10:00:00 GMT", "0", "soon", "-1", "nan"):
            site.faults = [site.status(503, Retry_After=value)]
            async with engine.open_archive(site.url):
                assert site.taken() == 2


async def test_no_server(unused_tcp_port: int) -> None:
    """Nobody listens: an error with the errno that the system gave."""
    url = f"http://127.0.0.1:{unused_tcp_port}/a.tar.zst"
    async with two_threads() as engine:
        with pytest.raises(ConnectionRefusedError, match="no connection") as caught:
            await engine.open_archive(url).__aenter__()
        assert caught.value.filename == url


async def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout is an error like any other."""
    from aiocompress.storage.remote import http

    monkeypatch.setattr(http, "READ_SECONDS", 0.02)
    async with Site(INDEXED) as site, two_threads() as engine:
        site.latency = 0.5
        with pytest.raises(TimeoutError, match="does not answer, 5 times"):
            await engine.open_archive(site.url).__aenter__()


# Another file.


@pytest.mark.parametrize("told", ["ETag", "weak ETag", "Last-Modified", "size"])
async def test_a_file_that_is_replaced(told: str) -> None:
    """By ETag, by the time of its last change, by its size: an error that says so."""
    async with Site(INDEXED) as site, two_threads() as engine:
        site.tag = {"ETag": '"first"', "weak ETag": 'W/"first"'}.get(told)
        site.modified = site.modified if told == "Last-Modified" else None
        async with engine.open_archive(site.url) as archive:
            assert await archive.read("d/m0") == MEMBERS[0].data
            site.tag = site.tag and site.tag.replace("first", "second")
            site.modified = site.modified and site.modified.replace("2026", "2027")
            site.data = INDEXED + b"\0" if told == "size" else INDEXED
            site.taken()
            with pytest.raises(CorruptError, match="the object was replaced") as caught:
                await archive.read("d/m5")
            assert caught.value.file == site.url
            assert caught.value.hint
            assert site.taken() == 1


async def test_a_file_that_becomes_shorter() -> None:
    """The server answers 416: the file was replaced."""
    async with Site(INDEXED) as site, two_threads() as engine:
        site.tag = site.modified = None
        async with engine.open_archive(site.url) as archive:
            site.data = INDEXED[:10]
            with pytest.raises(CorruptError, match="replaced"):
                await archive.read("d/m5")


async def test_a_file_that_vanishes(tmp_path: Path) -> None:
    """In the middle of an extraction: an error that names the URL, and no folder."""
    async with Site(INDEXED) as site, two_threads() as engine:
        async with engine.open_archive(site.url) as archive:
            site.faults = [site.status(404)] * 9
            with pytest.raises(FileNotFoundError) as caught:
                await archive.extract(tmp_path / "out", fsync=False)
            assert caught.value.filename == site.url
        assert not os.listdir(tmp_path)


async def test_an_empty_file() -> None:
    """416, and of nothing: that is an empty file, and no archive."""
    async with Site(b"") as site, two_threads() as engine:
        with pytest.raises(AiocompressError, match="empty"):
            await engine.open_archive(site.url).__aenter__()


# Servers without ranges.


async def test_a_server_without_ranges() -> None:
    """A small file comes whole; of a large one not a byte more is taken than needed to see."""
    async with Site(SMALL) as site, open_archive(site.url) as archive:
        site.has_ranges = False
        assert await archive.read("d/m0") == MEMBERS[0].data
    async with Site(bytes(8 << 20)) as site, two_threads() as engine:
        site.has_ranges = False
        with pytest.raises(OSError, match="sends no parts of a file"):
            await engine.open_archive(site.url).__aenter__()
        assert site.taken() == 2


async def test_a_server_without_suffixes() -> None:
    """It is asked for the same bytes, counted from the front."""
    async with Site(INDEXED) as site, two_threads() as engine:
        site.has_suffixes = False
        async with engine.open_archive(site.url) as archive:
            assert site.taken() == 2
            await _whole(archive)


def _of_others(change: Callable[[dict[str, str]], object]) -> Callable[[Site], Fault]:
    def fault(site: Site) -> Fault:
        async def answer(request: object) -> object:
            response = await site.answer(request)  # type: ignore[arg-type]
            change(response.headers)  # type: ignore[arg-type]
            return response

        return answer  # type: ignore[return-value]

    return fault


@pytest.mark.parametrize(
    "span",
    ["bytes 0-9/1000", "bytes 9-0/10", "bytes 0-1/*", "lines 1-2/3", "", f"bytes 0-{9**40}/1"],
)
async def test_ranges_that_are_none(span: str) -> None:
    """A range that was not asked for is an error, and not damage of the archive."""
    fault = _of_others(lambda headers: headers.update({"Content-Range": span}))
    async with Site(INDEXED) as site, two_threads() as engine:
        site.faults = [fault(site)]
        with pytest.raises(OSError, match=r"other bytes|how long"):
            await engine.open_archive(site.url).__aenter__()
        async with engine.open_archive(site.url) as archive:
            site.faults = [fault(site)]
            with pytest.raises((OSError, CorruptError), match=r"other bytes|replaced"):
                await archive.read("d/m0")


# Secrets.

SECRETS = ("hunter2", "alice", "X-Amz-Signature", "0badcafe")


def _check_no_secret(error: BaseException) -> None:
    seen: BaseException | None = error
    while seen is not None:
        for secret in SECRETS:
            assert secret not in str(seen)
            assert secret not in repr(seen)
        seen = seen.__cause__ if seen.__suppress_context__ or seen.__cause__ else seen.__context__


@pytest.mark.parametrize("fault", [*FAULTS, "403", "418", "no range", "no archive"])
async def test_errors_tell_no_secret(fault: str) -> None:
    """Neither password nor signed query, whatever goes wrong, in no error of the chain."""
    async with Site(INDEXED) as site, two_threads() as engine:
        url = site.url.replace("//", "//alice:hunter2@") + "?X-Amz-Signature=0badcafe#0badcafe"
        if fault in FAULTS:
            site.faults = [FAULTS[fault](site)] * 99
        elif fault == "no range":
            site.has_ranges = False
        elif fault == "no archive":
            site.data = b"no archive at all"
        else:
            site.faults = [site.status(int(fault))]
        with pytest.raises((OSError, AiocompressError)) as caught:
            await engine.open_archive(url).__aenter__()
        assert site.url in str(caught.value)
        _check_no_secret(caught.value)
        assert "Basic" in site.headers[0]["Authorization"]


@pytest.mark.parametrize("url", ["http://alice:hunter2@[/x", "http://alice:hunter2@:x/x"])
async def test_urls_that_are_none(url: str) -> None:
    """An error of the same kind, which tells no secret either."""
    async with two_threads() as engine:
        with pytest.raises(OSError) as caught:  # noqa: PT011 - which one depends on the URL
            await engine.open_archive(url).__aenter__()
        _check_no_secret(caught.value)


# Objects of one's own.


async def test_options() -> None:
    """Headers and an object that is shared: it is the caller's to close, and may be used again."""
    async with (
        Site(INDEXED) as site,
        two_threads() as engine,
        HttpArchive(site.url, headers={"Authorization": "Bearer x"}) as source,
    ):
        for _ in range(2):
            async with engine.open_archive(source) as archive:
                assert await archive.read("d/m0") == MEMBERS[0].data
        assert {headers["Authorization"] for headers in site.headers} == {"Bearer x"}
        assert len(site.asked) == 3


async def test_other_stores() -> None:
    """Any file system of fsspec, by its URL or as it is: here one in memory, in threads."""
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe_file("/store/a.tar.zst", INDEXED)
    async with two_threads() as engine:
        for source in (
            "memory://store/a.tar.zst",
            FsspecArchive("memory://store/a.tar.zst"),
            FsspecArchive("/store/a.tar.zst", memory),
        ):
            async with engine.open_archive(source) as archive:
                await _whole(archive)
        async with engine.open_archive("memory://store/a.tar.zst") as archive:
            memory.pipe_file("/store/a.tar.zst", INDEXED[:10])
            with pytest.raises(CorruptError, match="replaced"):
                await archive.read("d/m5")
        memory.rm("/store/a.tar.zst")
        with pytest.raises(FileNotFoundError, match=r"memory://store/a\.tar\.zst"):
            await engine.open_archive("memory://store/a.tar.zst").__aenter__()
    with pytest.raises(ValueError, match="nosuch://x"):
        FsspecArchive("nosuch://x")
    with pytest.raises(TypeError, match="storage_options"):
        FsspecArchive("x", memory, key="y")
    with pytest.raises(TypeError, match="must be text"):
        HttpArchive(b"http://x")  # type: ignore[arg-type]


async def test_other_stores_in_the_loop() -> None:
    """An asynchronous file system works in the running loop, and its session is closed."""
    async with (
        Site(INDEXED) as site,
        two_threads() as engine,
        FsspecArchive(site.url) as source,
        engine.open_archive(source) as archive,
    ):
        await _whole(archive)
        site.faults = [site.status(404)]
        with pytest.raises(FileNotFoundError, match="no such object"):
            await source.read_at(0, 10)


async def test_no_archive_there() -> None:
    """The format of what is there is named, with its URL."""
    async with Site(b"PK\3\4" + bytes(100)) as site, two_threads() as engine:
        with pytest.raises(FormatError, match=r"127\.0\.0\.1.*zip"):
            await engine.open_archive(site.url).__aenter__()
