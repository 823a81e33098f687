"""Pack a real folder found on any machine, look into it, and set it beside other libraries.

Packs this interpreter's own library folder with a progress bar, checks it, lists it, reads one
member out of the middle, and prints a table. Give a folder to use that instead:
quickstart.py FOLDER
"""

import asyncio
import os
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import zstandard

import aiocompress

MIB = 1 << 20
EXCLUDE = ("site-packages/", "__pycache__/")


class Counting:
    """Bytes that can be read anywhere, as an object store gives them; counts what is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.read = 0

    async def size(self) -> int:
        """Return how many bytes there are."""
        return self._path.stat().st_size

    async def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes from ``offset``."""
        with self._path.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
        self.read += len(data)
        return data


async def tour(folder: Path, packed: Path) -> aiocompress.Report:
    """Pack and check with one engine, then look into the archive; returns what packing did."""
    async with aiocompress.Engine() as engine:
        report = await engine.compress_folder(
            folder, packed, exclude=EXCLUDE, on_error="skip", fsync=False, progress=True
        )
        await engine.test(packed)
        print(f"{report.files} files in {report.frames} frames, ratio {report.ratio:.1f}; checked")

        source = Counting(packed)
        async with engine.open_archive(source) as archive:
            files = [member async for member in archive.members() if member.kind == "file"]
            middle = files[len(files) // 2]
            data = await archive.read(middle.name)
        if data != (folder / middle.name).read_bytes():
            sys.exit("the member did not come back as it was")
        share = source.read / report.compressed_bytes
        print(f"{middle.name}: {len(data)} bytes, out of the middle of {len(files)} files:")
        print(f"{source.read / MIB:.2f} MiB were read for it, {share:.0%} of the archive\n")
    return report


def with_zstandard(folder: Path, packed: Path) -> None:
    """Pack by tarfile and zstandard, level 3, in one thread."""
    with (
        packed.open("wb") as file,
        zstandard.ZstdCompressor(level=3).stream_writer(file) as stream,
        tarfile.open(fileobj=stream, mode="w|") as archive,
    ):
        archive.add(folder, ".", filter=chosen)


def with_gzip(folder: Path, packed: Path) -> None:
    """Pack by tarfile and the standard library's gzip, level 6."""
    with tarfile.open(packed, "w:gz", compresslevel=6) as archive:
        archive.add(folder, ".", filter=chosen)


def chosen(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what is excluded."""
    return None if Path(member.name).name + "/" in EXCLUDE else member


def measure(work: Callable[[Path, Path], None], folder: Path, packed: Path) -> tuple[float, int]:
    """Return the seconds that ``work`` took, and the bytes it wrote."""
    begun = time.perf_counter()
    work(folder, packed)
    return time.perf_counter() - begun, packed.stat().st_size


def main() -> None:
    """Run the tour."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("stdlib"))
    print(f"Packing {folder} ...")
    with tempfile.TemporaryDirectory() as name:
        results = Path(name)
        report = asyncio.run(tour(folder, results / "ours.tar.zst"))
        rows = {
            "aiocompress, zstd 3": (report.seconds, report.compressed_bytes),
            "tarfile + zstandard 3": measure(with_zstandard, folder, results / "one.tar.zst"),
            "tarfile + gzip 6": measure(with_gzip, folder, results / "one.tar.gz"),
        }
    size = report.raw_bytes
    print(f"{size / MIB:.0f} MiB, {os.cpu_count()} processors")
    print(f"{'':26}{'seconds':>9}{'MiB/s':>9}{'ratio':>8}")
    for label, (seconds, packed) in rows.items():
        print(f"{label:26}{seconds:9.2f}{size / MIB / seconds:9.0f}{size / packed:8.2f}")


if __name__ == "__main__":
    main()
