"""Every parser, fed with what was mutated: an error of ours, or data, in bounded time."""

# ruff: noqa: FBT001

from __future__ import annotations

import random
import resource
import struct
import time
from collections.abc import Callable

import pytest
import zstandard

from aiocompress.errors import AiocompressError
from aiocompress.formats import HEAD_SIZE, detect
from aiocompress.formats.base import FrameTable, Search
from aiocompress.formats.framed import container as framed
from aiocompress.formats.gzip import container as gz
from aiocompress.formats.tar import index
from aiocompress.formats.tar import reader as tar
from aiocompress.formats.zstd import container as zst
from aiocompress.formats.zstd import frame as zstd
from aiocompress.model import MIB

from ..help.containers import Decoded, decode
from .counting import SEED, WHOLE, count, lose, note, quick_and_whole
from .mutations import corpus, mutated, split, summed

LARGEST_OUTPUT = 64 * MIB
SECONDS = 5
MEMORY = 512 * MIB
"""What all inputs of a parser together may add to the memory of this process."""

Parser = Callable[[random.Random], object]


class Enough(AiocompressError):  # noqa: N818
    """A bomb: it is not to be decoded to its end here."""


class _Bounded(Decoded):
    """What comes out is counted, and dropped."""

    def add(self, block: object) -> None:
        self.blocks += len(block)  # type: ignore[arg-type]
        if self.blocks > LARGEST_OUTPUT:
            raise Enough("a bomb")


def _container(codec: str, *suffixes: str) -> Parser:
    seeds = tuple(data for suffix in suffixes for data in corpus(suffix))

    def parse(chance: random.Random) -> object:
        data = mutated(chance, seeds)
        whole = chance.choice((1, 64 * MIB))
        strict = chance.random() < 0.5
        return decode(
            data,
            codec=codec,
            split=lambda data: split(chance, data),
            whole=whole,
            strict=strict,
            into=_Bounded(),
        )

    return parse


def _detect(chance: random.Random) -> object:
    seeds = corpus("")
    data = mutated(chance, seeds)[:HEAD_SIZE]
    framed.detect(data)
    tar.is_archive(data[:512])
    return detect(data)


def _searched(steps: Search, data: bytes) -> FrameTable | None:
    asked = 0
    try:
        offset, size = next(steps)
        while True:
            asked += size
            assert offset >= 0
            assert asked <= 4 * len(data) + 4096, "it asks for more than there is"
            offset, size = steps.send(data[offset : offset + size])
    except StopIteration as stop:
        table: FrameTable | None = stop.value
        return table


def _check_table(table: FrameTable | None, data: bytes) -> None:
    """What is believed lies within the file; and the members' index is read as it says."""
    if table is None:
        return
    assert len(table.starts) == len(table.sizes) == len(table.raws) - 1
    for start, size in zip(table.starts, table.sizes, strict=True):
        assert start + size <= len(data)
    for offset, size in table.blocks:
        assert 0 <= offset <= offset + size <= len(data)


def _seek_table(chance: random.Random) -> object:
    data = _with_table(chance)
    table = _searched(zst.search(len(data)), data)
    _check_table(table, data)
    for offset, size in table.blocks if table else ():
        payload = zst.index_payload(data[offset : offset + size])
        if payload is not None:
            index.unpack(payload)
    return table


def _with_table(chance: random.Random) -> bytes:
    """Return a file whose damage is in its table, mostly; sometimes its count agrees again."""
    data = chance.choice((*corpus("ours.zst"), *corpus(".tar.zst")))
    (count_,) = struct.unpack_from("<I", data, len(data) - 9)
    start = len(data) - (17 + 12 * count_)
    table = bytearray(mutated(chance, (data[start:],)))
    if chance.random() < 0.7 and len(table) > 17:
        rows = (len(table) - 17) // 12
        table[4:8] = struct.pack("<I", len(table) - 8)
        table[-9:] = struct.pack("<IBI", rows, 0x80, 0x8F92EAB1)
    return data[:start] + bytes(table)


def _gz_index(chance: random.Random) -> object:
    (data,) = corpus("ours.tar.gz")
    first, end = data.index(_INDEX) - _BEFORE_INDEX, len(data) - _TAIL
    made = data[:first] + mutated(chance, (data[first:end],)) + data[end:]
    if chance.random() < 0.3:
        made = mutated(chance, (data,))
    table = _searched(gz.search(len(made)), made)
    _check_table(table, made)
    for offset, size in table.blocks if table else ():
        payload = gz.index_payload(made[offset : offset + size])
        if payload is not None:
            index.unpack(payload)
    return table or gz.index_payload(mutated(chance, (data[first:end],)))


