"""Async objects for plain code: each has its own loop from its first use until it is closed.

A subclass of ``Held`` defines ``read = method(api.Archive.read)`` for each async method that it
offers, and ``members = iterator(api.Archive.members)`` for each async iterator. Types and
docstrings carry over.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial, wraps
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar

from aiocompress.errors import ClosedError
from aiocompress.sync.loop import LoopThread


class Managed(Protocol):
    """An async context manager, as every object of this library is."""

    async def __aenter__(self) -> Any: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A", bound=Managed)
_OURS = ("aiocompress-loop", "aiocompress-compute", "aiocompress-files", "aiocompress-small")
_AT_ONCE = 256
"""Items that an iterator fetches from the loop at once: a fetch costs two thread switches, which
mostly is more than an item costs."""


class Held(Generic[A]):
    """An async object, used without async; a context manager.

    Any number of threads may use it at once if any number of tasks may use the object.

    :param within: the object that it was opened from, whose loop it shares; None: it has its own.
    """

    what = "the file"
    """Its name in errors."""
    failed: type[BaseException] | None = None
    """The kind of error that ended the ``with`` block."""

    def __init__(self, held: A, within: Held[Any] | None = None) -> None:
        self._held = held
        self._within = within
        self._loop: LoopThread | None = None
        self.is_closed = False
        """Whether ``close`` was called."""

    def run(self, step: Callable[[], Awaitable[T]]) -> T:
        """Run an async method of the object in its loop.

        :raises ClosedError: the object was closed.
        """
        return self.running().run(_awaited(step))

    def call(self, function: Callable[[], T]) -> T:
        """Call a plain function in the object's loop.

        :raises ClosedError: the object was closed.
        """

        async def step() -> T:
            return function()

        return self.run(step)

    def running(self) -> LoopThread:
        """Return the loop, which starts with the first call.

        :raises ClosedError: the object was closed.
        """
        if self.is_closed:
            raise ClosedError(f"{self.what} is closed")
        if self._within is not None:
            return self._within.running()
        if self._loop is None:
            self._loop = LoopThread(self.what).__enter__()
        return self._loop

    def __enter__(self) -> Self:
        """Open it, and return it."""
        try:
            self.run(self._held.__aenter__)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.failed = kind
        self.close()

    def close(self) -> None:
        """Close it, and release everything. Closing twice does no harm."""
        if not self.is_closed:
            self.is_closed = True
            self._release()

    def _release(self) -> None:
        """Close the object in its loop, and end the loop, if it is its own."""
        loop, self._loop = self._loop, None
        if self._within is not None:
            with suppress(ClosedError):  # ``within`` was closed, and has closed this object
                loop = self._within.running()
        if loop is None or not loop.is_here:  # after a fork, it is the parent's
            return
        work = self._held.__aexit__(self.failed, None, None)
        if threading.current_thread().name.startswith(_OURS):
            # Garbage may be collected in any thread, even the loop's or one that it waits for.
            loop.leave(work, last=self._within is None)
            return
        try:
            loop.run(work)
        finally:
            if self._within is None:
                loop.__exit__()

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.close()


async def _awaited(step: Callable[[], Awaitable[T]]) -> T:
    return await step()


def method(
    function: Callable[Concatenate[A, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Held[A], P], T]:
    """Return an async method as a plain method of a ``Held`` class."""

    @wraps(function)
    def run(self: Held[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(partial(function, self._held, *args, **kwargs))

    return run


def iterator(
    function: Callable[Concatenate[A, P], AsyncIterator[T]],
) -> Callable[Concatenate[Held[A], P], Iterator[T]]:
    """Return a method that returns an async iterator as one that returns a plain iterator."""

    @wraps(function)
    def run(self: Held[A], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        items = self.call(partial(function, self._held, *args, **kwargs))
        try:
            while True:
                some, error = self.run(partial(_some, items))
                yield from some
                if error is not None:
                    raise error
                if len(some) < _AT_ONCE:
                    return
        finally:
            close = getattr(items, "aclose", None)
            if close is not None and not self.is_closed:
                self.run(close)

    return run


async def _some(items: AsyncIterator[T]) -> tuple[list[T], Exception | None]:
    """Return the next items, and the error that followed them, if any."""
    some: list[T] = []
    try:
        async for item in items:
            some.append(item)
            if len(some) == _AT_ONCE:
                break
    except Exception as error:  # noqa: BLE001 - raised in its turn
        return some, error
    return some, None
