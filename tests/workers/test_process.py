"""Worker processes for real: who starts them, whose main module they leave alone, how they end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from multiprocessing import current_process
from pathlib import Path
from typing import Any

import psutil
import pytest

from aiocompress import Engine
from aiocompress.model import KIB
from aiocompress.workers.arena import Arena
from aiocompress.workers.process import Workers, ready

from ..help.data import noise
from ..help.programs import COMMAND, alive, family, started
from ..help.tools import LIBRARY
from . import jobs

TEXT = b"0123456789abcdef" * 65536


async def work(engine: Engine) -> None:
    """Do what takes more than one worker."""
    async with engine.compress_stream(TEXT, chunk_size="64K", compression_level=1) as stream:
        packed = b"".join([part async for part in stream])
    assert await engine.decompress(packed) == TEXT


@contextmanager
def made(number: int = 2, preload: tuple[str, ...] = (), *, fork: bool = False) -> Iterator[Any]:
    """Workers that answer, closed in the end."""
    arena = Arena(64 * KIB)
    workers = Workers(number, arena, preload, fork=fork)
    try:
        workers.wait()
        yield workers
    finally:
        workers.close()
        arena.close()


def children() -> list[psutil.Process]:
    """All of our descendants but the tracker of resources, which serves the whole program."""
    found = family(os.getpid())
    return [process for process in found if "resource_tracker" not in " ".join(process.cmdline())]


def run(code: str, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program that can import this package and these tests."""
    command = (sys.executable, "-c", code, *arguments)
    options = {"env": LIBRARY, "timeout": 60} | options
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


# Whose main module it is.


SCRIPT = """
import logging, sys
logging.basicConfig()
print("main")
from aiocompress import sync
data = bytes(range(256)) * 65536
print(sync.decompress(sync.compress(data)) == data)
"""


@pytest.mark.parametrize("how", ["file", "stdin", "-c", "-m"])
def test_main_module_is_left_alone(how: str, tmp_path: Path) -> None:
    """A script needs no guard, wherever it comes from: nobody imports it again."""
    path = tmp_path / "without_guard.py"
    path.write_text(SCRIPT)
    command = {"file": [str(path)], "stdin": ["-"], "-c": ["-c", SCRIPT], "-m": ["-m", path.stem]}
    ended = subprocess.run(
        (sys.executable, *command[how]),
        input=SCRIPT if how == "stdin" else "",
        env=LIBRARY,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "main\nTrue\n", "")


def test_modules_come_from_where_the_program_has_them(tmp_path: Path) -> None:
    """Not from the current folder, which ``python -c`` would look into first."""
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong one')")
    code = """
import sys
sys.path.remove("")
from tests.workers.test_process import made
with made(preload=("json",)) as workers:
    print(workers.executor.submit(eval, "__import__('sys').path").result() == sys.path)
"""
    ended = run(code, cwd=tmp_path)
    assert (ended.stdout, ended.stderr) == ("True\n", "")


# Who starts them.


def test_all_are_started_at_once() -> None:
    """As many as were asked for, before any of them has something to do."""
    before = {process.pid for process in children()}
    with made(5) as workers:
        pids = {process.pid for process in workers._context.started}
        assert len(pids) == 5
        (server,) = {process.pid for process in children()} - before - pids
        assert {psutil.Process(pid).ppid() for pid in pids} == {server}
    assert not {process.pid for process in children()} - before


def test_each_pool_has_a_server_of_its_own() -> None:
    """One ends with its pool; the other's workers go on."""
    with made(1) as first:
        with made(1) as second:
            (one,), (other,) = first._context.started, second._context.started
            servers = {psutil.Process(process.pid).ppid() for process in (one, other)}
            assert len(servers) == 2
        assert not jobs.is_running(other.pid)
        assert first.executor.submit(os.getpid).result() == one.pid
    assert not any(map(jobs.is_running, servers))


def test_forked_from_this_process() -> None:
    """As the command line has it: the workers are children, and there is no server."""
    code = """
import os
from tests.workers.test_process import made
with made(2, fork=True) as workers:
    pids = [process.pid for process in workers._context.started]
    parents = {workers.executor.submit(os.getppid).result() for _ in range(9)}
    print(len(set(pids)), parents == {os.getpid()})
print([pid for pid in pids if os.path.exists(f"/proc/{pid}")])
"""
    ended = run(code)
    assert (ended.stdout, ended.stderr) == ("2 True\n[]\n", "")


