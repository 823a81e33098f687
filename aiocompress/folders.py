"""Folders: packed into one archive or a tree of compressed files, and back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from . import files, framing, mirroring
from .archive import Archive
from .compression import Recipe
from .containers import framed
from .decompression import Reading
from .errors import FormatError
from .files import Writing
from .model import Layout, OnError, PathLike, ProgressOption, Report
from .sources import TreeSource
from .storage import call
from .trees.packing import Packing
from .trees.restoring import UNBOUNDED, Bounds
from .trees.walk import is_folder
from .workers.pool import WorkerPool

FolderSource: TypeAlias = PathLike | Sequence[PathLike]


async def compress_folder(
    pool: WorkerPool,
    source: FolderSource,
    destination: PathLike,
    layout: Layout,
    packing: Packing,
    recipe: Recipe,
    writing: Writing,
) -> Report:
    """Compress folders and files into an archive, a tree of files, or the framed container."""
    pool.check()
    packing = packing._replace(roots=await call(pool.files, roots_of, source))
    if layout == "archive":
        tree = TreeSource(packing)
        return await files.compress_file(pool, tree, destination, recipe, writing)
    if layout == "framed":
        return await framing.compress_tree(pool, packing, destination, recipe, writing)
    (path, name), *others = packing.roots
    if others or name:
        raise ValueError("a mirrored tree has one folder as its source")
    return await mirroring.compress_tree(
        pool,
        path,
        os.fspath(destination),
        recipe,
        writing,
        excluded=packing.excluded,
        on_error=packing.on_error,
    )


def roots_of(source: FolderSource) -> tuple[tuple[str, str], ...]:
    """Return what to pack, as (path, name in the archive).

    The members of a single folder stand there by themselves; several sources, and files, under
    their own names.

    :raises OSError: a source is not there.
    :raises ValueError: there is none, or two have the same name.
    """
    paths = [source] if isinstance(source, str | os.PathLike) else list(source)
    if not paths:
        raise ValueError("no source to compress")
    roots: dict[str, str] = {}
    for given in paths:
        path = os.fspath(given)
        os.lstat(path)
        if len(paths) == 1 and is_folder(path):
            return ((path, ""),)
        name = os.path.basename(os.path.abspath(path))
        if name in roots:
            msg = f"{roots[name]} and {path} would both be {name!r} in the archive"
            raise ValueError(msg)
        roots[name] = path
    return tuple((path, name) for name, path in roots.items())


class Unpacking(NamedTuple):
    """What is restored of an archive: which members, what beside content, errors, limits."""

    members: Iterable[str] | None = None
    on_error: OnError = "raise"
    preserve: bool = False
    bounds: Bounds = UNBOUNDED


async def decompress_folder(
    pool: WorkerPool,
    source: PathLike,
    destination: PathLike,
    unpacking: Unpacking,
    reading: Reading,
    writing: Writing,
) -> Report:
    """Undo ``compress_folder``, whatever the layout; the content says which."""
    pool.check()
    path = os.fspath(source)
    about = path, os.fspath(destination), reading, writing
    on_error, bounds = unpacking.on_error, unpacking.bounds
    if await call(pool.files, is_folder, path):
        _check_all(unpacking, "a mirrored tree")
        return await mirroring.decompress_tree(pool, *about, on_error=on_error, bounds=bounds)
    if framed.detect(await call(pool.files, _head, path)):
        _check_all(unpacking, "a framed container")
        return await framing.decompress_tree(pool, *about, on_error=on_error, bounds=bounds)
    async with Archive(pool, path, reading) as archive:
        return await archive.extract(
            destination,
            unpacking.members,
            on_exists=writing.on_exists,
            on_error=on_error,
            preserve=unpacking.preserve,
            max_output=reading.max_output,
            max_members=bounds.max_members,
            max_member_size=bounds.max_member_size,
            fsync=writing.fsync,
            progress=writing.progress,
        )


async def test_archive(
    pool: WorkerPool, source: PathLike, reading: Reading, progress: ProgressOption
) -> Report | None:
    """Check an archive whose members are known; None: it is something else."""
    try:
        async with Archive(pool, source, reading) as archive:
            if archive.is_indexed or archive.is_plain:
                return await archive.test(progress=progress)
    except FormatError:
        pass
    return None


def _check_all(unpacking: Unpacking, what: str) -> None:
    if unpacking.members is not None:
        msg = f"members can be chosen of an archive, not of {what}"
        raise ValueError(msg)


def _head(path: str) -> bytes:
    """Return the first bytes of a regular file."""
    if not os.path.isfile(path):
        os.stat(path)
        return b""
    with open(path, "rb") as file:
        return file.read(framed.DETECT_SIZE)
