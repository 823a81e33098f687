"""Files: whole or not there, as their sources were, and nobody's older file touched in between."""

# They look at files, and wait for what has no event:
# ruff: noqa: ARG001, ASYNC240, FBT001, PT012

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import aiocompress
from aiocompress import (
    AiocompressError,
    CorruptError,
    Engine,
    FormatError,
    LimitError,
    TruncatedError,
    sync,
)

from ..help.containers import check_offset
from ..help.data import noise, text
from ..help.engines import given_back

KIB = 1 << 10
TEXT = text(200 * KIB)
CHUNK = 32 * KIB
WAYS = ["O_TMPFILE", "named temporary"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the file system knows O_TMPFILE, and where it does not."""
    if request.param == "named temporary":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    return str(request.param)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file to compress."""
    path = tmp_path / "source"
    path.write_bytes(TEXT)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder to write to."""
    path = tmp_path / "out"
    path.mkdir()
    return path


def _engine() -> Engine:
    return Engine(2, executor="thread")


# What the result takes after.


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444, 0o4755])
async def test_mode_and_times(mode: int, source: Path, out: Path, way: str) -> None:
    """Those of the source, both ways; never setuid."""
    source.chmod(mode)
    os.utime(source, ns=(10**18 + 1, 10**18 + 987_654_321))
    async with _engine() as engine:
        await engine.compress_file(source, out / "a.zst", CHUNK)
        await engine.decompress_file(out / "a.zst", out / "a")
    for path in (out / "a.zst", out / "a"):
        status = path.stat()
        assert stat.S_IMODE(status.st_mode) == mode & 0o777, way
        assert status.st_mtime_ns == 10**18 + 987_654_321
    assert (out / "a").read_bytes() == TEXT


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
async def test_the_umask_decides_otherwise(mask: int, out: Path, way: str) -> None:
    """A result of bytes or a pipe has no file to take after."""
    before = os.umask(mask)
    try:
        async with _engine() as engine:
            await engine.compress_file(TEXT, out / "a.zst")
    finally:
        os.umask(before)
    assert stat.S_IMODE((out / "a.zst").stat().st_mode) == 0o666 & ~mask, way


async def test_nobody_else_reads_what_is_being_written(out: Path, way: str) -> None:
    """0600 while written; without a name, or with one that is hidden."""
    modes = []

    async def source() -> AsyncIterator[bytes]:
        for start in range(0, len(TEXT), CHUNK):
            for name in os.listdir(out):
                assert name.startswith(".aiocompress-")
                modes.append(stat.S_IMODE((out / name).stat().st_mode))
            await asyncio.sleep(0.01)
            yield TEXT[start : start + CHUNK]

    before = os.umask(0)
    try:
        async with _engine() as engine:
            await engine.compress_file(source(), out / "a.zst", CHUNK)
    finally:
        os.umask(before)
    assert set(modes) == ({0o600} if way == "named temporary" else set())
    assert os.listdir(out) == ["a.zst"]


# Destinations that are not plain names.


async def test_a_link_as_destination(source: Path, out: Path, way: str) -> None:
    """The link stays one, and what it points to is replaced, wherever that is."""
    target, link, dangling = out / "target.zst", out / "link.zst", out / "dangling.zst"
    target.write_bytes(b"older")
    link.symlink_to("target.zst")
    dangling.symlink_to("new.zst")
    async with _engine() as engine:
        with pytest.raises(FileExistsError):
            await engine.compress_file(source, link)
        assert target.read_bytes() == b"older"
        await engine.compress_file(source, link, on_exists="replace")
        await engine.compress_file(source, dangling)
        assert link.is_symlink()
        assert dangling.is_symlink()
        assert await engine.decompress(target.read_bytes()) == TEXT
        assert await engine.decompress((out / "new.zst").read_bytes()) == TEXT, way


async def test_devices_and_pipes_as_destination(source: Path, tmp_path: Path) -> None:
    """They are written to as they are, and stay."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with _engine() as engine:
        report = await engine.compress_file(source, "/dev/null", codec="zstd")
        assert report.raw_bytes == len(TEXT)
        assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
        reading = asyncio.create_task(asyncio.to_thread(fifo.read_bytes))
        await engine.compress_file(source, fifo, codec="gzip")
        assert await engine.decompress(await reading) == TEXT
        assert stat.S_ISFIFO(fifo.stat().st_mode)


@pytest.mark.parametrize("how", ["itself", "hardlink", "symlink", "other spelling"])
async def test_the_same_file_is_refused(how: str, source: Path, tmp_path: Path) -> None:
    """Input equal to output is refused before anything is touched."""
    other = tmp_path / "other"
    if how == "hardlink":
        other.hardlink_to(source)
    elif how == "symlink":
        other.symlink_to(source)
    else:
        other = source if how == "itself" else tmp_path / ".." / tmp_path.name / "source"
    before = source.stat()
    async with _engine() as engine:
        for verb in (engine.compress_file, engine.decompress_file):
            for on_exists in ("error", "replace"):
                options: Any = {"on_exists": on_exists}
                if verb == engine.compress_file:
                    options["codec"] = "zstd"
                with pytest.raises(ValueError, match="same file"):
                    await verb(source, other, **options)
    assert source.read_bytes() == TEXT
    assert source.stat().st_mtime_ns == before.st_mtime_ns


# What is there already.


async def test_on_exists(source: Path, out: Path, way: str) -> None:
    """Error, skip and replace."""
    older = out / "a.zst"
    older.write_bytes(b"older")
    async with _engine() as engine:
        with pytest.raises(FileExistsError) as caught:
            await engine.compress_file(source, older)
        assert (caught.value.errno, caught.value.filename) == (errno.EEXIST, str(older))
        report = await engine.compress_file(source, older, on_exists="skip")
        assert report.skipped == (str(older),)
        assert older.read_bytes() == b"older"
        await engine.compress_file(source, older, on_exists="replace")
        assert await engine.decompress(older.read_bytes()) == TEXT
    assert os.listdir(out) == ["a.zst"], way


async def test_a_file_that_appears_meanwhile(out: Path, way: str) -> None:
    """Somebody else's new file is not replaced either."""
    path = out / "a.zst"

    async def source() -> AsyncIterator[bytes]:
        yield TEXT
        path.write_bytes(b"somebody else's")

    async with _engine() as engine:
        with pytest.raises(FileExistsError) as caught:
            await engine.compress_file(source(), path)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"somebody else's"
    assert os.listdir(out) == ["a.zst"], way


@pytest.mark.parametrize("fsync", [None, True, False])
async def test_fsync(
    fsync: bool | None, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file and its folder are synced unless that is switched off."""
    synced = []

    def spy(descriptor: int, real: Any = os.fsync) -> None:
        synced.append(stat.S_IFMT(os.fstat(descriptor).st_mode))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    async with _engine() as engine:
        await engine.compress_file(source, out / "a.zst", fsync=fsync)
    assert synced == ([] if fsync is False else [stat.S_IFREG, stat.S_IFDIR])


# Failures.


@pytest.mark.parametrize("fault", ["source", "write", "commit", "rename"])
async def test_an_older_file_survives(
    fault: str, source: Path, out: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever step fails, the older file is as it was and no temporary is left."""
    older = out / "a.zst"
    older.write_bytes(b"older")

    async def broken() -> AsyncIterator[bytes]:
        yield TEXT
        raise OSError(errno.EIO, "broken", "the source")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    name = {"write": "pwritev", "commit": "fsync", "rename": "rename"}.get(fault)
    if name is not None:
        monkeypatch.setattr(os, name, fail)
    async with _engine() as engine:
        with pytest.raises(OSError, match=r"broken|no space") as caught:
            given: Any = broken() if fault == "source" else source
            await engine.compress_file(given, older, CHUNK, on_exists="replace")
        assert caught.value.filename == ("the source" if fault == "source" else str(older)), way
        await given_back(engine)  # until their workers are done
    assert older.read_bytes() == b"older"
    assert os.listdir(out) == ["a.zst"]


@pytest.mark.parametrize(
    ("given", "destination", "error"),
    [
        ("missing", "a.zst", FileNotFoundError),
        ("source", "missing/a.zst", FileNotFoundError),
        ("source", "source/a.zst", NotADirectoryError),
        ("source", "out", IsADirectoryError),
        ("out", "a.zst", FormatError),
    ],
)
async def test_wrong_paths(
    given: str, destination: str, error: Any, source: Path, out: Path, tmp_path: Path
) -> None:
    """An OSError with the name that the caller gave; nothing is made."""
    async with _engine() as engine:
        with pytest.raises(error) as caught:
            await engine.compress_file(tmp_path / given, tmp_path / destination, codec="zstd")
    named = given if error is FormatError or given == "missing" else destination
    assert getattr(caught.value, "filename", None) == str(tmp_path / named) or (
        caught.value.file == str(tmp_path / named)
    )
    assert sorted(os.listdir(tmp_path)) == ["out", "source"]
    assert not os.listdir(out)


PACKED = {
    codec: b"".join(sync.compress_stream(TEXT, codec=codec, chunk_size=CHUNK))
    for codec in ("zstd", "gzip")
}


def _damaged(codec: str) -> list[tuple[str, bytes, type[AiocompressError]]]:
    data = PACKED[codec]
    cases: list[tuple[str, bytes, type[AiocompressError]]] = [
        ("empty", b"", TruncatedError),
        ("garbage", noise(5000), FormatError),
        ("raw", TEXT, FormatError),
        ("trailing", data + b"garbage", CorruptError),
    ]
    sizes = (5, 100, len(data) // 2, len(data) - 1)
    cases += [(f"first {size}", data[:size], CorruptError) for size in sizes]
    for at in (len(data) // 5, len(data) // 2):
        flipped = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        cases.append((f"flipped {at}", flipped, CorruptError))
    return cases


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
async def test_damaged_files(codec: str, out: Path, tmp_path: Path, way: str) -> None:
    """The documented error with file and offset, and nothing under the final name."""
    bad = tmp_path / "bad"
    async with _engine() as engine:
        for name, data, kind in _damaged(codec):
            bad.write_bytes(data)
            for call in (
                lambda: engine.decompress_file(bad, out / "a"),
                lambda: engine.test(bad),
            ):
                with pytest.raises(kind) as caught:
                    await call()
                assert caught.value.file == str(bad), name
                check_offset(caught.value, len(data))
                assert not os.listdir(out), (name, way)
            with pytest.raises(kind) as caught:
                await engine.decompress(data)
            assert caught.value.file is None
        await given_back(engine)


async def test_max_output_leaves_nothing(out: Path) -> None:
    """A limit that is reached is a failure like any other."""
    older = out / "a"
    older.write_bytes(b"older")
    async with _engine() as engine:
        with pytest.raises(LimitError):
            await engine.decompress_file(
                PACKED["zstd"], older, max_output=CHUNK, on_exists="replace"
            )
    assert older.read_bytes() == b"older"
    assert os.listdir(out) == ["a"]


async def test_a_source_that_changes_size(source: Path, out: Path) -> None:
    """What is read is what is there: a file that grows or shrinks ends up whole."""
    async with Engine(1, 3 * CHUNK, executor="thread") as engine:

        def change(size: int) -> Any:
            return lambda _: os.truncate(source, size)

        for size in (len(TEXT) // 2, len(TEXT) + 1000):
            source.write_bytes(TEXT)
            report = await engine.compress_file(
                source, out / "a.zst", CHUNK, progress=change(size), on_exists="replace"
            )
            data = await engine.decompress((out / "a.zst").read_bytes())
            assert len(data) == report.raw_bytes
            common = min(len(data), len(TEXT), size)
            assert data[:common] == TEXT[:common]


async def test_no_worker_writes_after_the_end(tmp_path: Path) -> None:
    """After an error, files opened with the numbers of those closed stay as they are."""
    raw = os.urandom(1 << 20) * 12
    async with aiocompress.Engine(2) as engine:
        source = tmp_path / "damaged.zst"
        packed = bytearray(
            b"".join([p async for p in engine.compress_stream(raw, chunk_size="1M")])
        )
        packed[100] ^= 1  # in the first frame: all others are under way when it is found
        source.write_bytes(packed)
        bystander = tmp_path / "bystander"
        bystander.write_bytes(b"mine")
        for _ in range(20):
            with pytest.raises(aiocompress.CorruptError):
                await engine.decompress_file(source, tmp_path / "out")
            opened = [os.open(bystander, os.O_RDONLY) for _ in range(20)]
            await asyncio.sleep(0.01)
            for descriptor in opened:
                os.close(descriptor)
            assert bystander.read_bytes() == b"mine"


async def test_an_executor_of_the_caller_is_told_of_no_files(tmp_path: Path) -> None:
    """It may run anywhere: it gets bytes, and returns bytes."""
    raw = os.urandom(1000) * 10_000
    (tmp_path / "raw").write_bytes(raw)
    with ThreadPoolExecutor(2) as executor:
        async with aiocompress.Engine(2, executor=executor) as engine:
            await engine.compress_file(tmp_path / "raw", tmp_path / "packed.zst", "1MiB")
            await engine.decompress_file(tmp_path / "packed.zst", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == raw


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
async def test_a_file_that_says_it_is_empty(tmp_path: Path) -> None:
    """Files of /proc say 0 bytes and have more: all of them come, in one chunk."""
    report = await aiocompress.compress_file("/proc/self/limits", tmp_path / "limits.zst")
    packed = (tmp_path / "limits.zst").read_bytes()
    assert report.frames == 1
    assert await aiocompress.decompress(packed) == Path("/proc/self/limits").read_bytes()
