"""Chunks of raw bytes to a compressed file, in place or whole; the mirror of ``reading``.

Callers only hand chunks over. One task compresses them, several at once, and writes the frames in
their order. So a cancelled ``write`` loses nothing that was written before it, and tasks that write
at the same time do not interfere.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections import deque
from contextlib import aclosing
from typing import Final, TypeAlias

from aiocompress.errors import FormatError
from aiocompress.model import Buffer, OnExists, is_url, public_url
from aiocompress.storage.base import AsyncWriter, OpenedSink, OpenedSource, Sink
from aiocompress.storage.files import FileSink
from aiocompress.storage.in_place import InPlaceSink, WriteMode
from aiocompress.storage.pipes import NamedPipeSink, WriterSink
from aiocompress.verbs.base import Tally, is_special, upload_to
from aiocompress.verbs.compress import compressed
from aiocompress.verbs.file.reading import FileReader, name_of
from aiocompress.verbs.options import Reading, Recipe
from aiocompress.workers.forks import Begun
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call, ended

Writable: TypeAlias = Sink | int
"""What can be opened for writing; an int is a descriptor."""

_MOST_WAITING: Final = 1
"""Chunks that may wait for a slot; a caller with more has to wait."""


class _Chunks(OpenedSource):
    """A source of the chunks that are handed over."""

    waits = True

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[Buffer, bool]] = asyncio.Queue()
        self._last = False
        self.taken = asyncio.Event()

    def put(self, chunk: Buffer, *, last: bool) -> None:
        self._queue.put_nowait((chunk, last))

    @property
    def are_many(self) -> bool:
        return self._queue.qsize() > _MOST_WAITING

    async def readinto(self, view: memoryview) -> int:
        chunk, self._last = await self._queue.get()
        size = len(chunk)
        view[:size] = chunk
        self.taken.set()
        return size

    async def fill(self, view: memoryview) -> int:
        return await self.readinto(view)

    @property
    def is_over(self) -> bool:
        return self._last


class FileWriter:
    """A compressed file that is open for writing.

    :param atomic: the file gets its name, whole, when it is closed.
    """

    def __init__(
        self, pool: WorkerPool, file: Writable, mode: WriteMode, recipe: Recipe, *, atomic: bool
    ) -> None:
        if atomic and (mode == "a" or not isinstance(file, str | os.PathLike)):
            raise ValueError("atomic is for a new file at a path: mode 'w' or 'x'")
        if is_url(file) and mode == "a":
            raise ValueError(f"{public_url(file)}: nothing can be appended to an object elsewhere")
        self._pool, self._file, self._mode, self._recipe = pool, file, mode, recipe
        self.name, self.atomic = name_of(file), atomic or is_url(file)
        self.follows = False
        """Whether the file had content before."""
        self._sink: OpenedSink | None = None
        self._chunks = _Chunks()
        self._unwritten: deque[asyncio.Future[None]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._process = Begun("the file")

    @property
    def chunk_size(self) -> int:
        """The most bytes of a chunk."""
        return self._recipe.chunk_size

    async def open(self) -> None:
        """Open the file.

        :raises OSError: it cannot be opened; ``FileExistsError``: it exists, and the mode is "x".
        :raises TypeError: it cannot be written to.
        :raises FormatError: appending, and it is of another format.
        :raises CorruptError: appending, and it is damaged or cut off, which would hide the rest.
        """
        self._pool.check()
        self._sink = await self._open()
        self.follows = isinstance(self._sink, InPlaceSink) and self._sink.begin > 0
        if self.follows and isinstance(self._file, str | os.PathLike):
            try:
                await self._check_end(os.fspath(self._file))
            except BaseException:
                await self._sink.aclose()
                raise

    async def _check_end(self, path: str) -> None:
        """Read the file up to its end, unless its table says where that is."""
        reader = FileReader(self._pool, path, Reading())
        try:
            await reader.open()
            await reader.size()
            form = await reader.detect()
        finally:
            await reader.aclose()
        if form is not self._recipe.format:
            ours = self._recipe.format.name
            raise FormatError(f"holds {form.name}, to which no {ours} can be appended", file=path)

    async def _open(self) -> OpenedSink:
        file, files = self._file, self._pool.files
        if isinstance(file, OpenedSink):
            return file
        if isinstance(file, int):
            if stat.S_ISREG(os.fstat(file).st_mode):
                if self._mode == "a":
                    os.lseek(file, 0, os.SEEK_END)
                return InPlaceSink(file, f"descriptor {file}", files)
            return NamedPipeSink.adopt(file, f"descriptor {file}")
        if is_url(file):
            return await upload_to(self._pool, file, self._on_exists)
        if isinstance(file, str | os.PathLike):
            return await self._open_path(os.fspath(file))
        if isinstance(file, AsyncWriter):
            return WriterSink(file)
        raise TypeError(
            "file must be a path, a descriptor or an object with async write(data), not "
            f"{type(file).__name__}"
        )

    @property
    def _on_exists(self) -> OnExists:
        return "error" if self._mode == "x" else "replace"

    async def _open_path(self, path: str) -> OpenedSink:
        files = self._pool.files
        if await call(files, is_special, path):
            return await NamedPipeSink.open(path)
        if self.atomic:
            return await FileSink.open(path, files, on_exists=self._on_exists, fsync=True)
        return await InPlaceSink.open(path, self._mode, files)

    async def put(self, chunk: Buffer, *, last: bool = False) -> None:
        """Hand over a chunk, and wait until there is room for another one.

        :raises OSError: an earlier one could not be written; and other errors of ``compressed``.
        :raises AiocompressError: the file was begun before this process was forked.
        """
        self._process.check()
        if self._task is None:
            self._task = asyncio.create_task(self._write(), name="aiocompress-write")
            self._task.add_done_callback(self._ended)
        if not self._task.done():
            self._unwritten.append(asyncio.get_running_loop().create_future())
            self._chunks.put(chunk, last=last)
        while self._chunks.are_many and not self._task.done():
            self._chunks.taken.clear()
            await self._chunks.taken.wait()
        if self._task.done():
            self._task.result()

    async def written(self) -> None:
        """Wait until everything that was handed over is written.

        :raises OSError: it could not be written; and the other errors of ``compressed``.
        """
        if self._unwritten:
            await asyncio.shield(self._unwritten[-1])
        if self._task is not None and self._task.done():
            self._task.result()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._chunks.taken.set()
        if not task.cancelled():
            task.exception()  # retrieved: every later call raises it

    async def _write(self) -> None:
        """Compress the chunks, and write the frames, until the last one."""
        sink, recipe, writer = self._sink, self._recipe, None
        assert sink is not None
        if isinstance(sink, InPlaceSink) and recipe.format.container.draft is not None:
            writer = recipe.format.container.draft()
        frames = compressed(
            self._pool,
            self._chunks,
            recipe,
            Tally(self._pool),
            detach=True,
            writer=writer,
            bare=not self.follows,
        )
        try:
            async with aclosing(frames):
                async for parts in frames:
                    await sink.write(*parts)
                    if self._unwritten:
                        self._unwritten.popleft().set_result(None)
            seal = None if writer is None else writer.seal()
            if isinstance(sink, InPlaceSink) and seal is not None and not sink.appends:
                await sink.overwrite(*seal)
            while self._unwritten:  # an empty last chunk has no frame
                self._unwritten.popleft().set_result(None)
        except Exception as error:
            for waiting in self._unwritten:
                waiting.set_exception(error)
                waiting.exception()  # retrieved: later calls get it from the task
            raise
        finally:
            while self._unwritten:
                self._unwritten.pop().cancel()

    async def finish(self, chunk: Buffer) -> None:
        """Hand over the last chunk, write everything, and close the file.

        :raises OSError: something could not be written; and the other errors of ``compressed``.
        """
        assert self._sink is not None
        try:
            await self.put(chunk, last=True)
            assert self._task is not None
            await self._task
            await self._sink.commit(None)
        finally:
            await self.abort()

    async def abort(self) -> None:
        """Close the file as it is; an ``atomic`` one does not appear."""
        if self._task is not None and self._process.is_here:
            self._task.cancel()
            await ended(self._task)
        if self._sink is not None and self._process.is_here:
            await self._sink.aclose()

    def leave(self) -> None:
        """Cancel the task without waiting: the file is garbage, and was never closed."""
        if self._task is not None and self._process.is_here:
            self._task.cancel()
