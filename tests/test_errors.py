"""The errors: one family that names file, offset, frame and hint, and survives pickling."""

from __future__ import annotations

import ast
import copy
import pickle
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aiocompress
from aiocompress import Engine, errors
from aiocompress.errors import AiocompressError, CorruptError

from .help import hostile
from .help.data import noise

TREE = {
    "AiocompressError": Exception,
    "FormatError": errors.AiocompressError,
    "CorruptError": errors.AiocompressError,
    "TruncatedError": errors.CorruptError,
    "LimitError": errors.AiocompressError,
    "UnsafeMemberError": errors.AiocompressError,
    "MemberNotFoundError": errors.AiocompressError,
    "WorkerError": errors.AiocompressError,
    "ClosedError": errors.AiocompressError,
}
CLASSES = [getattr(errors, name) for name in TREE]
ATTRIBUTES = ("reason", "file", "offset", "frame", "hint")

every_class = pytest.mark.parametrize("kind", CLASSES)
texts = st.none() | st.text()
numbers = st.none() | st.integers(0, 1 << 63)


def test_the_family_is_complete() -> None:
    """Every error in the module stands in the tree below, and in its docstring."""
    found = {
        name: value.__base__
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert found == TREE
    assert all(name in (errors.__doc__ or "") for name in TREE)


@every_class
def test_every_error_is_public(kind: type[AiocompressError]) -> None:
    """Callers catch what the package exports."""
    assert getattr(aiocompress, kind.__name__) is kind
    assert kind.__name__ in aiocompress.__all__


@every_class
def test_attributes_default_to_none(kind: type[AiocompressError]) -> None:
    """A reason is enough, and all that is printed then."""
    error = kind("it broke")
    assert [getattr(error, name) for name in ATTRIBUTES] == ["it broke", None, None, None, None]
    assert str(error) == "it broke"


@every_class
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_changes_nothing(kind: type[AiocompressError], protocol: int) -> None:
    """An error that crosses a process boundary is the same error."""
    error = kind("it broke", file="x.zst", offset=0, frame=7, hint="mend it")
    error.add_note("seen on a Monday")
    for twin in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):
        assert type(twin) is kind
        assert vars(twin) == vars(error)
        assert twin.args == error.args
        assert str(twin) == str(error)


@settings(deadline=None)
@given(st.sampled_from(CLASSES), st.text(), texts, numbers, numbers, texts)
def test_pickling_keeps_any_value(
    kind: type[AiocompressError],
    reason: str,
    file: str | None,
    offset: int | None,
    frame: int | None,
    hint: str | None,
) -> None:
    """Every attribute survives, whatever it holds."""
    error = kind(reason, file=file, offset=offset, frame=frame, hint=hint)
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is kind
    assert [getattr(twin, name) for name in ATTRIBUTES] == [reason, file, offset, frame, hint]


@pytest.mark.parametrize(
    ("file", "offset", "frame", "hint"),
    list(product((None, "a/b.zst"), (None, 0, 1234), (None, 0, 56), (None, "raise the limit"))),
)
def test_the_text_names_what_is_known(
    file: str | None, offset: int | None, frame: int | None, hint: str | None
) -> None:
    """File first, then the reason, the offset, the frame; what to do comes last."""
    expected = "it broke" if file is None else f"{file}: it broke"
    expected += "" if offset is None else f" at byte {offset}"
    expected += "" if frame is None else f" (frame {frame})"
    expected += "" if hint is None else f"; {hint}"
    assert str(AiocompressError("it broke", file=file, offset=offset, frame=frame, hint=hint)) == (
        expected
    )


@given(st.text(min_size=1), st.integers(0, 300_000))
def test_a_text_keeps_its_ends(word: str, count: int) -> None:
    """What is too long for a line is cut in the middle, and says so; all else stays as it is."""
    text = f"begin {word * count} end"
    cut = errors.short(text)
    assert len(cut) <= 4500
    assert cut == text or (cut.startswith(text[:2000]) and cut.endswith(text[-2000:]))
    assert (cut == text) == (len(text) <= 4500)
    assert errors.short(cut) == cut
    error = CorruptError(text, hint=text)
    assert (error.reason, error.hint) == (cut, cut)


