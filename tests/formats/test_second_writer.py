"""What is written by FORMAT.md alone is read by the library; what lies in it costs no data."""

from __future__ import annotations

import base64
import io
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import zstandard

import aiocompress

from .second_reader import (
    END_MEMBER,
    INDEX_BLOCK,
    NOTHING,
    SEEK_TABLE,
    ZSTD,
    Container,
    Record,
    index_member,
    records,
)

FILES = {"a": b"first", "folder/b": b"second " * 100, "folder/c": b"", "d": b"fourth"}
NANOSECOND = 5_000_000_001
END = bytes(1024)
PIECE = 50


# A second writer.


class Archive(NamedTuple):
    """Members as a tar, without its end, and what an index says of them."""

    raw: bytes
    found: list[Record]

    @classmethod
    def make(cls) -> Archive:
        """Let Python's own module write the tar."""
        file, found, offset = io.BytesIO(), [], 0
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in FILES.items():
                about = tarfile.TarInfo(name)
                about.size, about.mtime = len(data), NANOSECOND // 1_000_000_000
                tar.addfile(about, io.BytesIO(data))
                fields = (ord("0"), 1, len(data), 0o644, NANOSECOND, (b"0", b"0", b"", b""))
                found.append(Record(name.encode(), b"", *fields, offset))
                offset = found[-1].end
        return cls(file.getvalue()[:offset], found)


