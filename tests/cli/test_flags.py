"""Every flag, every usage error, and the help."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from ..help.data import noise
from ..help.programs import done, failed, ours
from ..help.tools import run, tool
from .sample import LARGE, SMALL

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
