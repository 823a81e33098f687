"""A real browser, with and without JavaScript: Chromium without a window.

``AIOCOMPRESS_SCREENSHOTS=folder`` keeps what it has seen.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aiocompress import Engine
from aiocompress.web import app

from ..help.data import noise
from ..help.tools import module, tool
from .sample import MIB, make_root, served

pytestmark = pytest.mark.faults
DROP = """([names, size]) => {
  const transfer = new DataTransfer();
  for (const name of names) transfer.items.add(new File([new Uint8Array(size)], name));
  for (const kind of ["dragover", "drop"])
    document.body.dispatchEvent(
      new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""
WATCH = """() => {
  window.seen = [];
  const look = () => document.querySelectorAll("progress").forEach(bar => seen.push(bar.value));
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true });
  setInterval(look, 5);
}"""


@asynccontextmanager
async def browsing(
    root: Path, *, writable: bool = False, **options: Any
) -> AsyncIterator[tuple[Any, str]]:
    """Serve a folder; yields a page and its address. Whatever the page complains of is an error."""
    chromium, playwright = tool("chromium"), module("playwright.async_api")
    told: list[str] = []
    async with (
        Engine(2, executor="thread") as engine,
        served(app(root, engine=engine, writable=writable)) as url,
        playwright.async_playwright() as player,
    ):
        browser = await player.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = await browser.new_context(viewport={"width": 1100, "height": 800}, **options)
        page = await context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("dialog", lambda dialog: told.append(dialog.message))
        try:
            yield page, url
        finally:
            await browser.close()
    assert not [text for text in told if "409 (Conflict)" not in text], told


async def keep(page: Any, name: str) -> None:
    """Keep a picture of the page, for people to look at."""
    if folder := os.environ.get("AIOCOMPRESS_SCREENSHOTS"):
        await page.screenshot(path=os.path.join(folder, f"{name}.png"))


def content_of(path: str) -> bytes:
    return Path(path).read_bytes()


async def rows(page: Any) -> list[str]:
    texts = await page.locator("tbody th").all_inner_texts()
    return [text.strip() for text in texts]


@pytest.mark.parametrize("javascript", [True, False])
async def test_everything_by_links(javascript: Any, root: Path) -> None:
    """Browse, go into an archive, sort, search, look, go back; downloads, whole and in part."""
    async with browsing(root, java_script_enabled=javascript) as (page, url):
        await page.goto(f"{url}/")
        await keep(page, "root")
        await page.get_by_role("link", name="Size").click()
        await page.wait_for_url("**sort=size*")
        assert await page.get_by_role("columnheader", name="Size").get_attribute("aria-sort")
        await page.get_by_role("link", name="ours.tar.zst", exact=True).click()
        await page.wait_for_url("**/ours.tar.zst/")
        assert await page.title() == "ours.tar.zst"
        await page.get_by_role("link", name="docs", exact=True).click()
        await page.wait_for_url("**/docs/")
        assert (await rows(page))[0] == "deep"
        await keep(page, "inside-an-archive")
        await page.get_by_role("link", name="notes.txt", exact=True).click()
        assert (await page.locator("pre").inner_text()).startswith("Grüße\nGrüße")
        await keep(page, "text")
        await page.get_by_label("Breadcrumb").get_by_role("link", name="ours.tar.zst").click()
        await page.get_by_label("Search by name").fill("*.txt")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**?q=*")
        assert "docs/deep/down.txt" in await rows(page)
        await keep(page, "search")
        await page.get_by_role("link", name="docs/deep/down.txt", exact=True).click()
        async with page.expect_download() as loading:
            await page.get_by_role("link", name="Download", exact=True).click()
        loaded = await loading.value
        assert loaded.suggested_filename == "down.txt"
        assert content_of(await loaded.path()) == b"far down"

        await page.goto(f"{url}/docs/")
        await page.get_by_label("Select notes.txt").check()
        await page.get_by_label("Select deep").check()
        await keep(page, "selection")
        async with page.expect_download() as loading:
            await page.get_by_role("button", name=".tar.gz").click()
        loaded = await loading.value
        assert loaded.suggested_filename == "docs.tar.gz"
        data = io.BytesIO(content_of(await loaded.path()))
        with tarfile.open(fileobj=data) as archive:
            names = {member.name for member in archive if member.isreg()}
        assert names == {"docs/notes.txt", "docs/deep/down.txt"}
        async with page.expect_download() as loading:
            await page.get_by_role("link", name=".tar.zst").first.click()
        assert (await loading.value).suggested_filename == "docs.tar.zst"


async def test_nothing_runs(root: Path) -> None:
    """A page, a picture that is a document, and a name of markup: shown, and not obeyed."""
    (root.parent / "bad").mkdir()
    bad = root.parent / "bad"
    for name in ("page.html", "drawing.svg", "<img src=x onerror=alert(1)>.html"):
        content = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
        (bad / name).write_text(content)
    async with browsing(bad) as (page, url):
        await page.goto(f"{url}/")
        assert "<img src=x onerror=alert(1)>.html" in await rows(page)
        for name in await rows(page):
            await page.goto(f"{url}/")
            await page.get_by_role("link", name=name, exact=True).click()
            assert "<script>alert(1)</script>" in await page.locator("pre").inner_text()


async def test_pictures(root: Path) -> None:
    """One of the disk, and one of an archive, are drawn."""
    async with browsing(root) as (page, url):
        for address in ("/dot.png?view", "/ours.tar.zst/dot.png?view"):
            await page.goto(f"{url}{address}")
            assert await page.locator("figure img").evaluate("image => image.naturalWidth") == 1
        await keep(page, "picture")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_light_and_dark(scheme: str, root: Path) -> None:
    """As the reader's system has it."""
    async with browsing(root, color_scheme=scheme) as (page, url):
        await page.goto(f"{url}/")
        await keep(page, scheme)
        colour = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (colour == "rgb(255, 255, 255)") is (scheme == "light")


async def test_by_keyboard(root: Path) -> None:
    """The first step leads past the head; what has the focus shows it; Enter follows."""
    async with browsing(root) as (page, url):
        await page.goto(f"{url}/docs/")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
        await keep(page, "focus")
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"
        for _ in range(40):
            await page.keyboard.press("Tab")
            style = "getComputedStyle(document.activeElement).outlineStyle"
            assert await page.evaluate(style) != "none"
            if await page.evaluate("document.activeElement.textContent") == "deep":
                break
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/docs/deep/")


async def test_a_small_screen(root: Path) -> None:
    """Nothing sticks out at the side."""
    async with browsing(root, color_scheme="dark") as (page, url):
        await page.set_viewport_size({"width": 360, "height": 640})
        for address in ("/", "/docs/notes.txt?view", "/?q=txt"):
            await page.goto(f"{url}{address}")
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        await page.goto(f"{url}/")
        await keep(page, "small")


async def test_an_upload(tmp_path: Path) -> None:
    """Dropped and picked files arrive, with progress; what exists is replaced only if wanted."""
    root = make_root(tmp_path)
    async with browsing(root, writable=True) as (page, url):
        session = await page.context.new_cdp_session(page)
        await session.send(
            "Network.emulateNetworkConditions",
            {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 4 * MIB},
        )
        await page.goto(f"{url}/docs/")
        await page.evaluate(WATCH)
        await page.evaluate(DROP, [["ü 1.bin", "notes.txt"], 2 * MIB])
        again = page.get_by_role("button", name="Replace notes.txt")
        await again.wait_for()
        await keep(page, "upload")
        seen = await page.evaluate("[...new Set(seen)]")
        assert len([value for value in seen if 0 < value < 1]) >= 2, seen
        assert (root / "docs" / "ü 1.bin").stat().st_size == 2 * MIB
        assert (root / "docs" / "notes.txt").stat().st_size == 800
        await again.click()
        await page.wait_for_function("() => !document.querySelector('#uploads li')")  # reloaded
        assert (root / "docs" / "notes.txt").stat().st_size == 2 * MIB
        (tmp_path / "picked").write_bytes(noise(1000))
        await page.locator("#files").set_input_files(str(tmp_path / "picked"))
        await page.get_by_role("link", name="picked", exact=True).wait_for()
        assert (root / "docs" / "picked").read_bytes() == noise(1000)
    async with browsing(root, writable=True, java_script_enabled=False) as (page, url):
        await page.goto(f"{url}/docs/")
        assert await page.locator("noscript").is_visible()
        await keep(page, "upload-without-javascript")
