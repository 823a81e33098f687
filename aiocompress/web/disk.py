"""Answers about folders and files of the disk, each by its open descriptor."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from aiocompress.api.engine import Engine
from aiocompress.api.plain import PlainFiles
from aiocompress.formats import names
from aiocompress.model import KIB, Codec
from aiocompress.web.answers import codec_of, file_page, folder_page, presented, ticked, with_slash
from aiocompress.web.asked import Asked
from aiocompress.web.browse import is_archive, list_folder, search_folder
from aiocompress.web.limits import Deadline, Gate, Limits
from aiocompress.web.responses import FileResponse, FolderResponse
from aiocompress.web.root import Place

_AT_ONCE: Final = 256 * KIB
_MOST_LOOKS: Final = 4
"""Folders that are listed at once: half of an engine's file threads, the rest is for others."""
_SPECIAL: Final = re.compile(r"([\\*?\[\]!#\s])")
"""Characters that are special in a gitignore pattern."""


class Disk:
    """Answers requests for folders and files.

    :param writable: whether pages offer to upload.
    """

    def __init__(self, engine: Engine, limits: Limits, gate: Gate, *, writable: bool) -> None:
        self._engine, self._files = engine, PlainFiles(engine)
        self._limits, self._gate, self._writable = limits, gate, writable
        self._looking = Gate(_MOST_LOOKS, limits.page_seconds)

    async def answer(self, asked: Asked, place: Place, *asgi: Any) -> None:
        """Answer a GET."""
        if not place.is_folder:
            await self._send_file(asked, place, *asgi)
        elif not asked.is_folder:
            await with_slash(asked)(*asgi)
        elif codec := codec_of(asked):
            await self._send_folder(asked, place, codec, *asgi)
        else:
            look = search_folder if asked.view.search else list_folder
            async with self._looking.entered():
                deadline = Deadline(self._limits.page_seconds)
                listing = await self._files.call(look, place, asked.view, deadline)
            await folder_page(asked, listing, writable=self._writable)(*asgi)

    async def _send_folder(self, asked: Asked, place: Place, codec: Codec, *asgi: Any) -> None:
        """Send a folder, or its selected entries: gitignore rules exclude all others.

        The walk begins at the open descriptor and follows no link, whatever happens to the names.
        """
        name, chosen = asked.names[-1] if asked.steps else "files", ticked(asked)
        wanted = ("!/" + _SPECIAL.sub(r"\\\1", item.replace("\n", "\ufffd")) for item in chosen)
        async with self._gate.entered():
            await FolderResponse(
                place.path,
                engine=self._engine,
                codec=codec,
                prefix=name,
                exclude=["/*", *wanted] if chosen else [],
                on_error="skip",
                filename=f"{name}.tar{names.suffix_of(codec)}",
            )(*asgi)

    async def _send_file(self, asked: Asked, place: Place, *asgi: Any) -> None:
        name = asked.names[-1]
        restored = None if is_archive(name) else names.restored(name)
        make = partial(
            FileResponse, place.path, engine=self._engine, max_output=self._limits.max_output
        )
        if "view" in asked.query:
            status, blocks = place.status, self._blocks(place, decode=restored is not None)
            async with asyncio.timeout(self._limits.page_seconds), aclosing(blocks):
                page = await file_page(asked, blocks, status.st_size, status.st_mtime, restored)
            await page(*asgi)
        elif restored and "decoded" in asked.query:
            async with self._gate.entered():
                await make(decode=True, filename=restored)(*asgi)
        else:
            await make(decode=False, filename=name, **presented(asked, name))(*asgi)

    async def _blocks(self, place: Place, *, decode: bool) -> AsyncGenerator[bytes]:
        if decode:
            async with self._engine.decompress_stream(place.path) as stream:
                async for data in stream:
                    yield data
            return
        async with self._files.reading(place.path) as file:
            at = 0
            while data := await file.read_at(at, _AT_ONCE):
                at += len(data)
                yield data