def test_the_forkserver_of_the_application_is_its_own() -> None:
    """Its preloaded modules, its server and its children are what they were, before and after."""
    code = """
import multiprocessing, os
from multiprocessing import forkserver
from aiocompress import sync
from tests.workers.test_process import TEXT
DATA = TEXT * 16
if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["json"])
    with context.Pool(1) as pool:
        server = pool.apply(os.getppid)
        before = dict(vars(forkserver._forkserver))
        assert sync.decompress(sync.compress(DATA)) == DATA
        assert vars(forkserver._forkserver) == before
        print(pool.apply(os.getppid) == server)
    with context.Pool(1) as pool:
        modules = pool.apply(eval, ("list(__import__('sys').modules)",))
        print(pool.apply(os.getppid) == server, "json" in modules, "zstandard" in modules)
"""
    ended = run(code)
    assert (ended.stdout, ended.stderr) == ("True\nTrue True False\n", "")


def test_what_a_worker_holds() -> None:
    """No end of the program's pipes, no signal that its terminal sends, and no signal held back."""
    with made(1) as workers:
        stdin = os.stat("/dev/null").st_ino
        for number in (0, 1):
            assert workers.executor.submit(os.fstat, number).result().st_ino == stdin
        assert workers.executor.submit(signal.pthread_sigmask, 0, ()).result() == set()
        handler = workers.executor.submit(signal.getsignal, signal.SIGINT).result()
        assert handler == signal.SIG_IGN
        assert workers.executor.submit(threading.active_count).result() == 2


def test_descriptors_of_the_program_are_not_passed_on() -> None:
    """Not even those that every child inherits."""
    here, there = os.pipe()
    os.set_inheritable(there, True)  # noqa: FBT003 - positional only
    with made(1):
        os.close(there)
        os.set_blocking(here, False)
        assert os.read(here, 1) == b""  # nobody else can write to it
    os.close(here)


def test_nothing_is_left_behind() -> None:
    """Neither descriptors nor threads, after many pools."""
    with made(1):
        pass
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(3):
        with made(2):
            pass
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert threading.active_count() == threads


# How they end.


WAITS = """
import asyncio, os, sys
from aiocompress import Engine
from tests.workers.test_process import TEXT, work
async def main():
    async with Engine(2) as engine:
        await work(engine)
        if sys.argv[1:] == ["fork"] and not os.fork():
            os.write(1, b"%d\\n" % os.getpid())
            __import__("time").sleep(60)
        if sys.argv[1:] == ["busy"]:
            slow = asyncio.ensure_future(engine.compress(TEXT * 16, compression_level=19))
        os.write(1, b"ready\\n")
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["idle", "busy", "fork"])
def test_no_orphan(how: str) -> None:
    """A second after the SIGKILL of the program nothing runs, though a fork of it may live on."""
    with started(sys.executable, "-W", "ignore", "-c", WAITS, how, env=LIBRARY) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        if how == "fork":
            lines.append(process.stdout.readline())
        fork = [int(line) for line in lines if line != b"ready\n"]
        running = [child for child in family(process.pid) if child.pid not in fork]
        running = [child for child in running if "tracker" not in " ".join(child.cmdline())]
        assert len(running) == 3
        process.kill()
        assert not alive(running, 1)
        assert all(map(jobs.is_running, fork))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1, 0.2])
def test_signals_while_workers_start(number: int, seconds: float) -> None:
    """A terminal signals the whole group: no worker says anything, and none is left."""
    code = """
