"""Mirrored trees: every file of a folder becomes a file of its own in another, and back.

Both directions are the same walk (``walk``), and take a file one of two ways. Workers read, convert
and write the small ones themselves, many in a task (``batch``). Whatever is not plain they leave,
and it goes through the pipeline here, one file after another, while the batches go on.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from functools import partial
from typing import TypeAlias

from aiocompress.errors import CorruptError, FormatError, LimitError
from aiocompress.formats import names
from aiocompress.formats.base import STREAM
from aiocompress.model import OnError, Report
from aiocompress.storage.atomic_file import exists, renamed
from aiocompress.storage.chain import Chain
from aiocompress.storage.files import FileSink, FileSource
from aiocompress.storage.walk import Entry, Excluded, kind_of
from aiocompress.verbs.base import Tally, Verb, verb
from aiocompress.verbs.compress import compressed
from aiocompress.verbs.decompress import decompressed
from aiocompress.verbs.entries import open_file, skip
from aiocompress.verbs.found import Found
from aiocompress.verbs.mirror import batch
from aiocompress.verbs.mirror.batch import DONE, ENOUGH, KEPT, LEFT, Files, Outcome
from aiocompress.verbs.mirror.walk import Side, Trees, Twins
from aiocompress.verbs.options import Bounds, Packing, Reading, Recipe, Writing
from aiocompress.verbs.tree import amount
from aiocompress.workers.inflight import Job
from aiocompress.workers.lane import Lane
from aiocompress.workers.pipeline import Sent, in_order
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call


async def compress_tree(
    pool: WorkerPool,
    source: str,
    destination: str,
    recipe: Recipe,
    writing: Writing,
    *,
    excluded: Excluded | None = None,
    on_error: OnError = "raise",
) -> Report:
    """Compress each file of a folder into a container of its own in another folder.

    :param excluded: what to leave out, by its path in the source.
    :param on_error: "skip" leaves out what cannot be read, and names it in the report.
    :raises FileExistsError: the destination exists, and ``writing`` does not allow that; or two
        things would get the same name.
    :raises OSError: something cannot be read or written.
    :raises ValueError: source and destination are the same folder.
    """
    async with verb(pool, "compressing", writing, found=Found(), file=source) as run:
        packing = Packing(((source, ""),), excluded=excluded)
        run.expect(partial(amount, packing, pool.files, as_tar=False))
        await _mirror(run, source, destination, _Out(pool, recipe), excluded, on_error)
    return run.report()


async def decompress_tree(
    pool: WorkerPool,
    source: str,
    destination: str,
    reading: Reading,
    writing: Writing,
    *,
    on_error: OnError = "raise",
    bounds: Bounds = Bounds(),  # noqa: B008 - it cannot be changed
) -> Report:
    """Decompress each file of a folder into another folder, under its name without the suffix.

    :param on_error: "skip" leaves out what cannot be read, is damaged, or has no suffix of a
        compressed file, and names it in the report.
    :raises FormatError: a file is not compressed, by its name or its content.
    :raises CorruptError: a file is damaged.
    :raises LimitError: all together is more than ``reading.max_output``, or above ``bounds``.
    :raises OSError: as ``compress_tree``; so does ``ValueError``.
    """
    async with verb(pool, "decompressing", writing, found=Found(), back=True, file=source) as run:
        run.expect(partial(amount, Packing(((source, ""),)), pool.files, as_tar=False))
        await _mirror(run, source, destination, _Back(pool, reading, bounds), None, on_error)
    return run.report()


async def _mirror(
    run: Verb,
    source: str,
    destination: str,
    way: _Way,
    excluded: Excluded | None,
    on_error: OnError,
) -> None:
    files, run.target = run.pool.files, destination
    trees = await call(files, Trees, source, destination, run.writing, undo=Trees.close)
    try:
        twins = Twins(trees, way.naming, excluded, on_error)
        try:
            await _Mirroring(run, trees, twins, way, on_error).run()
            await call(files, twins.finish)
            run.syncs()
            await call(files, trees.commit)
        finally:
            await call(files, twins.close)
        run.also = []
        run.tally.found.add(twins.found)
    finally:
        await call(files, trees.close)


# What differs between the two directions: what a file is called on the other side, what a worker
# does to a batch, how one file goes through the pipeline, and the limits.


class _Out:
    function = staticmethod(batch.compress)
    reading, bounds = Reading(), Bounds()

    def __init__(self, pool: WorkerPool, recipe: Recipe) -> None:
        self._pool, self._recipe = pool, recipe
        self._suffix = names.suffix_of(recipe.format.name)
        self.arguments = (recipe.format.name, recipe.level, recipe.chunk_size)

    def naming(self, name: str) -> str:
        return name + self._suffix

    async def stream(self, source: FileSource, sink: FileSink, tally: Tally, _before: int) -> None:
        frames = compressed(self._pool, source, self._recipe, tally)
        async with aclosing(frames):
            async for parts in frames:
                await sink.write(*parts)


class _Back:
    function = staticmethod(batch.decompress)
    naming = staticmethod(names.restored)

    def __init__(self, pool: WorkerPool, reading: Reading, bounds: Bounds) -> None:
        self._pool, self.reading, self.bounds = pool, reading, bounds
        self.arguments = (reading.max_window, bounds)

    async def stream(self, source: FileSource, sink: FileSink, tally: Tally, before: int) -> None:
        """Decompress a file; ``before`` it there were that many raw bytes."""
        target = sink.reach(by_path=self._pool.by_path) if self._pool.shares_files else None
        reading = self.reading._replace(max_output=None)  # that is of all files together
        blocks = decompressed(self._pool, source, reading, tally, target=target)
        async with aclosing(blocks):
            async for size, data, _ in blocks:
                self.reading.check_output(before + tally.raw_bytes)
                self.bounds.check_size(tally.raw_bytes)
                if data is None:
                    sink.skip(size)
                else:
                    await sink.write(data)


_Way: TypeAlias = _Out | _Back


class _Mirroring:
    """One tree on its way to the other side."""

    def __init__(self, run: Verb, trees: Trees, twins: Twins, way: _Way, on_error: OnError) -> None:
        self._run, self._pool, self._tally = run, run.pool, run.tally
        self._trees, self._twins, self._way, self._on_error = trees, twins, way, on_error
        self._lane = Lane(run.pool, opens_files=True, detach=True)
        self._roots = trees.roots(by_path=run.pool.by_path)
        self._waiting: deque[Files] = deque()
        """Batches that wait for a worker, for the first time or because one gave them back."""
        self._listed = 0
        self._found = run.tally.found
        """What is found here; ``twins`` works in a thread, and keeps its own."""
        run.also = [Tally(run.pool, twins.found)]

    async def run(self) -> None:
        try:
            while True:
                async with aclosing(in_order(self._batches(), self._pool.window)) as batches:
                    async for job, files in batches:
                        await self._take(job, files)
                if not self._waiting:  # a worker may give a batch back when no other follows
                    return
        finally:
            await self._lane.over()

    # Batches.

    async def _batches(self) -> AsyncGenerator[Sent[Job, Files]]:
        files, following = await self._next(), await self._next()
        while files:
            enough = self._check_output()
            about = (self._roots, enough, *self._way.arguments)
            job = await self._lane.start(
                batch.pack(files), 0, self._way.function, *about, follows=bool(following)
            )
            yield Sent(job, files)
            # Once nothing followed, what a worker gives back waits for the next pass.
            files = following or await self._next()
            following = await self._next() if files else []

    async def _next(self) -> Files:
        if not self._waiting:
            batches = await call(self._pool.files, self._twins.batches)
            self._listed += sum(map(len, batches))
            self._way.bounds.check_count(self._listed)
            self._waiting += batches
        return self._waiting.popleft() if self._waiting else []

    def _check_output(self) -> int:
        """Return after how many raw bytes more a worker has to stop.

        :raises LimitError: there are too many already.
        """
        limit, done = self._way.reading.max_output, self._tally.raw_bytes
        self._way.reading.check_output(done)
        return ENOUGH if limit is None else min(ENOUGH, limit - done + 1)

    async def _take(self, job: Job, files: Files) -> None:
        """Count what a worker has done, and do what it has left."""
        result = await job.result()
        if result.size == STREAM and not job.alone:
            self._lane.stay_here()
            self._waiting.append(files)
            return
        if result.size == STREAM:  # nor can this process open the trees: each file says why
            counts, letters = (0, 0, 0), bytes([LEFT]) * len(files)
        else:
            counts, letters = Outcome.unpack(job.data)
        self._found.files += letters.count(DONE)
        self._found.latest = files[len(letters) - 1]
        self._tally.add(*counts)
        self._check_output()
        # The files behind are about as large: the next worker should finish as many of them.
        for start in range(len(letters), len(files), len(letters)):
            self._waiting.append(files[start : start + len(letters)])
        for path, letter in zip(files, letters, strict=False):
            if letter == KEPT:
                self._found.kept += 1
            elif letter == LEFT:
                await self._single(path)

    # One file after another.

    async def _single(self, path: bytes) -> None:
        """Take one file through the pipeline, or say what is wrong with it."""
        folder, _, name = map(os.fsdecode, path.rpartition(b"/"))
        result, shown = self._way.naming(name) or name, self._trees.source.shown(path)
        tally = Tally(self._pool, Found())
        tally.observer, tally.found.latest = self._tally.observer, path
        self._run.also.append(tally)
        try:
            file = await call(self._pool.files, _open_file, self._trees.source, path, undo=os.close)
            try:
                await self._stream(file, shown, folder, result, tally)
            finally:
                os.close(file)
        except OSError as error:
            if error.filename != shown and error.errno != errno.ENAMETOOLONG:
                target = os.path.join(self._trees.target.path, folder, result)
                raise OSError(error.errno, error.strerror, target) from None
            skip(shown, error, self._on_error, self._found)
        except (CorruptError, FormatError, LimitError) as error:
            self._way.reading.check_output(self._tally.raw_bytes + tally.raw_bytes)
            error.located(file=shown)
            if self._on_error == "raise":
                raise
            self._found.refuse(str(error))
        finally:
            self._run.also.remove(tally)

    async def _stream(self, file: int, shown: str, folder: str, result: str, tally: Tally) -> None:
        """Write what an open file becomes."""
        files, trees = self._pool.files, self._trees
        where = await call(files, _open_folder, trees.target.root, folder, undo=os.close)
        try:
            if trees.on_exists == "skip" and exists(result, where):
                self._found.kept += 1
                return
            path, on_exists = f"/proc/self/fd/{where}/{result}", trees.on_exists or "replace"
            # A new tree goes to the disk as a whole.
            fsync, named = trees.on_exists is not None and trees.fsync, self._pool.by_path
            about = {"fsync": fsync, "follow": False, "named": named}
            async with aclosing(await FileSource.open(f"/proc/self/fd/{file}", files)) as source:
                source.name = shown
                sink = await FileSink.open(path, files, on_exists=on_exists, **about)
                async with aclosing(sink):
                    await self._way.stream(source, sink, tally, self._tally.raw_bytes)
                    await sink.commit(source.status)
            assert source.status is not None
            self._count(shown, tally, source.status, os.fstat(file))
        except FileExistsError:
            self._found.kept += 1
        finally:
            os.close(where)

    def _count(
        self, shown: str, tally: Tally, before: os.stat_result, after: os.stat_result
    ) -> None:
        self._tally.merge(tally)
        self._found.files += 1
        for warning in tally.warnings:
            self._found.warn(f"{shown}: {warning}")
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            self._found.change(f"{shown}: changed while it was read")


def _open_file(tree: Side, path: bytes) -> int:
    """Open a regular file of a tree."""
    folder, _, name = path.rpartition(b"/")
    with renamed(tree.shown(path)):
        with closing(Chain(tree.root, "/")) as chain:
            entry = Entry(path, name, chain.at(os.fsdecode(folder)), is_file=True)
            descriptor, status = open_file(entry)
        if descriptor < 0:
            raise OSError(errno.EINVAL, f"is {kind_of(status.st_mode)}, and no file any more")
    return descriptor


def _open_folder(root: int, folder: str) -> int:
    with closing(Chain(root, "/")) as chain:
        return os.dup(chain.at(folder))
