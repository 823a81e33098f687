"""Help: `-h` has the options that people use most, by groups; `--help` has all, and examples."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from inspect import cleandoc
from typing import Any, Final, TypeAlias, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Decorator: TypeAlias = Callable[[Any], Any]

_FULL: Final = "aiocompress.full_help"
"""Set in the context where all of the help is wanted, and not the short one."""
_WIDEST: Final = 24
_HYPHEN: Final = "\u2011"
"""One at which no line is broken, until all lines are."""
_EITHER: Final = re.compile(r"--([\w-]+) / --no-\1")
_RANGE: Final = re.compile(r"  \[[^]]*x[<>][^]]*\]")
"""What click says of the numbers that an option takes: there is an error for that."""


class Option(click.Option):
    """An option that stands in a group of the help.

    :param group: the title of the group.
    :param rare: only `--help` explains it.
    """

    def __init__(self, *args: Any, group: str, rare: bool = False, **about: Any) -> None:
        super().__init__(*args, **about)
        self.group, self.rare = group, rare

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        row = super().get_help_record(ctx)
        return row and (_EITHER.sub(r"--[no-]\1", row[0]), _RANGE.sub("", row[1]))


def _show(context: click.Context, parameter: click.Parameter, given: object) -> None:
    if given and not context.resilient_parsing:
        context.meta[_FULL] = "--help" in parameter.opts
        click.echo(context.get_help(), color=context.color)
        context.exit()


class _HelpOption(click.Option):
    def __init__(self, name: str, text: str) -> None:
        about: dict[str, Any] = {"is_flag": True, "is_eager": True, "expose_value": False}
        super().__init__([name, name.strip("-") + "_help"], help=text, callback=_show, **about)


_HELPS: Final = (
    _HelpOption("-h", "The most used options."),
    _HelpOption("--help", "All options, with examples."),
)
"""One pair for all commands: each more would cost the start of every run."""
_LATER: Final = "_aiocompress_later"
"""What a function holds that becomes a command: decorators that add its parameters."""


def later(decorator: Decorator) -> Callable[[F], F]:
    """Have one of click's decorators add its parameter when the command is used."""

    def apply(function: F) -> F:
        vars(function).setdefault(_LATER, []).append(decorator)
        return function

    return apply


class Command(click.Command):
    """A verb, whose help is short or full.

    :param examples: one in a line, and behind several spaces what it does.
    """

    def __init__(self, *args: Any, examples: str = "", **about: Any) -> None:
        super().__init__(*args, **about)
        self.examples = examples
        self._later: list[Decorator] | None = getattr(self.callback, _LATER, [])

    @property
    def params(self) -> list[click.Parameter]:
        """Its parameters, made when one asks for them: a run needs those of one command only."""
        decorators, self._later = self._later, None
        if decorators is not None:
            for decorator in reversed(decorators):
                decorator(self)
            self._params.append(_HELPS[1])
        return self._params

    @params.setter
    def params(self, params: list[click.Parameter]) -> None:
        self._later, self._params = None, params

    def get_help_option(self, ctx: click.Context) -> click.Option:  # noqa: ARG002 - click's
        return _HELPS[0]

    def get_help(self, ctx: click.Context) -> str:
        return super().get_help(ctx).replace(_HYPHEN, "-")

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        is_full = ctx.meta.get(_FULL, False)
        self.format_usage(ctx, formatter)
        for text in paragraphs(self)[: None if is_full else 1]:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(text)
        if is_full and self.examples:
            with formatter.section("Examples"):
                for line in cleandoc(self.examples).splitlines():
                    formatter.write(f"  {line}\n")
        self._format_groups(ctx, formatter, is_full=is_full)

    def _format_groups(
        self, context: click.Context, formatter: click.HelpFormatter, *, is_full: bool
    ) -> None:
        shown: dict[str, list[tuple[str, str]]] = {}
        rare = []
        for title, rows in grouped(context).items():
            for option, row in rows:
                if is_full or not option.rare:
                    shown.setdefault(title, []).append(row)
                else:
                    rare.append(option.opts[-1].replace("-", _HYPHEN))
        short, full = ((option.opts[0], str(option.help)) for option in _HELPS)
        if rare:
            full = full[0], f"{full[1].rstrip('.')}: {', '.join(rare)}, too."
        shown.setdefault("Messages", []).extend((short, full))
        lengths = [len(name) for rows in shown.values() for name, _ in rows]
        width = max(length for length in lengths if length <= _WIDEST)
        for title, told in shown.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in told], _WIDEST)


class Group(click.Group):
    """All verbs: what each does is said in whole sentences."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [self.commands[name] for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            rows = [(str(one.name), paragraphs(one)[0]) for one in commands if not one.hidden]
            formatter.write_dl(rows)


def paragraphs(command: click.Command) -> list[str]:
    """Return what a command does, first in a sentence, then in full."""
    return cleandoc(command.help or "").split("\n\n")


def grouped(context: click.Context) -> dict[str, list[tuple[Option, tuple[str, str]]]]:
    """Return the options of a command, with their help, by the title of their group."""
    groups: dict[str, list[tuple[Option, tuple[str, str]]]] = {}
    for option in context.command.params:
        if isinstance(option, Option) and (row := option.get_help_record(context)) is not None:
            groups.setdefault(option.group, []).append((option, row))
    return groups


def examples_of(command: click.Command) -> Iterator[tuple[str, str]]:
    """Yield each example, and what it does."""
    for line in cleandoc(getattr(command, "examples", "")).splitlines():
        example, _, what = re.sub(r" {2,}", "\0", line).partition("\0")
        yield example, what
