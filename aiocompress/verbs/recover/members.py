"""The remains of an archive, or of a file, become files: those that are whole, and no others.

Plain blocking code, for a file thread. A member is written as it arrives; if it proves damaged, it
is removed, or kept as ``NAME.damaged`` on request, with zeros for what is missing.
"""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Final

from aiocompress.errors import UnsafeMemberError
from aiocompress.formats.tar.directory import Directory
from aiocompress.formats.tar.header import to_bytes
from aiocompress.formats.tar.salvage import Event, Hole, Inner, Lost, Salvager, Unknown
from aiocompress.model import Buffer, Member
from aiocompress.storage.restorer import Keeping
from aiocompress.verbs.archive.finish import ENDLESS
from aiocompress.verbs.archive.unpack import Unpacker
from aiocompress.verbs.found import Found
from aiocompress.verbs.options import Restoring
from aiocompress.verbs.select import Selection

_SUFFIX: Final = b".damaged"
_MOST_TOLD: Final = 3


class Files(Unpacker, ABC):
    """Restores members of which parts may be missing; ``feed`` takes verified raw bytes only.

    :param root: a descriptor of the folder that they go to.
    """

    def __init__(self, root: int, found: Found, *, keep_damaged: bool) -> None:
        super().__init__(root, Restoring(Selection(), Keeping(), on_error="skip"), found)
        self._keep_damaged = keep_damaged
        self._member: Member | None = None
        self._done = 0
        self._holes: list[tuple[int, int]] = []
        self._torn = False
        self._guesses: list[bytes] | None = None
        """Places of the members found without proof since the last gap; None: not guessing."""
        self._guessed = 0
        """How many members were found without proof that they belong to this archive."""
        self._indexed = 0
        """How many members were made from what the index says of them."""
        self._kept = self._folders = 0
        """How many damaged files were kept, and how many folders were made."""

    @property
    def saved(self) -> int:
        """How much was saved: files, folders, links, and damaged files that were kept."""
        return self._found.files + self._kept + self._folders

    @abstractmethod
    def begin(self, directory: Directory, size: int | None) -> None:
        """Take the next of the files that stand one behind the other: its index, its raw bytes."""

    @abstractmethod
    def gap(self, size: int | None) -> None:
        """Take note that raw bytes are missing here; None: an unknown number."""

    @abstractmethod
    def end(self) -> None:
        """Say that the file that began last ends here."""

    def _make(self, member: Member, name: bytes) -> None:
        place = self._failures.place(name)
        if self._guesses is not None:
            if not place or self._does(partial(os.stat, follow_symlinks=False), place):
                raise UnsafeMemberError("it may belong to a tar inside another member")
            self._guesses.append(place)
            self._guessed += 1
        super()._make(member, name)

    def _make_folder(self, place: bytes, member: Member) -> None:
        super()._make_folder(place, member)
        self._folders += bool(place)

    def _take_back(self) -> None:
        """Remove what was found since the last gap: it does not belong to this archive."""
        self._end()
        guesses = self._guesses or []
        taken = sum(map(self._remove, reversed(guesses)))
        self._found.files -= taken
        self._guessed -= len(guesses)
        if taken:
            self._found.refuse(f"{taken:,} members of a tar inside a member that is not whole")
        self._guesses = []

    def _begin_next(self, member: Member, *, guessed: bool = False) -> None:
        """Begin a member; the one before it has ended.

        :param guessed: nothing proves that it belongs to this archive.
        """
        self._end()
        if guessed != (self._guesses is not None):
            self._guesses = [] if guessed else None
        self._member, self._done, self._torn = member, 0, False
        self._holes = []
        self._begin(member)

    def _add(self, data: memoryview) -> None:
        """Take the next bytes of its content."""
        self._done += len(data)
        if self._keep_damaged or not self._torn:
            self._file.write(data)

    def _skip(self, size: int | None) -> None:
        """Note that bytes are missing; None: all the rest."""
        if self._member is None:
            return
        size = self._member.stored_size - self._done if size is None else size
        self._torn = True
        if size:
            self._holes.append((self._done, self._done + size))
        self._done += size
        if self._keep_damaged:
            self._file.skip(size)

    def _end(self) -> None:
        """End a member: it is kept if it is whole."""
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
        """Keep what is there of a file under a second name, which says that it is damaged."""
        with contextlib.suppress(OSError):  # the size may be one that no file can have
            self._file.set_attributes()
        place = self._file.place
        for number in count(1):
            other = place + _SUFFIX + (b"-%d" % number if number > 1 else b"")
            with contextlib.suppress(FileExistsError):
                self._restorer.make_hardlink(other, place)
                self._kept += 1
                return

    def _lose(self, member: Member) -> None:
        """Note that a member is lost, or make it if its record in the index is all there is to it.

        An older one of its name is not what was meant, and is removed.
        """
        if not member.size:
            self._begin_next(member)
            self._end()
            self._indexed += 1
            return
        self._end()
        self._found.refuse(f"{member.name}: lost")
        name = to_bytes(member.name)
        self._attempt(name, self._forget, name)

    def _forget(self, name: bytes) -> None:
        self._found.files -= self._remove(self._failures.place(name))

    def _remove(self, name: bytes) -> bool:
        """Remove a file, or an empty folder; returns whether there was a file."""
        return self._does(os.unlink, name) or (self._does(os.rmdir, name) and False)

    def _does(self, function: Callable[..., object], name: bytes) -> bool:
        """Whether a function succeeds for a name; no folder is made for it."""
        above, _, base = name.rpartition(b"/")
        try:
            function(base, dir_fd=self._restorer.at(above))
        except OSError:
            return False
        return True

    def _end_all(self) -> None:
        """Make links, and give folders their modes."""
        self._end()
        self._finish_rest()


