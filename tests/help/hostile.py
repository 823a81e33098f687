"""Archives byte by byte: what no honest packer writes, plain, compressed, and with an index.

``Member`` is one header with its content, ``tar`` an archive of them; ``compressed`` puts it into
a container as other tools do, ``indexed`` into one of ours, whose index says what it is told to.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aiocompress.formats import FORMATS
from aiocompress.formats.gzip import container as gz
from aiocompress.formats.tar.index import Records
from aiocompress.model import Buffer

from .built import gzip_member

BLOCK = 512
END = bytes(2 * BLOCK)
TIME = 1_500_000_000


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def octal(value: int, size: int) -> bytes:
    """A number of a header; base-256 if it is too large, or negative."""
    digits = b"%0*o" % (size - 1, value) if value >= 0 else b" " * size
    if len(digits) < size:
        return digits + b"\0"
    marked = value.to_bytes(size, "big", signed=True)
    return bytes([marked[0] | 0x80]) + marked[1:]


def header(
    name: bytes,
    kind: bytes = b"0",
    size: int = 0,
    *,
    mode: int = 0o644,
    link: bytes = b"",
    mtime: int = TIME,
    ids: tuple[int, int] = (0, 0),
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """One ustar block, whatever is in it (POSIX.1-2008)."""
    fields = (
        name[:100].ljust(100, b"\0"),
        octal(mode, 8),
        octal(ids[0], 8),
        octal(ids[1], 8),
        octal(size, 12),
        octal(mtime, 12),
        b" " * 8,
        kind,
        link[:100].ljust(100, b"\0"),
        b"ustar\x0000",
        bytes(64),
        octal(device[0], 8),
        octal(device[1], 8),
    )
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def record(key: bytes, value: bytes) -> bytes:
    r"""A pax record, ``"%d %s=%s\n"``."""
    size = len(key) + len(value) + 3
    while size != len(b"%d %b=%b\n" % (size, key, value)):
        size = len(b"%d %b=%b\n" % (size, key, value))
    return b"%d %b=%b\n" % (size, key, value)


@dataclass(frozen=True, slots=True)
class Member:
    """A member; a long name or target, and what ``pax`` says, come in a pax header."""

    name: bytes
    kind: bytes = b"0"
    data: bytes = b""
    link: bytes = b""
    mode: int = 0o644
    mtime: int = TIME
    ids: tuple[int, int] = (0, 0)
    device: tuple[int, int] = (0, 0)
    pax: tuple[tuple[bytes, bytes], ...] = ()

    def headers(self) -> bytes:
        records = list(self.pax)
        if len(self.name) > 100:
            records.append((b"path", self.name))
        if len(self.link) > 100:
            records.append((b"linkpath", self.link))
        block = header(
            self.name,
            self.kind,
            len(self.data),
            mode=self.mode,
            link=self.link,
            mtime=self.mtime,
            ids=self.ids,
            device=self.device,
        )
        if not records:
            return block
        body = b"".join(record(*one) for one in records)
        return header(b"pax", b"x", len(body)) + padded(body) + block

    def __bytes__(self) -> bytes:
        return self.headers() + padded(self.data)

    @property
    def row(self) -> Row:
        """What an honest index says of it."""
        name = self.name.rstrip(b"/") if self.kind == b"5" else self.name
        blocks = len(self.headers()) // BLOCK
        owner = *self.ids, b"", b""
        when = self.mtime * 1_000_000_000
        return Row(name, self.kind[0], blocks, len(self.data), self.mode, when, owner, self.link)


def folder(
    name: bytes, mode: int = 0o755, mtime: int = TIME, ids: tuple[int, int] = (0, 0)
) -> Member:
    return Member(name + b"/", b"5", mode=mode, mtime=mtime, ids=ids)


def symlink(name: bytes, target: bytes) -> Member:
    return Member(name, b"2", link=target, mode=0o777)


def hardlink(name: bytes, target: bytes) -> Member:
    return Member(name, b"1", link=target)


class Row(NamedTuple):
    """One record of the index, as ``Records.add`` takes it."""

    name: bytes
    kind: int
    blocks: int
    size: int
    mode: int
    mtime_ns: int
    owner: tuple[int, int, bytes, bytes]
    link: bytes


def tar(members: Iterable[Member]) -> bytes:
    return b"".join(map(bytes, members)) + END


def compressed(raw: bytes, codec: str = "zstd") -> bytes:
    """As other tools write it: one frame, without any index."""
    if codec == "gzip":
        return gzip_member(raw)
    return bytes(FORMATS["zstd"].codec.compress(memoryview(raw), 3))


Lie = Callable[[list[Row]], list[Row]]
Blocks = Callable[[list[bytes]], list[bytes]]
Table = Callable[[list[list[int]]], list[list[int]]]


def indexed(
    members: Sequence[Member],
    codec: str = "zstd",
    *,
    frame: int = 1 << 20,
    lie: Lie = list,
    blocks: Blocks = list,
    table: Table = list,
    in_block: int = 1000,
    shift: int = 0,
) -> bytes:
    """An archive of ours.

    :param frame: raw bytes of a frame.
    :param lie: changes the records of the index.
    :param blocks: changes its blocks, packed.
    :param table: changes the rows (compressed, raw, ...) of the table of frames.
    :param in_block: records in a block.
    :param shift: added to the offset where each block says that it begins.
    """
    body = b"".join(map(bytes, members))
    raws = [body[at : at + frame] for at in range(0, len(body), frame)] + [END]
    rows = lie([member.row for member in members])
    index = blocks(_packed(rows, in_block, shift))
    row, make_writer = FORMATS[codec].codec, FORMATS[codec].container.writer
    assert make_writer is not None
    writer = make_writer()
    parts: list[Buffer] = []
    for number, raw in enumerate(raws):
        made = bytearray(row.compress(memoryview(raw), row.default_level))
        parts += writer.add(memoryview(made), len(raw))
        if codec == "zstd" and number == len(raws) - 2:
            parts += [writer.index(block) for block in index]
    if not body and codec == "zstd":
        parts += [writer.index(block) for block in index]
    if codec == "gzip":
        parts += [writer.index(block) for block in index]
    end = writer.finish()
    whole = b"".join(map(bytes, parts))
    return whole + (_zst_table(end, table) if codec == "zstd" else _gz_table(end, table))


def _packed(rows: list[Row], in_block: int, shift: int) -> list[bytes]:
    packed, start = [], 0
    for first in range(0, max(1, len(rows)), in_block):
        records = Records(start + shift)
        for row in rows[first : first + in_block]:
            records.add(*row)
        packed.append(records.pack())
        start = records.end - shift
    return packed


def _zst_table(end: bytes, change: Table) -> bytes:
    count = struct.unpack("<I", end[-9:-5])[0]
    rows = [list(struct.unpack_from("<III", end, 8 + 12 * at)) for at in range(count)]
    rows = change(rows)
    body = b"".join(struct.pack("<III", *row) for row in rows)
    body += struct.pack("<IBI", len(rows), 0x80, 0x8F92EAB1)
    return struct.pack("<II", 0x184D2A5E, len(body)) + body


def _gz_table(end: bytes, change: Table) -> bytes:
    if change is list:
        return end
    tail = sum(_member_sizes(end)[-2:])
    payload = gz.index_payload(end[:-tail])
    assert payload is not None
    rows = [list(struct.unpack_from("<II", payload, at)) for at in range(16, len(payload), 8)]
    rows = change(rows)
    body = struct.pack("<8sII", b"aiocmpft", 1, 2 * len(rows))
    body += b"".join(struct.pack("<II", *row) for row in rows)
    return gz.Writer().index(body) + end[-tail:]


def _member_sizes(data: bytes) -> list[int]:
    """How many bytes each of our gzip members has, as its ``IG`` subfield says."""
    sizes = []
    while sum(sizes) < len(data):
        sizes += struct.unpack_from("<I", data, sum(sizes) + 16)
    return sizes
