"""Previews: a picture, or the beginning of a text; never anything that a browser could run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from mimetypes import guess_type
from typing import Final, NamedTuple

from aiocompress.errors import AiocompressError
from aiocompress.model import KIB

_MOST: Final = 256 * KIB
"""Bytes of a text that are shown."""
_PICTURES: Final = frozenset(
    {
        "image/avif",
        "image/bmp",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/vnd.microsoft.icon",
        "image/webp",
        "image/x-icon",
    }
)
"""Types that hold nothing but pixels: an SVG is a document, which may hold scripts."""
_LONGEST_CHARACTER: Final = 4


class Preview(NamedTuple):
    """What a page shows; if neither a picture nor a text, ``problem`` may tell why."""

    is_picture: bool = False
    text: str | None = None
    is_cut: bool = False
    problem: str = ""


def picture_type(name: str) -> str | None:
    """Return the media type of a picture, which the browser is told to trust; None: no picture."""
    kind, coding = guess_type(name)
    return kind if kind in _PICTURES and coding is None else None


async def preview(name: str, blocks: AsyncIterator[bytes], *, is_whole: bool) -> Preview:
    """Look at the beginning of a file.

    :param name: the name of the content, without the suffix of a codec.
    :param is_whole: whether the file is stored as that content, so that a browser can show it.
    """
    if is_whole and picture_type(name):
        return Preview(is_picture=True)
    head = bytearray()
    try:
        async for data in blocks:
            head += data
            if len(head) > _MOST or 0 in data:
                break
    except AiocompressError as error:
        return Preview(problem=f"This file cannot be read: {error.reason}.")
    text = _as_text(bytes(head[:_MOST]), is_cut=len(head) > _MOST)
    return Preview(text=text, is_cut=text is not None and len(head) > _MOST)


def _as_text(data: bytes, *, is_cut: bool) -> str | None:
    """Decode UTF-8, dropping a character that is cut off at the end; None if it is not text."""
    if 0 in data:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if is_cut and error.start > len(data) - _LONGEST_CHARACTER:
            return data[: error.start].decode("utf-8-sig")
        return None
