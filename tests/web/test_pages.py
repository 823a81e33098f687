"""The pages: what they show of folders and of archives, to browsers and to people."""

from __future__ import annotations

import asyncio
import io
import os
import re
import tarfile
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import httpx
import pytest
import zstandard

from aiocompress import Engine, sync
from aiocompress.web import app

from ..help.tools import module
from .sample import LOG, PICTURE, SECRET, asking


@pytest.fixture
async def client(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with Engine(2, executor="thread") as engine, asking(app(root, engine=engine)) as made:
        yield made


class Links(HTMLParser):
    """The addresses on a page, and whether all that has to be named is."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        self.tags.append((tag, about))
        for name in ("href", "src"):
            if (address := about.get(name)) and not address.startswith(("#", "data:")):
                self.found.append(address)


def names_on(page: str) -> list[str]:
    """What stands in the rows of a page, in order."""
    found = re.findall(r'<th scope="row">.*?<bdi>(.*?)</bdi>', page, re.DOTALL)
    return [name.replace("&amp;", "&").replace("&lt;", "<") for name in found]


@pytest.mark.parametrize("folder", ["/docs/", "/ours.tar.zst/docs/", "/theirs.tar.gz/docs/"])
async def test_a_folder(folder: str, client: httpx.AsyncClient) -> None:
    """A folder of the disk, of an indexed archive and of any other look the same."""
    page = (await client.get(folder)).text
    names = names_on(page)
    assert names[0] == "deep"
    assert {"notes.txt", "inner"} <= set(names)
    assert "800 B" in page
    assert 'aria-current="page"><bdi>docs' in page
    assert page.count("<time datetime=") == len(names)
    if folder != "/docs/":
        assert "notes.txt</bdi></span>" in page  # where the link leads


async def test_every_link_leads_somewhere(client: httpx.AsyncClient) -> None:
    """All pages and files that are reached from the first one are there, odd names included."""
    seen, waiting = set(), ["/"]
    while waiting:
        address = waiting.pop()
        if address in seen:
            continue
        seen.add(address)
        answer = await client.get(address)
        assert answer.status_code == 200, address
        if answer.headers["content-type"].startswith("text/html"):
            # Absolute addresses would not work where the application is mounted.
            links = Links(answer.text).found
            assert all(link.startswith((".", "/docs/#")) for link in links), links
            waiting += [urljoin(address, link) for link in links if "order=" not in link]
        assert SECRET not in answer.content
    for expected in (
        "/ours.tar.zst/docs/deep/down.txt?view",
        "/theirs.tar.gz/docs/deep/",
        "/docs/%FF%FE.txt?view",
        "/docs/?download=tar.zst",
        "/log.gz?decoded",
        "/dot.png?raw",
    ):
        assert expected in seen, sorted(seen)


async def test_mounted(root: Path) -> None:
    """Below a path of another application everything works as well."""
    fastapi = module("fastapi")
    async with Engine(2, executor="thread") as engine:
        outer = fastapi.FastAPI()
        outer.mount("/files", app(root, engine=engine))
        async with asking(outer) as client:
            assert "notes.txt" in (await client.get("/files/docs/")).text
            assert (await client.get("/files/docs/deep/down.txt")).text == "far down"
            moved = await client.get("/files/docs")
            assert moved.headers["location"] == "./docs/"
            lost = await client.get("/files/none", headers={"accept": "text/html"})
            assert 'href="/files/"' in lost.text


@pytest.mark.parametrize("path", ["/api/files", "/files", "/apis/files"])
async def test_behind_a_proxy(path: str, root: Path) -> None:
    """A proxy may leave its own prefix on the paths or take it off; a longer name is another."""
    fastapi = module("fastapi")
    async with Engine(2, executor="thread") as engine:
        outer = fastapi.FastAPI()
        outer.mount("/files", app(root, engine=engine))

        async def proxied(scope: Any, receive: Any, send: Any) -> None:
            await outer({**scope, "root_path": "/api"}, receive, send)

        async with asking(proxied) as client:
            answer = await client.get(f"{path}/docs/deep/down.txt")
        assert answer.status_code == (404 if "apis" in path else 200)


async def test_under_a_path_that_begins_like_a_name(root: Path) -> None:
    """What only begins like the path of the application is a name in the folder."""

    async with Engine(2, executor="thread") as engine:
        inner = app(root, engine=engine)

        async def proxied(scope: Any, receive: Any, send: Any) -> None:
            await inner({**scope, "root_path": "/do"}, receive, send)

        async with asking(proxied) as client:
            assert (await client.get("/docs/deep/down.txt")).text == "far down"


async def test_order(client: httpx.AsyncClient) -> None:
    """By name, size and time, both ways; the page says so to those who cannot see the arrow."""
    page = (await client.get("/?sort=size&order=desc")).text
    assert 'aria-sort="descending"' in page
    sizes = [n for n in names_on(page) if n in {"data.bin", "log.gz", "dot.png"}]
    assert sizes == ["data.bin", "log.gz", "dot.png"]
    page = (await client.get("/?sort=size&order=asc")).text
    assert [n for n in names_on(page) if n in sizes] == sizes[::-1]
    for nonsense in ("?sort=colour", "?page=0", "?page=x", "?page=99999999999", "?order=up"):
        assert (await client.get(f"/{nonsense}")).status_code == 200
    times = names_on((await client.get("/?sort=time&order=asc")).text)
    assert set(times) == set(names_on(page))


@pytest.mark.parametrize("top", ["/", "/ours.tar.zst/", "/theirs.tar.gz/"])
async def test_search(top: str, client: httpx.AsyncClient) -> None:
    """By a part of the name or a pattern, in the folder and below it."""
    assert "docs/deep/down.txt" in names_on((await client.get(f"{top}?q=DOWN")).text)
    found = names_on((await client.get(f"{top}?q=*.txt")).text)
    assert {"docs/deep/down.txt", "docs/notes.txt"} <= set(found)
    page = (await client.get(f"{top}?q=<script>")).text
    assert names_on(page) == []
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "z" * 256 not in (await client.get(f"{top}?q={'z' * 5000}")).text


async def test_many_who_search(client: httpx.AsyncClient) -> None:
    """They wait for each other, and all get their answer."""
    answers = await asyncio.gather(*(client.get(f"/?q={n % 3}") for n in range(30)))
    assert {answer.status_code for answer in answers} == {200}


async def test_search_follows_no_link(client: httpx.AsyncClient) -> None:
    """What is outside is not found either."""
    assert names_on((await client.get("/?q=key")).text) == []


async def test_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large folder comes in pages, in one order over all of them."""
    monkeypatch.setattr("aiocompress.web.browse.PER_PAGE", 10)
    for number in range(25):
        (tmp_path / f"{number:02}").write_bytes(bytes(number))
    async with Engine(2, executor="thread") as engine, asking(app(tmp_path, engine=engine)) as to:
        first = (await to.get("/?sort=size&order=desc")).text
        assert names_on(first) == [f"{number}" for number in range(24, 14, -1)]
        assert "Page 1 of 3" in first
        assert "sort=size&amp;order=desc&amp;page=2" in first
        last = (await to.get("/?page=3")).text
        assert names_on(last) == [f"{number}" for number in range(20, 25)]
        assert 'rel="next"' not in last
        assert "empty" in (await to.get("/?page=4")).text


@pytest.mark.parametrize("kind", ["tar.zst", "tar.gz"])
@pytest.mark.parametrize("top", ["", "ours.tar.zst/", "theirs.tar.gz/"])
async def test_downloads(top: str, kind: str, client: httpx.AsyncClient) -> None:
    """A folder, and what is ticked in it, as archives that any tar reads."""
    answer = await client.get(f"/{top}docs/?download={kind}")
    assert answer.headers["content-disposition"] == f'attachment; filename="docs.{kind}"'
    members = _members(answer.content)
    assert members["docs/deep/down.txt"] == b"far down"
    assert members["docs/inner"] is None
    odd = quote("a b&<c>'\".txt")
    form = {"name": [odd, "deep"], "download": kind}
    answer = await client.post(f"/{top}docs/", data=form)
    members = _members(answer.content)
    files = {name for name, content in members.items() if content is not None}
    assert files == {"docs/a b&<c>'\".txt", "docs/deep/down.txt"}
    for bad in ({"name": "deep"}, {"download": kind}, {"name": "x", "download": "zip"}):
        assert (await client.post(f"/{top}docs/", data=bad)).status_code == 400
    assert (await client.get(f"/{top}docs/?download=zip")).status_code == 400


def _members(data: bytes) -> dict[str, bytes | None]:
    """The content of the files in an archive; None for all else."""
    if data.startswith(b"\x28\xb5"):
        data = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            found[member.name] = file.read() if file else None
    return found


async def test_odd_names_that_are_ticked(tmp_path: Path) -> None:
    """What is a pattern elsewhere is a name here."""
    names = ["*", "a", "!b", "#c", "[d]", " e ", "f\\", "g\nh", "?", "i*j", "ixj", "é"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "x*").write_text(name)
    async with Engine(2, executor="thread") as engine, asking(app(tmp_path, engine=engine)) as to:
        for name in names:
            form = {"name": quote(name), "download": "tar.gz"}
            found = _members((await to.post("/", data=form)).content)
            assert found == {
                "files": None,
                f"files/{name}": None,
                f"files/{name}/x*": name.encode(),
            }


async def test_previews(client: httpx.AsyncClient) -> None:
    """Text and pictures are shown, and nothing that could run."""
    for address in ("/docs/notes.txt?view", "/ours.tar.zst/docs/notes.txt?view"):
        page = (await client.get(address)).text
        assert "Grüße\nGrüße" in page
    for address in ("/log.zst?view", "/log.gz?view"):
        page = (await client.get(address)).text
        assert "line 1 of a log" in page
        assert "The beginning; download it for the rest." in page
        assert "?decoded" in page
    page = (await client.get("/page.html?view")).text
    assert "&lt;script&gt;alert(1)" in page
    assert "no preview" in (await client.get("/data.bin?view")).text
    assert '<img src="./dot.png?raw" alt="dot.png">' in (await client.get("/dot.png?view")).text
    for address in ("/dot.png?raw", "/ours.tar.zst/dot.png?raw"):
        picture = await client.get(address)
        assert picture.content == PICTURE
        assert picture.headers["content-type"] == "image/png"
        assert picture.headers["content-disposition"].startswith("inline")
    for address in ("/page.html?raw", "/drawing.svg?raw", "/docs/notes.txt?raw", "/page.html"):
        answer = await client.get(address)
        assert answer.headers["content-disposition"].startswith("attachment"), address


async def test_damaged(tmp_path: Path, root: Path) -> None:
    """What cannot be read is told on its page, without a path."""
    (tmp_path / "bad.log.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(30))
    (tmp_path / "bad.tar.zst").write_bytes((root / "ours.tar.zst").read_bytes()[:-200])
    (tmp_path / "none.tar.gz").write_text("no archive")
    async with Engine(2, executor="thread") as engine, asking(app(tmp_path, engine=engine)) as to:
        page = await to.get("/bad.log.zst?view")
        assert page.status_code == 200
        assert "cannot be read" in page.text
        for address, status in (
            ("/bad.log.zst?decoded", 500),
            ("/bad.tar.zst/", 500),
            ("/none.tar.gz/", 404),
            ("/none.tar.gz/x", 404),
        ):
            answer = await to.get(address)
            assert answer.status_code == status, address
            assert str(tmp_path) not in answer.text
            assert "/proc" not in answer.text
        assert (await to.get("/bad.tar.zst")).status_code == 200  # as it is


async def test_stored_files(client: httpx.AsyncClient, root: Path) -> None:
    """A file is sent as it is stored, and what it holds where that is asked for."""
    assert (await client.get("/log.zst")).content == (root / "log.zst").read_bytes()
    answer = await client.get("/log.zst?decoded")
    assert answer.content == LOG
    assert answer.headers["content-disposition"] == 'attachment; filename="log"'
    answer = await client.get("/log.zst?decoded", headers={"accept-encoding": "zstd"})
    assert answer.headers["content-encoding"] == "zstd"
    part = await client.get("/data.bin", headers={"range": "bytes=-3"})
    assert part.status_code == 206


async def test_errors_for_people_and_programs(client: httpx.AsyncClient) -> None:
    """A browser gets a page, with a way back; a program gets a line."""
    page = await client.get("/none", headers={"accept": "text/html,*/*"})
    assert page.status_code == 404
    assert "<h1>Not Found</h1>" in page.text
    page = await client.post("/docs/", data={"download": "tar.gz"}, headers={"accept": "text/html"})
    assert page.status_code == 400
    assert "tick what you want" in page.text
    line = await client.get("/none")
    assert line.text == "There is nothing of that name here.\n"
    for method, address in (("PUT", "/x"), ("DELETE", "/"), ("OPTIONS", "/"), ("POST", "/x")):
        answer = await client.request(method, address)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_head_and_health(client: httpx.AsyncClient) -> None:
    """Monitors ask."""
    assert (await client.get("/healthz")).text == "ok\n"
    for address in ("/", "/docs/?download=tar.gz", "/ours.tar.zst/docs/notes.txt", "/healthz"):
        answer = await client.head(address)
        assert (answer.status_code, answer.content) == (200, b"")


async def test_what_pages_need_to_be_read_aloud(client: httpx.AsyncClient) -> None:
    """Language, landmarks, one heading, named fields, headers of the table, names for pictures."""
    for address in ("/", "/ours.tar.zst/docs/", "/dot.png?view", "/?q=txt", "/docs/notes.txt?view"):
        page = Links((await client.get(address)).text)
        tags = [tag for tag, _ in page.tags]
        assert ("html", {"lang": "en"}) in page.tags
        assert tags.count("h1") == 1
        assert {"header", "nav", "main", "title"} <= set(tags)
        labelled = {about["for"] for tag, about in page.tags if tag == "label" and "for" in about}
        for tag, about in page.tags:
            if tag == "input":
                assert about.get("id") in labelled or about["type"] == "checkbox"
            if tag == "th":
                assert about["scope"] in {"col", "row"}
            if tag == "img":
                assert about["alt"]
            if tag == "nav":
                assert about["aria-label"]
            assert int(about.get("tabindex") or 0) <= 0


def luminance(colour: str) -> float:
    """How light a colour is (WCAG 2.2)."""
    colour = colour * 2 if len(colour) == 3 else colour
    if len(colour) == 6 and colour[:3] == colour[3:]:
        colour = "".join(c * 2 for c in colour[:3])
    parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


async def test_contrast(client: httpx.AsyncClient) -> None:
    """Every colour of text has 4.5 to 1 on every ground, light and dark (WCAG 2.2, AA)."""
    page = (await client.get("/")).text
    schemes = re.findall(r":root\{([^}]*--bg[^}]*)\}", page)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+):#(\w+)", scheme))
        for ground in ("bg", "soft"):
            for name in ("fg", "dim", "link", "folder", "bad"):
                light, dark = sorted(
                    (luminance(colours[ground]), luminance(colours[name])), reverse=True
                )
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground)


