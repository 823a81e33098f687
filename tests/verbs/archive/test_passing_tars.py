"""A tar that is compressed as it is gets an index, unless anything about it is odd."""

from __future__ import annotations

import io
import tarfile
from base64 import b85encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aiocompress import CorruptError, Engine, open_archive

from ...help import hostile
from ...help.archives import KIB, MIB, decompressed, every_suffix, two_threads, unpack
from ...help.data import noise
from ...help.hostile import Member, folder, hardlink, symlink
from ...help.tars import END, GNU, a_file, base_256, block, extended, long, sealed
from ...help.tools import run, tool
from ...help.trees import build, check_same, look, restored, zoo

CHUNK = 64 * KIB
KNOWN = (
    folder(b"d/"),
    Member(b"d/a", data=noise(100_000)),
    symlink(b"d/l", b"a"),
    hardlink(b"d/h", b"d/a"),
    Member(b"d/" + b"long" * 40, data=b"x"),
)
ONE = a_file(b"first")


async def passed(raw: bytes, path: Path, engine: Engine | None = None) -> Path:
    """Compress a tar as it is, in chunks that its members do not fit."""
    tar = path.with_name("source.tar")
    tar.write_bytes(raw)
    async with engine or two_threads() as works:
        await works.compress_file(tar, path, CHUNK, fsync=False)
    assert decompressed(path) == raw
    return path


def _has_index(path: Path) -> bool:
    """Whether a file holds the frame, or the members, that store a block of an index."""
    marks = (b"aiocmpix", b85encode(b"aiocmpix")[:8])
    return any(mark in path.read_bytes() for mark in marks)


async def names(path: Path) -> list[str]:
    async with open_archive(path) as archive:
        found = [member.name async for member in archive.members()]
        assert not archive.warnings
        return found


@every_suffix
@pytest.mark.parametrize("form", ["gnu", "posix", "bsdtar"])
async def test_tars_of_tools(suffix: str, form: str, tmp_path: Path) -> None:
    """The index agrees with every header, so all verbs take the archive as one of ours."""
    tree = restored(zoo())
    build(tmp_path / "top", tree)
    maker = [tool("bsdtar")] if form == "bsdtar" else [tool("tar"), "-H", form]
    raw = run(*maker, "-C", tmp_path / "top", "-cf", "-", ".")
    path = await passed(raw, tmp_path / f"x{suffix}")
    report = await unpack(path, tmp_path / "out", on_error="skip")
    await unpack(tmp_path / "source.tar", tmp_path / "read", on_error="skip")
    check_same(look(tmp_path / "out"), look(tmp_path / "read"))
    async with two_threads() as engine:
        tested = await engine.test(path)  # which compares the index with the headers
        await engine.recover(path, tmp_path / "recovered")
    assert tested.files == report.files
    check_same(look(tmp_path / "recovered"), look(tmp_path / "read"))
    with tarfile.open(fileobj=io.BytesIO(raw), errors="surrogateescape") as archive:
        theirs = [info.name for info in archive]
    assert await names(path) == theirs
    assert _has_index(path)


@every_suffix
async def test_a_pipe(suffix: str, tmp_path: Path) -> None:
    """A tar that comes in pieces of any size has the index of one that comes at once."""
    raw = hostile.tar(KNOWN)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(raw), 777):
            yield raw[at : at + 777]

    codec = "gzip" if suffix == ".tar.gz" else "zstd"
    async with (
        two_threads() as engine,
        engine.compress_stream(pieces(), codec=codec, chunk_size=CHUNK) as stream,
    ):
        streamed = b"".join([part async for part in stream])
    path = await passed(raw, tmp_path / f"x{suffix}")
    assert streamed == path.read_bytes()
    assert await names(path) == [to_name(member) for member in KNOWN]


def to_name(member: Member) -> str:
    return member.name.decode().rstrip("/")


async def test_names_that_begin_with_a_dot(tmp_path: Path) -> None:
    """Members of ``tar -C folder -c .`` are found by the names that users type."""
    raw = hostile.tar([folder(b"./"), folder(b"./sub/"), Member(b"./sub/a", data=b"A")])
    path = await passed(raw, tmp_path / "x.tar.zst")
    assert _has_index(path)
    async with open_archive(path) as archive:
        assert await archive.read("sub/a") == await archive.read("./sub/a") == b"A"
        assert await archive.exists("sub")
        assert not await archive.exists("a")
        assert await archive.listdir() == ["sub"]
        assert await archive.listdir("sub") == ["a"]
        assert [member.name async for member in archive.members("sub/")] == ["./sub/a"]


