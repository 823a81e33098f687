"""What the command line says is of use: flags that exist, formats by name, names that are close."""

from __future__ import annotations

import bz2
import lzma
import os
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from ..help.data import noise
from ..help.programs import done, failed, ours
from ..help.tools import run, tool
from .sample import LARGE, SMALL

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture
def tree(here: Path) -> Path:
    """A folder, and an archive of it."""
    (here / "tree").mkdir()
    (here / "tree/small").write_bytes(SMALL)
    os.mkfifo(here / "tree/pipe")
    done("compress", "-q", "tree")
    return here / "tree"


def _wide(path: str) -> int:
    """Write a tar in one frame with a window of 256 MiB; returns the bytes of the window."""
    with tarfile.open("wide.tar", "w") as archive:
        archive.add("small")
    data = Path("wide.tar").read_bytes()
    Path(path).write_bytes(run(tool("zstd"), "-q", "--long=28", "--no-check", data=data))
    return 256 * MIB


# Flags that errors recommend, and flags that do nothing.


@pytest.mark.parametrize(
    "command",
    [
        ("list", "wide.tar.zst"),
        ("cat", "wide.tar.zst", "small"),
    ],
    ids=lambda command: command[0],
)
def test_a_window_that_is_allowed(command: tuple[str, ...]) -> None:
    """What the error recommends can be typed as it is, and then works."""
    window = _wide("wide.tar.zst")
    said = failed(*command, naming=f"--max-window {window} allows it")
    assert "max_window" not in said
    assert done(*command, "--max-window", str(window)) or command[0] != "cat"


def test_a_window_that_recover_allows() -> None:
    """A frame above the limit is none for it; with the flag it is saved."""
    _wide("wide.tar.zst")
    failed("recover", "wide.tar.zst", "-o", "out", naming="--max-window")
    done("recover", "wide.tar.zst", "-o", "out", "--max-window", "256M")
    assert Path("out/small").read_bytes() == SMALL


@pytest.mark.usefixtures("tree")
def test_flags_that_would_do_nothing() -> None:
    """They are refused, and nothing is done."""
    os.unlink("tree/pipe")
    done("compress", "-q", "small")
    done("compress", "-q", "tree", "-o", "mirror")
    before = sorted(os.listdir())
    for command, naming in (
        ("compress small --max-output 1", "--max-output"),
        ("compress tree -o out --prefix x", "prefix"),
        ("compress tree -o out --xattrs --layout framed", "xattrs"),
        ("compress tree -o out --no-sparse", "--no-sparse is for archives"),
        ("compress -d mirror -o out --exclude x", "--exclude"),
        ("compress -d small.zst --strict", "are for compressing folders"),
        ("decompress small.zst --keep-going", "--keep-going"),
        ("extract tree.tar.zst small -o out --rm", "--rm"),
        ("extract tree.tar.zst -o out --rm --skip-existing", "--rm"),
    ):
        failed(*command.split(), naming=naming)
    assert ours("test", "--max-output", "1", "small.zst").returncode == 2
    assert sorted(os.listdir()) == before


def test_flags_that_tar_gives_both_ways() -> None:
    """`tar -I` has one command for both: level, codec and chunk size may stand with -d."""
    packed = done("compress", "-l", "9", "--chunk-size", "1M", data=LARGE)
    assert done("compress", "-l", "9", "--chunk-size", "1M", "-d", data=packed) == LARGE


@pytest.mark.usefixtures("tree")
def test_advice_is_in_flags() -> None:
    """Neither errors nor reports name the arguments of the library."""
    failed("compress", "small", "-o", "tree.tar.zst", naming="exists already; -f replaces it")
    failed("extract", "tree.tar.zst", naming="-f replaces what is in it")
    ended = ours("extract", "tree.tar.zst", "-o", "out")
    assert b"skipped: tree/pipe: a named pipe, not created (--preserve does)" in ended.stderr
    ours("compress", "-q", "tree", "-o", "mirror")
    Path("mirror/odd").write_bytes(b"")
    failed("decompress", "mirror", "-o", "back", naming="--keep-going leaves such files out")
    ended = ours("decompress", "mirror", "-o", "back", "--keep-going")
    assert (ended.returncode, Path("back/small").read_bytes()) == (1, SMALL)
    Path("cut.zst").write_bytes(done("compress", "-c", "--chunk-size", "1M", "large")[:-30])
    failed("decompress", "cut.zst", naming="; `decompress -c` gives the data before it")
    os.mkdir("max_output")
    failed("test", "max_output", naming="max_output: is a folder; `compress` makes an archive")


# --rm.


def test_rm_of_an_archive(tree: Path) -> None:
    """It goes when all that it holds is on the disk, and not when something was left out."""
    ended = ours("extract", "tree.tar.zst", "-o", "out", "--rm")
    assert (ended.returncode, os.path.exists("tree.tar.zst")) == (1, True)
    (tree / "pipe").unlink()
    done("compress", "-f", "tree")
    done("extract", "tree.tar.zst", "-f", "-o", "out", "--rm")
    assert not os.path.exists("tree.tar.zst")
    assert Path("out/tree/small").read_bytes() == SMALL


