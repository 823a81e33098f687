"""Async generators in the hands of callers, who may leave them unclosed, or fork.

A loop that ends closes every generator it knows of, all at the same time: also those inside of
another one, which is about to close them itself, and it tells of the errors. So it gets to know
only the outermost, which closes the others in their order.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Generator
from types import AsyncGeneratorType, coroutine
from typing import Any, Generic, TypeVar

from aiocompress.workers.forks import Begun

T = TypeVar("T")


class Iterating(Generic[T]):
    """An async generator that is read in one process, the one that began it.

    :param what: what errors call it.
    """

    def __init__(self, steps: AsyncGenerator[T], what: str) -> None:
        assert isinstance(steps, AsyncGeneratorType)
        self._steps, self._what = steps, what
        self._begun: Begun | None = None

    @property
    def is_left(self) -> bool:
        """Whether this process has begun it, and nobody has closed it."""
        return self._begun is not None and self._begun.is_here and self._steps.ag_frame is not None

    def check(self) -> None:
        """Check that it is not another process's.

        :raises AiocompressError: it was begun in the process of which this is a fork.
        """
        if self._begun is not None:
            self._begun.check()

    async def next(self) -> T:
        """Return what comes next."""
        self._begun = self._begun or Begun(self._what)
        self._begun.check()
        item: T = await _unseen(anext(self._steps))
        return item

    async def aclose(self) -> None:
        """End it."""
        self.check()
        await self._steps.aclose()


def _leave(_: object) -> None:
    """Leave a generator that is garbage to the outermost one, which is garbage, too."""


@coroutine
def _unseen(step: Any) -> Generator[Any, Any, Any]:
    """Run a step of a generator; its loop does not hear of others that begin in it."""
    resume, value = step.send, None
    while True:
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, _leave)
        try:
            waited = resume(value)
        except StopIteration as end:
            return end.value
        finally:
            value = None  # an error goes out through this frame: held here, it would hold itself
            sys.set_asyncgen_hooks(*hooks)
        try:
            resume, value = step.send, (yield waited)
        except BaseException as error:  # noqa: BLE001 - passed on
            resume, value = step.throw, error
