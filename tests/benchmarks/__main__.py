"""The one command: measures all groups, prints one table."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path
from typing import Final, TextIO

import zstandard

from . import table
from .comparing import GROUPS, PEERS, Bench, Group, ours
from .measuring import FailedError

RAM: Final = Path("/dev/shm")


def main() -> int:
    """Measure and print; returns 1 if a command failed or an output was wrong."""
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    groups = {work: group for work, group in GROUPS.items() if options.only in work}
    with temporary_folder(RAM) as folder:
        corpus = options.corpus or library_tar(Path(folder) / "library.tar")
        say(f"{machine()}; corpus {corpus.name} {corpus.stat().st_size / 1e6:,.0f} MB; ", end="")
        say(f"{options.rounds} rounds; ours: {' '.join(ours())}\n\n{table.head()}")
        return max([measure(work, group, corpus, options) for work, group in groups.items()])


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        epilog=f"groups: {'; '.join(GROUPS)}",
    )
    add = parser.add_argument
    add("corpus", nargs="?", type=Path, metavar="CORPUS", help="default: a tar of the library")
    add("--rounds", type=int, default=5, metavar="N", help="rounds that count (default: 5)")
    add("--only", default="", metavar="SUBSTRING", help="only groups whose name has it")
    add("--folder", type=Path, metavar="DIR", help="a folder on a disk (default: the usual one)")
    add("--large", action="store_true", help="memory: 10 GB too, on the disk")
    options = parser.parse_args()
    if options.rounds < 1 or not any(options.only in work for work in GROUPS):
        parser.error("no rounds, or no such group")
    if options.corpus and not options.corpus.is_file():
        parser.error(f"{options.corpus}: no such file")
    return options


def measure(work: str, group: Group, corpus: Path, options: argparse.Namespace) -> int:
    """Print the rows of a group as they come; returns 1 if it failed."""
    say(f"... {work}", file=sys.stderr)
    with temporary_folder(RAM) as ram, temporary_folder(options.folder) as disk:
        bench = Bench(corpus, Path(ram), Path(disk), options.rounds, options.large)
        try:
            for row in group(bench):
                say(table.line(row, work))
        except FailedError as error:
            say(f"{work}: {error}", file=sys.stderr)
            return 1
    return 0


def temporary_folder(parent: Path | None) -> tempfile.TemporaryDirectory[str]:
    """Make a folder that is removed in the end, whatever comes."""
    return tempfile.TemporaryDirectory(prefix="aiocompress-benchmark-", dir=parent)


def library_tar(path: Path) -> Path:
    """Make the default corpus: this interpreter's library folder."""
    with tarfile.open(path, "w") as archive:
        archive.add(sysconfig.get_path("stdlib"), "library")
    return path


def machine() -> str:
    """Return what the figures depend on: processors, interpreter, libraries, peers."""
    libzstd = ".".join(map(str, zstandard.ZSTD_VERSION))
    missing = [name for name in PEERS if not shutil.which(name)]
    return ", ".join(
        [
            f"{len(os.sched_getaffinity(0))} cores, {platform.system()} {platform.release()}",
            f"Python {platform.python_version()}",
            f"zstandard {zstandard.__version__} with libzstd {libzstd}",
            *(f"{name} {version(name)}" for name in PEERS if name not in missing),
            *(f"{name} missing: skipped" for name in missing),
        ]
    )


def version(name: str) -> str:
    """Return the version that a peer says it has."""
    done = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "?"


def say(text: str, end: str = "\n", file: TextIO = sys.stdout) -> None:
    """Print at once: a run takes minutes."""
    print(text, end=end, file=file, flush=True)


if __name__ == "__main__":
    sys.exit(main())
