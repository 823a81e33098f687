"""Streams: bytes compressed and decompressed as they come."""

from __future__ import annotations

import time
import warnings
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Self

from aiocompress.errors import AiocompressError, ClosedError
from aiocompress.model import Report
from aiocompress.storage.pipes import PipeSink, PipeSource
from aiocompress.verbs.base import Tally
from aiocompress.verbs.iterating import Iterating

__all__ = ["ByteStream", "PipeSink", "PipeSource"]


class ByteStream(AsyncIterator[bytes]):
    """An async iterator of ``bytes``, as they become ready; also an async context manager.

    ``async with`` opens the source: what is missing is an error there, before a server has sent
    any header. The stream closes itself at its end, on an error and when cancelled. Whoever leaves
    it earlier closes it, by ``async with`` or ``aclose()``. Only one task may read it at a time.

    :param chunks: its first item is empty, and says that the source is open.
    """

    def __init__(self, chunks: AsyncGenerator[bytes], tally: Tally) -> None:
        self._chunks, self.tally = Iterating(chunks, "the stream"), tally
        self._started: float | None = None
        self._left = memoryview(b"")
        """What ``read`` has not taken yet of the bytes that came last."""
        self._reading = self._closed = False

    async def __anext__(self) -> bytes:
        """Return the next bytes, never empty.

        :raises ClosedError: after ``aclose()``.
        :raises AiocompressError: another task is reading, or the stream was begun in the process
            of which this is a fork; or what the verb raises.
        """
        if self._started is None:
            await self._advance()
        if self._left and not self._closed:
            data, self._left = bytes(self._left), memoryview(b"")
            return data
        return await self._advance()

    async def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` bytes, as soon as there are any; none at the end.

        :param size: negative: all that is left.
        :raises ClosedError: after ``aclose()``; and so on, as for the iterator.
        """
        if size < 0:
            return b"".join([data async for data in self])
        if size and not self._left:
            self._left = memoryview(await anext(self, b""))
        elif self._closed:
            raise ClosedError("the stream is closed")
        data, self._left = bytes(self._left[:size]), self._left[size:]
        return data

    async def _advance(self) -> bytes:
        """Go on to the next item, the first of which is empty."""
        if self._closed:
            raise ClosedError("the stream is closed")
        self._check()
        self._started = self._started or time.perf_counter()
        self._reading = True
        try:
            return await self._chunks.next()
        finally:
            self._reading = False

    @property
    def report(self) -> Report:
        """What has gone through so far, as a ``Report``."""
        started = self._started or time.perf_counter()
        return self.tally.report(time.perf_counter() - started)

    async def __aenter__(self) -> Self:
        """Open the source, and return the stream.

        :raises OSError: the source cannot be opened.
        :raises ClosedError: after ``aclose()``, or that of the engine.
        """
        if self._started is None:
            await self._advance()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop, and release workers, memory and source. Closing twice does no harm.

        :raises AiocompressError: another task is reading, or the stream was begun in the process
            of which this is a fork.
        """
        self._check()
        self._closed = True
        self._left = memoryview(b"")
        await self._chunks.aclose()

    def _check(self) -> None:
        self._chunks.check()
        if self._reading:
            raise AiocompressError("another task is reading this stream")

    def __del__(self) -> None:
        if self._chunks.is_left:
            warnings.warn("a ByteStream was not closed", ResourceWarning, stacklevel=2, source=self)
