"""What was measured: as JSON, and as tables of Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

MIB: Final = 1 << 20
OURS: Final = "aiocompress"


@dataclass(frozen=True, slots=True)
class Figure:
    """What one tool takes for a job: medians; memory is the peak of all its processes together.

    :param times: of each round that counts, in seconds.
    :param size: of the output, in bytes; 0 for a folder.
    :param memory: bytes; 0 if it was not watched.
    """

    tool: str
    level: int | None
    seconds: float
    times: tuple[float, ...]
    size: int
    memory: int


@dataclass(frozen=True, slots=True)
class Done:
    """A job, and all who did it, ours first.

    :param of: "raw" or "calls", as in ``jobs.py``.
    """

    job: str
    of: str
    plotted: bool
    raw: int
    figures: list[Figure]


@dataclass(frozen=True, slots=True)
class Point:
    """The seconds of some workers; measured, or else predicted."""

    workers: int
    seconds: float
    measured: bool


@dataclass(frozen=True, slots=True)
class Scaled:
    """A job with more and more workers, and the costs that the prediction is made of.

    :param costs: seconds of the main process, all workers and memory, by name.
    :param factor: what ``scaling.py`` has fitted.
    """

    job: str
    raw: int
    costs: dict[str, float]
    factor: float
    points: list[Point]


@dataclass(slots=True)
class Results:
    """All of a run."""

    machine: str
    corpus: str
    rounds: int
    done: list[Done] = field(default_factory=list)
    scaled: list[Scaled] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what ``save`` wrote."""
        stored = json.loads(path.read_text())
        done = [
            Done(**{**one, "figures": [Figure(**figure) for figure in one["figures"]]})
            for one in stored.pop("done")
        ]
        scaled = [
            Scaled(**{**one, "points": [Point(**point) for point in one["points"]]})
            for one in stored.pop("scaled")
        ]
        return cls(**stored, done=done, scaled=scaled)


def markdown(results: Results) -> str:
    """Return all tables."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Results) -> Iterator[str]:
    yield f"{results.machine}; {results.corpus}; medians of {results.rounds} interleaved rounds."
    yield "A ratio is the tool's time to ours: above 1, we are faster."
    for done in results.done:
        yield from ("", f"### {done.job}", "")
        yield from _table(done)
    for scaled in results.scaled:
        yield from ("", f"### {scaled.job}, by workers", "")
        yield from _scaling(scaled)


def _table(done: Done) -> Iterator[str]:
    rate = done.of == "raw"
    head = ["tool", "seconds", "ratio", *(["MB/s"] if rate else []), "output MB", "peak MiB"]
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'---:|' * (len(head) - 1)}"
    for figure in done.figures:
        base = _same_level(done, figure)
        cells = [
            figure.tool.replace("|", "\\|") + ("" if figure.level is None else f" {figure.level}"),
            f"{figure.seconds:.3f}",
            f"{figure.seconds / base.seconds:.2f}" if base else "",
            *([f"{done.raw / 1e6 / figure.seconds:,.0f}"] if rate else []),
            f"{figure.size / 1e6:,.1f}" if figure.size > 1e4 else "",
            f"{figure.memory / MIB:,.0f}" if figure.memory else "",
        ]
        yield f"| {' | '.join(cells)} |"


def _same_level(done: Done, figure: Figure) -> Figure | None:
    """Return ours of the same level."""
    same = (one for one in done.figures if one.tool.startswith(OURS) and one.level == figure.level)
    return next(same, None)


def _scaling(scaled: Scaled) -> Iterator[str]:
    yield "| workers | seconds | MB/s | |"
    yield "|---:|---:|---:|---|"
    for point in scaled.points:
        how = "measured" if point.measured else "predicted"
        rate = scaled.raw / 1e6 / point.seconds
        yield f"| {point.workers} | {point.seconds:.3f} | {rate:,.0f} | {how} |"
    costs = ", ".join(f"{what} {seconds:.3f} s" for what, seconds in scaled.costs.items())
    yield f"\nThe prediction is made of measured costs: {costs};"
    yield f"what is lost to waiting for each other: a factor of {scaled.factor:.2f}."
