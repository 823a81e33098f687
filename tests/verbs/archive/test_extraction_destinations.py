"""Where an archive is extracted to, and what stands there already."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat

import pytest

from aiocompress import UnsafeMemberError

from ...help.archives import two_threads
from ...help.hostile import Member, folder, hardlink
from ...help.places import FOLDER, WAYS, Place, Way, a_file, every_way, extract_to, in_short

PAIR = [folder(b"d", 0o751, mtime=11), Member(b"d/f", data=b"new"), Member(b"g", data=b"new")]


@every_way
async def test_a_destination_with_something_in_it(way: Way, place: Place) -> None:
    """It is refused, and stays as it is; an empty one is taken, a file is not."""
    path = place.write(way, PAIR)
    place.dest.mkdir()
    (place.dest / "old").write_bytes(b"old")
    with pytest.raises(FileExistsError) as caught:
        await extract_to(path, place)
    assert caught.value.filename == str(place.dest)
    assert in_short(place.tree()) == {b"old": a_file(b"old")}
    (place.dest / "old").unlink()
    await extract_to(path, place)
    assert in_short(place.tree()) == {b"d": FOLDER, b"d/f": a_file(b"new"), b"g": a_file(b"new")}
    shutil.rmtree(place.dest)
    place.dest.write_bytes(b"a file")
    with pytest.raises(NotADirectoryError):
        await extract_to(path, place)
    assert place.dest.read_bytes() == b"a file"
    with pytest.raises(FileNotFoundError):
        async with two_threads() as engine:
            await engine.decompress_folder(path, place.work / "not" / "there", fsync=False)


@every_way
@pytest.mark.parametrize("on_exists", ["replace", "skip"])
async def test_merged(on_exists: str, way: Way, place: Place) -> None:
    """Files are replaced by a rename each, or kept and reported; what else is there stays."""
    path = place.write(way, PAIR)
    (place.dest / "d").mkdir(parents=True)
    for name in ("d/f", "d/other", "other"):
        (place.dest / name).write_bytes(b"old")
    os.link(place.dest / "d" / "f", place.work / "same")
    report = await extract_to(path, place, on_exists=on_exists)
    assert (place.work / "same").read_bytes() == b"old"
    content = b"new" if on_exists == "replace" else b"old"
    assert in_short(place.tree()) == {
        b"d": FOLDER,
        b"d/f": a_file(content),
        b"d/other": a_file(b"old"),
        b"g": a_file(b"new"),
        b"other": a_file(b"old"),
    }
    kept = [text for text in report.warnings if "kept" in text]
    assert len(kept) == (on_exists == "skip")
    assert report.skipped_count == 0
    if on_exists == "replace":
        status = (place.dest / "d").stat()
        assert (stat.S_IMODE(status.st_mode), int(status.st_mtime)) == (0o751, 11)


@every_way
@pytest.mark.parametrize("on_exists", ["replace", "skip"])
async def test_links_in_the_destination(on_exists: str, way: Way, place: Place) -> None:
    """Nothing is written through a link that is there already."""
    members = [
        folder(b"d", 0o777),
        Member(b"d/file", data=b"new"),
        Member(b"f", data=b"new"),
        Member(b"implied/file", data=b"new"),
        hardlink(b"h", b"f"),
    ]
    path = place.write(way, members)
    place.dest.mkdir()
    for name in ("d", "implied"):
        (place.dest / name).symlink_to(place.outside)
    (place.dest / "f").symlink_to(place.outside / "file")
    (place.dest / "h").symlink_to(place.outside / "new")
    await extract_to(path, place, on_exists=on_exists)
    found = in_short(place.tree())
    if on_exists == "replace":
        assert found[b"d/file"] == found[b"f"] == found[b"implied/file"] == found[b"h"]
        assert found[b"d"] == FOLDER
    else:
        assert {found[name][0] for name in (b"d", b"f", b"implied", b"h")} == {"symlink"}


@every_way
async def test_hard_links_to_what_was_there(way: Way, place: Place) -> None:
    """A hard link goes only to a file of this very run, not to one that was there."""
    path = place.write(way, [hardlink(b"h", b"old")])
    place.dest.mkdir()
    (place.dest / "old").write_bytes(b"old")
    with pytest.raises(UnsafeMemberError):
        await extract_to(path, place, on_exists="replace")
    assert in_short(place.tree()) == {b"old": a_file(b"old")}


@every_way
async def test_a_pipe_in_the_destination(way: Way, place: Place) -> None:
    """A named pipe that is there is never opened: that would wait for ever."""
    path = place.write(way, [Member(b"p", data=b"new"), Member(b"q", b"6")])
    place.dest.mkdir()
    os.mkfifo(place.dest / "p")
    os.mkfifo(place.dest / "q")
    await asyncio.wait_for(extract_to(path, place, on_exists="replace"), 20)
    assert {name: node.kind for name, node in place.tree().items()} == {b"p": "file", b"q": "fifo"}


@every_way
async def test_a_folder_where_a_file_belongs(way: Way, place: Place) -> None:
    """A full folder is never replaced by a file: an error names it, and it stays."""
    path = place.write(way, [Member(b"d", data=b"new")])
    (place.dest / "d").mkdir(parents=True)
    (place.dest / "d" / "old").write_bytes(b"old")
    with pytest.raises(IsADirectoryError) as caught:
        await extract_to(path, place, on_exists="replace")
    assert caught.value.filename == str(place.dest / "d")
    assert in_short(place.tree()) == {b"d": FOLDER, b"d/old": a_file(b"old")}


async def test_a_link_as_destination(place: Place) -> None:
    """A link to a folder stands for that folder."""
    path = place.write(WAYS["indexed zst"], PAIR)
    (place.work / "real").mkdir()
    place.dest.symlink_to("real")
    await extract_to(path, place)
    assert place.dest.is_symlink()
    assert (place.work / "real" / "g").read_bytes() == b"new"
    place.dest.unlink()
    place.dest.symlink_to("nowhere")
    with pytest.raises(OSError, match="dest"):
        await extract_to(path, place)
    assert not (place.work / "nowhere").exists()


async def test_no_destination(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty path is none: the working folder is not replaced by what is restored."""
    path = place.write(WAYS["indexed zst"], PAIR)
    place.dest.mkdir()
    monkeypatch.chdir(place.dest)
    before = os.stat(".").st_ino
    async with two_threads() as engine:
        with pytest.raises((FileNotFoundError, ValueError)):
            await engine.decompress_folder(path, "", fsync=False)
    assert place.dest.stat().st_ino == before
