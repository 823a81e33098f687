"""Whom a verb tells how far it has come: a callback of the caller's, or a bar on a terminal.

A verb must not fail, or wait, because nobody can look at a bar: stderr may be missing, closed, or
full. A callback is the caller's own, and its errors end the verb.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TextIO

from aiocompress.model import Progress, ProgressOption, printable, readable_size
from aiocompress.workers.threads import ended

_INTERVAL: Final = 0.1
_LONGEST_NAME: Final = 30
_FORMAT: Final = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
_ENDLESS_FORMAT: Final = "{desc} {elapsed}{postfix}"


class Meter:
    """Tells how far a verb has come, at most ten times a second and once at the end.

    What an async callback returns is awaited beside the work, one after another: a slow one is
    told less often, and holds nothing up but the end.

    :param measure: returns the progress now.
    """

    def __init__(self, option: ProgressOption, measure: Callable[[], Progress]) -> None:
        self._measure = measure
        self._told = 0.0
        self._telling: asyncio.Future[object] | None = None
        self._bar: Bar | None = None
        self._tell: Callable[[Progress], object] | None = None
        if callable(option):
            self._tell = option
        elif option and (terminal := _terminal()) is not None:
            self._bar = Bar(terminal)
            self._tell = self._bar.draw

    @property
    def listens(self) -> bool:
        """Whether anybody is told."""
        return self._tell is not None

    def update(self) -> None:
        """Tell the progress, unless that was done a moment ago, or is still being told."""
        if self._tell is None or (now := time.monotonic()) - self._told < _INTERVAL:
            return
        if self._telling is not None:
            if not self._telling.done():
                return
            self._telling.result()
        self._told = now
        answer = self._tell(self._measure())
        self._telling = asyncio.ensure_future(answer) if isinstance(answer, Awaitable) else None

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
        if self._bar is not None:
            self._bar.close()
        if self._telling is not None:
            self._telling.cancel()
            await ended(self._telling)


def _terminal() -> TextIO | None:
    """Return stderr if it is a terminal."""
    with suppress(Exception):  # there may be none, or anything in its place
        return sys.stderr if sys.stderr.isatty() else None
    return None


class Bar:
    """A bar on a terminal; it is gone as soon as that cannot be written to."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal: TextIO | None = terminal
        self._bar: Any = None
        self._width = 0

    def draw(self, progress: Progress) -> None:
        """Show how far a verb has come."""
        if self._terminal is not None:
            try:
                self._draw(self._terminal, progress)
            except Exception:  # noqa: BLE001 - no fault of a bar is one of the work
                self._terminal = None

    def _draw(self, terminal: TextIO, progress: Progress) -> None:
        if self._bar is None:
            self._bar = _new_bar(terminal)
        bar = self._bar
        bar.n, bar.total = progress.done, progress.total
        bar.bar_format = _FORMAT if bar.total else _ENDLESS_FORMAT
        bar.set_description_str(self._described(progress), refresh=False)
        bar.set_postfix_str(_told(progress, bar.format_dict["elapsed"]), refresh=False)
        bar.refresh()

    def _described(self, progress: Progress) -> str:
        """Return what is done to which file; as wide as ever before, so that the bar stays."""
        name = printable(progress.name or "")
        if len(name) > _LONGEST_NAME:
            name = "…" + name[1 - _LONGEST_NAME :]
        text = f"{progress.stage} {name}".rstrip()
        self._width = max(self._width, len(text))
        return text.ljust(self._width)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            with suppress(Exception):
                self._bar.close()


def _new_bar(terminal: TextIO) -> Any:
    import threading

    from tqdm import tqdm  # costs more than a small file

    class Quiet(tqdm):  # type: ignore[type-arg] # it counts, and iterates over nothing
        """A bar without a thread that watches it, and without a lock between processes."""

        monitor_interval = 0

    Quiet.set_lock(threading.RLock())
    # With a delay, nothing is drawn before there is something to say.
    return Quiet(file=terminal, dynamic_ncols=True, leave=False, delay=1e-9)


def _told(progress: Progress, seconds: float) -> str:
    """Return what the bar says in figures, as the summary of the command line says it."""
    sizes = readable_size(progress.done)
    if progress.total:
        sizes += f" of {readable_size(progress.total)}"
    told = [sizes]
    if seconds:
        told.append(f"{readable_size(progress.raw_bytes / seconds)}/s")
    if progress.total_files is not None and progress.total_files > 1:
        told.append(f"{progress.files:,} of {progress.total_files:,} files")
    elif progress.files > 1:
        told.append(f"{progress.files:,} files")
    if progress.compressed_bytes:
        told.append(f"ratio {progress.raw_bytes / progress.compressed_bytes:.2f}")
    return ", ".join(told)
