"""Progress: a callback at most 10 times a second, or a bar on the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Self

from .model import Progress, ProgressOption

_INTERVAL: Final = 0.1


class Meter:
    """Tells a callback, or a tqdm bar on stderr if that is a terminal, how far a verb has come.

    :param measure: returns the progress now.
    """

    def __init__(
        self, option: ProgressOption, measure: Callable[[], Progress], label: str = ""
    ) -> None:
        self._measure = measure
        self._told = 0.0
        self._bar: Any = None
        self._tell: Callable[[Progress], object] | None = None
        if option is True:
            self._tell = self._draw
            self._label = label
        elif option is not False:
            self._tell = option

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._tell is not None and kind is None:
            self._tell(self._measure())
        if self._bar is not None:
            self._bar.close()

    def update(self) -> None:
        """Tell it, unless it was told a moment ago."""
        if self._tell is not None and (now := time.monotonic()) - self._told >= _INTERVAL:
            self._told = now
            self._tell(self._measure())

    def _draw(self, progress: Progress) -> None:
        if self._bar is None:
            from tqdm import tqdm  # noqa: PLC0415 - costs more than a small file

            self._bar = tqdm(
                desc=self._label,
                total=progress.total,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                dynamic_ncols=True,
                disable=None,
                leave=False,
            )
        told = [f"{progress.files:,} files"] if progress.files > 1 else []
        if progress.compressed_bytes:
            told.append(f"ratio {progress.raw_bytes / progress.compressed_bytes:.2f}")
        self._bar.set_postfix_str(", ".join(told), refresh=False)
        self._bar.update(progress.done - self._bar.n)
