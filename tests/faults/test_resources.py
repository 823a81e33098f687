"""No space, no descriptors, and a reader that goes away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from aiocompress import Engine, sync

from ..help.data import noise
from ..help.engines import given_back
from ..help.programs import COMMAND, limited, ours, started
from ..help.tools import small_disk
from .waiting import MIB, TEXT


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    with small_disk(tmp_path / "small", "size=1M"):
        yield tmp_path / "small"


@pytest.mark.parametrize("executor", ["process", "thread"])
async def test_no_space(executor: Any, small: Path, tmp_path: Path) -> None:
    """Both ways an OSError that names the file; the older one stays, nothing else is left."""
    source, packed = tmp_path / "source", tmp_path / "packed.zst"
    source.write_bytes(noise(3 * MIB))
    older = small / "older.zst"
    older.write_bytes(b"older")
    async with Engine(2, executor=executor) as engine:
        await engine.compress_file(source, packed, "256K")
        for verb, given in ((engine.compress_file, source), (engine.decompress_file, packed)):
            with pytest.raises(OSError, match="No space left") as caught:
                await verb(given, older, "64K", on_exists="replace")
            assert caught.value.filename == str(older)
            assert older.read_bytes() == b"older"
            assert os.listdir(small) == [older.name]
        await given_back(engine)  # what workers had begun


@pytest.mark.parametrize("verb", ["compress", "decompress"])
def test_file_size_limit(verb: str, tmp_path: Path) -> None:
    """RLIMIT_FSIZE is one line that names the file, exit code 2, and no temporary."""
    source, packed, older = tmp_path / "a", tmp_path / "a.zst", tmp_path / "out" / "older.zst"
    source.write_bytes(noise(3 * MIB))
    assert ours("compress", "--chunk-size", "256K", source).returncode == 0
    older.parent.mkdir()
    older.write_bytes(b"older")
    given = source if verb == "compress" else packed
    command = limited("ulimit -f 2000", *COMMAND, verb, "-f", "-o", older, given)
    ended = subprocess.run(command, capture_output=True, check=False, timeout=20)
    assert ended.returncode == 2, ended
    assert b"File too large" in ended.stderr
    assert str(older).encode() in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert older.read_bytes() == b"older"
    assert os.listdir(older.parent) == [older.name]


def test_a_full_stdout() -> None:
    """A write error of stdout is one line and exit code 2."""
    with open("/dev/full", "wb") as full:
        ended = ours("compress", data=noise(MIB), capture_output=False, stdout=full, stderr=-1)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert b"No space left" in ended.stderr
    assert b"stdout" in ended.stderr


@pytest.mark.parametrize("number", [20, 32])
def test_few_descriptors(number: int, big: Path, tmp_path: Path) -> None:
    """With RLIMIT_NOFILE 32 it works or says why; it does not hang."""
    result = tmp_path / "result.zst"
    for code in (
        "from aiocompress import sync; import sys; sync.compress_file(*sys.argv[1:], 65536, 5)",
        "import sys, aiocompress.cli.commands as c; c.cli(['compress', '-o', *sys.argv[:0:-1]])",
    ):
        command = limited(f"ulimit -n {number}", sys.executable, "-c", code, big, result)
        ended = subprocess.run(command, capture_output=True, check=False, timeout=20)
        if ended.returncode == 0:
            assert sync.decompress(result.read_bytes()) == TEXT
            result.unlink()
        else:
            said = b"Too many open files" in ended.stderr or b"ulimit -n" in ended.stderr
            assert said, ended
            assert not result.exists()


@pytest.mark.parametrize("verb", ["compress", "decompress"])
def test_nobody_reads(verb: str) -> None:
    """A reader that goes is exit code 141, without a word."""
    data = noise(4 * MIB)
    given = data if verb == "compress" else sync.compress(data)
    command = (*COMMAND, verb)
    with started(*command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        with suppress(BrokenPipeError):
            process.stdin.write(given)
            process.stdin.close()
        assert process.wait(10) == 141
        assert process.stderr is not None
        assert not process.stderr.read()
