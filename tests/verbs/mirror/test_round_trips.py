"""Mirrored trees: every file one of its own on the other side, and all else as it was."""

# They look at files:
# ruff: noqa: ASYNC240

from __future__ import annotations

import asyncio
import os
import stat
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiocompress.formats import names
from aiocompress.model import MIB
from aiocompress.storage import walk as folder_walk
from aiocompress.verbs.mirror import batch as mirrors

from ...help.data import noise, text
from ...help.mirrors import (
    CHUNK,
    KIB,
    SMALL,
    compress,
    decompress,
    fill,
    look,
    mixed,
    settle_times,
    temporaries,
)
from ...help.tools import run, tool

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


async def test_modes_and_owners(source: Path, out: Path, tmp_path: Path) -> None:
    """Side by side in a folder, each file has its own mode, time and owner, whatever the umask."""
    for number, mode in enumerate((0o644, 0o664, 0o400, 0o777, 0o644, 0o000)):
        path = source / str(number)
        path.write_bytes(b"data")
        if os.geteuid() == 0:
            os.chown(path, number % 3, number % 2)
        path.chmod(mode if os.geteuid() == 0 else mode | 0o400)
        os.utime(path, ns=(number, 10**18 + number))
    before = os.umask(0o027)
    try:
        await compress(source, out)
        await decompress(out, tmp_path / "back")
    finally:
        os.umask(before)
    for number in range(6):
        was, found = (os.stat(tree / str(number)) for tree in (source, tmp_path / "back"))
        fields = ("st_mode", "st_mtime_ns", "st_uid", "st_gid")
        assert [getattr(was, field) for field in fields] == [
            getattr(found, field) for field in fields
        ]


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


# What the caller wants.


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
