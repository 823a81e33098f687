"""``.gz`` after damage: which members may be whole; see ``salvage``."""

from __future__ import annotations

import operator
import re
import struct
import zlib
from typing import Final

from aiocompress.formats.deflate import inflater
from aiocompress.formats.gzip import codec as gzip
from aiocompress.formats.gzip import container as gz
from aiocompress.formats.scan import LARGEST_INDEX, Entry, Found, Frame, Index, Other, Scan, Table
from aiocompress.model import MIB

_HEAD: Final = 1 << 16
_LONGEST_HEAD: Final = MIB
_PART: Final = 64 << 10
_WBITS: Final = 31
_HIGHEST_RATIO: Final = 1032
_TABLE: Final = struct.Struct("<8sII")
_TABLE_MAGIC: Final = b"aiocmpft"
_INDEX: Final = re.compile(rb".{20}aiocompress index ([+.@])", re.DOTALL)
_MARKED: Final = re.compile(rb".{20}aiocompress\0", re.DOTALL)
_END: Final = bytes(gz.Writer().finish())
_BGZF_END: Final = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_TAIL: Final = 256
_FEW: Final = 4
"""Damaged bytes that do not make the empty member at the end something else."""


class GzScan(Scan):
    """Looks through ``.gz`` of any writer."""

    magic = re.compile(rb"\x1f\x8b\x08", re.DOTALL)

    def measure(self, at: int) -> Found | None:
        head = self._view.at(at, _HEAD)
        if end := self._end(at):
            return end, Other(ends=True)
        gzip.check_head(bytes(head[:4]))
        match = _INDEX.match(head)
        if match is not None and match[1] != b"@" and (index := self._index(at)):
            return index
        size = gz._indexed_size(head, 0)  # noqa: SLF001 - one way to read it
        if size and at + size <= self._view.size and self.is_end(at + size):
            raw = int.from_bytes(self._view.at(at + size - 4, 4), "little")
            # One without data is decoded at once: it would be passed over.
            if 0 < raw <= size * _HIGHEST_RATIO:
                return at + size, self._found(at, size, raw)
        return self._inflated(at)

    def _found(self, at: int, size: int, raw: int) -> Frame | Other:
        head = bytes(self._view.at(at, 64))
        self.end_due |= _MARKED.match(head) is not None or head[12:16] == b"BC\2\0"
        return Frame(at, size, raw, raw) if raw else Other()

    def has_table(self) -> bool:
        end = self._view.size
        return b"aiocompress index @" in bytes(self._view.at(max(0, end - _TAIL), _TAIL))

    def _end(self, at: int) -> int | None:
        """Return where the member ends that ends a file; give or take some bytes, if it is due."""
        for end in (_END, _BGZF_END):
            last = bytes(self._view.at(at, len(end)))
            due = self.end_due and at + len(end) == self._view.size
            if last == end or (due and sum(map(operator.ne, last, end)) <= _FEW):
                return at + len(end)
        return None

    def _inflated(self, at: int) -> Found | None:
        """Find the end of a member by decoding it."""
        size = _HEAD
        header = gzip.parse_header(bytes(self._view.at(at, size)))
        while header is None and size < _LONGEST_HEAD and at + size < self._view.size:
            size *= 4
            header = gzip.parse_header(bytes(self._view.at(at, size)))
        if header is None:
            return None
        decoder = inflater().decompressobj(_WBITS)
        decoder.decompress(header[1])
        try:
            return self._run(decoder, at, at + header[0])
        except (zlib.error, inflater().error):
            return None

    def _run(self, decoder: object, start: int, at: int) -> Found | None:
        raw = 0
        while data := bytes(self._view.at(at, _PART)):
            at += len(data)
            while data:
                part = decoder.decompress(data, MIB)  # type: ignore[attr-defined]
                raw += len(part)
                self.tried(len(data) + len(part))
                data = decoder.unconsumed_tail  # type: ignore[attr-defined]
                if decoder.eof:  # type: ignore[attr-defined]
                    end = at - len(decoder.unused_data)  # type: ignore[attr-defined]
                    return end, self._found(start, end - start, raw)
        self.cut_off = True
        return None

    # The index: empty members, one after another, till one says that it is the last.

    def _index(self, at: int) -> Found | None:
        start, kind = at, b"+"
        while kind == b"+":
            head = self._view.at(at, 64)
            match = _INDEX.match(head)
            size = gz._indexed_size(head, 0)  # noqa: SLF001
            if match is None or not size or at + size - start > LARGEST_INDEX:
                return None
            kind, at = match[1], at + size
        payload = gz.index_payload(bytes(self._view.at(start, at - start)))
        if payload is None or not self.is_end(at):
            return None
        if payload.startswith(_TABLE_MAGIC):
            pairs = payload[_TABLE.size : len(payload) // 8 * 8]
            return at, Table(
                [Entry(size, raw, 0) for size, raw in struct.iter_unpack("<II", pairs)]
            )
        return at, Index(payload)
