"""``Salvager`` on the bytes floor: damaged headers, lost beginnings."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiocompress.formats.tar.directory import Directory
from aiocompress.formats.tar.header import BLOCK, END, header, owner
from aiocompress.formats.tar.index import FILE, Records
from aiocompress.formats.tar.salvage import Event, Hole, Lost, Salvager, Unknown
from aiocompress.model import Member

from ...help.tars import a_file, block, extended, long, padded, read, sparse_member
from ...help.tools import run, tool

LAST = a_file(b"last", b"l" * 700)


class Saved:
    """What a salvager made of these parts: bytes, or gaps (None or their size)."""

    def __init__(self, *parts: bytes | int | None, directory: Directory | None = None) -> None:
        self.whole: list[tuple[Member, bytes]] = []
        self.told: list[str] = []
        self.holes: list[int | None] = []
        self._member: tuple[Member, bytearray] | None = None
        salvager = Salvager(directory or Directory())
        for part in parts:
            self._take(salvager.feed(part) if isinstance(part, bytes) else salvager.gap(part))
        self._take(salvager.finish())
        self._end()

    def _take(self, events: Iterator[Event]) -> None:
        for event in events:
            if isinstance(event, Member):
                self._end()
                self._member = event, bytearray()
            elif isinstance(event, memoryview):
                assert self._member is not None
                self._member[1].extend(event)
            elif isinstance(event, Hole):
                self.holes.append(event.size)
                assert event.size is None or event.size >= 0
                self.told.append("a hole")
                self._torn = self._member
            elif isinstance(event, Lost | Unknown):
                self.told.append(str(event))

    _torn: tuple[Member, bytearray] | None = None

    def _end(self) -> None:
        if self._member is not None and self._member is not self._torn:
            member, content = self._member
            self.whole.append((member, bytes(content)))

    @property
    def files(self) -> dict[str, bytes]:
        return {member.name: content for member, content in self.whole}


# Extended headers have no checksum of their own.


def described(name: bytes, size: int, *records: tuple[bytes, bytes]) -> bytes:
    """A member whose extended header has these records; its own says this name and size."""
    return extended(*records) + block(name, size=size)


CONTENT = b"c" * 1000
NAME = ("né" + "n" * 60).encode()
NAMED = b"n??" + b"n" * 60
LONG = b"d" * 90 + b"/" + b"e" * 9 + b"f" * 51
SHORT = {
    "name": described(NAMED, 1000, (b"path", NAME)) + padded(CONTENT),
    "long name": described(LONG[:100], 1000, (b"path", LONG)) + padded(CONTENT),
    "long name of GNU tar": long(b"L", LONG) + block(LONG[:100], size=1000) + padded(CONTENT),
    "size": described(b"s", 0, (b"size", b"1000")) + padded(CONTENT),
    "size of zeros": described(b"s", 0, (b"size", b"1000")) + padded(bytes(1000)),
    "both": described(NAMED, 0, (b"path", NAME), (b"size", b"1000")) + padded(CONTENT),
    "sparse": sparse_member("1.0", [(0, 512), (2048, 488)], 4096),
}


def is_alone(part: bytes, at: int) -> bool:
    """Whether nothing else says what a byte of a member's headers says."""
    places = (
        (part.find(text), len(text))
        for text in (LONG[100:] + b"\0", LONG[100:], NAME[1:3], b"1000\n", b"4096\n")
    )
    return any(0 <= start <= at < start + size for start, size in places)


@pytest.mark.parametrize("what", SHORT)
def test_every_bit_of_an_extended_header(what: str) -> None:
    """With one bit damaged, a member is lost, or as it was: never another name or content."""
    part = SHORT[what]
    whole = Saved(part + LAST + END).files
    assert len(whole) == 2
    body = len(part[BLOCK : 2 * BLOCK].rstrip(b"\0"))
    lost = 0
    for at in range(BLOCK + body):
        for bit in (at % 8,) if at < BLOCK else range(8):
            damaged = bytearray(part + LAST + END)
            damaged[at] ^= 1 << bit
            saved = Saved(bytes(damaged))
            wrong = saved.files.items() - whole.items()
            assert not wrong or is_alone(part, at), (at, bit, wrong)
            if is_alone(part, at):
                continue
            assert saved.files["last"] == whole["last"]
            lost += len(saved.files) == 1
            assert len(saved.files) == 2 or saved.told, (at, bit)
    assert lost > BLOCK + body


