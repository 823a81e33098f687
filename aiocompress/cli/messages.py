"""What the command line prints: a summary, an error, versions; each on one line."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from typing import Final

from aiocompress.cli.plan import STREAM, Task, closed_descriptors, shown
from aiocompress.errors import AiocompressError, short
from aiocompress.model import Report, __version__, readable_size


def summary(task: Task, report: Report) -> str:
    """Return one line about what a task did."""
    destination, files = task.destination, ""
    arrow = f" to {'stdout' if destination == STREAM else shown(destination or '')}"
    if destination is None:
        arrow = ": whole"
    if task.layout is not None:
        files = f"{report.files:,} file{'s' * (report.files != 1)}, "
    elif (destination or "").endswith(".tar") and report.ratio:
        arrow += " (`extract` would restore its members)"
    rate = report.raw_bytes / report.seconds if report.seconds else 0
    return (
        f"{shown(task.source)}{arrow}: {files}{readable_size(report.raw_bytes)} raw, "
        f"{readable_size(report.compressed_bytes)} compressed, ratio {report.ratio:.2f}, "
        f"{readable_size(rate)}/s"
    )


_CALLS: Final = {
    "compress_folder": "`compress`",
    "decompress_file": "`decompress`",
    "decompress_stream": "`decompress -c`",
    "decompress_folder": "`extract`",
    "members()": "`list`",
    "num_workers": "-T",
    "on_error='skip'": "--keep-going",
    "on_exists='replace'": "-f",
    "preserve=True": "--preserve",
}
_FLAGS: Final = {"long_distance": "--long", "sparse": "--no-sparse"}
_NAMED: Final = re.compile(
    rf"\b(?:({'|'.join(map(re.escape, _CALLS))})|(memory_limit|chunk_size|max_[a-z_]+)(=(?=\d))?)"
)

_ARGUMENT: Final = re.compile(r"\A[a-z]+(_[a-z]+)*(?= (is|must|and|of)\b)")
"""What errors about an argument begin with; names of files stand before a colon."""


def in_flags(advice: str) -> str:
    """Return what the library advises, in its own names, in those of the command line."""

    def flag(found: re.Match[str]) -> str:
        if found[1]:
            return _CALLS[found[1]]
        return _flag(found[2]) + " " * bool(found[3])

    return _NAMED.sub(flag, advice)


def _flag(argument: str) -> str:
    """Return the flag that stands for an argument of the library."""
    return _FLAGS.get(argument) or "--" + argument.replace("_", "-")


def told(line: str) -> str:
    """Return a line of a report, "name: what is the matter", as the command line says it."""
    name, colon, matter = line.rpartition(": ")
    return shown(name + colon + in_flags(matter))


def say(text: str) -> None:
    """Print a line on stderr, unless that is closed."""
    if 2 not in closed_descriptors:
        with suppress(OSError):
            print(f"aiocompress: {short(text)}", file=sys.stderr, flush=True)


def complain(error: BaseException, *, verbose: bool) -> None:
    """Print an error on one line; if ``verbose``, versions and a traceback as well."""
    if isinstance(error, OSError) and error.strerror:
        name = error.filename if isinstance(error.filename, str) else None
        reason = in_flags(error.strerror)
        text = f"{name}: {reason}" if name else reason
    elif isinstance(error, MemoryError):
        text = "not enough memory: lower -T or --memory-limit"
    else:
        text = str(error) or type(error).__name__
        if isinstance(error, ValueError):
            text = _ARGUMENT.sub(lambda found: _flag(found[0]), text)
        if isinstance(error, AiocompressError) and error.hint:
            text = text.removesuffix(error.hint) + in_flags(error.hint)
    say(shown(text))
    if verbose:
        import traceback  # a run without an error starts sooner without it

        say(versions())
        traceback.print_exception(error)


def versions() -> str:
    """Return the versions of this program and of the libraries it uses, on one line."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import zstandard

    parts = [f"aiocompress {__version__}", f"Python {platform.python_version()}"]
    for package in ("zstandard", "deflate", "isal", "uvloop"):
        with suppress(PackageNotFoundError):
            parts.append(f"{package} {version(package)}")
    parts.insert(3, "libzstd " + ".".join(map(str, zstandard.ZSTD_VERSION)))
    return ", ".join(parts)
