"""Members on their way to the disk: the file that is being written, and what has to come last.

Plain blocking code, for a file thread, shared by everything that restores: archives front to back
and frame by frame, framed containers, and ``recover``. Symbolic links and the modes of folders
wait until every file exists: written earlier, a link could redirect a later member to somewhere
outside, and a read-only folder would refuse the files that belong in it. They wait in a journal,
which spills to the disk.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Final

from aiocompress.errors import AiocompressError, LimitError, UnsafeMemberError
from aiocompress.formats.tar.index import Record, Records
from aiocompress.model import MIB, Member
from aiocompress.storage.restorer import Restorer
from aiocompress.verbs.archive.failures import Failures
from aiocompress.verbs.archive.runs import Runs
from aiocompress.verbs.found import Found, shown
from aiocompress.verbs.options import Restoring

ENDLESS: Final = 1 << 62
"""The size of a member until its real size is known."""
_SPECIAL: Final = {
    "fifo": ("a named pipe", 0o010000),
    "character device": ("a device", 0o020000),
    "block device": ("a device", 0o060000),
}


class Incoming:
    """The one file that is being written: in the end it is whole, or gone.

    An error of the system removes the file, and goes to ``failures``.
    """

    def __init__(self, restorer: Restorer, failures: Failures, found: Found) -> None:
        self._restorer, self._failures, self._found = restorer, failures, found
        self.place = b""
        self.descriptor = -1
        self.member = Member("")
        self._runs = Runs(self.member)
        self._missing = 0

    @property
    def is_open(self) -> bool:
        """Whether a file is being written."""
        return self.descriptor >= 0

    @property
    def is_whole(self) -> bool:
        """Whether all of the content has arrived."""
        return not self._missing

    def begin(self, place: bytes, member: Member) -> None:
        """Create a file.

        :raises OSError: it cannot be created; ``FileExistsError``: an earlier member is there.
        """
        self.descriptor = self._restorer.create(place, member.mode)
        self.place, self.member = place, member
        self._runs, self._missing = Runs(member), member.stored_size

    def write(self, data: memoryview) -> None:
        """Write the next bytes where they belong: a sparse file has holes between its extents.

        Bytes behind the end of the content are padding, and ignored.
        """
        data = data[: self._missing]
        try:
            while data and self.is_open:
                at, size = self._runs.next()
                done = os.pwrite(self.descriptor, data[:size], at)
                self._runs.advance(done)
                self._missing -= done
                data = data[done:]
        except OSError as error:
            self.drop()
            self._failures.member(self.place, error)

    def skip(self, size: int) -> None:
        """Leave zeros for stored bytes that are missing."""
        while size and self.is_open:
            step = min(size, self._runs.next()[1])
            self._runs.advance(step)
            size -= step

    def resize(self, size: int) -> None:
        """Set the size of a file that began as ``ENDLESS``."""
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

        :raises OSError: the system refuses.
        :raises UnsafeMemberError: its owner is out of bounds.
        """
        member = self.member
        os.ftruncate(self.descriptor, member.size)
        more = (member.uid, member.gid), member.xattrs
        self._restorer.finish(self.descriptor, member.mode, member.mtime_ns, *more)

    def drop(self) -> None:
        """Remove the file: it is not whole."""
        if self.is_open:
            self._close()
            self._restorer.remove(self.place)

    def _close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        os.close(descriptor)


class MemberMaker:
    """Makes members below one folder, and decides what it means if one cannot be made.

    The base of whatever restores archives; ``close`` it always.

    :param root: a descriptor of the folder.
    """

    def __init__(self, root: int, restoring: Restoring, found: Found) -> None:
        self._restoring, self._found = restoring, found
        self._strip = restoring.keeping.strip_components
        self._failures = Failures(restoring.on_error, found, self._strip)
        self._restorer = Restorer(root, restoring.keeping)
        self._file = Incoming(self._restorer, self._failures, found)
        self.root_mode: int | None = None
        """The mode that the archive gives the folder itself."""

    def close(self) -> None:
        """Give everything back; a file that is not whole is removed."""
        self._file.drop()
        self._restorer.close()

    def refuse(self, name: bytes, error: AiocompressError | OSError) -> None:
        """Leave a member out, or raise, as the caller wants it; see ``Failures.member``."""
        self._failures.member(name, error)

    def _attempt(self, name: bytes, make: Callable[..., object], *arguments: object) -> None:
        try:
            make(*arguments)
        except (UnsafeMemberError, LimitError, OSError) as error:
            self.refuse(name, error)

    def _instead(self, place: bytes, make: Callable[[], None], *, is_link: bool = False) -> None:
        """Make something in the place of what an earlier member of that name left there.

        :param is_link: it takes the place of a full folder, too, which has since become a link.
        """
        try:
            make()
        except FileExistsError:
            if is_link and self._restorer.empty(place):
                self._found.change(f"{shown(place)}: took the place of a folder, and all in it")
            self._restorer.remove(place)
            make()

    def _hardlink(self, place: bytes, target: bytes) -> None:
        """Give what this run has made another name.

        :raises UnsafeMemberError: there is no such thing.
        """
        self._restorer.make_hardlink(place, target)
        self._found.files += 1

    def _special(self, place: bytes, member: Member) -> None:
        """Make a named pipe or a device if that is wanted, and report it if not."""
        what, kind = _SPECIAL[member.kind]
        keeping = self._restoring.keeping
        if not keeping.preserve:
            self._failures.special(place, what)
            return
        if "device" in member.unreadable:
            raise UnsafeMemberError("the numbers of the device cannot be read")
        self._restorer.make_special(place, kind | keeping.mode(member.mode), member.device)
        more = member.mode, member.mtime_ns, (member.uid, member.gid)
        self._restorer.finish_special(place, *more)


class Journal:
    """Records of what has to wait for the end; many of them spill to a file without a name."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(MIB)  # noqa: SIM115
        self._blocks: list[tuple[int, int]] = []
        self._records = Records()

    def add(self, name: bytes, kind: int, member: Member, link: bytes = b"") -> None:
        owner = member.uid, member.gid, b"", b""
        self._records.add(name, kind, 1, 0, member.mode, member.mtime_ns, owner, link)
        if self._records.is_full:
            self._spill()

    def _spill(self) -> None:
        self.take(self._records.encode())
        self._records = Records(self._records.end)

    def take(self, records: bytes) -> None:
        """Add records that are encoded already."""
        start = sum(self._blocks[-1]) if self._blocks else 0
        self._file.seek(start)
        self._file.write(records)
        self._blocks.append((start, len(records)))

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
        self._file.close()
