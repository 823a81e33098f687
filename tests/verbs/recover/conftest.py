"""Small archives of many frames, and an engine of threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aiocompress import Engine

from ...help.data import text
from .bench import SUFFIXES, Bench, make_bench


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    """An engine of threads: most of these files are small."""
    async with Engine(2, executor="thread") as engine:
        yield engine


@pytest.fixture(params=SUFFIXES)
async def bench(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Bench:
    """A small archive of many frames, of each kind."""
    return await make_bench(engine, tmp_path, request.param)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    """An archive of each kind, of few bytes and many frames."""

    async def make(suffix: str) -> Bench:
        folder = tmp_path_factory.mktemp("tiny")
        (folder / "tree" / "sub").mkdir(parents=True)
        for number, size in enumerate([0, 40, 600, 2900, 90, 30]):
            (folder / "tree" / "sub" / f"f{number}").write_bytes(text(size, number))
        async with Engine(1, executor="thread") as engine:
            return await make_bench(engine, folder, suffix, made=False, chunk_size=1024)

    return {suffix: asyncio.run(make(suffix)) for suffix in SUFFIXES}
