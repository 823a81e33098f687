"""Mirrored trees: every file of a folder becomes a file of its own in another, and back.

Both directions are the same walk (``walk``), and the same two ways for a file. Small ones go to
workers by the batch, which read and write them themselves (``batch``). Whatever is not plain comes
back from there, and goes through the pipeline one after another, while batches go on.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple, Protocol

from aiocompress.errors import AiocompressError, CorruptError, FormatError, LimitError
from aiocompress.formats import names
from aiocompress.formats.base import STREAM
from aiocompress.model import OnError, Report
from aiocompress.storage.atomic_file import exists, hidden_name, publish
from aiocompress.storage.atomic_folder import AtomicFolder, sync_all
from aiocompress.storage.files import FileSink, FileSource
from aiocompress.storage.walk import FILE_FLAGS, Excluded, kind_of
from aiocompress.verbs.base import Tally, Verb, verb
from aiocompress.verbs.compress import compressed
from aiocompress.verbs.decompress import decompressed
from aiocompress.verbs.found import Found
from aiocompress.verbs.mirror import batch
from aiocompress.verbs.mirror.batch import DONE, ENOUGH, KEPT, LEFT, Chain, Files, Outcome, Roots
from aiocompress.verbs.mirror.walk import Plan, Side, Twins, below, miss
from aiocompress.verbs.options import Bounds, Reading, Recipe, Writing
from aiocompress.workers.job import Result
from aiocompress.workers.lane import Lane
from aiocompress.workers.pipeline import in_order
from aiocompress.workers.pool import Job, WorkerPool
from aiocompress.workers.threads import call

_ROOT_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


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
    :raises FileExistsError: the destination exists, and that is not wanted; two things would get
        the same name.
    :raises OSError: something cannot be read or written.
    :raises ValueError: source and destination are the same folder.
    """
    async with verb(pool, "compressing", writing, found=Found(), file=source) as run:
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
    :raises FormatError: a file that is not compressed, by its name or its content.
    :raises CorruptError: a file is damaged.
    :raises LimitError: all together is more than ``reading.max_output``, or above ``bounds``.
    :raises OSError: as ``compress_tree``; so does ``ValueError``.
    """
    async with verb(pool, "decompressing", writing, found=Found(), back=True, file=source) as run:
        await _mirror(run, source, destination, _Back(pool, reading, bounds), None, on_error)
    return run.report()


# The two directions.


class _Direction(Protocol):
    """What is different out and back."""

    function: Callable[..., Result]
    """A worker's, for a batch, and what it is told."""
    arguments: tuple[Any, ...]

    def naming(self, name: str) -> str | None:
        """Return what a file is called on the other side."""
        ...

    def enough(self, raw_bytes: int) -> int:
        """Return after how many raw bytes more a worker is to stop and see.

        :raises LimitError: there are too many already.
        """
        ...

    def check_count(self, files: int) -> None:
        """Make sure that there are not too many files.

        :raises LimitError: there are.
        """
        ...

    async def stream(self, source: FileSource, sink: FileSink, tally: Tally, before: int) -> None:
        """Take one file through the pipeline; ``before`` it there were that many raw bytes."""
        ...


class _Out:
    function = staticmethod(batch.compress)

    def __init__(self, pool: WorkerPool, recipe: Recipe) -> None:
        self._pool, self._recipe = pool, recipe
        self._suffix = names.suffix_of(recipe.format.name)
        self.arguments = (recipe.format.name, recipe.level, recipe.chunk_size)

    def naming(self, name: str) -> str:
        return name + self._suffix

    def enough(self, raw_bytes: int) -> int:  # noqa: ARG002 - there is no limit
        return ENOUGH

    def check_count(self, files: int) -> None:
        pass

    async def stream(self, source: FileSource, sink: FileSink, tally: Tally, _before: int) -> None:
        frames = compressed(self._pool, source, self._recipe, tally)
        async with aclosing(frames):
            async for parts in frames:
                await sink.write(*parts)


