"""``.gz``: one gzip member a chunk, each with its own size in front: the ``IG`` subfield.

Read in parallel: ``IG`` (ours, pgzip's), ``MZ`` (mgzip's) and ``BC`` (BGZF: the SAM/BAM
specification, 4.1); everything else is one stream. Ours carry a comment in the first member, and
end with an empty member: so a file that is cut off exactly between two members is an error. BGZF
files end with an empty member too, and get the same check.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from typing import Final

from ..codecs import gzip
from ..errors import TruncatedError
from ..model import Buffer
from . import base
from .base import Steps

_EXTRA, _COMMENT = 4, 16
_HEADER: Final = struct.Struct("<4sIBBH2sHI")
"""Magic and flags, time, extra flags, system, FEXTRA length, subfield, its length, member size."""
_UNKNOWN_SYSTEM: Final = 255
_MARK: Final = b"aiocompress\0"
_EMPTY: Final = b"\x03\0" + bytes(8)
_SMALLEST: Final = 20
_HIGHEST_RATIO: Final = 1032


def _header(data_size: int, mark: bytes = b"") -> bytes:
    """Return the header of a member with ``data_size`` bytes of data, CRC and length after it."""
    flags = _EXTRA | (_COMMENT if mark else 0)
    size = _HEADER.size + len(mark) + data_size
    magic = gzip.MAGIC + bytes([flags])
    return _HEADER.pack(magic, 0, 0, _UNKNOWN_SYSTEM, 8, b"IG", 4, size) + mark


class Writer:
    """Plain gzip members to ``.gz``; see ``base.Writer``."""

    def __init__(self) -> None:
        self._mark = _MARK

    def add(self, frame: memoryview, raw_size: int) -> tuple[Buffer, ...]:
        del raw_size  # a member says it itself
        data = frame[gzip.PLAIN_HEADER :]
        header, self._mark = _header(len(data), self._mark), b""
        return header, data

    def finish(self) -> bytes:
        return _header(len(_EMPTY)) + _EMPTY


class Reader(base.Reader):
    """``.gz`` of any writer to pieces; see ``base.Reader``.

    A size in a header is a hint: where no member begins at the place it points to, all that
    follows is given out as a stream; so does the pipeline where a member has another size.
    """

    def _parse(self) -> Steps:
        end_due = last_empty = False
        while (yield from self._need(1)):
            if self._buffer[0] == 0 and self._offset:
                yield from self._padding()
                break
            member = yield from self._member()
            if member is None:
                yield from self._rest()
                return
            end_due |= self._has_end()
            members, size = [member], member[0]
            while not base.is_full(members, size) and (found := self._measure(size)):
                members.append(found)
                size += found[0]
            last_empty = members[-1][1] == 0
            yield from self._give_frames(members, exact=False)
        if end_due and not last_empty:
            raise TruncatedError(
                "the file is cut off between two members: the empty one at its end is missing",
                offset=0,
            )

    def _member(self) -> Generator[None, None, tuple[int, int] | None]:
        """Wait for a whole member; None: its size is unknown, or not to be believed."""
        size = yield from self._size()
        if not size or size > self._whole or not (yield from self._need(size)):
            return None
        return self._measure(0)

    def _size(self) -> Generator[None, None, int]:
        yield from self._need(12)
        if len(self._buffer) >= 12:  # the length of FEXTRA stands before it
            yield from self._need(12 + int.from_bytes(self._buffer[10:12], "little"))
        return _indexed_size(self._buffer, 0)

    def _measure(self, start: int) -> tuple[int, int] | None:
        """Return (compressed, raw) of the member at ``start`` if all of it is here."""
        size = _indexed_size(self._buffer, start)
        end = start + size
        if not size or end > len(self._buffer):
            return None
        raw = int.from_bytes(self._buffer[end - 4 : end], "little")
        if raw + end > self._whole or raw > size * _HIGHEST_RATIO:
            return None
        return size, raw

    def _has_end(self) -> bool:
        """Whether the writer of the first member ends its files with an empty one."""
        at = _HEADER.size
        return self._buffer[at : at + len(_MARK)] == _MARK or self._buffer[12:14] == b"BC"


def _indexed_size(data: bytearray, start: int) -> int:
    """Return the size that the member's FEXTRA says; 0: none, or it is not all here."""
    head = bytes(data[start : start + 4])
    if len(data) < start + 12 or gzip.check_head(head) or not head[3] & _EXTRA:
        return 0
    at = start + 12
    end = at + int.from_bytes(data[start + 10 : at], "little")
    while at + 4 <= end <= len(data):
        name, length = data[at : at + 2], int.from_bytes(data[at + 2 : at + 4], "little")
        value = int.from_bytes(data[at + 4 : at + 4 + length], "little")
        if bytes(name) in {b"IG", b"MZ"} and length == 4:
            return value if value >= _SMALLEST else 0
        if name == b"BC" and length == 2:
            return value + 1 if value >= _SMALLEST else 0
        at += 4 + length
    return 0
