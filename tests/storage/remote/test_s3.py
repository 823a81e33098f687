"""Archives in a real S3 server: how often it is asked, and what if it answers badly."""

from __future__ import annotations

import pytest

from aiocompress import Archive, CorruptError, open_archive
from aiocompress.remote import FsspecArchive
from aiocompress.storage.remote.retries import ATTEMPTS

from ...help import hostile
from ...help.archives import KIB, two_threads
from ...help.data import noise
from ...help.hostile import Member
from ...help.s3 import Proxy, Storage

MEMBERS = [Member(b"d/m%d" % number, data=noise(100 * KIB, number)) for number in range(12)]
INDEXED = hostile.indexed(MEMBERS, frame=256 * KIB)
URL = "s3://bucket/folder/a.tar.zst"


async def _whole(archive: Archive) -> None:
    for member in MEMBERS:
        assert await archive.read(member.name.decode()) == member.data


async def test_an_archive_by_its_url(storage: Storage, proxy: Proxy) -> None:
    """The end tells size, table and index; then each frame is a request."""
    storage.put("folder/a.tar.zst", INDEXED)
    async with two_threads() as engine, engine.open_archive(URL) as archive:
        assert archive.is_indexed
        assert archive.name == URL
        assert proxy.calls.total() == 1
        assert await archive.read("d/m0") == MEMBERS[0].data
        assert proxy.calls.total() == 2
        await _whole(archive)
    assert set(proxy.calls) == {"get"}


async def test_an_object_that_is_replaced(storage: Storage) -> None:
    """By its ETag: an error that says so; so does one that is gone."""
    storage.put("folder/a.tar.zst", INDEXED)
    async with two_threads() as engine, engine.open_archive(URL) as archive:
        assert await archive.read("d/m0") == MEMBERS[0].data
        storage.put("folder/a.tar.zst", INDEXED[::-1])
        with pytest.raises(CorruptError, match="replaced") as caught:
            await archive.read("d/m5")
        assert caught.value.file == URL
        storage.clear()
        with pytest.raises(FileNotFoundError) as gone:
            await archive.read("d/m5")
        assert gone.value.filename == URL


async def test_what_passes(storage: Storage, proxy: Proxy) -> None:
    """The same request is made again."""
    storage.put("folder/a.tar.zst", INDEXED)
    faults = [proxy.status(500, "InternalError"), proxy.status(503, "SlowDown"), proxy.drop]
    faults += [proxy.status(400, "RequestTimeout")]
    async with two_threads() as engine:
        proxy.faults = [("get", fault) for fault in faults]
        async with engine.open_archive(URL) as archive:
            proxy.faults = [("get", fault) for fault in [proxy.cut, *faults[:3]]]
            await _whole(archive)
        assert not proxy.faults


async def test_what_does_not_pass(storage: Storage, proxy: Proxy) -> None:
    """After five times it is an error that names the object, and no word of the server's."""
    storage.put("folder/a.tar.zst", INDEXED)
    for fault, text in ((proxy.status(503, "SlowDown"), "503 .*SlowDown"), (proxy.cut, "cut")):
        proxy.calls.clear()
        proxy.faults = [("get", fault)] * 99
        async with two_threads() as engine:
            with pytest.raises(OSError, match=f"{text}.*, 5 times: '{URL}'"):
                await engine.open_archive(URL).__aenter__()
        assert proxy.calls.total() == ATTEMPTS


async def test_what_is_refused(storage: Storage, proxy: Proxy) -> None:
    """It is asked for once, and the error says what is not there."""
    async with two_threads() as engine:
        with pytest.raises(FileNotFoundError, match=r"NoSuchKey.*bucket/nothing"):
            await engine.open_archive("s3://bucket/nothing").__aenter__()
        with pytest.raises(FileNotFoundError, match="NoSuchBucket"):
            await engine.open_archive("s3://nowhere/a").__aenter__()
        assert proxy.calls.total() == 2
        proxy.faults = [("get", proxy.status(403, "AccessDenied"))]
        with pytest.raises(PermissionError, match="AccessDenied") as caught:
            await engine.open_archive(URL).__aenter__()
        assert "hunter2" not in str(caught.value)
        with pytest.raises(OSError, match="no bucket or key"):
            await engine.open_archive("s3://Not A Bucket/a").__aenter__()
        storage.put("empty", b"")
        with pytest.raises(Exception, match="empty"):
            await engine.open_archive("s3://bucket/empty").__aenter__()


async def test_no_credentials(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that says what is missing."""
    del storage
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    async with two_threads() as engine:
        with pytest.raises(PermissionError, match="no credentials"):
            await engine.open_archive(URL).__aenter__()


async def test_options(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options of s3fs, and a file system of one's own, which stays open."""
    import s3fs

    monkeypatch.delenv("AWS_ENDPOINT_URL")
    storage.put("folder/a.tar.zst", INDEXED)
    async with (
        FsspecArchive(URL, **storage.options()) as source,
        open_archive(source) as archive,
    ):
        assert await archive.read("d/m0") == MEMBERS[0].data
    fs = s3fs.S3FileSystem(asynchronous=True, skip_instance_cache=True, **storage.options())
    client = await fs.set_session()
    async with FsspecArchive(URL, fs) as source, open_archive(source) as archive:
        assert await archive.read("d/m0") == MEMBERS[0].data
    assert await fs._exists(URL)
    await client.close()