@pytest.mark.parametrize("zeros", [1024, 10 * KIB, MIB])
async def test_padding(zeros: int, tmp_path: Path) -> None:
    """What fills the last record of a tape belongs to the end."""
    path = await passed(ONE + bytes(zeros), tmp_path / "x.tar.zst")
    assert _has_index(path)
    assert await names(path) == ["first"]


def _sized(size: int) -> bytearray:
    """A header that claims a size no matter what follows."""
    head = bytearray(block(b"x"))
    head[124:136] = base_256(size)
    return head


ODD = {
    "no end": ONE,
    "half an end": ONE + bytes(512),
    "data behind the end": ONE + END + b"more",
    "another archive behind the end": (ONE + END) * 2,
    "zeros without end": ONE + bytes(MIB + 512),
    "half a block of zeros": ONE + bytes(1536 + 256),
    "cut off": (ONE + a_file(b"cut", noise(1000)))[:-300],
    "a damaged header": ONE + block(b"x")[:-1] + b"x" + END,
    "an absolute name": ONE + a_file(b"/root") + END,
    "no name": ONE + a_file(b"") + END,
    "an unknown type": ONE + block(b"x", b"Q") + END,
    "a volume label": ONE + block(b"x", b"V") + END,
    "an unreadable mode": ONE + a_file(uid=b"zzzzzzz\0") + END,
    "a folder with a size": ONE + block(b"d", b"5", 512) + END,
    "a hard link with a size": ONE + block(b"h", b"1", 512) + bytes(512) + END,
    "something said of all": extended((b"mtime", b"7"), kind=b"g") + ONE + END,
    "a header for no member": ONE + extended((b"path", b"x")) + END,
    "a huge member": ONE + sealed(_sized(1 << 61)) + END,
    "names with and without a dot": ONE + a_file(b"./first") + END,
    "a sparse member": ONE + block(b"s", b"S", magic=GNU) + END,
    "zeros": bytes(10 * KIB),
    "no tar": b"hello" * 1000,
}


@pytest.mark.parametrize("raw", ODD.values(), ids=ODD)
@every_suffix
async def test_without_an_index(raw: bytes, suffix: str, tmp_path: Path) -> None:
    """Where anything is odd there is no index, and the file is as it would be without."""
    path = await passed(raw, tmp_path / f"x{suffix}")
    assert not _has_index(path)


async def test_what_others_say_of_all(tmp_path: Path) -> None:
    """A comment for all members, as ``git archive`` writes it, is in nobody's way."""
    raw = extended((b"comment", b"0" * 40), kind=b"g") + ONE + long(b"L", b"n" * 200) + ONE + END
    path = await passed(raw, tmp_path / "x.tar.zst")
    assert _has_index(path)
    assert await names(path) == ["first", "n" * 200]
    report = await unpack(path, tmp_path / "out")
    assert report.files == 2
    async with two_threads() as engine:
        assert (await engine.test(path)).files == 2


async def test_an_end_that_is_none(tmp_path: Path) -> None:
    """An index that calls members an end is not believed."""
    path = await passed(ONE + bytes(2048), tmp_path / "x.tar.zst")
    whole = path.read_bytes()
    hidden = await passed(ONE + a_file(b"two") + END, tmp_path / "y.tar.zst")
    with_two = hidden.read_bytes()
    size = whole.index(b"\x59\x2a\x4d\x18")
    start = with_two.index(b"\x59\x2a\x4d\x18")
    # The index of the first archive, over the frames of the second.
    index = whole[size : whole.rindex(b"\x5e\x2a\x4d\x18")]
    assert index
    forged = with_two[:start] + index + _table(with_two, len(index))
    lying = tmp_path / "lying.tar.zst"
    lying.write_bytes(forged)
    async with open_archive(lying) as archive:
        assert [member.name async for member in archive.members()] == ["first", "two"]
        assert archive.warnings
    async with two_threads() as engine:
        with pytest.raises(CorruptError):
            await engine.test(lying)


def _table(data: bytes, index_size: int) -> bytes:
    """The seek table of an archive, with an index of another size in it."""
    table = bytearray(data[data.rindex(b"\x5e\x2a\x4d\x18") :])
    at = next(at for at in range(8, len(table) - 9, 12) if table[at + 4 : at + 8] == bytes(4))
    table[at : at + 4] = index_size.to_bytes(4, "little")
    return bytes(table)
