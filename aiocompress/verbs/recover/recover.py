"""``recover``: after damage anywhere, every member that is whole comes back.

What is damaged is named, and left out; what cannot be verified is never given out as whole. A
plain tar has checksums of its headers only: the content of its members is taken as it stands.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, NamedTuple

from aiocompress.errors import AiocompressError, CorruptError, FormatError
from aiocompress.formats import FORMATS, names
from aiocompress.formats.base import Format
from aiocompress.formats.scan import Frame, Scan
from aiocompress.formats.tar.directory import Directory
from aiocompress.formats.tar.fields import check_sum
from aiocompress.formats.tar.header import BLOCK, END
from aiocompress.model import Buffer, Member, PathLike, Report
from aiocompress.storage.atomic_file import hidden_name
from aiocompress.storage.atomic_folder import AtomicFolder, sync_all
from aiocompress.verbs import folders
from aiocompress.verbs.base import Verb, into_folder, verb
from aiocompress.verbs.found import Found
from aiocompress.verbs.options import Writing, make_packing, make_recipe
from aiocompress.verbs.recover.frames import DamagedFile, Raw, decoded, plain, scanned
from aiocompress.verbs.recover.members import FileSaver, Saver, TarSaver
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

_MOST_TOLD: Final = 10
_MOST_NAMED: Final = 1_000_000
_HINT: Final = "extract --keep-going gives what stands before the damage, unverified"


async def recover(
    pool: WorkerPool,
    source: PathLike,
    destination: PathLike,
    *,
    keep_damaged: bool,
    writing: Writing,
) -> Report:
    """Save what is whole into a folder, or, where the destination is one's name, an archive.

    :raises CorruptError: nothing could be saved.
    :raises FormatError: nothing of a zstd, gzip or tar file is in it.
    :raises ValueError: the destination is the source, or no name for an archive.
    :raises OSError: a file cannot be read or written; ``FileExistsError``: it exists.
    """
    pool.check()
    path, target = os.fspath(source), os.fspath(destination)
    is_archive = names.layout_for(target, None) == "archive"
    await call(pool.files, _check_target, path, target, is_archive, writing)
    file = await call(pool.files, DamagedFile, path, undo=DamagedFile.close)
    found = Found(most_told=_MOST_NAMED)
    try:
        async with verb(pool, "recovering", writing, found=found, back=True, file=path) as run:
            run.total = file.size
            rescue = _Rescue(run, file, path, keep_damaged=keep_damaged)
            if is_archive:
                await _into_archive(run, rescue, target)
            else:
                async with into_folder(run, target) as building:
                    await rescue.save(building)
    finally:
        await call(pool.files, file.close)
    return run.report()


def _check_target(path: str, target: str, is_archive: bool, writing: Writing) -> None:  # noqa: FBT001
    if os.path.exists(target) and os.path.samefile(path, target):
        msg = f"{path}: source and destination are the same file"
        raise ValueError(msg)
    if is_archive and os.path.lexists(target) and writing.on_exists != "replace":
        raise FileExistsError(errno.EEXIST, "exists already, replace it with -f", target)


async def _into_archive(run: Verb, rescue: _Rescue, target: str) -> None:
    """Save into a hidden folder beside the archive, and pack that."""
    pool, writing = run.pool, run.writing
    recipe = make_recipe(names.codec_for(target), None, None)
    packing = make_packing("", (), reproducible=False, xattrs=False, on_error="raise")
    hidden = os.path.join(os.path.dirname(target), hidden_name())
    build = await call(pool.files, AtomicFolder, hidden, "error", undo=AtomicFolder.close)
    try:
        await rescue.save(build)
        folder = os.readlink(build.reach)
        if writing.syncs:  # or what a failing disk lost would be packed as if whole
            await call(pool.files, sync_all, build.descriptor)
        quiet = writing._replace(progress=False)
        await folders.compress_folder(pool, folder, target, "archive", packing, recipe, quiet)
    finally:
        await call(pool.files, build.close)


class _Plan(NamedTuple):
    """How the source is read: its format, None for a plain tar, and what was found in it."""

    format: Format | None
    scan: Scan | None


class _Rescue:
    """One damaged file, and what becomes of it."""

    def __init__(self, run: Verb, file: DamagedFile, path: str, *, keep_damaged: bool) -> None:
        self._tally = run.tally
        self._pool, self._file, self._path = run.pool, file, path
        self._keep_damaged = keep_damaged
        self._saver: Saver | None = None
        self._bad: list[Frame] = []

    async def save(self, build: AtomicFolder) -> None:
        """Save what is whole into a folder.

        :raises CorruptError: nothing is.
        """
        plan = await self._plan()
        directory = Directory(plan.scan.index() if plan.scan else ())
        try:
            await self._save(plan, directory, build.descriptor)
            assert self._saver is not None
            build.mode = self._saver.root_mode
        finally:
            if self._saver is not None:
                await call(self._pool.files, self._saver.close)
        self._tell(plan.scan, directory)
        found = self._tally.found
        if found.skipped_count and not found.files and not self._saver.kept:
            raise CorruptError(f"nothing could be saved: {found.skipped[0]}", hint=_HINT)

    async def _save(self, plan: _Plan, directory: Directory, root: int) -> None:
        files = self._pool.files
        async with aclosing(self._raw(plan)) as items:
            async for raw in items:
                if self._saver is None:
                    self._saver = self._make_saver(plan, directory, root, raw)
                if raw.data is None:
                    await call(files, self._saver.gap, raw.lost)
                else:
                    await call(files, self._saver.feed, raw.data)
                    self._tally.add(len(raw.data), raw.size, raw.frames)
                if raw.bad is not None:
                    self._bad.append(raw.bad)
        if self._saver is None:
            self._saver = self._make_saver(plan, directory, root, Raw(b""))
        await call(files, self._saver.finish)

    def _raw(self, plan: _Plan) -> AsyncGenerator[Raw]:
        if plan.scan is None or plan.format is None:
            return plain(self._pool, self._file)
        return decoded(self._pool, self._file, plan.format, plan.scan.steps())

    def _make_saver(self, plan: _Plan, directory: Directory, root: int, first: Raw) -> Saver:
        """Take it for a tar, or for a file."""
        found, keep = self._tally.found, self._keep_damaged
        is_tar = plan.scan is None or directory or names.is_tar(self._path)
        if is_tar or _is_header(first.data or b""):
            size = None if plan.scan is None else plan.scan.raw_size
            return TarSaver(root, found, directory, size, keep_damaged=keep)
        status = self._file.status
        name = os.path.basename(self._path)
        name = names.restored(name) or name + ".recovered"
        mode = stat.S_IMODE(status.st_mode)
        member = Member(name, mode=mode, mtime_ns=status.st_mtime_ns)
        return FileSaver(root, found, member, keep_damaged=keep)

    async def _plan(self) -> _Plan:
        """Find out what it is: by its first bytes, by its name, by what is found in it.

        :raises FormatError: nothing that is known.
        """
        head = await call(self._pool.files, self._file.read, 0, BLOCK)
        by_magic = _by_magic(bytes(head))
        if by_magic is None and (_is_header(head) or self._path.lower().endswith(".tar")):
            return _Plan(None, None)
        for form in dict.fromkeys((by_magic, _by_name(self._path), *FORMATS.values())):
            if form is not None and form.scan is not None:
                scan = await scanned(self._pool, self._file, form)
                if len(scan.frames) or scan.entries or scan.empty:
                    return _Plan(form, scan)
        reason = "no frame of zstd or gzip in it is whole, nor is it a tar"
        raise FormatError(reason, hint=_HINT if by_magic else None)

    def _tell(self, scan: Scan | None, directory: Directory) -> None:
        """Say what of the compressed bytes was lost."""
        found = self._tally.found
        if scan is None:
            return
        gaps = sorted([*scan.gaps, *((frame.offset, frame.size) for frame in self._bad)])
        if gaps:
            places = ", ".join(f"{start:,}" for start, _ in gaps[:_MOST_TOLD])
            more = " ..." if len(gaps) > _MOST_TOLD else ""
            found.warn(
                f"{len(self._bad):,} damaged frames and {len(scan.gaps):,} gaps: "
                f"{sum(size for _, size in gaps):,} compressed bytes lost, at {places}{more}"
            )
        for count, what in (
            (directory.damaged, "blocks of the index are damaged"),
            (scan.unplaced, "frames that the table at the end does not know were left out"),
            (scan.unverified, "frames have no checksum: what they hold cannot be verified"),
            (scan.gave_up, "search given up: too much of it looks like the beginning of a frame"),
        ):
            if count:
                found.warn(f"{int(count):,} {what}")


def _is_header(head: Buffer) -> bool:
    """Whether a tar begins so."""
    block = bytes(head[:BLOCK])
    if len(block) < BLOCK or block == END[:BLOCK]:
        return False
    try:
        check_sum(block, 0)
    except AiocompressError:
        return False
    return True


def _by_magic(head: bytes) -> Format | None:
    return next((form for form in FORMATS.values() if form.scan and form.is_magic(head)), None)


def _by_name(path: str) -> Format | None:
    try:
        return FORMATS[names.codec_for(path)]
    except ValueError:
        return None
