"""The help: short and whole, of every command; and the manual page that is made of it."""

from __future__ import annotations

import subprocess
from itertools import chain
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import aiocompress
from aiocompress.cli.commands import cli
from aiocompress.cli.help import Option

from ..help.tools import tool

COMMANDS = {"": cli, **cli.commands}


def said(*arguments: str, columns: int = 80) -> str:
    """Return what the command line prints, without a process for it."""
    ended = CliRunner(env={"COLUMNS": str(columns)}).invoke(cli, arguments, prog_name="aiocompress")
    assert ended.exit_code == 0, ended.output
    return ended.output


@pytest.mark.parametrize("name", COMMANDS)
def test_all_options(name: str) -> None:
    """`--help` explains every option, and has examples; all of the text is there."""
    command, text = COMMANDS[name], said(*filter(None, [name]), "--help")
    words = " ".join(text.split())
    assert command.help
    assert " ".join(command.help.split()) in words
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            assert option.opts[-1] in text.replace("[no-]", ""), option.name
            assert " ".join(option.help.split()) in words, option.name
    assert "Examples:" in text or not name or command.hidden
    assert ("Exit codes" in text) == (not name)


@pytest.mark.parametrize("name", COMMANDS)
def test_most_used_options(name: str) -> None:
    """`-h` fits on a screen, in groups, and names what it does not explain."""
    text = said(*filter(None, [name]), "-h")
    lines = text.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    for option in COMMANDS[name].params:
        assert not isinstance(option, click.Option) or (
            option.opts[-1] in text.replace("[no-]", "")
        ), option.name
    assert "Examples:" not in text


def test_nothing_is_cut_off() -> None:
    """Each command is summed up in whole sentences, however narrow the terminal is."""
    for columns in (40, 80, 200):
        text = said("-h", columns=columns)
        words = " ".join(text.split())
        for command in cli.commands.values():
            if not command.hidden:
                assert " ".join(str(command.help).partition("\n\n")[0].split()) in words
        assert "..." not in text.partition("Commands:")[2].partition("Exit codes")[0]


def test_an_error_tells_of_the_help() -> None:
    """What click finds wrong is said with the way to the short help."""
    ended = CliRunner().invoke(cli, ["list", "--nothing"], prog_name="aiocompress")
    assert ended.exit_code == 2
    assert "Try 'aiocompress list -h' for help." in ended.output


# The manual page.


def test_the_manual_page(tmp_path: Path) -> None:
    """It has all of the help, and mandoc's only remark is that a version has no date."""
    page = tmp_path / "aiocompress.1"
    page.write_text(said("man"))
    text = page.read_text().replace("\\", "")
    for option in chain.from_iterable(command.params for command in cli.commands.values()):
        if isinstance(option, Option):
            assert option.opts[-1] in text.replace("[no-]", "")
            assert str(option.help).split()[-1] in text
    assert r"aiocompress extract folder.tar.zst \(aq*/src/*.c\(aq" in page.read_text()
    command = (tool("mandoc"), "-T", "lint", "-W", "warning", page)
    ended = subprocess.run(command, capture_output=True, check=False)
    assert all(b"missing date" in line for line in ended.stdout.splitlines()), ended


@pytest.mark.faults
def test_the_manual_page_is_shown(tmp_path: Path) -> None:
    """`man` has nothing to say about it but what it says."""
    page = tmp_path / "aiocompress.1"
    page.write_text(said("man"))
    command = (tool("man"), "--warnings", "-E", "UTF-8", "-l", page)
    ended = subprocess.run(command, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"extract folder.tar.zst '*/src/*.c'" in ended.stdout


def test_the_manual_page_of_the_wheel() -> None:
    """The page that packages hold is made of this help."""
    page = Path(aiocompress.__file__).parent / "cli" / "aiocompress.1"
    assert page.read_text() == said("man")
