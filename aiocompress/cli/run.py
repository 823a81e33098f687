"""Carries out the plan: one engine, one loop, its signals, and the exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, aclosing, closing, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aiocompress.api.engine import Engine, long_memory
from aiocompress.api.stream import PipeSink, PipeSource
from aiocompress.cli.messages import complain, say, summary, told
from aiocompress.cli.plan import (
    STREAM,
    UNNAMED,
    Options,
    Task,
    UsageError,
    check_descriptors,
    check_not_same,
    exclusions,
    is_large,
    plan,
    public,
    shown,
)
from aiocompress.errors import AiocompressError, FormatError
from aiocompress.model import OnExists, Report, Size, is_url

if TYPE_CHECKING:
    from aiocompress.api.functions import (
        ExtractOptions,
        OpenOptions,
        PackOptions,
        ReadOptions,
        WriteOptions,
    )
    from aiocompress.cli.progress import Course

DONE, SKIPPED, FAILED, BROKEN_PIPE = 0, 1, 2, 141
_SAME_SIGNAL: Final = 0.05
"""Seconds within which a repeated signal is the same one: `timeout` sends it to the process, and
then to its group."""
_UNREADABLE: Final = -1
"""A source could not be opened: SKIPPED if another one was done, otherwise FAILED."""
_ERRORS: Final = (UsageError, AiocompressError, OSError, ValueError, MemoryError)


def run(options: Options) -> int:
    """Do what the options ask for; returns the exit code."""
    try:
        check_descriptors()
        tasks = plan(options)
        workers = options.num_workers or None
        memory: Size | None = options.memory_limit
        if options.long_distance and memory is None:
            memory = long_memory(workers)
        engine = Engine(workers, memory)
        if options.verb == "compress":
            # A bad level or size is an error once, and before any source is opened.
            engine.compress_stream(
                b"",
                codec=tasks[0].codec or "zstd",
                compression_level=options.level,
                chunk_size=options.chunk_size,
                long_distance=options.long_distance,
            )
        large = options.verb not in {"list", "cat"} and any(is_large(task) for task in tasks)
        if large:
            engine.prefork()
        gc.freeze()  # modules stay until the end: no collection need look at them again
        return _run_loop(_Session(options, engine, tasks).run(), fast=large)
    except BrokenPipeError:
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - exit code 1 would say that most went well
        complain(error, verbose=options.verbose)
        return FAILED


def serve(
    root: str,
    host: str,
    port: int,
    *,
    writable: bool,
    num_workers: int,
    memory_limit: str | None,
    quiet: bool,
    verbose: bool,
) -> int:
    """Serve a folder until a signal comes; returns the exit code."""
    try:
        check_descriptors()
        try:
            from aiocompress.web import serve as web
        except ModuleNotFoundError as error:
            what = f"needs {error.name}: pip install 'aiocompress[web]'"
            raise UsageError(f"serve {what}") from None
        engine = Engine(num_workers or None, memory_limit)
        tell = (lambda _: None) if quiet else say
        ended = web.serve(
            root, host, port, writable=writable, engine=engine, say=tell, verbose=verbose
        )
    except Exception as error:  # noqa: BLE001 - as of `run`
        complain(error, verbose=verbose)
        return FAILED
    if ended is not None:
        gc.collect()  # frames of the server hold semaphores, which would be reported as leaked
        _die_of(ended)
    return DONE


def _run_loop(work: Coroutine[Any, Any, int], *, fast: bool) -> int:
    """Run to the end, or to a signal.

    The first signal cancels the work, which removes its temporary files and ends its workers; then
    the process dies of that signal, so that a shell sees why. A second one kills at once.
    """
    first: list[tuple[int, float]] = []

    async def guarded() -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def stop(number: int) -> None:
            if not first:
                first.append((number, loop.time()))
                task.cancel()
            elif loop.time() - first[0][1] > _SAME_SIGNAL:
                _die_of(number)

        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                loop.add_signal_handler(number, stop, number)
        return await work

    loop_factory = None
    if fast and sys.platform != "win32":
        import uvloop  # small files end before it would pay

        loop_factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            code = runner.run(guarded())
    except asyncio.CancelledError:
        code = FAILED
    if first:
        _die_of(first[0][0])
    return code


def _die_of(number: int) -> None:
    """End as a program that does not handle the signal."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


