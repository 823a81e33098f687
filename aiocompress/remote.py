"""Archives elsewhere, with the extra ``remote``: their members as a file system of fsspec.

``open_archive`` makes an ``HttpArchive`` or ``FsspecArchive`` of a URL; make your own to give
options. ``S3Upload`` is a destination for every verb. fsspec knows ``ArchiveFileSystem`` as
``aiocompress``, so pandas, Dask and others read members: ``aiocompress://data/x.csv::s3://...``.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import weakref
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Final, TypeVar

try:
    from fsspec import AbstractFileSystem, filesystem
    from fsspec.asyn import get_loop, sync
    from fsspec.utils import tokenize

    from aiocompress.api.remote import FsspecArchive, HttpArchive, S3Upload
except ImportError as error:
    raise ImportError(
        f"aiocompress.remote needs {error.name}: pip install 'aiocompress[remote]'", name=error.name
    ) from None
from aiocompress.api import Positional, Source
from aiocompress.api.archive import Archive
from aiocompress.api.engine import Engine
from aiocompress.api.member import MemberFile
from aiocompress.errors import FormatError, MemberNotFoundError
from aiocompress.model import MIB, Member

__all__ = ["ArchiveFileSystem", "FsspecArchive", "HttpArchive", "S3Upload"]

T = TypeVar("T")
Entry = dict[str, Any]

_CLOSE_SECONDS: Final = 5
_of_parents: Final[list[object]] = []
"""Archives of the parent of a fork, which alone may close them."""


class ArchiveFileSystem(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """The members of an archive: read only, by its index, for any number of threads.

    Where fsspec takes a URL, ``aiocompress://MEMBER::URL`` names a member. An instance can be
    pickled; the copy opens the archive anew, and so does a fork. The archive is closed with the
    last reference to the instance, at the end of the program, or by ``close()``.

    :param fo: the URL or path of the archive.
    :param target_protocol: the protocol of its store, if ``fo`` is not a URL.
    :param target_options: the options of that store.
    """

    protocol: ClassVar[str] = "aiocompress"
    root_marker = ""

    def __init__(
        self,
        fo: str = "",
        target_protocol: str | None = None,
        target_options: dict[str, Any] | None = None,
        **storage_options: Any,
    ) -> None:
        super().__init__(**storage_options)
        if not fo:
            raise ValueError("which archive? Write aiocompress://MEMBER::ARCHIVE, or give fo")
        self.fo = fo
        self._target = target_protocol, target_options or {}
        self._opened = _Opened(partial(_source, fo, *self._target))
        weakref.finalize(self, _Opened.close, self._opened)

    @classmethod
    def _strip_protocol(cls, path: str) -> Any:
        path = super()._strip_protocol(path)
        return path.lstrip("/") if isinstance(path, str) else path

    def close(self) -> None:
        """Close the archive; a later read opens it again."""
        self._opened.close()

    def ukey(self, path: str) -> str:
        """Return a key for caches."""
        return str(tokenize(self.fo, self._target, path))

    # Names.

    def info(self, path: str, **_: Any) -> Entry:
        """Describe a member.

        :raises FileNotFoundError: there is no such member.
        """
        return self._opened.run(_entry_at, self._strip_protocol(path))

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: FBT001, FBT002 - fsspec's
        """Describe what is directly in a folder.

        :raises FileNotFoundError: there is no such member.
        """
        folder = self._strip_protocol(path)
        entries = self._opened.run(_entries, folder, 1)
        listed = [entries[name] for name in sorted(entries) if name != folder]
        if not listed and (entry := self.info(folder))["type"] != "directory":
            listed = [entry]
        return listed if detail else [entry["name"] for entry in listed]

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,  # noqa: FBT001, FBT002 - fsspec's
        detail: bool = False,  # noqa: FBT001, FBT002 - fsspec's
        **_: Any,
    ) -> Any:
        """Name everything in a folder and below it, by one pass over the index."""
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        folder = self._strip_protocol(path)
        entries = self._opened.run(_entries, folder, maxdepth)
        if not entries:
            with suppress(FileNotFoundError):
                entries = {folder: self.info(folder)}
        if not withdirs:
            entries = {n: e for n, e in entries.items() if e["type"] != "directory"}
        names = sorted(name for name in entries if name)
        return {name: entries[name] for name in names} if detail else names

    def modified(self, path: str) -> datetime:
        """Return the time at which a member was modified."""
        return datetime.fromtimestamp(self.info(path).get("mtime", 0), UTC)

    # Content.

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        """Return the content of a member, from ``start`` to ``end`` in bytes."""
        return self._opened.run(_content, self._strip_protocol(path), start, end)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.BufferedReader:
        if mode != "rb":
            raise OSError(errno.EROFS, "an archive is read only", path)
        return io.BufferedReader(_MemberIO(self, self._opened, path), MIB)


def _source(fo: str, protocol: str | None, options: dict[str, Any]) -> Source | Positional:
    """Return what ``open_archive`` opens."""
    scheme, colon, _ = fo.partition("://")
    protocol = protocol or (scheme if colon else "file")
    url = fo if colon else f"{protocol}://{fo}"
    if protocol in {"file", "local"}:
        return url.removeprefix(f"{protocol}://")
    if protocol in {"http", "https"}:
        return HttpArchive(url, **options)
    if "fo" in options:  # a chain of several: a cache, say
        return FsspecArchive(fo, filesystem(protocol, **options))
    return FsspecArchive(url, **options)


class _Opened:
    """An archive that is open in fsspec's loop, for all threads of this process."""

    def __init__(self, source: Callable[[], Source | Positional]) -> None:
        self._make = source
        self._process = os.getpid()
        self._archive: Archive | None = None
        self._stack = AsyncExitStack()
        self._opening: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Callable[..., Awaitable[T]], path: str, *arguments: Any) -> T:
        """Run a function on the archive, in the loop.

        :raises OSError: the store cannot be read; ``FileNotFoundError`` if there is no such member,
            and ``IsADirectoryError`` if it is a folder.
        """

        async def do() -> T:
            archive = await self._here()
            try:
                return await work(archive, path, *arguments)
            except MemberNotFoundError as error:
                raise FileNotFoundError(errno.ENOENT, error.reason, path) from None

        result: T = sync(get_loop(), do)
        return result

    async def _here(self) -> Archive:
        """Return the archive, open in this process."""
        if self._process != os.getpid():
            _of_parents.append((self._archive, self._stack))
            self._archive, self._opening, self._process = None, None, os.getpid()
        if self._opening is None:
            self._opening, self._loop = asyncio.Lock(), asyncio.get_running_loop()
        async with self._opening:
            if self._archive is None:
                async with AsyncExitStack() as stack:
                    engine = Engine(executor="thread")
                    stack.callback(engine.close)  # works without threads, at the program's end
                    source = self._make()
                    if isinstance(source, HttpArchive | FsspecArchive):
                        await stack.enter_async_context(source)
                    self._archive = await stack.enter_async_context(engine.open_archive(source))
                    self._stack = stack.pop_all()
            return self._archive

    def close(self) -> None:
        archive, self._archive = self._archive, None
        if archive is None:
            return
        if self._process != os.getpid():
            _of_parents.append((archive, self._stack))
        elif self._loop is not None and self._loop.is_running():
            closing = asyncio.run_coroutine_threadsafe(self._stack.aclose(), self._loop)
            if not _runs_here(self._loop):
                with suppress(TimeoutError):
                    closing.result(_CLOSE_SECONDS)


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


