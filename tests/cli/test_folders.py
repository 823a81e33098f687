"""The command line on folders: packed, listed, read and restored, as people run it."""

from __future__ import annotations

import json
import os
import signal
import tarfile
import time
from pathlib import Path

import pytest

from aiocompress.cli.plan import Options, plan

from ..help.data import noise, text
from ..help.programs import COMMAND, done, failed, limited, ours, started
from ..help.tools import run, tool

KIB = 1 << 10
FILES = {"a.txt": text(20 * KIB), "sub/b.bin": noise(40 * KIB), "sub/deep/c": b"", "z": b"end"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a folder to pack."""
    monkeypatch.chdir(tmp_path)
    make_tree(tmp_path / "tree")
    return tmp_path


def make_tree(folder: Path) -> None:
    for name, data in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "empty").mkdir()
    (folder / "link").symlink_to("a.txt")


def contents(folder: str | Path) -> dict[str, bytes | str | None]:
    """Return all that is in a folder: content, link targets, None for folders."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


# Out and back.


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ((), "tree.tar.zst"),
        (("--codec", "gzip"), "tree.tar.gz"),
        (("-o", "x.tgz"), "x.tgz"),
        (("-o", "x.tzst"), "x.tzst"),
        (("-l", "9", "--chunk-size", "16K"), "tree.tar.zst"),
    ],
)
def test_a_folder_and_back(flags: tuple[str, ...], name: str) -> None:
    """FOLDER becomes an archive beside it, named after it, and comes back."""
    done("compress", "tree/", *flags)
    done("test", name)
    os.rename("tree", "before")
    done("extract", name)
    back = name.split(".", maxsplit=1)[0]
    assert contents("tree" if back == "tree" else f"{back}/tree") == contents("before")
    assert sorted(os.listdir()) == sorted([back, "before", name])


def test_tar_reads_what_is_written() -> None:
    """GNU tar restores the same tree."""
    done("compress", "tree")
    os.mkdir("out")
    run(tool("tar"), "--zstd", "-xf", "tree.tar.zst", "-C", "out")
    assert contents("out/tree") == contents("tree")


def test_folders_each_their_own() -> None:
    """Several folders without -o become several archives."""
    make_tree(Path("other"))
    done("compress", "tree", "other")
    assert {"tree.tar.zst", "other.tar.zst"} <= set(os.listdir())


def test_a_mix_becomes_one_archive() -> None:
    """With -o, folders and files stand in it under their own names."""
    Path("file").write_text("alone")
    done("compress", "tree", "file", "-o", "all.tar.zst")
    names = done("list", "all.tar.zst").decode().splitlines()
    assert {"tree/", "tree/a.txt", "file"} <= set(names)
    assert "name" in failed("compress", "tree", "file", naming="-o")


def test_files_become_an_archive() -> None:
    """Files are packed where the name of the result says tar."""
    done("compress", "tree/a.txt", "tree/z", "-o", "files.tar.zst")
    assert done("list", "files.tar.zst").decode() == "a.txt\nz\n"
    done("compress", "tree/z", "-o", "one.tar.gz")
    assert done("list", "one.tar.gz").decode() == "z\n"


def test_to_stdout_and_from_stdin() -> None:
    """A folder streams as .tar.zst, and an archive is read from a pipe."""
    packed = done("compress", "tree", "-o", "-")
    done("compress", "tree")
    assert packed == Path("tree.tar.zst").read_bytes()
    assert done("list", "-", data=packed) == done("list", "tree.tar.zst")
    done("extract", "-", "-o", "out", data=packed)
    assert contents("out/tree") == contents("tree")
    assert "-o" in failed("extract", "-", data=packed)


def test_the_output_is_not_packed(here: Path) -> None:
    """An archive in the folder that it is made of is left out, with a notice."""
    script = 'cd tree && exec "$@" > out.tar.zst'
    done("compress", "tree", "-o", "tree/out.tar.zst")
    again = ours("compress", "tree", "-f", "-o", "tree/out.tar.zst")
    assert b"out.tar.zst" in again.stderr
    assert b"not packed" in again.stderr
    assert b"out.tar.zst" not in done("list", "tree/out.tar.zst")
    os.unlink("tree/out.tar.zst")
    command = limited(script.partition(" exec")[0].removesuffix(" &&"), "true")
    assert run(*command) == b""
    with (here / "tree" / "self.tar.zst").open("wb") as out:
        assert ours("compress", "tree", "-c", stdout=out, capture_output=False).returncode == 0
    assert b"self.tar.zst" not in done("list", "tree/self.tar.zst")


