"""The benchmarks: what they make of what they measured. Nothing is timed here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks.guard.__main__ import Costs, judge
from tests.benchmarks.people.results import Done, Figure, Point, Results, Scaled

BEFORE: Costs = {
    ("compress a file", "process"): {"system calls": 10.0, "buffers": 260.0},
    ("decompress 50 KB", "thread"): {"system calls": 1.0, "buffers": 12.0},
}


def figure(tool: str, level: int, seconds: float, size: int) -> Figure:
    """A tool that took as long in each of three rounds."""
    return Figure(tool, level, seconds, (seconds,) * 3, size, 50 << 20)


def test_people_draw(tmp_path: Path) -> None:
    """Tables and plots are made of stored results, each ratio beside ours of the same level."""
    figures = [figure(name, level, level * slow / 10, 400 - level) for name, level, slow in TOOLS]
    costs = {"main": 0.1, "workers": 1.0, "memory": 0.05}
    points = [Point(1, 1.1, measured=True), Point(64, 0.1, measured=False)]
    results = Results("2 cores", "a tar, 1 MB", 3)
    results.done.append(
        Done("file to .zst, by level", "raw", plotted=True, raw=1000, figures=figures)
    )
    results.scaled.append(Scaled("folder", 1000, costs, 1.0, points))
    results.save(tmp_path / "results.json")
    command = (sys.executable, "-m", "tests.benchmarks.people", "--draw", "--to", str(tmp_path))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    table = (tmp_path / "results.md").read_text()
    assert "| zstd -T2 3 | 0.600 | 2.00 |" in table
    assert "| 64 | 0.100 | 0 | predicted |" in table
    drawn = [ET.parse(path).getroot() for path in tmp_path.glob("*.svg")]
    said = {text.strip() for svg in drawn for text in svg.itertext()}
    assert {"aiocompress", "zstd -T2"} <= said


TOOLS = [
    ("aiocompress", 3, 1.0),
    ("aiocompress", 9, 1.0),
    ("zstd -T2", 3, 2.0),
    ("zstd -T2", 9, 2.0),
]


@pytest.mark.parametrize(
    ("row", "what", "cost", "verdict"),
    [
        ("compress a file", "system calls", 10.6, "ROSE: compress a file (process): system calls"),
        ("compress a file", "system calls", 10.4, "No count has changed"),
        ("compress a file", "system calls", 9.0, "fell: compress a file (process): system calls"),
        (
            "compress a file",
            "buffers",
            520.0,
            "ROSE: compress a file (process): KiB of new buffers",
        ),
        ("decompress 50 KB", "buffers", 62.0, "ROSE: decompress 50 KB (thread): KiB of new"),
        ("decompress 50 KB", "buffers", 20.0, "No count has changed"),
    ],
)
def test_guard(
    row: str, what: str, cost: float, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rise by more than 5 % fails and is named; what one thread more makes once is none."""
    costs = {
        key: {**measured, **({what: cost} if key[0] == row else {})}
        for key, measured in BEFORE.items()
    }
    assert judge(costs, BEFORE) == verdict.startswith("ROSE")
    assert verdict in capsys.readouterr().out


def test_guard_names_new_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """A row without a baseline fails, so that nobody forgets it."""
    assert judge({**BEFORE, ("list an archive", "thread"): {}}, BEFORE) == 1
    assert "NEW: list an archive (thread) has no baseline" in capsys.readouterr().out
