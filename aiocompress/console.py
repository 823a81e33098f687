"""What the command line does: plan the work, run it under signals, say how it went."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import stat
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, Literal, NamedTuple

from .arguments import codec_for, make_recipe
from .codecs import CODECS
from .engine import Engine
from .errors import AiocompressError
from .model import OnExists, Progress, Report, parse_size
from .pipes import PipeSink, PipeSource
from .progress import Meter
from .streams import ByteStream
from .version import __version__

DONE, SKIPPED, FAILED, BROKEN_PIPE = 0, 1, 2, 141
STREAM: Final = "-"
_TARS: Final = {".tzst": ".tar", ".tgz": ".tar"}
_SMALL: Final = 1 << 20
_closed: set[int] = set()


class UsageError(Exception):
    """Flags or arguments that do not go together."""


_ERRORS: Final = (UsageError, AiocompressError, OSError, ValueError, MemoryError)


class Options(NamedTuple):
    """The flags, as they were given."""

    verb: Literal["compress", "decompress", "test"]
    sources: tuple[str, ...]
    num_workers: int
    memory_limit: str | None
    progress: bool | None
    quiet: bool
    verbose: bool
    as_json: bool
    max_output: str | None
    max_window: str
    output: str | None = None
    stdout: bool = False
    force: bool = False
    skip_existing: bool = False
    remove: bool = False
    fsync: bool = True
    level: int | None = None
    codec: str | None = None
    chunk_size: str | None = None


class Task(NamedTuple):
    """One source and where it goes; ``STREAM`` is stdin or stdout, None: nowhere."""

    source: str
    destination: str | None
    codec: str | None = None


# Once, after parsing: what is to be done.


def plan(options: Options) -> list[Task]:
    """Work out what goes where.

    :raises UsageError: that cannot be said, or makes no sense.
    """
    sources = options.sources or (STREAM,)
    if STREAM in sources:
        _check_stdin()
        if options.remove:
            raise UsageError("--rm cannot remove stdin")
    if options.force and options.skip_existing:
        raise UsageError("-f and --skip-existing exclude each other")
    if options.stdout and options.output not in {None, STREAM}:
        raise UsageError("-c and -o exclude each other")
    folder = options.output if options.output and os.path.isdir(options.output) else None
    if len(sources) > 1 and options.output not in {None, STREAM} and folder is None:
        raise UsageError("-o must be a folder for several sources")
    try:
        tasks = [_task(options, source, folder) for source in sources]
        make_recipe(tasks[0].codec or "zstd", options.level, options.chunk_size)
        for size in (options.memory_limit, options.max_output, options.max_window):
            parse_size(size or 1)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if any(task.destination == STREAM for task in tasks):
        _check_stdout(options)
    return tasks


def _task(options: Options, source: str, folder: str | None) -> Task:
    if options.verb == "test":
        return Task(source, None)
    destination = STREAM if options.stdout else options.output
    if destination is None and source == STREAM:
        destination = STREAM
    if destination is None or folder is not None:
        if source == STREAM:
            raise UsageError("name the file for stdin with -o")
        destination = os.path.join(
            folder or os.path.dirname(source), os.path.basename(_result_name(options, source))
        )
    return Task(source, destination, _codec(options, destination))


def _result_name(options: Options, source: str) -> str:
    """Name the result after the source, by its suffix."""
    if options.verb == "compress":
        return source + CODECS[options.codec or "zstd"].suffixes[0]
    base, suffix = os.path.splitext(source)
    known = {suffix for codec in CODECS.values() for suffix in codec.suffixes}
    if suffix.lower() in _TARS:
        return base + _TARS[suffix.lower()]
    if suffix.lower() in known and base:
        return base
    raise UsageError(f"{source}: unknown suffix, name the result with -o")


def _codec(options: Options, destination: str) -> str | None:
    if options.verb != "compress":
        return None
    if options.codec is not None:
        return options.codec
    return "zstd" if destination == STREAM else codec_for(destination)


def _check_stdin() -> None:
    if 0 in _closed:
        raise UsageError("stdin is closed: name a SOURCE")
    if os.isatty(0):
        raise UsageError("stdin is a terminal: name a SOURCE, or pipe data in")


def _check_stdout(options: Options) -> None:
    if 1 in _closed:
        raise UsageError("stdout is closed: name a file with -o")
    if options.verb == "compress" and os.isatty(1):
        raise UsageError("compressed data is not for a terminal: name a file with -o")
    if options.remove:
        raise UsageError("--rm needs a file as output")


def hold_standard_descriptors() -> None:
    """Keep closed stdin, stdout and stderr from becoming some file that is opened later."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            _closed.add(descriptor)
            os.open(os.devnull, os.O_RDWR)
            name = ("stdin", "stdout", "stderr")[descriptor]
            mode = "w" if descriptor else "r"
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115


