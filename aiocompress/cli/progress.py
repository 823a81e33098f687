"""How far a run has come: all sources of a command line are one piece of work."""

from __future__ import annotations

import os
import stat
import time
from typing import Final

from aiocompress.api.progress import Bar, figures, terminal
from aiocompress.cli.messages import say
from aiocompress.cli.plan import Options, Task
from aiocompress.model import Progress, printable

_BAR_INTERVAL, _LINE_INTERVAL = 0.1, 5.0
_NOTHING: Final = Progress(0, 0, 0, None)


class Lines:
    """Tells by lines of text, where no bar can be drawn."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def draw(self, progress: Progress) -> None:
        """Print a line."""
        seconds = time.monotonic() - self._begun
        told = [figure for figure in figures(progress, seconds) if figure]
        if progress.total:
            told.insert(0, f"{100 * progress.done // progress.total}%")
        say(f"{progress.stage} {printable(progress.name or '')}".rstrip() + f": {', '.join(told)}")

    def clear(self) -> None:
        """Lines stay."""

    def close(self) -> None:
        """Lines stay."""


class Course:
    """Adds up what its tasks have done, one after another, and shows it.

    Of several files all is one: their sizes are known before. Of several folders each is shown by
    itself, as nobody knows how much is in the next one.
    """

    def __init__(self, tasks: list[Task], shown: Bar | Lines) -> None:
        self._shown = shown
        self._interval = _BAR_INTERVAL if isinstance(shown, Bar) else _LINE_INTERVAL
        self._drawn = time.monotonic()
        self._number, self._of = 0, len(tasks)
        self._is_one = self._of > 1 and all(task.layout is None for task in tasks)
        sizes = [_size(task.source) for task in tasks] if self._is_one else []
        self._total = None if None in sizes else sum(size for size in sizes if size is not None)
        self._before = self._latest = _NOTHING

    @classmethod
    def of(cls, tasks: list[Task], options: Options) -> Course | None:
        """Return what shows it; None: it is not wanted, and no bar can be drawn."""
        if (stderr := terminal()) is not None:
            return cls(tasks, Bar(stderr))
        return cls(tasks, Lines()) if options.progress else None

    def __call__(self, progress: Progress) -> None:
        """Show how far the current task has come."""
        self._latest = self._whole(progress)
        now = time.monotonic()
        if now - self._drawn >= self._interval:
            self._drawn = now
            self._shown.draw(self._latest)

    def _whole(self, now: Progress) -> Progress:
        """Return how far all tasks have come."""
        if not self._is_one:
            number = f" ({self._number + 1} of {self._of})" if self._of > 1 else ""
            return now._replace(stage=now.stage + number)
        before = self._before
        done = before.done + now.done
        return now._replace(
            raw_bytes=before.raw_bytes + now.raw_bytes,
            compressed_bytes=before.compressed_bytes + now.compressed_bytes,
            done=done,
            total=None if self._total is None else max(self._total, done),
            files=self._number + now.files,
            total_files=self._of,
        )

    def end_task(self) -> None:
        """Make room for what is said of a task that has ended."""
        self._number += 1
        self._before = self._latest if self._is_one else _NOTHING
        self._shown.clear()

    def close(self) -> None:
        """Show nothing more."""
        self._shown.close()


def _size(source: str) -> int | None:
    """Return how many bytes a source has, if that can be known before it is read."""
    try:
        status = os.stat(source)
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
