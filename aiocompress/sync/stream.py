"""A ``ByteStream`` without async."""

from __future__ import annotations

import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, ParamSpec, Self, TypeVar

from aiocompress.api.stream import ByteStream
from aiocompress.errors import AiocompressError
from aiocompress.model import Report
from aiocompress.sync.held import Held

P = ParamSpec("P")
T = TypeVar("T")


class Stream(Held[ByteStream], Iterator[bytes]):
    """A ``ByteStream`` without async: an iterator of ``bytes``, a context manager, a file to read.

    ``with`` opens the source. The stream closes itself at its end and on an error; if you stop
    earlier, close it by ``with`` or ``close()``.

    :param within: the archive that it reads.
    """

    what = "the iterator"

    def __init__(self, stream: ByteStream, within: Held[Any] | None = None) -> None:
        super().__init__(stream, within)
        self._lock = threading.Lock()
        self._ended = False

    def __next__(self) -> bytes:
        """Return the next bytes, never empty."""
        with self._alone():
            data: bytes | None = self._step(partial(anext, self._held, b""))
            if not data:
                self._end()
        if not data:
            raise StopIteration
        return data

    def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` bytes, as soon as there are any; none at the end.

        :param size: negative: all that is left.
        """
        with self._alone():
            data = self._step(partial(self._held.read, size)) or b""
            if size < 0 or (size and not data):
                self._end()
            return data

    @property
    def report(self) -> Report:
        """Totals so far as a ``Report``."""
        return self._held.report

    def __enter__(self) -> Self:
        """Open the source, and return the stream.

        :raises OSError: the source cannot be opened.
        """
        with self._alone():
            self._step(self._held.__aenter__)
        return self

    def close(self) -> None:
        """Stop, and release everything. Closing twice does no harm.

        :raises AiocompressError: another thread is reading.
        """
        with self._alone():
            super().close()

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self._end()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise AiocompressError("another thread is reading this stream")
        try:
            yield
        finally:
            self._lock.release()

    def _step(self, step: Callable[[], Awaitable[T]]) -> T | None:
        """Take a step; None: the stream has ended."""
        if self._ended and not self.is_closed:
            return None
        try:
            return self.run(step)
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        self._ended = True
        self._release()


def plain_stream(verb: Callable[P, ByteStream]) -> Callable[P, Stream]:
    """Return a verb that returns a stream as one that returns a plain stream."""

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> Stream:
        return Stream(verb(*args, **kwargs))

    return run
