"""Workers that see the same files, as a cluster's do: names, offsets and frames travel."""

from __future__ import annotations

import os
import pwd
import tarfile
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from aiocompress import Engine, WorkerError

from ..help.archives import KIB, MIB, two_threads
from ..help.clusters import Watched
from ..help.data import noise, text
from ..help.files import pzstd_of
from ..help.mirrors import fill, look, temporaries

CHUNK = 256 * KIB
SMALL = {f"{n % 7}/{n}": text(900 + n, n) for n in range(260)}
PIECES = [text(2 * MIB, n) for n in range(4)] + [noise(999)]
LARGE = {"large": noise(5 * CHUNK + 1), "0/large": text(3 * CHUNK, 1)}


def _with_other_names() -> None:
    """In a worker: its machine has other users."""
    pwd.getpwuid = lambda uid: pwd.struct_passwd(("other", "x", uid, 0, "", "", ""))  # type: ignore[assignment]


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    context = get_context("spawn")
    with ProcessPoolExecutor(2, context, initializer=_with_other_names) as executor:
        yield executor


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    fill(tree, SMALL | LARGE)
    os.link(tree / "large", tree / "1" / "hard")
    (tree / "soft").symlink_to("large")
    return tree


async def everything(engine: Engine, tree: Path, out: Path) -> None:
    """Do what verbs do with files and folders."""
    os.mkdir(out)
    how = {"chunk_size": CHUNK, "fsync": False}
    await engine.compress_folder(tree, out / "a.tar.zst", **how)
    await engine.decompress_folder(out / "a.tar.zst", out / "a", fsync=False)
    async with engine.open_archive(out / "a.tar.zst") as archive:
        differences = [one async for one in archive.diff(tree)]
    assert [(one.name, one.what) for one in differences] == []
    await engine.compress_folder(tree, out / "mirror", **how)
    await engine.decompress_folder(out / "mirror", out / "back", fsync=False)
    await engine.decompress_folder(out / "mirror", out / "back", on_exists="replace", fsync=False)
    await engine.compress_file(out / "a.tar.zst", out / "twice.zst", **how)
    await engine.decompress_file(out / "twice.zst", out / "once", fsync=False)
    (out / "pzstd.zst").write_bytes(pzstd_of(*PIECES))
    await engine.decompress_file(out / "pzstd.zst", out / "pzstd", fsync=False)
    assert (out / "pzstd").read_bytes() == b"".join(PIECES)
    with tarfile.open(out / "x.tar", "w") as tar:
        tar.add(tree, "d")
    await engine.compress_file(out / "x.tar", out / "x.tar.zst", **how)
    async with engine.open_archive(out / "x.tar.zst") as archive:
        assert archive.is_indexed
    await engine.compress_file(tree / "large", out / "large.gz", **how)
    await engine.decompress_file(out / "large.gz", out / "large", fsync=False)


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "not"])
async def test_the_same_as_here(
    *, shared: bool, tree: Path, tmp_path: Path, processes: ProcessPoolExecutor
) -> None:
    """Whoever reads and writes: every file and folder is the same, and no temporary stays."""
    async with two_threads() as engine:
        await everything(engine, tree, tmp_path / "here")
    async with Engine(2, executor=processes, files_shared=shared) as engine:
        await everything(engine, tree, tmp_path / "there")
    here, there = look(tmp_path / "here", times=False), look(tmp_path / "there", times=False)
    assert here == there
    assert look(tmp_path / "there" / "a" / "1") == look(tmp_path / "there" / "back" / "1")
    assert look(tmp_path / "there" / "a" / "1") == look(tree / "1")
    assert not temporaries(tmp_path)


async def test_what_travels(tree: Path, tmp_path: Path, processes: ProcessPoolExecutor) -> None:
    """Raw bytes stay with the workers: those of files, small or large, out and back."""
    large, how = tree / "large", {"chunk_size": CHUNK, "fsync": False}
    compressed = tmp_path / "large.zst"
    executor = Watched(processes)
    async with Engine(2, executor=executor, files_shared=True) as engine:
        await engine.compress_file(large, compressed, **how)
        assert executor.sent < 16 * KIB
        assert executor.returned < compressed.stat().st_size + 16 * KIB
        executor.sent = executor.returned = 0
        await engine.decompress_file(compressed, tmp_path / "large", fsync=False)
        assert executor.sent < compressed.stat().st_size + 16 * KIB
        assert executor.returned < 16 * KIB
        executor.sent = executor.returned = 0
        await engine.compress_folder(tree, tmp_path / "mirror", **how)
        await engine.decompress_folder(tmp_path / "mirror", tmp_path / "back", fsync=False)
        # A frame of each of the two large files travels out, and one back.
        assert executor.sent < sum(map(len, LARGE.values())) + 64 * KIB
        assert executor.returned < sum(map(len, LARGE.values())) + 64 * KIB


