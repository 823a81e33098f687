"""`diff`: what differs, line by line, and exit codes that scripts can use."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ..help.programs import done, failed, ours
from ..help.tools import run, tool
from ..help.trees import IS_ROOT
from .test_folders import here

__all__ = ["here"]

TEXT = b"""\
a.txt: last changed 1970-01-01 00:00:01 in the archive, 1970-01-01 00:00:02.500000000 in the folder
a.txt: differs from byte 3 on
link: leads to a.txt in the archive, to z in the folder
sub: has the mode 0755 in the archive, 0700 in the folder
sub/deep/c: is missing in the folder
z: has 3 bytes in the archive, 4 in the folder
new\\nline: is not in the archive
"""


@pytest.fixture
def changed(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tree, packed, and then changed."""
    monkeypatch.setenv("TZ", "UTC")
    tree = here / "tree"
    for name in ("a.txt", "z"):
        os.utime(tree / name, (1, 1))
    (tree / "sub").chmod(0o755)
    run(tool("tar"), "-C", tree, "--zstd", "-cf", "tree.tar.zst", ".")
    done("compress", "tree", "-q", "-o", "ours.tar.zst", "--prefix", "tree")
    with (tree / "a.txt").open("r+b") as file:
        file.seek(3)
        file.write(b"\n")
    (tree / "z").write_bytes(b"ends")
    os.utime(tree / "a.txt", ns=(0, 2_500_000_000))
    os.utime(tree / "z", (1, 1))
    (tree / "sub" / "deep" / "c").unlink()
    (tree / "sub").chmod(0o700)
    (tree / "link").unlink()
    (tree / "link").symlink_to("z")
    (tree / "new\nline").touch()
    return tree


def test_lines(changed: Path) -> None:
    """A line for each difference, in words, and exit code 1; 0 where nothing differs."""
    told = ours("diff", "tree.tar.zst", changed)
    assert (told.returncode, told.stderr) == (1, b"")
    assert sorted(told.stdout.splitlines()) == sorted(TEXT.splitlines())
    told = ours("diff", "-", "tree", data=Path("tree.tar.zst").read_bytes())
    assert sorted(told.stdout.splitlines()) == sorted(TEXT.splitlines())
    done("extract", "-q", "tree.tar.zst", "-o", "copy")
    assert done("diff", "tree.tar.zst", "copy") == b""
    told = ours("diff", "-q", "tree.tar.zst", "tree")
    assert (told.returncode, told.stdout) == (1, b"")


def test_the_only_folder(changed: Path) -> None:
    """An archive of one folder is compared with a folder of its name; what is new comes last."""
    told = ours("diff", "ours.tar.zst", changed.name)
    assert told.stdout.replace(b"tree/", b"") == TEXT
    copy = changed.rename("copy")
    assert b"tree/a.txt: is missing" in ours("diff", "ours.tar.zst", copy.name).stdout
    told = ours("diff", "ours.tar.zst", copy.name, "--prefix", "tree")
    assert told.stdout.replace(b"tree/", b"") == TEXT


def test_json(changed: Path) -> None:
    """One object a line; some things may be ignored, and patterns choose members."""
    flags = "--json", "--ignore", "time", "--ignore", "new"
    told = ours("diff", "tree.tar.zst", changed, "a.txt", "sub", *flags)
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    nothing = {"archived": None, "found": None, "offset": None}
    assert sorted(lines, key=lambda line: line["name"]) == [
        nothing | {"name": "a.txt", "what": "content", "offset": 3},
        nothing | {"name": "sub", "what": "mode", "archived": 0o755, "found": 0o700},
        nothing | {"name": "sub/deep/c", "what": "missing"},
    ]


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
def test_preserve(changed: Path) -> None:
    """Owners count on request, as `extract` restores them."""
    done("extract", "-q", "tree.tar.zst", "-o", "copy")
    os.chown("copy/sub", 5, 6)
    assert done("diff", "tree.tar.zst", "copy") == b""
    told = ours("diff", "--preserve", "tree.tar.zst", "copy")
    mine = changed.stat()
    line = f"sub: belongs to {mine.st_uid}:{mine.st_gid} in the archive, to 5:6 in the folder\n"
    assert (told.returncode, told.stdout) == (1, line.encode())
    assert done("diff", "--preserve", "--ignore", "owner", "tree.tar.zst", "copy") == b""


def test_failures(changed: Path) -> None:
    """What cannot be compared at all is exit code 2."""
    failed("diff", "tree.tar.zst", "nowhere", naming="No such file or directory")
    failed("diff", "nowhere.tar", changed, naming="No such file or directory")
    failed("diff", "tree.tar.zst", changed, "nowhere", naming="no member 'nowhere'")
    Path("tree.tar.zst").write_bytes(Path("tree.tar.zst").read_bytes()[:-5])
    failed("diff", "tree.tar.zst", changed, naming="cut off")
