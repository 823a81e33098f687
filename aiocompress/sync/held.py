"""Async objects in plain hands: each has a loop of its own, from its first use until it is closed.

A class that is ``Held`` writes ``read = method(api.Archive.read)`` for each async method that it
offers, and ``members = iterator(api.Archive.members)`` for what is iterated; types and docstrings
stay what they are.
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
    """What every async object of this library is."""

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
"""How many items an iterator takes of the loop at a time: each time costs two switches of threads,
and what one item costs in the loop is mostly less."""


class Held(Generic[A]):
    """An async object, used without async; a context manager.

    Any number of threads may use it at once, if tasks may use the object.

    :param within: what it was opened from, whose loop it shares; None: it has its own.
    """

    what = "the file"
    """What errors call it."""
    failed: type[BaseException] | None = None
    """What has ended the body of ``with``."""

    def __init__(self, held: A, within: Held[Any] | None = None) -> None:
        self._held = held
        self._within = within
        self._loop: LoopThread | None = None
        self.is_closed = False
        """Whether ``close`` was called."""

    def run(self, step: Callable[[], Awaitable[T]]) -> T:
        """Take a step of the object in its loop.

        :raises ClosedError: the object was closed.
        """
        return self.running().run(_awaited(step))

    def call(self, function: Callable[[], T]) -> T:
        """Call a plain function of the object, which wants to be called in its loop.

        :raises ClosedError: the object was closed.
        """

        async def step() -> T:
            return function()

        return self.run(step)

    def running(self) -> LoopThread:
        """Return the loop, which begins with the first step.

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
            with suppress(ClosedError):  # the other one has closed it
                loop = self._within.running()
        if loop is None or not loop.is_here:  # in a fork, it is the parent's
            return
        work = self._held.__aexit__(self.failed, None, None)
        if threading.current_thread().name.startswith(_OURS):
            # Garbage is collected in any thread: the loop may wait for this one, or be in it.
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
    """Return an async method as a plain one of the class that is ``Held``."""

    @wraps(function)
    def run(self: Held[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(partial(function, self._held, *args, **kwargs))

    return run


def iterator(
    function: Callable[Concatenate[A, P], AsyncIterator[T]],
) -> Callable[Concatenate[Held[A], P], Iterator[T]]:
    """Return a method that gives an async iterator as one that gives a plain iterator."""

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
    """Return the next items, and the error that came after them."""
    some: list[T] = []
    try:
        async for item in items:
            some.append(item)
            if len(some) == _AT_ONCE:
                break
    except Exception as error:  # noqa: BLE001 - raised in its turn
        return some, error
    return some, None
