"""The one command: counts all rows, compares with the baseline, prints one table."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from . import __doc__ as description
from . import kernel
from .rows import EXECUTORS, ROWS, Row, make_sources

BASELINE: Final = Path(__file__).with_name("baseline.json")
RAM: Final = Path("/dev/shm")
TOLERATED: Final = 0.05
RENEWED_BY: Final = 3
RUNS_AGAIN: Final = 2
RENEW: Final = "python -m tests.benchmarks.guard --renew"


@dataclass(frozen=True, slots=True)
class Measure:
    """A column; one of its units is ``scale`` of what was counted."""

    heading: str
    least: float
    """A change by less for a unit is next to nothing: one more for a whole file or folder."""
    scale: int = 1
    once: float = 0
    """What a whole row may have more of, as it depends on how many threads came to work."""
    of_python: bool = False
    """Whether another version of Python counts differently."""


MEASURES: Final = {
    "system calls": Measure("system calls", 0.2),
    "copied": Measure("KiB copied by the kernel", 0.05, 1 << 10),
    "buffers": Measure("KiB of new buffers", 4, 1 << 10, once=2048),
    "calls": Measure("Python calls", 1, of_python=True),
    "hops": Measure("hops", 0.025),
    "tasks": Measure("tasks", 0.025),
    "peak": Measure("peak KiB", 64, 1 << 10, of_python=True),
    "instructions": Measure("1,000 instructions", 1, 1000, of_python=True),
}

Key: TypeAlias = tuple[str, str]
"""The name of a row and of an executor."""
Costs: TypeAlias = dict[Key, dict[str, float]]
"""Of each row by the measure: for a unit, in that of the column."""

ROW: Final = {row.name: row for row in ROWS}


def main() -> int:
    """Count, compare and print; returns 1 if a count has risen."""
    options = parse_arguments()
    keys = [(row.name, by) for row in ROWS for by in row.executors if options.only in row.name]
    with tempfile.TemporaryDirectory(dir=RAM if RAM.is_dir() else None) as folder:
        make_sources(Path(folder))
        costs = middle([count(Path(folder), keys) for _ in range(options.runs)])
        known = load() if BASELINE.exists() else {}
        if options.renew:
            print_table(costs, known)
            return renew(costs)
        for _ in range(RUNS_AGAIN):  # something unusual may have been counted, too
            again = {key for key, *_ in changes(costs, known, 1)}
            if again:
                costs |= lowest([costs, count(Path(folder), again)], again)
    print_table(costs, known)
    return judge(costs, known)


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.guard", description=description
    )
    add = parser.add_argument
    add("--only", default="", metavar="SUBSTRING", help="only rows whose name has it")
    add("--runs", type=int, default=1, metavar="N", help="take the medians of so many runs")
    add("--renew", action="store_true", help="write the baseline, from 3 runs or more")
    options = parser.parse_args()
    if options.renew and options.only:
        parser.error("the baseline is renewed as a whole")
    if options.renew:
        options.runs = max(options.runs, RENEWED_BY)
    return options


# Counting.


def count(sources: Path, keys: Collection[Key]) -> Costs:
    """Return what rows cost: once as Python sees it, and once as strace does."""
    costs: Costs = {key: {} for key in keys}
    problem = kernel.why_not()
    if problem:
        print(f"skipped: what strace counts: {problem}", flush=True)
    for by in EXECUTORS:
        names = [name for name, executor in keys if executor == by]
        command = (*(sys.executable, "-m", f"{__package__}.counting"), by, str(sources), *names)
        counted = [json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)]
        if not problem:
            log = sources / "strace.log"
            counted.append(json.loads(kernel.traced((*command, "--marks"), log)))
            counted.append(kernel.counts(log))
        for name in names:
            measured = {what: number for one in counted for what, number in one[name].items()}
            costs[name, by] = {
                what: number / MEASURES[what].scale / (1 if what == "peak" else ROW[name].units)
                for what, number in measured.items()
                if _is_steady(ROW[name], by, what)
            }
    return costs


def _is_steady(row: Row, executor: str, what: str) -> bool:
    """Return whether a count is the same in each run."""
    if what == "peak":  # depends on how many threads are at it at once
        return executor == "process" or row.executors == (executor,)
    return what != "calls" or executor in row.steady_calls


def middle(runs: list[Costs]) -> Costs:
    """Return the medians of some runs."""
    return _each(runs, runs[0], statistics.median)


def lowest(runs: list[Costs], keys: Collection[Key]) -> Costs:
    """Return the lowest counts of some runs."""
    return _each(runs, keys, min)


def _each(runs: list[Costs], keys: Collection[Key], choose: Any) -> Costs:
    return {
        key: {what: choose([run[key][what] for run in runs]) for what in runs[0][key]}
        for key in keys
    }


# The baseline.


def load() -> Costs:
    """Return the baseline; without what only another version of Python can be compared with."""
    stored = json.loads(BASELINE.read_text())
    same = stored["python"] == _python()
    if not same:
        print(f"skipped: what Python {stored['python']} counts differently, as this is {_python()}")
    return {
        (name, by): {
            what: cost for what, cost in costs.items() if same or not MEASURES[what].of_python
        }
        for name, of_executors in stored["rows"].items()
        for by, costs in of_executors.items()
    }


def renew(costs: Costs) -> int:
    """Write the baseline."""
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for (name, by), measured in costs.items():
        rows.setdefault(name, {})[by] = {what: round(cost, 3) for what, cost in measured.items()}
    BASELINE.write_text(json.dumps({"python": _python(), "rows": rows}, indent=1) + "\n")
    print(f"\nThis is {BASELINE.name} now; the changes are to what it was.")
    return 0


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def changes(costs: Costs, known: Costs, sign: int) -> Iterator[tuple[Key, str, float, float]]:
    """Yield what rose (or fell, for a ``sign`` of -1): row, measure, cost, and that before."""
    for key, measured in costs.items():
        for what, cost in measured.items():
            before = known.get(key, {}).get(what, cost)
            more = sign * (cost - before)
            measure = MEASURES[what]
            least = max(measure.least, measure.once / ROW[key[0]].units)
            if more > max(least, TOLERATED * before):
                yield key, what, cost, before


def judge(costs: Costs, known: Costs) -> int:
    """Print what rose and what fell; returns 1 if anything rose, or is not known."""
    unknown = [key for key in costs if key not in known]
    rose = list(changes(costs, known, 1))
    fell = list(changes(costs, known, -1))
    print()
    for word, changed in (("ROSE", rose), ("fell", fell)):
        for key, what, cost, before in changed:
            print(f"{word}: {_name(key)}: {_told(key, what, cost, before)}")
    for key in unknown:
        print(f"NEW: {_name(key)} has no baseline")
    if rose or unknown:
        print(f"Make it cheaper; or if it has to cost that: {RENEW}")
    elif fell:
        print(f"So that it stays as low: {RENEW}")
    else:
        print(f"No count has changed by more than {TOLERATED:.0%}.")
    return 1 if rose or unknown else 0


def _name(key: Key) -> str:
    return "{} ({})".format(*key)


def _told(key: Key, what: str, cost: float, before: float) -> str:
    of = "" if what == "peak" else f" per {ROW[key[0]].unit}"
    change = f" ({cost / before - 1:+.0%})" if before else ""
    return f"{MEASURES[what].heading} {before:,.2f} -> {cost:,.2f}{of}{change}"


# The table.


def print_table(costs: Costs, known: Costs) -> None:
    """Print a line for each row, with the change of each count that has one."""
    shown = [what for what in MEASURES if any(what in measured for measured in costs.values())]
    rows = [("row", "per", *(MEASURES[what].heading for what in shown))]
    for key, measured in costs.items():
        cells = (_cell(measured.get(what), known.get(key, {}).get(what)) for what in shown)
        rows.append((_name(key), ROW[key[0]].unit, *cells))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
        if not number:
            print("  ".join("-" * width for width in widths))


def _cell(cost: float | None, before: float | None) -> str:
    if cost is None:
        return ""
    change = cost / before - 1 if before else 0
    return f"{cost:,.2f}" + (f" {change:+.0%}" if abs(change) >= 0.01 else "")


if __name__ == "__main__":
    sys.exit(main())
