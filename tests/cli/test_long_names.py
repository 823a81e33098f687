"""What archives put into messages: names and warnings take few bytes, whatever they claim."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

import aiocompress
from aiocompress import AiocompressError

from ..help.programs import ours, script
from ..help.tars import END, a_file, block, extended, old_sparse

LONG = b"n" * 444_749
LONGEST = 5000
"""Bytes of a line: a path that a file system takes, and a reason."""


def named(name: bytes, kind: bytes = b"0", **fields: bytes) -> bytes:
    """A member without content that has a long name."""
    return extended((b"path", name)) + block(b"short", kind, **fields)


def linked(kind: bytes) -> bytes:
    return extended((b"linkpath", LONG)) + block(b"a link", kind)


MEMBERS = {
    "file": named(LONG),
    "path": named(b"/".join([b"d" * 200] * 2000)),
    "escaped": named(b"\x1b" * 444_749),
    "unknown type": named(LONG, b"Z"),
    "folder": named(LONG + b"/", b"5"),
    "pipe": named(b"/" + LONG, b"6"),
    "hard link": linked(b"1"),
    "symbolic link": linked(b"2"),
    "cut off": extended((b"path", LONG)) + a_file(b"short", b"x" * 4000)[:2000],
    "bad number": named(LONG, uid=b"nobody"),
    "no map": extended((b"path", LONG)) + old_sparse([(9, 9)], 5, 9),
}


async def lines(path: Path, out: Path) -> list[str]:
    """What every verb has to say of an archive."""
    said: list[str] = []
    async with aiocompress.open_archive(path) as archive:
        verbs: list[Callable[[], Awaitable[Any]]] = [
            lambda: archive.extract(out),
            lambda: archive.extract(out, on_error="skip", on_exists="replace"),
            lambda: archive.extract(out, ["no" * 50_000], on_exists="replace"),
            lambda: archive.read("n" * 100_000),
            archive.test,
            lambda: aiocompress.recover(path, out, on_exists="replace"),
        ]
        for verb in verbs:
            try:
                report = await verb()
            except (AiocompressError, OSError) as error:
                said.append(str(error))
            else:
                said += (*report.warnings, *report.skipped)
        said += archive.warnings
    return said


@pytest.mark.parametrize("what", MEMBERS)
async def test_every_line_is_short(what: str, tmp_path: Path) -> None:
    """However long the name of a member is, and whatever is wrong with it."""
    path = tmp_path / "x.tar.zst"
    path.write_bytes(zstandard.compress(MEMBERS[what] + a_file(b"last") * (what != "cut off")))
    said = await lines(path, tmp_path / "out")
    assert said
    assert max(map(len, said)) <= LONGEST


def test_every_line_on_the_terminal_is_short() -> None:
    """One that is escaped as well."""
    data = MEMBERS["escaped"] + MEMBERS["file"] + a_file(b"last") + END
    Path("x.tar.zst").write_bytes(zstandard.compress(data))
    for flags in ((), ("--keep-going",)):
        ended = ours("extract", "x.tar.zst", "-o", "out", *flags)
        assert rb"\x1b\x1b" in ended.stderr
        assert max(map(len, ended.stderr.splitlines())) <= LONGEST


def test_many_long_names(tmp_path: Path) -> None:
    """A small archive of 300 names of a mebibyte, all of which deserve a warning."""
    compressor = zstandard.ZstdCompressor().compressobj()
    with (tmp_path / "x.tar.zst").open("wb") as file:
        for number in range(300):
            name = b"%d" % number + b"n" * 1_000_000
            file.write(compressor.compress(named(name, b"Z")))
        file.write(compressor.compress(END) + compressor.flush())
    assert (tmp_path / "x.tar.zst").stat().st_size < 500_000
    ended = script(
        tmp_path / "extract.py",
        """
import asyncio, aiocompress
from pathlib import Path

async def main():
    async with aiocompress.open_archive("x.tar.zst") as archive:
        report = await archive.extract("out", on_error="skip")
        lines = (*report.warnings, *report.skipped)
        assert 200 < len(lines) and sum(map(len, lines)) < 3_000_000, sum(map(len, lines))

asyncio.run(main())
(peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
assert int(peak.split()[1]) < 120 << 10, peak
""",
    )
    assert ended.returncode == 0, ended.stderr
