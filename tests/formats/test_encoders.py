"""Single frames: compressed from pieces of any size, and read by whoever reads only one."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from aiocompress.formats import FORMATS
from aiocompress.formats.base import Codec
from aiocompress.formats.zstd.frame import FrameWalk, parse_header
from aiocompress.model import DEFAULT_MAX_WINDOW, KIB, MIB

from ..help.codecs import CHUNKS, stream
from ..help.data import SPLITS, noise, text
from ..help.tools import without_isal

BROWSERS = 8 * MIB
"""Bytes of the largest window of ``Content-Encoding: zstd`` (RFC 9659)."""
WRITERS = ["zstd", "gzip", "gzip without isal"]
every_split = pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)


@pytest.fixture(params=WRITERS)
def codec(request: pytest.FixtureRequest) -> Iterator[Codec]:
    """Each that is written, and gzip as it is where ISA-L has no wheel."""
    name, _, rest = request.param.partition(" ")
    with without_isal() if rest else nullcontext():
        yield FORMATS[name].codec


def _encoded(codec: Codec, level: int, *pieces: bytes, flush: bool = False) -> bytes:
    assert codec.open_encoder is not None
    encoder = codec.open_encoder(level)
    parts = [bytes(encoder.feed(piece, flush=flush)) for piece in pieces]
    return b"".join([*parts, bytes(encoder.finish())])


def _decoded(codec: Codec, frame: bytes) -> bytes:
    """Read the first frame as somebody else does, who knows nothing of a second one."""
    decoder = (
        zstandard.ZstdDecompressor(max_window_size=BROWSERS).decompressobj()
        if codec is FORMATS["zstd"].codec
        else zlib.decompressobj(31)
    )
    data = decoder.decompress(frame)
    assert decoder.eof
    assert not decoder.unused_data
    return data


@every_split
def test_one_frame_however_it_comes(codec: Codec, split: object) -> None:
    """Decoders of one frame get everything, and so does our own."""
    assert callable(split)
    for chunk in CHUNKS.values():
        frame = _encoded(codec, codec.default_level, *split(chunk))
        assert _decoded(codec, frame) == chunk
        assert stream(codec.open_stream(DEFAULT_MAX_WINDOW), frame) == chunk


def test_every_level(codec: Codec) -> None:
    """A choice up to the highest one, also where the codec has fewer for streams."""
    data = text(20 * KIB) + noise(KIB)
    for level in {*codec.levels[::4], codec.levels[-1]}:
        assert _decoded(codec, _encoded(codec, level, data, data)) == data + data


def test_higher_levels_are_smaller(codec: Codec) -> None:
    """A level means something; the lowest of gzip stores."""
    data = text(200 * KIB)
    lowest, highest = (len(_encoded(codec, codec.levels[at], data)) for at in (0, -1))
    assert lowest > 1.2 * highest


@pytest.mark.parametrize("level", FORMATS["zstd"].codec.levels)
def test_windows_that_browsers_take(level: int) -> None:
    """At most 8 MiB at any level, and a checksum."""
    header = parse_header(_encoded(FORMATS["zstd"].codec, level, b"data"))
    assert header is not None
    assert header.window <= BROWSERS
    assert header.has_checksum


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=8), st.data())
def test_flushed(pieces: list[tuple[bytes, bool]], data: st.DataObject) -> None:
    """After a flush a decoder has all that came before; it stays one frame."""
    codec = FORMATS[data.draw(st.sampled_from(["zstd", "gzip"]))].codec
    assert codec.open_encoder is not None
    encoder = codec.open_encoder(data.draw(st.sampled_from([0, 1, 3, 9])))
    fed, frame = bytearray(), bytearray()
    decoder = codec.open_stream(DEFAULT_MAX_WINDOW)
    out = bytearray()
    for piece, flush in pieces:
        fed += piece
        part = bytes(encoder.feed(piece, flush=flush))
        frame += part
        for block in decoder.feed(part):
            out += block
        if flush:
            assert out == fed
    frame += encoder.finish()
    assert _decoded(codec, bytes(frame)) == fed
    if frame.startswith(b"\x28"):
        header = parse_header(frame)
        assert header is not None
        walk = FrameWalk(header)
        walk.advance(frame, 0)
        assert (walk.ended, walk.size) == (True, len(frame))


def test_a_cut_is_seen(codec: Codec) -> None:
    """Without an index it is the frame's own end that is missing."""
    frame = _encoded(codec, codec.default_level, text(3000))
    for size in range(1, len(frame)):
        decoder = codec.open_stream(DEFAULT_MAX_WINDOW)
        for _ in decoder.feed(frame[:size]):
            pass
        assert not decoder.boundary