async def test_something_else_under_a_path(tree: Path, tmp_path: Path) -> None:
    """A worker that meets another folder, or file, says so: nothing of it is read or written."""
    other = tmp_path / "other"
    fill(other, {"0/1": b"secret"})
    (other / "large").write_bytes(noise(6 * MIB))
    swapped = False

    def swap() -> None:
        nonlocal swapped
        if not swapped:
            swapped = True
            tree.rename(tmp_path / "moved")
            tree.symlink_to(other)

    with ThreadPoolExecutor(2) as threads:
        executor = Watched(threads)
        executor.before = swap
        async with Engine(2, executor=executor, files_shared=True) as engine:
            for work in (
                lambda: engine.compress_folder(tree, tmp_path / "a.tar.zst", CHUNK),
                lambda: engine.compress_folder(tree, tmp_path / "mirror", CHUNK),
                lambda: engine.compress_file(tree / "large", tmp_path / "large.zst", CHUNK),
            ):
                swapped = False
                with pytest.raises(
                    WorkerError, match="does not see a file as it is here"
                ) as caught:
                    await work()
                assert swapped
                assert "files_shared" in str(caught.value)
                os.unlink(tree)
                os.rename(tmp_path / "moved", tree)
    assert set(os.listdir(tmp_path)) == {"tree", "other"}


async def test_a_file_that_grows(tree: Path, tmp_path: Path) -> None:
    """What has come behind its end by the time it is reached is compressed, too."""
    large, more = tree / "large", noise(3 * CHUNK + 7, 1)
    grown = False

    def grow() -> None:
        nonlocal grown
        if not grown:
            grown = True
            with large.open("ab") as file:
                file.write(more)

    with ThreadPoolExecutor(2) as threads:
        executor = Watched(threads)
        executor.before = grow
        async with Engine(2, executor=executor, files_shared=True) as engine:
            await engine.compress_file(large, tmp_path / "large.zst", CHUNK)
            report = await engine.decompress_file(tmp_path / "large.zst", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == LARGE["large"] + more
    assert report.raw_bytes == len(LARGE["large"]) + len(more)


async def test_a_file_that_shrinks(tree: Path, tmp_path: Path) -> None:
    """What is not there any more is not made up."""
    large = tree / "large"
    with ThreadPoolExecutor(1) as threads:
        executor = Watched(threads)
        executor.before = lambda: os.truncate(large, 2 * CHUNK)
        async with Engine(1, executor=executor, files_shared=True) as engine:
            await engine.compress_file(large, tmp_path / "large.zst", CHUNK)
            await engine.decompress_file(tmp_path / "large.zst", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == LARGE["large"][: 2 * CHUNK]


@pytest.mark.parametrize("executor", ["process", "thread"])
def test_only_with_an_executor(executor: str) -> None:
    """The engine's own workers see all files anyway."""
    with pytest.raises(ValueError, match="files_shared is about an Executor of yours"):
        Engine(executor=executor, files_shared=True)  # type: ignore[arg-type]


async def test_extracted_again(tree: Path, tmp_path: Path) -> None:
    """A cluster does the job of a lost worker twice: in place where no name is there twice."""

    class Twice(ThreadPoolExecutor):
        def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
            before = set(tmp_path.glob(".aiocompress-*/*/*"))
            super().submit(function, *arguments, **options).result()
            for path in set(tmp_path.glob(".aiocompress-*/*/2*")) - before:
                path.write_bytes(b"half")
            again = super().submit(function, *arguments, **options)
            wait([again])
            return again

    sorted_one, doubled = tmp_path / "a.tar.zst", tmp_path / "b.tar.zst"
    async with two_threads() as engine:
        await engine.compress_folder(tree, sorted_one, CHUNK)
        with tarfile.open(tmp_path / "b.tar", "w") as tar:
            tar.add(tree, "d")
            tar.add(tree / "3/3", "d/2/2")
        await engine.compress_file(tmp_path / "b.tar", doubled, CHUNK)
    with Twice(1) as executor:
        async with Engine(1, executor=executor, files_shared=True) as engine:
            for path in (sorted_one, doubled):
                async with engine.open_archive(path) as archive:
                    assert archive.is_indexed
                    await archive.extract(tmp_path / path.name[0])
                    assert archive.is_indexed == (path == sorted_one)  # or it was given up
    assert look(tmp_path / "a", times=False) == look(tree, times=False)
    assert (tmp_path / "b/d/2/2").read_bytes() == SMALL["3/3"]
