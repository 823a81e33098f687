"""Streams before and beside their bytes: opening, reading by size, and their options."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aiocompress
from aiocompress import ClosedError, Engine, FormatError, LimitError, sync

from ..help.tools import LIBRARY, nobody
from .sample import KIB, TEXT, all_of, pieces

VERBS: Any = ["compress_stream", "decompress_stream"]
every_verb = pytest.mark.parametrize("verb", VERBS)


# Opening.


@every_verb
@pytest.mark.parametrize("alone", [True, False], ids=["function", "engine"])
async def test_a_missing_file(verb: str, alone: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """It is an error where the stream is opened, and nothing is left open."""
    async with Engine(1, executor="thread") as engine:
        stream = getattr(aiocompress if alone else engine, verb)(tmp_path / "none")
        with pytest.raises(FileNotFoundError) as caught:
            await stream.__aenter__()
        assert caught.value.filename == str(tmp_path / "none")
        await stream.aclose()


@every_verb
async def test_nothing_is_read_before(verb: str) -> None:
    """Opening waits for no byte of a slow source."""

    async def source() -> AsyncIterator[bytes]:
        await asyncio.sleep(3600)
        yield b""

    async with (
        Engine(1, executor="thread") as engine,
        asyncio.timeout(10),
        getattr(engine, verb)(source()) as stream,
    ):
        assert stream.report.raw_bytes == 0


async def test_what_is_opened_is_what_is_read(tmp_path: Path) -> None:
    """A file that is removed after that is read all the same."""
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    async with Engine(1, executor="thread") as engine:
        async with engine.compress_stream(path) as stream:
            path.unlink()
            packed = await stream.read()
        assert await engine.decompress(packed) == TEXT


@pytest.mark.parametrize("source", ["list", "link in a list", "file and folder"])
async def test_missing_among_several(source: str, tmp_path: Path) -> None:
    """A list of paths, one of which is not there; a link to nowhere is there."""
    (tmp_path / "file").write_bytes(TEXT)
    (tmp_path / "link").symlink_to("nowhere")
    paths = {
        "list": [tmp_path / "file", tmp_path / "none"],
        "link in a list": [tmp_path / "link"],
        "file and folder": [tmp_path / "none", tmp_path],
    }[source]
    stream = aiocompress.compress_stream(paths)
    if source == "link in a list":
        async with stream:
            assert await stream.read()
    else:
        with pytest.raises(FileNotFoundError):
            await stream.__aenter__()


FORBIDDEN = """
import asyncio, os, sys
from aiocompress import Engine
async def main():
    async with Engine(1, executor="thread") as engine:
        for source in ("folder", ["folder"], ["file"], "file", ["good", "file"]):
            stream = engine.compress_stream(source)
            try:
                await stream.__aenter__()
            except PermissionError as error:
                print(error.filename)
        async with engine.compress_stream(["good", "file"], on_error="skip") as stream:
            await stream.read()
        print(*stream.report.skipped)
