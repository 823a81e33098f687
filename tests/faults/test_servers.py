"""Servers of others that fork: gunicorn with its application loaded before, and Celery."""

from __future__ import annotations

import gc
import http.client
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aiocompress import sync
from aiocompress.model import KIB

from ..help.data import noise, text
from ..help.forks import forked
from ..help.programs import alive, family, started, until
from ..help.tools import LIBRARY, module
from .counting import WHOLE, count, lose, quick_or_whole

# The application: /plain uses the plain functions, /engine an engine that was used before.

APPLICATION = """
import asyncio
from aiocompress import Engine, sync
from tests.faults.test_forks import packed

engine = Engine(2, executor="EXECUTOR")
asyncio.run(packed(engine, bytes(200_000)))
engine.statistics()
next(sync.compress_stream(bytes(200_000), chunk_size="32K"))


def application(environ, start_response):
    data = environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/plain":
        answer = b"".join(sync.compress_stream(data, chunk_size="32K", num_workers=2))
    else:
        answer = asyncio.run(packed(engine, data))
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]


async def asgi(scope, receive, send):
    data, more = b"", True
    while more:
        message = await receive()
        data, more = data + message["body"], message["more_body"]
    answer = await packed(engine, data)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer})
"""


class _Connection(http.client.HTTPConnection):
    """HTTP through a socket of the file system, whose name nobody else has."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


def _is_right(path: Path, address: str, seed: int) -> bool:
    """Have a server compress data of our own."""
    data = noise(64 * KIB, seed) + text(64 * KIB, seed)
    connection = _Connection(path)
    connection.request("POST", address, data)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200, body
    return sync.decompress(body) == data


@contextmanager
def _gunicorn(folder: Path, executor: str, *options: str) -> Iterator[Path]:
    """Run gunicorn until it has answered all; it ends well, and all of its processes with it."""
    (folder / "served.py").write_text(APPLICATION.replace("EXECUTOR", executor))
    path = folder / "socket"
    command = (sys.executable, "-m", "gunicorn", "--preload", "-w", "2", "--bind", f"unix:{path}")
    places = ("--worker-tmp-dir", str(folder), "--chdir", str(folder))
    with started(*command, *places, *options, env=LIBRARY) as server:
        until(path.exists)
        until(lambda: len([one for one in family(server.pid) if "gunicorn" in _words(one)]) >= 2)
        yield path
        everybody = family(server.pid)
        server.send_signal(signal.SIGTERM)
        _, said = server.communicate(timeout=30)
        assert server.returncode == 0, said
        assert b"Traceback" not in said, said
        assert not alive(everybody, 2)


def _words(process: Any) -> str:
    return " ".join(process.cmdline())


SERVED = [
    ("process", "served:application", "/engine"),
    ("process", "served:application", "/plain"),
    ("thread", "served:application", "/engine"),
    ("process", "-k uvicorn.workers.UvicornWorker served:asgi", "/engine"),
    ("thread", "-k uvicorn.workers.UvicornWorker served:asgi", "/engine"),
]


@quick_or_whole("executor how address", SERVED, lambda *row: row == SERVED[0])
def test_gunicorn(executor: str, how: str, address: str, whole: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Each answer of workers that were forked from a used application holds its own request."""
    module("gunicorn")
    if "uvicorn" in how:
        module("uvicorn")
    kind, number = "answers of gunicorn --preload", WHOLE // 4 if whole else 40
    with _gunicorn(tmp_path, executor, *how.split()) as path, ThreadPoolExecutor(4) as clients:
        right = list(clients.map(partial(_is_right, path, address), range(number)))
        if not whole:  # the other half of the application beside it
            assert _is_right(path, "/plain", number)
    count(kind, number)
    if not all(right):
        lose(kind, f"{right.count(False)} of {number} are another client's")


# Daemonic processes.


def _held() -> dict[str, int]:
    """Count what a process holds: descriptors, threads, and semaphores, which have no name."""
    with open("/proc/self/maps") as file:
        semaphores = sum("/dev/shm/sem." in line for line in file)
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "semaphores": semaphores,
    }


def _call(path: str) -> None:
    """Do what would use worker processes, where it may."""
    sync.compress_file(path, path + ".zst", "4K", 2, fsync=False, on_exists="replace")
    sync.decompress_file(path + ".zst", path + ".back", None, 2, fsync=False, on_exists="replace")


