"""The command line: files, folders and pipes, compressed and decompressed.

Flags are only validated here; ``plan`` works out what they mean, and ``run`` does it.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import Any, Final, NoReturn, get_args

import click

from aiocompress.cli import messages, options, plan
from aiocompress.cli import run as console
from aiocompress.cli.help import Group
from aiocompress.model import Aspect, Codec

_EXIT_CODES: Final = """\b
aiocompress COMMAND -h explains a command, --help all of it.

\b
Exit codes:
  0    done
  1    finished, but some sources were skipped
  2    failed: bad usage, damaged data, no space ...
  130, 143, 141  ended by SIGINT, SIGTERM, or as nobody reads the output
"""


def _print_versions(context: click.Context, _: click.Parameter, given: object) -> None:
    if given and not context.resilient_parsing:
        click.echo(messages.versions())
        context.exit()


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EXIT_CODES,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_versions,
    help="Versions of this program and of the libraries it uses.",
)
def cli() -> None:
    """Compress files, folders and pipes in parallel into standard .zst and .gz, and back."""


@cli.command(
    examples="""
    aiocompress compress big.iso                    to big.iso.zst
    aiocompress compress -l 19 -o out.zst big.iso   smaller, slower
    aiocompress compress folder                     to folder.tar.zst, indexed
    aiocompress compress folder -o backup/          each file by itself, in the same tree
    aiocompress compress folder -o s3://bucket/folder.tar.zst
    tar c . | aiocompress compress > all.tar.zst
    tar -I 'aiocompress compress' -cf all.tar.zst ."""
)
@options.sources
@options.flag("Compression", "-d", "--decompress", help="Decompress instead, as `tar -I` asks.")
@options.option(
    "Compression",
    "-l",
    "--level",
    type=int,
    metavar="LEVEL",
    help="zstd -7 to 22, default 3; gzip 0 to 12, default 6.",
)
@options.option(
    "Compression",
    "--codec",
    type=click.Choice(get_args(Codec)),
    metavar="CODEC",
    help="zstd or gzip; default: by DEST, or zstd.",
)
@options.flag(
    "Compression",
    "--long",
    "long_distance",
    help="zstd: find repeats up to 128 MiB apart.",
)
@options.size(
    "Compression",
    "--chunk-size",
    rare=True,
    help="Raw bytes of a frame; default: by codec and level.",
)
@options.writing
@options.packing
@options.bounding
@options.running
def compress(*, decompress: bool, **flags: Any) -> None:
    """Compress each SOURCE to SOURCE.zst, a folder to SOURCE.tar.zst, or stdin to stdout.

    As with tar and zip, the members of a FOLDER stand below FOLDER/ in its archive, whatever path
    leads to it; those of `.`, `..` and `/`, which name nothing, stand at the top.
    """
    _run("decompress" if decompress else "compress", flags)


@cli.command(
    examples="""
    aiocompress decompress big.iso.zst              to big.iso
    aiocompress decompress -o out/ a.gz b.zst       to out/a and out/b
    aiocompress decompress < all.tar.zst | tar x"""
)
@options.sources
@options.writing
@options.keep_going
@options.limits
@options.bounds
@options.running
def decompress(**flags: Any) -> None:
    """Decompress each SOURCE (zstd, gzip or zlib), or stdin to stdout."""
    _run("decompress", flags)


@cli.command(
    examples="""
    aiocompress extract folder.tar.zst              to folder
    aiocompress extract folder.tar.zst '*/src/*.c'  only these
    aiocompress extract x.tar.gz -o . --strip-components 1
    ssh host cat all.tar.gz | aiocompress extract - -o all"""
)
@options.archive
@options.patterns
@options.option(
    "Output",
    "-o",
    "--output",
    metavar="DIR",
    shell_complete=options.completes("folders"),
    help="As `tar -C`; default: ARCHIVE without suffixes.",
)
@options.replacing
@options.option(
    "Members",
    "--strip-components",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Leave out the first N parts of names, as tar.",
)
@options.keep_going
@options.flag(
    "Members",
    "--preserve",
    help="Owners, set-ID bits, xattrs, pipes, devices too.",
)
@options.limits
@options.bounds
@options.metadata
@options.running
def extract(archive: str, **flags: Any) -> None:
    """Restore the members of an archive, all or some, below one folder and nowhere else.

    PATTERNs are names, folders (with all that is in them) or shell patterns. Where all members
    stand below one folder that is named like the archive, `extract` without -o makes that folder,
    and not one in another.
    """
    _run("extract", flags | {"sources": (archive,)})


@cli.command(
    name="list",
    examples="""
    aiocompress list folder.tar.zst                 all names
    aiocompress list --long folder.tar.zst '*.c'    all about some, with totals
    aiocompress list https://example.org/folder.tar.zst""",
)
@options.archive
@options.patterns
@options.flag("Output", "--long", help="Modes, owners, sizes and times as well, and totals.")
@options.flag("Output", "-0", "null", help="End names with a zero byte, and escape nothing.")
@options.flag("Output", "--json", "as_json", help="Print one JSON object per line.")
@options.window
@options.metadata
@options.workers
@options.verbose
def list_members(archive: str, **flags: Any) -> None:
    """List the members of an archive: by its index, or without one from front to back.

    PATTERNs are names, folders (with all that is in them) or shell patterns.
    """
    _run("list", flags | {"sources": (archive,)})


