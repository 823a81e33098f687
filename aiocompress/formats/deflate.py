"""Streams of DEFLATE in a wrapper (RFC 1950, RFC 1952), one after another, decoded in pieces."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Generator, Iterator
from functools import cache
from typing import Any, Final

from aiocompress.errors import DATA_BEFORE, AiocompressError, CorruptError, TruncatedError
from aiocompress.formats import base
from aiocompress.model import MIB, Buffer

_INPUT_AT_ONCE: Final = 64 << 10
_LARGEST_HEADER: Final = MIB


@cache
def inflater() -> Any:
    """Return ISA-L's zlib module, which is twice as fast, or else the standard library's."""
    try:
        return importlib.import_module("isal.isal_zlib")
    except ImportError:
        return zlib


@cache
def opener() -> Any:
    """Return what opens gzip files, of the same module."""
    if inflater() is zlib:
        return importlib.import_module("gzip").GzipFile
    return importlib.import_module("isal.igzip").IGzipFile


class StreamDecoder(base.StreamDecoder):
    """Decodes concatenated streams, and zeros behind them, as on tapes; see ``base``.

    Headers are gathered and parsed here, and the decoder sees a plain one: ISA-L misreads headers
    that arrive in two pieces, and accepts reserved flags.

    :param name: what errors call the wrapper around DEFLATE data.
    :param wbits: the argument of zlib's ``decompressobj``.
    :param parse: takes the first bytes of a stream; returns the size of its header, and the same
        header without optional fields; None: more bytes are needed. It raises ``FormatError`` or
        ``CorruptError``.
    """

    def __init__(
        self, name: str, wbits: int, parse: Callable[[bytes], tuple[int, bytes] | None]
    ) -> None:
        self.boundary = False
        self._name, self._wbits, self._parse = name, wbits, parse
        self._taken = 0
        self._head = b""
        self._decoder: Any = None
        self._padding = False

    def feed(self, data: Buffer) -> Iterator[Buffer]:
        view = memoryview(data)
        while view:
            if self._padding or (self._decoder is None and not self._head and view[0] == 0):
                self._pad(view)
                return
            if self._decoder is None:
                view = self._begin(view)
            else:
                left = yield from self._inflate(bytes(view[:_INPUT_AT_ONCE]))
                view = view[min(_INPUT_AT_ONCE, len(view)) - left :]

    def _pad(self, view: memoryview) -> None:
        self._padding = self.boundary = True
        data = bytes(view)
        self._taken += len(data) - len(data.lstrip(b"\0"))
        if any(data):
            raise self._garbage()
        self._head = b""

    def _begin(self, view: memoryview) -> memoryview:
        """Gather a header; returns the bytes behind it."""
        self.boundary = False
        before = len(self._head)
        self._head += bytes(view[:_INPUT_AT_ONCE])
        try:
            header = self._parse(self._head)
        except AiocompressError as error:
            raise (self._garbage() if self._taken else error.located(base=0)) from None
        if header is None:
            if len(self._head) > _LARGEST_HEADER:
                raise CorruptError(f"endless {self._name} header", offset=self._taken)
            return view[_INPUT_AT_ONCE:]
        size, plain = header
        self._head = b""
        self._taken += size
        self._decoder = inflater().decompressobj(self._wbits)
        self._decoder.decompress(plain)
        return view[size - before :]

    def _garbage(self) -> CorruptError:
        message = f"garbage after the {self._name} data"
        return CorruptError(message, offset=self._taken, hint=DATA_BEFORE)

    def _inflate(self, data: bytes) -> Generator[Buffer, None, int]:
        """Yield the raw blocks of ``data``; returns how many of its bytes the stream left over."""
        size = len(data)
        while True:
            try:
                raw = self._decoder.decompress(data, MIB)
            except (zlib.error, inflater().error) as error:
                message = f"damaged {self._name} data ({error})"
                raise CorruptError(message, offset=self._taken) from None
            if raw:
                yield raw
            data = self._decoder.unconsumed_tail
            if self._decoder.eof:
                left = len(self._decoder.unused_data)
                self._decoder, self.boundary = None, True
                break
            if not data and len(raw) < MIB:
                left = 0
                break
        self._taken += size - left
        return left

    def finish(self) -> None:
        if self._head and self._taken:
            raise self._garbage()
        if not self.boundary:
            message = f"the {self._name} data is cut off"
            offset = self._taken + len(self._head)
            raise TruncatedError(message, offset=offset, hint=DATA_BEFORE)
