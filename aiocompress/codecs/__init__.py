"""The codecs: chunks into frames and back. To add one: a file, and a row in the table."""

from __future__ import annotations

from typing import Final

from ..errors import FormatError
from . import gzip, zlib, zstd
from .base import STREAM, Codec, StreamDecoder

__all__ = ["CODECS", "HEAD_SIZE", "STREAM", "Codec", "StreamDecoder", "detect", "named"]

HEAD_SIZE: Final = zstd.LARGEST_HEADER
CODECS: Final = {codec.name: codec for codec in (zstd.CODEC, gzip.CODEC, zlib.CODEC)}


def detect(head: bytes) -> Codec:
    """Return the codec of a file by its first ``HEAD_SIZE`` bytes.

    :raises FormatError: they begin no compressed file that is known here.
    """
    for codec in CODECS.values():
        if codec.is_magic(head):
            return codec
    raise FormatError(
        f"not a zstd, gzip or zlib file: it begins with {head[:4].hex(' ')}", offset=0
    )


def named(name: str) -> Codec:
    """Return the codec of that name that can write.

    :raises ValueError: there is none.
    """
    if name not in CODECS or not CODECS[name].levels:
        writers = " or ".join(repr(codec.name) for codec in CODECS.values() if codec.levels)
        msg = f"codec must be {writers}, not {name!r}"
        raise ValueError(msg)
    return CODECS[name]
