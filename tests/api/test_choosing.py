"""Parts of archives: one folder listed, and chosen members as an archive of their own."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from aiocompress import (
    ClosedError,
    CorruptError,
    FormatError,
    LimitError,
    MemberNotFoundError,
    open_archive,
    sync,
)

from ..help.data import noise
from .sample import all_of

FILES = {
    "top": b"t",
    "a/one": b"1",
    "a/two": noise(70_000),
    "a/b/three": b"3",
    "a/b/c/four": b"4" * 1000,
    "a.b/five": b"5",
    "z/six": noise(40_000, 1),
}


@pytest.fixture(params=["ours.tar.zst", "ours.tar.gz", "theirs.tar.gz", "theirs.tar"])
def path(request: Any, tmp_path: Path) -> Path:
    """The same files in archives with an index, and in some without one, in another order."""
    folder, path = tmp_path / "folder", tmp_path / request.param
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "a" / "link").symlink_to("one")
    if request.param.startswith("ours"):
        sync.compress_folder(folder, path, "16KiB")
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
            for name in reversed(FILES):  # and no folder has a member of its own
                archive.add(folder / name, f"./{name}")
            archive.add(folder / "a" / "link", "a/link")
    return path


async def test_one_folder(path: Path) -> None:
    """What is directly in it, with all that is known of it; folders that are only implied, too."""
    async with open_archive(path) as archive:
        top = await archive.scandir()
        assert [member.name.removeprefix("./") for member in top] == ["a", "a.b", "top", "z"]
        assert [member.kind for member in top] == ["directory", "directory", "file", "directory"]
        for folder in ("a", "a/", "./a"):
            inside = {m.name.removeprefix("./"): m for m in await archive.scandir(folder)}
            assert list(inside) == ["a/b", "a/link", "a/one", "a/two"]
            assert inside["a/two"].size == 70_000
            assert inside["a/link"].link == "one"
            assert inside["a/b"].kind == "directory"
            assert inside["a/one"] == await archive.member("a/one")
        for name in ("", "a", "a/b", "z"):
            listed = await archive.listdir(name)
            assert listed == [m.name.rpartition("/")[2] for m in await archive.scandir(name)]
        assert len(await archive.scandir(max_members=4)) == 4
        with pytest.raises(LimitError, match="more than the 3 members"):
            await archive.scandir(max_members=3)
        with pytest.raises(MemberNotFoundError, match="no member 'none'"):
            await archive.scandir("none")
        with pytest.raises(FormatError, match="is a file, no folder"):
            await archive.scandir("top")
    with pytest.raises(ClosedError):
        await archive.scandir()


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
async def test_chosen_members(codec: Any, path: Path, tmp_path: Path) -> None:
    """Names, folders and patterns become an archive that holds these, as they were."""
    async with open_archive(path) as archive:
        for chosen, expected in (
            (None, set(FILES)),
            (["a"], {name for name in FILES if name.startswith("a/")}),
            (["a/b", "z/six"], {"a/b/three", "a/b/c/four", "z/six"}),
            (["*/f*"], {"a.b/five", "a/b/c/four"}),
        ):
            data = await all_of(archive.compress_stream(chosen, codec=codec, chunk_size="16KiB"))
            found = await contents(put(tmp_path / "made", data))
            assert found == {name: FILES[name] for name in expected}
        with pytest.raises(MemberNotFoundError, match="none"):
            async with archive.compress_stream(["top", "none"]):
                pass
        with pytest.raises(ValueError, match="codec"):
            archive.compress_stream(codec="zip")


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


async def contents(path: Path) -> dict[str, bytes]:
    """The content of every file of an archive, which is whole."""
    async with open_archive(path) as archive, archive.members() as members:
        await archive.test()
        names = [member.name async for member in members if member.kind == "file"]
        return {name.removeprefix("./"): await archive.read(name) for name in names}


async def test_nothing_is_left_when_it_stops(path: Path) -> None:
    """A stream that is left early gives everything back."""
    async with open_archive(path) as archive:
        async with archive.compress_stream() as stream:
            assert await anext(stream)
        assert await archive.read("top") == b"t"


async def test_a_damaged_archive(path: Path) -> None:
    """Damage in a chosen member is an error, and no shorter archive."""
    if path.suffix == ".tar":
        pytest.skip("no checksum there is of content")
    damage(path)
    async with open_archive(path) as archive:
        with pytest.raises(CorruptError):
            await all_of(archive.compress_stream())


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


async def test_status(path: Path) -> None:
    """An archive tells the status of its file, and a member what it is."""
    size = os.path.getsize(path)  # noqa: ASYNC240
    async with open_archive(path) as archive:
        assert archive.status is not None
        assert archive.status.st_size == size
        async with archive.open("a/two") as file:
            assert file.member.size == 70_000
    with pytest.raises(ClosedError):
        assert file.member
