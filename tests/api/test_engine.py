"""The engine: round trips, what it tells, where it may be used, and its arguments."""

# They look at files, and wait for what has no event:
# ruff: noqa: ASYNC240, FBT001, PT031

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aiocompress
from aiocompress import AiocompressError, ClosedError, Engine, EngineStatistics, Progress, Report

from ..help.data import text
from ..help.engines import given_back
from ..help.tools import run, tool
from .sample import CHUNK, KIB, MIB, TEXT, all_of, pieces

# Round trips.


levels = st.tuples(st.just("zstd"), st.none() | st.integers(-7, 12)) | st.tuples(
    st.just("gzip"), st.none() | st.integers(0, 12)
)
borders = st.builds(
    lambda chunk, times, more: (chunk, max(0, chunk * times + more)),
    st.sampled_from([1, 100, 4 * KIB, CHUNK]),
    st.integers(0, 4),
    st.integers(-2, 2),
)


@settings(max_examples=60, deadline=None)
@given(recipe=levels, border=borders, seed=st.integers(0, 3))
def test_round_trips(recipe: tuple[str, int | None], border: tuple[int, int], seed: int) -> None:
    """Every codec and level, with data that ends at, before and behind the border of a chunk."""
    (codec, level), (chunk, size) = recipe, border
    data = text(size + 4, seed)[:size]

    async def there_and_back() -> None:
        async with Engine(2, "1MiB", executor="thread") as engine:
            options: Any = {"codec": codec, "compression_level": level, "chunk_size": chunk}
            packed = await all_of(engine.compress_stream(data, **options))
            assert await engine.decompress(packed) == data
            assert await all_of(engine.decompress_stream(pieces(packed, 7001))) == data
            report = await engine.test(packed)
            assert (report.raw_bytes, report.compressed_bytes) == (size, len(packed))
            # An empty member ends a .gz, unless one small member is all of it.
            bare = size < chunk and size <= 64 * KIB
            assert report.frames == max(1, -(-size // chunk)) + (codec == "gzip" and not bare)

    asyncio.run(there_and_back())


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
async def test_the_same_bytes_whoever_works(codec: str, tmp_path: Path) -> None:
    """Numbers of workers, executors, memory limits and kinds of source change nothing."""
    source = tmp_path / "source"
    source.write_bytes(TEXT)
    results = set()
    with ThreadPoolExecutor(2) as own:
        engines = (
            Engine(1),
            Engine(2),
            Engine(5, "512KiB"),
            Engine(1, executor="thread"),
            Engine(5, 2 * (CHUNK + 4 * KIB), executor="thread"),
            Engine(3, executor=own),
        )
        for number, engine in enumerate(engines):
            async with engine:
                path = tmp_path / f"{number}"
                await engine.compress_file(source, path, CHUNK, codec=codec)
                results.add(path.read_bytes())
                for given_as in (source, TEXT, pieces(TEXT)):
                    stream = engine.compress_stream(given_as, codec=codec, chunk_size=CHUNK)
                    results.add(await all_of(stream))
                await engine.decompress_file(path, tmp_path / "back", on_exists="replace")
                assert (tmp_path / "back").read_bytes() == TEXT
                assert await engine.decompress(path.read_bytes()) == TEXT
    assert len(results) == 1
    assert run(tool("zstd" if codec == "zstd" else "gzip"), "-dc", data=results.pop()) == TEXT


async def test_module_functions(tmp_path: Path) -> None:
    """The verbs without an engine; a chunk size third, and workers fourth."""
    source, packed, back = (str(tmp_path / name) for name in ("a", "a.gz", "b"))
    Path(source).write_bytes(TEXT)
    report = await aiocompress.compress_file(source, packed, CHUNK, 2)
    assert report.frames == 25
    assert (await aiocompress.decompress_file(packed, back, 1000, 2)).raw_bytes == len(TEXT)
    assert Path(back).read_bytes() == TEXT
    assert (
        await aiocompress.test(packed, num_workers=1)
    ).frames == 25 + 1  # an empty member ends a .gz
    small = await aiocompress.compress(TEXT, codec="gzip", compression_level=1)
    assert await aiocompress.decompress(small, max_output=len(TEXT)) == TEXT
    stream = aiocompress.compress_stream(TEXT, chunk_size="16KiB", num_workers=2)
    assert await all_of(aiocompress.decompress_stream(stream, num_workers=1)) == TEXT


# What it says.


async def test_statistics() -> None:
    """They count what is in flight and what went through."""
    async with Engine(2, "1MiB", executor="thread") as engine:
        assert engine.statistics() == EngineStatistics(2, 0, 0, 4, 0, 0, MIB, 0, 0, 0)
        packed = await all_of(engine.compress_stream(TEXT, chunk_size=CHUNK))
        after = engine.statistics()
        assert (after.raw_bytes, after.compressed_bytes) == (len(TEXT), len(packed))
        assert after.slots_in_use == after.memory_in_use == after.chunks_redone == 0
        assert 0 < after.slots_peak <= after.slots_total == 4
        assert 0 < after.memory_peak <= after.memory_limit == MIB


async def test_a_report(tmp_path: Path) -> None:
    """Its fields are what happened; a skipped file is named."""
    source, packed = tmp_path / "a", tmp_path / "a.zst"
    source.write_bytes(TEXT)
    async with Engine(2, executor="thread") as engine:
        report = await engine.compress_file(source, packed, CHUNK)
        size = packed.stat().st_size
        assert report._replace(seconds=0) == Report(len(TEXT), size, 0, 25)
        assert report.seconds > 0
        assert report.ratio == len(TEXT) / size
        back = await engine.decompress_file(packed, tmp_path / "b")
        assert back._replace(seconds=0) == Report(len(TEXT), size, 0, 25)
        skipped = await engine.compress_file(source, packed, on_exists="skip")
        assert (skipped.files, skipped.skipped_count) == (0, 1)
        assert skipped.skipped == (str(packed),)
        assert skipped.ratio == 0
        stream = engine.compress_stream(source, chunk_size=CHUNK)
        assert len(await all_of(stream)) == stream.report.compressed_bytes == size


async def test_progress(tmp_path: Path) -> None:
    """At most ten calls a second and a last one, on the loop's thread, never going back."""
    source, packed = tmp_path / "a", tmp_path / "a.zst"
    source.write_bytes(TEXT * 4)
    seen: list[tuple[float, int, Progress]] = []

    def tell(progress: Progress) -> None:
        seen.append((time.monotonic(), threading.get_ident(), progress))

    async with Engine(2, executor="thread") as engine:
        calls: tuple[Any, ...] = (
            lambda: engine.compress_file(
                source, packed, 8 * KIB, compression_level=15, progress=tell
            ),
            lambda: engine.decompress_file(packed, tmp_path / "b", progress=tell),
            lambda: engine.test(packed, progress=tell),
        )
        for call in calls:
            seen.clear()
            report = await call()
            last = seen[-1][2]
            assert (last.raw_bytes, last.compressed_bytes) == report[:2]
            assert last.done == last.total
            assert {ident for _, ident, _ in seen} == {threading.get_ident()}
            times = [at for at, _, _ in seen[:-1]]
            assert all(b - a >= 0.099 for a, b in pairwise(times))
            dones = [progress.done for _, _, progress in seen]
            assert dones == sorted(dones)


async def test_progress_that_fails(tmp_path: Path) -> None:
    """An error of the callback goes out, and nothing is left."""

    def fail(_: Progress) -> None:
        raise KeyError("mine")

    async with Engine(1, executor="thread") as engine:
        with pytest.raises(KeyError, match="mine"):
            await engine.compress_file(TEXT, tmp_path / "a.zst", progress=fail)
        assert not os.listdir(tmp_path)
        await given_back(engine)


async def test_progress_of_a_pipe(tmp_path: Path) -> None:
    """Nobody knows the total before the end."""
    seen: list[Progress] = []
    async with Engine(1, executor="thread") as engine:
        await engine.compress_file(pieces(TEXT), tmp_path / "a.zst", progress=seen.append)
    assert {progress.total for progress in seen[:-1]} <= {None}
    assert seen[-1].done == seen[-1].total == len(TEXT)


# Where it may be used.


async def test_after_close(tmp_path: Path) -> None:
    """Every verb says ClosedError; closing twice does no harm."""
    engine = Engine(1)
    stream = engine.compress_stream(TEXT)
    await engine.aclose()
    await engine.aclose()
    calls: tuple[Any, ...] = (
        engine.compress(b""),
        engine.decompress(b""),
        engine.compress_file(TEXT, tmp_path / "a.zst"),
        engine.decompress_file(TEXT, tmp_path / "a"),
        engine.test(TEXT),
        anext(stream),
    )
    for call in calls:
        with pytest.raises(ClosedError, match="closed"):
            await call
    with pytest.raises(ClosedError):
        await engine.__aenter__()
    assert not os.listdir(tmp_path)
    assert engine.statistics().slots_in_use == 0


async def test_on_another_loop() -> None:
    """An engine is for one loop; elsewhere it says so, and goes on where it belongs."""
    async with Engine(1, executor="thread") as engine:
        with pytest.raises(AiocompressError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, engine.compress(b"x"))
        assert await engine.decompress(await engine.compress(b"x")) == b"x"


async def test_one_stream_in_two_tasks() -> None:
    """The second is told, the first goes on."""
    async with Engine(1, executor="thread") as engine:
        stream = engine.compress_stream(TEXT, chunk_size=CHUNK)
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        with pytest.raises(AiocompressError, match="another task"):
            await anext(stream)
        with pytest.raises(AiocompressError, match="another task"):
            await stream.aclose()
        rest = await first + await all_of(stream)
        assert await engine.decompress(rest) == TEXT


@pytest.mark.parametrize("entered", [True, False])
async def test_left_unclosed(entered: bool) -> None:
    """A forgotten engine is a ResourceWarning, however it was used."""
    engine = Engine(1, executor="thread")
    if entered:
        await engine.__aenter__()
    await engine.compress(TEXT)
    with pytest.warns(ResourceWarning, match="Engine was not closed"):
        del engine
        gc.collect()


async def test_a_stream_left_unclosed() -> None:
    """So is a stream that was begun; one that never was is not."""
    async with Engine(1, executor="thread") as engine:
        stream = engine.compress_stream(TEXT, chunk_size=CHUNK)
        await anext(stream)
        with pytest.warns(ResourceWarning, match="ByteStream was not closed"):
            del stream
            gc.collect()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            engine.compress_stream(TEXT)
            Engine(1)
            gc.collect()
        await given_back(engine)


# Arguments.


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"num_workers": 0}, ValueError),
        ({"num_workers": -1}, ValueError),
        ({"num_workers": True}, TypeError),
        ({"num_workers": 1.5}, TypeError),
        ({"num_workers": "2"}, TypeError),
        ({"memory_limit": 0}, ValueError),
        ({"memory_limit": "lots"}, ValueError),
        ({"memory_limit": 1.5}, TypeError),
        ({"executor": "fork"}, ValueError),
        ({"executor": None}, ValueError),
    ],
    ids=str,
)
def test_engine_arguments(arguments: Any, error: Any) -> None:
    """Bad ones are told at once, by name."""
    with pytest.raises(error, match=next(iter(arguments))):
        Engine(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"codec": "zlib"}, ValueError),
        ({"codec": "rar"}, ValueError),
        ({"compression_level": 23}, ValueError),
        ({"compression_level": -8}, ValueError),
        ({"compression_level": 3.0}, TypeError),
        ({"compression_level": "3"}, TypeError),
        ({"compression_level": True}, TypeError),
        ({"chunk_size": 0}, ValueError),
        ({"chunk_size": -1}, ValueError),
        ({"chunk_size": 1.5}, TypeError),
        ({"chunk_size": "4 elephants"}, ValueError),
    ],
    ids=str,
)
@pytest.mark.parametrize("maker", ["engine", "module"])
def test_stream_arguments(maker: str, arguments: Any, error: Any) -> None:
    """Bad ones are told when the stream is made, not when it is read."""
    place: Any = Engine(1) if maker == "engine" else aiocompress
    with pytest.raises(error, match=next(iter(arguments))):
        place.compress_stream(b"", **arguments)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"on_exists": "append"}, ValueError),
        ({"on_exists": None}, ValueError),
        ({"progress": "yes"}, TypeError),
        ({"progress": None}, TypeError),
        ({"max_output": 0}, ValueError),
        ({"max_window": "x"}, ValueError),
        ({"chunk_size": []}, TypeError),
    ],
    ids=str,
)
async def test_file_arguments(arguments: Any, error: Any, tmp_path: Path) -> None:
    """Bad ones are told before anything is read or written."""
    async with Engine(1, executor="thread") as engine:
        with pytest.raises(error, match=next(iter(arguments))):
            await engine.decompress_file("missing", tmp_path / "x", **arguments)
        with pytest.raises(ValueError, match="unknown suffix"):
            await engine.compress_file("missing", tmp_path / "x.7z")
        with pytest.raises((TypeError, ValueError)):
            await engine.compress_file(b"", 5, codec="zstd")  # type: ignore[arg-type]
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("data", ["text", None, 5, [1, 2]])
async def test_what_is_no_bytes(data: Any) -> None:
    """Bytes verbs take bytes-like objects only."""
    async with Engine(1, executor="thread") as engine:
        for verb in (engine.compress, engine.decompress):
            with pytest.raises(TypeError, match="bytes-like"):
                await verb(data)


async def test_an_executor_that_fails() -> None:
    """The caller's executor is the caller's: if it is shut down, that is a WorkerError."""
    own = ThreadPoolExecutor(1)
    own.shutdown()
    async with Engine(2, executor=own) as engine:
        with pytest.raises(aiocompress.WorkerError, match="executor"):
            await all_of(engine.compress_stream(TEXT, chunk_size=CHUNK))
        assert engine.statistics().slots_in_use == 0
