"""The writer mirrors the reader: what is laid in chunks comes back, by us and by ``tarfile``."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Generator, Iterable
from itertools import accumulate, cycle
from typing import Any, NamedTuple
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress.formats.tar import header, index
from aiocompress.formats.tar.header import BLOCK, END, padding, to_bytes, to_text
from aiocompress.formats.tar.index import Record, Records
from aiocompress.formats.tar.reader import Reader
from aiocompress.formats.tar.writer import Writer
from aiocompress.model import KIB, Kind, Member

from ...help.data import noise
from ...help.trees import NAMES, SIZES, TARGETS, TIMES

SECOND = 1_000_000_000
LARGEST = (1 << 63) - 1


class Item(NamedTuple):
    """A member and its content."""

    member: Member
    data: bytes = b""


class Written(NamedTuple):
    """An archive as it was written: its chunks, and the blocks of the index behind each of them."""

    chunks: list[bytes]
    blocks: list[tuple[int, bytes]]
    """The number of the chunk that a block stands behind, and the block."""

    @property
    def raw(self) -> bytes:
        return b"".join(self.chunks)

    def records(self) -> list[Records]:
        return [index.unpack(block) for _, block in self.blocks]


def a_file(name: str, data: bytes = b"", **more: Any) -> Item:
    return Item(Member(name, size=len(data), **more), data)


# How a caller writes: chunk by chunk, a generator goes on where the last one ended.


def lay(writer: Writer, items: Iterable[Item], *, by_rest: bool = False) -> Generator[None]:
    """Lay members, and what ends the archive."""
    for member, data in items:
        head = writer.head_of(member)
        if member.kind != "file":
            if not writer.place_head(head):
                yield from lay_long(writer, head)
            continue
        if writer.room(head) is None and writer.is_uncut(len(head) + len(data) + BLOCK):
            yield
        room = writer.room(head)
        if room is not None:
            assert len(room) == len(data) + 1
            room[: len(data)] = data
            room[len(data)] = 0xFF  # as a file that grows leaves it
            writer.place(head)
            continue
        writer.open()
        yield from writer.lay(head)
        yield from lay_content(writer, data) if by_rest else writer.lay(data)
        yield from writer.lay_zeros(padding(len(data)))
    yield from writer.finish()


def lay_long(writer: Writer, head: bytes) -> Generator[None]:
    if writer.is_uncut(len(head)):
        yield
    writer.open()
    yield from writer.lay(head)


def lay_content(writer: Writer, data: bytes) -> Generator[None]:
    """Lay content as it is read: some of what there is room for at a time."""
    left = data
    while left:
        room = yield from writer.rest(len(left))
        step = max(1, len(room) // 2)
        room[:step] = left[:step]
        writer.advance(step)
        left = left[step:]


def write(
    items: Iterable[Item], sizes: list[int], *, start: int = 0, by_rest: bool = False
) -> Written:
    """Write an archive in chunks of these sizes, over and over."""
    writer = Writer(start)
    steps = lay(writer, items, by_rest=by_rest)
    written = Written([], [])
    while not writer.ended:
        size = sizes[len(written.chunks) % len(sizes)]
        room = memoryview(bytearray(b"\xee" * size))
        writer.begin_chunk(room)
        next(steps, None)
        done = writer.end_chunk()
        assert 0 < done <= size
        written.chunks.append(bytes(room[:done]))
        written.blocks.extend((len(written.chunks) - 1, block) for block in writer.take_index())
        assert writer.take_index() == []
    writer.begin_chunk(memoryview(bytearray(2 * KIB)))
    assert next(steps, None) is None
    assert writer.end_chunk() == 0
    return written


def read(chunks: Iterable[bytes]) -> list[Item]:
    """Read an archive back."""
    reader = Reader(max_metadata=1 << 24)
    found: list[tuple[Member, bytearray]] = []
    for chunk in chunks:
        for item in reader.feed(chunk):
            if isinstance(item, Member):
                found.append((item, bytearray()))
            else:
                found[-1][1].extend(item)
    reader.finish()
    assert reader.warnings == []
    return [Item(member, bytes(data)) for member, data in found]


# What is to be found.


def check(items: list[Item], written: Written, start: int = 0) -> None:
    """All that reads an archive finds the same members: its reader, its index, and ``tarfile``."""
    found = read(written.chunks)
    assert [data for _, data in found] == [data for _, data in items]
    for (member, data), (original, _) in zip(found, items, strict=True):
        expected = original._replace(
            mtime_ns=original.mtime_ns // SECOND * SECOND,
            offset=member.offset,
            data_offset=member.data_offset,
            stored_size=len(data),
        )
        assert member == expected
    check_index(items, written, [member for member, _ in found], start)
    check_tarfile(items, written.raw)


def check_index(items: list[Item], written: Written, members: list[Member], start: int) -> None:
    """The blocks tile the archive, and each record says what the headers at its offset say."""
    blocks = written.records()
    at = start
    for records in blocks:
        assert records.start == at
        at = records.end
    assert at == start + len(written.raw) - len(END)
    borders = [start + end for end in accumulate(map(len, written.chunks))]
    for (number, _), records in zip(written.blocks, blocks, strict=True):
        # Each of its members has begun by then, or begins right behind it.
        assert all(record.offset <= borders[number] for record in records)
    rows: list[Record] = [record for records in blocks for record in records]
    assert [row.offset - start for row in rows] == [member.offset for member in members]
    for row, member, (original, _) in zip(rows, members, items, strict=True):
        assert row.member() == member._replace(
            mtime_ns=max(-LARGEST, min(original.mtime_ns, LARGEST)),
            xattrs=(),
            offset=member.offset + start,
            data_offset=member.data_offset + start,
        )


_TYPES: dict[Kind, bytes] = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "fifo": tarfile.FIFOTYPE,
    "character device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
}


def check_tarfile(items: list[Item], raw: bytes) -> None:
    """The standard library finds the same."""
    options: Any = {"mode": "r:", "encoding": "utf-8", "errors": "surrogateescape"}
    with tarfile.open(fileobj=io.BytesIO(raw), **options) as archive:
        rows = archive.getmembers()
        assert len(rows) == len(items)
        for row, (member, data) in zip(rows, items, strict=True):
            assert (row.name, row.type) == (member.name, _TYPES[member.kind])
            assert (row.mode, row.size) == (member.mode, len(data))
            assert int(row.mtime) == member.mtime_ns // SECOND
            assert (row.uid, row.gid) == (member.uid, member.gid)
            assert (row.uname, row.gname) == (member.user, member.group)
            assert (row.linkname, (row.devmajor, row.devminor)) == (member.link, member.device)
            assert row.offset_data % BLOCK == 0
            if member.kind == "file":
                assert raw[row.offset_data : row.offset_data + row.size] == data
            keys = [key for key in row.pax_headers if key.startswith("SCHILY.xattr.")]
            assert len(keys) == len(member.xattrs)


# Members of every kind.

_names = st.one_of(
    st.sampled_from(NAMES),
    st.binary(min_size=1, max_size=8).map(
        lambda name: name.translate(bytes.maketrans(b"\0/", b"01"))
    ),
    st.just(b"n" * 100),
)
_paths = st.lists(_names, min_size=1, max_size=5).map(b"/".join).map(to_text)
_owner_names = st.sampled_from(["", "root", "u" * 31, "u" * 32, "\u00e9" * 16, "\udcff", "a b"])
_ids = st.sampled_from([0, 1, 1000, 0o7777777, 0o10000000, (1 << 31) - 1])
_xattrs = st.dictionaries(
    st.sampled_from(["user.a", "user.b=c", "user.%3D", "security.x", "user.\u00e9"]),
    st.binary(max_size=20) | st.just(b"v" * 2000),
    max_size=2,
).map(lambda found: tuple(found.items()))


@st.composite
def items(draw: st.DrawFn, most: int = 8) -> list[Item]:
    """Members with their content."""
    found = []
    for _ in range(draw(st.integers(0, most))):
        kind: Kind = draw(st.sampled_from(["file", "file", "file", *_TYPES]))
        data = noise(draw(st.sampled_from(SIZES)), 1) if kind == "file" else b""
        member = Member(
            draw(_paths),
            kind,
            len(data),
            draw(st.integers(0, 0o7777)),
            draw(st.sampled_from(TIMES)),
            draw(_ids),
            draw(_ids),
            draw(_owner_names),
            draw(_owner_names),
        )
        if kind.endswith("link"):
            member = member._replace(link=to_text(draw(TARGETS)))
        if kind.endswith("device"):
            member = member._replace(device=draw(st.tuples(*[st.integers(0, 0o7777777)] * 2)))
        if kind in {"file", "directory"}:
            member = member._replace(xattrs=draw(_xattrs))
        found.append(Item(member, data))
    return found


_sizes = st.lists(
    st.sampled_from([1024, 1025, 1536, 5000, 16 * KIB, 300_000]), min_size=1, max_size=3
)


@settings(max_examples=60, deadline=None)
@given(items(), _sizes, st.integers(1, 4), st.booleans())
def test_comes_back(items: list[Item], sizes: list[int], most: int, by_rest: bool) -> None:  # noqa: FBT001
    """Members of every kind, in chunks of any sizes, are read by all that read archives."""
    with mock.patch.object(index, "_MOST_RECORDS", most):
        written = write(items, sizes, by_rest=by_rest)
    check(items, written)
    assert written.chunks[-1] == END
    assert all(len(records) or number for number, records in enumerate(written.records()) if items)


@settings(max_examples=25, deadline=None)
@given(items(), _sizes, _sizes)
def test_bytes_depend_on_members_alone(items: list[Item], one: list[int], two: list[int]) -> None:
    """However the chunks are cut, the archive is the same, byte for byte."""
    assert write(items, one).raw == write(items, two, by_rest=True).raw


@settings(max_examples=25, deadline=None)
@given(items(), items(), _sizes, _sizes, st.integers(1, 4))
def test_goes_on_where_an_archive_ended(
    first: list[Item], second: list[Item], one: list[int], two: list[int], most: int
) -> None:
    """A writer that starts at an offset lays the rest of an archive: both parts are one."""
    with mock.patch.object(index, "_MOST_RECORDS", most):
        begun = write(first, one)
        assert begun.chunks.pop() == END  # a chunk of its own
        rest = write(second, two, start=len(begun.raw))
    check(second, rest, len(begun.raw))
    number = len(begun.chunks)
    blocks = [
        *((min(at, number - 1), block) for at, block in begun.blocks if number),
        *((at + number, block) for at, block in rest.blocks),
    ]
    joined = Written(begun.chunks + rest.chunks, blocks)
    if first:
        check(first + second, joined)
    assert joined.raw == write(first + second, one).raw


# Borders.


def test_empty_archive() -> None:
    """An archive of nothing is its end, with an index of nothing."""
    written = write([], [1024])
    assert written.chunks == [END]
    assert [len(records) for records in written.records()] == [0]
    check([], written)


def members_of(chunk: bytes) -> list[str]:
    """Names of the members that begin and end in a chunk."""
    return [member.name for member, _ in read([chunk, END])]


def test_small_members_are_not_cut() -> None:
    """One that is small beside the chunk begins the next one, if it does not fit any more."""
    chunk = 16 * KIB
    items = [a_file(f"{number:03d}", noise(size)) for number, size in enumerate(range(0, 1024, 13))]
    written = write(items, [chunk])
    assert len(written.chunks) > 3
    names = [name for part in written.chunks[:-1] for name in members_of(part)]
    assert names == [item.member.name for item in items]
    # As many as fit stand in each.
    assert all(chunk - len(part) < 3 * BLOCK + 1024 for part in written.chunks[:-2])


def test_large_members_fill_chunks() -> None:
    """One that is large beside the chunk goes on in the next one: no chunk stays half empty."""
    items = [a_file(str(number), noise(10_000, number)) for number in range(5)]
    written = write(items, [4096])
    assert {len(part) for part in written.chunks[:-2]} == {4096}
    check(items, written)


@pytest.mark.parametrize("left", range(-3, 3))
def test_room(left: int) -> None:
    """There is room for a member only with a block more than it takes: a file may have grown."""
    writer = Writer()
    writer.begin_chunk(memoryview(bytearray(3 * BLOCK + left)))
    head = writer.head_of(Member("name", size=BLOCK))
    room = writer.room(head)
    assert (room is not None) == (left >= 0)
    if room is not None:
        assert len(room) == BLOCK + 1


@pytest.mark.parametrize("left", range(-2, 3))
def test_room_for_a_head(left: int) -> None:
    """A member without content is laid where its head fits, to the last byte."""
    writer = Writer()
    writer.begin_chunk(memoryview(bytearray(BLOCK + left)))
    head = writer.head_of(Member("name", "directory"))
    assert writer.place_head(head) == (left >= 0)
    assert writer.end_chunk() == (BLOCK if left >= 0 else 0)


def test_what_is_uncut() -> None:
    """At most an eighth of a chunk is not cut, and nothing at the beginning of one."""
    writer = Writer()
    writer.begin_chunk(memoryview(bytearray(8000)))
    assert not writer.is_uncut(10)
    writer.place_head(writer.head_of(Member("name", "directory")))
    assert writer.is_uncut(1000)
    assert not writer.is_uncut(1001)


def test_content_that_grew_is_padded_with_zeros() -> None:
    """What was read beyond a member's size does not get into the archive."""
    data = noise(700)
    raw = write([a_file("name", data)], [4096]).raw
    assert raw[BLOCK : 3 * BLOCK] == data + bytes(padding(700))


