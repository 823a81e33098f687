"""Containers that grow while others read them: what the seal changes, and what follows them."""

from __future__ import annotations

import pytest

from aiocompress.errors import TruncatedError
from aiocompress.formats import FORMATS
from aiocompress.formats.base import FrameTable, Search, Writer

from ..help.containers import decode
from ..help.data import noise

CHUNKS = [noise(3000, number) for number in range(4)]
every_codec = pytest.mark.parametrize("codec", ["zstd", "gzip"])


def parts(codec: str, writer: Writer) -> list[bytes]:
    """What a writer makes of each chunk, and its end."""
    row = FORMATS[codec].codec
    made = []
    for chunk in CHUNKS:
        frame = bytearray(row.compress(memoryview(chunk), row.default_level))
        made.append(b"".join(map(bytes, writer.add(memoryview(frame), len(chunk)))))
    return [*made, writer.finish()]


def drafted(codec: str) -> tuple[bytes, bytes, bytes]:
    """A container before its seal, its end, and what it is with it."""
    container = FORMATS[codec].container
    assert container.draft is not None
    draft = container.draft()
    assert draft.seal() is None
    *frames, end = parts(codec, draft)
    whole = bytearray(b"".join([*frames, end]))
    sealing = draft.seal()
    assert sealing is not None
    at, seal = sealing
    whole[at : at + len(seal)] = seal
    return b"".join(frames), end, bytes(whole)


@every_codec
def test_the_seal(codec: str) -> None:
    """With it, the container is what any writer makes; without it, nobody misses its end."""
    made = FORMATS[codec].container.writer
    assert made is not None
    frames, end, whole = drafted(codec)
    assert whole == b"".join(parts(codec, made()))
    assert (
        decode(frames, codec=codec).data
        == b"".join(CHUNKS)
        == decode(frames + end, codec=codec).data
    )
    with pytest.raises(TruncatedError):
        decode(whole[: len(frames)], codec=codec)


@every_codec
def test_one_behind_another(codec: str) -> None:
    """They are one for every reader, also where the second one was cut off."""
    frames, end, whole = drafted(codec)
    assert decode(whole + frames + end, codec=codec).data == b"".join(CHUNKS) * 2
    assert decode(whole + frames, codec=codec).data == b"".join(CHUNKS) * 2


def searched(data: bytes, steps: Search | None) -> FrameTable | None:
    """What a search finds in a file."""
    assert steps is not None
    try:
        at, size = next(steps)
        while True:
            at, size = steps.send(data[at : at + size])
    except StopIteration as end:
        table: FrameTable | None = end.value
        return table


def test_from_table_to_table() -> None:
    """Each says where its container begins, at the end of the one before."""
    frames, end, whole = drafted("zstd")
    search, begins = FORMATS["zstd"].container.search, FORMATS["zstd"].container.begins
    assert search is not None
    data = whole + frames + end
    last = searched(data, search(len(data)))
    assert last is not None
    assert (last.begin, last.raws[-1]) == (len(whole), 12_000)
    first = searched(data, search(last.begin))
    assert first is not None
    assert first.begin == 0
    for table in (first, last):
        for number, start in enumerate(table.starts):
            assert begins(data[start : start + 32], table.sizes[number], table.raw_size(number))
            assert not begins(data[start + 1 : start + 33], 0, table.raw_size(number))
            assert not begins(data[start : start + 32], table.sizes[number], 2999)
