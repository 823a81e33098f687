"""What is compared with what, and the bar for each; a group is a generator of table rows."""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from .measuring import Command, Contender, FailedError, Result, alternate, once, peak_memory
from .table import Row, rate_row, row, size_row, time_row

MIB: Final = 1 << 20
WORKERS: Final = 2
PEERS: Final = ("zstd", "pzstd", "pigz", "bgzip", "gzip")
START_UP_ROUNDS: Final = 20
PIPE_SIZE: Final = 1_000_000_000
SAMPLE_SIZE: Final = 100_000_000
LARGE_SIZE: Final = 10_000_000_000

# Moves a file into a pipe without copying: what reads from the pipe is measured, not `cat`.
_FEED: Command = (
    *(sys.executable, "-S", "-c"),
    "import os, sys\nfile = os.open(sys.argv[1], 0)\nwhile os.splice(file, 1, 1 << 20): pass",
)
_DRAIN: Command = (
    *(sys.executable, "-S", "-c"),
    "import os\nnull = os.open('/dev/null', 1)\nwhile os.splice(0, null, 1 << 20): pass",
)
_PROGRAMS: Command = (sys.executable, "-m", f"{__package__}.programs")
_INSIDE: Final = "inside an application"
_QUIET: Command = ("-q", "-T", str(WORKERS))


@dataclass(frozen=True, slots=True)
class Bench:
    """The corpus, folders of a group's own in RAM and on a disk, and how often to measure."""

    corpus: Path
    ram: Path
    disk: Path
    rounds: int
    large: bool


Group: TypeAlias = Callable[[Bench], Iterator[Row]]
Bars: TypeAlias = Mapping[str, float | None]
"""Peers by their command, and the largest ratio of our time to theirs."""


# The contenders.


def ours(*arguments: str) -> Command:
    """Return our command line, the installed script if there is one."""
    script = Path(sys.executable).with_name("aiocompress")
    command = (str(script),) if script.exists() else (sys.executable, "-m", "aiocompress")
    return (*command, *arguments)


def our_file(verb: str, source: Path, output: Path, *options: str) -> Contender:
    """From file to file."""
    command = ours(verb, *options, *_QUIET, "--no-fsync", "-f", "-o", str(output), str(source))
    return Contender("aiocompress", (command,), output)


def our_pipe(verb: str, source: Path, folder: Path, reader: Command = _DRAIN) -> Contender:
    """From pipe to pipe."""
    commands = ((*_FEED, str(source)), ours(verb, *_QUIET), reader)
    return Contender("aiocompress", commands, folder / "nothing", watched=1)


def peer(command: str, source: Path, output: Path) -> Contender:
    """Return a peer; its name is its command without the files."""
    words = tuple(command.split())
    if words[0] in {"zstd", "pzstd"}:
        words = (*words, "-q", "-f", str(source), "-o", str(output))
        return Contender(command, (words,), output)
    return Contender(command, ((*words, "-c", str(source)),), output, writes_stdout=True)


def limit(bench: Bench) -> Contender:
    """As many bare processes as workers, memory to memory: the codec and nothing else."""
    command = (*_PROGRAMS, "limit", str(bench.corpus), str(WORKERS))
    output = bench.ram / "limit"
    return Contender("limit", (command,), output, writes_stdout=True, tells_seconds=True)


def peers(bars: Bars, source: Path, folder: Path) -> list[Contender]:
    """Return those that are installed."""
    return [
        peer(command, source, folder / "theirs")
        for command in bars
        if shutil.which(command.split()[0])
    ]


def same_as(expected: Path, output: Path) -> None:
    """Check that two files hold the same bytes."""
    if not filecmp.cmp(expected, output, shallow=False):
        msg = f"{output.name} is not what {expected.name} was"
        raise FailedError(msg)


def comes_back_as(expected: Path, output: Path) -> None:
    """Check that our decompression undoes our compression."""
    back = output.with_name("back")
    same_as(expected, once(our_file("decompress", output, back)))
    back.unlink()


# Files, out.


def compress_zstd_to_ram(bench: Bench) -> Iterator[Row]:
    """Write to a file in RAM."""
    contenders = _zstd_contenders(bench, bench.ram)
    yield from _zstd_rows(bench, alternate(contenders, bench.rounds))


