"""Files that doors read and write as they are, in the file threads of an engine.

A door's blocking calls wait for a disk like those of the verbs, so they run in the same threads and
never in the event loop's.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from aiocompress.api.engine import Engine
from aiocompress.model import DEFAULT_MAX_WINDOW, Codec, OnExists
from aiocompress.storage.files import FilePositions, FileSink
from aiocompress.verbs.file.reading import FileReader
from aiocompress.verbs.options import make_reading
from aiocompress.verbs.single import coding_of
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

__all__ = ["PlainFiles"]

T = TypeVar("T")

_MOST_KNOWN: Final = 1024
_SETTLED: Final = 2
"""Seconds after which a change of a file shows in its times, however coarse they are."""
_known: Final[OrderedDict[tuple[object, ...], Any]] = OrderedDict()
"""What was found out about files, by their identities."""


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

    async def content_encoding(self, path: str, status: os.stat_result) -> Codec | None:
        """Return the ``Content-Encoding`` under which the file can be sent as it is.

        :raises OSError: it cannot be read.
        """
        return await _remembered("coding", status, lambda: coding_of(self._pool, path))

    async def stated_size(self, path: str, status: os.stat_result) -> int | None:
        """Return the size of a compressed file's content by its own tables; None if it has none.

        :raises OSError: it cannot be read.
        :raises FormatError: it is not compressed.
        """
        return await _remembered("size", status, lambda: self._stated_size(path))

    async def _stated_size(self, path: str) -> int | None:
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


async def _remembered(what: str, status: os.stat_result, find_out: Callable[[], Awaitable[T]]) -> T:
    """Return something about a file, which is looked at again only when it has changed.

    To find it out takes a dozen calls of threads, which is most of the work on a short download.
    """
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    key = (what, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, changed)
    if key in _known:
        _known.move_to_end(key)
        found: T = _known[key]
        return found
    found = await find_out()
    if changed < time.time_ns() - _SETTLED * 10**9:
        _known[key] = found
        if len(_known) > _MOST_KNOWN:
            _known.popitem(last=False)
    return found
