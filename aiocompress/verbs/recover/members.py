"""What is left of an archive, or of a file, becomes files: those that are whole, and no others.

Plain blocking code, for a file thread. A member is written as it comes, and removed when it proves
damaged, or kept as ``NAME.damaged``, where that is wanted, with zeros for what is missing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Final, Protocol

from aiocompress.errors import UnsafeMemberError
from aiocompress.formats.tar.directory import Directory
from aiocompress.formats.tar.header import to_bytes
from aiocompress.formats.tar.salvage import Event, Hole, Inner, Lost, Salvager, Unknown
from aiocompress.model import Buffer, Member
from aiocompress.storage.restorer import Restorer
from aiocompress.verbs.archive.finish import ENDLESS
from aiocompress.verbs.archive.unpack import Unpacker
from aiocompress.verbs.found import Found
from aiocompress.verbs.options import Restoring
from aiocompress.verbs.select import Selection

_SUFFIX: Final = b".damaged"
_MOST_TOLD: Final = 3


class Saver(Protocol):
    """Takes raw data and gaps in order; plain blocking code."""

    @property
    def root_mode(self) -> int | None:
        """The mode of the folder itself, if that is known."""
        ...

    @property
    def kept(self) -> int:
        """How many damaged files were kept."""
        ...

    def feed(self, data: Buffer) -> None:
        """Take the next raw bytes, all of them verified."""
        ...

    def gap(self, size: int | None) -> None:
        """Say how many raw bytes are missing here; None: nobody knows."""
        ...

    def finish(self) -> None:
        """Say that nothing follows."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


class _Places(Restorer):
    """Names of what is damaged, or lost."""

    def link_aside(self, name: bytes) -> None:
        """Give a file a second name that says that it is damaged."""
        for number in count(1):
            other = name + _SUFFIX + (b"-%d" % number if number > 1 else b"")
            try:
                self.make_hardlink(other, name)
            except FileExistsError:
                continue
            return

    def forget(self, name: bytes) -> bool:
        """Remove a file, or an empty folder; returns whether there was a file."""
        return self._does(os.unlink, name) or (self._does(os.rmdir, name) and False)

    def has(self, name: bytes) -> bool:
        """Whether something has that name."""
        return self._does(partial(os.stat, follow_symlinks=False), name)

    def _does(self, function: Callable[..., object], name: bytes) -> bool:
        """Whether a function succeeds for a name; no folder is made for it."""
        above, _, base = name.rpartition(b"/")
        try:
            folder = self.existing_folder(above)
        except OSError:
            return False
        try:
            function(base, dir_fd=folder)
        except OSError:
            return False
        finally:
            os.close(folder)
        return True


class _Files(Unpacker):
    """Restores members of which parts may be missing."""

    def __init__(self, root: int, found: Found, *, keep_damaged: bool) -> None:
        restoring = Restoring(Selection(), on_error="skip")
        self._places = _Places(root, restoring.keeping)
        super().__init__(root, restoring, found, restorer=self._places)
        self._keep_damaged = keep_damaged
        self._member: Member | None = None
        self._done = 0
        self._holes: list[tuple[int, int]] = []
        self._torn = False
        self._guesses: list[bytes] | None = None
        """Places of what was found without proof, since that began."""
        self.guessed = 0
        """How many members were found without proof that they belong to this archive."""
        self.indexed = 0
        """How many members were made by what the index says of them."""
        self.kept = 0
        """How many damaged files were kept."""

    def _make(self, member: Member, name: bytes) -> None:
        place = self._failures.place(name)
        if self._guesses is not None:
            if not place or self._places.has(place):
                raise UnsafeMemberError("it may belong to a tar inside another member")
            self._guesses.append(place)
            self.guessed += 1
        super()._make(member, name)

    def take_back(self) -> None:
        """Remove what was found since the last gap: it does not belong to this archive."""
        self.end()
        taken = sum(map(self._places.forget, reversed(self._guesses or ())))
        self._found.files -= taken
        self.guessed -= len(self._guesses or ())
        if taken:
            self._found.refuse(f"{taken:,} members of a tar inside a member that is not whole")
        self._guesses = []

    def begin(self, member: Member, *, guessed: bool = False) -> None:
        """Begin a member; what came before it is over.

        :param guessed: nothing proves that it belongs to this archive.
        """
        self.end()
        if guessed != (self._guesses is not None):
            self._guesses = [] if guessed else None
        self._member, self._done, self._torn = member, 0, False
        self._holes = []
        self._begin(member)

    def add(self, data: memoryview) -> None:
        """Take the next bytes of its content."""
        self._done += len(data)
        if self._keep_damaged or not self._torn:
            self._file.write(data)

    def skip(self, size: int | None) -> None:
        """Take note of bytes that are missing; None: of all the rest."""
        if self._member is None:
            return
        size = self._member.stored_size - self._done if size is None else size
        self._torn = True
        if size:
            self._holes.append((self._done, self._done + size))
        self._done += size
        if self._keep_damaged:
            self._file.skip(size)

    def set_size(self, size: int) -> None:
        """Say where the content ends, when it was not known before."""
        assert self._member is not None
        self._member = self._member._replace(size=size, stored_size=size)
        self._file.resize(size)

    def end(self) -> None:
        """End a member: it is whole, or it goes."""
        member, self._member = self._member, None
        if member is None:
            return
        if not self._torn:
            self._file.end()
            return
        self._found.refuse(f"{member.name}: {_missing(self._holes, member.stored_size)}")
        if self._file.is_open and self._keep_damaged:
            self._attempt(to_bytes(member.name), self._set_aside)
        self._file.drop()

    def _set_aside(self) -> None:
        """Keep what is there of a file under another name."""
        # A size that no file can have is left out.
        with contextlib.suppress(OSError):
            self._file.set_attributes()
        self._places.link_aside(self._file.place)
        self.kept += 1

    def lost(self, member: Member) -> None:
        """Take note of a member that is lost, or make it, if there is no more to it than that.

        An older one of its name is not what was meant, and goes.
        """
        if not member.size:
            self.begin(member)
            self.end()
            self.indexed += 1
            return
        self.end()
        self._found.refuse(f"{member.name}: lost")
        name = to_bytes(member.name)
        self._attempt(name, self._forget, name)

    def _forget(self, name: bytes) -> None:
        self._found.files -= self._places.forget(self._failures.place(name))

    def end_all(self) -> None:
        """Make links, and give folders their modes."""
        self.end()
        self._finish_rest()


