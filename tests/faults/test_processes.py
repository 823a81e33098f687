"""Where processes cannot start, and that none outlives its engine."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aiocompress import Engine, sync

from ..help.programs import COMMAND, alive, own_family, script
from ..help.tools import tool
from .waiting import MIB, TEXT

DAEMONIC = """
import logging, multiprocessing, sys
from aiocompress import sync
def work():
    logging.basicConfig()
    data = bytes(1 << 20)
    packed = sync.compress_file(sys.argv[0], sys.argv[0] + ".zst", 512)
    print(packed.frames)
if __name__ == "__main__":
    process = multiprocessing.get_context("METHOD").Process(target=work, daemon=True)
    process.start()
    process.join(30)
    sys.exit(process.exitcode)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_daemonic_callers_get_threads(method: str, tmp_path: Path) -> None:
    """A daemonic process may not have children: threads do the work, and one warning says so."""
    code = DAEMONIC.replace("METHOD", method) + "#" * 10_000
    ended = script(tmp_path / "daemonic.py", code)
    assert ended.returncode == 0, ended
    assert int(ended.stdout) > 10
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith(b"WARNING:aiocompress:worker processes cannot start here")


def _without_shm(*command: str | Path) -> list[str | Path]:
    """Return a command that runs another one where /dev/shm is read-only."""
    unshare = [tool("unshare"), "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    hide = 'mount -t tmpfs -o ro none /dev/shm && exec "$@"'
    probe = [*unshare, "sh", "-c", hide, "sh", "true"]
    if subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    return [*probe[:-1], *command]


def test_without_semaphores_the_engine_uses_threads(big: Path, tmp_path: Path) -> None:
    """A read-only /dev/shm is one warning."""
    code = (
        "import logging, sys; logging.basicConfig(); from aiocompress import sync;"
        "print(sync.compress_file(sys.argv[1], sys.argv[2], '1M', 2).frames)"
    )
    command = _without_shm(sys.executable, "-c", code, big, tmp_path / "a.zst")
    ended = subprocess.run(command, capture_output=True, check=False, timeout=30)
    assert (ended.returncode, ended.stdout) == (0, b"8\n"), ended
    assert ended.stderr.count(b"using threads") == len(ended.stderr.splitlines()) == 1


def test_without_semaphores_the_command_line_works(big: Path, tmp_path: Path) -> None:
    """So it is on the command line."""
    result = tmp_path / "a.zst"
    command = _without_shm(*COMMAND, "compress", "-o", result, big)
    ended = subprocess.run(command, capture_output=True, check=False, timeout=30)
    assert ended.returncode == 0, ended
    assert b"Traceback" not in ended.stderr
    assert sync.decompress(result.read_bytes()) == TEXT


NO_GUARD = """
import sys
print("main")
from aiocompress import sync
data = bytes(range(256)) * 4096
path = sys.argv[1]
open(path, "wb").write(data)
sync.compress_file(path, path + ".zst", 65536, 2)
sync.decompress_file(path + ".zst", path + ".back", None, 2)
assert open(path + ".back", "rb").read() == data
print("done")
"""


@pytest.mark.parametrize("how", ["file", "stdin", "-c"])
def test_scripts_need_no_guard(how: str, tmp_path: Path) -> None:
    """The main module is never imported again, wherever it came from."""
    path = tmp_path / "script.py"
    path.write_text(NO_GUARD)
    given = {"file": str(path), "stdin": "-", "-c": "-c"}[how]
    code = [NO_GUARD] if how == "-c" else []
    ended = subprocess.run(
        (sys.executable, given, *code, tmp_path / "data"),
        input=NO_GUARD.encode() if how == "stdin" else b"",
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"main\ndone\n", b"")


async def test_the_loop_is_never_blocked() -> None:
    """Level 19 runs, and callbacks are on time: 50 ms is meant, 250 ms allows for other load."""
    worst, stop = 0.0, False

    async def heart() -> None:
        nonlocal worst
        while not stop:
            begun = time.perf_counter()
            await asyncio.sleep(0.005)
            worst = max(worst, time.perf_counter() - begun - 0.005)

    async with Engine(2) as engine:
        beating = asyncio.create_task(heart())
        stream = engine.compress_stream(TEXT[: 4 * MIB], compression_level=19, chunk_size="1M")
        async with stream:
            packed = b"".join([data async for data in stream])
        assert await engine.decompress(packed) == TEXT[: 4 * MIB]
        stop = True
        await beating
    assert worst < 0.25


async def test_no_process_outlives_its_engine() -> None:
    """Workers and their server are gone once the last engine is closed."""
    async with Engine(2) as engine, Engine(1) as other:
        for each in (engine, other):
            assert await each.decompress(await each.compress(TEXT)) == TEXT
        children = own_family()
        assert len(children) >= 4
    assert not alive(children, 1)
