"""A tar as it comes, back to files: ``pack``'s way back, for archives of any writer.

Plain blocking code, for a file thread. Members are restored in order, one after another, so the
last one of a name wins, whole. Symbolic links come last, as nothing must be written through one;
until then a file that nobody can read keeps the place of each, and its target, for hard links to
the link. A later member of that name takes the place, and the link is not made. Pipes and devices
that are not made keep a place as well: hard links to them are left out, too.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Final

from aiocompress.errors import UnsafeMemberError
from aiocompress.formats.tar.header import to_bytes
from aiocompress.formats.tar.index import DIRECTORY, LETTERS, SYMLINK, Record
from aiocompress.formats.tar.reader import Reader
from aiocompress.model import DEFAULT_MAX_METADATA, Buffer, Member
from aiocompress.storage.restorer import is_owner
from aiocompress.verbs.archive.finish import Journal, MemberMaker
from aiocompress.verbs.found import Found, shown
from aiocompress.verbs.options import Restoring

_NOTHING: Final = LETTERS["fifo"]
"""The type of what only keeps a place."""


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
        self._finish_rest()

    def finish_cut(self) -> None:
        """Do the same where the archive cannot be read any further."""
        if self._file.is_open and not self._file.is_whole:
            self._found.refuse(f"{shown(self._file.place)}: it is not whole")
            self._file.drop()
        self._finish_rest()

    def _finish_rest(self) -> None:
        self._file.end()
        self._found.extend(self._reader.warnings)
        for number, record in enumerate(self._later):
            if record.kind != DIRECTORY:
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
            self._attempt(name, self._make, self._usable(member), name)

    def _usable(self, member: Member) -> Member:
        """Return a member with what a new file gets in the place of what cannot be used."""
        if self._restoring.keeping.preserve:
            ids = {"uid": member.uid, "gid": member.gid}
            beyond = tuple(field for field, number in ids.items() if not is_owner(number))
            member = member._replace(unreadable=member.unreadable + beyond) if beyond else member
        if not member.unreadable:
            return member
        self._found.leave_out(member)
        fresh: dict[str, Any] = {
            "mode": self._restorer.default_mode(is_folder=member.kind == "directory"),
            "mtime_ns": time.time_ns(),
            "uid": -1,
            "gid": -1,
        }
        return member._replace(**{key: fresh[key] for key in fresh.keys() & member.unreadable})

    def _make(self, member: Member, name: bytes) -> None:
        if not name:
            raise UnsafeMemberError(f"it has no name, at byte {member.offset:,} of the archive")
        place = self._failures.place(name)
        if member.kind == "directory":
            self._make_folder(place, member)
            return
        if not place:
            raise UnsafeMemberError("its name is that of the folder that all goes to")
        if member.kind == "file":
            self._restoring.bounds.check_size(member.size)
            self._instead(place, partial(self._file.begin, place, member))
        elif member.kind == "symlink":
            if not member.link:
                raise UnsafeMemberError("a symbolic link without a target")
            self._keep_place(place, member, to_bytes(member.link))
        elif member.kind == "hardlink":
            self._make_hardlink(place, member)
        elif self._restoring.keeping.preserve:
            self._instead(place, partial(self._special, place, member))
        else:
            self._keep_place(place, member, b"")
            self._special(place, member)

    def _make_folder(self, place: bytes, member: Member) -> None:
        self._instead(place, partial(self._restorer.make_folder, place, member.xattrs))
        if place:
            self._later.add(place, DIRECTORY, member)
            self._number += 1
        else:
            self.root_mode = self._restoring.keeping.root_mode(member.mode)

    def _keep_place(self, place: bytes, member: Member, target: bytes) -> None:
        """Keep the place of a symbolic link, or, without a target, of what is left out."""
        keep = self._restorer.make_placeholder
        self._instead(place, partial(keep, place, self._number, target), is_link=bool(target))
        self._later.add(place, SYMLINK if target else _NOTHING, member, target)
        self._number += 1
        self._found.files += bool(target)

    def _make_hardlink(self, place: bytes, member: Member) -> None:
        """Link to a file, or make again the symbolic link that it is linked to."""
        target = self._failures.place(to_bytes(member.link))
        kept = self._restorer.kept_target(target)
        if kept is None:
            self._instead(place, partial(self._hardlink, place, target))
        elif target != place:
            self._keep_place(place, member, kept)
            if not kept:
                self._failures.special(place, "a hard link to a pipe or a device")

    def _link(self, number: int, record: Record) -> None:
        if self._restorer.holds_place(record.name, number):
            self._restorer.remove(record.name)
            if record.kind == SYMLINK:
                about = record.link, record.mtime_ns, record.owner[:2]
                self._restorer.make_symlink(record.name, *about)

    def _finish_folder(self, record: Record) -> None:
        if self._restorer.is_folder(record.name):  # a later member may have taken its place
            about = record.mode, record.mtime_ns, record.owner[:2]
            self._restorer.set_folder(record.name, *about)
