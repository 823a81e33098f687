"""Mirrored trees: every file one of its own on the other side, all else as it was, or nothing."""

# They look at files:
# ruff: noqa: ASYNC240

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import socket
import stat
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiocompress import CorruptError, FormatError, LimitError, Report
from aiocompress.formats import names
from aiocompress.model import MIB
from aiocompress.storage import walk as folder_walk
from aiocompress.verbs.mirror import batch as mirrors
from aiocompress.verbs.mirror import mirror as mirroring
from aiocompress.verbs.mirror import walk as twins
from aiocompress.verbs.options import Bounds, make_reading, make_recipe, make_writing
from aiocompress.workers.pool import WorkerPool

from .help.data import noise, text
from .help.tools import run, tool

KIB = 1 << 10
CHUNK = 32 * KIB
TIME = 10**18 + 987_654_321
SMALL = text(5 * KIB)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty folder."""
    path = tmp_path / "source"
    path.mkdir()
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """What is not there yet."""
    return tmp_path / "out"


async def compress(
    source: Path,
    out: Path,
    *,
    codec: str = "zstd",
    chunk_size: int | None = CHUNK,
    workers: int = 2,
    executor: Any = "thread",
    on_exists: Any = "error",
    progress: Any = False,
    **options: Any,
) -> Report:
    """Compress a tree with a pool of its own."""
    pool = WorkerPool(workers, None, executor)
    try:
        return await mirroring.compress_tree(
            pool,
            str(source),
            str(out),
            make_recipe(codec, None, chunk_size),
            make_writing(on_exists, False, progress),  # noqa: FBT003
            **options,
        )
    finally:
        await pool.aclose()


async def decompress(
    source: Path,
    out: Path,
    *,
    workers: int = 2,
    executor: Any = "thread",
    on_exists: Any = "error",
    max_output: int | None = None,
    **options: Any,
) -> Report:
    """Decompress a tree with a pool of its own."""
    pool = WorkerPool(workers, None, executor)
    try:
        return await mirroring.decompress_tree(
            pool,
            str(source),
            str(out),
            make_reading(max_output, "128MiB"),
            make_writing(on_exists, False, False),  # noqa: FBT003
            **options,
        )
    finally:
        await pool.aclose()


def look(root: Path, *, times: bool = True) -> dict[bytes, tuple[Any, ...]]:
    """Return all that is in a tree: kind and mode, time, and content."""
    found = {}
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        for path in [folder, *(os.path.join(folder, name) for name in folders + files)]:
            status = os.lstat(path)
            content: Any = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = file.read()
            found[path[len(top) :]] = (status.st_mode, times and status.st_mtime_ns, content)
    return found


def settle_times(root: Path) -> None:
    """Give all in a tree times of their own, to the nanosecond, folders included."""
    number = 0
    for folder, folders, files in os.walk(os.fsencode(root), topdown=False):
        for name in [*files, *folders, b"."]:
            number += 1
            path = os.path.join(folder, name)
            os.utime(path, ns=(TIME, TIME + number * 10**9 + number), follow_symlinks=False)


def fill(root: Path, files: dict[str, bytes]) -> None:
    """Make files, and the folders they are in."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def mixed(root: Path) -> None:
    """Make a tree with one of everything."""
    fill(
        root,
        {
            "empty": b"",
            "a/b/c/deep": SMALL,
            "a/exact": text(CHUNK),
            "a/one more": text(CHUNK + 1),
            "a/several": text(5 * CHUNK + 7),
            "large": text(mirrors.SMALL + 3 * KIB),
            "x.zst": noise(99),
            "x.zst.gz": b"gz",
            "line\nbreak \\ \x1b[31m": b"newline",
            "ünï": b"unicode",
        },
    )
    os.close(os.open(os.fsencode(root) + b"/\xff\xfe raw", os.O_CREAT | os.O_WRONLY))
    (root / "void/void").mkdir(parents=True)
    (root / "link").symlink_to("a/exact")
    (root / "a/loop").symlink_to("../a")
    (root / "nowhere").symlink_to("/does/not/exist")
    os.link(root / "a/exact", root / "hard")
    for name, mode in (("a/exact", 0o400), ("a/several", 0o755), ("empty", 0o600), ("a/b", 0o500)):
        (root / name).chmod(mode)
    if os.geteuid() == 0:
        (root / "large").chmod(0)
    (root / "void").chmod(0o750)
    settle_times(root)


