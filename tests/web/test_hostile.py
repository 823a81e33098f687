"""Requests by people who want more than they are shown: not a byte from outside of the root."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aiocompress import Engine
from aiocompress.web import app

from .sample import SECRET, asking, make_root, served

BY_HAND = [
    "/../secret",
    "/../../../../etc/passwd",
    "//etc/passwd",
    "///..//secret",
    "/%2e%2e/secret",
    "/%2e%2e%2fsecret",
    "/..%2fsecret",
    "/..%5csecret",
    "/%252e%252e/secret",
    "/.%00./secret",
    "/docs/%00",
    "/docs/..%00/../secret",
    "/docs/../../secret",
    "/docs/./notes.txt",
    "/docs/%2e/notes.txt",
    "/docs/..;/..;/secret",
    "/%c0%ae%c0%ae/secret",
    "/%e0%80%ae%e0%80%ae/secret",
    "/%uff0e%uff0e/secret",
    "/%ff%fe/../secret",
    "/out",
    "/out?view",
    "/out?raw",
    "/out?decoded",
    "/outside/key",
    "/outside/",
    "/outside/?download=tar.zst",
    "/?download=tar.zst",
    "/?download=tar.gz&name=out&name=outside",
    "/?download=tar.gz&name=../secret",
    "/?download=tar.gz&name=..",
    "/?download=tar.gz&name=%2525",
    "/?q=secret",
    "/?q=../secret",
    "/?q=" + "*" * 200,
    "/pipe",
    "/pipe?view",
    "/proc/self/environ",
    "/theirs.tar.gz/escape",
    "/theirs.tar.gz/escape/",
    "/theirs.tar.gz/../secret",
    "/theirs.tar.gz/..%2f..%2fsecret",
    "/theirs.tar.gz/../above",
    "/theirs.tar.gz/%2e%2e/above",
    "/theirs.tar.gz//etc/absolute",
    "/theirs.tar.gz/docs/inner/",
    "/theirs.tar.gz/?download=tar.gz&name=escape",
    "/theirs.tar.gz/?download=tar.gz&name=../above",
    "/ours.tar.zst/docs/%00",
    "/ours.tar.zst/docs/inner?view",
    "/data.bin/",
    "/data.bin/x",
    "/docs/notes.txt/../../../secret",
    "/" + "a" * 300,
    "/" + "a/" * 300,
    "/" + "../" * 300 + "etc/passwd",
    "http://test/../secret",
    "*",
]
PARTS = [
    *("..", "%2e%2e", "%2E.", ".", "%2e", "", "%2f", "/", "%5c", "%00", "%0a", "%0d%0a", "%ff"),
    *("%252e%252e", "..%252f", "..%c0%af", "%e2%80%ae", "..;", "~", "$HOME", "*", "?", "%3f"),
    *("docs", "deep", "out", "outside", "secret", "private", "key", "root", "inner", "pipe"),
    *("ours.tar.zst", "theirs.tar.gz", "escape", "above", "notes.txt", "log.zst", "dot.png"),
    *("etc", "passwd", "proc", "self", "fd", "3", "cwd"),
]
ENDS = ["", "/", "?view", "?raw", "?decoded", "?download=tar.gz", "/?download=tar.zst", "?q=key"]


def generated(number: int) -> list[str]:
    """Paths of what leads out elsewhere, the same ones every time."""
    source = random.Random(11)
    return [
        "/" + "/".join(source.choices(PARTS, k=source.randint(1, 6))) + source.choice(ENDS)
        for _ in range(number)
    ]


async def ask(port: int, target: str, method: str = "GET") -> bytes:
    """Everything that the server says to a request line, as it is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        writer.write(head.encode("latin-1", "replace"))
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


async def test_a_thousand_paths(root: Path) -> None:
    """None gives a byte of what is outside, or a path of this machine."""
    targets = BY_HAND + generated(1000)
    async with Engine(2, executor="thread") as engine, served(app(root, engine=engine)) as url:
        port = int(url.rpartition(":")[2])
        for start in range(0, len(targets), 50):
            batch = targets[start : start + 50]
            answers = await asyncio.gather(*(ask(port, target) for target in batch))
            for target, answer in zip(batch, answers, strict=True):
                assert SECRET not in answer, target
                assert os.fsencode(root) not in answer, target
                assert b"root:x:0" not in answer, target
                assert b"/proc/self/fd" not in answer.partition(b"\r\n\r\n")[2] or (
                    b"proc" in target.encode()
                ), target
                status = answer.split(b" ", 2)[1:2]
                assert status not in ([b"500"], [b"502"]), (target, answer[:300])
        assert (await ask(port, "/healthz")).startswith(b"HTTP/1.1 200")


