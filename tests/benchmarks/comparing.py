"""What is compared with what, and the bar for each; a group is a generator of table rows."""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TypeAlias

from .measuring import Command, Contender, FailedError, Result, alternate, once, peak_memory
from .table import Row, rate_row, row, size_row, time_row

MIB: Final = 1 << 20
WORKERS: Final = 2
PEERS: Final = ("zstd", "pzstd", "pigz", "bgzip", "gzip", "tar", "bsdtar")
START_UP_ROUNDS: Final = 20
PIPE_SIZE: Final = 1_000_000_000
SAMPLE_SIZE: Final = 100_000_000
LOG_SIZE: Final = 1_000_000_000
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


# Folders.


def tree_of(bench: Bench) -> Path:
    """Return the folder that the corpus, a tar, holds."""
    tree = bench.ram / "tree"
    if not tree.exists():
        tree.mkdir()
        shell(f"tar -xf {quote(bench.corpus)} -C {quote(tree)}")
    return tree


def quote(path: Path) -> str:
    """Return a path as a shell takes it."""
    return shlex.quote(str(path))


def shell(script: str) -> None:
    """Run a shell command that is not measured."""
    subprocess.run(["sh", "-c", script], check=True)


def scripted(name: str, script: str, output: Path, needs: str) -> list[Contender]:
    """Return a peer that takes a shell, if it is installed."""
    if not shutil.which(needs):
        return []
    return [Contender(name, (("sh", "-c", script),), output)]


def our_folder(verb: str, source: Path, output: Path, *options: str) -> Contender:
    """From folder to archive or back."""
    command = ours(verb, *options, *_QUIET, "--no-fsync", "-o", str(output), str(source))
    return Contender("aiocompress", (command,), output)


def same_tree(expected: Path, output: Path) -> None:
    """Check that two folders hold the same."""
    shell(f"diff -r --no-dereference {quote(expected)} {quote(output)}")


def folder_to_archive(bench: Bench) -> Iterator[Row]:
    """Pack a tree into .tar.zst."""
    tree, theirs = tree_of(bench), bench.ram / "theirs.tar.zst"
    mine = our_folder("compress", tree, bench.ram / "ours.tar.zst", "-l", "3")
    tar = f"tar -C {quote(tree)} -cf - . | zstd -q -T{WORKERS} -3 -o {quote(theirs)}"
    options = f"--options zstd:compression-level=3,zstd:threads={WORKERS}"
    bsd = f"bsdtar -C {quote(tree)} --zstd {options} -cf {quote(theirs)} ."
    rivals = [
        *scripted("tar | zstd -T2 -3", tar, theirs, "zstd"),
        *scripted("bsdtar, 2 threads", bsd, theirs, "bsdtar"),
    ]
    first, *others = alternate([mine, *rivals], bench.rounds)
    for result, bar in zip(others, (1.00, 1.08), strict=False):
        yield time_row(first, result, bar, bench.corpus)
    for result in others[:1]:
        yield size_row(first, result, 1.01)


def archive_to_folder(bench: Bench) -> Iterator[Row]:
    """Restore a tree from our .tar.zst."""
    tree = tree_of(bench)
    made = once(our_folder("compress", tree, bench.ram / "made.tar.zst"))
    theirs = bench.ram / "theirs"
    mine = our_folder("extract", made, bench.ram / "ours")
    mine = replace(mine, verify=partial(same_tree, tree))
    into = f"mkdir {quote(theirs)} && "
    rivals = [
        *scripted(
            "tar --zstd -xf", f"{into}tar -C {quote(theirs)} --zstd -xf {made}", theirs, "tar"
        ),
        *scripted("bsdtar -xf", f"{into}bsdtar -C {quote(theirs)} -xf {made}", theirs, "bsdtar"),
    ]
    first, *others = alternate([mine, *rivals], bench.rounds)
    for result, bar in zip(others, (0.85, 0.50), strict=False):
        yield time_row(first, result, bar, bench.corpus)


def members_from_memory(bench: Bench) -> Iterator[Row]:
    """Add small members one by one, without an engine, against what Python has for it."""
    contenders = [
        Contender(
            *(name, ((*_PROGRAMS, "members", who, str(bench.ram / who), "20000"),)),
            bench.ram / "seconds",
            writes_stdout=True,
            tells_seconds=True,
        )
        for name, who in (("aiocompress", "ours"), ("tarfile through zstandard", "theirs"))
    ]
    first, second = alternate(contenders, bench.rounds)
    yield time_row(first, second, 0.6, None, "20,000, up to 1 KB each")


def look_into_archive(bench: Bench) -> Iterator[Row]:
    """List our archive; read one member out of the middle."""
    made = once(our_folder("compress", tree_of(bench), bench.ram / "made.tar.zst"))
    nothing = bench.ram / "nothing"
    listing = Contender("aiocompress list", (ours("list", str(made)),), nothing)
    tar = scripted("tar -tf", f"tar --zstd -tf {quote(made)}", nothing, "tar")
    first, *others = alternate([listing, *tar], bench.rounds)
    for result in others:
        yield time_row(first, result, 0.25, None, "list")
    name = _member_in_the_middle(made)
    cat = Contender("aiocompress cat", (ours("cat", str(made), name),), nothing)
    (result,) = alternate([cat], bench.rounds)
    met = result.seconds <= 0.25
    yield row("cat one member", f"{result.seconds:.3f} s", "<= 0.25 s", met)
    command = (*_PROGRAMS, "read", str(made), name)
    output = bench.ram / "bytes"
    read = int(once(Contender("read", (command,), output, writes_stdout=True)).read_text())
    size = made.stat().st_size
    few = read <= size / 20
    yield row("bytes read for it", f"{read / 1e6:.2f} of {size / 1e6:.0f} MB", "<= 5 %", few)


