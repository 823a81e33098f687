"""A second reader, written from FORMAT.md alone: it knows nothing of the library.

``Container`` finds the frames of a file by its own tables, and ``Record`` is what its index says
of a member. Nothing is repaired here and nothing falls back: whatever breaks a rule is an
AssertionError.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import zstandard

ZSTD, SEEK_TABLE, INDEX_BLOCK = 0xFD2FB528, 0x184D2A5E, 0x184D2A59
NOTHING = 0x51D8E999
"""The checksum of no bytes."""
END_MEMBER = bytes.fromhex("1f8b08040000000000ff0800494704001e00000003000000000000000000")
_DIGITS = {
    ord(digit): value
    for value, digit in enumerate(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
    )
}


# Frames.


def is_marked(frame: bytes) -> bool:
    """Whether the header of a zstd frame carries the mark."""
    if len(frame) < 14:  # a small file that is all of one frame
        return False
    magic, descriptor, window, content = struct.unpack_from("<IBBQ", frame)
    return (
        magic == ZSTD
        and descriptor & 0b11100100 == 0b11000100
        and window & 7 == 1
        and content < 1 << 32
    )


def zstd_content(frame: bytes) -> bytes:
    """Return the raw bytes of one whole zstd frame."""
    about = zstandard.get_frame_parameters(frame)
    assert about.has_checksum
    assert _frame_end(frame) == len(frame)
    raw = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    assert len(raw) == about.content_size
    return raw


def _frame_end(frame: bytes) -> int:
    """Return where a zstd frame ends, by its block headers."""
    at, is_last = zstandard.frame_header_size(frame), False
    while not is_last:
        header = int.from_bytes(frame[at : at + 3], "little")
        is_last, kind = bool(header & 1), header >> 1 & 3
        at += 3 + (1 if kind == 1 else header >> 3)
    return at + 4


def gzip_content(member: bytes) -> bytes:
    """Return the raw bytes of one whole gzip member."""
    assert not member[3] or struct.unpack_from("<4sI", member, 12) == (b"IG\4\0", len(member))
    decoder = zlib.decompressobj(31)
    raw = decoder.decompress(member)
    assert decoder.eof
    assert not decoder.unused_data
    return raw


# Containers.


class Frame(NamedTuple):
    """A data frame: where it stands, and where its raw bytes do."""

    offset: int
    size: int
    raw_offset: int
    raw_size: int


class Container(NamedTuple):
    """An archive of either kind: its data frames, and the payloads of its index."""

    data: bytes
    frames: list[Frame]
    payloads: list[bytes]

    @classmethod
    def parse(cls, data: bytes) -> Container:
        """Find everything by the tables at the end."""
        return _parse_zst(data) if data[0] == 0x28 else _parse_gz(data)

    @property
    def raw_size(self) -> int:
        return self.frames[-1].raw_offset + self.frames[-1].raw_size

    def frame(self, number: int) -> bytes:
        """Return the raw bytes of a frame."""
        offset, size, _, raw_size = self.frames[number]
        data = self.data[offset : offset + size]
        raw = zstd_content(data) if data[0] == 0x28 else gzip_content(data)
        assert len(raw) == raw_size
        return raw

    def read(self, offset: int, size: int) -> bytes:
        """Return raw bytes, decoding only the frames that hold them."""
        parts, end = [], offset + size
        for number, frame in enumerate(self.frames):
            start = frame.raw_offset
            if start < end and offset < start + frame.raw_size:
                parts.append(self.frame(number)[max(0, offset - start) : end - start])
        return b"".join(parts)


def seek_table(data: bytes) -> list[tuple[int, int, int]]:
    """Return compressed size, raw size and checksum of each frame of a ``.zst`` file."""
    count, descriptor, magic = struct.unpack("<IBI", data[-9:])
    assert (descriptor, magic) == (0x80, 0x8F92EAB1)
    start = len(data) - 12 * count - 17
    assert struct.unpack_from("<II", data, start) == (SEEK_TABLE, 12 * count + 9)
    entries = list(struct.iter_unpack("<III", data[start + 8 : -9]))
    assert sum(size for size, _, _ in entries) == start
    return entries


def _parse_zst(data: bytes) -> Container:
    assert is_marked(data)
    frames, payloads = [], []
    at = raw = 0
    for size, raw_size, checksum in seek_table(data):
        frame = data[at : at + size]
        if (raw_size, checksum) == (0, NOTHING):
            assert struct.unpack_from("<II", frame) == (INDEX_BLOCK, size - 8)
            payloads.append(frame[8:])
        else:
            assert frame[-4:] == struct.pack("<I", checksum)
            frames.append(Frame(at, size, raw, raw_size))
        at, raw = at + size, raw + raw_size
    return Container(data, frames, payloads)


def _parse_gz(data: bytes) -> Container:
    assert data[20:32] == b"aiocompress\0"
    end = len(data) - 100
    first = int(data[end + 39 : end + 59])
    assert data[end:] == index_member(b"@%020d" % first) + END_MEMBER
    *payloads, table = _payloads(data, first, end)
    magic, version, count = struct.unpack_from("<8sII", table)
    pairs = list(struct.iter_unpack("<II", table[16:]))
    assert (magic, version, count) == (b"aiocmpft", 1, 2 * len(pairs))
    frames, at, raw = [], 0, 0
    for size, raw_size in pairs:
        frames.append(Frame(at, size, raw, raw_size))
        at, raw = at + size, raw + raw_size
    assert at == first
    return Container(data, frames, payloads)


def _payloads(data: bytes, at: int, end: int) -> list[bytes]:
    """Return what a run of index members holds."""
    payloads, payload = [], b""
    while at < end:
        size = int.from_bytes(data[at + 16 : at + 20], "little")
        text = data[at + 38 : at + size - 11]
        assert data[at : at + size] == index_member(text)
        payload, at = payload + base85(text[1:]), at + size
        if text[:1] == b".":
            payloads.append(payload)
            payload = b""
        else:
            assert text[:1] == b"+"
    assert (at, payload) == (end, b"")
    return payloads


def index_member(text: bytes) -> bytes:
    """Return an empty gzip member that holds a kind and a text in its comment."""
    comment = b"aiocompress index " + text + b"\0"
    head = bytes.fromhex("1f8b0814 00000000 00ff 0800 49470400")
    return head + struct.pack("<I", 30 + len(comment)) + comment + b"\3" + bytes(9)


def base85(text: bytes) -> bytes:
    """Return what a text in base85 stands for."""
    data = b""
    for at in range(0, len(text), 5):
        group, value = text[at : at + 5], 0
        for digit in group.ljust(5, b"~"):
            value = value * 85 + _DIGITS[digit]
        data += value.to_bytes(4, "big")[: len(group) - 1]
    return data


# Front to back, and free of what depends on the compressor.


def structure(data: bytes) -> list[object]:
    """Return what a file consists of, in order: raw bytes of frames, marks, tables and index.

    A framed container is one of paths and chunks.
    """
    if data[:4] == struct.pack("<I", ZSTD):
        return [_zstd_part(part) for part in _cut(data, _zstd_end)]
    if data[:2] == b"\x1f\x8b":
        return [_gzip_part(part) for part in _cut(data, _gzip_end)]
    return [*framed_entries(data)]


def _cut(data: bytes, end: Callable[[bytes], int]) -> Iterator[bytes]:
    while data:
        size = end(data)
        assert 0 < size <= len(data)
        yield data[:size]
        data = data[size:]


def _zstd_end(data: bytes) -> int:
    magic, size = struct.unpack_from("<II", data)
    return _frame_end(data) if magic == ZSTD else 8 + size


def _gzip_end(data: bytes) -> int:
    # A member without an extra field is all of a small file.
    return int.from_bytes(data[16:20], "little") if data[3] else len(data)


def _zstd_part(part: bytes) -> object:
    magic = int.from_bytes(part[:4], "little")
    if magic == ZSTD:
        return zstd_content(part), is_marked(part)
    if magic == INDEX_BLOCK:
        return content_of(part[8:])
    return [row[1:] for row in struct.iter_unpack("<III", part[8:-9])], part[-9:]


def _gzip_part(part: bytes) -> object:
    raw = gzip_content(part)
    if raw or not part.startswith(b"aiocompress index", 20):
        comment = part[20 : part.index(0, 20)] if part[3] & 16 else b""
        return raw, part[:16], comment
    (payload,) = _payloads(part, 0, len(part)) if part[38:39] != b"@" else (b"",)
    if payload.startswith(b"aiocmpix"):
        return content_of(payload)
    return payload[:16], [raw for _, raw in struct.iter_unpack("<II", payload[16:])]


def framed_entries(data: bytes) -> Iterator[tuple[str, bytes, bool]]:
    """Yield the entries of a framed container: what each is, holds, and whether it is marked."""
    at = 0
    while at < len(data):
        is_chunk = data[at + 4 : at + 8] == struct.pack("<I", ZSTD)
        start = at + (4 if is_chunk else 2)
        end = start + int.from_bytes(data[at:start], "big")
        part, at = data[start:end], end
        if is_chunk:
            yield "chunk", zstd_content(part), is_marked(part)
        else:
            yield "path", part, False


# The index.


class Record(NamedTuple):
    """What the index says of a member."""

    name: bytes
    link: bytes
    kind: int
    blocks: int
    size: int
    mode: int
    mtime_ns: int
    owner: tuple[bytes, ...]
    offset: int

    @property
    def data_offset(self) -> int:
        return self.offset + 512 * self.blocks

    @property
    def end(self) -> int:
        return self.data_offset + -(-self.size // 512) * 512


def content_of(payload: bytes) -> bytes:
    """Return the content of an index block."""
    magic, version, size = struct.unpack_from("<8sII", payload)
    assert (magic, version, size) == (b"aiocmpix", 1, len(payload) - 16)
    return zstd_content(payload[16:])


def columns_of(content: bytes) -> list[bytes]:
    """Return the nine columns of an index block."""
    columns, at = [], 12
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "little")
        columns.append(content[at + 4 : at + 4 + size])
        at += 4 + size
    assert at == len(content)
    assert len(columns) == 9
    return columns


def records_of(payload: bytes) -> Iterator[Record]:
    """Yield the records of an index block."""
    content = content_of(payload)
    offset, count = struct.unpack_from("<QI", content)
    names, links, kinds, blocks, planes, modes, times, owners, table = columns_of(content)
    if not count:
        return
    values = table.split(b"\0")
    rows = [tuple(values[first : first + 4]) for first in range(0, len(values), 4)]
    columns = zip(
        expanded(names.split(b"\0")),
        links.split(b"\0"),
        kinds,
        struct.unpack(f"<{count}H", blocks),
        [int.from_bytes(planes[number::count], "little") for number in range(count)],
        struct.unpack(f"<{count}H", modes),
        struct.unpack(f"<{count}q", times),
        [rows[number] for number in struct.unpack(f"<{count}H", owners)],
        strict=True,
    )
    for fields in columns:
        record = Record(*fields, offset)
        yield record
        offset = record.end


def expanded(stored: list[bytes]) -> list[bytes]:
    """Return names in full."""
    names, full = [], b""
    for name in stored:
        if name[:1] == b"/":
            names.append(full[: full.rfind(b"/") + 1] + name[1:])
        else:
            names.append(name)
            full = name
    return names


def records(container: Container) -> list[Record]:
    """Return all records of an archive, which they have to tile."""
    found = [record for payload in container.payloads for record in records_of(payload)]
    assert found[0].offset == 0
    assert all(one.end == following.offset for one, following in pairwise(found))
    assert found[-1].end == container.raw_size - 1024
    assert container.read(found[-1].end, 1024) == bytes(1024)
    return found


def agrees(record: Record, header: bytes) -> bool:
    """Whether the ustar header in front of a member's content says what its record says.

    Names and links may be cut in it, and early times are zero: extended headers are not read here.
    """
    mode, size, seconds, checksum = (
        int(header[start:end], 8) for start, end in ((100, 107), (124, 135), (136, 147), (148, 154))
    )
    name = header[:100].rstrip(b"\0").removesuffix(b"/")
    return (
        sum(header[:148]) + 8 * 32 + sum(header[156:]) == checksum
        and (mode, size) == (record.mode, record.size)
        and seconds == max(0, record.mtime_ns // 1_000_000_000)
        and header[156] == record.kind
        and header[157:257].rstrip(b"\0") == record.link[:100]
        and (record.name.startswith(name) or record.name.endswith(name))
    )
