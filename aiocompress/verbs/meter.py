"""Whom a verb tells how far it has come: a callback of the caller's, or a bar on a terminal.

A callback is the caller's own, and its errors end the verb.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from aiocompress.model import Progress, ProgressOption
from aiocompress.workers.threads import ended

if TYPE_CHECKING:
    from aiocompress.verbs.bar import Bar

_INTERVAL: Final = 0.1


class Meter:
    """Tells how far a verb has come, at most ten times a second and once at the end.

    What an async callback returns is awaited beside the work, one after another: a slow one is
    told less often, and holds nothing up but the end.

    :param measure: returns the progress now.
    """

    def __init__(self, option: ProgressOption, measure: Callable[[], Progress]) -> None:
        self._measure = measure
        self._told = 0.0
        self._later: asyncio.TimerHandle | None = None
        """Tells of a stage that began a moment after something else was told."""
        self._telling: asyncio.Future[object] | None = None
        self._bar: Bar | None = None
        self._tell: Callable[[Progress], object] | None = None
        if callable(option):
            self._tell = option
        elif option:
            from aiocompress.verbs.bar import Bar, terminal  # most callers want none

            if (stderr := terminal()) is not None:
                self._bar = Bar(stderr)
                self._tell = self._bar.draw

    @property
    def listens(self) -> bool:
        """Whether anybody is told."""
        return self._tell is not None

    def update(self, *, soon: bool = False) -> None:
        """Tell the progress, unless that was done a moment ago, or is still being told.

        :param soon: if it was done a moment ago, then a moment later.
        """
        moment = time.monotonic()
        if self._tell is None:
            return
        if (early := self._told + _INTERVAL - moment) > 0:
            if soon and self._later is None:
                self._later = asyncio.get_running_loop().call_later(early, self._in_time)
            return
        if self._telling is not None:
            if not self._telling.done():
                return
            self._telling.result()
        self._told = moment
        answer = self._tell(self._measure())
        self._telling = asyncio.ensure_future(answer) if isinstance(answer, Awaitable) else None

    def _in_time(self) -> None:
        self._later = None
        self.update()

    async def finish(self) -> None:
        """Tell the final progress."""
        if self._tell is not None:
            if self._telling is not None:
                await self._telling
            answer = self._tell(self._measure())
            if isinstance(answer, Awaitable):
                await answer

    async def aclose(self) -> None:
        """Remove the bar; stop a callback that has not ended."""
        if self._later is not None:
            self._later.cancel()
        if self._bar is not None:
            self._bar.close()
        if self._telling is not None:
            self._telling.cancel()
            await ended(self._telling)
