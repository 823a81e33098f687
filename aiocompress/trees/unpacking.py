"""A tar as it comes, back to files: ``packing``'s way back, for archives of any writer.

Plain blocking code, for a file thread. Members are restored in order, one after another, so the
last one of a name wins, whole. A symbolic link is made when all else is: until then an empty file
keeps its place, which nothing can be written through.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import Final, NamedTuple

from ..archives.header import to_bytes, to_text
from ..archives.index import DIRECTORY, SYMLINK, Record, Records
from ..archives.tar import Reader
from ..errors import AiocompressError, LimitError, UnsafeMemberError
from ..model import DEFAULT_MAX_METADATA, MIB, Buffer, Member, OnError
from .found import Found
from .incoming import IncomingFile
from .restoring import FATAL, UNBOUNDED, Bounds, Keeping, Restorer, checked
from .selecting import Selection

HINT: Final = "--keep-going (on_error='skip') restores the others"
_SPECIAL: Final = {
    "fifo": "a named pipe",
    "character device": "a device",
    "block device": "a device",
}


class Restoring(NamedTuple):
    """How members become files: which, what of them beside content, and what about errors."""

    selection: Selection
    keeping: Keeping = Keeping()
    on_error: OnError = "raise"
    bounds: Bounds = UNBOUNDED


class Failures:
    """Decides what a member that cannot be restored means: an error, or a line of the report."""

    def __init__(self, restoring: Restoring, found: Found) -> None:
        self._raises, self._found = restoring.on_error == "raise", found
        self._stripped = False

    def place(self, name: bytes) -> bytes:
        """Return where a member goes; see ``checked``. One warning tells of absolute names."""
        place = checked(name)
        if name[:1] == b"/" and not self._stripped:
            self._stripped = True
            self._found.warn(f"{shown(name)}: the leading '/' was removed from member names")
        return place

    def member(self, name: bytes, error: AiocompressError | OSError) -> None:
        """Take the error of one member.

        :raises AiocompressError: members are not to be left out, or it concerns all.
        """
        if isinstance(error, OSError):
            if error.errno in FATAL:
                raise OSError(error.errno, error.strerror, os.fsdecode(name)) from None
            reason = error.strerror or str(error)
        else:
            reason = error.reason
        if self._raises and isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, os.fsdecode(name)) from None
        if self._raises and isinstance(error, LimitError):
            raise LimitError(f"member {shown(name)}: {reason}", hint=error.hint)
        if self._raises:
            raise UnsafeMemberError(f"member {shown(name)}: {reason}", hint=HINT)
        self._found.refuse(f"{shown(name)}: {reason}")

    def special(self, name: bytes, what: str) -> None:
        """Tell of a member that is not made unless asked for."""
        self._found.skip(f"{shown(name)}: {what}, not created (--preserve does)")


def shown(name: bytes) -> str:
    """Return a member's name as text."""
    return os.fsdecode(name)


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