def test_zeros_are_laid_in_any_number() -> None:
    """Zeros fill as many chunks as they take."""
    for size in (0, 1, 1000, 200_001):
        writer, whole = Writer(), b""
        steps = writer.lay_zeros(size)
        ended = False
        while not ended:
            room = memoryview(bytearray(b"\xee" * 70_000))
            writer.begin_chunk(room)
            ended = next(steps, "ended") == "ended"
            whole += bytes(room[: writer.end_chunk()])
        assert whole == bytes(size)


# The index.


def test_blocks_of_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block stands behind a chunk when enough members have gathered, and one behind the last."""
    monkeypatch.setattr(index, "_MOST_RECORDS", 20)
    items = [a_file(f"{number}") for number in range(40)]
    written = write(items, [16 * BLOCK])
    assert list(map(len, map(members_of, written.chunks[:-1]))) == [15, 15, 10]
    assert [at for at, _ in written.blocks] == [1, 2]
    assert [len(records) for records in written.records()] == [30, 10]
    check(items, written)


def test_blocks_of_long_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long names fill a block, too."""
    monkeypatch.setattr(index, "_MOST_NAMES", 300)
    items = [a_file(str(number) * 100) for number in range(5)]
    written = write(items, [4 * BLOCK])
    assert len(written.blocks) > 1
    check(items, written)


