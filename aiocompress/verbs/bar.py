"""A line on a terminal that says how far a verb has come.

A verb must not fail, or wait, because nobody can look at it: stderr may be missing, closed, or
full. What does not fit into the width of the terminal is left out, the least important first; so a
line never breaks, whatever a file is called.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import suppress
from typing import Any, Final, TextIO

from aiocompress.model import Progress, printable, readable_size

_DELAY: Final = 0.3
"""Seconds before a bar appears: what is done sooner needs none."""
_TICK: Final = 0.5
"""Seconds after which it is drawn again, though nothing has happened: time has passed."""
_LEAST_NAME, _MOST_NAME = 9, 31
_BEFORE_NAME: Final = 2
"""How many figures are more important than the name of a file."""
_MORE: Final = 12
"""Columns of one more figure."""
_BETWEEN: Final = ", "
_PERCENT, _BAR = 5, 12
"""Columns of a percentage, and of a bar with its ends at least."""
_NARROW: Final = 60
"""Columns of a terminal below which figures take the place of the bar."""
_ERASE: Final = "\r\x1b[K"
"""Begins a line: the one before may be longer, as the terminal had another width."""
_COLUMNS: Final = 80
"""The width of a terminal that does not say it."""


def terminal() -> TextIO | None:
    """Return stderr, if it is a terminal on which a line can be drawn again."""
    with suppress(Exception):  # there may be none, or anything in its place
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            return sys.stderr
    return None


class Bar:
    """A bar on a terminal; it is gone as soon as that cannot be written to."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal: TextIO | None = terminal
        self._begun = time.monotonic()
        self._bar: Any = None
        self._widest = [0] * 5
        self._latest: Progress | None = None
        self._ticking: asyncio.TimerHandle | None = None

    def draw(self, progress: Progress) -> None:
        """Show how far a verb has come."""
        self._latest = progress
        if self._terminal is None:
            return
        try:
            if time.monotonic() - self._begun >= _DELAY:
                self._draw(self._terminal, progress)
            if self._ticking is None:
                self._tick()
        except Exception:  # noqa: BLE001 - no fault of a bar is one of the work
            self._terminal = None

    def _tick(self) -> None:
        self._ticking = asyncio.get_running_loop().call_later(_TICK, self._draw_again)

    def _draw_again(self) -> None:
        self._ticking = None
        if self._latest is not None:
            self.draw(self._latest)

    def _draw(self, terminal: TextIO, progress: Progress) -> None:
        if self._bar is None:
            self._bar = _new_bar(terminal)
        bar = self._bar
        bar.n, bar.total = progress.done, progress.total
        seconds = time.monotonic() - self._begun
        columns = _shape(terminal)[0]
        bar.bar_format = _line(progress, seconds, columns, self._widest)
        terminal.write(_ERASE)
        bar.refresh()

    def clear(self) -> None:
        """Make room for a line of text: the bar comes back with the next thing to say."""
        self._latest = None
        if self._bar is not None:
            with suppress(Exception):
                self._bar.clear()

    def close(self) -> None:
        """Remove the bar."""
        self._terminal = None
        if self._ticking is not None:
            self._ticking.cancel()
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
    bar: Any = Quiet(file=terminal, dynamic_ncols=True, leave=False, delay=1e-9)
    bar.dynamic_ncols = _shape
    return bar


def _shape(terminal: Any) -> tuple[int, None]:
    """Return how many columns a terminal has, as tqdm asks for it: a line needs one less."""
    columns = 0
    with suppress(AttributeError, OSError, ValueError):
        columns = os.get_terminal_size(terminal.fileno()).columns
    return max(1, (columns or _COLUMNS) - 1), None


def _line(progress: Progress, seconds: float, columns: int, widest: list[int]) -> str:
    """Return the line, as a format in which tqdm puts the bar.

    :param widest: how wide each figure was at most, so that what is left out does not change with
        every line.
    """
    from tqdm.utils import disp_len, disp_trim

    bar, least = ("|{bar}| ", _BAR) if columns >= _NARROW else (" ", 0)
    room = columns - (_PERCENT + least + 1 if progress.total else 1)
    stage = disp_trim(progress.stage, max(0, room))
    room -= disp_len(stage)
    told, name = [], ""
    for number, figure in enumerate(figures(progress, seconds)):
        if number == _BEFORE_NAME and progress.name and room > _LEAST_NAME:
            span = max(_LEAST_NAME, min(_MOST_NAME, room - _MORE))
            name = " " + _end_of(printable(progress.name), span - 1)
            room -= span
        widest[number] = max(widest[number], disp_len(figure) + len(_BETWEEN))
        if figure and widest[number] <= room:
            told.append(figure)
            room -= widest[number]
    left, right = (
        part.replace("{", "{{").replace("}", "}}") for part in (stage + name, _BETWEEN.join(told))
    )
    if progress.total:
        return f"{left} {{percentage:3.0f}}%{bar}{right}"
    return f"{left} {right}"


def _end_of(name: str, columns: int) -> str:
    """Return the end of a name, in so many columns, so that what stands behind it stays there."""
    from tqdm.utils import disp_len

    if disp_len(name) > columns:
        while disp_len(name) >= columns:
            name = name[1:]
        name = "…" + name
    return name + " " * (columns - disp_len(name))


def figures(progress: Progress, seconds: float) -> list[str]:
    """Return what there is to say in figures, the most important first; "" is not known."""
    sizes, files, ratio = readable_size(progress.done), "", ""
    if progress.total:
        sizes += f" of {readable_size(progress.total)}"
    if progress.total_files is not None and progress.total_files > 1:
        files = f"{progress.files:,} of {progress.total_files:,} files"
    elif progress.files > 1:
        files = f"{progress.files:,} files"
    clock = _clock(seconds)
    if progress.total and progress.done:
        clock = f"{_clock(seconds * (progress.total - progress.done) / progress.done)} left"
    rate = f"{readable_size(progress.raw_bytes / seconds)}/s" if seconds else ""
    if progress.compressed_bytes:
        ratio = f"ratio {progress.raw_bytes / progress.compressed_bytes:.2f}"
    return [sizes, files, clock, rate, ratio]


def _clock(seconds: float) -> str:
    from tqdm import tqdm

    return str(tqdm.format_interval(seconds))
