"""The command line on URLs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..help import hostile
from ..help.data import noise
from ..help.hostile import Member
from ..help.programs import COMMAND, done, failed, started, until
from ..help.tools import LIBRARY, run
from ..help.web import Site

if TYPE_CHECKING:
    from ..help.s3 import Storage

MEMBERS = [Member(b"d/a.txt", data=b"some text"), Member(b"d/b", data=b"b" * 1000)]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A web server in a thread of its own."""
    loop, site = asyncio.new_event_loop(), Site(hostile.indexed(MEMBERS))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(site.__aenter__(), loop).result()
    yield site
    asyncio.run_coroutine_threadsafe(site.__aexit__(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_list_and_extract(site: Site) -> None:
    """They take a URL for an archive; what they make goes into this folder."""
    assert done("list", site.url) == b"d/a.txt\nd/b\n"
    report = json.loads(done("extract", "--json", site.url + "?token=hunter2"))
    assert report["source"] == site.url
    assert Path("a/d/a.txt").read_bytes() == b"some text"


@pytest.mark.faults
def test_cat_test_and_decompress(site: Site) -> None:
    """So do these."""
    assert done("cat", site.url, "d/a.txt") == b"some text"
    assert done("test", "-q", site.url) == b""
    done("decompress", "-q", site.url)
    assert b"d/a.txt" in Path("a.tar").read_bytes()


@pytest.mark.faults
def test_s3(storage: Storage, here: Path) -> None:
    """A folder goes there and comes back; Ctrl-C leaves neither an object nor an upload."""
    (here / "tree").mkdir()
    (here / "tree" / "file").write_bytes(noise(9 << 20))
    done("compress", "-q", "tree", "-o", "s3://bucket/tree.tar.zst")
    failed("compress", "-q", "tree", "-o", "s3://bucket/tree.tar.zst", naming="File exists")
    done("extract", "-q", "s3://bucket/tree.tar.zst", "-o", "back")
    assert (here / "back" / "tree" / "file").read_bytes() == noise(9 << 20)
    command = (*COMMAND, "compress", "-q", "-o", "s3://bucket/pipe.zst")
    with started(*command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(noise(9 << 20) * 4)
        process.stdin.flush()
        until(lambda: storage.uploads() == ["pipe.zst"])
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT
    assert not storage.uploads()
    assert storage.keys() == ["tree.tar.zst"]


def test_errors(site: Site) -> None:
    """One line that names the URL, and no secret; flags that would do nothing are refused."""
    secret = site.url.replace("//", "//alice:hunter2@") + "?hunter2"
    site.faults = [site.status(403)]
    said = failed("list", secret, naming=f"{site.url}: the server answered 403 Forbidden")
    assert "hunter2" not in said
    failed("extract", "--rm", secret, naming="--rm removes files of this machine only")
    said = failed("compress", "small", "-o", secret, naming="s3://BUCKET/KEY only")
    assert "hunter2" not in said
    failed("recover", secret, "-o", "x", naming="of this machine only")
    assert sorted(os.listdir()) == ["large", "small"]


def test_without_the_extra(site: Site, tmp_path: Path) -> None:
    """A URL says what to install; nothing else misses it, nor imports it."""
    code = (
        "import sys\n"
        "for name in ('fsspec', 'aiohttp', 's3fs', 'botocore'): sys.modules[name] = None\n"
        "sys.argv[0] = 'aiocompress'\n"
        "from aiocompress.__main__ import main\n"
        "main()"
    )
    for url in (site.url, "s3://bucket/a.tar.zst"):
        command = (COMMAND[0], "-c", code, "list", url)
        ended = subprocess.run(command, capture_output=True, env=LIBRARY, timeout=60, check=False)
        assert ended.returncode == 2
        assert ended.stderr.decode().strip() == (
            f"aiocompress: {url}: a URL needs an extra of this package; "
            "pip install 'aiocompress[remote]'"
        )
    run(COMMAND[0], "-c", code, "compress", "-q", str(tmp_path / "small"))
    looks = "import sys, aiocompress; aiocompress.open_archive; print('fsspec' in sys.modules)"
    assert run(COMMAND[0], "-c", looks) == b"False\n"
    lone = "import sys; sys.modules['fsspec'] = None; import aiocompress.remote"
    command = (COMMAND[0], "-c", lone)
    ended = subprocess.run(command, capture_output=True, env=LIBRARY, timeout=60, check=False)
    assert b"pip install 'aiocompress[remote]'" in ended.stderr
