"""Does what is planned: a loop, signals, one engine, and an exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, TypedDict

from aiocompress.api.engine import Engine
from aiocompress.api.functions import ExtractOptions, PackOptions, WriteOptions
from aiocompress.api.stream import PipeSink, PipeSource
from aiocompress.cli.messages import complain, say, summary
from aiocompress.cli.plan import (
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
from aiocompress.errors import AiocompressError
from aiocompress.model import OnExists, Report

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
        _check_arguments(engine, tasks[0], options)
        large = options.verb not in {"list", "cat"} and any(is_large(task) for task in tasks)
        if large:
            if options.verb == "extract":
                pass
            engine.prefork()
        gc.freeze()  # what is loaded by now stays: no collection need look at it again
        return _run_loop(_Session(options, engine).run(tasks), fast=large)
    except BrokenPipeError:
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - exit code 1 would say that most went well
        complain(error, verbose=options.verbose)
        return FAILED


def _check_arguments(engine: Engine, task: Task, options: Options) -> None:
    """Complain about a bad level or size once, and before any source is opened."""
    level, size = options.level, options.chunk_size
    codec = task.codec or "zstd"
    engine.compress_stream(b"", codec=codec, compression_level=level, chunk_size=size)


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
        import uvloop  # not for small files

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


class _Limits(TypedDict):
    """What ``open_archive`` and ``decompress_folder`` both hold archives to."""

    max_window: str
    max_metadata: str


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
        from aiocompress.cli.listing import cat, list_members

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
            return await self._call(task, stack)

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

    async def _call(self, task: Task, stack: AsyncExitStack) -> Report:
        """Call the verb."""
        options, engine = self._options, self._engine
        destination: Any = task.destination
        if destination == STREAM:
            destination = self._stdout(stack)
        if options.verb == "compress" and task.layout is not None:
            packing = self._packing(task)
            return await engine.compress_folder(
                task.roots, destination, options.chunk_size, **packing
            )
        if options.verb == "recover":
            keep = options.keep_damaged
            return await engine.recover(
                task.source, destination, keep_damaged=keep, **self._writing
            )
        if (options.verb == "decompress" and task.layout is not None) or options.verb == "extract":
            return await self._extract(task, stack)
        source = await self._open(task.source, stack)
        if options.verb == "compress":
            return await engine.compress_file(
                source,
                destination,
                options.chunk_size,
                codec=task.codec,
                compression_level=options.level,
                **self._writing,
            )
        if options.verb == "decompress":
            return await engine.decompress_file(
                source,
                destination,
                max_output=options.max_output,
                max_window=options.max_window,
                **self._writing,
            )
        return await engine.test(
            source,
            max_window=options.max_window,
            max_metadata=options.max_metadata,
            progress=self._progress,
        )

    async def _extract(self, task: Task, stack: AsyncExitStack) -> Report:
        """Restore an archive, or a tree of compressed files."""
        options, members = self._options, self._options.members or None
        limits: _Limits = {
            "max_window": options.max_window,
            "max_metadata": options.max_metadata,
        }
        how: ExtractOptions = {
            "on_error": "skip" if options.keep_going else "raise",
            "preserve": options.preserve,
            "max_output": options.max_output,
            "max_members": options.max_members,
            "max_member_size": options.max_member_size,
            **self._writing,
        }
        assert task.destination is not None
        if task.source == STREAM:
            source = await self._open(STREAM, stack)
            archive = await stack.enter_async_context(self._engine.open_archive(source, **limits))
            return await archive.extract(task.destination, members, **how)
        return await self._engine.decompress_folder(
            task.source, task.destination, members=members, **limits, **how
        )

    @property
    def _writing(self) -> WriteOptions:
        options = self._options
        on_exists: OnExists = "skip" if options.skip_existing else "error"
        return {
            "on_exists": "replace" if options.force else on_exists,
            "fsync": options.fsync or options.remove,
            "progress": self._progress,
        }

    def _packing(self, task: Task) -> PackOptions:
        options = self._options
        return {
            "layout": task.layout,
            "codec": task.codec,
            "compression_level": options.level,
            "prefix": options.prefix,
            "exclude": exclusions(options),
            "reproducible": options.reproducible,
            "xattrs": options.xattrs,
            "on_error": "raise" if options.strict else "skip",
            **self._writing,
        }

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
            import json  # costs what a small file does

            about = {"source": task.source, "destination": task.destination}
            text = json.dumps(about | report._asdict() | {"ratio": report.ratio})
            print(text, file=sys.stderr if task.destination == STREAM else sys.stdout)
        elif report.skipped_count and task.layout is None:
            if not options.quiet:
                say(f"{shown(report.skipped[0])}: exists, skipped")
        elif options.verbose or not (options.quiet or task.destination == STREAM):
            say(summary(task, report))
