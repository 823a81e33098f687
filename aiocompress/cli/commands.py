"""The command line: files, folders and pipes, compressed and decompressed.

Flags are only validated here; ``plan`` works out what they mean, and ``run`` does it.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NoReturn, TypeVar, get_args

import click

from aiocompress.cli import messages, plan
from aiocompress.cli import run as console
from aiocompress.model import Aspect, Codec

F = TypeVar("F", bound=Callable[..., Any])

_EXIT_CODES: Final = """\b
Exit codes:
  0    done
  1    finished, but some sources were skipped
  2    failed: bad usage, damaged data, no space ...
  130, 143, 141   ended by SIGINT, SIGTERM, or because the reader of the output is gone
"""


def _options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Make one decorator of several, so that commands share groups of options."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def _flag(*names: str, **about: Any) -> Callable[[F], F]:
    return click.option(*names, is_flag=True, **about)


def _size(name: str, **about: Any) -> Callable[[F], F]:
    return click.option(name, metavar="SIZE", **about)


_sources = click.argument("sources", nargs=-1, metavar="[SOURCE]...")
_verbose = _flag("-v", "--verbose", help="Say more; errors with versions and traceback.")
_quiet = _flag("-q", "--quiet", help="Print errors only.")
_workers = _options(
    click.option(
        "-T",
        "num_workers",
        type=click.IntRange(0),
        default=0,
        metavar="N",
        help="Worker processes; 0: one for each processor.  [default: 0]",
    ),
    _size("--memory-limit", help="Memory for all chunks in flight."),
)
_progress = click.option(
    "--progress/--no-progress",
    default=None,
    help="Draw a bar on stderr; default: if stderr is a terminal.",
)
_running = _options(
    _workers,
    _progress,
    _quiet,
    _verbose,
    _flag("--json", "as_json", help="Print the report as JSON; on stderr if data takes stdout."),
)
_replacing = _options(
    _flag("-f", "--force", help="Replace files that exist."),
    _flag("--skip-existing", help="Leave files that exist alone."),
    _flag("--rm", "remove", help="Remove each source once its result is on the disk."),
    click.option(
        "--fsync/--no-fsync",
        default=True,
        help="Wait until files are on the disk.  [default: fsync]",
    ),
)
_writing = _options(
    click.option("-o", "--output", metavar="DEST", help="File or folder to write to; -: stdout."),
    _flag("-c", "--stdout", help="Write to stdout."),
    _replacing,
)
_packing = _options(
    click.option(
        "--layout",
        type=click.Choice(["archive", "mirror", "framed"]),
        help="What a folder becomes; default: by the suffix of DEST, or an archive.",
    ),
    click.option(
        "--exclude", multiple=True, metavar="PATTERN", help="Leave out, by the rules of gitignore."
    ),
    click.option(
        "--exclude-from", multiple=True, metavar="FILE", help="Patterns from a file, one per line."
    ),
    click.option("--prefix", default="", metavar="NAME", help="A folder around all members."),
    _flag("--reproducible", help="No owners, plain modes, times by SOURCE_DATE_EPOCH."),
    _flag("--strict", help="Stop at the first file that cannot be read, and write nothing."),
    _flag("--xattrs", help="Store extended attributes."),
    _flag("--no-sparse", "sparse", default=True, flag_value=False, help="Store holes as zeros."),
    _size("--chunk-size", help="Raw bytes of a frame; default: by codec and level."),
)
_window = _size("--max-window", help="Largest zstd window.  [default: 128MiB]")
_limits = _options(
    _size("--max-output", help="Stop when there is more raw data than this."),
    _window,
)
_bounding = _options(
    _size("--max-output", help="With -d: stop when there is more raw data than this."),
    _size("--max-window", help="With -d: largest zstd window.  [default: 128MiB]"),
)
_metadata = _size(
    "--max-metadata",
    help="Most bytes of names and attributes before one member.  [default: 1MiB]",
)
_keep_going = _flag(
    "--keep-going", help="Leave out members that are damaged or refused, and name them."
)
_bounds = _options(
    click.option("--max-members", type=int, metavar="N", help="Stop at more members than this."),
    _size("--max-member-size", help="Refuse members larger than this."),
)


def _print_versions(context: click.Context, _: click.Parameter, given: object) -> None:
    if given:
        click.echo(messages.versions())
        context.exit()


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EXIT_CODES,
)
@_flag(
    "--version",
    is_eager=True,
    expose_value=False,
    callback=_print_versions,
    help="Versions of this program and of the libraries it uses.",
)
def cli() -> None:
    """Compress files, folders and pipes in parallel into standard .zst and .gz, and back."""


@cli.command(
    epilog="\b\nExamples:\n"
    "  aiocompress compress big.iso                    to big.iso.zst\n"
    "  aiocompress compress -l 19 -o out.zst big.iso   smaller, slower\n"
    "  aiocompress compress folder                     to folder.tar.zst, indexed\n"
    "  aiocompress compress folder -o backup/          each file by itself, in the same tree\n"
    "  aiocompress compress folder -o s3://bucket/folder.tar.zst\n"
    "  tar c . | aiocompress compress > all.tar.zst\n"
    "  tar -I 'aiocompress compress' -cf all.tar.zst ."
)
@_sources
@_flag("-d", "--decompress", help="Decompress instead, as `tar -I` asks.")
@click.option(
    "-l",
    "--level",
    type=int,
    metavar="LEVEL",
    help="zstd -7 to 22 (default 3), gzip 0 to 12 (default 6).",
)
@click.option(
    "--codec", type=click.Choice(get_args(Codec)), help="Default: by the suffix of DEST, or zstd."
)
@_flag("--long", "long_distance", help="zstd: find repeats up to 128 MiB apart; takes more memory.")
@_packing
@_writing
@_bounding
@_running
def compress(*, decompress: bool, **flags: Any) -> None:
    """Compress each SOURCE to SOURCE.zst, a folder to SOURCE.tar.zst, or stdin to stdout."""
    _run("decompress" if decompress else "compress", flags)


@cli.command(
    epilog="\b\nExamples:\n"
    "  aiocompress decompress big.iso.zst              to big.iso\n"
    "  aiocompress decompress -o out/ a.gz b.zst       to out/a and out/b\n"
    "  aiocompress decompress < all.tar.zst | tar x"
)
@_sources
@_keep_going
@_writing
@_limits
@_bounds
@_running
def decompress(**flags: Any) -> None:
    """Decompress each SOURCE (zstd, gzip or zlib), or stdin to stdout."""
    _run("decompress", flags)


@cli.command(epilog="\b\nExample:\n  aiocompress test backup/*.zst")
@_sources
@_window
@_metadata
@_running
def test(**flags: Any) -> None:
    """Check each SOURCE, or stdin, from its first byte to its last, and write nothing."""
    _run("test", flags)


@cli.command(
    epilog="\b\nExamples:\n"
    "  aiocompress extract folder.tar.zst              to folder\n"
    "  aiocompress extract folder.tar.zst 'src/*.c'    only these\n"
    "  ssh host cat all.tar.gz | aiocompress extract - -o all"
)
@click.argument("archive", metavar="ARCHIVE|-")
@click.argument("members", nargs=-1, metavar="[PATTERN]...")
@click.option("-o", "--output", metavar="DIR", help="Default: ARCHIVE without its suffixes.")
@_keep_going
@_flag("--preserve", help="Restore owners, set-user-ID bits, xattrs, pipes and devices too.")
@_replacing
@_limits
@_bounds
@_metadata
@_running
def extract(archive: str, **flags: Any) -> None:
    """Restore the members of an archive, all or some, below one folder and nowhere else."""
    _run("extract", flags | {"sources": (archive,)})


@cli.command(
    name="list",
    epilog="\b\nExamples:\n"
    "  aiocompress list --long folder.tar.zst | grep src/\n"
    "  aiocompress list https://example.org/folder.tar.zst",
)
@click.argument("archive", metavar="ARCHIVE|-")
@_flag("--long", help="Modes, owners, sizes and times as well.")
@_flag("-0", "null", help="End names with a zero byte, and escape nothing.")
@_flag("--json", "as_json", help="Print one JSON object per line.")
@_window
@_metadata
@_verbose
def list_members(archive: str, **flags: Any) -> None:
    """List the members of an archive: by its index, or without one from front to back."""
    _run("list", flags | {"sources": (archive,)})


@cli.command(epilog="\b\nExample:\n  aiocompress cat folder.tar.zst folder/notes.txt | less")
@click.argument("archive", metavar="ARCHIVE")
@click.argument("members", nargs=-1, required=True, metavar="MEMBER...")
@_window
@_metadata
@_verbose
def cat(archive: str, **flags: Any) -> None:
    """Write the content of members to stdout."""
    _run("cat", flags | {"sources": (archive,)})


@cli.command(
    epilog="\b\nExamples:\n"
    "  aiocompress diff folder.tar.zst folder          a line for each difference\n"
    "  aiocompress diff --ignore time all.tar.gz . 'src/*.c'\n\n"
    "\b\nExit code 1 says that something differs, or could not be read."
)
@click.argument("archive", metavar="ARCHIVE|-")
@click.argument("folder", metavar="FOLDER")
@click.argument("members", nargs=-1, metavar="[PATTERN]...")
@click.option(
    "--ignore",
    multiple=True,
    type=click.Choice(get_args(Aspect)),
    metavar="WHAT",
    help=f"What need not be the same: {', '.join(get_args(Aspect))}.",
)
@click.option(
    "--prefix",
    metavar="NAME",
    help="Compare what is in this folder of ARCHIVE; default: its top, or the only folder there, "
    "if that is called as FOLDER is.",
)
@_window
@_metadata
@_workers
@_progress
@_quiet
@_verbose
@_flag("--json", "as_json", help="Print one JSON object per line.")
def diff(archive: str, **flags: Any) -> None:
    """Tell how FOLDER differs from ARCHIVE: names, kinds, contents, modes, times, links."""
    prefix = flags.pop("prefix")
    _run("diff", flags | {"sources": (archive,), "inside": prefix})


@cli.command(
    epilog="\b\nExamples:\n"
    "  aiocompress recover bad.tar.zst -o saved        all members that are whole\n"
    "  aiocompress recover bad.tar.zst -o new.tar.zst  as a new archive"
)
@click.argument("damaged", metavar="DAMAGED")
@click.option("-o", "--output", required=True, metavar="DIR|NEW.tar.zst", help="Where to save it.")
@_flag("--keep-damaged", help="Keep damaged members as NAME.damaged, with zeros.")
@_replacing
@_window
@_running
def recover(damaged: str, **flags: Any) -> None:
    """Save every member that is whole from a damaged archive, which is not changed."""
    _run("recover", flags | {"sources": (damaged,)})


@cli.command(
    epilog="\b\nExamples:\n"
    "  aiocompress serve                               this folder, at http://127.0.0.1:8000/\n"
    "  aiocompress serve --root share --writable       with uploads"
)
@click.option("--root", default=".", metavar="DIR", help="The folder to serve.  [default: .]")
@click.option(
    "--host", default="127.0.0.1", help="The address to serve it at.  [default: 127.0.0.1]"
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, help="0: a free one.  [default: 8000]"
)
@_flag("--writable", help="Let visitors upload files.")
@_workers
@_quiet
@_verbose
def serve(**flags: Any) -> None:
    """Serve a folder, and what is inside of its archives, to browsers."""
    _end(console.serve(**flags))


def _run(verb: plan.Verb, flags: dict[str, Any]) -> None:
    _end(console.run(plan.Options(verb=verb, **flags)))


def _end(code: int) -> NoReturn:
    # All is closed, and tearing down the interpreter would take longer than a small file.
    try:
        sys.stdout.flush()
    except OSError as error:
        code = console.BROKEN_PIPE if isinstance(error, BrokenPipeError) else console.FAILED
    with suppress(OSError):  # what nobody can be told has been done all the same
        sys.stderr.flush()
    if code:
        # An error holds its frames, and these hold semaphores, which would be reported as leaked.
        gc.collect()
    os._exit(code)


def main() -> None:
    """Run the command line."""
    plan.hold_standard_descriptors()
    cli(prog_name="aiocompress")
