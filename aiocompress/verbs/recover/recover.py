"""``recover``: after damage anywhere, every member that is whole comes back.

What is damaged is named, and left out; what cannot be verified is never passed off as whole. A
plain tar has checksums of its headers only: the content of its members is taken as it stands.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from functools import partial
from typing import Final

from aiocompress.errors import CorruptError, FormatError, Lines
from aiocompress.formats import FORMATS, names
from aiocompress.formats.base import Format
from aiocompress.formats.parts import Frame, Part, Step
from aiocompress.formats.scan import Scan
from aiocompress.formats.tar.directory import Directory
from aiocompress.formats.tar.header import BLOCK
from aiocompress.formats.tar.reader import ZEROS, is_archive
from aiocompress.model import MIB, Buffer, Member, OnExists, PathLike, Report
from aiocompress.storage.atomic_file import hidden_name
from aiocompress.storage.atomic_folder import AtomicFolder, sync_all
from aiocompress.verbs import folders
from aiocompress.verbs.base import Verb, check_here, into_folder, verb
from aiocompress.verbs.found import Found
from aiocompress.verbs.options import Packing, Writing, make_recipe
from aiocompress.verbs.recover.frames import DamagedFile, Raw, decoded, plain, scanned
from aiocompress.verbs.recover.members import Files, OneFile, TarFiles
from aiocompress.workers.pool import WorkerPool
from aiocompress.workers.threads import call

_MOST_TOLD: Final = 10
_MOST_NAMED, _MOST_NAMES = 1_000_000, 64 * MIB
"""How many members are named, and what their names may take: whoever asks for the rest of an
archive has to know what to look for."""
_HINT: Final = (
    "decompress_folder with on_error='skip' gives what stands before the damage, unverified"
)


async def recover(
    pool: WorkerPool,
    source: PathLike,
    destination: PathLike,
    *,
    keep_damaged: bool,
    max_window: int,
    writing: Writing,
) -> Report:
    """Save what is whole into a folder, or into an archive if the destination has such a name.

    :raises CorruptError: nothing could be saved.
    :raises FormatError: the source holds no part of a zstd, gzip or tar file.
    :raises ValueError: the destination is the source, or has the name of an archive that cannot
        be written.
    :raises OSError: a file cannot be read or written; ``FileExistsError``: it exists.
    """
    pool.check()
    path, target = os.fspath(source), os.fspath(destination)
    check_here(path)
    check_here(target)
    is_archive = names.layout_for(target, None) == "archive"
    # A folder is checked when it is made.
    on_exists = writing.on_exists if is_archive else "replace"
    await call(pool.files, _check_target, path, target, on_exists)
    make = partial(DamagedFile, path, max_window)
    file = await call(pool.files, make, undo=DamagedFile.close)
    found = Found(skipped=Lines(_MOST_NAMED, _MOST_NAMES))
    try:
        async with verb(pool, "recovering", writing, found=found, back=True, file=path) as run:
            run.total, run.target = file.size, target
            rescue = _Rescue(run, file, path, keep_damaged=keep_damaged)
            if is_archive:
                await _into_archive(run, rescue, target)
            else:
                async with into_folder(run, target) as building:
                    await rescue.save(building)
    finally:
        await call(pool.files, file.close)
    return run.report()


def _check_target(path: str, target: str, on_exists: OnExists) -> None:
    if os.path.exists(target) and os.path.samefile(path, target):
        raise ValueError(f"{path}: source and destination are the same file")
    if on_exists != "replace" and os.path.lexists(target):
        raise FileExistsError(
            errno.EEXIST, "exists already; on_exists='replace' replaces it", target
        )


async def _into_archive(run: Verb, rescue: _Rescue, target: str) -> None:
    """Save into a hidden folder beside the archive, and pack that."""
    pool, writing = run.pool, run.writing
    recipe = make_recipe(names.codec_for(target), None, None)
    hidden = os.path.join(os.path.dirname(target), hidden_name())
    build = await call(pool.files, AtomicFolder, hidden, "error", undo=AtomicFolder.close)
    try:
        await rescue.save(build)
        folder = build.reach(by_path=True).path
        if writing.fsync:  # or what a failing disk lost would be packed as if whole
            await call(pool.files, sync_all, build.descriptor)
        quiet = writing._replace(progress=False)
        await folders.compress_folder(pool, folder, target, "archive", Packing(()), recipe, quiet)
    finally:
        await call(pool.files, build.close)


class _Rescue:
    """One damaged file, and what becomes of it."""

    def __init__(self, run: Verb, file: DamagedFile, path: str, *, keep_damaged: bool) -> None:
        self._tally, self._found = run.tally, run.tally.found
        self._pool, self._file, self._path = run.pool, file, path
        self._keep_damaged = keep_damaged
        self._files: Files | None = None
        self._bad: list[Frame] = []
        self._blocks_lost = self._unplaced = 0

    async def save(self, build: AtomicFolder) -> None:
        """Save what is whole into a folder.

        :raises CorruptError: nothing is.
        """
        (form, scan), threads = await self._search(), self._pool.files
        try:
            if form is None or scan is None:
                await self._save_part(build, plain(self._pool, self._file), Directory(), None)
            else:
                for part in scan.parts:
                    directory, steps = await call(threads, _prepared, part)
                    raws = decoded(self._pool, self._file, form, steps)
                    await self._save_part(build, raws, directory, part)
            files = self._files
            assert files is not None
            await call(threads, files.finish)
            build.mode = files.root_mode
        finally:
            if self._files is not None:
                await call(threads, self._files.close)
        if scan is not None:
            self._tell(scan, is_tar=isinstance(files, TarFiles))
        if self._found.skipped_count and not files.saved:
            raise CorruptError(f"nothing could be saved: {self._found.skipped[0]}", hint=_HINT)

    async def _save_part(
        self,
        build: AtomicFolder,
        raws: AsyncGenerator[Raw],
        directory: Directory,
        part: Part | None,
    ) -> None:
        """Save one of the files that stand here one behind the other."""
        async with aclosing(raws):
            first = await anext(raws, None)
            if self._files is None:
                is_tar = part is None or bool(directory) or _is_tar(self._path, first)
                self._files = self._make_files(build, is_tar=is_tar)
            size = None if part is None else part.raw_size
            await call(self._pool.files, self._files.begin, directory, size)
            await self._feed(self._files, first, raws)
            await call(self._pool.files, self._files.end)
        self._blocks_lost += directory.damaged
        self._unplaced += 0 if part is None else part.unplaced

    async def _feed(self, files: Files, raw: Raw | None, others: AsyncGenerator[Raw]) -> None:
        threads = self._pool.files
        while raw is not None:
            if raw.data is None:
                await call(threads, files.gap, raw.lost)
            else:
                await call(threads, files.feed, raw.data)
                self._tally.add(len(raw.data), raw.size, raw.frames)
            if raw.bad is not None:
                self._bad.append(raw.bad)
            raw = await anext(others, None)

    def _make_files(self, build: AtomicFolder, *, is_tar: bool) -> Files:
        about = build.descriptor, self._found
        if is_tar:
            return TarFiles(*about, keep_damaged=self._keep_damaged)
        status = self._file.status
        name = os.path.basename(self._path)
        name = names.restored(name) or name + ".recovered"
        mode = stat.S_IMODE(status.st_mode)
        member = Member(name, mode=mode, mtime_ns=status.st_mtime_ns)
        return OneFile(*about, member, keep_damaged=self._keep_damaged)

    async def _search(self) -> tuple[Format | None, Scan | None]:
        """Find out the format, by the first bytes, the name or the frames, and find the frames.

        :returns: the format and its frames; a plain tar has neither.
        :raises FormatError: the format is unknown.
        """
        head = await call(self._pool.files, self._file.read, 0, BLOCK)
        if not head:
            raise FormatError("is empty: there is nothing to recover", offset=0)
        by_magic = next((row for row in FORMATS.values() if row.scan and row.is_magic(head)), None)
        if by_magic is None and (_is_header(head) or self._path.lower().endswith(".tar")):
            return None, None
        for form in dict.fromkeys((by_magic, _by_name(self._path), *FORMATS.values())):
            if form is not None and form.scan is not None:
                scan = await scanned(self._pool, self._file, form)
                if scan.is_known:
                    return form, scan
        if by_magic is not None:
            self._check_window(by_magic, head)
        reason = "it is not a tar, and holds no whole frame of zstd or gzip"
        raise FormatError(reason, hint=_HINT if by_magic else None)

    def _check_window(self, form: Format, head: bytes) -> None:
        """Tell of a limit that may be why no frame was found.

        :raises LimitError: the first one needs a larger window.
        """
        whole, most = self._pool.slots.largest, self._file.max_window
        reader = form.container.reader(whole=whole, max_window=most)
        reader.feed(head)
        with suppress(CorruptError, FormatError):
            reader.next_piece()

    def _tell(self, scan: Scan, *, is_tar: bool) -> None:
        """Report which compressed bytes were lost."""
        found = self._found
        if scan.elsewhere:
            found.refuse(f"{scan.elsewhere:,} compressed bytes belong to nothing that was found")
        if scan.lacks_end and not is_tar:  # a tar tells by itself whether it is whole
            found.skip("the empty block at the end is missing, and what may have stood before it")
        gaps = sorted([*scan.gaps, *((frame.offset, frame.size) for frame in self._bad)])
        if gaps:
            places = ", ".join(f"{start:,}" for start, _ in gaps[:_MOST_TOLD])
            more = " ..." if len(gaps) > _MOST_TOLD else ""
            found.warn(
                f"{len(self._bad):,} damaged frames and {len(scan.gaps):,} gaps: "
                f"{sum(size for _, size in gaps):,} compressed bytes lost, at {places}{more}"
            )
        for count, what in (
            (self._blocks_lost, "blocks of the index are damaged"),
            (self._unplaced, "frames that the table at the end does not list were left out"),
            (scan.unverified, "frames have no checksum: what they hold cannot be verified"),
            (scan.gave_up, "search given up: too much of the file looks like the start of a frame"),
        ):
            if count:
                found.warn(f"{int(count):,} {what}")


def _prepared(part: Part) -> tuple[Directory, Iterator[Step]]:
    """Look into the index and the table of a part: seconds, where they are large."""
    return Directory(part.index), part.steps()


def _is_tar(path: str, first: Raw | None) -> bool:
    """Whether it is a tar, by its name or by its first raw bytes."""
    return names.is_tar(path) or (first is not None and _is_header(first.data or b""))


def _is_header(head: Buffer) -> bool:
    """Whether a tar that is not empty begins like this."""
    block = bytes(head[:BLOCK])
    return block != ZEROS and is_archive(block)


def _by_name(path: str) -> Format | None:
    try:
        return FORMATS[names.codec_for(path)]
    except ValueError:
        return None
