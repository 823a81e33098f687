"""What callers get wrong, and both checkers of types have to find; nothing here is ever run.

Where one of them no longer finds it, it reports that the comment on that line has no use.
"""

from __future__ import annotations

import io

import aiocompress
from aiocompress import AsyncFile, Codec, Engine, Sink, Size, Source, sync


async def words(engine: Engine) -> None:
    """A word that is none of those that are known."""
    codec: Codec = "zlib"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    await engine.compress(b"", codec="lz4")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await engine.compress_file("a", "b.zst", on_exists="overwrite")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await aiocompress.compress_folder("a", "b.zst", on_error="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sync.compress_file("a", "b.zst", codec="xz")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Engine(executor="fork")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await engine.compress(b"", codec=codec)


async def names(engine: Engine) -> None:
    """A name that is none of ours."""
    aiocompress.compres(b"")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    sync.compress_files("a", "b")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await engine.compress_file("a", "b.zst", level=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await aiocompress.compress_file("a", "b.zst", workers=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def sources(engine: Engine) -> None:
    """Something that no bytes come from, or not like this."""
    text: Source = io.StringIO("text")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    engine.compress_stream(["one", b"two"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    engine.decompress_stream(["a.zst", "b.zst"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await engine.compress_file(5, "x.zst")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await engine.compress_file(None, "x.zst")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await engine.compress("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    aiocompress.open_archive(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await engine.compress_file(text, "x.zst")


async def sinks(engine: Engine) -> None:
    """Something that no bytes go to; a plain file, which would block the loop."""
    plain: Sink = io.BytesIO()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    await engine.compress_file("x", io.BytesIO())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await engine.decompress_folder("x", b"folder")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sync.compress_file("x", io.StringIO())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await engine.compress_file("x", plain)


async def sizes(engine: Engine) -> None:
    """A size that is neither a number of bytes nor text."""
    size: Size = 1.5  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    await engine.decompress(b"", max_output=size)


async def modes(binary: AsyncFile[bytes], text: AsyncFile[str]) -> None:
    """Bytes and text mixed up."""
    await binary.write("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await text.write(b"bytes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async for line in text:
        line.decode()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


async def no_await(engine: Engine) -> None:
    """What has to be waited for, or entered, and is not."""
    len(engine.compress(b""))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with aiocompress.open_archive("x"):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    list(engine.compress_stream(b""))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
