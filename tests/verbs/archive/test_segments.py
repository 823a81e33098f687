"""Large archives without an index: workers restore them as reading from front to back does."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aiocompress import AiocompressError

from ...help.archives import MIB, two_threads
from ...help.data import noise
from ...help.hostile import Member, folder, hardlink, symlink
from ...help.tars import END, block, sealed
from ...help.tools import run, tool
from ...help.trees import Tree, check_same, in_seconds, look, without_times

FILLER = [Member(b"filler/%d" % number, data=noise(50_000, number)) for number in range(60)]


async def outcome(source: Any, out: Path, *, takes_slots: bool) -> tuple[object, ...]:
    """Extract a plain tar, and say what came of it: a report or an error."""
    async with two_threads() as engine, engine.open_archive(source) as archive:
        try:
            report = await archive.extract(out, on_error="skip", fsync=False)
        except AiocompressError as error:
            return type(error), error.reason, error.offset
        finally:
            assert (engine.statistics().slots_peak > 0) == takes_slots
            assert engine.statistics().slots_in_use == 0
    return report._replace(seconds=0)


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.mark.parametrize("suffix", ["", ".zst", ".gz"])
async def test_trees(suffix: str, tmp_path: Path) -> None:
    """Members within a segment, across two, and larger than one; links and modes of folders."""
    top = tmp_path / "top"
    for number in range(300):
        (top / f"d{number % 7}").mkdir(parents=True, exist_ok=True)
        path = top / f"d{number % 7}" / f"{'long' * 30}{number}"
        path.write_bytes(noise(number * 60, number))
        os.utime(path, (number, number))
    (top / "large").write_bytes(noise(9 * MIB + 1))
    (top / "d1" / "link").symlink_to("../large")
    (top / "d2" / "same").hardlink_to(top / "large")
    (top / "d3").chmod(0o555)
    tar = tmp_path / "x.tar"
    run(tool("tar"), "-C", top, "-cf", tar, ".")
    if suffix:
        packer = {".zst": ["zstd", "-q"], ".gz": ["gzip", "-1"]}[suffix]
        run(tool(packer[0]), *packer[1:], tar)
    async with two_threads() as engine:
        report = await engine.decompress_folder(f"{tar}{suffix}", tmp_path / "out", fsync=False)
        assert engine.statistics().slots_peak
        assert engine.statistics().slots_in_use == 0
    assert report.files == 303
    check_same(in_seconds(look(tmp_path / "out")), in_seconds(look(top)))


PLAIN = b"".join(map(bytes, FILLER))
ODD = {
    "links": [symlink(b"l", b"filler/1"), hardlink(b"h", b"l")],
    "names that come twice": [Member(b"filler/3", data=b"the other"), folder(b"filler/4")],
    "a member through a link": [symlink(b"t", b"filler"), Member(b"t/x", data=b"through")],
    "what leads outside": [Member(b"../out", data=b"out"), hardlink(b"o", b"../../x.tar")],
    "what is not made": [Member(b"pipe", b"6"), hardlink(b"p", b"pipe"), Member(b"/absolute")],
    "what cannot be read": [Member(b"m", pax=((b"mtime", b"never"),)), Member(b"q", b"Q", b"odd")],
    "long names": [Member(b"n" * 200, data=b"n"), folder(b"f" * 90 + b"/" + b"g" * 90)],
}
RAW = {
    **{name: PLAIN + b"".join(map(bytes, members)) + END for name, members in ODD.items()},
    **{f"{name}, first": b"".join(map(bytes, odd)) + PLAIN + END for name, odd in ODD.items()},
    "a hard link": PLAIN + bytes(hardlink(b"g", b"filler/2")) + END,
    "cut off": PLAIN[:-30_000],
    "no end": PLAIN,
    "half an end": PLAIN + END[:512],
    "damage": PLAIN + block(b"x")[:-1] + b"x" + PLAIN + END,
    "data behind the end": PLAIN + END + b"x" * 1000,
    "zeros first": END + PLAIN + END,
    "a size that is none": PLAIN + block(b"x", size=0, mode=b"x") + END,
    "a huge member": PLAIN + sealed(block(b"x").replace(b"0" * 11, b"7" * 11, 1)) + END,
    "large members": b"".join(bytes(Member(b"l%d" % n, data=noise(5 * MIB, n))) for n in (1, 2))
    + END,
}


@pytest.mark.parametrize("raw", RAW.values(), ids=RAW)
async def test_same_as_from_a_pipe(raw: bytes, tmp_path: Path) -> None:
    """Whatever is odd, and wherever, the outcome is that of reading from front to back."""
    path = tmp_path / "x.tar"
    path.write_bytes(raw)
    by_workers = await outcome(path, tmp_path / "file", takes_slots=True)
    from_a_pipe = await outcome(pieces(raw), tmp_path / "pipe", takes_slots=False)
    assert repr(by_workers).replace(f"{path}: ", "") == repr(from_a_pipe)
    if (tmp_path / "pipe").exists():
        check_same(plain(tmp_path / "file"), plain(tmp_path / "pipe"))


def plain(root: Path) -> Tree:
    """What is in a folder, but for times, and for which links are one."""
    tree = without_times(look(root))
    return {path: replace(node, same=()) for path, node in tree.items()}
