"""What the command line says: a summary, an error, versions; each on one line."""

from __future__ import annotations

import sys
from contextlib import suppress

from aiocompress.cli.plan import STREAM, Task, closed_descriptors, shown
from aiocompress.model import Report, __version__


def summary(task: Task, report: Report) -> str:
    """Return one line about what was done."""
    arrow = {None: ": whole", STREAM: " to stdout"}.get(
        task.destination, f" to {shown(task.destination or '')}"
    )
    rate = report.raw_bytes / report.seconds if report.seconds else 0
    files = ""
    if task.layout is not None:
        files = f"{report.files:,} file{'s' * (report.files != 1)}, "
    if task.layout is None and (task.destination or "").endswith(".tar") and report.ratio:
        arrow += " (`extract` would restore its members)"
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
    """Say a line on stderr, if there is one."""
    if 2 not in closed_descriptors:
        with suppress(OSError):
            print(f"aiocompress: {text}", file=sys.stderr, flush=True)


def complain(error: BaseException, *, verbose: bool) -> None:
    """Say an error on one line; with versions and traceback where asked to."""
    if isinstance(error, OSError) and error.strerror:
        name = error.filename if isinstance(error.filename, str) else None
        text = f"{name}: {error.strerror}" if name else error.strerror
    elif isinstance(error, MemoryError):
        text = "not enough memory: lower -T, --memory-limit or --chunk-size"
    else:
        text = str(error) or type(error).__name__
    say(shown(text))
    if verbose:
        import traceback  # asyncio has it, small runs may not

        say(versions())
        traceback.print_exception(error)


def versions() -> str:
    """Return the versions of this program and of what it is built on, on one line."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import zstandard

    parts = [f"aiocompress {__version__}", f"Python {platform.python_version()}"]
    for package in ("zstandard", "deflate", "isal", "uvloop"):
        with suppress(PackageNotFoundError):
            parts.append(f"{package} {version(package)}")
    parts.insert(3, "libzstd " + ".".join(map(str, zstandard.ZSTD_VERSION)))
    return ", ".join(parts)
