"""What the command line prints: a summary, an error, versions; each on one line."""

from __future__ import annotations

import sys
from contextlib import suppress

from aiocompress.cli.plan import STREAM, Task, closed_descriptors, shown
from aiocompress.errors import short
from aiocompress.model import Report, __version__


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
        f"{shown(task.source)}{arrow}: {files}{_size(report.raw_bytes)} raw, "
        f"{_size(report.compressed_bytes)} compressed, ratio {report.ratio:.2f}, {_size(rate)}/s"
    )


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def say(text: str) -> None:
    """Print a line on stderr, unless that is closed."""
    if 2 not in closed_descriptors:
        with suppress(OSError):
            print(f"aiocompress: {short(text)}", file=sys.stderr, flush=True)


def complain(error: BaseException, *, verbose: bool) -> None:
    """Print an error on one line; if ``verbose``, versions and a traceback as well."""
    if isinstance(error, OSError) and error.strerror:
        name = error.filename if isinstance(error.filename, str) else None
        text = f"{name}: {error.strerror}" if name else error.strerror
    elif isinstance(error, MemoryError):
        text = "not enough memory: lower -T, --memory-limit or --chunk-size"
    else:
        text = str(error) or type(error).__name__
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