_INDEX, _TAIL, _BEFORE_INDEX = gz._INDEX, gz.TAIL_SIZE, gz._HEADER.size


def _blocks() -> tuple[bytes, ...]:
    """Return the index blocks of the corpus, unpacked."""
    (data,) = corpus("ours.tar.zst")
    table = _searched(zst.search(len(data)), data)
    assert table is not None
    payloads = (zst.index_payload(data[at : at + size]) for at, size in table.blocks)
    return tuple(index.unpack(payload).encode() for payload in payloads if payload is not None)


def _records(chance: random.Random) -> object:
    """Columns that are damaged before they are compressed, so that no checksum tells."""
    raw = mutated(chance, _blocks())
    records = index.Records.decode(raw)
    _walk(records)
    return records


def _walk(records: index.Records) -> None:
    offsets = records.offsets()
    assert offsets == sorted(offsets)
    for record in records:
        record.member()
    records.listing()
    index.Records.decode(records.encode())


def _payload(chance: random.Random) -> object:
    frame = zstandard.compress(mutated(chance, _blocks())) if chance.random() < 0.5 else b""
    head = struct.pack("<8sII", index.MAGIC, 1, len(frame))
    packed = index.Records.decode(_blocks()[0]).pack()
    records = index.unpack(head + frame if frame else mutated(chance, (packed,)))
    _walk(records)
    return records


def _tar(chance: random.Random) -> object:
    data = mutated(chance, corpus(".tar"))
    if chance.random() < 0.8:
        data = summed(chance, data)
    reader, size = tar.Reader(), 0
    for part in split(chance, data):
        for item in reader.feed(part):
            size += len(item) if isinstance(item, memoryview) else 0
    reader.finish()
    assert size <= len(data)
    assert len(reader.warnings) <= 1000
    return reader


def _framed(chance: random.Random) -> object:
    data = mutated(chance, corpus(".framed"))
    reader = framed.Reader(max_window=128 * MIB, whole=chance.choice((1 << 12, 64 * MIB)))
    for part in split(chance, data):
        reader.room(len(part))[: len(part)] = part
        reader.fill(len(part))
        while reader.next_event() is not None:
            pass
    reader.end()
    while reader.next_event() is not None:
        pass
    return reader


def _zstd_header(chance: random.Random) -> object:
    data = memoryview(mutated(chance, corpus(".zst")))
    header = zstd.parse_header(data)
    if header is not None:
        zstd.check_header(header, 128 * MIB)
        walk = zstd.FrameWalk(header)
        walk.advance(data, 0)
        assert walk.size <= len(data) + (1 << 24)
    return header


PARSERS: dict[str, Parser] = {
    "zst": _container("zstd", ".zst"),
    "gz": _container("gzip", ".gz"),
    "zlib": _container("zlib", ".zz"),
    "detection": _detect,
    "seek table": _seek_table,
    "gz index": _gz_index,
    "index records": _records,
    "index blocks": _payload,
    "tar": _tar,
    "framed": _framed,
    "zstd frames": _zstd_header,
}


def _fuzz(name: str, number: int) -> None:
    parse, kind = PARSERS[name], f"fuzzing {name}"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read, slowest = 0, 0.0
    for n in range(number):
        begun = time.perf_counter()
        try:
            read += parse(random.Random(f"{SEED} {name} {n}")) is not None
        except AiocompressError as error:
            if not error.reason:
                lose(kind, f"input {n} of seed {SEED}: {error!r} says nothing")
        except Exception as error:  # noqa: BLE001 - which is what this is about
            lose(kind, f"input {n} of seed {SEED}: {error!r}")
        slowest = max(slowest, time.perf_counter() - begun)
        if slowest > SECONDS:
            lose(kind, f"input {n} of seed {SEED} took {slowest:.1f} s")
        count(kind)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    if grown > MEMORY:
        lose(kind, f"it took {grown >> 20} MiB")
    note(kind, f"{read:,} read, slowest {slowest * 1000:.0f} ms, {grown >> 20} MiB")


@quick_and_whole
@pytest.mark.parametrize("name", PARSERS)
def test_any_bytes_are_data_or_an_error(name: str, whole: bool) -> None:
    """No other exception, no hang, no memory by what a header claims."""
    _fuzz(name, 100 * WHOLE if whole else 1000)
