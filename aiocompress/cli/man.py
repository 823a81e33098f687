"""The manual page, made of the help: `aiocompress man > aiocompress.1`."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

import click

from aiocompress.cli.help import examples_of, grouped, paragraphs
from aiocompress.model import __version__


def page(cli: click.Group) -> str:
    """Return the page in the language of man(7)."""
    return "\n".join(_lines(cli)) + "\n"


def _lines(cli: click.Group) -> Iterator[str]:
    context = click.Context(cli, info_name="aiocompress")
    does = paragraphs(cli)[0].rstrip(".")
    yield f'.TH AIOCOMPRESS 1 "" "aiocompress {__version__}" "User Commands"'
    yield ".SH NAME"
    yield f"aiocompress \\- {_plain(does[0].lower() + does[1:])}"
    yield ".SH SYNOPSIS"
    yield ".B aiocompress"
    yield _plain(" ".join(cli.collect_usage_pieces(context)))
    yield ".SH COMMANDS"
    for name in cli.list_commands(context):
        if not (command := cli.commands[name]).hidden:
            yield from _command(click.Context(command, context, name))
    yield ".SH EXIT STATUS"
    for line in (cli.epilog or "").partition("Exit codes:\n")[2].splitlines():
        codes, _, meaning = line.strip().partition("  ")
        yield from _item(codes, meaning.strip())
    yield ".SH SEE ALSO"
    yield ".BR tar (1),"
    yield ".BR zstd (1),"
    yield ".BR gzip (1)"


def _command(context: click.Context) -> Iterator[str]:
    command = context.command
    yield f".SS {context.info_name}"
    yield f".B {context.command_path}"
    yield _plain(" ".join(command.collect_usage_pieces(context)))
    for text in paragraphs(command):
        yield ".PP"
        yield from map(_plain, wrap(text))
    for title, options in grouped(context).items():
        yield ".PP"
        yield f".I {title}"
        for _, row in options:
            yield from _item(*row)
    for number, (example, what) in enumerate(examples_of(command)):
        yield from [".PP", ".I Examples"] * (not number)
        yield from _item(example, what)


def _item(name: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield f".B {_plain(name)}"
    if text:
        yield from map(_plain, wrap(text))


def _plain(text: str) -> str:
    """Return text on a line that holds no instruction."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\`").replace("'", "\\(aq")
    return f"\\&{text}" if text.startswith((".", "'")) else text
