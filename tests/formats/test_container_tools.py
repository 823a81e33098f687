"""Containers and the tools of others, both ways."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from itertools import product
from pathlib import Path

import pytest

from aiocompress.formats import FORMATS

from ..help.containers import TINY, WHOLE, decode, encode
from ..help.data import SPLITS, at_once, by_sizes, noise, text
from ..help.files import RAW, every_writer
from ..help.tools import module, run, tool

LONG = [text(9000, 1), noise(5000), bytes(70_000), text(20_000, 2)]
SHAPES = {"several": LONG, "one": LONG[:1], "empty": [b""]}
every_shape = pytest.mark.parametrize("chunks", SHAPES.values(), ids=SHAPES)


@every_shape
@pytest.mark.parametrize(
    ("codec", "command"),
    [
        ("zstd", "zstd -dc FILE"),
        ("zstd", "zstd -tc FILE"),
        ("zstd", "pzstd -dc FILE"),
        ("zstd", "pzstd -dc -p 3 FILE"),
        ("zstd", "bsdcat FILE"),
        ("gzip", "gzip -dc FILE"),
        ("gzip", "pigz -dc FILE"),
        ("gzip", "bgzip -dc FILE"),
        ("gzip", "bsdcat FILE"),
    ],
)
def test_ours_is_read_by_others(
    tmp_path: Path, codec: str, command: str, chunks: list[bytes]
) -> None:
    """Ordinary tools read what is written, and find nothing wrong with it."""
    path = tmp_path / f"x{FORMATS[codec].suffixes[0]}"
    for level in (
        FORMATS[codec].codec.levels[0],
        FORMATS[codec].codec.default_level,
        FORMATS[codec].codec.levels[-1],
    ):
        path.write_bytes(encode(chunks, codec, level))
        name, *arguments = command.replace("FILE", str(path)).split()
        out = run(tool(name), *arguments)
        assert out == (b"" if " -t" in command else b"".join(chunks))


@every_writer
@pytest.mark.parametrize("command", ["bsdtar -xOf FILE", "tar --TYPE -xOf FILE"])
def test_ours_is_read_by_tar(tmp_path: Path, name: str, command: str) -> None:
    """A tar in our container, in chunks that have nothing to do with its members."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for chunk in LONG:
            member = tarfile.TarInfo(f"file {len(chunk)}")
            member.size = len(chunk)
            tar.addfile(member, io.BytesIO(chunk))
    path = tmp_path / "x"
    path.write_bytes(encode(by_sizes(7000)(packed.getvalue()), name))
    program, *arguments = command.replace("FILE", str(path)).replace("TYPE", name).split()
    assert run(tool(program), *arguments) == b"".join(LONG)


@every_shape
@pytest.mark.parametrize("level", [0, 1, 6, 12])
def test_ours_is_read_by_gzip_modules(tmp_path: Path, chunks: list[bytes], level: int) -> None:
    """Python's gzip and pgzip, which reads the sizes too."""
    data, path = encode(chunks, "gzip", level), tmp_path / "x.gz"
    path.write_bytes(data)
    assert gzip.decompress(data) == b"".join(chunks)
    with gzip.open(path) as file:
        assert file.read() == b"".join(chunks)
    with module("pgzip").open(path, "rb", thread=2) as file:
        assert file.read() == b"".join(chunks)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "command",
    [
        *(
            "zstd -c FILE",
            "zstd -1c --no-check FILE",
            "zstd -19c FILE",
            "zstd -c",
            "zstd --fast=5 -c",
        ),
        *("zstd -c --long=27 FILE", "zstd -T2 -B16K -c FILE", "zstd -c --rsyncable", "zstd -c -"),
        *("pzstd -c FILE", "pzstd -c -p 3 -1 FILE", "pzstd -c"),
        *("gzip -c FILE", "gzip -1c", "gzip -9nc FILE"),
        *("pigz -c FILE", "pigz -ci -b 32 FILE", "pigz -zc FILE", "pigz -11 -c", "pigz -0c"),
        *("bgzip -c FILE", "bgzip -l 0 -c FILE", "bgzip -c"),
    ],
)
def test_others_are_read(tmp_path: Path, shape: str, command: str) -> None:
    """What ordinary tools write, from a file and from a pipe, in every split."""
    raw, path = b"".join(SHAPES[shape]), tmp_path / "a name"
    path.write_bytes(raw)
    name, *arguments = (path if word == "FILE" else word for word in command.split())
    data = run(tool(str(name)), *arguments, data=b"" if "FILE" in command else raw)
    splits = (at_once, SPLITS["as the pipeline reads"], by_sizes(997), by_sizes(4000, 3, 1))
    for split, whole in product(splits, (WHOLE, 40_000, TINY)):
        decoded = decode(data, split=split, whole=whole, strict=True)
        assert decoded.data == raw
        assert decoded.warnings == []
    twice = decode(data * 2 + bytes(100), split=by_sizes(999))
    assert twice.data == raw * 2


@pytest.mark.parametrize("chunks", [LONG, LONG[:1]], ids=["several", "one"])
def test_pgzip_is_read_in_parallel(tmp_path: Path, chunks: list[bytes]) -> None:
    """Its members say their sizes: whole frames, no stream."""
    path, raw = tmp_path / "x.gz", b"".join(chunks)
    with module("pgzip").open(path, "wb", thread=2, blocksize=10_000) as file:
        file.write(raw)
    for split in SPLITS.values():
        decoded = decode(path.read_bytes(), split=split)
        assert decoded.data == raw
        assert all(piece.frames is not None for piece in decoded.pieces)


def test_every_zlib_stream_is_read() -> None:
    """Python's zlib at every level and window, one behind another."""
    data = raw = b""
    for level in range(10):
        for wbits in range(9, 16):
            deflate = zlib.compressobj(level, wbits=wbits)
            data += deflate.compress(RAW) + deflate.flush()
            raw += RAW
    for split in SPLITS.values():
        assert decode(data, split=split).data == raw