def test_blocks_of_a_large_chunk() -> None:
    """A chunk with more small members than fit into one block has several behind it."""
    number = 19_000
    items = [a_file(f"{at:0100d}/{at:0100d}") for at in range(number)]
    written = write(items, [number * BLOCK + 4096])
    assert sum(map(len, written.records())) == number
    assert {at for at, _ in written.blocks} == {0}
    check_index(items, written, [member for member, _ in read(written.chunks)], 0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from([b"a", b"bc", b"d" * 60]), min_size=1, max_size=5),
            st.sampled_from([b"", b"t" * 90]),
            st.integers(0, 1 << 62),
            st.sampled_from([b"", b"user", b"u" * 31]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_blocks_are_never_too_large(rows: list[tuple[list[bytes], bytes, int, bytes]]) -> None:
    """Whatever the members are, as many as a block takes fit into one that can be read."""
    records, most = Records(), 30_000
    with mock.patch.multiple(index, _LARGEST_BLOCK=most, _RESERVE=256):
        for names, link, uid, user in cycle(rows):
            row = b"/".join(names), b"2"[0], 1, 0, 0o777, 0, (uid, uid, user, user), link
            if not records.has_room(row[0], link):
                break
            records.add(*row)
        assert len(records.encode()) <= most
        assert len(index.unpack(records.pack())) == len(records)


def test_owners_of_a_large_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block counts its owners in 16 bits; more of them need another one."""
    monkeypatch.setattr(index, "_MOST_OWNERS", 10)
    items = [a_file(str(number), uid=number) for number in range(35)]
    written = write(items, [100 * BLOCK])
    assert [len(records) for records in written.records()] == [10, 10, 10, 5]
    check(items, written)


def test_times_beyond_the_index() -> None:
    """The index knows times from 1677 to 2262, the headers all of them."""
    for seconds in (-(1 << 40), 1 << 40):
        items = [a_file("name", mtime_ns=seconds * SECOND + 5)]
        written = write(items, [4096])
        check(items, written)
        (records,) = written.records()
        (record,) = records
        assert record.mtime_ns == (LARGEST if seconds > 0 else -LARGEST)


# Members by their fields.


def test_head_of_is_head() -> None:
    """A member's head is the same, whether it is given whole or field by field."""
    member = Member("d/name", "symlink", 0, 0o777, 5 * SECOND, 1, 2, "user", "group", "target")
    who = header.owner(1, 2, "user", "group")
    fields = b"d/name", index.SYMLINK, 0o777, 0, 5 * SECOND, who, b"target"
    assert Writer().head_of(member) == Writer().head(*fields)


def test_device_has_its_numbers_in_both() -> None:
    """A device's numbers stand in its header, and for the index in the place of a link."""
    items = [Item(Member("null", "character device", mode=0o666, device=(1, 3)))]
    written = write(items, [4096])
    check(items, written)
    (records,) = written.records()
    assert next(iter(records)).link == b"1,3"
    with tarfile.open(fileobj=io.BytesIO(written.raw)) as archive:
        assert archive.getmembers()[0].ischr()


def test_size_is_that_of_files_alone() -> None:
    """What has no content has no size, whatever the member says."""
    for kind in ("directory", "symlink", "hardlink", "fifo"):
        member = Member("name", kind, size=1000, link="x" * kind.endswith("link"))  # type: ignore[arg-type]
        (found,) = read([Writer().head_of(member), END])
        assert (found.member.size, found.member.kind) == (0, kind)


def test_special_bits_are_kept() -> None:
    """All twelve bits of a mode stand in the header, the type of the file does not."""
    member = Member("name", mode=stat.S_IFREG | 0o6755)
    (found,) = read([Writer().head_of(member), END])
    assert found.member.mode == 0o6755
    assert to_bytes(found.member.name) == b"name"
