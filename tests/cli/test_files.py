"""Files and pipes on the command line: where results go, and what other tools make of them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import IO

import pytest

from ..help.programs import COMMAND, done, ours, started, until
from ..help.tools import run, tool
from .sample import LARGE, SMALL

# Where things go.


@pytest.mark.parametrize(
    ("flags", "suffix"), [((), ".zst"), (("--codec", "gzip"), ".gz"), (("--codec", "zstd"), ".zst")]
)
@pytest.mark.parametrize("name", ["small", "large"])
def test_a_file_and_back(name: str, flags: tuple[str, ...], suffix: str, here: Path) -> None:
    """FILE becomes FILE.zst or FILE.gz beside it, and comes back; the source stays."""
    data = (here / name).read_bytes()
    done("compress", *flags, name)
    assert sorted(os.listdir()) == sorted(["large", "small", name + suffix])
    os.rename(name, "before")
    done("decompress", name + suffix)
    assert Path(name).read_bytes() == data


def test_several_files_become_several() -> None:
    """Each its own."""
    done("compress", "small", "large")
    assert sorted(os.listdir()) == ["large", "large.zst", "small", "small.zst"]
    done("test", "small.zst", "large.zst")


@pytest.mark.parametrize(
    ("result", "tool_name"), [("x.zst", "zstd"), ("x.gz", "gzip"), ("x.ZST", "zstd")]
)
def test_an_output_file(result: str, tool_name: str) -> None:
    """-o FILE: its suffix says the codec."""
    done("compress", "-o", result, "small")
    assert run(tool(tool_name), "-dc", data=Path(result).read_bytes()) == SMALL
    done("decompress", "-o", "back", result)
    assert Path("back").read_bytes() == SMALL


def test_an_output_folder() -> None:
    """-o FOLDER: the results go there, whatever their number."""
    os.mkdir("out")
    done("compress", "-o", "out", "small", "large")
    assert sorted(os.listdir("out")) == ["large.zst", "small.zst"]
    os.mkdir("back")
    done("decompress", "-o", "back/", "out/small.zst", "out/large.zst")
    assert Path("back/large").read_bytes() == LARGE


@pytest.mark.parametrize("flags", [("-o", "-"), ("-c",), ("--stdout",)])
def test_to_stdout(flags: tuple[str, ...]) -> None:
    """-o - and -c write to stdout, and no file."""
    packed = done("compress", *flags, "large")
    Path("large.zst").write_bytes(packed)
    assert done("decompress", *flags, "large.zst") == LARGE
    assert sorted(os.listdir()) == ["large", "large.zst", "small"]


def test_several_sources_to_stdout() -> None:
    """They are concatenated, which is one file for every tool."""
    packed = done("compress", "-c", "small", "large")
    assert done("decompress", data=packed) == SMALL + LARGE
    assert run(tool("zstd"), "-dc", data=packed) == SMALL + LARGE


@pytest.mark.parametrize("data", [b"", b"x", SMALL, LARGE], ids=len)
@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_a_pipe(data: bytes, codec: str) -> None:
    """No SOURCE: stdin to stdout."""
    packed = done("compress", "--codec", codec, data=data)
    assert done("decompress", data=packed) == data
    assert done("compress", "-d", data=packed) == data
    done("test", data=packed)
    done("test", "-", data=packed)


def test_a_pipe_writes_what_a_file_gets() -> None:
    """The bytes are the same, whatever carries them and however many workers there are."""
    results = {done("compress", "-T", str(number), data=LARGE) for number in (0, 1, 3)}
    done("compress", "large", "--memory-limit", "12MiB")
    assert results == {Path("large.zst").read_bytes()}


def test_stdin_from_a_file_and_from_nowhere() -> None:
    """`< FILE` and `< /dev/null` are sources as good as a pipe."""
    with open("large", "rb") as file:
        packed = ours("compress", stdin=file).stdout
    assert done("decompress", data=packed) == LARGE
    with open(os.devnull, "rb") as file:
        packed = ours("compress", stdin=file).stdout
    assert run(tool("zstd"), "-dc", data=packed) == b""
    with open(os.devnull, "rb") as file:
        ended = ours("decompress", stdin=file)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)


def test_stdin_to_a_file() -> None:
    """-o FILE with stdin, and - as its name."""
    done("compress", "-", "-o", "x.gz", data=LARGE)
    assert run(tool("gzip"), "-dc", data=Path("x.gz").read_bytes()) == LARGE
    done("decompress", "-o", "x", data=Path("x.gz").read_bytes())
    assert Path("x").read_bytes() == LARGE


def test_a_named_pipe_as_source() -> None:
    """A FIFO is read until its writer is done."""
    os.mkfifo("fifo")
    with started(*COMMAND, "compress", "-c", "fifo") as process:
        with open("fifo", "wb") as fifo:
            fifo.write(LARGE)
        packed, _ = process.communicate(timeout=20)
    assert done("decompress", data=packed) == LARGE


def test_tar_both_ways(here: Path) -> None:
    """`tar -I` packs and unpacks, and so do pipes."""
    tar, program = tool("tar"), " ".join((*COMMAND, "compress"))
    run(tar, "-I", program, "-cf", "x.tar.zst", "small", "large")
    os.mkdir("out")
    run(tar, "-I", program, "-xf", "x.tar.zst", "-C", "out")
    assert (here / "out" / "large").read_bytes() == LARGE
    os.mkdir("out2")
    run(tar, "-xf", "-", "-C", "out2", data=done("decompress", "-c", "x.tar.zst"))
    assert (here / "out2" / "small").read_bytes() == SMALL


@pytest.mark.parametrize(
    ("given", "result"), [("a.tzst", "a.tar"), ("a.tgz", "a.tar"), ("a.zstd", "a"), ("a.ZST", "a")]
)
def test_names_on_the_way_back(given: str, result: str) -> None:
    """Suffixes go, and short ones of tars become .tar."""
    Path(given).write_bytes(done("compress", "-c", "small"))
    done("decompress", given)
    assert Path(result).read_bytes() == SMALL


# Other people's tools.


@pytest.mark.parametrize(
    ("codec", "command"),
    [
        ("zstd", ("zstd", "-dc")),
        ("zstd", ("zstd", "-dc", "-T2")),
        ("zstd", ("pzstd", "-dc")),
        ("gzip", ("gzip", "-dc")),
        ("gzip", ("pigz", "-dc")),
        ("gzip", ("bgzip", "-dc")),
    ],
    ids=str,
)
def test_others_read_ours(codec: str, command: tuple[str, ...]) -> None:
    """Standard files: every ordinary tool reads them."""
    packed = done("compress", "--codec", codec, "--chunk-size", "512K", data=LARGE)
    Path("x").write_bytes(packed)
    assert run(tool(command[0]), *command[1:], data=packed) == LARGE


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_bsdtar_reads_ours(codec: str) -> None:
    """bsdtar unpacks a tar that we compressed, by its content."""
    packed = done("compress", "--codec", codec, data=run(tool("tar"), "-c", "small", "large"))
    os.mkdir("out")
    run(tool("bsdtar"), "-xf", "-", "-C", "out", data=packed)
    assert Path("out/large").read_bytes() == LARGE


@pytest.mark.parametrize(
    "command",
    [
        ("zstd", "-c"),
        ("zstd", "-c", "-T2", "--long=27"),
        ("pzstd", "-c"),
        ("gzip", "-c"),
        ("pigz", "-c"),
        ("pigz", "-cz"),
        ("bgzip", "-c"),
    ],
    ids=str,
)
def test_we_read_others(command: tuple[str, ...]) -> None:
    """From a pipe and from a file."""
    packed = run(tool(command[0]), *command[1:], data=LARGE)
    assert done("decompress", data=packed) == LARGE
    Path("x").write_bytes(packed)
    done("decompress", "-o", "y", "x")
    assert Path("y").read_bytes() == LARGE


def _ticks(pid: int) -> int:
    """Return the processor time that a process has taken, in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13]))


def test_a_slow_pipe_is_not_waited_for_with_a_busy_loop() -> None:
    """A stuck writer costs no processor time, once what it has written is read."""
    with started(*COMMAND, "compress", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(SMALL)
        process.stdin.flush()
        until(lambda: not _unread(process.stdin))

        def is_idle() -> bool:
            before = _ticks(process.pid)
            time.sleep(0.5)
            return _ticks(process.pid) - before <= 3

        until(is_idle)


def _unread(pipe: IO[bytes] | None) -> int:
    """Return how many bytes stand in a pipe."""
    assert pipe is not None
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