def zstd_frame(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(raw)


def payload_of(found: list[Record], version: int = 1) -> bytes:
    """Pack one block; all members have one owner, and no name is shortened."""
    planes = b"".join(struct.pack("<Q", record.size) for record in found)
    columns = (
        b"\0".join(record.name for record in found),
        b"\0".join(record.link for record in found),
        bytes(record.kind for record in found),
        b"".join(struct.pack("<H", record.blocks) for record in found),
        b"".join(planes[number::8] for number in range(8)),
        b"".join(struct.pack("<H", record.mode) for record in found),
        b"".join(struct.pack("<q", record.mtime_ns) for record in found),
        bytes(2 * len(found)),
        b"\0".join(found[0].owner),
    )
    content = struct.pack("<QI", found[0].offset, len(found))
    content += b"".join(struct.pack("<I", len(column)) + column for column in columns)
    frame = zstd_frame(content)
    return struct.pack("<8sII", b"aiocmpix", version, len(frame)) + frame


def marked(frame: bytes, size: int) -> bytes:
    """Write the header of a frame anew: it is that of a single segment, as the data is small."""
    exponent = max(10, (size - 1).bit_length()) - 10
    head = struct.pack("<IBBQ", ZSTD, 0b11000100, exponent << 3 | 1, size)
    return head + frame[zstandard.frame_header_size(frame) :]


def zst_of(chunks: list[bytes], payloads: list[bytes]) -> bytes:
    first, *others = map(zstd_frame, chunks)
    frames = [marked(first, len(chunks[0])), *others]
    entries = [
        struct.pack("<II", len(frame), len(raw)) + frame[-4:]
        for frame, raw in zip(frames, chunks, strict=True)
    ]
    blocks = [struct.pack("<II", INDEX_BLOCK, len(payload)) + payload for payload in payloads]
    entries += [struct.pack("<III", len(block), 0, NOTHING) for block in blocks]
    count = len(entries)
    head = struct.pack("<II", SEEK_TABLE, 12 * count + 9)
    foot = struct.pack("<IBI", count, 0x80, 0x8F92EAB1)
    return b"".join((*frames, *blocks, head, *entries, foot))


def gzip_member(raw: bytes, comment: bytes = b"") -> bytes:
    encoder = zlib.compressobj(wbits=-15)
    body = comment + encoder.compress(raw) + encoder.flush()
    body += struct.pack("<II", zlib.crc32(raw), len(raw))
    flags = 4 | (16 if comment else 0)
    head = bytes((0x1F, 0x8B, 8, flags, 0, 0, 0, 0, 0, 0xFF, 8, 0)) + b"IG\4\0"
    return head + struct.pack("<I", 20 + len(body)) + body


def gz_of(chunks: list[bytes], payloads: list[bytes]) -> bytes:
    first, *others = chunks
    members = [gzip_member(first, b"aiocompress\0"), *map(gzip_member, others)]
    table = struct.pack("<8sII", b"aiocmpft", 1, 2 * len(chunks))
    for member, raw in zip(members, chunks, strict=True):
        table += struct.pack("<II", len(member), len(raw))
    index = [index_member(text) for payload in (*payloads, table) for text in texts_of(payload)]
    index.append(index_member(b"@%020d" % sum(map(len, members))))
    return b"".join((*members, *index, END_MEMBER))


def texts_of(payload: bytes) -> Iterator[bytes]:
    """Yield what stands in the comments of index members; pieces are smaller than usual."""
    for start in range(0, len(payload), PIECE):
        kind = b"+" if start + PIECE < len(payload) else b"."
        yield kind + base64.b85encode(payload[start : start + PIECE])


Writer = Callable[[list[bytes], list[bytes]], bytes]
every_writer = pytest.mark.parametrize(
    ("suffix", "write"), [(".tar.zst", zst_of), (".tar.gz", gz_of)], ids=["zst", "gz"]
)


# What the library makes of it.


async def contents(path: Path) -> tuple[bool, dict[str, bytes]]:
    """Return whether the index was used to the end, and what all members hold."""
    async with aiocompress.open_archive(path) as archive:
        async with archive.members() as members:
            names = [member.name async for member in members]
        found = {name: await archive.read(name) for name in names}
        return archive.is_indexed, found


@every_writer
async def test_archive_is_read(tmp_path: Path, suffix: str, write: Writer) -> None:
    """An archive by the page is one with an index, and passes the strictest check."""
    raw, found = Archive.make()
    path = tmp_path / f"x{suffix}"
    path.write_bytes(write([raw[:700], raw[700:], END], [payload_of(found)]))
    assert await contents(path) == (True, FILES)
    async with aiocompress.open_archive(path) as archive:
        assert (await archive.member("folder/b")).mtime_ns == NANOSECOND
    assert (await aiocompress.test(path)).raw_bytes == len(raw) + 1024


@every_writer
async def test_several_blocks_are_read(tmp_path: Path, suffix: str, write: Writer) -> None:
    """Blocks follow each other, however many records each of them holds."""
    raw, found = Archive.make()
    payloads = [payload_of(found[:1]), payload_of(found[1:3]), payload_of(found[3:])]
    path = tmp_path / f"x{suffix}"
    path.write_bytes(write([raw, END], payloads))
    assert records(Container.parse(path.read_bytes())) == found
    assert await contents(path) == (True, FILES)
    await aiocompress.test(path)


LIES: dict[str, Callable[[list[Record]], list[bytes]]] = {
    "size": lambda found: [payload_of([found[0]._replace(size=513), *found[1:]])],
    "time": lambda found: [payload_of([found[0]._replace(mtime_ns=0), *found[1:]])],
    "mode": lambda found: [payload_of([found[0]._replace(mode=0o4755), *found[1:]])],
    "member left out": lambda found: [payload_of(found[1:])],
    "order": lambda found: [payload_of(found[2:]), payload_of(found[:2])],
    "type": lambda found: [payload_of([found[0]._replace(kind=ord("9")), *found[1:]])],
    "version": lambda found: [payload_of(found, version=2)],
    "damage": lambda found: [payload_of(found)[:-1] + b"?"],
}


@every_writer
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_index_that_lies(
    tmp_path: Path, suffix: str, write: Writer, lie: Callable[[list[Record]], list[bytes]]
) -> None:
    """An index that does not agree is not used, all members are read, and a check tells of it."""
    raw, found = Archive.make()
    path = tmp_path / f"x{suffix}"
    path.write_bytes(write([raw, END], lie(found)))
    assert await contents(path) == (False, FILES)
    with pytest.raises(aiocompress.CorruptError):
        await aiocompress.test(path)


@pytest.mark.parametrize("write", [zst_of, gz_of])
async def test_cut_anywhere(write: Writer) -> None:
    """A marked file without its end is an error, even where all frames that are left are whole."""
    whole = write([b"one", b"two"], [])
    async with aiocompress.Engine(1, executor="thread") as engine:
        for size in range(len(whole)):
            with pytest.raises(aiocompress.AiocompressError):
                await engine.decompress(whole[:size])
        assert await engine.decompress(whole) == b"onetwo"


# The framed container, by others.


def framed(name: str, order: Any, *, characters: bool = False, marks: bool = False) -> bytes:
    """Write a container of one of the four variants, marked or not."""
    data = b""
    for path, chunks in {name: [b"1" * 50, b"2" * 50, b"3"], "x": [], "y/z": [b"4"]}.items():
        length = len(path) if characters else len(path.encode())
        data += length.to_bytes(2, order) + path.encode()
        for chunk in chunks:
            frame = zstd_frame(chunk)
            frame, marks = marked(frame, len(chunk)) if marks else frame, False
            data += len(frame).to_bytes(4, order) + frame
    return data


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("characters", [False, True], ids=["bytes", "characters"])
async def test_framed_variants(tmp_path: Path, order: str, *, characters: bool) -> None:
    """All variants are read, one of them with a warning: nobody knows whether it is in order."""
    (tmp_path / "in").write_bytes(framed("\xe9\u4e2d", order, characters=characters))
    report = await aiocompress.decompress_folder(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "\xe9\u4e2d").read_bytes() == b"1" * 50 + b"2" * 50 + b"3"
    assert (tmp_path / "out" / "x").read_bytes() == b""
    assert (tmp_path / "out" / "y" / "z").read_bytes() == b"4"
    assert bool(report.warnings) == (order == "big" and characters)


@pytest.mark.parametrize("marks", [False, True], ids=["plain", "marked"])
async def test_mark_of_a_framed_container(tmp_path: Path, *, marks: bool) -> None:
    """In ASCII bytes and characters are the same: only the mark says that chunks are in order."""
    (tmp_path / "in").write_bytes(framed("ascii", "big", marks=marks))
    report = await aiocompress.decompress_folder(tmp_path / "in", tmp_path / "out")
    assert bool(report.warnings) == (not marks)
