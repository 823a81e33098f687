"""Errors as HTTP statuses, with texts that tell a stranger nothing about this machine."""

from __future__ import annotations

import errno
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from aiocompress.errors import (
    AiocompressError,
    ClosedError,
    CorruptError,
    FormatError,
    LimitError,
    MemberNotFoundError,
    UnsafeMemberError,
    WorkerError,
)

ERRORS: Final = (AiocompressError, OSError, HTTPException, ClientDisconnect)
"""What ``problem`` has a status for."""
_MISSING: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.EISDIR}
)
_BY_ERRNO: Final = {
    errno.EACCES: HTTPStatus.FORBIDDEN,
    errno.EPERM: HTTPStatus.FORBIDDEN,
    errno.EROFS: HTTPStatus.FORBIDDEN,
    errno.EEXIST: HTTPStatus.CONFLICT,
    errno.ENOSPC: HTTPStatus.INSUFFICIENT_STORAGE,
    errno.EDQUOT: HTTPStatus.INSUFFICIENT_STORAGE,
    errno.EMFILE: HTTPStatus.SERVICE_UNAVAILABLE,
    errno.ENFILE: HTTPStatus.SERVICE_UNAVAILABLE,
    errno.ENOMEM: HTTPStatus.SERVICE_UNAVAILABLE,
    errno.EAGAIN: HTTPStatus.SERVICE_UNAVAILABLE,
}
_SENT: Final[tuple[tuple[type[AiocompressError], HTTPStatus], ...]] = (
    (LimitError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (FormatError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (CorruptError, HTTPStatus.UNPROCESSABLE_ENTITY),
)
"""Errors in the body of a request."""
_STORED: Final[tuple[tuple[type[AiocompressError], HTTPStatus], ...]] = (
    (MemberNotFoundError, HTTPStatus.NOT_FOUND),
    (FormatError, HTTPStatus.NOT_FOUND),
    (UnsafeMemberError, HTTPStatus.FORBIDDEN),
    (ClosedError, HTTPStatus.SERVICE_UNAVAILABLE),
    (WorkerError, HTTPStatus.SERVICE_UNAVAILABLE),
)
"""Errors in a file on the server, or of the server; all others are 500."""


def problem(error: Exception, *, sent: bool = False) -> HTTPException:
    """Return the answer to an error: a status, and a reason without any path.

    :param sent: whether the error is in what the client sent.
    """
    if isinstance(error, HTTPException):
        return error
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        number = error.errno or 0
        if number in _MISSING:
            return HTTPException(HTTPStatus.NOT_FOUND)
        return HTTPException(_BY_ERRNO.get(number, HTTPStatus.INTERNAL_SERVER_ERROR))
    if isinstance(error, TimeoutError):
        return HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "this takes too long")
    reason = error.reason if isinstance(error, AiocompressError) else ""
    for kind, status in (_SENT if sent else ()) + _STORED:
        if isinstance(error, kind):
            return HTTPException(status, reason)
    return HTTPException(HTTPStatus.INTERNAL_SERVER_ERROR, reason)


async def refuse(
    error: Exception, scope: Scope, receive: Receive, send: Send, *, sent: bool = False
) -> None:
    """Answer an error before anything else was sent.

    In an application of Starlette or FastAPI, this raises the exception that the application's own
    handlers turn into an answer; elsewhere it sends a plain text.

    :raises HTTPException: the application has handlers for it.
    """
    answer = problem(error, sent=sent)
    if "starlette.exception_handlers" in scope:
        raise answer from error
    text = PlainTextResponse(answer.detail, answer.status_code, answer.headers)
    await text(scope, receive, send)
