"""What Python's libraries do, as programs: ``python -m tests.benchmarks.people.peers WHAT ...``.

Each imports what it needs and nothing else: the start of a program counts where its work is short.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, Final

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

    with redirect_stdout(sys.stderr):  # it tells what it does
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
            for name, info in (archive.list(folder) or {}).items():
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


PROGRAMS: Final[Mapping[str, Callable[..., None]]] = {
    one.__name__: one for one in (compress, decompress, pack, unpack, names, member)
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
