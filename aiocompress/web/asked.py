"""A request for a page or a file: its path in steps, as bytes, and its query."""

from __future__ import annotations

from typing import Final, NamedTuple, Self, cast, get_args
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers, QueryParams
from starlette.types import Scope

from aiocompress.web.browse import Sort, View

_LATEST_PAGE: Final = 1_000_000
_LONGEST_SEARCH: Final = 255
"""Characters, as many as the longest name has: compiling a huge pattern would block the loop."""


class Asked(NamedTuple):
    """What a request asks for; ``is_folder`` says that its path ends with a slash."""

    method: str
    steps: tuple[bytes, ...]
    is_folder: bool
    query: QueryParams
    headers: Headers

    @classmethod
    def of(cls, scope: Scope) -> Self:
        """Take a request apart; steps count from where the application is mounted."""
        raw = scope.get("raw_path")
        path = scope["path"].encode("utf-8", "surrogateescape")
        if raw is not None:
            path = unquote_to_bytes(raw.partition(b"?")[0])
        path = _below(path, scope).removeprefix(b"/")
        is_folder = path.endswith(b"/") or not path
        steps = tuple(path.removesuffix(b"/").split(b"/")) if path else ()
        query = QueryParams(scope["query_string"])
        return cls(scope["method"], steps, is_folder, query, Headers(scope=scope))

    @property
    def names(self) -> list[str]:
        """The steps as text; see PEP 383."""
        return [step.decode("utf-8", "surrogateescape") for step in self.steps]

    @property
    def view(self) -> View:
        """How to show a folder; the query's nonsense counts as absent."""
        sort, page = self.query.get("sort", "name"), self.query.get("page", "1")
        return View(
            cast("Sort", sort if sort in get_args(Sort) else "name"),
            self.query.get("order") == "desc",
            max(1, min(int(page), _LATEST_PAGE)) if page.isdecimal() and len(page) < 9 else 1,
            self.query.get("q", "").strip()[:_LONGEST_SEARCH],
        )


def _below(path: bytes, scope: Scope) -> bytes:
    """Return a path relative to where the application is mounted.

    A proxy may have stripped its own prefix from the path. ``root_path`` still begins with that
    prefix, which Starlette keeps as ``app_root_path`` when it appends the mount's.
    """
    top = scope.get("root_path", "")
    for mounted in (top, top.removeprefix(scope.get("app_root_path", ""))):
        prefix = mounted.rstrip("/").encode("utf-8", "surrogateescape")
        if path == prefix or path.startswith(prefix + b"/"):
            return path[len(prefix) :]
    return path
