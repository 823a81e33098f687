"""Streams of DEFLATE in a wrapper (RFC 1950, RFC 1952), one after another, decoded in pieces."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Generator, Iterator
from functools import cache
from typing import Any, Final

from ..errors import CorruptError, TruncatedError
from ..model import MIB, Buffer

_INPUT_AT_ONCE: Final = 64 << 10
HEAD_SIZE: Final = 4
Check = Callable[[bytes], str | None]


@cache
def inflater() -> Any:
    """Return ISA-L's zlib module, twice as fast, or the standard library's where it is not."""
    try:
        return importlib.import_module("isal.isal_zlib")
    except ImportError:
        return zlib


class StreamDecoder:
    """Decodes concatenated streams; zeros may follow the last one (tapes pad); see ``base``.

    :param name: of the format, for errors.
    :param wbits: which wrapper, as zlib's ``decompressobj`` takes it.
    :param check: given the first bytes of a stream, what is wrong with them, or None.
    """

    def __init__(self, name: str, wbits: int, check: Check) -> None:
        self.boundary = False
        self._name, self._wbits, self._check = name, wbits, check
        self._taken = 0
        self._head = b""
        self._decoder: Any = None
        self._padding = False

    def feed(self, data: Buffer) -> Iterator[Buffer]:
        view = memoryview(data)
        while view:
            if self._decoder is None:
                view = self._begin(view)
            else:
                left = yield from self._inflate(bytes(view[:_INPUT_AT_ONCE]))
                view = view[min(_INPUT_AT_ONCE, len(view)) - left :]

    def _begin(self, view: memoryview) -> memoryview:
        """Look at the first bytes after a stream: another one, or zeros to the end."""
        if self._padding or (self._taken and not self._head and view[0] == 0):
            self._padding = True
            if any(view):
                raise CorruptError(f"garbage after the {self._name} data", offset=self._taken)
            self._taken += len(view)
            return view[:0]
        wanted = HEAD_SIZE - len(self._head)
        self._head += bytes(view[:wanted])
        self.boundary = False
        if len(self._head) == HEAD_SIZE:
            self._check_head()
            head, self._head = self._head, b""
            self._decoder = inflater().decompressobj(self._wbits)
            return memoryview(head + bytes(view[wanted:]))
        return view[wanted:]

    def _check_head(self) -> None:
        if wrong := self._check(self._head):
            if self._taken:
                wrong = f"garbage after the {self._name} data"
            raise CorruptError(wrong, offset=self._taken)

    def _inflate(self, data: bytes) -> Generator[Buffer, None, int]:
        """Yield what ``data`` gives; returns how many of its bytes belong to what follows."""
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
            raise CorruptError(f"garbage after the {self._name} data", offset=self._taken)
        if not self.boundary:
            raise TruncatedError(f"the {self._name} data is cut off", offset=self._taken)