async def test_an_archive_that_is_replaced(tmp_path: Path) -> None:
    """Another file of the same name is another archive, although the first stays open."""
    path = tmp_path / "a.tar.zst"
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "first").write_text("1")
    sync.compress_folder(tmp_path / "one", path)
    async with Engine(2, executor="thread") as engine, asking(app(tmp_path, engine=engine)) as to:
        assert names_on((await to.get("/a.tar.zst/")).text) == ["first"]
        os.replace(tmp_path / "one" / "first", tmp_path / "one" / "second")
        sync.compress_folder(tmp_path / "one", path, on_exists="replace")
        assert names_on((await to.get("/a.tar.zst/")).text) == ["second"]
        assert (await to.get("/a.tar.zst/second")).text == "1"
        assert (await to.get("/a.tar.zst/first")).status_code == 404


async def test_what_takes_too_long(root: Path) -> None:
    """A page is given up after a while; what was found until then is shown where it can be."""
    async with (
        Engine(2, executor="thread") as engine,
        asking(app(root, engine=engine, page_seconds=1e-9)) as client,
    ):
        for address in ("/docs/", "/theirs.tar.gz/docs/", "/ours.tar.zst/docs/notes.txt"):
            answer = await client.get(address)
            assert (answer.status_code, answer.text) == (503, "this takes too long\n")
        page = await client.get("/?q=txt")
        assert page.status_code == 200
        assert "there may be more" in page.text
        assert (await client.get("/data.bin")).status_code == 200


