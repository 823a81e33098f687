"""The one command: measures all jobs, writes results, tables and plots."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from ..__main__ import RAM, library_tar, machine, say, temporary_folder
from ..comparing import beginning, ours
from ..measuring import Contender, FailedError, alternate, remove
from . import __doc__ as description
from . import plots, results, scaling
from .jobs import JOBS, QUICK_LEVELS, Job, Tool
from .results import Done, Figure, Results

QUICK_SIZE: Final = 24_000_000
LEVELS_SIZE: Final = 100_000_000
"""How much of the corpus is compressed at every level."""
SCALING: Final = "scaling"


def main() -> int:
    """Measure, write and print; returns 1 if a tool failed or wrote something wrong."""
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options.to.mkdir(parents=True, exist_ok=True)
    stored = options.to / "results.json"
    if options.draw:
        draw(Results.load(stored), options.to)
        return 0
    with temporary_folder(RAM) as folder:
        place = Place(Path(folder), options)
        said = f"{options.corpus.name if options.corpus else 'library'}, {place.size / 1e6:,.0f} MB"
        found = begun(Results(machine(), said, options.rounds), stored, options.only)
        failed = False
        for job in JOBS:
            if options.only in job.name:
                failed |= measure(job, place, found, options)
                found.done.sort(key=lambda done: [job.name for job in JOBS].index(done.job))
                found.save(stored)
        if options.only in SCALING:
            scale(place, found, options)
            found.save(stored)
    draw(found, options.to)
    return int(failed)


def begun(found: Results, stored: Path, only: str) -> Results:
    """Keep what was measured before in the same way, except for what is measured again."""
    if only and stored.exists():
        earlier = Results.load(stored)
        if replace(earlier, done=[], scaled=[]) == found:
            found.done = [done for done in earlier.done if only not in done.job]
            found.scaled = [] if only in SCALING else earlier.scaled
    return found


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.people",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"jobs: {'; '.join(job.name for job in JOBS)}; {SCALING}",
    )
    add = parser.add_argument
    add("corpus", nargs="?", type=Path, metavar="CORPUS", help="a tar (default: of the library)")
    add("--to", type=Path, required=True, metavar="FOLDER", help="where results and plots go")
    add("--rounds", type=int, default=5, metavar="N", help="rounds that count (default: 5)")
    add("--only", default="", metavar="SUBSTRING", help="only jobs whose name has it; others stay")
    add("--tools", default="", metavar="SUBSTRING", help="only tools whose name has it, and ours")
    add("--quick", action="store_true", help="few MB, few levels, one round: about 5 minutes")
    add("--draw", action="store_true", help="measure nothing: tables and plots of results.json")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    if not any(options.only in name for name in (*(job.name for job in JOBS), SCALING)):
        parser.error("no such job")
    return options


class Place:
    """The corpus in RAM as a tar and as a folder, and what commands call them."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self.raw = folder / "raw.tar"
        corpus = options.corpus or library_tar(folder / "library.tar")
        _unpack(corpus, self.tree, QUICK_SIZE if options.quick else sys.maxsize)
        self.raw.unlink(missing_ok=True)
        _run(f"tar -C {self.tree} -cf {self.raw} .")
        self.size = self.raw.stat().st_size
        self.some = beginning(self.raw, LEVELS_SIZE, folder / "some")
        (folder / "small").write_bytes(self.raw.read_bytes()[:10_000])
        files = sorted(path for path in self.tree.rglob("*") if _is_usual(path))
        self.names = {
            "tree": str(self.tree),
            "small": str(folder / "small"),
            "member": str(files[len(files) // 2].relative_to(self.tree)),
            "threads": str(len(os.sched_getaffinity(0))),
            "python": shlex.quote(sys.executable),
            "ours": shlex.join(ours()),
            "peers": f"{shlex.quote(sys.executable)} -m {__package__}.peers",
            "memory": f"{shlex.quote(sys.executable)} -m {__package__}.memory",
        }

    def command(self, job: Job, template: str, made: Path, out: Path) -> str:
        """Return a command of the table with its names filled in."""
        raw = self.some if job.plotted else self.raw
        return template.format(**self.names, raw=raw, made=made, out=out)


def _is_usual(path: Path) -> bool:
    """Return whether a name needs no quotes anywhere and the file is not empty."""
    return (
        path.is_file() and path.stat().st_size > 0 and str(path).isascii() and " " not in str(path)
    )


def _unpack(corpus: Path, tree: Path, most: int) -> None:
    """Restore the first members of a tar, so many bytes of them."""
    if most == sys.maxsize:
        tree.mkdir()
        _run(f"tar -C {tree} -xf {shlex.quote(str(corpus))}")
        return
    with tarfile.open(corpus) as archive:
        size = 0
        for member in archive:
            size += member.size
            if size > most:
                break
            archive.extract(member, tree, filter="data")


def _run(command: str) -> None:
    subprocess.run(["sh", "-c", command], check=True)


# Jobs.


def measure(job: Job, place: Place, found: Results, options: argparse.Namespace) -> bool:
    """Measure all tools of a job in turn; returns whether one failed, which is then left out."""
    tools = [
        tool
        for tool in job.tools
        if _is_there(tool)
        and (options.tools in tool.name or tool.name.startswith(results.OURS))
        and not (options.quick and tool.level is not None and tool.level not in QUICK_LEVELS)
    ]
    say(f"... {job.name}: {len(tools)} tools", file=sys.stderr)
    failed: list[Contender | Tool] = []

    def left_out(contender: Contender | Tool, error: Exception) -> None:
        say(f"{job.name}: {contender.name}: {error}", file=sys.stderr)
        failed.append(contender)

    contenders, levels = [], {}
    for number, tool in enumerate(tools):
        try:
            contenders.append(_contender(job, tool, place, number))
        except subprocess.CalledProcessError as error:
            left_out(tool, error)
        else:
            levels[id(contenders[-1])] = tool.level
    measured = alternate(contenders, options.rounds, left_out=left_out)
    raw = (place.some if job.plotted else place.raw).stat().st_size
    figures = [
        Figure(one.name, levels[id(one.contender)], one.seconds, one.times, one.size, one.memory)
        for one in measured
    ]
    found.done.append(Done(job.name, job.of, job.plotted, raw, figures))
    for path in place.folder.glob("made*"):
        remove(path)
    return bool(failed)


def _is_there(tool: Tool) -> bool:
    """Return whether all is installed that a tool needs."""
    return all(
        find_spec(need[1:].split(".")[0]) and find_spec(need[1:])
        if need.startswith(":")
        else shutil.which(need)
        for need in tool.needs.split()
    )


def _contender(job: Job, tool: Tool, place: Place, number: int) -> Contender:
    """Return a tool with what it reads, made now if that is not there yet."""
    out = place.folder / f"out{number}"
    made = place.folder / (f"made{number}" if tool.make else "made")
    command = partial(place.command, job, made=made, out=out)
    if (tool.make or job.make) and not made.exists():
        _run(command(tool.make or job.make))
    shell = ("sh", "-c", command(tool.command))
    return Contender(
        tool.name,
        (shell,),
        out,
        tells_seconds=job.inside,
        verify=(lambda _: _checked(command(job.check))) if job.check else None,
        prepare=partial(_run, command(tool.before)) if tool.before else None,
    )


def _checked(command: str) -> None:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FailedError((done.stdout or done.stderr).splitlines()[0])


def scale(place: Place, found: Results, options: argparse.Namespace) -> None:
    """Measure with one worker and more, and predict."""
    made, cores = place.folder / "made.zst", int(place.names["threads"])
    _run(f"{place.names['ours']} compress -q --no-fsync -o {made} {place.raw}")
    for job, source, name in (
        ("file to .zst -3", place.raw, "out.zst"),
        ("file to .gz -6", place.raw, "out.gz"),
        ("folder to .tar.zst -3", place.tree, "out.tar.zst"),
        (".zst to file", made, "out"),
    ):
        say(f"... {SCALING}: {job}", file=sys.stderr)
        output = place.folder / name
        found.scaled.append(scaling.scaled(job, source, place.size, output, cores, options.rounds))


def draw(found: Results, folder: Path) -> None:
    """Write tables and plots, and print the tables."""
    text = results.markdown(found)
    (folder / "results.md").write_text(text)
    pictures = {_file_name(one.job): plots.pareto(one) for one in found.done if one.plotted}
    if found.scaled:
        pictures[SCALING] = plots.scaling(found.scaled)
    for name, picture in pictures.items():
        (folder / f"{name}.svg").write_text(picture)
    say(text)


def _file_name(job: str) -> str:
    return "-".join("".join(one if one.isalnum() else " " for one in job).split())


if __name__ == "__main__":
    sys.exit(main())
