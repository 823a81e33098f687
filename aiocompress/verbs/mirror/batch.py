"""Small files of a mirrored tree, both ways: many in one task of a worker.

A batch names files, folder by folder. Every step is taken from the descriptor of the folder above,
and no link is followed. Whatever is not plain is left to the main process, which takes such files
one after another and says what is wrong: large files and those that decode to a lot, files that
are gone, changing, unreadable or damaged, and those that cannot be written.
"""

from __future__ import annotations

import os
import resource
import stat
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import repeat
from typing import Final, NamedTuple, TypeAlias

from aiocompress import formats
from aiocompress.errors import AiocompressError
from aiocompress.formats import FORMATS, HEAD_SIZE
from aiocompress.formats.base import STREAM, Format, Piece, StreamDecoder
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
from aiocompress.storage.walk import FILE_FLAGS, FOLDER_FLAGS, OURS
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
DONE, LEFT, KEPT = b".!="
"""What became of a file: it is done, left to the main process, or was there already."""
Files: TypeAlias = list[tuple[str, list[str]]]
"""A batch: folders below the root ("." for itself), and names of files in each."""


class Roots(NamedTuple):
    """Paths by which workers reach both trees; ``on_exists`` None: the target is new and ours.

    ``sync``: in a target that others look on, a file is on the disk before it gets its name.
    """

    source: str
    target: str
    on_exists: OnExists | None
    sync: bool = False


class Outcome(NamedTuple):
    """What became of a batch: a letter for each file, as far as the worker got."""

    raw_bytes: int
    compressed_bytes: int
    frames: int
    letters: bytes

    def pack(self) -> bytes:
        """Return it as bytes."""
        return _COUNTS.pack(*self[:3]) + self.letters

    @classmethod
    def unpack(cls, data: Buffer) -> Outcome:
        """Read what ``pack`` wrote."""
        raw_bytes, compressed_bytes, frames = _COUNTS.unpack_from(data)
        return cls(raw_bytes, compressed_bytes, frames, bytes(data[_COUNTS.size :]))


_COUNTS: Final = struct.Struct("<3Q")


def pack(files: Files) -> bytes:
    """Return a batch as bytes, behind one that says whether a worker has begun with it."""
    return b"\0" + os.fsencode("\0\0".join("\0".join((folder, *names)) for folder, names in files))


class Chain:
    """Opens folders below a root, step by step; those above the last one stay open."""

    def __init__(self, root: str | int) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self._open = [os.open(root, flags) if isinstance(root, str) else os.dup(root)]
        self._path: list[str] = []

    def at(self, folder: str) -> int:
        """Return a descriptor of a folder, valid until the next one is asked for."""
        path = [] if folder == "." else folder.split("/")
        same = 0
        while same < min(len(path), len(self._path)) and path[same] == self._path[same]:
            same += 1
        self._cut(same)
        for name in path[same:]:
            self._open.append(os.open(name, FOLDER_FLAGS, dir_fd=self._open[-1]))
            self._path.append(name)
        return self._open[-1]

    def _cut(self, depth: int) -> None:
        while len(self._path) > depth:
            self._path.pop()
            os.close(self._open.pop())

    def close(self) -> None:
        """Close all."""
        self._cut(0)
        os.close(self._open.pop())


# Out.


