"""Headers of requests and answers (RFC 9110), without any I/O."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import quote

_RANGE: Final = re.compile(r"bytes\s*=\s*(\d{0,99})\s*-\s*(\d{0,99})\s*", re.IGNORECASE | re.ASCII)
_TAG: Final = re.compile(r'(?:W/)?"[^"]*"|\*')
_WEIGHT: Final = re.compile(r"[qQ]=([01](?:\.\d{0,3})?)", re.ASCII)
_SETTLED: Final = 1.0
"""Seconds after which a new version of a file is certain to have a new ``Last-Modified``."""


class Validators(NamedTuple):
    """What distinguishes one version of a body from another; either may be missing.

    ``etag`` is strong and includes its quotes; ``modified`` is in seconds since 1970.
    """

    etag: str | None = None
    modified: float | None = None

    @property
    def last_modified(self) -> str | None:
        """The time in the format of headers."""
        return None if self.modified is None else formatdate(self.modified, usegmt=True)


def precondition(headers: Mapping[str, str], known: Validators) -> HTTPStatus:
    """Return 200, or 304 or 412 if a condition of the request ends it (RFC 9110, 13.2.2)."""
    if (tags := headers.get("if-match")) is not None:
        if not _matches(tags, known.etag, weakly=False):
            return HTTPStatus.PRECONDITION_FAILED
    elif (date := _date(headers.get("if-unmodified-since"))) is not None and _is_newer(known, date):
        return HTTPStatus.PRECONDITION_FAILED
    if (tags := headers.get("if-none-match")) is not None:
        if _matches(tags, known.etag, weakly=True):
            return HTTPStatus.NOT_MODIFIED
    elif known.modified is not None:
        date = _date(headers.get("if-modified-since"))
        if date is not None and not _is_newer(known, date):
            return HTTPStatus.NOT_MODIFIED
    return HTTPStatus.OK


def _matches(tags: str, etag: str | None, *, weakly: bool) -> bool:
    found = _TAG.findall(tags)
    if weakly:
        found = [tag.removeprefix("W/") for tag in found]
    return "*" in found or etag in found


def _is_newer(known: Validators, date: float) -> bool:
    return known.modified is not None and int(known.modified) > date


def _date(text: str | None) -> float | None:
    """Return a time in seconds since 1970; None if it is missing or malformed."""
    if text is None:
        return None
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


class UnsatisfiableError(Exception):
    """A range begins at or after the end of the body."""


def wanted_range(
    headers: Mapping[str, str], size: int, known: Validators
) -> tuple[int, int] | None:
    """Return the range that a GET asks for, as (start, end) in bytes; None: the whole body.

    Several ranges, or a malformed one, get the whole body, as RFC 9110 allows.

    :raises UnsatisfiableError: the range has no byte of the body.
    """
    found = _RANGE.fullmatch(headers.get("range", ""))
    if found is None or not any(found.groups()) or not _is_current(headers, known):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise UnsatisfiableError
    return start, end


def _is_current(headers: Mapping[str, str], known: Validators) -> bool:
    """Whether ``If-Range`` is missing or names this version; a date has to match exactly."""
    given = headers.get("if-range")
    if given is None:
        return True
    if given.startswith(('"', "W/")):
        return given == known.etag
    is_settled = known.modified is not None and known.modified < time.time() - _SETTLED
    return is_settled and given == known.last_modified


def accepts(headers: Mapping[str, str], coding: str) -> bool:
    """Whether ``Accept-Encoding`` accepts a coding, by name or by ``*``."""
    weights: dict[str, float] = {}
    for item in headers.get("accept-encoding", "").lower().split(","):
        name, _, parameter = item.partition(";")
        found = _WEIGHT.fullmatch(parameter.strip()) if parameter.strip() else None
        weights[name.strip()] = float(found[1]) if found else float(not parameter.strip())
    return weights.get(coding, weights.get("*", 0.0)) > 0


def disposition(kind: str, filename: str) -> str:
    """Return ``Content-Disposition``, also with an ASCII name for old clients (RFC 6266)."""
    name = filename.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name)
    value = f'{kind}; filename="{plain}"'
    return value if plain == name else f"{value}; filename*=UTF-8''{quote(name, safe='')}"
