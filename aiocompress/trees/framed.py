"""Files of the framed container, out and back: plain blocking code, for workers and file threads.

Out, small files travel in batches: each is a chunk of its own all the same, so that the bytes
depend on nothing but the files. Back, files are written one after another, the last one of a name
wins, whole, and one whose chunks cannot be in order is removed and named.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Final, NamedTuple

from ..archives.header import to_bytes
from ..codecs import zstd
from ..containers import framed
from ..errors import AiocompressError, CorruptError, FormatError, LimitError, UnsafeMemberError
from ..limits import umask
from ..model import KIB, MIB, Buffer, OnError
from ..workers.worker import Place, Result, deliver, views
from .found import Found
from .packing import Packing
from .restoring import Bounds, Keeping, Restorer
from .selecting import Selection
from .unpacking import HINT, Failures, Restoring, shown
from .walk import OURS, Entry, Skip, is_folder, kind_of, walk, without_prefix

_FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MARGIN: Final = 256 * KIB
"""Room for what stands around the frames of a batch: at least the longest path."""
_MOST_RUNS: Final = 256
_MOST_TOLD: Final = 1000
_SCRIPT_CHUNK: Final = MIB
"""Raw bytes of the script's chunks: a file of just one may have lost the others."""


class Run(NamedTuple):
    """A chunk in a batch: what stands in front of it, and its raw bytes; 0: there is none."""

    head: bytes
    size: int


def room_for(chunk_size: int) -> int:
    """Return the bytes that a batch takes at most, when it is compressed."""
    return zstd.CODEC.bound(chunk_size) + _MARGIN


def _most_bytes(run: Run) -> int:
    frame = framed.LARGEST_CHUNK_HEAD + zstd.CODEC.bound(run.size) if run.size else 0
    return len(run.head) + frame


def compress(place: Place, level: int, runs: tuple[Run, ...], *, is_first: bool) -> Result:
    """Compress a batch, in a worker, into bytes of the container.

    :param is_first: no chunk stands before it.
    """
    data, room = views(place)
    parts: list[Buffer] = []
    for head, size in runs:
        parts.append(head)
        if size:
            frame = memoryview(zstd.compress(data[:size], level))
            parts += framed.chunk_entry(frame, is_first=is_first)
            data, is_first = data[size:], False
    return deliver(b"".join(parts), room)


