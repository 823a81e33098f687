"""Mirrored trees, made and looked at."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from aiocompress import Report
from aiocompress.verbs.mirror import batch as mirrors
from aiocompress.verbs.mirror import mirror as mirroring
from aiocompress.verbs.options import make_reading, make_recipe, make_writing
from aiocompress.workers.pool import WorkerPool

from .data import noise, text

KIB = 1 << 10
CHUNK = 32 * KIB
TIME = 10**18 + 987_654_321
SMALL = text(5 * KIB)


async def compress(
    source: Path,
    out: Path,
    *,
    codec: str = "zstd",
    chunk_size: int | None = CHUNK,
    workers: int = 2,
    executor: Any = "thread",
    on_exists: Any = "error",
    progress: Any = False,
    **options: Any,
) -> Report:
    """Compress a tree with a pool of its own."""
    pool = WorkerPool(workers, None, executor)
    try:
        return await mirroring.compress_tree(
            pool,
            str(source),
            str(out),
            make_recipe(codec, None, chunk_size),
            make_writing(on_exists, False, progress),  # noqa: FBT003
            **options,
        )
    finally:
        await pool.aclose()


async def decompress(
    source: Path,
    out: Path,
    *,
    workers: int = 2,
    executor: Any = "thread",
    on_exists: Any = "error",
    max_output: int | None = None,
    **options: Any,
) -> Report:
    """Decompress a tree with a pool of its own."""
    pool = WorkerPool(workers, None, executor)
    try:
        return await mirroring.decompress_tree(
            pool,
            str(source),
            str(out),
            make_reading(max_output, "128MiB"),
            make_writing(on_exists, False, False),  # noqa: FBT003
            **options,
        )
    finally:
        await pool.aclose()


def look(root: Path, *, times: bool = True) -> dict[bytes, tuple[Any, ...]]:
    """Return all that is in a tree: kind and mode, time, and content."""
    found = {}
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        for path in [folder, *(os.path.join(folder, name) for name in folders + files)]:
            status = os.lstat(path)
            content: Any = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = file.read()
            found[path[len(top) :]] = (status.st_mode, times and status.st_mtime_ns, content)
    return found


def settle_times(root: Path) -> None:
    """Give all in a tree times of their own, to the nanosecond, folders included."""
    number = 0
    for folder, folders, files in os.walk(os.fsencode(root), topdown=False):
        for name in [*files, *folders, b"."]:
            number += 1
            path = os.path.join(folder, name)
            os.utime(path, ns=(TIME, TIME + number * 10**9 + number), follow_symlinks=False)


def fill(root: Path, files: dict[str, bytes]) -> None:
    """Make files, and the folders they are in."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def mixed(root: Path) -> None:
    """Make a tree with one of everything."""
    fill(
        root,
        {
            "empty": b"",
            "a/b/c/deep": SMALL,
            "a/exact": text(CHUNK),
            "a/one more": text(CHUNK + 1),
            "a/several": text(5 * CHUNK + 7),
            "large": text(mirrors.SMALL + 3 * KIB),
            "x.zst": noise(99),
            "x.zst.gz": b"gz",
            "line\nbreak \\ \x1b[31m": b"newline",
            "ünï": b"unicode",
        },
    )
    os.close(os.open(os.fsencode(root) + b"/\xff\xfe raw", os.O_CREAT | os.O_WRONLY))
    (root / "void/void").mkdir(parents=True)
    (root / "link").symlink_to("a/exact")
    (root / "a/loop").symlink_to("../a")
    (root / "nowhere").symlink_to("/does/not/exist")
    os.link(root / "a/exact", root / "hard")
    for name, mode in (("a/exact", 0o400), ("a/several", 0o755), ("empty", 0o600), ("a/b", 0o500)):
        (root / name).chmod(mode)
    if os.geteuid() == 0:
        (root / "large").chmod(0)
    (root / "void").chmod(0o750)
    settle_times(root)


def temporaries(root: Path) -> list[Path]:
    """Return what a run has left behind."""
    return list(root.rglob(".aiocompress-*"))
