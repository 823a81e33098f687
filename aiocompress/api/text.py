"""Text files: what ``io.TextIOWrapper`` does, for blocks that arrive one by one.

``codecs`` and ``io`` know encodings and newlines; this module feeds their incremental decoders and
encoders.
"""

from __future__ import annotations

import codecs
import io
from abc import abstractmethod
from collections import deque
from typing import Final, NamedTuple

from aiocompress.api.reading import Reading
from aiocompress.api.ready import IN_TEXT

_FLAGS_AT: Final = 64
_SKIP_AT: Final = 128
_MASK: Final = (1 << 64) - 1
"""As in ``io``, one number is a position: an offset, the decoder's flags, characters to skip."""


class TextOptions(NamedTuple):
    """The encoding of text; see ``io.TextIOWrapper``."""

    encoding: str
    errors: str
    newline: str | None

    @classmethod
    def of(cls, encoding: str | None, errors: str | None, newline: str | None) -> TextOptions:
        """Check the arguments, and fill in the defaults.

        :raises LookupError: the encoding is unknown.
        :raises ValueError: ``newline`` has another value than ``io.TextIOWrapper`` allows.
        :raises TypeError: an argument is not text.
        """
        as_io = io.TextIOWrapper(io.BytesIO(), io.text_encoding(encoding, 3), errors, newline)
        return cls(as_io.encoding, as_io.errors or "strict", newline)


class _Snapshot(NamedTuple):
    """A place at which decoding can begin again: its offset in bytes and in characters."""

    offset: int
    flags: int
    characters: int


class TextReading(Reading[str]):
    """A text file, decoded from blocks of bytes."""

    def __init__(self, options: TextOptions) -> None:
        super().__init__(IN_TEXT[options.newline])
        self.encoding, self.errors = options.encoding, options.errors
        self._options = options
        self._begin(_Snapshot(0, 0, 0))

    @abstractmethod
    async def _next_bytes(self) -> bytes:
        """Return the next bytes; none at the end."""

    @abstractmethod
    def _move(self, offset: int) -> None:
        """Make ``_next_bytes`` continue at that offset."""

    @abstractmethod
    async def _size(self) -> int:
        """Return how many bytes the whole file has."""

    def _begin(self, snapshot: _Snapshot) -> None:
        newline = self._options.newline
        decoder: codecs.IncrementalDecoder | io.IncrementalNewlineDecoder
        decoder = codecs.getincrementaldecoder(self.encoding)(self.errors)
        if newline in {None, ""}:
            decoder = io.IncrementalNewlineDecoder(decoder, translate=newline is None)
        self._decoder = decoder
        if snapshot.offset or snapshot.flags:
            self._decoder.setstate((b"", snapshot.flags))
        self._held = ""
        """The first half of a possible newline."""
        self._offset = snapshot.offset
        self._characters = snapshot.characters
        self._snapshots = deque([snapshot])

    async def _next(self, _: int) -> str:
        while True:
            data = await self._next_bytes()
            undecoded, flags = self._decoder.getstate()
            if not self._held:
                start = self._offset - len(undecoded)
                self._snapshots.append(_Snapshot(start, flags, self._characters))
            text = self._held + self._decoder.decode(data, final=not data)
            self._offset += len(data)
            is_half = bool(data) and self._options.newline == "\r\n" and text.endswith("\r")
            text, self._held = (text[:-1], "\r") if is_half else (text, "")
            self._characters += len(text)
            if text or not data:
                return text

    def _kept(self) -> int:
        """Return how many characters were taken, and drop the snapshots that precede them."""
        taken = self._characters - len(self._ready)
        while len(self._snapshots) > 1 and self._snapshots[1].characters <= taken:
            self._snapshots.popleft()
        return taken

    async def _fetch(self, size: int = 0) -> str:
        self._kept()
        return await super()._fetch(size)

    def seekable(self) -> bool:
        """Whether reading can continue at any position."""
        return True

    async def tell(self) -> int:
        """Return the position of the next character, an opaque number for ``seek``."""
        self._check()
        taken = self._kept()
        place = self._snapshots[0]
        skip = taken - place.characters
        return place.offset | place.flags << _FLAGS_AT | skip << _SKIP_AT

    async def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position that ``tell`` returned, to 0, or with ``SEEK_END`` to the end.

        :raises io.UnsupportedOperation: any other seek; or the source can be read only once.
        :raises ValueError: it is no such position.
        """
        self._check()
        if not self.seekable():
            raise io.UnsupportedOperation("seek: the source can be read only once")
        if whence not in {io.SEEK_SET, io.SEEK_CUR, io.SEEK_END}:
            raise ValueError(f"whence must be 0, 1 or 2, not {whence!r}")
        if whence == io.SEEK_CUR and not place:
            return await self.tell()
        if whence != io.SEEK_SET and place:
            raise io.UnsupportedOperation("seek: in text only from the beginning")
        if place < 0:
            raise ValueError(f"cannot seek to {place}, before the beginning")
        if whence == io.SEEK_END:
            place = await self._size()
        skip = place >> _SKIP_AT
        self._ready.clear()
        self._begin(_Snapshot(place & _MASK, place >> _FLAGS_AT & _MASK, 0))
        self._move(self._offset)
        if len(await self.read(skip)) < skip:
            raise ValueError("the position is past the end of the text")
        return place


class TextEncoder:
    """Encodes text, with the newlines of the file."""

    def __init__(self, options: TextOptions) -> None:
        self._encoder = codecs.getincrementalencoder(options.encoding)(options.errors)
        newline = options.newline
        self._newline = newline if newline in {"\r", "\r\n"} else None

    def follow(self) -> None:
        """Continue a text that has its byte order mark already."""
        self._encoder.setstate(0)

    def encode(self, text: str) -> bytes:
        """Return the bytes of a text.

        :raises UnicodeEncodeError: the encoding lacks a character.
        :raises TypeError: it is not text.
        """
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self._newline is not None:
            text = text.replace("\n", self._newline)
        return self._encoder.encode(text)
