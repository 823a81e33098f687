"""``open`` without async: real ``io`` files, for anything that takes one.

``io`` buffers, cuts lines and decodes text, as it does for ``gzip.open``. Below it is an
``AsyncFile``, which decodes and compresses ahead in its own loop.
"""

from __future__ import annotations

import io
from functools import partial
from types import TracebackType
from typing import IO, Any, BinaryIO, Final, TextIO, TypeAlias, Unpack, cast, overload

from aiocompress.api import Sink, functions
from aiocompress.api.file import AsyncFile
from aiocompress.api.functions import FileOptions, TextFileOptions
from aiocompress.api.member import MemberFile
from aiocompress.api.opening import AnyFile, BinaryMode, TextMode
from aiocompress.model import MIB, Buffer, Codec
from aiocompress.sync.held import Held

_BUFFER: Final = MIB
"""Bytes that cross threads at once: each crossing costs as much as ten thousand bytes."""

PlainFile: TypeAlias = AnyFile | IO[bytes]
PlainSink: TypeAlias = Sink | IO[bytes]


class Raw(io.RawIOBase):
    """An ``AsyncFile`` of bytes, or a member of an archive, below the buffer.

    :param within: the archive.
    """

    def __init__(
        self, file: AsyncFile[bytes] | MemberFile, within: Held[Any] | None = None
    ) -> None:
        self._held = Held(file, within)
        self._held.__enter__()
        self._file = cast("AsyncFile[bytes]", file)  # it is read in the same way
        self.name, self.mode = file.name, getattr(file, "mode", "rb")
        self.failed: type[BaseException] | None = None
        """The kind of error that ended the ``with`` block."""

    def readinto(self, room: Any) -> int:
        return self._held.run(partial(_read_some, self._file, memoryview(room).cast("B")))

    def write(self, data: Any) -> int:
        return self._held.run(partial(self._file.write, data))

    def end_frame(self) -> None:
        """Make everything that was written readable."""
        self._held.run(self._file.flush)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._held.run(partial(self._file.seek, offset, whence))

    def tell(self) -> int:
        return self._held.run(self._file.tell)

    def readable(self) -> bool:
        return self._file.readable()

    def writable(self) -> bool:
        return self._file.writable()

    def seekable(self) -> bool:
        return self._file.seekable()

    def close(self) -> None:
        if not self.closed and hasattr(self, "_file"):
            self._held.failed = self.failed
            self._held.close()
        super().close()


async def _read_some(file: AsyncFile[bytes], room: memoryview) -> int:
    data = await file.read1(len(room))
    room[: len(data)] = data
    return len(data)


class _Writer(io.BufferedWriter):
    """The buffer of a file for writing: ``flush`` ends the frame, but ``close`` does not."""

    raw: Raw
    is_closing = False

    def flush(self) -> None:
        super().flush()
        if not self.is_closing:
            self.raw.end_frame()

    def close(self) -> None:
        self.is_closing = True
        super().close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.raw.failed = kind
        super().__exit__(kind, error, trace)


class _TextWriter(io.TextIOWrapper):
    """A text file for writing."""

    buffer: _Writer

    def close(self) -> None:
        self.buffer.is_closing = True
        super().close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.buffer.raw.failed = kind
        super().__exit__(kind, error, trace)


def reading(raw: Raw) -> io.BufferedReader:
    """Return a buffered file for reading."""
    return io.BufferedReader(raw, _BUFFER)


class _Written:
    """A caller's binary file to write to; it may block the loop, which has no other users."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.name = file, getattr(file, "name", None)

    async def write(self, data: bytes) -> None:
        written = 0
        while written < len(data):
            written += self._file.write(memoryview(data)[written:]) or len(data)


class _Sought:
    """A caller's binary file, read at any offset after its present position."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.name = file, getattr(file, "name", None)
        self._begin = file.tell()

    async def size(self) -> int:
        return self._file.seek(0, io.SEEK_END) - self._begin

    async def read_at(self, offset: int, size: int, /) -> Buffer:
        self._file.seek(self._begin + offset)
        return self._file.read(size)


def adapted(file: Any, mode: str = "rb") -> Any:
    """Wrap a binary ``io`` file for an engine; return anything else as it is."""
    if not isinstance(file, io.IOBase):
        return file
    plain = cast("IO[bytes]", file)
    if not mode.startswith("r"):
        return _Written(plain)
    return _Sought(plain) if plain.seekable() else plain


@overload
def open(file: PlainFile, mode: BinaryMode = "rb", **options: Unpack[FileOptions]) -> BinaryIO: ...


@overload
def open(file: PlainFile, mode: TextMode, **options: Unpack[TextFileOptions]) -> TextIO: ...


@overload
def open(file: PlainFile, mode: str, **options: Unpack[TextFileOptions]) -> IO[Any]: ...


def open(
    file: PlainFile,
    mode: str = "rb",
    *,
    codec: Codec | None = None,
    compression_level: int | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    atomic: bool = False,
) -> IO[Any]:
    """Open a compressed file as ``gzip.open`` does; see ``Engine.open``. It works in threads.

    :param file: as for ``Engine.open``; or a binary file, which stays open.
    :returns: an ``io.BufferedReader`` or ``io.BufferedWriter``, or for text an
        ``io.TextIOWrapper``. Their ``flush`` ends the frame.
    """
    given, is_text = adapted(file, mode), "t" in mode
    how: FileOptions = {"codec": codec, "compression_level": compression_level, "atomic": atomic}
    opened = functions.open(given, mode, encoding=encoding, errors=errors, newline=newline, **how)
    if is_text:  # which was only to check the arguments
        opened = functions.open(given, mode.replace("t", "b"), **how)
    raw = Raw(opened)
    buffer = reading(raw) if raw.readable() else _Writer(raw, _BUFFER)
    if not is_text:
        return buffer
    kind = io.TextIOWrapper if raw.readable() else _TextWriter
    return kind(buffer, io.text_encoding(encoding), errors, newline)
