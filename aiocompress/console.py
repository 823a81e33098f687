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

from .engine import Engine
from .errors import AiocompressError
from .messages import complain, say, summary
from .model import OnExists, Progress, Report
from .pipes import PipeSink, PipeSource
from .plan import STREAM, Options, Task, UsageError, check_not_same, is_large, plan, shown
from .progress import Meter
from .streams import ByteStream

DONE, SKIPPED, FAILED, BROKEN_PIPE = 0, 1, 2, 141
_ERRORS: Final = (UsageError, AiocompressError, OSError, ValueError, MemoryError)


def run(options: Options) -> int:
    """Do what the options say; returns the exit code."""
    try:
        tasks = plan(options)
        engine = Engine(options.num_workers or None, options.memory_limit)
        large = any(is_large(task) for task in tasks)
        if large:
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

    async def guarded() -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def stop(number: int) -> None:
            if received:
                _die_of(number)
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
        if codes == {DONE}:
            return DONE
        if BROKEN_PIPE in codes:
            return BROKEN_PIPE
        return SKIPPED if codes <= {DONE, SKIPPED} and DONE in codes else FAILED

    async def _attempt(self, task: Task) -> int:
        options = self._options
        try:
            report = await self._do(task)
            if options.remove and not report.skipped_count:
                self._remove(task)
            self._tell(task, report)
        except BrokenPipeError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return BROKEN_PIPE
        except _ERRORS as error:
            complain(error, verbose=options.verbose)
            cannot_open = isinstance(error, OSError) and error.filename == task.source
            return SKIPPED if cannot_open else FAILED
        return DONE

    def _remove(self, task: Task) -> None:
        """Remove a source whose result is a file on the disk, and nothing else."""
        if task.destination is None or not os.path.isfile(task.destination):
            raise UsageError(f"{shown(task.source)}: kept, its result is not a file")
        os.unlink(task.source)

    async def _do(self, task: Task) -> Report:
        check_not_same(task)
        async with AsyncExitStack() as stack:
            source = await self._open(task.source, stack)
            if task.destination is None:
                return await self._engine.test(
                    source, max_window=self._options.max_window, progress=self._progress
                )
            if task.destination == STREAM:
                return await self._to_stdout(task, source, stack)
            return await self._to_file(task, source)

    async def _open(self, source: str, stack: AsyncExitStack) -> Any:
        """Return what the verbs read from: the path, or stdin."""
        if source != STREAM:
            return source
        pipe = PipeSource(0, "stdin")
        stack.push_async_callback(pipe.aclose)
        return pipe

    async def _to_file(self, task: Task, source: Any) -> Report:
        options, engine = self._options, self._engine
        assert task.destination is not None
        skip: OnExists = "skip" if options.skip_existing else "error"
        on_exists: OnExists = "replace" if options.force else skip
        fsync = options.fsync or options.remove
        if options.verb == "compress":
            return await engine.compress_file(
                source,
                task.destination,
                options.chunk_size,
                codec=task.codec,
                compression_level=options.level,
                on_exists=on_exists,
                fsync=fsync,
                progress=self._progress,
            )
        return await engine.decompress_file(
            source,
            task.destination,
            max_output=options.max_output,
            max_window=options.max_window,
            on_exists=on_exists,
            fsync=fsync,
            progress=self._progress,
        )

    async def _to_stdout(self, task: Task, source: Any, stack: AsyncExitStack) -> Report:
        options, engine = self._options, self._engine
        if options.verb == "compress":
            stream = engine.compress_stream(
                source,
                codec=task.codec or "zstd",
                compression_level=options.level,
                chunk_size=options.chunk_size,
            )
        else:
            stream = engine.decompress_stream(
                source, max_output=options.max_output, max_window=options.max_window
            )
        sink = PipeSink(1, "stdout")
        stack.push_async_callback(sink.aclose)
        await stack.enter_async_context(stream)
        meter = stack.enter_context(self._meter(stream, task))
        async for data in stream:
            try:
                await sink.write(data)
            except BrokenPipeError:
                raise
            except OSError as error:
                raise OSError(error.errno, error.strerror, sink.name) from None
            meter.update()
        return stream.report

    def _meter(self, stream: ByteStream, task: Task) -> Meter:
        total = None if task.source == STREAM else os.stat(task.source).st_size
        back = self._options.verb != "compress"

        def measure() -> Progress:
            report = stream.report
            done = report.compressed_bytes if back else report.raw_bytes
            return Progress(report.raw_bytes, report.compressed_bytes, done, total)

        return Meter(self._progress, measure, f"{self._options.verb}ing")

    def _tell(self, task: Task, report: Report) -> None:
        """Say how it went: a line for people, or JSON."""
        options = self._options
        for warning in report.warnings:
            say(f"{shown(task.source)}: warning: {warning}")
        if options.as_json:
            import json  # noqa: PLC0415 - costs what a small file does

            about = {"source": task.source, "destination": task.destination}
            text = json.dumps(about | report._asdict() | {"ratio": report.ratio})
            print(text, file=sys.stderr if task.destination == STREAM else sys.stdout)
        elif report.skipped_count:
            if not options.quiet:
                say(f"{shown(report.skipped[0])}: exists, skipped")
        elif options.verbose or not (options.quiet or task.destination == STREAM):
            say(summary(task, report))
