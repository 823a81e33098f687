"""What shells complete: asked as their scripts ask, and typed into real ones."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from aiocompress import sync
from aiocompress.cli import completion
from aiocompress.cli.commands import cli

from ..help.tools import LIBRARY, run, tool

MEMBERS = ("notes/one.txt", "notes/two words.txt", "other/a:b=c.txt", "other/ä", "readme")


@pytest.fixture(autouse=True)
def here(here: Path) -> Path:
    """A folder with an archive of ours, and one without an index."""
    with sync.create_archive("my archive.tar.zst") as archive:
        for name in MEMBERS:
            archive.add(name, b"data")
    sync.decompress_folder("my archive.tar.zst", "out")
    run(tool("tar"), "-cf", here / "plain.tar", "-C", here / "out", ".")
    return here


def asked(line: str, capfdbinary: pytest.CaptureFixture[bytes], **environ: str) -> list[str]:
    """Return what the program answers to a shell: kind and word."""
    completion.answer(cli, {"COMP_LINE": line} | environ)
    sys.stdout.buffer.flush()
    return capfdbinary.readouterr().out.decode().splitlines()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("aiocompress comp", ["plain\tcompress", "plain\tcompletion"]),
        ("aiocompress m", []),
        ("aiocompress extract --str", ["plain\t--strip-components"]),
        ("aiocompress compress --codec ", ["plain\tzstd", "plain\tgzip"]),
        ("aiocompress compress --codec=g", ["plain\tgzip"]),
        ("aiocompress compress sm", ["file\tsm"]),
        ("aiocompress compress -o ", ["file\t"]),
        ("aiocompress extract -o ", ["folder\t"]),
        ("aiocompress cat ", ["file\t"]),
        ("aiocompress cat my\\ archive.tar.zst no", ["begun\tnotes/"]),
        ("aiocompress cat 'my archive.tar.zst' notes/one.txt re", ["member\treadme"]),
        ("aiocompress list plain.tar notes/t", ["member\tnotes/two words.txt"]),
        ("aiocompress extract plain.tar ", ["member\tnotes/", "member\tother/", "member\treadme"]),
        ("aiocompress extract missing.tar ", []),
        ("aiocompress extract https://example.org/x.tar.zst ", []),
        ("aiocompress extract small ", []),
        ("aiocompress cat 'my archive.tar.zst' 'notes/two w", ["member\tnotes/two words.txt"]),
        ("aiocompress --version ", ["plain\tcompress"]),
    ],
)
def test_answers(line: str, expected: list[str], capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Commands, options, their values, and what is directly in a folder of an archive."""
    found = asked(line, capfdbinary)
    assert sorted(found)[: len(expected)] == sorted(expected) or set(expected) <= set(found)
    assert bool(found) == bool(expected)


def test_a_colon_ends_a_word_of_bash(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Bash replaces only what stands behind it, unless the word is quoted."""
    line = "aiocompress cat plain.tar other/a:"
    assert asked(line, capfdbinary, COMP_WORDBREAKS=" :=") == ["member\tb=c.txt"]
    line = "aiocompress cat plain.tar 'other/a:"
    assert asked(line, capfdbinary, COMP_WORDBREAKS=" :=") == ["member\tother/a:b=c.txt"]


# Real shells.


@contextmanager
def typing(here: Path, *shell: str, prepare: str) -> Iterator[int]:
    """Start a shell on a terminal, in which `aiocompress` completes, and else prints its words."""
    (here / "bin").mkdir()
    program = here / "bin" / "aiocompress"
    program.write_text(
        f"#!/bin/sh\n[ -n \"$_AIOCOMPRESS_COMPLETE\" ] && exec '{sys.executable}' -m aiocompress\n"
        'printf "<%s>" "$@"; echo "<end>"\n'
    )
    program.chmod(0o755)
    environ = LIBRARY | {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HOME": str(here),
        "ZDOTDIR": str(here),
        "TERM": "dumb",
        "PS1": "ready ",
    }
    person, end = pty.openpty()
    process = subprocess.Popen(
        (tool("setsid"), "--ctty", *shell), stdin=end, stdout=end, stderr=end, env=environ, cwd=here
    )
    os.close(end)
    try:
        os.write(person, f"{prepare}; echo pre''pared\n".encode())
        read_until(person, "prepared\r\n")
        yield person
    finally:
        process.kill()
        process.wait()
        os.close(person)


def read_until(person: int, text: str) -> str:
    """Return what a terminal shows until it shows ``text``."""
    seen, end = "", time.monotonic() + 20
    while text not in seen:
        assert select.select([person], [], [], max(0, end - time.monotonic()))[0], seen
        with suppress(UnicodeDecodeError):
            seen += os.read(person, 4096).decode()
    return seen


def completed(person: int, *steps: tuple[str, str]) -> list[str]:
    """Type a line, and return the words that the program gets.

    :param steps: what is typed before each TAB, and what the terminal shows then.
    """
    for typed, shown in steps:
        os.write(person, typed.encode() + b"\t")
        read_until(person, shown)
    os.write(person, b"\n")
    said = read_until(person, "<end>\r\n").rpartition("<end>")[0].splitlines()[-1]
    return said[said.index("<") + 1 :].removesuffix(">").split("><")


def check(person: int) -> None:
    """Complete commands, files, and members of an archive, step by step."""
    steps = ("aiocompress ca", "t"), ("my", "archive.tar.zst"), ("no", "tes/"), ("tw", "s.txt")
    assert completed(person, *steps) == ["cat", "my archive.tar.zst", "notes/two words.txt"]
    steps = (("aiocompress cat plain.tar other/a", "c.txt"),)
    assert completed(person, *steps) == ["cat", "plain.tar", "other/a:b=c.txt"]


def test_bash(here: Path) -> None:
    """TAB after TAB leads to a member of an archive whose name has to be quoted."""
    prepare = f"""PS1=; eval "$('{sys.executable}' -m aiocompress completion bash)\""""
    with typing(here, tool("bash"), "--norc", "--noprofile", "-i", prepare=prepare) as person:
        check(person)


@pytest.mark.faults
def test_zsh(here: Path) -> None:
    """As in bash."""
    prepare = f"""eval "$('{sys.executable}' -m aiocompress completion zsh)\""""
    with typing(here, tool("zsh"), "-f", "-i", prepare=prepare) as person:
        check(person)


@pytest.mark.faults
def test_fish(here: Path) -> None:
    """As in bash."""
    prepare = f"'{sys.executable}' -m aiocompress completion fish | source"
    with typing(here, tool("fish"), "--no-config", "-i", prepare=prepare) as person:
        check(person)