class Unpacker:
    """Restores the members of a tar: ``feed`` it all, then ``finish``, and ``close`` always.

    :param root: a descriptor of the folder they go to.
    :param max_metadata: as of ``tar.Reader``.
    """

    def __init__(
        self,
        root: int,
        restoring: Restoring,
        found: Found,
        *,
        max_metadata: int = DEFAULT_MAX_METADATA,
    ) -> None:
        self._restoring, self._found = restoring, found
        self._failures = Failures(restoring, found)
        self._restorer = Restorer(root, restoring.keeping)
        self._reader = Reader(max_metadata=max_metadata)
        self._later = Journal()
        self._members = self._number = 0
        self._file: IncomingFile | None = None
        self.root_mode: int | None = None
        """The mode that the archive says of the folder itself."""

    def feed(self, data: Buffer) -> None:
        """Take the next bytes of the archive.

        :raises AiocompressError: as ``tar.Reader``, and for members that are refused.
        :raises OSError: a member cannot be created.
        """
        for item in self._reader.feed(data):
            if isinstance(item, Member):
                self._end_file()
                self._begin(item)
            elif self._file is not None:
                self._write(item)

    def finish(self) -> None:
        """Restore what has to come last: links, then, from the inside out, folders.

        :raises TruncatedError: the archive was not whole.
        """
        self._reader.finish()
        for warning in self._reader.warnings:
            self._found.warn(warning)
        self._end_file()
        self._finish_rest()

    def finish_cut(self) -> None:
        """Do the same where the archive cannot be read any further."""
        if self._file is not None and not self._file.is_whole:
            self._found.refuse(f"{shown(self._file.name)}: it is not whole")
            self._drop_file()
        self._end_file()
        self._finish_rest()

    def _finish_rest(self) -> None:
        for number, record in enumerate(self._later):
            if record.kind == SYMLINK:
                self._attempt(record.name, self._link, number, record)
        for record in reversed(self._later):
            if record.kind == DIRECTORY:
                self._attempt(record.name, self._finish_folder, record)

    def close(self) -> None:
        """Close what is open; a file that is not whole is removed."""
        self._drop_file()
        self._restorer.close()
        self._later.close()

    # One member.

    def _begin(self, member: Member) -> None:
        name = to_bytes(member.name)
        if self._restoring.selection.wants(name):
            self._members += 1
            self._restoring.bounds.check_count(self._members)
            self._attempt(name, self._make, member, name)

    def _attempt(self, name: bytes, function: object, *arguments: object) -> None:
        try:
            function(*arguments)  # type: ignore[operator]
        except (UnsafeMemberError, LimitError, OSError) as error:
            self._failures.member(name, error)

    def _make(self, member: Member, name: bytes) -> None:
        place = self._failures.place(name)
        if member.kind == "directory":
            self._make_folder(place, member)
            return
        if not place:
            raise UnsafeMemberError("it has no name")
        if member.kind == "file":
            self._restoring.bounds.check_size(member.size)
            self._open(place, member)
        elif member.kind == "symlink":
            self._keep_place(place, member)
        elif member.kind == "hardlink":
            self._make_hardlink(place, member)
        else:
            self._make_special(place, member)
        self._found.files += member.kind not in _SPECIAL

    def _make_folder(self, place: bytes, member: Member) -> None:
        try:
            self._restorer.make_folder(place, member.xattrs)
        except FileExistsError:
            self._restorer.remove(place)
            self._restorer.make_folder(place, member.xattrs)
        if place:
            self._later.add(place, DIRECTORY, member)
            self._number += 1
        else:
            self.root_mode = self._restoring.keeping.root_mode(member.mode)

    def _open(self, place: bytes, member: Member) -> None:
        try:
            descriptor = self._restorer.create(place, member.mode)
        except FileExistsError:
            self._restorer.remove(place)
            descriptor = self._restorer.create(place, member.mode)
        self._file = IncomingFile(place, descriptor, member)

    def _keep_place(self, place: bytes, member: Member) -> None:
        try:
            self._restorer.make_placeholder(place, self._number)
        except FileExistsError:
            self._restorer.remove(place)
            self._restorer.make_placeholder(place, self._number)
        self._later.add(place, SYMLINK, member, to_bytes(member.link))
        self._number += 1

    def _make_hardlink(self, place: bytes, member: Member) -> None:
        target = self._failures.place(to_bytes(member.link))
        if target == place or not target:
            raise UnsafeMemberError("a hard link to itself")
        try:
            self._restorer.make_hardlink(place, target)
        except FileExistsError:
            self._restorer.remove(place)
            self._restorer.make_hardlink(place, target)

    def _make_special(self, place: bytes, member: Member) -> None:
        member = member._replace(name=to_text(place))
        make_special(self._restorer, self._restoring, self._failures, member)

    def _link(self, number: int, record: Record) -> None:
        if self._restorer.holds_place(record.name, number):
            self._restorer.remove(record.name)
            owner = record.owner[0], record.owner[1]
            self._restorer.make_symlink(record.name, record.link, record.mtime_ns, owner)

    def _finish_folder(self, record: Record) -> None:
        if self._restorer.is_folder(record.name):  # nothing else by now
            owner = record.owner[0], record.owner[1]
            self._restorer.set_folder(record.name, record.mode, record.mtime_ns, owner)

    # The content of a file.

    def _write(self, data: memoryview) -> None:
        assert self._file is not None
        try:
            self._file.write(data)
        except OSError as error:
            name = self._file.name
            self._drop_file()
            self._failures.member(name, error)

    def _end_file(self) -> None:
        if self._file is None:
            return
        file, member = self._file, self._file.member
        try:
            os.ftruncate(file.descriptor, member.size)
            more = (member.uid, member.gid), member.xattrs
            self._restorer.finish(file.descriptor, member.mode, member.mtime_ns, *more)
        except (UnsafeMemberError, OSError) as error:
            self._drop_file()
            self._failures.member(file.name, error)
        else:
            self._file = None
            os.close(file.descriptor)

    def _drop_file(self) -> None:
        if self._file is not None:
            name, descriptor = self._file.name, self._file.descriptor
            self._file = None
            os.close(descriptor)
            self._restorer.remove(name)


def make_special(
    restorer: Restorer, restoring: Restoring, failures: Failures, member: Member
) -> None:
    """Make a named pipe or a device if that is wanted, and tell of it if not."""
    name = to_bytes(member.name)
    if not restoring.keeping.preserve:
        failures.special(name, _SPECIAL[member.kind])
        return
    kinds = {"fifo": 0o010000, "character device": 0o020000, "block device": 0o060000}
    mode = kinds[member.kind] | restoring.keeping.mode(member.mode)
    restorer.make_special(checked(name), mode, member.device)
    more = member.mode, member.mtime_ns, (member.uid, member.gid)
    restorer.finish_special(checked(name), *more)
