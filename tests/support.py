"""What several test modules share: other people's tools, and a driver for the bytes floor.

``decode`` does, without asyncio, what ``aiocompress.decompression`` does: whole frames go
to ``Codec.decompress``; parts of streams, and all that follows a frame of which it says
``STREAM``, go to one ``StreamDecoder``, until a frame ends where a piece does.
"""

from __future__ import annotations

import functools
import importlib
import os
import random
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

import aiocompress
from aiocompress.errors import AiocompressError, CorruptError
from aiocompress.formats import FORMATS, HEAD_SIZE, detect
from aiocompress.formats import deflate as inflate
from aiocompress.formats.base import STREAM, Codec, Piece, StreamDecoder
from aiocompress.model import DEFAULT_MAX_WINDOW, KIB, MIB

WHOLE = 64 * MIB
"""What an engine with the default memory gives out whole at most."""
LIBRARY = os.environ | {
    "PYTHONPATH": str(Path(aiocompress.__file__).parents[1]),
    "PYTHONDONTWRITEBYTECODE": "1",
}
"""The environment of an interpreter that is to find the library where this one does."""
TINY = 1
"""Nothing is given out whole: every frame comes as a stream."""

# Tools and modules of others: missing ones are skipped, but not in CI.


def tool(name: str) -> str:
    """Return the path of a command; without it the test is skipped, and fails in CI."""
    return shutil.which(name) or _missing(f"the command {name}")