class Chunks:
    """Reads the files of a tree, a batch of chunks after another.

    ``_lay_all`` is a generator that goes on where the last batch ended.
    """

    def __init__(self, packing: Packing, chunk_size: int, found: Found) -> None:
        self.more = True
        self.own: set[tuple[int, int]] = set()
        """Device and inode of files that are left out: those that the container goes to."""
        self._packing, self._chunk_size, self._found = packing, chunk_size, found
        self._room = room_for(chunk_size)
        self._paths = framed.Paths()
        self._root, self._cut = b"", 0
        self._folder: bytes | None = None
        """The folder in which nothing has been found yet."""
        self._view = memoryview(b"")
        self._at = self._most = 0
        self._runs: list[Run] = []
        self._steps = self._lay_all()

    def fill(self, view: memoryview) -> tuple[Run, ...]:
        """Read the next batch; none at the end.

        :param view: room for the raw bytes, one more than a chunk.
        """
        self._view, self._at, self._most, self._runs = view, 0, 0, []
        next(self._steps, None)
        self._view = memoryview(b"")
        return tuple(self._runs)

    def close(self) -> None:
        """Close what is open."""
        self._steps.close()

    # What there is.

    def _lay_all(self) -> Generator[None]:
        for path, name in self._packing.roots:
            self._root, root = os.fsencode(path), os.fsencode(name)
            inside = to_bytes(self._packing.prefix) + root
            whole = is_folder(self._root)
            if whole and root:
                inside += b"/"
            self._cut = len(inside)
            self._folder = inside if whole else None
            entries = self._below(inside) if whole else self._alone(inside)
            with closing(entries):
                for entry in entries:
                    yield from self._lay(entry)
            self._end_folder()
        self.more = False

    def _below(self, inside: bytes) -> Generator[Entry | Skip]:
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield from walk(descriptor, inside, without_prefix(self._packing.excluded, self._cut))
        finally:
            os.close(descriptor)

    def _alone(self, name: bytes) -> Generator[Entry]:
        folder, base = os.path.split(self._root)
        parent = os.open(folder or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield Entry(name, base, parent)
        finally:
            os.close(parent)

    def _lay(self, entry: Entry | Skip) -> Generator[None]:
        if self._folder is not None and not entry.name.startswith(self._folder):
            self._end_folder()
        self._folder = None
        if isinstance(entry, Skip):
            self._skip(entry.name, entry.error)
        elif entry.is_folder:
            self._folder = entry.name + b"/"
        else:
            try:
                yield from self._lay_file(entry)
            except (OSError, FormatError) as error:
                self._skip(entry.name, error)

    def _end_folder(self) -> None:
        """Tell of a folder that nothing was found in."""
        if self._folder is not None:
            self._leave_out(self._folder, "an empty folder")
            self._folder = None

    # One file.

    def _lay_file(self, entry: Entry) -> Generator[None]:
        if not entry.is_file:
            status = os.stat(entry.base, dir_fd=entry.parent, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                self._tell_kind(entry.name, status.st_mode)
                return
        descriptor = self._open(entry)
        if descriptor is None:
            return
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                self._tell_kind(entry.name, status.st_mode)
            elif (status.st_dev, status.st_ino) in self.own:
                self._found.warn(f"{self._shown(entry.name)}: is the output, and not packed")
            else:
                yield from self._lay_content(entry.name, descriptor, status)
        finally:
            os.close(descriptor)

    def _open(self, entry: Entry) -> int | None:
        try:
            return os.open(entry.base, _FILE_FLAGS, dir_fd=entry.parent)
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.ENXIO}:
                raise
        # It is a link, or a socket, by now.
        status = os.stat(entry.base, dir_fd=entry.parent, follow_symlinks=False)
        self._tell_kind(entry.name, status.st_mode)
        return None

    def _lay_content(self, name: bytes, descriptor: int, status: os.stat_result) -> Generator[None]:
        """Read what the file held when it was opened, chunk by chunk."""
        size, done = status.st_size, 0
        head = self._paths.entry(name, has_chunks=size > 0)
        while head or done < size:
            want = min(size - done, self._chunk_size)
            if not self._fits(Run(head, want)):
                yield
            try:
                # One more byte tells whether the file has grown.
                got = self._read(descriptor, want + (done + want == size))
            except OSError as error:
                if head:
                    raise
                self._tell_cut(name, error, done)
                return
            self._add(Run(head, min(got, want)))
            head, done = b"", done + got
            if got < want:
                break
        self._check_same(name, descriptor, status, done)

    def _fits(self, run: Run) -> bool:
        return (
            len(self._runs) < _MOST_RUNS
            and self._at + run.size < len(self._view)
            and self._most + _most_bytes(run) <= self._room
        )

    def _read(self, descriptor: int, size: int) -> int:
        view, done = self._view[self._at : self._at + size], 0
        while done < size and (more := os.readv(descriptor, [view[done:]])):
            done += more
        return done

    def _add(self, run: Run) -> None:
        self._runs.append(run)
        self._at += run.size
        self._most += _most_bytes(run)
        self._found.files += bool(run.head)

    def _check_same(self, name: bytes, descriptor: int, before: os.stat_result, done: int) -> None:
        size = before.st_size
        if done != size:
            what = "shrank" if done < size else "grew"
            kept = f"its first {min(done, size)} bytes are packed"
            self._found.change(f"{self._shown(name)}: {what} while it was read, {kept}")
        elif size > self._chunk_size and os.fstat(descriptor).st_mtime_ns != before.st_mtime_ns:
            self._found.change(f"{self._shown(name)}: changed while it was read")

    # What is left out.

    def _tell_kind(self, name: bytes, mode: int) -> None:
        self._leave_out(name, "a symbolic link" if stat.S_ISLNK(mode) else kind_of(mode))

    def _leave_out(self, name: bytes, what: str) -> None:
        self._found.skip(f"{self._shown(name)}: {what}, which a framed folder cannot hold")

    def _tell_cut(self, name: bytes, error: OSError, offset: int) -> None:
        """Tell of a read error behind chunks that are on their way."""
        if self._packing.on_error == "raise":
            raise error
        text = f"{self._shown(name)}: {error.strerror} at byte {offset}, the rest is missing"
        self._found.change(text)

    def _skip(self, name: bytes, error: OSError | FormatError) -> None:
        path = self._shown(name)
        ours = isinstance(error, OSError) and error.errno in OURS
        if self._packing.on_error == "skip" and not ours:
            reason = error.reason if isinstance(error, FormatError) else error.strerror
            self._found.skip(f"{path}: {reason}")
        elif isinstance(error, FormatError):
            error.file = path
            raise error
        else:
            raise OSError(error.errno, error.strerror, path) from None

    def _shown(self, name: bytes) -> str:
        """Return the path of a file as its user knows it."""
        rest = name[self._cut :]
        return os.fsdecode(os.path.join(self._root, rest) if rest else self._root)


# Back.


class Part(NamedTuple):
    """A chunk on its way back: where its frame stands, bytes of it, and raw bytes if known."""

    offset: int
    frame: int
    size: int
    raw: int | None


class Files:
    """Writes files one after another; ``close`` always.

    :param root: a descriptor of the folder they go to.
    """

    def __init__(self, root: int, on_error: OnError, found: Found, bounds: Bounds) -> None:
        self._raises, self._found, self._bounds = on_error == "raise", found, bounds
        self._failures = Failures(Restoring(Selection(), on_error=on_error), found)
        self._restorer = Restorer(root, Keeping())
        self._mode = 0o666 & ~umask()
        self._name = self._place = b""
        self._descriptor = -1
        self._members = self._size = 0
        self._order = framed.Order()
        self._doubtful: list[str] = []
        self._doubtful_count = 0

    def take(self, items: list[framed.Path | Part], data: memoryview) -> None:
        """Take paths and chunks, whose raw bytes are ``data``.

        :raises AiocompressError: a file is refused, and not to be left out.
        :raises OSError: one cannot be written.
        """
        for item in items:
            if isinstance(item, framed.Path):
                self.begin(item)
            else:
                size = len(data) if item.raw is None else item.raw
                self._write(data[:size])
                self._end_chunk(item, size)
                data = data[size:]

    def stream(self, part: Part, frame: memoryview, max_window: int) -> Iterator[int]:
        """Decode a chunk as a stream, and write it; yields the bytes of each step.

        :raises CorruptError: it is damaged, and its file not to be left out.
        """
        decoder, size = zstd.StreamDecoder(max_window), 0
        try:
            for block in decoder.feed(frame):
                self._write(memoryview(block))
                size += len(block)
                yield len(block)
            decoder.finish()
        except AiocompressError as error:
            self._refuse(error.located(base=part.offset, frame=part.frame))
        else:
            self._end_chunk(part, size)

    def begin(self, path: framed.Path) -> None:
        """Begin a file, and end the one before it."""
        self._end_file()
        self._members += 1
        self._bounds.check_count(self._members)
        self._name, self._order, self._size = to_bytes(path.name), framed.Order(), 0
        try:
            self._descriptor = self._create()
        except (UnsafeMemberError, OSError) as error:
            self._failures.member(self._name, error)

    def _create(self) -> int:
        self._place = self._failures.place(self._name)
        if not self._place or b"\0" in self._place:
            raise UnsafeMemberError("it has no name that a file can have")
        try:
            return self._restorer.create(self._place, self._mode)
        except FileExistsError:
            self._restorer.remove(self._place)
            return self._restorer.create(self._place, self._mode)

    def _write(self, data: memoryview) -> None:
        self._size += len(data)
        try:
            if self._descriptor >= 0:
                self._bounds.check_size(self._size)
            while data and self._descriptor >= 0:
                data = data[os.write(self._descriptor, data) :]
        except (LimitError, OSError) as error:
            self._drop()
            self._failures.member(self._name, error)

    def _end_chunk(self, part: Part, size: int) -> None:
        if not self._order.add(size) and self._descriptor >= 0:
            self._refuse(
                CorruptError("its chunks are not in order", offset=part.offset, frame=part.frame)
            )

    def _refuse(self, error: AiocompressError) -> None:
        """Remove the file: it is damaged."""
        if self._descriptor < 0:
            return  # it was refused before
        self._drop()
        name = shown(self._name)
        if self._raises:
            error.reason, error.hint = f"member {name}: {error.reason}", HINT
            raise error
        self._found.refuse(f"{name}: {error.reason} at byte {error.offset} (frame {error.frame})")

    def _end_file(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._found.files += 1
            if self._order.chunks > 1 or self._order.first == _SCRIPT_CHUNK:
                self._doubtful_count += 1
                if len(self._doubtful) < _MOST_TOLD:
                    self._doubtful.append(shown(self._name))

    def _drop(self) -> None:
        """Remove what is not whole."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._restorer.remove(self._place)

    def finish(self, *, unordered: bool) -> None:
        """End the last file.

        :param unordered: chunks may stand in the wrong order, or under another file.
        """
        self._end_file()
        if unordered:
            self._found.changed += self._doubtful_count - len(self._doubtful)
            for name in self._doubtful:
                self._found.change(f"{name}: its order cannot be verified")

    def cut(self, error: AiocompressError) -> None:
        """Tell that nothing more can be read; the last file may not be whole.

        :raises AiocompressError: the error, unless files are to be left out.
        """
        if self._raises:
            raise error
        if self._descriptor >= 0:
            self._drop()
            self._found.refuse(f"{shown(self._name)}: it is not whole")
        self._found.refuse(f"{error}; what follows is not restored")

    def close(self) -> None:
        """Close what is open; a file that is not whole is removed."""
        self._drop()
        self._restorer.close()
