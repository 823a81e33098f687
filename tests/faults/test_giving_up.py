"""Cancellation at every await, timeouts, and pipes that are stuck."""

# They look at files, and wait for what has no event:
# ruff: noqa: ASYNC110, ASYNC240, FBT001, PT012

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import aiocompress
from aiocompress import Engine

from ..help.data import noise, text
from ..help.programs import alive, descriptors, workers
from .waiting import KIB, MIB, TEXT, At, pieces


async def _stream(engine: Engine, source: Any, destination: Path, **options: Any) -> None:
    options = options or {"chunk_size": "64K"}
    async with engine.compress_stream(source, **options) as stream:
        async for data in stream:
            destination.write_bytes(data)
    destination.unlink()


VERBS: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
    "compress_file": lambda engine, raw, _, out: engine.compress_file(raw, out, "64K"),
    "decompress_file": lambda engine, _, packed, out: engine.decompress_file(packed, out),
    "test": lambda engine, _, packed, __: engine.test(packed),
    "stream": lambda engine, raw, _, out: _stream(engine, raw, out),
    "stream of a pipe": lambda engine, raw, _, out: _stream(engine, pieces(raw.read_bytes()), out),
    "stream of plain items": lambda engine, raw, _, out: _stream(
        engine, [raw.read_bytes()[:70_000]] * 5, out
    ),
    "single stream": lambda engine, raw, _, out: _stream(
        engine, [raw, raw.parent / "packed.zst"], out, single=True
    ),
    "stream in time": lambda engine, raw, _, out: _stream(
        engine, pieces(raw.read_bytes(), 70_000), out, single=True, flush_after=0
    ),
}


