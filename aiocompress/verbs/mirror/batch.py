"""What a worker does to the small files of a mirrored tree: a whole batch of them in one task.

Starting a task costs the main process as much as twenty small files cost a worker. So a worker is
told only the paths of many files, and reads, converts and writes them itself. It takes every step
from the descriptor of the folder above, and follows no link.

It handles only what is plain, and leaves everything else to the main process, which takes such
files one after another and reports what is wrong: large files and files that become large, files
that vanish, change, cannot be read or are damaged, and files that cannot be written.
"""

from __future__ import annotations

import os
import resource
import stat
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from aiocompress import formats
from aiocompress.errors import AiocompressError
from aiocompress.formats import FORMATS, HEAD_SIZE
from aiocompress.formats.base import STREAM, Format, StreamDecoder
from aiocompress.formats.names import restored, suffix_of
from aiocompress.model import MIB, Buffer, OnExists
from aiocompress.storage.atomic_file import (
    exists,
    hidden_name,
    publish,
    publish_nameless,
    take_after,
)
from aiocompress.storage.atomic_folder import sync_all
from aiocompress.storage.chain import Chain
from aiocompress.storage.reach import OURS, Reach
from aiocompress.storage.walk import FILE_FLAGS
from aiocompress.verbs import jobs
from aiocompress.verbs.options import Bounds
from aiocompress.workers.job import Place, Result, views

SMALL: Final = 4 * MIB
"""Bytes of the largest file that a worker reads whole: less than a chunk, so no time is lost."""
_ROOM: Final = 4 * MIB
"""Raw bytes of the largest file that a worker decodes whole."""
ENOUGH: Final = 8 * MIB
"""Raw bytes after which a worker gives the rest of a batch back."""
_MOST_BUFFERS: Final = 512
_MOST_NAMELESS: Final = 64
_NEW_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COUNTS: Final = struct.Struct("<3Q")
DONE, LEFT, KEPT = b".!="
"""What became of a file: done, left to the main process, or kept because it existed already."""
Files: TypeAlias = list[bytes]
"""A batch: paths below the root of the source."""
Counts: TypeAlias = tuple[int, int, int]
"""Raw bytes, compressed bytes, frames."""


class Roots(NamedTuple):
    """How workers reach both trees, and how they write into the target.

    ``on_exists`` is None for a target that is new: nobody else can see it yet. ``sync``: in a
    target that others can see, a file is on the disk before it gets its name.
    """

    source: Reach
    target: Reach
    on_exists: OnExists | None
    sync: bool = False


class Outcome(NamedTuple):
    """What became of a batch: a letter for each file, as far as the worker got."""

    counts: Counts
    letters: bytes

    def pack(self) -> bytes:
        return _COUNTS.pack(*self.counts) + self.letters

    @classmethod
    def unpack(cls, data: Buffer) -> Outcome:
        raw_bytes, compressed_bytes, frames = _COUNTS.unpack_from(data)
        return cls((raw_bytes, compressed_bytes, frames), bytes(data[_COUNTS.size :]))


def pack(files: Files) -> bytes:
    """Return a batch as a worker's input: the first byte says whether a worker has begun it."""
    return b"\0" + b"\0".join(files)


# Out.


def compress(place: Place, roots: Roots, enough: int, codec: str, level: int, size: int) -> Result:
    """Compress small files, each into a container of its own; chunks are of ``size`` bytes.

    :param enough: raw bytes after which the worker gives the rest back.
    :returns: ``data`` is an ``Outcome``; ``size`` is ``STREAM`` if the roots are out of reach.
    """
    form = FORMATS[codec]
    make_writer, compress_chunk = form.container.writer, form.codec.compress
    assert make_writer is not None
    suffix = suffix_of(codec)

    def convert(data: bytes) -> _Made:
        writer, view = make_writer(), memoryview(data)
        parts: list[Buffer] = []
        if len(data) < size and form.is_bare(len(data)):
            frame = compress_chunk(view, level)
            return _Made([frame], (len(data), len(frame), 1))
        starts = range(0, len(data) or 1, size)
        for start in starts:
            chunk = view[start : start + size]
            parts += writer.add(memoryview(compress_chunk(chunk, level)), len(chunk))
        parts.append(writer.finish())
        return _Made(parts, (len(data), sum(map(len, parts)), len(starts)))

    return _each(place, roots, enough, lambda name: name + suffix, convert)


# Back.


def decompress(place: Place, roots: Roots, enough: int, max_window: int, bounds: Bounds) -> Result:
    """Decompress small files; see ``compress``."""
    most = _ROOM if bounds.max_member_size is None else bounds.max_member_size

    def convert(data: bytes) -> _Made | None:
        form = formats.detect(data[:HEAD_SIZE])
        raw = form.container.whole(data, min(most, _ROOM), max_window)
        if raw:
            return _Made([raw], (len(raw), len(data), 1))
        made = _decoded(form, data, max_window)
        return None if made is None or made.counts[0] > most else made

    return _each(place, roots, enough, restored, convert)