def module(name: str) -> Any:
    """Return a module; without it the test is skipped, and fails in CI."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return _missing(f"the module {name}")


def _missing(what: str) -> Any:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is missing")


@functools.cache
def _nobody() -> tuple[str, ...] | None:
    """Return what runs a command as a user without rights; None: that one cannot run ours."""
    if os.geteuid():
        return ()
    who = (tool("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups")
    code = "import aiocompress.cli.commands, aiocompress.verbs.folders, uvloop"
    command = (*who, sys.executable, "-c", code)
    done = subprocess.run(command, env=LIBRARY, cwd="/", capture_output=True, check=False)
    return None if done.returncode else who


def nobody() -> tuple[str, ...]:
    """Return what runs a command as a user without rights; without one the test is skipped."""
    who = _nobody()
    if who is None:
        pytest.skip("this interpreter, or this checkout, is for its owner alone")
    return who


def run(*command: str | Path, data: bytes = b"") -> bytes:
    """Run a command with ``data`` on its stdin; returns its stdout, and fails where it fails."""
    done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, f"{command}: {done.returncode}: {done.stderr.decode()}"
    return done.stdout


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[None]:
    """Make a folder a file system of its own: ``options`` of tmpfs say how large."""
    folder.mkdir(exist_ok=True)
    mount = ("mount", "-t", "tmpfs", "-o", options, "none", folder)
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield
    finally:
        subprocess.run(("umount", "-l", folder), check=True)


@contextmanager
def without_isal() -> Iterator[None]:
    """Make ISA-L look as if it were not installed."""
    name = "isal.isal_zlib"
    saved = sys.modules.pop(name, None)
    sys.modules[name] = None  # type: ignore[assignment]
    inflate.inflater.cache_clear()
    try:
        yield
    finally:
        del sys.modules[name]
        if saved is not None:
            sys.modules[name] = saved
        inflate.inflater.cache_clear()


# Out.


def frames_of(
    chunks: Iterable[bytes], codec: str = "zstd", level: int | None = None
) -> list[bytes]:
    """Write a container: the bytes of each frame, and then those that end it."""
    row, make_writer = FORMATS[codec].codec, FORMATS[codec].container.writer
    assert make_writer is not None
    writer = make_writer()
    written = []
    for chunk in chunks:
        frame = row.compress(memoryview(chunk), row.default_level if level is None else level)
        written.append(b"".join(map(bytes, writer.add(memoryview(frame), len(chunk)))))
    return [*written, writer.finish()]


def encode(chunks: Iterable[bytes], codec: str = "zstd", level: int | None = None) -> bytes:
    """Write a container of these chunks."""
    return b"".join(frames_of(chunks, codec, level))


# Back.

Split = Callable[[bytes], Iterator[bytes]]


def at_once(data: bytes) -> Iterator[bytes]:
    """All bytes at once."""
    yield data


def by_byte(data: bytes) -> Iterator[bytes]:
    """One byte after another."""
    return (data[at : at + 1] for at in range(len(data)))


def by_sizes(*sizes: int) -> Split:
    """Pieces of these sizes, over and over."""

    def split(data: bytes) -> Iterator[bytes]:
        at, turns = 0, cycle(sizes)
        while at < len(data):
            size = next(turns)
            yield data[at : at + size]
            at += size

    return split


SPLITS: dict[str, Split] = {
    "at once": at_once,
    "byte by byte": by_byte,
    "as the pipeline reads": lambda data: iter((data[:HEAD_SIZE], data[HEAD_SIZE:])),
    "3, 1, 50": by_sizes(3, 1, 50),
    "7": by_sizes(7),
    "64 KiB, 1": by_sizes(64 * KIB, 1),
}


@dataclass(slots=True)
class Seen:
    """A piece, without its data."""

    offset: int
    first_frame: int
    size: int
    frames: tuple[tuple[int, int], ...] | None
    room: int
    last: bool


@dataclass(slots=True)
class Decoded:
    """What came out of a container; after an error as well, where the caller passed it in."""

    data: bytearray = field(default_factory=bytearray)
    frames: int = 0
    warnings: list[str] = field(default_factory=list)
    pieces: list[Seen] = field(default_factory=list)
    blocks: int = 0
    largest: int = 0
    """Bytes of the largest block that came out of a stream."""
    keep: bool = True

    def add(self, block: Any) -> None:
        self.blocks += 1
        if self.keep:
            self.data += block


def decode(
    data: bytes,
    *,
    codec: str | None = None,
    split: Split = at_once,
    whole: int = WHOLE,
    max_window: int = DEFAULT_MAX_WINDOW,
    strict: bool = False,
    into: Decoded | None = None,
) -> Decoded:
    """Read a container as the pipeline does."""
    row = FORMATS[codec] if codec else detect(data[:HEAD_SIZE])
    reader = FORMATS[row.name].container.reader(whole=whole, max_window=max_window, strict=strict)
    decoded = Decoded() if into is None else into
    decoded.warnings = reader.warnings
    pieces = _Pieces(row.codec, max_window, decoded)
    for block in split(data):
        reader.feed(block)
        while (piece := reader.next_piece()) is not None:
            pieces.take(piece)
    reader.end()
    while (piece := reader.next_piece()) is not None:
        pieces.take(piece)
    pieces.finish()
    decoded.frames = reader.frames
    return decoded


class _Pieces:
    """The consumer of ``decompression``."""

    def __init__(self, codec: Codec, max_window: int, decoded: Decoded) -> None:
        self._codec, self._max_window, self._decoded = codec, max_window, decoded
        self._decoder: StreamDecoder | None = None
        self._start = self._frame = 0

    def take(self, piece: Piece) -> None:
        data, frames = bytes(piece.data), piece.frames
        piece.data.release()
        about = piece.offset, piece.first_frame, len(data), frames, piece.room, piece.last
        self._decoded.pieces.append(Seen(*about))
        if frames is not None and self._decoder is None and self._whole(data, piece):
            return
        if self._decoder is None:
            self._decoder = self._codec.open_stream(self._max_window)
            self._start, self._frame = piece.offset, piece.first_frame
        try:
            for block in self._decoder.feed(data):
                self._decoded.largest = max(self._decoded.largest, len(block))
                self._decoded.add(block)
        except AiocompressError as error:
            raise error.located(base=self._start, frame=self._frame) from None
        if piece.last or (frames is not None and self._decoder.boundary):
            self.finish()

    def _whole(self, data: bytes, piece: Piece) -> bool:
        """Do what ``worker.decompress`` does; False: a frame is not what its index says."""
        view, room = memoryview(data), memoryview(bytearray(piece.room))
        at = size = 0
        for number, (compressed, raw) in enumerate(piece.frames or ()):
            try:
                frame = view[at : at + compressed]
                done = self._codec.decompress(frame, room[size : size + raw])
            except CorruptError as error:
                error.located(base=at, frame=number)
                raise error.located(base=piece.offset, frame=piece.first_frame) from None
            if done == STREAM:
                return False
            assert not piece.exact or done == raw
            at += compressed
            size += done
        self._decoded.add(room[:size])
        return True

    def finish(self) -> None:
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            try:
                decoder.finish()
            except AiocompressError as error:
                raise error.located(base=self._start, frame=self._frame) from None


def check_offset(error: AiocompressError, size: int) -> None:
    """Assert that the error says where in the file of that many bytes it is."""
    assert error.offset is not None, error
    assert 0 <= error.offset <= size, error


# Files built by hand.

SKIPPABLE_MAGICS = tuple(range(0x184D2A50, 0x184D2A60))


def raw_block(data: bytes, *, last: bool = True) -> bytes:
    """A zstd block that is not compressed."""
    return (last | len(data) << 3).to_bytes(3, "little") + data


def rle_block(byte: int, size: int, *, last: bool = True) -> bytes:
    """A zstd block of one byte, over and over."""
    return (last | 1 << 1 | size << 3).to_bytes(3, "little") + bytes([byte])


def window_byte(size: int) -> int:
    """The window descriptor of a power of two."""
    return size.bit_length() - 11 << 3


def zstd_frame(
    *blocks: bytes,
    content: int | None = None,
    content_bytes: int = 0,
    window: int | None = None,
    dictionary: bytes = b"",
    descriptor: int = 0,
) -> bytes:
    """A zstd frame without a checksum (RFC 8878, 3.1.1).

    :param content: the size that the header says, in ``content_bytes`` (8: enough for all).
    :param window: the window byte; None: a single segment.
    :param descriptor: more bits of the frame header descriptor.
    """
    size_bytes = 0 if content is None else content_bytes or 8
    descriptor |= {0: 0, 1: 0, 2: 1, 4: 2, 8: 3}[size_bytes] << 6
    descriptor |= (window is None) << 5 | {0: 0, 1: 1, 2: 2, 4: 3}[len(dictionary)]
    head = b"\x28\xb5\x2f\xfd" + bytes([descriptor])
    head += b"" if window is None else bytes([window])
    size = (content or 0) - 256 * (size_bytes == 2)
    return head + dictionary + size.to_bytes(size_bytes, "little") + b"".join(blocks)


def skippable(payload: bytes, magic: int = 0x184D2A50, size: int | None = None) -> bytes:
    """A skippable frame; its header may lie about its size."""
    return struct.pack("<II", magic, len(payload) if size is None else size) + payload


def gzip_member(
    data: bytes,
    *,
    extra: bytes | None = None,
    name: bytes | None = None,
    comment: bytes | None = None,
    header_crc: bool = False,
    level: int = 6,
) -> bytes:
    """A gzip member with these optional fields."""
    fields = (extra, name, comment)
    flags = sum(bit for bit, given in zip((4, 8, 16), fields, strict=True) if given is not None) | (
        2 if header_crc else 0
    )
    head = struct.pack("<4sIBB", b"\x1f\x8b\x08" + bytes([flags]), 0, 0, 255)
    if extra is not None:
        head += struct.pack("<H", len(extra)) + extra
    head += b"".join(text + b"\0" for text in (name, comment) if text is not None)
    if header_crc:
        head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    deflate = zlib.compressobj(level, wbits=-15)
    body = deflate.compress(data) + deflate.flush()
    return head + body + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def indexed_member(data: bytes, name: bytes = b"IG", lie: int = 0, level: int = 6) -> bytes:
    """A gzip member that says its own size, plus ``lie``: ``IG`` or ``MZ``, or BGZF's ``BC``."""
    length = 2 if name == b"BC" else 4
    blank = name + struct.pack("<H", length) + bytes(length)
    size = max(0, len(gzip_member(data, extra=blank, level=level)) + lie)
    value = max(0, size - 1) if name == b"BC" else size
    extra = blank[:4] + value.to_bytes(length, "little")
    return gzip_member(data, extra=extra, level=level)


# Data.


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress, the same ones every time."""
    return random.Random(seed).randbytes(size)


def text(size: int, seed: int = 0) -> bytes:
    """Bytes that compress as text does, the same ones every time."""
    source = random.Random(seed)
    words = [source.randbytes(source.randint(1, 9)).hex().encode() for _ in range(200)]
    return b" ".join(source.choices(words, k=size // 4 + 1))[:size]
