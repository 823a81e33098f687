"""Where members go: names without their first parts, and no folder in one of the same name."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from aiocompress import MemberNotFoundError, UnsafeMemberError, sync

from ...help.tools import run, tool

KINDS = ("ours", "foreign")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with links of both kinds and a folder that cannot be written to; its archives."""
    monkeypatch.chdir(tmp_path)
    for name in ("d/a", "d/s/b", "d/s/t/c"):
        os.makedirs(os.path.dirname(name), exist_ok=True)
        Path(name).write_text(name)
    os.link("d/s/b", "d/hard")
    os.symlink("../a", "d/s/soft")
    os.chmod("d/s", 0o555)
    os.utime("d", (1, 1))
    run(tool("tar"), "-cf", "foreign", "./d/hard", "d")
    sync.compress_folder("d", "ours", layout="archive", codec="zstd", prefix="d")
    return tmp_path


def contents(folder: str) -> dict[str, object]:
    """Return what is below a folder: content or target, mode and number of names."""
    found: dict[str, object] = {}
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(above, name)
            status = path.lstat()
            content = (
                os.readlink(path) if path.is_symlink() else path.is_file() and path.read_text()
            )
            about = () if path.is_dir() else (status.st_nlink,)
            found[os.path.relpath(path, folder)] = (content, status.st_mode, *about)
    return found


# Names without their first parts.


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("strip", [0, 1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_as_tar_does(kind: str, strip: int) -> None:
    """Names and what hard links are linked to lose their first parts, symbolic links do not."""
    os.mkdir("tar")
    chosen = ["d/s/t"] if strip == 3 else []  # the hard link would lead to nothing
    run(tool("tar"), "-xf", kind, "-C", "tar", f"--strip-components={strip}", *chosen)
    sync.decompress_folder(kind, "out", members=chosen or None, strip_components=strip)
    assert contents("out") == contents("tar")


@pytest.mark.usefixtures("tree")
def test_a_hard_link_to_what_is_left_out() -> None:
    """It is refused, as one to anything that was not extracted; the others can be had."""
    with pytest.raises(UnsafeMemberError, match="hard link"):
        sync.decompress_folder("ours", "out", strip_components=2)
    report = sync.decompress_folder("ours", "out", strip_components=2, on_error="skip")
    assert (report.damaged, set(contents("out"))) == (1, {"soft", "t", "t/c"})


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("indexed", [True, False])
def test_members_that_come_to_one_name(indexed: bool) -> None:  # noqa: FBT001
    """The last one wins, whole."""
    with sync.create_archive("x.tar.zst") as archive:
        for folder in "abc":
            archive.add(f"{folder}/same", folder.encode() * 99)
    if not indexed:
        sync.decompress_file("x.tar.zst", "x.tar")
    sync.decompress_folder("x.tar.zst" if indexed else "x.tar", "out", strip_components=1)
    assert Path("out/same").read_bytes() == b"c" * 99


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("name", ["a/../../x", "../x", "a/b/../../../../x"])
def test_what_leads_outside_is_refused_all_the_same(name: str) -> None:
    """All of a name is looked at, not only what is left of it."""
    with tarfile.open("bad", "w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(UnsafeMemberError, match="leads out"):
        sync.decompress_folder("bad", "out", strip_components=1)
    assert not os.path.exists("out")


@pytest.mark.usefixtures("tree")
def test_only_archives_have_names_to_strip() -> None:
    """What would do nothing is refused."""
    sync.compress_folder("d", "mirror", on_error="skip")
    for option in ({"strip_components": 1}, {"preserve": True}):
        with pytest.raises(ValueError, match=f"{next(iter(option))} is for archives"):
            sync.decompress_folder("mirror", "out", **option)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must not be negative"):
        sync.decompress_folder("ours", "out", strip_components=-1)


# No folder in a folder of the same name.


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "more", [{}, {"members": ["d/s/t"]}, {"on_exists": "replace"}, {"strip_components": 0}]
)
def test_a_folder_becomes_the_destination(kind: str, more: dict[str, Any]) -> None:
    """Where all members stand below one that is called like it; with its mode and time."""
    os.makedirs("new/d" if "on_exists" in more else "new")
    sync.decompress_folder(kind, "new/d", unwrap=True, **more)
    if "members" in more:
        assert set(contents("new")) == {"d", "d/s", "d/s/t", "d/s/t/c"}
    else:
        assert contents("new/d") == contents("d")
        assert os.stat("new/d").st_mtime == 1
    assert os.listdir("new") == ["d"]


@pytest.mark.usefixtures("tree")
def test_a_folder_that_is_not_alone() -> None:
    """It stays a folder in another one, also where only it was chosen; so does a file."""
    with sync.create_archive("d.tar.zst") as archive:
        archive.add("d/a", b"inside")
        archive.add("other", b"beside")
    for number, members in enumerate((None, ["d/a"], ["other"])):
        os.mkdir(f"{number}")
        sync.decompress_folder("d.tar.zst", f"{number}/d", members=members, unwrap=True)
    assert set(contents("0/d")) == {"d", "d/a", "other"}
    assert set(contents("1/d")) == {"d", "d/a"}
    with sync.create_archive("d.tar.zst", on_exists="replace") as archive:
        archive.add("d", b"a file")
    os.mkdir("file")
    sync.decompress_folder("d.tar.zst", "file/d", unwrap=True)
    assert Path("file/d/d").read_bytes() == b"a file"


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("kind", KINDS)
def test_members_are_listed_by_pattern(kind: str) -> None:
    """As `extract` takes them; one that matches nothing is told at the end."""
    with sync.open_archive(kind) as archive:
        names = [name for batch in archive.names(matching=["d/s/t", "*/hard"]) for name in batch]
        assert {name.removeprefix("./") for name in names} == {"d/hard", "d/s/t/", "d/s/t/c"}
        members = archive.members("d/s", matching=["*/t/*", "*/hard"])
        assert [member.name for member in members] == ["d/s/t/c"]
        with pytest.raises(MemberNotFoundError, match="closest: d/hard"):
            list(archive.members(matching=["d/a", "hard"]))