def temporaries(root: Path) -> list[Path]:
    """Return what a run has left behind."""
    return list(root.rglob(".aiocompress-*"))


# Round trips.


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
async def test_there_and_back(codec: str, source: Path, out: Path, tmp_path: Path) -> None:
    """All comes back: names, bytes, links, modes, times, and empty folders."""
    mixed(source)
    report = await compress(source, out, codec=codec)
    suffix = {"zstd": ".zst", "gzip": ".gz"}[codec]
    before = look(source)
    compressed = look(out)
    assert {
        name + suffix.encode() if stat.S_ISREG(about[0]) else name: about[:2]
        for name, about in before.items()
    } == {name: about[:2] for name, about in compressed.items()}
    back = await decompress(out, tmp_path / "back")
    assert look(tmp_path / "back") == before
    regular = [about for about in before.values() if stat.S_ISREG(about[0])]
    links = [about for about in before.values() if stat.S_ISLNK(about[0])]
    assert report.files == back.files == len(regular) + len(links)
    assert report.raw_bytes == back.raw_bytes == sum(len(about[2]) for about in regular)
    assert report.compressed_bytes == back.compressed_bytes
    assert report.frames == sum(-(-len(about[2]) // CHUNK) or 1 for about in regular)
    assert not report.skipped
    assert not report.warnings


_names = st.binary(min_size=1, max_size=12).filter(
    lambda n: not {0, 47} & {*n} and n not in {b".", b".."}
)
_trees = st.recursive(
    st.one_of(
        st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK]).map(text),
        st.binary(max_size=40),
    ),
    lambda inner: st.dictionaries(_names, inner, max_size=4),
    max_leaves=12,
)


def _build(folder: bytes, tree: dict[bytes, Any]) -> None:
    os.mkdir(folder)
    for name, value in tree.items():
        path = os.path.join(folder, name)
        if isinstance(value, dict):
            _build(path, value)
        else:
            with open(path, "wb") as file:
                file.write(value)


@given(tree=st.dictionaries(_names, _trees, max_size=5), codec=st.sampled_from(["zstd", "gzip"]))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_tree(tree: dict[bytes, Any], codec: str, tmp_path: Path) -> None:
    """Whatever names and sizes, it comes back."""
    base = tmp_path / os.urandom(6).hex()
    base.mkdir()
    _build(os.fsencode(base / "source"), tree)
    settle_times(base / "source")

    async def both() -> None:
        await compress(base / "source", base / "out", codec=codec)
        await decompress(base / "out", base / "back")

    asyncio.run(both())
    assert look(base / "back") == look(base / "source")


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
async def test_bytes_of_compress_file(codec: str, source: Path, out: Path, tmp_path: Path) -> None:
    """Each file is what ``compress_file`` writes, whoever does the work."""
    from aiocompress import compress_file

    sizes = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, mirrors.SMALL, mirrors.SMALL + 1]
    fill(source, {f"{size}": text(size) for size in sizes})
    suffix = {"zstd": ".zst", "gzip": ".gz"}[codec]
    trees = []
    for workers, executor in ((1, "thread"), (2, "process"), (5, "thread")):
        name = f"{out}{workers}"
        await compress(source, Path(name), codec=codec, workers=workers, executor=executor)
        trees.append(look(Path(name), times=False))
    assert trees[0] == trees[1] == trees[2]
    for size in sizes:
        single = tmp_path / f"single{suffix}"
        await compress_file(source / f"{size}", single, CHUNK, on_exists="replace")
        assert single.read_bytes() == (Path(f"{out}1") / f"{size}{suffix}").read_bytes()


