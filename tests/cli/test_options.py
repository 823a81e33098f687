"""Options in general: what errors recommend exists, and what would do nothing is refused."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import aiocompress
from aiocompress import Engine, sync
from aiocompress.cli import commands, run
from aiocompress.cli.help import Option
from aiocompress.cli.messages import in_flags

from .sample import SMALL

PACKAGE = Path(aiocompress.__file__).parent
VERBS = {name: command for name, command in commands.cli.commands.items() if not command.hidden}


def flags_of(verb: str) -> set[str]:
    """Return all flags of a verb."""
    options = [option for option in VERBS[verb].params if isinstance(option, click.Option)]
    return {flag for option in options for flag in (*option.opts, *option.secondary_opts)}


# What errors recommend.

READING = {"decompress", "extract", "list", "cat", "diff", "test", "recover", "compress"}
WRITING = {"decompress", "extract", "recover", "compress"}
MET_BY = {
    "--max-window": READING,
    "--max-metadata": {"extract", "list", "cat", "diff", "test"},
    "--memory-limit": READING | {"serve"},
    "-T": READING | {"serve"},
    "--keep-going": {"extract", "decompress", "compress"},
    "-f": WRITING,
    "--preserve": {"extract"},
    "--chunk-size": {"compress"},
    # Errors of limits that somebody has set.
    "--max-output": {"decompress", "extract", "compress"},
    "--max-members": {"decompress", "extract"},
    "--max-member-size": {"decompress", "extract"},
    "--max-input": set(),
}
"""Which verbs may meet an error that recommends a flag."""


def _advice() -> Iterator[str]:
    """Yield what errors of the library say, as the command line says it."""
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name not in {"cli", "web", "api", "sync"}:
            source = re.sub(r'"""(.|\n)*?"""', "", path.read_text())
            yield from (in_flags(text) for text in re.findall(r'"([^"\n]* [^"\n]*)"', source))


def test_what_errors_recommend() -> None:
    """Each flag that an error may name is one of every verb that may meet the error."""
    named = {
        flag
        for text in (re.sub("`[^`]*`", "", advice) for advice in _advice())
        for flag in re.findall(r"(?<![\w`-])(?:--[a-z-]+[a-z]|-[a-zA-Z]\b)", text)
    }
    assert {"--max-window", "--keep-going", "-f", "-T"} <= named
    assert named <= set(MET_BY)
    for flag, verbs in MET_BY.items():
        for verb in verbs:
            assert flag in flags_of(verb), f"{flag} of {verb}"


# What does nothing.

VALUES = {
    "--level": "5",
    "--codec": "gzip",
    "--chunk-size": "64K",
    "--layout": "framed",
    "--exclude": "x",
    "--exclude-from": "rules",
    "--prefix": "p",
    "--max-output": "1M",
    "--max-window": "1M",
    "--max-metadata": "1M",
    "--max-members": "5",
    "--max-member-size": "1M",
    "--memory-limit": "99M",
    "--strip-components": "1",
    "--output": "out",
    "num_workers": "1",
}
LINES = [
    "compress small -f",
    "compress small -c",
    "compress tree -f",
    "compress tree -o mirror",
    "compress tree small -o both.tar.zst",
    "compress small -o one.tar.zst",
    "compress -d small.zst -f",
    "decompress small.zst -f",
    "decompress small.zst -c",
    "decompress packed -o out",
    "extract tree.tar.zst -o out",
    "extract tree.tar.zst tree/small -o out",
    "list tree.tar.zst",
    "diff tree.tar.zst tree",
    "cat tree.tar.zst tree/small",
    "test small.zst",
    "recover tree.tar.zst -o out",
]
CHOICE = {"extract tree.tar.zst -o out"}
BOTH_WAYS = {"--level", "--codec", "--chunk-size"}
"""What `tar -I` gives to both directions."""
QUIET = {"--verbose", "--quiet", "--fsync", "--no-progress"}
"""What shows only on a terminal, in an error or on a disk."""


class Seen(Engine):
    """An engine that takes note of how it is used."""

    calls: list[object]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options, executor="thread")
        Seen.calls.append((arguments, options))

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not callable(found):
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            told = options | {"progress": bool(options.get("progress"))}
            Seen.calls.append((name, [a for a in arguments if isinstance(a, str | tuple)], told))
            return found(*arguments, **options)

        return call


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, here: Path) -> Any:
    """Run a command line in this process; returns all that can be seen of it."""
    (here / "tree").mkdir()
    (here / "tree/small").write_bytes(SMALL)
    (here / "rules").write_text("x\n")
    sync.compress_file("small", "small.zst")
    sync.compress_folder("tree", "tree.tar.zst", prefix="tree")
    sync.compress_folder("tree", "packed")
    monkeypatch.setattr(run, "Engine", Seen)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(os, "_exit", sys.exit)
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}

    def seen(line: str, capfdbinary: pytest.CaptureFixture[bytes]) -> tuple[Any, ...]:
        Seen.calls = []
        with pytest.raises(SystemExit) as ended:
            commands.cli(line.split(), prog_name="aiocompress")
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        after = {path for path in here.rglob("*") if path.is_file()}
        gone = set(before) - after
        for path in after - set(before):
            path.unlink()
        for path, data in before.items():
            path.write_bytes(data)
        return ended.value.code, re.sub(rb"[\d.,]+", b"", out + err), str(Seen.calls), gone

    return seen


@pytest.mark.parametrize(
    "line",
    [pytest.param(line, marks=[] if line in CHOICE else pytest.mark.faults) for line in LINES],
)
def test_an_option_does_something(
    line: str, seen: Any, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """It changes how the library is called, what is printed or what is left: or it is refused."""
    words = line.split()
    plain = seen(line, capfdbinary)
    assert plain[0] == 0, plain
    for option in VERBS[words[0]].params:
        if not isinstance(option, Option) or option.name == "decompress":
            continue
        for flag in (option.opts[-1], *option.secondary_opts):
            value = VALUES.get(flag) or VALUES.get(str(option.name), "")
            both_ways = "-d" in words and flag in BOTH_WAYS
            if not (both_ways or flag in QUIET or {*option.opts} & {*words}):
                assert seen(f"{line} {flag} {value}", capfdbinary) != plain, flag