def _missing(holes: list[tuple[int, int]], size: int) -> str:
    """Say which bytes are missing."""
    if not holes:
        return "something of it is missing, nobody knows what"
    parts = [f"{start:,} to {end:,}" for start, end in holes[:_MOST_TOLD]]
    more = " and more" if len(holes) > _MOST_TOLD else ""
    return f"bytes {', '.join(parts)}{more} of {size:,} missing"


class TarSaver:
    """Saves the members of a tar; see ``Saver``.

    :param root: a descriptor of the folder that they go to.
    :param size: raw bytes of the whole archive, if they are known.
    """

    def __init__(
        self,
        root: int,
        found: Found,
        directory: Directory,
        size: int | None,
        *,
        keep_damaged: bool,
    ) -> None:
        self._found = found
        self._salvager = Salvager(directory, size)
        self._files = _Files(root, found, keep_damaged=keep_damaged)

    def feed(self, data: Buffer) -> None:
        self._take(self._salvager.feed(data))

    def gap(self, size: int | None) -> None:
        self._take(self._salvager.gap(size))

    def finish(self) -> None:
        self._take(self._salvager.finish())
        self._files.end_all()
        if self._files.indexed:
            self._found.warn(f"{self._files.indexed:,} members were made by the index alone")
        if self._files.guessed:
            self._found.warn(
                f"{self._files.guessed:,} members were found behind damage, and no index knows "
                "them: they may be those of a tar inside a member"
            )

    @property
    def root_mode(self) -> int | None:
        """The mode that the archive says of the folder itself."""
        return self._files.root_mode

    @property
    def kept(self) -> int:
        return self._files.kept

    def close(self) -> None:
        self._files.close()

    def _take(self, events: Iterator[Event]) -> None:
        files = self._files
        for event in events:
            if isinstance(event, memoryview):
                files.add(event)
            elif isinstance(event, Member):
                files.begin(event, guessed=self._salvager.guessed)
            elif isinstance(event, Hole):
                files.skip(event.size)
            elif isinstance(event, Lost):
                files.lost(event.member)
            elif isinstance(event, Inner):
                files.take_back()
            elif isinstance(event, Unknown):
                self._found.refuse(event.reason)


class FileSaver:
    """Saves a file that is no archive: all of it is one member; see ``Saver``."""

    root_mode = None

    @property
    def kept(self) -> int:
        return self._files.kept

    def __init__(self, root: int, found: Found, member: Member, *, keep_damaged: bool) -> None:
        self._member, self._at = member, 0
        self._files = _Files(root, found, keep_damaged=keep_damaged)
        self._files.begin(member._replace(size=ENDLESS, stored_size=ENDLESS))

    def feed(self, data: Buffer) -> None:
        self._at += len(data)
        self._files.add(memoryview(data))

    def gap(self, size: int | None) -> None:
        self._at += size or 0
        self._files.skip(size or 0)

    def finish(self) -> None:
        self._files.set_size(self._at)
        self._files.end_all()

    def close(self) -> None:
        self._files.close()