def test_a_mirrored_tree_and_back() -> None:
    """-o NAME without a known suffix: each file by itself, in the same structure."""
    done("compress", "tree", "-o", "mirror")
    assert set(contents("mirror")) >= {"a.txt.zst", "sub/b.bin.zst", "empty", "link"}
    assert run(tool("zstd"), "-dc", "mirror/a.txt.zst") == FILES["a.txt"]
    done("decompress", "mirror", "-o", "back")
    assert contents("back") == contents("tree")
    done("compress", "tree", "-o", "mirror", "--skip-existing")


# Choosing.


def test_members_are_chosen() -> None:
    """Names, folders and patterns restore just these."""
    done("compress", "tree")
    done("extract", "tree.tar.zst", "tree/sub", "tree/z", "-o", "some")
    assert set(contents("some/tree")) == {"sub", "sub/b.bin", "sub/deep", "sub/deep/c", "z"}
    done("extract", "tree.tar.zst", "*.txt", "-o", "texts")
    assert set(contents("texts")) == {"tree", "tree/a.txt"}
    said = failed("extract", "tree.tar.zst", "b.bin", "-o", "none")
    assert "tree/sub/b.bin" in said
    assert not os.path.exists("none")


def test_members_are_left_out() -> None:
    """--exclude and --exclude-from follow the rules of gitignore."""
    Path("rules").write_text("# a comment\n*.bin\n!keep.bin\n")
    Path("tree/keep.bin").write_bytes(b"")
    done("compress", "tree", "--exclude", "deep/", "--exclude-from", "rules")
    names = done("list", "tree.tar.zst", "tree/*").decode().split()
    assert names == [
        f"tree/{name}" for name in ("a.txt", "empty/", "keep.bin", "link", "sub/", "z")
    ]


def test_a_prefix() -> None:
    """--prefix puts a folder around all members."""
    done("compress", "tree", "--prefix", "v1/data")
    names = done("list", "tree.tar.zst").decode().split()
    assert all(name.startswith("v1/data/") for name in names)


@pytest.mark.parametrize(
    ("sources", "prefix"),
    [
        ("tree", "tree"),
        ("tree/", "tree"),
        ("tree/.", "tree"),
        ("./tree//", "tree"),
        ("tree/sub", "sub"),
        ("tree/../tree", "tree"),
        ("/proc/self/../..", ""),
        (".", ""),
        ("tree/..", ""),
        ("..", ""),
        ("/", ""),
        ("tree tree/sub", ""),
        ("tree/a.txt", ""),
    ],
)
def test_the_name_of_a_folder(sources: str, prefix: str) -> None:
    """Members stand below the last part of the path, where that is a name; --prefix overrules."""
    about = Options("compress", tuple(sources.split()), output="x.tar.zst")
    assert [task.prefix for task in plan(about)] == [prefix]
    assert [task.prefix for task in plan(about._replace(prefix="p"))] == ["p"]
    assert [task.prefix for task in plan(about._replace(prefix=""))] == [""]


def test_a_tree_is_left_as_it_was_named() -> None:
    """Without -o, extract makes no folder in one of the same name, also of a part; -o does."""
    done("compress", "tree")
    os.rename("tree", "before")
    done("extract", "tree.tar.zst", "tree/sub")
    assert set(contents("tree")) == {"sub", "sub/b.bin", "sub/deep", "sub/deep/c"}
    done("extract", "tree.tar.zst", "-f")
    assert contents("tree") == contents("before")
    done("extract", "tree.tar.zst", "-o", "out", "--strip-components", "2")
    assert set(contents("out")) == {"b.bin", "deep", "deep/c"}
    failed("extract", "tree.tar.zst", "-f", "--strip-components", "1", "--rm", naming="--rm")


def test_reproducible() -> None:
    """Copies of a tree with other times and modes give the same bytes."""
    make_tree(Path("copy"))
    os.utime("copy/z", (1, 1))
    os.chmod("copy/z", 0o600)
    for name in ("tree", "copy"):
        done("compress", name, "--prefix", "", "--reproducible", "-o", f"{name}.tar.zst")
    assert Path("tree.tar.zst").read_bytes() == Path("copy.tar.zst").read_bytes()


# Looking.


