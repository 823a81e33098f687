"""The calls of the system that the library makes, counted; something happens at the n-th.

The only place where anything of the system is replaced. The call itself is real; what is made up
is its error, or that it does less than it was asked to, as any system may at any time.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import aiofiles.threadpool

Event = Callable[[str, Any], None]
"""Gets the name of the call, and its first argument."""

READS = ("read", "readv", "pread", "preadv", "readinto")
WRITES = ("write", "writev", "pwrite", "pwritev", "ftruncate")
SYNCS = ("fsync", "fdatasync")
OPENS = ("open", "dup")
NAMES = ("rename", "link", "symlink", "mkdir")
LOOKS = ("stat", "lstat", "fstat", "listdir", "scandir", "readlink")
MODES = ("fchmod", "chmod")
ALL = (*READS, *WRITES, *SYNCS, *OPENS, *NAMES, *LOOKS, *MODES)
_ERRORS = {
    **dict.fromkeys(READS, errno.EIO),
    **dict.fromkeys(WRITES, errno.ENOSPC),
    **dict.fromkeys(SYNCS, errno.EIO),
    **dict.fromkeys(OPENS, errno.EMFILE),
    **dict.fromkeys(NAMES, errno.EIO),
    **dict.fromkeys(LOOKS, errno.EIO),
    **dict.fromkeys(MODES, errno.EIO),
}
_CLEANING = ("empty", "close", "_close", "aclose", "_drop", "remove")
_OURS = ("aiocompress.", "aiofiles.", "concurrent.futures.", "genericpath", "posixpath")


def fail(name: str, first: Any) -> None:
    """Be the error that this call may well have; the system names what it was given as a path."""
    about = (first,) if isinstance(first, str | bytes) else ()
    raise OSError(_ERRORS[name], os.strerror(_ERRORS[name]), *about)


class Calls:
    """Counts calls of some names; ``event`` happens at the n-th, or ``ever_since``, from 0."""

    def __init__(self, names: tuple[str, ...] = ALL) -> None:
        self._names = names
        self._lock = threading.Lock()
        self._at: int | None = None
        self._ever_since = False
        self._event: Event = fail
        self._threads: set[int] | None = None
        self.number = self.happened = 0
        self.short = False
        """Whether each read and write does half of what it is asked to."""

    def arm(self, at: int | None, event: Event = fail, *, ever_since: bool = False) -> None:
        """Begin to count anew."""
        self._at, self._event, self._ever_since = at, event, ever_since
        self.number = self.happened = 0

    def _count(self, name: str, first: Any) -> None:
        with self._lock:
            number = self.number
            self.number += 1
        if self._at is not None and (
            number == self._at or (self._ever_since and number > self._at)
        ):
            self.happened += 1
            self._event(name, first)

    @contextlib.contextmanager
    def installed(self) -> Iterator[Calls]:
        """Count calls that the library makes."""
        real = {name: getattr(os, name) for name in self._names if name != "readinto"}
        for name, function in real.items():
            setattr(os, name, self._wrapped(name, function))
        real_open = aiofiles.threadpool.sync_open
        aiofiles.threadpool.sync_open = self._open
        try:
            yield self
        finally:
            aiofiles.threadpool.sync_open = real_open
            for name, function in real.items():
                setattr(os, name, function)

    def _wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if sys._getframe(1).f_globals["__name__"].startswith(_OURS) and not _is_cleaning():
                self._count(name, arguments[0] if arguments else None)
                if self.short and name in _HALVES:
                    arguments = _HALVES[name](*arguments)
            return function(*arguments, **options)

        return call

    def _open(self, path: str, *_: Any, **__: Any) -> io.FileIO:
        """Open what aiofiles reads: unbuffered, always."""
        if "open" in self._names:
            self._count("open", path)
        return _File(path, self) if "readinto" in self._names else io.FileIO(path)


def _is_cleaning() -> bool:
    """Whether something is removed or closed: where that fails too, something has to be left."""
    frame = sys._getframe(2)
    for _ in range(8):
        if frame.f_back is None:
            break
        if frame.f_code.co_name in _CLEANING and "aiocompress" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


class _File(io.FileIO):
    def __init__(self, path: str, calls: Calls) -> None:
        super().__init__(path)
        self._calls = calls

    def readinto(self, buffer: Any) -> Any:
        self._calls._count("readinto", None)
        view = memoryview(buffer)
        return super().readinto(view[: len(view) // 2 + 1] if self._calls.short else view)


def _half(data: Any) -> memoryview:
    view = memoryview(data)
    return view[: len(view) // 2 + 1]


_HALVES: dict[str, Callable[..., tuple[Any, ...]]] = {
    "read": lambda descriptor, size: (descriptor, size // 2 + 1),
    "pread": lambda descriptor, size, at: (descriptor, size // 2 + 1, at),
    "readv": lambda descriptor, views: (descriptor, [_half(views[0])]),
    "preadv": lambda descriptor, views, at: (descriptor, [_half(views[0])], at),
    "write": lambda descriptor, data: (descriptor, _half(data)),
    "writev": lambda descriptor, views: (descriptor, [_half(views[0])]),
    "pwrite": lambda descriptor, data, at: (descriptor, _half(data), at),
    "pwritev": lambda descriptor, views, at: (descriptor, [_half(views[0])], at),
}
