"""Plain values that every floor uses: sizes, options, progress, reports, members, statistics."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, TypeAlias, TypeGuard

__version__: Final = "0.2.0"

Buffer: TypeAlias = bytes | bytearray | memoryview
PathLike: TypeAlias = str | os.PathLike[str]
Size: TypeAlias = int | str
"""A number of bytes: an int, or text such as ``"4MiB"``, ``"4M"`` or ``"512k"``."""
Codec: TypeAlias = Literal["zstd", "gzip"]
"""What can be written; what is read, its content tells."""
OnExists: TypeAlias = Literal["error", "replace", "skip"]
Layout: TypeAlias = Literal["archive", "mirror", "framed"]
OnError: TypeAlias = Literal["raise", "skip"]
Kind: TypeAlias = Literal[
    "file", "directory", "symlink", "hardlink", "fifo", "character device", "block device"
]

Aspect: TypeAlias = Literal[
    "missing",
    "new",
    "kind",
    "size",
    "content",
    "mode",
    "owner",
    "xattr",
    "time",
    "link",
    "hardlink",
    "device",
    "unreadable",
]
"""In what a folder can differ from an archive; see ``Difference``."""

KIB, MIB = 1 << 10, 1 << 20
DEFAULT_MAX_WINDOW = 128 * MIB
DEFAULT_MAX_METADATA = MIB

_UNITS = {"": 1, "K": KIB, "M": MIB, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"\s*(\d{1,30})\s*([KMGT]?)(?:I?B)?\s*", re.IGNORECASE | re.ASCII)


def parse_size(size: Size, name: str = "size") -> int:
    """Return ``size`` in bytes; M, MB and MiB all are 1024 * 1024 bytes, and so for K, G and T.

    :param size: a positive int, or text such as ``"4MiB"``.
    :param name: what an error calls the size.
    :raises TypeError: ``size`` is neither an int nor text.
    :raises ValueError: ``size`` is not positive, or not the text of a size.
    """
    if isinstance(size, str) and (match := _SIZE.fullmatch(size)):
        size = int(match[1]) * _UNITS[match[2].upper()]
    if isinstance(size, bool) or not isinstance(size, int | str):
        msg = f"{name} must be bytes (int) or text such as '4MiB', not {type(size).__name__}"
        raise TypeError(msg)
    if isinstance(size, str) or size < 1:
        msg = f"{name} must be a positive number of bytes such as '4MiB', not {size!r}"
        raise ValueError(msg)
    return size


def readable_size(number: float) -> str:
    """Return a number of bytes as people read it: 5.0 MiB, say."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < KIB:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= KIB
    return f"{number:.1f} TiB"