_buffers = threading.local()


def _decoded(form: Format, data: bytes, max_window: int) -> _Made | None:
    """Decode a small file, whole frames into a room that each thread uses again and again.

    This does what the decode stage does, but gives up (None) wherever that would do anything
    special.
    """
    if not hasattr(_buffers, "room"):
        _buffers.room = memoryview(bytearray(_ROOM))
    room: memoryview = _buffers.room
    parts: list[Buffer] = []
    size = 0
    reader = form.container.reader(whole=_ROOM, run=_ROOM, max_window=max_window)
    reader.feed(data)
    reader.end()
    stream: StreamDecoder | None = None
    while (piece := reader.next_piece()) is not None:
        if piece.frames:
            if stream is not None or piece.room > len(room) - size:
                return None
            done = jobs.decode(form.codec, piece.data, piece.frames, room[size:])
            if done == STREAM:
                return None
            parts.append(room[size : size + done])
            size += done
        else:
            stream = form.codec.open_stream(max_window) if stream is None else stream
            for block in stream.feed(piece.data):
                size += len(block)
                if size > _ROOM:
                    return None
                parts.append(block)
            if piece.last:
                stream.finish()
                stream = None
    if stream is not None:
        stream.finish()
    return None if reader.warnings else _Made(parts, (size, len(data), reader.frames or 1))


# Both ways.


class _Made(NamedTuple):
    """What a file becomes: its bytes, and what to count."""

    parts: list[Buffer]
    counts: Counts


def _each(
    place: Place,
    roots: Roots,
    enough: int,
    naming: Callable[[str], str | None],
    convert: Callable[[bytes], _Made | None],
) -> Result:
    begun = views(place)[0]
    # A worker that died may have left files of this batch behind. One of a cluster cannot say that
    # it has begun.
    again = begun.readonly or bool(begun[0])
    if not begun.readonly:
        begun[0] = 1
    with ExitStack() as stack:
        try:
            source = stack.enter_context(closing(Chain(roots.source, "/")))
            target = stack.enter_context(closing(Chain(roots.target, "/")))
        except OSError:
            return Result(STREAM)
        batch = _Batch(source, target, roots, naming, convert, again=again)
        stack.callback(batch.close)
        outcome = batch.run(os.fsdecode(bytes(begun[1:])).split("\0"), enough).pack()
    return Result(len(outcome), outcome)


class _Nameless(NamedTuple):
    """A finished file, the ``number``-th of its batch, that waits for its name in a folder."""

    number: int
    descriptor: int
    folder: str
    name: str


