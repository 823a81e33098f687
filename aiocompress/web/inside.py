"""Answers from inside archives, whose folders are shown like those on the disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException

from aiocompress.api.archive import Archive
from aiocompress.api.engine import Engine
from aiocompress.api.plain import PlainFiles
from aiocompress.errors import LimitError
from aiocompress.formats import names
from aiocompress.model import KIB, Codec
from aiocompress.web.answers import codec_of, file_page, folder_page, presented, ticked, with_slash
from aiocompress.web.archives import Archives, KeptArchive
from aiocompress.web.asked import Asked
from aiocompress.web.browse import base_of, is_archive, list_members, search_archive
from aiocompress.web.limits import Gate, Limits
from aiocompress.web.pages import quoted
from aiocompress.web.responses import ChosenResponse, MemberResponse
from aiocompress.web.root import Place, is_step

_AT_ONCE: Final = 64 * KIB
_NANOSECONDS: Final = 1e9


class Inside:
    """Answers requests for members, by the archive's index or else by scanning the archive."""

    def __init__(self, engine: Engine, archives: Archives, limits: Limits, gate: Gate) -> None:
        self._files = PlainFiles(engine)
        self._archives, self._limits, self._gate = archives, limits, gate

    async def answer(self, asked: Asked, place: Place, *asgi: Any) -> None:
        """Answer a GET.

        :param place: the archive's file, with the steps inside it.
        """
        depth = len(asked.steps) - len(place.rest)
        if not is_archive(asked.names[depth - 1]) or not all(map(is_step, place.rest)):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        inside = "/".join(asked.names[depth:])
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(self._limits.page_seconds):
                kept = await stack.enter_async_context(self._archives.opened(place))
            if not asked.is_folder:
                await self._send_member(asked, kept, inside, *asgi)
            elif codec := codec_of(asked):
                await self._send_chosen(asked, kept.archive, inside, codec, *asgi)
            else:
                await self._send_page(asked, kept, inside, *asgi)

    async def _send_page(self, asked: Asked, kept: KeptArchive, inside: str, *asgi: Any) -> None:
        view, seconds = asked.view, self._limits.page_seconds
        if view.search:
            listing = await search_archive(kept.archive, inside, view, seconds)
        else:
            try:
                async with asyncio.timeout(seconds):
                    members = await kept.scandir(inside)
                    listing = await self._files.call(list_members, members.values(), view)
            except LimitError:
                too_many = "there are too many names here to show them: search, or download all"
                raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, too_many) from None
        original = "" if inside else f"../{quoted(asked.names[-1])}"
        await folder_page(asked, listing, original=original)(*asgi)

    async def _send_chosen(
        self, asked: Asked, archive: Archive, inside: str, codec: Codec, *asgi: Any
    ) -> None:
        """Send a folder, or its selected entries, as a new archive."""
        before = f"{inside}/" if inside else ""
        wanted = [before + name for name in ticked(asked)] or ([inside] if inside else None)
        filename = f"{names.stem(asked.names[-1]) or asked.names[-1]}.tar{names.suffix_of(codec)}"
        async with self._gate.entered():
            await ChosenResponse(archive, wanted, codec=codec, filename=filename)(*asgi)

    async def _send_member(self, asked: Asked, kept: KeptArchive, inside: str, *asgi: Any) -> None:
        archive = kept.archive
        async with asyncio.timeout(self._limits.page_seconds):
            kind = await kept.kind_of(inside)
        if kind is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        if kind == "directory":
            await with_slash(asked)(*asgi)
        elif "view" in asked.query:
            async with asyncio.timeout(self._limits.page_seconds), archive.open(inside) as file:
                member = file.member
                async with aclosing(_blocks(file)) as blocks:
                    modified = member.mtime_ns / _NANOSECONDS
                    page = await file_page(asked, blocks, member.size, modified)
            await page(*asgi)
        else:
            async with self._gate.entered():
                how = presented(asked, base_of(inside))
                await MemberResponse(archive, inside, **how)(*asgi)


async def _blocks(file: Any) -> AsyncGenerator[bytes]:
    while data := await file.read(_AT_ONCE):
        yield data
