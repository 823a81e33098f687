"""Uploads: a file appears whole, or not at all."""

from __future__ import annotations

import os
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from aiocompress.api.plain import PlainFiles
from aiocompress.model import KIB
from aiocompress.web.asked import Asked
from aiocompress.web.limits import Incoming
from aiocompress.web.root import Place, is_step

_AT_ONCE: Final = 512 * KIB


async def save(files: PlainFiles, folder: Place, asked: Asked, body: Incoming) -> Response:
    """Write the body of a request into a folder, under the last step of its path.

    The file gets its name once it is whole, and replaces another one only with ``?replace``.

    :returns: 201, or 204 with ``?replace``.
    :raises HTTPException: 409 if the name exists; and those of ``Incoming``.
    :raises OSError: it cannot be written there.
    """
    name = asked.steps[-1]
    if not folder.is_folder or not is_step(name):
        raise HTTPException(HTTPStatus.NOT_FOUND)
    replaces = "replace" in asked.query
    path = os.path.join(folder.path, os.fsdecode(name))
    try:
        async with files.writing(path, "replace" if replaces else "error") as sink:
            parts, size = [], 0
            async for data in body:
                parts.append(data)
                size += len(data)
                if size >= _AT_ONCE:
                    await sink.write(*parts)
                    parts, size = [], 0
            await sink.write(*parts)
            await sink.commit(None)
    except (FileExistsError, IsADirectoryError):
        raise HTTPException(HTTPStatus.CONFLICT, "something of that name exists") from None
    return Response(status_code=HTTPStatus.NO_CONTENT if replaces else HTTPStatus.CREATED)
