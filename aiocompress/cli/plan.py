"""What the command line is to do: ``plan`` works it out once, after parsing, and checks it."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from typing import Final, Literal, NamedTuple

from aiocompress.formats import names
from aiocompress.model import (
    Aspect,
    Codec,
    Layout,
    is_url,
    parse_size,
    printable,
    public_url,
)

STREAM: Final = "-"
UNNAMED: Final = ""
"""The destination of a source whose suffix does not say what its result is called."""
_UNNAMING: Final = {"", ".", ".."}
"""Last parts of paths to folders that have another name, or none."""
_FEWEST_DESCRIPTORS: Final = 32
_SMALL: Final = 1 << 20
_PACKING: Final = "--layout, --exclude, --prefix and the like"
closed_descriptors: set[int] = set()
"""Which of stdin, stdout and stderr were closed when the program began."""

Verb = Literal["compress", "decompress", "test", "extract", "recover", "list", "cat", "diff"]


class UsageError(Exception):
    """The flags or arguments contradict each other, or leave something open."""


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
    max_window: str | None = None
    max_members: int | None = None
    max_member_size: str | None = None
    max_metadata: str | None = None
    output: str | None = None
    stdout: bool = False
    force: bool = False
    skip_existing: bool = False
    remove: bool = False
    fsync: bool | None = None
    level: int | None = None
    codec: Codec | None = None
    chunk_size: str | None = None
    long_distance: bool = False
    layout: Layout | None = None
    exclude: tuple[str, ...] = ()
    exclude_from: tuple[str, ...] = ()
    prefix: str | None = None
    reproducible: bool = False
    strict: bool = False
    xattrs: bool = False
    sparse: bool = True
    members: tuple[str, ...] = ()
    strip_components: int = 0
    keep_going: bool = False
    preserve: bool = False
    keep_damaged: bool = False
    long: bool = False
    null: bool = False
    folder: str = ""
    inside: str | None = None
    ignore: tuple[Aspect, ...] = ()


class Task(NamedTuple):
    """One source and its destination; ``STREAM`` is stdin or stdout, None: nothing is written.

    A destination that is ``UNNAMED`` is an error, once it is known what the source holds.
    For an archive or a tree, ``layout`` is set, ``roots`` are the folders and files in it, and
    ``prefix`` stands before the names of all of them.
    """

    source: str
    destination: str | None
    codec: Codec | None = None
    layout: Layout | None = None
    roots: tuple[str, ...] = ()
    prefix: str = ""


def plan(options: Options) -> list[Task]:
    """Work out where each source goes, and check that the flags go together.

    :raises UsageError: they do not, or they leave the destination open.
    """
    sources = options.sources or (STREAM,)
    _check_flags(options, sources)
    _check_idle(options)
    if options.stdout:
        options = options._replace(output=STREAM)
    try:
        tasks = _tasks(options, sources)
        sizes = [options.memory_limit, options.max_output, options.max_window]
        for size in [*sizes, options.max_member_size, options.max_metadata]:
            parse_size(size or 1)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if options.remove and any(os.path.isdir(root) for task in tasks for root in task.roots):
        raise UsageError("--rm removes files, not folders")
    if options.remove and any(map(is_url, sources)):
        raise UsageError("--rm removes files of this machine only")
    if any(task.destination == STREAM for task in tasks):
        _check_stdout(options)
    for task in tasks:
        _check_task(options, task)
    return tasks


def _tasks(options: Options, sources: tuple[str, ...]) -> list[Task]:
    if options.verb in {"test", "list", "cat", "diff"}:
        return [Task(source, STREAM if options.verb == "cat" else None) for source in sources]
    if options.verb == "recover":
        if options.output == STREAM:
            raise UsageError("-o must be a folder or a new archive: stdout cannot be either")
        return [Task(sources[0], options.output, layout="archive", roots=sources)]
    if options.verb == "extract":
        return [_extract_task(options, source) for source in sources]
    trees = _trees(options, sources)
    if trees is not None:
        return trees
    if _packs(options):
        raise UsageError(f"{_PACKING} are for folders")
    # A folder called "-" is not meant by -o -.
    named = None if options.output == STREAM else options.output
    folder = named if named and os.path.isdir(named) else None
    if len(sources) > 1 and named is not None and folder is None:
        raise UsageError(f"-o must be a folder, or a {names.written('.tar')}, for several sources")
    return [_file_task(options, source, folder) for source in sources]


def _trees(options: Options, sources: tuple[str, ...]) -> list[Task] | None:
    """Work out which archives or trees to make; None: each source is a file by itself."""
    folders = [source for source in sources if os.path.isdir(source)]
    output = options.output
    if options.verb == "decompress":
        if not folders:
            return None
        if len(sources) > 1 or output in {None, STREAM}:
            raise UsageError("a folder of compressed files is decompressed alone, to -o FOLDER")
        return [Task(sources[0], output, layout="mirror", roots=sources)]
    if not folders and not _is_archive_of_files(options, sources):
        return None
    if STREAM in sources:
        raise UsageError("stdin cannot be packed with folders")
    if output is not None:
        return [_tree_task(options, sources, output)]
    if len(folders) < len(sources):
        raise UsageError("name the archive of folders and files with -o")
    return [_tree_task(options, (folder,), _beside(options, folder)) for folder in folders]


def _is_archive_of_files(options: Options, sources: tuple[str, ...]) -> bool:
    """Whether to pack files into one archive, rather than compress each by itself."""
    output = options.output or STREAM
    if options.layout is not None:
        return True
    if output == STREAM or os.path.isdir(output):
        return False
    first = sources[0]
    is_tar = len(sources) == 1 and (first == STREAM or first.lower().endswith(".tar"))
    return not is_tar and names.is_tar(output)


def _tree_task(options: Options, roots: tuple[str, ...], destination: str) -> Task:
    layout: Layout = "archive"
    if destination != STREAM:
        layout = names.layout_for(public(destination), options.layout)
    elif options.layout not in {None, "archive"}:
        raise UsageError("only an archive can go to stdout")
    codec = _codec(options, destination) if layout == "archive" else options.codec or "zstd"
    prefix = options.prefix
    if prefix is None:
        prefix = _own_name(roots[0]) if layout == "archive" and len(roots) == 1 else ""
    return Task(", ".join(roots), destination, codec, layout, roots, prefix)


def _own_name(root: str) -> str:
    """Return the name that the members of a folder stand below, as text of an archive.

    A file has its own name there, and what `.`, `..` or `/` mean is not named by that.
    """
    name = os.path.basename(os.path.normpath(root))
    if name in _UNNAMING or not os.path.isdir(root):
        return ""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def _beside(options: Options, folder: str) -> str:
    """Name the archive of a folder after the folder."""
    name = os.path.normpath(folder)
    if os.path.basename(name) in _UNNAMING or options.layout in {"mirror", "framed"}:
        raise UsageError(f"{folder}: name the result with -o")
    return name + ".tar" + names.suffix_of(options.codec or "zstd")


def _extract_task(options: Options, source: str) -> Task:
    destination = options.output
    if destination is None:
        if source == STREAM:
            raise UsageError("name the folder for an archive from stdin with -o")
        destination = names.stem(_local(source)) or UNNAMED
    if destination == STREAM:
        raise UsageError("-o must be a folder; `cat` writes members to stdout")
    return Task(source, destination, layout="archive", roots=(source,))


def _file_task(options: Options, source: str, folder: str | None) -> Task:
    destination = options.output
    if destination is None and source == STREAM:
        destination = STREAM
    if destination is None or folder is not None:
        if source == STREAM:
            raise UsageError("name the file for stdin with -o")
        base = os.path.basename(_local(source))
        added = names.suffix_of(options.codec or "zstd")
        name = base + added if options.verb == "compress" else names.restored(base)
        place = folder or os.path.dirname(_local(source))
        destination = UNNAMED if name is None else os.path.join(place, name)
    codec = _codec(options, destination) if options.verb == "compress" else None
    return Task(source, destination, codec)


def _packs(options: Options) -> bool:
    """Whether a flag was given that only says how folders are packed."""
    named = options.layout, options.exclude, options.exclude_from, options.prefix is not None
    return any((*named, options.reproducible, options.strict, options.xattrs, not options.sparse))


def _codec(options: Options, destination: str) -> Codec:
    if options.codec is not None:
        return options.codec
    return "zstd" if destination == STREAM else names.codec_for(public(destination))


def _check_flags(options: Options, sources: tuple[str, ...]) -> None:
    if STREAM in sources:
        if 0 in closed_descriptors:
            raise UsageError("stdin is closed: name a SOURCE")
        if os.isatty(0):
            raise UsageError("stdin is a terminal: name a SOURCE, or pipe data in")
        if options.remove:
            raise UsageError("--rm cannot remove stdin")
    for one, other, both in (
        ("-f", "--skip-existing", options.force and options.skip_existing),
        ("-c", "-o", options.stdout and options.output not in {None, STREAM}),
        ("-q", "--progress", options.quiet and options.progress),
        ("--long", "--json", options.long and options.as_json),
    ):
        if both:
            raise UsageError(f"{one} and {other} exclude each other")
    if options.verb == "extract" and options.remove:
        if options.members or options.strip_components:
            raise UsageError("--rm would lose the members that are not extracted")
        if options.skip_existing:
            raise UsageError("--rm would lose the members that --skip-existing leaves out")


def _check_idle(options: Options) -> None:
    """Refuse what would do nothing; but level and codec, as `tar -I` gives them both ways."""
    if options.verb != "compress":
        if _packs(options):
            raise UsageError(f"{_PACKING} are for compressing folders")
    elif options.max_output is not None or options.max_window is not None or options.keep_going:
        raise UsageError("--max-output, --max-window and --keep-going need -d")


def _check_task(options: Options, task: Task) -> None:
    """Refuse what would do nothing for a task."""
    if task.layout is None:
        if options.max_members is not None or options.max_member_size is not None:
            raise UsageError("a file has no members: --max-output bounds it")
        if options.keep_going:
            raise UsageError("a file has no members: --keep-going is for archives and folders")
    elif (options.exclude or options.exclude_from) and not any(map(os.path.isdir, task.roots)):
        raise UsageError("--exclude leaves out what is in folders")


def _check_stdout(options: Options) -> None:
    if 1 in closed_descriptors:
        raise UsageError("stdout is closed: name a file with -o")
    if options.verb == "compress" and os.isatty(1):
        raise UsageError("compressed data is not for a terminal: name a file with -o")
    if options.remove:
        raise UsageError("--rm needs a file as output")
    if options.force or options.skip_existing or options.fsync is not None:
        raise UsageError("-f, --skip-existing and --fsync need a file as output")


def hold_standard_descriptors() -> None:
    """Open /dev/null in the place of each standard descriptor that is closed.

    Otherwise the next file that anybody opens would become stdin, stdout or stderr, and a
    message, or data for stdout, would end up in it.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            closed_descriptors.add(descriptor)
            os.open(os.devnull, os.O_RDWR)
            mode = "w" if descriptor else "r"
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115