def _check_not_same(task: Task) -> None:
    if task.destination is None:
        return
    sides = []
    for side, standard in ((task.source, 0), (task.destination, 1)):
        try:
            sides.append(os.fstat(standard) if side == STREAM else os.stat(side))
        except OSError:
            return
    if stat.S_ISREG(sides[0].st_mode) and os.path.samestat(*sides):
        raise UsageError(f"{_shown(task.source)}: source and destination are the same file")


# Doing it: a loop, signals, and an exit code.


def run(options: Options) -> int:
    """Do what the options say; returns the exit code."""
    try:
        tasks = plan(options)
        engine = Engine(options.num_workers or None, options.memory_limit)
        large = any(_is_large(task) for task in tasks)
        if large:
            engine.prefork()
        gc.freeze()  # what is loaded by now stays: no collection need look at it again
        return _run_loop(_Session(options, engine).run(tasks), fast=large)
    except BrokenPipeError:
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - exit code 1 would say that most went well
        complain(error, verbose=options.verbose)
        return FAILED


def _is_large(task: Task) -> bool:
    """Whether worker processes are worth their start; of a pipe nobody knows."""
    if task.source == STREAM:
        return True
    with suppress(OSError):
        status = os.stat(task.source)
        return not stat.S_ISREG(status.st_mode) or status.st_size > _SMALL
    return False


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
            raise UsageError(f"{_shown(task.source)}: kept, its result is not a file")
        os.unlink(task.source)

    async def _do(self, task: Task) -> Report:
        _check_not_same(task)
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
            _say(f"{_shown(task.source)}: warning: {warning}")
        if options.as_json:
            import json  # noqa: PLC0415 - costs what a small file does

            about = {"source": task.source, "destination": task.destination}
            text = json.dumps(about | report._asdict() | {"ratio": report.ratio})
            print(text, file=sys.stderr if task.destination == STREAM else sys.stdout)
        elif report.skipped_count:
            if not options.quiet:
                _say(f"{_shown(report.skipped[0])}: exists, skipped")
        elif options.verbose or not (options.quiet or task.destination == STREAM):
            _say(_summary(task, report))


# What is said.


def _summary(task: Task, report: Report) -> str:
    arrow = {None: ": whole", STREAM: " to stdout"}.get(
        task.destination, f" to {_shown(task.destination or '')}"
    )
    rate = report.raw_bytes / report.seconds if report.seconds else 0
    return (
        f"{_shown(task.source)}{arrow}: {_size(report.raw_bytes)} raw, "
        f"{_size(report.compressed_bytes)} compressed, ratio {report.ratio:.2f}, {_size(rate)}/s"
    )


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def _shown(name: str) -> str:
    """Return a name on one line, whatever is in it."""
    if name == STREAM:
        return "stdin"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _say(text: str) -> None:
    if 2 not in _closed:
        with suppress(OSError):
            print(f"aiocompress: {text}", file=sys.stderr, flush=True)


def complain(error: BaseException, *, verbose: bool) -> None:
    """Say an error on one line; with versions and traceback where asked to."""
    if isinstance(error, OSError) and error.strerror:
        name = error.filename if isinstance(error.filename, str) else None
        text = f"{name}: {error.strerror}" if name else error.strerror
    else:
        text = str(error) or type(error).__name__
    _say(_shown(text))
    if verbose:
        import traceback  # noqa: PLC0415 - asyncio has it, small runs may not

        _say(versions())
        traceback.print_exception(error)


def versions() -> str:
    """Return the versions of this program and of what it is built on, on one line."""
    import platform  # noqa: PLC0415
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    import zstandard  # noqa: PLC0415

    parts = [f"aiocompress {__version__}", f"Python {platform.python_version()}"]
    for package in ("zstandard", "deflate", "isal", "uvloop"):
        with suppress(PackageNotFoundError):
            parts.append(f"{package} {version(package)}")
    parts.insert(3, "libzstd " + ".".join(map(str, zstandard.ZSTD_VERSION)))
    return ", ".join(parts)