class _MemberIO(io.RawIOBase):
    """A member as a file: read only, at any offset; it opens the member again in a fork."""

    def __init__(self, fs: ArchiveFileSystem, opened: _Opened, path: str) -> None:
        super().__init__()
        self._fs = fs  # keeps the archive open
        self._opened, self._path, self._at = opened, path, 0
        self._file: tuple[Archive, MemberFile] | None = None
        self.size: int = opened.run(self._look, path)
        """Bytes of the content."""

    @property
    def name(self) -> str:
        """The name of the member."""
        return self._path

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, room: Any) -> int:
        view = memoryview(room).cast("B")
        data: bytes = self._opened.run(self._read, self._path, len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}, before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    async def _look(self, archive: Archive, path: str) -> int:
        return (await self._member(archive, path)).size

    async def _read(self, archive: Archive, path: str, size: int) -> bytes:
        file = await self._member(archive, path)
        await file.seek(self._at)
        return await file.read(size)

    async def _member(self, archive: Archive, path: str) -> MemberFile:
        if self._file is None or self._file[0] is not archive:
            self._file = archive, await _member_file(archive, path)
        return self._file[1]


async def _member_file(archive: Archive, path: str) -> MemberFile:
    try:
        return await archive.open(path)
    except FormatError as error:
        if (await _entry_at(archive, path))["type"] == "directory":
            raise IsADirectoryError(errno.EISDIR, error.reason, path) from None
        raise


