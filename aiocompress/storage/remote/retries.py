"""Repeats requests where that may help, a few times and for a limited time.

After a cut connection, or from a server that is busy or restarting, the same request may well
succeed a moment later. The waits grow and are random, so that the clients of one server do not all
come back at once. What a server refuses (403, 404, 416) it would refuse again.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, TypeAlias, TypeVar

T = TypeVar("T")

ATTEMPTS: Final = 5
_SECONDS: Final = 60.0
"""After these no request is repeated."""
_FIRST, _LONGEST = 0.2, 10.0
"""Seconds of the first wait at most, and of any."""
CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0
"""How long to wait for a connection, and then for any byte on it."""

_AGAIN: Final = {408, 429, 500, 502, 503, 504}
_NUMBERS: Final = {
    401: errno.EACCES,
    403: errno.EACCES,
    404: errno.ENOENT,
    408: errno.ETIMEDOUT,
    410: errno.ENOENT,
}


class Failure(Exception):  # noqa: N818 - callers get the OSError that it becomes
    """A request has failed.

    :param reason: says why, without the words of the server or a library, which may hold secrets.
    :param number: the ``errno`` of the error that it becomes.
    :param status: what the server answered, if it did.
    :param again: whether the same request may succeed a moment later.
    :param wait: after how many seconds, if the server said so.
    :param size: bytes of the object, if the server told them with its refusal.
    """

    def __init__(
        self,
        reason: str,
        number: int = errno.EIO,
        *,
        status: int | None = None,
        again: bool = False,
        wait: float | None = None,
        size: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason, self.number, self.status = reason, number, status
        self.again, self.wait, self.size = again, wait, size

    def error(self, name: str) -> OSError:
        """Return the error for callers; Python makes ENOENT a FileNotFoundError, and so on."""
        return OSError(self.number, self.reason, name)


def cut_off(_: object = None) -> Failure:
    """Return the failure of a connection that ended before the answer did."""
    return Failure("the connection was cut", errno.ECONNRESET, again=True)


def too_slow(_: object = None) -> Failure:
    """Return the failure of a server that does not answer."""
    return Failure("the server does not answer", errno.ETIMEDOUT, again=True)


def unreachable(error: BaseException) -> Failure:
    """Return the failure of a connection that could not be made."""
    number = getattr(error, "errno", None)
    if not isinstance(number, int) or number not in errno.errorcode:
        number = errno.ECONNREFUSED
    return Failure("no connection to the server", number, again=True)


def always(reason: str, number: int) -> Callable[[BaseException], Failure]:
    """Return a function that makes failures which a repeated request would meet again."""
    return lambda _: Failure(reason, number)


Known: TypeAlias = tuple[tuple[type[BaseException], ...], Callable[[BaseException], Failure]]
"""Errors of a library, and what they become."""


def failure(error: BaseException, known: Iterable[Known]) -> Failure:
    """Describe an error without its own words, which may hold URLs with secret queries."""
    for kinds, make in known:
        if isinstance(error, kinds):
            return make(error)
    return Failure(f"it cannot be asked for ({type(error).__name__})")


def refused(status: int, retry_after: str | None = None, size: int | None = None) -> Failure:
    """Return the failure of a request that was answered with this status."""
    try:
        phrase = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = str(status)
    again = status in _AGAIN
    return Failure(
        f"the server answered {phrase}",
        _NUMBERS.get(status, errno.EIO),
        status=status,
        again=again,
        wait=_seconds(retry_after) if again and retry_after else None,
        size=size,
    )


def _seconds(retry_after: str) -> float | None:
    """Return how many seconds to wait; the header holds seconds or a date."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    zoned = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (zoned - datetime.now(UTC)).total_seconds())


async def patiently(request: Callable[[], Awaitable[T]]) -> T:
    """Make a request, and repeat it after a failure that may pass.

    :raises Failure: it failed for good, too often or for too long.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + _SECONDS
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await request()
        except Failure as failure:
            most = min(_LONGEST, _FIRST * 2 ** (attempt - 1))
            wait = random.uniform(most / 2, most) if failure.wait is None else failure.wait  # noqa: S311 - no secret
            if not failure.again:
                raise
            if attempt == ATTEMPTS or loop.time() + wait > until:
                failure.reason += _tried(attempt, failure.wait)
                raise
        await asyncio.sleep(wait)
    raise AssertionError


def _tried(attempts: int, wait: float | None) -> str:
    """Say how often a request was made, and how long the server asked to wait if too long."""
    if attempts < ATTEMPTS and wait is not None:
        return f", and wants {wait:.0f} s before it is asked again"
    return f", {attempts} times" if attempts > 1 else ""