async def test_many_batches_in_processes(source: Path, out: Path, tmp_path: Path) -> None:
    """Several batches, worker processes, some files too large for a batch."""
    fill(source, {f"{n % 7}/{n}": text(n * 31) for n in range(700)})
    fill(source, {f"big/{n}": text(1500 * KIB) for n in range(8)} | {"3/huge": text(5 * MIB)})
    settle_times(source)
    await compress(source, out, chunk_size=None, executor="process")
    await decompress(out, tmp_path / "back", executor="process")
    assert look(tmp_path / "back") == look(source)


# Other people's tools.


@pytest.mark.parametrize(
    ("codec", "command"), [("zstd", ["zstd", "-dcq"]), ("gzip", ["gunzip", "-c"])]
)
async def test_ordinary_tools_read_it(
    codec: str, command: list[str], source: Path, out: Path
) -> None:
    """``zstd -d`` and ``gunzip`` give each file back."""
    files = {"a": b"", "b/c": SMALL, "b/d": text(3 * CHUNK), "large": text(mirrors.SMALL + 5)}
    fill(source, files)
    await compress(source, out, codec=codec)
    for path in out.rglob("*"):
        if path.is_file():
            assert (
                run(tool(command[0]), *command[1:], path)
                == (files[str(path.relative_to(out).with_suffix(""))])
            )


async def test_tree_of_zstd(source: Path, out: Path, tmp_path: Path) -> None:
    """What ``zstd -r --output-dir-mirror`` writes comes back."""
    fill(source, {"a": b"1", "b/c": SMALL, "b/d": text(300 * KIB), "large": text(5 * MIB)})
    command = [tool("zstd"), "-qr", "--output-dir-mirror", str(out), "source"]
    process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path)
    assert await process.wait() == 0
    await decompress(out / "source", tmp_path / "back")
    found = {name: about[2] for name, about in look(tmp_path / "back").items()}
    assert found == {name: about[2] for name, about in look(source).items()}


async def test_original_script(source: Path, out: Path) -> None:
    """A folder of ``.compressed`` files: zlib streams, a chunk each, one after another."""
    chunks = [text(70 * KIB), noise(10), b"", text(9)]
    data = b"".join(map(zlib.compress, chunks))
    large = b"".join(zlib.compress(noise(MIB)) for _ in range(5))
    fill(source, {"a.txt.compressed": data, "b.compressed": large, "c.zz": zlib.compress(b"")})
    await decompress(source, out)
    assert (out / "a.txt").read_bytes() == b"".join(chunks)
    assert (out / "b").stat().st_size == 5 * MIB
    assert (out / "c").read_bytes() == b""


async def test_suffix_is_a_name_content_decides(source: Path, out: Path) -> None:
    """Any suffix with any codec; short names of tars become ``.tar``."""
    zst = run(tool("zstd"), "-qc", data=b"zst")
    gz = run(tool("gzip"), "-c", data=b"gz")
    fill(source, {"a.gz": zst, "b.ZSTD": gz, "c.tgz": gz, "d.tzst": zst, "e.tar.zst": zst})
    await decompress(source, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        "a": b"zst",
        "b": b"gz",
        "c.tar": b"gz",
        "d.tar": b"zst",
        "e.tar": b"zst",
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.zst", "a"),
        ("a.b.GZ", "a.b"),
        (".a.zz", ".a"),
        ("a.tgz", "a.tar"),
        ("a", None),
        ("zst", None),
        (".zst", None),
        ("..zst", None),
        ("...gz", None),
        ("a.txt", None),
    ],
)
def test_restored_name(name: str, expected: str | None) -> None:
    """Only what has a name before its suffix has one without it."""
    assert names.restored(name) == expected