class _Batch:
    """One batch on its way from one tree to the other; always ``close`` it.

    Where others can see the target, a name may never show half a file, even if somebody kills this
    worker. So the worker writes files that have no name yet (``O_TMPFILE``): whatever happens,
    the system removes them. If files also have to be on the disk before they get their names,
    waiting for each alone would take longer than all the rest. So up to 64 of them stay open
    without a name, wait for the disk together, and then get their names.
    """

    def __init__(
        self,
        source: Chain[str],
        target: Chain[str],
        roots: Roots,
        naming: Callable[[str], str | None],
        convert: Callable[[bytes], _Made | None],
        *,
        again: bool,
    ) -> None:
        self._source, self._target = source, target
        self._on_exists, self._sync = roots.on_exists, roots.sync
        self._naming, self._convert = naming, convert
        self._again = again
        self._raw = 0
        self._done: dict[int, Counts] = {}
        self._letters = bytearray()
        self._nameless: list[_Nameless] = []
        self._folder = ""
        self._alike: set[tuple[int, int, int]] = set()
        """Mode, user and group that files of the new folder have when they are created."""

    def run(self, paths: list[str], enough: int) -> Outcome:
        most = _most_nameless() if self._sync else 1
        for path in paths:
            folder, _, name = path.rpartition("/")
            self._letters.append(self._file(folder, name))
            if len(self._nameless) >= most:
                self._give_names()
            if self._raw >= enough:
                break
        self._give_names()
        raw, compressed, frames = map(sum, zip((0, 0, 0), *self._done.values(), strict=True))
        return Outcome((raw, compressed, frames), bytes(self._letters))

    def close(self) -> None:
        """Drop the files that have no name."""
        while self._nameless:
            os.close(self._nameless.pop().descriptor)

    def _file(self, folder: str, name: str) -> int:
        result = self._naming(name)
        if result is None:
            return LEFT
        try:
            source, target = self._source.at(folder), self._target.at(folder)
            if self._on_exists == "skip" and exists(result, target):
                return KEPT
            read = _read(name, source)
            made = None if read is None else self._convert(read[0])
            if read is None or made is None:
                return LEFT
            letter = self._put(result, folder, made, read[1])
        except (OSError, AiocompressError):
            return LEFT
        if letter == DONE:
            self._done[len(self._letters)] = made.counts
            self._raw += made.counts[0]
        return letter

    def _put(self, name: str, folder: str, made: _Made, like: os.stat_result) -> int:
        """Write a file; returns what became of it."""
        here = self._target.at(folder)
        if self._on_exists is None:
            if self._again:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=here)
            _write(name, here, made, like.st_mode & 0o777, partial(self._finish_new, folder, like))
            return DONE
        try:
            descriptor = self._open_nameless(folder)
        except OSError:
            temporary, here = hidden_name(), self._target.at(folder)
            _write(temporary, here, made, 0o600, partial(self._finish, like))
            return DONE if publish(temporary, name, here, self._on_exists) else KEPT
        self._nameless.append(_Nameless(len(self._letters), descriptor, folder, name))
        _fill(descriptor, made)
        take_after(descriptor, like)
        return DONE

    def _finish(self, like: os.stat_result, descriptor: int) -> None:
        take_after(descriptor, like)
        if self._sync:
            os.fsync(descriptor)

    def _finish_new(self, folder: str, like: os.stat_result, descriptor: int) -> None:
        """Give a file mode, times and owner; what was made just so in its folder needs no more."""
        if folder != self._folder:
            self._folder, self._alike = folder, set()
        wanted = like.st_mode & 0o777, like.st_uid, like.st_gid
        if wanted not in self._alike:
            status = os.fstat(descriptor)
            if (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) != wanted:
                take_after(descriptor, like)
                return
            self._alike.add(wanted)
        os.utime(descriptor, ns=(like.st_atime_ns, like.st_mtime_ns))

    def _open_nameless(self, folder: str) -> int:
        flags = os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
        try:
            return os.open(".", flags, 0o600, dir_fd=self._target.at(folder))
        except OSError as error:
            if error.errno not in OURS or not self._nameless:
                raise
        # Naming frees descriptors, and opens other folders: this one has to be opened again.
        self._give_names()
        return os.open(".", flags, 0o600, dir_fd=self._target.at(folder))

    def _give_names(self) -> None:
        """Name the finished files; those that cannot be named go to the main process after all."""
        files = [file for file in self._nameless if self._letters[file.number] == DONE]
        on_disk = not self._sync or _is_synced(files)
        for file in files:
            letter = self._give_name(file) if on_disk else LEFT
            if letter != DONE:
                self._letters[file.number] = letter
                del self._done[file.number]
        self.close()

    def _give_name(self, file: _Nameless) -> int:
        assert self._on_exists is not None
        try:
            folder = self._target.at(file.folder)
            named = publish_nameless(file.descriptor, file.name, folder, self._on_exists)
        except OSError:
            return LEFT
        return DONE if named else KEPT


def _most_nameless() -> int:
    """Return how many files wait for the disk together: each takes a descriptor meanwhile."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(_MOST_NAMELESS, limit // 32)) if limit > 0 else _MOST_NAMELESS


def _is_synced(files: list[_Nameless]) -> bool:
    """Wait until files are on the disk; returns whether they are."""
    # The system reports a write error to every descriptor that was open when it happened: the
    # first file of each file system has been open longest.
    systems = {os.fstat(file.descriptor).st_dev: file.descriptor for file in reversed(files)}
    try:
        for descriptor in systems.values():
            sync_all(descriptor)
    except OSError:
        return False
    return True


def _read(name: str, folder: int) -> tuple[bytes, os.stat_result] | None:
    """Read a small file; None: it is not a small file, or it changes meanwhile."""
    descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if status.st_size > SMALL or not stat.S_ISREG(status.st_mode):
            return None
        # One byte more shows whether the file has grown.
        data = os.read(descriptor, status.st_size + 1)
    finally:
        os.close(descriptor)
    return (data, status) if len(data) == status.st_size else None


def _write(name: str, folder: int, made: _Made, mode: int, finish: Callable[[int], None]) -> None:
    """Create a file; ``finish`` is given its descriptor."""
    descriptor = os.open(name, _NEW_FLAGS, mode, dir_fd=folder)
    try:
        _fill(descriptor, made)
        finish(descriptor)
    except BaseException:
        os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(descriptor)


def _fill(descriptor: int, made: _Made) -> None:
    """Write a file in one call.

    :raises BlockingIOError: the disk is most likely full; the main process will find out.
    """
    parts = made.parts if len(made.parts) <= _MOST_BUFFERS else [b"".join(made.parts)]
    if os.writev(descriptor, parts) != sum(map(len, parts)):
        raise BlockingIOError
