"""Preparing new members of an archive: checks names and numbers, and gathers content."""

from __future__ import annotations

import mmap
import time
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from contextlib import aclosing, asynccontextmanager
from typing import Final, NamedTuple

from aiocompress.errors import CorruptError, TruncatedError, UnsafeMemberError
from aiocompress.formats.tar.header import to_bytes, to_text
from aiocompress.model import KIB, Member
from aiocompress.storage.base import OpenedSource
from aiocompress.storage.files import Spool
from aiocompress.storage.restorer import checked
from aiocompress.storage.sources import IterableSource

GATHERED: Final = 256 * KIB
"""Bytes of content that are gathered in memory."""
_HINT: Final = "a name is a path without a root and without '..', such as 'logs/today.txt'"
_LARGEST: Final = (1 << 62) - 1
_LATEST: Final = (1 << 63) - 1


class NewFile(NamedTuple):
    """A file to be added; ``place`` is its name in the archive."""

    place: bytes
    size: int
    mode: int
    mtime_ns: int

    def member(self, offset: int, data_offset: int) -> Member:
        """Return the member whose header and content begin at these raw offsets."""
        name, size = to_text(self.place), self.size
        return Member(
            name,
            "file",
            size,
            self.mode,
            self.mtime_ns,
            offset=offset,
            data_offset=data_offset,
            stored_size=size,
        )

    def wrong_size(self, came: int) -> CorruptError:
        """Return the error that another number of bytes came than ``size``."""
        what = f"came than the {self.size} bytes of its size"
        if came < self.size:
            return TruncatedError(f"member {to_text(self.place)!r}: less {what}")
        return CorruptError(f"member {to_text(self.place)!r}: more {what}")


def now(mtime_ns: int | None) -> int:
    """Return the given time, or the present one."""
    return time.time_ns() if mtime_ns is None else mtime_ns


def place(name: str, *, is_folder: bool = False) -> bytes:
    """Return the name as it will stand in the archive.

    :param is_folder: whether it may be empty, or end with a slash.
    :raises UnsafeMemberError: extraction would refuse it.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    why = "the name is not that of a file"
    try:
        given = to_bytes(name)
        normal = checked(given)
    except UnicodeEncodeError:
        why = "the name is not valid text"
    except UnsafeMemberError as error:
        why = error.reason
    else:
        if given[:1] == b"/":
            why = "the name is absolute"
        elif is_folder or (normal and given[-1:] != b"/"):
            return normal
    raise UnsafeMemberError(f"member {name!r}: {why}", hint=_HINT)


def check_numbers(size: int | None, mode: int, mtime_ns: int | None) -> None:
    """Check the numbers that a caller gives for a file.

    :raises TypeError: one is not an int.
    :raises ValueError: one is out of bounds.
    """
    _check("mode", mode, 0, 0o7777)
    if size is not None:
        _check("size", size, 0, _LARGEST)
    if mtime_ns is not None:
        _check("mtime_ns", mtime_ns, -_LATEST, _LATEST)


def _check(what: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be an int, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{what} must be from {least} to {most}, not {value}")


async def pour(file: NewFile, data: OpenedSource, room: memoryview) -> None:
    """Fill ``room`` with content.

    :raises TruncatedError: the content ended early.
    """
    if (done := await data.fill(room)) < len(room):
        raise file.wrong_size(done)


@asynccontextmanager
async def gathered(
    data: OpenedSource, size: int | None, executor: Executor
) -> AsyncGenerator[tuple[memoryview, OpenedSource | None, int]]:
    """Read all of a source, or, if it should have ``size`` bytes, at most one more than that.

    Yields the content in memory, or as a source if it is too large; and its size.
    """
    room = memoryview(mmap.mmap(-1, GATHERED + 1))  # takes only as much as is filled
    room = room if size is None else room[: size + 1]
    used = await data.fill(room)
    if used < len(room) or size is not None:
        yield room[:used], None, used
        return
    async with Spool.opened(executor) as spool:
        came = 0
        while used:
            await spool.write(room[:used])
            came += used
            used = await data.fill(room)
        async with aclosing(spool.parts()) as parts:
            yield room[:0], IterableSource(parts), came