# Names that collide.


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("what", ["symlink", "folder"])
async def test_collision_out(what: str, on_error: str, source: Path, out: Path) -> None:
    """A file beside a link or folder of its compressed name is refused, naming both."""
    fill(source, {"sub/x": b"1", "sub/y": b"2"})
    if what == "symlink":
        (source / "sub/x.zst").symlink_to("y")
    else:
        (source / "sub/x.zst").mkdir()
    with pytest.raises(FileExistsError, match=r"sub/x and .*sub/x\.zst would both"):
        await compress(source, out, on_error=on_error)
    assert not out.exists()
    assert not temporaries(out.parent)


@pytest.mark.parametrize("other", ["x", "x.gz", "x.ZST"])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
async def test_collision_back(other: str, on_error: str, source: Path, out: Path) -> None:
    """Two files that would become one are refused."""
    data = run(tool("zstd"), "-qc", data=b"zst")
    fill(source, {"x.zst": data, other: data})
    with pytest.raises(FileExistsError, match=r"x.* and .*x.* would both"):
        await decompress(source, out, on_error=on_error)
    assert not out.exists()


async def test_collision_in_a_very_large_folder(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder whose names do not fit into memory is checked, and mirrored, in parts."""
    monkeypatch.setattr(folder_walk, "_MOST_NAMES", 3)
    fill(source, {f"{n}": b"%d" % n for n in range(20)} | {"d/e": b"1", "e/f": b"2"})
    await compress(source, out)
    assert len(look(out)) == len(look(source))
    (source / "9.zst").symlink_to("8")
    with pytest.raises(FileExistsError, match=r"9 and .*9\.zst would both"):
        await compress(source, Path(f"{out}2"))


# A destination that is there.


async def test_existing_destination_is_refused(source: Path, out: Path) -> None:
    """Unless it is an empty folder."""
    fill(source, {"a": b"1"})
    out.mkdir()
    await compress(source, out)
    assert (out / "a.zst").exists()
    with pytest.raises(FileExistsError):
        await compress(source, out)


async def test_skip_resumes(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there already is not read again; what is missing is made."""
    mixed(source)
    await compress(source, out)
    whole = look(out)
    (out / "a/exact.zst").write_bytes(b"kept")
    for name in ("a/several.zst", "large.zst", "link"):
        (out / name).unlink()
    read = []
    original = mirrors._read

    def counted(name: str, folder: int) -> Any:
        read.append(name)
        return original(name, folder)

    monkeypatch.setattr(mirrors, "_read", counted)
    report = await compress(source, out, on_exists="skip")
    assert sorted(read) == ["large", "several"]
    assert report.files == 3
    assert any("exist already" in line for line in report.warnings)
    assert (out / "a/exact.zst").read_bytes() == b"kept"
    after = look(out)
    assert {name for name in whole if after[name] != whole[name]} == {b"", b"/a/exact.zst"}
    assert not temporaries(out)


@pytest.mark.parametrize("nameless", [True, False])
async def test_replace(
    nameless: bool,  # noqa: FBT001
    source: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Files are replaced one by one, also where a link was; others stay."""
    if not nameless:
        monkeypatch.setattr(os, "O_TMPFILE", 0)
    fill(source, {"a": SMALL, "sub/b": text(5 * MIB), "c": b"3"})
    (source / "link").symlink_to("a")
    fill(out, {"a.zst": b"old", "other": b"stays", "link": b"old"})
    outside = out.parent / "outside"
    outside.write_bytes(b"untouched")
    (out / "sub").mkdir()
    (out / "sub/b.zst").symlink_to(outside)
    (out / "c.zst").symlink_to(outside)
    await compress(source, out, on_exists="replace")
    assert outside.read_bytes() == b"untouched"
    assert (out / "other").read_bytes() == b"stays"
    assert (out / "link").is_symlink()
    for name, data in (("a", SMALL), ("sub/b", text(5 * MIB)), ("c", b"3")):
        assert not (out / f"{name}.zst").is_symlink()
        assert run(tool("zstd"), "-dcq", out / f"{name}.zst") == data
    assert not temporaries(out)


@pytest.mark.parametrize("on_exists", ["replace", "skip"])
async def test_link_to_a_folder_is_not_followed(on_exists: str, source: Path, out: Path) -> None:
    """A link in the destination, where a folder belongs, leads nowhere."""
    fill(source, {"sub/a": b"1", "b": b"2"})
    outside = out.parent / "outside"
    outside.mkdir()
    out.mkdir()
    (out / "sub").symlink_to(outside)
    report = await compress(source, out, on_exists=on_exists)
    assert not list(outside.iterdir())
    assert (out / "b.zst").exists()
    assert (out / "sub").is_symlink() == (on_exists == "skip")
    assert not report.skipped_count


async def test_folder_where_a_file_belongs(source: Path, out: Path) -> None:
    """A folder is never replaced by a file."""
    fill(source, {"a": b"1"})
    (out / "a.zst").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"a\.zst"):
        await compress(source, out, on_exists="replace")
    assert not temporaries(out)


async def test_same_folder(source: Path) -> None:
    """Source and destination may not be one folder."""
    with pytest.raises(ValueError, match="same folder"):
        await compress(source, source, on_exists="replace")


@pytest.mark.parametrize("exists", [True, False])
async def test_destination_inside(exists: bool, source: Path) -> None:  # noqa: FBT001
    """A destination in the source is left out, with a warning."""
    fill(source, {"a": b"1", "sub/b": b"2"})
    out = source / "sub/out"
    if exists:
        out.mkdir()
    report = await compress(source, out, on_exists="skip" if exists else "error")
    assert {path.name for path in out.rglob("*")} == {"a.zst", "sub", "b.zst"}
    assert any("is the destination" in warning for warning in report.warnings)


# What cannot be read.


async def test_special_files(source: Path, out: Path) -> None:
    """Pipes and sockets are named, and never opened."""
    fill(source, {"a": b"1"})
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "socket"))
        report = await compress(source, out)
    assert [line.partition(": ")[2] for line in report.skipped] == [
        "is a named pipe, and not opened",
        "is a socket, and not opened",
    ]
    assert {path.name for path in out.iterdir()} == {"a.zst"}


@pytest.mark.parametrize("executor", ["thread", "process"])
async def test_vanished(
    executor: str, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that goes before it is read is an error that names it, or is skipped."""
    fill(source, {f"{n}": b"1" for n in range(300)})
    gone = source / "7"

    def batches(self: twins.Twins) -> list[mirrors.Files]:
        files = original(self)
        gone.unlink(missing_ok=True)
        return files

    original = twins.Twins.batches
    monkeypatch.setattr(twins.Twins, "batches", batches)
    with pytest.raises(FileNotFoundError) as caught:
        await compress(source, out, executor=executor)
    assert caught.value.filename == str(gone)
    assert not out.exists()
    gone.write_bytes(b"again")
    report = await compress(source, out, executor=executor, on_error="skip")
    assert report.skipped == (f"{gone}: {os.strerror(errno.ENOENT)}",)
    assert report.files == 299


async def test_unreadable(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or folder that may not be opened is named."""
    fill(source, {"a": b"1", "b": b"2", "sub/c": b"3"})
    opened = os.open

    def refuse(path: Any, *args: Any, **options: Any) -> int:
        if os.fsdecode(path) in {"b", "sub"} and args[0] & os.O_CREAT == 0:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    report = await compress(source, out, on_error="skip")
    assert sorted(report.skipped) == [
        f"{source}/{name}: Permission denied" for name in ("b", "sub")
    ]
    assert {path.name for path in out.iterdir()} == {"a.zst"}
    with pytest.raises(PermissionError, match="sub"):
        await compress(source, Path(f"{out}2"))


async def test_changing(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that grows while it is read is whole as far as it was read, and told."""
    fill(source, {"a": SMALL, "b": b"2"})
    read = os.read

    def grow(descriptor: int, size: int) -> bytes:
        if size == len(SMALL) + 1:
            with open(source / "a", "ab") as file:
                file.write(b"more")
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", grow)
    ftruncate = os.ftruncate

    def shrink(descriptor: int, size: int) -> None:
        """Shrink what has grown, as soon as all of it has gone through the pipeline."""
        ftruncate(descriptor, size)
        if (source / "a").stat().st_size > len(SMALL):
            os.truncate(source / "a", 3)

    monkeypatch.setattr(os, "ftruncate", shrink)
    report = await compress(source, out)
    assert run(tool("zstd"), "-dcq", out / "a.zst") == SMALL + b"more"
    assert report.changed == 1
    assert "changed while it was read" in report.warnings[0]


async def test_long_name(source: Path, out: Path) -> None:
    """A name that is too long with its suffix cannot be there."""
    fill(source, {"n" * 253: b"1", "a": b"2"})
    with pytest.raises(OSError, match="name too long"):
        await compress(source, out)
    report = await compress(source, out, on_error="skip")
    assert report.skipped_count == report.files == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "garbage", "empty"])
async def test_damaged(damage: str, source: Path, out: Path, tmp_path: Path) -> None:
    """A damaged file is an error that names it, or is skipped, and the others come back."""
    fill(source, {"a": SMALL, "b": text(300 * KIB)})
    await compress(source, out)
    path = out / "b.zst"
    data = bytearray(path.read_bytes())
    path.write_bytes(
        {
            "cut": data[: len(data) // 2],
            "flipped": data[:1000] + bytes([data[1000] ^ 1]) + data[1001:],
            "garbage": data + b"garbage",
            "empty": bytearray(),
        }[damage]
    )
    with pytest.raises(CorruptError) as caught:
        await decompress(out, tmp_path / "back")
    assert caught.value.file == str(path)
    assert not (tmp_path / "back").exists()
    report = await decompress(out, tmp_path / "back", on_error="skip")
    assert (tmp_path / "back/a").read_bytes() == SMALL
    assert not (tmp_path / "back/b").exists()
    assert report.skipped[0].startswith(str(path))
    assert report.skipped_count == report.damaged == 1


async def test_unknown_suffix(source: Path, out: Path) -> None:
    """A file that is not compressed by its name is an error that names it, or skipped."""
    fill(source, {"a.zst": run(tool("zstd"), "-qc", data=b"1"), "notes.txt": b"2", ".zst": b"3"})
    with pytest.raises(FormatError, match=r"\.zst: unknown suffix"):
        await decompress(source, out)
    report = await decompress(source, out, on_error="skip")
    assert report.skipped_count == 2
    assert {path.name for path in out.iterdir()} == {"a"}


async def test_not_compressed(source: Path, out: Path) -> None:
    """A file that is not compressed by its content is too."""
    fill(source, {"a.zst": b"plain text"})
    with pytest.raises(FormatError, match=r"a\.zst: not a zstd"):
        await decompress(source, out)


# Limits.


async def test_bomb(source: Path, out: Path, tmp_path: Path) -> None:
    """A small file that becomes a large one goes through the pipeline; the limit is of all."""
    (source / "zeros").write_bytes(b"")
    os.truncate(source / "zeros", 40 * MIB)
    fill(source, {"a": SMALL})
    await compress(source, out, chunk_size=None)
    assert (out / "zeros.zst").stat().st_size < 10 * KIB
    report = await decompress(out, tmp_path / "back")
    assert report.raw_bytes == 40 * MIB + len(SMALL)
    total = 40 * MIB + len(SMALL)
    await decompress(out, tmp_path / "exact", max_output=total)
    for limit in (1, len(SMALL), total - 1):
        with pytest.raises(LimitError, match=f"larger than the {limit} bytes"):
            await decompress(out, tmp_path / "limited", max_output=limit, on_error="skip")
        assert not (tmp_path / "limited").exists()


async def test_bounds(source: Path, out: Path, tmp_path: Path) -> None:
    """Too many files end it all; one that is too large is left out where that is wanted."""
    (source / "zeros").write_bytes(b"")
    os.truncate(source / "zeros", 20 * MIB)
    fill(source, {"a": SMALL, "b/c": b"c"})
    await compress(source, out, chunk_size=None)
    with pytest.raises(LimitError, match="more than the 2 members"):
        await decompress(out, tmp_path / "back", bounds=Bounds(2), on_error="skip")
    for most in (len(SMALL) - 1, 20 * MIB - 1):
        with pytest.raises(LimitError, match=f"larger than the {most} bytes allowed for a member"):
            await decompress(out, tmp_path / "back", bounds=Bounds(None, most))
    assert not (tmp_path / "back").exists()
    report = await decompress(out, tmp_path / "back", bounds=Bounds(3, len(SMALL)), on_error="skip")
    assert (report.files, report.damaged) == (2, 1)
    assert report.skipped[0].startswith(str(out / "zeros.zst"))
    assert sorted(os.listdir(tmp_path / "back")) == ["a", "b"]
    await decompress(out, tmp_path / "whole", bounds=Bounds(3, 20 * MIB))
    assert look(tmp_path / "whole") == look(source)


@pytest.mark.parametrize("fails", range(8))
async def test_no_descriptors_while_files_wait_for_their_names(
    fails: int, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file gets its name in its own folder, whatever was open before."""
    fill(source, {f"{folder}/{name}": name.encode() for folder in "abcd" for name in ("1", "2")})
    await compress(source, out, chunk_size=None)
    shutil.rmtree(out / "c")
    original, nameless = os.open, 0

    def refuse(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        nonlocal nameless
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            nameless += 1
            if nameless - 1 in {fails, fails + 1}:
                raise OSError(errno.EMFILE, "Too many open files")
        return original(path, flags, *arguments, **options)

    pool = WorkerPool(1, None, "thread")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refuse)
            await mirroring.compress_tree(
                pool,
                str(source),
                str(out),
                make_recipe("zstd", 3, None),
                make_writing("replace", True, False),  # noqa: FBT003
            )
    finally:
        await pool.aclose()
    names = {f"{folder}/{name}.zst" for folder in "abcd" for name in ("1", "2")}
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == names
    for name in names:
        assert zstandard.decompress((out / name).read_bytes()) == name[2:3].encode()


async def test_excluded(source: Path, out: Path) -> None:
    """What is excluded is not there, and takes nobody's name."""
    fill(source, {"a": b"1", "b.o": b"2", "sub/c": b"3", "x": b"4"})
    (source / "x.zst").symlink_to("a")

    def excluded(name: bytes, is_folder: bool) -> bool:  # noqa: FBT001
        return name.endswith((b".o", b".zst")) or (is_folder and name == b"sub")

    await compress(source, out, excluded=excluded)
    assert {path.name for path in out.iterdir()} == {"a.zst", "x.zst"}


async def test_progress(source: Path, out: Path) -> None:
    """Bytes and files are told."""
    fill(source, {f"{n}": SMALL for n in range(10)} | {"large": text(5 * MIB)})
    told: list[Any] = []
    await compress(source, out, progress=told.append)
    assert told[-1].files == 11
    assert told[-1].raw_bytes == 10 * len(SMALL) + 5 * MIB


# Interrupted.


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("executor", ["thread", "process"])
async def test_cancelled(executor: Any, in_place: bool, source: Path, out: Path) -> None:  # noqa: FBT001
    """At any moment: no temporary, no open descriptor, and no hidden folder is left."""
    fill(source, {f"{n % 9}/{n}": noise(3 * KIB) for n in range(400)} | {"large": noise(6 * MIB)})
    if in_place:
        out.mkdir()
    pool = WorkerPool(2, None, executor)
    try:
        recipe = make_recipe("zstd", None, CHUNK)
        writing = make_writing("skip" if in_place else "error", False, False)  # noqa: FBT003
        # The first run starts what stays: workers, threads, the arena.
        await mirroring.compress_tree(pool, str(source), f"{out}0", recipe, writing)
        before = len(os.listdir("/proc/self/fd"))
        for delay in (0, 1, 2, 4, 8, 16, 32):
            task = asyncio.ensure_future(
                mirroring.compress_tree(pool, str(source), str(out), recipe, writing)
            )
            await asyncio.sleep(delay / 1000)
            task.cancel()
            if isinstance((await asyncio.gather(task, return_exceptions=True))[0], Report):
                break
            assert len(os.listdir("/proc/self/fd")) <= before
            assert not temporaries(out.parent)
            assert in_place or not out.exists()
        if in_place:
            await mirroring.compress_tree(pool, str(source), str(out), recipe, writing)
            assert look(out, times=False) == look(Path(f"{out}0"), times=False)
    finally:
        await pool.aclose()


def test_worker_dies(source: Path, out: Path) -> None:
    """A batch whose worker died is done again, also what was done of it before."""
    fill(source, {f"{n}": b"%d" % n for n in range(5)})
    begun = bytearray(mirrors.pack([b"%d" % n for n in range(5)]))
    out.mkdir()
    roots = mirrors.Roots(str(source), str(out), None)
    for _ in range(2):
        result = mirrors.compress(
            (memoryview(begun), memoryview(b"")), roots, MIB, "zstd", 3, CHUNK
        )
        assert result.data is not None
        assert mirrors.Outcome.unpack(result.data).letters == bytes([mirrors.DONE]) * 5
    begun[0] = 0
    result = mirrors.compress((memoryview(begun), memoryview(b"")), roots, MIB, "zstd", 3, CHUNK)
    assert result.data is not None
    assert mirrors.Outcome.unpack(result.data).letters == bytes([mirrors.LEFT]) * 5


@pytest.mark.parametrize("on_exists", ["error", "skip", "replace"])
async def test_workers_killed(on_exists: str, source: Path, out: Path) -> None:
    """A worker killed in the middle costs nothing but time."""
    fill(source, {f"{n % 9}/{n}": noise(40 * KIB) for n in range(300)})
    if on_exists != "error":
        out.mkdir()
    pool = WorkerPool(2, None, "process")
    try:
        recipe = make_recipe("gzip", 12, CHUNK)
        writing = make_writing(on_exists, False, False)  # type: ignore[arg-type]  # noqa: FBT003
        task = asyncio.ensure_future(
            mirroring.compress_tree(pool, str(source), str(out), recipe, writing)
        )
        while len(list(out.parent.rglob("*.gz"))) < 20:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        assert pool._workers is not None
        os.kill(pool._workers._context.started[0].pid, signal.SIGKILL)  # type: ignore[arg-type]
        await task
    finally:
        await pool.aclose()
    assert len(list(out.rglob("*.gz"))) == 300
    assert not temporaries(out.parent)
    await decompress(out, Path(f"{out}2"))
    found = {name: about[2] for name, about in look(Path(f"{out}2")).items()}
    assert found == {name: about[2] for name, about in look(source).items()}


async def test_roots_out_of_reach(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch whose worker cannot open the trees is done here."""
    fill(source, {f"{n}": b"%d" % n for n in range(300)})
    opened, refused = os.open, 0

    def refuse(path: Any, *args: Any, **options: Any) -> int:
        nonlocal refused
        if refused < 2 and str(path).startswith(f"/proc/{os.getpid()}/fd/"):
            refused += 1
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return opened(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    report = await compress(source, out)
    assert report.files == 300
    assert refused == 2


async def test_full_disk(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the destination is never skipped, and names the file there."""
    fill(source, {"a": SMALL})

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "writev", full)
    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(OSError, match="No space left") as caught:
        await compress(source, out, on_error="skip")
    assert caught.value.filename == f"{out}/a.zst"
    assert not out.exists()
    assert not temporaries(out.parent)
