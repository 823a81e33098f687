"""The options and arguments that several commands share, by the groups of their help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import click

from aiocompress.cli.help import F, Option, later

COMPLETING: Final = "_AIOCOMPRESS_COMPLETE"
"""Set by a shell that wants to know how a line goes on."""


def all_of(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Make one decorator of several, so that commands share groups of options."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def option(group: str, *names: str, **about: Any) -> Callable[[F], F]:
    """Make an option that stands in a group of the help."""
    return later(click.option(*names, cls=Option, group=group, **about))


def argument(name: str, **about: Any) -> Callable[[F], F]:
    """Make an argument."""
    return later(click.argument(name, **about))


def flag(group: str, *names: str, **about: Any) -> Callable[[F], F]:
    """Make an option without a value."""
    return option(group, *names, is_flag=True, **about)


def size(group: str, name: str, **about: Any) -> Callable[[F], F]:
    """Make an option that takes a number of bytes."""
    return option(group, name, metavar="SIZE", **about)


def completes(kind: Literal["files", "folders", "members"]) -> Callable[..., Any]:
    """Return what completes a parameter in a shell: imported late, as few runs need it."""

    def complete(context: click.Context, _: click.Parameter, begun: str) -> Any:
        from aiocompress.cli import completion

        return completion.complete(kind, context, begun)

    return complete


sources = argument("sources", nargs=-1, metavar="[SOURCE]...", shell_complete=completes("files"))
archive = argument("archive", metavar="ARCHIVE|-", shell_complete=completes("files"))
patterns = argument(
    "members", nargs=-1, metavar="[PATTERN]...", shell_complete=completes("members")
)
verbose = flag("Messages", "-v", "--verbose", help="Say more; of an error, versions and traceback.")
quiet = flag("Messages", "-q", "--quiet", help="Print errors only.")
workers = all_of(
    option(
        "Speed and memory",
        "-T",
        "num_workers",
        type=click.IntRange(0),
        default=0,
        metavar="N",
        help="Worker processes; default: one for each processor.",
    ),
    size("Speed and memory", "--memory-limit", rare=True, help="Memory for all chunks in flight."),
)
progress = option(
    "Messages",
    "--progress/--no-progress",
    default=None,
    help="Tell how far it is, on stderr; default: on a terminal.",
)
running = all_of(
    workers,
    progress,
    quiet,
    verbose,
    flag(
        "Messages",
        "--json",
        "as_json",
        help="Print the report as JSON, beside data on stderr.",
    ),
)
existing = all_of(
    flag("Output", "-f", "--force", help="Replace files that exist."),
    flag("Output", "--skip-existing", help="Leave files that exist alone."),
)
fsync = option(
    "Output",
    "--fsync/--no-fsync",
    default=None,
    rare=True,
    help="Wait until files are on the disk.  [default: fsync]",
)
replacing = all_of(
    existing,
    flag("Output", "--rm", "remove", help="Remove sources whose results are on the disk."),
    fsync,
)
writing = all_of(
    option(
        "Output",
        "-o",
        "--output",
        metavar="DEST",
        shell_complete=completes("files"),
        help="File or folder to write to; -: stdout.",
    ),
    flag("Output", "-c", "--stdout", help="Write to stdout."),
    replacing,
)
packing = all_of(
    option(
        "Folders",
        "--layout",
        type=click.Choice(["archive", "mirror", "framed"]),
        metavar="LAYOUT",
        help="archive, mirror or framed; default: by DEST.",
    ),
    option(
        "Folders",
        "--exclude",
        multiple=True,
        metavar="PATTERN",
        help="Leave out, by the rules of gitignore.",
    ),
    option(
        "Folders",
        "--exclude-from",
        multiple=True,
        metavar="FILE",
        shell_complete=completes("files"),
        rare=True,
        help="Patterns from a file, one per line.",
    ),
    option(
        "Folders",
        "--prefix",
        metavar="NAME",
        help="A folder around all members; default: FOLDER.",
    ),
    flag(
        "Folders",
        "--reproducible",
        rare=True,
        help="No owners, plain modes, SOURCE_DATE_EPOCH.",
    ),
    flag(
        "Folders",
        "--strict",
        help="Write nothing if a file cannot be read.",
    ),
    flag("Folders", "--xattrs", rare=True, help="Store extended attributes."),
    flag(
        "Folders",
        "--no-sparse",
        "sparse",
        default=True,
        flag_value=False,
        rare=True,
        help="Store holes as zeros.",
    ),
)
window = size("Limits", "--max-window", rare=True, help="Largest zstd window.  [default: 128MiB]")
limits = all_of(
    size("Limits", "--max-output", help="Stop where there is more raw data."),
    window,
)
bounding = all_of(
    size("With -d", "--max-output", rare=True, help="Stop where there is more raw data."),
    size("With -d", "--max-window", rare=True, help="Largest zstd window.  [default: 128MiB]"),
    flag("With -d", "--keep-going", rare=True, help="Leave out files that are damaged."),
)
metadata = size(
    "Limits",
    "--max-metadata",
    rare=True,
    help="Most names and attributes of a member.  [default: 1MiB]",
)
keep_going = flag(
    "Members",
    "--keep-going",
    help="Leave out, and name, what is damaged or refused.",
)
bounds = all_of(
    option(
        "Limits",
        "--max-members",
        type=int,
        metavar="N",
        help="Stop where there are more members.",
    ),
    size("Limits", "--max-member-size", help="Refuse larger members."),
)
