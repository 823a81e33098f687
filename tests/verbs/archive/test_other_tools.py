"""Archives and the tools of others: GNU tar, bsdtar and tarfile read and write each one too."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aiocompress

from ...help import trees
from ...help.archives import (
    MIB,
    SUFFIXES,
    Works,
    a_place,
    decompressed,
    entries_of_tarfile,
    every_suffix,
    two_threads,
    unpack,
)
from ...help.data import noise, text
from ...help.tools import module, run, tool
from ...help.trees import CHUNK, SECOND, Tree

UTF8 = {**os.environ, "LC_ALL": "C.UTF-8"}


# Others read ours.


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
    raw = decompressed(path)
    found = entries_of_tarfile(raw)
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
    with a_place() as place:
        trees.build(place / "tree", trees.below(tree))
        path, source = place / f"a{suffix}", place / "tree"
        works(works.engine.compress_folder(source, path, CHUNK, fsync=False))
        _check_others(path, trees.look(source), place)


@every_suffix
def test_others_read_the_zoo(suffix: str, zoo: Path, packed: dict[str, Path]) -> None:
    """One of every kind."""
    with a_place() as place:
        _check_others(packed[suffix], trees.look(zoo), place)


def test_others_check_ours(packed: dict[str, Path]) -> None:
    """zstd and gzip find nothing wrong; indexed_zstd and pgzip read them by their indexes."""
    zst, gz = packed[".tar.zst"], packed[".tar.gz"]
    run(tool("zstd"), "-tq", zst)
    run(tool("gzip"), "-t", gz)
    raw = decompressed(zst)
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
    async with two_threads() as engine, engine.open_archive(path) as archive:
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
    with a_place() as place:
        path = place / f"theirs{suffix}"
        write(zoo, path)
        await _check_ours(path, trees.look(zoo), part, place)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=trees.trees(), name=st.sampled_from([*WRITERS]))
def test_we_read_theirs_generated(tree: Tree, name: str, works: Works) -> None:
    """Trees of every kind."""
    suffix, part, write = WRITERS[name]
    with a_place() as place:
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
    report = await unpack(path, tmp_path / "back")
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
