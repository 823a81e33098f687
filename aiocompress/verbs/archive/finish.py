"""Members on their way to the disk: one file being written, and what has to come last.

Plain blocking code, for a file thread, shared by everything that restores: archives from front to
back and frame by frame, framed containers, and what ``recover`` saves. Links and the modes of
folders wait until every file is there, so that nothing is ever written through a link, and a
folder is still writable while files are made in it. They wait in a journal on the disk.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import Final

from aiocompress.errors import UnsafeMemberError
from aiocompress.formats.tar.index import Record, Records
from aiocompress.model import MIB, Member
from aiocompress.storage.restorer import Restorer
from aiocompress.verbs.found import Failures, Found
from aiocompress.verbs.options import Restoring

ENDLESS: Final = 1 << 62
"""The size of a member whose size nobody knows yet."""
_SPECIAL: Final = {
    "fifo": ("a named pipe", 0o010000),
    "character device": ("a device", 0o020000),
    "block device": ("a device", 0o060000),
}


class Incoming:
    """The one file that is being written: in the end it is whole, or gone.

    An error of the system drops the file, and goes to ``failures``.
    """

    def __init__(self, restorer: Restorer, failures: Failures, found: Found) -> None:
        self._restorer, self._failures, self._found = restorer, failures, found
        self.place = b""
        self.descriptor = -1
        self.member = Member("")
        self._extents: Iterator[tuple[int, int]] = iter(())
        self._at = self._left = self._missing = 0

    @property
    def is_open(self) -> bool:
        """Whether a file is being written."""
        return self.descriptor >= 0

    @property
    def is_whole(self) -> bool:
        """Whether all of its content has come."""
        return not self._missing

    def begin(self, place: bytes, member: Member, *, replace: bool = True) -> None:
        """Create a file.

        :param replace: whether it takes the place of an earlier member of that name.
        :raises OSError: it cannot be created.
        """
        try:
            self.descriptor = self._restorer.create(place, member.mode)
        except FileExistsError:
            if not replace:
                raise
            self._restorer.remove(place)
            self.descriptor = self._restorer.create(place, member.mode)
        self.place, self.member = place, member
        self._extents = iter(member.extents or ((0, member.size),))
        self._at = self._left = 0
        self._missing = member.stored_size

    def write(self, data: memoryview) -> None:
        """Write the next bytes where they belong: a sparse file has holes between them."""
        try:
            while data and self.is_open:
                self._next_extent()
                done = os.pwrite(self.descriptor, data[: self._left], self._at)
                self._advance(done)
                self._missing -= done
                data = data[done:]
        except OSError as error:
            self.drop()
            self._failures.member(self.place, error)

    def skip(self, size: int) -> None:
        """Leave zeros for stored bytes that are missing."""
        while size and self.is_open:
            self._next_extent()
            step = min(size, self._left)
            self._advance(step)
            size -= step

    def _next_extent(self) -> None:
        while not self._left:
            self._at, self._left = next(self._extents)

    def _advance(self, size: int) -> None:
        self._at, self._left = self._at + size, self._left - size

    def resize(self, size: int) -> None:
        """Say how large the file is, where nobody knew when it began."""
        self.member = self.member._replace(size=size, stored_size=size)

    def end(self) -> None:
        """Give the file its size, mode, time and owner, and close it."""
        if not self.is_open:
            return
        try:
            self.set_attributes()
        except (UnsafeMemberError, OSError) as error:
            self.drop()
            self._failures.member(self.place, error)
        else:
            self._close()
            self._found.files += 1

    def set_attributes(self) -> None:
        """Give the file everything but its content.

        :raises OSError: the system refuses; ``UnsafeMemberError``: we do.
        """
        member = self.member
        os.ftruncate(self.descriptor, member.size)
        more = (member.uid, member.gid), member.xattrs
        self._restorer.finish(self.descriptor, member.mode, member.mtime_ns, *more)

    def drop(self) -> None:
        """Remove a file that is not whole."""
        if self.is_open:
            self._close()
            self._restorer.remove(self.place)

    def _close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        os.close(descriptor)


class Finisher:
    """Makes what has no content: links, named pipes, devices; and finishes folders."""

    def __init__(
        self, restorer: Restorer, restoring: Restoring, failures: Failures, found: Found
    ) -> None:
        self._restorer, self._keeping = restorer, restoring.keeping
        self._failures, self._found = failures, found
        self.root_mode: int | None = None
        """The mode that the archive says of the folder itself."""

    def hardlink(self, place: bytes, link: bytes) -> None:
        """Give a file of this run another name.

        :raises UnsafeMemberError: there is no such file.
        """
        self._restorer.make_hardlink(place, self._failures.place(link))
        self._found.files += 1

    def symlink(self, place: bytes, record: Record) -> None:
        """Make a symbolic link."""
        owner = record.owner[0], record.owner[1]
        self._restorer.make_symlink(place, record.link, record.mtime_ns, owner)

    def special(self, place: bytes, member: Member) -> None:
        """Make a named pipe or a device if that is wanted, and tell of it if not."""
        what, kind = _SPECIAL[member.kind]
        if not self._keeping.preserve:
            self._failures.special(place, what)
            return
        mode = kind | self._keeping.mode(member.mode)
        self._restorer.make_special(place, mode, member.device)
        more = member.mode, member.mtime_ns, (member.uid, member.gid)
        self._restorer.finish_special(place, *more)

    def folder(self, place: bytes, record: Record) -> None:
        """Give a folder its mode and time: nothing more is made in it."""
        owner = record.owner[0], record.owner[1]
        self._restorer.set_folder(place, record.mode, record.mtime_ns, owner)

    def root(self, mode: int) -> None:
        """Note the mode of the folder that everything goes to."""
        self.root_mode = self._keeping.root_mode(mode)


class Journal:
    """Records of what has to wait for the end, in a file without a name if there are many."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(MIB)  # noqa: SIM115
        self._blocks: list[tuple[int, int]] = []
        self._records = Records()

    def add(self, name: bytes, kind: int, member: Member, link: bytes = b"") -> None:
        """Note a member."""
        owner = member.uid, member.gid, b"", b""
        self._records.add(name, kind, 1, 0, member.mode, member.mtime_ns, owner, link)
        if self._records.is_full:
            self._spill()

    def _spill(self) -> None:
        data = self._records.encode()
        start = sum(self._blocks[-1]) if self._blocks else 0
        self._file.seek(start)
        self._file.write(data)
        self._blocks.append((start, len(data)))
        self._records = Records(self._records.end)

    def __iter__(self) -> Iterator[Record]:
        for block in self._blocks:
            yield from self._read(block)
        yield from self._records

    def __reversed__(self) -> Iterator[Record]:
        yield from reversed(list(self._records))
        for block in reversed(self._blocks):
            yield from reversed(list(self._read(block)))

    def _read(self, block: tuple[int, int]) -> Records:
        self._file.seek(block[0])
        return Records.decode(self._file.read(block[1]))

    def close(self) -> None:
        """Forget all."""
        self._file.close()