async def test_downloads_hold_links_and_not_what_they_lead_to(root: Path) -> None:
    """A link is packed as a link."""
    async with Engine(2, executor="thread") as engine, asking(app(root, engine=engine)) as client:
        raw = (await client.get("/?download=tar.gz")).content
        import gzip

        assert SECRET not in gzip.decompress(raw)
        assert b"../secret" in gzip.decompress(raw)


@contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """Exchange a folder for a link to another one, and back, all the while."""
    ended, aside = threading.Event(), one.with_name("aside")

    def swap() -> None:
        while not ended.is_set():
            one.rename(aside)
            one.symlink_to(other)
            one.unlink()
            aside.rename(one)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def test_a_folder_that_becomes_a_link(tmp_path: Path) -> None:
    """While somebody exchanges a folder for a link to the outside, only the folder is served."""
    root = make_root(tmp_path)
    (root / "docs" / "key").write_text("inside")
    seen = set()
    async with (
        Engine(2, executor="thread") as engine,
        asking(app(root, engine=engine, writable=True)) as client,
    ):
        with swapping(root / "docs", tmp_path / "private"):
            for number in range(300):
                targets = ("/docs/key", "/docs/", "/docs/?download=tar.gz", "/?q=key")
                answers = [await client.get(target) for target in targets]
                answers.append(await client.put(f"/docs/up{number}", content=b"up"))
                seen.update(answer.status_code for answer in answers)
                assert all(SECRET not in answer.content for answer in answers)
    assert seen <= {200, 201, 404}
    assert {200, 404} <= seen
    assert os.listdir(tmp_path / "private") == ["key"]


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_names_of_this_server(method: str, root: Path) -> None:
    """A name that leads here all of a sudden (DNS rebinding) is none of this server."""
    application = app(root, allowed_hosts={"test", "[::1]"})
    async with asking(application) as client:
        for host, expected in (
            ("test:8000", 404),
            ("[::1]:80", 404),
            ("evil.example", 421),
            ("", 421),
            ("test.evil.example", 421),
        ):
            answer = await client.request(method, "/none", headers={"host": host})
            wanted = 405 if method == "PUT" and expected == 404 else expected
            assert answer.status_code == wanted, host


async def test_other_sites_cannot_write(tmp_path: Path) -> None:
    """What a browser says to come from elsewhere is refused; scripts and this site may."""
    (tmp_path / "x").mkdir()
    async with (
        Engine(2, executor="thread") as engine,
        asking(app(tmp_path, engine=engine, writable=True)) as client,
    ):
        numbers = itertools.count()
        for expected, headers in (
            (201, {}),
            (201, {"sec-fetch-site": "same-origin", "origin": "http://test"}),
            (201, {"sec-fetch-site": "none"}),
            (201, {"origin": "http://test"}),
            (403, {"sec-fetch-site": "cross-site"}),
            (403, {"sec-fetch-site": "same-site"}),
            (403, {"origin": "http://evil.example"}),
            (403, {"origin": "null"}),
            (403, {"origin": "http://test.evil.example"}),
        ):
            answer = await client.put(f"/{next(numbers)}", content=b"", headers=headers)
            assert answer.status_code == expected, headers
            if expected == 403:
                for target in ("/compress", "/decompress", "/x/"):
                    assert (await client.post(target, headers=headers)).status_code == 403


async def test_no_websockets(root: Path) -> None:
    """Who wants one is refused."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async with Engine(2, executor="thread") as engine:
        scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
        await app(root, engine=engine)(scope, receive, send)
    assert sent == ["websocket.close"]


async def test_headers_of_every_answer(root: Path) -> None:
    """No answer runs anything, whatever it holds; a page runs its own script alone."""
    async with Engine(2, executor="thread") as engine, asking(app(root, engine=engine)) as client:
        about: dict[str, Any] = {"headers": {"accept": "text/html"}}
        for target in ("/", "/none", "/page.html", "/drawing.svg?raw", "/dot.png?raw", "/healthz"):
            headers = (await client.get(target, **about)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            is_page = target in {"/", "/none"}
            assert ("sandbox" in headers["content-security-policy"]) is not is_page
            assert "server" not in headers
