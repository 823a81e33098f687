"""How many faults of a kind are made, and the sum that is told at the end."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

WHOLE = int(os.environ.get("AIOCOMPRESS_FAULTS", "1000"))
"""How many of a kind ``pytest -m faults`` makes."""
SEED = os.environ.get("AIOCOMPRESS_SEED", "aiocompress")
tried: Counter[str] = Counter()
lost: Counter[str] = Counter()
notes: dict[str, str] = {}

quick_and_whole = pytest.mark.parametrize(
    "whole", [False, pytest.param(True, marks=pytest.mark.faults)], ids=["quick", "whole"]
)
"""A choice in every run; all of it with ``-m faults``."""


def quick_or_whole(
    names: str, rows: Iterable[tuple[Any, ...]], is_quick: Callable[..., bool]
) -> pytest.MarkDecorator:
    """Give a test all rows with ``-m faults``, and those that are quick in every run."""
    rows = list(rows)
    quick = [pytest.param(*row, False, id=_named(row, "quick")) for row in rows if is_quick(*row)]
    whole = [
        pytest.param(*row, True, id=_named(row, "whole"), marks=pytest.mark.faults) for row in rows
    ]
    return pytest.mark.parametrize((*names.split(), "whole"), [*quick, *whole])


def _named(row: tuple[Any, ...], much: str) -> str:
    words = (getattr(value, "__name__", value) for value in (*row, much))
    return "-".join(map(str, words))


class Loss(AssertionError):  # noqa: N818 - it is what the sum counts
    """Something is lost, or left behind."""


def count(kind: str, number: int = 1) -> None:
    """Count faults that were survived."""
    tried[kind] += number


def lose(kind: str, what: str) -> None:
    """Count a loss, and fail."""
    lost[kind] += 1
    raise Loss(f"{kind}: {what}")


def note(kind: str, text: str) -> None:
    """Have something said at the end beside the counts."""
    notes[kind] = text


def counted() -> dict[str, dict[str, Any]]:
    """Return what this process has counted, in plain values."""
    return {"tried": dict(tried), "lost": dict(lost), "notes": notes}


def add(other: dict[str, dict[str, Any]]) -> None:
    """Add what another process has counted."""
    tried.update(other["tried"])
    lost.update(other["lost"])
    notes.update(other["notes"])


def tell(terminal: Any) -> None:
    """Tell how many faults were made, and what was lost."""
    if not tried:
        return
    terminal.section("faults")
    for kind in sorted(tried | lost):
        note = f" ({notes[kind]})" if kind in notes else ""
        terminal.write_line(f"{kind}: {tried[kind]:,} tried, {lost[kind] or 'none'} lost{note}")
    terminal.write_line(f"in all: {tried.total():,} tried, {lost.total() or 'none'} lost")


def dice(*about: Any) -> random.Random:
    """Return chance that is the same in every run."""
    return random.Random(f"{SEED} {about}")


def chosen(number: int, most: int, *about: Any) -> Iterator[int]:
    """Yield at most that many of 0 .. number - 1: evenly spread, from a start that chance says."""
    step = max(1, -(-number // most))
    yield from range(dice(*about).randrange(step) if number else 0, number, step)