async def _content(archive: Archive, path: str, start: int | None, end: int | None) -> bytes:
    async with await _member_file(archive, path) as file:
        first, last, _ = slice(start, end).indices(file.size)
        await file.seek(first)
        return await file.read(max(0, last - first))


async def _entry_at(archive: Archive, path: str) -> Entry:
    # For an unknown name, ``member`` would read the whole index to suggest the closest ones.
    if path and (not archive.is_indexed or await archive.exists(path)):
        with suppress(MemberNotFoundError):
            return await _entry(archive, await archive.member(path))
    async with archive.members(path + "/" if path else "") as members:
        # Some archives hold files but no folders.
        if path and await anext(members, None) is None:
            raise FileNotFoundError(errno.ENOENT, "the archive has no such member", path)
    return _folder(path)


async def _entries(archive: Archive, folder: str, maxdepth: int | None) -> dict[str, Entry]:
    """Describe what is in a folder, down to a depth, by name; of equal names the last counts."""
    start = folder + "/" if folder else ""
    members: dict[str, Member | None] = {}
    async with archive.members(start) as found:
        async for member in found:
            name = _plain(member.name)
            parts = name.removeprefix(start).split("/")
            if not name.startswith(start) or not parts[0]:
                continue
            for depth in range(1, len(parts)):  # folders that the archive may not hold
                if maxdepth is None or depth <= maxdepth:
                    members.setdefault(start + "/".join(parts[:depth]), None)
            if maxdepth is None or len(parts) <= maxdepth:
                members[name] = member
    return {
        name: _folder(name) if member is None else await _entry(archive, member)
        for name, member in members.items()
    }


def _plain(name: str) -> str:
    """Return the name by which a member is looked up: ``./a`` and ``/a`` are ``a``."""
    return name.removeprefix("./").strip("/")


def _folder(name: str) -> Entry:
    return {"name": name, "size": 0, "type": "directory"}


_TYPES: Final = {"file": "file", "hardlink": "file", "directory": "directory", "symlink": "link"}


async def _entry(archive: Archive, member: Member) -> Entry:
    size = member.size
    if member.kind == "hardlink":  # its content stands elsewhere
        with suppress(FormatError, MemberNotFoundError):
            async with archive.open(member.name) as file:
                size = file.size
    return {
        "name": _plain(member.name),
        "size": size,
        "type": _TYPES.get(member.kind, "other"),
        "mode": member.mode,
        "mtime": member.mtime_ns / 1e9,
        "uid": member.uid,
        "gid": member.gid,
        "islink": member.kind == "symlink",
        "destination": member.link,
    }
