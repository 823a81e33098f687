"""Frozen programs, and others that are no Python: what starts an interpreter starts them again."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ..help.data import text
from ..help.tools import LIBRARY, module, tool
from .counting import count

PROGRAM = """
import os, sys
# A line for each start; the third one ends at once, so that a fault does no harm here.
with open(sys.argv[-1] + ".starts", "a+") as file:
    file.write(" ".join(sys.argv) + "\\n")
    file.flush()
    file.seek(0)
    if len(file.readlines()) > 3:
        os._exit(3)
import asyncio, logging, multiprocessing
import aiocompress
from aiocompress import sync

async def main(path):
    async with aiocompress.Engine(2) as engine:
        await engine.compress_folder(os.path.dirname(path), path + ".tar.gz", "16K")
        async with engine.open_archive(path + ".tar.gz") as archive:
            print(len(await archive.read(os.path.basename(path))))

if __name__ == "__main__":
    multiprocessing.freeze_support()
    logging.basicConfig()
    path = sys.argv[-1]
    print(sync.compress_file(path, path + ".zst", "16K", 2).frames)
    print(sync.decompress_file(path + ".zst", path + ".back", None, 2).raw_bytes)
    asyncio.run(main(path))
"""
SIZE = 200_000


def _limit(number: int) -> tuple[str, ...]:
    """Return what runs a command that cannot have more processes and threads than that.

    Root has no such limit: there it is another user, whom all files are open to.
    """
    if os.geteuid():
        return tool("prlimit"), f"--nproc={number + _threads_of(os.geteuid())}"
    user, rights = 2_000_000 + os.getpid(), "+dac_override"
    who = (tool("setpriv"), f"--reuid={user}", f"--regid={user}", "--clear-groups")
    rest = (f"--inh-caps={rights}", f"--ambient-caps={rights}")
    limited = (*who, *rest, tool("prlimit"), f"--nproc={number}")
    probe = (*limited, sys.executable, "-c", "import zstandard")
    if subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("no other user can run this interpreter")
    return limited


def _threads_of(user: int) -> int:
    found = psutil.process_iter(["uids", "num_threads"])
    return sum(one.info["num_threads"] or 0 for one in found if one.info["uids"].real == user)


def _run_limited(*command: str | Path, folder: Path, environment: dict[str, str]) -> str:
    """Run a program that must start once, and get its work done; return what it logged."""
    data = folder / "data"
    data.write_bytes(text(SIZE))
    ended = subprocess.run(
        (*_limit(60), *command, data),
        capture_output=True,
        check=False,
        timeout=120,
        env=environment,
    )
    starts = (folder / "data.starts").read_text().splitlines()
    assert len(starts) == 1, starts
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == [b"13", b"%d" % SIZE, b"%d" % SIZE], ended
    assert (folder / "data.back").read_bytes() == data.read_bytes()
    return ended.stderr.decode()


FROZEN = f"#!{sys.executable}\nimport sys\nsys.executable = __file__\n"


@pytest.mark.parametrize("what", ["frozen", "embedded"])
def test_a_program_that_is_its_own_interpreter(what: str, tmp_path: Path) -> None:
    """It starts once, works in threads, and says so, each engine once: as PyInstaller and uWSGI."""
    program, folder = tmp_path / "program", tmp_path / "folder"
    frozen = "sys.frozen = True\n" if what == "frozen" else ""
    program.write_text(FROZEN + frozen + PROGRAM)
    program.chmod(0o755)
    folder.mkdir()
    said = _run_limited(program, folder=folder, environment=LIBRARY)
    reason = "a frozen program" if what == "frozen" else "'program' is no Python interpreter"
    assert said.count(reason) == said.count("using threads") == len(said.splitlines()) == 2
    count("programs that are their own interpreter")


@pytest.mark.faults
@pytest.mark.parametrize("how", ["--onedir", "--onefile"])
def test_a_program_of_pyinstaller(how: str, tmp_path: Path) -> None:
    """A real one has all modules that it needs, starts once, and works in threads."""
    module("PyInstaller")
    source, folder = tmp_path / "program.py", tmp_path / "folder"
    source.write_text(PROGRAM)
    folder.mkdir()
    build = (sys.executable, "-m", "PyInstaller", how, "--noconfirm", "--distpath", tmp_path)
    places = ("--workpath", tmp_path / "work", "--specpath", tmp_path)
    done = subprocess.run(
        (*build, *places, "--paths", LIBRARY["PYTHONPATH"], source),
        capture_output=True,
        check=False,
        timeout=300,
        env=LIBRARY | {"PYINSTALLER_CONFIG_DIR": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    program = tmp_path / ("program/program" if how == "--onedir" else "program")
    assert program.stat().st_mode & stat.S_IXUSR
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    temporary.chmod(0o777)
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(temporary)}
    said = _run_limited(program, folder=folder, environment=environment)
    assert said.count("a frozen program") == said.count("using threads") == 2
    count("programs of PyInstaller")
