"""``sync.open``: files for whatever takes a file of ``io``."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import tarfile
import threading
from pathlib import Path

import pytest

from aiocompress import TruncatedError, sync

from .help.data import noise
from .help.programs import until
from .help.tools import module

TABLE = [["name", "size"], *([f"m{number}", str(number)] for number in range(5000))]


@pytest.mark.parametrize("suffix", [".zst", ".gz"])
def test_modules_that_take_files(suffix: str, tmp_path: Path) -> None:
    """They read and write as they do with ``gzip.open``."""
    path = tmp_path / f"a{suffix}"
    with sync.open(path, "wt", newline="") as file:
        csv.writer(file).writerows(TABLE)
    with sync.open(path, "rt", newline="") as file:
        assert list(csv.reader(file)) == TABLE
    with sync.open(path, "wt", encoding="ascii") as file:
        json.dump(TABLE, file)
    with sync.open(path) as raw:
        assert json.load(raw) == TABLE
        raw.seek(0)
        assert raw.readline() == json.dumps(TABLE).encode()
    if suffix == ".gz":
        assert json.loads(gzip.decompress(path.read_bytes())) == TABLE


def test_tarfile(tmp_path: Path) -> None:
    """It seeks forward and back."""
    data = {f"m{number}": noise(50_000, number) for number in range(30)}
    with sync.open(tmp_path / "a.tar.zst", "wb") as raw, tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in data.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with sync.open(tmp_path / "a.tar.zst") as raw, tarfile.open(fileobj=raw) as tar:
        for name in sorted(data, reverse=True):
            found = tar.extractfile(name)
            assert found is not None
            assert found.read() == data[name]


def test_pandas(tmp_path: Path) -> None:
    """It reads a table."""
    pandas = module("pandas")
    with sync.open(tmp_path / "a.csv.zst", "wt", newline="") as file:
        csv.writer(file).writerows(TABLE)
    with sync.open(tmp_path / "a.csv.zst") as raw:
        assert pandas.read_csv(raw)["size"].sum() == sum(range(5000))


def test_binary_files() -> None:
    """What is in memory, from where it is; it stays open, and flush and close show in it."""
    plain = io.BytesIO(b"head")
    plain.seek(4)
    with sync.open(plain, "wb") as raw:
        raw.write(b"x" * 100)
        raw.flush()
        assert len(plain.getvalue()) > 20
        raw.write(b"y")
    plain.seek(4)
    with sync.open(plain) as raw:
        assert raw.read() == b"x" * 100 + b"y"
        assert raw.seek(-2, io.SEEK_END) == 99
        assert raw.read() == b"xy"
    assert not plain.closed


def test_errors(tmp_path: Path) -> None:
    """They come from where they are, and nothing is left behind."""
    path, before = tmp_path / "a.zst", threading.active_count()
    with pytest.raises(FileNotFoundError):
        sync.open(path)
    with sync.open(path, "wb") as raw:
        raw.write(noise(1000))
        with pytest.raises(io.UnsupportedOperation):
            raw.read()
    path.write_bytes(path.read_bytes()[:-1])
    with sync.open(path) as raw, pytest.raises(TruncatedError):
        raw.read()
    with pytest.raises(ValueError, match="closed"):
        raw.read()
    with pytest.raises(ZeroDivisionError), sync.open(path, "wt", atomic=True) as text:
        text.write(str(1 // 0))
    assert os.listdir(tmp_path) == ["a.zst"]
    assert path.stat().st_size > 900
    until(lambda: threading.active_count() <= before)


def test_in_a_loop_over_lines(tmp_path: Path) -> None:
    """Lines, peeks and buffers are those of ``io``."""
    with sync.open(tmp_path / "a.gz", "wb", compression_level=1) as raw:
        raw.writelines(b"%d\n" % number for number in range(100_000))
        assert raw.tell() == 588_890
    with sync.open(tmp_path / "a.gz") as raw:
        assert isinstance(raw, io.BufferedReader)
        assert [int(line) for line in raw] == list(range(100_000))
    with sync.open(tmp_path / "a.gz", "rt") as text:
        assert [int(line) for line in text] == list(range(100_000))