def test_cat() -> None:
    """Members go to stdout, one after another."""
    done("compress", "tree")
    data = done("cat", "tree.tar.zst", "tree/sub/b.bin", "tree/z")
    assert data == FILES["sub/b.bin"] + FILES["z"]
    assert "closest: tree/sub/b.bin" in failed("cat", "tree.tar.zst", "b.bin")
    assert "directory" in failed("cat", "tree.tar.zst", "tree/sub")


def test_list_says_more() -> None:
    """--long is for people, --json for programs, -0 for xargs."""
    os.rename("tree/z", "tree/new\nline")
    done("compress", "tree")
    assert r"tree/new\nline" in done("list", "tree.tar.zst").decode().splitlines()
    assert b"tree/new\nline\0" in done("list", "-0", "tree.tar.zst")
    long = done("list", "--long", "tree.tar.zst").decode()
    assert "-> a.txt" in long
    size = sum(map(len, FILES.values()))
    total = f"4 files, 4 folders, 1 link: {size:,} bytes (60.0 KiB)"
    assert long.splitlines()[-1] == total
    rows = [json.loads(line) for line in done("list", "--json", "tree.tar.zst").splitlines()]
    assert {row["name"]: row["size"] for row in rows}["tree/sub/b.bin"] == 40 * KIB


def test_a_report_as_json() -> None:
    """--json tells what was done."""
    report = json.loads(done("compress", "tree", "--json"))
    assert report["files"] == len(FILES) + 1
    assert report["skipped_count"] == 0


def test_foreign_archives(here: Path) -> None:
    """What tar writes is listed, read and restored as well."""
    with tarfile.open("py.tar", "w") as archive:
        archive.add("tree", ".")
    run(tool("tar"), "--zstd", "-cf", here / "gnu.tar.zst", "-C", here / "tree", ".")
    for name in ("py.tar", "gnu.tar.zst"):
        assert done("cat", name, "sub/b.bin") == FILES["sub/b.bin"]
        assert "./sub/b.bin" in done("list", name).decode().split() or name == "py.tar"
        done("test", name)
        done("extract", name, "-o", name + ".out")
        assert contents(name + ".out") == contents("tree")


# What goes wrong.


def test_what_cannot_be_read_is_named() -> None:
    """The rest is packed, and the exit code is 1; --strict stops instead."""
    os.mkfifo("tree/pipe")
    tool("python3")
    run(tool("python3"), "-c", "import socket; socket.socket(1).bind('tree/socket')")
    ended = ours("compress", "tree")
    assert ended.returncode == 1
    assert b"skipped: tree/socket" in ended.stderr
    assert b"tree/pipe\n" in done("list", "tree.tar.zst")
    failed("compress", "tree", "--strict", "-o", "strict.tar.zst", naming="tree/socket")
    assert not os.path.exists("strict.tar.zst")
    ended = ours("extract", "tree.tar.zst", "-o", "out")
    assert ended.returncode == 1
    assert b"skipped: tree/pipe" in ended.stderr
    assert set(contents("out/tree")) == set(contents("tree")) - {"pipe", "socket"}