@cli.command(
    examples="""
    aiocompress cat folder.tar.zst folder/notes.txt | less"""
)
@options.archive
@options.argument(
    "members",
    nargs=-1,
    required=True,
    metavar="MEMBER...",
    shell_complete=options.completes("members"),
)
@options.window
@options.metadata
@options.workers
@options.verbose
def cat(archive: str, **flags: Any) -> None:
    """Write the content of members to stdout."""
    _run("cat", flags | {"sources": (archive,)})


@cli.command(
    examples="""
    aiocompress diff folder.tar.zst folder          a line for each difference
    aiocompress diff --ignore time all.tar.gz . 'src/*.c'"""
)
@options.archive
@options.argument("folder", metavar="FOLDER", shell_complete=options.completes("folders"))
@options.patterns
@options.option(
    "Members",
    "--ignore",
    multiple=True,
    type=click.Choice(get_args(Aspect)),
    metavar="WHAT",
    help=f"What need not be the same: {', '.join(get_args(Aspect))}.",
)
@options.flag("Members", "--preserve", help="Compare owners, set-ID bits and xattrs, too.")
@options.option(
    "Members",
    "--prefix",
    "inside",
    metavar="NAME",
    help="Compare this folder of ARCHIVE; default: its top, or the only folder there, "
    "if that is called as FOLDER is.",
)
@options.window
@options.metadata
@options.workers
@options.progress
@options.quiet
@options.verbose
@options.flag("Messages", "--json", "as_json", help="Print one JSON object per line.")
def diff(archive: str, **flags: Any) -> None:
    """Tell how FOLDER differs from ARCHIVE: names, kinds, contents, modes, times, links.

    Exit code 1 says that something differs, or could not be read.
    """
    _run("diff", flags | {"sources": (archive,)})


@cli.command(
    examples="""
    aiocompress test backup/*.zst"""
)
@options.sources
@options.window
@options.metadata
@options.running
def test(**flags: Any) -> None:
    """Check each SOURCE, or stdin, from its first byte to its last, and write nothing."""
    _run("test", flags)


@cli.command(
    examples="""
    aiocompress recover bad.tar.zst -o saved        all members that are whole
    aiocompress recover bad.tar.zst -o new.tar.zst  as a new archive"""
)
@options.argument("damaged", metavar="DAMAGED", shell_complete=options.completes("files"))
@options.option(
    "Output",
    "-o",
    "--output",
    required=True,
    metavar="DIR|NEW.tar.zst",
    shell_complete=options.completes("files"),
    help="Where to save it.",
)
@options.existing
@options.fsync
@options.flag("Members", "--keep-damaged", help="Keep damaged members as NAME.damaged, with zeros.")
@options.window
@options.running
def recover(damaged: str, **flags: Any) -> None:
    """Save every member that is whole from a damaged archive, which is not changed."""
    _run("recover", flags | {"sources": (damaged,)})


@cli.command(
    examples="""
    aiocompress serve                               this folder, at http://127.0.0.1:8000/
    aiocompress serve --root share --writable       with uploads"""
)
@options.option(
    "Serving",
    "--root",
    default=".",
    metavar="DIR",
    shell_complete=options.completes("folders"),
    help="The folder to serve.  [default: .]",
)
@options.option(
    "Serving",
    "--host",
    default="127.0.0.1",
    metavar="ADDRESS",
    help="The address to serve it at.  [default: 127.0.0.1]",
)
@options.option(
    "Serving",
    "--port",
    metavar="PORT",
    type=click.IntRange(0, 65535),
    default=8000,
    help="0: a free one.  [default: 8000]",
)
@options.flag("Serving", "--writable", help="Let visitors upload files.")
@options.workers
@options.quiet
@options.verbose
def serve(**flags: Any) -> None:
    """Serve a folder, and what is inside of its archives, to browsers."""
    _end(console.serve(**flags))


@cli.command(
    examples="""
    aiocompress completion bash >> ~/.bashrc
    aiocompress completion zsh >> ~/.zshrc
    aiocompress completion fish > ~/.config/fish/completions/aiocompress.fish"""
)
@options.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, options, files, and members of archives."""
    from aiocompress.cli.completion import script

    click.echo(script(shell), nl=False)


@cli.command(hidden=True)
def man() -> None:
    """Print the manual page, for `man` to read."""
    from aiocompress.cli.man import page

    click.echo(page(cli), nl=False)


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
    if options.COMPLETING in os.environ:
        from aiocompress.cli import completion

        completion.answer(cli, os.environ)
    else:
        cli(prog_name="aiocompress")