def compress(place: Place, roots: Roots, enough: int, codec: str, level: int, size: int) -> Result:
    """Compress small files, each into a container of its own; chunks are of ``size`` bytes.

    :param enough: raw bytes after which the rest is given back.
    :returns: ``data`` is an ``Outcome``; ``size`` is ``STREAM`` where the roots are out of reach.
    """
    make_writer, compress_chunk = FORMATS[codec].container.writer, FORMATS[codec].codec.compress
    assert make_writer is not None
    suffix = suffix_of(codec)

    def convert(data: bytes) -> _Made:
        writer = make_writer()
        parts: list[Buffer] = []
        view = memoryview(data)
        for start in range(0, len(data) or 1, size):
            chunk = view[start : start + size]
            parts += writer.add(memoryview(compress_chunk(chunk, level)), len(chunk))
        parts.append(writer.finish())
        made = sum(map(len, parts))
        return _Made(parts, made, len(data), made, -(-len(data) // size) or 1)

    return _each(place, roots, enough, lambda name: name + suffix, convert)


# Back.


def decompress(place: Place, roots: Roots, enough: int, max_window: int, bounds: Bounds) -> Result:
    """Decompress small files; see ``compress``."""
    most = _ROOM if bounds.max_member_size is None else bounds.max_member_size

    def convert(data: bytes) -> _Made | None:
        form = formats.detect(data[:HEAD_SIZE])
        raw = form.container.whole(data, min(most, _ROOM), max_window)
        if raw:
            return _Made([raw], len(raw), len(raw), len(data), 1)
        decoder = _Decoder(form, data, max_window)
        size = decoder.run()
        if size is None or size > most:
            return None
        return _Made([decoder.room[:size]], size, size, len(data), decoder.frames)

    return _each(place, roots, enough, restored, convert)


_buffers = threading.local()


class _Decoder:
    """Decodes a small file into a room that is used again and again.

    As the decode stage does, but it gives up, with None, where that would do anything special.
    """

    def __init__(self, form: Format, data: bytes, max_window: int) -> None:
        if not hasattr(_buffers, "room"):
            _buffers.room = memoryview(bytearray(_ROOM))
        self.room: memoryview = _buffers.room
        self.frames = 0
        self._codec, self._max_window = form.codec, max_window
        self._stream: StreamDecoder | None = None
        self._size = 0
        self._reader = form.container.reader(whole=_ROOM, run=_ROOM, max_window=max_window)
        self._reader.feed(data)
        self._reader.end()

    def run(self) -> int | None:
        """Return the raw bytes in the room."""
        while (piece := self._reader.next_piece()) is not None:
            if not (self._frames(piece) if piece.frames else self._part(piece)):
                return None
        if self._stream is not None:
            self._stream.finish()
        self.frames = self._reader.frames or 1
        return None if self._reader.warnings else self._size

    def _frames(self, piece: Piece) -> bool:
        room = self.room[self._size :]
        if self._stream is not None or piece.room > len(room):
            return False
        done = jobs.decode(self._codec, piece.data, piece.frames or (), room)
        self._size += max(done, 0)
        return done != STREAM

    def _part(self, piece: Piece) -> bool:
        if self._stream is None:
            self._stream = self._codec.open_stream(self._max_window)
        for block in self._stream.feed(piece.data):
            end = self._size + len(block)
            if end > len(self.room):
                return False
            self.room[self._size : end] = block
            self._size = end
        if piece.last:
            self._stream.finish()
            self._stream = None
        return True


# Both ways.


class _Made(NamedTuple):
    """What a file becomes: bytes, their number, and what is counted."""

    parts: Sequence[Buffer]
    size: int
    raw_bytes: int
    compressed_bytes: int
    frames: int


def _each(
    place: Place,
    roots: Roots,
    enough: int,
    naming: Callable[[str], str | None],
    convert: Callable[[bytes], _Made | None],
) -> Result:
    begun = views(place)[0]
    # A worker that died may have left files of this batch behind.
    again, begun[0] = bool(begun[0]), 1
    try:
        source = Chain(roots.source)
    except OSError:
        return Result(STREAM)
    try:
        target = Chain(roots.target)
    except OSError:
        source.close()
        return Result(STREAM)
    try:
        with closing(_Batch(source, target, roots, naming, convert)) as batch:
            outcome = batch.run(os.fsdecode(bytes(begun[1:])), enough, again=again).pack()
    finally:
        source.close()
        target.close()
    return Result(len(outcome), outcome)


class _Nameless(NamedTuple):
    """A finished file, the ``number``-th of its batch, that waits for its name in a folder."""

    number: int
    descriptor: int
    folder: str
    name: str
    made: _Made


class _Batch:
    """One batch on its way from one tree to the other; ``close`` always.

    Where others look on, a file has no name until it is whole, so that a worker may be killed; and,
    if that is wanted, on the disk: then many wait for it together.
    """

    def __init__(
        self,
        source: Chain,
        target: Chain,
        roots: Roots,
        naming: Callable[[str], str | None],
        convert: Callable[[bytes], _Made | None],
    ) -> None:
        self._source, self._target = source, target
        self._on_exists, self._sync = roots.on_exists, roots.sync
        self._naming, self._convert = naming, convert
        self._raw = self._compressed = self._frames = 0
        self._letters = bytearray()
        self._nameless: list[_Nameless] = []

    def run(self, batch: str, enough: int, *, again: bool) -> Outcome:
        most = _most_nameless() if self._sync else 1
        for folder, name in self._entries(batch):
            self._letters.append(self._file(folder, name, again=again))
            if len(self._nameless) >= most:
                self._give_names()
            if self._raw >= enough:
                break
        self._give_names()
        return Outcome(self._raw, self._compressed, self._frames, bytes(self._letters))

    def close(self) -> None:
        """Drop what has no name."""
        while self._nameless:
            os.close(self._nameless.pop().descriptor)

    def _entries(self, batch: str) -> Iterator[tuple[str, str]]:
        for group in batch.split("\0\0"):
            folder, *names = group.split("\0")
            yield from zip(repeat(folder), names)

    def _file(self, folder: str, name: str, *, again: bool) -> int:
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
            if again and self._on_exists is None:
                with suppress(FileNotFoundError):
                    os.unlink(result, dir_fd=target)
            letter = self._put(result, folder, made, read[1])
        except (OSError, AiocompressError):
            return LEFT
        if letter == DONE:
            self._count(made, 1)
        return letter

    def _count(self, made: _Made, times: int) -> None:
        self._raw += times * made.raw_bytes
        self._compressed += times * made.compressed_bytes
        self._frames += times * made.frames

    def _put(self, name: str, folder: str, made: _Made, like: os.stat_result) -> int:
        """Write a file; returns what became of it."""
        if self._on_exists is None:
            _write(name, self._target.at(folder), made, like)
            return DONE
        try:
            descriptor = self._open_nameless(folder)
        except OSError:
            temporary, here = hidden_name(), self._target.at(folder)
            _write(temporary, here, made, like, sync=self._sync)
            return DONE if publish(temporary, name, here, self._on_exists) else KEPT
        self._nameless.append(
            _Nameless(len(self._letters), descriptor, folder, name, made._replace(parts=()))
        )
        _finish(descriptor, made, like)
        return DONE

    def _open_nameless(self, folder: str) -> int:
        flags = os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
        try:
            return os.open(".", flags, 0o600, dir_fd=self._target.at(folder))
        except OSError as error:
            if error.errno not in OURS or not self._nameless:
                raise
        self._give_names()  # in their folders: this one has to be opened again
        return os.open(".", flags, 0o600, dir_fd=self._target.at(folder))

    def _give_names(self) -> None:
        """Name what is finished; what cannot be is left to the main process after all."""
        files = [file for file in self._nameless if self._letters[file.number] == DONE]
        on_disk = not self._sync or _is_synced(files)
        for file in files:
            letter = self._give_name(file) if on_disk else LEFT
            if letter != DONE:
                self._letters[file.number] = letter
                self._count(file.made, -1)
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
    """Return how many files are synced together: each takes a descriptor meanwhile."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(_MOST_NAMELESS, limit // 32)) if limit > 0 else _MOST_NAMELESS


def _is_synced(files: list[_Nameless]) -> bool:
    """Wait until files are on the disk; returns whether they are."""
    # The system tells of an error whoever was there when it happened: the first of them.
    systems = {os.fstat(file.descriptor).st_dev: file.descriptor for file in reversed(files)}
    try:
        for descriptor in systems.values():
            sync_all(descriptor)
    except OSError:
        return False
    return True


def _read(name: str, folder: int) -> tuple[bytes, os.stat_result] | None:
    """Return a small file that does not change meanwhile."""
    descriptor = os.open(name, FILE_FLAGS, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if status.st_size > SMALL or not stat.S_ISREG(status.st_mode):
            return None
        # One more byte tells whether it has grown.
        data = os.read(descriptor, status.st_size + 1)
    finally:
        os.close(descriptor)
    return (data, status) if len(data) == status.st_size else None


def _write(
    name: str, folder: int, made: _Made, like: os.stat_result, *, sync: bool = False
) -> None:
    descriptor = os.open(name, _NEW_FLAGS, 0o600, dir_fd=folder)
    try:
        _finish(descriptor, made, like)
        if sync:
            os.fsync(descriptor)
    except BaseException:
        os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(descriptor)


def _finish(descriptor: int, made: _Made, like: os.stat_result) -> None:
    _write_all(descriptor, made)
    take_after(descriptor, like)


def _write_all(descriptor: int, made: _Made) -> None:
    """Write it at once.

    :raises BlockingIOError: the disk is full, most likely; the main process will see.
    """
    parts = made.parts if len(made.parts) <= _MOST_BUFFERS else [b"".join(made.parts)]
    if os.writev(descriptor, parts) != made.size:
        raise BlockingIOError