def test_a_long_body_that_is_damaged() -> None:
    """However far in front of its member an extended header begins."""
    records = (b"comment", b"a" * 5000), (b"path", NAME)
    data = bytearray(described(b"n??", 1000, *records) + padded(CONTENT) + LAST + END)
    data[data.index(b"path") - 2] ^= 1
    saved = Saved(bytes(data))
    assert list(saved.files) == ["last"]
    assert "'n??' in short" in saved.told[0]


ODD = ("café", "日本語" * 20, "é" * 60 + "x" * 60, "a" * 99, "b" * 100, "c" * 101, "q?é", "L" * 200)
DEEP = (("ü" * 40 + "/") * 3 + "f", "d/" * 60 + "e", "x" * 98 + "é")


@pytest.mark.parametrize(
    "command",
    [
        ("tar", "--format=posix", "-Sc"),
        ("tar", "--format=posix", "--sparse-version=0.0", "-Sc"),
        ("tar", "--format=gnu", "-Sc"),
        ("bsdtar", "--format=pax", "-c"),
        ("bsdtar", "--format=gnutar", "-c"),
        ("python", str(tarfile.PAX_FORMAT)),
        ("python", str(tarfile.GNU_FORMAT)),
    ],
    ids=" ".join,
)
def test_no_writer_raises_a_doubt(command: tuple[str, ...], tmp_path: Path) -> None:
    """Each shortens the names in ustar headers in its own way: nothing of that is damage."""
    for name in (*ODD, *DEEP):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "link").symlink_to("é" * 60)
    (tmp_path / "longer").symlink_to("z" * 150)
    with (tmp_path / "sparse").open("wb") as file:
        file.seek(1_000_000)
        file.write(b"data" * 1000)
    if command[0] == "python":
        with io.BytesIO() as out:
            with tarfile.open(fileobj=out, mode="w", format=int(command[1])) as archive:
                archive.add(tmp_path, ".")
            data = out.getvalue()
    else:
        data = run(tool(command[0]), *command[1:], "-f", "-", "-C", tmp_path, ".")
    saved = Saved(data)
    assert not saved.told
    assert [member.name for member, _ in saved.whole] == read(data).names


# Members whose beginning is lost.


def indexed(*members: tuple[bytes, int, int]) -> Directory:
    """An index of members: name, blocks of headers, size."""
    records = Records()
    for name, blocks, size in members:
        records.add(name, FILE, blocks, size, 0o644, 0, (0, 0, b"", b""))
    return Directory([records.pack()])


def test_the_end_within_lost_headers() -> None:
    """The file ends in the headers of a member whose beginning is lost: no bad hole."""
    directory = indexed((b"x" * 300, 4, 1000), (b"y", 1, 0))
    for size in (1, 500, 1947):
        saved = Saved(100, b"\1" * size, directory=directory)
        assert not saved.whole
        assert "xxx" in saved.told[0]
    saved = Saved(100, b"\1" * 2500, directory=directory)
    assert saved.holes == [0, None]


def test_devices_behind_a_gap() -> None:
    """The index has the numbers of a device in the place of a link: it is the same member."""
    records = Records()
    owned = owner(0, 0, "", "", (1, 3))
    null = header(b"null", b"3", 0o644, 0, 0, b"", owned)
    for name, kind in ((b"a", b"0"), (b"null", b"3"), (b"z", b"0")):
        link = b"1,3" if kind == b"3" else b""
        records.add(name, kind[0], 1, 0, 0o644, 0, (0, 0, b"", b""), link)
    for gap in (None, BLOCK):
        saved = Saved(gap, null + block(b"z") + END, directory=Directory([records.pack()]))
        found = {member.name: member for member, _ in saved.whole}
        assert found["null"].device == (1, 3)
