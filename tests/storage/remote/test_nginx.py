"""Archives behind a real nginx, as most of the world serves them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from aiocompress import CorruptError

from ...help import hostile
from ...help.archives import KIB, two_threads
from ...help.data import noise
from ...help.hostile import Member
from ...help.programs import started
from ...help.tools import tool

MEMBERS = [Member(b"d/m%d" % number, data=noise(100 * KIB, number)) for number in range(12)]

CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors;
events {{ }}
http {{
  access_log {folder}/requests;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{
    listen 127.0.0.1:{port}; root {folder}/files;
    location /plain/ {{ max_ranges 0; }}
    location /private/ {{ deny all; }}
  }}
}}
"""


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[str]:
    """Serve the folder ``files``; yields its URL."""
    program = tool("nginx")
    tmp_path.chmod(0o755)
    for folder in ("files", "files/plain", "files/private"):
        (tmp_path / folder).mkdir()
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    (tmp_path / "nginx").write_text(CONFIGURATION.format(folder=tmp_path, port=port))
    with started(program, "-p", tmp_path, "-e", tmp_path / "errors", "-c", tmp_path / "nginx"):
        for _ in range(500):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"


def _requests(folder: Path) -> list[str]:
    """What nginx says of them; it writes that after it has answered."""
    time.sleep(0.05)
    return (folder / "requests").read_text().splitlines()


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
async def test_an_archive(nginx: str, codec: str, tmp_path: Path) -> None:
    """The end, then a request for each frame; one that is replaced is an error."""
    name = "a.tar.gz" if codec == "gzip" else "a.tar.zst"
    path = tmp_path / "files" / name
    path.write_bytes(hostile.indexed(MEMBERS, codec, frame=256 * KIB))
    async with two_threads() as engine, engine.open_archive(f"{nginx}/{name}") as archive:
        assert await archive.read("d/m0") == MEMBERS[0].data
        assert len(_requests(tmp_path)) == 2
        for member in MEMBERS:
            assert await archive.read(member.name.decode()) == member.data
        await archive.extract(tmp_path / "out", fsync=False)
        assert (tmp_path / "out/d/m7").read_bytes() == MEMBERS[7].data
        assert {line.split('" ')[1][:3] for line in _requests(tmp_path)} == {"206"}
        other = tmp_path / "files" / "other"
        other.write_bytes(path.read_bytes()[::-1])
        os.utime(other, (0, 0))
        other.rename(path)
        with pytest.raises(CorruptError, match="replaced"):
            await archive.extract(tmp_path / "again", fsync=False)
        assert _requests(tmp_path)[-1].split('" ')[1].startswith("412")
    assert not (tmp_path / "again").exists()


async def test_what_it_refuses(nginx: str, tmp_path: Path) -> None:
    """403, 404, an empty file, and a place without ranges."""
    (tmp_path / "files" / "empty").touch()
    (tmp_path / "files/plain/a.tar.zst").write_bytes(hostile.indexed(MEMBERS))
    async with two_threads() as engine:
        for name, text in (
            ("private/x", "answered 403"),
            ("nothing", "answered 404"),
            ("empty", "empty"),
            ("plain/a.tar.zst", "no parts of a file"),
        ):
            with pytest.raises(Exception, match=text) as caught:
                await engine.open_archive(f"{nginx}/{name}").__aenter__()
            assert f"{nginx}/{name}" in str(caught.value)