def test_rm_of_what_is_packed_together() -> None:
    """Each of the files goes, once their archive is on the disk."""
    done("compress", "small", "large", "-o", "both.tar.zst", "--rm")
    assert os.listdir() == ["both.tar.zst"]
    done("extract", "both.tar.zst", "-o", "out", "--rm")
    assert Path("out/large").read_bytes() == LARGE


# What a file is.


def _others() -> dict[str, tuple[str, str, bytes]]:
    """By name: what the file is, what reads it, and its content."""
    with zipfile.ZipFile("x.zip", "w") as archive:
        archive.write("small")
    legacy = "zstd with legacy support"
    return {
        "x.xz": ("an xz file", "xz", lzma.compress(SMALL)),
        "x.lzma": ("an lzma file", "xz", lzma.compress(SMALL, lzma.FORMAT_ALONE)),
        "x.bz2": ("a bzip2 file", "bzip2", bz2.compress(SMALL)),
        "x.zip": ("a zip file", "unzip", Path("x.zip").read_bytes()),
        "x.7z": ("a 7z file", "7z", b"7z\xbc\xaf\x27\x1c\0\4" + bytes(99)),
        "x.Z": ("a Z file", "uncompress", b"\x1f\x9d\x90" + bytes(99)),
        "x.lz4": ("an lz4 file", "lz4", b"\x04\x22\x4d\x18" + bytes(99)),
        "x.v05.zst": ("a file of zstd 0.5,", legacy, b"\x25\xb5\x2f\xfd" + bytes(99)),
        "x.v07.zst": ("a file of zstd 0.7,", legacy, b"\x27\xb5\x2f\xfd" + bytes(99)),
    }


def test_what_others_write_is_named() -> None:
    """Whatever is asked for, the error says what the file is and what reads it."""
    others = _others()
    for name, (_, _, data) in others.items():
        Path(name).write_bytes(data)
    for verb in ("decompress", "test"):
        lines = ours(verb, *others).stderr.decode().splitlines()
        for line, (name, (what, reader, _)) in zip(lines, others.items(), strict=True):
            assert line.startswith(f"aiocompress: {name}: is {what}")
            assert line.endswith(reader)
    for verb in ("list", "extract"):
        failed(verb, "x.xz", naming="x.xz: is an xz file at byte 0; use xz")


def test_what_is_not_compressed() -> None:
    """It is said so, whatever the name; a file that has no suffix is not asked to have one."""
    Path("a.txt").write_bytes(SMALL)
    for name in ("a.txt", "small"):
        failed("decompress", name, naming=f"{name}: not a zstd, gzip or zlib file: it is not comp")
    Path("packed").write_bytes(done("compress", "small", "-c"))
    failed("decompress", "packed", naming="packed: unknown suffix, name the result with -o")
    failed("decompress", "missing", naming="missing: No such file")
    ended = ours("decompress", "missing", "a.txt", "packed")
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 3)
    with tarfile.open("plain", "w") as archive:
        archive.add("small")
    failed("extract", "plain", naming="plain: unknown suffix, name the folder with -o")


def test_an_empty_file() -> None:
    """It is called empty, and nothing is made of it."""
    for name in ("empty.tar.zst", "empty"):
        Path(name).write_bytes(b"")
    verbs = {"recover": ("-o", "out"), "cat": ("x",), "decompress": (), "test": (), "list": ()}
    for verb, more in (verbs | {"extract": ()}).items():
        failed(verb, "empty.tar.zst", *more, naming="empty.tar.zst: is empty")
    failed("decompress", "empty", naming="empty: is empty")
    assert sorted(os.listdir()) == ["empty", "empty.tar.zst", "large", "small"]


@pytest.mark.parametrize("beside", [True, False])
def test_extract_of_what_is_no_tar(beside: bool) -> None:  # noqa: FBT001
    """It says so, also where the file that it became once stands in the way."""
    done("compress", "-q", "small")
    if not beside:
        os.unlink("small")
    said = failed("extract", "small.zst", naming="small.zst: holds no tar archive")
    assert "`decompress` gives what a compressed file holds" in said
    assert os.path.exists("small") == beside


# Standard error.


def test_a_stderr_that_takes_nothing() -> None:
    """What was done is done, and the exit code says so."""
    with open("/dev/full", "w") as full:
        ended = ours("compress", "small", "large", stderr=full, stdout=-1, capture_output=False)
    assert ended.returncode == 0
    assert done("decompress", "-c", "large.zst") == LARGE
    read, write = os.pipe()
    os.close(read)
    ended = ours("test", "large.zst", stderr=write, stdout=-1, capture_output=False)
    os.close(write)
    assert ended.returncode == 0


def test_names_that_contain_advice() -> None:
    """A file that is called like an argument keeps its name."""
    Path("max_output: on_error='skip'.zst").write_bytes(noise(KIB))
    said = failed("test", "max_output: on_error='skip'.zst")
    assert said.startswith("aiocompress: max_output: on_error='skip'.zst: not a zstd")
    assert re.search(r"\(it begins with .*\)", said)
