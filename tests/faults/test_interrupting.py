"""Signals to the command line, as a terminal sends them: to the whole process group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ..help.data import noise
from ..help.programs import COMMAND, alive, family, started, until, workers
from .waiting import KIB, MIB, SLOW


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A folder with a result of long ago."""
    path = tmp_path / "out" / "big.zst"
    path.parent.mkdir()
    path.write_bytes(b"older")
    return path


def _first_worker(process: subprocess.Popen[bytes]) -> None:
    until(lambda: family(process.pid))


def _after(seconds: float) -> Callable[[Any], None]:
    return lambda _: time.sleep(seconds)


MOMENTS = {
    "soon": _after(0.08),
    "with the first worker": _first_worker,
    "a little later": _after(0.2),
    "at work": _after(0.5),
}
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_file(number: int, moment: str, big: Path, older: Path) -> None:
    """It ends by that signal, leaving neither workers nor a temporary, and the older file."""
    with started(*COMMAND, *SLOW, "-f", "-o", older, big) as process:
        MOMENTS[moment](process)
        children = family(process.pid)
        os.killpg(process.pid, number)
        assert process.wait(5) == -number, process.communicate()
        assert not alive(children, 1)
        assert process.stderr is not None
        if moment != "soon":  # nobody can do anything about it while Python starts
            assert not process.stderr.read()
    assert older.read_bytes() == b"older"
    assert os.listdir(older.parent) == [older.name]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_pipe(number: int, moment: str) -> None:
    """Nobody writes to its stdin and nobody reads its stdout: it ends all the same."""
    with started(*COMMAND, *SLOW, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(noise(64 * KIB))
        process.stdin.flush()
        MOMENTS[moment](process)
        children = family(process.pid)
        os.killpg(process.pid, number)
        assert process.wait(5) == -number, process.communicate()
        assert not alive(children, 1)
        assert process.stderr is not None
        if moment != "soon":
            assert not process.stderr.read()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_program_that_is_stuck_writing(number: int) -> None:
    """A reader that stopped reading does not keep it."""
    command = (*COMMAND, "compress", "--chunk-size", "64K", "--no-progress")
    with started(*command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        data = noise(MIB)

        def full() -> bool:
            assert process.stdin is not None
            with suppress(BlockingIOError):
                os.write(process.stdin.fileno(), data)
                return False
            time.sleep(0.3)
            with suppress(BlockingIOError):
                os.write(process.stdin.fileno(), data)
                return False
            return True

        until(full)
        children = family(process.pid)
        os.killpg(process.pid, number)
        assert process.wait(5) == -number
        assert not alive(children, 1)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_the_imports(number: int, tmp_path: Path) -> None:
    """It ends by that signal, without the traceback of an import."""
    begun = tmp_path / "begun"
    (tmp_path / "click.py").write_text(
        f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    with started(*COMMAND, "--version", env=environment) as process:
        until(begun.exists)
        process.send_signal(number)
        assert process.communicate(timeout=5) == (b"", b"")
        assert process.returncode == -number


def test_a_second_signal_ends_at_once(big: Path, older: Path) -> None:
    """Whatever it is still doing, for whoever presses Ctrl-C twice."""
    with started(*COMMAND, *SLOW, "-f", "-o", older, big) as process:
        _after(0.4)(process)
        children = family(process.pid)
        for _ in range(3):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
        assert process.wait(1) == -signal.SIGINT
        assert not alive(children, 1)
    assert older.read_bytes() == b"older"


@pytest.mark.parametrize("seconds", [0.15, 0.3, 0.6])
def test_killing_the_program_leaves_nothing(seconds: float, big: Path, older: Path) -> None:
    """After SIGKILL no worker is left, and the final name holds what it held."""
    with started(*COMMAND, *SLOW, "-f", "-o", older, big) as process:
        _after(seconds)(process)
        children = family(process.pid)
        process.kill()
        process.wait()
        assert not alive(children, 2)
        assert process.stdout is not None
        assert not process.stdout.read()  # nobody else holds the pipe
    assert older.read_bytes() == b"older"


IN_AN_APPLICATION = """
import asyncio, sys
from aiocompress import Engine
async def main():
    async with Engine(2) as engine:
        await engine.compress_file(sys.argv[1], sys.argv[2], "1M", compression_level=19)
asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killing_an_application_leaves_nothing(number: int, big: Path, tmp_path: Path) -> None:
    """Inside an application too no worker, and no server of theirs, is left."""
    result = tmp_path / "result.zst"
    with started(sys.executable, "-c", IN_AN_APPLICATION, big, result) as process:
        until(lambda: len(workers(process.pid)) == 2)
        time.sleep(0.2)
        children = family(process.pid)
        assert len(children) >= 3
        os.kill(process.pid, number)
        process.wait(10)
        assert not alive(children, 2)
    assert not result.exists()
