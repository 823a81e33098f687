"""Containers checked, and the tar in them: a whole container may hold one that was cut off.

A pipe whose writer died ends like any other, so what it carried is compressed without an error.
Only the tar tells that its end is missing.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress
from itertools import islice
from typing import Final

from aiocompress import formats
from aiocompress.errors import AiocompressError, FormatError
from aiocompress.formats import names
from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import BLOCK
from aiocompress.model import KIB, Member, ProgressOption, Report
from aiocompress.storage.base import Source
from aiocompress.storage.sources import opened
from aiocompress.verbs import files
from aiocompress.verbs.archive.opened import OpenedArchive, check_member
from aiocompress.verbs.archive.raw import first_block, is_plain, raw_blocks
from aiocompress.verbs.base import verb
from aiocompress.verbs.found import Found
from aiocompress.verbs.options import Reading, Writing
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

_SEARCHED: Final = 256 * KIB
"""Bytes of a container in which the first raw ones are looked for."""


async def test(
    pool: WorkerPool, source: Source, reading: Reading, progress: ProgressOption
) -> Report:
    """Decode all of a source, check everything, and drop it; see ``Engine.test``."""
    pool.check()
    about = reading, progress
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if await call(pool.files, os.path.isfile, path):
            return await _test_file(pool, path, *about)
    return await _test_stream(pool, source, *about)


async def _test_file(
    pool: WorkerPool, path: str, reading: Reading, progress: ProgressOption
) -> Report:
    async with AsyncExitStack() as stack:
        try:
            archive = await stack.enter_async_context(OpenedArchive(pool, path, reading))
        except FormatError:  # it may be compressed, and no archive
            return await files.test(pool, path, reading, progress)
        is_archive = archive.is_plain or archive.index is not None
        if is_archive or await call(pool.files, _holds_tar, path, reading.max_window):
            return await archive.test(progress)
    return await files.test(pool, path, reading, progress)


async def _test_stream(
    pool: WorkerPool, source: Source, reading: Reading, progress: ProgressOption
) -> Report:
    """Check what can be read only once."""
    found = Found(files=1)
    async with (
        verb(pool, "testing", Writing(progress=progress), found=found, back=True) as run,
        opened(source, pool) as data,
    ):
        run.total = data.size
        first = await first_block(data)
        blocks = raw_blocks(pool, data, reading, run.tally, head=first, strict=True)
        async with aclosing(blocks):
            head = await _head(blocks)
            if is_plain(first, data.name) or _is_tar(head, data.name):
                found.files = 0
                reader = tar.Reader(max_metadata=reading.max_metadata, content=False)
                await call(pool.files, _check, reader, head, found)
                async for block in blocks:
                    await call(pool.files, _check, reader, block, found)
                reader.finish()
                found.extend(reader.warnings)
            else:
                async for _ in blocks:
                    pass
    return run.report()


def _check(reader: tar.Reader, data: memoryview, found: Found) -> None:
    for item in reader.feed(data):
        if isinstance(item, Member):
            check_member(item, found)


def _holds_tar(path: str, max_window: int) -> bool:
    """Whether the name of a container says that it holds a tar, or its first raw bytes do.

    Plain blocking code, for a file thread. It decodes a few blocks, where the pipeline would begin
    with several frames.
    """
    with open(path, "rb") as file:
        data = file.read(_SEARCHED)
    head = bytearray()
    with suppress(AiocompressError):  # met again when all of it is checked
        form = formats.detect(data)
        reader = form.container.reader(whole=0, max_window=max_window)
        reader.feed(data)
        decoder = form.codec.open_stream(max_window)
        while len(head) < BLOCK and (piece := reader.next_piece()) is not None:
            head += b"".join(islice(decoder.feed(piece.data), 1))
            if piece.last:
                decoder = form.codec.open_stream(max_window)
    return _is_tar(memoryview(head), path)


async def _head(blocks: AsyncGenerator[memoryview]) -> memoryview:
    """Return the first raw bytes: a block of a tar at least, if there are so many."""
    head = bytearray()
    while len(head) < BLOCK and (block := await anext(blocks, None)) is not None:
        head += block
    return memoryview(head)


def _is_tar(head: memoryview, name: str | None) -> bool:
    block = bytes(head[:BLOCK])
    return (name is not None and names.is_tar(name)) or (
        block != tar.ZEROS and tar.is_archive(block)
    )
