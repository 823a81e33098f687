"""What the command line is to do: worked out once, after parsing, and checked."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from typing import Final, Literal, NamedTuple

from .arguments import codec_for, make_recipe
from .codecs import CODECS
from .model import parse_size

STREAM: Final = "-"
_TARS: Final = {".tzst": ".tar", ".tgz": ".tar"}
_SMALL: Final = 1 << 20
closed_descriptors: set[int] = set()
"""Which of stdin, stdout and stderr were closed when the program began."""


class UsageError(Exception):
    """Flags or arguments that do not go together."""


class Options(NamedTuple):
    """The flags, as they were given."""

    verb: Literal["compress", "decompress", "test"]
    sources: tuple[str, ...]
    num_workers: int
    memory_limit: str | None
    progress: bool | None
    quiet: bool
    verbose: bool
    as_json: bool
    max_output: str | None
    max_window: str
    output: str | None = None
    stdout: bool = False
    force: bool = False
    skip_existing: bool = False
    remove: bool = False
    fsync: bool = True
    level: int | None = None
    codec: str | None = None
    chunk_size: str | None = None


class Task(NamedTuple):
    """One source and where it goes; ``STREAM`` is stdin or stdout, None: nowhere."""

    source: str
    destination: str | None
    codec: str | None = None


def plan(options: Options) -> list[Task]:
    """Work out what goes where.

    :raises UsageError: that cannot be said, or makes no sense.
    """
    sources = options.sources or (STREAM,)
    if STREAM in sources:
        _check_stdin()
        if options.remove:
            raise UsageError("--rm cannot remove stdin")
    if options.force and options.skip_existing:
        raise UsageError("-f and --skip-existing exclude each other")
    if options.stdout and options.output not in {None, STREAM}:
        raise UsageError("-c and -o exclude each other")
    folder = options.output if options.output and os.path.isdir(options.output) else None
    if len(sources) > 1 and options.output not in {None, STREAM} and folder is None:
        raise UsageError("-o must be a folder for several sources")
    try:
        tasks = [_task(options, source, folder) for source in sources]
        make_recipe(tasks[0].codec or "zstd", options.level, options.chunk_size)
        for size in (options.memory_limit, options.max_output, options.max_window):
            parse_size(size or 1)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if any(task.destination == STREAM for task in tasks):
        _check_stdout(options)
    return tasks


def _task(options: Options, source: str, folder: str | None) -> Task:
    if options.verb == "test":
        return Task(source, None)
    destination = STREAM if options.stdout else options.output
    if destination is None and source == STREAM:
        destination = STREAM
    if destination is None or folder is not None:
        if source == STREAM:
            raise UsageError("name the file for stdin with -o")
        destination = os.path.join(
            folder or os.path.dirname(source), os.path.basename(_result_name(options, source))
        )
    return Task(source, destination, _codec(options, destination))


def _result_name(options: Options, source: str) -> str:
    """Name the result after the source, by its suffix."""
    if options.verb == "compress":
        return source + CODECS[options.codec or "zstd"].suffixes[0]
    base, suffix = os.path.splitext(source)
    known = {suffix for codec in CODECS.values() for suffix in codec.suffixes}
    if suffix.lower() in _TARS:
        return base + _TARS[suffix.lower()]
    if suffix.lower() in known and base:
        return base
    raise UsageError(f"{source}: unknown suffix, name the result with -o")


def _codec(options: Options, destination: str) -> str | None:
    if options.verb != "compress":
        return None
    if options.codec is not None:
        return options.codec
    return "zstd" if destination == STREAM else codec_for(destination)


def _check_stdin() -> None:
    if 0 in closed_descriptors:
        raise UsageError("stdin is closed: name a SOURCE")
    if os.isatty(0):
        raise UsageError("stdin is a terminal: name a SOURCE, or pipe data in")


def _check_stdout(options: Options) -> None:
    if 1 in closed_descriptors:
        raise UsageError("stdout is closed: name a file with -o")
    if options.verb == "compress" and os.isatty(1):
        raise UsageError("compressed data is not for a terminal: name a file with -o")
    if options.remove:
        raise UsageError("--rm needs a file as output")


def hold_standard_descriptors() -> None:
    """Keep closed stdin, stdout and stderr from becoming some file that is opened later."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            closed_descriptors.add(descriptor)
            os.open(os.devnull, os.O_RDWR)
            name = ("stdin", "stdout", "stderr")[descriptor]
            mode = "w" if descriptor else "r"
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115


def check_not_same(task: Task) -> None:
    """Refuse to write over what is read.

    :raises UsageError: both are the same file.
    """
    if task.destination is None:
        return
    sides = []
    for side, standard in ((task.source, 0), (task.destination, 1)):
        try:
            sides.append(os.fstat(standard) if side == STREAM else os.stat(side))
        except OSError:
            return
    if stat.S_ISREG(sides[0].st_mode) and os.path.samestat(*sides):
        raise UsageError(f"{shown(task.source)}: source and destination are the same file")


def is_large(task: Task) -> bool:
    """Whether worker processes are worth their start; of a pipe nobody knows."""
    if task.source == STREAM:
        return True
    with suppress(OSError):
        status = os.stat(task.source)
        return not stat.S_ISREG(status.st_mode) or status.st_size > _SMALL
    return False


def shown(name: str) -> str:
    """Return a name on one line, whatever is in it."""
    if name == STREAM:
        return "stdin"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
