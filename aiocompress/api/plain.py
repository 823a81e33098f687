"""Files that doors read and write as they are, in the file threads of an engine.

A door's blocking calls wait for a disk like those of the verbs, so they run in the same threads and
never in the event loop's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from aiocompress.api.engine import Engine
from aiocompress.model import DEFAULT_MAX_WINDOW, OnExists
from aiocompress.storage.files import FilePositions, FileSink
from aiocompress.verbs.file.reading import FileReader
from aiocompress.verbs.options import make_reading
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

__all__ = ["PlainFiles"]

T = TypeVar("T")


class PlainFiles:
    """The files of this machine, used in the file threads of an engine."""

    def __init__(self, engine: Engine) -> None:
        self._pool: WorkerPool = engine._pool  # noqa: SLF001 - of the same floor

    async def call(
        self,
        function: Callable[..., T],
        *arguments: object,
        undo: Callable[[T], object] | None = None,
    ) -> T:
        """Run a blocking function; if cancelled, wait for it and ``undo`` its result."""
        self._pool.check()
        return await call(self._pool.files, function, *arguments, undo=undo)

    @asynccontextmanager
    async def reading(self, path: str) -> AsyncGenerator[FilePositions]:
        """Open a file to read at any offset.

        :raises OSError: it cannot be opened.
        """
        self._pool.check()
        file = await FilePositions.open(path, self._pool.files)
        try:
            yield file
        finally:
            await file.aclose()

    async def stated_size(self, path: str) -> int | None:
        """Return the size of a compressed file's content by its own tables; None if it has none.

        :raises OSError: it cannot be read.
        :raises FormatError: it is not compressed.
        """
        file = FileReader(self._pool, path, make_reading(None, DEFAULT_MAX_WINDOW))
        await file.open()
        try:
            return await file.stated_size()
        finally:
            await file.aclose()

    @asynccontextmanager
    async def writing(self, path: str, on_exists: OnExists) -> AsyncGenerator[FileSink]:
        """Begin a file, which gets its name only by ``commit``.

        A link of that name is not followed; with ``on_exists="replace"`` it is replaced.

        :raises FileExistsError: it exists.
        :raises OSError: it cannot be created there.
        """
        self._pool.check()
        sink = await FileSink.open(
            path, self._pool.files, on_exists=on_exists, fsync=True, follow=False
        )
        try:
            yield sink
        finally:
            await sink.aclose()
