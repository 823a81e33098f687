"""Archives: what goes in comes back, others read ours and we theirs, and lies are found.

Trees are generated, or hold one of every kind; tools of others read and write each archive too.
"""

# They look at files, and wait for what has no event:

from __future__ import annotations

import asyncio
import gzip
import io
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aiocompress
from aiocompress import (
    AiocompressError,
    Archive,
    ClosedError,
    CorruptError,
    Engine,
    FormatError,
    MemberNotFoundError,
    Report,
    TruncatedError,
)
from aiocompress.formats.tar import reader as tar
from aiocompress.model import OnError
from aiocompress.storage import walk as walked

from ...help import hostile, trees
from ...help.data import noise, text
from ...help.hostile import Member, Row, folder, hardlink, symlink
from ...help.tools import LIBRARY, module, nobody, run, small_disk, tool
from ...help.trees import CHUNK, IS_ROOT, SECOND, Node, Tree

KIB, MIB = 1 << 10, 1 << 20
SUFFIXES = {".tar.zst": "zstd", ".tar.gz": "gzip"}
every_suffix = pytest.mark.parametrize("suffix", SUFFIXES)
ON_ERROR: tuple[OnError, OnError] = ("raise", "skip")
UTF8 = {**os.environ, "LC_ALL": "C.UTF-8"}
T = TypeVar("T")


class Works:
    """One engine, and a loop, for tests that are not async: those of hypothesis."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner, self.engine = runner, Engine(2, executor="thread")

    def __call__(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.runner.run(wait())


@pytest.fixture(scope="module")
def works() -> Iterator[Works]:
    with asyncio.Runner() as runner:
        made = Works(runner)
        yield made
        made(made.engine.aclose())


@contextmanager
def _place() -> Iterator[Path]:
    """A folder for one example."""
    with tempfile.TemporaryDirectory() as name:
        try:
            yield Path(name)
        finally:
            subprocess.run(["chmod", "-R", "u+rwx", name], check=False, capture_output=True)


def _engine() -> Engine:
    return Engine(2, executor="thread")


async def _pack(source: Any, path: Path, chunk: int = CHUNK, **options: Any) -> Report:
    async with _engine() as engine:
        return await engine.compress_folder(source, path, chunk, fsync=False, **options)


async def _unpack(path: Path, dest: Path, **options: Any) -> Report:
    async with _engine() as engine:
        return await engine.decompress_folder(path, dest, fsync=False, **options)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with one of every kind; nobody changes it."""
    root = tmp_path_factory.mktemp("zoo") / "zoo"
    trees.build(root, trees.zoo())
    yield root
    subprocess.run(["chmod", "-R", "u+rwx", root], check=False)


