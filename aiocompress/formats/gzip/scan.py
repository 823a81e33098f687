"""``.gz`` after damage: which members may be whole; see ``formats.scan``."""

from __future__ import annotations

import re
import zlib
from typing import Any, Final

from aiocompress.formats.base import LARGEST_TABLE
from aiocompress.formats.deflate import inflater
from aiocompress.formats.gzip import codec as gzip
from aiocompress.formats.gzip import container as gz
from aiocompress.formats.parts import Entries, Frame, Table
from aiocompress.formats.scan import Found, Index, Other, Scan, is_nearly
from aiocompress.model import KIB, MIB

_HEAD, _LONGEST_HEAD, _PART = 64 * KIB, MIB, 64 * KIB
_TAIL: Final = 256


class GzScan(Scan):
    """Looks through ``.gz`` of any writer."""

    magic = re.compile(rb"\x1f\x8b\x08", re.DOTALL)

    def measure(self, at: int) -> Found | None:
        head = self._view.at(at, _HEAD)
        if end := self._end(at):
            return end, Other(ends=True)
        if self.lacks_end and gz.BGZF_END.startswith(bytes(head)):
            return self._view.size, Other()
        gzip.check_head(bytes(head[:4]))
        if gz.index_member(head)[1] in {gz.GOES_ON, gz.ENDS_HERE} and (index := self._index(at)):
            return index
        size = gz.indexed_size(head)
        if size and at + size <= self._view.size and self.is_end(at + size):
            raw = int.from_bytes(self._view.at(at + size - 4, 4), "little")
            # A member without data is decoded at once, for nothing checks it later.
            if 0 < raw <= size * gz.HIGHEST_RATIO:
                return at + size, self._found(at, size, raw)
        return self._inflated(at)

    def _found(self, at: int, size: int, raw: int) -> Frame | Other:
        if not raw:
            return Other()
        head = self._view.at(at, 64)
        first = gz.is_marked(head)
        self.lacks_end |= gz.needs_end(head) and not first
        return Frame(at, size, raw, raw, first=first)

    def size_behind(self, frames: int) -> int:
        return gz.TAIL_SIZE + 10 * frames

    def has_table(self) -> bool:
        end = self._view.size
        return b"aiocompress index @" in bytes(self._view.at(max(0, end - _TAIL), _TAIL))

    def _end(self, at: int) -> int | None:
        """Return where a member that ends a file ends; a damaged one counts where one is due."""
        for end in gz.ENDS:
            last = bytes(self._view.at(at, len(end)))
            due = (self.end_due or self.lacks_end) and at + len(end) == self._view.size
            if last == end or (due and is_nearly(last, end)):
                return at + len(end)
        return None

    def _inflated(self, at: int) -> Found | None:
        """Find the end of a member by decoding it."""
        size = _HEAD
        while (header := gzip.parse_header(bytes(self._view.at(at, size)))) is None:
            if size >= _LONGEST_HEAD or at + size >= self._view.size:
                return None
            size *= 4
        decoder = inflater().decompressobj(gzip.WBITS)
        decoder.decompress(header[1])
        try:
            return self._run(decoder, at, at + header[0])
        except (zlib.error, inflater().error):
            return None

    def _run(self, decoder: Any, start: int, at: int) -> Found | None:
        raw = 0
        while data := bytes(self._view.at(at, _PART)):
            at += len(data)
            while data:
                part = decoder.decompress(data, MIB)
                raw += len(part)
                self._tried += len(data) + len(part)
                data = decoder.unconsumed_tail
                if decoder.eof:
                    end = at - len(decoder.unused_data)
                    return end, self._found(start, end - start, raw)
        self.cut_off = True
        return None

    def _index(self, at: int) -> Found | None:
        """Read index members up to the one that ends the payload."""
        start, kind = at, gz.GOES_ON
        while kind == gz.GOES_ON:
            size, kind = gz.index_member(self._view.at(at, 64))
            at += size
            if not kind or at - start > LARGEST_TABLE:
                return None
        payload = gz.index_payload(bytes(self._view.at(start, at - start)))
        if payload is None or not self.is_end(at):
            return None
        pairs = gz.table_sizes(payload)
        if pairs is None:
            return at, Index(payload)
        entries, begin = Entries.of(pairs[::2], pairs[1::2]), start
        if len(self.frames):
            begin = self.frames[-1].offset + self.frames[-1].size
        return at, Table(entries, begin - sum(pairs[::2]))
