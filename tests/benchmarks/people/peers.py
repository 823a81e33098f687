"""What Python's libraries do, as programs: ``python -m tests.benchmarks.people.peers WHAT ...``."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from ...help.data import text

_BLOCK: Final = 1 << 20
_THREADED: Final = {"isal": "isal.igzip_threaded", "zlib_ng": "zlib_ng.gzip_ng_threaded"}


# Files.


def _written(module: str, path: str, level: int, threads: int) -> Any:
    """Open a file to write as that library does."""
    library = import_module(_THREADED.get(module, module))
    if module == "backports.zstd":
        name = library.CompressionParameter
        return library.open(
            path, "wb", options={name.compression_level: level, name.nb_workers: threads}
        )
    options = {"threads": threads} if module in _THREADED else {}
    options |= {"thread": threads} if module == "pgzip" else {}
    return library.open(path, "wb", compresslevel=level, **options)


def compress(module: str, level: str, threads: str, source: str, target: str) -> None:
    """From file to file."""
    with Path(source).open("rb") as raw, _written(module, target, int(level), int(threads)) as out:
        shutil.copyfileobj(raw, out, _BLOCK)


def decompress(module: str, source: str, target: str) -> None:
    """From file to file."""
    reader = import_module(_THREADED.get(module, module))
    with reader.open(source, "rb") as made, Path(target).open("wb") as out:
        shutil.copyfileobj(made, out, _BLOCK)


# Archives.


def pack(how: str, tree: str, target: str) -> None:
    """From folder to archive."""
    root = Path(tree)
    if how == "zipfile":
        from zipfile import ZIP_DEFLATED, ZipFile

        with ZipFile(target, "w", ZIP_DEFLATED, strict_timestamps=False) as archive:
            for path in sorted(root.rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(root))
    elif how == "zipstream-ng":
        import zipstream

        with Path(target).open("wb") as out:
            deflate = zipstream.ZIP_DEFLATED
            out.writelines(zipstream.ZipStream.from_path(tree, compress_type=deflate))
    else:
        import tarfile

        with tarfile.open(target, "w:gz", compresslevel=6) as packed:
            packed.add(tree, ".")


def unpack(how: str, source: str, target: str) -> None:
    """From archive to folder."""
    if how == "zipfile":
        from zipfile import ZipFile

        ZipFile(source).extractall(target)
        return
    import tarfile

    from backports import zstd

    with zstd.open(source) as plain, tarfile.open(fileobj=plain, mode="r|") as archive:
        archive.extractall(target, filter="data")


def _mounted(path: str) -> Any:
    from ratarmountcore.mountsource.factory import open_mount_source

    return open_mount_source(path, recursive=False, writeIndex=True)


def names(how: str, source: str) -> None:
    """Print the names of all members."""
    if how == "zipfile":
        from zipfile import ZipFile

        sys.stdout.writelines(f"{name}\n" for name in ZipFile(source).namelist())
        return
    with _mounted(source) as archive:
        folders = ["/"]
        while folders:
            folder = folders.pop()
            for name, info in archive.list(folder).items():
                path = f"{folder.rstrip('/')}/{name}"
                sys.stdout.write(f"{path}\n")
                if info.mode & 0o170000 == 0o040000:
                    folders.append(path)


def member(how: str, source: str, name: str) -> None:
    """Print what a member holds."""
    if how == "zipfile":
        from zipfile import ZipFile

        sys.stdout.buffer.write(ZipFile(source).read(name))
        return
    with _mounted(source) as archive, archive.open(archive.lookup(f"/{name}")) as file:
        sys.stdout.buffer.write(file.read())


# In memory: these print the seconds that count.


def _pair(who: str) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    """Return what compresses and decompresses a payload."""
    if who == "zstandard":
        import zstandard

        out, back = zstandard.ZstdCompressor(), zstandard.ZstdDecompressor()
        return out.compress, back.decompress
    if who in {"isal", "zlib_ng"}:
        module = import_module({"isal": "isal.igzip", "zlib_ng": "zlib_ng.gzip_ng"}[who])
    else:
        module = import_module(who)
    return module.compress, module.decompress


def payloads(who: str, verb: str, size: str, number: str) -> None:
    """Do so many payloads, one after another."""
    data = text(int(size))
    if who.startswith("ours"):
        asyncio.run(_our_payloads(verb, data, int(number), "gzip" if "gzip" in who else "zstd"))
        return
    out, back = _pair(who)
    work, payload = (out, data) if verb == "compress" else (back, out(data))
    work(payload)
    with _timed():
        for _ in range(int(number)):
            work(payload)


async def _our_payloads(verb: str, data: bytes, number: int, codec: Any) -> None:
    from aiocompress import Engine

    async with Engine() as engine:
        made = await engine.compress(data, codec=codec)
        await engine.decompress(made)
        with _timed():
            for _ in range(number):
                if verb == "compress":
                    await engine.compress(data, codec=codec)
                else:
                    await engine.decompress(made)


def streams(who: str, number: str, size: str) -> None:
    """Compress so many streams at once; each comes in parts of 64 KiB."""
    data = text(int(size))
    parts = [data[at : at + (64 << 10)] for at in range(0, len(data), 64 << 10)]
    asyncio.run((_our_streams if who == "ours" else _streams_in_threads)(who, int(number), parts))


async def _our_streams(_who: str, number: int, parts: list[bytes]) -> None:
    from aiocompress import Engine

    async def source() -> Any:
        for part in parts:
            yield part

    async def one() -> None:
        async with engine.compress_stream(source()) as stream:
            async for _ in stream:
                pass

    async with Engine() as engine:
        await one()
        with _timed():
            await asyncio.gather(*[one() for _ in range(number)])


async def _streams_in_threads(who: str, number: int, parts: list[bytes]) -> None:
    import zlib

    import zstandard

    def begun() -> Any:
        return (
            zstandard.ZstdCompressor().compressobj()
            if who == "zstandard"
            else zlib.compressobj(wbits=31)
        )

    async def one() -> None:
        stream = begun()
        for part in parts:
            await loop.run_in_executor(threads, stream.compress, part)
        await loop.run_in_executor(threads, stream.flush)

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor() as threads:
        await one()
        with _timed():
            await asyncio.gather(*[one() for _ in range(number)])


class _timed:  # noqa: N801 - read as a word
    """Print the seconds that the body takes."""

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        sys.stdout.write(f"{time.perf_counter() - self._start}\n")


PROGRAMS: Final[Mapping[str, Callable[..., None]]] = {
    one.__name__: one
    for one in (compress, decompress, pack, unpack, names, member, payloads, streams)
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
