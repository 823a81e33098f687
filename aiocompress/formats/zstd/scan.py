"""``.zst`` after damage: which frames may be whole; see ``salvage``."""

from __future__ import annotations

import operator
import re
import struct
from typing import Final

import zstandard

from aiocompress.errors import AiocompressError
from aiocompress.formats.base import LARGEST_TABLE
from aiocompress.formats.scan import Entry, Found, Frame, Index, Other, Scan, Table
from aiocompress.formats.zstd import codec as zstd
from aiocompress.formats.zstd import container as zst
from aiocompress.formats.zstd.codec import FrameHeader, FrameWalk
from aiocompress.model import MIB

_SKIPPABLE: Final = struct.Struct("<4sI")
_FOOTER: Final = struct.Struct("<IB4s")
_TABLE_MAGIC, _FOOTER_MAGIC = b"\x5e\x2a\x4d\x18", b"\xb1\xea\x92\x8f"
_ENTRY: Final = struct.Struct("<III")
_EMPTY_CHECKSUM: Final = 0x51D8E999
_HINT: Final = struct.Struct("<4sII")
_HINT_MAGIC: Final = b"\x50\x2a\x4d\x18"
_FEW: Final = 4
"""Damaged bytes that do not make pzstd's hint something else."""
_PART: Final = MIB
_BLOCKS_AT_ONCE: Final = 256
_NOTHING: Final = bytes(64)
"""At a block header: a run of empty blocks, which nobody writes, but a hole is full of."""


class ZstScan(Scan):
    """Looks through ``.zst`` of any writer."""

    magic = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)

    def measure(self, at: int) -> Found | None:
        head = self._view.at(at, zstd.LARGEST_HEADER)
        if bytes(head[:4]) == zstd.MAGIC:
            return self._frame(at)
        if len(head) >= _SKIPPABLE.size and zstd.is_skippable(head):
            return self._skippable(at)
        return self._table_without_head(at)

    def _frame(self, at: int) -> Found | None:
        header = zstd.parse_header(self._view.at(at, zstd.LARGEST_HEADER))
        if header is None:
            return None
        zstd.check_header(header, self._max_window)
        size = self._walk(header, at)
        if size is None:
            return None
        checksum = int.from_bytes(self._view.at(at + size - 4, 4), "little")
        if not self.is_end(at + size) and not (header.has_checksum and self._decodes(at, size)):
            return None
        self.unverified += not header.has_checksum
        self.end_due |= zstd.is_marked_header(header)
        raw = header.content_size
        # pzstd writes no content size, and 4 windows into each frame.
        room = 4 * header.window if raw is None else raw
        return at + size, Frame(at, size, raw, room, checksum)

    def _walk(self, header: FrameHeader, at: int) -> int | None:
        """Step to where the frame ends; None: it is cut off, or no frame."""
        walk = FrameWalk(header)
        while not walk.ended:
            before = walk.size
            part = self._view.at(at + before, _PART)
            if len(part) < 3 or part[:64] == _NOTHING:
                self.tried(before)
                self.cut_off = len(part) < 3
                return None
            try:
                walk.advance(part, -before, _BLOCKS_AT_ONCE)
            except AiocompressError:
                self.tried(walk.size)
                return None
        self.cut_off = at + walk.size > self._view.size
        return None if self.cut_off else walk.size

    def _decodes(self, at: int, size: int) -> bool:
        """Whether a frame whose end nothing confirms is whole all the same."""
        decoder = zstd.StreamDecoder(self._max_window)
        try:
            for start in range(at, at + size, _PART):
                for raw in decoder.feed(self._view.at(start, min(_PART, at + size - start))):
                    self.tried(len(raw))
            decoder.finish()
        except (AiocompressError, zstandard.ZstdError):
            self.tried(size)
            return False
        return True

    def _skippable(self, at: int) -> Found | None:
        magic, size = _SKIPPABLE.unpack_from(self._view.at(at, _SKIPPABLE.size))
        end = at + _SKIPPABLE.size + size
        if magic == _TABLE_MAGIC:
            return self._table(at, end) or self._table_without_head(at)
        if not self.is_end(end):
            return None
        if size <= LARGEST_TABLE:
            payload = zst.index_payload(bytes(self._view.at(at, _SKIPPABLE.size + size)))
            if payload is not None:
                return end, Index(payload)
        return end, Other()

    def held_nothing(self, start: int, end: int, following: Found) -> bool:
        """Whether it is what pzstd puts in front of a frame, but for a few bytes: its size."""
        if end - start != _HINT.size or not isinstance(following[1], Frame):
            return False
        hint = _HINT.pack(_HINT_MAGIC, 4, following[1].size)
        wrong = sum(map(operator.ne, self._view.at(start, _HINT.size), hint))
        return int(wrong) <= _FEW

    # The seek table: what its first 8 bytes say, or, if those are damaged, its last 9.

    def _table(self, at: int, end: int) -> Found | None:
        size = end - at - _SKIPPABLE.size
        count = (size - _FOOTER.size) // _ENTRY.size
        if not self.is_end(end) or size != count * _ENTRY.size + _FOOTER.size or count < 0:
            return None
        return self._entries(at, count)

    def has_table(self) -> bool:
        end = self._view.size
        return bytes(self._view.at(max(0, end - 4), 4)) == _FOOTER_MAGIC

    def _table_without_head(self, at: int) -> Found | None:
        """Look for a table from here to the end of the file, going by its end."""
        end = self._view.size
        footer = bytes(self._view.at(max(at, end - _FOOTER.size), _FOOTER.size))
        if len(footer) < _FOOTER.size:
            return None
        count, _, magic = _FOOTER.unpack(footer)
        size = _SKIPPABLE.size + count * _ENTRY.size + _FOOTER.size
        if magic != _FOOTER_MAGIC or at + size != end:
            return None
        return self._entries(at, count)

    def _entries(self, at: int, count: int) -> Found | None:
        if count * _ENTRY.size > LARGEST_TABLE:
            return None
        data = bytes(self._view.at(at + _SKIPPABLE.size, count * _ENTRY.size))
        end = at + _SKIPPABLE.size + len(data) + _FOOTER.size
        rows = [Entry(*row) for row in _ENTRY.iter_unpack(data)]
        frames = [row for row in rows if row.raw or row.checksum != _EMPTY_CHECKSUM]
        others = {row.size - _SKIPPABLE.size for row in rows if not row.raw}
        return end, Table(frames, frozenset(others))