def _missing(holes: list[tuple[int, int]], size: int) -> str:
    if not holes:
        return "some of it is missing, and it is not known which bytes"
    parts = [f"{start:,} to {end:,}" for start, end in holes[:_MOST_TOLD]]
    more = " and more" if len(holes) > _MOST_TOLD else ""
    return f"bytes {', '.join(parts)}{more} of {size:,} missing"


class TarFiles(Files):
    """Saves the members of a tar, or of several, as a ``Salvager`` makes them out."""

    _salvager: Salvager

    def begin(self, directory: Directory, size: int | None) -> None:
        self._salvager = Salvager(directory, size)

    def feed(self, data: Buffer) -> None:
        self._take(self._salvager.feed(data))

    def gap(self, size: int | None) -> None:
        self._take(self._salvager.gap(size))

    def end(self) -> None:
        self._take(self._salvager.finish())
        self._end()
        self._guesses = None

    def finish(self) -> None:
        self._end_all()
        if self._indexed:
            self._found.warn(f"{self._indexed:,} members were made by the index alone")
        if self._guessed:
            self._found.warn(
                f"{self._guessed:,} members were found behind damage, and no index knows "
                "them: they may be those of a tar inside a member"
            )

    def _take(self, events: Iterator[Event]) -> None:
        for event in events:
            if isinstance(event, memoryview):
                self._add(event)
            elif isinstance(event, Member):
                self._begin_next(event, guessed=self._salvager.guessed)
            elif isinstance(event, Hole):
                self._skip(event.size)
            elif isinstance(event, Lost):
                self._lose(event.member)
            elif isinstance(event, Inner):
                self._take_back()
            elif isinstance(event, Unknown):
                self._found.refuse(event.reason)


class OneFile(Files):
    """Saves a file that is not an archive: all of it is one member."""

    def __init__(self, root: int, found: Found, member: Member, *, keep_damaged: bool) -> None:
        super().__init__(root, found, keep_damaged=keep_damaged)
        self._begin_next(member._replace(size=ENDLESS, stored_size=ENDLESS))

    def begin(self, directory: Directory, size: int | None) -> None:
        pass  # files that were joined decompress into one

    def feed(self, data: Buffer) -> None:
        self._add(memoryview(data))

    def gap(self, size: int | None) -> None:
        self._skip(size or 0)

    def end(self) -> None:
        pass

    def finish(self) -> None:
        assert self._member is not None
        self._member = self._member._replace(size=self._done, stored_size=self._done)
        self._file.resize(self._done)
        self._end_all()