def compress_zstd_to_disk(bench: Bench) -> Iterator[Row]:
    """Write to a file on disk; once more with syncing."""
    first, *others = _zstd_contenders(bench, bench.disk)
    command = tuple("--fsync" if word == "--no-fsync" else word for word in first.commands[0])
    synced = replace(first, name="aiocompress --fsync", commands=(command,), verify=None)
    results = alternate([first, synced, *others], bench.rounds, sync=True)
    plain, with_sync, *theirs = results
    yield from _zstd_rows(bench, [plain, *theirs])
    not_synced = replace(plain, contender=replace(first, name="aiocompress --no-fsync"))
    yield time_row(with_sync, not_synced, None, bench.corpus, "with --fsync")


_ZSTD_BARS: Final = {"zstd -T2 -3": 0.94, "pzstd -p 2 -3": 1.05}
_LIMIT_BAR: Final = 1.10
_ZSTD_SIZE_BAR: Final = 1.01


def _zstd_contenders(bench: Bench, folder: Path) -> list[Contender]:
    mine = our_file("compress", bench.corpus, folder / "ours.zst", "-l", "3")
    mine = replace(mine, verify=partial(comes_back_as, bench.corpus))
    return [mine, *peers(_ZSTD_BARS, bench.corpus, folder), limit(bench)]


def _zstd_rows(bench: Bench, results: list[Result]) -> Iterator[Row]:
    bars = _ZSTD_BARS | {"limit": _LIMIT_BAR}
    mine, *theirs = results
    for result in theirs:
        yield time_row(mine, result, bars[result.name], bench.corpus)
    for result in theirs:
        if result.name.startswith("zstd"):
            yield size_row(mine, result, _ZSTD_SIZE_BAR)


def compress_gzip(bench: Bench, level: int, bars: Bars) -> Iterator[Row]:
    """Write to a file in RAM; pigz must not make a smaller one."""
    output = bench.ram / "ours.gz"
    mine = our_file("compress", bench.corpus, output, "-l", str(level), "--codec", "gzip")
    mine = replace(mine, verify=partial(comes_back_as, bench.corpus))
    rivals = peers(bars, bench.corpus, bench.ram)
    first, *theirs = alternate([mine, *rivals], bench.rounds)
    for result in theirs:
        yield time_row(first, result, bars[result.name], bench.corpus)
    for result in theirs:
        if result.name.startswith("pigz"):
            yield size_row(first, result, 1.0)


# Files, back.


def decompress(bench: Bench, source: Path, bars: Bars, work: str) -> Iterator[Row]:
    """Write to a file in RAM; the peers must read the source as we do."""
    mine = our_file("decompress", source, bench.ram / "ours")
    rivals = [mine, *peers(bars, source, bench.ram)]
    verify = partial(same_as, bench.corpus)
    first, *theirs = alternate([replace(one, verify=verify) for one in rivals], bench.rounds)
    for result in theirs:
        yield time_row(first, result, bars[result.name], bench.corpus, work)


def decompress_zstd(bench: Bench) -> Iterator[Row]:
    """Read our file."""
    source = once(our_file("compress", bench.corpus, bench.ram / "ours.zst"))
    bars = {"zstd -d": 0.75, "pzstd -d -p 2": 0.90}
    yield from decompress(bench, source, bars, "our file")


def decompress_gzip(bench: Bench) -> Iterator[Row]:
    """Read our file, of a member a chunk."""
    source = once(our_file("compress", bench.corpus, bench.ram / "ours.gz", "--codec", "gzip"))
    yield from decompress(bench, source, {"pigz -d": None, "gzip -d": None}, "our file")


def decompress_foreign_zstd(bench: Bench) -> Iterator[Row]:
    """Read what zstd (a single frame) and pzstd have made."""
    for maker, work in (("zstd -T2 -3", "a single frame"), ("pzstd -p 2 -3", "pzstd's file")):
        if shutil.which(maker.split()[0]):
            source = once(peer(maker, bench.corpus, bench.ram / "foreign.zst"))
            yield from decompress(bench, source, {"zstd -d": None, "pzstd -d -p 2": None}, work)


# Pipes.


def pipes(bench: Bench) -> Iterator[Row]:
    """Go from pipe to pipe, against file to file, with the same data."""
    raw = beginning(bench.corpus, PIPE_SIZE, bench.ram / "raw")
    made = once(our_file("compress", raw, bench.ram / "made.zst"))
    for verb, source in (("compress", raw), ("decompress", made)):
        pipe = our_pipe(verb, source, bench.ram)
        file = replace(our_file(verb, source, bench.ram / "output.zst"), name="file to file")
        first, second = alternate([pipe, file], bench.rounds)
        yield rate_row(first, second, 0.9, raw, verb)


# Memory.