@pytest.mark.parametrize("late", [False, True], ids=["waiting", "when it is done"])
@pytest.mark.parametrize(
    ("verb", "temporary"),
    [
        *((verb, "unnamed") for verb in VERBS),
        *((verb, "named") for verb in ("compress_file", "decompress_file")),
    ],
)
async def test_cancelled_at_every_await(
    verb: str,
    late: bool,
    temporary: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CancelledError goes out; no task, descriptor, slot or temporary is left; all goes on."""
    if temporary == "named":
        monkeypatch.delattr(os, "O_TMPFILE")
    raw, packed, folder = tmp_path / "raw", tmp_path / "packed.zst", tmp_path / "out"
    raw.write_bytes(text(200 * KIB))
    folder.mkdir()
    out = folder / "out.zst"
    async with Engine(2, executor="thread") as engine:
        await engine.compress_file(raw, packed, "64K")
        await VERBS[verb](engine, raw, packed, out)
        out.unlink(missing_ok=True)
        tasks, before = asyncio.all_tasks(), descriptors()
        k, cancelled = 1, True
        while cancelled:
            work = At(VERBS[verb](engine, raw, packed, out), k, late)
            task = asyncio.get_running_loop().create_task(work)
            await asyncio.wait([task])
            cancelled = task.cancelled()
            assert cancelled or task.exception() is None
            until_done = engine.statistics
            while until_done().slots_in_use:
                await asyncio.sleep(0)
            assert asyncio.all_tasks() == tasks, k
            assert descriptors() == before, k
            # Late in the last step the file is whole already.
            assert set(os.listdir(folder)) <= ({out.name} if out.exists() else set()), k
            if out.exists():
                out.unlink()
            k += 1
            assert k < 1000
        assert k > 3
        assert await engine.decompress(await engine.compress(TEXT)) == TEXT
        assert engine.statistics().memory_in_use == 0


async def test_timeouts(big: Path, tmp_path: Path) -> None:
    """A verb that takes too long ends soon after its timeout; other streams do not notice."""
    out = tmp_path / "out"
    out.mkdir()
    async with Engine(2) as engine:
        other = asyncio.create_task(engine.compress(TEXT, compression_level=9))
        for seconds in (0.01, 0.1, 0.5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(seconds):
                    await engine.compress_file(big, out / "a.zst", "1M", compression_level=19)
            assert not os.listdir(out)
        assert await engine.decompress(await other) == TEXT
    assert not alive(workers(os.getpid()), 1)


async def test_a_sibling_task_fails(big: Path, tmp_path: Path) -> None:
    """A task group that is torn down takes its streams with it."""

    async def fail() -> None:
        await asyncio.sleep(0.1)
        raise KeyError("sibling")

    with pytest.raises(ExceptionGroup) as caught:
        async with Engine(2) as engine, asyncio.TaskGroup() as group:
            for number in range(3):
                path = tmp_path / f"{number}.zst"
                group.create_task(engine.compress_file(big, path, "1M", compression_level=19))
            group.create_task(fail())
    assert [type(error) for error in caught.value.exceptions] == [KeyError]
    assert os.listdir(tmp_path) == ["big"]


@pytest.mark.parametrize("executor", ["process", "thread"])
async def test_closed_while_it_works(executor: Any, big: Path, tmp_path: Path) -> None:
    """An engine that is closed ends what runs on it with ClosedError, and leaves nothing."""
    out = tmp_path / "out"
    out.mkdir()
    engine = Engine(2, executor=executor)
    work = [
        asyncio.create_task(engine.compress_file(big, out / "a.zst", "1M", compression_level=19)),
        asyncio.create_task(engine.compress_file(_stuck(), out / "b.zst", "1M")),
    ]
    while not engine.statistics().slots_in_use:
        await asyncio.sleep(0.01)
    await engine.aclose()
    work[1].cancel()
    ended = await asyncio.wait_for(asyncio.gather(*work, return_exceptions=True), 10)
    assert isinstance(ended[0], aiocompress.ClosedError), ended
    assert isinstance(ended[1], asyncio.CancelledError | aiocompress.ClosedError), ended
    assert not os.listdir(out)


async def _stuck() -> AsyncIterator[bytes]:
    yield noise(100)
    await asyncio.sleep(3600)


@pytest.mark.parametrize("side", ["source", "destination"])
async def test_a_pipe_without_another_side_can_be_given_up(side: str, tmp_path: Path) -> None:
    """A named pipe that nobody else opens does not hang a cancelled verb."""
    fifo, file = tmp_path / "fifo.zst", tmp_path / "file.zst"
    os.mkfifo(fifo)
    pair = (fifo, file) if side == "source" else (_source(file), fifo)
    async with Engine(1, executor="thread") as engine:
        task = asyncio.create_task(engine.compress_file(*pair))
        await asyncio.sleep(0.1)
        task.cancel()
        ended, _ = await asyncio.wait([task], timeout=1)
        if not ended:  # let it go
            os.close(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))
            await asyncio.wait([task])
        assert ended, "it hung"


def _source(path: Path) -> Path:
    path.write_bytes(noise(MIB))
    return path


@contextmanager
def _stuck_reader(fifo: Path) -> Iterator[None]:
    """Open a named pipe for reading, and never read."""
    os.mkfifo(fifo)
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield
    finally:
        os.close(descriptor)


async def test_a_stuck_pipe_as_destination_stops_nobody_else(tmp_path: Path) -> None:
    """No slot waits for the outside: others finish; and it ends when it is cancelled."""
    fifo, source = tmp_path / "fifo", _source(tmp_path / "source")
    async with Engine(2, executor="thread") as engine:
        with _stuck_reader(fifo):
            stuck = asyncio.create_task(engine.compress_file(source, fifo, "64K", codec="zstd"))
            await asyncio.sleep(0.2)
            other = asyncio.create_task(engine.compress_file(source, tmp_path / "b.zst", "64K"))
            finished, _ = await asyncio.wait([other], timeout=3)
            stuck.cancel()
            ended, _ = await asyncio.wait([stuck], timeout=3)
        await asyncio.wait([stuck, other])
        assert (bool(finished), bool(ended)) == (True, True)
