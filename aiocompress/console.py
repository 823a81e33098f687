"""Does what is planned: a loop, signals, one engine, and an exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

from .arguments import make_packing
from .engine import Engine
from .errors import AiocompressError
from .messages import complain, say, summary
from .model import OnError, OnExists, Report
from .pipes import PipeSink, PipeSource
from .plan import (
    STREAM,
    Options,
    Task,
    UsageError,
    check_descriptors,
    check_not_same,
    exclusions,
    is_large,
    plan,
    shown,
)
from .sources import TreeSource

DONE, SKIPPED, FAILED, BROKEN_PIPE = 0, 1, 2, 141
_SAME_SIGNAL: Final = 0.05
"""Seconds: `timeout` and shells may send a signal to the process and to its group."""
_UNREADABLE: Final = -1
"""A source that could not be opened: skipped, unless nothing else was done."""
_ERRORS: Final = (UsageError, AiocompressError, OSError, ValueError, MemoryError)


def run(options: Options) -> int:
    """Do what the options say; returns the exit code."""
    try:
        check_descriptors()
        tasks = plan(options)
        engine = Engine(options.num_workers or None, options.memory_limit)
        large = options.verb not in {"list", "cat"} and any(is_large(task) for task in tasks)
        if large:
            if options.verb == "extract":
                from . import archive  # noqa: F401, PLC0415 - for the workers, too
            engine.prefork()
        gc.freeze()  # what is loaded by now stays: no collection need look at it again
        return _run_loop(_Session(options, engine).run(tasks), fast=large)
    except BrokenPipeError:
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - exit code 1 would say that most went well
        complain(error, verbose=options.verbose)
        return FAILED


def _run_loop(work: Coroutine[Any, Any, int], *, fast: bool) -> int:
    """Run to the end, or to a signal: then everything is given back, and the signal obeyed."""
    received: list[int] = []
    begun: list[float] = []

    async def guarded() -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def stop(number: int) -> None:
            if received and loop.time() - begun[0] > _SAME_SIGNAL:
                _die_of(number)
            if not received:
                begun.append(loop.time())
                received.append(number)
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                loop.add_signal_handler(number, stop, number)
        return await work

    loop_factory = None
    if fast and sys.platform != "win32":
        import uvloop  # noqa: PLC0415 - not for small files

        loop_factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            code = runner.run(guarded())
    except asyncio.CancelledError:
        code = FAILED
    if received:
        _die_of(received[0])
    return code


def _die_of(number: int) -> None:
    """End as a program without handlers does, so that shells see why."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


