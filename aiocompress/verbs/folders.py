"""Folders: packed into one archive or a tree of compressed files, and back."""

from __future__ import annotations

import os
from functools import partial

from aiocompress.formats.framed import container as framed
from aiocompress.model import Layout, PathLike, Report, is_url
from aiocompress.storage.base import Sink, naming
from aiocompress.storage.walk import is_folder
from aiocompress.verbs import files
from aiocompress.verbs.archive.opened import OpenedArchive
from aiocompress.verbs.archive.source import TreeSource
from aiocompress.verbs.base import Tally, check_here
from aiocompress.verbs.framed import pack as framed_out
from aiocompress.verbs.framed import unpack as framed_back
from aiocompress.verbs.mirror import mirror
from aiocompress.verbs.options import FolderSource, Packing, Reading, Recipe, Restoring, Writing
from aiocompress.verbs.tree import amount, roots_of
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call


async def compress_folder(
    pool: WorkerPool,
    source: FolderSource,
    destination: Sink,
    layout: Layout,
    packing: Packing,
    recipe: Recipe,
    writing: Writing,
) -> Report:
    """Compress folders and files into an archive, a tree of files, or the framed container."""
    pool.check()
    _check_packing(packing, recipe, layout)
    packing = packing._replace(roots=await call(pool.files, roots_of, source))
    if layout == "archive":
        tree = TreeSource(packing, pool.files, by_path=pool.by_path)
        count = partial(amount, packing, pool.files, as_tar=True)
        return await files.compress_file(
            pool, tree, destination, recipe, writing, Tally(pool, tree.found), count
        )
    if layout == "framed":
        return await framed_out.compress_tree(pool, packing, destination, recipe, writing)
    if not isinstance(destination, str | os.PathLike):
        raise TypeError("a mirrored tree needs the path of a folder as its destination")
    (path, name), *others = packing.roots
    if others or name:
        raise ValueError("a mirrored tree has one folder as its source")
    target = os.fspath(destination)
    check_here(target)
    with naming(target):
        return await mirror.compress_tree(
            pool,
            path,
            target,
            recipe,
            writing,
            excluded=packing.excluded,
            on_error=packing.on_error,
        )


def _check_packing(packing: Packing, recipe: Recipe, layout: Layout) -> None:
    """Refuse options that would do nothing.

    :raises ValueError: one was given.
    """
    if layout != "archive" and packing.xattrs:
        raise ValueError(f"xattrs is for archives, not for the layout {layout!r}")
    if layout != "archive" and not packing.sparse and packing.clamp is None:
        raise ValueError(f"sparse is for archives, not for the layout {layout!r}")
    if layout == "mirror" and (packing.prefix or packing.clamp is not None):
        raise ValueError("prefix and reproducible are for archives, not for the layout 'mirror'")
    if layout != "archive" and recipe.long:
        raise ValueError(f"long_distance is for archives, not for the layout {layout!r}")


async def decompress_folder(
    pool: WorkerPool,
    source: PathLike,
    destination: PathLike,
    restoring: Restoring,
    reading: Reading,
    writing: Writing,
) -> Report:
    """Undo ``compress_folder``, whatever the layout; the content says which."""
    pool.check()
    path, target = os.fspath(source), os.fspath(destination)
    check_here(target)
    about = pool, path, target, reading, writing
    on_error, bounds = restoring.on_error, restoring.bounds
    with naming(target):
        if await call(pool.files, is_folder, path):
            _check_restoring(restoring, "a mirrored tree")
            return await mirror.decompress_tree(*about, on_error=on_error, bounds=bounds)
        if framed.detect(await call(pool.files, _head, path)):
            _check_restoring(restoring, "a framed container")
            return await framed_back.decompress_tree(*about, on_error=on_error, bounds=bounds)
        async with OpenedArchive(pool, path, reading) as archive:
            return await archive.extract(target, restoring, writing, reading.max_output)


def _check_restoring(restoring: Restoring, what: str) -> None:
    """Refuse options that would do nothing.

    :raises ValueError: one was given.
    """
    if not restoring.selection.is_all:
        raise ValueError(f"members can be chosen of an archive, not of {what}")
    if restoring.keeping.preserve:
        raise ValueError(f"preserve is for archives, not for {what}")
    if restoring.keeping.strip_components:
        raise ValueError(f"strip_components is for archives, not for {what}")


def _head(path: str) -> bytes:
    """Return the first bytes of a regular file; what is elsewhere can only be an archive."""
    if is_url(path):
        return b""
    if not os.path.isfile(path):
        os.stat(path)
        return b""
    with open(path, "rb") as file:
        return file.read(framed.DETECT_SIZE)
