"""What the command line is to do: worked out once, after parsing, and checked."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from typing import Final, Literal, NamedTuple

from aiocompress.formats import names
from aiocompress.model import Layout, parse_size

STREAM: Final = "-"
_FEWEST_DESCRIPTORS: Final = 32
_SMALL: Final = 1 << 20
closed_descriptors: set[int] = set()
"""Which of stdin, stdout and stderr were closed when the program began."""


Verb = Literal["compress", "decompress", "test", "extract", "recover", "list", "cat"]


class UsageError(Exception):
    """Flags or arguments that do not go together."""


class Options(NamedTuple):
    """The flags, as they were given."""

    verb: Verb
    sources: tuple[str, ...]
    num_workers: int = 0
    memory_limit: str | None = None
    progress: bool | None = None
    quiet: bool = False
    verbose: bool = False
    as_json: bool = False
    max_output: str | None = None
    max_window: str = "128MiB"
    max_members: int | None = None
    max_member_size: str | None = None
    max_metadata: str = "1MiB"
    output: str | None = None
    stdout: bool = False
    force: bool = False
    skip_existing: bool = False
    remove: bool = False
    fsync: bool = True
    level: int | None = None
    codec: str | None = None
    chunk_size: str | None = None
    layout: Layout | None = None
    exclude: tuple[str, ...] = ()
    exclude_from: tuple[str, ...] = ()
    prefix: str = ""
    reproducible: bool = False
    strict: bool = False
    xattrs: bool = False
    members: tuple[str, ...] = ()
    keep_going: bool = False
    preserve: bool = False
    keep_damaged: bool = False
    long: bool = False
    null: bool = False

    @property
    def packs(self) -> bool:
        """Whether a flag is given that only makes sense for folders."""
        return bool(
            self.layout
            or self.exclude
            or self.exclude_from
            or self.prefix
            or self.reproducible
            or self.strict
            or self.xattrs
        )


class Task(NamedTuple):
    """One source and where it goes; ``STREAM`` is stdin or stdout, None: nowhere.

    ``roots`` are the folders and files of one archive or tree, whose ``layout`` is then said.
    """

    source: str
    destination: str | None
    codec: str | None = None
    layout: Layout | None = None
    roots: tuple[str, ...] = ()


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
    try:
        tasks = _tasks(options, sources)
        sizes = [options.memory_limit, options.max_output, options.max_window]
        for size in [*sizes, options.max_member_size, options.max_metadata]:
            parse_size(size or 1)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if options.remove and any(os.path.isdir(root) for task in tasks for root in task.roots):
        raise UsageError("--rm removes files, not folders")
    if any(task.destination == STREAM for task in tasks):
        _check_stdout(options)
    bounded = options.max_members is not None or options.max_member_size is not None
    if bounded and any(task.layout is None for task in tasks):
        raise UsageError("a file has no members: --max-output bounds it")
    return tasks


def _tasks(options: Options, sources: tuple[str, ...]) -> list[Task]:
    if options.verb in {"test", "list", "cat"}:
        return [Task(source, STREAM if options.verb == "cat" else None) for source in sources]
    if options.verb == "recover":
        if options.remove:
            raise UsageError("--rm: a damaged source is kept")
        return [Task(sources[0], options.output, layout="archive", roots=sources)]
    if options.verb == "extract":
        return [_extract_task(options, source) for source in sources]
    trees = _trees(options, sources)
    if trees is not None:
        return trees
    if options.packs:
        raise UsageError("--layout, --exclude, --prefix and the like are for folders")
    folder = options.output if options.output and os.path.isdir(options.output) else None
    if len(sources) > 1 and options.output not in {None, STREAM} and folder is None:
        raise UsageError("-o must be a folder, or a .tar.zst or .tar.gz, for several sources")
    return [_task(options, source, folder) for source in sources]


def _trees(options: Options, sources: tuple[str, ...]) -> list[Task] | None:
    """Work out what becomes archives or trees; None: all sources are files by themselves."""
    folders = [source for source in sources if os.path.isdir(source)]
    if options.verb == "decompress":
        return [_mirror_back(options, sources)] if folders else None
    output = STREAM if options.stdout else options.output
    if not folders and not _is_archive_of_files(options, sources, output):
        return None
    if STREAM in sources:
        raise UsageError("stdin cannot be packed with folders")
    if output is None and len(folders) < len(sources):
        raise UsageError("name the archive of folders and files with -o")
    if output is None:
        return [_tree(options, (source,), _beside(options, source)) for source in sources]
    return [_tree(options, sources, output)]


def _is_archive_of_files(options: Options, sources: tuple[str, ...], output: str | None) -> bool:
    """Whether files are to be packed into an archive, rather than compressed as they are."""
    if options.layout is not None:
        return True
    if output in {None, STREAM} or os.path.isdir(output or ""):
        return False
    first = sources[0]
    is_tar = len(sources) == 1 and (first == STREAM or first.lower().endswith(".tar"))
    return not is_tar and names.is_tar(output or "")


def _tree(options: Options, roots: tuple[str, ...], destination: str) -> Task:
    if destination == STREAM:
        if options.layout not in {None, "archive"}:
            raise UsageError("only an archive can go to stdout")
        return Task(roots[0], STREAM, options.codec or "zstd", "archive", roots)
    layout = names.layout_for(destination, options.layout)
    codec = options.codec
    if codec is None and layout == "archive":
        codec = names.codec_for(destination)
    return Task(", ".join(roots), destination, codec or "zstd", layout, roots)


def _beside(options: Options, folder: str) -> str:
    """Name the archive of a folder after it."""
    name = os.path.normpath(folder)
    if os.path.basename(name) in {"", ".", ".."} or options.layout in {"mirror", "framed"}:
        raise UsageError(f"{folder}: name the result with -o")
    return name + ".tar" + names.suffix_of(options.codec or "zstd")


def _mirror_back(options: Options, sources: tuple[str, ...]) -> Task:
    if len(sources) > 1 or options.output in {None, STREAM} or options.stdout:
        raise UsageError("a folder of compressed files is decompressed alone, to -o FOLDER")
    return Task(sources[0], options.output, layout="mirror", roots=sources)


def _extract_task(options: Options, source: str) -> Task:
    destination = options.output
    if destination is None:
        if source == STREAM:
            raise UsageError("name the folder for an archive from stdin with -o")
        destination = names.stem(source)
    if destination is None:
        raise UsageError(f"{source}: unknown suffix, name the folder with -o")
    if destination == STREAM:
        raise UsageError("-o must be a folder; `cat` writes members to stdout")
    return Task(source, destination, layout="archive", roots=(source,))


def _task(options: Options, source: str, folder: str | None) -> Task:
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
        return source + names.suffix_of(options.codec or "zstd")
    name = names.restored(os.path.basename(source))
    if name is None:
        raise UsageError(f"{source}: unknown suffix, name the result with -o")
    return name


def _codec(options: Options, destination: str) -> str | None:
    if options.verb != "compress":
        return None
    if options.codec is not None:
        return options.codec
    return "zstd" if destination == STREAM else names.codec_for(destination)


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


def exclusions(options: Options) -> list[str]:
    """Return the patterns of what is left out, those from files first.

    :raises OSError: such a file cannot be read.
    """
    patterns = []
    for path in options.exclude_from:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            patterns += file.read().splitlines()
    return [*patterns, *options.exclude]


def check_descriptors() -> None:
    """Make sure that enough files can be open, as far as that is ours to say.

    :raises UsageError: even the hard limit is too low.
    """
    import resource  # POSIX

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < _FEWEST_DESCRIPTORS:
        if 0 <= hard < _FEWEST_DESCRIPTORS:
            raise UsageError(f"needs {_FEWEST_DESCRIPTORS} descriptors (ulimit -n), has {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (_FEWEST_DESCRIPTORS, hard))


def check_not_same(task: Task) -> None:
    """Refuse to write over what is read.

    :raises UsageError: both are the same file.
    """
    if task.destination is None or task.layout is not None:
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
    if task.source == STREAM or (task.layout is not None and os.path.isdir(task.roots[0])):
        return True
    with suppress(OSError):
        status = os.stat(task.source)
        return not stat.S_ISREG(status.st_mode) or status.st_size > _SMALL
    return False


def shown(name: str) -> str:
    """Return a name on one line, whatever is in it."""
    if name == STREAM:
        return "stdin"
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
