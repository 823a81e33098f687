"""``.zst`` after damage: which frames may be whole; see ``formats.scan``."""

from __future__ import annotations

import re
import struct
from typing import Final

from aiocompress.errors import AiocompressError
from aiocompress.formats.base import LARGEST_TABLE, PART
from aiocompress.formats.parts import Entries, Entry, Frame, Table
from aiocompress.formats.scan import Found, Index, Other, Scan, is_nearly
from aiocompress.formats.zstd import codec as zstd
from aiocompress.formats.zstd import container as zst
from aiocompress.formats.zstd.frame import (
    LARGEST_HEADER,
    MAGIC,
    FrameHeader,
    FrameWalk,
    check_header,
    is_skippable,
    parse_header,
)

_HINT: Final = struct.Struct("<4sII")
"""The skippable frame that pzstd puts in front of a frame: magic, 4, the size of the frame."""
_HINT_MAGIC: Final = b"\x50\x2a\x4d\x18"
_BLOCKS_AT_ONCE: Final = 256
_INDEX_HEAD: Final = 64
"""Within so many bytes of a block of an index, its frame begins."""
_NOTHING: Final = bytes(64)
"""At a block header: a run of empty blocks, which no writer makes, but which fill every hole."""


class ZstScan(Scan):
    """Looks through ``.zst`` of any writer."""

    magic = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)

    def measure(self, at: int) -> Found | None:
        head = self._view.at(at, LARGEST_HEADER)
        if bytes(head[:4]) == MAGIC:
            return self._frame(at)
        if len(head) >= zst.SKIPPABLE.size and is_skippable(head):
            return self._skippable(at)
        return self._table_without_head(at)

    def _frame(self, at: int) -> Found | None:
        header = parse_header(self._view.at(at, LARGEST_HEADER))
        if header is None:
            return None
        check_header(header, self._max_window)
        size = self._walk(header, at)
        if size is None:
            return None
        checksum = int.from_bytes(self._view.at(at + size - 4, 4), "little")
        if not self.is_end(at + size) and not (header.has_checksum and self._decodes(at, size)):
            return None
        self.unverified += not header.has_checksum
        about = header.content_size, header.room, checksum
        return at + size, Frame(at, size, *about, first=header.is_marked)

    def _walk(self, header: FrameHeader, at: int) -> int | None:
        """Step to the end of the frame; None: it is cut off, or damaged."""
        walk = FrameWalk(header)
        while not walk.ended:
            before = walk.size
            part = self._view.at(at + before, PART)
            if len(part) < 3 or part[:64] == _NOTHING:
                self._tried += before
                self.cut_off = len(part) < 3
                return None
            try:
                walk.advance(part, -before, _BLOCKS_AT_ONCE)
            except AiocompressError:
                self._tried += walk.size
                return None
        self.cut_off = at + walk.size > self._view.size
        return None if self.cut_off else walk.size

    def _decodes(self, at: int, size: int) -> bool:
        """Whether a frame is whole, although nothing known stands behind it."""
        decoder = zstd.StreamDecoder(self._max_window)
        try:
            for start in range(at, at + size, PART):
                for raw in decoder.feed(self._view.at(start, min(PART, at + size - start))):
                    self._tried += len(raw)
            decoder.finish()
        except AiocompressError:
            self._tried += size
            return False
        return True

    def _skippable(self, at: int) -> Found | None:
        magic, size = zst.SKIPPABLE.unpack_from(self._view.at(at, zst.SKIPPABLE.size))
        end = at + zst.SKIPPABLE.size + size
        if magic == zst.TABLE_MAGIC:
            return self._table(at, end) or self._table_without_head(at)
        if not self.is_end(end) and not (magic == zst.INDEX_MAGIC and self._ends_whole(at, end)):
            return None
        if size <= LARGEST_TABLE:
            payload = zst.index_payload(bytes(self._view.at(at, zst.SKIPPABLE.size + size)))
            if payload is not None:
                return end, Index(payload)
        return end, Other()

    def _ends_whole(self, at: int, end: int) -> bool:
        """Whether a block of an index ends with a whole frame, as the right ones do."""
        start = bytes(self._view.at(at, _INDEX_HEAD)).find(MAGIC)
        found = self._frame(at + start) if start > 0 else None
        return found is not None and found[0] == end

    def held_nothing(self, start: int, end: int, following: Found) -> bool:
        if end - start != _HINT.size or not isinstance(following[1], Frame):
            return False
        hint = _HINT.pack(_HINT_MAGIC, 4, following[1].size)
        return is_nearly(self._view.at(start, _HINT.size), hint)

    def size_behind(self, frames: int) -> int:
        return zst.SKIPPABLE.size + zst.ENTRY.size * frames + zst.FOOTER.size if frames else 0

    # The seek table: found by its first 8 bytes or, where those are damaged, by its last 9.

    def _table(self, at: int, end: int) -> Found | None:
        count, rest = divmod(end - at - zst.SKIPPABLE.size - zst.FOOTER.size, zst.ENTRY.size)
        if rest or count < 0 or not (self.is_end(end) or self._has_footer(end, count)):
            return None
        return self._entries(at, count)

    def _has_footer(self, end: int, count: int) -> bool:
        """Whether a table that ends there, and behind which nothing known stands, says so twice."""
        footer = bytes(self._view.at(end - zst.FOOTER.size, zst.FOOTER.size))
        return footer[:4] == count.to_bytes(4, "little") and footer.endswith(zst.FOOTER_MAGIC)

    def has_table(self) -> bool:
        end = self._view.size
        return bytes(self._view.at(max(0, end - 4), 4)) == zst.FOOTER_MAGIC

    def _table_without_head(self, at: int) -> Found | None:
        end = self._view.size
        footer = bytes(self._view.at(max(at, end - zst.FOOTER.size), zst.FOOTER.size))
        if len(footer) < zst.FOOTER.size:
            return None
        count, _, magic = zst.FOOTER.unpack(footer)
        size = zst.SKIPPABLE.size + count * zst.ENTRY.size + zst.FOOTER.size
        return self._entries(at, count) if magic == zst.FOOTER_MAGIC and at + size == end else None

    def _entries(self, at: int, count: int) -> Found | None:
        if count * zst.ENTRY.size > LARGEST_TABLE:
            return None
        data = bytes(self._view.at(at + zst.SKIPPABLE.size, count * zst.ENTRY.size))
        end = at + zst.SKIPPABLE.size + len(data) + zst.FOOTER.size
        entries, others, begin = Entries(), set(), at
        for size, raw, checksum in zst.ENTRY.iter_unpack(data):
            begin -= size
            if raw or checksum != zst.EMPTY_CHECKSUM:
                entries.add(Entry(size, raw, checksum))
            if not raw:
                others.add(size - zst.SKIPPABLE.size)
        return end, Table(entries, begin, frozenset(others))