def _member_in_the_middle(archive: Path) -> str:
    """Return the name of a file of about 10 KB, as near the middle as can be."""
    listed = subprocess.run(ours("list", "--json", str(archive)), check=True, capture_output=True)
    members = [json.loads(line) for line in listed.stdout.splitlines()]
    files = [one for one in members if one["kind"] == "file" and 9_000 < one["size"] < 11_000]
    name: str = (files or members)[len(files or members) // 2]["name"]
    return name


def mirrored_tree(bench: Bench) -> Iterator[Row]:
    """Compress each file of a tree by itself, and back."""
    tree, theirs = tree_of(bench), bench.ram / "theirs"
    mine = our_folder("compress", tree, bench.ram / "ours", "-l", "3", "--layout", "mirror")
    out = f"mkdir {quote(theirs)} && cd {quote(tree)} && zstd -q -r --output-dir-mirror {theirs} ."
    rivals = scripted("zstd -r --output-dir-mirror", out, theirs, "zstd")
    first, *others = alternate([mine, *rivals], bench.rounds)
    for result in others:
        yield time_row(first, result, 0.50, bench.corpus, "out")
    made = once(replace(mine, output=bench.ram / "ours"))
    back = our_folder("decompress", made, bench.ram / "back")
    back = replace(back, verify=partial(same_tree, tree))
    find = f"find {quote(theirs)} -name '*.zst' -exec zstd -q -d {{}} +"
    copy = partial(shell, f"cp -al {quote(made)} {quote(theirs)}")
    rivals = scripted("find -exec zstd -d {} +", find, theirs, "zstd")
    rivals = [replace(rival, prepare=copy) for rival in rivals]
    first, *others = alternate([back, *rivals], bench.rounds)
    for result in others:
        yield time_row(first, result, 0.50, bench.corpus, "back")


def folder_memory(bench: Bench) -> Iterator[Row]:
    """Watch our process tree while folders are packed and restored."""
    trees = {"the corpus": tree_of(bench)}
    if bench.large:
        many = bench.ram / "many"
        once(Contender("files", ((*_PROGRAMS, "files", str(many), "1000000"),), bench.ram / "x"))
        trees["1,000,000 small files"] = many
    for what, tree in trees.items():
        made = bench.ram / "made.tar.zst"
        pack = our_folder("compress", tree, made)
        peak = peak_memory(pack, 1) / MIB
        yield row(f"compress {what}", f"{peak:.1f} MiB", "<= 120 MiB", peak <= 120)
        once(pack)
        peak = peak_memory(our_folder("extract", made, bench.ram / "back"), 1) / MIB
        yield row(f"extract {what}", f"{peak:.1f} MiB", "<= 120 MiB", peak <= 120)
        peak = peak_memory(our_folder("compress", tree, bench.ram / "m", "--layout", "mirror"), 1)
        yield row(f"mirror {what}", f"{peak / MIB:.1f} MiB", "<= 120 MiB", peak / MIB <= 120)


# The rest.


# Files that stay open.


_LINES: Final = """
import asyncio, sys
import aiocompress

async def read():
    async with aiocompress.open(sys.argv[1]) as file:
        async for line in file:
            pass

asyncio.run(read())
"""
_PIPED_LINES: Final = """
import sys

for line in sys.stdin.buffer:
    pass
"""


def line_by_line(bench: Bench) -> Iterator[Row]:
    """Read 1 GB of log, against a pipe; and against aiofiles, for which a part must do."""
    raw, nothing = bench.ram / "log", bench.ram / "nothing"
    once(Contender("log", ((*_PROGRAMS, "log", str(raw), str(LOG_SIZE)),), raw))
    made = once(our_file("compress", raw, bench.ram / "log.zst"))
    python = quote(Path(sys.executable))
    mine = Contender("aiocompress", ((sys.executable, "-c", _LINES, str(made)),), nothing)
    pipe = f"zstdcat {quote(made)} | {python} -c '{_PIPED_LINES}'"
    rivals = scripted("zstdcat | python", pipe, nothing, "zstdcat")
    first, *others = alternate([mine, *rivals], bench.rounds)
    for result in others:
        yield time_row(first, result, 1.2, raw, "read")
    some = LOG_SIZE // 50
    with raw.open("rb") as file:
        number = file.read(some).count(b"\n")
    part = Contender("aiofiles", ((*_PROGRAMS, "plain lines", str(raw), str(number)),), nothing)
    (theirs,) = alternate([part], 1)
    theirs = replace(theirs, seconds=theirs.seconds * LOG_SIZE / some)
    yield time_row(first, theirs, 1 / 3, raw, "read")


def short_lines(bench: Bench) -> Iterator[Row]:
    """Write 2,000,000 lines, each by a call."""
    if find_spec("backports") is None:
        return
    made = bench.ram / "made.zst"
    mine = Contender("aiocompress", ((*_PROGRAMS, "write", str(made)),), made)
    theirs = Contender("backports.zstd", ((*_PROGRAMS, "write by backports", str(made)),), made)
    first, second = alternate([mine, theirs], bench.rounds)
    yield time_row(first, second, 1.3, None, "write")


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
    "folder to archive": folder_to_archive,
    "archive to folder": archive_to_folder,
    "look into an archive": look_into_archive,
    "members from memory": members_from_memory,
    "mirrored tree": mirrored_tree,
    "folder memory": folder_memory,
    "memory": memory,
    "lines, one by one": line_by_line,
    "lines, written": short_lines,
    "start-up": start_up,
    "identical bytes": identical_bytes,
}
