"""The end of an archive, where its index is looked for, is read in one piece.

Where the archive stands in a store elsewhere, a request takes longer than what it brings. So the
end is read without knowing how long the index is, and what was read is not asked for again.
"""

from __future__ import annotations

from typing import Final

from aiocompress.formats.base import AT_ONCE, FrameTable, Search
from aiocompress.model import KIB
from aiocompress.storage.positional import Checked

_END: Final = 256 * KIB
"""Bytes read at once: mostly the table of frames, and a block of the index before it."""


class Ending:
    """An archive, and as much of its end as was asked for in one piece.

    :param size: bytes of the archive.
    """

    def __init__(self, source: Checked, size: int, end: memoryview) -> None:
        self.size = size
        self.source, self._most = source, AT_ONCE
        self._start, self._end = size - len(end), end

    @classmethod
    async def read(cls, source: Checked) -> Ending:
        """Read the end of an archive."""
        size = await source.size()
        return cls(source, size, await source.read_at(max(0, size - _END), _END))

    async def read_at(self, offset: int, size: int) -> memoryview:
        """Return bytes, fewer only at the end; those that lead up to the end are kept with it."""
        size = min(size, self.size - offset)
        start, end = self._start, self._end
        before = start - offset
        if before > size:
            return await self.source.read_at(offset, size)
        if before > 0:
            more = await self.source.read_at(offset, before)
            start, end = offset, memoryview(bytes(more) + end)
            if len(end) <= self._most:
                self._start, self._end = start, end
        at = offset - start
        return end[at : at + size]

    async def searched(self, steps: Search) -> FrameTable | None:
        """Look for a table of frames; None: there is no credible one."""
        try:
            request = next(steps)
            while True:
                request = steps.send(bytes(await self.read_at(*request)))
        except StopIteration as stop:
            table: FrameTable | None = stop.value
        return table

    def forget(self) -> None:
        """Keep nothing any more."""
        self._start, self._end, self._most = self.size, memoryview(b""), 0
