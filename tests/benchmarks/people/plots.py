"""Plots as SVG: text stays text, and colours follow the page, light or dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, TypeAlias

from .results import OURS, Done, Figure, Scaled

_WIDTH, _HEIGHT = 860, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 180, 50, 55

_STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 15px }
.grid { stroke: #d8dee4 } .front { stroke: #8c959f; stroke-dasharray: 2 4; fill: none }
.line { fill: none; stroke-width: 2 } .ours { stroke-width: 3.5 }
.predicted { stroke-dasharray: 7 5 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .grid { stroke: #30363d } .front { stroke: #768390 }
}
"""
_COLOURS: Final = (
    *("#d1242f", "#2f81f7", "#1a9850", "#b07d00", "#8250df", "#0fa3a3", "#db61a2", "#7d8590"),
)

XY: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where a value stands on a picture, and what is written beside it."""

    title: str
    ticks: Sequence[float]
    low: float
    high: float
    start: float
    end: float
    log: bool = True

    def at(self, value: float) -> float:
        scale: Callable[[float], float] = math.log if self.log else float
        part = (scale(value) - scale(self.low)) / ((scale(self.high) - scale(self.low)) or 1)
        return self.start + part * (self.end - self.start)


def pareto(done: Done) -> str:
    """Draw speed against size, a line for each tool, and the front that nobody beats."""
    curves: dict[str, list[Figure]] = {}
    for figure in done.figures:
        curves.setdefault(figure.tool, []).append(figure)
    points = {
        tool: [(done.raw / 1e6 / one.seconds, 100 * one.size / done.raw) for one in figures]
        for tool, figures in curves.items()
    }
    every = [point for some in points.values() for point in some]
    across = _logarithmic("MB/s (faster: right)", [x for x, _ in every])
    sizes = [y for _, y in every]
    up = _linear("size of the output, % (smaller: up)", sizes)

    def body() -> Iterator[str]:
        steps = _steps(front(every))
        yield f'<path class="front" d="{_path(steps, across, up)}"/>'
        for number, (tool, some) in enumerate(points.items()):
            colour = _COLOURS[number % len(_COLOURS)]
            ours = " ours" if tool == OURS else ""
            path = _path(some, across, up)
            yield f'<path class="line{ours}" stroke="{colour}" d="{path}"/>'
            for (x, y), figure in zip(some, curves[tool], strict=True):
                told = escape(f"{tool} {figure.level}: {x:,.0f} MB/s, {y:.1f} %")
                spot = f'cx="{across.at(x):.1f}" cy="{up.at(y):.1f}"'
                yield f'<circle {spot} r="4" fill="{colour}"><title>{told}</title></circle>'
                if ours:
                    yield _text(across.at(x) + 6, up.at(y) - 6, str(figure.level))
            yield from _legend(number, tool, colour)
        yield from _legend(len(points), "Pareto front", "", "front")

    return _picture(f"{done.job}", across, up, body())


def scaling(all_scaled: Iterable[Scaled]) -> str:
    """Draw rates by workers: measured, and dashed what is predicted."""
    jobs = list(all_scaled)
    rates = {
        one.job: [(point.workers, one.raw / 1e6 / point.seconds) for point in one.points]
        for one in jobs
    }
    every = [point for some in rates.values() for point in some]
    workers = sorted({int(x) for x, _ in every})
    across = _Axis("workers", [n for n in workers if n & (n - 1) == 0], 1, workers[-1], *_ACROSS)
    up = _logarithmic("MB/s", [y for _, y in every], up=True)

    def body() -> Iterator[str]:
        for number, one in enumerate(jobs):
            colour, points = _COLOURS[number % len(_COLOURS)], rates[one.job]
            measured = sum(point.measured for point in one.points)
            for some, kind in ((points[:measured], ""), (points[measured - 1 :], " predicted")):
                path = _path(some, across, up)
                yield f'<path class="line ours{kind}" stroke="{colour}" d="{path}"/>'
            for x, y in points[:measured]:
                spot = f'cx="{across.at(x):.1f}" cy="{up.at(y):.1f}"'
                yield f'<circle {spot} r="5" fill="{colour}"/>'
            yield from _legend(number, one.job, colour)
        yield from _legend(len(jobs), "dashed: predicted", "", "front")

    return _picture("rate by workers: measured here, predicted beyond", across, up, body())


def front(points: Iterable[XY]) -> list[XY]:
    """Return those that no other point beats in speed and size, from the slowest."""
    best: list[XY] = []
    for speed, size in sorted(points, reverse=True):
        if not best or size < best[-1][1]:
            best.append((speed, size))
    return best[::-1]


def _steps(points: Sequence[XY]) -> list[XY]:
    """Return the corners: what is faster than a point of the front is as large as the next one."""
    corners = []
    for number, (speed, size) in enumerate(points):
        if number:
            corners.append((points[number - 1][0], size))
        corners.append((speed, size))
    return corners


_ACROSS: Final = (_LEFT, _WIDTH - _RIGHT)


def _logarithmic(title: str, values: Sequence[float], *, up: bool = False) -> _Axis:
    low, high = min(values) / 1.2, max(values) * 1.2
    steps = (digit * 10.0**power for power in range(-2, 7) for digit in (1, 2, 5))
    ticks = [value for value in steps if low <= value <= high]
    ends = (_HEIGHT - _BOTTOM, _TOP) if up else _ACROSS
    return _Axis(title, ticks, low, high, *ends)


def _linear(title: str, values: Sequence[float]) -> _Axis:
    """Small values stand high: smaller is better."""
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or 1
    step = max(1, round((high - low) / 6))
    ticks = range(math.ceil(low - room), math.floor(high + room) + 1, step)
    return _Axis(title, ticks, low - room, high + room, _TOP, _HEIGHT - _BOTTOM, log=False)


def _path(points: Iterable[XY], across: _Axis, up: _Axis) -> str:
    return "M" + " L".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in points)


def _legend(number: int, name: str, colour: str, kind: str = "line") -> Iterator[str]:
    x, y = _WIDTH - _RIGHT + 16, _TOP + 10 + 22 * number
    stroke = f' stroke="{colour}"' if colour else ""
    yield f'<path class="{kind}"{stroke} d="M{x},{y} h22"/>'
    yield _text(x + 30, y + 4, name)


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(text)}</text>'


def _picture(title: str, across: _Axis, up: _Axis, body: Iterable[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style>",
            _text(_LEFT, 26, title, ' class="title"'),
            *_frame(across, up),
            *body,
            "</svg>\n",
        ]
    )


def _frame(across: _Axis, up: _Axis) -> Iterator[str]:
    left, right, bottom = _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    for value in across.ticks:
        x = across.at(value)
        yield f'<path class="grid" d="M{x:.1f},{_TOP} V{bottom}"/>'
        yield _text(x, bottom + 18, f"{value:,g}", ' text-anchor="middle"')
    for value in up.ticks:
        y = up.at(value)
        yield f'<path class="grid" d="M{left},{y:.1f} H{right}"/>'
        yield _text(left - 8, y + 4, f"{value:,g}", ' text-anchor="end"')
    yield _text((left + right) / 2, bottom + 42, across.title, ' text-anchor="middle"')
    middle = (_TOP + bottom) / 2
    turned = f' text-anchor="middle" transform="rotate(-90 18 {middle})"'
    yield _text(18, middle, up.title, turned)
