"""The command line, run as people run it: files, pipes, flags, terminals, other people's tools."""

# ruff: noqa: FBT001 - a parameter says what is expected

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click
import pytest

from aiocompress.cli import commands as cli

from ..help.data import noise, text
from ..help.programs import COMMAND, done, failed, limited, ours, started
from ..help.tools import run, tool

KIB, MIB = 1 << 10, 1 << 20
SMALL = text(30 * KIB)
LARGE = text(3 * MIB) + noise(2 * MIB)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a small and a large file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").write_bytes(SMALL)
    (tmp_path / "large").write_bytes(LARGE)
    return tmp_path


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


# Standard descriptors, and terminals.


def test_a_stdin_that_cannot_be_read(tmp_path: Path) -> None:
    """The error is told of it, and not of what is written to."""
    with (tmp_path / "x").open("wb") as file:
        said = failed("compress", naming="stdin: ", stdin=file)
    assert "stdout" not in said


@pytest.mark.parametrize("verb", ["compress", "decompress", "test"])
def test_a_closed_stdin(verb: str) -> None:
    """Said at once, instead of reading some file that is opened later."""
    command = limited("exec <&-", *COMMAND, verb)
    ended = subprocess.run(command, capture_output=True, check=False, timeout=20)
    assert (ended.returncode, ended.stderr) == (
        2,
        b"aiocompress: stdin is closed: name a SOURCE\n",
    )


def test_a_closed_stdout() -> None:
    """Said at once; a file can be written all the same."""
    command = limited("exec >&-", *COMMAND, "compress", "-c", "small")
    ended = subprocess.run(command, stderr=-1, stdin=-3, check=False, timeout=20)
    assert (ended.returncode, ended.stderr[:31]) == (2, b"aiocompress: stdout is closed: ")
    command = limited("exec >&-", *COMMAND, "compress", "-q", "small")
    ended = subprocess.run(command, stderr=-1, stdin=-3, check=False, timeout=20)
    assert (ended.returncode, ended.stderr) == (0, b"")
    done("test", "small.zst")


