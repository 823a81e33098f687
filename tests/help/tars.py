"""tar archives built by hand, block by block, and read on the bytes floor alone."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from aiocompress.errors import AiocompressError, CorruptError
from aiocompress.formats.tar import header
from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import END, padding
from aiocompress.model import Buffer, Member

from .containers import check_offset
from .data import SPLITS, Split, at_once, by_byte
from .hostile import record

every_split = pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)


@dataclass(slots=True)
class Archive:
    """What came out of a reader."""

    members: list[Member] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [member.name for member in self.members]

    def __getitem__(self, name: str) -> tuple[Member, bytes]:
        """The only member of that name, and its content with all zeros."""
        (at,) = (at for at, member in enumerate(self.members) if member.name == name)
        return self.members[at], expand(self.members[at], self.contents[at])


def expand(member: Member, stored: bytes) -> bytes:
    """Put stored bytes where they belong."""
    if member.extents is None:
        return stored
    whole, at = bytearray(member.size), 0
    for offset, size in member.extents:
        whole[offset : offset + size] = stored[at : at + size]
        at += size
    return bytes(whole)


def read(data: bytes, split: Split = at_once, **options: int) -> Archive:
    """Read an archive; every member's content has the size that the member says."""
    reader, archive = tar.Reader(**options), Archive()
    archive.warnings = reader.warnings
    contents: list[bytearray] = []
    for part in split(data):
        for item in reader.feed(part):
            if isinstance(item, Member):
                archive.members.append(item)
                contents.append(bytearray())
            else:
                contents[-1] += item
    reader.finish()
    archive.contents = list(map(bytes, contents))
    for member, stored in zip(archive.members, archive.contents, strict=True):
        assert len(stored) == member.stored_size
        if member.kind == "file" and member.extents is None:
            assert stored == data[member.data_offset :][: member.stored_size]
    return archive


def check_headers(archive: Archive, data: bytes) -> None:
    """Assert that each member's headers alone say the same, where there are no global ones."""
    for member in archive.members:
        again = tar.parse(data[member.offset : member.data_offset])
        assert again == member._replace(offset=0, data_offset=again.data_offset)


def refused(
    data: bytes, error: type[AiocompressError] = CorruptError, **options: int
) -> AiocompressError:
    """Read an archive that is to be refused, whole and byte by byte; returns the error."""
    errors = []
    for split in (at_once, by_byte):
        with pytest.raises(error) as caught:
            read(data, split, **options)
        check_offset(caught.value, len(data))
        errors.append(caught.value)
    assert str(errors[0]) == str(errors[1])
    return errors[0]


def sealed(block: Buffer) -> bytes:
    """A header block with the right checksum."""
    done = bytearray(block)
    done[148:156] = b" " * 8
    done[148:156] = b"%06o\0 " % sum(done)
    return bytes(done)


def block(name: bytes = b"m", kind: bytes = b"0", size: int = 0, **fields: bytes) -> bytes:
    """A ustar header; ``fields`` are written over it, by the names of ``FIELDS``."""
    made = bytearray(header.header(name, kind, 0o644, size, 0, b"", header.owner(0, 0, "", "")))
    for key, value in fields.items():
        made[FIELDS[key] : FIELDS[key] + len(value)] = value
    return sealed(made)


FIELDS = {
    "name": 0,
    "mode": 100,
    "uid": 108,
    "gid": 116,
    "size": 124,
    "mtime": 136,
    "link": 157,
    "magic": 257,
    "user": 265,
    "major": 329,
    "prefix": 345,
    "map": 386,
    "more": 482,
    "real_size": 483,
}
GNU = b"ustar  \0"


def padded(data: bytes) -> bytes:
    return data + bytes(padding(len(data)))


def a_file(name: bytes = b"m", data: bytes = b"data", **fields: bytes) -> bytes:
    return block(name, b"0", len(data), **fields) + padded(data)


def extended(*records: tuple[bytes, bytes], kind: bytes = b"x", body: bytes | None = None) -> bytes:
    """A pax header."""
    text = b"".join(record(*one) for one in records) if body is None else body
    return block(b"pax", kind, len(text)) + padded(text)


def long(kind: bytes, text: bytes) -> bytes:
    """A GNU header with a long name (L) or a long link target (K)."""
    return block(b"././@LongLink", kind, len(text) + 1, magic=GNU) + padded(text + b"\0")


FIRST, LAST = a_file(b"first"), a_file(b"last")
HIDDEN = block(b"hidden")