@pytest.mark.parametrize("name", ["ours.tar.zst", "theirs.tar.gz"])
async def test_too_many_names(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of an archive that would take too much memory is not shown, but can be searched."""
    monkeypatch.setattr("aiocompress.web.archives._MOST_MEMBERS", 3)
    monkeypatch.setattr("aiocompress.web.browse._MOST", 3)
    async with Engine(2, executor="thread") as engine, asking(app(root, engine=engine)) as client:
        answer = await client.get(f"/{name}/docs/")
        assert (answer.status_code, "too many names" in answer.text) == (503, True)
        assert "docs/notes.txt" in names_on((await client.get(f"/{name}/?q=notes")).text)
        page = (await client.get("/docs/")).text
        assert "Only 3 names" in page
        assert len(names_on(page)) == 3


async def test_folders_that_are_remembered(tmp_path: Path, root: Path) -> None:
    """Even of an archive without an index, a folder is not looked for again and again."""
    path = tmp_path / "a.tar.gz"
    path.write_bytes((root / "theirs.tar.gz").read_bytes())
    async with Engine(2, executor="thread") as engine, asking(app(tmp_path, engine=engine)) as to:
        first = await to.get("/a.tar.gz/docs/")
        raw = engine.statistics().raw_bytes
        again = await to.get("/a.tar.gz/docs/?sort=size")
        assert set(names_on(again.text)) == set(names_on(first.text))
        assert (await to.get("/a.tar.gz/docs/none")).status_code == 404
        assert (await to.get("/a.tar.gz/docs/deep")).status_code == 308
        assert engine.statistics().raw_bytes == raw
        assert (await to.get("/a.tar.gz/docs/deep/down.txt")).text == "far down"


async def test_options() -> None:
    """Limits that make no sense are refused at once."""
    wrong: list[dict[str, Any]] = [
        {"max_streams": 0},
        {"page_seconds": 0},
        {"idle_seconds": -1},
        {"max_upload": "much"},
    ]
    for options in wrong:
        with pytest.raises(ValueError, match="must be"):
            app(".", **options)
