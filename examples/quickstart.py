"""Compress real data found on any machine, and set it beside single-threaded libraries.

Makes a tar of this interpreter's own library folder, compresses it with a progress bar, checks
it, decompresses it, and prints a table. Give a file to use that instead: quickstart.py FILE
"""

import asyncio
import filecmp
import gzip
import os
import shutil
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


def pack_library(path: Path) -> None:
    """Make a tar of Python's own library: real data, on every machine."""
    library = sysconfig.get_path("stdlib")
    print(f"Packing {library} into a tar ...")
    with tarfile.open(path, "w") as tar:
        tar.add(library, "lib", filter=_without_sites)


def _without_sites(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if Path(member.name).name in {"site-packages", "__pycache__"} else member


async def round_trip(data: Path, folder: Path) -> aiocompress.Report:
    """Compress, test and decompress with one engine; returns what compressing did."""
    packed, back = folder / "data.zst", folder / "data.back"
    async with aiocompress.Engine() as engine:
        report = await engine.compress_file(data, packed, fsync=False, progress=True)
        await engine.test(packed)
        await engine.decompress_file(packed, back, fsync=False, progress=True)
        print(f"{engine.statistics().num_workers} workers, {report.frames} frames")
    if not filecmp.cmp(data, back, shallow=False):
        sys.exit("the data did not come back as it was")
    print("Tested, decompressed, compared: the same bytes.\n")
    return report


def with_zstandard(data: Path, packed: Path) -> None:
    """Compress by zstandard in one thread, level 3."""
    with data.open("rb") as source, packed.open("wb") as target:
        zstandard.ZstdCompressor(level=3).copy_stream(source, target)


def with_gzip(data: Path, packed: Path) -> None:
    """Compress by the standard library's gzip, level 6."""
    with data.open("rb") as source, gzip.open(packed, "wb", compresslevel=6) as target:
        shutil.copyfileobj(source, target, MIB)


def measure(work: Callable[[Path, Path], None], data: Path, packed: Path) -> tuple[float, int]:
    """Return the seconds that ``work`` took, and the bytes it wrote."""
    begun = time.perf_counter()
    work(data, packed)
    return time.perf_counter() - begun, packed.stat().st_size


def main() -> None:
    """Run the tour."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = Path(sys.argv[1]) if len(sys.argv) > 1 else folder / "library.tar"
        if len(sys.argv) == 1:
            pack_library(data)
        size = data.stat().st_size
        report = asyncio.run(round_trip(data, folder))
        rows = {
            "aiocompress, zstd 3": (report.seconds, report.compressed_bytes),
            "zstandard 3, one thread": measure(with_zstandard, data, folder / "one.zst"),
            "gzip 6, standard library": measure(with_gzip, data, folder / "one.gz"),
        }
        print(f"{size / MIB:.0f} MiB, {os.cpu_count()} processors")
        print(f"{'':26}{'seconds':>9}{'MiB/s':>9}{'ratio':>8}")
        for label, (seconds, packed) in rows.items():
            print(f"{label:26}{seconds:9.2f}{size / MIB / seconds:9.0f}{size / packed:8.2f}")


if __name__ == "__main__":
    main()
