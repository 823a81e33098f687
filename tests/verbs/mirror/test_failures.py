"""Mirrored trees where something goes wrong: it is told, and nothing is left half done."""

# They look at files:
# ruff: noqa: ASYNC240

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import zstandard

from aiocompress import CorruptError, FormatError, LimitError, Report
from aiocompress.model import MIB
from aiocompress.storage.reach import Reach
from aiocompress.verbs.mirror import batch as mirrors
from aiocompress.verbs.mirror import mirror as mirroring
from aiocompress.verbs.mirror import walk as twins
from aiocompress.verbs.options import Bounds, make_recipe, make_writing
from aiocompress.workers.pool import WorkerPool

from ...help.data import noise, text
from ...help.mirrors import (
    CHUNK,
    KIB,
    SMALL,
    compress,
    decompress,
    fill,
    look,
    temporaries,
)
from ...help.tools import run, tool

# What cannot be read.


async def test_special_files(source: Path, out: Path) -> None:
    """Pipes and sockets are named, and never opened."""
    fill(source, {"a": b"1"})
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "socket"))
        report = await compress(source, out)
    assert [line.partition(": ")[2] for line in report.skipped] == [
        "is a named pipe, and not opened",
        "is a socket, and not opened",
    ]
    assert {path.name for path in out.iterdir()} == {"a.zst"}


