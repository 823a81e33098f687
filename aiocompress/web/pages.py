"""Pages: templates that are sent in pieces, and the policy under which browsers show them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncGenerator, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aiocompress.model import readable_size
from aiocompress.web.browse import View

_PIECE: Final = 32 << 10
"""Characters that are sent at once."""
_FOLDER: Final = files("aiocompress.web") / "templates"
STYLE, SCRIPT = ((_FOLDER / name).read_text("utf-8") for name in ("style.css", "upload.js"))


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_hash(STYLE)}",
        f"script-src {_hash(SCRIPT)}",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""The policy of pages, which run no script but ``SCRIPT``."""


def shown(name: str) -> str:
    """Return a name as valid text: bytes that are not UTF-8 become replacement characters."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def quoted(name: str) -> str:
    """Return a name as a part of an address."""
    return quote(name.encode("utf-8", "surrogateescape"), safe="/")


def when(seconds: float | None) -> str:
    """Return a time in UTC as an element; nothing if it is unknown or outside the calendar.

    :param seconds: since 1970.
    """
    if seconds is None:
        return ""
    try:
        text = datetime.fromtimestamp(seconds, UTC).isoformat(" ")
    except (ValueError, OverflowError, OSError):
        return ""
    return Markup('<time datetime="{}T{}Z">{}</time>').format(text[:10], text[11:19], text[:16])


def address(view: View) -> str:
    """Return the relative address at which a folder's page shows a view."""
    asked: dict[str, object] = {"q": shown(view.search)} if view.search else {}
    if (view.sort, view.descending) != ("name", False):
        asked |= {"sort": view.sort, "order": "desc" if view.descending else "asc"}
    if view.page > 1:
        asked["page"] = view.page
    return f"./?{urlencode(asked)}" if asked else "./"


def sorted_by(view: View, sort: Any) -> str:
    """Return the address of the first page in another order, or in the same one reversed."""
    descending = not view.descending if view.sort == sort else sort != "name"
    return address(View(sort, descending, 1, view.search))


def crumbs(names: list[str], *, is_folder: bool) -> list[tuple[str, str]]:
    """Return (label, address) of every level above a page, and of the page itself."""
    levels = len(names) - (not is_folder)
    labels = ["Files", *names]
    return [(label, "../" * (levels - level) or "./") for level, label in enumerate(labels)]


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("aiocompress.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "shown": shown,
        "quoted": quoted,
        "readable": readable_size,
        "when": when,
    }
    environment.globals |= {"style": STYLE, "script": SCRIPT}
    return environment


class Page(Response):
    """A page, rendered while it is sent."""

    media_type = "text/html"

    def __init__(
        self,
        template: str,
        about: Mapping[str, Any],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._template, self._about = template, about
        self.status_code = status_code
        self.background = None
        self.init_headers(headers)
        self.headers["content-security-policy"] = POLICY
        self.headers["cache-control"] = "no-cache"

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        head = {"type": "http.response.start", "status": self.status_code}
        await send(head | {"headers": self.raw_headers})
        if scope["method"] != "HEAD":
            async for piece in self._pieces():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pieces(self) -> AsyncGenerator[bytes]:
        for text in _gathered(_templates().get_template(self._template).generate(self._about)):
            yield text.encode()
            await asyncio.sleep(0)  # others want the loop, too


def _gathered(parts: Iterator[str]) -> Iterator[str]:
    held, size = [], 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= _PIECE:
            yield "".join(held)
            held, size = [], 0
    yield "".join(held)
