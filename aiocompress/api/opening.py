"""The files that ``open`` returns: for each direction, binary and text."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import Any, AnyStr, Literal, TypeAlias, cast

from aiocompress.api.file import AsyncFile
from aiocompress.api.reading import BinaryReading
from aiocompress.api.ready import Ready
from aiocompress.api.text import TextEncoder, TextOptions, TextReading
from aiocompress.formats import names
from aiocompress.model import DEFAULT_MAX_WINDOW, Buffer, Codec
from aiocompress.storage.base import Positional, Sink, Source
from aiocompress.storage.in_place import WriteMode
from aiocompress.verbs.file.reading import FileReader, Readable, name_of
from aiocompress.verbs.file.writing import FileWriter, Writable
from aiocompress.verbs.options import make_reading, make_recipe
from aiocompress.workers.pool import WorkerPool

AnyFile: TypeAlias = Source | Positional | Sink | int
"""What ``open`` takes; an int is a descriptor."""
BinaryMode: TypeAlias = Literal["r", "rb", "w", "wb", "x", "xb", "a", "ab"]
TextMode: TypeAlias = Literal["rt", "wt", "xt", "at"]


class _FromFile:
    """What files for reading share."""

    _file: FileReader
    _pool: WorkerPool
    _ready: Ready[Any]
    _check = AsyncFile._check  # noqa: SLF001 - which stands behind theirs

    async def _open(self) -> None:
        await self._file.open()

    async def _finish(self) -> None:
        await self._file.aclose()
        self._pool.slots.free(self._ready.clear())

    def seekable(self) -> bool:
        return self._file.seekable

    def _move(self, offset: int) -> None:
        self._file.move(offset)

    async def _size(self) -> int:
        return await self._file.size()


class BinaryReader(_FromFile, BinaryReading, AsyncFile[bytes]):
    """A binary file for reading."""

    def __init__(self, pool: WorkerPool, mode: str, file: FileReader, *, owns_pool: bool) -> None:
        AsyncFile.__init__(self, pool, mode, owns_pool=owns_pool)
        BinaryReading.__init__(self)
        self._file, self.name = file, file.name

    async def _next(self, _: int) -> bytes:
        return await self._file.next()


class TextReader(_FromFile, TextReading, AsyncFile[str]):
    """A text file for reading."""

    def __init__(
        self,
        pool: WorkerPool,
        mode: str,
        file: FileReader,
        options: TextOptions,
        *,
        owns_pool: bool,
    ) -> None:
        AsyncFile.__init__(self, pool, mode, owns_pool=owns_pool)
        TextReading.__init__(self, options)
        self._file, self.name = file, file.name

    async def _next_bytes(self) -> bytes:
        return await self._file.next()


class _Writer(AsyncFile[AnyStr]):
    """What files for writing share."""

    def __init__(self, pool: WorkerPool, mode: str, file: FileWriter, *, owns_pool: bool) -> None:
        super().__init__(pool, mode, owns_pool=owns_pool)
        self._file, self.name = file, file.name
        self._buffer, self._chunk_size = bytearray(), file.chunk_size
        self._sent = 0
        self._turn = asyncio.Lock()
        """Held while a chunk is handed over, so that other tasks write after it."""

    async def _open(self) -> None:
        await self._file.open()

    async def _finish(self) -> None:
        async with self._turn:
            await self._file.finish(self._buffer)

    async def _give_up(self) -> None:
        await (self._file.abort() if self._file.atomic else self._finish())

    def _leave(self) -> None:
        self._file.leave()

    async def _put(self, data: Buffer) -> None:
        """Write data that does not fit into the chunk."""
        view = memoryview(data)
        async with self._turn:
            self._check()  # it may have been closed meanwhile
            while view:
                room = self._chunk_size - len(self._buffer)
                self._buffer += view[:room]
                view = view[room:]
                if len(self._buffer) == self._chunk_size:
                    await self._send()

    async def _send(self) -> None:
        chunk, self._buffer = self._buffer, bytearray()
        self._sent += len(chunk)
        await self._file.put(chunk)

    async def flush(self) -> None:
        async with self._turn:
            self._check()
            if self._buffer:
                await self._send()
        await self._file.written()

    async def tell(self) -> int:
        self._check()
        return self._sent + len(self._buffer)

    async def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            await self.write(line)

    def writable(self) -> bool:
        return True


class BinaryWriter(_Writer[bytes]):
    """A binary file for writing."""

    async def write(self, data: Buffer) -> int:
        # Most calls write a short line: they take some hundred nanoseconds, and wait for nothing.
        if not self._opened:
            self._check()
        if type(data) is not bytes:
            data = memoryview(data).cast("B")
        size, buffer = len(data), self._buffer
        if len(buffer) + size < self._chunk_size and not self._turn.locked():
            buffer += data
        else:
            await self._put(data)
        return size


class TextWriter(_Writer[str]):
    """A text file for writing."""

    def __init__(
        self,
        pool: WorkerPool,
        mode: str,
        file: FileWriter,
        options: TextOptions,
        *,
        owns_pool: bool,
    ) -> None:
        super().__init__(pool, mode, file, owns_pool=owns_pool)
        self.encoding, self.errors = options.encoding, options.errors
        self._encoder = TextEncoder(options)

    async def _open(self) -> None:
        await super()._open()
        if self._file.follows:
            self._encoder.follow()

    async def write(self, data: str) -> int:
        if not self._opened:
            self._check()
        encoded, buffer = self._encoder.encode(data), self._buffer
        if len(buffer) + len(encoded) < self._chunk_size and not self._turn.locked():
            buffer += encoded
        else:
            await self._put(encoded)
        return len(data)


def open_file(
    pool: WorkerPool,
    file: AnyFile,
    mode: str,
    *,
    codec: Codec | None = None,
    compression_level: int | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    atomic: bool = False,
    owns_pool: bool = False,
) -> AsyncFile[Any]:
    """Check the arguments of ``Engine.open``; the file that it returns is not open yet."""
    kinds, text = mode.replace("t", "", 1).replace("b", "", 1), None
    if kinds not in {"r", "w", "x", "a"} or ("t" in mode and "b" in mode):
        raise ValueError(
            f"mode must be one of 'rb', 'wb', 'xb', 'ab', 'rt' and so on, not {mode!r}"
        )
    if "t" in mode:
        text = TextOptions.of(encoding, errors, newline)
    elif (encoding, errors, newline) != (None, None, None):
        raise ValueError(f"encoding, errors and newline have no meaning in mode {mode!r}: add 't'")
    if kinds == "r":
        if (codec, compression_level, atomic) != (None, None, False):
            msg = f"codec, compression_level and atomic have no meaning in mode {mode!r}"
            raise ValueError(msg)
        reader = FileReader(pool, cast("Readable", file), make_reading(None, DEFAULT_MAX_WINDOW))
        if text is None:
            return BinaryReader(pool, mode, reader, owns_pool=owns_pool)
        return TextReader(pool, mode, reader, text, owns_pool=owns_pool)
    if codec is None:
        is_path = isinstance(file, str | os.PathLike)
        codec = names.codec_for(name_of(file) or "") if is_path else "zstd"
    recipe = make_recipe(codec, compression_level, None)
    writer = FileWriter(
        pool, cast("Writable", file), cast("WriteMode", kinds), recipe, atomic=atomic
    )
    if text is None:
        return BinaryWriter(pool, mode, writer, owns_pool=owns_pool)
    return TextWriter(pool, mode, writer, text, owns_pool=owns_pool)