def test_a_damaged_frame_spares_the_others() -> None:
    """It is named with its members; --keep-going restores the rest, and exits with 2."""
    for number in range(8):
        Path(f"tree/n{number}").write_bytes(noise(20 * KIB, number))
    done("compress", "tree", "--prefix", "", "--chunk-size", "64K")
    data = bytearray(Path("tree.tar.zst").read_bytes())
    data[len(data) // 2] ^= 1
    Path("bad.tar.zst").write_bytes(data)
    said = failed("extract", "bad.tar.zst", naming="--keep-going")
    assert "frame" in said
    assert not os.path.exists("bad")
    failed("test", "bad.tar.zst")
    ended = ours("extract", "bad.tar.zst", "--keep-going")
    assert ended.returncode == 2
    whole, back = contents("tree"), contents("bad")
    assert len(back) >= len(whole) - 4
    assert all(whole[name] == data for name, data in back.items())


def test_a_file_called_stdout() -> None:
    """It is a file like any other."""
    Path("tree/stdout").write_bytes(b"mine")
    packed = done("compress", ".", "-o", "-", cwd="tree")
    assert b"stdout" in run("tar", "--zstd", "-t", data=packed).split()


def test_limits() -> None:
    """On the number of members, on their sizes, and on what stands before them."""
    done("compress", "tree", "-o", "tree.tar.zst")
    done("compress", "tree", "-o", "packed")
    for archive, verb in (("tree.tar.zst", "extract"), ("packed", "decompress")):
        failed(verb, archive, "-o", "out", "--max-members", "1", naming="--max-members")
        failed(verb, archive, "-o", "out", "--max-member-size", "1", naming="--max-member-size")
        assert not os.path.exists("out")
    failed("extract", "tree.tar.zst", "--max-member-size", "much", naming="much")
    failed("decompress", "tree.tar.zst", "--max-members", "9", naming="--max-output")
    ended = ours("extract", "tree.tar.zst", "-o", "few", "--max-member-size", "1", "--keep-going")
    assert ended.returncode == 2
    assert b"is larger than the 1 bytes" in ended.stderr
    files = [data for data in contents("few").values() if isinstance(data, bytes)]
    assert max(map(len, files)) <= 1
    done("extract", "tree.tar.zst", "-o", "all", "--max-members", "1000", "--max-metadata", "1k")


@pytest.mark.parametrize(
    ("arguments", "naming"),
    [
        (("compress", "nothing"), "nothing"),
        (("compress", "tree", "-o", "x.zip"), "format"),
        (("compress", "tree", "-o", "x.tar.xz"), "format"),
        (("compress", "tree", "--layout", "mirror"), "-o"),
        (
            (
                "compress",
                ".",
            ),
            "-o",
        ),
        (("compress", "tree/a.txt", "--prefix", "x"), "folders"),
        (("compress", "tree", "--rm"), "--rm"),
        (("extract", "tree/a.txt"), "-o"),
        (("extract", "tree/a.txt", "-o", "x"), "not an archive"),
        (("list", "tree/a.txt"), "not an archive"),
        (("list", "nothing.tar.zst"), "nothing.tar.zst"),
        (("cat", "nothing.tar.zst", "x"), "nothing.tar.zst"),
        (("extract", "tree", "-o", "x"), "tree"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_bad_arguments(arguments: tuple[str, ...], naming: str) -> None:
    """One line, exit code 2, and nothing written."""
    before = sorted(os.listdir())
    failed(*arguments, naming=naming)
    assert sorted(os.listdir()) == before


def test_what_exists_is_kept() -> None:
    """An archive or a folder that is there is refused without -f."""
    done("compress", "tree")
    failed("compress", "tree", naming="tree.tar.zst")
    failed("extract", "tree.tar.zst", naming="tree")
    Path("tree/z").write_text("changed")
    done("extract", "tree.tar.zst", "-f")
    assert Path("tree/z").read_bytes() == FILES["z"]
    Path("tree/z").write_text("changed")
    done("extract", "tree.tar.zst", "--skip-existing")
    assert Path("tree/z").read_text() == "changed"


@pytest.mark.parametrize("seconds", [0.1, 0.2, 0.3])
def test_a_signal_that_comes_twice_at_once(seconds: float, here: Path) -> None:
    """As `timeout` sends it, to the process and to its group: what was made is removed."""
    for number in range(3000):
        Path(f"tree/n{number}").write_bytes(b"%d" % number)
    done("compress", "tree", "--prefix", "", "-o", "many.tar.zst")
    with started(*COMMAND, "extract", "many.tar.zst", "-o", "out", cwd=here) as process:
        time.sleep(seconds)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
        process.wait(30)
    whole = os.path.exists("out")
    assert process.returncode == -signal.SIGINT or whole
    assert not whole or contents("out") == contents("tree")
    assert sorted(os.listdir()) == ["many.tar.zst", *["out"] * whole, "tree"]


def test_an_empty_folder() -> None:
    """It is an archive of nothing, which comes back as one."""
    os.mkdir("nothing")
    done("compress", "nothing")
    assert done("list", "nothing.tar.zst") == b"nothing/\n"
    os.rmdir("nothing")
    done("extract", "nothing.tar.zst")
    assert os.listdir("nothing") == []
    done("compress", "nothing", "--prefix", "", "-f")
    assert run(tool("tar"), "--zstd", "-tf", "nothing.tar.zst") == b""


def test_decompress_of_a_tar_tells_of_extract() -> None:
    """It undoes the codec, and says how to restore the members."""
    done("compress", "tree")
    ended = ours("decompress", "tree.tar.zst")
    assert ended.returncode == 0
    assert b"extract" in ended.stderr
    assert tarfile.is_tarfile("tree.tar")
