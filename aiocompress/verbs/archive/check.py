"""Containers checked, and the tar in them: a whole container may hold one that was cut off.

A pipe whose writer died ends like any other, so what it carried is compressed without an error.
Only the tar tells that its end is missing.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

from aiocompress.errors import FormatError
from aiocompress.formats import names
from aiocompress.formats.tar import reader as tar
from aiocompress.formats.tar.header import BLOCK
from aiocompress.model import Member, ProgressOption, Report
from aiocompress.storage.sources import AnySource, opened
from aiocompress.verbs import files
from aiocompress.verbs.archive.opened import OpenedArchive, check_member
from aiocompress.verbs.archive.raw import first_block, is_plain, raw_blocks
from aiocompress.verbs.base import Tally, verb
from aiocompress.verbs.found import Found
from aiocompress.verbs.options import Reading, Writing
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call


async def test(
    pool: WorkerPool, source: AnySource, reading: Reading, progress: ProgressOption
) -> Report:
    """Decode all of a source, check everything, and drop it; see ``Engine.test``."""
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
        if is_archive or await _holds_tar(pool, path, reading):
            return await archive.test(progress)
    return await files.test(pool, path, reading, progress)


async def _test_stream(
    pool: WorkerPool, source: AnySource, reading: Reading, progress: ProgressOption
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
                reader = tar.Reader(max_metadata=reading.max_metadata)
                _check(reader, head, found)
                async for block in blocks:
                    _check(reader, block, found)
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


async def _holds_tar(pool: WorkerPool, path: str, reading: Reading) -> bool:
    """Whether the name of a container says that it holds a tar, or its first raw bytes do."""
    async with (
        opened(path, pool) as data,
        aclosing(raw_blocks(pool, data, reading, Tally(pool))) as blocks,
    ):
        return _is_tar(await _head(blocks), path)


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