class _Session:
    """One run: the tasks one after another, on one engine; the worst of them is the exit code."""

    def __init__(self, options: Options, engine: Engine, tasks: list[Task]) -> None:
        self._options, self._engine, self._tasks = options, engine, tasks
        self._course: Course | None = None
        if options.progress or (options.progress is None and not options.quiet):
            from aiocompress.cli.progress import Course  # quiet runs start sooner without it

            self._course = Course.of(tasks, options)
        on_exists: OnExists = "skip" if options.skip_existing else "error"
        self._writing: WriteOptions = {
            "on_exists": "replace" if options.force else on_exists,
            "fsync": options.fsync is not False or options.remove,
            "progress": self._course or False,
        }
        self._window: ReadOptions = {}
        self._archive: OpenOptions = {}
        if options.max_window is not None:
            self._window["max_window"] = self._archive["max_window"] = options.max_window
        if options.max_metadata is not None:
            self._archive["max_metadata"] = options.max_metadata

    async def run(self) -> int:
        """Do all tasks; returns the exit code."""
        with closing(self._course) if self._course else nullcontext():
            return await self._run()

    async def _run(self) -> int:
        codes = set()
        async with self._engine:
            for task in self._tasks:
                codes.add(await self._attempt(task))
                if (me := asyncio.current_task()) is not None and me.cancelling():
                    raise asyncio.CancelledError
        if BROKEN_PIPE in codes:
            return BROKEN_PIPE
        if FAILED in codes or codes == {_UNREADABLE}:
            return FAILED
        return DONE if codes == {DONE} else SKIPPED

    async def _attempt(self, task: Task) -> int:
        options = self._options
        try:
            if options.verb in {"list", "cat", "diff"}:
                return await self._show(task)
            try:
                report = await self._do(task)
            finally:
                if self._course:
                    self._course.end_task()
            if options.remove and not (report.skipped_count or report.changed):
                self._remove(task)
            self._tell(task, report)
            return self._code(task, report)
        except BrokenPipeError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return BROKEN_PIPE
        except _ERRORS as error:
            complain(error, verbose=options.verbose)
            cannot_open = isinstance(error, OSError) and error.filename == task.source
            return _UNREADABLE if cannot_open else FAILED

    def _code(self, task: Task, report: Report) -> int:
        """Return the exit code: files that --skip-existing leaves alone do not count."""
        if self._options.verb == "recover":
            return SKIPPED if report.skipped_count else DONE
        if report.damaged:
            return FAILED
        left_out = report.skipped_count if task.layout is not None else 0
        return SKIPPED if left_out or report.changed else DONE

    async def _show(self, task: Task) -> int:
        """List an archive, write some of its members to stdout, or tell what differs from it."""
        from aiocompress.cli.listing import cat, diff, list_members

        code = DONE

        async with (
            self._source(task) as source,
            self._stdout() as sink,
            self._engine.open_archive(source, **self._archive) as archive,
        ):
            if self._options.verb == "list":
                await list_members(archive, self._options, sink)
            elif self._options.verb == "diff":
                code = SKIPPED if await diff(archive, self._options, sink) else DONE
            else:
                await cat(archive, self._options.members, sink)
            for warning in archive.warnings:
                say(f"{shown(task.source)}: warning: {warning}")
        return code

    async def _refuse(self, task: Task) -> NoReturn:
        """Say why a result has no name: its source may be no compressed file at all.

        :raises AiocompressError: it is none.
        :raises UsageError: it may be one, and only the suffix is unknown.
        """
        try:
            async with self._engine.decompress_stream(task.source, **self._window) as stream:
                await anext(stream, None)
        except FormatError as error:
            if task.layout is None or error.hint is not None:
                raise  # `extract` reads more than this: but nothing that another tool reads
        what = "result" if task.layout is None else "folder"
        raise UsageError(f"{shown(task.source)}: unknown suffix, name the {what} with -o")

    def _remove(self, task: Task) -> None:
        """Remove a source, but only if its result is a file or a folder on the disk."""
        made = os.path.isdir if self._options.verb == "extract" else os.path.isfile
        if task.destination is None or not (is_url(task.destination) or made(task.destination)):
            raise UsageError(f"{shown(task.source)}: kept, its result is not a file")
        for source in task.roots or (task.source,):
            os.unlink(source)

    def _source(self, task: Task) -> AbstractAsyncContextManager[Any]:
        """Return what a verb reads from: the path, or stdin."""
        if task.source != STREAM:
            return nullcontext(task.source)
        return aclosing(PipeSource(0, "stdin"))

    def _destination(self, task: Task) -> AbstractAsyncContextManager[Any]:
        """Return what a verb writes to: the path, or stdout."""
        return self._stdout() if task.destination == STREAM else nullcontext(task.destination)

    def _stdout(self) -> AbstractAsyncContextManager[PipeSink]:
        sys.stdout.flush()
        return aclosing(PipeSink(1, "stdout"))

    async def _do(self, task: Task) -> Report:
        """Call the verb."""
        if task.destination == UNNAMED:
            await self._refuse(task)
        check_not_same(task)
        options, engine, size = self._options, self._engine, self._options.chunk_size
        async with self._source(task) as source, self._destination(task) as destination:
            if options.verb == "recover":
                keep = options.keep_damaged
                return await engine.recover(
                    task.source, destination, keep_damaged=keep, **self._window, **self._writing
                )
            if options.verb == "compress" and task.layout is not None:
                packing = self._packing(task)
                return await engine.compress_folder(task.roots, destination, size, **packing)
            if options.verb == "test":
                progress = self._writing["progress"]
                return await engine.test(source, progress=progress, **self._archive)
            if task.layout is not None:
                return await self._extract(source, destination)
            if options.verb == "compress":
                return await engine.compress_file(
                    source,
                    destination,
                    size,
                    codec=task.codec,
                    compression_level=options.level,
                    long_distance=options.long_distance,
                    **self._writing,
                )
            return await engine.decompress_file(
                source,
                destination,
                max_output=options.max_output,
                **self._window,
                **self._writing,
            )

    async def _extract(self, source: Any, destination: str) -> Report:
        """Restore an archive, or a tree of compressed files."""
        options, members = self._options, self._options.members or None
        how: ExtractOptions = {
            "strip_components": options.strip_components,
            "unwrap": options.output is None,
            "on_error": "skip" if options.keep_going else "raise",
            "preserve": options.preserve,
            "max_output": options.max_output,
            "max_members": options.max_members,
            "max_member_size": options.max_member_size,
            **self._writing,
        }
        if isinstance(source, PipeSource):
            async with self._engine.open_archive(source, **self._archive) as archive:
                return await archive.extract(destination, members, **how)
        return await self._engine.decompress_folder(
            source, destination, members=members, **self._archive, **how
        )

    def _packing(self, task: Task) -> PackOptions:
        options = self._options
        return {
            "layout": task.layout,
            "codec": task.codec,
            "compression_level": options.level,
            "long_distance": options.long_distance,
            "prefix": task.prefix,
            "exclude": exclusions(options),
            "reproducible": options.reproducible,
            "xattrs": options.xattrs,
            "sparse": options.sparse,
            "on_error": "raise" if options.strict else "skip",
            **self._writing,
        }

    def _tell(self, task: Task, report: Report) -> None:
        """Say how a task went: one line for people, or JSON."""
        options = self._options
        for warning in report.warnings:
            say(f"{shown(task.source)}: warning: {told(warning)}")
        if task.layout is not None:
            for skipped in report.skipped:
                say(f"skipped: {told(skipped)}")
            if report.skipped_count > len(report.skipped):
                say(f"skipped: {report.skipped_count - len(report.skipped)} more")
        if options.as_json:
            import json  # importing it takes as long as compressing a small file

            destination = None if task.destination is None else public(task.destination)
            about = {"source": public(task.source), "destination": destination}
            text = json.dumps(about | report._asdict() | {"ratio": report.ratio})
            print(text, file=sys.stderr if task.destination == STREAM else sys.stdout)
        elif report.skipped_count and task.layout is None:
            if not options.quiet:
                say(f"{shown(report.skipped[0])}: exists, skipped")
        elif options.verbose or not (options.quiet or task.destination == STREAM):
            say(summary(task, report))