class _Session:
    """One run: an engine, the tasks one after another, and the worst that happened."""

    def __init__(self, options: Options, engine: Engine) -> None:
        self._options, self._engine = options, engine
        self._progress = not options.quiet and options.progress is not False

    async def run(self, tasks: list[Task]) -> int:
        """Do all tasks; returns the exit code."""
        codes = set()
        async with self._engine:
            for task in tasks:
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
            if options.verb in {"list", "cat"}:
                await self._show(task)
                return DONE
            report = await self._do(task)
            if options.remove and not report.skipped_count:
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
        """Return the exit code: what was left out on request does not count."""
        if self._options.verb == "recover":
            return SKIPPED if report.skipped_count else DONE
        if report.damaged:
            return FAILED
        left_out = report.skipped_count if task.layout is not None else 0
        return SKIPPED if left_out or report.changed else DONE

    async def _show(self, task: Task) -> None:
        """List an archive, or write some of its members to stdout."""
        from .listing import cat, list_members  # noqa: PLC0415 - files do without

        async with AsyncExitStack() as stack:
            source = await self._open(task.source, stack)
            opened = self._engine.open_archive(source, max_metadata=self._options.max_metadata)
            archive = await stack.enter_async_context(opened)
            if self._options.verb == "list":
                await list_members(archive, self._options)
            else:
                await cat(archive, self._options.members, self._stdout(stack))
            for warning in archive.warnings:
                say(f"{shown(task.source)}: warning: {warning}")

    def _remove(self, task: Task) -> None:
        """Remove a source whose result is a file on the disk, and nothing else."""
        if task.destination is None or not os.path.isfile(task.destination):
            raise UsageError(f"{shown(task.source)}: kept, its result is not a file")
        os.unlink(task.source)

    async def _do(self, task: Task) -> Report:
        check_not_same(task)
        async with AsyncExitStack() as stack:
            if task.layout is not None and task.destination != STREAM:
                return await self._do_tree(task, stack)
            return await self._do_file(task, stack)

    async def _open(self, source: str, stack: AsyncExitStack) -> Any:
        """Return what the verbs read from: the path, or stdin."""
        if source != STREAM:
            return source
        pipe = PipeSource(0, "stdin")
        stack.push_async_callback(pipe.aclose)
        return pipe

    def _stdout(self, stack: AsyncExitStack) -> PipeSink:
        """Return what writes to stdout."""
        sys.stdout.flush()
        sink = PipeSink(1, "stdout")
        stack.push_async_callback(sink.aclose)
        return sink

    async def _do_tree(self, task: Task, stack: AsyncExitStack) -> Report:
        """Compress folders, or give them back."""
        options, engine = self._options, self._engine
        assert task.destination is not None
        if options.verb == "compress":
            return await engine.compress_folder(
                task.roots,
                task.destination,
                options.chunk_size,
                layout=task.layout,
                codec=task.codec,
                compression_level=options.level,
                prefix=options.prefix,
                exclude=exclusions(options),
                reproducible=options.reproducible,
                xattrs=options.xattrs,
                on_error="raise" if options.strict else "skip",
                on_exists=self._on_exists,
                fsync=options.fsync or options.remove,
                progress=self._progress,
            )
        if options.verb == "recover":
            return await engine.recover(
                task.source,
                task.destination,
                keep_damaged=options.keep_damaged,
                on_exists=self._on_exists,
                fsync=options.fsync,
                progress=self._progress,
            )
        on_error: OnError = "skip" if options.keep_going else "raise"
        if task.source == STREAM:
            archive = engine.open_archive(
                await self._open(STREAM, stack),
                max_window=options.max_window,
                max_metadata=options.max_metadata,
            )
            await stack.enter_async_context(archive)
            return await archive.extract(
                task.destination,
                options.members or None,
                on_exists=self._on_exists,
                on_error=on_error,
                preserve=options.preserve,
                max_output=options.max_output,
                max_members=options.max_members,
                max_member_size=options.max_member_size,
                fsync=options.fsync,
                progress=self._progress,
            )
        return await engine.decompress_folder(
            task.source,
            task.destination,
            members=options.members or None,
            on_error=on_error,
            preserve=options.preserve,
            max_output=options.max_output,
            max_members=options.max_members,
            max_member_size=options.max_member_size,
            max_metadata=options.max_metadata,
            max_window=options.max_window,
            on_exists=self._on_exists,
            fsync=options.fsync or options.remove,
            progress=self._progress,
        )

    @property
    def _on_exists(self) -> OnExists:
        if self._options.force:
            return "replace"
        return "skip" if self._options.skip_existing else "error"

    async def _do_file(self, task: Task, stack: AsyncExitStack) -> Report:
        """Compress or decompress a file or a stream into one."""
        options, engine = self._options, self._engine
        source = await self._open(task.source, stack)
        if task.layout is not None:
            source = self._tree(task)
        if task.destination is None:
            return await engine.test(
                source,
                max_window=options.max_window,
                max_metadata=options.max_metadata,
                progress=self._progress,
            )
        # What is not for everybody: the pipe itself, and a tree as a stream.
        destination: Any = task.destination
        if destination == STREAM:
            destination = self._stdout(stack)
        fsync = options.fsync or options.remove
        if options.verb == "compress":
            return await engine.compress_file(
                source,
                destination,
                options.chunk_size,
                codec=task.codec or ("zstd" if task.destination == STREAM else None),
                compression_level=options.level,
                on_exists=self._on_exists,
                fsync=fsync,
                progress=self._progress,
            )
        return await engine.decompress_file(
            source,
            destination,
            max_output=options.max_output,
            max_window=options.max_window,
            on_exists=self._on_exists,
            fsync=fsync,
            progress=self._progress,
        )

    def _tree(self, task: Task) -> TreeSource:
        """Return folders as a tar, to be compressed to stdout."""
        from .folders import roots_of  # noqa: PLC0415

        options = self._options
        packing = make_packing(
            options.prefix,
            exclusions(options),
            reproducible=options.reproducible,
            xattrs=options.xattrs,
            on_error="raise" if options.strict else "skip",
        )
        return TreeSource(packing._replace(roots=roots_of(task.roots)))

    def _tell(self, task: Task, report: Report) -> None:
        """Say how it went: a line for people, or JSON."""
        options = self._options
        for warning in report.warnings:
            say(f"{shown(task.source)}: warning: {shown(warning)}")
        if task.layout is not None:
            for skipped in report.skipped:
                say(f"skipped: {shown(skipped)}")
            if report.skipped_count > len(report.skipped):
                say(f"skipped: {report.skipped_count - len(report.skipped)} more")
        if options.as_json:
            import json  # noqa: PLC0415 - costs what a small file does

            about = {"source": task.source, "destination": task.destination}
            text = json.dumps(about | report._asdict() | {"ratio": report.ratio})
            print(text, file=sys.stderr if task.destination == STREAM else sys.stdout)
        elif report.skipped_count and task.layout is None:
            if not options.quiet:
                say(f"{shown(report.skipped[0])}: exists, skipped")
        elif options.verbose or not (options.quiet or task.destination == STREAM):
            say(summary(task, report))
