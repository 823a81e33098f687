"""A member that is missing: the closest names are searched in all, however many there are."""

from __future__ import annotations

import os
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from aiocompress import MemberNotFoundError

from ..help import hostile
from ..help.archives import two_threads

COUNT = 21_000


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Archives of as many members, in folders: with an index and without."""
    folder = tmp_path_factory.mktemp("many")
    names = [f"tree/{number % 100:02}/file-{number:06}.txt" for number in range(COUNT)]
    data = BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    contents = {
        "foreign.tar.zst": hostile.compressed(data.getvalue()),
        "indexed.tar.zst": hostile.indexed([hostile.Member(name.encode()) for name in names]),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


@pytest.mark.parametrize(
    ("wanted", "close"),
    [
        ("tree/87/file-020987.text", "tree/87/file-020987.txt"),
        ("tree/87/FILE-020987.TXT", "tree/87/file-020987.txt"),
        ("87/file-020987.txt", "tree/87/file-020987.txt"),
        ("file-020987.txt", "tree/87/file-020987.txt"),
        ("tree/78/file-020987.txt", "tree/87/file-020987.txt"),
        ("tree/87/fiel-020987.txt", "tree/87/file-020987.txt"),
    ],
)
async def test_the_closest_of_all(archives: list[Path], wanted: str, close: str) -> None:
    """It comes first, though it stands behind tens of thousands of others."""
    async with two_threads() as engine, engine.open_archive(archives[-1]) as archive:
        assert archive.is_indexed
        with pytest.raises(MemberNotFoundError) as caught:
            await archive.member(wanted)
    assert (caught.value.hint or "").startswith(f"closest: {close}")
    assert caught.value.reason == f"no member {wanted!r}"


async def test_every_kind_of_archive(archives: list[Path], tmp_path: Path) -> None:
    """With an index or without, for a member that is read and for some that are restored."""
    async with two_threads() as engine:
        for path, way in zip(archives, ("read", "extract"), strict=True):
            async with engine.open_archive(path) as archive:
                about = {"extract": (tmp_path / "x", ["file-020987.txt"])}
                with pytest.raises(MemberNotFoundError, match="closest: tree/87/file-020987"):
                    await getattr(archive, way)(*about.get(way, ("x/file-020987.txt",)))
    assert os.listdir(tmp_path) == []


async def test_nothing_is_close(archives: list[Path]) -> None:
    """Then nothing is suggested."""
    async with two_threads() as engine, engine.open_archive(archives[-1]) as archive:
        with pytest.raises(MemberNotFoundError, match=r"members\(\) tells what there is"):
            await archive.member("zzz")