class _Back:
    function = staticmethod(batch.decompress)

    def __init__(self, pool: WorkerPool, reading: Reading, bounds: Bounds) -> None:
        self._pool, self._reading, self._bounds = pool, reading, bounds
        self.arguments = (reading.max_window, bounds)

    def naming(self, name: str) -> str | None:
        return names.restored(name)

    def enough(self, raw_bytes: int) -> int:
        limit = self._reading.max_output
        self._reading.check_output(raw_bytes)
        return ENOUGH if limit is None else min(ENOUGH, limit - raw_bytes + 1)

    def check_count(self, files: int) -> None:
        self._bounds.check_count(files)

    async def stream(self, source: FileSource, sink: FileSink, tally: Tally, before: int) -> None:
        target = sink.reach if self._pool.shares_files else None
        reading = self._reading._replace(max_output=None)  # that is of all files together
        blocks = decompressed(self._pool, source, reading, tally, target=target)
        async with aclosing(blocks):
            async for size, data in blocks:
                self._reading.check_output(before + tally.raw_bytes)
                self._bounds.check_size(tally.raw_bytes)
                if data is None:
                    sink.skip(size)
                else:
                    await sink.write(data)


# Both trees.


class _Trees:
    """The trees, opened: a new target is a folder in the making, an old one is used in place."""

    def __init__(self, source: str, destination: str, writing: Writing) -> None:
        self._root = os.open(source, _ROOT_FLAGS)
        self._target = -1
        self._building: AtomicFolder | None = None
        self.fsync = writing.syncs
        try:
            own = self._open_target(destination, writing)
        except BaseException:
            self.close()
            raise
        self.source, self.target = Side(source, self._root), Side(destination, self._target)
        self.on_exists = None if self._building is not None else writing.on_exists
        self.own = frozenset((status.st_dev, status.st_ino) for status in own)
        self.keep_root = len(own) > 1
        """Whether the destination was there: it keeps its mode and times."""

    def _open_target(self, destination: str, writing: Writing) -> list[os.stat_result]:
        own = []
        with suppress(FileNotFoundError):
            own.append(os.stat(destination))
            if os.path.samestat(own[0], os.fstat(self._root)):
                msg = f"{destination}: source and destination are the same folder"
                raise ValueError(msg)
        if writing.on_exists != "error" and os.path.isdir(destination):
            self._target = os.open(destination, _ROOT_FLAGS)
        else:
            self._building = AtomicFolder(destination, writing.on_exists)
            self._building.mode = stat.S_IMODE(os.fstat(self._root).st_mode) & 0o777
            self._target = self._building.descriptor
        return [*own, os.fstat(self._target)]

    @property
    def roots(self) -> Roots:
        """Say to workers where the trees are."""
        reach = f"/proc/{os.getpid()}/fd/"
        return Roots(f"{reach}{self._root}", f"{reach}{self._target}", self.on_exists, self.fsync)

    def commit(self) -> None:
        """Give a new tree its name."""
        if self._building is not None:
            self._building.commit(fsync=self.fsync)
        elif self.fsync:
            sync_all(self._target)

    def close(self) -> None:
        """Close both; a tree that was not committed goes."""
        root, self._root = self._root, -1
        os.close(root)
        if self._building is not None:
            self._building.close()
        elif self._target >= 0:
            os.close(self._target)


async def _mirror(
    run: Verb,
    source: str,
    destination: str,
    direction: _Direction,
    excluded: Excluded | None,
    on_error: OnError,
) -> None:
    files = run.pool.files
    trees = await call(files, _Trees, source, destination, run.writing, undo=_Trees.close)
    try:
        plan = Plan(
            direction.naming, trees.on_exists, on_error, excluded, trees.own, trees.keep_root
        )
        twins = Twins(trees.source, trees.target, plan)
        try:
            await _Mirroring(run, trees, twins, direction, on_error).run()
            await call(files, twins.finish)
            await call(files, trees.commit)
        finally:
            await call(files, twins.close)
        run.also = []
        run.tally.found.add(twins.found)
    finally:
        await call(files, trees.close)