asyncio.run(main())
"""


def test_forbidden(tmp_path: Path) -> None:
    """Files and folders that may not be read are errors there, unless files are to be skipped."""
    user = nobody()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder").chmod(0o000)
    (tmp_path / "good").write_bytes(b"good")
    (tmp_path / "file").write_bytes(b"secret")
    (tmp_path / "file").chmod(0o000)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    command = (*user, sys.executable, "-c", FORBIDDEN)
    done = subprocess.run(command, cwd=tmp_path, env=LIBRARY, capture_output=True, check=False)
    (tmp_path / "folder").chmod(0o755)
    told = b"folder\nfolder\nfile\nfile\nfile\nfile: Permission denied\n"
    assert done.stdout == told, done.stderr.decode()


async def test_after_the_end() -> None:
    """Closed streams and engines say so; a stream that was never opened can be closed."""
    engine = Engine(1, executor="thread")
    stream = engine.compress_stream(TEXT)
    await stream.aclose()
    for work in (stream.__aenter__, stream.read, lambda: stream.read(0), stream.__anext__):
        with pytest.raises(ClosedError):
            await work()
    stream = engine.compress_stream(TEXT)
    await engine.aclose()
    with pytest.raises(ClosedError):
        await stream.__aenter__()


# Reading.


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-1, 40 * KIB), max_size=12))
def test_read(sizes: list[int]) -> None:
    """Any sizes, mixed with iteration, give all bytes in order, and then none."""

    async def main() -> None:
        async with Engine(1, executor="thread") as engine:
            expected = await all_of(engine.compress_stream(TEXT, chunk_size="64K"))
            async with engine.compress_stream(TEXT, chunk_size="64K") as stream:
                seen = bytearray()
                for size in sizes:
                    data = await stream.read(size)
                    assert size < 0 or len(data) <= size
                    assert data or not size or len(seen) == len(expected)
                    seen += data
                    if size % 3 == 1:
                        seen += await anext(stream, b"")
                seen += await stream.read()
                assert seen == expected
                assert await stream.read(10) == await stream.read() == b""

    asyncio.run(main())


async def test_a_stream_is_a_source() -> None:
    """One stream reads another one."""
    async with Engine(1, executor="thread") as engine:
        packed = engine.compress_stream(pieces(TEXT), single=True)
        assert await all_of(engine.decompress_stream(packed)) == TEXT


# Options.


def _names(packed: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(sync.decompress(packed))) as archive:
        return archive.getnames()


async def test_options_of_a_folder(tmp_path: Path) -> None:
    """They do what they do in ``compress_folder``: the bytes are the same."""
    for name in ("a", "b.o", "c/d"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(TEXT)
    options: Any = {"prefix": "in/side", "exclude": ["*.o"], "reproducible": True}
    async with Engine(1, executor="thread") as engine:
        for source in (tmp_path / "tree", [tmp_path / "tree" / "a", str(tmp_path / "tree" / "c")]):
            await engine.compress_folder(
                source, tmp_path / "x.tar.zst", on_exists="replace", fsync=False, **options
            )
            async with engine.compress_stream(source, **options) as stream:
                packed = await stream.read()
            assert packed == (tmp_path / "x.tar.zst").read_bytes()
            assert _names(packed)[-3:] == ["in/side/a", "in/side/c", "in/side/c/d"]
            assert stream.report.files == 2


async def test_lists() -> None:
    """A list of paths is no source of anything else; an empty one is not guessed at."""
    async with Engine(1, executor="thread") as engine:
        with pytest.raises(TypeError, match="compress_folder"):
            await all_of(engine.decompress_stream(["a", "b"]))  # type: ignore[list-item]
        with pytest.raises(ValueError, match="no source"):
            await all_of(engine.compress_stream([]))
        with pytest.raises(ValueError, match="would both be"):
            await all_of(engine.compress_stream([__file__, __file__]))


async def test_on_error(tmp_path: Path) -> None:
    """A socket in a folder: skipped and named, or an error."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"data")
    where = os.getcwd()
    os.chdir(tmp_path / "tree")
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("socket")
            async with Engine(1, executor="thread") as engine:
                with pytest.raises(OSError, match="socket"):
                    await all_of(engine.compress_stream("."))
                async with engine.compress_stream(".", on_error="skip") as stream:
                    assert _names(await stream.read()) == ["file"]
                assert "socket" in stream.report.skipped[0]
    finally:
        os.chdir(where)


@pytest.mark.parametrize("single", [True, False])
async def test_progress(single: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """A callable hears how far it is, and at the end everything."""
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    told: list[aiocompress.Progress] = []
    packed = await all_of(aiocompress.compress_stream(path, single=single, progress=told.append))
    assert told[-1][:4] == (len(TEXT), len(packed), len(TEXT), len(TEXT))
    with pytest.raises(TypeError, match="progress"):
        aiocompress.compress_stream(path, progress=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["bytes", "iterable", "single"])
async def test_max_input(kind: str) -> None:
    """It counts what is read, and names itself."""
    async with Engine(1, executor="thread") as engine:
        packed = await all_of(engine.compress_stream(TEXT, single=kind == "single"))
        source = pieces(packed, 1000) if kind == "iterable" else packed
        with pytest.raises(LimitError, match="max_input"):
            await all_of(engine.decompress_stream(source, max_input=len(packed) - 1))
        assert await all_of(engine.decompress_stream(packed, max_input=len(packed))) == TEXT
        with pytest.raises(ValueError, match="max_input"):
            engine.decompress_stream(packed, max_input=0)


async def test_max_input_of_an_endless_source() -> None:
    """It ends a source that never would."""
    async with Engine(1, executor="thread") as engine:
        packed = await all_of(engine.compress_stream(TEXT))

        async def source() -> AsyncIterator[bytes]:
            while True:
                yield packed

        with pytest.raises(LimitError, match="max_input"):
            await all_of(engine.decompress_stream(source(), max_input="1MiB"))


async def test_the_format_is_told_when_it_is_read() -> None:
    """What is not compressed opens well, and is an error at the first byte."""
    async with aiocompress.decompress_stream(b"text, not more than that") as stream:
        with pytest.raises(FormatError):
            await anext(stream)
