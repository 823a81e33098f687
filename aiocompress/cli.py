"""The command line: files and pipes, compressed and decompressed.

Flags are only validated here; ``plan`` works out what they mean, once, and ``console`` does it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

import click

from . import console, messages, plan

F = TypeVar("F", bound=Callable[..., Any])

_EXIT_CODES: Final = """\b
Exit codes:
  0    done
  1    finished, but some sources were skipped
  2    failed: bad usage, damaged data, no space ...
  130, 143, 141   ended by SIGINT, SIGTERM, or because nobody reads the output
"""


def _options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


_sources = click.argument("sources", nargs=-1, metavar="[SOURCE]...")
_running = _options(
    click.option(
        "-T",
        "num_workers",
        type=click.IntRange(0),
        default=0,
        metavar="N",
        help="Worker processes; 0: as many as processors.  [default: 0]",
    ),
    click.option("--memory-limit", metavar="SIZE", help="Memory of all chunks in flight."),
    click.option(
        "--progress/--no-progress",
        default=None,
        help="A bar on stderr; default: if that is a terminal.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    click.option(
        "-v", "--verbose", is_flag=True, help="Say more; errors with versions and traceback."
    ),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="The report as JSON; on stderr if data takes stdout.",
    ),
)
_writing = _options(
    click.option("-o", "--output", metavar="DEST", help="File or folder to write to; -: stdout."),
    click.option("-c", "--stdout", is_flag=True, help="Write to stdout."),
    click.option("-f", "--force", is_flag=True, help="Replace files that exist."),
    click.option("--skip-existing", is_flag=True, help="Leave files that exist alone."),
    click.option(
        "--rm", "remove", is_flag=True, help="Remove each source once its result is on the disk."
    ),
    click.option(
        "--fsync/--no-fsync",
        default=True,
        help="Wait until files are on the disk.  [default: fsync]",
    ),
)
_limits = _options(
    click.option(
        "--max-output", metavar="SIZE", help="Stop when there is more raw data than this."
    ),
    click.option(
        "--max-window",
        metavar="SIZE",
        default="128MiB",
        help="Largest zstd window.  [default: 128MiB]",
    ),
)


def _print_versions(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
    if value:
        click.echo(messages.versions())
        context.exit()


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EXIT_CODES,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_versions,
    help="Versions of this program and of what it is built on.",
)
def cli() -> None:
    """Compress files and pipes in parallel into standard .zst and .gz, and back."""


@cli.command(
    epilog="\b\nExamples:\n"
    "  aiocompress compress big.iso                    to big.iso.zst\n"
    "  aiocompress compress -l 19 -o out.zst big.iso   smaller, slower\n"
    "  tar c . | aiocompress compress > all.tar.zst\n"
    "  tar -I 'aiocompress compress' -cf all.tar.zst ."
)
@_sources
@click.option("-d", "--decompress", is_flag=True, help="Decompress instead, as `tar -I` asks.")
@click.option(
    "-l",
    "--level",
    type=int,
    metavar="LEVEL",
    help="zstd -7 to 22 (default 3), gzip 0 to 12 (default 6).",
)
@click.option(
    "--codec", type=click.Choice(["zstd", "gzip"]), help="Default: by the suffix of DEST, or zstd."
)
@click.option(
    "--chunk-size", metavar="SIZE", help="Raw bytes of a frame; default: by codec and level."
)
@_writing
@_limits
@_running
def compress(decompress: bool, **flags: Any) -> None:  # noqa: FBT001
    """Compress each SOURCE to SOURCE.zst, or stdin to stdout."""
    _run("decompress" if decompress else "compress", flags)


@cli.command(
    epilog="\b\nExamples:\n"
    "  aiocompress decompress big.iso.zst              to big.iso\n"
    "  aiocompress decompress -o out/ a.gz b.zst       to out/a and out/b\n"
    "  aiocompress decompress < all.tar.zst | tar x"
)
@_sources
@_writing
@_limits
@_running
def decompress(**flags: Any) -> None:
    """Decompress each SOURCE (zstd, gzip or zlib), or stdin to stdout."""
    _run("decompress", flags)


@cli.command(epilog="\b\nExample:\n  aiocompress test backup/*.zst")
@_sources
@_limits
@_running
def test(**flags: Any) -> None:
    """Check each SOURCE, or stdin, from its first byte to its last, and write nothing."""
    _run("test", flags)


def _run(verb: Literal["compress", "decompress", "test"], flags: dict[str, Any]) -> None:
    code = console.run(plan.Options(verb=verb, **flags))
    # All is closed; tearing down the interpreter would take longer than a small file.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            code = console.BROKEN_PIPE if isinstance(error, BrokenPipeError) else console.FAILED
    os._exit(code)


def main() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until the loop has its handlers: click would turn an interrupt into exit code 1.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    plan.hold_standard_descriptors()
    cli(prog_name="aiocompress")
