"""Progress: totals of every verb, callbacks that are awaited, and a bar that does no harm."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import shutil
import sys
import termios
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tqdm.utils import disp_len

from aiocompress import Engine, Progress, Report
from aiocompress.verbs import bar, meter

from ..help.data import noise
from ..help.engines import given_back
from ..help.mirrors import fill

KIB = 1 << 10
CHUNK = 32 * KIB
FILES = {f"{folder}/{number}": noise(20 * KIB, number) for folder in "ab" for number in range(10)}
SIZE = sum(map(len, FILES.values()))
Verb = Callable[[Engine, Any], Awaitable[Report]]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell everything, not only ten times a second."""
    monkeypatch.setattr(meter, "_INTERVAL", 0)
    monkeypatch.setattr(bar, "_DELAY", 0)


@pytest.fixture
async def engine() -> Any:
    """Make an engine of two threads."""
    async with Engine(2, executor="thread") as made:
        yield made


@pytest.fixture
async def tree(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a tree of 20 files and a link, and what can be made of it."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "tree", FILES)
    (tmp_path / "tree/link").symlink_to("a/0")
    (tmp_path / "file").write_bytes(noise(20 * CHUNK))
    await engine.compress_file("file", "file.zst", CHUNK)
    for name, layout in (("packed.tar.zst", "archive"), ("mirror", None), ("framed", "framed")):
        about: Any = {"layout": layout, "on_error": "skip"}
        await engine.compress_folder("tree", name, CHUNK, **about)
    (tmp_path / "foreign").write_bytes(
        await engine.compress(await engine.decompress((tmp_path / "packed.tar.zst").read_bytes()))
    )
    return tmp_path


def archived(option: str, **more: Any) -> Verb:
    async def verb(engine: Engine, tell: Any) -> Report:
        async with engine.open_archive("packed.tar.zst") as archive:
            return await getattr(archive, option)(**more, progress=tell)

    return verb


VERBS: dict[str, tuple[Verb, str, int, bool]] = {
    # What is called, what it says that it does, to how many files, and if totals are exact.
    "a file": (
        lambda engine, tell: engine.compress_file("file", "out.zst", CHUNK, progress=tell),
        *("compressing", 1, True),
    ),
    "a file back": (
        lambda engine, tell: engine.decompress_file("file.zst", "out", progress=tell),
        *("decompressing", 1, True),
    ),
    "a file tested": (
        lambda engine, tell: engine.test("file.zst", progress=tell),
        *("testing", 1, True),
    ),
    "a folder": (
        lambda engine, tell: engine.compress_folder("tree", "out.tar.zst", CHUNK, progress=tell),
        *("compressing", 21, True),
    ),
    "a mirror": (
        lambda engine, tell: engine.compress_folder("tree", "out", CHUNK, progress=tell),
        *("compressing", 21, True),
    ),
    "a framed folder": (
        lambda engine, tell: engine.compress_folder(
            "tree", "out", CHUNK, layout="framed", on_error="skip", progress=tell
        ),
        *("compressing", 20, False),  # the link is found only when it is met
    ),
    "an archive back": (
        lambda engine, tell: engine.decompress_folder("packed.tar.zst", "out", progress=tell),
        *("extracting", 21, True),
    ),
    "some of it": (archived("extract", destination="out", members=["b"]), "extracting", 10, True),
    "an archive tested": (archived("test"), "testing", 21, False),
    "a foreign archive back": (
        lambda engine, tell: engine.decompress_folder("foreign", "out", progress=tell),
        *("extracting", 21, False),
    ),
    "a mirror back": (
        lambda engine, tell: engine.decompress_folder("mirror", "out", progress=tell),
        *("decompressing", 21, True),
    ),
    "a framed folder back": (
        lambda engine, tell: engine.decompress_folder("framed", "out", progress=tell),
        *("extracting", 20, False),
    ),
    "a damaged archive": (
        lambda engine, tell: engine.recover("packed.tar.zst", "out", progress=tell),
        *("recovering", 21, False),
    ),
}


@pytest.mark.usefixtures("at_once", "tree")
@pytest.mark.parametrize(("verb", "stage", "files", "exact"), VERBS.values(), ids=VERBS.keys())
async def test_totals(engine: Engine, verb: Verb, stage: str, files: int, exact: bool) -> None:  # noqa: FBT001
    """Every verb says what it does to which file, how much there is of it, and 100 % at the end."""
    seen: list[Progress] = []

    def tell(progress: Progress) -> None:
        seen.append(progress)
        time.sleep(0.05 if progress.total is None else 0)  # counting goes on meanwhile

    report = await verb(engine, tell)
    last = seen[-1]
    assert (last.raw_bytes, last.compressed_bytes) == report[:2]
    assert (last.done, last.files) == (last.total, last.total_files)
    assert last.files == files
    stages = list(dict.fromkeys(progress.stage for progress in seen[:-1]))
    assert last.stage == stage
    assert [one for one in stages if one not in {"reading the index", "syncing"}] == [stage]
    assert "syncing" not in stages[:-1]
    assert last.name
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert all(p.total is None or p.done <= p.total for p in seen)
    assert len(seen) > 1
    if exact:
        assert {progress.total for progress in seen} <= {None, last.total}
        assert {progress.total_files for progress in seen} <= {None, last.total_files}
        assert len(seen) == 2 or seen[-2].total is not None


@pytest.mark.usefixtures("at_once", "tree")
async def test_a_subset_has_a_total_of_its_own(engine: Engine) -> None:
    """It is of the frames that have to be read, and not of the archive."""
    seen: list[Progress] = []
    async with engine.open_archive("packed.tar.zst") as archive:
        await archive.extract("out", ["a/0", "b/9"], progress=seen.append)
    assert seen[-1].total is not None
    assert 40 * KIB < seen[-1].total < SIZE / 3
    assert seen[-1].total_files == 2


@pytest.mark.usefixtures("at_once", "tree")
@pytest.mark.parametrize("sparse", [True, False])
async def test_holes_count_where_they_are_stored(engine: Engine, sparse: bool) -> None:  # noqa: FBT001
    """The total of a folder is of what goes into the archive: nothing is left over at the end."""
    seen: list[Progress] = []

    def tell(progress: Progress) -> None:
        seen.append(progress)
        time.sleep(0.05 if progress.total is None else 0)  # counting goes on meanwhile

    os.truncate(shutil.copy("file", "tree/holes"), 0)
    os.truncate("tree/holes", 30 << 20)
    await engine.compress_folder("tree", "out.tar.zst", CHUNK, sparse=sparse, progress=tell)
    *before, last = seen
    assert last.done < 2 * SIZE if sparse else last.done > 30 << 20
    *_, total = (one.total for one in before)
    assert total is None or abs(total - last.done) <= 4 * KIB


@pytest.mark.usefixtures("tree")
async def test_nobody_counts_for_nobody(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a listener, or a terminal, a tree is walked once."""
    walks: list[object] = []
    real = os.scandir

    def scandir(*arguments: Any) -> Any:
        walks.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(os, "scandir", scandir)
    for progress in (False, True):
        walks.clear()
        await engine.compress_folder("tree", f"{progress}.tar.zst", progress=progress)
        assert len(walks) == 3


# Callbacks.


@pytest.mark.usefixtures("at_once", "tree")
async def test_an_async_callback(engine: Engine) -> None:
    """It is awaited, one call after another, and the last one before the verb ends."""
    told: list[Progress] = []
    under_way: list[int] = [0]

    async def tell(progress: Progress) -> None:
        under_way.append(under_way[-1] + 1)
        await asyncio.sleep(0.01)
        under_way.append(under_way[-1] - 1)
        told.append(progress)

    report = await engine.compress_file("file", "out.zst", CHUNK, progress=tell)
    assert (under_way[-1], max(under_way)) == (0, 1)
    assert len(told) > 1
    assert told[-1].done == told[-1].total == report.raw_bytes


@pytest.mark.usefixtures("at_once", "tree")
@pytest.mark.parametrize("which", [1, 2, -1])
async def test_an_async_callback_that_fails(engine: Engine, which: int) -> None:
    """Its error ends the verb, whichever call it is of, and nothing is left."""
    calls = 0

    async def tell(progress: Progress) -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        if calls == which or (which < 0 and progress.done == progress.total):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await engine.compress_file("file", "out.zst", CHUNK, progress=tell)
    assert "out.zst" not in os.listdir() or which < 0
    await given_back(engine)


@pytest.mark.usefixtures("at_once", "tree")
@pytest.mark.parametrize("verb", [VERBS["a file"][0], VERBS["a mirror"][0]])
async def test_a_callback_that_never_ends(engine: Engine, verb: Verb) -> None:
    """It goes with the verb when that is cancelled."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def tell(_: Progress) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    task = asyncio.ensure_future(verb(engine, tell))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


# The bar.


class Terminal(io.StringIO):
    """A terminal on which so many writes succeed."""

    def __init__(self, writes: int = 1 << 30, program: int = -1) -> None:
        super().__init__()
        self._left, self._program = writes, program
        self.said = ""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._program

    def write(self, text: str) -> int:
        if not self._left:
            raise OSError(5, "Input/output error")
        self._left -= 1
        self.said += text
        return len(text)


@pytest.fixture
def program() -> Iterator[int]:
    """Open a terminal, whose width can be set: the side of the program."""
    ends = pty.openpty()
    yield ends[1]
    for end in ends:
        os.close(end)


def closed() -> Terminal:
    terminal = Terminal()
    terminal.close()
    return terminal


@pytest.mark.usefixtures("at_once", "tree")
@pytest.mark.parametrize("name", ["a file", "a folder", "a mirror back"])
@pytest.mark.parametrize(
    "make",
    [lambda: None, closed, object, *(lambda n=n: Terminal(n) for n in range(4))],
    ids=["none", "closed", "strange", *map(str, range(4))],
)
async def test_a_stderr_that_fails(
    engine: Engine, name: str, make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar goes, the work does not."""
    monkeypatch.setattr(sys, "stderr", make())
    report = await VERBS[name][0](engine, True)  # noqa: FBT003
    assert report.raw_bytes >= SIZE
    assert not report.skipped_count


@pytest.mark.usefixtures("at_once", "tree")
async def test_what_the_bar_says(
    engine: Engine, program: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done to which file, how far it is, and the rate as the summary says it."""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal(program=program))
    termios.tcsetwinsize(program, (25, 140))
    os.rename("file", "a long name \x1b[31m of a file, the end of which stands in the bar")
    [source] = [name for name in os.listdir() if name.startswith("a long")]
    await engine.compress_file(source, "out.zst", CHUNK, progress=True)
    assert "compressing …" in terminal.said
    assert "the end of which stands in the bar"[-25:] in terminal.said
    assert "\x1b[31m" not in terminal.said
    assert "KiB of 640.0 KiB, " in terminal.said
    assert "iB/s, ratio 1.0" in terminal.said
    assert "100%" in terminal.said
    await engine.compress_folder("tree", "out.tar.zst", CHUNK, progress=True)
    assert "compressing a/" in terminal.said
    assert " of 21 files, " in terminal.said


@pytest.mark.parametrize("name", ["new\nline", "漢字" * 40, "{bar}", "x" * 200, "", None])
@pytest.mark.parametrize("total", [None, 3 << 30])
async def test_a_line_is_never_too_long(
    name: str | None, total: int | None, program: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the width, and whatever a file is called; what matters most is what stays."""
    monkeypatch.setattr(bar, "_DELAY", 0)
    for columns in (20, 30, 59, 60, 80, 120, 200):
        termios.tcsetwinsize(program, (25, columns))
        line = bar.Bar(terminal := Terminal(program=program))
        line.draw(Progress(9 << 20, 2 << 20, 9 << 20, total, 7, 20_000, "syncing", name))
        line.close()
        drawn = terminal.said.split("\r")[2]
        assert disp_len(drawn) < columns
        assert drawn.isprintable()
        assert drawn.startswith("syncing")
        assert "9.0 MiB" in drawn or columns < 60
    assert "7 of 20,000 files" in drawn
    assert (name or "")[-5:].replace("\n", "\\n") in drawn


@pytest.mark.usefixtures("at_once", "tree")
async def test_what_takes_its_time_at_the_end(engine: Engine) -> None:
    """That files come to the disk is a stage of its own, unless nobody waits for it."""
    for fsync in (True, False):
        seen: list[Progress] = []
        about: Any = {"fsync": fsync, "on_exists": "replace", "progress": seen.append}
        await engine.compress_file("file", "out.zst", CHUNK, **about)
        assert ("syncing" in {progress.stage for progress in seen}) == fsync


def test_a_dumb_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets no bar, as no line can be drawn again on it."""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert bar.terminal() is terminal
    monkeypatch.setenv("TERM", "dumb")
    assert bar.terminal() is None