def exclusions(options: Options) -> list[str]:
    """Return the patterns to exclude, those from files first.

    :raises OSError: a file of patterns cannot be read.
    """
    patterns = []
    for path in options.exclude_from:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            patterns += file.read().splitlines()
    return [*patterns, *options.exclude]


def check_descriptors() -> None:
    """Make sure that enough files can be open: raise the soft limit if it is too low.

    :raises UsageError: even the hard limit is too low.
    """
    import resource  # POSIX

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < _FEWEST_DESCRIPTORS:
        if 0 <= hard < _FEWEST_DESCRIPTORS:
            raise UsageError(f"needs {_FEWEST_DESCRIPTORS} descriptors (ulimit -n), has {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (_FEWEST_DESCRIPTORS, hard))


def check_not_same(task: Task) -> None:
    """Refuse to write into the file that is being read.

    :raises UsageError: source and destination are the same file.
    """
    if task.destination is None or task.layout is not None:
        return
    source = 0 if task.source == STREAM else task.source
    destination = 1 if task.destination == STREAM else task.destination
    with suppress(OSError):  # what is not there cannot be the same
        status = os.stat(source)
        if stat.S_ISREG(status.st_mode) and os.path.samestat(status, os.stat(destination)):
            raise UsageError(f"{shown(task.source)}: source and destination are the same file")


def is_large(task: Task) -> bool:
    """Whether worker processes are worth starting; a pipe counts, as its size is unknown."""
    if task.source == STREAM or (task.layout is not None and os.path.isdir(task.roots[0])):
        return True
    with suppress(OSError):
        status = os.stat(task.source)
        return not stat.S_ISREG(status.st_mode) or status.st_size > _SMALL
    return False


def shown(name: str) -> str:
    """Return the name of a source on one line; of a URL nothing that opens it."""
    return "stdin" if name == STREAM else printable(public(name))


def public(name: str) -> str:
    """Return a name as it may be printed: a URL without what opens it."""
    return public_url(name) if is_url(name) else name


def _local(source: str) -> str:
    """Return the path that a result is named after: that of a URL is in the current folder."""
    return os.path.basename(public_url(source)) if is_url(source) else source
