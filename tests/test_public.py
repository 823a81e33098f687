"""The public surface: its names, their words and their types."""

from __future__ import annotations

import inspect
import typing
from typing import Any

import click
import pytest

import aiocompress
from aiocompress import sync
from aiocompress.api import archive, opening, writer
from aiocompress.cli import commands as cli
from aiocompress.verbs import folders

NAMES = [
    "Engine",
    "EngineStatistics",
    "compress",
    "compress_file",
    "compress_folder",
    "compress_stream",
    "create_archive",
    "decompress",
    "decompress_file",
    "decompress_folder",
    "decompress_stream",
    "open",
    "open_archive",
    "recover",
    "test",
    "Archive",
    "ArchiveWriter",
    "AsyncFile",
    "ByteStream",
    "Codec",
    "Difference",
    "Differences",
    "Member",
    "MemberFile",
    "Members",
    "OnError",
    "OnExists",
    "Positional",
    "Progress",
    "Report",
    "Sink",
    "Size",
    "Source",
    "AiocompressError",
    "ClosedError",
    "CorruptError",
    "FormatError",
    "LimitError",
    "MemberNotFoundError",
    "TruncatedError",
    "UnsafeMemberError",
    "WorkerError",
    "__version__",
]
OBJECTS = ("create_archive", "open", "open_archive")
"""Functions that make no engine for one call, and take one."""
VERBS = [name for name in NAMES if name.islower() and not name.startswith("_")]
VERBS = [name for name in VERBS if name not in OBJECTS]


def test_exported_names() -> None:
    """A name more or less is a decision, not an accident."""
    assert sorted(aiocompress.__all__) == sorted(NAMES)
    assert all(hasattr(aiocompress, name) for name in NAMES)
    assert sorted(sync.__all__) == sorted([*VERBS, *OBJECTS])
    assert all(hasattr(aiocompress.Engine, name) for name in (*VERBS, *OBJECTS))
    namespace: dict[str, Any] = {}
    exec("from aiocompress import *", namespace)
    assert set(NAMES) <= set(namespace)


LATE = vars(archive) | vars(folders) | vars(opening) | vars(writer)
"""Names that are imported when they are asked for."""


def _callables() -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = [(f"sync.{name}", getattr(sync, name)) for name in sync.__all__]
    for name in NAMES:
        thing = getattr(aiocompress, name)
        if inspect.isfunction(thing):
            found.append((name, thing))
        elif inspect.isclass(thing):
            found.append((name, thing))
            found += [
                (f"{name}.{key}", value.fget if isinstance(value, property) else value)
                for key, value in vars(thing).items()
                if not key.startswith("_")
                and (inspect.isfunction(value) or type(value) is property)
            ]
    return found


@pytest.mark.parametrize(("name", "thing"), _callables(), ids=[name for name, _ in _callables()])
def test_words(name: str, thing: Any) -> None:
    """Every public callable says what it does."""
    assert inspect.getdoc(thing), name
    assert (inspect.getdoc(thing) or "").splitlines()[0].endswith((".", ":"))


def _functions() -> dict[str, Any]:
    """All whose signature is written here: exceptions, rows and protocols have none."""
    found = {
        name: inspect.unwrap(thing.__init__ if inspect.isclass(thing) else thing)
        for name, thing in _callables()
        if not getattr(thing, "_is_protocol", False)
    }
    return {name: thing for name, thing in found.items() if inspect.isfunction(thing)}


@pytest.mark.parametrize(("name", "function"), _functions().items(), ids=_functions())
def test_types(name: str, function: Any) -> None:
    """Every public callable has types for all it takes and gives."""
    hints = typing.get_type_hints(function, localns=LATE)
    parameters = list(inspect.signature(function).parameters)
    missing = set(parameters) - set(hints) - {"self", "cls"}
    assert not missing, f"{name}: {missing}"
    assert "return" in hints


@pytest.mark.parametrize("name", VERBS)
def test_one_spelling_everywhere(name: str) -> None:
    """Engine, module and sync take the same arguments; functions take workers too."""
    method = _parameters(getattr(aiocompress.Engine, name))
    function = _parameters(getattr(aiocompress, name))
    function.pop("num_workers", None)
    assert method == function


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_with_an_engine_or_without(name: str) -> None:
    """Engine and module take the same arguments; functions take an engine, too."""
    function = _parameters(getattr(aiocompress, name))
    del function["engine"]
    assert _parameters(getattr(aiocompress.Engine, name)) == function


def _parameters(function: Any) -> dict[str, Any]:
    """The arguments of a verb by name, with their types, those of a typed dictionary too."""
    hints = typing.get_type_hints(function, localns=LATE)
    parameters = {key: hint for key, hint in hints.items() if key not in {"return", "options"}}
    if "options" in hints:
        (options,) = typing.get_args(hints["options"])
        parameters |= typing.get_type_hints(options, localns=LATE)
    return parameters


def test_the_engine_documents_its_arguments() -> None:
    """Each argument of a verb stands in its docstring, or in that of the verb it refers to."""
    engine = aiocompress.Engine
    words = " ".join(str(inspect.getdoc(getattr(engine, name))) for name in VERBS)
    for name in VERBS:
        for parameter in list(inspect.signature(getattr(engine, name)).parameters)[1:]:
            assert f":param {parameter}:" in words or f"``{parameter}``" in words, parameter
    for parameter in list(inspect.signature(engine).parameters):
        assert f":param {parameter}:" in str(inspect.getdoc(engine))


@pytest.mark.parametrize("command", cli.cli.commands.values(), ids=cli.cli.commands)
def test_options_are_documented(command: click.Command) -> None:
    """Each says in its help what it does, in whole sentences."""
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.help.rstrip().endswith((".", "]"))