def printable(name: str) -> str:
    """Return a name on one line, without anything that a terminal would obey."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_url(path: object) -> TypeGuard[str]:
    """Whether this is the URL of something elsewhere, and no path of this machine."""
    return isinstance(path, str) and _URL.match(path) is not None


def public_url(url: str) -> str:
    """Return a URL without what opens it: no user, password or token, and no signed query."""
    scheme, _, rest = url.partition("://")
    host, slash, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


class Progress(NamedTuple):
    """How far a verb has come.

    ``raw_bytes`` and ``compressed_bytes`` have gone through. Of the *source*, ``done`` of ``total``
    bytes are read, and ``files`` of ``total_files`` files of a folder or an archive are done; where
    members of an archive were chosen, both totals are of these. A total is None as long as it is
    not known: that of a pipe before its end, or that of a folder until it has been counted, which
    goes on beside the work. At the end ``done`` is ``total``.

    ``stage`` says what is being done: "compressing", "decompressing", "extracting", "testing" or
    "recovering"; before that, of an archive, "reading the index", and after it "syncing", while
    what was written comes to the disk. ``name`` says to which file: the source, or the latest one
    of a folder or an archive; None if that has no name.
    """

    raw_bytes: int
    compressed_bytes: int
    done: int
    total: int | None
    files: int = 0
    total_files: int | None = None
    stage: str = ""
    name: str | None = None


ProgressOption: TypeAlias = bool | Callable[[Progress], object]
"""A callable runs on the event loop's thread, at most 10 times a second and once at the end. What
it returns is awaited, if it can be: beside the work, and before the verb ends."""


class Report(NamedTuple):
    """What a verb did: bytes on both sides, frames, files, and whatever it left out.

    The verb left out ``skipped_count`` sources or members; ``skipped`` describes the first 1,000 of
    them, one in a line (``recover``: the first 1,000,000). A line has up to 4,500 characters, all
    of them up to 1 MiB (``recover``: 64 MiB), and so have ``warnings``. ``damaged`` of them were
    refused as unsafe, or are not whole. ``changed`` counts the files that changed while the verb
    read them, and the members of which it left out an attribute; ``warnings`` tells which.
    """

    raw_bytes: int
    compressed_bytes: int
    seconds: float
    frames: int
    files: int = 1
    skipped: tuple[str, ...] = ()
    skipped_count: int = 0
    warnings: tuple[str, ...] = ()
    changed: int = 0
    damaged: int = 0

    @property
    def ratio(self) -> float:
        """Raw bytes for each compressed byte; 0.0 where nothing was compressed."""
        return self.raw_bytes / self.compressed_bytes if self.compressed_bytes else 0.0


class Member(NamedTuple):
    """One file, folder or link of an archive.

    ``name`` and ``link`` are text; surrogate escapes (PEP 383) stand for bytes that are not UTF-8.
    ``size`` counts the bytes of the content, ``stored_size`` those that the archive stores: fewer
    for a sparse file, whose ``extents`` are the (offset, size) of each stored run, with zeros
    between them. ``offset`` and ``data_offset`` are where the member's first header and its content
    begin, in bytes of the raw (decompressed) archive. ``mtime_ns`` is in nanoseconds since 1970.
    ``unreadable`` names the fields that the archive holds in a form that cannot be read: they have
    their defaults here, and extraction leaves them out.
    """

    name: str
    kind: Kind = "file"
    size: int = 0
    mode: int = 0o644
    mtime_ns: int = 0
    uid: int = 0
    gid: int = 0
    user: str = ""
    group: str = ""
    link: str = ""
    device: tuple[int, int] = (0, 0)
    offset: int = 0
    data_offset: int = 0
    stored_size: int = 0
    extents: tuple[tuple[int, int], ...] | None = None
    xattrs: tuple[tuple[str, bytes], ...] = ()
    unreadable: tuple[str, ...] = ()

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """The (offset, size) of each stored run; a file that is one hole has none."""
        return ((0, self.size),) if self.extents is None else self.extents

    @property
    def end(self) -> int:
        """Where the next member begins: content is padded to blocks of 512 bytes."""
        return self.data_offset + -(-self.stored_size // 512) * 512


class Difference(NamedTuple):
    """Something in which a folder differs from an archive; as text, a line in plain words.

    ``name`` is the member's, without ``./`` and the like, or what something new in the folder would
    be called. ``what`` says in what they differ, ``archived`` how it is in the archive, ``found``
    how it is in the folder:

    "missing": it is not in the folder. "new": it is not in the archive; ``found`` is its kind.
    "kind": as of ``Member``, or "socket". "size": in bytes. "content": ``offset`` is that of the
    first byte that differs. "mode": permissions, as numbers. "owner": the numbers of user and
    group, as text. "xattr": the extended attribute ``archived``. "time": that of the last change of
    a file, in nanoseconds since 1970. "link": the target of a symbolic link. "hardlink": it is not
    the same file as ``archived``. "device": its numbers, as text. "unreadable": it could not be
    compared; ``found`` says why.
    """

    name: str
    what: Aspect
    archived: int | str | None = None
    found: int | str | None = None
    offset: int | None = None

    def __str__(self) -> str:
        fields = self._asdict()
        if self.what == "time":
            fields |= {key: _moment(fields[key]) for key in ("archived", "found")}
        return _TEXTS[self.what].format_map(fields)


_TEXTS: Final[dict[Aspect, str]] = {
    "missing": "{name}: is missing in the folder",
    "new": "{name}: is not in the archive",
    "kind": "{name}: is a {archived} in the archive, a {found} in the folder",
    "size": "{name}: has {archived:,} bytes in the archive, {found:,} in the folder",
    "content": "{name}: differs from byte {offset:,} on",
    "mode": "{name}: has the mode {archived:04o} in the archive, {found:04o} in the folder",
    "owner": "{name}: belongs to {archived} in the archive, to {found} in the folder",
    "xattr": "{name}: differs in its attribute {archived}",
    "time": "{name}: last changed {archived} in the archive, {found} in the folder",
    "link": "{name}: leads to {archived} in the archive, to {found} in the folder",
    "hardlink": "{name}: is no hard link to {archived} in the folder",
    "device": "{name}: is the device {archived} in the archive, {found} in the folder",
    "unreadable": "{name}: cannot be read: {found}",
}


def _moment(ns: int) -> str:
    """Return a time as people here read it, down to the nanoseconds."""
    import time  # hardly any program shows one

    seconds, rest = divmod(ns, 1_000_000_000)
    try:
        text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OSError, OverflowError, ValueError):  # beyond what the system can tell
        text = f"{seconds} seconds after 1970"
    return f"{text}.{rest:09}" if rest else text


class EngineStatistics(NamedTuple):
    """The state of an engine: its slots (chunks in flight), their memory, and its totals.

    ``slots_in_use``, ``slots_peak`` and ``slots_total`` count chunks; ``memory_in_use``,
    ``memory_peak`` and ``memory_limit`` are bytes of the arena. ``raw_bytes`` and
    ``compressed_bytes`` add up both directions; ``chunks_redone`` counts chunks whose worker died.
    ``memory_waiting`` is bytes that are ready outside of the arena, for readers that are slow;
    ``memory_kept`` those of decoded frames and of the index that open archives keep: they give way
    to everything else.
    """

    num_workers: int
    slots_in_use: int
    slots_peak: int
    slots_total: int
    memory_in_use: int
    memory_peak: int
    memory_limit: int
    raw_bytes: int
    compressed_bytes: int
    chunks_redone: int
    memory_waiting: int = 0
    memory_kept: int = 0