def test_a_closed_stderr() -> None:
    """Nothing can be said, and nothing is written elsewhere instead."""
    command = limited("exec 2>&-", *COMMAND, "compress", "small")
    ended = subprocess.run(command, stdout=-1, stdin=-3, check=False, timeout=20)
    assert (ended.returncode, ended.stdout) == (0, b"")
    command = limited("exec <&- >&- 2>&-", *COMMAND, "compress", "-f", "large")
    assert subprocess.run(command, check=False, timeout=20).returncode == 0
    assert done("decompress", "-c", "large.zst") == LARGE


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Open a terminal: the side of the person, and that of the program."""
    ends = pty.openpty()
    termios.tcsetwinsize(ends[1], (24, 100))
    try:
        yield ends
    finally:
        for end in ends:
            with suppress(OSError):
                os.close(end)


def shown(person: int) -> str:
    """Return what a terminal has shown by now."""
    seen = b""
    while select.select([person], [], [], 0.2)[0]:
        with suppress(OSError):
            seen += os.read(person, 65536)
            continue
        break
    return seen.decode()


@pytest.mark.parametrize("verb", ["compress", "decompress", "test"])
def test_a_terminal_as_stdin(verb: str) -> None:
    """A usage error instead of a program that seems to hang."""
    with terminal() as (_, program):
        ended = ours(verb, stdin=program)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
    assert b"terminal" in ended.stderr


def test_a_terminal_as_stdout() -> None:
    """Compressed data is refused, raw data is not."""
    packed = done("compress", "-c", "small")
    with terminal() as (person, program):
        ended = ours("compress", "-c", "small", capture_output=False, stdout=program, stderr=-1)
        assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
        assert b"terminal" in ended.stderr
        given = done("compress", "-c", data=b"for people\n")
        ended = ours("decompress", data=given, capture_output=False, stdout=program, stderr=-1)
        assert ended.returncode == 0
        assert "for people" in shown(person)
    assert packed


@pytest.mark.parametrize(
    ("flags", "bar"), [((), True), (("-q",), False), (("--no-progress",), False)]
)
def test_the_bar(flags: tuple[str, ...], bar: bool) -> None:
    """A bar on stderr if that is a terminal, with rate and ratio, unless it is not wanted."""
    with terminal() as (person, program):
        arguments = ("compress", "-l", "19", "--chunk-size", "512K", "-f", *flags, "large")
        ended = ours(*arguments, capture_output=False, stdout=-1, stderr=program)
        said = shown(person)
    assert ended.returncode == 0, said
    assert [word in said for word in ("compressing", "%", "ratio")] == [bar, bar, "-q" not in flags]


def test_no_bar_in_a_pipe() -> None:
    """Nor anything but the summary, or with -q nothing at all."""
    ended = ours("compress", "large")
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == b""
    ended = ours("compress", "-f", "-q", "large")
    assert (ended.stderr, ended.stdout) == (b"", b"")


# Flags.


def test_existing_results() -> None:
    """They stay unless -f says otherwise; --skip-existing passes them over."""
    Path("small.zst").write_bytes(b"older")
    failed("compress", "small", naming="small.zst")
    assert Path("small.zst").read_bytes() == b"older"
    ended = ours("compress", "--skip-existing", "small", "large")
    assert ended.returncode == 0
    assert Path("small.zst").read_bytes() == b"older"
    assert b"small.zst: exists, skipped" in ended.stderr
    failed("compress", "-f", "--skip-existing", "small")
    done("compress", "-f", "small")
    assert done("decompress", "-c", "small.zst") == SMALL


def test_rm() -> None:
    """--rm removes a source when its result is there, and only then."""
    done("compress", "--rm", "small")
    assert not os.path.exists("small")
    Path("small").write_bytes(b"other")
    failed("decompress", "--rm", "small.zst")
    done("decompress", "--rm", "--skip-existing", "small.zst")
    assert os.path.exists("small.zst")
    failed("compress", "--rm", "-c", "small")
    done("decompress", "--rm", "-f", "--no-fsync", "small.zst")
    assert not os.path.exists("small.zst")
    assert Path("small").read_bytes() == SMALL
    Path("bad.zst").write_bytes(done("compress", "-c", "small")[:-9])
    failed("decompress", "--rm", "bad.zst", naming="bad.zst")
    assert os.path.exists("bad.zst")


def test_levels_and_chunks() -> None:
    """-l and --chunk-size reach the codec."""
    sizes = [len(done("compress", "-c", "-l", level, "large")) for level in ("-7", "3", "19")]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    report = json.loads(ours("compress", "--json", "--chunk-size", "1M", "large").stdout)
    assert report["frames"] == 5
    done("compress", "-l", "0", "--codec", "gzip", "small")
    assert len(Path("small.gz").read_bytes()) > len(SMALL)


@pytest.mark.parametrize(
    "arguments",
    [
        ("-l", "23", "small"),
        ("-l", "-8", "small"),
        ("-l", "13", "--codec", "gzip", "small"),
        ("--chunk-size", "0", "small"),
        ("--chunk-size", "many", "small"),
        ("--memory-limit", "-1", "small"),
        ("--max-output", "x", "small"),
        ("-o", "x.rar", "small"),
        ("-o", "x", "small"),
        ("-o", "x.zst", "-c", "small"),
        ("-o", "x.zst", "small", "large"),
        ("-o", "nowhere/x.zst", "small"),
        ("missing",),
        ("",),
        (".",),
        ("small", "-o", "small", "--codec", "zstd", "-f"),
        ("--memory-limit", "1M", "large"),
    ],
    ids=" ".join,
)
def test_bad_arguments(arguments: tuple[str, ...]) -> None:
    """One line, exit code 2, and nothing written."""
    failed("compress", *arguments)
    assert sorted(os.listdir()) == ["large", "small"]
    assert Path("small").read_bytes() == SMALL


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nothing",),
        ("compress", "--nothing"),
        ("compress", "-l", "x"),
        ("compress", "-T", "-1"),
    ],
    ids=str,
)
def test_usage_errors(arguments: tuple[str, ...]) -> None:
    """What click finds wrong is exit code 2, without a traceback."""
    ended = ours(*arguments)
    assert ended.returncode == 2
    assert b"Traceback" not in ended.stderr
    assert b"Usage:" in ended.stderr


def test_exit_codes_of_several_sources() -> None:
    """1: some could not be opened; 2: none could, or one failed."""
    failed("compress", "missing", naming="missing")
    ended = ours("compress", "small", "missing", "large")
    assert ended.returncode == 1
    assert b"missing: No such file" in ended.stderr
    assert sorted(os.listdir()) == ["large", "large.zst", "small", "small.zst"]
    Path("bad.zst").write_bytes(b"bad")
    assert ours("test", "small.zst", "bad.zst").returncode == 2
    assert ours("test", "small.zst", "missing").returncode == 1


def _damaged() -> dict[str, bytes]:
    packed = done("compress", "-c", "--chunk-size", "1M", "large")
    middle = len(packed) // 2
    flipped = packed[:middle] + bytes([packed[middle] ^ 1]) + packed[middle + 1 :]
    return {
        "truncated": packed[:middle],
        "cut.zst": packed[:-1],
        "flipped": flipped,
        "garbage": noise(10_000),
        "trailing": packed + b"garbage",
        "empty": b"",
        "raw": SMALL,
    }


@pytest.mark.parametrize("verb", ["decompress", "test"])
def test_damaged_files(verb: str) -> None:
    """One line that names file and offset, exit code 2, nothing under the final name."""
    for name, data in _damaged().items():
        Path(name).write_bytes(data)
        before = sorted(os.listdir())
        flags = ("-o", "result") if verb == "decompress" else ()
        said = failed(verb, *flags, name, naming=f"{name}: ")
        assert re.search(r"at byte \d+", said), said
        assert sorted(os.listdir()) == before
        said = failed(verb, *flags, data=data, naming="stdin: ")
        assert re.search(r"at byte \d+", said), said
        assert sorted(os.listdir()) == before


def test_max_output_and_max_window() -> None:
    """Limits are told by the option that raises them."""
    done("compress", "large")
    done("decompress", "-c", "--max-output", str(len(LARGE)), "large.zst")
    for flags in (("-c",), ("-o", "result")):
        arguments = ("decompress", *flags, "--max-output", str(len(LARGE) - 1), "large.zst")
        ended = ours(*arguments)
        assert ended.returncode == 2
        assert b"--max-output" in ended.stderr
    assert not os.path.exists("result")
    command = (tool("zstd"), "-qc", "--long=28", "--no-check")
    packed = run(*command, data=LARGE)
    failed("decompress", "-o", "result", data=packed, naming="--max-window")
    assert done("decompress", "--max-window", "256M", data=packed) == LARGE


def test_the_output_may_not_be_the_input() -> None:
    """Refused before anything is touched, however the two came to be the same."""
    os.link("small", "hard")
    os.symlink("small", "soft")
    for name in ("small", "hard", "soft"):
        failed("compress", "-f", "--codec", "zstd", "-o", name, "small", naming="same file")
    with open("small", "rb") as file:
        ended = ours("compress", "-f", "--codec", "zstd", "-o", "small", stdin=file)
    assert (ended.returncode, Path("small").read_bytes()) == (2, SMALL)


@pytest.mark.parametrize("source", ["small", "-"])
def test_stdout_may_not_be_the_input(source: str) -> None:
    """`compress -c x >> x` would go on for ever, or ruin the file."""
    with open("small", "ab") as out, open("small", "rb") as file:
        options = {"capture_output": False, "stderr": -1, "stdin": file, "stdout": out}
        ended = ours("compress", "-c", source, **options)
    assert (ended.returncode, Path("small").read_bytes()) == (2, SMALL)


def test_odd_names() -> None:
    """Newlines, escapes and bytes that are no text are shown on one line."""
    for name in (b"new\nline", b"esc\x1b[31m", b"\xff\xfe", b"-dash", b" "):
        failed("test", b"./" + name)  # type: ignore[arg-type]
        Path(os.fsdecode(name)).write_bytes(SMALL)
        ended = ours("compress", b"./" + name)  # type: ignore[arg-type]
        assert ended.returncode == 0
        assert len(ended.stderr.splitlines()) == 1
        assert b"\x1b" not in ended.stderr
        done("test", b"./" + name + b".zst")  # type: ignore[arg-type]


def test_json() -> None:
    """The report on stdout, or on stderr where data takes that."""
    ended = ours("compress", "--json", "large", "small")
    reports = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [report["source"] for report in reports] == ["large", "small"]
    assert reports[0]["destination"] == "large.zst"
    assert reports[0]["raw_bytes"] == len(LARGE)
    assert reports[0]["compressed_bytes"] == os.path.getsize("large.zst")
    assert reports[0]["ratio"] == pytest.approx(len(LARGE) / os.path.getsize("large.zst"))
    ended = ours("decompress", "--json", "-c", "large.zst")
    assert ended.stdout == LARGE
    assert json.loads(ended.stderr)["raw_bytes"] == len(LARGE)
    assert json.loads(ours("test", "--json", "large.zst").stdout)["frames"] == reports[0]["frames"]


def test_json_that_nobody_reads() -> None:
    """A closed pipe is exit code 141, whoever writes to it."""
    read, write = os.pipe()
    os.close(read)
    ended = ours("compress", "--json", "small", capture_output=False, stdout=write, stderr=-1)
    os.close(write)
    assert (ended.returncode, b"Traceback" in ended.stderr) == (141, False)


def test_verbose() -> None:
    """-v says more: a summary of pipes too, and of errors the versions and the traceback."""
    assert b"ratio" in ours("compress", "-v", data=SMALL).stderr
    said = ours("decompress", "-v", "missing.zst").stderr
    assert b"Traceback" in said
    assert f"Python {sys.version.split()[0]}".encode() in said
    assert b"libzstd" in said


def test_version() -> None:
    """--version names what results may depend on, and the script is the module."""
    said = done("--version").decode()
    for name in ("aiocompress 0", "Python 3", "zstandard", "libzstd", "deflate"):
        assert name in said
    beside = os.path.join(os.path.dirname(sys.executable), "aiocompress")
    if os.path.exists(beside):
        assert run(beside, "--version").decode() == said
        packed = run(beside, "compress", data=LARGE)
        assert packed == done("compress", data=LARGE)


# Help.


def _commands() -> list[tuple[str, click.Command]]:
    return [("", cli.cli), *cli.cli.commands.items()]


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(flag: str) -> None:
    """Every command and every option of it has help, with examples."""
    for name, command in _commands():
        said = done(*([name] if name else []), flag).decode()
        assert command.help
        assert command.help.splitlines()[0].split(".")[0][:40] in " ".join(said.split())
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.name}"
                assert parameter.opts[-1] in said
        assert "Example" in said or not name
    assert "Exit codes" in done("--help").decode()


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


def test_a_slow_pipe_is_not_waited_for_with_a_busy_loop() -> None:
    """A stuck writer costs no processor time."""
    with started(*COMMAND, "compress", stdin=subprocess.PIPE) as process:
        time.sleep(0.6)
        ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        time.sleep(0.5)
        later = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        assert sum(map(int, later)) - sum(map(int, ticks)) <= 3
