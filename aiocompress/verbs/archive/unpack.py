"""A tar as it comes, back to files: ``pack``'s way back, for archives of any writer.

Plain blocking code, for a file thread. Members are restored in order, one after another, so the
last one of a name wins, whole. Symbolic links come last, as nothing must be written through one;
until then an empty file keeps the place of each. A later member of that name takes the place, and
the link is not made.
"""

from __future__ import annotations

from functools import partial

from aiocompress.errors import UnsafeMemberError
from aiocompress.formats.tar.header import to_bytes
from aiocompress.formats.tar.index import DIRECTORY, SYMLINK, Record
from aiocompress.formats.tar.reader import Reader
from aiocompress.model import DEFAULT_MAX_METADATA, Buffer, Member
from aiocompress.verbs.archive.finish import Journal, MemberMaker
from aiocompress.verbs.found import Found, shown
from aiocompress.verbs.options import Restoring


class Unpacker(MemberMaker):
    """Restores the members of a tar: ``feed`` it all, then ``finish``, and ``close`` always.

    :param root: a descriptor of the folder that the members go to.
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
        super().__init__(root, restoring, found)
        self._reader = Reader(max_metadata=max_metadata)
        self._later = Journal()
        self._members = self._number = 0

    def feed(self, data: Buffer) -> None:
        """Take the next bytes of the archive.

        :raises AiocompressError: as ``tar.Reader``, and for members that are refused.
        :raises OSError: a member cannot be created.
        """
        for item in self._reader.feed(data):
            if isinstance(item, Member):
                self._file.end()
                self._begin(item)
            else:
                self._file.write(item)

    def finish(self) -> None:
        """Restore what has to come last: links, then the modes of folders, inside out.

        :raises TruncatedError: the archive was not whole.
        """
        self._reader.finish()
        self._found.warnings += self._reader.warnings
        self._finish_rest()

    def finish_cut(self) -> None:
        """Do the same where the archive cannot be read any further."""
        if self._file.is_open and not self._file.is_whole:
            self._found.refuse(f"{shown(self._file.place)}: it is not whole")
            self._file.drop()
        self._finish_rest()

    def _finish_rest(self) -> None:
        self._file.end()
        for number, record in enumerate(self._later):
            if record.kind == SYMLINK:
                self._attempt(record.name, self._link, number, record)
        for record in reversed(self._later):
            if record.kind == DIRECTORY:
                self._attempt(record.name, self._finish_folder, record)

    def close(self) -> None:
        super().close()
        self._later.close()

    # One member.

    def _begin(self, member: Member) -> None:
        name = to_bytes(member.name)
        if self._restoring.selection.wants(name):
            self._members += 1
            self._restoring.bounds.check_count(self._members)
            self._attempt(name, self._make, member, name)

    def _make(self, member: Member, name: bytes) -> None:
        place = self._failures.place(name)
        if member.kind == "directory":
            self._make_folder(place, member)
            return
        if not place:
            raise UnsafeMemberError("it has no name")
        if member.kind == "file":
            self._restoring.bounds.check_size(member.size)
            self._instead(place, partial(self._file.begin, place, member))
        elif member.kind == "symlink":
            self._keep_place(place, member)
        elif member.kind == "hardlink":
            self._make_hardlink(place, to_bytes(member.link))
        else:
            self._special(place, member)

    def _make_folder(self, place: bytes, member: Member) -> None:
        self._instead(place, partial(self._restorer.make_folder, place, member.xattrs))
        if place:
            self._later.add(place, DIRECTORY, member)
            self._number += 1
        else:
            self.root_mode = self._restoring.keeping.root_mode(member.mode)

    def _keep_place(self, place: bytes, member: Member) -> None:
        self._instead(place, partial(self._restorer.make_placeholder, place, self._number))
        self._later.add(place, SYMLINK, member, to_bytes(member.link))
        self._number += 1
        self._found.files += 1

    def _make_hardlink(self, place: bytes, link: bytes) -> None:
        target = self._failures.place(link)
        if target == place or not target:
            raise UnsafeMemberError("a hard link to itself")
        self._instead(place, partial(self._hardlink, place, link))

    def _link(self, number: int, record: Record) -> None:
        if self._restorer.holds_place(record.name, number):
            self._restorer.remove(record.name)
            about = record.link, record.mtime_ns, record.owner[:2]
            self._restorer.make_symlink(record.name, *about)

    def _finish_folder(self, record: Record) -> None:
        if self._restorer.is_folder(record.name):  # a later member may have taken its place
            about = record.mode, record.mtime_ns, record.owner[:2]
            self._restorer.set_folder(record.name, *about)
