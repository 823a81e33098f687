"""Answers that folders on the disk and folders in archives share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.responses import Response

from aiocompress.model import Codec
from aiocompress.web.asked import Asked
from aiocompress.web.browse import Listing
from aiocompress.web.pages import Page, address, crumbs, quoted, sorted_by
from aiocompress.web.preview import picture_type, preview

_CODECS: Final[dict[str, Codec]] = {"tar.zst": "zstd", "tar.gz": "gzip"}


def folder_page(
    asked: Asked, listing: Listing, *, original: str = "", writable: bool = False
) -> Response:
    """Return the page of a folder.

    :param original: the address of the archive, where the folder is an archive's top.
    :param writable: whether the page offers to upload files.
    """
    view = asked.view
    about = {
        "title": asked.names[-1] if asked.steps else "Files",
        "kind": "archive" if original else "folder",
        "crumbs": crumbs(asked.names, is_folder=True),
        "view": view,
        "listing": listing,
        "original": original,
        "writable": writable,
        "sorted_by": lambda sort: sorted_by(view, sort),
        "paged": lambda page: address(view._replace(page=page)),
    }
    return Page("folder.html", about)


async def file_page(
    asked: Asked,
    blocks: AsyncIterator[bytes],
    size: int,
    modified: float,
    restored: str | None = None,
) -> Response:
    """Return the page of a file.

    :param blocks: its content, of which only the beginning is read.
    :param size: in bytes.
    :param modified: in seconds since 1970.
    :param restored: if it is compressed, its name without the suffix.
    """
    name = asked.names[-1]
    seen = await preview(restored or name, blocks, is_whole=restored is None)
    about = seen._asdict() | {
        "title": name,
        "here": f"./{quoted(name)}",
        "crumbs": crumbs(asked.names, is_folder=False),
        "size": size,
        "modified": modified,
        "restored": restored,
    }
    return Page("file.html", about)


def with_slash(asked: Asked) -> Response:
    """Redirect to the folder's address with a slash, against which links on its page resolve."""
    location = {"location": f"./{quoted(asked.names[-1])}/"}
    return Response(status_code=HTTPStatus.PERMANENT_REDIRECT, headers=location)


def presented(asked: Asked, name: str) -> dict[str, Any]:
    """Return how to send a file: as an attachment, unless a page embeds it as a picture."""
    kind = picture_type(name) if "raw" in asked.query else None
    return {"media_type": kind, "content_disposition_type": "inline" if kind else "attachment"}


def codec_of(asked: Asked) -> Codec | None:
    """Return the codec of a download; None if the client wants a page.

    :raises HTTPException: 400 if the kind of archive is unknown.
    """
    kind = asked.query.get("download")
    if kind is not None and kind not in _CODECS:
        known = " or ".join(_CODECS)
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"download must be {known}")
    return None if kind is None else _CODECS[kind]


def ticked(asked: Asked) -> list[str]:
    """Return the names selected for a download; an empty list stands for all of them."""
    return [unquote(name, errors="surrogateescape") for name in asked.query.getlist("name")]