@pytest.mark.parametrize("executor", ["thread", "process"])
async def test_vanished(
    executor: str, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that goes before it is read is an error that names it, or is skipped."""
    fill(source, {f"{n}": b"1" for n in range(300)})
    gone = source / "7"

    def batches(self: twins.Twins) -> list[mirrors.Files]:
        files = original(self)
        gone.unlink(missing_ok=True)
        return files

    original = twins.Twins.batches
    monkeypatch.setattr(twins.Twins, "batches", batches)
    with pytest.raises(FileNotFoundError) as caught:
        await compress(source, out, executor=executor)
    assert caught.value.filename == str(gone)
    assert not out.exists()
    gone.write_bytes(b"again")
    report = await compress(source, out, executor=executor, on_error="skip")
    assert report.skipped == (f"{gone}: {os.strerror(errno.ENOENT)}",)
    assert report.files == 299


async def test_unreadable(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or folder that may not be opened is named."""
    fill(source, {"a": b"1", "b": b"2", "sub/c": b"3"})
    opened = os.open

    def refuse(path: Any, *args: Any, **options: Any) -> int:
        if os.fsdecode(path) in {"b", "sub"} and args[0] & os.O_CREAT == 0:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    report = await compress(source, out, on_error="skip")
    assert sorted(report.skipped) == [
        f"{source}/{name}: Permission denied" for name in ("b", "sub")
    ]
    assert {path.name for path in out.iterdir()} == {"a.zst"}
    with pytest.raises(PermissionError, match="sub"):
        await compress(source, Path(f"{out}2"))


async def test_changing(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that grows while it is read is whole as far as it was read, and told."""
    fill(source, {"a": SMALL, "b": b"2"})
    read = os.read

    def grow(descriptor: int, size: int) -> bytes:
        if size == len(SMALL) + 1:
            with open(source / "a", "ab") as file:
                file.write(b"more")
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", grow)
    ftruncate = os.ftruncate

    def shrink(descriptor: int, size: int) -> None:
        """Shrink what has grown, as soon as all of it has gone through the pipeline."""
        ftruncate(descriptor, size)
        if (source / "a").stat().st_size > len(SMALL):
            os.truncate(source / "a", 3)

    monkeypatch.setattr(os, "ftruncate", shrink)
    report = await compress(source, out)
    assert run(tool("zstd"), "-dcq", out / "a.zst") == SMALL + b"more"
    assert report.changed == 1
    assert "changed while it was read" in report.warnings[0]


async def test_long_name(source: Path, out: Path) -> None:
    """A name that is too long with its suffix cannot be there."""
    fill(source, {"n" * 253: b"1", "a": b"2"})
    with pytest.raises(OSError, match="name too long"):
        await compress(source, out)
    report = await compress(source, out, on_error="skip")
    assert report.skipped_count == report.files == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "garbage", "empty"])
async def test_damaged(damage: str, source: Path, out: Path, tmp_path: Path) -> None:
    """A damaged file is an error that names it, or is skipped, and the others come back."""
    fill(source, {"a": SMALL, "b": text(300 * KIB)})
    await compress(source, out)
    path = out / "b.zst"
    data = bytearray(path.read_bytes())
    path.write_bytes(
        {
            "cut": data[: len(data) // 2],
            "flipped": data[:1000] + bytes([data[1000] ^ 1]) + data[1001:],
            "garbage": data + b"garbage",
            "empty": bytearray(),
        }[damage]
    )
    with pytest.raises(CorruptError) as caught:
        await decompress(out, tmp_path / "back")
    assert caught.value.file == str(path)
    assert not (tmp_path / "back").exists()
    report = await decompress(out, tmp_path / "back", on_error="skip")
    assert (tmp_path / "back/a").read_bytes() == SMALL
    assert not (tmp_path / "back/b").exists()
    assert report.skipped[0].startswith(str(path))
    assert report.skipped_count == report.damaged == 1


async def test_unknown_suffix(source: Path, out: Path) -> None:
    """A file that is not compressed by its name is an error that names it, or skipped."""
    fill(source, {"a.zst": run(tool("zstd"), "-qc", data=b"1"), "notes.txt": b"2", ".zst": b"3"})
    with pytest.raises(FormatError, match=r"\.zst: unknown suffix"):
        await decompress(source, out)
    report = await decompress(source, out, on_error="skip")
    assert report.skipped_count == 2
    assert {path.name for path in out.iterdir()} == {"a"}


async def test_not_compressed(source: Path, out: Path) -> None:
    """A file that is not compressed by its content is too."""
    fill(source, {"a.zst": b"plain text"})
    with pytest.raises(FormatError, match=r"a\.zst: not a zstd"):
        await decompress(source, out)


# Limits.


async def test_bomb(source: Path, out: Path, tmp_path: Path) -> None:
    """A small file that becomes a large one goes through the pipeline; the limit is of all."""
    (source / "zeros").write_bytes(b"")
    os.truncate(source / "zeros", 40 * MIB)
    fill(source, {"a": SMALL})
    await compress(source, out, chunk_size=None)
    assert (out / "zeros.zst").stat().st_size < 10 * KIB
    report = await decompress(out, tmp_path / "back")
    assert report.raw_bytes == 40 * MIB + len(SMALL)
    total = 40 * MIB + len(SMALL)
    await decompress(out, tmp_path / "exact", max_output=total)
    for limit in (1, len(SMALL), total - 1):
        with pytest.raises(LimitError, match=f"larger than the {limit} bytes"):
            await decompress(out, tmp_path / "limited", max_output=limit, on_error="skip")
        assert not (tmp_path / "limited").exists()


async def test_bounds(source: Path, out: Path, tmp_path: Path) -> None:
    """Too many files end it all; one that is too large is left out where that is wanted."""
    (source / "zeros").write_bytes(b"")
    os.truncate(source / "zeros", 20 * MIB)
    fill(source, {"a": SMALL, "b/c": b"c"})
    await compress(source, out, chunk_size=None)
    with pytest.raises(LimitError, match="more than the 2 members"):
        await decompress(out, tmp_path / "back", bounds=Bounds(2), on_error="skip")
    for most in (len(SMALL) - 1, 20 * MIB - 1):
        with pytest.raises(LimitError, match=f"larger than the {most} bytes allowed for a member"):
            await decompress(out, tmp_path / "back", bounds=Bounds(None, most))
    assert not (tmp_path / "back").exists()
    report = await decompress(out, tmp_path / "back", bounds=Bounds(3, len(SMALL)), on_error="skip")
    assert (report.files, report.damaged) == (2, 1)
    assert report.skipped[0].startswith(str(out / "zeros.zst"))
    assert sorted(os.listdir(tmp_path / "back")) == ["a", "b"]
    await decompress(out, tmp_path / "whole", bounds=Bounds(3, 20 * MIB))
    assert look(tmp_path / "whole") == look(source)


@pytest.mark.parametrize("fails", range(8))
async def test_no_descriptors_while_files_wait_for_their_names(
    fails: int, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file gets its name in its own folder, whatever was open before."""
    fill(source, {f"{folder}/{name}": name.encode() for folder in "abcd" for name in ("1", "2")})
    await compress(source, out, chunk_size=None)
    shutil.rmtree(out / "c")
    original, nameless = os.open, 0

    def refuse(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        nonlocal nameless
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            nameless += 1
            if nameless - 1 in {fails, fails + 1}:
                raise OSError(errno.EMFILE, "Too many open files")
        return original(path, flags, *arguments, **options)

    pool = WorkerPool(1, None, "thread")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refuse)
            await mirroring.compress_tree(
                pool,
                str(source),
                str(out),
                make_recipe("zstd", 3, None),
                make_writing("replace", True, False),  # noqa: FBT003
            )
    finally:
        await pool.aclose()
    names = {f"{folder}/{name}.zst" for folder in "abcd" for name in ("1", "2")}
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == names
    for name in names:
        assert zstandard.decompress((out / name).read_bytes()) == name[2:3].encode()


# Interrupted.


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("executor", ["thread", "process"])
async def test_cancelled(executor: Any, in_place: bool, source: Path, out: Path) -> None:  # noqa: FBT001
    """At any moment: no temporary, no open descriptor, and no hidden folder is left."""
    fill(source, {f"{n % 9}/{n}": noise(3 * KIB) for n in range(400)} | {"large": noise(6 * MIB)})
    if in_place:
        out.mkdir()
    pool = WorkerPool(2, None, executor)
    try:
        recipe = make_recipe("zstd", None, CHUNK)
        writing = make_writing("skip" if in_place else "error", False, False)  # noqa: FBT003
        # The first run starts what stays: workers, threads, the arena.
        await mirroring.compress_tree(pool, str(source), f"{out}0", recipe, writing)
        before = len(os.listdir("/proc/self/fd"))
        for delay in (0, 1, 2, 4, 8, 16, 32):
            task = asyncio.ensure_future(
                mirroring.compress_tree(pool, str(source), str(out), recipe, writing)
            )
            await asyncio.sleep(delay / 1000)
            task.cancel()
            if isinstance((await asyncio.gather(task, return_exceptions=True))[0], Report):
                break
            assert len(os.listdir("/proc/self/fd")) <= before
            assert not temporaries(out.parent)
            assert in_place or not out.exists()
        if in_place:
            await mirroring.compress_tree(pool, str(source), str(out), recipe, writing)
            assert look(out, times=False) == look(Path(f"{out}0"), times=False)
    finally:
        await pool.aclose()


def test_worker_dies(source: Path, out: Path) -> None:
    """A batch whose worker died is done again, also what was done of it before."""
    fill(source, {f"{n}": b"%d" % n for n in range(5)})
    begun = bytearray(mirrors.pack([b"%d" % n for n in range(5)]))
    out.mkdir()
    folders = [os.open(path, os.O_RDONLY) for path in (source, out)]
    roots = mirrors.Roots(*(Reach.of(one, by_path=True) for one in folders), None)
    for folder in folders:
        os.close(folder)
    for _ in range(2):
        result = mirrors.compress(
            (memoryview(begun), memoryview(b"")), roots, MIB, "zstd", 3, CHUNK
        )
        assert result.data is not None
        assert mirrors.Outcome.unpack(result.data).letters == bytes([mirrors.DONE]) * 5
    begun[0] = 0
    result = mirrors.compress((memoryview(begun), memoryview(b"")), roots, MIB, "zstd", 3, CHUNK)
    assert result.data is not None
    assert mirrors.Outcome.unpack(result.data).letters == bytes([mirrors.LEFT]) * 5


@pytest.mark.parametrize("on_exists", ["error", "skip", "replace"])
async def test_workers_killed(on_exists: str, source: Path, out: Path) -> None:
    """A worker killed in the middle costs nothing but time."""
    fill(source, {f"{n % 9}/{n}": noise(40 * KIB) for n in range(300)})
    if on_exists != "error":
        out.mkdir()
    pool = WorkerPool(2, None, "process")
    try:
        recipe = make_recipe("gzip", 12, CHUNK)
        writing = make_writing(on_exists, False, False)  # type: ignore[arg-type]  # noqa: FBT003
        task = asyncio.ensure_future(
            mirroring.compress_tree(pool, str(source), str(out), recipe, writing)
        )
        while len(list(out.parent.rglob("*.gz"))) < 20:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        assert pool._workers is not None
        os.kill(pool._workers._context.started[0].pid, signal.SIGKILL)  # type: ignore[arg-type]
        await task
    finally:
        await pool.aclose()
    assert len(list(out.rglob("*.gz"))) == 300
    assert not temporaries(out.parent)
    await decompress(out, Path(f"{out}2"))
    found = {name: about[2] for name, about in look(Path(f"{out}2")).items()}
    assert found == {name: about[2] for name, about in look(source).items()}


async def test_roots_out_of_reach(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch whose worker cannot open the trees is done here."""
    fill(source, {f"{n}": b"%d" % n for n in range(300)})
    opened, refused = Reach.open, 0

    def refuse(reach: Reach, *args: int) -> int:
        nonlocal refused
        if refused < 2:
            refused += 1
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return opened(reach, *args)

    monkeypatch.setattr(Reach, "open", refuse)
    report = await compress(source, out)
    assert report.files == 300
    assert refused == 2


async def test_full_disk(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the destination is never skipped, and names the file there."""
    fill(source, {"a": SMALL})

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "writev", full)
    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(OSError, match="No space left") as caught:
        await compress(source, out, on_error="skip")
    assert caught.value.filename == f"{out}/a.zst"
    assert not out.exists()
    assert not temporaries(out.parent)
