"""Sparse files in all four formats, and maps that lie."""

from __future__ import annotations

import io
import tarfile

import pytest

from aiocompress.errors import FormatError, LimitError
from aiocompress.formats.tar.header import BLOCK
from aiocompress.model import KIB

from ...help.tars import (
    FIRST,
    GNU,
    a_file,
    base_256,
    between,
    block,
    extended,
    old_sparse,
    only,
    padded,
    read,
    refused,
    sparse_member,
)
from ...help.tools import run, tool

FORMATS = ["old", "0.0", "0.1", "1.0"]
every_sparse_format = pytest.mark.parametrize("version", FORMATS)


@every_sparse_format
@pytest.mark.parametrize(
    ("pairs", "real"),
    [
        ([(512, 512)], 2048),
        ([(0, 512), (1024, 10)], 1034),
        ([(0, 512), (512, 512), (4096, 0)], 4096),
        ([(0, 0)], 0),
        ([(1 << 32, 600)], 1 << 33),
        ([(at * 1024, 512) for at in range(200)], 200 * 1024),
    ],
)
def test_sparse_files(version: str, pairs: list[tuple[int, int]], real: int) -> None:
    """All four formats say the same, GNU tar and tarfile agree, and empty parts are left out."""
    data = between(sparse_member(version, pairs, real))
    member = only(sparse_member(version, pairs, real))
    assert member.extents == tuple((offset, size) for offset, size in pairs if size)
    assert member.size == real
    assert member.stored_size == sum(size for _, size in pairs)
    listed = run(tool("tar"), "-tvf", "-", data=data).decode().splitlines()
    assert int(listed[1].split()[2]) == real
    with tarfile.open(fileobj=io.BytesIO(data)) as other:
        assert other.getmembers()[1].size == real


@every_sparse_format
@pytest.mark.parametrize(
    ("pairs", "real", "lie"),
    [
        ([(0, 512), (256, 512)], 2048, 0),
        ([(1024, 512), (0, 512)], 2048, 0),
        ([(0, 512), (0, 512)], 2048, 0),
        ([(1024, 512)], 1100, 0),
        ([(4096, 0)], 1024, 0),
        ([(0, 512)], 2048, 512),
        ([(0, 512), (1024, 512)], 2048, -512),
        ([(0o77777777000, 0o777)], 2048, 0),
    ],
)
def test_sparse_maps_that_lie(
    version: str, pairs: list[tuple[int, int]], real: int, lie: int
) -> None:
    """Overlaps, wrong order, beyond the end, more or less than is stored: refused."""
    refused(between(sparse_member(version, pairs, real, lie)))


SPARSE_SIZE = (b"GNU.sparse.size", b"9")
ONE_0 = (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9")


@pytest.mark.parametrize(
    "parts",
    [
        (extended(SPARSE_SIZE), a_file()),
        (extended((b"GNU.sparse.name", b"a")), a_file()),
        (extended((b"GNU.sparse.map", b"0,4")), a_file()),
        (extended(SPARSE_SIZE, (b"GNU.sparse.map", b"0,4,")), a_file()),
        (extended(SPARSE_SIZE, (b"GNU.sparse.map", b"0")), a_file()),
        (extended(SPARSE_SIZE, (b"GNU.sparse.map", b"-1,4")), a_file()),
        (extended(SPARSE_SIZE, (b"GNU.sparse.map", b"0,4"), (b"GNU.sparse.map", b"0,4")), a_file()),
        (
            extended(SPARSE_SIZE, (b"GNU.sparse.map", b"0,4"), (b"GNU.sparse.numblocks", b"2")),
            a_file(),
        ),
        (extended(SPARSE_SIZE, (b"GNU.sparse.offset", b"0")), a_file()),
        (extended(SPARSE_SIZE, (b"GNU.sparse.numbytes", b"4")), a_file()),
        (
            extended(SPARSE_SIZE, (b"GNU.sparse.offset", b"0"), (b"GNU.sparse.offset", b"0")),
            a_file(),
        ),
        (
            extended(SPARSE_SIZE, (b"GNU.sparse.realsize", b"8"), (b"GNU.sparse.map", b"0,4")),
            a_file(),
        ),
        (extended(SPARSE_SIZE, (b"GNU.sparse.map", b"0,4")), a_file(magic=GNU)),
        (extended(SPARSE_SIZE, (b"GNU.sparse.map", b"")), block(kind=b"5")),
        (
            extended(SPARSE_SIZE, (b"GNU.sparse.map", b"0,4")),
            old_sparse([(0, 4)], 9, 4),
            bytes(BLOCK),
        ),
        (extended(*ONE_0), a_file()),
        (extended(*ONE_0), a_file(data=b"1\n0\n4\n".ljust(512, b"\0"))),
        (extended(*ONE_0), a_file(data=b"-1\n0\n4\n".ljust(512, b"\0") + b"data")),
        (extended(*ONE_0), a_file(data=b"x\n0\n4\n".ljust(512, b"\0") + b"data")),
        (extended(*ONE_0), a_file(data=b"1\n0\n+4\n".ljust(512, b"\0") + b"data")),
        (extended(*ONE_0), a_file(data=b"9\n0\n4\n".ljust(512, b"\0") + b"data")),
        (extended(*ONE_0), a_file(data=b"9223372036854775807\n".ljust(512, b"\0") + b"data")),
        (extended(*ONE_0), a_file(data=b"1" * 1024)),
        (old_sparse([(0, 4)], 9, 4, more=1), bytes(1024)),
        (a_file(magic=GNU, map=b"00000000000\x0000000000004\0"),),
        (block(kind=b"S", size=4, magic=GNU, map=b"0" * 11 + bytes(13)), bytes(BLOCK)),
        (block(kind=b"S", size=4, magic=GNU, map=b"x" * 24), bytes(BLOCK)),
        (block(kind=b"S", size=4, magic=GNU, real_size=base_256(-1)), bytes(BLOCK)),
    ],
)
def test_damaged_sparse_files(parts: tuple[bytes, ...]) -> None:
    """Half a map, two maps, a map of something else: refused."""
    refused(between(*parts))


@pytest.mark.parametrize(
    "parts",
    [
        (extended((b"GNU.sparse.major", b"2"), (b"GNU.sparse.minor", b"0"), SPARSE_SIZE), a_file()),
        (extended((b"SCHILY.realsize", b"9")), a_file()),
        (block(kind=b"S", size=4), padded(b"data")),
    ],
)
def test_sparse_files_of_others(parts: tuple[bytes, ...]) -> None:
    """Kinds of which we know only that they exist: refused by name."""
    refused(between(*parts), FormatError)


def test_endless_sparse_maps() -> None:
    """A map is metadata: it has a limit, however it comes."""
    full = b"".join(b"%011o\0%011o\0" % (at * 512, 0) for at in range(21)) + b"\1" + bytes(7)
    head = old_sparse([(0, 0)] * 4, 0, 0, more=1)
    refused(FIRST + head + full * 30, LimitError, max_metadata=8 * KIB)
    text = b"4000\n" + b"0\n" * 8000
    data = between(extended(*ONE_0), a_file(data=padded(text)))
    refused(data, LimitError, max_metadata=8 * KIB)
    assert read(data).members[1].extents == ()
