"""Examples against the real thing: a database, a server, a log that is being written."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import zstandard

from aiocompress import sync

from .help.data import noise, text
from .help.programs import started, until
from .help.tools import module, tool
from .test_readme import ROOT

EXAMPLES = ROOT / "examples"


def example(name: str) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLES / name)]


def test_a_database(tmp_path: Path) -> None:
    """Every row of every table comes back, whatever is in it and however tables are called."""
    rows: list[tuple[Any, ...]] = [
        (number, f"text {number}\n,\"'é", None if number % 3 else number / 7)
        for number in range(20_000)
    ]
    path, archive_path = tmp_path / "a.db", tmp_path / "a.tar.gz"
    with closing(sqlite3.connect(path)) as database, database:
        for table in ("rows", 'odd "name"/x'):
            quoted = table.replace('"', '""')
            database.execute(f'CREATE TABLE "{quoted}" (id INTEGER, text TEXT, number REAL)')
            database.executemany(f'INSERT INTO "{quoted}" VALUES (?, ?, ?)', rows)
        database.execute("CREATE TABLE none (x)")
    subprocess.run([*example("compress_database_dump.py"), path, archive_path], check=True)
    with sync.open_archive(archive_path) as archive:
        names = [member.name for member in archive.members()]
        assert names == ["schema.sql", "000-rows.csv", '001-odd "name"_x.csv', "002-none.csv"]
        assert archive.read("schema.sql").decode().count("CREATE TABLE") == 3
        assert archive.read("002-none.csv") == b"x\r\n"
        for name in names[1:3]:
            with archive.open(name) as file, io.TextIOWrapper(file, "utf-8", newline="") as lines:
                head, *found = csv.reader(lines)
            assert head == ["id", "text", "number"]
            assert found == [["" if x is None else str(x) for x in row] for row in rows]


class Server:
    """The example's own uploads, served by a loop in a thread."""

    def __init__(self, archive: Path) -> None:
        module("aiohttp")
        sys.path.insert(0, str(EXAMPLES))
        try:
            import aiohttp_upload_compressed as made  # type: ignore[import-not-found]
        finally:
            sys.path.remove(str(EXAMPLES))
        self._made, self._archive = made, archive
        self._ready, self.port = threading.Event(), 0
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))

    async def _serve(self) -> None:
        from aiohttp import web

        import aiocompress

        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with (
            aiocompress.Engine(2, executor="thread") as engine,
            engine.create_archive(self._archive) as writer,
        ):
            runner = web.AppRunner(self._made.Uploads(engine, writer).app, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.port = runner.addresses[0][1]
            self._ready.set()
            await self._over.wait()
            await runner.cleanup()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)


def test_uploads(tmp_path: Path) -> None:
    """The client, and curl, upload; what is cut off or refused costs nobody else anything."""
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(noise(3 << 20) + text(3 << 20))
    small.write_bytes(b"small")
    subprocess.run([tool("zstd"), "-q", small], check=True)
    with Server(tmp_path / "a.tar.zst") as server:
        url = f"http://127.0.0.1:{server.port}"
        said = subprocess.run(
            [*example("aiohttp_upload_compressed.py"), url, large, small, large],
            capture_output=True,
            check=True,
            text=True,
        ).stdout.splitlines()
        assert sorted(line.split()[1] for line in said) == ["201", "201", "409"]

        def put(name: str, *data: str) -> str:
            curl = [tool("curl"), "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "PUT"]
            command = [*curl, "--path-as-is", *data, f"{url}/{name}"]
            return subprocess.run(command, capture_output=True, check=False, text=True).stdout

        assert put("by/curl", "-T", f"{small}.zst") == "201"
        assert put("plain", "--data-binary", "no zstd at all") == "400"
        assert put("a%2F..%2F..%2Fb", "-T", f"{small}.zst") == "400"
        # The body is said to be longer than it is, and curl leaves.
        cut = ["-T", str(large), "-H", "Content-Length: 999999999", "--max-time", "1"]
        assert put("cut", *cut) in {"000", "400"}
    with sync.open_archive(tmp_path / "a.tar.zst") as archive:
        assert archive.test().files == 3
        assert archive.read("large") == large.read_bytes()
        assert archive.read("by/curl") == archive.read("small") == b"small"


def test_a_log_that_is_written(tmp_path: Path) -> None:
    """Lines come while another program writes frames; a line that has begun is waited for."""
    path, lines = tmp_path / "a.log.zst", [b"first\n", b"second\n", b"in two parts\n", b"last\n"]
    written, read = b"".join(lines), b""
    path.touch()
    with (
        started(*example("tail_compressed_log.py"), path, stdout=subprocess.PIPE) as tail,
        path.open("ab", buffering=0) as log,
    ):
        assert tail.stdout is not None
        for start, end in ((0, 6), (6, 16), (16, 24), (24, len(written))):
            log.write(zstandard.compress(written[start:end]))
            whole = written[: written[:end].rfind(b"\n") + 1]
            while read != whole:
                read += os.read(tail.stdout.fileno(), 100)
                assert whole.startswith(read)
        assert tail.poll() is None
        tail.send_signal(signal.SIGINT)
        tail.wait(10)


def test_a_log_of_ours() -> None:
    """Each line is there once, in order, and the end is seen."""
    done = subprocess.run(
        example("tail_compressed_log.py"), capture_output=True, check=True, timeout=60
    )
    expected = [b"line %d of a log that is written now" % number for number in range(40)]
    assert done.stdout.splitlines() == expected


def test_a_log_that_is_cut_off(tmp_path: Path) -> None:
    """What was flushed before its writer was killed is read, and nothing else."""
    path = tmp_path / "a.log.zst"
    writer = subprocess.Popen([*example("tail_compressed_log.py"), "--write", path])
    until(lambda: path.exists() and path.stat().st_size > 300)
    writer.kill()
    writer.wait()
    with sync.open(path, "rt", encoding="utf-8") as log:
        lines = log.readlines()
    assert lines[0] == "line 0 of a log that is written now\n"
    assert 1 < len(lines) < 40