def between(*parts: bytes) -> bytes:
    """An archive with ``parts`` in its middle."""
    return FIRST + b"".join(parts) + LAST + END


LARGEST_ID = (1 << 63) - 1


def by_tarfile(version: int) -> bytes:
    """A small archive of many kinds of members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=version) as out:
        for name, kind, content, fields in TARFILE_MEMBERS:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            for key, value in {"uname": "someone", "mtime": 12345, **fields}.items():
                setattr(info, key, value)
            with suppress(ValueError):  # ustar cannot say it
                out.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


TARFILE_MEMBERS: list[tuple[str, bytes, bytes, dict[str, Any]]] = [
    ("plain", tarfile.REGTYPE, b"plain" * 200, {}),
    ("folder", tarfile.DIRTYPE, b"", {"mode": 0o755}),
    ("long" * 60, tarfile.REGTYPE, b"l", {}),
    ("caf\xe9 \udcff", tarfile.REGTYPE, b"", {"uid": 1 << 40, "mtime": -5}),
    ("soft", tarfile.SYMTYPE, b"", {"linkname": "t" * 200}),
    ("hard", tarfile.LNKTYPE, b"", {"linkname": "plain"}),
    ("fifo", tarfile.FIFOTYPE, b"", {"gid": 1 << 22}),
    ("device", tarfile.CHRTYPE, b"", {"devmajor": 5, "devminor": 6}),
]


def only(*parts: bytes) -> Member:
    """The one member of these headers, between two others, and however it is fed."""
    archive = read(between(*parts))
    check_headers(archive, between(*parts))
    assert archive == read(between(*parts), by_byte)
    first, member, last = archive.members
    assert (first.name, last.name) == ("first", "last")
    assert member.offset == len(FIRST)
    assert last.offset == member.end
    return member


def base_256(value: int, size: int = 12) -> bytes:
    """A number as GNU tar writes those that octal digits cannot."""
    if value < 0:
        return value.to_bytes(size, "big", signed=True)
    return b"\x80" + value.to_bytes(size - 1, "big")


def old_sparse(pairs: Iterable[tuple[int, int]], real: int, stored: int, *, more: int = 0) -> bytes:
    """A header of the old GNU format, with the blocks behind it that four pairs do not fill."""
    entries = [b"%011o\0%011o\0" % pair for pair in pairs]
    rest = [entries[at : at + 21] for at in range(4, len(entries), 21)]
    made = block(
        kind=b"S",
        size=stored,
        magic=GNU,
        map=b"".join(entries[:4]),
        more=bytes([bool(rest) or more]),
        real_size=b"%011o\0" % real,
    )
    for number, part in enumerate(rest, 1):
        made += b"".join(part).ljust(504, b"\0") + bytes([number < len(rest)]) + bytes(7)
    return made


def pax_sparse(version: str, pairs: list[tuple[int, int]], real: int) -> tuple[bytes, bytes, int]:
    """A pax header for a sparse file, the map in front of its content, and how much is stored."""
    stored = sum(size for _, size in pairs)
    size, count = b"%d" % real, b"%d" % len(pairs)
    if version == "0.0":
        records = [(b"GNU.sparse.size", size), (b"GNU.sparse.numblocks", count)]
        for offset, length in pairs:
            records.append((b"GNU.sparse.offset", b"%d" % offset))
            records.append((b"GNU.sparse.numbytes", b"%d" % length))
        return extended(*records), b"", stored
    if version == "0.1":
        text = b",".join(b"%d,%d" % pair for pair in pairs)
        records = [(b"GNU.sparse.size", size), (b"GNU.sparse.numblocks", count)]
        return extended(*records, (b"GNU.sparse.map", text)), b"", stored
    text = padded(b"%d\n" % len(pairs) + b"".join(b"%d\n%d\n" % pair for pair in pairs))
    records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")]
    records += [(b"GNU.sparse.name", b"m"), (b"GNU.sparse.realsize", size)]
    return extended(*records), text, stored + len(text)


def sparse_member(version: str, pairs: list[tuple[int, int]], real: int, lie: int = 0) -> bytes:
    """A sparse file; ``lie`` is added to the size that its header says."""
    stored = sum(size for _, size in pairs)
    content = b"".join(bytes([65 + at % 26]) * size for at, (_, size) in enumerate(pairs))
    if version == "old":
        return old_sparse(pairs, real, stored + lie) + padded(content + bytes(max(lie, 0)))
    head, text, size = pax_sparse(version, pairs, real)
    return head + block(size=size + lie) + padded(text + content + bytes(max(lie, 0)))
