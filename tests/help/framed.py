"""Framed containers as the original script writes them, and as we do."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import product

import pytest
import zstandard
from hypothesis import strategies as st

from aiocompress.errors import CorruptError
from aiocompress.formats.framed.container import Chunk, Path, Paths, Reader, chunk_entry
from aiocompress.formats.zstd import codec as zstd
from aiocompress.model import DEFAULT_MAX_WINDOW, MIB

from .containers import WHOLE
from .data import Split, at_once, by_sizes, noise, text

Files = list[tuple[str, list[bytes]]]
VARIANTS = {
    f"{order}-endian, {'characters' if characters else 'bytes'}": (order, characters)
    for order, characters in product(("big", "little"), (False, True))
}
FOLDER: Files = [
    ("empty", []),
    ("docs/short.txt", [text(90)]),
    ("docs/\u00e4\u00f6\u00fc \u65e5\u672c \U0001f600.bin", [noise(50, 1), noise(50, 2), b"end"]),
    ("z\u00e9ro", []),
    ("long", [bytes(300), bytes(300)]),
    ("last", []),
]

every_variant = pytest.mark.parametrize(("order", "characters"), VARIANTS.values(), ids=VARIANTS)


def script(files: Iterable[tuple[str, Sequence[bytes]]], order: str, *, characters: bool) -> bytes:
    """What the script in circulation writes, and its relatives: no marks, no end."""
    compressor = zstandard.ZstdCompressor()
    written = []
    for name, chunks in files:
        path = name.encode()
        length = len(name) if characters else len(path)
        written.append(length.to_bytes(2, order) + path)  # type: ignore[arg-type]
        frames = map(compressor.compress, chunks)
        written += [len(frame).to_bytes(4, order) + frame for frame in frames]  # type: ignore[arg-type]
    return b"".join(written)


def entries(files: Files) -> list[bytes]:
    """Ours, entry by entry."""
    paths, written, is_first = Paths(), [], True
    for name, chunks in files:
        written.append(paths.entry(os.fsencode(name), has_chunks=bool(chunks)))
        for chunk in chunks:
            frame = memoryview(zstd.compress(memoryview(chunk), 3))
            written.append(b"".join(map(bytes, chunk_entry(frame, is_first=is_first))))
            is_first = False
    return written


def ours(files: Files) -> bytes:
    return b"".join(entries(files))


def read(
    data: bytes,
    split: Split = at_once,
    into: Files | None = None,
    whole: int = WHOLE,
    max_window: int = DEFAULT_MAX_WINDOW,
) -> tuple[Files, Reader]:
    """Read as a verb does: the files, also what came before an error, and the reader."""
    reader, files = Reader(max_window=max_window, whole=whole), [] if into is None else into

    def take() -> None:
        while (event := reader.next_event()) is not None:
            if isinstance(event, Path):
                files.append((event.name, []))
            else:
                files[-1][1].append(decoded(event))
                event.data.release()

    for block in split(data):
        reader.feed(block)
        take()
    reader.end()
    take()
    assert reader.next_event() is None
    return files, reader


def decoded(chunk: Chunk) -> bytes:
    """The raw data of a frame; one that does not say its size has room for 1 MiB."""
    room = memoryview(bytearray(MIB if chunk.raw_size is None else chunk.raw_size))
    try:
        return bytes(room[: zstd.decompress(chunk.data, room)])
    except CorruptError as error:
        raise error.located(base=chunk.offset, frame=chunk.frame) from None


splits = st.one_of(
    st.just(at_once), st.lists(st.integers(1, 60), min_size=1).map(lambda sizes: by_sizes(*sizes))
)