def memory(bench: Bench) -> Iterator[Row]:
    """Watch our process tree, of the command line and inside an application."""
    raw = beginning(bench.corpus, SAMPLE_SIZE, bench.ram / "raw")
    yield from _memory_rows(raw, bench.ram, runs=3)
    if bench.large:
        raw = repeated(bench.corpus, LARGE_SIZE, bench.disk / "raw")
        yield from _memory_rows(raw, bench.disk, runs=1)


def _memory_rows(raw: Path, folder: Path, runs: int) -> Iterator[Row]:
    made = once(our_file("compress", raw, folder / "made.zst"))
    size = f"{raw.stat().st_size / 1e6:,.0f} MB"
    for verb, source in (("compress", raw), ("decompress", made)):
        for how, contender in _ways(verb, source, folder):
            bar = 128 if how == _INSIDE else 96
            peak = peak_memory(contender, runs) / MIB
            yield row(f"{verb} {how}, {size}", f"{peak:.1f} MiB", f"<= {bar} MiB", peak <= bar)


def _ways(verb: str, source: Path, folder: Path) -> Iterator[tuple[str, Contender]]:
    output = folder / "output.zst"
    yield "file", our_file(verb, source, output)
    yield "pipe", our_pipe(verb, source, folder)
    yield "pipe, slow reader", our_pipe(verb, source, folder, (*_PROGRAMS, "slow"))
    command = (*_PROGRAMS, "application", verb, str(source), str(output))
    yield _INSIDE, Contender("application", (command,), output)


# The rest.


def start_up(bench: Bench) -> Iterator[Row]:
    """Compress a small file, against importing what we cannot do without."""
    small = bench.ram / "small"
    with bench.corpus.open("rb") as file:
        small.write_bytes(file.read(10_000))
    mine = our_file("compress", small, bench.ram / "small.zst")
    command = (sys.executable, "-c", "import asyncio, zstandard")
    bare = Contender('python -c "import asyncio, zstandard"', (command,), bench.ram / "nothing")
    first, second = alternate([mine, bare], max(bench.rounds, START_UP_ROUNDS))
    yield time_row(first, second, 1.6, None, "10 KB file")


def identical_bytes(bench: Bench) -> Iterator[Row]:
    """Compress with more and fewer workers, and with little memory."""
    raw = beginning(bench.corpus, SAMPLE_SIZE, bench.ram / "raw")
    ways = (("-T", "1"), ("-T", "2"), ("-T", "5"), ("--memory-limit", "16MiB"))
    work = ", ".join(" ".join(way) for way in ways)
    for codec in ("zstd", "gzip"):
        digests = {_digest(raw, bench.ram, "--codec", codec, *way) for way in ways}
        made = f"{len(digests)} sha256"
        yield row(f"{codec}: {work}", made, "1 sha256", len(digests) == 1)


def _digest(raw: Path, folder: Path, *options: str) -> str:
    output = folder / "output"
    command = ours("compress", "-q", "--no-fsync", "-f", "-o", str(output), *options, str(raw))
    made = once(Contender("aiocompress", (command,), output))
    with made.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def beginning(corpus: Path, size: int, path: Path) -> Path:
    """Return the corpus, or a file of its first bytes if it is larger."""
    return corpus if corpus.stat().st_size <= size else repeated(corpus, size, path)


def repeated(corpus: Path, size: int, path: Path) -> Path:
    """Make a file of that size, the corpus as often as it takes."""
    with corpus.open("rb") as source, path.open("wb") as target:
        while left := size - target.tell():
            source.seek(0)
            while left and (sent := os.sendfile(target.fileno(), source.fileno(), None, left)):
                left -= sent
            target.seek(0, os.SEEK_END)
    return path


GROUPS: Final[Mapping[str, Group]] = {
    "compress, zstd 3, to RAM": compress_zstd_to_ram,
    "compress, zstd 3, to disk": compress_zstd_to_disk,
    "compress, gzip 6, to RAM": partial(
        compress_gzip, level=6, bars={"pigz -6 -p 2": 0.50, "bgzip -@2 -l 6": 0.70}
    ),
    "compress, gzip 1, to RAM": partial(compress_gzip, level=1, bars={"pigz -1 -p 2": 0.60}),
    "decompress, zstd, to RAM": decompress_zstd,
    "decompress, gzip, to RAM": decompress_gzip,
    "decompress, foreign zstd, to RAM": decompress_foreign_zstd,
    "pipe to pipe": pipes,
    "memory": memory,
    "start-up": start_up,
    "identical bytes": identical_bytes,
}