def _settled() -> dict[str, int]:
    """Count when the threads that were told to end have ended."""
    end, found = time.monotonic() + 5, _held()
    while found["threads"] > 1 and time.monotonic() < end:
        time.sleep(0.01)
        found = _held()
    return found


def _calls(path: str, number: int) -> tuple[dict[str, int], dict[str, int]]:
    gc.disable()  # it comes seldom, and must not be needed
    for _ in range(3):
        _call(path)
    before = _settled()
    for _ in range(number):
        _call(path)
    return before, _settled()


def _in_daemon(path: str, number: int) -> Any:
    """Return what a daemonic process holds before and after that many calls."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    process = fork.Process(target=lambda: there.send(_calls(path, number)), daemon=True)
    process.start()
    there.close()
    with here:
        found = here.recv()
    process.join()
    assert process.exitcode == 0
    return found


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@quick_or_whole("calls number", [(_in_daemon, 100), (_calls, 5)], lambda *_: True)
def test_call_after_call(calls: Any, number: int, whole: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """No descriptor, thread or semaphore more, where there may be no processes and where there may.

    A daemonic process may not have children.
    """
    path, number = tmp_path / "data", WHOLE * number // 100 if whole else number
    path.write_bytes(text(16 * KIB))
    before, after = forked(partial(calls, str(path), number))
    assert after == before
    assert (tmp_path / "data.back").read_bytes() == path.read_bytes()
    count("calls in a process of their own", number)


TASKS = """
import json
from celery import Celery
from aiocompress import Engine, sync
from tests.faults.test_servers import _call, _settled_beside_celery
import asyncio
from tests.faults.test_forks import packed

app = Celery("tasks")
app.conf.update(
    broker_url="filesystem://",
    broker_transport_options={
        "data_folder_in": "FOLDER/queue", "data_folder_out": "FOLDER/queue",
        "control_folder": "FOLDER/control",
    },
    result_backend="file://FOLDER/results",
    task_ignore_result=False,
    worker_hijack_root_logger=False,
)
engine = Engine(2, executor="process")
asyncio.run(packed(engine, bytes(200_000)))


@app.task
def work(number, path):
    import os
    path = f"{path}-{os.getpid()}"
    with open(path, "wb") as file:
        file.write(bytes(range(256)) * 64)
    _call(path)
    data = os.urandom(100_000)
    right = sync.decompress(asyncio.run(packed(engine, data))) == data
    return [os.getpid(), right, _settled_beside_celery()]
"""


def _settled_beside_celery() -> dict[str, int]:
    time.sleep(0.01)
    return _held()


@pytest.mark.faults
def test_celery(tmp_path: Path) -> None:
    """Its prefork workers are daemonic, and forked from a process that used an engine."""
    module("celery")
    for name in ("queue", "results", "control"):
        (tmp_path / name).mkdir()
    (tmp_path / "tasks.py").write_text(TASKS.replace("FOLDER", str(tmp_path)))
    environment = LIBRARY | {"PYTHONPATH": f"{LIBRARY['PYTHONPATH']}:{tmp_path}"}
    client = (
        "import sys, json, tasks\n"
        "many = [tasks.work.delay(n, sys.argv[2]) for n in range(int(sys.argv[1]))]\n"
        "print(json.dumps([one.get(timeout=120) for one in many]))\n"
    )
    command = (sys.executable, "-m", "celery", "-A", "tasks", "worker", "-c", "2", "-P", "prefork")
    number = 300
    with started(*command, "--loglevel=ERROR", env=environment, cwd=tmp_path) as server:
        asking = (sys.executable, "-c", client, str(number), str(tmp_path / "data"))
        done = subprocess.run(
            asking, env=environment, capture_output=True, check=False, timeout=200
        )
        assert done.returncode == 0, done.stderr
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)
    answers = json.loads(done.stdout)
    assert all(right for _, right, _ in answers)
    for pid in {pid for pid, _, _ in answers}:
        held = [held for other, _, held in answers if other == pid]
        assert len(held) > number // 10
        for what in ("descriptors", "semaphores"):
            assert max(one[what] for one in held[-20:]) <= max(one[what] for one in held[5:40])
        assert max(one["threads"] for one in held) < 40
    count("calls in Celery", number)
