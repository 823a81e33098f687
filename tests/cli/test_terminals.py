"""Standard descriptors that are closed, and terminals."""

# ruff: noqa: FBT001 - a parameter says what is expected

from __future__ import annotations

import os
import pty
import select
import subprocess
import termios
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from aiocompress.cli import progress
from aiocompress.cli.plan import Options, Task
from aiocompress.model import Progress

from ..help.programs import COMMAND, done, failed, limited, ours
from .sample import LARGE, SMALL


def test_a_stdin_that_cannot_be_read(tmp_path: Path) -> None:
    """The error is told of it, and not of what is written to."""
    with (tmp_path / "x").open("wb") as file:
        said = failed("compress", naming="stdin: ", stdin=file)
    assert "stdout" not in said


@pytest.mark.parametrize("verb", ["compress", "decompress", "test"])
def test_a_closed_stdin(verb: str) -> None:
    """Said at once, instead of reading some file that is opened later."""
    command = limited("exec <&-", *COMMAND, verb)
    ended = subprocess.run(command, capture_output=True, check=False, timeout=20)
    assert (ended.returncode, ended.stderr) == (
        2,
        b"aiocompress: stdin is closed: name a SOURCE\n",
    )


def test_a_closed_stdout() -> None:
    """Said at once; a file can be written all the same."""
    command = limited("exec >&-", *COMMAND, "compress", "-c", "small")
    ended = subprocess.run(command, stderr=-1, stdin=-3, check=False, timeout=20)
    assert (ended.returncode, ended.stderr[:31]) == (2, b"aiocompress: stdout is closed: ")
    command = limited("exec >&-", *COMMAND, "compress", "-q", "small")
    ended = subprocess.run(command, stderr=-1, stdin=-3, check=False, timeout=20)
    assert (ended.returncode, ended.stderr) == (0, b"")
    done("test", "small.zst")


def test_a_closed_stderr() -> None:
    """Nothing can be said, and nothing is written elsewhere instead."""
    command = limited("exec 2>&-", *COMMAND, "compress", "small")
    ended = subprocess.run(command, stdout=-1, stdin=-3, check=False, timeout=20)
    assert (ended.returncode, ended.stdout) == (0, b"")
    command = limited("exec <&- >&- 2>&-", *COMMAND, "compress", "-f", "large")
    assert subprocess.run(command, check=False, timeout=20).returncode == 0
    assert done("decompress", "-c", "large.zst") == LARGE


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Open a terminal: the side of the person, and that of the program."""
    ends = pty.openpty()
    termios.tcsetwinsize(ends[1], (24, 100))
    try:
        yield ends
    finally:
        for end in ends:
            with suppress(OSError):
                os.close(end)


def shown(person: int) -> str:
    """Return what a terminal has shown by now."""
    seen = b""
    while select.select([person], [], [], 0.2)[0]:
        with suppress(OSError):
            seen += os.read(person, 65536)
            continue
        break
    return seen.decode()


@pytest.mark.parametrize("verb", ["compress", "decompress", "test"])
def test_a_terminal_as_stdin(verb: str) -> None:
    """A usage error instead of a program that seems to hang."""
    with terminal() as (_, program):
        ended = ours(verb, stdin=program)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
    assert b"terminal" in ended.stderr


def test_a_terminal_as_stdout() -> None:
    """Compressed data is refused, raw data is not."""
    packed = done("compress", "-c", "small")
    with terminal() as (person, program):
        ended = ours("compress", "-c", "small", capture_output=False, stdout=program, stderr=-1)
        assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
        assert b"terminal" in ended.stderr
        given = done("compress", "-c", data=b"for people\n")
        ended = ours("decompress", data=given, capture_output=False, stdout=program, stderr=-1)
        assert ended.returncode == 0
        assert "for people" in shown(person)
    assert packed


@pytest.mark.parametrize(
    ("flags", "bar"), [((), True), (("-q",), False), (("--no-progress",), False)]
)
def test_the_bar(flags: tuple[str, ...], bar: bool) -> None:
    """A bar on stderr if that is a terminal, with rate and ratio, unless it is not wanted."""
    with terminal() as (person, program):
        arguments = ("compress", "-l", "19", "--chunk-size", "512K", "-f", *flags, "large")
        ended = ours(*arguments, capture_output=False, stdout=-1, stderr=program)
        said = shown(person)
    assert ended.returncode == 0, said
    assert [word in said for word in ("compressing", "%", "ratio")] == [bar, bar, "-q" not in flags]


def test_the_bars_of_several_files() -> None:
    """They are one, of all bytes and files, which names the current one."""
    os.link("large", "other")
    with terminal() as (person, program):
        arguments = ("compress", "-l", "15", "--chunk-size", "512K", "large", "other")
        ended = ours(*arguments, capture_output=False, stdout=-1, stderr=program)
        said = shown(person)
    assert ended.returncode == 0, said
    assert "compressing other " in said
    assert " MiB of 10.0 MiB, 1 of 2 files, " in said
    assert "MB/s" not in said


def test_progress_where_no_bar_can_be_drawn(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """--progress gives lines there, of all files together."""
    monkeypatch.setattr(progress, "_LINE_INTERVAL", 0)
    tasks = [Task("large", "large.zst"), Task("small", "small.zst")]
    course = progress.Course.of(tasks, Options("compress", ("large", "small"), progress=True))
    assert course is not None
    assert progress.Course.of(tasks, Options("compress", ("large", "small"))) is None
    with closing(course):
        for task, size in zip(tasks, (len(LARGE), len(SMALL)), strict=True):
            course(Progress(size, size, size, size, 1, 1, "compressing", task.source))
            course.end_task()
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("aiocompress: compressing large: 99%, 5.0 MiB of 5.0 MiB, 1 of 2 f")
    assert lines[-1].startswith("aiocompress: compressing small: 100%, 5.0 MiB of 5.0 MiB, 2 of 2")


def test_no_bar_in_a_pipe() -> None:
    """Nor anything but the summary, or with -q nothing at all."""
    ended = ours("compress", "large")
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == b""
    ended = ours("compress", "-f", "-q", "large")
    assert (ended.stderr, ended.stdout) == (b"", b"")