@pytest.fixture(scope="module")
def packed(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The zoo as an archive of ours, by suffix."""
    folder = tmp_path_factory.mktemp("packed")
    for suffix in SUFFIXES:
        asyncio.run(_pack(zoo, folder / f"zoo{suffix}"))
    return {suffix: folder / f"zoo{suffix}" for suffix in SUFFIXES}


def _decompressed(path: Path) -> bytes:
    if path.suffix == ".zst":
        return run(tool("zstd"), "-dc", path)
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


# There and back.


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    tree=trees.trees(),
    chunk=st.sampled_from([4 * KIB, CHUNK, MIB]),
    suffix=st.sampled_from([*SUFFIXES]),
)
def test_round_trips(tree: Tree, chunk: int, suffix: str, works: Works) -> None:
    """Names, kinds, content, modes, times to the ns, targets and hard links come back."""
    with _place() as place:
        trees.build(place / "tree", tree)
        before, path = trees.look(place / "tree"), place / f"a{suffix}"
        options: Any = {"fsync": False}
        report = works(works.engine.compress_folder(place / "tree", path, chunk, **options))
        assert report.files == sum(node.kind != "directory" for node in tree.values())
        assert report.compressed_bytes == path.stat().st_size
        assert not report.skipped_count
        assert not report.warnings
        report = works(works.engine.decompress_folder(path, place / "back", **options))
        assert report.files == sum(node.kind != "directory" for node in tree.values())
        trees.check_same(trees.look(place / "back"), trees.restored(before))
        options["preserve"] = True
        works(works.engine.decompress_folder(path, place / "kept", **options))
        kept = {
            name: replace(
                node, mode=node.mode | {"file": 0o400, "directory": 0o500}.get(node.kind, 0)
            )
            for name, node in before.items()
        }
        trees.check_same(trees.look(place / "kept"), kept)


@every_suffix
async def test_one_of_every_kind(
    suffix: str, zoo: Path, packed: dict[str, Path], tmp_path: Path
) -> None:
    """The zoo comes back, and every check of the archive passes."""
    await _unpack(packed[suffix], tmp_path / "back")
    trees.check_same(trees.look(tmp_path / "back"), trees.restored(trees.look(zoo)))
    async with _engine() as engine:
        assert (await engine.test(packed[suffix])).frames > 5
        async with engine.open_archive(packed[suffix]) as archive:
            assert archive.is_indexed
            report = await archive.test()
            assert report.files == sum(node.kind != "directory" for node in trees.zoo().values())
            assert archive.warnings == []


# Others read ours.


def _entries_of_tarfile(data: bytes) -> Tree:
    """What Python's tarfile says is in a tar; hard links have the content of their first."""
    tree: Tree = {}
    kinds = {b"0": "file", b"1": "hardlink", b"2": "symlink", b"5": "directory"}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8") as archive:
        for info in archive:
            name, link = (os.fsencode(text) for text in (info.name, info.linkname))
            file = archive.extractfile(info) if info.isreg() else None
            data = file.read() if file else b""
            when = int(info.mtime // 1) * SECOND
            tree[name] = Node(kinds[info.type], info.mode, when, data, link)
    return tree


def _as_listed(tree: Tree) -> Tree:
    """A tree as tar holds it: a hard link is the name of the first of its paths."""
    seen, listed = set(), {}
    for path, node in sorted(tree.items(), key=lambda item: item[0].split(b"/")):
        first = node.same and any(one in seen for one in node.same)
        if first:
            link = next(one for one in node.same if one in seen)
            listed[path] = replace(node, kind="hardlink", data=b"", link=link, same=())
        else:
            listed[path] = replace(node, same=())
        seen.add(path)
    return trees.in_seconds(listed)


_ESCAPED = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_LETTERS = {
    b"n": b"\n",
    b"t": b"\t",
    b"r": b"\r",
    b"b": b"\b",
    b"f": b"\f",
    b"a": b"\a",
    b"v": b"\v",
}


def _listed(*command: str | Path) -> list[bytes]:
    """The names that a tool lists, its escapes undone."""
    done = subprocess.run(command, capture_output=True, check=True, timeout=60, env=UTF8)

    def plain(match: re.Match[bytes]) -> bytes:
        found = match[1]
        return bytes([int(found, 8)]) if len(found) == 3 else _LETTERS.get(found, found)

    lines = done.stdout.removesuffix(b"\n").split(b"\n") if done.stdout else []
    return [_ESCAPED.sub(plain, line).rstrip(b"/").removeprefix(b"./") for line in lines]


def _extracted(place: Path, name: str, *command: str | Path) -> Tree:
    """What a tool makes of an archive."""
    dest = place / name
    dest.mkdir()
    done = subprocess.run(
        [*command, "-C", dest], capture_output=True, check=False, timeout=60, env=UTF8
    )
    assert done.returncode == 0, done.stderr
    return trees.look(dest)


def _check_others(path: Path, expected: Tree, place: Path) -> None:
    """GNU tar, bsdtar and tarfile list and extract an archive of ours."""
    option = "--zstd" if path.suffix == ".zst" else "-z"
    gnu, bsd = tool("tar"), tool("bsdtar")
    raw = _decompressed(path)
    found = _entries_of_tarfile(raw)
    trees.check_same(found, _as_listed(expected))
    assert raw.endswith(bytes(1024))
    names = list(found)
    assert _listed(gnu, "--quoting-style=escape", option, "-tf", path) == names
    assert _listed(bsd, "-tf", path) == names
    seconds = trees.in_seconds(expected)
    trees.check_same(trees.in_seconds(_extracted(place, "gnu", gnu, option, "-xpf", path)), seconds)
    trees.check_same(trees.in_seconds(_extracted(place, "bsd", bsd, "-xpf", path)), seconds)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=trees.trees(), suffix=st.sampled_from([*SUFFIXES]))
def test_others_read_ours(tree: Tree, suffix: str, works: Works) -> None:
    """GNU tar, bsdtar and tarfile find the same entries, and make the same tree."""
    with _place() as place:
        trees.build(place / "tree", trees.below(tree))
        path, source = place / f"a{suffix}", place / "tree"
        works(works.engine.compress_folder(source, path, CHUNK, fsync=False))
        _check_others(path, trees.look(source), place)


@every_suffix
def test_others_read_the_zoo(suffix: str, zoo: Path, packed: dict[str, Path]) -> None:
    """One of every kind."""
    with _place() as place:
        _check_others(packed[suffix], trees.look(zoo), place)


def test_others_check_ours(packed: dict[str, Path]) -> None:
    """zstd and gzip find nothing wrong; indexed_zstd and pgzip read them by their indexes."""
    zst, gz = packed[".tar.zst"], packed[".tar.gz"]
    run(tool("zstd"), "-tq", zst)
    run(tool("gzip"), "-t", gz)
    raw = _decompressed(zst)
    with module("indexed_zstd").IndexedZstdFile(str(zst)) as file:
        assert file.is_multiframe()
        assert file.size() == len(raw)
        for at in (0, 1, CHUNK - 1, CHUNK, len(raw) // 2, len(raw) - 10):
            file.seek(at)
            assert file.read(100) == raw[at : at + 100]
        file.seek(0)
        assert file.read() == raw
    assert gzip.decompress(gz.read_bytes()) == raw
    with module("pgzip").open(str(gz), "rb", thread=2) as file:
        assert file.read() == raw


# We read theirs.

Writer = Callable[[Path, Path], object]


def _by_tarfile(source: Path, path: Path) -> None:
    """Times as ints: it writes floats as Python does, "1e-09" too, which no tar reads."""

    def in_seconds(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.mtime = os.lstat(source / info.name).st_mtime_ns // SECOND
        return info

    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(os.listdir(source)):
            archive.add(source / name, name, filter=in_seconds)


def _compressed_by(*command: str) -> Writer:
    """GNU tar, and what compresses its archive, by a pipe."""

    def write(source: Path, path: Path) -> None:
        raw = run(tool("tar"), "-C", source, "--format=posix", "-cf", "-", ".")
        path.write_bytes(run(tool(command[0]), *command[1:], data=raw))

    return write


def _by(name: str, *options: str) -> Writer:
    """A tar of GNU or of libarchive."""

    def write(source: Path, path: Path) -> None:
        run(tool(name), "-C", source, *options, "-cf", path, ".")

    return write


WRITERS: dict[str, tuple[str, int, Writer]] = {
    # The suffix, and which part of the times they keep, in ns.
    "tar, posix": (".tar", 1, _by("tar", "-H", "posix")),
    "tar, gnu": (".tar", SECOND, _by("tar", "-H", "gnu")),
    "tar, sparse": (".tar", 1, _by("tar", "-H", "posix", "-S")),
    "tar --zstd": (".tar.zst", 1, _by("tar", "-H", "posix", "--zstd")),
    "tar -z": (".tar.gz", SECOND, _by("tar", "-H", "gnu", "-z")),
    "bsdtar, pax": (".tar", 1, _by("bsdtar", "--format=pax")),
    "bsdtar, gnutar": (".tar", SECOND, _by("bsdtar", "--format=gnutar")),
    "bsdtar --zstd": (".tar.zst", 1, _by("bsdtar", "--format=pax", "--zstd")),
    "bsdtar -z": (".tar.gz", 1, _by("bsdtar", "--format=pax", "-z")),
    "tarfile": (".tar", SECOND, _by_tarfile),
    "pigz": (".tar.gz", 1, _compressed_by("pigz", "-c")),
    "zstd": (".tar.zst", 1, _compressed_by("zstd", "-q", "-c")),
    "pzstd": (".tar.zst", 1, _compressed_by("pzstd", "-q", "-c")),
}


def _time(ns: int, part: int) -> int:
    """A time that can be compared: bsdtar writes those before 1970 wrong, if parts of seconds."""
    return max(0, ns) // part


def _cut(tree: Tree, part: int) -> Tree:
    return {path: replace(node, mtime_ns=_time(node.mtime_ns, part)) for path, node in tree.items()}


async def _check_ours(path: Path, expected: Tree, part: int, place: Path) -> None:
    """List, read and extract an archive of another writer."""
    async with _engine() as engine, engine.open_archive(path) as archive:
        assert not archive.is_indexed
        found = [member async for member in archive.members()]
        plain = [os.fsencode(member.name).removeprefix(b"./") for member in found]
        assert sorted(name for name in plain if name != b".") == list(expected)
        for member, name in zip(found, plain, strict=True):
            if name == b".":
                continue
            node = expected[name]
            kind = "hardlink" if member.kind == "hardlink" and node.same else node.kind
            assert (member.kind, member.mode) == (kind, node.mode), name
            if kind != "hardlink":
                assert _time(member.mtime_ns, part) == _time(node.mtime_ns, part), name
            if kind == "file":
                assert member.size == len(node.data)
        files = [name for name, node in expected.items() if node.kind == "file"]
        for name in files[:: max(1, len(files) // 7)]:
            assert await archive.read(os.fsdecode(name)) == expected[name].data
        await archive.extract(place / "out", fsync=False)
    out = _cut(trees.look(place / "out"), part)
    trees.check_same(out, _cut(trees.restored(expected), part))


@pytest.mark.parametrize(("suffix", "part", "write"), WRITERS.values(), ids=WRITERS)
async def test_we_read_theirs(suffix: str, part: int, write: Writer, zoo: Path) -> None:
    """One of every kind, listed, read and extracted."""
    with _place() as place:
        path = place / f"theirs{suffix}"
        write(zoo, path)
        await _check_ours(path, trees.look(zoo), part, place)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=trees.trees(), name=st.sampled_from([*WRITERS]))
def test_we_read_theirs_generated(tree: Tree, name: str, works: Works) -> None:
    """Trees of every kind."""
    suffix, part, write = WRITERS[name]
    with _place() as place:
        trees.build(place / "tree", trees.below(tree))
        path = place / f"theirs{suffix}"
        write(place / "tree", path)
        works(_check_ours(path, trees.look(place / "tree"), part, place))


async def test_several_frames_of_pzstd(tmp_path: Path) -> None:
    """A tar of more than one of pzstd's frames."""
    content = {f"f{number}": text(3 * MIB, number) for number in range(8)}
    (tmp_path / "tree").mkdir()
    for name, data in content.items():
        (tmp_path / "tree" / name).write_bytes(data)
    raw = run(tool("tar"), "-C", tmp_path / "tree", "-cf", "-", ".")
    path = tmp_path / "a.tar.zst"
    path.write_bytes(run(tool("pzstd"), "-q", "-1", "-p", "2", "-c", data=raw))
    assert run(tool("zstd"), "-lv", path).count(b"\n") > 2
    report = await _unpack(path, tmp_path / "back")
    assert report.frames > 1
    for name, data in content.items():
        assert (tmp_path / "back" / name).read_bytes() == data


def _make_sparse(path: Path) -> bytes:
    path.parent.mkdir()
    with open(path, "wb") as file:
        for at in (0, 1 * MIB, 3 * MIB + 5):
            file.seek(at)
            file.write(noise(3000, at))
        file.truncate(5 * MIB)
    return path.read_bytes()


async def test_sparse_members(tmp_path: Path) -> None:
    """Holes that GNU tar left out come back as zeros, read anywhere, and stay holes."""
    data = _make_sparse(tmp_path / "tree" / "sparse")
    for kind in ("gnu", "posix"):
        path = tmp_path / f"{kind}.tar"
        run(tool("tar"), "-C", tmp_path / "tree", "-H", kind, "-Scf", path, "sparse")
        if path.stat().st_size > MIB:
            pytest.skip("a file system without holes")
        async with aiocompress.open_archive(path) as archive:
            assert (await archive.member("sparse")).size == len(data)
            async with archive.open("sparse") as member:
                for at in (MIB - 5, 0, 3 * MIB, 2 * MIB, len(data) - 10):
                    await member.seek(at)
                    assert await member.read(5000) == data[at : at + 5000]
                await member.seek(0)
                assert await member.read() == data
            await archive.extract(tmp_path / kind, fsync=False)
        assert (tmp_path / kind / "sparse").read_bytes() == data
        assert (tmp_path / kind / "sparse").stat().st_blocks * 512 < MIB


# The same bytes.


@every_suffix
async def test_the_same_bytes_whoever_works(
    suffix: str, zoo: Path, packed: dict[str, Path], tmp_path: Path
) -> None:
    """Workers, memory, executors and place of the tree change nothing."""
    run(tool("cp"), "-a", zoo, tmp_path / "copy")
    expected = packed[suffix].read_bytes()
    with ThreadPoolExecutor(2) as own:
        engines = (
            Engine(1, executor="thread"),
            Engine(2, "256KiB", executor="thread"),
            Engine(5, executor="thread"),
            Engine(2, executor=own),
            Engine(2),
        )
        for number, engine in enumerate(engines):
            async with engine:
                path = tmp_path / f"{number}{suffix}"
                source = tmp_path / "copy" if number % 2 else zoo
                await engine.compress_folder(source, path, CHUNK, fsync=False)
                assert path.read_bytes() == expected
                await engine.decompress_folder(path, tmp_path / f"{number}", fsync=False)
                back = trees.look(tmp_path / f"{number}")
                trees.check_same(back, trees.restored(trees.look(zoo)))


async def test_reproducible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies with other times, owners and modes give the same bytes; a later time is clamped."""
    results = {}
    for number, epoch in ((0, None), (1, None), (0, "1000000000"), (1, "1000000000")):
        tree = tmp_path / f"tree{number}"
        if not tree.exists():
            (tree / "d").mkdir(parents=True)
            (tree / "d" / "run").write_bytes(b"run")
            (tree / "f").write_bytes(b"f")
            (tree / "l").symlink_to("f")
            (tree / "d" / "run").chmod(0o755 - number * 0o44)
            (tree / "f").chmod(0o644 - number * 0o44)
            os.utime(tree / "f", ns=(0, 2 * 10**18 + number))
            os.utime(tree / "d", ns=(0, 2 * 10**18 - number))
            if IS_ROOT:
                os.chown(tree / "f", 1000 + number, 1000 + number)
        if epoch is None:
            monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
        else:
            monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        path = tmp_path / f"{number}-{epoch}.tar.zst"
        await _pack(tree, path, reproducible=True)
        results[number, epoch] = path.read_bytes()
        found = _entries_of_tarfile(_decompressed(path))
        assert {node.mtime_ns for node in found.values()} == {int(epoch or 0) * SECOND}
        assert found[b"d/run"].mode == 0o755
        assert found[b"f"].mode == 0o644
    assert results[0, None] == results[1, None] != results[0, "1000000000"]
    assert results[0, "1000000000"] == results[1, "1000000000"]


# What is packed.


def _names(path: Path) -> list[bytes]:
    return list(_entries_of_tarfile(_decompressed(path)))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A small tree."""
    tree = tmp_path / "small"
    for name in ("a", "b/c", "b/d.log", "b/keep.log", "e/f/g", "e/x.log"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    return tree


@every_suffix
async def test_prefix(suffix: str, small: Path, tmp_path: Path) -> None:
    """All stands in the folder asked for; one that leads elsewhere is refused."""
    for number, prefix in enumerate(("top", "./top/", "/top", "top//sub")):
        path = tmp_path / f"{number}{suffix}"
        await _pack(small, path, prefix=prefix)
        inside = b"top/sub" if "sub" in prefix else b"top"
        assert all(name.startswith(inside) for name in _names(path))
        await _unpack(path, tmp_path / f"out{number}")
        back = tmp_path / f"out{number}" / inside.decode()
        assert (back / "e/f/g").read_text() == "e/f/g"
    with pytest.raises(ValueError, match="prefix"):
        await _pack(small, tmp_path / f"x{suffix}", prefix="a/../..")


async def test_exclude(small: Path, tmp_path: Path) -> None:
    """The rules of gitignore: negation, folders, anchors; a prefix does not count."""
    for number, (rules, left) in enumerate(
        (
            (["*.log", "!keep.log"], [b"a", b"b", b"b/c", b"b/keep.log", b"e", b"e/f", b"e/f/g"]),
            (["e/"], [b"a", b"b", b"b/c", b"b/d.log", b"b/keep.log"]),
            (
                ["/a", "# nothing", "", "f"],
                [b"b", b"b/c", b"b/d.log", b"b/keep.log", b"e", b"e/x.log"],
            ),
            (
                ["**/c", "a/"],
                [b"a", b"b", b"b/d.log", b"b/keep.log", b"e", b"e/f", b"e/f/g", b"e/x.log"],
            ),
            (["*"], []),
        )
    ):
        path = tmp_path / f"{number}.tar.zst"
        await _pack(small, path, exclude=rules)
        assert _names(path) == left
        await _pack(small, tmp_path / f"p{number}.tar.zst", exclude=rules, prefix="p")
        assert (
            _names(tmp_path / f"p{number}.tar.zst")[1:] == [b"p/" + name for name in left]
            or not left
        )


async def test_exclude_and_newlines(tmp_path: Path) -> None:
    """A name that ends with a newline is not the name without it."""
    (tmp_path / "tree").mkdir()
    for name in ("foo", "foo\n", "x.log", "x.log\n"):
        (tmp_path / "tree" / name).write_text(name)
    await _pack(tmp_path / "tree", tmp_path / "a.tar.zst", exclude=["foo", "*.log"])
    assert _names(tmp_path / "a.tar.zst") == [b"foo\n", b"x.log\n"]


@every_suffix
async def test_several_sources(suffix: str, small: Path, tmp_path: Path) -> None:
    """They stand under their own names; two of one name are refused, and so is none."""
    (tmp_path / "other").write_text("other")
    (tmp_path / "link").symlink_to("other")
    path = tmp_path / f"a{suffix}"
    await _pack([small / "b", tmp_path / "other", small / "e", tmp_path / "link"], path)
    assert _names(path) == [
        *(b"b", b"b/c", b"b/d.log", b"b/keep.log", b"other"),
        *(b"e", b"e/f", b"e/f/g", b"e/x.log", b"link"),
    ]
    await _unpack(path, tmp_path / "out")
    assert (tmp_path / "out" / "other").read_text() == "other"
    (small / "other").write_text("clash")
    for sources, words in (([small / "other", tmp_path / "other"], "other"), ([], "no source")):
        with pytest.raises(ValueError, match=words):
            await _pack(sources, tmp_path / f"x{suffix}")
    with pytest.raises(FileNotFoundError) as caught:
        await _pack([small, small / "nothing"], tmp_path / f"x{suffix}")
    assert caught.value.filename == str(small / "nothing")
    assert not (tmp_path / f"x{suffix}").exists()


@every_suffix
async def test_a_file_as_source(suffix: str, tmp_path: Path) -> None:
    """It stands there under its own name."""
    (tmp_path / "only").write_bytes(noise(50_000))
    path = tmp_path / f"a{suffix}"
    report = await _pack(tmp_path / "only", path)
    assert (_names(path), report.files) == ([b"only"], 1)
    async with aiocompress.open_archive(path) as archive:
        assert await archive.read("only") == noise(50_000)


@every_suffix
async def test_an_empty_folder(suffix: str, tmp_path: Path) -> None:
    """It is an archive of nothing, for everybody."""
    (tmp_path / "tree").mkdir()
    path = tmp_path / f"a{suffix}"
    assert (await _pack(tmp_path / "tree", path)).files == 0
    assert run(tool("tar"), "-taf", path) == run(tool("bsdtar"), "-tf", path) == b""
    assert _decompressed(path) == bytes(1024)
    async with _engine() as engine, engine.open_archive(path) as archive:
        assert [member async for member in archive.members()] == []
        assert (await archive.test()).files == 0
        await archive.extract(tmp_path / "out", fsync=False)
    assert os.listdir(tmp_path / "out") == []


@every_suffix
async def test_a_destination_inside_the_source(suffix: str, small: Path) -> None:
    """It is left out, with a warning; an older one of that name as well."""
    path = small / f"b/a{suffix}"
    await _pack(small, path)
    report = await _pack(small, path, on_exists="replace")
    assert f"b/a{suffix}".encode() not in _names(path)
    assert [text for text in report.warnings if "output" in text], report.warnings
    assert [name for name in os.listdir(small / "b") if name.startswith(".")] == []


async def test_attributes_that_nobody_would_read_back(tmp_path: Path) -> None:
    """More of them than ``max_metadata`` are left out, and told of: the archive comes back."""
    with small_disk(tmp_path / "disk", "size=9M"):
        tree = tmp_path / "disk" / "tree"
        tree.mkdir()
        for name in ("f", "g"):
            (tree / name).write_bytes(b"data")
        try:
            for number in range(20):
                os.setxattr(tree / "f", f"user.{number}", bytes(60_000))
            os.setxattr(tree / "g", "user.plain", b"value")
        except OSError:
            pytest.skip("a file system without so many attributes")
        report = await _pack(tree, tmp_path / "a.tar.zst", xattrs=True)
    assert report.changed == 1
    assert report.warnings[0].endswith("f: its attributes are too large, and not packed")
    await _unpack(tmp_path / "a.tar.zst", tmp_path / "out", preserve=True)
    assert (tmp_path / "out" / "f").read_bytes() == b"data"


@every_suffix
async def test_xattrs(suffix: str, tmp_path: Path) -> None:
    """On request they are packed; bsdtar and ``preserve`` bring them back."""
    (tmp_path / "tree" / "d").mkdir(parents=True)
    (tmp_path / "tree" / "f").write_bytes(b"data")
    attributes = {"user.plain": b"value", "user.a=b%": b"\0\xff\n", "user.empty": b""}
    try:
        for name in ("d", "f"):
            for key, value in attributes.items():
                os.setxattr(tmp_path / "tree" / name, key, value)
    except OSError:
        pytest.skip("a file system without extended attributes")
    path = tmp_path / f"a{suffix}"
    await _pack(tmp_path / "tree", path, xattrs=True)
    await _unpack(path, tmp_path / "plain")
    await _unpack(path, tmp_path / "kept", preserve=True)
    (tmp_path / "bsd").mkdir()
    run(tool("bsdtar"), "-xpf", path, "-C", tmp_path / "bsd")
    for name in ("f", "d"):
        assert not os.listxattr(tmp_path / "plain" / name)
        for place in ("bsd", "kept"):
            full = tmp_path / place / name
            found = {key: os.getxattr(full, key) for key in os.listxattr(full)}
            assert found.items() >= {"user.plain": b"value"}.items(), (place, name)
            if place == "kept":
                assert found == attributes
    await _pack(tmp_path / "tree", tmp_path / f"b{suffix}")
    assert b"xattr" not in _decompressed(tmp_path / f"b{suffix}")


@every_suffix
async def test_specials(suffix: str, tmp_path: Path) -> None:
    """A named pipe is never opened, and packed as one; a socket is named as left out."""
    tree = tmp_path / "tree"
    tree.mkdir()
    os.mkfifo(tree / "pipe", 0o640)
    (tree / "file").write_bytes(b"x")
    path = tmp_path / f"a{suffix}"
    await asyncio.wait_for(_pack(tree, path), 20)
    assert run(tool("tar"), "-tvaf", path).splitlines()[1].startswith(b"prw-r-----")
    here = os.getcwd()
    os.chdir(tree)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
    finally:
        os.chdir(here)
    with pytest.raises(OSError, match="socket") as caught:
        await _pack(tree, path, on_exists="replace")
    assert caught.value.filename == str(tree / "socket")
    report = await _pack(tree, path, on_exists="replace", on_error="skip")
    assert (report.skipped_count, report.files) == (1, 2)
    assert report.skipped[0].startswith(str(tree / "socket"))
    report = await _unpack(path, tmp_path / "kept", preserve=True)
    status = (tmp_path / "kept" / "pipe").stat()
    assert stat.S_ISFIFO(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o640


@every_suffix
@pytest.mark.skipif(not IS_ROOT, reason="only root makes devices")
async def test_devices(suffix: str, tmp_path: Path) -> None:
    """Devices come back on request, with their numbers."""
    tree = tmp_path / "tree"
    tree.mkdir()
    try:
        os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except OSError:
        pytest.skip("no devices can be made here")
    path = tmp_path / f"a{suffix}"
    await _pack(tree, path)
    await _unpack(path, tmp_path / "out", preserve=True)
    assert (tmp_path / "out" / "null").stat().st_rdev == os.makedev(1, 3)


@every_suffix
async def test_times_beyond_all_clocks(suffix: str, tmp_path: Path) -> None:
    """A time that does not fit 64 bits of ns is packed, as near as can be, or reported."""
    for where in ("/dev/shm", str(tmp_path)):
        if not os.access(where, os.W_OK):
            continue
        with tempfile.TemporaryDirectory(dir=where) as name:
            file = Path(name) / "f"
            file.write_bytes(b"x")
            os.utime(file, ns=(0, 40 * 10**18))
            if file.stat().st_mtime_ns < 1 << 63:
                continue
            report = await _pack(name, tmp_path / f"a{suffix}", on_error="skip")
            assert report.files + report.skipped_count == 1
            return
    pytest.skip("no file system with such times")


def test_unreadable_files() -> None:
    """Named, and the rest is packed; by default the first one is an error."""
    script = """
import asyncio, sys
from aiocompress import Engine
async def main():
    async with Engine(2, executor="thread") as engine:
        options = dict(fsync=False)
        try:
            await engine.compress_folder(sys.argv[1], sys.argv[2], **options)
        except PermissionError as error:
            print(error.filename)
        report = await engine.compress_folder(sys.argv[1], sys.argv[2], on_error="skip", **options)
        print(*sorted(report.skipped), sep="\\n")
asyncio.run(main())
"""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o777)
        tree = place / "tree"
        for path in ("closed/in", "no-list/in", "a", "z"):
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(path)
        (tree / "secret").write_text("secret")
        for path, mode in (("secret", 0), ("closed", 0), ("no-list", 0o311)):
            (tree / path).chmod(mode)
        done = subprocess.run(
            [*nobody(), sys.executable, "-c", script, tree, place / "a.tar.zst"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=place,
            env=LIBRARY,
        )
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[0] == str(tree / "closed")
        assert [line.split(":")[0] for line in lines[1:]] == [
            str(tree / path) for path in ("closed", "no-list", "secret")
        ]
        assert {b"a", b"z"} <= set(_names(place / "a.tar.zst"))
        (tree / "closed").chmod(0o700)
        (tree / "no-list").chmod(0o700)


# Sources that change.


class Reads:
    """``os.readv`` as it is, but that something happens to real files at the moment of a read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._events: dict[tuple[str, int], Callable[[], object]] = {}
        self._counts: dict[str, int] = {}
        self._readv = os.readv
        monkeypatch.setattr(os, "readv", self._read)

    def on(self, path: Path, number: int, event: Callable[[], object]) -> None:
        """Have something happen before a file is read for the n-th time, from 1."""
        self._events[str(path), number] = event

    def _read(self, descriptor: int, buffers: Any) -> int:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        self._counts[path] = self._counts.get(path, 0) + 1
        event = self._events.get((path, self._counts[path]))
        if event is not None:
            event()
        return self._readv(descriptor, buffers)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


async def _check_sound(path: Path) -> dict[str, bytes]:
    """The archive is well formed, for us and for GNU tar; returns its files."""
    run(tool("tar"), "-taf", path)
    async with _engine() as engine, engine.open_archive(path) as archive:
        await archive.test()
        assert archive.is_indexed
        members = [member async for member in archive.members()]
        return {one.name: await archive.read(one.name) for one in members if one.kind == "file"}


@every_suffix
@pytest.mark.parametrize("size", [1000, 100_000], ids=["small", "large"])
@pytest.mark.parametrize("to", [0, 600, 60_000, 200_000])
async def test_grows_or_shrinks(
    size: int, to: int, suffix: str, reads: Reads, tmp_path: Path
) -> None:
    """The archive stays well formed: the first bytes, zeros for what is gone, and a warning."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("a", "m", "z"):
        (tree / name).write_bytes(noise(size, 1))
    reads.on(tree / "m", 1 if size < CHUNK else 2, lambda: os.truncate(tree / "m", to))
    path = tmp_path / f"a{suffix}"
    report = await _pack(tree, path)
    assert report.changed == 1
    assert [text for text in report.warnings if text.startswith(f"{tree / 'm'}: ")]
    found = await _check_sound(path)
    assert found["a"] == found["z"] == noise(size, 1)
    assert len(found["m"]) == size
    # What was read before stays; what is not there any more is zeros.
    kept = min(to, size)
    assert found["m"][:kept] == noise(size, 1)[:kept]
    if size < CHUNK:
        assert found["m"][kept:] == bytes(size - kept)
    else:
        first = found["m"][kept:].rstrip(b"\0")
        assert noise(size, 1)[kept:].startswith(first)


async def test_rewritten_while_read(reads: Reads, tmp_path: Path) -> None:
    """A file that another process writes into is told, though its size is the same."""
    file = tmp_path / "tree" / "f"
    file.parent.mkdir()
    file.write_bytes(noise(100_000))
    os.utime(file, ns=(0, 0))
    reads.on(file, 3, lambda: file.write_bytes(noise(100_000, 1)))
    report = await _pack(file.parent, tmp_path / "a.tar.zst")
    assert report.changed == 1
    assert str(file) in report.warnings[0]
    await _check_sound(tmp_path / "a.tar.zst")


def _swapped(path: Path, make: Callable[[Path], object]) -> Callable[[], None]:
    def swap() -> None:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        make(path)

    return swap


@every_suffix
async def test_vanishes(suffix: str, reads: Reads, small: Path, tmp_path: Path) -> None:
    """What was there when the folder was listed, and is gone: an error, or named in the report."""
    reads.on(small / "a", 1, lambda: shutil.rmtree(small / "e"))
    reads.on(small / "b" / "c", 1, (small / "b" / "d.log").unlink)
    path = tmp_path / f"a{suffix}"
    report = await _pack(small, path, on_error="skip")
    assert [text.split(":")[0] for text in report.skipped] == [
        str(small / "b" / "d.log"),
        str(small / "e"),
    ]
    assert sorted(await _check_sound(path)) == ["a", "b/c", "b/keep.log"]
    reads.on(small / "a", 2, (small / "b" / "c").unlink)
    reads.on(small / "a", 2, lambda: shutil.rmtree(small / "b"))
    with pytest.raises(FileNotFoundError) as caught:
        await _pack(small, tmp_path / f"x{suffix}")
    assert caught.value.filename == str(small / "b")
    assert not (tmp_path / f"x{suffix}").exists()


async def test_swapped(reads: Reads, small: Path, tmp_path: Path) -> None:
    """A folder or a file swapped for a link is packed as the link; a pipe is never opened."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    for path, make in (
        (small / "e", lambda path: path.symlink_to(outside)),
        (small / "b" / "keep.log", lambda path: path.symlink_to(outside / "secret")),
        (small / "b" / "d.log", os.mkfifo),
    ):
        reads.on(small / ("a" if path.name == "e" else "b/c"), 1, _swapped(path, make))
        if path.name == "keep.log":
            first = _swapped(path, make)
        if path.name == "d.log":
            second = _swapped(path, make)
    reads.on(small / "b" / "c", 1, lambda: (first(), second()))
    await asyncio.wait_for(_pack(small, tmp_path / "a.tar.zst"), 20)
    async with aiocompress.open_archive(tmp_path / "a.tar.zst") as archive:
        kinds = {member.name: member.kind async for member in archive.members()}
    assert kinds == {
        "a": "file",
        "b": "directory",
        "b/c": "file",
        "b/d.log": "fifo",
        "b/keep.log": "symlink",
        "e": "symlink",
    }
    assert b"secret\0" not in _decompressed(tmp_path / "a.tar.zst").replace(b"/secret\0", b"")


def _fail() -> None:
    raise OSError(5, "Input/output error")


@every_suffix
@pytest.mark.parametrize(("size", "read"), [(1000, 1), (100_000, 3)])
async def test_read_errors(size: int, read: int, suffix: str, reads: Reads, tmp_path: Path) -> None:
    """An error names the file; skipped, it is left out, or zeros that are told of."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("a", "m", "z"):
        (tree / name).write_bytes(noise(size, 1))
    reads.on(tree / "m", read, _fail)
    path = tmp_path / f"a{suffix}"
    with pytest.raises(OSError, match="Input/output") as caught:
        await _pack(tree, path)
    assert caught.value.filename == str(tree / "m")
    assert os.listdir(tmp_path) == ["tree"]
    reads._counts.clear()
    report = await _pack(tree, path, on_error="skip")
    assert str(tree / "m") in "\n".join((*report.skipped, *report.warnings))
    assert report.skipped_count + report.changed == 1
    found = await _check_sound(path)
    assert found["a"] == found["z"] == noise(size, 1)


async def test_a_read_error_of_a_file_with_two_names(reads: Reads, tmp_path: Path) -> None:
    """The second name is no hard link to a member that was left out."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(b"data")
    os.link(tree / "a", tree / "b")
    (tree / "c").write_bytes(b"c")
    reads.on(tree / "a", 1, _fail)
    report = await _pack(tree, tmp_path / "a.tar.zst", on_error="skip")
    assert report.skipped_count >= 1
    await _unpack(tmp_path / "a.tar.zst", tmp_path / "out")
    assert (tmp_path / "out" / "c").read_bytes() == b"c"


async def test_many_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More names than are sorted at once come in the same order, from sorted runs."""
    tree = tmp_path / "tree"
    tree.mkdir()
    names = [b"%d" % (number * 7919 % 500) for number in range(500)] + [b"new\nline", b"\xff"]
    for name in names:
        (tree / os.fsdecode(name)).write_bytes(name)
    await _pack(tree, tmp_path / "a.tar.zst")
    monkeypatch.setattr(walked, "_MOST_NAMES", 7)
    before = len(os.listdir("/proc/self/fd"))
    await _pack(tree, tmp_path / "b.tar.zst")
    assert len(os.listdir("/proc/self/fd")) <= before
    assert (tmp_path / "a.tar.zst").read_bytes() == (tmp_path / "b.tar.zst").read_bytes()
    assert _names(tmp_path / "b.tar.zst") == sorted(names)


# Archives, opened.

MANY = [(f"d{number % 4}/f{number:03}", noise(7000 + number, number)) for number in range(320)]
FRAME = 64 * KIB


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Archives of 320 files, in 40 frames, by suffix."""
    place = tmp_path_factory.mktemp("many")
    tree = place / "tree"
    for name, data in MANY:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    (tree / "link").symlink_to("d0/f000")
    os.link(tree / "d1" / "f001", tree / "hard")
    paths = {suffix: place / f"a{suffix}" for suffix in SUFFIXES}
    for path in paths.values():
        asyncio.run(_pack(tree, path, FRAME))
    paths["foreign.tar.zst"] = place / "foreign.tar.zst"
    paths["foreign.tar"] = place / "foreign.tar"
    run(tool("tar"), "-C", tree, "--sort=name", "--zstd", "-cf", paths["foreign.tar.zst"], ".")
    run(tool("tar"), "-C", tree, "--sort=name", "-cf", paths["foreign.tar"], ".")
    return paths


KINDS = [*SUFFIXES, "foreign.tar.zst", "foreign.tar"]
every_kind = pytest.mark.parametrize("kind", KINDS)


class Elsewhere:
    """Bytes somewhere else, that tell what was read of them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.bytes_read = 0

    async def size(self) -> int:
        return len(self._data)

    async def read_at(self, offset: int, size: int) -> bytes:
        data = self._data[offset : offset + size]
        self.bytes_read += len(data)
        return data


@every_kind
async def test_members(kind: str, many: dict[str, Path]) -> None:
    """They come in the order of the archive, and say what its headers say."""
    raw = _decompressed(many[kind])
    async with aiocompress.open_archive(many[kind]) as archive:
        assert archive.name == str(many[kind])
        assert archive.is_indexed == (kind in SUFFIXES)
        members = [member async for member in archive.members()]
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as other:
            infos = other.getmembers()
        assert len(members) == len(infos)
        kinds = {b"0": "file", b"1": "hardlink", b"2": "symlink", b"5": "directory"}
        for member, info in zip(members, infos, strict=True):
            assert tuple(member[:4]) == (info.name, kinds[info.type], info.size, info.mode)
            assert member.mtime_ns // SECOND == info.mtime
            assert (member.uid, member.gid) == (info.uid, info.gid)
            assert (member.user, member.group) == (info.uname, info.gname)
            assert (member.link, member.offset) == (info.linkname, info.offset)
            assert (member.data_offset, member.stored_size) == (info.offset_data, info.size)
        for member in members[1::100]:
            assert await archive.member(member.name.removeprefix("./")) == member
        async with archive.members() as some:
            assert await anext(some) == members[0]


@every_kind
async def test_read(kind: str, many: dict[str, Path]) -> None:
    """Content of a file, and of what a hard link is linked to; links and folders are none."""
    async with aiocompress.open_archive(many[kind]) as archive:
        for name, data in (MANY[17], MANY[-1], MANY[0]):
            assert await archive.read(name) == data
            assert await archive.read(f"./{name}") == data
        assert await archive.read("hard") == MANY[1][1]
        for name, what in (("link", "symlink"), ("d1", "directory"), ("d1/", "directory")):
            with pytest.raises(FormatError, match=what) as caught:
                await archive.read(name)
            assert caught.value.file == str(many[kind])
        for name, close in (("d1/f010", "d2/f010"), ("F005", "d1/f005"), ("d0/f000x", "d0/f000")):
            with pytest.raises(MemberNotFoundError, match=close) as missing:
                await archive.read(name)
            assert isinstance(missing.value, KeyError)
            assert missing.value.file == str(many[kind])


@every_kind
async def test_a_member_as_a_file(kind: str, many: dict[str, Path]) -> None:
    """Read, readinto, seek and tell; awaited, or a context manager."""
    name, data = MANY[20]
    async with aiocompress.open_archive(many[kind]) as archive:
        file = await archive.open(name)
        assert (file.size, file.name, await file.tell()) == (len(data), name, 0)
        room = bytearray(1000)
        assert await file.readinto(room) == 1000
        assert bytes(room) == data[:1000]
        assert await file.seek(-10, io.SEEK_END) == len(data) - 10
        assert await file.readinto(memoryview(room)[:100]) == 10
        assert await file.readinto(room) == 0
        assert await file.read() == await file.read(5) == b""
        assert await file.seek(len(data) + 99) == len(data) + 99
        assert await file.read(1) == b""
        with pytest.raises(ValueError, match="before"):
            await file.seek(-1)
        with pytest.raises(ValueError, match="before"):
            await file.seek(-len(data) - 1, io.SEEK_END)
        await file.seek(3)
        assert await file.read(0) == b""
        assert await file.seek(4, io.SEEK_CUR) == 7
        assert await file.read() == data[7:]
        await file.aclose()
        await file.aclose()
        for use in (file.read, file.tell, lambda: file.seek(0), lambda: file.readinto(room)):
            with pytest.raises(ClosedError):
                await use()
        with pytest.raises(ClosedError):
            await archive.open(name).read()


SPANNING = noise(5 * CHUNK + 77)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("seek"),
            st.one_of(
                st.integers(0, len(SPANNING) + 10),
                st.builds(
                    lambda border, more: max(0, border * CHUNK - 512 + more),
                    st.integers(0, 6),
                    st.integers(-2, 2),
                ),
            ),
        ),
        st.tuples(st.just("read"), st.integers(0, 3 * CHUNK)),
        st.tuples(st.just("readinto"), st.integers(0, 2 * CHUNK)),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, ways=st.sampled_from(["indexed zst", "indexed gz", "foreign", "tar"]))
def test_reads_anywhere(steps: list[tuple[str, int]], ways: str, works: Works) -> None:
    """As a file of the same bytes, at every border of the frames."""
    members = [Member(b"first", data=b"1" * 700), Member(b"m", data=SPANNING), Member(b"z")]
    archives = {
        "indexed zst": lambda: hostile.indexed(members, frame=CHUNK),
        "indexed gz": lambda: hostile.indexed(members, "gzip", frame=CHUNK),
        "foreign": lambda: hostile.compressed(hostile.tar(members)),
        "tar": lambda: hostile.tar(members),
    }
    expected = io.BytesIO(SPANNING)

    async def read() -> None:
        source = Elsewhere(archives[ways]())
        async with works.engine.open_archive(source) as archive, archive.open("m") as file:
            assert archive.is_indexed == ways.startswith("indexed")
            for step, number in steps:
                if step == "seek":
                    assert await file.seek(number) == expected.seek(number)
                elif step == "read":
                    assert await file.read(number) == expected.read(number)
                else:
                    room, other = bytearray(number), bytearray(number)
                    assert await file.readinto(room) == expected.readinto(other)
                    assert room == other
                assert await file.tell() == expected.tell()

    works(read())


@every_suffix
async def test_how_little_is_read(suffix: str, many: dict[str, Path]) -> None:
    """A member out of the middle takes the table, the index and one frame; opening the table."""
    data = many[suffix].read_bytes()
    source = Elsewhere(data)
    name, content = MANY[21]
    async with aiocompress.open_archive(source) as archive:
        assert archive.is_indexed
        opened = source.bytes_read
        assert opened < 6 * KIB
        listed = [member async for member in archive.members()]
        assert len(listed) == len(MANY) + 6
        index = source.bytes_read - opened
        assert index < 8 * KIB
        source.bytes_read = 0
        assert await archive.read(name) == content
        assert len(content) < source.bytes_read < FRAME + index + 2 * KIB
        source.bytes_read = 0
        await archive.member(name)
        assert source.bytes_read <= index


@every_kind
async def test_two_tasks(kind: str, many: dict[str, Path]) -> None:
    """Several tasks read one archive at once."""
    async with aiocompress.open_archive(many[kind]) as archive:
        names = [name for name, _ in MANY[::90]]
        found = await asyncio.gather(*map(archive.read, names), archive.read("hard"))
        assert found == [*(data for _, data in MANY[::90]), MANY[1][1]]
        async with archive.open(names[0]) as one, archive.open(names[1]) as two:
            parts = await asyncio.gather(one.read(10), two.read(10))
            assert parts == [MANY[0][1][:10], MANY[90][1][:10]]  # type: ignore[comparison-overlap]


@every_kind
async def test_not_open(kind: str, many: dict[str, Path], tmp_path: Path) -> None:
    """Before it is opened, and when it is closed, all of it says so."""
    archive = aiocompress.open_archive(many[kind])

    async def check_all() -> None:
        for use in (
            lambda: archive.member("hard"),
            lambda: archive.read("hard"),
            lambda: archive.extract(tmp_path / "out"),
            archive.test,
        ):
            with pytest.raises(ClosedError):
                await use()
        for opening in (archive.members, lambda: archive.open("hard")):
            with pytest.raises(ClosedError):
                opening()

    await check_all()
    async with archive:
        file = await archive.open("hard")
        members = archive.members()
        await anext(members)
    await check_all()
    with pytest.raises(ClosedError):
        await file.read()
    await file.aclose()
    await members.aclose()
    await archive.aclose()
    with pytest.raises(ClosedError):
        await archive.__aenter__()
    assert os.listdir(tmp_path) == []


async def test_a_stream_is_read_once(many: dict[str, Path], tmp_path: Path) -> None:
    """What cannot be read again says so; any archive comes out of it, ours too."""

    async def parts(data: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(data), 10_007):
            yield data[at : at + 10_007]

    for kind, path in many.items():
        async with aiocompress.open_archive(parts(path.read_bytes())) as archive:
            assert not archive.is_indexed
            await archive.extract(tmp_path / kind, fsync=False)
            assert (tmp_path / kind / MANY[5][0]).read_bytes() == MANY[5][1]
            with pytest.raises(AiocompressError, match="once"):
                await archive.read(MANY[5][0])


@every_kind
async def test_extracted_by_two_tasks(kind: str, many: dict[str, Path], tmp_path: Path) -> None:
    """One archive goes to two places at once, while a third task reads."""
    async with _engine() as engine, engine.open_archive(many[kind]) as archive:
        _, _, data = await asyncio.gather(
            archive.extract(tmp_path / "one", fsync=False),
            archive.extract(tmp_path / "two", fsync=False),
            archive.read(MANY[-1][0]),
        )
    assert data == MANY[-1][1]
    trees.check_same(trees.look(tmp_path / "one"), trees.look(tmp_path / "two"))
    assert len(trees.look(tmp_path / "one")) == len(MANY) + 6


async def test_no_processes(many: dict[str, Path], tmp_path: Path) -> None:
    """Without an engine an archive is read in threads."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    async with aiocompress.open_archive(many[".tar.zst"]) as archive:
        await archive.read(MANY[3][0])
        await archive.extract(tmp_path / "out", fsync=False)
        during = {process.pid for process in psutil.Process().children(recursive=True)}
    assert during <= before


async def test_no_archives(tmp_path: Path) -> None:
    """What is no archive is refused by name: text, nothing, a folder, what is not there."""
    (tmp_path / "text").write_bytes(b"text " * 300)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "not.tar.zst").write_bytes(hostile.compressed(b"text " * 300))
    for name in ("text", "empty", "not.tar.zst", "."):
        for on_error in ON_ERROR:
            with pytest.raises((FormatError, TruncatedError)) as caught:
                async with aiocompress.open_archive(tmp_path / name) as archive:
                    await archive.extract(tmp_path / "out", fsync=False, on_error=on_error)
            assert caught.value.file == str(tmp_path / name)
            assert not (tmp_path / "out").exists()
    with pytest.raises(FileNotFoundError) as missing:
        await aiocompress.open_archive(tmp_path / "missing").__aenter__()
    assert missing.value.filename == str(tmp_path / "missing")


def test_noise_is_no_tar() -> None:
    """A header whose sum is no number is none, whatever its bytes add up to: -1, say."""
    data = bytearray(512)
    data[:4] = b"\x28\xb5\x2f\xfd"
    data[148:156] = b"\xff" * 8
    data[200:203] = 128, 128, 246
    signed = [byte - 256 * (byte > 127) for byte in data[:148] + b" " * 8 + data[156:]]
    assert sum(signed) == -1
    assert not tar.is_archive(bytes(data))


async def test_compressed_and_not_a_tar(tmp_path: Path) -> None:
    """What begins as zstd does is never taken for a plain tar, whatever its bytes add up to."""
    (tmp_path / "tree").mkdir()
    for name in "amz":
        (tmp_path / "tree" / name).write_bytes(noise(1000, 1))
    path = tmp_path / "a.tar.zst"
    async with _engine() as engine:
        for second in range(1795309572, 1795309572 + 200):
            for name in "amz":
                os.utime(tmp_path / "tree" / name, (second, second))
            await engine.compress_folder(
                tmp_path / "tree", path, CHUNK, fsync=False, on_exists="replace"
            )
            async with engine.open_archive(path) as archive:
                assert await archive.read("m") == noise(1000, 1), second


@every_kind
async def test_some_members(kind: str, many: dict[str, Path], tmp_path: Path) -> None:
    """Names, folders and patterns are restored, and nothing else."""
    async with _engine() as engine, engine.open_archive(many[kind]) as archive:
        for number, (patterns, expected) in enumerate(
            (
                (["d0/f000"], ["d0/f000"]),
                (["d3/", "link"], [*(name for name, _ in MANY if name.startswith("d3")), "link"]),
                (["d?/f*3"], [name for name, _ in MANY if name.endswith("3")]),
                (["./d1/f001", "hard"], ["d1/f001", "hard"]),
                (["d0/f000", "*9"], ["d0/f000", *(name for name, _ in MANY if name.endswith("9"))]),
                ([], []),
            )
        ):
            dest = tmp_path / f"{number}"
            report = await archive.extract(dest, patterns, fsync=False)
            found = [
                os.fsdecode(name)
                for name, node in trees.look(dest).items()
                if node.kind != "directory"
            ]
            assert found == sorted(expected)
            assert report.files == len(expected)
            for name, data in MANY:
                if name in expected:
                    assert (dest / name).read_bytes() == data
        with pytest.raises(MemberNotFoundError, match="d0/f000"):
            await archive.extract(tmp_path / "x", ["d0/f004", "d1/f000"], fsync=False)
        assert not (tmp_path / "x").exists()


@every_suffix
async def test_few_frames_for_few_members(
    suffix: str, many: dict[str, Path], tmp_path: Path
) -> None:
    """Only the frames that hold what is wanted are read."""
    source = Elsewhere(many[suffix].read_bytes())
    async with aiocompress.open_archive(source) as archive:
        report = await archive.extract(tmp_path / "out", [MANY[21][0]], fsync=False)
    assert report.frames == 1
    assert source.bytes_read < FRAME + 16 * KIB


# An index that lies.

HONEST = [
    folder(b"d"),
    Member(b"d/a", data=text(3000)),
    Member(b"d/b", data=noise(700), mode=0o755),
    symlink(b"d/l", b"a"),
    hardlink(b"d/h", b"d/a"),
    Member(b"empty"),
    Member(b"large", data=noise(9000)),
    Member(b"p" * 120, data=b"long"),
    Member(b"z", data=text(600)),
]


def _row(number: int, **fields: Any) -> hostile.Lie:
    return lambda rows: [
        row._replace(**fields) if at == number else row for at, row in enumerate(rows)
    ]


def _both(*lies: hostile.Lie) -> hostile.Lie:
    def change(rows: list[Row]) -> list[Row]:
        for lie in lies:
            rows = lie(rows)
        return rows

    return change


def _swap(one: int, two: int) -> Callable[[list[Any]], list[Any]]:
    def change(rows: list[Any]) -> list[Any]:
        rows[one], rows[two] = rows[two], rows[one]
        return rows

    return change


EXTRA = Row(b"extra", b"0"[0], 1, 0, 0o644, 0, (0, 0, b"", b""), b"")
LIES: dict[str, dict[str, Any]] = {
    "a size": {"lie": _row(1, size=2999)},
    "a size, larger": {"lie": _row(1, size=3001)},
    "a size, a block more": {"lie": _row(1, size=3512)},
    "a size, a block less and one more": {"lie": _both(_row(1, size=2488), _row(2, size=1212))},
    "a huge size": {"lie": _row(6, size=1 << 50)},
    "no size": {"lie": _row(6, size=0)},
    "a name": {"lie": _row(1, name=b"d/c")},
    "a name that leads out": {"lie": _row(1, name=b"../x")},
    "a name over another": {"lie": _row(2, name=b"d/a")},
    "two names": {"lie": _both(_row(1, name=b"d/b"), _row(2, name=b"d/a"))},
    "a long name": {"lie": _row(7, name=b"q" * 120)},
    "the name of what spans": {"lie": _row(6, name=b"larger")},
    "a mode": {"lie": _row(1, mode=0o4777)},
    "the mode of a folder": {"lie": _row(0, mode=0o777)},
    "a time": {"lie": _row(2, mtime_ns=5)},
    "the time of a folder": {"lie": _row(0, mtime_ns=5)},
    "a link": {"lie": _row(3, link=b"b")},
    "a hard link": {"lie": _row(4, link=b"d/b")},
    "a kind": {"lie": _row(5, kind=b"5"[0])},
    "a link that is a hard link": {"lie": _row(3, kind=b"1"[0], link=b"d/a")},
    "a hard link that is a file": {"lie": _row(4, kind=b"0"[0], link=b"")},
    "a file that is a link": {"lie": _row(5, kind=b"2"[0], link=b"/etc")},
    "the blocks of a header": {"lie": _row(7, blocks=1)},
    "a block of content as header": {"lie": _row(1, blocks=2, size=2488)},
    "a record missing": {"lie": lambda rows: rows[:2] + rows[3:]},
    "the first record missing": {"lie": lambda rows: rows[1:]},
    "the last record missing": {"lie": lambda rows: rows[:-1]},
    "a record more": {"lie": lambda rows: [*rows[:2], EXTRA, *rows[2:]]},
    "a record more at the end": {"lie": lambda rows: [*rows, EXTRA]},
    "a record twice": {"lie": lambda rows: [*rows[:3], rows[2], *rows[3:]]},
    "records swapped": {"lie": _swap(1, 2)},
    "folder and link swapped": {"lie": _swap(3, 4)},
    "no records": {"lie": lambda rows: rows[:0]},
    "an offset": {"shift": 512},
    "an offset that is no block's": {"shift": 1},
    "blocks swapped": {"in_block": 2, "blocks": _swap(1, 2)},
    "a block removed": {"in_block": 2, "blocks": lambda blocks: blocks[:1] + blocks[2:]},
    "the last block removed": {"in_block": 2, "blocks": lambda blocks: blocks[:-1]},
    "a block twice": {"in_block": 2, "blocks": lambda blocks: [*blocks, blocks[-1]]},
    "a damaged block": {"blocks": lambda blocks: [block[:-9] + bytes(9) for block in blocks]},
    "a cut block": {"blocks": lambda blocks: [block[:-1] for block in blocks]},
    "a foreign block": {"blocks": lambda _: [b"something else"]},
    "a block of a later version": {
        "blocks": lambda blocks: [block[:8] + b"\x02" + block[9:] for block in blocks]
    },
    "an empty block": {"blocks": lambda _: [b""]},
}


def _row_of_table(number: int, *more: int) -> hostile.Table:
    def change(rows: list[list[int]]) -> list[list[int]]:
        for at, value in enumerate(more):
            rows[number][at] += value
        return rows

    return change


def _shifted(column: int, by: int) -> hostile.Table:
    """What one frame has less, the next one has more: all sums stay."""

    def change(rows: list[list[int]]) -> list[list[int]]:
        rows[1][column] -= by
        rows[2][column] += by
        return rows

    return change


def _joined(rows: list[list[int]]) -> list[list[int]]:
    one, two = rows[1:3]
    return [rows[0], [one[0] + two[0], one[1] + two[1], *two[2:]], *rows[3:]]


TABLES: dict[str, hostile.Table] = {
    "a compressed size": _row_of_table(1, 1),
    "a raw size": _row_of_table(1, 0, 512),
    "compressed sizes": _shifted(0, 1),
    "compressed sizes, by much": _shifted(0, 100),
    "raw sizes": _shifted(1, 1),
    "raw sizes, by blocks": _shifted(1, 512),
    "raw sizes, by more": _shifted(1, -1024),
    "two frames as one": _joined,
    "frames swapped": _swap(1, 2),
    "a frame missing": lambda rows: [rows[0], *rows[2:]],
    "a frame twice": lambda rows: [rows[0], rows[1], *rows[1:]],
    "an empty frame more": lambda rows: [*rows[:2], [0, 0, *rows[0][2:]], *rows[2:]],
    "no frames": lambda rows: rows[:0],
    "the first frame alone": lambda rows: rows[:1],
    "huge sizes": lambda rows: [[0xFFFFFFFF, 0xFFFFFFFF, *row[2:]] for row in rows],
    "a huge raw size": _row_of_table(2, 0, 1 << 31),
}
ALL_LIES = LIES | {f"the table: {name}": {"table": change} for name, change in TABLES.items()}
every_lie = pytest.mark.parametrize("lie", ALL_LIES.values(), ids=ALL_LIES)
every_codec = pytest.mark.parametrize("codec", SUFFIXES.values())


def _lying(lie: dict[str, Any], codec: str) -> bytes:
    return hostile.indexed(HONEST, codec, frame=2048, **lie)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """What GNU tar makes of it."""
    place = tmp_path_factory.mktemp("honest")
    (place / "a.tar").write_bytes(hostile.tar(HONEST))
    (place / "out").mkdir()
    run(tool("tar"), "-xpf", place / "a.tar", "-C", place / "out", "--no-same-owner")
    return trees.restored(trees.look(place / "out"))


@every_codec
@every_lie
async def test_an_index_that_lies(
    lie: dict[str, Any], codec: str, honest: Tree, tmp_path: Path
) -> None:
    """Never wrong bytes: extraction and reading go on without the index."""
    path = tmp_path / "a"
    path.write_bytes(_lying(lie, codec))
    async with _engine() as engine:
        for on_error in ON_ERROR:
            report = await engine.decompress_folder(
                path, tmp_path / "out", fsync=False, on_error=on_error
            )
            trees.check_same(trees.look(tmp_path / "out"), honest)
            assert report.files == len(HONEST) - 1
            assert report.skipped_count == 0
            shutil.rmtree(tmp_path / "out")
        async with engine.open_archive(path) as archive:
            for member in HONEST:
                if member.kind in b"01":
                    expected = HONEST[1].data if member.kind == b"1" else member.data
                    try:
                        assert await archive.read(os.fsdecode(member.name)) == expected
                    except MemberNotFoundError:
                        # The index knows no such name: nobody looks behind it.
                        assert archive.is_indexed


@every_codec
@every_lie
async def test_lies_are_found(lie: dict[str, Any], codec: str, tmp_path: Path) -> None:
    """``test`` says so, and which archive it is; one without lies is sound."""
    if lie is LIES["an empty block"] and codec == "gzip":
        pytest.skip("nothing in a .gz: an archive without an index")
    (tmp_path / "a").write_bytes(_lying(lie, codec))
    (tmp_path / "sound").write_bytes(_lying({}, codec))
    async with _engine() as engine:
        async with engine.open_archive(tmp_path / "sound") as archive:
            assert (await archive.test()).files == len(HONEST) - 1
            assert archive.is_indexed
        with pytest.raises(CorruptError) as caught:
            async with engine.open_archive(tmp_path / "a") as archive:
                await archive.test()
        assert caught.value.file == str(tmp_path / "a")


@every_codec
async def test_owners_that_lie(codec: str, tmp_path: Path) -> None:
    """Owners are restored on request: as the header says, which others read."""
    if not IS_ROOT:
        pytest.skip("only root gives files away")
    lie = _both(
        *(_row(at, owner=(0, 0, b"root", b"root")) for at in (0, 1)),
        _row(2, owner=(77, 0, b"", b"")),
    )
    members = [folder(b"d", ids=(5, 5)), Member(b"d/a", ids=(6, 6)), Member(b"d/b", ids=(7, 7))]
    (tmp_path / "a").write_bytes(hostile.indexed(members, codec, lie=lie))
    await _unpack(tmp_path / "a", tmp_path / "out", preserve=True)
    found = {name: (tmp_path / "out" / name).stat().st_uid for name in ("d", "d/a", "d/b")}
    assert found == {"d": 5, "d/a": 6, "d/b": 7}


# Damage.


WHERE: dict[str, Callable[[int, int], int]] = {
    "first byte": lambda start, _: start,
    "header": lambda start, _: start + 5,
    "size": lambda start, _: start + 17,
    "middle": lambda start, end: (start + end) // 2,
    "near the end": lambda _, end: end - 6,
    "last byte": lambda _, end: end - 1,
}


def _damaged(data: bytes, frames: list[int], number: int, where: str) -> bytes:
    """Change a byte of a frame."""
    at = WHERE[where](frames[number - 1] if number else 0, frames[number])
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


DAMAGED = [
    folder(b"d"),
    Member(b"d/a", data=noise(500)),
    Member(b"d/b", data=noise(501)),
    Member(b"large", data=noise(9000)),
    Member(b"m", data=noise(502)),
    hardlink(b"h", b"m"),
    symlink(b"l", b"m"),
    Member(b"z", data=noise(503)),
]


@every_codec
@pytest.mark.parametrize("where", WHERE)
async def test_a_damaged_frame(where: str, codec: str, tmp_path: Path) -> None:
    """The error names the members that it hits; skipped, all others come back exactly."""
    data = hostile.indexed(DAMAGED, codec, frame=2048)
    (tmp_path / "sound").write_bytes(data)
    await _unpack(tmp_path / "sound", tmp_path / "expected")
    whole = trees.look(tmp_path / "expected")
    ends = _ends(data, codec)
    for number in range(-(-sum(len(bytes(member)) for member in DAMAGED) // 2048)):
        path, out = tmp_path / f"{number}", tmp_path / f"out{number}"
        path.write_bytes(_damaged(data, ends, number, where))
        error = await _error_of(path, out)
        if isinstance(error, FormatError):
            assert (number, where) == (0, "first byte")  # by which it is known
        elif error is None:
            assert where in {"header", "size"}  # bits that mean nothing, or are known otherwise
            trees.check_same(trees.look(out), whole)
        else:
            hit = _hit(number)
            assert (error.frame, error.file) == (number, str(path))
            assert error.offset is not None
            assert f"{len(hit)} members" in str(error.hint)
            assert all(name in str(error.hint) for name in hit[:3])
            assert not out.exists()
            await _check_all_others(path, out, hit, whole)


async def _error_of(path: Path, out: Path) -> AiocompressError | None:
    try:
        await _unpack(path, out)
    except AiocompressError as error:
        return error
    return None


def _hit(frame: int) -> list[str]:
    """Names of the members that a frame of 2 KiB holds a part of."""
    hit, at = [], 0
    for member in DAMAGED:
        end = at + len(bytes(member))
        if at // 2048 <= frame <= (end - 1) // 2048:
            hit.append(os.fsdecode(member.name.rstrip(b"/")))
        at = end
    return hit


async def _check_all_others(path: Path, out: Path, hit: list[str], whole: Tree) -> None:
    report = await _unpack(path, out, on_error="skip")
    lost = {*hit, *(["h"] if "m" in hit else [])}  # which is linked to it
    assert {text.split(":")[0] for text in report.skipped} == lost
    assert report.damaged == report.skipped_count >= len(hit)
    found = trees.look(out)
    assert set(found) <= set(whole)
    for name, node in whole.items():
        if os.fsdecode(name) not in lost:
            assert replace(found[name], same=()) == replace(node, same=()), (path.name, name)
        elif node.kind == "file":
            assert name not in found, (path.name, name)


def _ends(data: bytes, codec: str) -> list[int]:
    """Where the frames of an archive end."""
    ends, at = [], 0
    if codec == "zstd":
        count = int.from_bytes(data[-9:-5], "little")
        table = len(data) - 9 - 12 * count
        for number in range(count):
            at += int.from_bytes(data[table + 12 * number :][:4], "little")
            ends.append(at)
        return ends
    while at < len(data):
        at += int.from_bytes(data[at + 16 : at + 20], "little")
        ends.append(at)
    return ends


@every_codec
async def test_cut_off_anywhere(codec: str, tmp_path: Path) -> None:
    """An archive that is cut off is an error; skipped, what is whole comes back."""
    data = hostile.indexed(DAMAGED, codec, frame=2048)
    ends = _ends(data, codec)
    cuts = sorted({1, 10, 511, *(end + more for end in ends for more in (-1, 0, 1)), len(data) - 1})
    path, out = tmp_path / "a", tmp_path / "out"
    async with _engine() as engine:
        for cut in cuts:
            if cut >= len(data):
                continue
            path.write_bytes(data[:cut])
            with pytest.raises((TruncatedError, FormatError, CorruptError)) as caught:
                await engine.decompress_folder(path, out, fsync=False)
            assert caught.value.file == str(path)
            assert os.listdir(tmp_path) == ["a"]
            with pytest.raises((TruncatedError, FormatError, CorruptError)):
                await engine.test(path)
            if cut < 512:
                continue
            report = await engine.decompress_folder(path, out, on_error="skip", fsync=False)
            assert report.damaged
            expected = {member.name: member.data for member in DAMAGED if member.kind == b"0"}
            for name, node in trees.look(out).items():
                if node.kind == "file" and name != b"h":
                    assert node.data == expected[name], cut
            shutil.rmtree(out)


@every_codec
async def test_damage_when_reading(codec: str, tmp_path: Path) -> None:
    """A member in a damaged frame is an error that names the archive; others are read."""
    data = hostile.indexed(DAMAGED, codec, frame=2048)
    path = tmp_path / "a"
    path.write_bytes(_damaged(data, _ends(data, codec), 0, "last byte"))
    async with _engine() as engine, engine.open_archive(path) as archive:
        assert archive.is_indexed
        with pytest.raises(CorruptError) as caught:
            await archive.read("d/a")
        assert caught.value.file == str(path)
        assert await archive.read("z") == DAMAGED[-1].data


@every_codec
@pytest.mark.parametrize("frame", [MIB, 1024], ids=["one frame", "many"])
async def test_flipped_bits(frame: int, codec: str, tmp_path: Path) -> None:
    """One bit wrong: an error, or the same as without it; skipped, never wrong bytes."""
    members = [
        *(folder(b"d"), Member(b"d/f", data=b"hello" * 100), symlink(b"l", b"d/f")),
        *(hardlink(b"h", b"d/f"), Member(b"x" * 120, data=b"q" * 600), Member(b"empty")),
    ]
    data = hostile.indexed(members, codec, frame=frame)
    path, out = tmp_path / "a", tmp_path / "out"
    path.write_bytes(data)
    await _unpack(path, out)
    whole = trees.look(out)
    shutil.rmtree(out)
    async with _engine() as engine:
        for at in range(0, len(data), 11):
            path.write_bytes(_flipped(data, at))
            try:
                await engine.decompress_folder(path, out, fsync=False)
            except AiocompressError:
                assert os.listdir(tmp_path) == ["a"]
            else:
                assert trees.look(out) == whole, at
                shutil.rmtree(out)
            try:
                report = await engine.decompress_folder(path, out, fsync=False, on_error="skip")
            except FormatError:
                assert at < 4  # by which it is known
            else:
                found = trees.look(out)
                assert all(whole[name].data == node.data for name, node in found.items()), at
                assert report.damaged or found == whole
                shutil.rmtree(out)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


async def test_a_short_source(tmp_path: Path) -> None:
    """A source that becomes shorter than it said is an error, never a hang or wrong bytes."""
    data = hostile.indexed(DAMAGED, frame=2048)

    class Shrinking(Elsewhere):
        async def read_at(self, offset: int, size: int) -> bytes:
            part = await super().read_at(offset, size)
            if self.bytes_read > 3000:
                self._data = self._data[:4000]
            return part

    async with _engine() as engine:
        with pytest.raises((CorruptError, TruncatedError)):
            async with engine.open_archive(Shrinking(data)) as archive:
                await archive.extract(tmp_path / "out", fsync=False)
    assert os.listdir(tmp_path) == []
    assert isinstance(archive, Archive)
