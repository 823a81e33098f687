"""The index of an archive that is being written: block after block, closed as they get full."""

from __future__ import annotations

from aiocompress.formats.tar.index import Records, Row


class Blocks:
    """Gathers members, and closes a block of the index when enough have come.

    :param start: the raw offset of the first member.
    """

    def __init__(self, start: int = 0) -> None:
        self._records = Records(start)
        self._closed: list[bytes] = []

    @property
    def end(self) -> int:
        """Where the next member begins, in raw bytes."""
        return self._records.end

    @property
    def is_full(self) -> bool:
        """Whether the block is to be closed when the chunk ends."""
        return self._records.is_full

    def add(self, row: Row) -> None:
        """Add a member. A chunk may hold more than a block: then blocks are closed within it."""
        if not self._records.has_room(row[0], row[7]):
            self.close()
        self._records.add(*row)

    def has_room_for(self, records: Records) -> bool:
        """Whether ``extend`` takes no time, because it closes no block."""
        return self._records.has_room_for(records)

    def extend(self, records: Records) -> None:
        """Add the members of a chunk, which a worker has gathered."""
        if self.has_room_for(records):
            self._records.extend(records)
        else:
            for row in records.rows():
                self.add(row)

    def close(self) -> None:
        """Close the block."""
        self._closed.append(self._records.pack())
        self._records = Records(self._records.end)

    def take(self) -> list[bytes]:
        """Return the blocks that were closed, once."""
        blocks, self._closed = self._closed, []
        return blocks