class _Sent(NamedTuple):
    """A batch with a worker."""

    files: Files
    job: Job

    @property
    def size(self) -> int:
        return sum(len(names) for _, names in self.files)

    def release(self) -> None:
        self.job.release()


class _Mirroring:
    """One tree on its way."""

    def __init__(
        self, run: Verb, trees: _Trees, twins: Twins, direction: _Direction, on_error: OnError
    ) -> None:
        self._pool, self._trees, self._twins = run.pool, trees, twins
        self._direction, self._on_error = direction, on_error
        self._lane = Lane(run.pool, opens_files=True, detach=True)
        self._waiting: deque[Files] = deque()
        """Batches that wait for a worker, for the first time or because one gave them back."""
        self._tally, self._single_tally = run.tally, Tally(run.pool, Found())
        self._found = run.tally.found
        """What is found here; ``twins`` works in a thread, and keeps its own."""
        self._listed = 0
        self._run = run
        run.also = [self._single_tally, Tally(run.pool, twins.found)]

    async def run(self) -> None:
        """Take all files to the other side."""
        try:
            while True:
                async with aclosing(in_order(self._batches(), self._pool.window)) as batches:
                    async for sent in batches:
                        await self._take(sent)
                if not self._waiting:  # or some were given back late
                    return
        finally:
            await self._lane.over()

    # Batches.

    async def _batches(self) -> AsyncGenerator[_Sent]:
        files, following = await self._next(), await self._next()
        while files:
            yield await self._send(files, follows=bool(following))
            # One that is given back when there seemed to be none is for the next pass.
            files = following or await self._next()
            following = await self._next() if files else []

    async def _next(self) -> Files:
        if not self._waiting:
            batches = await call(self._pool.files, self._twins.batches)
            self._listed += sum(len(names) for batch in batches for _, names in batch)
            self._direction.check_count(self._listed)
            self._waiting += batches
        return self._waiting.popleft() if self._waiting else []

    async def _send(self, files: Files, *, follows: bool) -> _Sent:
        enough = self._direction.enough(self._tally.raw_bytes)
        about = (self._trees.roots, enough, *self._direction.arguments)
        function = self._direction.function
        job = await self._lane.start(batch.pack(files), 0, function, *about, follows=follows)
        return _Sent(files, job)

    async def _take(self, sent: _Sent) -> None:
        """Count what a worker has done, and do what it has left."""
        result = await sent.job.result()
        if result.size == STREAM and not sent.job.alone:
            self._lane.stay_here()
            self._waiting.append(sent.files)
            return
        if result.size == STREAM:  # not even here: what is wrong is told file by file
            outcome = Outcome(0, 0, 0, bytes([LEFT]) * sent.size)
        else:
            outcome = Outcome.unpack(sent.job.data)
        letters = outcome.letters
        self._found.files += letters.count(DONE)
        self._tally.add(*outcome[:3])
        self._direction.enough(self._tally.raw_bytes)
        if letters.count(DONE) == sent.size:
            return
        entries = [(folder, name) for folder, names in sent.files for name in names]
        # Those behind are as large: the next worker is to finish with as many of them.
        self._waiting += _in_batches(entries[len(letters) :], len(letters))
        for entry, letter in zip(entries, letters, strict=False):
            if letter == KEPT:
                self._found.keep()
            elif letter == LEFT:
                await self._single(*entry)

    # One file after another.

    async def _single(self, folder: str, name: str) -> None:
        """Take one file through the pipeline, or say what is wrong with it."""
        path = below(folder, name)
        root = self._trees.source.root
        try:
            file = await call(self._pool.files, _open_file, root, folder, name, undo=os.close)
        except OSError as error:
            self._miss(path, error)
            return
        tally = self._single_tally = self._run.also[0] = Tally(self._pool, Found())
        tally.observer = self._tally.observer
        try:
            await self._stream(file, folder, name)
        except OSError as error:
            read = error.filename == self._trees.source.shown(path)
            if not read and error.errno != errno.ENAMETOOLONG:
                shown = self._trees.target.shown(below(folder, self._result(name)))
                raise OSError(error.errno, error.strerror, shown) from None
            self._miss(path, error)
        except (CorruptError, FormatError, LimitError) as error:
            self._direction.enough(self._tally.raw_bytes + tally.raw_bytes)
            self._refuse(path, error)
        finally:
            os.close(file)
            self._single_tally = self._run.also[0] = Tally(self._pool, Found())

    async def _stream(self, file: int, folder: str, name: str) -> None:
        """Write a file beside its place, unless the whole tree is new, and give it its name."""
        files, in_place = self._pool.files, self._trees.on_exists
        root, result = self._trees.target.root, self._result(name)
        where = await call(files, _open_folder, root, folder, undo=os.close)
        made = result if in_place is None else hidden_name()
        try:
            if in_place == "skip" and exists(result, where):
                self._found.keep()
                return
            status = await self._convert(file, f"/proc/self/fd/{where}/{made}", folder, name)
            if in_place is not None and not await call(
                files, publish, made, result, where, in_place
            ):
                self._found.keep()
                return
            self._count(below(folder, name), status, os.fstat(file))
        finally:
            if in_place is not None:
                with suppress(FileNotFoundError):
                    os.unlink(made, dir_fd=where)
            os.close(where)

    async def _convert(self, file: int, path: str, folder: str, name: str) -> os.stat_result:
        source = await FileSource.open(f"/proc/self/fd/{file}", self._pool.files)
        source.name = self._trees.source.shown(below(folder, name))
        try:
            # A new tree is synced as a whole.
            fsync = self._trees.on_exists is not None and self._trees.fsync
            sink = await FileSink.open(path, self._pool.files, on_exists="error", fsync=fsync)
            try:
                before = self._tally.raw_bytes
                await self._direction.stream(source, sink, self._single_tally, before)
                await sink.commit(source.status)
            finally:
                await sink.aclose()
        finally:
            await source.aclose()
        assert source.status is not None
        return source.status

    def _count(self, path: str, before: os.stat_result, after: os.stat_result) -> None:
        """Add what went through the pipeline to the sum."""
        shown = self._trees.source.shown(path)
        self._tally.merge(self._single_tally)
        self._found.files += 1
        for warning in self._single_tally.warnings:
            self._found.warn(f"{shown}: {warning}")
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            self._found.change(f"{shown}: changed while it was read")

    # What is left out.

    def _result(self, name: str) -> str:
        return self._direction.naming(name) or name

    def _miss(self, path: str, error: OSError) -> None:
        miss(self._trees.source, path, error, self._on_error, self._found)

    def _refuse(self, path: str, error: AiocompressError) -> None:
        error.located(file=self._trees.source.shown(path))
        if self._on_error == "raise":
            raise error
        self._found.refuse(str(error))


def _in_batches(entries: list[tuple[str, str]], size: int) -> Iterator[Files]:
    for start in range(0, len(entries), size):
        groups = groupby(entries[start : start + size], key=itemgetter(0))
        yield [(folder, [name for _, name in group]) for folder, group in groups]


def _open_file(root: int, folder: str, name: str) -> int:
    """Open a regular file below a folder."""
    chain = Chain(root)
    try:
        descriptor = os.open(name, FILE_FLAGS, dir_fd=chain.at(folder))
    finally:
        chain.close()
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"is {kind_of(mode)}, and no file any more")
    return descriptor


def _open_folder(root: int, folder: str) -> int:
    chain = Chain(root)
    try:
        return os.dup(chain.at(folder))
    finally:
        chain.close()