@given(st.lists(st.integers(0, 6000)), st.integers(1, 40), st.integers(1, 40_000))
def test_lines_are_bounded(sizes: list[int], most: int, room: int) -> None:
    """In number and in characters; what is not kept is counted, also where lines are gathered."""
    lines = errors.Lines(most, room)
    for size in sizes:
        lines.append("x" * size)
    assert len(lines) <= most
    assert sum(map(len, lines)) < room + 4500
    assert lines.total == len(sizes)
    assert lines.left_out == len(sizes) - len(lines)
    both = errors.Lines(1, 10)
    both += lines
    both += ["one more"]
    assert (both.total, len(both)) == (len(sizes) + 1, 1)


def test_located_adds_up_from_the_inside_out() -> None:
    """Each caller adds where its own bytes and frames begin; the innermost file stays."""
    error = CorruptError("it broke", offset=3)
    assert error.located(base=100, frame=2) is error
    error.located(base=1000, frame=40, file="inner").located(file="outer")
    assert (error.offset, error.frame, error.file) == (1103, 42, "inner")


def test_located_leaves_alone_what_it_is_not_told() -> None:
    """An offset that is not known stays unknown until a base is."""
    error = CorruptError("it broke")
    error.located(file="x")
    assert (error.offset, error.frame) == (None, None)
    error.located(base=0, frame=0)
    assert (error.offset, error.frame) == (0, 0)


# What they say.


def _texts() -> Iterator[tuple[str, str]]:
    """Yield all prose in the library that is no docstring, and the module that it stands in."""
    package = Path(errors.__file__).parent
    for path in package.rglob("*.py"):
        if "cli" in path.parts:
            continue
        tree = ast.parse(path.read_text())
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and id(node) not in docs and " " in str(node.value):
                yield path.name, str(node.value)


def test_no_error_names_a_flag() -> None:
    """The library speaks of arguments: only the command line has flags and commands."""
    flags = re.compile(r"(?:^|[\s(`'\"])(?:--?[A-Za-z]|`(?:de)?compress|`extract|`recover)")
    assert [found for found in _texts() if flags.search(found[1])] == []


@pytest.fixture
async def damaged(tmp_path: Path) -> Path:
    """Files of every kind of fault, in a folder whose path is nobody's business."""
    async with Engine(1, executor="thread") as engine:
        (tmp_path / "tree").mkdir()
        for name in "abc":
            (tmp_path / "tree" / name).write_bytes(noise(9000))
        await engine.compress_folder(tmp_path / "tree", tmp_path / "tree.tar.zst", 4096)
        await engine.compress_file(tmp_path / "tree/a", tmp_path / "a.zst")
    data = bytearray((tmp_path / "tree.tar.zst").read_bytes())
    (tmp_path / "cut.zst").write_bytes(data[:-9])
    data[len(data) // 2] ^= 1
    (tmp_path / "bad.tar.zst").write_bytes(data)
    (tmp_path / "text").write_bytes(b"text")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/x.zst").write_bytes(b"text")
    (tmp_path / "unsafe.tar").write_bytes(hostile.tar([hostile.Member(b"../x")]))
    return tmp_path


async def test_reasons_are_for_strangers(damaged: Path) -> None:
    """They name members and offsets, and no path of this machine, which ``file`` does."""
    out = damaged / "out"
    async with (
        Engine(1, executor="thread") as engine,
        engine.open_archive(damaged / "tree.tar.zst") as archive,
    ):
        works = [
            engine.decompress_file(damaged / "text", out),
            engine.decompress_file(damaged / "empty", out),
            engine.decompress_file(damaged / "cut.zst", out),
            engine.decompress_file(damaged / "a.zst", out, max_output=1),
            engine.compress_file(damaged / "tree", damaged / "out.zst"),
            engine.test(damaged / "bad.tar.zst"),
            engine.decompress_folder(damaged / "bad.tar.zst", out),
            engine.decompress_folder(damaged / "mirror", out),
            engine.decompress_folder(damaged / "unsafe.tar", out),
            engine.decompress_folder(damaged / "a.zst", out),
            engine.decompress_folder(damaged / "tree.tar.zst", out, max_members=1),
            engine.recover(damaged / "text", out),
            archive.read("d"),
            archive.extract(out, ["d"]),
        ]
        for work in works:
            with pytest.raises(AiocompressError) as caught:
                await work
            assert str(damaged) not in caught.value.reason
            assert (caught.value.file or "").startswith(str(damaged))
            assert str(damaged) in str(caught.value)