import os, signal
from aiocompress.workers.arena import Arena
from aiocompress.workers.process import Workers
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: os._exit(7))
print("ready", flush=True)
Workers(2, Arena(4096), (), fork=False).wait()
signal.pause()
"""
    with started(sys.executable, "-W", "ignore", "-c", code, env=LIBRARY) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        threading.Event().wait(seconds)
        running = family(process.pid)
        os.killpg(process.pid, number)
        assert process.wait(10) == 7
        assert not alive(running, 5)  # a server that imports its modules ends after that
        assert process.stderr.read() == b""


def test_killed_at_once() -> None:
    """Whatever they are doing, stopped ones too; close waits for their end."""
    with made(2) as workers:
        for process in workers._context.started:
            os.kill(process.pid, signal.SIGSTOP)
        stuck = workers.executor.submit(ready)
        workers.kill()
        with pytest.raises(BrokenExecutor):
            stuck.result(5)
        workers.close()
        assert [process.is_alive() for process in workers._context.started] == [False, False]


def test_no_worker_of_a_dead_server() -> None:
    """An error says so; nothing more is said when its garbage is collected."""

    def start(context: Any) -> None:
        os.kill(context._server._pid, signal.SIGKILL)
        with pytest.raises(OSError) as caught:  # noqa: PT011 - depends on when it ends
            context.Process(target=int, args=()).start()
        assert caught.traceback

    with made(1) as workers:
        start(workers._context)
    gc.collect()


def test_killing_the_dead() -> None:
    """A number of a process that has ended may be somebody else's: it gets no signal."""
    with made(1) as workers:
        (process,) = workers._context.started
        workers.kill()
        process.join(5)
        process.pid = os.getpid()
        workers.kill()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_the_thread_of_the_executor_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory, say: nobody would ever answer. It is noticed, and the job done by others."""

    def die(_: Any) -> None:
        monkeypatch.undo()
        raise MemoryError

    thread = "concurrent.futures.process._ExecutorManagerThread"
    async with Engine(2) as engine:
        await work(engine)
        monkeypatch.setattr(f"{thread}.add_call_item_to_queue", die)
        before = children()
        await asyncio.wait_for(work(engine), 20)
        assert not alive(before, 1)
        assert len(children()) == len(before)


# Where they cannot start.


@pytest.fixture
def daemonic() -> Iterator[None]:
    """This process is one that may not have children."""
    current_process()._config["daemon"] = True  # type: ignore[attr-defined]
    yield
    del current_process()._config["daemon"]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("daemonic")
async def test_threads_in_a_daemonic_process(caplog: pytest.LogCaptureFixture) -> None:
    """A daemonic process has no children: threads do the work, and one warning says so."""
    async with Engine(2) as engine:
        for _ in range(2):
            await work(engine)
    assert [record.name for record in caplog.records] == ["aiocompress"]
    assert "a daemonic process" in caplog.text


async def test_threads_in_a_frozen_program(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its interpreter is the program itself, which must not start again."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(os, "posix_spawn", None)
    async with Engine(2) as engine:
        await work(engine)
    assert len(caplog.records) == 1
    assert "a frozen program" in caplog.text


def test_preload_that_fails() -> None:
    """A module that cannot be imported is an error at once, not a hang."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="the server of the workers has ended"):
        Workers(2, Arena(4096), ("aiocompress.no_such_module",), fork=False)
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # of the arena


PROMISED_BY_NOBODY = [
    "_executor_manager_thread",
    "set_spawning_popen",
    "ForkingPickler",
    "duplicate_for_child",
    "DupFd",
    "get_command_line",
    "is_exiting",
]
OTHER_PYTHON = """
import importlib.machinery, logging, os, re, sys
class Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname):
        text = self.get_data(self.path).decode()
        return compile(re.sub(r"\\b%s\\b", "renamed", text), self.path, "exec")
class Finder:
    def find_spec(self, fullname, path, target=None):
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if fullname.startswith(("multiprocessing", "concurrent.")) and spec is not None:
            spec.loader = Loader(fullname, spec.origin)
            return spec
sys.meta_path.insert(0, Finder())
logging.basicConfig()
"""


@pytest.mark.parametrize("name", PROMISED_BY_NOBODY)
def test_threads_where_python_has_changed(name: str) -> None:
    """A Python in which one of those names is another: threads, one warning, and no process."""
    ended = run(
        OTHER_PYTHON % name
        + """
import asyncio
from aiocompress import Engine
from tests.workers.test_process import children, work
async def main():
    async with Engine(2) as engine:
        for _ in range(3):
            await work(engine)
        print(children())
asyncio.run(main())
"""
    )
    assert (ended.returncode, ended.stdout) == (0, "[]\n"), ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("WARNING:aiocompress:worker processes cannot start here")


def test_the_command_line_where_python_has_changed(tmp_path: Path) -> None:
    """It works as well, and says no more."""
    source = tmp_path / "source"
    source.write_bytes(noise(KIB) * 8192)
    code = OTHER_PYTHON % "_executor_manager_thread" + (
        "import runpy; runpy.run_module('aiocompress', run_name='__main__')"
    )
    ended = run(code, "compress", "--chunk-size", "1M", "-T", "2", source)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert subprocess.run((*COMMAND, "test", f"{source}.zst"), check=False).returncode == 0
