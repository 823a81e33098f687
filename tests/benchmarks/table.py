"""The table: a figure of ours, a peer's, their ratio, the bar and whether it is met."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

from .measuring import Result


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of a row, in the order of ``HEADINGS``."""

    work: str = ""
    ours: str = ""
    peer: str = ""
    theirs: str = ""
    ratio: str = ""
    bar: str = ""
    verdict: str = ""
    rate: str = ""
    sizes: str = ""
    memory: str = ""


HEADINGS: Final = Row(
    "work", "ours", "peer", "peer's", "ratio", "bar", "verdict", "MB/s", "output MB", "peak MiB"
)
_WIDTHS: Final = (61, 8, 37, 8, 5, 10, 7, 5, 15, 13)


def line(row: Row, work: str = "") -> str:
    """Return a row as a line of Markdown, with the group's work before its own."""
    first, *others = astuple(row)
    cells = (": ".join(filter(None, (work, first))), *others)
    padded = (f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
    return f"| {' | '.join(padded)} |"


def head() -> str:
    """Return the first two lines of the table."""
    return f"{line(HEADINGS)}\n|{'|'.join('-' * (width + 2) for width in _WIDTHS)}|"


def row(work: str, figure: str, bar: str, met: bool) -> Row:  # noqa: FBT001
    """Return the row of a figure that stands for itself."""
    return Row(work, figure, bar=bar, verdict=_verdict(met))


def time_row(
    mine: Result, theirs: Result, bar: float | None, raw: Path | None, work: str = ""
) -> Row:
    """Compare times; ``bar`` is the largest ratio, ``raw`` what our rate is of."""
    ratio = mine.seconds / theirs.seconds
    return Row(
        work,
        _seconds(mine),
        theirs.name,
        _seconds(theirs),
        f"{ratio:.2f}",
        "" if bar is None else f"<= {bar:.2f}",
        "" if bar is None else _verdict(ratio <= bar),
        "" if raw is None else _rate(mine, raw),
        "" if raw is None else _both(mine.size / 1e6, theirs.size / 1e6),
        "" if raw is None else _memory(mine, theirs),
    )


def rate_row(mine: Result, theirs: Result, bar: float, raw: Path, work: str) -> Row:
    """Compare rates: ``bar`` is the smallest ratio."""
    ratio = theirs.seconds / mine.seconds
    return Row(
        f"{work} (ratio of rates)",
        _seconds(mine),
        theirs.name,
        _seconds(theirs),
        f"{ratio:.2f}",
        f">= {bar:.2f}",
        _verdict(ratio >= bar),
        _rate(mine, raw),
        memory=_memory(mine, theirs),
    )


def size_row(mine: Result, theirs: Result, bar: float) -> Row:
    """Compare sizes of the output; ``bar`` is the largest ratio."""
    ratio = mine.size / theirs.size
    ours, other = (f"{result.size / 1e6:.1f} MB" for result in (mine, theirs))
    verdict = _verdict(ratio <= bar)
    return Row("size", ours, theirs.name, other, f"{ratio:.3f}", f"<= {bar:.2f}", verdict)


def _verdict(met: bool) -> str:  # noqa: FBT001
    return "met" if met else "MISSED"


def _seconds(result: Result) -> str:
    return f"{result.seconds:.3f} s"


def _rate(result: Result, raw: Path) -> str:
    return f"{raw.stat().st_size / 1e6 / result.seconds:,.0f}"


def _memory(mine: Result, theirs: Result) -> str:
    return _both(mine.memory / (1 << 20), theirs.memory / (1 << 20))


def _both(mine: float, theirs: float) -> str:
    return f"{mine:.1f} / {theirs:.1f}" if theirs else f"{mine:.1f}" if mine else ""
