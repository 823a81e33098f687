"""What callers pass: checked once, and turned into the structs that the verbs take."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, get_args

from aiocompress import formats
from aiocompress.errors import LimitError
from aiocompress.formats.base import Format
from aiocompress.model import (
    DEFAULT_MAX_METADATA,
    DEFAULT_MAX_WINDOW,
    MIB,
    Aspect,
    Buffer,
    OnError,
    OnExists,
    PathLike,
    ProgressOption,
    Size,
    parse_size,
)

if TYPE_CHECKING:
    from aiocompress.storage.restorer import Keeping
    from aiocompress.storage.walk import Excluded
    from aiocompress.verbs.select import Selection

READ_SIZE: Final = 2 * MIB

FolderSource: TypeAlias = PathLike | Sequence[PathLike]


class Recipe(NamedTuple):
    """Everything that the bytes of a container depend on, but for the data.

    ``single``: there is no container, but one frame, and so no chunks. ``long``: repeats are found
    that are far apart.
    """

    format: Format
    level: int
    chunk_size: int
    single: bool = False
    long: bool = False


class Reading(NamedTuple):
    """How a container is read: the size of one read, and the caller's limits, all in bytes.

    ``max_metadata`` bounds the names and attributes in front of one member of an archive.
    """

    read_size: int = READ_SIZE
    max_window: int = DEFAULT_MAX_WINDOW
    max_output: int | None = None
    max_metadata: int = DEFAULT_MAX_METADATA
    max_input: int | None = None

    def check_input(self, read_bytes: int) -> None:
        """Hold the limit on bytes that are read."""
        if self.max_input is not None and read_bytes > self.max_input:
            raise LimitError(
                f"the input is larger than the {self.max_input} bytes allowed",
                hint="raise max_input if you trust it",
            )

    def check_output(self, raw_bytes: int) -> None:
        """Hold the limit on bytes that really came out, whatever the headers claim."""
        if self.max_output is not None and raw_bytes > self.max_output:
            raise LimitError(
                f"the data is larger than the {self.max_output} bytes allowed",
                hint="raise max_output if you trust it",
            )


class Writing(NamedTuple):
    """How a result is written: what happens to an older one, whether it is synced, who is told."""

    on_exists: OnExists = "error"
    fsync: bool = True
    progress: ProgressOption = False


class Packing(NamedTuple):
    """How a tree is packed.

    ``roots`` are (path, name): what is packed, and what it is called in the archive; "" for a
    folder whose members stand there by themselves. ``prefix`` stands before all names;
    ``excluded`` says what is left out; ``clamp`` is the latest time in seconds, and turns owners
    and modes into the plainest (``reproducible``); ``sparse``: holes of files stay holes.
    """

    roots: tuple[tuple[str, str], ...]
    prefix: str = ""
    excluded: Excluded | None = None
    on_error: OnError = "raise"
    xattrs: bool = False
    clamp: int | None = None
    sparse: bool = True


class Streaming(NamedTuple):
    """What a stream takes beside its recipe: how a tree is packed, and who is told.

    ``flush_after`` are the seconds after which what a slow source has sent goes out.
    """

    packing: Packing
    writing: Writing = Writing()
    flush_after: float | None = None


class Bounds(NamedTuple):
    """How many members may be restored, and how many bytes each may have; None: any."""

    max_members: int | None = None
    max_member_size: int | None = None

    def check_count(self, count: int) -> None:
        """Make sure that there are not too many members.

        :raises LimitError: there are.
        """
        if self.max_members is not None and count > self.max_members:
            raise LimitError(
                f"there are more than the {self.max_members} members allowed",
                hint="raise max_members if you trust it",
            )

    def check_size(self, size: int) -> None:
        """Make sure that a member is not too large.

        :raises LimitError: it is.
        """
        if self.max_member_size is not None and size > self.max_member_size:
            raise LimitError(
                f"it is larger than the {self.max_member_size} bytes allowed for a member",
                hint="raise max_member_size if you trust it",
            )


class Restoring(NamedTuple):
    """How members become files: which of them, what beside content, errors, limits.

    ``unwrap``: a folder that all stand below, and that is named like the destination, becomes it.
    """

    selection: Selection
    keeping: Keeping
    on_error: OnError = "raise"
    bounds: Bounds = Bounds()
    unwrap: bool = False


class Comparing(NamedTuple):
    """How a folder is compared with an archive: what need not be the same, and ``preserve``.

    That compares what extraction restores with ``preserve``: owners, set-user-ID bits, attributes.
    """

    ignored: frozenset[Aspect] = frozenset()
    preserve: bool = False


def make_recipe(
    codec: str,
    level: int | None,
    chunk_size: Size | None,
    *,
    single: bool = False,
    long: bool = False,
) -> Recipe:
    """Check codec, level and chunk size, and fill in the defaults.

    :raises ValueError: there is no such codec, level or size; a single frame has no chunks; the
        codec's window is too small for ``long``.
    :raises TypeError: the level is not an int, or the size neither int nor text.
    """
    row = formats.writable(codec)
    level = row.codec.default_level if level is None else level
    if isinstance(level, bool) or not isinstance(level, int):
        raise TypeError(f"compression_level must be an int, not {type(level).__name__}")
    if level not in row.codec.levels:
        first, last = row.codec.levels[0], row.codec.levels[-1]
        msg = f"compression_level of {codec} must be from {first} to {last}, not {level}"
        raise ValueError(msg)
    if single and chunk_size is not None:
        raise ValueError("single writes one frame: chunk_size has no meaning there")
    if single and row.codec.open_encoder is None:
        raise ValueError(f"single is not possible with {codec}, whose frames are chunks")
    if long:
        _check_long(row, level, single=single)
    default = row.codec.long_chunk_size if long else row.codec.chunk_size(level)
    size = default if chunk_size is None else parse_size(chunk_size, "chunk_size")
    if long and size > default:
        msg = f"chunk_size must be at most {default} with long_distance: no window is larger"
        raise ValueError(msg)
    return Recipe(row, level, size, single, long)


def _check_long(row: Format, level: int, *, single: bool) -> None:
    if row.codec.compress_long is None:
        raise ValueError(f"long_distance is for zstd: the window of {row.name} is too small for it")
    if level < 1:
        raise ValueError(f"long_distance is for levels from 1 on, not for {level}")
    if single:
        raise ValueError(
            "single writes a frame for browsers, whose window is too small for long_distance"
        )


def make_reading(
    max_output: Size | None,
    max_window: Size,
    chunk_size: Size | None = None,
    max_metadata: Size = DEFAULT_MAX_METADATA,
    max_input: Size | None = None,
) -> Reading:
    """Check the limits of reading.

    :raises ValueError: text that is not a size, or a size below 1.
    :raises TypeError: a size that is neither int nor text.
    """
    return Reading(
        read_size=READ_SIZE if chunk_size is None else parse_size(chunk_size, "chunk_size"),
        max_window=parse_size(max_window, "max_window"),
        max_output=None if max_output is None else parse_size(max_output, "max_output"),
        max_metadata=parse_size(max_metadata, "max_metadata"),
        max_input=None if max_input is None else parse_size(max_input, "max_input"),
    )


def make_writing(on_exists: OnExists, fsync: bool | None, progress: ProgressOption) -> Writing:  # noqa: FBT001
    """Check how a result is to be written.

    :raises ValueError: ``on_exists`` has another value than the three it can have.
    :raises TypeError: ``progress`` cannot be called.
    """
    if on_exists not in get_args(OnExists):
        raise ValueError(f"on_exists must be 'error', 'replace' or 'skip', not {on_exists!r}")
    if not isinstance(progress, bool) and not callable(progress):
        msg = f"progress must be a bool or a callable, not {type(progress).__name__}"
        raise TypeError(msg)
    return Writing(on_exists, fsync is not False, progress)


def make_streaming(
    packing: Packing, flush_after: float | None, progress: ProgressOption
) -> Streaming:
    """Check how a stream is to be made.

    :raises ValueError: ``flush_after`` is negative, or not a number.
    :raises TypeError: it is no number of seconds; ``progress`` cannot be called.
    """
    if isinstance(flush_after, bool) or not isinstance(flush_after, int | float | None):
        raise TypeError(f"flush_after must be seconds, not {type(flush_after).__name__}")
    if flush_after is not None and not flush_after >= 0:
        raise ValueError(f"flush_after must be 0 or more seconds, not {flush_after}")
    return Streaming(packing, make_writing("error", None, progress), flush_after)


def make_packing(
    prefix: str,
    exclude: Iterable[str],
    *,
    reproducible: bool,
    xattrs: bool,
    on_error: OnError,
    sparse: bool = True,
) -> Packing:
    """Check how a tree is to be packed; its roots are added later.

    :raises ValueError: SOURCE_DATE_EPOCH is not a number, or the prefix leads elsewhere.
    """
    check_on_error(on_error)
    parts = [part for part in prefix.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise ValueError(f"prefix must not lead out of the archive, as {prefix!r} does")
    clamp = int(os.environ.get("SOURCE_DATE_EPOCH", "0")) if reproducible else None
    inside = "".join(part + "/" for part in parts)
    # Where a file has holes is up to its file system, and nothing to be reproduced.
    sparse = sparse and clamp is None
    return Packing((), inside, _make_excluded(exclude), on_error, xattrs, clamp, sparse)


def _make_excluded(patterns: Iterable[str]) -> Excluded | None:
    """Return a function that says what is left out, by the rules of gitignore; None: nothing."""
    if isinstance(patterns, str):
        patterns = [patterns]
    if not (lines := list(patterns)):
        return None
    from pathspec import GitIgnoreSpec  # most callers exclude nothing

    matches = GitIgnoreSpec.from_lines(lines).match_file

    def excluded(name: bytes, is_folder: bool) -> bool:  # noqa: FBT001
        # Patterns are lines, and "$" in them would match before a newline at the end of a name.
        return matches(os.fsdecode(name).replace("\n", "\ufffd") + "/" * is_folder)

    return excluded


def make_restoring(
    members: Iterable[str] | None,
    on_error: OnError,
    max_members: int | None,
    max_member_size: Size | None,
    *,
    strip_components: int,
    unwrap: bool,
    preserve: bool,
) -> Restoring:
    """Check what is wanted of an archive; for one use: a ``Selection`` remembers what it met.

    :raises ValueError: ``on_error`` has another value than the two it can have; a number below 0.
    :raises TypeError: a number that is not an int, or a size that is neither int nor text.
    """
    # Only archives have members.
    from aiocompress.storage.restorer import Keeping
    from aiocompress.verbs.select import Selection

    check_on_error(on_error)
    if max_members is not None:
        _check_count("max_members", max_members)
    _check_count("strip_components", strip_components)
    size = None if max_member_size is None else parse_size(max_member_size, "max_member_size")
    selection = Selection(members, strip_components)
    bounds = Bounds(max_members, size)
    return Restoring(selection, Keeping(preserve, strip_components), on_error, bounds, unwrap)


def _check_count(name: str, count: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{name} must be an int, not {type(count).__name__}")
    if count < 0:
        raise ValueError(f"{name} must not be negative, as {count} is")


def check_on_error(on_error: OnError) -> None:
    """Check what is to be done about what goes wrong.

    :raises ValueError: ``on_error`` has another value than the two it can have.
    """
    if on_error not in get_args(OnError):
        raise ValueError(f"on_error must be 'raise' or 'skip', not {on_error!r}")


def make_comparing(ignore: Iterable[Aspect], *, preserve: bool) -> Comparing:
    """Check what need not be the same in an archive and a folder.

    :raises ValueError: there is no such thing.
    """
    ignored, known = frozenset(ignore), get_args(Aspect)
    for unknown in sorted(ignored.difference(known)):
        raise ValueError(f"ignore must be of {', '.join(known)}, not {unknown!r}")
    return Comparing(ignored, preserve)


def as_bytes(data: Any) -> Buffer:
    """Check that ``data`` is bytes-like, an array included.

    :raises TypeError: it is not.
    """
    return data if isinstance(data, bytes | bytearray | memoryview) else memoryview(data)
